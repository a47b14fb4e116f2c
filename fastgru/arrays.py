"""What a caller passes, as arrays that can be computed with, or an error that says what was wrong with it.

Owns every check of an argument, and of an array of weights; knows no layer and no file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import DTypeLike, NDArray

from .errors import DTypeError, ShapeError
from .origin import raised_in

__all__ = ["as_integers", "as_lengths", "as_numbers", "as_rows", "as_sequences", "bytes_held", "check_array"]


def as_numbers(array: Any, name: str, dtype: DTypeLike) -> NDArray[Any]:
    """A C-contiguous, aligned array of ``dtype``; a copy only where the argument is not one already."""
    if type(array) is np.ndarray and array.dtype == dtype and (flags := array.flags).c_contiguous and flags.aligned:
        return array  # what a caller who counts microseconds passes; the rest of this function takes 2 us
    given = _as_array(array, name, "numbers")
    _check_unmasked(array, name)
    if given.dtype.kind not in "fiub":
        raise DTypeError(f"{name}: got dtype {given.dtype}, wanted real numbers (float32 is used without a copy)")
    with np.errstate(all="ignore"):  # a float64 beyond float32 is inf
        return np.require(given, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def as_integers(array: Any, name: str) -> NDArray[np.intp]:
    """A C-contiguous array of integers; whole floats are not taken."""
    given = _as_array(array, name, "integers")
    _check_unmasked(array, name)
    if given.dtype.kind not in "iu" and given.size:
        raise DTypeError(f"{name}: got dtype {given.dtype}, wanted integers")
    if given.dtype == np.uint64 and given.size and given.max() > np.iinfo(np.intp).max:
        raise ShapeError(f"{name}: got {given.max()}, too large for an index")
    return np.require(given, np.intp, ["C_CONTIGUOUS", "ALIGNED"])


def _as_array(array: Any, name: str, wanted: str) -> NDArray[Any]:
    """``np.asarray``; what an object's own conversion raises, or a signal handler during it, is not ours to replace."""
    try:
        return np.asarray(array)
    except (TypeError, ValueError, OverflowError, BufferError, RuntimeError) as error:
        # NumPy's own, as for lists of unequal lengths, or PyTorch's of a tensor that requires a gradient.
        if not raised_in(error, "fastgru", "torch"):
            raise
        raise DTypeError(f"{name}: cannot be made an array ({error}); pass an array of {wanted}") from error


def _check_unmasked(array: Any, name: str) -> None:
    """Raise for an array of ``numpy.ma`` with masked elements, or a list of such: NumPy would take them for numbers."""
    masked = sys.modules.get("numpy.ma.core")  # who has such an array has imported it; it takes 10 ms
    while masked is not None:
        parts = array if type(array) in (list, tuple) else [array]
        if any(masked.is_masked(part) for part in parts if isinstance(part, masked.MaskedArray)):
            raise DTypeError(
                f"{name}: got a masked array, whose mask would be lost; pass x.filled(value), and lengths= for rows "
                "whose last steps are masked"
            )
        if parts is not array or not parts:
            return
        array = parts[0]


def as_sequences(x: Any, features: int, dtype: DTypeLike) -> tuple[NDArray[Any], bool]:
    """``x`` as (batch, steps, features), and whether it came as one sequence (steps, features)."""
    array = as_numbers(x, "x", dtype)
    single = array.ndim == 2
    if single:
        array = array[None]
    shape = array.shape
    if len(shape) != 3 or shape[2] != features:
        raise ShapeError(
            f"x: got shape {shape[single:]}, wanted (batch, steps, {features}) "
            f"or, for one sequence, (steps, {features})"
        )
    if shape[1] == 0:
        raise ShapeError(f"x: got shape {shape[single:]}, that is no steps; wanted at least one")
    return array, single


def as_lengths(lengths: Any, batch: int, steps: int, single: bool = False) -> NDArray[np.intp]:
    """Lengths of rows: (batch,) integers, each within 1..steps; one integer for a single sequence."""
    array = as_integers(lengths, "lengths")
    if single and array.ndim == 0:
        array = array[None]
    if array.shape != (batch,):
        raise ShapeError(f"lengths: got shape {array.shape}, wanted ({batch},): one length a row")
    if batch and (array.min() < 1 or array.max() > steps):
        wrong = int(np.argmax((array < 1) | (array > steps)))
        raise ShapeError(f"lengths: row {wrong} has length {array[wrong]}, wanted 1 to {steps}, the steps of x")
    return array


def as_rows(rows: Any, batch: int) -> NDArray[np.intp]:
    """Which of ``batch`` rows are meant: by their numbers from 0, or by a truth for each."""
    listed = isinstance(rows, (list, tuple)) and any(type(row) is bool for row in rows)
    if listed or str(getattr(rows, "dtype", "")).endswith("bool"):
        truths = np.asarray(rows)
        if truths.dtype != bool or truths.shape != (batch,):
            raise ShapeError(f"rows: got {truths.dtype} of shape {truths.shape}, wanted ({batch},): a truth for each")
        return np.flatnonzero(truths)
    array = np.atleast_1d(as_integers(rows, "rows"))
    if array.ndim != 1:
        raise ShapeError(f"rows: got shape {array.shape}, wanted one row or a list of rows")
    if array.size and (array.min() < 0 or array.max() >= batch):
        wrong = int(array[np.argmax((array < 0) | (array >= batch))])
        raise ShapeError(f"rows: got {wrong}, wanted 0 to {batch - 1}")
    return array


def check_array(array: Any, shape: Sequence[int | None], where: str) -> None:
    """Raise unless ``array`` is a float array of that shape, where None is any size from 1."""
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"{where}: got {type(array).__name__}, wanted a NumPy array")
    if array.dtype not in (np.float32, np.float64):
        raise DTypeError(f"{where}: got dtype {array.dtype}, wanted float32 or float64")
    fits = array.ndim == len(shape) and all(
        got == wanted if wanted is not None else got > 0 for got, wanted in zip(array.shape, shape, strict=False)
    )
    if not fits:
        wanted = "(" + ", ".join("at least 1" if size is None else str(size) for size in shape) + ")"
        raise ShapeError(f"{where}: got shape {array.shape}, wanted {wanted}")


def bytes_held(arrays: Iterable[NDArray[Any]]) -> int:
    """How much memory arrays take, of which some may be the same or lie in each other."""
    total = end = 0
    for first, behind in sorted(byte_bounds(array) for array in arrays if array.size):
        total += max(behind - max(first, end), 0)
        end = max(end, behind)
    return total
