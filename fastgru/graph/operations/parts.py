"""Operations that take some of the places of an axis, or put places beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ShapeError, UnsupportedModelError
from ..graph import BOOLEAN, FLOAT, INTEGER, Tensor
from ..layout import BATCH, STEPS, Axis, Layout, Mixed, Steps, broadcast, has_steps, is_plain, is_steps
from ..size import Size, Sizes, size_text
from .operation import Array, Call, Operation, axis_of, one_input

__all__ = ["Arange", "Flip", "Full", "Gather", "OneHot", "Pad", "Roll", "Select", "Slice", "Take"]


def _without(layout: Layout, axis: int, *instead: Axis) -> Layout:
    return (*layout[:axis], *instead, *layout[axis + 1 :])


def _no_batch(axis: Axis, what: str) -> None:
    if BATCH in axis or (has_steps(axis) and not is_steps(axis)):
        raise Mixed(f"{what} of the batch")


def _per_row(array: Array, axis: int, batch: int, places: NDArray[np.intp]) -> Array:
    """One place of an axis for each row: ``places`` is (batch,)."""
    index = places.reshape([-1 if at == batch else 1 for at in range(array.ndim)])
    return np.take_along_axis(array, index, axis=axis)


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
        axis = axis_of(self.axis, x.ndim)
        ends = call.ends(0, axis)
        least = x.shape[axis] if ends is None else int(ends.min(initial=x.shape[axis]))
        if not -least <= self.index < least:
            raise ShapeError(f"index {self.index} of a row with {least} places")
        if ends is None or self.index >= 0 or call.rows is None:
            return [np.take(x, self.index, axis=axis)]
        batch = call.rows[0].layout.index((BATCH,))
        return [_per_row(x, axis, batch, ends + self.index).squeeze(axis)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        _no_batch(inputs[0][axis], "takes one row")
        if is_steps(inputs[0][axis]) and (BATCH,) not in inputs[0]:
            raise Mixed("takes a step of rows that are not an axis of their own")
        return [_without(inputs[0], axis)]

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
        ends = call.ends(0, axis)
        if ends is not None and self._from_the_end() and call.rows is not None:
            return [self._each_row(x, axis, ends, call.rows[0].layout.index((BATCH,)))]
        for bound in (start, stop):
            least = x.shape[axis] if ends is None else int(ends.min(initial=x.shape[axis]))
            if ends is not None and bound is not None and abs(bound) > least:
                raise ShapeError(f"takes place {bound} of a row with {least} places")
        return [x[(slice(None),) * axis + (slice(start, stop, self.stride),)]]

    def _from_the_end(self) -> bool:
        return isinstance(self.start, int) and self.start < 0 and self.stop is None

    def _each_row(self, x: Array, axis: int, ends: NDArray[np.intp], batch: int) -> Array:
        """The last places of each row."""
        count = -int(self.start)  # type: ignore[arg-type]
        if ends.min(initial=count) < count:
            raise ShapeError(f"takes the last {count} places of a row with {ends.min()}")
        places = ends[:, None] - count + np.arange(count)
        index = places.reshape([len(ends) if at == batch else count if at == axis else 1 for at in range(x.ndim)])
        if batch > axis:
            shape = [count if at == axis else len(ends) if at == batch else 1 for at in range(x.ndim)]
            index = places.T.reshape(shape)
        return np.take_along_axis(x, index, axis=axis)[(slice(None),) * axis + (slice(None, None, self.stride),)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        along = inputs[0][axis]
        if self.start in (None, 0) and self.stop is None and self.stride == 1:
            return [inputs[0]]
        _no_batch(along, "takes some rows")
        if is_plain(along):
            count = self._count(shapes[0][axis])
            return [_without(inputs[0], axis, () if count == 1 else (count,))]
        (steps,) = along
        assert isinstance(steps, Steps)
        return [_without(inputs[0], axis, self._of_steps(steps, shapes[0][axis], (BATCH,) in inputs[0]))]

    def _of_steps(self, steps: Steps, size: Size, own_batch: bool) -> Axis:
        """The axis that a part of the steps is: steps where every row gives what is left of it."""
        for bound in (self.start, self.stop):
            if bound is not None and not isinstance(bound, int):
                raise Mixed(f"takes steps up to {bound}, which is not counted from each row's own end")
        if self._from_the_end():
            if not own_batch:
                raise Mixed("takes the last steps of rows that are not an axis of their own")
            return (-int(self.start),) if self.stride == 1 else ((-int(self.start) + self.stride - 1) // self.stride,)  # type: ignore[arg-type]
        if isinstance(self.stop, int) and self.stop >= 0:
            count = self._count(self.stop)
            if isinstance(self.start, int) and self.start < 0:
                raise Mixed("takes steps counted from both ends")
            return () if count == 1 else (count,)
        return (Steps(self._count(steps.size)),)

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        axis = axis_of(self.axis, len(inputs[0]))
        if not has_steps(inputs[0][axis]) or (self.start in (None, 0) and self.stop is None and self.stride == 1):
            return None
        return f"takes steps from {self.start or 0} to {'the end' if self.stop is None else self.stop}"


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
            ends = call.ends(0, axis)
            if ends is None or call.rows is None:
                x = np.flip(x, axis)
                continue
            batch = call.rows[0].layout.index((BATCH,))
            places = np.arange(x.shape[axis])
            rows = ends.reshape([-1 if at == batch else 1 for at in range(x.ndim)])
            index = rows - 1 - places.reshape([-1 if at == axis else 1 for at in range(x.ndim)])
            x = np.take_along_axis(x, np.where(index < 0, index + x.shape[axis], index), axis=axis)
        return [x]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        for axis in self.axes:
            along = inputs[0][axis_of(axis, len(inputs[0]))]
            _no_batch(along, "turns round the rows")
            if is_steps(along) and (BATCH,) not in inputs[0]:
                raise Mixed("turns round the steps of rows that are not an axis of their own")
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
        if self.mode == "constant":
            return [np.pad(x, widths, constant_values=np.asarray(self.value).astype(x.dtype))]
        most = {"reflect": -1, "edge": 1 << 62, "wrap": 0}[self.mode]
        for size, pair in zip(x.shape, widths, strict=True):
            if max(pair) > size + most or (max(pair) and not size):
                raise ShapeError(f"pads {max(pair)} places by {self.mode}, more than an axis of {size} has")
        return [np.pad(x, widths, mode=self.mode)]  # type: ignore[call-overload]

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
                axes.append((Steps(steps.size + before + after),))
            else:
                raise Mixed(f"pads the batch, or the end of the steps by {self.mode}")
        return [tuple(axes)]

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [self.value if self.mode == "constant" else None]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        along = [pair for axis, pair in zip(inputs[0], self.widths, strict=True) if has_steps(axis)]
        return "pads the steps" if any(pair != (0, 0) for pair in along) else None


class Take(Operation):
    """The places that integers name along an axis, whose shape takes that axis's place: ``numpy.take``."""

    axis: int = 0

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) != 2 or inputs[1].dtype != INTEGER:
            raise ShapeError("takes a value and the integers that name its places")
        place = axis_of(self.axis, len(inputs[0].shape))
        shape = inputs[0].shape
        return [Tensor((*shape[:place], *inputs[1].shape, *shape[place + 1 :]), inputs[0].dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x, index = arrays
        size = x.shape[axis_of(self.axis, x.ndim)]
        if index.size and (index.min() < -size or index.max() >= size):
            wrong = int(index.min()) if index.min() < -size else int(index.max())
            raise ShapeError(f"got the integer {wrong}, wanted {-size} to {size - 1}")
        return [np.take(x, index, axis=self.axis)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        rest = (*inputs[0][:axis], *inputs[0][axis + 1 :])
        if not is_plain(inputs[0][axis]):
            raise Mixed("takes rows, or steps, by their numbers")
        if any(not is_plain(each) for each in rest) and any(not is_plain(each) for each in inputs[1]):
            raise Mixed("takes places of each row by numbers of each row")
        return [(*inputs[0][:axis], *inputs[1], *inputs[0][axis + 1 :])]


class Gather(Operation):
    """``x[i][index[i][j]]`` along an axis: ``numpy.take_along_axis``; other axes are cut to the index's sizes."""

    axis: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) != 2 or inputs[1].dtype != INTEGER or len(inputs[0].shape) != len(inputs[1].shape):
            raise ShapeError("takes a value and integers of as many axes")
        axis_of(self.axis, len(inputs[0].shape))
        return [Tensor(inputs[1].shape, inputs[0].dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x, index = arrays
        axis = axis_of(self.axis, x.ndim)
        if any(at != axis and cut > size for at, (size, cut) in enumerate(zip(x.shape, index.shape, strict=True))):
            raise ShapeError(f"got {x.shape} and integers of {index.shape}, wanted no size beyond")
        x = x[tuple(slice(None) if at == axis else slice(cut) for at, cut in enumerate(index.shape))]
        ends = call.ends(0, axis)
        low, high = (int(index.min()), int(index.max())) if index.size else (0, 0)
        if index.size and (low < 0 or high >= x.shape[axis]):
            raise ShapeError(f"got the integer {low if low < 0 else high}, wanted 0 to {x.shape[axis] - 1}")
        if ends is not None and call.rows is not None:
            batch = call.rows[0].layout.index((BATCH,))
            if (index >= ends.reshape([-1 if at == batch else 1 for at in range(x.ndim)])).any():
                raise ShapeError("got an integer beyond a row's length")
        return [np.take_along_axis(x, index, axis=axis)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axis = axis_of(self.axis, len(inputs[0]))
        _no_batch(inputs[0][axis], "takes rows")
        if is_steps(inputs[0][axis]) and (BATCH,) not in inputs[0]:
            raise Mixed("takes steps of rows that are not an axis of their own")
        if has_steps(inputs[1][axis]):
            raise Mixed("takes places by numbers of each step")
        return [_without(broadcast([_without(inputs[0], axis, ()), inputs[1]]), axis, inputs[1][axis])]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        return "takes steps by their numbers" if has_steps(inputs[0][axis_of(self.axis, len(inputs[0]))]) else None


class OneHot(Operation):
    """A last axis of ``classes`` places, 1 at the integer and 0 elsewhere."""

    classes: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if given.dtype != INTEGER or type(self.classes) is not int or not 0 < self.classes < 1 << 31:
            raise ShapeError(f"takes integers and a number of classes, got {given} and {self.classes!r}")
        return [Tensor((*given.shape, self.classes), INTEGER)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        index = arrays[0]
        if index.size and (index.min() < 0 or index.max() >= self.classes):
            raise ShapeError(f"got the integer {int(index.min())} or {int(index.max())}, wanted 0 to {self.classes - 1}")
        return [(index[..., None] == np.arange(self.classes)).astype(np.int64)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        return [(*inputs[0], (self.classes,))]


class Arange(Operation):
    """``start, start + step, ...`` up to before ``stop``; whole numbers where all three are."""

    start: Any
    stop: Any
    step: Any = 1

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        whole = not any(isinstance(each, float) for each in (self.start, self.stop, self.step))
        if whole and type(self.step) is int and self.step > 0:
            count = (self.stop - self.start + (self.step - 1)) // self.step
        elif all(isinstance(each, (int, float)) for each in (self.start, self.stop, self.step)) and self.step:
            count = int(np.ceil((self.stop - self.start) / self.step))
        else:
            raise ShapeError(f"counts from {self.start} to {self.stop} by {self.step}, which is not known")
        if isinstance(count, int) and not 0 <= count < 1 << 31:
            raise ShapeError(f"counts from {self.start} to {self.stop} by {self.step}")
        return [Tensor((count,), INTEGER if whole else FLOAT)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        bounds = [each if isinstance(each, float) else call.size(each) for each in (self.start, self.stop, self.step)]
        whole = all(isinstance(each, int) for each in bounds)
        return [np.arange(*bounds, dtype=np.int64 if whole else call.dtype)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        count = self.infer([])[0].shape[0]
        if isinstance(count, int):
            return [((),) if count == 1 else ((count,),)]
        if count.symbols() == STEPS.symbols() and isinstance(self.start, int):
            return [((Steps(count),),)]
        raise Mixed("counts the rows of the batch")


class Full(Operation):
    """One number everywhere."""

    shape: Sizes
    value: Any
    kind: str = FLOAT

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if self.kind not in (FLOAT, INTEGER, BOOLEAN) or not isinstance(self.value, (int, float)):
            raise ShapeError(f"is filled with {self.value!r} of kind {self.kind!r}, wanted a number")
        return [Tensor(self.shape, self.kind)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        dtype = {FLOAT: call.dtype, INTEGER: np.dtype(np.int64), BOOLEAN: np.dtype(bool)}[self.kind]
        return [np.broadcast_to(np.asarray(self.value, dtype), [call.size(size) for size in self.shape])]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axes: list[Axis] = []
        for size in self.shape:
            if isinstance(size, int):
                axes.append(() if size == 1 else (size,))
            elif size.symbols() == {"batch"} and str(size) == "batch":
                axes.append((BATCH,))
            elif size.symbols() == {"steps"}:
                axes.append((Steps(size),))
            else:
                raise Mixed(f"makes an axis of {size} places")
        return [tuple(axes)]
