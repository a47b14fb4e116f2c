"""A model as one graph: inputs, constants and nodes in an order in which they can be computed, and what it gives.

A node applies an operation to values made before it. A value is a number; what is known of it before anything runs, its
shape over sizes and the kind of its elements, stands in ``tensors``. The graph is data: how it is built is for
``builder``, what it means for ``operations`` and how it runs for ``run``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np

from .size import Size, size_text

if TYPE_CHECKING:
    from .operations.operation import Operation

__all__ = ["BOOLEAN", "FLOAT", "INTEGER", "Graph", "Input", "Node", "Structure", "Tensor", "leaves", "rebuilt"]

FLOAT, INTEGER, BOOLEAN = "float", "integer", "boolean"


class Tensor(NamedTuple):
    """What is known of a value before it exists."""

    shape: tuple[Size, ...]
    dtype: str = FLOAT  # or INTEGER, BOOLEAN

    def __repr__(self) -> str:
        return f"{size_text(self.shape)} of {self.dtype}s"


class Input(NamedTuple):
    """An input of the model: its name and its value."""

    name: str
    value: int


class Node(NamedTuple):
    """``outputs = operation(*inputs)``; inputs and outputs are values."""

    name: str
    operation: Operation
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


# What a model gives, as the framework's model does: a value, a constant such as None, or these in tuples, lists, dicts.
Structure = Union[int, None, tuple["Structure", ...], list["Structure"], dict[str, "Structure"]]


class Graph(NamedTuple):
    """A whole model."""

    inputs: tuple[Input, ...]
    constants: dict[int, np.ndarray]
    nodes: tuple[Node, ...]
    outputs: Structure
    tensors: tuple[Tensor, ...]  # by value


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


def rebuilt(structure: Structure, values: dict[int, Any]) -> Any:
    """The structure with what its values are in their places."""
    if isinstance(structure, int):
        return values[structure]
    if isinstance(structure, dict):
        return {key: rebuilt(part, values) for key, part in structure.items()}
    if structure is None:
        return None
    return type(structure)(rebuilt(part, values) for part in structure)
