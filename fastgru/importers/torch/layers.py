"""PyTorch's operations with weights: GRUs, products, convolutions, pooling, normalisations, attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.builder import Value
from ...graph.graph import BOOLEAN
from ...graph.operations.convolution import Convolution, TransposedConvolution
from ...graph.operations.create import Arange, Longest
from ...graph.operations.elementwise import Binary, Cast, Where
from ...graph.operations.normalization import BatchNorm, Normalize
from ...graph.operations.pooling import AdaptivePool, Pool
from ...graph.operations.product import Einsum, Embedding, Linear, MatMul
from ...graph.operations.recurrent import GRU, GRUCell
from ...graph.operations.reduce import AlongAxis, Reduce
from ...graph.operations.shape import Permute, View
from ...graph.size import Expression
from ...spec.gru import GRUSpec, GRUWeights
from ..calls import Context

__all__ = [
    "attention",
    "batch_norm",
    "conv",
    "einsum",
    "embedding",
    "group_norm",
    "gru",
    "gru_cell",
    "layer_norm",
    "linear",
    "matmul",
]

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
    if hx is not None and not _is_zeros(c, hx):
        inputs.append(c.value(hx))
    y, h = c.builder.add(operation, *inputs, name=_module(c, weights[0]))
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
    states = [] if _is_zeros(c, hx) else [c.value(hx)]
    y, h = c.builder.add(operation, x, real, *states, name=_module(c, weights[0]))
    return y, h


def longest(c: Context, lengths: Any, steps: Any, reached: Any) -> Any:
    return c.add(Longest(c.size(steps), bool(reached)), lengths)


def _is_zeros(c: Context, given: Any) -> bool:
    from ...graph.operations.create import Full

    value = c.value(given)
    if value.array is not None:
        return not value.array.any()
    node = next((node for node in reversed(c.builder.nodes) if value.place in node.outputs), None)
    return node is not None and isinstance(node.operation, Full) and node.operation.value == 0


def gru_cell(c: Context, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Value:
    x = c.value(input)
    weights = [w_ih, w_hh, b_ih, b_hh]
    operation = c.shared(
        "gru_cell", weights, [], lambda: GRUCell(GRUSpec(((_direction(c, weights, None),),), bias=b_ih is not None))
    )
    inputs = [x] if hx is None or _is_zeros(c, hx) else [x, c.value(hx)]
    made: Value = c.builder.add(operation, *inputs, name=_module(c, w_hh))
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
    w_hh = c.weight(weights[1], None, None)
    w_ih = c.weight(weights[0], 3 * w_hh.shape[1], inputs)
    if weights[2] is None:
        zeros = np.zeros(len(w_hh), w_hh.dtype)
        return GRUWeights(w_ih, w_hh, zeros, zeros)
    return GRUWeights(w_ih, w_hh, c.weight(weights[2], len(w_hh)), c.weight(weights[3], len(w_hh)))


def _module(c: Context, weight: Any) -> str:
    """What a node is called: the module whose weights it has, or the operation."""
    name = c.names.get(id(weight.array), "") if isinstance(weight, Value) else ""
    return name.rpartition(".")[0] or c.name


# Products.


def embedding(c: Context, weight: Any, indices: Any, padding_idx: Any = -1, scale_grad_by_freq: Any = False,
              sparse: Any = False) -> Any:  # fmt: skip
    table = c.weight(weight, None, None)
    operation = c.shared("embedding", [weight], [], lambda: Embedding(table))
    return c.builder.add(operation, c.value(indices), name=_module(c, weight))


def linear(c: Context, input: Any, weight: Any, bias: Any = None) -> Any:
    w = c.value(weight)
    if w.array is None or w.rank != 2 or (isinstance(bias, Value) and bias.array is None):
        made = matmul(c, input, c.add(Permute(tuple(range(w.rank))[::-1]), w))
        return made if bias is None else c.add(Binary("add"), made, bias)
    matrix, offset = c.weight(w, None, None), c.optional(bias, w.shape[0])  # type: ignore[arg-type]
    operation = c.shared("linear", [w, bias], [], lambda: Linear(matrix, offset))
    return c.builder.add(operation, c.value(input), name=_module(c, w))


def matmul(c: Context, self: Any, other: Any) -> Any:
    """By the kernels where the second is a matrix of the source."""
    x, w = c.value(self), c.value(other)
    if w.array is not None and w.rank == 2 and w.dtype == "float" and x.rank and x.array is None:
        matrix = c.shared("matmul", [w], [], lambda: Linear(np.ascontiguousarray(c.weight(w, None, None).T)))
        return c.builder.add(matrix, x, name=_module(c, w) if id(w.array) in c.names else c.name)
    return c.add(MatMul(), x, w)


def addmm(c: Context, self: Any, mat1: Any, mat2: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    product = matmul(c, mat1, mat2)
    product = product if alpha == 1 else c.add(Binary("mul"), product, alpha)
    return c.add(Binary("add"), product, self if beta == 1 else c.add(Binary("mul"), self, beta))


def einsum(c: Context, equation: Any, operands: Any, path: Any = None) -> Any:
    values = c.values(operands)
    if not isinstance(equation, str) or not values:
        raise c.error("takes no equation")
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(values):
        raise c.error(f"{equation[:60]!r} names {len(terms)} values, got {len(values)}")
    spare = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in equation]
    counts = [value.rank - len(term.replace("...", "")) for term, value in zip(terms, values, strict=True)]
    most = max((n for term, n in zip(terms, counts, strict=True) if "..." in term), default=0)
    rest = "".join(spare[:most])
    terms = [t.replace("...", rest[most - n :] if n else "") for t, n in zip(terms, counts, strict=True)]
    if not arrow:
        letters = "".join(terms)
        result = rest + "".join(sorted(each for each in set(letters) - set(rest) if letters.count(each) == 1))
    result = result.replace("...", rest)
    if len(values) == 1:
        summed = tuple(at for at, letter in enumerate(terms[0]) if letter not in result)
        kept = [letter for letter in terms[0] if letter in result]
        x = c.add(Reduce("sum", summed), values[0]) if summed else values[0]
        return c.add(Permute(tuple(kept.index(letter) for letter in result)), x)
    product, letters = values[0], terms[0]
    for at in range(1, len(values)):  # two at a time; what nothing behind needs is summed
        behind = set("".join(terms[at + 1 :])) | set(result)
        last = at == len(values) - 1
        made = result if last else "".join(each for each in dict.fromkeys(letters + terms[at]) if each in behind)
        product, letters = c.add(Einsum(f"{letters},{terms[at]}->{made}"), product, values[at]), made
    return product


def bilinear(c: Context, input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """``sum over i, j of input1[i] weight[o, i, j] input2[j] + bias[o]``."""
    made = einsum(c, "...i,oij,...j->...o", [input1, weight, input2])
    return made if bias is None else c.add(Binary("add"), made, bias)


def outer(c: Context, self: Any, other: Any) -> Any:
    return einsum(c, "i,j->ij", [self, other])


# Convolutions and pooling, in PyTorch's order of axes: channels before places.


def _channels_last(c: Context, x: Value, axes: int) -> Value:
    made: Value = c.add(Permute((0, *range(2, 2 + axes), 1)), x)
    return made


def _channels_first(c: Context, x: Value, axes: int) -> Any:
    return c.add(Permute((0, 1 + axes, *range(1, 1 + axes))), x)


def _with_batch(c: Context, x: Value, axes: int, run: Callable[[Value], Any]) -> Any:
    """What ``run`` makes of a value with a batch axis, which one without gets for the time."""
    if x.rank == 2 + axes:
        return run(x)
    if x.rank != 1 + axes:
        raise c.error(f"takes {2 + axes} axes, got {x.rank}")
    made = run(c.add(View((1, *x.shape)), x))
    return c.add(View(made.shape[1:]), made)


def conv(c: Context, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
         groups: Any = 1, transposed: Any = False, output_padding: Any = 0) -> Any:  # fmt: skip
    kernel = c.value(weight)
    axes = kernel.rank - 2
    if kernel.array is None or axes not in (1, 2):
        raise c.error(f"has a kernel of {axes} axes, or one that is computed; supported are 1 and 2 axes")
    strides, dilations = c.several(stride, axes, "stride"), c.several(dilation, axes, "dilation")
    if padding in ("same", "valid"):
        reach = [(size - 1) * step for size, step in zip(kernel.array.shape[2:], dilations, strict=True)]
        pads = tuple((each // 2, each - each // 2) if padding == "same" else (0, 0) for each in reach)
    else:
        pads = tuple((each, each) for each in c.several(padding, axes, "padding"))
    array = c.weight(kernel, *(None,) * kernel.rank)
    count = c.integer(groups, "groups")
    outputs = array.shape[1] * count if transposed else array.shape[0]
    offset = c.optional(bias, outputs)
    extra = c.several(output_padding, axes, "output_padding") if transposed else ()
    options = [strides, pads, dilations, count, bool(transposed), extra]

    def make() -> Any:
        if transposed:
            return TransposedConvolution(array, offset, strides, pads, dilations, count, extra)
        return Convolution(array, offset, strides, pads, dilations, count)

    operation = c.shared("conv", [kernel, bias], options, make)
    name = _module(c, kernel)

    def run(x: Value) -> Any:
        return _channels_first(c, c.builder.add(operation, _channels_last(c, x, axes), name=name), axes)

    return _with_batch(c, c.value(input), axes, run)


def conv_transpose(c: Context, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                   output_padding: Any = 0, groups: Any = 1, dilation: Any = 1) -> Any:  # fmt: skip
    return conv(c, input, weight, bias, stride, padding, dilation, groups, True, output_padding)


def pool(name: str, axes: int, *, indices: bool = False) -> Callable[..., Any]:
    """Maximum and average pooling; ``indices`` where the operation gives them too, which are not supported."""

    def run(c: Context, self: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
            ceil_mode: Any = False, count_include_pad: Any = True, divisor_override: Any = None) -> Any:  # fmt: skip
        size = c.several(kernel_size, axes, "kernel_size")
        strides = size if stride is None or stride in ([], ()) else c.several(stride, axes, "stride")
        pads = tuple((each, each) for each in c.several(padding, axes, "padding"))
        if divisor_override is not None:
            raise c.error("divides by a number of its own")
        operation = Pool(
            name, size, strides, pads, c.several(dilation, axes, "dilation"), bool(ceil_mode), bool(count_include_pad)
        )

        def pooled(x: Value) -> Any:
            return _channels_first(c, c.add(operation, _channels_last(c, x, axes)), axes)

        made = _with_batch(c, c.value(self), axes, pooled)
        return (made, None) if indices else made

    return run


def adaptive(name: str, axes: int, *, indices: bool = False) -> Callable[..., Any]:
    """Pooling to a number of windows; to one it is the mean or maximum of all places."""

    def run(c: Context, self: Any, output_size: Any) -> Any:
        sizes = list(output_size) if isinstance(output_size, (list, tuple)) else [output_size] * axes

        def pooled(x: Value) -> Any:
            counts = [x.shape[2 + at] if size is None else c.size(size) for at, size in enumerate(sizes)]
            whole = tuple(2 + at for at, count in enumerate(counts) if count == 1)
            kept = [at for at, count in enumerate(counts) if count != 1 and count != x.shape[2 + at]]
            made = c.add(Reduce(name, whole, True), x) if whole else x
            if kept:
                given = [count if at in kept else made.shape[2 + at] for at, count in enumerate(counts)]
                if not all(isinstance(each, int) for each in given):
                    raise c.error("divides an axis whose size is open into windows")
                made = _channels_first(c, c.add(AdaptivePool(name, tuple(given)), _channels_last(c, made, axes)), axes)
            return made

        made = _with_batch(c, c.value(self), axes, pooled)
        return (made, None) if indices else made

    return run


# Normalisations.


def layer_norm(c: Context, input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5,
               cudnn_enable: Any = True) -> Any:  # fmt: skip
    return _normalized(c, input, normalized_shape, weight, bias, float(c.number(eps, "eps")), rms=False)


def rms_norm(c: Context, input: Any, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Any:
    small = float(np.finfo(np.float32).eps) if eps is None else float(c.number(eps, "eps"))
    return _normalized(c, input, normalized_shape, weight, None, small, rms=True)


def _normalized(c: Context, input: Any, shape: Any, weight: Any, bias: Any, eps: float, rms: bool) -> Any:
    x, sizes = c.value(input), c.shape(shape)
    if not 0 < len(sizes) <= x.rank or x.shape[x.rank - len(sizes) :] != sizes:
        raise c.error(f"normalises {sizes}, the last axes of its input are {x.shape}")
    axes = tuple(range(-len(sizes), 0))
    if any(isinstance(each, Value) and each.array is None for each in (weight, bias)):
        made = c.add(Normalize(axes, None, None, eps, rms), x)
        made = made if weight is None else c.add(Binary("mul"), made, weight)
        return made if bias is None else c.add(Binary("add"), made, bias)
    gamma, beta = (c.optional(each, *(None,) * len(sizes)) for each in (weight, bias))
    operation = c.shared("norm", [weight, bias], [axes, eps, rms], lambda: Normalize(axes, gamma, beta, eps, rms))
    return c.builder.add(operation, x, name=_module(c, weight))


def native(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """An operation that gives statistics too, which nothing uses at inference."""

    def run(c: Context, **operands: Any) -> Any:
        return (function(c, **operands), *(None,) * (count - 1))

    return run


def group_norm(c: Context, input: Any, num_groups: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5,
               cudnn_enabled: Any = True) -> Any:  # fmt: skip
    """Over the channels of a group and all places behind them."""
    x, groups = c.value(input), c.integer(num_groups, "num_groups")
    if x.rank < 2 or not isinstance(x.shape[1], int) or groups < 1 or x.shape[1] % groups:
        raise c.error(f"has {groups} groups for an input of {x.rank} axes")
    rest = x.shape[2:]
    apart = c.add(View((x.shape[0], groups, x.shape[1] // groups, *rest)), x)
    axes = tuple(range(2, apart.rank))
    made = c.add(View(x.shape), c.add(Normalize(axes, None, None, float(c.number(eps, "eps"))), apart))
    return _scaled(c, made, weight, bias)


def instance_norm(c: Context, input: Any, weight: Any = None, bias: Any = None, running_mean: Any = None,
                  running_var: Any = None, use_input_stats: Any = True, momentum: Any = 0.1, eps: Any = 1e-5,
                  cudnn_enabled: Any = True) -> Any:  # fmt: skip
    if not use_input_stats:
        return batch_norm(c, input, weight, bias, running_mean, running_var, False, momentum, eps)
    x = c.value(input)
    made = c.add(Normalize(tuple(range(2, x.rank)), None, None, float(c.number(eps, "eps"))), x)
    return _scaled(c, made, weight, bias)


def _scaled(c: Context, x: Value, weight: Any, bias: Any) -> Any:
    """``x * weight + bias`` along axis 1."""
    for each, name in ((weight, "mul"), (bias, "add")):
        if each is not None:
            x = c.add(Binary(name), x, c.add(View((-1, *(1,) * (x.rank - 2))), each))
    return x


def batch_norm(c: Context, input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any,
               training: Any = False, momentum: Any = 0.1, eps: Any = 1e-5, cudnn_enabled: Any = True) -> Any:  # fmt: skip
    """Along axis 1, with the statistics of the training."""
    if training or running_mean is None:
        raise c.error(
            "takes the statistics of the batch that it is given, so a row depends on the others: call module.eval() "
            "before it is saved; one without running statistics (track_running_stats=False) is not supported"
        )
    x = c.value(input)
    mean = c.weight(running_mean, None)
    variance, gamma, beta = (c.optional(each, len(mean)) for each in (running_var, weight, bias))
    assert variance is not None
    epsilon = float(c.number(eps, "eps"))
    operation = c.shared(
        "batch_norm", [running_mean, running_var, weight, bias], [epsilon],
        lambda: BatchNorm(mean, variance, gamma, beta, epsilon, 1),
    )  # fmt: skip
    return c.builder.add(operation, x, name=_module(c, running_mean))


def weight_norm(c: Context, v: Any, g: Any, dim: Any = 0) -> Any:
    """``g v / ||v||`` with one norm for each place along ``dim``, made before the model runs."""
    from ...graph.operations.reduce import Norm

    x = c.value(v)
    axes = tuple(axis for axis in range(x.rank) if axis != c.integer(dim, "dim") % x.rank)
    length = c.add(Norm(axes=axes, keepdims=True, p=2.0), x)
    made = c.add(Binary("mul"), x, c.add(Binary("div"), g, length))
    if isinstance(made, Value) and made.array is not None and id(x.array) in c.names:
        c.names[id(made.array)] = c.names[id(x.array)]
    return made


# Attention.


def attention(c: Context, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: Any = 0.0,
              is_causal: Any = False, scale: Any = None, enable_gqa: Any = False) -> Any:  # fmt: skip
    """``softmax(q k^T scale + mask) v``."""
    q, k, v = c.value(query), c.value(key), c.value(value)
    if c.number(dropout_p, "dropout_p") or enable_gqa:
        raise c.error("drops out at random, or shares keys among groups of queries")
    features = q.shape[-1]
    if scale is None and not isinstance(features, int):
        raise c.error("scales by a size that is open")
    factor = 1 / float(np.sqrt(features)) if scale is None else float(c.number(scale, "scale"))  # type: ignore[call-overload]
    turned = c.add(Permute((*range(k.rank - 2), k.rank - 1, k.rank - 2)), k)
    scores = c.add(Binary("mul"), c.add(MatMul(), q, turned), factor)
    if is_causal:
        from .parts import triangle

        if isinstance(scores.shape[-1], Expression) or isinstance(scores.shape[-2], Expression):
            ones = c.value(1.0)
            from ...graph.operations.shape import Expand

            ones = c.add(Expand(scores.shape[-2:]), ones)
        else:
            ones = c.builder.constant(np.ones(scores.shape[-2:], np.float32))
        attn_mask = c.add(Cast(BOOLEAN), triangle(False)(c, ones))
    if attn_mask is not None:
        mask = c.value(attn_mask)
        if mask.dtype == BOOLEAN:
            scores = c.add(Where(), mask, scores, float("-inf"))
        else:
            scores = c.add(Binary("add"), scores, mask)
    return c.add(MatMul(), c.add(AlongAxis("softmax", -1), scores), v)


def multihead(
    c: Context, query: Any, key: Any, value: Any, embed_dim: Any, num_head: Any, qkv_weight: Any, qkv_bias: Any,
    proj_weight: Any, proj_bias: Any, mask: Any = None, need_weights: Any = True, average_attn_weights: Any = True,
    mask_type: Any = None,
) -> Any:  # fmt: skip
    """What an ``nn.MultiheadAttention`` computes, batch first, in one operation."""
    q, k, v = c.value(query), c.value(key), c.value(value)
    width, heads = c.integer(embed_dim, "embed_dim"), c.integer(num_head, "num_head")
    weight, bias = c.weight(qkv_weight, 3 * width, width), c.weight(qkv_bias, 3 * width)
    if q.rank != 3 or width % heads:
        raise c.error(f"takes {q.rank} axes and {heads} heads of {width} features together")
    parts = []
    for at, each in enumerate((q, k, v)):
        part = Linear(weight[at * width : (at + 1) * width], bias[at * width : (at + 1) * width])
        made = c.add(View((*each.shape[:2], heads, width // heads)), c.add(part, each))
        parts.append(c.add(Permute((0, 2, 1, 3)), made))
    scores = c.add(MatMul(), parts[0], c.add(Permute((0, 1, 3, 2)), parts[1]))
    scores = c.add(Binary("mul"), scores, 1 / float(np.sqrt(width // heads)))
    if mask is not None:
        given = c.value(mask)
        if given.dtype != BOOLEAN:
            raise c.error("takes a mask of numbers")
        if mask_type == 1:  # of keys, (batch, keys)
            given = c.add(View((given.shape[0], 1, 1, given.shape[1])), given)
        scores = c.add(Where(), given, float("-inf"), scores)
    chances = c.add(AlongAxis("softmax", -1), scores)
    joined = c.add(Permute((0, 2, 1, 3)), c.add(MatMul(), chances, parts[2]))
    made = linear(c, c.add(View(q.shape), joined), proj_weight, proj_bias)
    if not need_weights:
        return made, None
    return made, c.add(Reduce("mean", (1,)), chances) if average_attn_weights else chances
