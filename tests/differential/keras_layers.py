"""Random layers of Keras for values of a shape: what they are called with, and the shapes of what they give.

A layer is plain data, ``[class, arguments]``; a layer within another is ``{"layer": [class, arguments]}``, several are
a list of these, and a Sequential is ``{"chain": [layers]}``. Shapes are without the batch; None is any number of steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Optional

__all__ = ["ACTIVATIONS", "MERGING", "OPERATIONS", "layer_for", "text_of"]

Shape = tuple[Any, ...]
Made = Optional[tuple[dict[str, Any], list[Shape]]]  # noqa: UP045
Making = Callable[[random.Random, Shape], Made]

ACTIVATIONS = (
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
    "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh",
    "tanh_shrink",
)  # fmt: skip
GATES = ("sigmoid", "hard_sigmoid", "sparse_sigmoid", "tanh")  # bounded: with others a state grows without end
STATES = ("tanh", "relu", "softsign", "hard_tanh", "sigmoid", "linear", "silu")
MERGING = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "Concatenate")

# Functions of one value or two: the text, and the shape of the result or None where it does not fit.
OPERATIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "{0}[:, -1]": (1, lambda one: one[1:] if len(one) == 2 else None),
    "{0}[:, 0]": (1, lambda one: one[1:] if len(one) == 2 else None),
    "{0}[:, 1:]": (1, lambda one: (one[0] and one[0] - 1, one[1]) if len(one) == 2 and one[0] != 1 else None),
    "{0}[..., 0]": (1, lambda one: one[:1] if len(one) == 2 else None),
    "keras.ops.tanh({0})": (1, lambda one: one),
    "keras.ops.relu({0})": (1, lambda one: one),
    "keras.ops.mean({0}, axis=1)": (1, lambda one: one[1:] if len(one) == 2 else None),
    "keras.ops.max({0}, axis=1)": (1, lambda one: one[1:] if len(one) == 2 else None),
    "keras.ops.softmax({0}, axis=-1)": (1, lambda one: one),
    "1 - {0}": (1, lambda one: one),
    "{0} * 2": (1, lambda one: one),
    "{0} + {1}": (2, lambda one, other: one if one == other else None),
    "{0} - {1}": (2, lambda one, other: one if one == other else None),
    "{0} * {1}": (2, lambda one, other: one if one == other else None),
    "keras.ops.maximum({0}, {1})": (2, lambda one, other: one if one == other else None),
    "keras.ops.concatenate([{0}, {1}], axis=-1)": (
        2, lambda one, other: (*one[:-1], one[-1] + other[-1]) if one[:-1] == other[:-1] and len(one) > 1 else None),
}  # fmt: skip


def text_of(value: Any) -> str:
    """Plain data as Python."""
    if isinstance(value, dict) and "layer" in value:
        kind, options = value["layer"]
        return f"L.{kind}({', '.join(f'{name}={text_of(option)}' for name, option in options.items())})"
    if isinstance(value, dict):
        return f"keras.Sequential([{', '.join(text_of({'layer': each}) for each in value['chain'])}])"
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    return repr(value)


def layer_for(rng: random.Random, shape: Shape, causal: bool = False) -> tuple[str, dict[str, Any], list[Shape]] | None:
    """A layer that takes a value of that shape."""
    kinds = [kind for kind, (rank, _, _) in _LAYERS.items() if rank is None or rank == len(shape)]
    weights = [_LAYERS[kind][2] * (not causal or kind in _CAUSAL) for kind in kinds]
    if not any(weights):
        return None
    kind = rng.choices(kinds, weights)[0]
    made = _LAYERS[kind][1](rng, shape)
    return None if made is None else (kind, *made)


def _options(rng: random.Random, **chances: tuple[float, Any]) -> dict[str, Any]:
    return {name: value for name, (chance, value) in chances.items() if rng.random() < chance}


def gru_options(rng: random.Random, steps: Any, cell: bool = False) -> dict[str, Any]:
    """Options of a GRU, or of a GRUCell."""
    options = _options(
        rng, reset_after=(0.3, False), use_bias=(0.15, False), dropout=(0.1, 0.3), recurrent_dropout=(0.05, 0.2),
        activation=(0.25, rng.choice(STATES)), recurrent_activation=(0.25, rng.choice(GATES)),
    )  # fmt: skip
    return {"units": rng.choice((1, 2, 3, 5)), **options}


def _gru(rng: random.Random, shape: Shape) -> Made:
    options = gru_options(rng, shape[0])
    options |= _options(
        rng, return_sequences=(0.7, True), return_state=(0.12, True), go_backwards=(0.2, True),
        zero_output_for_mask=(0.2, True), unroll=(0.1 if shape[0] else 0, True),
    )  # fmt: skip
    units = options["units"]
    made = [(shape[0], units) if options.get("return_sequences") else (units,)]
    return options, made + [(units,)] * bool(options.get("return_state"))


def _rnn(rng: random.Random, shape: Shape) -> Made:
    cells = [["GRUCell", gru_options(rng, shape[0])] for _ in range(rng.choice((1, 1, 2)))]
    options: dict[str, Any] = {"cell": [{"layer": cell} for cell in cells] if len(cells) > 1 or rng.random() < 0.3
                               else {"layer": cells[0]}}  # fmt: skip
    options |= _options(
        rng, return_sequences=(0.7, True), return_state=(0.1, True), go_backwards=(0.2, True),
        zero_output_for_mask=(0.2, True),
    )  # fmt: skip
    units = cells[-1][1]["units"]
    made: list[Shape] = [(shape[0], units) if options.get("return_sequences") else (units,)]
    return options, made + [(cell[1]["units"],) for cell in cells] * bool(options.get("return_state"))


def _bidirectional(rng: random.Random, shape: Shape) -> Made:
    found = (_gru if rng.random() < 0.8 else _rnn)(rng, shape)
    assert found is not None
    inner, made = found
    inner.pop("unroll", None)
    inner.pop("go_backwards", None) if rng.random() < 0.8 else None
    kind = "RNN" if "cell" in inner else "GRU"
    options: dict[str, Any] = {"layer": {"layer": [kind, inner]}}
    if rng.random() < 0.15 and kind == "GRU":
        changed = _options(rng, use_bias=(0.3, False), activation=(0.3, "relu"), reset_after=(0.3, False))
        other = {**inner, **changed, "go_backwards": not inner.get("go_backwards", False)}
        options["backward_layer"] = {"layer": ["GRU", other]}
    merge = rng.choice(("concat", "concat", "sum", "mul", "ave", None))
    if merge != "concat":
        options["merge_mode"] = merge
    first = made[0]
    outputs = [first, first] if merge is None else [(*first[:-1], first[-1] * (1 + (merge == "concat")))]
    return options, outputs + made[1:] * 2


def _time_distributed(rng: random.Random, shape: Shape) -> Made:
    inner: list[Any] = []
    current = shape[1:]
    for _ in range(rng.choice((1, 1, 2, 3))):
        found = layer_for(rng, current)
        if found is None or len(found[2]) != 1 or None in current:
            continue
        inner.append([found[0], found[1]])
        current = found[2][0]
    if not inner:
        return None
    layer = {"chain": inner} if len(inner) > 1 or rng.random() < 0.2 else {"layer": inner[0]}
    return {"layer": layer}, [(shape[0], *current)]


def _sequential(rng: random.Random, shape: Shape) -> Made:
    inner: list[Any] = []
    current = shape
    for _ in range(rng.choice((1, 2, 3))):
        found = layer_for(rng, current)
        if found is None or len(found[2]) != 1 or found[0] == "Sequential":
            continue
        inner.append([found[0], found[1]])
        current = found[2][0]
    return ({"chain": inner}, [current]) if inner else None


def _dense(rng: random.Random, shape: Shape) -> Made:
    units = rng.choice((1, 2, 3, 4, 6))
    options = {"units": units, **_options(rng, use_bias=(0.2, False), activation=(0.5, rng.choice(ACTIVATIONS)))}
    if units % 2 == 0 and rng.random() < 0.05:
        return {**options, "activation": "glu"}, [(*shape[:-1], units // 2)]
    return options, [(*shape[:-1], units)]


def _conv1d(rng: random.Random, shape: Shape) -> Made:
    groups = rng.choice([each for each in (1, 1, 1, 2) if shape[1] % each == 0])
    filters, size = groups * rng.choice((1, 2, 3)), rng.choice((1, 2, 3, 4))
    padding, strides = rng.choice(("valid", "same", "causal")), rng.choice((1, 1, 1, 2, 3))
    options = {"filters": filters, "kernel_size": size, "padding": padding, "strides": strides, "groups": groups}
    if strides == 1:
        options["dilation_rate"] = rng.choice((1, 1, 2))
    options |= _options(rng, use_bias=(0.2, False), activation=(0.4, rng.choice(ACTIVATIONS)))
    reach = (size - 1) * options.get("dilation_rate", 1) + 1
    return _windowed(shape, reach, strides, padding, filters, options)


def _pooling(rng: random.Random, shape: Shape) -> Made:
    size, padding = rng.choice((1, 2, 3)), rng.choice(("valid", "same"))
    options = {"pool_size": size, "padding": padding, **_options(rng, strides=(0.5, rng.choice((1, 2, 3))))}
    return _windowed(shape, size, options.get("strides", size), padding, shape[1], options)


def _average(rng: random.Random, shape: Shape) -> Made:
    """Padded alike on both sides, or not: otherwise Keras on PyTorch averages copies of the last step too."""
    made = _pooling(rng, shape)
    if made is not None and made[0]["padding"] == "same" and (made[0]["pool_size"] != 3 or made[0].get("strides") != 1):
        made[0]["padding"] = "valid"
        return _windowed(shape, made[0]["pool_size"], made[0].get("strides", made[0]["pool_size"]), "valid", shape[1],
                         made[0])  # fmt: skip
    return made


def _windowed(shape: Shape, reach: int, strides: int, padding: str, features: int, options: dict[str, Any]) -> Made:
    steps = shape[0]
    if steps is not None:
        steps = (steps - reach) // strides + 1 if padding == "valid" else -(-steps // strides)
        if steps < 1:
            return None
    return options, [(steps, features)]


def _either_way(making: Making) -> Making:
    """A layer over the steps, or one for which they come behind the features."""

    def made(rng: random.Random, shape: Shape) -> Made:
        if len(shape) != 2 or None in shape or rng.random() < 0.8:
            return making(rng, shape)
        found = making(rng, shape[::-1])
        return found and ({**found[0], "data_format": "channels_first"}, [each[::-1] for each in found[1]])

    return made


def _global_pooling(rng: random.Random, shape: Shape) -> Made:
    options = _options(rng, keepdims=(0.2, True))
    return options, [(1, shape[1]) if options else shape[1:]]


def _same(**chances: tuple[float, Any]) -> Making:
    return lambda rng, shape: (_options(rng, **chances), [shape])


def _activation(rng: random.Random, shape: Shape) -> Made:
    return {"activation": rng.choice(ACTIVATIONS)}, [shape]


def _normalization(rng: random.Random, shape: Shape) -> Made:
    axis = {"axis": 1} if len(shape) == 2 and shape[0] and rng.random() < 0.2 else {}
    return {**_options(rng, center=(0.2, False), scale=(0.2, False), epsilon=(0.3, 0.1)), **axis}, [shape]


def _layer_normalization(rng: random.Random, shape: Shape) -> Made:
    """Over the last axis: over another one Keras 3 with PyTorch's backend fails, or takes the last (3.15)."""
    return _options(rng, center=(0.2, False), scale=(0.2, False), epsilon=(0.3, 0.1)), [shape]


def _prelu(rng: random.Random, shape: Shape) -> Made:
    shared = [1] if shape[0] is None and len(shape) == 2 else []
    return ({"shared_axes": shared} if shared else {}), [shape]


def _cropping(rng: random.Random, shape: Shape) -> Made:
    before, after = rng.choice(((0, 1), (1, 0), (1, 1)))
    if shape[0] is not None and shape[0] <= before + after:
        return None
    return {"cropping": [before, after]}, [(shape[0] and shape[0] - before - after, shape[1])]


def _padding(rng: random.Random, shape: Shape) -> Made:
    before, after = rng.choice(((0, 1), (1, 0), (2, 1)))
    return {"padding": [before, after]}, [(shape[0] and shape[0] + before + after, shape[1])]


def _up_sampling(rng: random.Random, shape: Shape) -> Made:
    size = rng.choice((2, 3))
    return {"size": size}, [(shape[0] and shape[0] * size, shape[1])]


def _permute(rng: random.Random, shape: Shape) -> Made:
    return ({"dims": [2, 1]}, [shape[::-1]]) if None not in shape else None


def _reshape(rng: random.Random, shape: Shape) -> Made:
    if None in shape:
        return None
    total = shape[0] * shape[1] if len(shape) == 2 else shape[0]
    first = rng.choice([size for size in range(1, total + 1) if total % size == 0])
    return {"target_shape": [first, total // first]}, [(first, total // first)]


def _flatten(rng: random.Random, shape: Shape) -> Made:
    if None in shape:
        return None
    total = 1
    for size in shape:
        total *= size
    return {}, [(total,)]


def _repeat(rng: random.Random, shape: Shape) -> Made:
    n = rng.choice((1, 2, 5))
    return {"n": n}, [(n, *shape)]


def _masking(rng: random.Random, shape: Shape) -> Made:
    return _options(rng, mask_value=(0.2, 0.5)), [shape]


# The rank of what a layer takes (None: any), how it is made, and how often.
_LAYERS: dict[str, tuple[int | None, Making, float]] = {
    "GRU": (2, _gru, 8),
    "Bidirectional": (2, _bidirectional, 4),
    "RNN": (2, _rnn, 2),
    "TimeDistributed": (2, _time_distributed, 2),
    "Sequential": (2, _sequential, 1.5),
    "Dense": (None, _dense, 4),
    "Conv1D": (2, _either_way(_conv1d), 1.5),
    "MaxPooling1D": (2, _either_way(_pooling), 0.7),
    "AveragePooling1D": (2, _either_way(_average), 0.7),
    "GlobalAveragePooling1D": (2, _either_way(_global_pooling), 0.7),
    "GlobalMaxPooling1D": (2, _either_way(_global_pooling), 0.7),
    "Masking": (2, _masking, 2),
    "Activation": (None, _activation, 1),
    "BatchNormalization": (None, _normalization, 0.7),
    "LayerNormalization": (None, _layer_normalization, 0.7),
    "RMSNormalization": (None, _same(epsilon=(0.3, 0.1)), 0.4),
    "PReLU": (None, _prelu, 0.4),
    "LeakyReLU": (None, _same(negative_slope=(0.5, 0.2)), 0.3),
    "ELU": (None, _same(alpha=(0.5, 0.7)), 0.3),
    "ReLU": (None, _same(max_value=(0.4, 0.9), negative_slope=(0.4, 0.1), threshold=(0.4, 0.2)), 0.3),
    "Softmax": (None, _same(axis=(0.2, 1)), 0.4),
    "Dropout": (None, _same(rate=(1.0, 0.3)), 0.4),
    "SpatialDropout1D": (2, _same(rate=(1.0, 0.3)), 0.3),
    "GaussianNoise": (None, _same(stddev=(1.0, 0.3)), 0.3),
    "ActivityRegularization": (None, _same(l2=(0.5, 0.1)), 0.2),
    "Identity": (None, _same(), 0.4),
    "Cropping1D": (2, _cropping, 0.4),
    "ZeroPadding1D": (2, _padding, 0.4),
    "UpSampling1D": (2, _up_sampling, 0.4),
    "Permute": (2, _permute, 0.4),
    "Reshape": (None, _reshape, 0.4),
    "Flatten": (None, _either_way(_flatten), 0.4),
    "RepeatVector": (1, _repeat, 1),
}
_CAUSAL = ("GRU", "RNN", "TimeDistributed", "Dense", "Activation", "BatchNormalization", "LayerNormalization", "PReLU",
           "LeakyReLU", "Dropout", "Identity")  # fmt: skip
