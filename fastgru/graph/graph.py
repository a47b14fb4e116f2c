"""A model as one graph: inputs, constants and nodes in an order in which they can be computed, and what it gives.

A node applies an operation to values made before it. A value is a number; what is known of it before anything runs, its
shape over sizes and the kind of its elements, stands in ``tensors``. The graph is data: how it is built is for
``builder``, what it means for ``operations`` and how it runs for ``run``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np

from ..records.record import equal
from .size import Size, size_text

if TYPE_CHECKING:
    from .operations.operation import Operation

__all__ = [
    "BOOLEAN",
    "FLOAT",
    "INTEGER",
    "RELATIONS",
    "FixedAxis",
    "Graph",
    "Guard",
    "Input",
    "Node",
    "Structure",
    "Tensor",
    "leaves",
    "rebuilt",
    "same",
]

FLOAT, INTEGER, BOOLEAN = "float", "integer", "boolean"
RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class Tensor(NamedTuple):
    """What is known of a value before it exists."""

    shape: tuple[Size, ...]
    dtype: str = FLOAT  # or INTEGER, BOOLEAN

    def __repr__(self) -> str:
        return f"{size_text(self.shape)} of {self.dtype}s"


class FixedAxis(NamedTuple):
    """An axis of an input that may have one size only, because of how the file was written."""

    axis: int
    size: int
    reason: str  # a sentence
    opens: bool  # whether the graph is for every size there, and with_any_size() allows it


class Input(NamedTuple):
    """An input of the model: its name, its value, and the axes that the file fixed."""

    name: str
    value: int
    fixed: tuple[FixedAxis, ...] = ()


class Node(NamedTuple):
    """``outputs = operation(*inputs)``; inputs and outputs are values."""

    name: str
    operation: Operation
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Guard(NamedTuple):
    """What the sizes of a call must satisfy: ``one relation other``, and what stands in the way where they do not."""

    one: Size
    relation: str  # of "==", "!=", "<", "<=", ">", ">="
    other: Size
    reason: str


# What a model gives, as the framework's model does: a value, a constant such as None, or these in tuples, lists, dicts.
Structure = Union[int, None, tuple["Structure", ...], list["Structure"], dict[str, "Structure"]]


class Graph(NamedTuple):
    """A whole model."""

    inputs: tuple[Input, ...]
    constants: dict[int, np.ndarray]
    nodes: tuple[Node, ...]
    outputs: Structure
    tensors: tuple[Tensor, ...]  # by value
    guards: tuple[Guard, ...] = ()


def leaves(structure: Structure) -> Iterator[int]:
    """The values in a structure, in order."""
    if isinstance(structure, int):
        yield structure
    elif isinstance(structure, dict):
        for part in structure.values():
            yield from leaves(part)
    elif structure is not None:
        for part in structure:
            yield from leaves(part)


def rebuilt(structure: Structure, take: Callable[[int], Any]) -> Any:
    """The structure with what ``take`` gives for its values in their places."""
    if isinstance(structure, int):
        return take(structure)
    if isinstance(structure, dict):
        return {key: rebuilt(part, take) for key, part in structure.items()}
    if structure is None:
        return None
    return type(structure)(rebuilt(part, take) for part in structure)


def same(one: Graph, other: Graph) -> bool:
    """Whether two graphs do the same: the same operations on the same values, the names and the guards apart."""
    if len(one.nodes) != len(other.nodes) or len(one.inputs) != len(other.inputs):
        return False
    places = {ours.value: theirs.value for ours, theirs in zip(one.inputs, other.inputs, strict=True)}

    def alike(ours: int, theirs: int) -> bool:
        if ours in one.constants or theirs in other.constants:
            return equal(one.constants.get(ours), other.constants.get(theirs))
        return places.get(ours) == theirs

    for ours, theirs in zip(one.nodes, other.nodes, strict=True):
        if ours.operation != theirs.operation or len(ours.inputs) != len(theirs.inputs):
            return False
        if not all(map(alike, ours.inputs, theirs.inputs)):
            return False
        places.update(zip(ours.outputs, theirs.outputs, strict=True))
    leave, arrive = list(leaves(one.outputs)), list(leaves(other.outputs))
    return len(leave) == len(arrive) and all(
        alike(ours, theirs) and one.tensors[ours] == other.tensors[theirs]
        for ours, theirs in zip(leave, arrive, strict=True)
    )
