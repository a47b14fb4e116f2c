"""Whether a graph holds numbers that may have been computed from the sizes of the inputs it was exported with.

torch.export writes a size that it fixed as a plain number, and so whatever the code computed from it: ``y / 7`` may be
``y / x.size(1)`` and ``y[:, 6]`` the last step. Nothing in the file tells the two apart. A size that the file has as a
number may have other values only where no number is left that could come from it; what cannot be told counts as such.
Not seen are an ``if`` and a loop of Python that leave no number.
"""

from __future__ import annotations

from typing import Any

from ...spec import Edge
from .values import Unknown, described

__all__ = ["Evidence"]


class Evidence:
    """What was found so far; ``batch`` and ``axes`` are sizes that the file has as numbers."""

    def __init__(self) -> None:
        self.batch: Unknown | None = None
        self.axes: list[Unknown] = []
        self._found = ""
        self._pending: dict[Edge, str] = {}

    @property
    def found(self) -> str:
        """The first operation that may know a size, as a sentence; an empty text where none does."""
        return self._found or next(iter(self._pending.values()), "")

    @property
    def matters(self) -> bool:
        """Whether a size is still open although the file has a number for it."""
        return self.batch is not None or any(size.value is None for size in self.axes)

    def note(self, operation: str, what: str) -> None:
        """An operation takes what may have been computed from a size."""
        self._found = self._found or f"its operation {operation} {what}, which may have been computed from it"

    def note_until_required(self, edge: Edge, operation: str, what: str) -> None:
        """The same, unless weights turn out to want what it makes: with other sizes PyTorch would fail there."""
        self._pending[edge] = f"its operation {operation} {what}, which may have been computed from it"

    def required(self, edge: Edge) -> None:
        self._pending.pop(edge, None)

    def steps(self) -> set[int]:
        """The sizes of axes that numbers may come from."""
        return {size.example for size in self.axes if size.example is not None and not size.required}

    def sizes(self) -> set[int]:
        """The same with the batch."""
        batch = None if self.batch is None else self.batch.example
        return self.steps() | (set() if batch is None else {batch})

    def note_index(self, operation: str, index: int, size: Any) -> None:
        """Of one place along an axis: the last is the last, and the first the first, whatever the size of the axis."""
        near = self.sizes() | {example - 1 for example in self.steps()}
        first = index == 0 and 1 not in self.steps()  # of one step the first is also the last
        if not (index == -1 or first or (type(size) is int and index % size not in near)):
            self.note(operation, f"takes the place {index}")

    def note_part(self, operation: str, number: Any, size: Any) -> None:
        """Of features that weights made, a part that divides them evenly is one that their author counted."""
        if number in (None, -1) or (number == 0 and 1 not in self.steps()):
            return
        even = type(size) is int and type(number) is int and number != 0 and size % number == 0
        if not even or abs(number) in self.sizes():
            self.note(operation, f"takes the number {described(number)}")
