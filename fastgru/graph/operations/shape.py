"""Operations that move elements and compute none: other shapes, orders of axes, repeats, joins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ShapeError
from ..graph import Tensor
from ..layout import (
    BATCH,
    Axis,
    Layout,
    Mixed,
    Steps,
    broadcast,
    has_steps,
    is_plain,
    is_steps,
    is_steps_size,
    regrouped,
    steps_axis,
)
from ..size import Expression, Size, Sizes, Unequal, product, quotient, size_text, solved
from .operation import Array, Call, Operation, axis_of, one_input

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..streaming import Streams
    from ..streams import Flow
    from ..writer import Writer

__all__ = ["Concatenate", "Expand", "Permute", "Repeat", "View"]


class View(Operation):
    """The same elements in the same order under another shape; one size may be -1, what the others leave."""

    shape: Sizes

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        return [Tensor(self.resolved(given.shape), given.dtype)]

    def resolved(self, given: Sizes) -> Sizes:
        """The shape, with a size in the place of -1."""
        if not isinstance(self.shape, tuple) or not all(_is_size(size) for size in self.shape):
            raise ShapeError(f"shape is {self.shape!r}, wanted a tuple of sizes")
        if self.shape.count(-1) > 1:
            raise ShapeError(f"shape is {size_text(self.shape)}, wanted at most one -1")
        others = [size for size in self.shape if size != -1]
        if -1 not in self.shape:
            ours = list(given)
            theirs = [size for size in others if size not in ours or ours.remove(size)]  # type: ignore[func-returns-value]
            total, wanted = product(ours), product(theirs)
            if isinstance(total, int) and isinstance(wanted, int) and total != wanted:
                raise ShapeError(f"{size_text(given)} cannot become {size_text(self.shape)}")
            if total != wanted and solved(total, wanted) is not None:
                raise Unequal(f"{size_text(given)} cannot become {size_text(self.shape)}", total, wanted)
            return self.shape  # what is not known to be equal is checked by every call
        rest = quotient(given, others) if product(others) != 0 else None
        if rest is None and isinstance(product(given), Expression):
            rest = _rounded(given, others)
        if rest is None:
            raise ShapeError(f"{size_text(given)} cannot become {size_text(self.shape)}")
        return tuple(rest if size == -1 else size for size in self.shape)

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        sizes = [-1 if size == -1 else call.size(size) for size in self.shape]
        if not arrays[0].size and -1 in sizes:
            sizes[sizes.index(-1)] = _left_over(arrays[0].shape, sizes)
        return [np.reshape(arrays[0], sizes)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        sizes = [-1 if size == -1 else writer.size(size) for size in self.shape]
        others = math.prod(size for size in sizes if size != -1)
        if others < 1 or inputs[0].size % others or (-1 not in sizes and inputs[0].size != others):
            return None
        sizes = [inputs[0].size // others if size == -1 else size for size in sizes]
        made = inputs[0].reshaped(sizes)
        made = writer.together(inputs[0]).reshaped(sizes) if made is None else made
        return None if made is None else [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        return [regrouped(inputs[0], shapes[0], self.resolved(shapes[0]))]


def _left_over(given: Sequence[int], sizes: Sequence[int]) -> int:
    """What stands for -1 where there are no elements to count: sizes that stay the same do not matter."""
    ours, others = list(given), [size for size in sizes if size != -1]
    for size in [*others]:
        if size in ours:
            ours.remove(size)
            others.remove(size)
    return int(np.prod(ours)) // max(1, int(np.prod(others)))


def _rounded(sizes: Sequence[Size], divisors: Sequence[Size]) -> Size | None:
    """The quotient of sizes that is whole where a call's sizes allow the shape at all."""
    above, number = list(sizes), 1
    for divisor in divisors:
        if divisor in above:
            above.remove(divisor)
        elif isinstance(divisor, int) and divisor > 0:
            number *= divisor
        else:
            return None
    total = product(above)
    return total // number if isinstance(total, Expression) else None


def _is_size(size: object) -> bool:
    return isinstance(size, Expression) or (isinstance(size, int) and not isinstance(size, bool) and size >= -1)


class Permute(Operation):
    """The axes in another order: axis ``order[i]`` of the input is axis i."""

    order: tuple[int, ...]

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        rank = len(given.shape)
        if not isinstance(self.order, tuple) or sorted(self.order) != list(range(rank)):
            raise ShapeError(f"order is {self.order!r}, wanted 0 to {rank - 1} in some order")
        return [Tensor(tuple(given.shape[axis] for axis in self.order), given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        return [arrays[0].transpose(self.order)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        return [inputs[0].permuted(self.order)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        return [tuple(inputs[0][axis] for axis in self.order)]


class Expand(Operation):
    """Sizes of 1 repeated, and new axes in front; -1 keeps a size."""

    alike = True
    shape: Sizes

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if not isinstance(self.shape, tuple) or len(self.shape) < len(given.shape):
            raise ShapeError(f"shape is {self.shape!r}, wanted a tuple of at least {len(given.shape)} sizes")
        own = (1,) * (len(self.shape) - len(given.shape)) + given.shape
        sizes: list[Size] = []
        for size, wanted in zip(own, self.shape, strict=True):
            if wanted != -1 and size != 1 and size != wanted:
                raise ShapeError(f"{size_text(given.shape)} cannot be expanded to {size_text(self.shape)}")
            sizes.append(size if wanted == -1 else wanted)
        return [Tensor(tuple(sizes), given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        own = (1,) * (len(self.shape) - arrays[0].ndim) + arrays[0].shape
        sizes = [size if wanted == -1 else call.size(wanted) for size, wanted in zip(own, self.shape, strict=True)]
        return [np.broadcast_to(arrays[0], sizes)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        own = (1,) * (len(self.shape) - len(inputs[0].shape)) + inputs[0].shape
        sizes = [size if wanted == -1 else writer.size(wanted) for size, wanted in zip(own, self.shape, strict=True)]
        made = inputs[0].expanded(sizes)
        return None if made is None else [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        own: Layout = ((),) * (len(self.shape) - len(inputs[0])) + inputs[0]
        return [tuple(_repeated(axis, size) for axis, size in zip(own, self.shape, strict=True))]


def _repeated(axis: Axis, size: Size) -> Axis:
    """An axis of one place repeated to a size: rows for the batch, or steps, where the size says so by its symbol."""
    if axis != () or size in (-1, 1):
        return axis
    if isinstance(size, int):
        return (size,)
    if size.symbols() == {"batch"}:
        rest = quotient([size], [Expression(((("batch",), 1),))])
        if rest == 1:
            return (BATCH,)
    if is_steps_size(size):
        return steps_axis(size)
    raise Mixed(f"repeats an axis {size} times")


class Repeat(Operation):
    """The whole of each axis ``counts[i]`` times, one behind the other; new axes in front."""

    counts: Sizes

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        counts = self.counts
        if not isinstance(counts, tuple) or len(counts) < len(given.shape) or not all(_is_size(n) for n in counts):
            raise ShapeError(f"counts is {counts!r}, wanted a tuple of at least {len(given.shape)} whole numbers")
        own = (1,) * (len(counts) - len(given.shape)) + given.shape
        return [Tensor(tuple(size * count for size, count in zip(own, counts, strict=True)), given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        return [np.tile(arrays[0], [call.size(count) for count in self.counts])]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        own: Layout = ((),) * (len(self.counts) - len(inputs[0])) + inputs[0]
        axes: list[Axis] = []
        for axis, count in zip(own, self.counts, strict=True):
            if count == 1 or axis == ():
                axes.append(_repeated(axis, count))
            elif is_plain(axis) and is_steps_size(count):
                raise Mixed("repeats places by the number of steps, which rows of their own lengths have not alike")
            elif is_plain(axis):
                axes.append((count, *axis))
            else:
                raise Mixed("repeats the batch or the steps as a whole")
        return [tuple(axes)]


class Concatenate(Operation):
    """The inputs one behind the other along an axis."""

    axis: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if not inputs:
            raise ShapeError("takes one input or more, got none")
        first = inputs[0]
        place = axis_of(self.axis, len(first.shape))
        sizes = list(first.shape)
        kinds = {each.dtype for each in inputs}
        for other in inputs[1:]:
            if len(other.shape) != len(sizes):
                raise ShapeError(
                    f"got shapes {size_text(first.shape)} and {size_text(other.shape)}, wanted as many axes"
                )
            for axis, size in enumerate(other.shape):
                if axis == place:
                    sizes[axis] = sizes[axis] + size
                elif sizes[axis] != size:
                    if isinstance(sizes[axis], int) == isinstance(size, int):
                        raise Unequal(
                            f"got shapes {size_text(first.shape)} and {size_text(other.shape)}, which may differ only "
                            f"along axis {self.axis}",
                            sizes[axis],
                            size,
                        )
                    sizes[axis] = size if isinstance(size, int) else sizes[axis]  # checked by every call
        kind = next(kind for kind in ("float", "integer", "boolean") if kind in kinds)
        return [Tensor(tuple(sizes), kind)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        floats = any(array.dtype.kind == "f" for array in arrays)
        return [np.concatenate([each.astype(call.dtype, copy=False) if floats else each for each in arrays], self.axis)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        kinds = {each.kind for each in inputs}
        kind = next(kind for kind in "fib" if kind in kinds)
        parts = [writer.cast(each, kind) for each in inputs]
        axis = axis_of(self.axis, len(inputs[0].shape))
        shape = list(inputs[0].shape)
        if any((*each.shape[:axis], *each.shape[axis + 1 :]) != (*shape[:axis], *shape[axis + 1 :]) for each in inputs):
            return None
        shape[axis] = sum(each.shape[axis] for each in inputs)
        made, start = writer.new(shape, kind), 0
        for part in parts:
            if part is None:
                return None
            writer.copy(made.sliced(axis, start, part.shape[axis]), part)
            start += part.shape[axis]
        return [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        place = axis_of(self.axis, len(inputs[0]))
        others = [(*layout[:place], (), *layout[place + 1 :]) for layout in inputs]
        made = broadcast(others)
        along = [layout[place] for layout in inputs]
        return [(*made[:place], _joined(along), *made[place + 1 :])]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        place = axis_of(self.axis, len(inputs[0]))
        along = len(inputs) > 1 and any(has_steps(layout[place]) for layout in inputs)
        return "puts sequences one behind the other" if along else None

    def stream(self, inputs: Sequence[Flow], here: Streams) -> Sequence[Flow]:
        axis = axis_of(self.axis, len(inputs[0].layout))
        *before, last = inputs
        if before and is_steps(last.layout[axis]):
            known = [here.known(flow.place) for flow in before]
            beginning = [array for array in known if array is not None]
            if len(beginning) == len(before):
                return [here.led(last, axis, beginning)]
        return super().stream(inputs, here)


def _joined(along: Sequence[Axis]) -> Axis:
    """The axis that parts make one behind the other."""
    if len(along) == 1:
        return along[0]
    if all(is_plain(axis) for axis in along):
        total: Size = 0
        for axis in along:
            total = total + product(size for size in axis if isinstance(size, (int, Expression)))
        return (total,)
    *before, last = along
    if all(is_plain(axis) for axis in before) and is_steps(last):  # steps behind a beginning that all rows share
        ahead: Size = 0
        for axis in before:
            ahead = ahead + product(size for size in axis if isinstance(size, (int, Expression)))
        (steps,) = last
        assert isinstance(steps, Steps)
        return steps_axis(steps.size + ahead)
    raise Mixed("puts the rows of the batch, or steps before others, one behind the other")
