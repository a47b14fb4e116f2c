"""Weights with fewer bits: float16, bfloat16 and int8, what of a float each keeps, and whether it keeps all.

Owns the rounding; how the results lie in memory is for ``pack``. Whatever is packed in a reduced form can also be
computed with as float32, through ``widened``: the numbers are the same.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import UnsupportedModelError

__all__ = ["REDUCED", "Reduced", "bfloat16_bits", "float16", "int8", "is_kept", "reduce", "widened"]

Array = NDArray[Any]
Reduced = Literal["float16", "bfloat16", "int8"]
REDUCED: tuple[str, ...] = get_args(Reduced)

LEVELS = 127  # of int8 on either side of zero; -128 comes only from files
GRID_ERROR = 1e-3  # in steps: how far a dequantised float32 may lie from a whole number of them


def float16(weights: Array, name: str) -> NDArray[np.float16]:
    """The nearest float16 of each weight.

    Raises
    ------
    UnsupportedModelError
        A finite weight is beyond float16's largest; the message has ``name`` and the weight.
    """
    with np.errstate(over="ignore"):
        narrow = weights.astype(np.float16)
    lost = np.isinf(narrow) & np.isfinite(weights)
    if lost.any():
        raise UnsupportedModelError(
            f"{name}: got {lost.sum()} weights beyond float16, as {weights[lost].flat[0]:g}; wanted at most 65504; "
            'use precision="bfloat16" or "float32"'
        )
    return np.asarray(narrow)


def bfloat16_bits(weights: Array, name: str = "weights") -> NDArray[np.uint16]:
    """The upper halves of the float32 of each weight, rounded to the nearest, ties to even.

    Raises
    ------
    UnsupportedModelError
        A finite weight is beyond bfloat16's largest, 3.39e38; the message has ``name``.
    """
    with np.errstate(over="ignore"):
        single = weights.astype(np.float32)
    bits = np.ascontiguousarray(single).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    if (((rounded & 0x7FFF) == 0x7F80) & np.isfinite(weights)).any():
        raise UnsupportedModelError(f"{name}: got weights beyond bfloat16, wanted at most 3.39e38; use float64")
    return np.asarray(np.where(np.isnan(single), (bits >> 16) | 0x40, rounded).astype(np.uint16))


def int8(weights: Array, name: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix as whole numbers of steps, one step a row: ``weights ~ numbers * steps[:, None]``.

    A row that was quantised before, and so lies on a grid of at most 255 steps around zero, keeps its grid. Any other
    row is cut into 127 steps on either side of zero. What the result stands for gives the same result again.

    Raises
    ------
    UnsupportedModelError
        A weight is not finite, or beyond float32; the message has ``name``.
    """
    wide = weights.astype(np.float64)
    largest = np.abs(wide).max(axis=1, initial=0)
    if not np.isfinite(largest).all():
        raise UnsupportedModelError(f"{name}: got weights that are NaN or infinite, which have no int8; use float32")
    if not (largest <= np.finfo(np.float32).max).all():
        raise UnsupportedModelError(f"{name}: got weights beyond float32, which have no int8; use float64")
    steps = _grid(wide, largest)
    steps = _recovered(np.where(np.isnan(steps), largest / LEVELS, steps).astype(np.float32))
    steps[steps < np.finfo(np.float32).tiny] = 0  # rows of zeros, or so small that they count as such
    numbers = np.rint(np.divide(wide, steps[:, None], where=steps[:, None] > 0, out=np.zeros_like(wide)))
    return np.clip(numbers, -LEVELS - 1, LEVELS).astype(np.int8), steps


def _recovered(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The steps that are found again in rows whose largest number is 127 of them, rounded to float32.

    One step in 128 is not: it comes back as its neighbour, which then stays. Below float32's largest, one is rounded
    down.
    """
    with np.errstate(over="ignore"):
        largest = (steps.astype(np.float64) * LEVELS).astype(np.float32)
    found = (largest.astype(np.float64) / LEVELS).astype(np.float32)
    return np.where(np.isinf(largest), np.nextafter(steps, np.float32(0)), found)


def _grid(weights: Array, largest: Array) -> Array:
    """The step of each row on whose multiples all of it lies; NaN where a row has no such step.

    Quantising fits the steps to the largest weight of a matrix, or of a row: so it is 127 or 128 of them away from
    zero, and one step for all rows is looked for before one for each.
    """
    whole = np.broadcast_to(largest.max(initial=0), largest.shape)
    for levels in (LEVELS, LEVELS + 1):
        if _fits(weights, whole / levels).all():
            return np.asarray(whole / levels)
    steps = np.full(largest.shape, np.nan)
    for levels in (LEVELS + 1, LEVELS):
        steps = np.where(_fits(weights, largest / levels), largest / levels, steps)
    return steps


def _fits(weights: Array, steps: Array) -> NDArray[np.bool_]:
    """Of each row, whether it lies on whole numbers of its step that int8 has.

    Only zeros are none of them: beside a weight of 1e6, all that are usual lie within ``GRID_ERROR`` of 0.
    """
    numbers = np.divide(weights, steps[:, None], where=steps[:, None] > 0, out=np.zeros_like(weights))
    whole = np.rint(numbers)
    off = np.abs(numbers - whole).max(axis=1, initial=0)
    lost = ((whole == 0) & (weights != 0)).any(axis=1)
    return np.asarray((off <= GRID_ERROR) & (whole.max(axis=1, initial=0) <= LEVELS) & ~lost)


def reduce(weights: Array, precision: str, name: str) -> tuple[Array, NDArray[np.float32] | None]:
    """A float32 matrix in the form that a precision has in memory, and the steps of its rows where that is int8."""
    if precision == "float16":
        return float16(weights, name), None
    if precision == "bfloat16":
        return bfloat16_bits(weights, name), None
    return int8(weights, name) if precision == "int8" else (weights, None)


def widened(weights: Array, precision: str, name: str) -> NDArray[np.float32]:
    """What the reduced form of a matrix stands for, as float32."""
    numbers, steps = reduce(weights, precision, name)
    if steps is not None:
        return np.asarray(numbers * steps[:, None], dtype=np.float32)
    if numbers.dtype == np.uint16:
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32, copy=False)


def is_kept(weights: Array, precision: str) -> bool:
    """Whether a matrix loses nothing in a reduced form: int8 may differ by the rounding of its products in float32."""
    if not np.isfinite(weights).all():
        return False
    if precision == "int8":
        return not np.isnan(_grid(weights.astype(np.float64), np.abs(weights.astype(np.float64)).max(axis=1))).any()
    try:
        return bool((widened(weights, precision, "") == weights).all())
    except UnsupportedModelError:
        return False
