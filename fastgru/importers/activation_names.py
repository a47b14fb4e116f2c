"""What the frameworks' words for activations mean: Keras's names and layers, and PyTorch's modules.

Everything comes from a file: words are compared with these tables and nothing else, and what the options may be is
checked where a model is validated.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ..activations import ALIASES, KNOWN, defaults
from ..errors import CheckpointError, UnsupportedModelError
from ..layers import Activation

__all__ = ["keras_activation", "keras_activation_layer", "torch_activation"]

# Of each layer: the activation, and the layer's own defaults under the names of our options.
_KERAS_LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ELU": ("elu", {"alpha": 1.0}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": 0.3}),
    "ReLU": ("relu", {"negative_slope": 0.0, "max_value": None, "threshold": 0.0}),
    "Softmax": ("softmax", {"axis": -1}),
    "ThresholdedReLU": ("threshold", {"threshold": 1.0, "default_value": 0.0}),
}
_OLD_OPTIONS = {  # of Keras 1 and 2
    ("LeakyReLU", "alpha"): "negative_slope",
    ("ThresholdedReLU", "theta"): "threshold",
}

# Of each module: the activation, and for each of its attributes our option and PyTorch's default.
_TORCH_MODULES: dict[str, tuple[str, dict[str, tuple[str, Any]]]] = {
    "CELU": ("celu", {"alpha": ("alpha", 1.0)}),
    "ELU": ("elu", {"alpha": ("alpha", 1.0)}),
    "GELU": ("gelu", {"approximate": ("approximate", "none")}),
    "GLU": ("glu", {"dim": ("axis", -1)}),
    "Hardshrink": ("hard_shrink", {"lambd": ("threshold", 0.5)}),
    "Hardsigmoid": ("hard_sigmoid", {}),
    "Hardswish": ("hard_silu", {}),
    "Hardtanh": ("hard_tanh", {"min_val": ("min_value", -1.0), "max_val": ("max_value", 1.0)}),
    "Identity": ("linear", {}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": ("negative_slope", 0.01)}),
    "LogSigmoid": ("log_sigmoid", {}),
    "LogSoftmax": ("log_softmax", {"dim": ("axis", None)}),
    "Mish": ("mish", {}),
    "ReLU": ("relu", {}),
    "ReLU6": ("relu6", {}),
    "RReLU": ("leaky_relu", {"lower": ("lower", 1 / 8), "upper": ("upper", 1 / 3)}),
    "SELU": ("selu", {}),
    "SiLU": ("silu", {}),
    "Sigmoid": ("sigmoid", {}),
    "Softmax": ("softmax", {"dim": ("axis", None)}),
    "Softmin": ("softmin", {"dim": ("axis", None)}),
    "Softplus": ("softplus", {"beta": ("beta", 1.0), "threshold": ("threshold", 20.0)}),
    "Softshrink": ("soft_shrink", {"lambd": ("threshold", 0.5)}),
    "Softsign": ("softsign", {}),
    "Tanh": ("tanh", {}),
    "Tanhshrink": ("tanh_shrink", {}),
    "Threshold": ("threshold", {"threshold": ("threshold", 0.0), "value": ("default_value", 0.0)}),
}


def keras_activation(value: object, version: str, where: str) -> str | Activation:
    """The activation that an option of a Keras layer names.

    Parameters
    ----------
    value : None, str or dict
        As it stands in the config: nothing, a name, or a whole activation layer.
    version : str
        Of the Keras that wrote the file: "hard_sigmoid" changed its meaning with Keras 3, "sparsemax" after 3.15.
    where : str
        Begins the message of an error.
    """
    if value is None:
        return "linear"
    if isinstance(value, str):
        if _number_of(version) < (3,):  # TensorFlow's functions give their names with a version
            value = value.removesuffix("_v2")
        if value not in KNOWN:
            like = get_close_matches(value, KNOWN, 3)
            raise UnsupportedModelError(
                f"{where}: the activation {reprlib.repr(value)} is not supported"
                + (f"; what comes near is {', '.join(like)}" if like else "")
            )
        name = ALIASES.get(value, value)
        if name == "hard_sigmoid" and value != "hard_sigmoid_keras3" and _number_of(version) < (3,):
            return "hard_sigmoid_keras2"
        if name == "sparsemax" and value != "sparsemax_keras316" and _number_of(version) < (3, 16):
            return "sparsemax_keras315"
        return name
    if isinstance(value, dict) and isinstance(value.get("config"), dict) and not _foreign(value):
        layer = keras_activation_layer(value.get("class_name"), value["config"], where)
        if layer is not None:
            return layer
    raise UnsupportedModelError(
        f"{where}: the activation {reprlib.repr(value)} is not one of Keras's own; functions of a file are never loaded"
    )


def keras_activation_layer(class_name: object, config: Mapping[str, Any], where: str) -> Activation | None:
    """The activation that one of Keras's activation layers is; None where the class is none of them."""
    if not isinstance(class_name, str) or class_name not in _KERAS_LAYERS:
        return None
    name, usual = _KERAS_LAYERS[class_name]
    given = {_OLD_OPTIONS.get((class_name, option), option): value for option, value in config.items()}
    options = {option: _plain(given.get(option, value)) for option, value in usual.items()}
    return _activation(name, options)


def torch_activation(class_name: str, attributes: Mapping[str, Any], where: str) -> Activation | None:
    """The activation that a PyTorch module is in evaluation; None where the class is none of them.

    ``attributes`` are those of the module; what is missing has PyTorch's default.
    """
    if class_name not in _TORCH_MODULES:
        return None
    name, known = _TORCH_MODULES[class_name]
    options = {ours: attributes.get(theirs, usual) for theirs, (ours, usual) in known.items()}
    if "axis" in options and options["axis"] is None:
        raise UnsupportedModelError(f"{where}: {class_name} without a dim, which then depends on the input; set dim=-1")
    if class_name == "GELU":
        form = options["approximate"]
        if not isinstance(form, str) or form not in ("none", "tanh"):
            raise UnsupportedModelError(f"{where}: GELU: approximate is {reprlib.repr(form)}, known are none and tanh")
        options["approximate"] = form == "tanh"
    if class_name == "RReLU":
        if not all(isinstance(value, (int, float)) for value in options.values()):
            raise CheckpointError(f"{where}: RReLU: lower and upper are {reprlib.repr(options)}, wanted numbers")
        options = {"negative_slope": (options["lower"] + options["upper"]) / 2}
    return _activation(name, options)


def _activation(name: str, options: Mapping[str, Any]) -> Activation:
    """With those options only that are not the default."""
    usual = defaults(name)
    plain = {key for key, value in options.items() if value is None or isinstance(value, (bool, int, float))}
    known = {key for key in plain if key in usual and usual[key] == options[key]}
    return Activation(name, **{key: value for key, value in options.items() if key not in known})


def _plain(value: Any) -> Any:
    """A number as Keras 2 may write it, {"type": "ndarray", "value": 0.3}; an axis in a list of its own."""
    if isinstance(value, dict) and value.get("type") == "ndarray":
        return value.get("value")
    if isinstance(value, list):
        return value[0] if len(value) == 1 else tuple(value)
    return value


def _foreign(value: Mapping[str, Any]) -> bool:
    """Whether a layer is a class of the user's own, which may be called like one of Keras's."""
    module = value.get("module", "keras.layers")
    return bool(value.get("registered_name")) or not isinstance(module, str) or not (module + ".").startswith("keras.")


def _number_of(version: str) -> tuple[int, ...]:
    """(3, 15) of "3.15.1"; Keras 1 wrote no version."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdecimal() and len(part) < 6) or (1,)
