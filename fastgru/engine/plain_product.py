"""A dense layer by BLAS: for float64, and where the user has chosen BLAS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .single_threaded_blas import product

__all__ = ["PlainProduct"]


class PlainProduct:
    """``x @ weight.T + bias``, of x (..., inputs), in the dtype of the weight."""

    def __init__(self, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        self.weight, self.bias = weight, bias
        self.arrays = [weight, bias]

    @property
    def outputs(self) -> int:
        return len(self.weight)

    @property
    def precision(self) -> str:
        """What the weights are kept in."""
        return str(self.weight.dtype)

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(product(x, self.weight.T) + self.bias, self.weight.dtype)
