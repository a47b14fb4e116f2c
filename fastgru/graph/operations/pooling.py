"""Pooling over windows of one or two axes. Channels come last: (rows, places ..., channels)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ShapeError, UnsupportedModelError
from ..graph import Tensor
from ..layout import BATCH, Layout, Mixed, Steps, has_steps, is_plain, is_steps, steps_axis
from ..size import Sizes
from ..windows import Padding, Window, one_axis, view_of
from .operation import Array, Call, Operation, axis_of, check_rank, one_input

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..streaming import Streams
    from ..streams import Flow
    from ..writer import Writer

__all__ = ["AdaptivePool", "Pool", "Upsample"]


class Pool(Operation):
    """The maximum ("max") or the mean ("mean") of each window; ``counts_padding`` makes padding part of a mean."""

    name: str
    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[Padding, ...]
    dilation: tuple[int, ...] = (1,)
    ceiling: bool = False  # a last window that begins inside and ends beyond counts too
    counts_padding: bool = True

    def _windows(self) -> list[Window]:
        axes = len(self.size)
        dilation = self.dilation if len(self.dilation) == axes else self.dilation * axes
        if axes not in (1, 2) or len(self.strides) != axes or len(self.padding) != axes or len(dilation) != axes:
            raise ShapeError(f"has windows of {axes} axes, wanted 1 or 2, and as many strides and paddings")
        options = zip(self.size, self.strides, self.padding, dilation, strict=True)
        return [Window(*each, ceiling=self.ceiling) for each in options]

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        windows = self._windows()
        check_rank(given, 2 + len(windows))
        if self.name not in ("max", "mean"):
            raise UnsupportedModelError(f"{self.name!r} is not known; known are max and mean")
        counts = [window.count(size) for window, size in zip(windows, given.shape[1:-1], strict=True)]
        return [Tensor((given.shape[0], *counts, given.shape[-1]))]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x, windows = arrays[0], self._windows()
        axes = tuple(range(-len(windows), 0))
        if self.name == "max":
            view = view_of(x, windows, -np.inf)
            return [np.asarray(view.max(axis=axes))]
        view = view_of(x.astype(np.float64), windows, 0.0)
        places = view.shape[view.ndim - len(windows) :]
        view = view.reshape(*view.shape[: view.ndim - len(windows)], int(np.prod(places)))
        with np.errstate(all="ignore"):
            total = np.cumsum(view, axis=-1)[..., -1]
            return [(total / self._counts(x, windows)).astype(call.dtype)]

    def _counts(self, x: Array, windows: Sequence[Window]) -> Array:
        """How many places each window's mean is over: those inside, or inside the padding that was asked for."""
        counts = np.ones((1,) * x.ndim)
        for axis, window in enumerate(windows, 1):
            size = x.shape[axis]
            before, _ = window.widths(size)
            own = window.padding if self.counts_padding and isinstance(window.padding, tuple) else (0, 0)
            number = window.count(size)
            assert isinstance(number, int)
            first = np.arange(number) * window.stride - before
            inside = np.minimum(first + window.reach, size + own[1]) - np.maximum(first, -own[0])
            counts = counts * inside.reshape([-1 if at == axis else 1 for at in range(x.ndim)])
        return counts

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        from ...options import kernel_table

        x, along = inputs[0], one_axis(self._windows())
        if x.kind != "f" or along is None:
            return None
        axis, window = along
        before, _ = window.widths(x.shape[axis])
        counted = window.padding if self.counts_padding and isinstance(window.padding, tuple) else (0, 0)
        count = window.count(x.shape[axis])
        if not isinstance(count, int) or count < 1:
            return None
        made = writer.new((*x.shape[:axis], count, *x.shape[axis + 1 :]))
        order = [at for at in range(len(x.shape) - 1) if at != axis] + [axis, len(x.shape) - 1]
        options = window.size, window.stride, window.dilation, before, counted
        parts = made.permuted(order), x.permuted(order)
        writer.write("pool", [made], kernel_table(), self.name == "max", *parts, *options)
        return [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        rows, *places, channels = inputs[0]
        axes = []
        for window, axis, size in zip(self._windows(), places, shapes[0][1:-1], strict=True):
            padded = window.padding not in ((0, 0),)
            if (
                has_steps(axis)
                and padded
                and self.name == "mean"
                and not (self.counts_padding and isinstance(window.padding, tuple))
            ):
                raise Mixed("counts how many steps of each row lie in a window")
            axes.append(window.follow(axis, size))
        return [(rows, *axes, channels)]

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [-np.inf if self.name == "max" else 0.0]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        along = zip(inputs[0][1:-1], self._windows(), strict=True)
        return "takes several steps together" if any(has_steps(a) and not w.changes_nothing for a, w in along) else None

    def stream(self, inputs: Sequence[Flow], here: Streams) -> Sequence[Flow]:
        return here.over_windows(self, self._windows(), inputs[0], -np.inf if self.name == "max" else 0.0)


class AdaptivePool(Operation):
    """The maximum or the mean of each of ``counts[i]`` windows that cover axis i + 1 evenly."""

    name: str
    counts: tuple[int, ...]

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        check_rank(given, 2 + len(self.counts))
        if self.name not in ("max", "mean") or not all(type(count) is int and count > 0 for count in self.counts):
            raise UnsupportedModelError(f"makes {self.counts!r} windows by {self.name!r}")
        return [Tensor((given.shape[0], *self.counts, given.shape[-1]))]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0] if self.name == "max" else arrays[0].astype(np.float64)
        for axis, count in enumerate(self.counts, 1):
            size = x.shape[axis]
            parts = []
            for place in range(count):
                part = np.take(x, range(place * size // count, -(-(place + 1) * size // count)), axis=axis)
                made = part.max(axis=axis, keepdims=True) if self.name == "max" else part.mean(axis=axis, keepdims=True)
                parts.append(made)
            x = np.concatenate(parts, axis=axis)
        return [x.astype(call.dtype)]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        rows, *places, channels = inputs[0]
        if not all(is_plain(axis) for axis in places):
            raise Mixed("divides the steps, or the batch, into windows by how many there are")
        return [(rows, *(() if count == 1 else (count,) for count in self.counts), channels)]


class Upsample(Operation):
    """Every place of an axis ``times`` times."""

    axis: int
    times: int

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if type(self.times) is not int or not 1 <= self.times < 1 << 31:
            raise ShapeError(f"times is {self.times!r}, wanted a whole number of at least 1")
        sizes = list(given.shape)
        sizes[self.axis] = sizes[self.axis] * self.times
        return [Tensor(tuple(sizes), given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        return [np.repeat(arrays[0], self.times, axis=self.axis)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        shape = inputs[0].shape
        after = axis_of(self.axis, len(shape)) + 1
        apart = inputs[0].reshaped((*shape[:after], 1, *shape[after:]))
        repeated = None if apart is None else apart.expanded((*shape[:after], self.times, *shape[after:]))
        if repeated is None:
            return None
        made = writer.together(repeated).reshaped((*shape[: after - 1], shape[after - 1] * self.times, *shape[after:]))
        return None if made is None else [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        axes = list(inputs[0])
        window = Window(1)
        along = window.follow(axes[self.axis], shapes[0][self.axis])
        if is_steps(along):
            (steps,) = along
            assert isinstance(steps, Steps)
            axes[self.axis] = steps_axis(steps.size * self.times)
        elif has_steps(along) or BATCH in along:
            raise Mixed("repeats rows of the batch")
        else:
            axes[self.axis] = (*along, self.times) if self.times > 1 else along
        return [tuple(axes)]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        return "makes several steps of one" if has_steps(inputs[0][self.axis]) and self.times > 1 else None
