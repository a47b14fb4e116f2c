"""A graph of operations as plain data, in the words of ``described_layers``: what flows through it, node by node."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.graph import INTEGER, Graph, leaves
from ..graph.size import Sizes
from ..spec.gru import GRUSpec, GRUWeights
from ..spec.record import Record

__all__ = ["flow_of", "grus_of", "layers_of"]


def flow_of(graph: Graph) -> dict[str, Any]:
    """``inputs`` and ``outputs`` of the whole, with shapes without the batch axis, where None is any size."""
    made = _makers(graph)
    return {
        "inputs": [
            {
                "name": source.name,
                "shape": _shape(graph.tensors[source.value].shape),
                "integers": graph.tensors[source.value].dtype == INTEGER,
                "batch": None,
            }
            for source in graph.inputs
        ],
        "outputs": [{**made[place], "shape": _shape(graph.tensors[place].shape)} for place in leaves(graph.outputs)],
    }


def layers_of(graph: Graph) -> list[dict[str, Any]]:
    """Every node; an operation that was met before has ``shared_with`` and no parameters of its own."""
    made, found = _makers(graph), []
    met: dict[int, str] = {}
    for node in graph.nodes:
        shared = met.setdefault(id(node.operation), node.name)
        arrays = list(_arrays(node.operation))
        options = {
            name: str(value)
            for name, value in node.operation.fields().items()
            if value is not None and not isinstance(value, (np.ndarray, Record))
        }
        found.append(
            {
                "name": node.name,
                "kind": type(node.operation).__name__,
                "sizes": {},
                "options": options,
                "parameters": sum(array.size for array in arrays) if shared == node.name else 0,
                "inputs": [made[place] for place in node.inputs if place in made],
                "mask": None,
                "outputs": [_shape(graph.tensors[place].shape) for place in node.outputs],
                "shared_with": None if shared == node.name else shared,
                "layers": [],
                "problem": None,
            }
        )
    return found


def grus_of(graph: Graph) -> list[GRUSpec]:
    """The stacks in a graph, each once."""
    operations = {id(node.operation): node.operation for node in graph.nodes}
    stacks = [getattr(each, "gru", None) for each in operations.values()]
    return [stack for stack in stacks if isinstance(stack, GRUSpec)]


def _makers(graph: Graph) -> dict[int, dict[str, Any]]:
    """What makes each value: an input or a node, and which of its outputs."""
    made: dict[int, dict[str, Any]] = {source.value: {"from": source.name, "index": 0} for source in graph.inputs}
    for node in graph.nodes:
        made.update({place: {"from": node.name, "index": index} for index, place in enumerate(node.outputs)})
    return made


def _shape(shape: Sizes) -> list[int | None]:
    """Without the batch axis, if there is one."""
    sizes = [size for size in shape if str(size) != "batch"]
    return [size if isinstance(size, int) else None for size in sizes]


def _arrays(record: Record) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for value in record.fields().values():
        if isinstance(value, np.ndarray):
            found.append(value)
        elif isinstance(value, GRUSpec):
            used = ("w_ih", "w_hh", "b_ih", "b_hh") if value.bias else ("w_ih", "w_hh")
            weights: list[GRUWeights] = [each for layer in value.layers for each in layer]
            found += [getattr(each, name) for each in weights for name in used]
    return found
