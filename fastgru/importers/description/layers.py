"""The layers of a specification as plain data: sizes, options, parameters, and what flows through them.

Everything follows from the fields of the records, so that a new layer is described without a word here; a few have
sizes with names of their own. Nothing here knows a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...gru_weights import GRUSpec
from ...layers import (
    Activation,
    BatchNormalization,
    Conv1D,
    Dense,
    Edge,
    Embedding,
    GRULayer,
    Layer,
    LayerNormalization,
    ModelSpec,
    Signal,
    TimeDistributed,
    edge_of,
    signals_of,
)
from ...weights.matrices import Matrix

__all__ = ["facts_of", "flow_of", "layers_of", "plain"]


def layers_of(spec: ModelSpec) -> list[dict[str, Any]]:
    """Every node of a model: the facts of its layer, what comes in and what goes out.

    A layer that was met before has ``shared_with``, the first node's name, and no parameters of its own.
    """
    return _nodes(spec, signals_of(spec), {})


def flow_of(spec: GRUSpec | ModelSpec) -> dict[str, Any]:
    """``inputs`` and ``outputs`` of the whole, with shapes without the batch axis, where None is any size."""
    if isinstance(spec, GRUSpec):
        return {
            "inputs": [{"name": "x", "shape": [None, spec.input_size], "integers": False, "batch": None}],
            "outputs": [{"from": "y", "index": 0, "shape": [None, spec.output_size]}],
        }
    signals = signals_of(spec)
    return {
        "inputs": [
            {
                "name": source.name,
                "shape": list(source.shape),
                "integers": source.integers,
                "batch": None,
            }
            for source in spec.inputs
        ],
        "outputs": [
            {**_source(edge), **named, "shape": list(signals[edge_of(edge)].shape)}
            for edge, named in zip(spec.outputs, _named(spec), strict=True)
        ],
    }


def _named(spec: ModelSpec) -> list[dict[str, str]]:
    """The name of each output, where the model names them."""
    return [{}] * len(spec.outputs) if spec.output_names is None else [{"name": name} for name in spec.output_names]


def facts_of(layer: Layer) -> dict[str, Any]:
    """``kind``, ``sizes``, ``options`` and ``parameters`` of a layer by itself."""
    if isinstance(layer, GRULayer):
        return {"kind": "GRU", **_gru_facts(layer)}
    values = {name: value for name, value in layer.fields().items() if not isinstance(value, ModelSpec)}
    arrays = {name: value for name, value in values.items() if isinstance(value, (np.ndarray, Matrix))}
    options = {name: plain(value) for name, value in values.items() if name not in arrays and value is not None}
    if "bias" in layer._fields:
        options["bias"] = "bias" in arrays
    if isinstance(layer, Activation):
        options = {"activation": layer.name, **_options_of(layer)}
    sizes = _SIZES[type(layer)](layer) if type(layer) in _SIZES else _own_sizes(layer)
    kind = "RMSNormalization" if isinstance(layer, LayerNormalization) and layer.rms else type(layer).__name__
    parameters = sum(array.size for array in _not_made(layer, arrays))
    return {"kind": kind, "sizes": sizes, "options": options, "parameters": int(parameters)}


def _not_made(layer: Layer, arrays: Mapping[str, Any]) -> list[Any]:
    """The arrays that are parameters: of a scale and an offset in the model's code not its numbers, nor 0 and 1."""
    made = isinstance(layer, BatchNormalization) and layer.epsilon == 0 and not layer.mean.any()
    if made and (arrays["variance"] == 1).all():
        return [arrays[name] for name in ("gamma", "beta") if name in arrays and np.ptp(arrays[name])]
    return list(arrays.values())


def _nodes(spec: ModelSpec, signals: Mapping[tuple[str, int], Signal], met: dict[int, str]) -> list[dict[str, Any]]:
    """The nodes of a model, and of the models inside it; ``met`` are the layers so far, by identity."""
    described = []
    for node in spec.nodes:
        facts = facts_of(node.layer)
        shared = met.get(id(node.layer))
        met.setdefault(id(node.layer), node.name)
        inner: list[dict[str, Any]] = []
        if shared is None and isinstance(node.layer, TimeDistributed):
            model = node.layer.model
            given = signals[edge_of(node.inputs[0])]
            step = Signal(given.shape[1:], given.kind)
            inner = _nodes(model, signals_of(model, given={model.inputs[0].name: step}), met)
            facts["parameters"] = sum(each["parameters"] for each in inner)
        shapes: list[list[int | None]] = []
        while (node.name, len(shapes)) in signals:
            shapes.append(list(signals[node.name, len(shapes)].shape))
        described.append(
            {
                "name": node.name,
                **facts,
                "parameters": 0 if shared is not None else facts["parameters"],
                "inputs": [_source(edge) for edge in node.inputs],
                "mask": None if node.mask is None else _source(node.mask),
                "outputs": shapes,
                "shared_with": shared,
                "layers": inner,
                "problem": None,
            }
        )
    return described


def _source(edge: Edge) -> dict[str, Any]:
    name, index = edge_of(edge)
    return {"from": name, "index": index}


def _gru_facts(layer: GRULayer) -> dict[str, Any]:
    """Of a stack, and of the cells above it, which have its options."""
    gru, stacks = layer.gru, (layer.gru, *layer.above)
    options = {name: plain(value) for name, value in gru.fields().items() if name != "layers"}
    options |= {name: plain(value) for name, value in layer.fields().items() if name not in ("gru", "above", "merge")}
    if not layer.stateful:
        del options["stateful"]
    sizes: dict[str, Any] = {
        "input_size": gru.input_size,
        "hidden_size": gru.hidden_size,
        "num_layers": gru.num_layers,
        "directions": gru.directions,
    }
    if layer.above:
        sizes["cells"] = [stack.hidden_size for stack in stacks]
    options["merge"] = layer.merge if gru.directions == 2 else None
    return {"sizes": sizes, "options": options, "parameters": sum(map(_parameters_of, stacks))}


def _parameters_of(gru: GRUSpec) -> int:
    """Weights, and the biases that the source has."""
    weights = [direction for layer in gru.layers for direction in layer]
    biases = sum(each.b_ih.size + (each.b_hh.size if gru.reset_after else 0) for each in weights)
    return int(sum(matrix.size for _, matrix in gru.named_matrices()) + (biases if gru.bias else 0))


def _own_sizes(layer: Layer) -> dict[str, int]:
    """What a layer with weights takes, where these say it."""
    try:
        features = layer.input_features
    except (AttributeError, IndexError):  # of weights that were never checked
        features = None
    return {} if features is None else {"features": features}


def _dense_sizes(layer: Dense) -> dict[str, int]:
    outputs, inputs = layer.weight_shape
    return {"inputs": inputs, "outputs": outputs}


def _embedding_sizes(layer: Embedding) -> dict[str, int]:
    vocabulary, features = layer.weight_shape
    return {"vocabulary": vocabulary, "features": features}


def _conv_sizes(layer: Conv1D) -> dict[str, int]:
    outputs, inputs, kernel = layer.weight_shape
    return {"inputs": inputs * layer.groups, "outputs": outputs, "kernel": kernel}


_SIZES: dict[type[Layer], Callable[[Any], dict[str, int]]] = {
    Conv1D: _conv_sizes,
    Dense: _dense_sizes,
    Embedding: _embedding_sizes,
}


def plain(value: Any) -> Any:
    """A value as data for JSON: an activation with options as an object, a number that is not finite as a word."""
    if isinstance(value, Activation):
        return {"name": value.name, **_options_of(value)}
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _options_of(activation: Activation) -> dict[str, Any]:
    return {name: plain(option) for name, option in activation.options}
