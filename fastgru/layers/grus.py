"""The GRUs of a model, each once: of its layers, also of models inside it, or of its graph; and a graph with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..gru_weights import GRUSpec
from ..records.record import owned

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .model import ModelSpec

__all__ = ["grus_of", "owned_graph", "with_grus"]


def grus_of(model: GRUSpec | ModelSpec | Graph) -> Iterator[tuple[str, GRUSpec]]:
    """Every stack of GRUs that is packed for a model, after its place: ``gru``, ``gru, cell 1`` or ``each/gru``.

    What stands in several places is packed once. A GRU alone has no place.
    """
    if isinstance(model, GRUSpec):
        yield "", model
        return
    from .model import ModelSpec

    if isinstance(model, ModelSpec):
        yield from _of_layers(model, "", set())
        return
    seen: set[int] = set()
    for node in model.nodes:
        gru = getattr(node.operation, "gru", None)
        if gru is not None and id(node.operation) not in seen:
            seen.add(id(node.operation))
            yield node.name, gru


def _of_layers(spec: ModelSpec, inside: str, seen: set[int]) -> Iterator[tuple[str, GRUSpec]]:
    from . import GRULayer, TimeDistributed

    for node in spec.nodes:
        if id(node.layer) in seen:
            continue
        seen.add(id(node.layer))
        if isinstance(node.layer, GRULayer):
            yield inside + node.name, node.layer.gru
            for place, cell in enumerate(node.layer.above):
                yield f"{inside}{node.name}, cell {place + 1}", cell
        elif isinstance(node.layer, TimeDistributed):
            yield from _of_layers(node.layer.model, f"{inside}{node.name}/", seen)


def owned_graph(graph: Graph) -> Graph:
    """A graph for one model, as ``records.record.owned`` makes a description: nobody else can change its arrays."""
    made: dict[int, Any] = {}
    nodes = tuple(node._replace(operation=owned(node.operation, made)) for node in graph.nodes)
    constants = {place: owned(array, made) for place, array in graph.constants.items()}
    return graph._replace(nodes=nodes, constants=constants)


def with_grus(graph: Graph, change: Callable[[GRUSpec], GRUSpec]) -> Graph:
    """A graph with other GRUs; an operation that stands in several nodes does so afterwards."""
    made: dict[int, Any] = {}
    for node in graph.nodes:
        gru = getattr(node.operation, "gru", None)
        if gru is not None and id(node.operation) not in made:
            made[id(node.operation)] = node.operation.replace(gru=change(gru))
    nodes = tuple(node._replace(operation=made.get(id(node.operation), node.operation)) for node in graph.nodes)
    return graph._replace(nodes=nodes)
