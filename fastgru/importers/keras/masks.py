"""Masks of a Keras model as it is read: which steps are real, in words that can be compared.

Keras writes the mask of a layer into its config, as a graph of operations on booleans, also where it is the one that
comes along with the input anyway. Owns the telling apart of the two. A mask is a number; the same mask has the same
number; None is no mask, or one that leaves out nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Union

from ...layers import Edge

__all__ = [
    "MASK_FUNCTIONS", "TRUTHS", "Elements", "Masks", "Nowhere", "Several", "Steps", "Truth", "Wire", "mask_operation",
    "steps_of",
]  # fmt: skip

MAX_TOGETHER = 64  # masks of which one is enough; more are not compared


class Masks:
    """All masks of one model."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._parts: dict[int, frozenset[int]] = {}
        self.compared: dict[int, tuple[Edge, float]] = {}  # masks that a comparison of integers makes
        self.joined: dict[int, tuple[int, ...]] = {}  # of masks that ``both`` made, what they were made of

    def not_equal(self, edge: Edge, value: float) -> int:
        """Steps that are not ``value``, of integers."""
        number = self._number("!=", edge, float(value))
        self.compared[number] = (edge, float(value))
        return number

    def any_not_equal(self, edge: Edge, value: float) -> int:
        """Steps of which any feature is not ``value``."""
        return self._number("any !=", edge, float(value))

    def either(self, masks: Sequence[int | None]) -> int | None:
        """Steps that are real in any of several."""
        parts: set[int] = set()
        for mask in masks:
            if mask is None:
                return None
            parts |= self._parts.get(mask, {mask})
        if len(parts) == 1:
            return next(iter(parts))
        if len(parts) > MAX_TOGETHER:
            return self._number("of its own", len(self._numbers))
        together = frozenset(parts)
        number = self._number("either", together)
        self._parts[number] = together
        return number

    def both(self, masks: Sequence[int | None]) -> int | None:
        """Steps that are real in all of several."""
        parts = {mask for mask in masks if mask is not None}
        if len(parts) < 2:
            return next(iter(parts), None)
        if len(parts) > MAX_TOGETHER:
            return self._number("of its own", len(self._numbers))
        number = self._number("both", frozenset(parts))
        self.joined[number] = tuple(sorted(parts))
        return number

    def in_turn(self, masks: Sequence[int | None], edges: Sequence[Edge]) -> int | None:
        """The steps of several inputs one behind the other; one without a mask has as many as its edge has."""
        if all(mask is None for mask in masks):
            return None
        parts = [edge if mask is None else mask for mask, edge in zip(masks, edges, strict=True)]
        return self._number("in turn", tuple(parts))

    def _number(self, *what: Hashable) -> int:
        return self._numbers.setdefault(what, len(self._numbers))


class Wire(NamedTuple):
    """A value between two layers: the edge of the model to be made that carries it, and the mask that comes with it."""

    edge: Edge
    mask: int | None = None


@dataclass(frozen=True)
class Elements:
    """Booleans, one an element: whether it is not ``value``."""

    edge: Edge
    value: float


@dataclass(frozen=True)
class Steps:
    """Booleans, one a step, or repeated for every feature of a step."""

    mask: int | None
    edge: Edge  # something that has as many steps


@dataclass(frozen=True)
class Nowhere:
    """Booleans, all of them false."""


@dataclass(frozen=True)
class Several:
    """Booleans of steps side by side, of which any or all are asked next."""

    steps: tuple[Steps, ...]


Truth = Union[Elements, Steps, Nowhere, Several]
TRUTHS = (Elements, Steps, Nowhere, Several)


def steps_of(masks: Masks, truth: Truth) -> Steps | None:
    """Booleans as one a step, where they can be that."""
    if isinstance(truth, Elements):
        return Steps(masks.not_equal(truth.edge, truth.value), truth.edge)
    return truth if isinstance(truth, Steps) else None


def mask_operation(masks: Masks, name: str, arguments: Sequence[Any], axis: object) -> Truth | None:
    """What one of Keras's operations on booleans makes; None where it is not one of those that masks are made with.

    Parameters
    ----------
    name : str
        Of the operation's class.
    arguments : sequence
        Booleans as Truth, numbers as Wire, plain values as they are, and tuples of these.
    axis : object
        Of the operation, where it has one.
    """
    first = arguments[0] if arguments else None
    if isinstance(first, Wire):
        value = arguments[1] if len(arguments) == 2 else None
        if name == "NotEqual" and isinstance(value, (int, float)) and -1e300 <= value <= 1e300:
            return Elements(first.edge, float(value))
        if name == "OnesLike":
            return Steps(None, first.edge)
    if name == "ZerosLike" and first is not None:
        return Nowhere()
    if name in ("Any", "All"):
        return _reduced(masks, name, first, axis)
    several = first if isinstance(first, tuple) and not isinstance(first, Wire) else arguments
    given = [each for each in several if isinstance(each, (Elements, Steps, Nowhere))]
    steps = [each for each in (steps_of(masks, each) for each in given) if each is not None]
    if not steps or (name in _JOINING and len(given) < len(several)):
        return None
    if name in _KEEPING:
        return steps[0]
    if name == "LogicalOr":
        return Steps(masks.either([each.mask for each in steps]), steps[0].edge)
    if name == "Concatenate" and axis in (-1, 0, 2):
        return Several(tuple(steps))
    if name == "Concatenate" and axis in (1, -2):
        return Steps(masks.in_turn([each.mask for each in steps], [each.edge for each in steps]), steps[0].edge)
    return None


_JOINING = ("LogicalOr", "Concatenate")
_KEEPING = ("BroadcastTo", "Cast", "ExpandDims", "Squeeze")  # of them the steps are what matters
MASK_FUNCTIONS = ("All", "Any", "LogicalOr", "NotEqual", "OnesLike", "ZerosLike", *_KEEPING)


def _reduced(masks: Masks, name: str, truth: object, axis: object) -> Truth | None:
    """Whether any or all of what lies along an axis are true, where that is one boolean a step."""
    if isinstance(truth, Several) and axis in (-1, 0):
        join = masks.either if name == "Any" else masks.both
        return Steps(join([each.mask for each in truth.steps]), truth.steps[0].edge)
    if isinstance(truth, Elements) and (name, axis) == ("Any", -1):
        return Steps(masks.any_not_equal(truth.edge, truth.value), truth.edge)
    return truth if isinstance(truth, Steps) and axis == -1 else None
