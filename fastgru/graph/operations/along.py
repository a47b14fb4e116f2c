"""Operations along an axis that keep it: softmax and its kind, gates of halves, cumulative sums, the largest k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ... import activations
from ...engine.program import ALONG, along
from ...errors import ShapeError, UnsupportedModelError
from ..graph import BOOLEAN, INTEGER, Tensor
from ..layout import Layout, Mixed, has_steps, is_plain
from ..size import Size, Sizes
from .elementwise import by_program
from .operation import Array, Call, Operation, axis_of, one_input
from .reduce import check_rows, places_of

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..writer import Writer

__all__ = ["AlongAxis", "CumulativeExtreme", "CumulativeProduct", "CumulativeSum", "Glu", "TopK"]


class _Along(Operation):
    """What keeps an axis and computes each place of it with the others."""

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        check_rows(inputs[0], [axis_of(self.axis, len(inputs[0]))], "takes")  # type: ignore[attr-defined]
        return [inputs[0]]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        along = has_steps(inputs[0][axis_of(self.axis, len(inputs[0]))])  # type: ignore[attr-defined]
        return "takes all steps together" if along else None


class AlongAxis(Operation):
    """softmax, log_softmax, softmin or sparsemax along an axis, or along several taken as one."""

    fresh = True
    name: str
    axis: int | tuple[int, ...] = -1

    def _axes(self, rank: int) -> tuple[int, ...]:
        return places_of(self.axis if isinstance(self.axis, tuple) else (self.axis,), rank)

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if self.name not in ("softmax", "log_softmax", "softmin", "sparsemax", "sparsemax_keras315"):
            raise UnsupportedModelError(f"{self.name!r} does not work along an axis")
        self._axes(len(given.shape))
        return [Tensor(given.shape)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        from ...options import kernel_table

        axes = self._axes(arrays[0].ndim)
        behind = range(-len(axes), 0)
        moved = np.moveaxis(arrays[0], axes, behind)
        places = int(np.prod(moved.shape[moved.ndim - len(axes) :]))
        flat: Array = np.ascontiguousarray(moved).reshape(-1, places) if places else np.zeros((0, 1))
        if call.dtype == np.float32 and flat.dtype == np.float32 and self.name in ALONG:
            made: Array = along(kernel_table(), self.name, flat)
        else:
            with np.errstate(all="ignore"):
                made = activations.formula(self.name)(flat.astype(np.float64)) if flat.size else flat
        return [np.moveaxis(made.reshape(moved.shape), behind, axes).astype(call.dtype)]

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [np.inf if self.name == "softmin" else -np.inf]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        from ...options import kernel_table

        x = writer.cast(inputs[0], "f")
        if x is None or self.name not in ALONG:
            return None
        if isinstance(self.axis, tuple):
            return None
        axis = axis_of(self.axis, len(x.shape))
        order = [at for at in range(len(x.shape)) if at != axis] + [axis]
        made = writer.new(x.shape)
        writer.write("along", [made], kernel_table(), self.name, made.permuted(order), x.permuted(order))
        return [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        check_rows(inputs[0], self._axes(len(inputs[0])), "takes")
        return [inputs[0]]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        along = any(has_steps(inputs[0][axis]) for axis in self._axes(len(inputs[0])))
        return "takes all steps together" if along else None


class Glu(Operation):
    """The first half along an axis times the logistic function of the second."""

    axis: int = -1

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        place = axis_of(self.axis, len(given.shape))
        size = given.shape[place]
        if isinstance(size, int) and size % 2:
            raise ShapeError(f"halves an axis of {size} places")
        return [Tensor((*given.shape[:place], size // 2, *given.shape[place + 1 :]))]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        if arrays[0].shape[self.axis] % 2:
            raise ShapeError(f"halves an axis of {arrays[0].shape[self.axis]} places")
        kept, gate = np.split(arrays[0], 2, axis=self.axis)
        if arrays[0].dtype == np.float32:
            return [by_program("gated", [kept, gate])]
        kept, gate = kept.astype(np.float64), gate.astype(np.float64)
        with np.errstate(all="ignore"):
            made = kept * np.asarray(activations.formula("sigmoid")(np.atleast_1d(gate))).reshape(gate.shape)
        return [made.astype(call.dtype)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        x = writer.cast(inputs[0], "f")
        axis = axis_of(self.axis, len(inputs[0].shape))
        half = inputs[0].shape[axis] // 2
        if x is None or inputs[0].shape[axis] % 2:
            return None  # what cannot be halved is refused where NumPy computes it
        made = writer.elementwise("gated", [x.sliced(axis, 0, half), x.sliced(axis, half, half)])
        return None if made is None else [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        place = axis_of(self.axis, len(inputs[0]))
        if not is_plain(inputs[0][place]):
            raise Mixed("halves the batch or the steps")
        half = shapes[0][place] // 2
        return [(*inputs[0][:place], () if half == 1 else (half,), *inputs[0][place + 1 :])]


class CumulativeSum(_Along):
    """The sum of each place and all before it along an axis."""

    axis: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        axis_of(self.axis, len(given.shape))
        return [Tensor(given.shape, INTEGER if given.dtype == BOOLEAN else given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        if arrays[0].dtype.kind != "f":
            return [np.cumsum(arrays[0], axis=self.axis, dtype=np.int64)]
        with np.errstate(all="ignore"):
            return [np.cumsum(arrays[0], axis=self.axis, dtype=np.float64).astype(call.dtype)]


class CumulativeProduct(CumulativeSum):
    """The product of each place and all before it along an axis."""

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        if arrays[0].dtype.kind != "f":
            return [np.cumprod(arrays[0], axis=self.axis, dtype=np.int64)]
        with np.errstate(all="ignore"):
            return [np.cumprod(arrays[0], axis=self.axis, dtype=np.float64).astype(call.dtype)]


class CumulativeExtreme(_Along):
    """The maximum ("max") or minimum ("min") of each place and all before it along an axis, and where it was last."""

    name: str
    axis: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if self.name not in ("max", "min"):
            raise UnsupportedModelError(f"{self.name!r} is not known; known are max and min")
        axis_of(self.axis, len(given.shape))
        return [given, Tensor(given.shape, INTEGER)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0]
        axis = axis_of(self.axis, x.ndim)
        extremes = (np.maximum if self.name == "max" else np.minimum).accumulate(x, axis=axis)
        places = np.arange(x.shape[axis]).reshape([-1 if at == axis else 1 for at in range(x.ndim)])
        reached = np.where((x == extremes) | (x != x), places, 0)  # NaN is more than all, and less
        return [extremes, np.maximum.accumulate(reached, axis=axis)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        return super().follow(inputs, shapes) * 2


class TopK(_Along):
    """The largest (or smallest) k places of an axis, in order, and where they were."""

    k: int
    axis: int = -1
    largest: bool = True

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        place = axis_of(self.axis, len(given.shape))
        size: Size = given.shape[place]
        if type(self.k) is not int or self.k < 0 or (isinstance(size, int) and self.k > size):
            raise ShapeError(f"k is {self.k!r}, wanted at most the {size} places of the axis")
        shape = (*given.shape[:place], self.k, *given.shape[place + 1 :])
        return [Tensor(shape, given.dtype), Tensor(shape, INTEGER)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0]
        axis = axis_of(self.axis, x.ndim)
        if self.k > call.least(x, axis):
            raise ShapeError(f"takes the largest {self.k} of a row with {call.least(x, axis)} places")
        order = np.argsort(-x if self.largest and x.dtype.kind == "f" else x, axis=axis, kind="stable")
        if self.largest and x.dtype.kind != "f":
            order = np.flip(x.shape[axis] - 1 - np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
        if self.largest and x.dtype.kind == "f":  # PyTorch takes NaN for the largest of all
            is_nan = np.take_along_axis(np.isnan(x), order, axis=axis)
            order = np.take_along_axis(order, np.argsort(~is_nan, axis=axis, kind="stable"), axis=axis)
        index = np.take(order, np.arange(self.k), axis=axis)
        return [np.take_along_axis(x, index, axis=axis), index.astype(np.int64)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        place = axis_of(self.axis, len(inputs[0]))
        check_rows(inputs[0], [place], "takes")
        kept = () if self.k == 1 else (self.k,)
        made: Layout = (*inputs[0][:place], kept, *inputs[0][place + 1 :])
        return [made, made]

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [-np.inf if self.largest else np.inf]
