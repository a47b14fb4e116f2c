"""What the tensors of a model become in a file of a given precision, which computes the same in that precision.

Owns the choice of a type for each tensor; ``engine.reduced`` does the rounding, and ``saving`` writes. The matrices of
GRUs get the precision that is asked for, as int8 with the steps that ``checkpoint.int8_rows`` describes. The model
computes in float32 with everything else, which is therefore written in float32; what has more than one axis and loses
nothing by it in float16 or bfloat16, where these are asked for. Normalisations compute with all that they are given,
and keep it; with float64 everything but the matrices stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checkpoint.int8_rows import STEPS
from ..engine.reduced import bfloat16_bits, float16, int8, is_kept
from ..errors import UnsupportedModelError
from ..records.fields import Fields
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


class Written(Fields):
    """A tensor as it lies in a file."""

    kind: str  # as safetensors calls the type
    array: np.ndarray  # BF16 as the 16 bits of each number

    @classmethod
    def of(cls, array: np.ndarray) -> Written:
        return cls(_TYPES[array.dtype.name], array)


def narrowed(
    data: dict[str, Any], tensors: Mapping[str, np.ndarray], precision: str | None = None
) -> dict[str, Written]:
    """The tensors of a file by name; ``data`` and ``tensors`` are from a ``to_data``, None keeps all of them.

    Raises
    ------
    UnsupportedModelError
        A weight is beyond the precision; the message has the tensor's name.
    """
    if precision is None:
        return {name: Written.of(array) for name, array in tensors.items()}
    if "graph" in data:
        from ..graph.saved import names_in_graph

        matrices, normalisations = names_in_graph(data)
    else:
        matrices, normalisations = names_of_matrices(data), names_of_normalisations(data)
    made = {}
    for name, array in tensors.items():
        if array.dtype.kind != "f":
            made[name] = Written.of(array)
        elif name in matrices and precision == "int8":
            numbers, steps = int8(array, name)
            made[name], made[name + STEPS] = Written.of(numbers), Written.of(steps)
        elif name in matrices:
            made[name] = _weights(array, precision, name)
        elif name in normalisations or precision == "float64":
            made[name] = Written.of(array)
        elif precision in ("float16", "bfloat16") and array.ndim > 1 and is_kept(array, precision):
            made[name] = _weights(array, precision, name)
        else:
            made[name] = Written.of(_float32(array, name))
    return made


def _weights(array: np.ndarray, precision: str, name: str) -> Written:
    if precision == "float16":
        return Written.of(float16(array, name))
    if precision == "bfloat16":
        return Written("BF16", bfloat16_bits(array, name))
    return Written.of(_float32(array, name) if precision == "float32" else array.astype(np.float64))


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
