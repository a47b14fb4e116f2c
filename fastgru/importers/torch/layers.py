"""PyTorch's operations with weights: products, convolutions, pooling, normalisations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.builder import Value
from ...graph.operations.convolution import Convolution, TransposedConvolution
from ...graph.operations.elementwise import Binary
from ...graph.operations.matmul import Einsum, MatMul
from ...graph.operations.normalization import BatchNorm, Normalize
from ...graph.operations.pooling import AdaptivePool, Pool
from ...graph.operations.product import Embedding, Linear
from ...graph.operations.reduce import Norm, Reduce
from ...graph.operations.shape import Permute, View
from ..calls import Context

__all__ = [
    "adaptive",
    "addmm",
    "batch_norm",
    "bilinear",
    "conv",
    "conv_transpose",
    "einsum",
    "embedding",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "matmul",
    "native",
    "outer",
    "pool",
    "rms_norm",
    "weight_norm",
]

# Products.


def embedding(c: Context, weight: Any, indices: Any, padding_idx: Any = -1, scale_grad_by_freq: Any = False,
              sparse: Any = False) -> Any:  # fmt: skip
    table = c.matrix(weight, None, None)
    operation = c.shared("embedding", [weight], [], lambda: Embedding(table))
    return c.builder.add(operation, c.value(indices), name=c.owner(weight))


def linear(c: Context, input: Any, weight: Any, bias: Any = None) -> Any:
    w = c.value(weight)
    if w.known is None or w.rank != 2 or (isinstance(bias, Value) and bias.known is None):
        made = matmul(c, input, c.add(Permute(tuple(range(w.rank))[::-1]), w))
        return made if bias is None else c.add(Binary("add"), made, bias)
    matrix, offset = c.matrix(w, None, None), c.optional(bias, w.shape[0])  # type: ignore[arg-type]
    operation = c.shared("linear", [w, bias], [], lambda: Linear(matrix, offset))
    return c.builder.add(operation, c.value(input), name=c.owner(w))


def matmul(c: Context, self: Any, other: Any) -> Any:
    """By the kernels where the second is a matrix of the source."""
    x, w = c.value(self), c.value(other)
    if w.known is not None and w.rank == 2 and w.dtype == "float" and x.rank and x.known is None:
        matrix = c.shared("matmul", [w], [], lambda: Linear(np.ascontiguousarray(c.weight(w, None, None).T)))
        return c.builder.add(matrix, x, name=c.owner(w) if id(w.known) in c.names else c.name)
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
    if kernel.known is None or axes not in (1, 2):
        raise c.error(f"has a kernel of {axes} axes, or one that is computed; supported are 1 and 2 axes")
    strides, dilations = c.several(stride, axes, "stride"), c.several(dilation, axes, "dilation")
    if padding in ("same", "valid"):
        reach = [(size - 1) * step for size, step in zip(kernel.known.shape[2:], dilations, strict=True)]
        pads = tuple((each // 2, each - each // 2) if padding == "same" else (0, 0) for each in reach)
    else:
        pads = tuple((each, each) for each in c.several(padding, axes, "padding"))
    array = c.matrix(kernel, *(None,) * kernel.rank)
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
    name = c.owner(kernel)

    def run(x: Value) -> Any:
        made = c.builder.add(operation, _channels_last(c, x, axes), name=name)
        return _channels_first(c, made if transposed else _some_left(c, made, name), axes)

    return _with_batch(c, c.value(input), axes, run)


def conv_transpose(c: Context, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                   output_padding: Any = 0, groups: Any = 1, dilation: Any = 1) -> Any:  # fmt: skip
    return conv(c, input, weight, bias, stride, padding, dilation, groups, True, output_padding)


def _some_left(c: Context, made: Value, name: str) -> Value:
    """What windows make, of which every call checks that there is one: PyTorch raises even if nothing reads it."""
    for size in made.shape[1:-1]:
        c.builder.guard(size, ">=", 1, f"layer {name!r} leaves nothing")
    return made


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
            return _channels_first(c, _some_left(c, c.add(operation, _channels_last(c, x, axes)), c.name), axes)

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
                sizes_now = [count if at in kept else made.shape[2 + at] for at, count in enumerate(counts)]
                given = tuple(each for each in sizes_now if isinstance(each, int))
                if len(given) < len(sizes_now):
                    raise c.error("divides an axis whose size is open into windows")
                made = _channels_first(c, c.add(AdaptivePool(name, given), _channels_last(c, made, axes)), axes)
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
    if 0 < len(sizes) <= x.rank:
        for own, wanted in zip(x.shape[x.rank - len(sizes) :], sizes, strict=True):
            c.builder.same(own, wanted, f"{c.name}{c.place} normalises {sizes}")
    else:
        raise c.error(f"normalises {sizes}, the last axes of its input are {x.shape}")
    axes = tuple(range(-len(sizes), 0))
    if any(isinstance(each, Value) and each.known is None for each in (weight, bias)):
        made = c.add(Normalize(axes, None, None, eps, rms), x)
        made = made if weight is None else c.add(Binary("mul"), made, weight)
        return made if bias is None else c.add(Binary("add"), made, bias)
    gamma, beta = (c.optional(each, *(None,) * len(sizes)) for each in (weight, bias))
    operation = c.shared("norm", [weight, bias], [axes, eps, rms], lambda: Normalize(axes, gamma, beta, eps, rms))
    return c.builder.add(operation, x, name=c.owner(weight))


def native(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """An operation that gives statistics too, which nothing uses at inference."""

    def run(c: Context, **operands: Any) -> Any:
        return (function(c, **operands), *(None,) * (count - 1))

    return run


def group_norm(c: Context, input: Any, num_groups: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5,
               cudnn_enabled: Any = True) -> Any:  # fmt: skip
    """Over the channels of a group and all places behind them."""
    x, groups = c.value(input), c.integer(num_groups, "num_groups")
    if x.rank > 1 and isinstance(weight, Value) and weight.rank == 1:
        c.builder.same(x.shape[1], weight.shape[0], f"{c.name}{c.place} has as many channels as weights")
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


def batch_norm(
    c: Context, input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: Any = False,
    momentum: Any = 0.1, eps: Any = 1e-5, cudnn_enabled: Any = True,
) -> Any:  # fmt: skip
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
    return c.builder.add(operation, x, name=c.owner(running_mean))


def weight_norm(c: Context, v: Any, g: Any, dim: Any = 0) -> Any:
    """``g v / ||v||`` with one norm for each place along ``dim``, made before the model runs."""
    x = c.value(v)
    axes = tuple(axis for axis in range(x.rank) if axis != c.integer(dim, "dim") % x.rank)
    length = c.add(Norm(axes=axes, keepdims=True, p=2.0), x)
    made = c.add(Binary("mul"), x, c.add(Binary("div"), g, length))
    if isinstance(made, Value) and made.known is not None and id(x.known) in c.names:
        c.names[id(made.known)] = c.names[id(x.known)]
    return made
