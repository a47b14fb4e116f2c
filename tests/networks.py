"""What the tests share: seeded networks, a reference that takes all rows at once, and ways to run the engine.

Nothing here asserts a promise of the package; ``test_accuracy`` checks the reference here against the package's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from fastgru.activations import formula
from fastgru.engine import dispatch
from fastgru.engine.plan import KernelTable, Plan
from fastgru.engine.reduced import widened
from fastgru.layers import GATE_ACTIVATIONS, GRUSpec, GRUWeights

Array = NDArray[Any]

# Sizes on both sides of every vector length (4, 8, 16), of a pair of blocks and of a cache line.
SMALL = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65)
LARGE = (100, 128, 255, 256, 512)
STACKS = [  # inputs, hidden, layers, directions: whole vectors, tails, odd numbers of blocks and a single one
    (1, 1, 1, 1),
    (3, 7, 2, 1),
    (17, 16, 1, 2),
    (5, 33, 3, 2),
    (64, 48, 1, 1),
    (2, 65, 2, 1),
    (9, 100, 1, 2),
    (33, 140, 1, 1),
    (20, 24, 2, 1),  # of vectors of 16, half a block beyond: its gates take two of them
    (7, 90, 1, 2),
]
LEVELS = dispatch.available()
PAIRED = tuple(level for level in LEVELS if KernelTable(dispatch.kernels(level)).pairs)  # they multiply bfloat16


def network(
    inputs: int,
    hidden: int,
    layers: int = 1,
    directions: int = 1,
    *,
    seed: int = 0,
    dtype: type = np.float32,
    **options: Any,
) -> GRUSpec:
    """A stack as a framework initialises it: everything uniform within 1 / sqrt(hidden)."""
    rng = np.random.default_rng([seed, inputs, hidden, layers, directions])
    bound = hidden**-0.5
    reset_after, bias = options.get("reset_after", True), options.get("bias", True)

    def uniform(*shape: int, zero: bool = False) -> Array:
        values = rng.uniform(-bound, bound, shape).astype(dtype)
        return np.zeros_like(values) if zero else values

    stack = []
    for layer in range(layers):
        width = inputs if layer == 0 else hidden * directions
        stack.append(
            tuple(
                GRUWeights(
                    uniform(3 * hidden, width),
                    uniform(3 * hidden, hidden),
                    uniform(3 * hidden, zero=not bias),
                    uniform(3 * hidden, zero=not bias or not reset_after),
                )
                for _ in range(directions)
            )
        )
    return GRUSpec(tuple(stack), **options)


def numbers(*shape: int, seed: int = 1, dtype: type = np.float32) -> Array:
    """Standard normal numbers of a shape."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def states_of(spec: GRUSpec) -> int:
    """The first axis of the states: layers times directions."""
    return spec.num_layers * spec.directions


# Two threads that wait for each other at every small product take four times as long where others use the machine.
@ThreadpoolController().wrap(limits=1, user_api="blas")
def batched_reference(
    spec: GRUSpec, x: Array, h0: Array | None = None, lengths: Sequence[int] | Array | None = None
) -> tuple[Array, Array]:
    """What ``fastgru.reference.gru`` computes, in float64, with one product a step for all rows."""
    y = x.astype(np.float64)
    batch, steps = y.shape[:2]
    ends = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    h = np.zeros((states_of(spec), batch, spec.hidden_size)) if h0 is None else h0.astype(np.float64)
    real = np.arange(steps) < ends[:, None]
    for index, layer in enumerate(spec.layers):
        outputs = []
        for direction, weights in enumerate(layer):
            order = np.broadcast_to(np.arange(steps), (batch, steps))
            if direction:
                order = np.where(real, ends[:, None] - 1 - order, order)
            below = np.take_along_axis(y, order[..., None], axis=1)
            state = index * spec.directions + direction
            above, h[state] = _direction(spec, weights, below, h[state], real)
            outputs.append(np.take_along_axis(above, order[..., None], axis=1))
        y = np.concatenate(outputs, axis=-1)
    return y, h


def _direction(spec: GRUSpec, weights: GRUWeights, x: Array, h: Array, real: Array) -> tuple[Array, Array]:
    act, act_r = formula(spec.activation), formula(spec.recurrent_activation)
    w, u, b, c = (a.astype(np.float64) for a in (weights.w_ih, weights.w_hh, weights.b_ih, weights.b_hh))
    hidden = spec.hidden_size
    projected = np.where(real[..., None], x, 0) @ w.T + b
    y = np.zeros((*x.shape[:2], hidden))
    for t in range(x.shape[1]):
        gates = projected[:, t, : 2 * hidden] + h @ u[: 2 * hidden].T + c[: 2 * hidden]
        r, z = act_r(gates[:, :hidden]), act_r(gates[:, hidden:])
        if spec.reset_after:
            recurrent = r * (h @ u[2 * hidden :].T + c[2 * hidden :])
        else:
            recurrent = (r * h) @ u[2 * hidden :].T
        n = act(projected[:, t, 2 * hidden :] + recurrent)
        alive = real[:, t, None]
        h = np.where(alive, n + z * (h - n), h)
        y[:, t] = np.where(alive, h, 0)
    return y, h


def largest_difference(got: Sequence[Array], wanted: Sequence[Array]) -> float:
    """The largest difference over some pairs of arrays of equal shapes."""
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
    return max(float(np.abs(one - other).max(initial=0)) for one, other in zip(got, wanted, strict=True))


def same_bits(one: Array, other: Array) -> bool:
    """Whether two arrays are alike in shape, type and every byte."""
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def layers_of(spec: GRUSpec, dtype: type = np.float32) -> list[list[tuple[Array, ...]]]:
    """A spec as the engine takes it."""
    return [
        [tuple(np.ascontiguousarray(a, dtype) for a in (w.w_ih, w.w_hh, w.b_ih, w.b_hh)) for w in layer]
        for layer in spec.layers
    ]


def rounded(spec: GRUSpec, precision: str) -> GRUSpec:
    """The stack whose float32 matrices are what those of another stack are rounded to."""
    layers = [
        tuple(w.replace(w_ih=widened(w.w_ih, precision, ""), w_hh=widened(w.w_hh, precision, "")) for w in layer)
        for layer in spec.layers
    ]
    return spec.replace(layers=tuple(layers))


def plan_at(level: str, spec: GRUSpec, precision: str = "float32") -> Plan:
    """A spec packed for the kernels of a level, whichever level the process has chosen."""
    activations = (GATE_ACTIVATIONS.index(spec.activation), GATE_ACTIVATIONS.index(spec.recurrent_activation))
    return Plan(KernelTable(dispatch.kernels(level)), layers_of(spec), spec.reset_after, *activations, precision)


def run_plan(plan: Any, x: Array, h0: Array | None = None, shares: Sequence[int] | None = None) -> tuple[Array, Array]:
    """Whole sequences of equal length through a plan."""
    batch, steps = x.shape[:2]
    cuts = np.array([0, batch] if shares is None else shares, dtype=np.intp)
    y, h = plan.run(x, h0, np.arange(batch), np.full(batch, steps), cuts)
    return y, h


def keeps_subnormals() -> bool:
    """Whether this thread computes with subnormal numbers, as a process does that nobody has meddled with."""
    return bool(np.all(np.full(32, 1e-40, np.float32) * np.float32(1) != 0))


def run_python(
    code: str, given: str = "", timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Code in a fresh interpreter; ``returncode`` is negative where a signal ended it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FASTGRU_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        input=given,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**kept, **environment},
        check=False,
    )
