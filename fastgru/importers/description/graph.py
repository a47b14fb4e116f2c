"""A graph of operations as plain data, in the words of ``layers``: what flows through it, node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...graph.graph import INTEGER, Graph, Input, Structure
from ...graph.layout import BATCH, Layout
from ...graph.size import Sizes
from ...gru_weights import GRUSpec, GRUWeights
from ...records.record import Record
from ...weights.matrices import Matrix

__all__ = ["flow_of", "layers_of"]


def flow_of(graph: Graph, layouts: Mapping[str, Layout]) -> dict[str, Any]:
    """``inputs`` and ``outputs`` of the whole, with shapes without the batch axis, where None is any size.

    ``layouts`` say where the batch and the steps of each input are.
    """
    made = _makers(graph)
    return {
        "inputs": [
            {
                "name": source.name,
                "integers": graph.tensors[source.value].dtype == INTEGER,
                **_sizes(source, graph.tensors[source.value].shape, layouts[source.name]),
            }
            for source in graph.inputs
        ],
        "outputs": [
            {**made.get(place, _CONSTANT), "shape": _shape(graph.tensors[place].shape), **named}
            for name, place in _named(graph.outputs)
            for named in [{"name": name} if name else {}]
        ],
    }


_CONSTANT = {"from": "constant", "index": 0}


def _named(structure: Structure, name: str = "") -> Iterator[tuple[str, int]]:
    """The values in a structure with their names in dicts, such as ``states.0``."""
    if isinstance(structure, int):
        yield name, structure
    elif isinstance(structure, dict):
        for key, part in structure.items():
            yield from _named(part, f"{name}.{key}" if name else str(key))
    elif structure is not None:
        for at, part in enumerate(structure):
            yield from _named(part, f"{name}.{at}" if name else "")


def _sizes(source: Input, shape: Sizes, layout: Layout) -> dict[str, Any]:
    """The shape of an input without its batch, and the batch, where the file fixes it."""
    fixed = {each.axis: each.size for each in source.fixed}
    sizes = [fixed.get(axis, size if isinstance(size, int) else None) for axis, size in enumerate(shape)]
    batch = layout.index((BATCH,)) if (BATCH,) in layout else None
    found = None if batch is None else sizes.pop(batch)
    return {"shape": sizes, "batch": None if found is None else str(found)}


def layers_of(graph: Graph) -> list[dict[str, Any]]:
    """Every node; an operation that was met before has ``shared_with`` and no parameters of its own."""
    made, found = _makers(graph), []
    met: dict[int, str] = {}
    for node in graph.nodes:
        shared = met.setdefault(id(node.operation), node.name)
        arrays = list(_arrays(node.operation))
        options = {
            name: value if isinstance(value, (bool, int)) else str(value)
            for name, value in node.operation.fields().items()
            if value is not None and not isinstance(value, (np.ndarray, Matrix, Record)) and value != ()
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


def _arrays(record: Record) -> list[np.ndarray | Matrix]:
    found: list[np.ndarray | Matrix] = []
    for value in record.fields().values():
        if isinstance(value, (np.ndarray, Matrix)):
            found.append(value)
        elif isinstance(value, GRUSpec):
            used = ("w_ih", "w_hh", "b_ih", "b_hh") if value.bias else GRUWeights.MATRICES
            weights = [each.fields() for layer in value.layers for each in layer]
            found += [each[name] for each in weights for name in used]
    return found
