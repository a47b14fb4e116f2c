"""RTNeural's JSON models: a chain of Keras layers, run as RTNeural runs them, one output for every step.

Owns what each type of layer means. Kernels lie as Keras has them, and convolutions look back only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...errors import CheckpointError, UnsupportedModelError
from ...gru_weights import GRUSpec
from ...layers import Activation, BatchNormalization, Conv1D, Dense, GRULayer, Layer, ModelSpec, PReLU, sequential
from ..keras.arrays import gru_weights, rows_of_outputs
from ..tensors import take

__all__ = ["model_spec"]

_ACTIVATIONS = ("tanh", "relu", "sigmoid", "softmax", "elu")
_SAME = {"time-distributed-dense": "dense"}
_ARRAYS = {"gru": (2, 3), "dense": (1, 2), "conv1d": (1, 2), "prelu": (1, 1), "batchnorm": (2, 4), "activation": (0, 0)}


class _Entry:
    """One layer of the file: its options, and its arrays by their place."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], where: str) -> None:
        self.config, self.where = config, where
        self._tensors = tensors
        self.count = len(config["weights"])

    def array(self, index: int, *shape: int | None) -> np.ndarray:
        return take(self._tensors, self.config["weights"][index], shape, self.where)

    def optional(self, index: int, *shape: int | None) -> np.ndarray | None:
        return self.array(index, *shape) if index < self.count else None

    def rank(self, index: int) -> int:
        return self._tensors[self.config["weights"][index]].ndim

    def check_outputs(self, count: int) -> None:
        """Raise where the shape that the file gives its output is not what the arrays make."""
        shape = self.config.get("shape")
        if isinstance(shape, list) and shape and shape[-1] != count:
            raise CheckpointError(f"{self.where}: its shape says {str(shape[-1])[:80]} outputs, its weights {count}")

    @property
    def activation(self) -> str:
        name = self.config.get("activation", "")
        if name not in ("", "linear", *_ACTIVATIONS):
            known = ", ".join(_ACTIVATIONS)
            raise UnsupportedModelError(
                f"{self.where}: activation {str(name)[:80]!r} is not one of RTNeural's: {known}"
            )
        return name or "linear"

    def whole_number(self, key: str, default: int) -> int:
        """An option that may stand in a list of its own, as Keras has the sizes of a kernel."""
        value = self.config.get(key, default)
        value = value[-1] if isinstance(value, list) and value else value
        if type(value) is not int or value < 1:
            raise CheckpointError(f"{self.where}: {key} is {str(value)[:80]}, wanted a whole number from 1")
        return value


def model_spec(checkpoint: Checkpoint, tensors: Mapping[str, np.ndarray]) -> ModelSpec:
    """The chain of the file's layers, called by their type and place: ``gru_0``, ``dense_1``.

    Raises
    ------
    UnsupportedModelError
        A layer or an activation is not supported; its arrays can still be read.
    CheckpointError
        An array is missing or does not fit.
    """
    config, where = checkpoint.config or {}, checkpoint.path
    chain = []
    for index, layer in enumerate(config["layers"]):
        kind = _SAME.get(layer["type"], layer["type"])
        place = f"{where}: layer {index} ({layer['type'][:80]})"
        if kind not in _LAYERS:
            raise UnsupportedModelError(f"{place}: not supported; supported are {', '.join(_LAYERS)}")
        least, most = _ARRAYS[kind]
        if not least <= len(layer["weights"]) <= most:
            raise CheckpointError(f"{place}: got {len(layer['weights'])} arrays, wanted {least} to {most}")
        chain.append((f"{kind}_{index}", _LAYERS[kind](_Entry(layer, tensors, place))))
    return sequential(chain, shape=_shape(config.get("in_shape"), where))


def _shape(in_shape: Any, where: str) -> tuple[int | None, int] | None:
    """(steps, features) of the input; RTNeural itself looks at the last size only. None where the file has none."""
    if in_shape is None:
        return None
    features = in_shape[-1] if isinstance(in_shape, list) and in_shape else None
    if type(features) is not int or features < 1:
        raise CheckpointError(
            f"{where}: in_shape is {str(in_shape)[:80]}, wanted a list that ends in a number of features"
        )
    return None, features


def _gru(entry: _Entry) -> GRULayer:
    """RTNeural's GRU has tanh and sigmoid whatever the file says, and applies the reset after the product."""
    if entry.activation not in ("tanh", "linear"):
        raise UnsupportedModelError(f"{entry.where}: activation {entry.activation!r}; RTNeural's GRU has tanh alone")
    recurrent = entry.array(1, None, None)
    units = recurrent.shape[0]
    recurrent = entry.array(1, units, 3 * units)
    kernel = entry.array(0, None, 3 * units)
    bias = entry.optional(2, 2, 3 * units)
    entry.check_outputs(units)
    return GRULayer(GRUSpec(((gru_weights(kernel, recurrent, bias),),), bias=bias is not None))


def _dense(entry: _Entry) -> Dense:
    kernel = entry.array(0, None, None)
    entry.check_outputs(kernel.shape[1])
    return Dense(rows_of_outputs(kernel), entry.optional(1, kernel.shape[1]), entry.activation)


def _conv1d(entry: _Entry) -> Conv1D:
    """The kernel is (steps, inputs / groups, outputs), the last step the present one."""
    kernel = entry.array(0, None, None, None)
    if entry.whole_number("kernel_size", kernel.shape[0]) != kernel.shape[0]:
        raise CheckpointError(f"{entry.where}: kernel_size is not the {kernel.shape[0]} of its weights")
    bias = entry.optional(1, kernel.shape[2])
    entry.check_outputs(kernel.shape[2])
    dilation, groups = entry.whole_number("dilation", 1), entry.whole_number("groups", 1)
    return Conv1D(rows_of_outputs(kernel), bias, entry.activation, padding="causal", dilation=dilation, groups=groups)


def _prelu(entry: _Entry) -> PReLU:
    """(features,), or (1, features) where the steps share the slopes."""
    shape = (1, None) if entry.rank(0) == 2 else (None,)
    return PReLU(entry.array(0, *shape))


def _batchnorm(entry: _Entry) -> BatchNormalization:
    """gamma, beta, mean and variance, or the last two alone."""
    mean = entry.array(entry.count - 2, None)
    arrays = [entry.array(index, *mean.shape) for index in range(entry.count)]
    if len(arrays) == 3:
        raise CheckpointError(f"{entry.where}: got 3 arrays, wanted 2 or 4")
    epsilon = entry.config.get("epsilon", 1e-3)
    if type(epsilon) not in (int, float):
        raise CheckpointError(f"{entry.where}: epsilon is {str(epsilon)[:80]}, wanted a number")
    gamma, beta = arrays[:2] if len(arrays) == 4 else (None, None)
    return BatchNormalization(mean, arrays[-1], gamma, beta, epsilon=float(epsilon))


def _activation(entry: _Entry) -> Activation:
    return Activation(entry.activation)


_LAYERS: dict[str, Callable[[_Entry], Layer]] = {
    "gru": _gru,
    "dense": _dense,
    "conv1d": _conv1d,
    "prelu": _prelu,
    "batchnorm": _batchnorm,
    "activation": _activation,
}
