"""One step of a model of layers as ONNX: its states are inputs, and its new states are outputs behind the model's own.

Of layers it has those of the models that ``streams.py`` runs: GRU of one direction, Dense, Concatenate and Last.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgru.bench.peers.interface import gates_zrn
from fastgru.bench.peers.onnx_model import IR_VERSION, OPSET
from fastgru.gru_weights import GRUSpec
from fastgru.layers import Concatenate, Dense, GRULayer, Last, ModelSpec

ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu"}


class OneStep(NamedTuple):
    """The ONNX, its one input (1, streams, features), its outputs, and the pairs of a state and the new one of it."""

    model: bytes
    x: str
    outputs: tuple[str, ...]
    states: dict[str, tuple[str, int]]  # from the state's name to the new one's, and its units


class _Nodes:
    """The nodes and the weights so far."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}
        self.states: dict[str, tuple[str, int]] = {}

    def add(self, kind: str, taken: list[str], made: list[str], **options: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, taken, made, **options))
        return made[-1]

    def dense(self, layer: Dense, below: str, name: str) -> str:
        self.weights[f"{name}.w"] = np.ascontiguousarray(layer.weight.T, np.float32)
        y = self.add("MatMul", [below, f"{name}.w"], [f"{name}.product"])
        if layer.bias is not None:
            self.weights[f"{name}.b"] = np.asarray(layer.bias, np.float32)
            y = self.add("Add", [y, f"{name}.b"], [f"{name}.sum"])
        if layer.activation != "linear":
            y = self.add(ACTIVATIONS[layer.activation], [y], [f"{name}.y"])
        return y

    def gru(self, spec: GRUSpec, below: str, name: str) -> str:
        """Every layer's new state, (1, streams, hidden), is the next layer's sequence of one step."""
        for index, (weights,) in enumerate(spec.layers):
            here = f"{name}.{index}"
            self.weights[f"{here}.w"] = gates_zrn(weights.w_ih)[None]
            self.weights[f"{here}.r"] = gates_zrn(weights.w_hh)[None]
            self.weights[f"{here}.b"] = np.concatenate([gates_zrn(weights.b_ih), gates_zrn(weights.b_hh)])[None]
            self.states[f"{here}.h"] = f"{here}.new", spec.hidden_size
            below = self.add(
                "GRU",
                [below, f"{here}.w", f"{here}.r", f"{here}.b", "", f"{here}.h"],
                ["", f"{here}.new"],
                hidden_size=spec.hidden_size,
                linear_before_reset=int(spec.reset_after),
                activations=[ACTIVATIONS[spec.recurrent_activation], ACTIVATIONS[spec.activation]],
            )
        return below


def one_step(spec: ModelSpec, streams: int) -> OneStep:
    """One step of a batch of streams."""
    from onnx import helper

    nodes, (source,) = _Nodes(), spec.inputs
    values = {source.name: "x"}
    for node in spec.nodes:
        taken = [values[name] for name in node.inputs]
        layer = node.layer
        if isinstance(layer, Dense):
            values[node.name] = nodes.dense(layer, taken[0], node.name)
        elif isinstance(layer, GRULayer) and layer.gru.directions == 1 and not layer.above:
            values[node.name] = nodes.gru(layer.gru, taken[0], node.name)
        elif isinstance(layer, Concatenate):
            values[node.name] = nodes.add("Concat", taken, [f"{node.name}.y"], axis=-1)
        elif isinstance(layer, Last):
            values[node.name] = taken[0]
        else:
            raise ValueError(f"layer {node.name!r}: got {layer!r}, wanted a GRU of one direction, Dense, Concatenate")
    outputs = tuple(values[name] for name in spec.outputs)
    model = helper.make_model(_graph(nodes, spec, streams, outputs), opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return OneStep(model.SerializeToString(), "x", outputs, nodes.states)


def _graph(nodes: _Nodes, spec: ModelSpec, streams: int, outputs: tuple[str, ...]) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, features: int | None) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, streams, features])

    (source,) = spec.inputs
    states = nodes.states.items()
    return helper.make_graph(
        nodes.nodes,
        "one step",
        [value("x", source.shape[-1]), *(value(name, units) for name, (_, units) in states)],
        [*(value(name, None) for name in outputs), *(value(new, units) for _, (new, units) in states)],
        [numpy_helper.from_array(array, name) for name, array in nodes.weights.items()],
    )
