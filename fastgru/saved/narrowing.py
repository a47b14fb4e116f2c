"""What the tensors of a model become in a file of a given precision, which computes the same in that precision.

Owns the choice of a type for each tensor; ``engine.reduced`` does the rounding, and ``saving`` writes. The matrices of
GRUs get the precision that is asked for, as int8 with the scales that ``checkpoint.int8_rows`` describes. The model
computes in float32 with everything else, which is therefore written in float32; what has more than one axis and loses
nothing by it in float16 or bfloat16, where these are asked for. Normalisations compute with all that they are given,
and keep it; with float64 everything but the matrices stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..checkpoint.int8_rows import SCALES
from ..engine.reduced import is_kept, reduce
from ..errors import UnsupportedModelError
from ..records.fields import Fields
from ..weights.matrices import Matrix, as_array, form_of
from .topology import names_of_matrices, names_of_normalisations

__all__ = ["Written", "narrowed"]

_TYPES = {
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "int8": "I8",
    "int32": "I32",
    "int64": "I64",
    "bool": "BOOL",
}  # of safetensors, by those of NumPy
_KINDS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
_SIZES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I8": 1, "I32": 4, "I64": 8, "BOOL": 1}


class Written(Fields):
    """A tensor as it lies in a file; what is no array yet is made when it is written."""

    kind: str  # as safetensors calls the type
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]  # BF16 as the 16 bits of each number

    @classmethod
    def of(cls, array: np.ndarray, kind: str | None = None) -> Written:
        return cls(kind or _TYPES[array.dtype.name], array.shape, lambda: array)

    @property
    def itemsize(self) -> int:
        return _SIZES[self.kind]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.itemsize


def narrowed(
    data: dict[str, Any], tensors: Mapping[str, np.ndarray | Matrix], precision: str | None = None
) -> dict[str, Written]:
    """The tensors of a file by name; ``data`` and ``tensors`` are from a ``to_data``, None keeps all of them.

    Raises
    ------
    UnsupportedModelError
        A weight is beyond the precision; the message has the tensor's name.
    """
    if precision is None:
        return {name: _as_given(array) for name, array in tensors.items()}
    if "graph" in data:
        from ..graph.saved import names_in_graph

        matrices, normalisations = names_in_graph(data)
    else:
        matrices, normalisations = names_of_matrices(data), names_of_normalisations(data)
    made = {}
    for name, array in tensors.items():
        if name in matrices and array.dtype.kind == "f":
            made.update(_matrix(array, precision, name))
            continue
        array = _as_rounded(array, precision, name)
        if array.dtype.kind != "f" or name in normalisations or precision == "float64":
            made[name] = Written.of(array)
        elif precision in ("float16", "bfloat16") and array.ndim > 1 and is_kept(array, precision):
            made[name] = _halves(array, precision, name)
        else:
            made[name] = Written.of(_float32(array, name))
    return made


def _as_given(array: np.ndarray | Matrix) -> Written:
    if isinstance(array, Matrix):
        return Written(_TYPES[array.dtype.name], array.shape, array.array)
    return Written.of(array)


def _matrix(matrix: np.ndarray | Matrix, precision: str, name: str) -> dict[str, Written]:
    """A matrix of a GRU, with its scales in int8."""
    if precision == "int8":
        numbers, scales = form_of(matrix, precision, name)[:2]
        assert scales is not None
        return {name: Written.of(numbers), name + SCALES: Written.of(scales)}

    def make() -> np.ndarray:
        if precision == "float32" and (isinstance(matrix, np.ndarray) or matrix.dtype != np.float32):
            return _float32(_as_rounded(matrix, precision, name), name)
        return form_of(matrix, precision, name).numbers

    return {name: Written(_KINDS[precision], matrix.shape, make)}


def _as_rounded(given: np.ndarray | Matrix, precision: str, name: str) -> np.ndarray:
    """The numbers to be written in a precision; what a model has in float32 as it is there: its file may be gone."""
    if isinstance(given, Matrix) and given.is_rounded and precision != "float64":
        single = form_of(given, "float32", name).numbers
        if np.isfinite(single).all():
            return single
    return as_array(given)


def _halves(array: np.ndarray, precision: str, name: str) -> Written:
    return Written.of(reduce(array, precision, name)[0], _KINDS[precision])


def _float32(array: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        single = array.astype(np.float32, copy=False)
    lost = np.isinf(single) & np.isfinite(array)
    if lost.any():
        raise UnsupportedModelError(
            f"{name}: got {lost.sum()} weights beyond float32, as {array[lost].flat[0]:g}; save it without a "
            'precision, or with "float64"'
        )
    return single
