"""Arrays as Keras orients them, (inputs, outputs) with gates z, r, h, in the orientation of this package.

Other programs that took their layout over from Keras come through here as well. No name means anything here.
"""

from __future__ import annotations

import numpy as np

from ...gru_weights import GRUWeights

__all__ = ["gru_weights", "rows_of_outputs"]


def gru_weights(kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray | None) -> GRUWeights:
    """One direction of a GRU.

    Parameters
    ----------
    kernel : ndarray, shape (inputs, 3 * units)
    recurrent_kernel : ndarray, shape (units, 3 * units)
    bias : ndarray, shape (2, 3 * units) or (3 * units,), or None
        Two rows where the reset is applied after the product, one where it is applied before it.
    """
    both = np.zeros((2, recurrent_kernel.shape[1]), recurrent_kernel.dtype)
    if bias is not None:
        both[: bias.ndim] = bias
    w_ih, w_hh, b_ih, b_hh = (_reset_first(gates) for gates in (kernel.T, recurrent_kernel.T, both[0], both[1]))
    return GRUWeights(w_ih, w_hh, b_ih, b_hh)


def rows_of_outputs(kernel: np.ndarray) -> np.ndarray:
    """(inputs, outputs) as (outputs, inputs), and a kernel of (steps, inputs, outputs) as (outputs, inputs, steps)."""
    return np.ascontiguousarray(kernel.T)


def _reset_first(gates: np.ndarray) -> np.ndarray:
    """Gates z, r, h along the first axis, in the order r, z, n."""
    z, r, n = np.split(gates, 3)
    return np.ascontiguousarray(np.concatenate((r, z, n)))
