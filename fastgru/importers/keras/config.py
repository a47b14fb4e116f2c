"""One layer of a Keras config as data: what it calls itself, and its options, each checked when it is asked for.

Every value comes from a file. No class or function name is resolved here; names are only compared.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ...errors import CheckpointError, UnsupportedModelError

__all__ = ["LATEST", "Entry", "number_of", "plain", "problem_of", "read_entry", "short", "snake_case"]

LATEST = "3.15"  # the newest Keras that was tried, for what does not say which it is of

# The words of Keras 1 in those of later versions: options and classes that were renamed.
_CONVOLUTION = {
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "subsample_length": "strides",
    "border_mode": "padding",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
}
_POOLING = {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"}
_KERAS_1_OPTIONS: dict[str, dict[str, str]] = {
    "AtrousConvolution1D": _CONVOLUTION,
    "AveragePooling1D": _POOLING,
    "Convolution1D": _CONVOLUTION,
    "Dense": {"output_dim": "units", "bias": "use_bias"},
    "GRU": {"output_dim": "units", "inner_activation": "recurrent_activation"},
    "MaxPooling1D": _POOLING,
    "TimeDistributedDense": {"output_dim": "units", "bias": "use_bias"},
    "UpSampling1D": {"length": "size"},
}
_KERAS_1_CLASSES = {"AtrousConvolution1D": "Conv1D", "Convolution1D": "Conv1D", "TimeDistributedDense": "Dense"}

_LARGEST = 2**31 - 1  # of a size in a config; no layer comes near, and every product of sizes stays printable
_LONGEST = 255  # characters of a name
_MAX_AXES = 8
_CLASSES = {  # other names of the same layers
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "Model": "Functional",
    "SyncBatchNormalization": "BatchNormalization",
    "UnifiedGRU": "GRU",
}

_ALSO_FUNCTIONS = ("Add", "Average", "Concatenate", "Identity", "Maximum", "Minimum", "Multiply", "Reshape", "Softmax",
                   "Subtract")  # fmt: skip

_Value = TypeVar("_Value")

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


@dataclass(frozen=True)
class Entry:
    """One layer of a config, not yet believed."""

    class_name: str
    name: str
    path: str  # the name after those of the models it is in: "encoder/gru"
    config: Mapping[str, Any]
    where: str  # names the file and the layer in a message
    version: str  # of the Keras that wrote it; Keras 1 wrote none
    operation: bool = False  # a function of keras.ops, which has no weights
    problem: str = ""  # why the class is not one of Keras's own

    @property
    def era(self) -> int:
        """1, 2 or 3: whose Keras wrote the file."""
        return number_of(self.version)[0]

    @property
    def of_tensorflow(self) -> bool:
        """Whether ``tf.keras`` or a later Keras wrote it, and not the Keras 1 or 2 that was a package of its own."""
        return number_of(self.version) >= (2, 4) or self.version.endswith("-tf")

    def get(self, key: str, default: Any = None) -> Any:
        """An option as it is, a tuple as a list."""
        return plain(self.config.get(key, default))

    def option(self, key: str, kind: type[_Value], default: _Value | None = None) -> _Value:
        """An option of exactly that type."""
        value = self.get(key, default)
        if type(value) is not kind:
            raise self.wrong(key, kind.__name__)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or False."""
        return self.option(key, bool, default)

    def size(self, key: str, default: int | None = None, least: int = 1) -> int:
        """A whole number, also as the only one of a list."""
        value = self.get(key, default)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if type(value) is not int or not least <= value <= _LARGEST:
            raise self.wrong(key, f"a whole number from {least} to {_LARGEST}")
        return value

    def pair(self, key: str, default: Any) -> tuple[int, int]:
        """Two whole numbers from 0 on; one stands for both."""
        value = self.get(key, default)
        both = [value, value] if type(value) is int else value
        if not isinstance(both, list) or len(both) != 2 or not all(type(each) is int and each >= 0 for each in both):
            raise self.wrong(key, "one or two whole numbers from 0 on")
        return both[0], both[1]

    def whole_numbers(self, key: str, default: Any = None, missing: int | None = None) -> tuple[int, ...]:
        """A list of whole numbers, or one of them alone; ``missing`` stands for None."""
        value = self.get(key, default)
        given = value if isinstance(value, list) else [value]
        found = [missing if each is None else each for each in given[: _MAX_AXES + 1]]
        whole = all(type(each) is int and abs(each) <= _LARGEST for each in found)
        if not 1 <= len(found) <= _MAX_AXES or not whole:
            raise self.wrong(key, f"1 to {_MAX_AXES} whole numbers")
        return tuple(int(each) for each in found if each is not None)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number, also as a NumPy scalar is written."""
        value = self.get(key, default)
        if isinstance(value, dict):
            inner = value.get("config")
            value = inner.get("value") if isinstance(inner, dict) else value.get("value")
        if type(value) not in (int, float) or not -1e300 <= value <= 1e300:
            raise self.wrong(key, "a finite number")
        return float(value)

    def word(self, key: str, default: str, known: Sequence[str]) -> str:
        """One of several words."""
        value = self.get(key, default)
        if not isinstance(value, str) or value not in known:
            raise self.unsupported(f"{key} {short(value)} is not supported; supported are {', '.join(known)}")
        return value

    def wrong(self, key: str, wanted: str) -> CheckpointError:
        """The error for an option that cannot be what it is."""
        return CheckpointError(f"{self.where}: {key} is {short(self.config.get(key))}, wanted {wanted}")

    def unsupported(self, message: str) -> UnsupportedModelError:
        """The error for what is sound and not supported."""
        return UnsupportedModelError(f"{self.where}: {message}")


def read_entry(layer: object, place: str, where: str, version: str, outer: str = "") -> Entry:
    """One element of a list of layers, or a layer within a layer.

    Parameters
    ----------
    layer : object
        What the config has there.
    place : str
        Where it stands in the config, such as ``"layers[2].layer"``.
    where : str
        The file.
    outer : str
        The names of the models it is in, each followed by a slash.
    """
    if not isinstance(layer, dict):
        raise CheckpointError(f"{where}: {place} is {short(layer)}, wanted a dict that describes a layer")
    class_name, config = layer.get("class_name"), layer.get("config")
    if class_name == "Sequential" and isinstance(config, list):  # before Keras 2.2.3
        config = {"name": layer.get("name", "sequential"), "layers": config}
    if not isinstance(class_name, str) or not isinstance(config, dict):
        raise CheckpointError(f"{where}: {place} has no class_name and config, got {short(layer)}")
    name = layer.get("name", config.get("name"))
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST:
        raise CheckpointError(
            f"{where}: {place} ({class_name[:80]}): name is {short(name)}, wanted 1 to {_LONGEST} characters"
        )
    path = (outer + name)[-_LONGEST:]
    at = f"{where}: layer {short(path)} ({class_name[:80]}, {place})"
    class_name = _CLASSES.get(class_name, class_name)
    if number_of(version) < (2,):
        class_name, config = _modern(class_name, config)
    problem = problem_of(layer)
    return Entry(class_name, name, path, config, at, version, _is_operation(layer, number_of(version)), problem)


def number_of(version: str) -> tuple[int, ...]:
    """(3, 15) of "3.15.1"; Keras 1 wrote no version at all."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdecimal() and len(part) < 6) or (1,)


def plain(value: Any) -> Any:
    """A tuple as Keras's HDF5 files write it, as a list; any other value as it is."""
    if isinstance(value, dict) and value.get("class_name") in ("__tuple__", "TensorShape"):
        value = value.get("items")
    return list(value) if isinstance(value, tuple) else value


def short(value: object) -> str:
    """A value from a file, cut short for a message."""
    return _REPR.repr(value)


def snake_case(name: str) -> str:
    """A class name as Keras spells it in its weights file: SpatialDropout1D is spatial_dropout1d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def problem_of(layer: Mapping[str, Any]) -> str:
    """Why it is not one of Keras's own, or nothing: a custom class may be called GRU as well."""
    module, registered = layer.get("module", "keras.layers"), layer.get("registered_name")
    if isinstance(module, str) and registered in (None, layer.get("class_name")):
        module = module.removeprefix("tf_")
        if module == "keras" or module.startswith("keras."):
            return ""
    place = f" of module {short(module)}" if isinstance(module, str) and module else ""
    called = registered if isinstance(registered, str) else layer.get("class_name")
    return f"it is a class of its own, {short(called)}{place}, not Keras's; its code is not in the file"


def _is_operation(layer: Mapping[str, Any], version: tuple[int, ...]) -> bool:
    """Whether it is a function of keras.ops; in HDF5 files one of a layer's name has fewer options than the layer."""
    module = layer.get("module")
    if isinstance(module, str):
        return module.startswith(("keras.src.ops.", "keras.ops"))
    return version >= (3,) and layer["class_name"] in _ALSO_FUNCTIONS and "trainable" not in layer["config"]


def _modern(class_name: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class and its options as Keras 2 calls them; the old names stay beside the new ones."""
    renamed = {new: config[old] for old, new in _KERAS_1_OPTIONS.get(class_name, {}).items() if old in config}
    return _KERAS_1_CLASSES.get(class_name, class_name), {**config, **renamed}
