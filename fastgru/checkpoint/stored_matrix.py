"""A matrix that lies in a file and is read when it is asked for: once for each model that packs it.

Owns the coming back to the file: it is opened anew, and must be the one whose header was read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.reduced import keeps_grid, widen
from ..errors import CheckpointError
from ..records.sealed import is_sealed, sealed
from ..weights.matrices import Form, Matrix
from .opened import Identity, OpenedFile, open_checkpoint

__all__ = ["PYTORCHS_NAMES", "StoredMatrix", "is_for_later"]

PYTORCHS_NAMES = re.compile(r"(?:^|\.)weight(?:_(?:ih|hh)(?:_l[0-9]+(?:_reverse)?)?)?$")  # of what may be a matrix

Read = Callable[[OpenedFile], tuple[NDArray[Any], NDArray[np.float32] | None]]
ReadRows = Callable[[OpenedFile, int, int], NDArray[Any]]
ROWS_BYTES = 1 << 19  # of float32 that are read at once
LEAST = 1 << 14  # numbers of a matrix that is worth coming back for: to open the file again takes 0.1 ms


def is_for_later(shape: Sequence[int]) -> bool:
    """Whether a tensor of a file may be a large matrix of a layer, which is read when a model packs it."""
    return len(shape) > 1 and math.prod(shape) >= LEAST


class StoredMatrix(Matrix):
    """A matrix of a file.

    Parameters
    ----------
    path : str
    identity
        Of the file, as ``OpenedFile`` has it.
    kind : str
        What it is stored in: ``"float32"``, ``"float64"``, or one of ``reduced.REDUCED``.
    shape
    read : callable
        Gives the numbers and scales from the open file, as ``reduced.reduce`` gives them for that kind.
    read_rows : callable, optional
        Gives the rows from one up to another, along the first axis, widened.
    """

    def __init__(
        self,
        path: str,
        identity: Identity,
        kind: str,
        shape: tuple[int, ...],
        read: Read,
        read_rows: ReadRows | None = None,
    ) -> None:
        self._path, self._identity, self._kind, self._read, self._read_rows = path, identity, kind, read, read_rows
        self.shape, self.dtype = shape, np.dtype(np.float64 if kind == "float64" else np.float32)
        self._keeps_grid: bool | None = None  # of int8, once it was looked at

    @contextmanager
    def _opened(self) -> Iterator[OpenedFile]:
        with open_checkpoint(self._path) as opened:
            if opened.identity != self._identity:
                raise CheckpointError(f"{self._path}: it was changed since it was opened; load it again")
            yield opened

    def _form(self) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        with self._opened() as opened:
            numbers, scales = self._read(opened)
        return numbers if is_sealed(numbers) else sealed(numbers), scales

    def pieces(self) -> Iterator[tuple[int, NDArray[Any]]]:
        if self._read_rows is None:
            yield from super().pieces()
            return
        rows = len(self)
        most = max(1, ROWS_BYTES * rows // (4 * self.size))
        with self._opened() as opened:
            for first in range(0, rows, most):
                yield first, self._read_rows(opened, first, min(first + most, rows))

    def array(self) -> NDArray[Any]:
        made = widen(*self._form())
        return made if is_sealed(made) else sealed(made)

    def form(self, precision: str, name: str) -> Form:
        if precision == self._kind:
            numbers, scales = self._form()
            if scales is None or self._is_on_grid(numbers, scales):
                return Form(numbers, scales, True)
        return super().form(precision, name)

    def keeps(self, precision: str) -> bool:
        if precision != self._kind or precision in ("float32", "float64"):
            return super().keeps(precision)
        numbers, scales = self._form()
        if precision == "int8":
            return scales is not None and self._is_on_grid(numbers, scales)
        return bool(np.isfinite(widen(numbers, scales)).all())

    def _is_on_grid(self, numbers: NDArray[Any], scales: NDArray[np.float32]) -> bool:
        if self._keeps_grid is None:
            self._keeps_grid = keeps_grid(numbers, scales)
        return self._keeps_grid
