"""The GRUs of a model, each once, and all its matrices: of its layers, also of models inside it, or of its graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..gru_weights import GRUSpec
from ..records.record import Record, owned
from ..weights.records import MatrixRecord

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .model import ModelSpec

__all__ = ["grus_of", "matrices_in", "owned_graph"]


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


def matrices_in(model: Any) -> Iterator[tuple[str, Any]]:
    """Every matrix of a description that may be no array, after its name, in an order that depends on nothing else."""
    if isinstance(model, GRUSpec):
        yield from model.named_matrices()
    elif isinstance(model, MatrixRecord):
        yield from zip(model.MATRICES, model.matrices, strict=True)
    elif isinstance(model, Record):
        yield from matrices_in(tuple(model.fields().values()))
    elif hasattr(model, "nodes"):  # of a Graph
        yield from matrices_in(tuple(node.operation for node in model.nodes))
    elif isinstance(model, tuple):
        for each in model:
            yield from matrices_in(each)


def owned_graph(graph: Graph, made: dict[Any, Any] | None = None) -> Graph:
    """A graph for one model, as ``records.record.owned`` makes a description: nobody else can change its arrays."""
    made = {} if made is None else made
    nodes = tuple(node._replace(operation=owned(node.operation, made)) for node in graph.nodes)
    constants = {place: owned(array, made) for place, array in graph.constants.items()}
    return graph._replace(nodes=nodes, constants=constants)

