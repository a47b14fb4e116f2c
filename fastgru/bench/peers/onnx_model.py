"""A GRU as an ONNX model: one GRU node a layer, whose gates are in the order z, r, h and whose arrays are time first.

ONNX Runtime and OpenVINO both run it. Sizes are fixed, so that both may plan with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...gru_weights import GRUWeights
from ..cases import Work
from .interface import Array, gates_zrn

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["feeds", "model_of", "outputs_of"]

OPSET, IR_VERSION = 17, 9  # which came together, and which every ONNX Runtime of the last years reads


def feeds(work: Work) -> dict[str, Array]:
    """The inputs of the model by name."""
    named = {"x": np.ascontiguousarray(work.x.transpose(1, 0, 2))}  # (steps, batch, inputs)
    if work.h0 is not None:
        directions = work.spec.directions
        for layer in range(work.spec.num_layers):
            named[f"h0_{layer}"] = work.h0[layer * directions : (layer + 1) * directions]  # (directions, batch, hidden)
    if work.lengths is not None:
        named["lengths"] = work.lengths.astype(np.int32)
    return named


def outputs_of(y: Array) -> Array:
    """(batch, steps, hidden * directions) of the first output, (steps, directions, batch, hidden)."""
    steps, directions, batch, hidden = y.shape
    return y.transpose(2, 0, 1, 3).reshape(batch, steps, directions * hidden)


def model_of(work: Work) -> bytes:
    """The model: its outputs are the last layer's of every step, and for one step every layer's new state."""
    from onnx import helper, numpy_helper

    spec, (batch, steps, _) = work.spec, work.x.shape
    nodes: list[NodeProto] = []
    weights: dict[str, Array] = {"width": np.array([steps, batch, -1], np.int64)}
    below = "x"
    outputs: dict[str, tuple[int, ...]] = {"y": (steps, spec.directions, batch, spec.hidden_size)}
    for layer, directions in enumerate(spec.layers):
        weights.update(_weights_of(layer, directions))
        y = "y" if layer == spec.num_layers - 1 else f"y_{layer}"
        first = f"h0_{layer}" if work.h0 is not None else ""
        lengths = "lengths" if work.lengths is not None else ""
        node = helper.make_node(
            "GRU",
            [below, f"W_{layer}", f"R_{layer}", f"B_{layer}", lengths, first],
            [y, f"h_{layer}"],
            hidden_size=spec.hidden_size,
            linear_before_reset=int(spec.reset_after),
            direction="bidirectional" if spec.directions == 2 else "forward",
        )
        nodes.append(node)
        if work.h0 is not None:
            outputs[f"h_{layer}"] = (spec.directions, batch, spec.hidden_size)
        if y != "y":
            nodes.append(helper.make_node("Transpose", [y], [f"t_{layer}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"t_{layer}", "width"], [f"x_{layer}"]))
            below = f"x_{layer}"
    graph = helper.make_graph(
        nodes,
        "gru",
        [_value(name, array.shape, array.dtype.kind) for name, array in feeds(work).items()],
        [_value(name, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return bytes(model.SerializeToString())


def _weights_of(layer: int, directions: tuple[GRUWeights, ...]) -> dict[str, Array]:
    biases = [np.concatenate([gates_zrn(each.b_ih), gates_zrn(each.b_hh)]) for each in directions]
    return {
        f"W_{layer}": np.stack([gates_zrn(each.w_ih) for each in directions]),
        f"R_{layer}": np.stack([gates_zrn(each.w_hh) for each in directions]),
        f"B_{layer}": np.stack(biases),
    }


def _value(name: str, shape: tuple[int, ...], kind: str = "f") -> object:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT if kind == "f" else TensorProto.INT32, shape)
