"""Operations on every element by itself: functions of one value, arithmetic, comparisons and choices of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import activations
from ...errors import ShapeError, UnsupportedModelError
from ..graph import BOOLEAN, FLOAT, INTEGER, Tensor
from ..layout import Layout, broadcast
from ..size import Size, Sizes, Unequal, size_text
from .operation import Array, Call, Compute, Operation, Setup, one_input

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..writer import Writer

__all__ = ["Activation", "Binary", "Cast", "Clamp", "Unary", "Where", "broadcast_shapes", "by_program"]


class _Pointwise(Operation):
    """One number of each input makes one of the output; sizes of 1 and missing axes are repeated."""

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        return [broadcast(inputs)]


class Activation(_Pointwise):
    """An activation by Keras's or PyTorch's name in lower case, on every element, and its options."""

    fresh = True
    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        activations.check_options(self.name, dict(self.options), "activation")
        if activations.resolved(self)[0] not in activations.ELEMENTWISE:
            raise UnsupportedModelError(f"{self.name} works along an axis, and is an operation of its own")
        return [Tensor(given.shape)]

    def prepare(self, setup: Setup) -> Compute:
        from ...options import kernel_table

        name, options = activations.resolved(self)
        kernels = kernel_table() if setup.options.get("backend") != "blas" else None
        function = activations.activation(name, options, setup.dtype, kernels)
        return lambda arrays, call: [
            function(np.ascontiguousarray(arrays[0], call.dtype)).reshape(arrays[0].shape)  # it makes one axis of none
        ]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        with np.errstate(all="ignore"):
            made = activations.formula(self)(np.atleast_1d(arrays[0]).astype(np.float64))
        return [np.asarray(made, call.dtype).reshape(arrays[0].shape)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        from ...options import kernel_table

        x = writer.cast(inputs[0], "f")
        name, options = activations.resolved(self)
        if x is None or name == "linear":
            return None if x is None else [x if x.dense else writer.together(x)]
        if name in activations.GATE_ACTIVATIONS and not options:
            return [writer.activate(kernel_table(), activations.GATE_ACTIVATIONS.index(name), x)]
        found = activations.loop_of(name, options)
        made = None if found is None else writer.elementwise(found[0], [x], "f", *found[1:])
        return None if made is None else [made]


def _erf(x: Array) -> Array:
    """2 P(x sqrt 2) - 1 with P the normal distribution, which gelu holds: gelu(u) = u P(u)."""
    wide = np.atleast_1d(x).astype(np.float64) * np.sqrt(2.0)
    with np.errstate(all="ignore"):
        half = activations.formula("gelu")(wide) / wide
    made = np.where(wide == 0, 0.0, np.where(np.isinf(wide), np.sign(wide), 2 * half - 1))
    return np.asarray(made).reshape(x.shape)


def _sign(x: Array) -> Array:
    """-1, 0 or 1; 0 of NaN, as PyTorch has it."""
    return np.asarray(np.where(np.isnan(x), np.zeros((), x.dtype), np.sign(x)))


# By name: the function, and the kind of its result where that is not the kind of numbers it takes.
UNARY: dict[str, tuple[Callable[..., Any], str | None]] = {
    "abs": (np.abs, None), "acos": (np.arccos, FLOAT), "acosh": (np.arccosh, FLOAT), "asin": (np.arcsin, FLOAT),
    "asinh": (np.arcsinh, FLOAT), "atan": (np.arctan, FLOAT), "atanh": (np.arctanh, FLOAT),
    "cosh": (np.cosh, FLOAT), "sinh": (np.sinh, FLOAT), "ceil": (np.ceil, None), "cos": (np.cos, FLOAT),
    "erf": (_erf, FLOAT),
    "exp": (np.exp, FLOAT), "expm1": (np.expm1, FLOAT), "floor": (np.floor, None), "isfinite": (np.isfinite, BOOLEAN),
    "isinf": (np.isinf, BOOLEAN), "isnan": (np.isnan, BOOLEAN), "log": (np.log, FLOAT), "log10": (np.log10, FLOAT),
    "log1p": (np.log1p, FLOAT), "log2": (np.log2, FLOAT), "logical_not": (np.logical_not, BOOLEAN),
    "neg": (np.negative, None), "reciprocal": (lambda x: 1 / x, FLOAT), "round": (np.round, None),
    "rsqrt": (lambda x: 1 / np.sqrt(x), FLOAT), "sign": (_sign, None), "sin": (np.sin, FLOAT),
    "sqrt": (np.sqrt, FLOAT), "square": (np.square, None), "tan": (np.tan, FLOAT), "trunc": (np.trunc, None),
}  # fmt: skip


class Unary(_Pointwise):
    """A function of every element, by its name in ``UNARY``."""

    name: str

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if self.name not in UNARY:
            raise UnsupportedModelError(f"{self.name!r} is not known; known are {', '.join(UNARY)}")
        made = UNARY[self.name][1]
        if made is None and given.dtype == BOOLEAN:
            raise ShapeError("takes numbers, got booleans")
        return [Tensor(given.shape, made or given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        function, made = UNARY[self.name]
        x = arrays[0].astype(call.dtype) if made == FLOAT and arrays[0].dtype.kind != "f" else arrays[0]
        if made == FLOAT and x.dtype == np.float32:
            return [by_program(self.name, [x])]
        with np.errstate(all="ignore"):
            result = np.asarray(function(x))
        return [result if result.dtype.kind != "f" else result.astype(call.dtype, copy=False)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        kind = UNARY[self.name][1]
        x = writer.cast(inputs[0], "f") if kind == FLOAT else inputs[0]
        made = None if x is None else writer.elementwise(self.name, [x], "b" if kind == BOOLEAN else x.kind)
        return None if made is None else [made]


BINARY: dict[str, tuple[Callable[..., Any], str | None]] = {
    "add": (np.add, None), "atan2": (np.arctan2, FLOAT), "div": (np.true_divide, FLOAT), "eq": (np.equal, BOOLEAN),
    "floordiv": (np.floor_divide, None), "fmod": (np.fmod, None), "ge": (np.greater_equal, BOOLEAN),
    "gt": (np.greater, BOOLEAN), "le": (np.less_equal, BOOLEAN), "logical_and": (np.logical_and, BOOLEAN),
    "logical_or": (np.logical_or, BOOLEAN), "logical_xor": (np.logical_xor, BOOLEAN), "lt": (np.less, BOOLEAN),
    "maximum": (np.maximum, None), "minimum": (np.minimum, None), "mul": (np.multiply, None),
    "ne": (np.not_equal, BOOLEAN), "pow": (np.power, None), "remainder": (np.remainder, None),
    "sub": (np.subtract, None),
}  # fmt: skip


class Binary(_Pointwise):
    """A function of two numbers, by its name in ``BINARY``; integers stay integers but in a quotient."""

    name: str

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if self.name not in BINARY:
            raise UnsupportedModelError(f"{self.name!r} is not known; known are {', '.join(BINARY)}")
        if len(inputs) != 2:
            raise ShapeError(f"takes two inputs, got {len(inputs)}")
        made = BINARY[self.name][1] or _joined_kind([each.dtype for each in inputs])
        return [Tensor(broadcast_shapes([each.shape for each in inputs]), made)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        function, made = BINARY[self.name]
        one, other = _alike(arrays, call, floats=made == FLOAT, numbers=made is None)
        if self.name == "pow" and one.dtype == np.float32:
            return [by_program("pow", [one, other])]
        with np.errstate(all="ignore"):
            result = np.asarray(function(one, other))
        if made is None and all(array.dtype.kind == "b" for array in arrays):
            return [result.astype(bool)]
        return [result.astype(call.dtype, copy=False) if result.dtype.kind == "f" else result]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        kind = BINARY[self.name][1]
        parts = _cast_alike(inputs, writer, floats=kind == FLOAT, numbers=kind is None)
        if parts is None or (kind is None and all(each.kind == "b" for each in inputs)):
            return None
        made = writer.elementwise(self.name, parts, "b" if kind == BOOLEAN else parts[0].kind)
        return None if made is None else [made]


class Where(_Pointwise):
    """The second input where the first holds, and elsewhere the third."""

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) != 3 or inputs[0].dtype != BOOLEAN:
            raise ShapeError(f"takes booleans and two values, got {', '.join(map(str, inputs)) or 'nothing'}")
        kind = _joined_kind([each.dtype for each in inputs[1:]])
        return [Tensor(broadcast_shapes([each.shape for each in inputs]), kind)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        one, other = _alike(arrays[1:], call)
        return [np.where(arrays[0], one, other)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        parts = _cast_alike(inputs[1:], writer)
        made = None if parts is None else writer.elementwise("where", [inputs[0], *parts], parts[0].kind)
        return None if made is None else [made]


class Clamp(_Pointwise):
    """``min(max(x, low), high)``; None is no bound."""

    low: float | None = None
    high: float | None = None

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        for bound in (self.low, self.high):
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, (int, float))):
                raise ShapeError(f"a bound is {bound!r}, wanted a number")
        floats = any(isinstance(bound, float) for bound in (self.low, self.high))
        return [Tensor(given.shape, FLOAT if floats else given.dtype)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x = arrays[0]
        if x.dtype.kind != "f" and any(isinstance(bound, float) for bound in (self.low, self.high)):
            x = x.astype(call.dtype)
        if self.low is not None:
            x = np.maximum(x, np.asarray(self.low, x.dtype))
        if self.high is not None:
            x = np.minimum(x, np.asarray(self.high, x.dtype))
        return [x]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        low = -np.inf if self.low is None else float(np.float32(self.low))
        high = np.inf if self.high is None else float(np.float32(self.high))
        if inputs[0].kind != "f" or low != low or high != high:
            return None
        made = writer.elementwise("clipped", inputs, "f", low, high)
        return None if made is None else [made]


class Cast(_Pointwise):
    """The same values as another kind: towards zero for integers, whether they are not zero for booleans."""

    kind: str

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if self.kind not in (FLOAT, INTEGER, BOOLEAN):
            raise UnsupportedModelError(f"there is no kind {self.kind!r}")
        return [Tensor(given.shape, self.kind)]

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        dtype = {FLOAT: call.dtype, INTEGER: np.dtype(np.int64), BOOLEAN: np.dtype(bool)}[self.kind]
        with np.errstate(all="ignore"):
            return [arrays[0].astype(dtype, copy=False)]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        kind = {FLOAT: "f", INTEGER: "i", BOOLEAN: "b"}[self.kind]
        made = writer.cast(inputs[0], kind)
        return None if made is None else [made]


def broadcast_shapes(shapes: Sequence[Sizes]) -> Sizes:
    """The shape of several values taken together, aligned at their last axes.

    Raises
    ------
    ShapeError
        Two sizes differ and neither is 1.
    """
    rank = max(len(shape) for shape in shapes)
    sizes: list[Size] = []
    for place in range(-rank, 0):
        made: Size = 1
        for shape in shapes:
            size = shape[place] if len(shape) >= -place else 1
            if made == 1 or made == size:
                made = size
            elif size != 1:
                if isinstance(made, int) == isinstance(size, int):
                    raise Unequal(f"got shapes {' and '.join(map(size_text, shapes))}, which do not fit", made, size)
                made = made if isinstance(made, int) else size  # checked by every call
        sizes.append(made)
    return tuple(sizes)


def _joined_kind(kinds: Sequence[str]) -> str:
    return FLOAT if FLOAT in kinds else INTEGER if INTEGER in kinds else BOOLEAN


def by_program(name: str, arrays: Sequence[Array], first: float = 0, second: float = 0) -> Array:
    """A function of float32 numbers as programs compute it, where libraries differ in the last digit."""
    from ...engine.program import elementwise

    return elementwise(name, [np.asarray(each, order="C") for each in np.broadcast_arrays(*arrays)], first, second)


def _alike(arrays: Sequence[Array], call: Call, floats: bool = False, numbers: bool = False) -> list[Array]:
    """Arrays as one kind: numbers of the model's dtype where one of them has such."""
    if floats or any(array.dtype.kind == "f" for array in arrays):
        return [array.astype(call.dtype, copy=False) for array in arrays]
    if numbers or len({array.dtype for array in arrays}) > 1:
        return [array.astype(np.int64, copy=False) for array in arrays]
    return list(arrays)


def _cast_alike(
    inputs: Sequence[Strided], writer: Writer, floats: bool = False, numbers: bool = False
) -> list[Strided] | None:
    """``_alike`` by instructions."""
    kind = None
    if floats or any(each.kind == "f" for each in inputs):
        kind = "f"
    elif numbers or len({each.kind for each in inputs}) > 1:
        kind = "i"
    parts = [each if kind is None else writer.cast(each, kind) for each in inputs]
    return None if any(each is None for each in parts) else [each for each in parts if each is not None]
