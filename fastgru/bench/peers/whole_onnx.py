"""A whole model as ONNX, of the user's own file or of its export, and its inputs and outputs beside fastgru's.

ONNX Runtime and OpenVINO both run it. Inputs and outputs are paired by their names, or else in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..cases import ModelWork
from .interface import Array, CannotRun
from .whole_torch import is_runnable, onnx_of

__all__ = ["Taken", "feeds", "in_order", "model_of"]

EXPORT = "export the model to ONNX and name the file with --onnx"


class Taken(NamedTuple):
    """An input of an ONNX model; a size that is no number is open."""

    name: str
    shape: Sequence[Any]
    dtype: str  # NumPy's name


def model_of(work: ModelWork) -> bytes | str:
    """The name of the user's file, or the export of the model's own file with just these inputs.

    Raises
    ------
    CannotRun
        There is neither.
    """
    if work.onnx is not None:
        return work.onnx
    if not is_runnable(work.path):
        raise CannotRun(f"needs the model as ONNX: {EXPORT}")
    assert work.exported is not None
    kept = Path(work.exported)
    if not kept.exists():
        try:
            content = onnx_of(work)
        except CannotRun as error:
            raise CannotRun(f"{error}, or {EXPORT}") from error
        except Exception as error:  # of whatever kind; it is PyTorch's
            first = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise CannotRun(f"PyTorch's export of this file to ONNX failed ({first[:100]}); {EXPORT}") from error
        kept.write_bytes(content)
    return kept.read_bytes()


def feeds(work: ModelWork, taken: Sequence[Taken]) -> dict[str, Array]:
    """The model's inputs by the names that ONNX has for them, in the kinds of numbers that it takes.

    Raises
    ------
    CannotRun
        Their number, a shape or a kind of numbers does not fit; the message says got and wanted.
    """
    names = [each.name for each in taken]
    if len(names) != len(work.inputs):
        raise CannotRun(f"its ONNX takes {len(names)} inputs ({', '.join(names)}), the model takes {len(work.inputs)}")
    by_name = set(names) == set(work.inputs)
    arrays = [work.inputs[name] for name in names] if by_name else list(work.inputs.values())
    return {each.name: _fitting(each, array) for each, array in zip(taken, arrays, strict=True)}


def in_order(work: ModelWork, names: Sequence[str]) -> list[str]:
    """The names of ONNX's outputs in the order of the model's: by these names, or else as they stand."""
    return list(work.outputs) if set(names) == set(work.outputs) else list(names)


def _fitting(taken: Taken, array: Array) -> Array:
    fits = len(taken.shape) == array.ndim and all(
        not isinstance(size, int) or size == got for size, got in zip(taken.shape, array.shape, strict=True)
    )
    if not fits:
        shape = ", ".join(str(size) if isinstance(size, int) else "any" for size in taken.shape)
        raise CannotRun(f"its ONNX takes {taken.name!r} as ({shape}), and the inputs here have {array.shape}")
    if array.dtype.kind != np.dtype(taken.dtype).kind or taken.dtype in ("float16", "float64"):
        raise CannotRun(f"its ONNX takes {taken.name!r} in {taken.dtype}, and the inputs here are {array.dtype}")
    return np.ascontiguousarray(array, taken.dtype)
