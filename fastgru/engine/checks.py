"""What the compiled modules rely on, checked before any of them takes a pointer.

Bounds are not checked inside them, so whatever comes in from Python passes here first: as plain arrays of one type,
in C order, of sizes that fit each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import DTypeError, ShapeError

from .reduced import reduce

__all__ = ["ACTIVATION_COUNT", "check_activation", "checked_weights", "form_of"]

ACTIVATION_COUNT = 6
LARGEST = 2**31 - 1  # of a size that is kept as a C int

# A matrix may be an object with a shape, a dtype and ``form``, which is asked for its numbers later: see ``form_of``.
Weights = tuple[Any, Any, NDArray[Any], NDArray[Any]]
FORMS = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16, "int8": np.int8}  # as reduce gives them


def check_activation(*numbers: int) -> None:
    """Raise unless every number is an index of ``activations.GATE_ACTIVATIONS``."""
    for number in numbers:
        if not 0 <= number < ACTIVATION_COUNT:
            raise ShapeError(f"activation: got number {number}, wanted 0 to {ACTIVATION_COUNT - 1}")


def checked_weights(layers: Any, dtype: Any = None) -> list[list[Weights]]:
    """The weights of a stack as own, plain, C-contiguous arrays of one type.

    Parameters
    ----------
    layers : list of list of (w_ih, w_hh, b_ih, b_hh)
        ``layers[layer][direction]``; (3H, I), (3H, H), (3H,), (3H,).
    dtype : dtype, optional
        What every array must be. None: float32 or float64, as the first one is.

    Raises
    ------
    ShapeError, DTypeError
        An array has another shape or type, or the layers do not fit each other.
    """
    if not isinstance(layers, list) or not layers or not all(isinstance(layer, list) for layer in layers):
        raise ShapeError("layers: wanted a list of layers, each a list of one or two directions")
    directions = len(layers[0])
    if directions not in (1, 2) or any(len(layer) != directions for layer in layers):
        raise ShapeError(f"layers: got {[len(layer) for layer in layers]} directions, wanted 1 or 2 in every layer")
    own = [[_own_arrays(weights, index) for weights in layer] for index, layer in enumerate(layers)]
    wanted_dtype = np.dtype(own[0][0][0].dtype if dtype is None else dtype)
    hidden = own[0][0][1].shape[-1]
    for index, layer in enumerate(own):
        inputs = own[0][0][0].shape[-1] if index == 0 else hidden * directions
        for weights in layer:
            _check_arrays(weights, inputs, hidden, wanted_dtype, index)
    return own


def _own_arrays(weights: Any, index: int) -> Weights:
    if not isinstance(weights, tuple) or len(weights) != 4:
        raise ShapeError(f"layer {index}: wanted a tuple of four arrays for every direction")
    if not all(isinstance(array, np.ndarray) or hasattr(array, "form") for array in weights):
        raise DTypeError(f"layer {index}: got {[type(array).__name__ for array in weights]}, wanted NumPy arrays")
    w_ih, w_hh, b_ih, b_hh = map(_own, weights)
    if (len(w_ih.shape), len(w_hh.shape), b_ih.ndim, b_hh.ndim) != (2, 2, 1, 1):
        raise ShapeError(f"layer {index}: wanted two matrices and two vectors")
    return w_ih, w_hh, b_ih, b_hh


def form_of(matrix: Any, precision: str, name: str) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """The numbers of a matrix in the form of a precision, and its scales; those that it gives itself are checked."""
    if isinstance(matrix, np.ndarray):
        return reduce(matrix, precision, name)
    numbers, scales = matrix.form(precision, name)[:2]
    if numbers.dtype != FORMS[precision] or numbers.shape != matrix.shape:
        raise ShapeError(f"{name}: got {numbers.dtype} {numbers.shape}, wanted {precision} {matrix.shape}")
    if (scales is not None) != (precision == "int8") or (scales is not None and scales.shape != numbers.shape[:1]):
        raise ShapeError(f"{name}: got scales of another shape than its rows")
    return np.ascontiguousarray(numbers), None if scales is None else np.ascontiguousarray(scales, np.float32)


def _own(array: Any) -> Any:
    """The same numbers under a shape that nobody else can change; a copy unless they are read-only and in C order."""
    if not isinstance(array, np.ndarray):
        return array
    if array.flags.writeable or not array.flags.c_contiguous or not array.flags.aligned:
        return np.array(array, order="C", subok=False)
    return array.view(np.ndarray)


def _check_arrays(weights: Weights, inputs: int, hidden: int, dtype: np.dtype[Any], index: int) -> None:
    wanted = ((3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,))
    got = tuple(array.shape for array in weights)
    if got != wanted or not 1 <= hidden <= LARGEST // 64 or not 1 <= inputs <= LARGEST // 64:
        raise ShapeError(f"weights of layer {index}: got shapes {got}, wanted {wanted}, no size 0")
    arrays = [array for array in weights if isinstance(array, np.ndarray)]
    if dtype not in (np.float32, np.float64) or any(array.dtype != dtype for array in arrays):
        raise DTypeError(f"weights of layer {index}: got {[str(array.dtype) for array in arrays]}, wanted {dtype}")
