"""PyTorch's operations that make an axis longer: upsampling, and shuffling channels into places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.builder import Value
from ...graph.operations.elementwise import Binary
from ...graph.operations.index import Take
from ...graph.operations.parts import Pad, Slice
from ...graph.operations.pooling import Upsample
from ...graph.operations.product import Linear
from ...graph.operations.shape import Concatenate, Permute, View
from ...graph.size import Size, quotient
from ..calls import Context

__all__ = ["linear", "nearest", "pixel_shuffle"]


def nearest(axes: int) -> Callable[..., Any]:
    """Every place of the output is the one of the input that lies where it lies, rounded down."""

    def run(c: Context, self: Any, output_size: Any = None, scale_factors: Any = None, scales_h: Any = None,
            scales_w: Any = None) -> Any:  # fmt: skip
        x = c.value(self)
        for at, size in enumerate(_sizes(c, x, axes, output_size, scale_factors)):
            axis = x.rank - axes + at
            own = x.shape[axis]
            times = quotient([size], [own])
            if isinstance(times, int):
                x = c.add(Upsample(axis, times), x)
            elif isinstance(size, int) and isinstance(own, int) and scale_factors is None:
                x = c.add(Take(axis), x, c.builder.constant(np.arange(size) * own // size))
            else:
                raise c.error(f"makes {size} places of {own}, which is no whole number of times as many")
        return x

    return run


def linear(axes: int) -> Callable[..., Any]:
    """Between two places as a straight line."""

    def run(c: Context, self: Any, output_size: Any = None, scale_factors: Any = None, align_corners: Any = False,
            scales_h: Any = None, scales_w: Any = None) -> Any:  # fmt: skip
        x = c.value(self)
        for at, size in enumerate(_sizes(c, x, axes, output_size, scale_factors)):
            axis = x.rank - axes + at
            own = x.shape[axis]
            times = quotient([size], [own])
            if isinstance(times, int) and not align_corners:
                x = _in_phases(c, x, axis, times)
            elif isinstance(size, int) and isinstance(own, int) and (align_corners or scale_factors is None):
                x = _by_matrix(c, x, axis, _weights(own, size, bool(align_corners)))
            else:
                raise c.error(f"makes {size} places of {own}, which is no whole number of times as many")
        return x

    return run


def _sizes(c: Context, x: Value, axes: int, output_size: Any, factors: Any) -> list[Size]:
    """How many places each of the last axes gets."""
    if output_size is not None:
        return list(c.shape(output_size))
    given = list(factors) if isinstance(factors, (list, tuple)) else [factors] * axes
    sizes: list[Size] = []
    for own, factor in zip(x.shape[x.rank - axes :], given, strict=True):
        number = c.number(factor, "scale_factor")
        if isinstance(own, int):
            sizes.append(int(own * number))
        elif number == int(number):
            sizes.append(own * int(number))
        else:
            raise c.error(f"makes {number} times as many places of {own}")
    return sizes


def _in_phases(c: Context, x: Value, axis: int, times: int) -> Value:
    """Each of ``times`` outputs of a place is between it and the one before or behind."""
    pads = tuple((1, 1) if at == axis else (0, 0) for at in range(x.rank))
    wide = c.add(Pad(pads, 0.0, "edge"), x)
    before, behind = c.add(Slice(axis, None, -2, 1, True), wide), c.add(Slice(axis, 2, None, 1, True), wide)
    parts = []
    for phase in range(times):
        place = (phase + 0.5) / times - 0.5
        other = before if place < 0 else behind
        kept, taken = c.add(Binary("mul"), x, 1 - abs(place)), c.add(Binary("mul"), other, abs(place))
        shape = (*x.shape[: axis + 1], 1, *x.shape[axis + 1 :])
        parts.append(c.add(View(shape), c.add(Binary("add"), kept, taken)))
    joined = c.add(Concatenate(axis + 1), *parts)
    made: Value = c.add(View((*x.shape[:axis], x.shape[axis] * times, *x.shape[axis + 1 :])), joined)
    return made


def _weights(own: int, size: int, align: bool) -> np.ndarray:
    """(size, own): what each output takes of each place."""
    if align:
        places = np.arange(size) * ((own - 1) / (size - 1) if size > 1 else 0.0)
    else:
        places = np.maximum((np.arange(size) + 0.5) * (own / size) - 0.5, 0.0)
    low = np.minimum(places.astype(int), own - 1)
    high = np.minimum(low + 1, own - 1)
    weights = np.zeros((size, own))
    weights[np.arange(size), low] += 1 - (places - low)
    weights[np.arange(size), high] += places - low
    return weights


def _by_matrix(c: Context, x: Value, axis: int, weights: np.ndarray) -> Value:
    order = [*(at for at in range(x.rank) if at != axis), axis]
    back = tuple(order.index(at) for at in range(x.rank))
    made: Value = c.add(Permute(back), c.add(Linear(weights), c.add(Permute(tuple(order)), x)))
    return made


def pixel_shuffle(c: Context, self: Any, upscale_factor: Any) -> Any:
    """(..., r r C, H, W) as (..., C, H r, W r)."""
    x, r = c.value(self), c.integer(upscale_factor, "upscale_factor")
    if x.rank < 3 or r < 1:
        raise c.error(f"takes {x.rank} axes and the factor {r}")
    *rest, channels, height, width = x.shape
    if not isinstance(channels, int) or channels % (r * r):
        raise c.error(f"takes {channels} channels, wanted a multiple of {r * r}")
    n = len(rest)
    apart = c.add(View((*rest, channels // (r * r), r, r, height, width)), x)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return c.add(View((*rest, channels // (r * r), height * r, width * r)), c.add(Permute(order), apart))
