"""A model over files of arrays: batches of rows in, a new file out, written whole or not at all.

Owns the writing of results for ``fastgru run``; knows no command line and prints nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO

import numpy as np

from ..errors import FastGRUError, UnsupportedModelError
from ..evaluation.rows import Lengths, Rows, outputs_of, rows_at_once
from ..gru import GRU
from ..model import Model
from ..outputs import replacing

__all__ = ["run_file"]

Array = np.ndarray[Any, Any]


def run_file(
    model: GRU | Model,
    x: Mapping[str, Array],
    output: str,
    *,
    lengths: Lengths = None,
    state: str | None = None,
    batch: int | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> dict[str, tuple[int, ...]]:
    """Run a model over all rows of its inputs, some at a time, and write what it gives.

    Parameters
    ----------
    model : GRU or Model
    x : mapping of str to ndarray
        Every input by its name, with a batch axis or all without one. May be memory maps.
    output : str
        The file to write, or to replace: an ``.npz`` of every output by its name, where it is called so; otherwise a
        ``.npy`` of the only one.
    lengths : ndarray of int, (batch,), or mapping of them by input, optional
        How many steps of each row are real.
    state : str, optional
        The ``.npy`` file for a GRU's final states.
    batch : int, optional
        Rows at a time; by their size if left out. It changes no float32 result.
    advance : callable, optional
        Called with the number of rows after each batch.

    Returns
    -------
    dict of str to tuple of int
        The shape of each output that was written.

    Raises
    ------
    ShapeError, DTypeError
        An array does not fit the model.
    UnsupportedModelError
        ``state`` is asked of a Model, which has none.
    FastGRUError
        The model has several outputs, and ``output`` is not called ``.npz``.
    """
    if state is not None and not isinstance(model, GRU):
        raise UnsupportedModelError("final states are asked for, but only a GRU alone has them, and this is a Model")
    names = outputs_of(model)
    zipped = output.lower().endswith(".npz")
    if len(names) > 1 and not zipped:
        raise FastGRUError(f"{output}: the model has {len(names)} outputs ({', '.join(names)}); name an .npz file")
    rows = Rows(model, x, lengths)
    size = (batch or rows_at_once(model, x)) if rows.batched else 1
    with ExitStack() as stack:
        file = stack.enter_context(replacing(output))
        state_file = stack.enter_context(replacing(state)) if state is not None else None
        folder = os.path.dirname(os.path.realpath(output))
        parts = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in names] if zipped else [file]
        shapes, states = _run_all(rows, size, parts, advance)
        if zipped:
            _write_zip(file, names, parts)
        if state_file is not None:
            joined = (
                np.concatenate(states, axis=1) if rows.batched else states[0]
            )  # (layers * directions, rows, hidden)
            _write_header(state_file, joined.dtype, joined.shape)
            state_file.write(np.ascontiguousarray(joined).data)
    return dict(zip(names, shapes, strict=True))


def _run_all(
    rows: Rows, size: int, files: Sequence[BinaryIO], advance: Callable[[int], None]
) -> tuple[list[tuple[int, ...]], list[Array]]:
    """Write every output into its file, ``size`` rows at a time; gives their shapes, and the final states in parts."""
    shapes: list[tuple[int, ...]] = []
    states = []
    for first in range(0, max(rows.count, 1), size):
        made, final = rows.run(first, first + size)
        if first == 0:
            shapes = [(rows.count, *y.shape[1:]) if rows.batched else y.shape for y in made]
            for file, y, shape in zip(files, made, shapes, strict=True):
                _write_header(file, y.dtype, shape)
        for file, y in zip(files, made, strict=True):
            file.write(np.ascontiguousarray(y).data)
        states.append(final)
        advance(len(made[0]) if rows.batched else 1)
    return shapes, states


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _write_zip(file: BinaryIO, names: Sequence[str], parts: Sequence[BinaryIO]) -> None:
    """The parts as an ``.npz``, stored as they are."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, part in zip(names, parts, strict=True):
            part.seek(0)
            entry = zipfile.ZipInfo(f"{name.encode('utf-8', 'backslashreplace').decode()}.npy")
            with archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(part, target, 1 << 20)
