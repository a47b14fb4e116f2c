"""Functions of ``keras.ops`` and TensorFlow in a functional model: the few that are plain layers here, and masks.

Owns what each of them is made of. They hand on no mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...layers import (
    Activation,
    Add,
    Concatenate,
    Layer,
    Max,
    Maximum,
    Mean,
    Minimum,
    Multiply,
    Reverse,
    Select,
    Slice,
    Subtract,
)
from .config import Entry, plain, short
from .masks import MASK_FUNCTIONS, TRUTHS, Truth, Wire, mask_operation
from .scope import Scope

__all__ = ["is_operation", "operation"]

LAMBDAS = ("SlicingOpLambda", "TFOpLambda")  # of tf.keras
_JOINING: dict[str, Layer] = {
    "Add": Add(), "Maximum": Maximum(), "Minimum": Minimum(), "Multiply": Multiply(), "Subtract": Subtract(),
}  # fmt: skip
_ACTIVATIONS = {"Relu": "relu", "Sigmoid": "sigmoid", "Silu": "silu", "Softplus": "softplus", "Tanh": "tanh"}
_OF_TENSORFLOW = {
    "__operators__.add": "Add",
    "__operators__.getitem": "GetItem",
    "concat": "Concatenate",
    "math.add": "Add",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.multiply": "Multiply",
    "math.reduce_max": "Max",
    "math.reduce_mean": "Mean",
    "math.sigmoid": "Sigmoid",
    "math.subtract": "Subtract",
    "math.tanh": "Tanh",
    "nn.relu": "Relu",
    "nn.softmax": "Softmax",
}
_FUNCTIONS = {"GetItem", "Max", "Mean", *_ACTIVATIONS, *MASK_FUNCTIONS}  # of keras.ops, and of no layer's name
_OPTIONS = ("name", "slice_spec", "axis", "keepdims", "y")  # of a call


def is_operation(entry: Entry) -> bool:
    """Whether it is a function of keras.ops or of TensorFlow and not a layer."""
    return not entry.problem and (entry.operation or entry.class_name in (*LAMBDAS, *_FUNCTIONS))


def operation(
    entry: Entry, scope: Scope, arguments: Sequence[Any], options: Mapping[str, Any], ranks: set[int]
) -> list[Wire | Truth]:
    """The outputs of one call.

    Parameters
    ----------
    arguments, options
        Wires, Truths, plain values, and tuples of these.
    ranks : set of int
        How many axes the tensors among the arguments have, as far as the config says so.

    Raises
    ------
    UnsupportedModelError
        It is none of the functions that are known, or is called in a way that is not.
    """
    name, settings = entry.class_name, {**entry.config, **options}
    if name in LAMBDAS:
        name = _OF_TENSORFLOW.get(str(entry.config.get("function")), "")
        arguments = [*arguments, *(options[key] for key in ("slice_spec", "y") if key in options)]
        settings["axis"] = -1 if name == "Softmax" and settings.get("axis") is None else settings.get("axis")
    unknown = [key for key, value in options.items() if key not in _OPTIONS and value is not None]
    if not name or unknown or settings.get("initial") is not None:
        raise entry.unsupported(f"{short(entry.config.get('function', name))} is not supported as it is called")
    axis = settings.get("axis")
    truth = mask_operation(scope.masks, name, arguments, axis)
    if truth is not None:
        return [truth]
    if any(isinstance(each, TRUTHS) for each in _flat(arguments)):
        raise entry.unsupported("what it makes of booleans is not supported")
    return list(_numbers(entry, scope, name, arguments, settings, ranks))


def _numbers(
    entry: Entry, scope: Scope, name: str, arguments: Sequence[Any], settings: Mapping[str, Any], ranks: set[int]
) -> list[Wire]:
    wires = [each for each in _flat(arguments) if isinstance(each, Wire)]
    layer = _layer(entry, name, arguments, settings)
    several = isinstance(layer, (Concatenate, *map(type, _JOINING.values())))
    plain_arguments = [each for each in _flat(arguments) if not isinstance(each, Wire)]
    if layer is None or (several and (plain_arguments or len(wires) < 2)) or (not several and len(wires) != 1):
        raise entry.unsupported("it is not supported as it is called; only some functions of whole tensors are")
    if several and len(ranks) > 1:
        raise entry.unsupported(f"it joins tensors of {' and '.join(map(str, sorted(ranks)))} axes")
    return scope.add(layer, [scope.masked(wire, None) for wire in wires])


def _layer(entry: Entry, name: str, arguments: Sequence[Any], settings: Mapping[str, Any]) -> Layer | None:
    """The layer that does the same, if there is one."""
    axis = plain(settings.get("axis"))
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if name in _JOINING:
        return _JOINING[name]
    if name in _ACTIVATIONS:
        return Activation(_ACTIVATIONS[name])
    if name == "GetItem":
        return _get_item(arguments[1]) if len(arguments) == 2 else None
    if name == "Softmax" and type(axis) is int:
        return Activation("softmax") if axis == -1 else Activation("softmax", axis=axis)
    if name == "Concatenate" and type(axis) is int:
        return Concatenate(axis)
    keepdims = settings.get("keepdims", False)
    if axis == 1 and isinstance(keepdims, bool) and name in ("Max", "Mean"):
        return Mean(keepdims) if name == "Mean" else Max(keepdims, skip_masked=False)
    return None


def _get_item(key: Any) -> Layer | None:
    """``x[:, -1]``, ``x[..., 0]``, ``x[:, 2:-1]`` or ``x[:, ::-1]``."""
    places = key if isinstance(key, tuple) else (key,)
    if len(places) == 2 and _is_ellipsis(places[0]) and type(places[1]) is int:
        return Select(-1, places[1])
    whole = [_slice(place) == (None, None, None) or (at and _is_ellipsis(place)) for at, place in enumerate(places)]
    rest = [place for place, all_of_it in enumerate(whole) if not all_of_it]
    if len(rest) != 1 or rest[0] == 0:
        return None
    chosen = places[rest[0]]
    if type(chosen) is int:
        return Select(rest[0], chosen)
    found = _slice(chosen)
    if found is None:
        return None
    start, stop, step = found
    if rest[0] == 1 and found == (None, None, -1):
        return Reverse()
    return Slice(rest[0], start or 0, stop) if step in (None, 1) else None


def _slice(value: Any) -> tuple[int | None, int | None, int | None] | None:
    """start, stop and step of a slice as Keras or TensorFlow writes it."""
    if not isinstance(value, dict):
        return None
    config = value.get("config") if value.get("class_name") == "__slice__" else value
    if not isinstance(config, dict) or not {"start", "stop", "step"} >= set(config) or not config:
        return None
    found = tuple(config.get(key) for key in ("start", "stop", "step"))
    return found if all(each is None or type(each) is int for each in found) else None  # type: ignore[return-value]


def _is_ellipsis(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "__ellipsis__"


def _flat(values: Sequence[Any]) -> list[Any]:
    """The values, and those in tuples among them."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, tuple) and not isinstance(value, Wire):
            found += _flat(value)
        else:
            found.append(value)
    return found
