"""What the axes of a value are made of: rows of the batch, steps, or neither.

An axis is a tuple of factors, outermost first: ``BATCH``, ``Steps`` or a plain size. Most axes have one factor; a view
of (batch, steps, 8) as (batch * steps, 8) has an axis of two. Steps know how many a row has: their size is an
expression over the symbol ``steps``, and a row of length n has as many as the expression gives for n. That is what lets
rows of different lengths be followed through slices, windows and views, and refused where they cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np
from numpy.typing import NDArray

from ..errors import FastGRUError, ShapeError
from .size import Expression, Size, evaluate, product, quotient, symbol

__all__ = [
    "BATCH", "STEPS", "Axis", "Batch", "Factor", "Layout", "Mixed", "Rows", "Steps", "broadcast", "has_steps",
    "is_plain", "is_steps", "is_steps_size", "plain", "regrouped", "steps_axis",
]  # fmt: skip

Array = NDArray[Any]
STEPS = symbol("steps")


class Mixed(FastGRUError):
    """An operation computes something of several rows, or of several steps, together; the message is the reason."""


class Batch(NamedTuple):
    """The rows of the batch. There is one such factor, ``BATCH``."""


class Steps(NamedTuple):
    """The steps of each row: ``size`` of them, an expression over ``steps``."""

    size: Size = STEPS


BATCH = Batch()
Factor = Union[Batch, Steps, Size]
Axis = tuple[Factor, ...]
Layout = tuple[Axis, ...]


def plain(shape: Sequence[Size]) -> Layout:
    """The layout of a value that knows neither batch nor steps."""
    return tuple(() if size == 1 else (size,) for size in shape)


def steps_axis(size: Size) -> Axis:
    """The axis of ``size`` steps of each row; a plain axis if every row has the same number."""
    if isinstance(size, Expression):
        return (Steps(size),)
    return () if size == 1 else (size,)


def is_plain(axis: Axis) -> bool:
    """Whether an axis holds neither the batch nor steps."""
    return not any(isinstance(factor, (Batch, Steps)) for factor in axis)


def is_steps_size(size: Size) -> bool:
    """Whether a size is a number of steps: an expression over one of the symbols ``steps``, ``steps_2`` ..."""
    return isinstance(size, Expression) and len(size.symbols()) == 1 and min(size.symbols()).startswith("steps")


def is_steps(axis: Axis) -> bool:
    """Whether an axis is the steps and nothing else."""
    return len(axis) == 1 and isinstance(axis[0], Steps)


def has_steps(axis: Axis) -> bool:
    """Whether steps are one of an axis's factors."""
    return any(isinstance(factor, Steps) for factor in axis)


def broadcast(layouts: Sequence[Layout]) -> Layout:
    """The layout of several values taken together element by element, aligned at their last axes.

    Raises
    ------
    Mixed
        An axis is the batch or steps in one value and something else in another.
    """
    rank = max(len(layout) for layout in layouts)
    axes: list[Axis] = []
    for place in range(-rank, 0):
        found = [layout[place] for layout in layouts if len(layout) >= -place and layout[place] != ()]
        axis: Axis = found[0] if found else ()
        for other in found[1:]:
            axis = _same(axis, other)
        axes.append(axis)
    return tuple(axes)


def _same(one: Axis, other: Axis) -> Axis:
    """One axis that two values share."""
    if one == other or (is_plain(one) and is_plain(other)):
        return one
    if is_steps(one) and is_plain(other):
        return one  # a value for each place in a sequence, such as an encoding of positions
    if is_plain(one) and is_steps(other):
        return other
    raise Mixed(f"joins an axis of {axis_text(one)} with one of {axis_text(other)}")


def axis_text(axis: Axis) -> str:
    """An axis for a message: ``the batch``, ``steps - 4 steps``, ``8 places``."""
    texts = []
    for factor in axis:
        if isinstance(factor, Batch):
            texts.append("the batch")
        elif isinstance(factor, Steps):
            texts.append("the steps" if factor.size == STEPS else f"{factor.size} steps")
        else:
            texts.append(f"{factor} places")
    return " by ".join(texts) or "one place"


def regrouped(layout: Layout, old: Sequence[Size], new: Sequence[Size]) -> Layout:
    """The layout of the same elements, in the same order, under another shape.

    Factors are dealt to the new axes from the first to the last, and a plain factor is split where a new axis needs a
    part of it.

    Raises
    ------
    Mixed
        An axis would take a part of the batch or of the steps, or it is not known how a factor is split.
    """
    left: list[tuple[Factor, Size]] = []
    for axis, size in zip(layout, old, strict=True):
        left += zip(axis, _factor_sizes(axis, size), strict=True)
    made: list[Axis] = []
    for wanted in new:
        taken: list[Factor] = []
        while wanted != 1:
            if not left:
                raise Mixed("makes a shape of more places than it is given")
            factor, size = left.pop(0)
            if size == 1 and not isinstance(factor, (Batch, Steps)):
                continue
            rest, over = _taken(wanted, size)
            if over != 1:
                if isinstance(factor, (Batch, Steps)):
                    raise Mixed(f"takes {axis_text((factor,))} apart")
                left.insert(0, (over, over))
                factor = wanted
            taken.append(factor)
            wanted = rest
        if not taken and left and left[0][1] == 1 and isinstance(left[0][0], (Batch, Steps)):
            taken.append(left.pop(0)[0])  # a batch or a sequence of one, fixed
        made.append(tuple(taken))
    if any(size != 1 or isinstance(factor, (Batch, Steps)) for factor, size in left):
        raise Mixed("leaves the batch or the steps without an axis")
    return tuple(made)


def _factor_sizes(axis: Axis, size: Size) -> list[Size]:
    """How large each factor of an axis is in the value itself: the batch and the steps may be fixed there."""
    known = [factor for factor in axis if not isinstance(factor, (Batch, Steps))]
    if len(axis) == len(known):
        return list(known)
    if len(axis) == len(known) + 1:
        whole = _whole(size, product(known))
        if whole is None:
            raise Mixed("has an axis whose parts are not known")
        return [whole if isinstance(factor, (Batch, Steps)) else factor for factor in axis]
    named = [
        factor
        if not isinstance(factor, (Batch, Steps))
        else symbol("batch")
        if isinstance(factor, Batch)
        else factor.size
        for factor in axis
    ]
    if product(named) == size:
        return named
    for at, factor in enumerate(axis):  # one of the two is fixed, and its size what the other leaves
        if isinstance(factor, (Batch, Steps)):
            others = [each for place, each in enumerate(named) if place != at]
            rest = quotient([size], others)
            if isinstance(rest, int):
                return [rest if place == at else each for place, each in enumerate(named)]
    raise Mixed("has an axis of the batch and the steps, both of them fixed")


def _whole(size: Size, by: Size) -> Size | None:
    return quotient([size], [by])


def _taken(wanted: Size, size: Size) -> tuple[Size, Size]:
    """What of a wanted axis is left when a factor goes into it, and what of the factor is left over."""
    rest = _whole(wanted, size)
    if rest is not None:
        return rest, 1
    over = _whole(size, wanted)
    if over is not None:
        return 1, over
    raise Mixed(f"makes an axis of {wanted} places from one of {size}")


class Rows:
    """Where each row of a value ends, for a layout and the lengths of a call: (batch,) for each symbol of steps."""

    def __init__(
        self, layout: Layout, lengths: Mapping[str, NDArray[np.intp]], sizes: Mapping[str, int] | None = None
    ) -> None:
        self.layout, self.lengths = layout, lengths
        self.sizes = sizes or {}  # of the call's other symbols
        self.batch = len(next(iter(lengths.values())))

    def ends(self, shape: Sequence[int], axis: int) -> NDArray[np.intp] | None:
        """How many steps each row of an array of that shape has along an axis, kept at one place; None if all."""
        real = self.real(shape) if has_steps(self.layout[axis]) else None
        return None if real is None else np.asarray(real.sum(axis=axis, keepdims=True), np.intp)

    def of(self, steps: Steps) -> NDArray[np.intp] | None:
        """(batch,): how many of these steps each row has; None where its lengths were not given."""
        assert isinstance(steps.size, Expression)
        (name,) = steps.size.symbols()
        lengths = self.lengths.get(name)
        if lengths is None or str(steps.size) == name:
            return lengths
        made = np.array([evaluate(steps.size, {name: int(length)}) for length in lengths], np.intp)
        if made.size and made.min() < 1:
            raise ShapeError(f"lengths: a row of {lengths[made.argmin()]} steps has none left here")
        return made

    def real(self, shape: Sequence[int]) -> NDArray[np.bool_] | None:
        """Which elements of an array of that shape lie within their rows, broadcastable to it; None if all do."""
        if not any(has_steps(axis) for axis in self.layout):
            return None
        parts = [self._parts(axis, size) for axis, size in zip(self.layout, shape, strict=True)]
        fine = [part for axis in parts for part in axis]  # (factor, size), the axes taken apart
        at_batch = next((place for place, (factor, _) in enumerate(fine) if isinstance(factor, Batch)), None)
        if at_batch is None:
            return None
        real = np.ones([1] * len(fine), bool)
        for place, (factor, size) in enumerate(fine):
            ends = self.of(factor) if isinstance(factor, Steps) else None
            if ends is not None:
                index = np.arange(size).reshape(_along(place, len(fine)))
                real = real & (index < ends.reshape(_along(at_batch, len(fine))))
        if real.size == 1:
            return None
        if len(fine) == len(shape):
            return real
        return np.broadcast_to(real, [size for _, size in fine]).reshape(tuple(shape))

    def _parts(self, axis: Axis, size: int) -> list[tuple[Factor, int]]:
        """The factors of an axis of that size and how large each is."""
        sizes: list[Any] = [self.batch if isinstance(factor, Batch) else self._number(factor) for factor in axis]
        known = [each for each in sizes if isinstance(each, int)]
        if len(known) < len(sizes) - 1 or any(not isinstance(each, (int, Steps)) for each in sizes):
            raise Mixed("has an axis whose parts are not known")
        rest = size // max(1, int(np.prod(known)))
        found = [(factor, each if isinstance(each, int) else rest) for factor, each in zip(axis, sizes, strict=True)]
        return found or [(size, size)]

    def _number(self, factor: Factor) -> Factor:
        """A plain factor as the number that it is in this call."""
        if isinstance(factor, Expression) and factor.symbols() <= set(self.sizes):
            return evaluate(factor, self.sizes)
        return factor


def _along(place: int, rank: int) -> list[int]:
    return [-1 if at == place else 1 for at in range(rank)]
