"""The numbers of a view or an expansion that are sizes of the value itself, as sizes again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import UnsupportedModelError
from ...graph.builder import Value
from ...graph.size import Size

if TYPE_CHECKING:
    from .evidence import Evidence

__all__ = ["expanded", "viewed"]


def viewed(evidence: Evidence, x: Value, wanted: list[Any]) -> list[Any]:
    """The sizes of a view: those of the first and of the last axes that stay what they are.

    Raises
    ------
    UnsupportedModelError
        What is left of them is a number of places of an axis that is open.
    """
    old, new = list(x.shape), list(wanted)
    first = 0
    while first < min(len(old), len(new)) and _is(evidence, old[first], new[first]):
        new[first] = old[first]
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and _is(evidence, old[-1 - last], new[-1 - last]):
        new[-1 - last] = old[-1 - last]
        last += 1
    middle, left = new[first : len(new) - last], old[first : len(old) - last]
    if any(evidence.is_open(size) for size in left) and middle != [-1] and (middle or left):
        raise UnsupportedModelError(f"its sizes {str(wanted)[:60]} depend on those that the model was exported with")
    return new


def expanded(evidence: Evidence, x: Value, wanted: list[Any]) -> list[Any]:
    """The sizes of an expansion; what is repeated is noted."""
    new = list(wanted)
    for place in range(-len(new), 0):
        size: Size = x.shape[place] if x.rank >= -place else 1
        if new[place] == -1 or (x.rank >= -place and _is(evidence, size, new[place])):
            new[place] = size if x.rank >= -place else new[place]
        elif type(new[place]) is int and new[place] != 1:
            evidence.note(f"repeats something {new[place]} times")
    return new


def _is(evidence: Evidence, size: Size, number: Any) -> bool:
    """Whether a number, or a size, is this size."""
    if isinstance(number, int) and number >= 0 and not isinstance(size, int):
        return evidence.is_open(size) and evidence.example(size) == number
    return bool(size == number)
