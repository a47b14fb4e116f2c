"""Reading a Keras config as data: which layers a Sequential lists, where their tensors are, and their options.

Every value is checked before it is used, because it comes from a file. No class or function name is resolved here;
names are only compared.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..errors import CheckpointError, UnsupportedModelError

__all__ = ["Entry", "activation", "entries", "inner_entry", "model_config", "option", "short", "size"]

# Keras's names, which are those of spec.ACTIVATIONS but for hard_sigmoid: that word changed its meaning in Keras 3.
_ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "hard_sigmoid", "softmax")
_LARGEST = 2**31 - 1  # of a size in a config; no layer comes near, and every product of sizes stays printable

_Value = TypeVar("_Value")

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


@dataclass(frozen=True)
class Entry:
    """One layer of a Sequential config, not yet believed.

    ``group`` is where its tensors are, such as ``"layers/gru_1"``; ``where`` names the layer in a message.
    """

    class_name: str
    name: str
    config: Mapping[str, Any]
    group: str
    where: str
    version: str  # of the Keras that wrote the file, or ""
    problem: str = ""  # why the class is not one of Keras's own


def entries(config: Mapping[str, Any], where: str, version: str) -> Iterator[Entry]:
    """The layers of a Sequential config in their order, each with the group that holds its tensors.

    Groups are named by class and counted per class: the third GRU is ``layers/gru_2`` whatever its layer is called.
    """
    layers = model_config(config, where).get("layers")
    if not isinstance(layers, list):
        raise CheckpointError(f"{where}: config: layers is {short(layers)}, wanted a list of layers")
    counts: dict[str, int] = {}
    for place, layer in enumerate(layers):
        entry = _entry(layer, f"layers[{place}]", where, version)
        snake = _snake_case(entry.class_name)
        count = counts[snake] = counts.get(snake, -1) + 1
        group = f"layers/{snake}_{count}" if count else f"layers/{snake}"
        yield replace(entry, group=group)


def inner_entry(entry: Entry, key: str, group: str) -> Entry:
    """The layer that another layer holds under ``key``, with its tensors under ``group``."""
    inner = _entry(entry.config.get(key), key, entry.where, entry.version)
    return replace(inner, group=f"{entry.group}/{group}")


def model_config(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """What a Sequential's config says of itself: its name, its layers and the shape it was built for."""
    class_name, inner = config.get("class_name"), config.get("config")
    if class_name != "Sequential" or _foreign(config):
        raise UnsupportedModelError(
            f"{where}: the model is of class {short(class_name)}, supported is Sequential; "
            "its weights can be read by fastgru.read(path)"
        )
    if not isinstance(inner, dict):
        raise CheckpointError(f"{where}: config of the model is {short(inner)}, wanted a dict")
    return inner


def activation(entry: Entry, key: str, default: str) -> str:
    """The name in ``spec.ACTIVATIONS`` for a name in a config; anything but a known name is unsupported."""
    value = entry.config.get(key, default)
    name = "linear" if value is None else value
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise UnsupportedModelError(
            f"{entry.where}: {key} {short(value)} is not supported; supported are {', '.join(_ACTIVATIONS)}"
        )
    if name == "hard_sigmoid" and entry.version.startswith(("0.", "1.", "2.")):
        return "hard_sigmoid_keras2"
    return name


def option(entry: Entry, key: str, kind: type[_Value], default: _Value | None) -> _Value:
    """An option of a layer, of exactly that type."""
    value = entry.config.get(key, default)
    if type(value) is not kind:
        raise CheckpointError(f"{entry.where}: {key} is {short(value)}, wanted {kind.__name__}")
    return value


def size(entry: Entry, key: str) -> int:
    """An option that counts something: an integer from 1 on."""
    value: int = option(entry, key, int, None)
    if not 1 <= value <= _LARGEST:
        raise CheckpointError(f"{entry.where}: {key} is {short(value)}, wanted 1 to {_LARGEST}")
    return value


def short(value: object) -> str:
    """A value from a file, cut short for a message."""
    return _REPR.repr(value)


def _entry(layer: object, path: str, where: str, version: str) -> Entry:
    """One element of a list of layers, or a layer within a layer."""
    if not isinstance(layer, dict):
        raise CheckpointError(f"{where}: {path} is {short(layer)}, wanted a dict that describes a layer")
    class_name, config = layer.get("class_name"), layer.get("config")
    if not isinstance(class_name, str) or not isinstance(config, dict):
        raise CheckpointError(f"{where}: {path} has no class_name and config, got {short(layer)}")
    name = config.get("name")
    if not isinstance(name, str) or not name:
        raise CheckpointError(f"{where}: {path} ({class_name[:80]}): name is {short(name)}, wanted a string")
    place = f"{where}: layer {short(name)} ({class_name[:80]}, {path})"
    return Entry(class_name, name, config, "", place, version, _foreign(layer))


def _foreign(layer: Mapping[str, Any]) -> str:
    """Why a layer is not one of Keras's own, or nothing; a custom class may be called GRU as well."""
    module, registered = layer.get("module", "keras.layers"), layer.get("registered_name")
    if registered is None and isinstance(module, str) and (module == "keras" or module.startswith("keras.")):
        return ""
    return f"it is a class of its own, {short(registered)} of module {short(module)}, not Keras's; it is never loaded"


def _snake_case(name: str) -> str:
    """A class name as Keras spells it in its weights file: SpatialDropout1D is spatial_dropout1d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
