"""What a model is, said once and neutrally: frozen dataclasses of NumPy arrays, and one ``validate``.

Importers build these, ``GRU`` and ``Model`` run them. Nothing here knows a file format or a kernel.
Arrays are float32 or float64, in the orientation of PyTorch: one row an output, gates in the order r, z, n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Union

import numpy as np

from .errors import DTypeError, ShapeError, UnsupportedModelError

__all__ = [
    "ACTIVATIONS",
    "GATE_ACTIVATIONS",
    "Activation",
    "Dense",
    "Dropout",
    "Embedding",
    "FinalState",
    "GRULayer",
    "GRUSpec",
    "GRUWeights",
    "Input",
    "Last",
    "Layer",
    "Max",
    "Mean",
    "ModelSpec",
    "Node",
    "owned",
    "sequential",
    "validate",
]

# What a gate or a candidate may use. hard_sigmoid is clip(x / 6 + 1/2) as in Keras 3 and PyTorch;
# hard_sigmoid_keras2 is clip(0.2 x + 1/2), which Keras 1 and 2 mean by the same word.
GATE_ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "hard_sigmoid", "hard_sigmoid_keras2")
ACTIVATIONS = (*GATE_ACTIVATIONS, "softmax")

MERGES = ("concat", "sum", "mul", "ave")


@dataclass(frozen=True, eq=False, repr=False, match_args=False)
class GRUWeights:
    """One direction of one layer. Gates r, z, n lie one after the other along the first axis.

    Where the reset is applied before the product there is one bias, and ``b_hh`` is zero.
    """

    w_ih: np.ndarray  # (3 * hidden, inputs)
    w_hh: np.ndarray  # (3 * hidden, hidden)
    b_ih: np.ndarray  # (3 * hidden,)
    b_hh: np.ndarray  # (3 * hidden,)

    @property
    def input_size(self) -> int:
        return int(self.w_ih.shape[1])

    @property
    def hidden_size(self) -> int:
        return int(self.w_hh.shape[1])


@dataclass(frozen=True, eq=False, repr=False, match_args=False)
class GRUSpec:
    """A stack of GRU layers: ``layers[layer][direction]``, forward first, reverse second where there is one."""

    layers: tuple[tuple[GRUWeights, ...], ...]
    reset_after: bool = True
    activation: str = "tanh"  # of the candidate n
    recurrent_activation: str = "sigmoid"  # of the gates r and z
    bias: bool = True  # False: the source has no biases, and the arrays here are zeros

    @property
    def input_size(self) -> int:
        return self.layers[0][0].input_size

    @property
    def hidden_size(self) -> int:
        return self.layers[0][0].hidden_size

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def directions(self) -> int:
        return len(self.layers[0])

    @property
    def output_size(self) -> int:
        return self.hidden_size * self.directions


@dataclass(frozen=True)
class Input:
    """An input of a model: ``features`` per step, or None where a step is one integer (for an Embedding)."""

    name: str
    features: int | None


@dataclass(frozen=True, eq=False, repr=False, match_args=False)
class Embedding:
    """Row ``weight[i]`` for every integer i."""

    weight: np.ndarray  # (vocabulary, features)


@dataclass(frozen=True, eq=False, repr=False, match_args=False)
class GRULayer:
    """A GRU stack as one layer of a model."""

    gru: GRUSpec
    return_sequences: bool = True  # False: only the last output (of the reverse direction: its own last, at step 0)
    merge: str = "concat"  # how the two directions of the output are joined
    go_backwards: bool = False  # one direction, from the end; its output stays in the order it was made


@dataclass(frozen=True, eq=False, repr=False, match_args=False)
class Dense:
    """``activation(x @ weight.T + bias)`` on the last axis."""

    weight: np.ndarray  # (outputs, inputs)
    bias: np.ndarray | None = None  # (outputs,)
    activation: str = "linear"


@dataclass(frozen=True)
class Activation:
    """An activation on its own, by Keras's or PyTorch's name in lower case."""

    name: str


class _Plain:
    """A layer without weights or options: all of one kind are equal. A dataclass would add 0.5 ms to the import."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Dropout(_Plain):
    """Nothing at inference; kept so that a model lists all the layers of its file."""


class Last(_Plain):
    """``y[:, -1]``: each row's own last step where there are lengths."""


class FinalState(_Plain):
    """The last layer's final states of both directions, joined: (batch, hidden * directions). Follows a GRU."""


class Mean(_Plain):
    """The mean over the steps of each row."""


class Max(_Plain):
    """The largest value over the steps of each row."""


Layer = Union[Embedding, GRULayer, Dense, Activation, Dropout, Last, FinalState, Mean, Max]


@dataclass(frozen=True, eq=False, repr=False, match_args=False)
class Node:
    """One layer in a graph; ``inputs`` names earlier nodes or model inputs."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False, match_args=False)
class ModelSpec:
    """A whole model: nodes in an order in which they can be computed."""

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]


def sequential(layers: Iterable[tuple[str, Layer]], input_name: str = "input") -> ModelSpec:
    """A chain of (name, layer) as a graph; the input's features follow from the first layer that has weights."""
    chain = list(layers)
    if not chain:
        raise ShapeError("a model needs at least one layer, got none")
    nodes = []
    previous = input_name
    for name, layer in chain:
        nodes.append(Node(name, layer, (previous,)))
        previous = name
    return ModelSpec((Input(input_name, _features_wanted(layer for _, layer in chain)),), tuple(nodes), (previous,))


def _features_wanted(layers: Iterable[Layer]) -> int | None:
    for layer in layers:
        if isinstance(layer, Embedding):
            return None
        if isinstance(layer, GRULayer):
            return layer.gru.input_size
        if isinstance(layer, Dense):
            return int(layer.weight.shape[1])
    raise ShapeError("a model needs at least one layer with weights, got none")


def owned(spec: Any) -> Any:
    """The same description with arrays that nobody else can change: read-only ones as they are, copies of others."""
    if isinstance(spec, np.ndarray):
        if not spec.flags.writeable:
            return spec
        copy = np.array(spec, order="C", subok=False)
        copy.flags.writeable = False
        return copy
    if isinstance(spec, tuple):
        return tuple(owned(part) for part in spec)
    if is_dataclass(spec):
        return replace(spec, **{field.name: owned(getattr(spec, field.name)) for field in fields(spec)})  # type: ignore[type-var]
    return spec


def validate(spec: GRUSpec | ModelSpec) -> None:
    """Raise unless every size fits every other, every array is a finite-ranked float array and every name is known.

    Raises
    ------
    ShapeError
        Sizes do not fit.
    DTypeError
        A weight is not float32 or float64.
    UnsupportedModelError
        An activation or an option is not known.
    """
    if isinstance(spec, GRUSpec):
        _validate_gru(spec, "GRU")
    else:
        _validate_model(spec)


def _validate_gru(spec: GRUSpec, where: str) -> None:
    layers = spec.layers
    if not isinstance(layers, tuple) or not layers or not all(isinstance(layer, tuple) and layer for layer in layers):
        raise ShapeError(f"{where}: layers must be a tuple of layers, each a tuple of one or two GRUWeights")
    if not all(isinstance(weights, GRUWeights) for layer in spec.layers for weights in layer):
        raise DTypeError(f"{where}: every direction of a layer must be a GRUWeights")
    _check_array(spec.layers[0][0].w_ih, (None, None), f"{where}: layer 0 forward: w_ih")
    _check_array(spec.layers[0][0].w_hh, (None, None), f"{where}: layer 0 forward: w_hh")
    _check_name(spec.activation, GATE_ACTIVATIONS, f"{where}: activation")
    _check_name(spec.recurrent_activation, GATE_ACTIVATIONS, f"{where}: recurrent_activation")
    directions = len(spec.layers[0])
    if directions not in (1, 2):
        raise ShapeError(f"{where}: a layer has one or two directions, got {directions}")
    hidden = spec.hidden_size
    if hidden < 1 or spec.input_size < 1:
        raise ShapeError(f"{where}: sizes must be at least 1, got input {spec.input_size} and hidden {hidden}")
    for index, layer in enumerate(spec.layers):
        if len(layer) != directions:
            raise ShapeError(f"{where}: layer {index} has {len(layer)} directions, layer 0 has {directions}")
        inputs = spec.input_size if index == 0 else hidden * directions
        for direction, weights in zip(("forward", "reverse"), layer, strict=False):
            place = f"{where}: layer {index} {direction}"
            _check_array(weights.w_ih, (3 * hidden, inputs), f"{place}: w_ih")
            _check_array(weights.w_hh, (3 * hidden, hidden), f"{place}: w_hh")
            _check_array(weights.b_ih, (3 * hidden,), f"{place}: b_ih")
            _check_array(weights.b_hh, (3 * hidden,), f"{place}: b_hh")
            if not spec.reset_after and np.any(weights.b_hh):
                raise ShapeError(f"{place}: a GRU with reset_after=False has one bias, and b_hh must be zero")


class _Value:
    """What flows along an edge: ``features`` None for integers, ``sequence`` False once the steps are gone."""

    def __init__(self, features: int | None, sequence: bool, after_gru: bool = False) -> None:
        self.features = features
        self.sequence = sequence
        self.after_gru = after_gru


def _validate_model(spec: ModelSpec) -> None:
    values = {given.name: _Value(given.features, True) for given in spec.inputs}
    if len(values) != len(spec.inputs) or not values:
        raise ShapeError(f"a model needs inputs of different names, got {[given.name for given in spec.inputs]}")
    for node in spec.nodes:
        if node.name in values:
            raise ShapeError(f"two layers are called {node.name!r}; every layer needs a name of its own")
        missing = [name for name in node.inputs if name not in values]
        if missing or not node.inputs:
            raise ShapeError(f"layer {node.name!r} needs the outputs of {missing}, which no earlier layer makes")
        values[node.name] = _output_of(node, [values[name] for name in node.inputs])
    unknown = [name for name in spec.outputs if name not in values]
    if unknown or not spec.outputs:
        raise ShapeError(f"the model's outputs {unknown} are made by no layer")


def _output_of(node: Node, inputs: Sequence[_Value]) -> _Value:
    """The value a layer makes of its inputs, or an error that names the layer."""
    layer, where = node.layer, f"layer {node.name!r}"
    if len(inputs) != 1:
        raise ShapeError(f"{where} takes one input, got {len(inputs)}")
    given = inputs[0]
    if isinstance(layer, Embedding):
        _check_array(layer.weight, (None, None), f"{where}: weight")
        if given.features is not None:
            raise ShapeError(f"{where}: an Embedding takes integers and must come first")
        return _Value(layer.weight.shape[1], given.sequence)
    if given.features is None:
        raise ShapeError(f"{where}: takes numbers, but its input is integers; an Embedding must come before it")
    if isinstance(layer, GRULayer):
        return _gru_output(layer, given, where)
    if isinstance(layer, Dense):
        _check_name(layer.activation, ACTIVATIONS, f"{where}: activation")
        _check_array(layer.weight, (None, given.features), f"{where}: weight")
        if layer.bias is not None:
            _check_array(layer.bias, (layer.weight.shape[0],), f"{where}: bias")
        return _Value(layer.weight.shape[0], given.sequence)
    if isinstance(layer, Activation):
        _check_name(layer.name, ACTIVATIONS, where)
        return _Value(given.features, given.sequence)
    if isinstance(layer, (Last, Mean, Max, FinalState)):
        if not given.sequence:
            raise ShapeError(f"{where}: takes a sequence, but the steps are already gone before it")
        if isinstance(layer, FinalState) and not given.after_gru:
            raise ShapeError(f"{where}: FinalState must come directly after a GRU")
        return _Value(given.features, False)
    if isinstance(layer, Dropout):
        return given
    raise UnsupportedModelError(f"{where}: {type(layer).__name__} is not a layer fastgru knows")


def _gru_output(layer: GRULayer, given: _Value, where: str) -> _Value:
    gru = layer.gru
    _validate_gru(gru, where)
    _check_name(layer.merge, MERGES, f"{where}: merge")
    if not given.sequence:
        raise ShapeError(f"{where}: a GRU takes a sequence, but the steps are already gone before it")
    if gru.input_size != given.features:
        raise ShapeError(f"{where}: got {given.features} features, wanted {gru.input_size}")
    if layer.go_backwards and gru.directions == 2:
        raise UnsupportedModelError(f"{where}: go_backwards with two directions")
    joined = gru.output_size if layer.merge == "concat" else gru.hidden_size
    return _Value(joined, layer.return_sequences, after_gru=layer.return_sequences)


def _check_name(name: str, known: Sequence[str], where: str) -> None:
    if name not in known:
        raise UnsupportedModelError(f"{where}: {name!r} is not supported; known are {', '.join(known)}")


def _check_array(array: np.ndarray, shape: tuple[int | None, ...], where: str) -> None:
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"{where}: got {type(array).__name__}, wanted a NumPy array")
    if array.dtype not in (np.float32, np.float64):
        raise DTypeError(f"{where}: got dtype {array.dtype}, wanted float32 or float64")
    fits = array.ndim == len(shape) and all(
        got == wanted if wanted is not None else got > 0 for got, wanted in zip(array.shape, shape, strict=False)
    )
    if not fits:
        wanted = "(" + ", ".join("at least 1" if size is None else str(size) for size in shape) + ")"
        raise ShapeError(f"{where}: got shape {array.shape}, wanted {wanted}")
