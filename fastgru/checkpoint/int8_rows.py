"""Matrices of int8 in files that fastgru writes: whole numbers, and beside them the scale of each row.

Owns their form. A matrix NAME is a tensor of I8, (rows, columns), and a tensor NAME.steps of F32, (rows,), finite and
not negative; it stands for ``numbers * scales[:, None]``, multiplied in float32. Elsewhere I8 means what it means
there. The numbers and scales themselves are not handed on: they are found again where the largest of each row, or of
the matrix, is 127 or 128 times its scale, as fastgru writes it. Otherwise ``precision="stored"`` is float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import CheckpointError

__all__ = ["SCALES", "check_form", "check_scales", "multiplied"]

SCALES = ".steps"  # behind the name of the matrix
AT_ONCE = 1 << 20  # numbers that are read before they are widened: a matrix is never in memory twice


def check_form(shape: tuple[int, ...], scales: tuple[str, tuple[int, ...]] | None, place: str) -> None:
    """Raise unless there is one scale in F32 for every row of a matrix; ``scales`` are a type and a shape."""
    if len(shape) != 2:
        raise CheckpointError(f"{place}: got {len(shape)} axes of I8, wanted a matrix; the file is damaged")
    if scales is None:
        raise CheckpointError(f"{place}: it is of I8, and no tensor of its name and {SCALES} has its scales")
    if scales != ("F32", shape[:1]):
        raise CheckpointError(
            f"{place}: got scales of {scales[0]} and shape {str(scales[1])[:80]} for a matrix of {str(shape)[:80]}, "
            f"wanted F32 and ({shape[0]},); the file is damaged"
        )


def check_scales(scales: np.ndarray, place: str) -> None:
    """Raise unless every scale is a number that can be a distance."""
    wrong = ~(np.isfinite(scales) & (scales >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise CheckpointError(f"{place}: the scale of row {row} is {scales[row]}, wanted a finite one from 0")


def multiplied(shape: tuple[int, ...], scales: np.ndarray, read: Callable[[int, memoryview], None]) -> np.ndarray:
    """The matrix in float32, without its shape; ``read`` fills memory with the numbers from one of them on."""
    flat = np.empty(shape[0] * shape[1], np.float32)
    for start in range(0, flat.size, AT_ONCE):
        numbers = np.empty(min(AT_ONCE, flat.size - start), np.int8)
        read(start, numbers.view(np.uint8).data)
        flat[start : start + numbers.size] = numbers
    if flat.size:
        with np.errstate(over="ignore"):
            np.multiply(flat.reshape(shape), scales[:, None], out=flat.reshape(shape))
    return flat
