"""What flows through a graph of PyTorch's operations, as far as it is known before anything runs.

PyTorch counts axes as the author of a model laid them out, fastgru always as (batch, steps, features). An ``Array``
knows both, so that a transpose is a change of bookkeeping and not a layer.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Union

import numpy as np

from ...errors import UnsupportedModelError
from ...spec import Edge

__all__ = [
    "Array",
    "LayoutError",
    "Size",
    "Stack",
    "Unknown",
    "Weight",
    "Zeros",
    "described",
    "known",
    "same_size"
]  # fmt: skip


class LayoutError(UnsupportedModelError):
    """The batch is not where an operation needs it; it may be with the model's first two axes taken the other way."""


class Unknown:
    """A size that is not a number yet: of the batch, or of an input's steps or features.

    ``value`` is what it is found to be, and ``required`` where weights have exactly that size; ``example`` is what it
    was when the model was exported. Where it is ``opened`` the file itself has that number and no other. Otherwise the
    file allows sizes from ``least`` to ``most``.
    """

    described = "a size that is not known"

    def __init__(
        self, example: int | None = None, *, opened: bool = False, least: int = 1, most: int | None = None
    ) -> None:
        self.example, self.opened, self.least, self.most = example, opened, least, most
        self.value: int | None = None
        self.required = False
        self.why = ""  # it has limits that the file does not say, as a sentence

    def fix(self) -> None:
        """Make it what it was in the example, and nothing else."""
        assert self.example is not None
        self.value = self.least = self.most = self.example


Size = Union[int, Unknown]


class Array(NamedTuple):
    """The output of a layer, or an input. ``shape`` begins with the batch; ``order[d]`` is PyTorch's axis d in it."""

    edge: Edge
    shape: tuple[Size, ...]
    order: tuple[int, ...]
    integers: bool = False

    @property
    def sizes(self) -> tuple[Size, ...]:
        return tuple(self.shape[axis] for axis in self.order)


class Stack(NamedTuple):
    """Arrays of (batch, features) along a first axis of PyTorch: the states of a GRU."""

    items: tuple[Array, ...]

    @property
    def sizes(self) -> tuple[Size, ...]:
        return (len(self.items), *self.items[0].shape)


class Weight(NamedTuple):
    """A tensor of the file, or what was made of one before the model runs. ``names`` are those it was made of."""

    names: tuple[str, ...]
    array: np.ndarray

    @property
    def sizes(self) -> tuple[Size, ...]:
        return self.array.shape


class Zeros(NamedTuple):
    """A tensor of zeros: no initial state."""

    sizes: tuple[Any, ...]


def described(value: Any) -> str:
    """A value for messages, as a person calls it."""
    if type(value) in (bool, int, float):
        return str(value)[:40]
    if type(value) is str:
        return repr(value[:40])
    if type(value) in (list, tuple):
        items = [described(each) for each in value[:8]]
        return f"[{', '.join(items + ['...'] * (len(value) > 8))}]"
    return str(getattr(value, "described", _WORDS.get(type(value), "something else")))


_WORDS: dict[type, str] = {
    Array: "the output of a layer", Stack: "states of a GRU", Weight: "a weight", Zeros: "zeros", type(None): "None"
}  # fmt: skip


def known(size: Any) -> int | None:
    """The number that a size is, None where it is not known."""
    if isinstance(size, Unknown):
        return size.value
    return size if type(size) is int else None


def same_size(one: Any, other: Any) -> bool:
    """Whether two sizes are certainly the same; where the file has a number for a size, that number is the size."""
    if one is other:
        return True
    numbers = [size if known(size) is None else known(size) for size in (one, other)]
    unknown = [size for size in numbers if isinstance(size, Unknown)]
    if len(unknown) == 2 or not all(isinstance(size, (int, Unknown)) for size in numbers):
        return False
    if unknown:
        return unknown[0].opened and unknown[0].example in numbers
    return numbers[0] == numbers[1]
