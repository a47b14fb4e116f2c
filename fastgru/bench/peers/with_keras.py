"""Keras: ``keras.layers.GRU`` and ``Bidirectional``, through ``predict_on_batch``, with whichever backend is there.

A ragged batch is computed in full, with the mask of its real steps as an input.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...gru_weights import GRUWeights
from ..cases import Work
from .interface import Array, Prepared, gates_zrn, own_activations

__all__ = ["prepare", "refusal"]


def refusal(work: Work) -> str | None:
    if work.h0 is not None and work.spec.directions == 2:
        return "no single steps backwards"
    return own_activations(work)


def prepare(work: Work) -> Prepared:
    import keras

    spec, (_, steps, inputs) = work.spec, work.x.shape
    x = keras.Input((steps, inputs))
    mask = None if work.lengths is None else keras.Input((steps,), dtype="bool")
    states = [] if work.h0 is None else [keras.Input((spec.hidden_size,)) for _ in range(spec.num_layers)]
    y, finals = x, []
    for layer, directions in enumerate(spec.layers):
        gru = keras.layers.GRU(
            spec.hidden_size, return_sequences=True, return_state=bool(states), reset_after=spec.reset_after
        )
        if spec.directions == 2:
            gru = keras.layers.Bidirectional(gru)
        y = gru(y, mask=mask, initial_state=states[layer]) if states else gru(y, mask=mask)
        if states:
            y, final = y
            finals.append(final)
        gru.set_weights([array for weights in directions for array in _arrays(weights, spec.reset_after)])
    model = keras.Model([x, *([] if mask is None else [mask]), *states], [y, *finals])
    arrays: list[Array] = [work.x]
    if work.lengths is not None:
        arrays.append(np.arange(steps) < work.lengths[:, None])
    if work.h0 is not None:
        arrays.extend(work.h0)

    def outputs() -> Array:
        made: Any = model.predict_on_batch(arrays)
        return np.asarray(made[0] if isinstance(made, (list, tuple)) else made)

    return Prepared(partial(model.predict_on_batch, arrays), outputs)


def _arrays(weights: GRUWeights, reset_after: bool) -> list[Array]:
    """Kernel (inputs, 3 * hidden), recurrent kernel (hidden, 3 * hidden) and bias, gates in the order z, r, n."""
    b, c = gates_zrn(weights.b_ih), gates_zrn(weights.b_hh)
    return [gates_zrn(weights.w_ih).T, gates_zrn(weights.w_hh).T, np.stack([b, c]) if reset_after else b]
