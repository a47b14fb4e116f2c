"""PyTorch's operations with weights: GRUs, embeddings, products, convolutions and normalisations.

Each function takes the builder and the operands by the names of PyTorch's own schemas, and gives the output.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...spec import (
    BatchNormalization,
    Conv1D,
    Dense,
    Embedding,
    GRULayer,
    GRUSpec,
    GRUWeights,
    LayerNormalization,
    PReLU,
    Reshape,
    ZeroPadding1D,
)
from .builder import Builder
from .values import Array, Size, Stack, Unknown, Weight, Zeros, described, known

__all__ = [
    "addmm",
    "batch_norm",
    "conv1d",
    "convolution",
    "embedding",
    "gru",
    "gru_cell",
    "layer_norm",
    "linear",
    "matmul",
    "prelu",
    "rms_norm",
    "weight_norm",
]  # fmt: skip

MAX_LAYERS = 1000
RANDOM = (
    "drops numbers at random also when it is used, as in training; call model.eval() before the model is saved, and in "
    "its code write F.dropout(x, training=self.training)"
)


def gru(
    b: Builder, input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool,
    bidirectional: bool, batch_first: bool,
) -> tuple[Array, Stack]:  # fmt: skip
    """The output of every step, and the final states of every layer and direction."""
    if train and dropout and num_layers != 1:
        raise b.error(RANDOM)
    x = b.array(input)
    if len(x.order) != 3:
        raise b.error("takes one sequence without a batch; export the model with a batch of at least one row")
    weights = list(params) if isinstance(params, (list, tuple)) else []
    spec = _gru_spec(b, weights, has_biases, num_layers, bidirectional)
    b.require(x, 2, spec.input_size)
    dims = (0, 1, 2) if batch_first else (1, 0, 2)
    if x.order[dims[0]] != 0:
        raise b.layout_error(f"batch_first is {batch_first}, but the batch is axis {x.order.index(0)} of its input")
    b.batch_is_certain = True
    b.rank_is_certain()
    edges = [b.arranged(x, dims), *_initial_states(b, hx, spec)]
    operands = [*weights, num_layers, bool(bidirectional)]
    name = b.add(_module(b, weights[0]), b.layer("gru", operands, lambda: GRULayer(spec, return_state=True)), *edges)
    steps = x.sizes[dims[1]]
    y = Array(name, (b.batch, steps, spec.output_size), dims)
    count = spec.num_layers * spec.directions
    states = [Array((name, index), (b.batch, spec.hidden_size), (0, 1)) for index in range(1, count + 1)]
    return y, Stack(tuple(states))


def gru_cell(b: Builder, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Array:
    """One step, as a sequence of that length."""
    if b.has_steps():
        b.note("is one step of a sequence, as a loop over the steps has it")
    given = [input] if hx is None or isinstance(hx, Zeros) else [input, hx]
    x, *states = map(b.array, given)
    if any(each.order != (0, 1) for each in (x, *states)):
        raise b.error("takes the step and the state of a batch, (batch, features) each")
    b.batch_is_certain = True
    weights = _direction(b, [w_ih, w_hh, b_ih, b_hh], None)
    spec = GRUSpec(((weights,),), bias=b_ih is not None)
    b.require(x, 1, spec.input_size)
    for state in states:
        b.require(state, 1, spec.hidden_size)
    if isinstance(hx, Zeros):
        _check_zeros(b, hx, b.batch, spec.hidden_size)
    step = b.add("step", Reshape((1, spec.input_size)), x.edge)
    layer = b.layer("gru_cell", [w_ih, w_hh, b_ih, b_hh], lambda: GRULayer(spec, return_sequences=False))
    name = b.add(_module(b, w_hh), layer, step, *(state.edge for state in states))
    return Array(name, (b.batch, spec.hidden_size), (0, 1))


def _gru_spec(b: Builder, params: list[Any], has_biases: Any, num_layers: Any, bidirectional: Any) -> GRUSpec:
    if type(num_layers) is not int or not 1 <= num_layers <= MAX_LAYERS:
        raise b.error(f"num_layers is {described(num_layers)}, wanted 1 to {MAX_LAYERS}")
    each, directions = 4 if has_biases else 2, 2 if bidirectional else 1
    if len(params) != num_layers * directions * each:
        raise b.error(f"has {len(params)} weights, wanted {num_layers * directions * each}; perhaps it is projected")
    layers = []
    inputs: int | None = None
    for layer in range(num_layers):
        row = []
        for direction in range(directions):
            first = (layer * directions + direction) * each
            weights = [*params[first : first + each], None, None][:4]
            row.append(_direction(b, weights, inputs))
        inputs = row[0].hidden_size * directions
        layers.append(tuple(row))
    return GRUSpec(tuple(layers), bias=bool(has_biases))


def _direction(b: Builder, weights: list[Any], inputs: int | None) -> GRUWeights:
    hidden = weights[1].array.shape[-1] if isinstance(weights[1], Weight) and weights[1].array.ndim else None
    rows = None if hidden is None else 3 * hidden
    w_ih, w_hh = b.weight(weights[0], rows, inputs), b.weight(weights[1], rows, hidden)
    if weights[2] is None:
        zeros = np.zeros(len(w_hh), w_hh.dtype)
        return GRUWeights(w_ih, w_hh, zeros, zeros)
    return GRUWeights(w_ih, w_hh, b.weight(weights[2], rows), b.weight(weights[3], rows))


def _initial_states(b: Builder, hx: Any, spec: GRUSpec) -> list[Any]:
    """The edges of the initial states; none where they are zeros."""
    count = spec.num_layers * spec.directions
    if isinstance(hx, Zeros):
        _check_zeros(b, hx, count, b.batch, spec.hidden_size)
    if isinstance(hx, Zeros) or hx is None:
        return []
    if not isinstance(hx, Stack) or len(hx.items) != count:
        kind = "a weight" if isinstance(hx, Weight) else "not put together from states"
        raise b.error(f"its initial state is {kind}; wanted an input, zeros, or {count} states of other layers")
    for item in hx.items:
        b.require(item, 1, spec.hidden_size)
    return [item.edge for item in hx.items]


def _check_zeros(b: Builder, zeros: Zeros, *wanted: Size) -> None:
    """Zeros are a state only in its sizes: PyTorch takes no others. Zeros for a number of rows are for that batch."""
    fits = len(zeros.sizes) == len(wanted)
    for got, size in zip(zeros.sizes, wanted, strict=False):
        if isinstance(got, Unknown) and known(got) is None:
            fits = fits and got is size
        elif size is not b.batch:
            fits = fits and known(got) in (None, size)
        elif not b.batch.opened and isinstance(got, int):
            b.batch.least = b.batch.most = got
            b.batch.why = f"its code has an initial state of zeros for a batch of {got}"
    if not fits:
        raise b.layout_error("its initial state of zeros has other sizes than (..., batch, hidden)")


def embedding(b: Builder, weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False,
              sparse: bool = False) -> Array:  # fmt: skip
    ids = b.array(indices)
    table = b.weight(weight, None, None)
    name = b.add(_module(b, weight), b.layer("embedding", [weight], lambda: Embedding(table)), ids.edge)
    return Array(name, (*ids.shape, table.shape[1]), (*ids.order, len(ids.order)))


def matmul(b: Builder, input: Any, other: Any) -> Array:
    """``x @ W`` with a weight (inputs, outputs)."""
    return linear(b, input, _turned(b, other))


def addmm(b: Builder, bias: Any, mat1: Any, mat2: Any, beta: float = 1, alpha: float = 1) -> Array:
    if beta != 1 or alpha != 1:
        raise b.error(f"beta and alpha are {described(beta)} and {described(alpha)}, supported is 1")
    return linear(b, mat1, _turned(b, mat2), bias)


def _turned(b: Builder, weight: Any) -> Weight:
    """A weight (inputs, outputs) as (outputs, inputs)."""
    if not isinstance(weight, Weight) or weight.array.ndim != 2:
        raise b.error("multiplies by something else than a matrix of the file")
    return weight._replace(array=weight.array.T)


def linear(b: Builder, input: Any, weight: Any, bias: Any = None) -> Array:
    x = features_last(b, b.array(input))
    matrix = b.weight(weight, None, None)
    b.require(x, len(x.order) - 1, matrix.shape[1])
    offset = b.optional(bias, len(matrix))
    layer = b.layer("dense", [weight, bias, matrix.shape], lambda: Dense(matrix, offset))
    return Array(b.add(_module(b, weight), layer, x.edge), (*x.shape[:-1], len(matrix)), x.order)


def features_last(b: Builder, array: Array) -> Array:
    """The same values with PyTorch's last axis as the last of fastgru's."""
    rank = len(array.order)
    if array.order[-1] == rank - 1:
        return array
    batch = array.order.index(0)
    if batch == rank - 1:
        raise b.layout_error("the batch is the last axis")
    dims = [batch, *(dim for dim in range(rank) if dim != batch)]
    order = [0] * rank
    for place, dim in enumerate(dims):
        order[dim] = place
    return Array(b.arranged(array, dims), tuple(array.sizes[dim] for dim in dims), tuple(order))


def conv1d(b: Builder, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Array:  # fmt: skip
    """Over PyTorch's (batch, channels, steps)."""
    x = b.array(input)
    if len(x.order) != 3:
        raise b.error(f"takes three axes, got {len(x.order)}")
    kernel = b.weight(weight, None, None, None)
    stride, dilation = _one(b, stride, "stride", 1), _one(b, dilation, "dilation", 1)
    reach = (kernel.shape[2] - 1) * dilation
    if padding in ("same", "valid"):
        before = reach // 2 if padding == "same" else 0
        after = reach - before if padding == "same" else 0
    else:
        before = after = _one(b, padding, "padding", 0)
    b.require(x, 1, kernel.shape[1] * _one(b, groups, "groups", 1))
    edge = b.arranged(x, (0, 2, 1))
    b.batch_is_certain = True
    b.rank_is_certain()
    if before or after:
        edge = b.add("padding", ZeroPadding1D(before, after), edge)
    offset = b.optional(bias, len(kernel))
    layer = b.layer(
        "conv1d", [weight, bias, stride, dilation, groups],
        lambda: Conv1D(kernel, offset, strides=stride, dilation=dilation, groups=groups),
    )  # fmt: skip
    steps = known(x.sizes[2])
    count = None if steps is None else (steps + before + after - reach - 1) // stride + 1
    unknown = Unknown() if count is None or count < 1 else count
    return Array(b.add(_module(b, weight), layer, edge), (b.batch, unknown, len(kernel)), (0, 2, 1))


def convolution(b: Builder, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                dilation: Any = 1, transposed: bool = False, output_padding: Any = 0, groups: int = 1,
                **_: Any) -> Array:  # fmt: skip
    if transposed:
        raise b.error("transposed convolutions are not supported")
    return conv1d(b, input, weight, bias, stride, padding, dilation, groups)


def _one(b: Builder, value: Any, what: str, least: int) -> int:
    """A whole number, or a list of one."""
    value = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
    if type(value) is not int or not least <= value < 1 << 31:
        raise b.error(f"{what} is {described(value)}, wanted a whole number from {least}")
    return value


def layer_norm(b: Builder, input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
               cudnn_enable: bool = True) -> Array:  # fmt: skip
    return _normalised(b, input, normalized_shape, weight, bias, eps, rms=False)


def rms_norm(b: Builder, input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Array:
    return _normalised(
        b, input, normalized_shape, weight, None, float(np.finfo("f4").eps) if eps is None else eps, True
    )


def _normalised(b: Builder, input: Any, shape: Any, weight: Any, bias: Any, eps: Any, rms: bool) -> Array:
    x = b.array(input)
    rank = len(x.order)
    if (
        not isinstance(shape, (list, tuple))
        or not 0 < len(shape) < rank
        or not all(type(size) is int for size in shape)
    ):
        raise b.error(f"normalized_shape is {described(shape)}, wanted the sizes of some of {rank - 1} axes")
    if len(shape) == 1:
        x = features_last(b, x)
    else:
        b.counts_axes()
    axes = tuple(x.order[dim] for dim in range(rank - len(shape), rank))
    if 0 in axes:
        raise b.layout_error("the batch is one of the axes that are normalised together")
    for dim, size in zip(range(rank - len(shape), rank), shape, strict=True):
        b.require(x, dim, size)
    gamma, beta = b.optional(weight, *shape), b.optional(bias, *shape)
    turned = tuple(int(place) for place in np.argsort(axes))  # PyTorch has channels before steps, fastgru behind them
    axes = tuple(axes[place] for place in turned)
    gamma, beta = (None if each is None else np.ascontiguousarray(each.transpose(turned)) for each in (gamma, beta))
    epsilon, places = _number(b, eps, "eps"), (-1,) if axes == (rank - 1,) else axes
    layer = b.layer(
        "layer_norm", [weight, bias, epsilon, places, rms],
        lambda: LayerNormalization(gamma, beta, epsilon, places, rms),
    )  # fmt: skip
    return x._replace(edge=b.add(_module(b, weight), layer, x.edge))


def batch_norm(b: Builder, input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any,
               training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
               cudnn_enabled: bool = True) -> Array:  # fmt: skip
    """Along PyTorch's axis 1, with the statistics of the training."""
    if training and running_mean is None:
        raise b.error(
            "has no running_mean (track_running_stats=False), so what it computes for one row depends on the other "
            "rows of the batch; give it statistics (track_running_stats=True, and the training data once in train mode)"
        )
    if training:
        raise b.error("is in training mode; call model.eval() before the model is exported")
    x = b.array(input)
    if len(x.order) < 2 or x.order[1] == 0:
        raise b.layout_error("the batch is the axis that is normalised")
    mean = b.weight(running_mean, None)
    b.counts_axes()
    b.require(x, 1, len(mean))
    variance = b.weight(running_var, len(mean))
    gamma, beta = b.optional(weight, len(mean)), b.optional(bias, len(mean))
    axis = -1 if x.order[1] == len(x.order) - 1 else x.order[1]
    epsilon = _number(b, eps, "eps")
    layer = b.layer(
        "batch_norm", [running_mean, running_var, weight, bias, epsilon, axis],
        lambda: BatchNormalization(mean, variance, gamma, beta, epsilon, axis),
    )  # fmt: skip
    return x._replace(edge=b.add(_module(b, running_mean), layer, x.edge))


def _number(b: Builder, value: Any, what: str) -> float:
    if type(value) not in (int, float):
        raise b.error(f"{what} is {described(value)}, wanted a number")
    return float(value)


def prelu(b: Builder, input: Any, weight: Any) -> Array:
    """One slope for all, or one for each place along PyTorch's axis 1."""
    x = b.array(input)
    slopes = b.weight(weight, None)
    if len(slopes) > 1 and len(x.order) < 2:
        raise b.error("has several slopes and an input of one axis")
    if len(slopes) > 1:
        b.counts_axes()
        b.require(x, 1, len(slopes))
        if x.order[1] == 0:
            raise b.layout_error("the batch is the axis that the slopes lie along")
        slopes = slopes.reshape(-1, *(1,) * (len(x.order) - 1 - x.order[1]))
    layer = b.layer("prelu", [weight, slopes.shape], lambda: PReLU(slopes))
    return x._replace(edge=b.add(_module(b, weight), layer, x.edge))


def weight_norm(b: Builder, v: Any, g: Any, dim: int = 0) -> tuple[Weight, None]:
    """``g v / ||v||`` with one norm for each place along ``dim``, made before the model runs."""
    direction, length = b.weight(v, *(None,) * _rank(v)), b.weight(g, *(None,) * _rank(g))
    if type(dim) is not int or not -direction.ndim <= dim < direction.ndim or length.size != direction.shape[dim]:
        raise b.error("the length and the direction do not fit each other")
    axes = tuple(axis for axis in range(direction.ndim) if axis != dim % direction.ndim)
    wide = direction.astype(np.float64)
    b.charge(direction.size)
    shape = [1] * direction.ndim
    shape[dim] = -1
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        whole = length.reshape(shape) * wide / np.sqrt(np.sum(wide * wide, axis=axes, keepdims=True))
    return Weight((*v.names, *g.names), np.asarray(whole, direction.dtype)), None


def _rank(value: Any) -> int:
    return value.array.ndim if isinstance(value, Weight) else 0


def _module(b: Builder, weight: Any) -> str:
    """What a node is called: the module whose weights it has, or the operation."""
    prefix = weight.names[0].rpartition(".")[0] if isinstance(weight, Weight) else ""
    if prefix.startswith("CONSTANTS"):
        prefix = ""
    return prefix or b.operation.partition(" ")[0] or "layer"
