"""JAX: the equation of the GRU in a compiled ``lax.scan``, all steps' inputs projected before it.

A ragged batch is computed in full, and a mask keeps a row's state beyond its length.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...gru_weights import GRUWeights
from ..cases import Work
from .interface import Array, Prepared, own_activations

__all__ = ["prepare", "refusal"]


def refusal(work: Work) -> str | None:
    return own_activations(work)


def prepare(work: Work) -> Prepared:
    import jax
    import jax.numpy as jnp

    spec, (batch, steps, _) = work.spec, work.x.shape
    zeros = np.zeros((spec.num_layers * spec.directions, batch, spec.hidden_size), np.float32)
    layers = [[_arrays(weights) for weights in layer] for layer in spec.layers]
    mask = None if work.lengths is None else jnp.asarray(np.arange(steps)[:, None] < work.lengths)[..., None]
    x, h0 = jnp.asarray(work.x), jnp.asarray(zeros if work.h0 is None else work.h0)
    compiled = jax.jit(partial(_stack, reset_after=spec.reset_after))

    def call() -> Any:
        return jax.block_until_ready(compiled(layers, x, h0, mask))

    def outputs() -> Array:
        return np.asarray(call()[0])

    return Prepared(call, outputs)


def _arrays(weights: GRUWeights) -> tuple[Any, ...]:
    import jax.numpy as jnp

    arrays = weights.w_ih.T, weights.w_hh.T, weights.b_ih, weights.b_hh
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def _stack(layers: Any, x: Any, h0: Any, mask: Any, reset_after: bool) -> tuple[Any, Any]:
    """Outputs (batch, steps, hidden * directions) and final states (layers * directions, batch, hidden)."""
    import jax.numpy as jnp

    y = x.transpose(1, 0, 2)
    states: list[Any] = []
    for layer in layers:
        outputs = []
        for direction, weights in enumerate(layer):
            h, made = _direction(weights, y, h0[len(states)], mask, reset_after, reverse=direction == 1)
            states.append(h)
            outputs.append(made)
        y = jnp.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
    return y.transpose(1, 0, 2), jnp.stack(states)


def _direction(weights: Any, x: Any, h0: Any, mask: Any, reset_after: bool, reverse: bool) -> tuple[Any, Any]:
    """The last state (batch, hidden) and all outputs (steps, batch, hidden), from x (steps, batch, inputs)."""
    import jax
    import jax.numpy as jnp

    w, u, b, c = weights
    hidden = u.shape[0]

    def step(h: Any, given: Any) -> tuple[Any, Any]:
        projected, real = given
        recurrent = h @ (u if reset_after else u[:, : 2 * hidden])
        rz = jax.nn.sigmoid(projected[:, : 2 * hidden] + recurrent[:, : 2 * hidden])
        r, z = rz[:, :hidden], rz[:, hidden:]
        candidate = r * (recurrent[:, 2 * hidden :] + c[2 * hidden :]) if reset_after else (r * h) @ u[:, 2 * hidden :]
        n = jnp.tanh(projected[:, 2 * hidden :] + candidate)
        made = n + z * (h - n)
        kept = made if real is None else jnp.where(real, made, h)
        return kept, kept

    folded = b + jnp.concatenate([c[: 2 * hidden], jnp.zeros(hidden)])
    return jax.lax.scan(step, h0, (x @ w + folded, mask), reverse=reverse)  # type: ignore[no-any-return]
