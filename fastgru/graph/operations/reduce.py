"""Operations that take axes together: sums, means, extremes, norms.

Sums are made one place after the other in float64, so that a row's bits do not depend on what is behind its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ShapeError, UnsupportedModelError
from ..graph import BOOLEAN, FLOAT, INTEGER, Tensor
from ..layout import BATCH, Layout, Mixed, has_steps, is_steps
from ..size import Sizes
from .operation import Array, Call, Operation, axis_of, one_input

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..writer import Writer

__all__ = ["ArgExtreme", "Norm", "Reduce", "check_rows", "places_of"]

_FILLS = {"sum": 0.0, "mean": 0.0, "max": -np.inf, "min": np.inf, "prod": 1.0, "any": 0.0, "all": 1.0}


def places_of(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    places = tuple(sorted(axis_of(axis, rank) for axis in axes))
    if len(set(places)) != len(places):
        raise ShapeError(f"axes are {tuple(axes)}, wanted each once")
    return places


def check_rows(layout: Layout, places: Sequence[int], what: str) -> None:
    """Raise unless what is taken together along these axes is of one row."""
    for place in places:
        axis = layout[place]
        if BATCH in axis:
            raise Mixed(f"{what} the rows of the batch together")
        if has_steps(axis) and not is_steps(axis):
            raise Mixed(f"{what} steps together with other places")


class Reduce(Operation):
    """One number for all places of some axes: the sum, mean, product, maximum, minimum, variance, any or all of them.

    "var" and "std" divide by the number of places less ``correction``. A second input of booleans, with the shape of
    the first or its first axes, says which places are taken; of "sum", "mean" and "max".
    """

    name: str
    axes: tuple[int, ...]
    keepdims: bool = False
    correction: float = 0

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs[:1])
        if len(inputs) > 2 or (len(inputs) == 2 and not self._takes_mask(given, inputs[1])):
            raise ShapeError(f"takes one value, or a value and a mask of its first axes, got {inputs[1]}")
        if self.name not in (*_FILLS, "var", "std"):
            raise UnsupportedModelError(f"{self.name!r} is not known; known are {', '.join((*_FILLS, 'var', 'std'))}")
        places = places_of(self.axes, len(given.shape))
        if self.name in ("max", "min") and any(given.shape[place] == 0 for place in places):
            raise ShapeError("takes the extreme of no places")
        shape: Sizes = tuple(1 if place in places else size for place, size in enumerate(given.shape))
        if not self.keepdims:
            shape = tuple(size for place, size in enumerate(given.shape) if place not in places)
        kind = FLOAT if self.name in ("mean", "var", "std") else given.dtype
        if self.name in ("sum", "prod") and kind == BOOLEAN:
            kind = INTEGER
        return [Tensor(shape, BOOLEAN if self.name in ("any", "all") else kind)]

    def _takes_mask(self, given: Tensor, mask: Tensor) -> bool:
        return self.name in ("sum", "mean", "max") and mask.dtype == BOOLEAN and len(mask.shape) <= len(given.shape)

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0]
        axes = places_of(self.axes, x.ndim)
        if len(arrays) == 2:
            return self._masked(x, arrays[1], axes, call)
        if self.name in ("any", "all"):
            return [np.asarray(getattr(np, self.name)(x != 0, axis=axes, keepdims=self.keepdims))]
        if self.name in ("max", "min"):
            return [np.asarray(getattr(np, self.name)(x, axis=axes, keepdims=self.keepdims))]
        if x.dtype.kind != "f" and self.name in ("sum", "prod"):
            return [np.asarray(getattr(np, self.name)(x, axis=axes, keepdims=self.keepdims), np.int64)]
        with np.errstate(all="ignore"):
            made = self._of_floats(x.astype(np.float64), axes, call)
        made = made if self.keepdims else made.reshape([size for at, size in enumerate(x.shape) if at not in axes])
        return [made.astype(call.dtype)]

    def _masked(self, x: Array, mask: Array, axes: tuple[int, ...], call: Call) -> list[Array]:
        """Of the places where the mask holds, within each row's length."""
        real = mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))
        within = None if call.rows is None else call.rows[0].real(x.shape)
        real = real if within is None else real & within
        if self.name == "max":
            made = np.where(real, x, -np.inf).max(axis=axes, keepdims=self.keepdims)
            return [made.astype(call.dtype)]
        with np.errstate(all="ignore"):  # a row of masked steps only has no mean: NaN, as in Keras
            total = _total(np.where(real, x, 0).astype(np.float64), axes)
            made = total if self.name == "sum" else total / real.sum(axis=axes, keepdims=True)
        made = made if self.keepdims else made.reshape([size for at, size in enumerate(x.shape) if at not in axes])
        return [made.astype(call.dtype)]

    def _of_floats(self, wide: Array, axes: tuple[int, ...], call: Call) -> Array:
        if self.name == "prod":
            return np.asarray(wide.prod(axis=axes, keepdims=True))
        total = _total(wide, axes)
        if self.name == "sum":
            return total
        count = self._count(wide, axes, call)
        mean = total / count
        if self.name == "mean":
            return mean
        squares = (wide - mean) ** 2
        if call.rows is not None:
            real = call.rows[0].real(wide.shape)
            squares = squares if real is None else np.where(real, squares, 0)
        variance = _total(squares, axes) / np.maximum(count - self.correction, 0)
        return variance if self.name == "var" else np.sqrt(variance)

    def _count(self, x: Array, axes: tuple[int, ...], call: Call) -> Array:
        """How many places are taken together, for each row."""
        count = np.ones((1,) * x.ndim)
        for axis in axes:
            ends = call.ends(x, axis)
            count = count * (x.shape[axis] if ends is None else ends)
        return count

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        from ...options import kernel_table

        x = inputs[0]
        axes = places_of(self.axes, len(x.shape))
        if len(inputs) > 1 or x.kind != "f" or len(axes) != 1 or self.name not in ("sum", "mean", "max", "min"):
            return None
        order = [at for at in range(len(x.shape)) if at not in axes]
        made = writer.new([x.shape[at] for at in order])
        writer.write("reduce", [made], kernel_table(), self.name, made, x.permuted([*order, *axes]))
        if self.keepdims:
            kept = made.reshaped([1 if at in axes else size for at, size in enumerate(x.shape)])
            return None if kept is None else [kept]
        return [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        places = places_of(self.axes, len(inputs[0]))
        check_rows(inputs[0], places, "takes")
        if self.keepdims:
            return [tuple(() if place in places else axis for place, axis in enumerate(inputs[0]))]
        return [tuple(axis for place, axis in enumerate(inputs[0]) if place not in places)]

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [_FILLS.get(self.name, 0.0), None][: len(inputs)]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        along = any(has_steps(inputs[0][place]) for place in places_of(self.axes, len(inputs[0])))
        if not along:
            return None
        if self.name in ("any", "all"):
            return f"asks whether {self.name} of the steps {'is' if self.name == 'any' else 'are'} true"
        return f"takes the {self.name} of all steps"


def _total(wide: Array, axes: Sequence[int]) -> Array:
    """The sum over axes, kept at size 1, one place after the other."""
    for axis in axes:
        if wide.shape[axis] == 0:
            wide = wide.sum(axis=axis, keepdims=True)
        else:
            wide = np.take(np.cumsum(wide, axis=axis), [-1], axis=axis)
    return wide


class Norm(Reduce):
    """``(sum |x|^p)^(1/p)`` over axes; the largest magnitude where p is infinite."""

    name: str = "norm"
    axes: tuple[int, ...] = (-1,)
    keepdims: bool = False
    correction: float = 0
    p: float = 2.0

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if not isinstance(self.p, (int, float)) or self.p <= 0:
            raise UnsupportedModelError(f"p is {self.p!r}, wanted a number above 0")
        return [Tensor(self.replace_name().infer(inputs)[0].shape)]

    def replace_name(self) -> Reduce:
        """The sum over the same axes."""
        return Reduce("sum", self.axes, self.keepdims)

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        wide = np.abs(arrays[0].astype(np.float64))
        axes = places_of(self.axes, wide.ndim)
        with np.errstate(all="ignore"):
            if np.isinf(self.p):
                made = np.asarray(wide.max(axis=axes, keepdims=True))
            else:
                made = _total(wide**self.p, axes) ** (1 / self.p)
        shape = made.shape if self.keepdims else [size for at, size in enumerate(wide.shape) if at not in axes]
        return [made.reshape(shape).astype(call.dtype)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> None:
        return None


class ArgExtreme(Operation):
    """The first place along an axis of the maximum ("max") or the minimum ("min")."""

    name: str
    axis: int
    keepdims: bool = False

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if self.name not in ("max", "min"):
            raise UnsupportedModelError(f"{self.name!r} is not known; known are max and min")
        place = axis_of(self.axis, len(given.shape))
        rest = (1,) if self.keepdims else ()
        return [Tensor((*given.shape[:place], *rest, *given.shape[place + 1 :]), INTEGER)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        function = np.argmax if self.name == "max" else np.argmin
        return [np.asarray(function(arrays[0], axis=self.axis, keepdims=self.keepdims), np.int64)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        place = axis_of(self.axis, len(inputs[0]))
        check_rows(inputs[0], [place], "takes")
        rest: Layout = ((),) if self.keepdims else ()
        return [(*inputs[0][:place], *rest, *inputs[0][place + 1 :])]

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [_FILLS[self.name]]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        along = has_steps(inputs[0][axis_of(self.axis, len(inputs[0]))])
        return f"takes the {self.name} of all steps" if along else None
