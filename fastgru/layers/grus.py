"""The GRUs of a model, each once: of its layers, also of models inside it, or of its graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..gru_weights import GRUSpec

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .model import ModelSpec

__all__ = ["grus_of"]


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
