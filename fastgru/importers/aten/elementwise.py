"""PyTorch's operations on every element, on two operands, and over the steps.

A number or a vector beside the output of a layer becomes a normalisation with a mean of 0 and a variance of 1, which is
``x * gamma + beta`` exactly.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ...origin import raised_in
from ...spec import (
    Activation,
    Add,
    AveragePooling1D,
    BatchNormalization,
    Layer,
    Max,
    Maximum,
    MaxPooling1D,
    Mean,
    Minimum,
    Multiply,
    Subtract,
    Sum,
    ZeroPadding1D,
)
from .builder import Builder
from .joins import alike
from .layers import features_last
from .parts import axis_of
from .values import Array, Size, Stack, Unknown, Weight, Zeros, described, known, same_size

__all__ = [
    "absolute",
    "activation",
    "adaptive_pool1d",
    "along",
    "avg_pool1d",
    "binary",
    "clamp",
    "gelu",
    "glu",
    "leaky_relu",
    "max_pool1d",
    "max_with_index",
    "maximum",
    "mean",
    "pad",
    "softplus",
    "threshold",
    "total",
]  # fmt: skip


def activation(name: str, **renamed: str) -> Callable[..., Array]:
    """The operation that is this activation; ``renamed`` has our name for each of its options."""

    def run(b: Builder, self: Any, **options: Any) -> Array:
        if not all(type(value) in (int, float) for value in options.values()):
            raise b.error(f"its options are {described(list(options.values()))}, wanted numbers")
        return activated(b, self, Activation(name, **{renamed[key]: value for key, value in options.items()}))

    return run


def activated(b: Builder, value: Any, layer: Activation) -> Array:
    if isinstance(value, Stack) and len(value.items) > 1:
        value = b.array(value)
    x = value.items[0] if isinstance(value, Stack) else b.array(value)
    made = x._replace(edge=b.add(layer.name, layer, x.edge))
    return Stack((made,)) if isinstance(value, Stack) else made  # type: ignore[return-value]


def absolute(b: Builder, self: Any) -> Array:
    """The leaky ReLU whose negative side goes up as its positive side does."""
    return activated(b, self, Activation("leaky_relu", negative_slope=-1.0))


def leaky_relu(b: Builder, self: Any, negative_slope: Any = 0.01) -> Array:
    return activation("leaky_relu", negative_slope="negative_slope")(b, self, negative_slope=negative_slope)


def softplus(b: Builder, self: Any, beta: Any = 1.0, threshold: Any = 20.0) -> Array:
    return activation("softplus", beta="beta", threshold="threshold")(b, self, beta=beta, threshold=threshold)


def gelu(b: Builder, self: Any, approximate: str = "none") -> Array:
    return activated(b, self, Activation("gelu", approximate=True) if approximate == "tanh" else Activation("gelu"))


def glu(b: Builder, self: Any, dim: int = -1) -> Array:
    """Half of the places along an axis times the sigmoid of the other half."""
    x = along("glu")(b, self, dim)
    axis = x.order[axis_of(b, dim, len(x.order))]
    whole = known(x.shape[axis])
    half = Unknown() if whole is None else whole // 2
    made: Array = x._replace(shape=(*x.shape[:axis], half, *x.shape[axis + 1 :]))
    return made


def threshold(b: Builder, self: Any, threshold: Any, value: Any) -> Array:
    return activated(b, self, Activation("threshold", threshold=threshold, default_value=value))


def clamp(b: Builder, self: Any, min: Any = None, max: Any = None) -> Array:
    if min == 0 and max is None:  # the number of a relu
        return activated(b, self, Activation("relu"))
    if type(min) not in (int, float) or type(max) not in (int, float):
        raise b.error("clamps to one side, or to something that is not a number")
    b.note(f"takes the numbers {min} and {max}")
    return activated(b, self, Activation("hard_tanh", min_value=float(min), max_value=float(max)))


def along(name: str) -> Callable[..., Array]:
    """softmax and the like, which take an axis."""

    def run(b: Builder, self: Any, dim: int, dtype: Any = None) -> Array:
        x = b.array(self)
        axis = x.order[axis_of(b, dim, len(x.order))]
        if axis == 0:
            raise b.layout_error("is taken over the batch")
        last = axis == len(x.order) - 1
        return activated(b, x, Activation(name) if last else Activation(name, axis=axis))

    return run


# Two operands.

_NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "floordiv": operator.floordiv, "maximum": max, "minimum": min,
}  # fmt: skip
_LAYERS: dict[str, type[Layer]] = {
    "add": Add, "sub": Subtract, "mul": Multiply, "maximum": Maximum, "minimum": Minimum
}  # fmt: skip
MAX_NUMBER = 1 << 40


def binary(kind: str, *, turned: bool = False) -> Callable[..., Any]:
    """An operation of two operands; ``turned`` has them the other way round."""

    def run(b: Builder, self: Any, other: Any, alpha: Any = 1) -> Any:
        if type(alpha) not in (int, float):
            raise b.error("alpha is not a number")
        if alpha != 1:
            (self, other) = (scaled(b, self, alpha, 0), other) if turned else (self, scaled(b, other, alpha, 0))
        one, two = (other, self) if turned else (self, other)
        _note_number(b, kind, one, two)
        live = [isinstance(each, (Array, Stack)) for each in (one, two)]
        if not any(live):
            return _constant(b, kind, one, two)
        if all(live):
            return _merged(b, kind, one, two)
        return _affine(b, kind, one, two)

    return run


def _constant(b: Builder, kind: str, one: Any, two: Any) -> Any:
    """Of sizes, numbers and weights: worked out now."""
    if isinstance(one, Unknown) or isinstance(two, Unknown):
        numbers = [known(each) for each in (one, two)]
        if None in numbers:
            return Unknown()
        one, two = numbers
    if isinstance(one, Weight) or isinstance(two, Weight):
        return _of_weights(b, kind, one, two)
    if not all(type(each) in (int, float) and abs(each) < MAX_NUMBER for each in (one, two)):
        raise b.error(f"takes {described(one)} and {described(two)}, wanted numbers or weights that fit each other")
    if kind in ("div", "floordiv") and not two:
        raise b.error("divides by zero")
    return _NUMBERS[kind](one, two)


def _of_weights(b: Builder, kind: str, one: Any, two: Any) -> Weight:
    names = tuple(name for each in (one, two) if isinstance(each, Weight) for name in each.names)
    arrays = [each.array if isinstance(each, Weight) else each for each in (one, two)]
    if not all(isinstance(each, np.ndarray) or type(each) in (int, float) for each in arrays) or kind not in _UFUNCS:
        raise b.error(f"takes {described(one)} and {described(two)}, wanted numbers or weights that fit each other")
    dtypes = [each.dtype for each in arrays if isinstance(each, np.ndarray)]
    shapes = [np.shape(each) for each in arrays]
    largest = max(shapes, key=lambda shape: int(np.prod(shape)))
    if any(dtype.kind != "f" for dtype in dtypes) or _broadcast(shapes) != largest:
        raise b.error("takes weights that do not fit each other")
    b.charge(int(np.prod(largest)))
    with np.errstate(all="ignore"):
        array = _UFUNCS[kind](*arrays)
    return Weight(names, np.asarray(array, dtypes[0]))


_UFUNCS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide
}  # fmt: skip


def _broadcast(shapes: list[tuple[int, ...]]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        if not raised_in(error, "fastgru", "numpy"):
            raise
        return None


def _merged(b: Builder, kind: str, one: Any, two: Any) -> Any:
    if kind not in _LAYERS:
        raise b.error("divides the output of a layer by that of another")
    if isinstance(one, Stack) and isinstance(two, Stack) and len(one.items) == len(two.items):
        pairs = zip(one.items, two.items, strict=True)
        return Stack(tuple(_merged(b, kind, *pair) for pair in pairs))
    first, second = alike(b, [b.array(one), b.array(two)])
    name = b.add(kind, _LAYERS[kind](), first.edge, second.edge)
    shape = tuple(right if left == 1 else left for left, right in zip(first.shape, second.shape, strict=True))
    return first._replace(edge=name, shape=shape)


def _affine(b: Builder, kind: str, one: Any, two: Any) -> Any:
    """The output of a layer with a number or a vector of the file: x * scale + offset."""
    before = isinstance(two, (Array, Stack))  # the constant stands before the layer's output
    value, constant = (two, one) if before else (one, two)
    if isinstance(constant, Zeros):
        constant = _zero(b, value, constant)
    if kind == "add":
        return scaled(b, value, 1, constant)
    if kind == "mul":
        return scaled(b, value, constant, 0)
    if kind == "sub":
        return scaled(b, value, -1, constant) if before else scaled(b, value, 1, _constant(b, "mul", constant, -1))
    if kind == "div" and not before:
        return scaled(b, value, _constant(b, "div", 1.0, constant), 0)
    raise b.error("is not supported between the output of a layer and a constant")


def _note_number(b: Builder, kind: str, one: Any, two: Any) -> None:
    """Any number may come from a size, but for the 1 of ``1 - x`` and the -1 of a sign."""
    sign = kind == "mul" and -1 in [each for each in (one, two) if type(each) in (int, float)]
    complement = kind == "sub" and type(one) in (int, float) and one == 1 and 1 not in b.evidence.steps()
    for number in (one, two):
        if type(number) in (int, float) and not sign and not complement:
            b.note(f"takes the number {number}")


def _zero(b: Builder, value: Any, zeros: Zeros) -> float:
    """What zeros add, where they have no axis that would make the other operand larger."""
    sizes = getattr(value, "sizes", ())
    pairs = zip(reversed(zeros.sizes), reversed(sizes), strict=False)
    if len(zeros.sizes) > len(sizes) or not all(known(own) == 1 or same_size(own, size) for own, size in pairs):
        raise b.error("takes zeros that have other axes than the output of the layer beside them")
    return 0.0


def scaled(b: Builder, value: Any, scale: Any, offset: Any) -> Any:
    """``value * scale + offset`` with numbers, or vectors along PyTorch's last axis."""
    if isinstance(value, Weight):
        return _of_weights(b, "add", _of_weights(b, "mul", value, scale), offset)
    if isinstance(value, Stack):
        return Stack(tuple(scaled(b, item, scale, offset) for item in value.items))
    if not isinstance(value, Array):
        return _constant(b, "add", _constant(b, "mul", value, scale), offset)
    if (scale, offset) == (1, 0) and not isinstance(scale, Weight) and not isinstance(offset, Weight):
        return value
    x = features_last(b, value)
    features = _settled(x.shape[-1])
    if features is None:
        raise b.error("takes a number together with an input whose size is not known")
    b.charge(4 * features)
    gamma, beta = _vector(b, scale, features), _vector(b, offset, features)
    zeros, ones = np.zeros(features, gamma.dtype), np.ones(features, gamma.dtype)
    layer = BatchNormalization(zeros, ones, gamma, beta, epsilon=0.0)
    return x._replace(edge=b.add("scale", layer, x.edge))


def _settled(size: Size) -> int | None:
    """The number that a size is; one that was left open is from now on what it was when the model was exported."""
    if isinstance(size, Unknown) and size.opened and size.value is None:
        size.value = size.example
    return known(size)


def _vector(b: Builder, value: Any, features: int) -> np.ndarray:
    if not isinstance(value, Weight):
        if type(value) not in (int, float):
            raise b.error(f"takes {described(value)} beside the output of a layer, wanted a number or a weight")
        return np.full(features, value, np.float64)
    if value.array.ndim == 0:
        return np.full(features, b.number(value), np.float64)
    array = b.weight(value, *(None,) * value.array.ndim)
    if array.size not in (1, features) or array.shape[-1] != array.size:
        raise b.error(f"takes a weight of {array.shape}, wanted one number for each of {features} features")
    return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (features,)), np.float64)


# Over the steps.


def total(b: Builder, self: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return _over_steps(b, self, dim, keepdim, Sum)


def mean(b: Builder, self: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return _over_steps(b, self, dim, keepdim, Mean)


def maximum(b: Builder, self: Any, dim: Any = None, keepdim: bool = False) -> Array:
    return _over_steps(b, self, dim, keepdim, Max)


def max_with_index(b: Builder, self: Any, dim: Any = None, keepdim: bool = False) -> tuple[Array, None]:
    return _over_steps(b, self, dim, keepdim, Max), None


def _over_steps(b: Builder, value: Any, dim: Any, keepdim: Any, layer: type[Layer]) -> Array:
    x = b.array(value)
    if x.integers:
        raise b.error("takes integers for numbers")
    dim = dim[0] if isinstance(dim, (list, tuple)) and len(dim) == 1 else dim
    at = axis_of(b, dim, len(x.order))
    axis = x.order[at]
    if axis == 0:
        raise b.layout_error("is taken over the batch")
    if len(x.order) != 3 or axis != 1:
        raise b.error("is taken over another axis than the steps")
    name = b.add(layer.__name__.lower(), layer(bool(keepdim)), x.edge)
    if keepdim:
        return x._replace(edge=name, shape=(b.batch, 1, x.shape[2]))
    return Array(name, (b.batch, x.shape[2]), tuple(each - (each > 1) for each in x.order if each != 1))


def adaptive_pool1d(layer: type[Layer], indices: bool = False) -> Callable[..., Any]:
    """Pooling of (batch, channels, steps) to one step."""

    def run(b: Builder, self: Any, output_size: Any) -> Any:
        if output_size not in (1, [1], (1,)):
            raise b.error(f"output_size is {described(output_size)}, supported is 1")
        b.counts_axes()
        made = _over_steps(b, self, -1, True, layer)
        return (made, None) if indices else made

    return run


def max_pool1d(b: Builder, self: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False) -> Array:  # fmt: skip
    if dilation not in (1, [1], (1,)):
        raise b.error("has a dilation, which is not supported")
    return _pooled(b, self, kernel_size, stride, padding, ceil_mode, MaxPooling1D)


def avg_pool1d(b: Builder, self: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True) -> Array:  # fmt: skip
    return _pooled(b, self, kernel_size, stride, padding, ceil_mode, AveragePooling1D)


def _pooled(
    b: Builder, value: Any, kernel: Any, stride: Any, padding: Any, ceil: Any, layer: Callable[..., Layer]
) -> Array:
    x = b.array(value)
    b.counts_axes()
    if len(x.order) != 3 or padding not in (0, [0], (0,)) or ceil:
        raise b.error("takes (batch, channels, steps) without padding and without ceil_mode")
    width, step = (each[0] if isinstance(each, (list, tuple)) and len(each) == 1 else each for each in (kernel, stride))
    step = width if step in ([], (), None) else step
    if not all(type(each) is int and 1 <= each < 1 << 31 for each in (width, step)):
        raise b.error("its sizes are not whole numbers")
    steps = known(x.sizes[2])
    count = 0 if steps is None else (steps - width) // step + 1
    name = b.add("pooling", layer(width, step), b.arranged(x, (0, 2, 1)))
    return Array(name, (b.batch, count if count > 0 else Unknown(), x.sizes[1]), (0, 2, 1))


def pad(b: Builder, self: Any, pad: Any, mode: str = "constant", value: Any = 0) -> Array:
    """Zeros before and after the steps."""
    x = b.array(self)
    b.counts_axes()
    amounts = list(pad) if isinstance(pad, (list, tuple)) else []
    padded = [len(x.order) - 1 - at // 2 for at, amount in enumerate(amounts) if amount != 0]
    plain = mode == "constant" and value in (0, None) and len(x.order) == 3 and len(amounts) in (2, 4, 6)
    if not plain or not padded or not all(type(each) is int and 0 <= each < 1 << 31 for each in amounts):
        raise b.error("pads with something else than zeros, or cuts something off")
    if any(x.order[dim] != 1 for dim in padded):
        raise b.error("pads another axis than the steps")
    pair = 2 * (len(x.order) - 1 - padded[0])
    before, after = amounts[pair : pair + 2]
    steps = known(x.shape[1])
    count = Unknown() if steps is None else steps + before + after
    name = b.add("padding", ZeroPadding1D(before, after), x.edge)
    return x._replace(edge=name, shape=(b.batch, count, x.shape[2]))
