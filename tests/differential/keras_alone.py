"""One recurrent layer of a Keras model by itself: what Keras and fastgru give for an input of its own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import fastgru

__all__ = ["both"]


def both(layer: Any, ours: Any, batch: int, seed: int) -> tuple[list[Any], list[Any]]:
    """What ``ours``, made of the layer, gives, and what Keras does.

    A GRU gives the outputs of every step and the final states, whatever the layer gives: it is compared with a copy
    of the layer that does so, and that begins anew: Keras cannot call a stateful Bidirectional that returns its states.
    """
    given = layer.input[0] if isinstance(layer.input, list) else layer.input
    shape = (batch, 5, given.shape[-1])
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    config = layer.get_config()
    if isinstance(ours, fastgru.GRU):
        for inner in [config[name]["config"] for name in ("layer", "backward_layer") if config.get(name)] or [config]:
            inner.update(return_sequences=True, return_state=True, stateful=False)
    twin = type(layer).from_config(config)
    twin.build(shape)
    twin.set_weights(layer.get_weights())
    wanted = [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(twin(x))]
    made = ours(x)
    if isinstance(ours, fastgru.GRU):
        return [made[0], *made[1]], wanted
    return list(made) if isinstance(made, tuple) else [made], wanted
