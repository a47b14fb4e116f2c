"""What every adapter gives: a call to time, and the outputs of the same call, to be checked.

An adapter is a module with two functions. ``refusal(work)`` says in a few plain words why the engine cannot compute
this work, or gives None. ``prepare(work)`` builds it and gives a ``Prepared``; it may take its time. An engine that
runs whole models has a third: ``prepare_model(work)`` gives a ``PreparedModel``, or raises ``CannotRun``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...gru_weights import GRUSpec, GRUWeights
from ..cases import Work

__all__ = ["Array", "CannotRun", "Prepared", "PreparedModel", "gates_zrn", "own_activations", "per_direction"]

Array = NDArray[Any]


class Prepared(NamedTuple):
    """Work that an engine is ready for."""

    call: Callable[[], object]  # what is timed: one call from Python, the engine's own arrays in and out
    outputs: Callable[[], Array]  # (batch, steps, hidden * directions), from the states that the work says
    precision: str | None = None  # what it computes in, where the engine chooses


class PreparedModel(NamedTuple):
    """A whole model that an engine is ready for."""

    call: Callable[[], object]  # what is timed: one call from Python
    outputs: Callable[[], list[Array]]  # of the same call, in the order of the model's outputs
    precision: str | None = None  # what it computes in, where the engine chooses


class CannotRun(Exception):
    """An engine cannot run a whole model; the message says why, in a few plain words."""


def own_activations(work: Work) -> str | None:
    """The reason of an adapter that is for tanh and sigmoid only."""
    usual = work.spec.activation == "tanh" and work.spec.recurrent_activation == "sigmoid"
    return None if usual else "tanh and sigmoid only"


def gates_zrn(array: Array) -> Array:
    """Gates in the order z, r, n, that of ONNX and Keras, from r, z, n along the first axis; float32."""
    r, z, n = np.split(np.asarray(array, np.float32), 3)
    return np.concatenate([z, r, n])


def per_direction(spec: GRUSpec) -> Iterator[tuple[int, int, GRUWeights]]:
    """Layer, direction and weights, in PyTorch's order of the states."""
    for layer, directions in enumerate(spec.layers):
        for direction, weights in enumerate(directions):
            yield layer, direction, weights
