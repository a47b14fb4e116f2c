"""Each Keras layer as a layer of the neutral description: one function per class, in one table.

The table is the only place where a class name from a file means anything. To read another layer, write its function
and add a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..errors import CheckpointError, UnsupportedModelError
from ..spec import Activation, Dense, Dropout, Embedding, GRULayer, GRUSpec, GRUWeights, Layer
from .keras_config import Entry, activation, inner_entry, option, short, size
from .tensors import take

__all__ = ["build"]

_MASKS = "masks are not read from the model yet; fastgru takes the length of each row by lengths="


def build(entry: Entry, tensors: Mapping[str, np.ndarray]) -> Layer:
    """The layer of one entry, or an error that names it."""
    if entry.problem:
        raise UnsupportedModelError(f"{entry.where}: {entry.problem}")
    maker = _LAYERS.get(entry.class_name)
    if maker is None:
        known = ", ".join(name for name in _LAYERS if name != "Masking")
        raise UnsupportedModelError(
            f"{entry.where}: {entry.class_name[:80]} layers are not supported; supported are {known}"
        )
    dtype = entry.config.get("dtype")
    kind = str(dtype.get("class_name")) if isinstance(dtype, dict) else ""
    if kind.startswith("Quantized"):
        raise UnsupportedModelError(f"{entry.where}: its weights are quantised; save the model before quantize()")
    return maker(entry, tensors)


def _gru(entry: Entry, tensors: Mapping[str, np.ndarray]) -> GRULayer:
    backwards = option(entry, "go_backwards", bool, False)
    return GRULayer(_stack((entry,), tensors), _returns_sequences(entry), go_backwards=backwards)


def _bidirectional(entry: Entry, tensors: Mapping[str, np.ndarray]) -> GRULayer:
    """Two GRUs over the same input; the backward one's sequence is turned round before they are merged."""
    merge = entry.config.get("merge_mode", "concat")
    if not isinstance(merge, str):
        raise UnsupportedModelError(
            f"{entry.where}: merge_mode is {short(merge)}, which gives two outputs; supported are concat, sum, mul, ave"
        )
    forward = _inner_gru(entry, "layer", "forward_layer")
    if entry.config.get("backward_layer") is None:
        turned = {**forward.config, "go_backwards": True}
        backward = replace(forward, config=turned, group=f"{entry.group}/backward_layer")
    else:
        backward = _inner_gru(entry, "backward_layer", "backward_layer")
    ways = [option(each, "go_backwards", bool, False) for each in (forward, backward)]
    if ways != [False, True]:
        raise UnsupportedModelError(
            f"{entry.where}: go_backwards of its two layers is {ways}, supported: [False, True]"
        )
    if _returns_sequences(forward) != _returns_sequences(backward):
        raise CheckpointError(f"{entry.where}: return_sequences differs between its two layers")
    return GRULayer(_stack((forward, backward), tensors), _returns_sequences(forward), merge)


def _inner_gru(entry: Entry, key: str, group: str) -> Entry:
    """The GRU within a Bidirectional."""
    inner = inner_entry(entry, key, group)
    if inner.problem or inner.class_name != "GRU":
        problem = inner.problem or f"Bidirectional of {inner.class_name[:80]} is not supported, only of GRU"
        raise UnsupportedModelError(f"{inner.where}: {problem}")
    return inner


def _returns_sequences(entry: Entry) -> bool:
    if option(entry, "return_state", bool, False):
        raise UnsupportedModelError(f"{entry.where}: return_state=True is not supported in a Sequential model")
    if option(entry, "time_major", bool, False):
        raise UnsupportedModelError(f"{entry.where}: time_major=True is not supported; fastgru is batch first")
    return option(entry, "return_sequences", bool, False)


def _stack(directions: tuple[Entry, ...], tensors: Mapping[str, np.ndarray]) -> GRUSpec:
    """One layer of one or two directions, which must agree in everything but their weights."""
    first = directions[0]
    options = [_gru_options(entry) for entry in directions]
    if any(each != options[0] for each in options):
        raise UnsupportedModelError(f"{first.where}: the two directions differ: {options[0]} and {options[-1]}")
    units, reset_after, activation, recurrent_activation, bias = options[0]
    weights = tuple(_gru_weights(entry, tensors, units, reset_after, bias) for entry in directions)
    return GRUSpec((weights,), reset_after, activation, recurrent_activation, bias)


def _gru_options(entry: Entry) -> tuple[int, bool, str, str, bool]:
    return (
        size(entry, "units"),
        option(entry, "reset_after", bool, True),
        activation(entry, "activation", "tanh"),
        activation(entry, "recurrent_activation", "sigmoid"),
        option(entry, "use_bias", bool, True),
    )


def _gru_weights(
    entry: Entry, tensors: Mapping[str, np.ndarray], units: int, reset_after: bool, bias: bool
) -> GRUWeights:
    """kernel (inputs, 3 units) and recurrent kernel (units, 3 units) in z, r, h; bias (2, 3 units) or (3 units,)."""
    group = f"{entry.group}/cell/vars"
    kernel = take(tensors, f"{group}/0", (None, 3 * units), entry.where)
    recurrent = take(tensors, f"{group}/1", (units, 3 * units), entry.where)
    both = np.zeros((2, 3 * units), dtype=recurrent.dtype)
    if bias and reset_after:
        both = take(tensors, f"{group}/2", (2, 3 * units), entry.where)
    elif bias:
        both[0] = take(tensors, f"{group}/2", (3 * units,), entry.where)
    w_ih, w_hh, b_ih, b_hh = (_reset_first(array) for array in (kernel.T, recurrent.T, both[0], both[1]))
    return GRUWeights(w_ih, w_hh, b_ih, b_hh)


def _reset_first(gates: np.ndarray) -> np.ndarray:
    """Gates z, r, h along the first axis, in the order r, z, n."""
    z, r, n = np.split(gates, 3)
    return np.ascontiguousarray(np.concatenate((r, z, n)))


def _embedding(entry: Entry, tensors: Mapping[str, np.ndarray]) -> Embedding:
    if option(entry, "mask_zero", bool, False):
        raise UnsupportedModelError(f"{entry.where}: mask_zero=True is not supported: {_MASKS}")
    shape = (size(entry, "input_dim"), size(entry, "output_dim"))
    return Embedding(take(tensors, f"{entry.group}/vars/0", shape, entry.where))


def _dense(entry: Entry, tensors: Mapping[str, np.ndarray]) -> Dense:
    """kernel (inputs, units) and bias (units,)."""
    units = size(entry, "units")
    kernel = take(tensors, f"{entry.group}/vars/0", (None, units), entry.where)
    biased = option(entry, "use_bias", bool, True)
    bias = take(tensors, f"{entry.group}/vars/1", (units,), entry.where) if biased else None
    return Dense(np.ascontiguousarray(kernel.T), bias, activation(entry, "activation", "linear"))


def _activation_layer(entry: Entry, tensors: Mapping[str, np.ndarray]) -> Activation:
    return Activation(activation(entry, "activation", "linear"))


def _dropout(entry: Entry, tensors: Mapping[str, np.ndarray]) -> Dropout:
    return Dropout()


def _masking(entry: Entry, tensors: Mapping[str, np.ndarray]) -> Layer:
    raise UnsupportedModelError(f"{entry.where}: Masking is not supported: {_MASKS}")


_LAYERS: dict[str, Callable[[Entry, Mapping[str, np.ndarray]], Layer]] = {
    "GRU": _gru,
    "Bidirectional": _bidirectional,
    "Embedding": _embedding,
    "Dense": _dense,
    "Activation": _activation_layer,
    "Dropout": _dropout,
    "SpatialDropout1D": _dropout,
    "GaussianDropout": _dropout,
    "GaussianNoise": _dropout,
    "AlphaDropout": _dropout,
    "ActivityRegularization": _dropout,
    "Masking": _masking,
}
