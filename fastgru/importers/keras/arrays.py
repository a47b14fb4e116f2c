"""Arrays as Keras orients them, (inputs, outputs) with gates z, r, h, in the orientation of this package.

Other programs that took their layout over from Keras come through here as well. No name means anything here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...gru_weights import GRUWeights
from ...records.sealed import sealed
from ...weights.matrices import Matrix

__all__ = ["gru_weights", "rows_of_outputs"]

_PLACES = (1, 0, 2)  # of r, z, n among z, r, h


def gru_weights(
    kernel: np.ndarray | Matrix, recurrent_kernel: np.ndarray | Matrix, bias: np.ndarray | None
) -> GRUWeights:
    """One direction of a GRU.

    Parameters
    ----------
    kernel : ndarray or Matrix, shape (inputs, 3 * units)
    recurrent_kernel : ndarray or Matrix, shape (units, 3 * units)
    bias : ndarray, shape (2, 3 * units) or (3 * units,), or None
        Two rows where the reset is applied after the product, one where it is applied before it.
    """
    both = np.zeros((2, recurrent_kernel.shape[1]), recurrent_kernel.dtype)
    if bias is not None:
        both[: bias.ndim] = bias
    w_ih: Any = _rows_of_gates(kernel)
    w_hh: Any = _rows_of_gates(recurrent_kernel)
    b_ih, b_hh = (_reset_first(gates) for gates in both)
    return GRUWeights(w_ih, w_hh, b_ih, b_hh)


def rows_of_outputs(kernel: np.ndarray | Matrix) -> Any:
    """(inputs, outputs) as (outputs, inputs), and a kernel of (steps, inputs, outputs) as (outputs, inputs, steps)."""
    return _Turned(kernel) if isinstance(kernel, Matrix) else np.ascontiguousarray(kernel.T)


def _reset_first(gates: np.ndarray) -> np.ndarray:
    """Gates z, r, h along the first axis, in the order r, z, n."""
    split = np.split(gates, 3)
    return np.ascontiguousarray(np.concatenate([split[gate] for gate in _PLACES]))


def _rows_of_gates(given: np.ndarray | Matrix) -> np.ndarray | Matrix:
    """A matrix with a row for each output; of a ``Matrix`` made when it is asked for."""
    return _TurnedGates(given) if isinstance(given, Matrix) else _reset_first(given.T)


class _Turned(Matrix):
    """What is given with its axes in the other order, filled by and by."""

    def __init__(self, given: Matrix) -> None:
        self._given, self.shape, self.dtype = given, given.shape[::-1], given.dtype

    def array(self) -> np.ndarray:
        made = np.empty(self.shape, self.dtype)
        for first, rows in self._given.pieces():
            self._fill(made[..., first : first + len(rows)], rows)
        return sealed(made)

    def _fill(self, columns: np.ndarray, rows: np.ndarray) -> None:
        columns[...] = rows.T


class _TurnedGates(_Turned):
    """A matrix with gates z, r, h side by side as one with r, z, n one below the other."""

    def _fill(self, columns: np.ndarray, rows: np.ndarray) -> None:
        units = len(columns) // 3
        for place, gate in enumerate(_PLACES):
            columns[place * units : (place + 1) * units] = rows[:, gate * units : (gate + 1) * units].T
