"""Convolutions over one or two axes, and transposed ones. Channels come last: (rows, places ..., channels)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import check_array
from ...errors import ShapeError
from ...records.sealed import sealed
from ...weights.matrices import Handle, check_matrix, form_of
from ...weights.records import MatrixRecord
from ..graph import FLOAT, Tensor
from ..layout import BATCH, Axis, Layout, Mixed, Steps, has_steps, is_plain, is_steps, steps_axis
from ..size import Size, Sizes
from ..windows import Padding, Window, one_axis, view_of
from .operation import Array, Call, Compute, Operation, Setup, check_rank, check_size, one_input
from .product import dense_of, is_kept_by, numbers_of

if TYPE_CHECKING:
    from ...engine.affine import Affine
    from ...engine.plain_product import PlainProduct
    from ...engine.strided import Strided
    from ..streaming import Streams
    from ..streams import Flow
    from ..writer import Writer

__all__ = ["Convolution", "TransposedConvolution"]

WINDOWS_BYTES = 8 << 20  # of windows copied at a time


class _Convolving(MatrixRecord, Operation):
    """What a convolution and a transposed one share: groups of channels, and axes of places behind the rows."""

    weight: np.ndarray
    bias: np.ndarray | None = None
    strides: tuple[int, ...] = (1,)
    padding: tuple[Padding, ...] = ((0, 0),)
    dilation: tuple[int, ...] = (1,)
    groups: int = 1

    @property
    def kernel(self) -> tuple[int, ...]:
        return tuple(int(size) for size in self.weight_shape[2:])

    def _checked(self, inputs: Sequence[Tensor], features: int, outputs: int) -> Tensor:
        given = one_input(inputs)
        axes = len(self.kernel)
        if axes not in (1, 2) or len(self.strides) != axes or len(self.padding) != axes or len(self.dilation) != axes:
            raise ShapeError(f"has a kernel of {axes} axes, wanted 1 or 2, and as many strides, paddings and dilations")
        check_matrix(self.matrices[0], (None,) * (2 + axes), "weight")
        check_rank(given, 2 + axes)
        if given.dtype != FLOAT:
            raise ShapeError(f"takes numbers, got {given}")
        check_size(given.shape[-1], features, "channels")
        if self.bias is not None:
            check_array(self.bias, (outputs,), "bias")
        return given

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [0.0]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        along = zip(inputs[0][1:-1], self._alone(), strict=True)
        return "takes several steps together" if any(has_steps(axis) and not alone for axis, alone in along) else None

    def _alone(self) -> list[bool]:
        """For each axis, whether every place of the output is of the same place of the input alone."""
        raise NotImplementedError


class Convolution(_Convolving):
    """``sum over k, i of weight[o, i, k] x[t * stride + k * dilation - before, i] + bias[o]``."""

    fresh = True
    weight: np.ndarray  # (outputs, inputs / groups, kernel ...)

    def _windows(self) -> list[Window]:
        options = zip(self.kernel, self.strides, self.padding, self.dilation, strict=True)
        return [Window(size, stride, padding, dilation) for size, stride, padding, dilation in options]

    def _alone(self) -> list[bool]:
        return [window.changes_nothing for window in self._windows()]

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        outputs, each = self.weight_shape[:2]
        if type(self.groups) is not int or self.groups < 1 or outputs % self.groups:
            raise ShapeError(f"has {outputs} outputs in {self.groups!r} groups")
        given = self._checked(inputs, each * self.groups, outputs)
        counts = [window.count(size) for window, size in zip(self._windows(), given.shape[1:-1], strict=True)]
        return [Tensor((given.shape[0], *counts, outputs))]

    def _products(self, setup: Setup) -> list[Any]:
        """A product for each group, of the places of a window one after the other, channels last."""
        made: list[Any] = setup.once(self, "products", lambda: self._packed(setup))
        return made

    def _packed(self, setup: Setup) -> list[Affine | PlainProduct]:
        weight, exact = numbers_of(self.matrices[0], setup)
        group, made = len(weight) // self.groups, []
        for first in range(0, len(weight), group):
            part = np.moveaxis(weight[first : first + group], 1, -1).reshape(group, -1)
            bias = None if self.bias is None else self.bias[first : first + group]
            made.append(dense_of(np.ascontiguousarray(part), bias, setup))
            exact = exact and is_kept_by(made[-1], part)
        self.settle(partial(_weight_of, made, self.weight_shape), made[0].precision, exact)
        return made

    def prepare(self, setup: Setup) -> Compute:
        outputs, inputs = self.weight_shape[:2]
        group = outputs // self.groups
        products = self._products(setup)
        windows = self._windows()

        def compute(arrays: Sequence[Array], call: Call) -> list[Array]:
            view = view_of(arrays[0].astype(call.dtype, copy=False), windows, 0.0)
            counts, kernel = view.shape[1 : 1 + len(windows)], self.kernel
            y = np.empty((len(view), *counts, outputs), call.dtype)
            size = int(np.prod([*counts, *kernel])) * inputs * self.groups * y.itemsize
            rows = max(1, WINDOWS_BYTES // max(1, size))
            for start in range(0, len(view), rows):
                for place, product in enumerate(products):
                    part = view[start : start + rows]
                    part = part[(slice(None),) * (1 + len(counts)) + (slice(place * inputs, (place + 1) * inputs),)]
                    part = np.moveaxis(part, 1 + len(counts), -1)  # channels behind the places of a window
                    flat = np.ascontiguousarray(part).reshape(-1, inputs * int(np.prod(kernel)))
                    made = product(flat).reshape(len(part), *counts, group)
                    y[start : start + rows, ..., place * group : (place + 1) * group] = made
            return [y]

        return compute

    def compute(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        return self.prepare(Setup(call.dtype, {"backend": "blas"}))(arrays, call)

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        x, along = writer.cast(inputs[0], "f"), one_axis(self._windows())
        if x is None or along is None:
            return None
        axis, window = along
        last = len(x.shape) - 1
        before, _ = window.widths(x.shape[axis])
        outputs, channels = self.weight_shape[:2]
        count, group = window.count(x.shape[axis]), outputs // self.groups
        if not isinstance(count, int) or count < 1:
            return None
        made = writer.new((*x.shape[:axis], count, *x.shape[axis + 1 : last], outputs))
        order = [at for at in range(last) if at != axis] + [axis, last]
        x, result = writer.rows(x).permuted(order), made.permuted(order)
        for place, affine in enumerate(self._products(writer.setup)):
            part = x.sliced(last, place * channels, channels)
            out = result.sliced(last, place * group, group)
            writer.write("convolve", [out], affine, out, part, window.size, window.stride, window.dilation, before)
        return [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        rows, *places, channels = inputs[0]
        if not is_plain(channels):
            raise Mixed("takes the places of the batch or of the steps for channels")
        axes = zip(self._windows(), places, shapes[0][1:-1], strict=True)
        outputs = self.weight_shape[0]
        return [(rows, *(w.follow(axis, size) for w, axis, size in axes), () if outputs == 1 else (outputs,))]

    def stream(self, inputs: Sequence[Flow], here: Streams) -> Sequence[Flow]:
        return here.over_windows(self, self._windows(), inputs[0], 0.0)


def _weight_of(products: Sequence[Affine | PlainProduct], shape: tuple[int, ...]) -> tuple[Array, None]:
    """The weight of a convolution from those of its groups."""
    made = np.concatenate([each.weight for each in products]).reshape(shape[0], *shape[2:], shape[1])
    return np.moveaxis(made, -1, 1), None


class TransposedConvolution(_Convolving):
    """What a convolution's gradient is: every place spread over a window of the output, windows added up."""

    weight: np.ndarray  # (inputs, outputs / groups, kernel ...)
    output_padding: tuple[int, ...] = (0,)

    def _count(self, size: Size, axis: int) -> Size:
        before, after = self._cut(axis)
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return (size - 1) * self.strides[axis] + (reach + self.output_padding[axis] - before - after)

    def _cut(self, axis: int) -> tuple[int, int]:
        padding = self.padding[axis]
        if not isinstance(padding, tuple):
            raise ShapeError(f"padding is {padding!r}, wanted places before and after")
        return padding

    def _alone(self) -> list[bool]:
        options = zip(self.kernel, self.strides, self.padding, self.output_padding, strict=True)
        return [each == (1, 1, (0, 0), 0) for each in options]

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        features, each = self.weight_shape[:2]
        if type(self.groups) is not int or self.groups < 1 or features % self.groups:
            raise ShapeError(f"has {features} inputs in {self.groups!r} groups")
        outputs = each * self.groups
        given = self._checked(inputs, features, outputs)
        if len(self.output_padding) != len(self.kernel):
            raise ShapeError(f"output_padding is {self.output_padding!r}, wanted one number an axis")
        counts = [self._count(size, axis) for axis, size in enumerate(given.shape[1:-1])]
        if any(isinstance(count, int) and count < 1 for count in counts):
            raise ShapeError("leaves no place of its output")
        return [Tensor((given.shape[0], *counts, outputs))]

    def prepare(self, setup: Setup) -> Compute:
        """As a convolution with the kernel turned round, over places set apart by the strides."""
        compute: Compute = self._convolution(setup).prepare(setup)

        def run(arrays: Sequence[Array], call: Call) -> Sequence[Array]:
            x = arrays[0].astype(call.dtype, copy=False)
            shape, inner = [len(x)], [slice(None)]
            for axis, size in enumerate(x.shape[1:-1]):
                reach = (self.kernel[axis] - 1) * self.dilation[axis]
                before, after = (reach - cut for cut in self._cut(axis))
                after += self.output_padding[axis]
                spread = (size - 1) * self.strides[axis] + 1
                shape.append(max(before, 0) + spread + max(after, 0))
                inner.append(slice(max(before, 0), max(before, 0) + spread, self.strides[axis]))
            apart = np.zeros([*shape, x.shape[-1]], call.dtype)
            apart[tuple(inner)] = x
            for axis in range(len(self.kernel)):  # where more is cut away than a window reaches
                reach = (self.kernel[axis] - 1) * self.dilation[axis]
                before, after = (reach - cut for cut in self._cut(axis))
                after += self.output_padding[axis]
                stop = apart.shape[axis + 1] - max(-after, 0)
                apart = apart[(slice(None),) * (axis + 1) + (slice(max(-before, 0), stop),)]
            return compute([apart], call)

        return run

    def _convolution(self, setup: Setup) -> Convolution:
        """What convolves the input, its places spread apart; from then on it has the only copy of the weights."""
        made: Convolution = setup.once(self, "convolution", lambda: self._turned(setup))
        return made

    def _turned(self, setup: Setup) -> Convolution:
        given = form_of(self.matrices[0], str(setup.dtype), "weight")
        handle = Handle(sealed(_swapped(given.numbers, self.groups)), "weight")
        ones, none = (1,) * len(self.kernel), ((0, 0),) * len(self.kernel)
        # Its field is for matrices too, which the type of an array does not say.
        made = Convolution(handle, self.bias, ones, none, self.dilation, self.groups)  # type: ignore[arg-type]
        made.prepare(setup)
        self.settle(partial(_swapped_again, handle, self.groups), str(setup.dtype), given.exact)
        return made

    def compute(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        return self.prepare(Setup(call.dtype, {"backend": "blas"}))(arrays, call)

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        rows, *places, channels = inputs[0]
        if not is_plain(channels):
            raise Mixed("takes the places of the batch or of the steps for channels")
        axes: list[Axis] = []
        for at, (axis, size) in enumerate(zip(places, shapes[0][1:-1], strict=True)):
            if BATCH in axis or (has_steps(axis) and not is_steps(axis)):
                raise Mixed("takes several rows of the batch together")
            if is_steps(axis):
                (steps,) = axis
                assert isinstance(steps, Steps)
                axes.append(steps_axis(self._count(steps.size, at)))
            else:
                count = self._count(size, at)
                axes.append(() if count == 1 else (count,))
        outputs = self.weight_shape[1] * self.groups
        return [(rows, *axes, () if outputs == 1 else (outputs,))]


def _swapped(weight: Array, groups: int) -> Array:
    """A kernel with inputs and outputs of each group swapped, and its places in the other order; twice, as it was."""
    inputs, outputs, *kernel = weight.shape
    made = weight.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    made = np.flip(made, axis=tuple(range(3, made.ndim)))
    return np.ascontiguousarray(made).reshape(outputs * groups, inputs // groups, *kernel)


def _swapped_again(handle: Handle, groups: int) -> tuple[Array, None]:
    return _swapped(handle.array(), groups), None
