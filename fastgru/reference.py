"""Every layer in plain float64 NumPy: the definition of right. Slow on purpose; the kernels are tested against it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .activations import formula
from .activations.formulas import FORMULAS as ACTIVATIONS
from .activations.formulas import sigmoid, softmax
from .gru_weights import GRUSpec, GRUWeights

__all__ = ["ACTIVATIONS", "gru", "gru_direction", "sigmoid", "softmax"]

Array = NDArray[np.float64]


def gru_direction(weights: GRUWeights, x: Array, h: Array, spec: GRUSpec) -> Array:
    """All states of one sequence, (steps, hidden), from inputs (steps, inputs) and a first state (hidden,).

    Reset after:  n = act(x W_n + b_in + r * (h U_n + b_hn));  reset before: n = act(x W_n + b_in + (r * h) U_n)
    """
    act, act_r = formula(spec.activation), formula(spec.recurrent_activation)
    w_r, w_z, w_n = np.split(weights.w_ih.astype(np.float64), 3)
    u_r, u_z, u_n = np.split(weights.w_hh.astype(np.float64), 3)
    b_ir, b_iz, b_in = np.split(weights.b_ih.astype(np.float64), 3)
    b_hr, b_hz, b_hn = np.split(weights.b_hh.astype(np.float64), 3)
    states = np.empty((len(x), len(h)))
    for t in range(len(x)):
        r = act_r(w_r @ x[t] + b_ir + u_r @ h + b_hr)
        z = act_r(w_z @ x[t] + b_iz + u_z @ h + b_hz)
        recurrent = r * (u_n @ h + b_hn) if spec.reset_after else u_n @ (r * h)
        n = act(w_n @ x[t] + b_in + recurrent)
        h = n + z * (h - n)
        states[t] = h
    return states


def gru(
    spec: GRUSpec, x: ArrayLike, h0: ArrayLike | None = None, lengths: ArrayLike | None = None
) -> tuple[Array, Array]:
    """Outputs (batch, steps, hidden * directions) and final states (layers * directions, batch, hidden)."""
    y = np.asarray(x, dtype=np.float64)
    batch, steps = y.shape[:2]
    ends = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    h = np.zeros((spec.num_layers * spec.directions, batch, spec.hidden_size))
    h += 0 if h0 is None else np.asarray(h0, dtype=np.float64)
    for index, layer in enumerate(spec.layers):
        below, y = y, np.zeros((batch, steps, spec.output_size))
        for direction, weights in enumerate(layer):
            state = index * spec.directions + direction
            order = slice(None, None, -1 if direction else 1)
            for row, end in enumerate(ends):
                with np.errstate(all="ignore"):
                    states = gru_direction(weights, below[row, :end][order], h[state, row], spec)
                y[row, :end, direction * spec.hidden_size :][:, : spec.hidden_size] = states[order]
                h[state, row] = states[-1]
    return y, h
