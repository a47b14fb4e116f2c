"""PyTorch's GRUs, whole and by cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.builder import Value
from ...graph.operations.create import Arange, Full, Longest
from ...graph.operations.elementwise import Binary
from ...graph.operations.recurrent import GRU, GRUCell
from ...graph.operations.shape import Permute, View
from ...graph.size import Sizes, size_text
from ...gru_weights import GRUSpec, GRUWeights
from ..calls import Context

__all__ = ["gru", "gru_cell", "gru_packed", "is_zeros", "longest"]

MAX_LAYERS = 1000


def gru(
    c: Context, input: Any, hx: Any, params: Any, has_biases: Any, num_layers: Any, dropout: Any, train: Any,
    bidirectional: Any, batch_first: Any,
) -> tuple[Value, Value]:  # fmt: skip
    """The output of every step, and the final states of every layer and direction."""
    x = c.value(input)
    if x.rank != 3:
        raise c.error(f"takes a sequence of three axes, got {x.rank}; packed sequences are run with lengths= instead")
    if train and dropout:
        raise c.error("drops out at random, as in training; call module.eval() before it is exported")
    weights = list(params) if isinstance(params, (list, tuple)) else []
    options = [bool(has_biases), num_layers, bool(bidirectional)]
    operation = c.shared("gru", weights, options, lambda: GRU(_gru_spec(c, weights, *options)))
    inputs = [x if batch_first else c.add(Permute((1, 0, 2)), x)]
    if hx is not None and is_zeros(c, hx):
        _check_zeros(c, hx, (operation.state_count, inputs[0].shape[0], operation.gru.hidden_size))
    elif hx is not None:
        inputs.append(c.value(hx))
    y, h = c.builder.add(operation, *inputs, name=c.owner(weights[0]))
    return (y if batch_first else c.add(Permute((1, 0, 2)), y)), h


def gru_packed(
    c: Context, input: Any, lengths: Any, hx: Any, params: Any, has_biases: Any, num_layers: Any, bidirectional: Any
) -> tuple[Value, Value]:
    """A GRU over rows of lengths of their own: zeros beyond each row's end, and the states at it."""
    x, weights = c.value(input), list(params)
    options = [bool(has_biases), num_layers, bool(bidirectional)]
    operation = c.shared(
        "gru_packed", weights, options, lambda: GRU(_gru_spec(c, weights, *options), masked=True, zero_masked=True)
    )
    counts = c.add(View((x.shape[0], 1)), c.add(Longest(x.shape[1], False), lengths))
    real = c.add(Binary("lt"), c.add(Arange(0, x.shape[1])), counts)
    states = [] if is_zeros(c, hx) else [c.value(hx)]
    y, h = c.builder.add(operation, x, real, *states, name=c.owner(weights[0]))
    return y, h


def longest(c: Context, lengths: Any, steps: Any, reached: Any) -> Any:
    return c.add(Longest(c.size(steps), bool(reached)), lengths)


def is_zeros(c: Context, given: Any) -> bool:
    """Whether a value is known to be nothing but zeros."""
    value = c.value(given)
    if value.array is not None:
        return not value.array.any()
    node = next((node for node in reversed(c.builder.nodes) if value.place in node.outputs), None)
    return node is not None and isinstance(node.operation, Full) and node.operation.value == 0


def _check_zeros(c: Context, zeros: Any, wanted: Sizes) -> None:
    """Zeros are a state only in its sizes: PyTorch takes no others."""
    if c.sizes_of_example:
        return
    got = c.value(zeros).shape
    if len(got) != len(wanted):
        raise c.error(f"takes initial states {size_text(wanted)}, got zeros {size_text(got)}")
    for one, other in zip(got, wanted, strict=True):
        c.builder.same(other, one, f"{c.name}{c.place} takes initial states of its own sizes")


def gru_cell(c: Context, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Value:
    x = c.value(input)
    weights = [w_ih, w_hh, b_ih, b_hh]
    operation = c.shared(
        "gru_cell", weights, [], lambda: GRUCell(GRUSpec(((_direction(c, weights, None),),), bias=b_ih is not None))
    )
    inputs = [x] if hx is None or is_zeros(c, hx) else [x, c.value(hx)]
    if hx is not None and len(inputs) == 1 and x.rank == 2:
        _check_zeros(c, hx, (x.shape[0], operation.gru.hidden_size))
    made: Value = c.builder.add(operation, *inputs, name=c.owner(w_hh))
    return made


def _gru_spec(c: Context, params: list[Any], has_biases: bool, num_layers: Any, bidirectional: bool) -> GRUSpec:
    if type(num_layers) is not int or not 1 <= num_layers <= MAX_LAYERS:
        raise c.error(f"num_layers is {str(num_layers)[:40]}, wanted 1 to {MAX_LAYERS}")
    each, directions = 4 if has_biases else 2, 2 if bidirectional else 1
    if len(params) != num_layers * directions * each:
        raise c.error(f"has {len(params)} weights, wanted {num_layers * directions * each}; perhaps it is projected")
    layers = []
    inputs: int | None = None
    for layer in range(num_layers):
        row = []
        for direction in range(directions):
            first = (layer * directions + direction) * each
            row.append(_direction(c, [*params[first : first + each], None, None][:4], inputs))
        inputs = row[0].hidden_size * directions
        layers.append(tuple(row))
    return GRUSpec(tuple(layers), bias=has_biases)


def _direction(c: Context, weights: list[Any], inputs: int | None) -> GRUWeights:
    w_hh = c.matrix(weights[1], None, None)
    w_ih = c.matrix(weights[0], 3 * w_hh.shape[1], inputs)
    if weights[2] is None:
        zeros = np.zeros(len(w_hh), w_hh.dtype)
        return GRUWeights(w_ih, w_hh, zeros, zeros)
    return GRUWeights(w_ih, w_hh, c.weight(weights[2], len(w_hh)), c.weight(weights[3], len(w_hh)))
