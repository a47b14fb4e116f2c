"""Windows over axes: how many fit, what is padded, and where steps go through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..errors import ShapeError, UnsupportedModelError
from .layout import BATCH, Axis, Mixed, Steps, has_steps, is_steps, steps_axis
from .size import Size

__all__ = ["Padding", "Window", "one_axis", "view_of"]

Array = NDArray[Any]
Padding = Union[str, tuple[int, int]]  # "same" or "causal" as Keras pads, or places before and after


class Window:
    """Windows of ``size`` places along one axis, every ``stride``-th, their places ``dilation`` apart."""

    def __init__(
        self, size: int, stride: int = 1, padding: Padding = (0, 0), dilation: int = 1, ceiling: bool = False
    ) -> None:
        for name, value in (("size", size), ("stride", stride), ("dilation", dilation)):
            if type(value) is not int or not 1 <= value < 1 << 31:
                raise ShapeError(f"the {name} of a window is {value!r}, wanted a whole number of at least 1")
        if padding not in ("same", "causal") and not (
            isinstance(padding, tuple)
            and len(padding) == 2
            and all(type(each) is int and each >= 0 for each in padding)
        ):
            raise UnsupportedModelError(f"padding is {padding!r}, wanted same, causal or places before and after")
        self.size, self.stride, self.padding, self.dilation, self.ceiling = size, stride, padding, dilation, ceiling
        self.reach = (size - 1) * dilation + 1

    @property
    def changes_nothing(self) -> bool:
        """Whether each window is one place, and all places have one."""
        return self.size == 1 and self.stride == 1 and self.padding in ((0, 0), "same", "causal")

    def _places(self) -> tuple[int, int]:
        """What is padded, where that is known without the size."""
        assert isinstance(self.padding, tuple)
        return self.padding

    def count(self, places: Size) -> Size:
        """How many windows there are."""
        if self.padding in ("same", "causal"):
            return places if self.stride == 1 else (places + (self.stride - 1)) // self.stride
        before, after = self._places()
        room = places + (before + after - self.reach)
        if isinstance(room, int) and room < 0:
            raise ShapeError(
                f"got {places} places, wanted at least {self.reach - before - after}, the reach of a window"
            )
        if not self.ceiling:
            return room // self.stride + 1
        count = (room + (self.stride - 1)) // self.stride + 1
        if isinstance(count, int) and isinstance(places, int):
            return count - ((count - 1) * self.stride >= places + before)  # the last begins inside, or is left out
        if before or self.stride > self.reach:
            raise UnsupportedModelError("rounds up the number of windows over an axis whose size is open")
        return count

    def widths(self, places: int) -> tuple[int, int]:
        """What is padded before and after, where windows that reach further than that count too."""
        if self.padding == "causal":
            return self.reach - 1, 0
        if self.padding == "same":
            total = max((-(-places // self.stride) - 1) * self.stride + self.reach - places, 0)
            return total // 2, total - total // 2
        before, after = self._places()
        if self.ceiling:
            count = self.count(places)
            assert isinstance(count, int)
            after = max(after, (count - 1) * self.stride + self.reach - places - before)
        return before, after

    def follow(self, axis: Axis, size: Size) -> Axis:
        """The axis of windows over an axis of that size."""
        if self.changes_nothing:
            return axis
        if BATCH in axis:
            raise Mixed("takes several rows of the batch together")
        if not has_steps(axis):
            count = self.count(size)
            return () if count == 1 else (count,)
        if not is_steps(axis) or self.ceiling or (self.padding == "same" and self.stride > 1):
            raise Mixed("takes steps together with other places, or pads them by how many there are")
        (steps,) = axis
        assert isinstance(steps, Steps)
        return steps_axis(self.count(steps.size))


def one_axis(windows: Sequence[Window]) -> tuple[int, Window] | None:
    """The one axis, counted with the rows before it, along which windows take anything together; None of several."""
    taking = [(axis, window) for axis, window in enumerate(windows, 1) if not window.changes_nothing]
    return taking[0] if len(taking) == 1 else (1, windows[0]) if not taking else None


def view_of(x: Array, windows: Sequence[Window], fill: float) -> Array:
    """The windows over axes 1, 2 ... of x, without a copy where nothing is padded.

    Returns
    -------
    ndarray, (rows, windows along each axis ..., other axes ..., places along each axis ...)
    """
    widths = [window.widths(size) for window, size in zip(windows, x.shape[1:], strict=False)]
    if any(pair != (0, 0) for pair in widths):
        rest = [(0, 0)] * (x.ndim - 1 - len(windows))
        x = np.pad(x, [(0, 0), *widths, *rest], constant_values=fill)
    axes = tuple(range(1, 1 + len(windows)))
    view = sliding_window_view(x, tuple(window.reach for window in windows), axis=axes)
    first: tuple[Any, ...] = tuple(slice(None, None, window.stride) for window in windows)
    places: tuple[Any, ...] = tuple(slice(None, None, window.dilation) for window in windows)
    taken: Any = (slice(None), *first, ..., *places)
    return np.asarray(view[taken])
