"""Random layers of ``fastgru.layers`` for the values that a graph has so far.

A layer is plain data: its class and its fields, where an array is ``{"w": [seed, sizes...]}``. ``expression`` writes it
as Python, which is both what the fuzzer builds and what a script shows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Union

from fastgru.activations import IN_GRU, KNOWN
from fastgru.layers import GATE_ACTIVATIONS, MERGES, Signal

__all__ = ["JOINING", "NAMES", "ONE_INPUT", "PREAMBLE", "arguments", "expression", "node_text"]

PREAMBLE = '''\
import numpy as np
from fastgru import GRUSpec, GRUWeights, Model
from fastgru.layers import *

nan, inf = np.nan, np.inf


def w(seed, *shape):
    """Weights, small enough that float32 stays near float64."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32) / np.float32(shape[-1] ** 0.5)


def positive(seed, *shape):
    return np.abs(w(seed, *shape)) + np.float32(0.5)


def gru(seed, inputs, hidden, layers=1, directions=1, bias=True, reset_after=True, **options):
    levels = []
    for level in range(layers):
        width = inputs if level == 0 else hidden * directions
        numbers = [[seed + 8 * level + 4 * way + place for place in range(4)] for way in range(directions)]
        levels.append(tuple(
            GRUWeights(w(a, 3 * hidden, width), w(b, 3 * hidden, hidden), bias * w(c, 3 * hidden),
                       bias * reset_after * w(d, 3 * hidden))
            for a, b, c, d in numbers
        ))
    return GRUSpec(tuple(levels), bias=bias, reset_after=reset_after, **options)
'''  # fmt: skip


def expression(value: Any) -> str:
    """Plain data as Python."""
    if isinstance(value, list):
        return f"({', '.join(map(expression, value))}{',' if len(value) == 1 else ''})"
    if not isinstance(value, dict):
        return f"float({str(value)!r})" if isinstance(value, float) and value - value != 0 else repr(value)
    if "w" in value:
        return f"w({', '.join(map(repr, value['w']))})"
    if "positive" in value:
        return f"positive({', '.join(map(repr, value['positive']))})"
    if "gru" in value:
        options = [f"{name}={expression(option)}" for name, option in value.items() if name != "gru"]
        return f"gru({', '.join([*map(repr, value['gru']), *options])})"
    if "activation" in value:
        options = [f"{name}={expression(option)}" for name, option in value.items() if name != "activation"]
        return f"Activation({', '.join([repr(value['activation']), *options])})"
    return _model(value)


def _model(model: dict[str, Any]) -> str:
    inputs = [f"Input({name!r}, {expression(shape)}, {integers})" for name, shape, integers in model["inputs"]]
    nodes = [node_text(node) for node in model["nodes"]]
    parts = [f"({', '.join(part)},)" for part in (inputs, nodes, [expression(each) for each in model["outputs"]])]
    named = [f"y{9 - place}" for place in range(len(model["outputs"]))] if model.get("named") else None
    return f"ModelSpec({', '.join(parts)}{f', {expression(named)}' if named else ''})"


def node_text(node: dict[str, Any]) -> str:
    """A node as Python."""
    fields = ", ".join(f"{name}={expression(value)}" for name, value in node["fields"].items())
    layer = f"{node['layer']}({fields})"
    mask = "" if node.get("mask") is None else f", {expression(node['mask'])}"
    return f"Node({node['name']!r}, {layer}, {expression(node['inputs'])}{mask})"


Edges = list[tuple[Any, Signal]]
Arguments = Union[tuple[dict[str, Any], list[Any]], None]


def arguments(kind: str, rng: random.Random, edges: Edges) -> Arguments:
    """Fields for a layer of a kind, and its inputs; None where the values so far have none that fits it."""
    if kind in JOINING:
        return JOINING[kind](rng, edges)
    ranks, make = ONE_INPUT[kind]
    kinds = _KINDS.get(kind, ("numbers",))
    fitting = [(edge, each) for edge, each in edges if len(each.shape) in ranks and each.kind in kinds]
    if kind == "FinalState":
        fitting = [each for each in fitting if each[1].states]
    if not fitting:
        return None
    # what was made last comes first, so that graphs grow deep
    edge, signal = fitting[-1] if rng.random() < 0.6 else rng.choice(fitting)
    fields = make(rng, signal)
    return None if fields is None else (fields, [edge])


def _weights(rng: random.Random, *shape: Any, kind: str = "w") -> dict[str, Any]:
    return {kind: [rng.randrange(100_000), *shape]}


def _maybe(rng: random.Random, value: Any, chance: float = 0.7) -> Any:
    return value if rng.random() < chance else None


def activation(rng: random.Random, rank: int = 0, names: tuple[str, ...] = KNOWN) -> Any:
    """An activation's name, or the name with options."""
    name = rng.choice(names)
    options = {
        "relu": {"negative_slope": 0.1, "max_value": 0.7, "threshold": 0.2},
        "elu": {"alpha": 0.7},
        "leaky_relu": {"negative_slope": 0.3},
        "hard_tanh": {"min_value": -0.5, "max_value": 0.25},
        "softplus": {"beta": 2.0, "threshold": 1.5},
        "hard_shrink": {"threshold": 0.25},
        "gelu": {"approximate": True},
        "threshold": {"threshold": 0.1, "default_value": -0.5},
    }.get(name, {})
    if name == "threshold":
        return {"activation": name, **options}
    options = {option: value for option, value in options.items() if rng.random() < 0.5}
    if name in ("softmax", "log_softmax", "softmin", "glu", "sparsemax") and rank > 1 and rng.random() < 0.4:
        options["axis"] = rng.choice([axis for axis in range(-rank, rank + 1) if axis != 0])
    return {"activation": name, **options} if options else name


def _inner(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    """A model of one step, for TimeDistributed."""
    shape, edges, nodes = list(signal.shape[1:]), [("step", Signal(signal.shape[1:]))], []
    for place in range(rng.choice((1, 1, 2, 3))):
        kind = rng.choice(("Dense", "Dense", "Activation", "LayerNormalization", "Flatten", "GRULayer", "Mean"))
        found = arguments(kind, rng, edges)
        if found is None or None in edges[-1][1].shape:
            continue
        node = {"name": f"inner{place}", "layer": kind, "fields": found[0], "inputs": found[1]}
        try:
            made = _outputs(node, [edges[-1][1]])
        except Exception:
            continue
        nodes.append({**node, "inputs": [edges[-1][0]]})
        edges = [(node["name"], made)]
    if not nodes:
        return None
    return {"inputs": [["step", shape, False]], "nodes": nodes, "outputs": [nodes[-1]["name"]]}


def _outputs(node: dict[str, Any], signals: list[Signal]) -> Signal:
    layer = eval(node_text(node), NAMES).layer
    return layer.outputs(signals, "")[0]  # type: ignore[no-any-return]


NAMES: dict[str, Any] = {}
exec(PREAMBLE, NAMES)


def _dense(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    if signal.features is None:
        return None
    outputs = rng.choice((1, 2, 3, 4, 6, 17))
    bias = _maybe(rng, _weights(rng, outputs))
    return {"weight": _weights(rng, outputs, signal.features), "bias": bias, "activation": _within(rng, outputs)}


def _within(rng: random.Random, outputs: int) -> Any:
    """An activation within another layer."""
    found = "linear" if rng.random() < 0.5 else activation(rng)
    glu = found == "glu" or (isinstance(found, dict) and found["activation"] == "glu")
    return "tanh" if glu and outputs % 2 else found


def _conv1d(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    if signal.features is None:
        return None
    groups = rng.choice([each for each in (1, 1, 1, 2, 3) if signal.features % each == 0])
    outputs, kernel = groups * rng.choice((1, 2, 3)), rng.choice((1, 2, 3, 5))
    strides = rng.choice((1, 1, 1, 2, 3))
    return {
        "weight": _weights(rng, outputs, signal.features // groups, kernel),
        "bias": _maybe(rng, _weights(rng, outputs)),
        "activation": _within(rng, outputs),
        "strides": strides,
        "padding": rng.choice(("valid", "same", "causal")),
        "dilation": 1 if strides > 1 else rng.choice((1, 1, 2, 3)),
        "groups": groups,
    }


# Of gates only what stays within 0 and 1, or nearly: states grow without end otherwise.
_OF_GATES = ("sparse_sigmoid", "softsign", "tanh", "softmax", "hard_sigmoid")
_OF_STATES = tuple(name for name in IN_GRU if name not in ("exponential", "threshold", "log_softmax"))


def _gru(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    if signal.features is None:
        return None
    above = rng.random() < 0.1
    backwards = not above and rng.random() < 0.15
    directions = 1 if above or backwards else rng.choice((1, 1, 2))
    hidden = rng.choice((1, 2, 3, 5, 8, 17) if rng.random() < 0.95 else (33, 64))
    options: dict[str, Any] = {}
    if rng.random() < 0.3:
        options["reset_after"] = False
    if rng.random() < 0.15:
        options["bias"] = False
    for name in ("activation", "recurrent_activation"):
        if rng.random() < 0.2:
            names = _OF_GATES if name == "recurrent_activation" else _OF_STATES
            options[name] = rng.choice(GATE_ACTIVATIONS[2:]) if rng.random() < 0.6 else activation(rng, 0, names)
    spec = {"gru": [rng.randrange(100_000), signal.features, hidden, rng.choice((1, 1, 2)), directions], **options}
    return {
        "gru": spec,
        "above": [{"gru": [rng.randrange(100_000), hidden, rng.choice((1, 3))]}] if above else [],
        "return_sequences": rng.random() < 0.75,
        "return_state": rng.random() < 0.15,
        "merge": rng.choice(MERGES) if directions == 2 else "concat",
        "go_backwards": backwards,
        "zero_masked": rng.random() < 0.2,
    }


def _batch_normalization(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    axis = rng.choice([-1, -1, *range(1, len(signal.shape) + 1)])
    size = signal.shape[axis if axis < 0 else axis - 1]
    if size is None:
        return None
    gamma, beta = _maybe(rng, _weights(rng, size, kind="positive")), _maybe(rng, _weights(rng, size))
    mean, variance = _weights(rng, size), _weights(rng, size, kind="positive")
    return {"mean": mean, "variance": variance, "gamma": gamma, "beta": beta, "epsilon": 1e-3, "axis": axis}


def _layer_normalization(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    rank = len(signal.shape)
    axes = [-1] if rank == 1 or rng.random() < 0.7 else sorted(rng.sample(range(1, rank + 1), rng.randint(1, rank)))
    sizes = [signal.shape[axis if axis < 0 else axis - 1] for axis in axes]
    weights = None not in sizes
    gamma = _maybe(rng, _weights(rng, *sizes, kind="positive")) if weights else None
    beta = _maybe(rng, _weights(rng, *sizes)) if weights else None
    return {"gamma": gamma, "beta": beta, "epsilon": 0.1, "axes": axes, "rms": rng.random() < 0.3}


def _reshape(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    total = 1
    for size in signal.shape:
        if size is None:
            return {"shape": [-1, signal.features]} if signal.features else None
        total *= size
    first = rng.choice([size for size in range(1, total + 1) if total % size == 0])
    return {"shape": rng.choice(([first, total // first], [total], [-1, first], [first, -1, 1]))}


def _select(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    axis = rng.choice([*range(1, len(signal.shape) + 1), -1])
    size = signal.shape[axis if axis < 0 else axis - 1] or 3
    return {"axis": axis, "index": rng.randrange(-size, size)}


def _slice(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    axis = rng.choice([*range(1, len(signal.shape) + 1), -1])
    size = signal.shape[axis if axis < 0 else axis - 1] or 3
    return {"axis": axis, "start": rng.randrange(-size, size), "stop": _maybe(rng, rng.randrange(-size, size + 1))}


def _prelu(rng: random.Random, signal: Signal) -> dict[str, Any] | None:
    sizes = [1 if size is None or rng.random() < 0.3 else size for size in signal.shape]
    return {"weight": _weights(rng, *sizes[rng.randrange(len(sizes)) :])}


def _pooling(rng: random.Random, signal: Signal) -> dict[str, Any]:
    return {"size": rng.choice((1, 2, 3)), "strides": rng.choice((1, 2, 3)), "padding": rng.choice(("valid", "same"))}


def _alike(edges: Edges, rng: random.Random, fits: Callable[[Signal, Signal], bool]) -> list[Any]:
    """Two or three values that fit the first of them."""
    numbers = [(edge, signal) for edge, signal in edges if signal.kind == "numbers" and signal.shape]
    if not numbers:
        return []
    first = numbers[-1] if rng.random() < 0.5 else rng.choice(numbers)
    fitting = [edge for edge, signal in numbers if fits(first[1], signal)]
    others = [rng.choice(fitting) for _ in range(rng.choice((1, 1, 2)))] if fitting else []
    together = [first[0], *others]
    rng.shuffle(together)
    return together if others else []


def _broadcasts(one: Signal, other: Signal) -> bool:
    pairs = zip(one.shape[::-1], other.shape[::-1], strict=False)
    return all(a == b or a == 1 or b == 1 for a, b in pairs)


def _merge(rng: random.Random, edges: Edges) -> Arguments:
    together = _alike(edges, rng, _broadcasts)
    return ({}, together) if together else None


def _subtract(rng: random.Random, edges: Edges) -> Arguments:
    together = _alike(edges, rng, _broadcasts)
    return ({}, together[:2]) if together else None


def _concatenate(rng: random.Random, edges: Edges) -> Arguments:
    axis = rng.choice((-1, -1, -1, 1, 2, -2))

    def fits(one: Signal, other: Signal) -> bool:
        rank = len(one.shape)
        if len(other.shape) != rank or not -rank <= axis <= rank:
            return False
        place = axis if axis < 0 else axis - 1
        return all(a == b for at, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)) if at != place % rank)

    together = _alike(edges, rng, fits)
    return ({"axis": axis}, together) if together else None


_KINDS = {
    "Embedding": ("integers",),
    **dict.fromkeys(("Dropout", "MaskOf", "NotEqual", "Unmasked"), ("numbers", "integers", "booleans")),
}
_Joining = Callable[[random.Random, Edges], Arguments]
JOINING: dict[str, _Joining] = {
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply"), _merge),
    "Subtract": _subtract,
    "Concatenate": _concatenate,
}

_Making = Callable[[random.Random, Signal], "dict[str, Any] | None"]
_STEPS, _ANY = (2,), (1, 2, 3, 4)
ONE_INPUT: dict[str, tuple[tuple[int, ...], _Making]] = {
    "Activation": (_ANY, lambda rng, s: _fields_of(activation(rng, len(s.shape)))),
    "AveragePooling1D": (_STEPS, _pooling),
    "BatchNormalization": (_ANY, _batch_normalization),
    "Conv1D": (_STEPS, _conv1d),
    "Cropping1D": (_STEPS, lambda rng, s: {"before": rng.randint(0, 2), "after": rng.randint(0, 2)}),
    "Dense": (_ANY, _dense),
    "Dropout": (_ANY, lambda rng, s: {}),
    "Embedding": ((1, 2), lambda rng, s: {"weight": _weights(rng, 9, 4), "mask_zero": rng.random() < 0.5}),
    "FinalState": (_STEPS, lambda rng, s: {}),
    "Flatten": (_ANY, lambda rng, s: {}),
    "GRULayer": (_STEPS, _gru),
    "Last": (_STEPS, lambda rng, s: {}),
    "LayerNormalization": (_ANY, _layer_normalization),
    "MaskOf": (_ANY, lambda rng, s: {}),
    "Masking": ((2, 2, 3), lambda rng, s: {"value": rng.choice((0.0, 0.0, 0.5))}),
    "Max": (_STEPS, lambda rng, s: {"keepdims": rng.random() < 0.3, "skip_masked": rng.random() < 0.5}),
    "MaxPooling1D": (_STEPS, _pooling),
    "Mean": (_STEPS, lambda rng, s: {"keepdims": rng.random() < 0.3}),
    "NotEqual": (_ANY, lambda rng, s: {"value": rng.choice((0.0, 3.0))}),
    "PReLU": (_ANY, _prelu),
    "Permute": (_ANY, lambda rng, s: {"order": rng.sample(range(1, len(s.shape) + 1), len(s.shape))}),
    "RepeatVector": ((1,), lambda rng, s: {"n": rng.choice((1, 2, 5))}),
    "Reshape": (_ANY, _reshape),
    "Reverse": (_STEPS, lambda rng, s: {}),
    "Select": (_ANY, _select),
    "Slice": (_ANY, _slice),
    "Sum": (_STEPS, lambda rng, s: {"keepdims": rng.random() < 0.3}),
    "TimeDistributed": ((2, 3), lambda rng, s: _fields_of_inner(_inner(rng, s))),
    "Unmasked": (_ANY, lambda rng, s: {}),
    "UpSampling1D": (_STEPS, lambda rng, s: {"size": rng.choice((1, 2, 3))}),
    "ZeroPadding1D": (_STEPS, lambda rng, s: {"before": rng.randint(0, 2), "after": rng.randint(0, 2)}),
}


def _fields_of(found: Any) -> dict[str, Any]:
    """The fields of an Activation layer: its name and options."""
    if isinstance(found, str):
        return {"name": found}
    return {"name": found["activation"], **{name: value for name, value in found.items() if name != "activation"}}


def _fields_of_inner(model: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if model is None else {"model": model}
