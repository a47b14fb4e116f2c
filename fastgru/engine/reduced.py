"""Weights with fewer bits: float16, bfloat16 and int8, what of a float each keeps, and whether it keeps all.

Owns the rounding; how the results lie in memory is for ``pack``. Whatever is packed in a reduced form can also be
computed with as float32, through ``widened``: the numbers are the same.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import UnsupportedModelError

__all__ = [
    "REDUCED",
    "Reduced",
    "bfloat16_bits",
    "float16",
    "int8",
    "is_kept",
    "keeps_grid",
    "reduce",
    "stands_for",
    "upper_halves",
    "widen",
    "widened",
]

Array = NDArray[Any]
Reduced = Literal["float16", "bfloat16", "int8"]
REDUCED: tuple[str, ...] = get_args(Reduced)

LEVELS = 127  # of int8 on either side of zero; -128 comes only from files
AT_ONCE = 1 << 17  # numbers that are rounded at a time: 1 MB of float64
GRID_ERROR = 1e-3  # of a scale: how far a dequantised float32 may lie from a whole number of it


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
    made = np.empty(weights.shape, np.uint16)
    for part in _parts(weights):
        with np.errstate(over="ignore"):
            single = np.ascontiguousarray(weights[part], np.float32)
        bits = single.view(np.uint32)
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        if (((rounded & 0x7FFF) == 0x7F80) & np.isfinite(weights[part])).any():
            raise UnsupportedModelError(f"{name}: got weights beyond bfloat16, wanted at most 3.39e38; use float64")
        made[part] = np.where(np.isnan(single), (bits >> 16) | 0x40, rounded)
    return made


def upper_halves(weights: NDArray[np.float32]) -> NDArray[np.uint16] | None:
    """The bits of bfloat16 of each weight if every one is a bfloat16, bit by bit; otherwise None."""
    made = np.empty(weights.shape, np.uint16)
    for part in _parts(weights):
        bits = np.ascontiguousarray(weights[part], np.float32).view(np.uint32)
        if (bits & 0xFFFF).any():
            return None
        made[part] = bits >> 16
    return made


def int8(weights: Array, name: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix as whole numbers, with a scale for each row: ``weights ~ numbers * scales[:, None]``.

    A row that was quantised before, and so lies on a grid of at most 255 steps around zero, keeps its grid. Any other
    row is cut into 127 steps on either side of zero. What the result stands for gives the same result again.

    Raises
    ------
    UnsupportedModelError
        A weight is not finite, or beyond float32; the message has ``name``.
    """
    largest = _largest(weights)
    if not np.isfinite(largest).all():
        raise UnsupportedModelError(f"{name}: got weights that are NaN or infinite, which have no int8; use float32")
    if not (largest <= np.finfo(np.float32).max).all():
        raise UnsupportedModelError(f"{name}: got weights beyond float32, which have no int8; use float64")
    scales = _grid(weights, largest)
    scales = _recovered(np.where(np.isnan(scales), largest / LEVELS, scales).astype(np.float32))
    scales[scales < np.finfo(np.float32).tiny] = 0  # rows of zeros, or so small that they count as such
    made = np.empty(weights.shape, np.int8)
    for part in _parts(weights):
        made[part] = np.clip(np.rint(_in_scales(weights[part], scales[part])), -LEVELS - 1, LEVELS)
    return made, scales


def _parts(weights: Array) -> list[slice | tuple[()]]:
    """The rows of an array a few at a time: what is computed on the way is never as large as the array."""
    if weights.ndim < 2:
        return [()]
    rows = max(1, AT_ONCE // max(weights[:1].size, 1))
    return [slice(first, first + rows) for first in range(0, len(weights), rows)]


def _largest(weights: Array) -> Array:
    """The largest magnitude of each row, in float64."""
    made = np.zeros(len(weights))
    for part in _parts(weights):
        made[part] = np.abs(weights[part].astype(np.float64)).max(axis=1, initial=0)
    return made


def _in_scales(weights: Array, scales: Array) -> Array:
    """Some rows over their scales, in float64; zeros where a scale is 0."""
    wide = weights.astype(np.float64)
    return np.asarray(np.divide(wide, scales[:, None], where=scales[:, None] > 0, out=np.zeros_like(wide)))


def _recovered(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scales that are found again in rows whose largest number is 127 times theirs, rounded to float32.

    One scale in 128 is not: it comes back as its neighbour, which then stays. Below float32's largest, one is rounded
    down.
    """
    with np.errstate(over="ignore"):
        largest = (scales.astype(np.float64) * LEVELS).astype(np.float32)
    found = (largest.astype(np.float64) / LEVELS).astype(np.float32)
    return np.where(np.isinf(largest), np.nextafter(scales, np.float32(0)), found)


def _grid(weights: Array, largest: Array) -> Array:
    """The scale of each row of whose multiples all of it is; NaN where a row has no such scale.

    Quantising fits the scales to the largest weight of a matrix, or of a row: so it is 127 or 128 of them away from
    zero, and one scale for all rows is looked for before one for each.
    """
    whole = np.broadcast_to(largest.max(initial=0), largest.shape)
    for levels in (LEVELS, LEVELS + 1):
        if _fits(weights, whole / levels).all():
            return np.asarray(whole / levels)
    scales = np.full(largest.shape, np.nan)
    for levels in (LEVELS + 1, LEVELS):
        scales = np.where(_fits(weights, largest / levels), largest / levels, scales)
    return scales


def _fits(weights: Array, scales: Array) -> NDArray[np.bool_]:
    """Of each row, whether it is whole numbers that int8 has, times its scale.

    Only zeros are none of them: beside a weight of 1e6, all that are usual lie within ``GRID_ERROR`` of 0.
    """
    fits = np.empty(len(weights), bool)
    for part in _parts(weights):
        numbers = _in_scales(weights[part], scales[part])
        whole = np.rint(numbers)
        off = np.abs(numbers - whole).max(axis=1, initial=0)
        lost = ((whole == 0) & (weights[part] != 0)).any(axis=1)
        fits[part] = (off <= GRID_ERROR) & (whole.max(axis=1, initial=0) <= LEVELS) & ~lost
    return fits


def reduce(weights: Array, precision: str, name: str) -> tuple[Array, NDArray[np.float32] | None]:
    """A float32 matrix in the form that a precision has in memory, and the scales of its rows where that is int8."""
    if precision == "float16":
        return float16(weights, name), None
    if precision == "bfloat16":
        return bfloat16_bits(weights, name), None
    return int8(weights, name) if precision == "int8" else (weights, None)


def widen(numbers: Array, scales: NDArray[np.float32] | None) -> Array:
    """What a reduced form stands for, as float32; other floats as they are."""
    if scales is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(numbers * scales[:, None], dtype=np.float32)
    if numbers.dtype == np.uint16:
        made = numbers.astype(np.uint32)
        made <<= 16
        return made.view(np.float32)
    return numbers.astype(np.float32, copy=False) if numbers.dtype == np.float16 else numbers


def widened(weights: Array, precision: str, name: str) -> NDArray[np.float32]:
    """What the reduced form of a matrix stands for, as float32."""
    return widen(*reduce(weights, precision, name)).astype(np.float32, copy=False)


def stands_for(numbers: Array, scales: NDArray[np.float32] | None, weights: Array) -> bool:
    """Whether a form of a matrix is the matrix: the same numbers, or NaN at the same places."""
    return all(
        np.array_equal(widen(numbers[part], None if scales is None else scales[part]), weights[part], equal_nan=True)
        for part in _parts(weights)
    )


def keeps_grid(numbers: NDArray[np.int8], scales: NDArray[np.float32]) -> bool:
    """Whether the scales of int8 are found again in what it stands for: each row has 127, or one, and all one scale."""
    small = (scales > 0) & (scales < np.finfo(np.float32).tiny)
    with np.errstate(over="ignore"):
        if small.any() or not np.isfinite(scales * np.float32(LEVELS + 1)).all():
            return False
    ends = np.maximum(numbers.max(axis=1, initial=0), -numbers.min(axis=1, initial=0).astype(np.int16)) >= LEVELS
    return bool((ends | (scales == 0)).all() or (ends.any() and np.ptp(scales) == 0))


def is_kept(weights: Array, precision: str) -> bool:
    """Whether a matrix loses nothing in a reduced form: int8 may differ by the rounding of its products in float32."""
    if not np.isfinite(weights).all():
        return False
    if precision == "int8":
        return not np.isnan(_grid(weights, _largest(weights))).any()
    try:
        return stands_for(*reduce(weights, precision, ""), weights)
    except UnsupportedModelError:
        return False
