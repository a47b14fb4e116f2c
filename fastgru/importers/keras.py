"""Keras: the config of a Sequential model and its tensors become a ``ModelSpec``.

A config is data: it is read by ``keras_config``, and its class names mean what the table in ``keras_layers`` says.
Nothing is ever imported, called or resolved by a name from a file, and no file is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import CheckpointError, UnsupportedModelError
from ..spec import Embedding, Layer, ModelSpec, sequential
from .keras_config import entries, model_config, short
from .keras_layers import build

__all__ = ["is_beside", "model_spec"]


def model_spec(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], where: str, version: str) -> ModelSpec:
    """The Sequential model of a config, with its weights.

    Parameters
    ----------
    config : mapping
        What ``config.json`` holds: class_name and config of the whole model.
    tensors : mapping of str to ndarray
        By their path in the weights file, such as ``"layers/gru/cell/vars/0"``.
    where : str
        The file, for messages.
    version : str
        The Keras version that wrote it, or ``""``.

    Raises
    ------
    UnsupportedModelError
        A layer or an option is not supported; the message names it and where it is.
    CheckpointError
        The config is damaged, or does not fit the tensors.
    """
    found = list(entries(config, where, version))
    inputs = [place for place, entry in enumerate(found) if entry.class_name == "InputLayer" and not entry.problem]
    if inputs not in ([], [0]):
        raise CheckpointError(f"{found[inputs[-1]].where}: an InputLayer comes once and first, or not at all")
    chain = [(entry.name, build(entry, tensors)) for entry in found[len(inputs) :]]
    spec = sequential(chain, found[0].name if inputs else "input")
    shape = found[0].config.get("batch_shape") if inputs else model_config(config, where).get("build_input_shape")
    _check_input(shape, spec, chain[0][1], where)
    return spec


def is_beside(name: str) -> bool:
    """Whether a tensor is not a weight: the state of an optimizer, a metric or a random generator."""
    return name.startswith(("optimizer/", "metrics/", "loss_tracker/")) or "/seed_generator/" in name


def _check_input(shape: object, spec: ModelSpec, first: Layer, where: str) -> None:
    """Raise unless the shape that the config gives for its input fits the first layer; a config may give none."""
    if shape is None:
        return
    rank, text = (2, "(batch, time)") if isinstance(first, Embedding) else (3, "(batch, time, features)")
    if not isinstance(shape, list) or len(shape) != rank:
        raise UnsupportedModelError(f"{where}: the input's shape is {short(shape)}, supported is {text}")
    features = spec.inputs[0].features
    if features is not None and shape[-1] not in (None, features):
        raise CheckpointError(
            f"{where}: config gives the input {short(shape[-1])} features, but the weights of the first layer "
            f"take {features}"
        )
