"""The options that a GRU and a Model share: precisions and backends, what they mean, and the kernels of the process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, get_args

import numpy as np

from . import threads
from .engine import dispatch
from .engine.plan import KernelTable
from .errors import UnsupportedModelError

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Backend",
    "Precision",
    "backend_for",
    "check_options",
    "check_precision",
    "dtype_of",
    "kernel_table",
]

Precision = Literal["float32", "float64", "float16", "bfloat16", "int8"]
Backend = Literal["packed", "blas"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
BACKENDS: tuple[str, ...] = get_args(Backend)


@cache
def kernel_table() -> KernelTable:
    """The kernels of this process."""
    return KernelTable(dispatch.kernels())


def check_precision(precision: object, known: Sequence[str] = PRECISIONS) -> None:
    """Raise unless there is such a precision."""
    if not isinstance(precision, str) or precision not in known:
        raise UnsupportedModelError(f"precision: got {precision!r}, wanted one of {', '.join(known)}")


def check_options(precision: str, n_threads: int | None, backend: str | None) -> None:
    """Raise unless the options of a GRU or a Model are ones that there are, and go together."""
    threads.check_threads(n_threads)
    check_precision(precision)
    if backend is not None and (not isinstance(backend, str) or backend not in BACKENDS):
        raise UnsupportedModelError(f"backend: got {backend!r}, wanted one of {', '.join(BACKENDS)}")
    if precision == "float64" and backend == "packed":
        raise UnsupportedModelError('backend="packed" computes in float32; for float64 leave backend out')


def dtype_of(precision: str) -> np.dtype[Any]:
    """Of inputs, states and results."""
    return np.dtype(np.float64 if precision == "float64" else np.float32)


def backend_for(precision: str, backend: str | None) -> str:
    if precision == "float64":
        return "blas"
    return backend or ("packed" if kernel_table().vector_length > 1 else "blas")
