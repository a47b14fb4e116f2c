"""A model over a ``.npy`` file: batches of rows in, a new file out, written whole or not at all.

Owns the reading and writing of arrays for ``fastgru run``; knows no command line and prints nothing.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .arrays import as_lengths
from .errors import CheckpointError, DTypeError, ShapeError, UnsupportedModelError
from .gru import GRU
from .model import Model
from .spec import GRULayer

__all__ = ["read_array", "replacing", "rows_at_once", "run_file"]

NUMBERS_AT_ONCE = 2**25  # of the widest layer in one batch of rows: 128 MB of float32
FEWEST_ROWS, MOST_ROWS = 16, 4096  # a tile of rows for each of two threads; a small step of a progress bar

Array = np.ndarray[Any, Any]


def run_file(
    model: GRU | Model,
    x: Array,
    output: str,
    *,
    lengths: Array | None = None,
    state: str | None = None,
    batch: int | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> tuple[int, ...]:
    """Run a model over all rows of ``x``, some at a time, and write what it gives.

    Parameters
    ----------
    model : GRU or Model
    x : ndarray, (batch, steps, features) or (steps, features)
        Integers without ``features`` where the model starts with an Embedding. May be a memory map.
    output : str
        The ``.npy`` file to write, or to replace.
    lengths : ndarray of int, (batch,), optional
        How many steps of each row are real.
    state : str, optional
        The ``.npy`` file for a GRU's final states.
    batch : int, optional
        Rows at a time; by their size if left out. It changes no float32 result.
    advance : callable, optional
        Called with the number of rows after each batch.

    Returns
    -------
    tuple of int
        The shape written to ``output``.

    Raises
    ------
    ShapeError, DTypeError
        An array does not fit the model.
    UnsupportedModelError
        ``state`` is asked of a Model, which has none.
    """
    if state is not None and not isinstance(model, GRU):
        raise UnsupportedModelError("final states are asked for, but only a GRU alone has them, and this is a Model")
    batched = x.ndim == (2 if _features(model) is None else 3)
    rows = x.shape[0] if batched else 1
    if batched and lengths is not None:
        as_lengths(lengths, rows, x.shape[1])  # all of them, before the first batch is computed
    size = (batch or rows_at_once(model, x)) if batched else 1
    states = []
    shape: tuple[int, ...] = ()
    with ExitStack() as stack:
        file = stack.enter_context(replacing(output))
        state_file = stack.enter_context(replacing(state)) if state is not None else None
        for first in range(0, max(rows, 1), size):
            cut = slice(first, min(first + size, rows)) if batched else ...
            y, h = _run_batch(model, x[cut], None if lengths is None else lengths[cut], x, first)
            if first == 0:
                shape = (rows, *y.shape[1:]) if batched else y.shape
                _write_header(file, y.dtype, shape)
            file.write(np.ascontiguousarray(y).data)
            states.append(h)
            advance(len(y) if batched else 1)
        if state_file is not None:
            joined = np.concatenate(states, axis=1) if batched else states[0]  # (layers * directions, rows, hidden)
            _write_header(state_file, joined.dtype, joined.shape)
            state_file.write(np.ascontiguousarray(joined).data)
    return shape


def rows_at_once(model: GRU | Model, x: Array) -> int:
    """Rows of (batch, steps, ...) to run together: as many as keep every layer's output at a moderate size."""
    specs = (
        [model.spec]
        if isinstance(model, GRU)
        else [node.layer.gru for node in model.spec.nodes if isinstance(node.layer, GRULayer)]
    )
    width: int = max([x.shape[-1] if x.ndim > 2 else 1, *(3 * gru.output_size for gru in specs)])
    rows: int = NUMBERS_AT_ONCE // (max(x.shape[1], 1) * max(width, 1))
    return min(max(rows, FEWEST_ROWS), MOST_ROWS)


def read_array(path: str) -> Array:
    """The array of a ``.npy`` file, mapped into memory and not read yet; nothing in it is unpickled.

    Raises
    ------
    CheckpointError
        It is not a ``.npy`` file, is damaged, or holds Python objects.
    OSError
        It cannot be opened.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # the reader of the header lets through whatever its parsing raises
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: not a .npy file of numbers ({reason}); write one with numpy.save") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise CheckpointError(f"{path}: holds several arrays (.npz), wanted one; write it with numpy.save")
    return array


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file beside ``path`` that takes its place at the end, or disappears where something was raised."""
    if os.path.exists(path) and not os.path.isfile(path):  # asked of the path: a pipe's /dev/stdout resolves to nothing
        raise OSError(errno.EINVAL, "OUTPUT must be a regular file, or the name of a new one", path)
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _features(model: GRU | Model) -> int | None:
    features: int | None = model.input_size if isinstance(model, GRU) else model.spec.inputs[0].features
    return features


def _run_batch(model: GRU | Model, x: Array, lengths: Array | None, whole: Array, first: int) -> tuple[Array, Array]:
    """Output and final states of some rows of ``whole``; a Model's states are empty."""
    try:
        if isinstance(model, GRU):
            return model(x, lengths=lengths)
        return model(x, lengths), np.empty(0)
    except (DTypeError, ShapeError) as error:
        if x.shape == whole.shape:
            raise
        raise type(error)(f"rows from {first} of an array {whole.shape}: {error}") from error


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
