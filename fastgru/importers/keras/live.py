"""A live Keras model or layer as the checkpoint that it would be saved as; no framework is imported.

It is asked for its configuration and its weights by its own methods, those of Keras 3 and of ``tf_keras``. The arrays
are copies, so that training on does not change a model that was made from them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator
from itertools import chain, count
from typing import Any

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...errors import DTypeError, UnsupportedModelError
from ...gru_weights import GRUSpec
from ...layers import ModelSpec
from ...origin import raised_in
from ..weights.lone_gru import lone_gru
from .config import LATEST
from .tree import lists_layers

__all__ = ["checkpoint_of", "only_gru"]

_NARROW = ("float16", "bfloat16")  # widened to float32, exactly
_LAYERS = ("Bidirectional", "CuDNNGRU", "GRU", "RNN")


def _one_layer(layers: list[Any]) -> str:
    """How to take the first layer that loads by itself; nothing if there is none."""
    name = next((each.name for each in layers if type(each).__name__ in _LAYERS), None)
    return "" if name is None else f"take one layer of it by fastgru.from_keras(model.get_layer({name!r})), or "


def checkpoint_of(model: object) -> Checkpoint:
    """The configuration and the weights of a model, or of a GRU, a Bidirectional or an RNN by itself.

    Raises
    ------
    DTypeError
        It is no Keras model and no such layer, or has no weights yet.
    UnsupportedModelError
        It cannot describe itself.
    """
    live: Any = model
    kind = type(model).__name__
    asked = [getattr(live, name, None) for name in ("get_config", "get_weights")]
    if isinstance(model, type) or not all(map(callable, asked)):
        raise DTypeError(f"got {kind}, wanted a Keras model or layer; to read a file, use fastgru.load(path)")
    if isinstance(getattr(live, "layers", None), list) and callable(getattr(live, "to_json", None)):
        config = _described(live, kind)
        if not lists_layers(config):
            raise UnsupportedModelError(
                f"{kind}: it is a class of its own, whose code is not followed; {_one_layer(live.layers)}save its "
                "weights and name the layers in the order in which they run: model.save_weights('model.weights.h5'), "
                "fastgru.load('model.weights.h5', layers=[...])"
            )
        layers = live.layers
    elif kind in _LAYERS and type(model).__module__.split(".")[0] in ("keras", "tf_keras", "tensorflow"):
        layer = {"class_name": kind, "config": live.get_config()}
        config = {"class_name": "Sequential", "config": {"name": "model", "layers": [layer]}}
        layers = [live]
    else:
        raise DTypeError(f"got {kind}, wanted a Keras model, or a layer that is one of {', '.join(_LAYERS)}")
    tensors: dict[str, np.ndarray] = {}
    lists: dict[str, list[str]] = {}
    stored: dict[str, str] = {}
    for each in layers:
        lists[each.name] = []
        for called, array, was in _arrays(each):
            name = _free(f"{each.name}/{called}", tensors)
            lists[each.name].append(name)
            tensors[name] = array
            if was in _NARROW:
                stored[name] = was
    if not tensors and (layers == [live] or not getattr(live, "built", True)):
        raise DTypeError(f"the {kind} has no weights yet; build it, or call it once")
    version = str(config.get("keras_version") or _version_of(model))
    metadata = {"keras_version": version, "weight_names": lists, "live": True}
    return Checkpoint(kind, "keras-h5", tensors, config, metadata, stored)


def only_gru(model: object, spec: GRUSpec | ModelSpec) -> GRUSpec | None:
    """The GRU that a layer by itself is; None for a model, and for a layer that does more than a GRU."""
    return None if isinstance(getattr(model, "layers", None), list) else lone_gru(spec)


def _version_of(model: object) -> str:
    """The version of the Keras that a model is of; it is imported, or there would be no model."""
    name = type(model).__module__.split(".")[0]
    usual = "2.15" if name in ("tensorflow", "tf_keras") else LATEST
    return str(getattr(sys.modules.get(name), "__version__", usual)) if name in ("keras", "tf_keras") else usual


def _described(model: Any, kind: str) -> dict[str, Any]:
    try:
        config = json.loads(model.to_json())
    except Exception as error:
        known = raised_in(error, "keras", "tf_keras", "tensorflow", "json")
        if not known and type(error) is not NotImplementedError:  # which is how a class of the user's own says it
            raise
        raise UnsupportedModelError(
            f"{kind}: the model cannot describe itself ({str(error)[:200]}); supported are Sequential and functional "
            "models"
        ) from error
    return config if isinstance(config, dict) else {}


def _arrays(layer: Any) -> Iterator[tuple[str, np.ndarray, str]]:
    """What is trained, and then what is not, as Keras writes them to HDF5 files: name, array and its type before."""
    for variable in [*layer.trainable_weights, *layer.non_trainable_weights]:
        plain, kind = _plain(variable)
        array = np.array(plain, order="C", copy=True)
        called = str(getattr(variable, "path", None) or getattr(variable, "name", "")).removesuffix(":0")
        yield called, array.astype(np.float32) if array.dtype.itemsize == 2 else array, kind


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or with the first of :1, :2 ... that nothing has yet."""
    return next(free for free in chain((name,), (f"{name}:{number}" for number in count(1))) if free not in taken)


def _plain(variable: Any) -> tuple[Any, str]:
    """The values of a variable and their type; PyTorch gives NumPy no bfloat16."""
    value: Any = getattr(variable, "value", None)
    if str(getattr(variable, "dtype", "")) == "bfloat16" and callable(getattr(value, "detach", None)):
        return value.detach().cpu().float().numpy(), "bfloat16"
    array = np.asarray(variable.numpy())
    return array, array.dtype.name
