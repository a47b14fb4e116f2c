"""Promise: GRU cases that TensorFlow Lite and OpenVINO publish with their own tests come out as they say.

The vectors lie beside the repository and are not part of it; where they are not there is nothing to compare with.
OpenVINO's cells clip pre-activations at 2.88 and this package does not clip: a case counts only where the clip changes
nothing, or for the rows for which that holds.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from beside import beside

from fastgru import GRU
from fastgru.layers import GRUSpec, GRUWeights
from fastgru.reference import sigmoid

KINDS = [("float32", "packed", 2e-6), ("float32", "blas", 2e-6), ("float64", "blas", 2e-6)]  # published to float32

pytestmark = pytest.mark.parametrize(("precision", "backend", "bound"), KINDS)


def published(name: str) -> dict[str, Any]:
    return dict(json.loads(beside(f"conformance/{name}").read_text()))


def shaped(case: dict[str, Any], key: str, *shape: int) -> np.ndarray:
    return np.array(case[key], np.float32).reshape(shape)


def gates_rzn(rows: np.ndarray) -> np.ndarray:
    """Gates in the order z, r, n as r, z, n."""
    z, r, n = np.split(rows, 3)
    return np.concatenate([r, z, n])


def test_tflite(precision, backend, bound):
    case = published("tflite.json")
    steps, batch, inputs, hidden = (case[key] for key in ("n_time", "n_batch", "n_input", "n_output"))
    gates = shaped(case, "gate_weight", 2 * hidden, inputs + hidden)  # r, u over [x, h]
    candidate = shaped(case, "candidate_weight", hidden, inputs + hidden)
    rows = np.concatenate([gates, candidate])
    bias = np.concatenate([shaped(case, "gate_bias", 2 * hidden), shaped(case, "candidate_bias", hidden)])
    weights = GRUWeights(rows[:, :inputs].copy(), rows[:, inputs:].copy(), bias, np.zeros_like(bias))
    gru = GRU(GRUSpec(((weights,),), reset_after=False), precision=precision, backend=backend)
    x = shaped(case, "input", steps, batch, inputs).swapaxes(0, 1)
    y, _ = gru(x, shaped(case, "input_state", 1, batch, hidden))
    assert np.abs(y - shaped(case, "output", steps, batch, hidden).swapaxes(0, 1)).max() <= bound


def openvino(case: dict[str, Any], reset_after: bool) -> tuple[GRUWeights, np.ndarray, np.ndarray, np.ndarray]:
    batch, inputs, hidden = case["batch"], case["input"], case["hidden"]
    if reset_after:
        z, r, n, recurrent_n = np.split(shaped(case, "B_zr_fused_then_Wbh_Rbh", 4 * hidden), 4)
        b_ih, b_hh = np.concatenate([r, z, n]), np.concatenate([np.zeros(2 * hidden, np.float32), recurrent_n])
    else:
        b_ih = gates_rzn(shaped(case, "Wb", 3 * hidden) + shaped(case, "Rb", 3 * hidden))
        b_hh = np.zeros_like(b_ih)
    w_ih, w_hh = gates_rzn(shaped(case, "W", 3 * hidden, inputs)), gates_rzn(shaped(case, "R", 3 * hidden, hidden))
    x, h = shaped(case, "X", batch, inputs), shaped(case, "H", batch, hidden)
    return GRUWeights(w_ih, w_hh, b_ih, b_hh), x, h, shaped(case, "Ho", batch, hidden)


def within_clip(weights: GRUWeights, x: np.ndarray, h: np.ndarray, reset_after: bool, clip: float) -> np.ndarray:
    """For every row and unit of the result, whether no pre-activation that it is made of reaches the clip."""
    hidden = h.shape[1]
    before = x @ weights.w_ih.T + weights.b_ih
    gates = before[:, : 2 * hidden] + h @ weights.w_hh[: 2 * hidden].T + weights.b_hh[: 2 * hidden]
    r, z = np.split(gates, 2, axis=1)
    u_n = weights.w_hh[2 * hidden :].T
    if reset_after:
        n = before[:, 2 * hidden :] + sigmoid(r) * (h @ u_n + weights.b_hh[2 * hidden :])
        return (np.abs(r) < clip) & (np.abs(z) < clip) & (np.abs(n) < clip)
    n = before[:, 2 * hidden :] + (sigmoid(r) * h) @ u_n
    return (np.abs(r) < clip).all(axis=1, keepdims=True) & (np.abs(z) < clip) & (np.abs(n) < clip)


@pytest.mark.parametrize("name", ["gru_cell_bias_clip", "gru_cell_linear_before_reset"])
def test_openvino(name, precision, backend, bound):
    cases = published("openvino.json")
    reset_after = cases[name]["linear_before_reset"]
    weights, x, h, wanted = openvino(cases[name], reset_after)
    usable = within_clip(weights, x, h, reset_after, cases["clip"])
    assert usable.any()
    gru = GRU(GRUSpec(((weights,),), reset_after=reset_after), precision=precision, backend=backend)
    y, _ = gru(x[:, None], h[None])
    assert np.abs(y[:, 0] - wanted)[usable].max() <= bound
