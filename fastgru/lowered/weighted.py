"""Layers with weights as operations, GRUs among them, and models that run on every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import layers
from ..graph.builder import Value
from ..graph.operations import elementwise as each
from ..graph.operations import parts, shape
from ..graph.operations.convolution import Convolution
from ..graph.operations.normalization import BatchNorm, Normalize
from ..graph.operations.product import Embedding, Linear
from ..graph.operations.recurrent import GRU
from .flow import Flow, Scope
from .without_weights import Build, activated

__all__ = ["BUILDERS"]


def embedding(s: Scope, layer: layers.Embedding, inputs: Sequence[Flow]) -> list[Flow]:
    ids = inputs[0].value
    made = s.add(s.once(layer, "", Embedding(layer.weight)), ids)
    masks = layer.mask_zero and ids.rank == 2
    return [Flow(made, s.add(each.Binary("ne"), ids, 0) if masks else inputs[0].mask)]


def dense(s: Scope, layer: layers.Dense, inputs: Sequence[Flow]) -> list[Flow]:
    made = s.add(s.once(layer, "", Linear(layer.weight, layer.bias)), inputs[0].value)
    return [Flow(activated(s, layer.activation, made), inputs[0].mask)]


def conv1d(s: Scope, layer: layers.Conv1D, inputs: Sequence[Flow]) -> list[Flow]:
    padding: Any = (0, 0) if layer.padding == "valid" else layer.padding
    operation = Convolution(layer.weight, layer.bias, (layer.strides,), (padding,), (layer.dilation,), layer.groups)
    made = s.check_left(s.add(s.once(layer, "", operation), inputs[0].value), 1)
    return [Flow(activated(s, layer.activation, made))]


def prelu(s: Scope, layer: layers.PReLU, inputs: Sequence[Flow]) -> list[Flow]:
    x = inputs[0].value
    positive = s.add(each.Binary("gt"), x, 0.0)
    made = s.add(each.Where(), positive, x, s.add(each.Binary("mul"), x, layer.weight))
    return [inputs[0]._replace(value=made, final=None)]


def batch_normalization(s: Scope, layer: layers.BatchNormalization, inputs: Sequence[Flow]) -> list[Flow]:
    operation = BatchNorm(layer.mean, layer.variance, layer.gamma, layer.beta, float(layer.epsilon), layer.axis)
    return [inputs[0]._replace(value=s.add(s.once(layer, "", operation), inputs[0].value), final=None)]


def layer_normalization(s: Scope, layer: layers.LayerNormalization, inputs: Sequence[Flow]) -> list[Flow]:
    rank = inputs[0].value.rank
    places = [axis % rank for axis in layer.axes]

    def spread(weight: np.ndarray | None) -> np.ndarray | None:
        """With an axis of one place for every axis that is not normalised."""
        if weight is None or places == list(range(rank - len(places), rank)):
            return weight
        sizes = dict(zip(places, weight.shape, strict=True))
        return weight.reshape([sizes.get(axis, 1) for axis in range(rank)])

    operation = Normalize(layer.axes, spread(layer.gamma), spread(layer.beta), float(layer.epsilon), layer.rms)
    mask = None if layer.rms else inputs[0].mask  # Keras's RMSNormalization does not hand it on
    return [Flow(s.add(s.once(layer, str(rank), operation), inputs[0].value), mask)]


def group_normalization(s: Scope, layer: layers.GroupNormalization, inputs: Sequence[Flow]) -> list[Flow]:
    x = inputs[0].value
    if x.rank > 2 and inputs[0].mask is not None:
        raise s.error("it normalises over all steps, and some of them are masked")
    size = len(layer.gamma) // layer.groups
    apart = s.add(shape.View((*x.shape[:-1], layer.groups, size)), x)
    axes = (*range(1, x.rank - 1), x.rank)
    made = s.add(shape.View(x.shape), s.add(Normalize(axes, None, None, float(layer.epsilon)), apart))
    return [Flow(s.add(each.Binary("add"), s.add(each.Binary("mul"), made, layer.gamma), layer.beta))]


def gru_layer(s: Scope, layer: layers.GRULayer, inputs: Sequence[Flow]) -> list[Flow]:
    """The stack, or several one on top of the other; directions, masks and states around them."""
    x, mask = inputs[0].value, inputs[0].mask
    if layer.go_backwards:
        x = s.add(parts.Flip((1,)), x)
        mask = None if mask is None else s.add(parts.Flip((1,)), mask)
    directions, first = layer.gru.directions, 0
    states: list[Value] = []
    shows_zeros = layer.zero_masked or directions == 2
    stacks = layer.stacks(s.name)
    for place, (_, stack) in enumerate(stacks):
        count = stack.num_layers * stack.directions
        given = [flow.value for flow in inputs[1 + first : 1 + first + count]]
        zeros = shows_zeros and place == len(stacks) - 1
        operation = s.once(layer, str(place), GRU(stack, mask is not None, zeros))
        operands = [x, *([mask] if mask is not None else []), *([_stacked(s, given)] if given else [])]
        x, h = s.add(operation, *operands, name=s.name if place == 0 else f"{s.name}, cell {place}")
        states += [s.add(parts.Select(0, at), h) for at in range(count)]
        first += count
    final = states[-directions:]
    if layer.return_sequences:
        outputs = _merged(s, layer.merge, x, directions)
        joined = final[0] if directions == 1 else s.add(shape.Concatenate(-1), *final)
        flows = [Flow(value, inputs[0].mask, joined if at == 0 else None) for at, value in enumerate(outputs)]
    else:
        flows = [Flow(value) for value in _merged_states(s, layer, final, inputs[0], mask)]
    return [*flows, *(Flow(state) for state in states)] if layer.return_state else flows


def _stacked(s: Scope, states: Sequence[Value]) -> Value:
    name = f"{s.name}: states"
    wide = [s.add(shape.View((1, *state.shape)), state, name=name) for state in states]
    made: Value = wide[0] if len(wide) == 1 else s.add(shape.Concatenate(0), *wide, name=name)
    return made


def _merged(s: Scope, merge: str, y: Value, directions: int) -> list[Value]:
    """Both directions of an output as the layer joins them."""
    if directions == 1 or merge == "concat":
        return [y]
    half = y.shape[-1] // 2
    return _joined(s, merge, [s.add(parts.Slice(-1, 0, half), y), s.add(parts.Slice(-1, half), y)])


def _joined(s: Scope, merge: str, pair: list[Value]) -> list[Value]:
    if merge == "none" or len(pair) == 1:
        return pair
    if merge == "concat":
        return [s.add(shape.Concatenate(-1), *pair)]
    made = s.add(each.Binary("mul" if merge == "mul" else "add"), *pair)
    return [s.add(each.Binary("div"), made, 2.0) if merge == "ave" else made]


def _merged_states(
    s: Scope, layer: layers.GRULayer, final: list[Value], given: Flow, mask: Value | None
) -> list[Value]:
    """The last outputs: the final states, but zeros for a row that shows zeros at its last step."""
    if mask is None:
        return _joined(s, layer.merge, final)
    if layer.zero_masked and layer.gru.directions == 1:
        seen = s.add(parts.Select(1, -1), mask)
    else:
        from ..graph.operations.reduce import Reduce

        seen = s.add(Reduce("any", (1,)), mask)
    wide = s.add(shape.View((*seen.shape, 1)), seen)
    return _joined(s, layer.merge, [s.add(each.Where(), wide, state, 0.0) for state in final])


def time_distributed(s: Scope, layer: layers.TimeDistributed, inputs: Sequence[Flow]) -> list[Flow]:
    """Steps become rows of a larger batch, and rows steps again."""
    from . import nodes_of

    x = inputs[0].value
    batch, steps, *rest = x.shape
    rows = s.add(shape.View((batch * steps, *rest)), x)
    (made,) = nodes_of(s.builder, layer.model, {layer.model.inputs[0].name: Flow(rows)}, f"{s.name}/")
    value = s.add(shape.View((batch, steps, *made.value.shape[1:])), made.value)
    return [inputs[0]._replace(value=value, final=None)]


BUILDERS: dict[type[layers.Layer], Build] = {
    layers.BatchNormalization: batch_normalization,
    layers.Conv1D: conv1d,
    layers.Dense: dense,
    layers.Embedding: embedding,
    layers.GRULayer: gru_layer,
    layers.GroupNormalization: group_normalization,
    layers.LayerNormalization: layer_normalization,
    layers.PReLU: prelu,
    layers.TimeDistributed: time_distributed,
}
