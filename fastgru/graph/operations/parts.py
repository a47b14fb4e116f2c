"""Operations that take some of the places of an axis, or put places beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ShapeError, UnsupportedModelError
from ..graph import Tensor
from ..layout import BATCH, Axis, Layout, Mixed, Steps, has_steps, is_plain, is_steps, is_steps_size, steps_axis
from ..size import Size, Sizes, extreme, size_text
from ..windows import Window
from .operation import Array, Call, Operation, Unstreamed, axis_of, one_input

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..streaming import Streams
    from ..streams import Flow
    from ..writer import Writer

__all__ = ["Flip", "Pad", "Roll", "Select", "Slice", "Windows", "check_not_batch", "without"]


def without(layout: Layout, axis: int, *instead: Axis) -> Layout:
    return (*layout[:axis], *instead, *layout[axis + 1 :])


def check_not_batch(axis: Axis, what: str) -> None:
    if BATCH in axis or (has_steps(axis) and not is_steps(axis)):
        raise Mixed(f"{what} of the batch")


class Select(Operation):
    """One place along an axis, which is then gone; a negative one counts from each row's own end."""

    axis: int
    index: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        place = axis_of(self.axis, len(given.shape))
        size = given.shape[place]
        if not isinstance(self.index, (int, np.integer)) or isinstance(self.index, bool):
            raise ShapeError(f"index is {self.index!r}, wanted a whole number")
        if isinstance(size, int) and not -size <= self.index < size:
            raise ShapeError(f"index is {self.index}, but that axis has {size} places")
        return [Tensor(given.shape[:place] + given.shape[place + 1 :], given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0]
        axis = self.axis if self.axis >= 0 else self.axis + x.ndim
        ends = None if call.rows is None else call.ends(x, axis)
        least = x.shape[axis] if ends is None else call.least(x, axis)
        if not -least <= self.index < least:
            raise ShapeError(f"index {self.index} of a row with {least} places")
        if ends is None or self.index >= 0:
            return [x[(slice(None),) * axis + (self.index,)]]
        return [np.take_along_axis(x, np.maximum(ends + self.index, 0), axis=axis).squeeze(axis)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        axis = axis_of(self.axis, len(inputs[0].shape))
        size = inputs[0].shape[axis]
        return [inputs[0].taken(axis, self.index % size)] if -size <= self.index < size else None

    def needs_lengths(self, inputs: Sequence[Layout]) -> bool:
        from_the_end = self.index < 0 and has_steps(inputs[0][axis_of(self.axis, len(inputs[0]))])
        return from_the_end or super().needs_lengths(inputs)

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        check_not_batch(inputs[0][axis], "takes one row")
        return [without(inputs[0], axis)]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        axis = axis_of(self.axis, len(inputs[0]))
        if not has_steps(inputs[0][axis]) or self.index == -1:
            return None
        return f"takes step {self.index} of the sequence"


class Slice(Operation):
    """The places from ``start`` to before ``stop``, every ``stride``-th, as Python counts them; None is an end."""

    axis: int
    start: Size | None = None
    stop: Size | None = None
    stride: int = 1
    within: bool = False  # whether both ends are known to lie within the axis, whatever its size

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        place = axis_of(self.axis, len(given.shape))
        for bound in (self.start, self.stop):
            if isinstance(bound, bool):
                raise ShapeError(f"takes from {self.start!r} to {self.stop!r}, wanted whole numbers")
        if type(self.stride) is not int or self.stride < 1:
            raise ShapeError(f"stride is {self.stride!r}, wanted a whole number of at least 1")
        size = given.shape[place]
        count = self._count(size)
        return [Tensor((*given.shape[:place], count, *given.shape[place + 1 :]), given.dtype)]

    def _bounds(self, size: Size) -> tuple[Size, Size]:
        """From where to before where, counted from the start."""
        start: Size = 0 if self.start is None else self.start
        stop: Size = size if self.stop is None else self.stop
        if isinstance(size, int) and isinstance(start, int) and isinstance(stop, int):
            first, end, _ = slice(start, stop).indices(size)
            return first, max(first, end)
        if isinstance(start, int) and start < 0:
            start = size + start
        if isinstance(stop, int) and stop < 0:
            stop = size + stop
        elif isinstance(stop, int) and not self.within:
            stop = extreme("min", stop, size)
        return start, stop

    def _count(self, size: Size) -> Size:
        first, end = self._bounds(size)
        left = end - first
        if isinstance(left, int) and left < 0:
            raise ShapeError(f"takes from {self.start} to {self.stop}, none of {size} places")
        return left if self.stride == 1 else (left + (self.stride - 1)) // self.stride

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0]
        axis = axis_of(self.axis, x.ndim)
        start, stop = (None if bound is None else call.size(bound) for bound in (self.start, self.stop))
        ends, least = call.ends(x, axis), call.least(x, axis)
        for bound in (start, stop if self.within or (stop or 0) < 0 else None):
            if ends is not None and bound is not None and abs(bound) > least:
                raise ShapeError(f"takes place {bound} of a row with {least} places")
        if ends is None or not self._from_the_end():
            return [x[(slice(None),) * axis + (slice(start, stop, self.stride),)]]
        assert start is not None
        places = np.arange(start, stop or 0, self.stride).reshape([-1 if at == axis else 1 for at in range(x.ndim)])
        return [np.take_along_axis(x, np.maximum(ends + places, 0), axis=axis)]

    def _from_the_end(self) -> bool:
        """Whether every row gives as many places, counted from its own end."""
        stop = 0 if self.stop is None else self.stop
        return isinstance(self.start, int) and isinstance(stop, int) and self.start < stop <= 0

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        axis = axis_of(self.axis, len(inputs[0].shape))
        start, stop = (None if bound is None else writer.size(bound) for bound in (self.start, self.stop))
        places = range(*slice(start, stop, self.stride).indices(inputs[0].shape[axis]))
        return [inputs[0].sliced(axis, places.start, len(places), self.stride)] if places else None

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        along = inputs[0][axis]
        if self.start in (None, 0) and self.stop is None and self.stride == 1:
            return [inputs[0]]
        check_not_batch(along, "takes some rows")
        if is_plain(along):
            if self._begins_with_steps() and all(map(is_plain, inputs[0])):  # of a table, a place for each step
                return [without(inputs[0], axis, steps_axis(self.stop))]  # type: ignore[arg-type]
            if any(each is not None and is_steps_size(each) for each in (self.start, self.stop)):
                raise Mixed("takes places by the number of steps, which rows of their own lengths have not alike")
            count = self._count(shapes[0][axis])
            return [without(inputs[0], axis, () if count == 1 else (count,))]
        (steps,) = along
        assert isinstance(steps, Steps)
        return [without(inputs[0], axis, self._of_steps(steps))]

    def _begins_with_steps(self) -> bool:
        """Whether the first places are taken, as many as there are steps."""
        return self.start in (None, 0) and self.stride == 1 and self.stop is not None and is_steps_size(self.stop)

    def _of_steps(self, steps: Steps) -> Axis:
        """The axis that a part of the steps is: steps where every row gives what is left of it."""
        for bound in (self.start, self.stop):
            if bound is not None and not isinstance(bound, int):
                raise Mixed(f"takes steps up to {bound}, which is not counted from each row's own end")
        if self._from_the_end():
            places = len(range(int(self.start or 0), int(self.stop or 0), self.stride))  # type: ignore[arg-type]
            return () if places == 1 else (places,)
        if isinstance(self.stop, int) and self.stop >= 0:
            if isinstance(self.start, int) and self.start < 0:
                raise Mixed("takes steps counted from both ends")
            count = self._count(self.stop if self.within else steps.size)
            return () if count == 1 else (count,) if isinstance(count, int) else steps_axis(count)
        return steps_axis(self._count(steps.size))

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        axis = axis_of(self.axis, len(inputs[0]))
        if not has_steps(inputs[0][axis]) or (self.start in (None, 0) and self.stop is None and self.stride == 1):
            return None
        return f"takes steps from {self.start or 0} to {'the end' if self.stop is None else self.stop}"

    def stream(self, inputs: Sequence[Flow], here: Streams) -> Sequence[Flow]:
        (x,) = inputs
        reason, axis = self.looks([x.layout]), axis_of(self.axis, len(x.layout))
        if reason is None:
            return here.each(self, inputs)
        size = here.size(x, axis)
        first, end = self._bounds(size)
        behind = size - end
        if self.stride > 1 or not (isinstance(first, int) and isinstance(behind, int) and first >= 0):
            raise Unstreamed(f"it {reason}")
        return [here.shifted(x, axis, -first, -behind)]


class Flip(Operation):
    """The places of some axes from the last to the first; of steps, from each row's own last."""

    axes: tuple[int, ...]

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        for axis in self.axes:
            axis_of(axis, len(given.shape))
        return [given]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0]
        for each in self.axes:
            axis = axis_of(each, x.ndim)
            ends = call.ends(x, axis)
            if ends is None:
                x = np.flip(x, axis)
                continue
            places = np.arange(x.shape[axis]).reshape([-1 if at == axis else 1 for at in range(x.ndim)])
            index = ends - 1 - places
            x = np.take_along_axis(x, np.where(index < 0, places, index), axis=axis)
        return [x]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        x = inputs[0]
        for axis in {axis_of(each, len(x.shape)) for each in self.axes if self.axes.count(each) == 1}:
            x = x.sliced(axis, x.shape[axis] - 1, x.shape[axis], -1)
        return [x] if len({axis_of(each, len(x.shape)) for each in self.axes}) == len(self.axes) else None

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        for axis in self.axes:
            check_not_batch(inputs[0][axis_of(axis, len(inputs[0]))], "turns round the rows")
        return [inputs[0]]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        turned = any(has_steps(inputs[0][axis_of(axis, len(inputs[0]))]) for axis in self.axes)
        return "begins at the last step" if turned else None


class Roll(Operation):
    """The places of an axis moved on by ``shift``; those that leave at the end come back at the start."""

    axis: int
    shift: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        axis_of(self.axis, len(given.shape))
        return [given]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        return [np.roll(arrays[0], self.shift, self.axis)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        if not is_plain(inputs[0][axis_of(self.axis, len(inputs[0]))]):
            raise Mixed("moves the last steps, or rows, to the start")
        return [inputs[0]]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        return "moves the last steps to the start" if has_steps(inputs[0][axis_of(self.axis, len(inputs[0]))]) else None


class Pad(Operation):
    """Places before and after along axes: ``value``, or copies by ``mode``, as NumPy names it.

    ``mode`` is "constant", "reflect", "edge" (PyTorch's replicate) or "wrap" (circular).
    """

    widths: tuple[tuple[int, int], ...]  # before and after, of each axis; negative ones take places away
    value: float = 0.0
    mode: str = "constant"

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if self.mode not in ("constant", "reflect", "edge", "wrap"):
            raise UnsupportedModelError(f"mode is {self.mode!r}, wanted constant, reflect, edge or wrap")
        if len(self.widths) != len(given.shape):
            raise ShapeError(f"has widths of {len(self.widths)} axes, wanted {len(given.shape)}")
        sizes = tuple(size + before + after for size, (before, after) in zip(given.shape, self.widths, strict=True))
        if any(isinstance(size, int) and size < 0 for size in sizes):
            raise ShapeError(f"leaves nothing of {size_text(given.shape)}")
        return [Tensor(sizes, given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0][tuple(slice(max(-a, 0), size - max(-b, 0)) for size, (a, b) in
                            zip(arrays[0].shape, self.widths, strict=True))]  # fmt: skip
        widths = [(max(before, 0), max(after, 0)) for before, after in self.widths]
        if not widths:  # one number, which np.pad does not take
            return [x]
        if self.mode == "constant":
            return [np.pad(x, widths, constant_values=np.asarray(self.value).astype(x.dtype))]
        most = {"reflect": -1, "edge": 1 << 62, "wrap": 0}[self.mode]
        for size, pair in zip(x.shape, widths, strict=True):
            if max(pair) > size + most or (max(pair) and not size):
                raise ShapeError(f"pads {max(pair)} places by {self.mode}, more than an axis of {size} has")
        return [np.pad(x, widths, mode=self.mode)]  # type: ignore[call-overload]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        x = inputs[0]
        if self.mode != "constant" or x.kind != "f" or any(min(pair) < 0 for pair in self.widths):
            return None
        made = writer.new([size + sum(pair) for size, pair in zip(x.shape, self.widths, strict=True)])
        around = writer.constant(np.float32(self.value)).expanded(made.shape)
        assert around is not None
        writer.copy(made, around)
        inner = made
        for axis, (before, _) in enumerate(self.widths):
            inner = inner.sliced(axis, before, x.shape[axis])
        writer.copy(inner, x)
        return [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axes: list[Axis] = []
        for axis, size, (before, after) in zip(inputs[0], shapes[0], self.widths, strict=True):
            if (before, after) == (0, 0):
                axes.append(axis)
            elif is_plain(axis):
                total = size + before + after
                axes.append(() if total == 1 else (total,))
            elif is_steps(axis) and (self.mode == "constant" or (after <= 0 and before >= 0 and self.mode != "wrap")):
                (steps,) = axis
                assert isinstance(steps, Steps)
                axes.append(steps_axis(steps.size + before + after))
            else:
                raise Mixed(f"pads the batch, or the end of the steps by {self.mode}")
        return [tuple(axes)]

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [self.value if self.mode == "constant" else None]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        along = [pair for axis, pair in zip(inputs[0], self.widths, strict=True) if has_steps(axis)]
        return "pads the steps" if any(pair != (0, 0) for pair in along) else None

    def stream(self, inputs: Sequence[Flow], here: Streams) -> Sequence[Flow]:
        (x,) = inputs
        along = [axis for axis, factors in enumerate(x.layout) if has_steps(factors) and self.widths[axis] != (0, 0)]
        if not along or self.mode != "constant":
            return super().stream(inputs, here)
        (axis,) = along
        others = tuple((0, 0) if at == axis else pair for at, pair in enumerate(self.widths))
        if any(pair != (0, 0) for pair in others):
            (x,) = here.each(here.alike(self, widths=others), inputs)
            x = x._replace(place=inputs[0].place, layout=inputs[0].layout)
        return [here.shifted(x, axis, *self.widths[axis], self.value)]


class Windows(Operation):
    """Windows along an axis, their places in a last axis of their own: PyTorch's ``unfold``."""

    axis: int
    size: int
    stride: int = 1

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        place = axis_of(self.axis, len(given.shape))
        count = Window(self.size, self.stride).count(given.shape[place])
        return [Tensor((*given.shape[:place], count, *given.shape[place + 1 :], self.size), given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        axis = axis_of(self.axis, arrays[0].ndim)
        view = np.lib.stride_tricks.sliding_window_view(arrays[0], self.size, axis=axis)
        return [view[(slice(None),) * axis + (slice(None, None, self.stride),)]]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        made = Window(self.size, self.stride).follow(inputs[0][axis], shapes[0][axis])
        return [(*without(inputs[0], axis, made), () if self.size == 1 else (self.size,))]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        return "takes several steps together" if has_steps(inputs[0][axis_of(self.axis, len(inputs[0]))]) else None

    def stream(self, inputs: Sequence[Flow], here: Streams) -> Sequence[Flow]:
        (x,) = inputs
        axis = axis_of(self.axis, len(x.layout))
        if not has_steps(x.layout[axis]) or self.stride != 1:
            return super().stream(inputs, here)
        return here.windows(self, x, axis, self.size)
