"""PyTorch's operations on every element, and on two or three values element by element."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ...graph.builder import Value
from ...graph.graph import BOOLEAN, FLOAT
from ...graph.operations.elementwise import Activation, Binary, Cast, Clamp, Unary, Where
from ...graph.operations.shape import View
from ...graph.size import Expression
from ..calls import Context

__all__ = [
    "activation", "addcdiv", "addcmul", "binary", "clamp", "compared", "converted", "divided", "gelu", "lerp",
    "logical", "masked_fill", "nan_to_num", "powered", "prelu", "unary", "where",
]  # fmt: skip


def unary(name: str) -> Callable[..., Any]:
    """The operation that is this function of every element."""

    def run(c: Context, self: Any) -> Any:
        if isinstance(self, (int, float, Expression)) and name == "neg":
            return -self
        return c.add(Unary(name), self)

    return run


def activation(name: str, **options: tuple[str, float]) -> Callable[..., Value]:
    """The operation that is this activation; ``options`` have our name for each of PyTorch's, and PyTorch's default."""

    def run(c: Context, self: Any, **given: Any) -> Value:
        numbers = {ours: float(c.number(given.get(key, usual), key)) for key, (ours, usual) in options.items()}
        made: Value = c.add(Activation(name, tuple(sorted(numbers.items()))), self)
        return made

    return run


def gelu(c: Context, self: Any, approximate: Any = "none") -> Any:
    options = (("approximate", True),) if approximate == "tanh" else ()
    return c.add(Activation("gelu", options), self)


def rrelu(c: Context, self: Any, lower: Any = 1 / 8, upper: Any = 1 / 3, training: Any = False) -> Any:
    if training:
        raise c.error("draws slopes at random, as in training; call module.eval() before it is exported")
    slope = (c.number(lower, "lower") + c.number(upper, "upper")) / 2
    return c.add(Activation("leaky_relu", (("negative_slope", slope),)), self)


def frac(c: Context, self: Any) -> Any:
    return c.add(Binary("sub"), self, c.add(Unary("trunc"), self))


def erfc(c: Context, self: Any) -> Any:
    return c.add(Binary("sub"), 1.0, c.add(Unary("erf"), self))


def prelu(c: Context, self: Any, weight: Any) -> Any:
    """One slope for all, or one for each place along axis 1."""
    x = c.value(self)
    slopes = c.weight(weight, None)
    if len(slopes) > 1 and x.rank < 2:
        raise c.error(f"has {len(slopes)} slopes for a value of {x.rank} axes")
    if len(slopes) > 1:
        c.builder.guard(x.shape[1], "==", len(slopes), f"{c.name}{c.place} has a slope for each place of axis 1")
        slopes = slopes.reshape(-1, *(1,) * (x.rank - 2))
    negative = c.add(Binary("mul"), x, c.builder.constant(slopes))
    return c.add(Where(), c.add(Binary("gt"), x, 0.0), x, negative)


_NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "maximum": max, "minimum": min,
}  # fmt: skip
MAX_NUMBER = 1 << 40


def binary(name: str, *, reverse: bool = False) -> Callable[..., Any]:
    """An operation of two operands; ``reverse`` has them the other way round."""

    def run(c: Context, self: Any, other: Any, alpha: Any = 1) -> Any:
        if alpha != 1:
            factor = c.number(alpha, "alpha")
            self, other = (
                (c.add(Binary("mul"), self, factor), other) if reverse else (self, c.add(Binary("mul"), other, factor))
            )
        one, two = (other, self) if reverse else (self, other)
        if not isinstance(one, Value) and not isinstance(two, Value):
            return _of_numbers(c, name, one, two)
        return c.add(Binary(name), one, two)

    return run


def _of_numbers(c: Context, name: str, one: Any, two: Any) -> Any:
    """Of sizes and numbers: worked out now."""
    for each in (one, two):
        if not isinstance(each, (int, float, Expression)) or (
            isinstance(each, (int, float)) and abs(each) > MAX_NUMBER
        ):
            raise c.error("takes something that is neither a tensor nor a number")
    if name in ("add", "sub", "mul") and not (
        (isinstance(one, float) and isinstance(two, Expression))
        or (isinstance(two, float) and isinstance(one, Expression))
    ):
        return _NUMBERS[name](one, two)
    if isinstance(one, (int, float)) and isinstance(two, (int, float)) and name in _NUMBERS:
        return _NUMBERS[name](one, two)
    return c.add(Binary(name), one, two)


def divided(c: Context, self: Any, other: Any, rounding_mode: Any = None) -> Any:
    """A quotient; of whole numbers rounded down or towards zero where that is asked for."""
    if rounding_mode is None and isinstance(self, (int, float)) and isinstance(other, (int, float)) and other:
        return self / other
    if rounding_mode is None:
        return c.add(Binary("div"), self, other)
    if rounding_mode == "floor":
        return floor_divided(c, self, other)
    if rounding_mode != "trunc":
        raise c.error(f"rounding_mode is {str(rounding_mode)[:40]}, wanted floor or trunc")
    made = c.add(Unary("trunc"), c.add(Binary("div"), self, other))
    whole = all(isinstance(each, int) or (isinstance(each, Value) and each.dtype != FLOAT) for each in (self, other))
    return c.add(Cast("integer"), made) if whole else made


def floor_divided(c: Context, self: Any, other: Any) -> Any:
    numbers = not isinstance(self, Value) and not isinstance(other, Value)
    if numbers and type(other) is int and other > 0 and isinstance(self, (int, Expression)):
        return self // other
    if numbers and isinstance(self, (int, float)) and isinstance(other, (int, float)) and other:
        return self // other
    return c.add(Binary("floordiv"), self, other)


def powered(c: Context, self: Any, exponent: Any) -> Any:
    if not isinstance(self, Value) and not isinstance(exponent, Value):
        if isinstance(self, Expression) and exponent in (1, 2):
            return self if exponent == 1 else self * self
        if isinstance(self, (int, float)) and isinstance(exponent, (int, float)) and abs(exponent) < 64:
            made = self**exponent
            if isinstance(made, (int, float)) and abs(made) < MAX_NUMBER:
                return made
    if exponent == 0.5:
        return c.add(Unary("sqrt"), self)
    if exponent in (2, 2.0):
        return c.add(Unary("square"), self)
    return c.add(Binary("pow"), self, exponent)


def compared(name: str) -> Callable[..., Any]:
    """A comparison of two values; of sizes it is known or it is not."""

    def run(c: Context, self: Any, other: Any) -> Any:
        return c.add(Binary(name), self, other)

    return run


def logical(name: str) -> Callable[..., Any]:
    """``and``, ``or``, ``xor`` of booleans, also written as operations on bits."""

    def run(c: Context, self: Any, other: Any) -> Any:
        one, two = c.value(self), c.value(other)
        if not c.name.startswith("logical") and (one.dtype != BOOLEAN or two.dtype != BOOLEAN):
            raise c.error("takes the bits of integers; only booleans are supported")
        return c.add(
            Binary(name), *(each if each.dtype == BOOLEAN else c.add(Cast(BOOLEAN), each) for each in (one, two))
        )

    return run


def logical_not(c: Context, self: Any) -> Any:
    x = c.value(self)
    if c.name == "bitwise_not" and x.dtype != BOOLEAN:
        raise c.error("takes the bits of integers; only booleans are supported")
    return c.add(Unary("logical_not"), x if x.dtype == BOOLEAN else c.add(Cast(BOOLEAN), x))


def clamp(c: Context, self: Any, min: Any = None, max: Any = None) -> Any:
    for bound, name in ((min, "maximum"), (max, "minimum")):
        if isinstance(bound, Value):
            self = c.add(Binary(name), self, bound)
    low, high = (
        None if bound is None or isinstance(bound, Value) else c.number(bound, "a bound") for bound in (min, max)
    )
    return self if low is None and high is None else c.add(Clamp(low, high), self)


def where(c: Context, condition: Any, self: Any = None, other: Any = None) -> Any:
    if self is None or other is None:
        raise c.error("gives places that are not known before the model runs")
    return c.add(Where(), _boolean(c, condition), self, other)


def _boolean(c: Context, given: Any) -> Value:
    value = c.value(given)
    made: Value = value if value.dtype == BOOLEAN else c.add(Cast(BOOLEAN), value)
    return made


def masked_fill(c: Context, self: Any, mask: Any, value: Any) -> Any:
    x = c.value(self)
    made = c.add(Where(), _boolean(c, mask), value, x)
    return made if made.dtype == x.dtype else c.add(Cast(x.dtype), made)


def index_put(c: Context, self: Any, indices: Any, values: Any, accumulate: Any = False) -> Any:
    """``x[mask] = value``, of a mask over the first axes, and a value that is the same for all of its places."""
    x, value = c.value(self), c.value(values)
    given = list(indices) if isinstance(indices, (list, tuple)) else [indices]
    mask = c.value(given[0]) if len(given) == 1 else None
    if accumulate or mask is None or mask.dtype != BOOLEAN or mask.rank > x.rank:
        raise c.error("writes to the places that integers name, of which scatter_() and slices are followed")
    for one, other in zip(mask.shape, x.shape, strict=False):
        c.builder.same(one, other, f"{c.name}{c.place} takes a mask of the first axes")
    if value.rank and all(size == 1 for size in value.shape):
        value = c.add(View(()), value)
    if value.rank > x.rank - mask.rank:
        raise c.error("writes a value for each place where a mask holds, whose number is not known; use torch.where()")
    return masked_fill(c, x, c.add(View((*mask.shape, *(1,) * (x.rank - mask.rank))), mask), value)


def nan_to_num(c: Context, self: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Any:
    largest = 3.4028234663852886e38
    x = c.value(self)
    x = c.add(Where(), c.add(Unary("isnan"), x), c.number(0.0 if nan is None else nan, "nan"), x)
    high = c.number(largest if posinf is None else posinf, "posinf")
    low = c.number(-largest if neginf is None else neginf, "neginf")
    x = c.add(Where(), c.add(Binary("eq"), x, float("inf")), float(high), x)
    return c.add(Where(), c.add(Binary("eq"), x, float("-inf")), float(low), x)


def lerp(c: Context, self: Any, end: Any, weight: Any) -> Any:
    return c.add(Binary("add"), self, c.add(Binary("mul"), weight, c.add(Binary("sub"), end, self)))


def addcmul(c: Context, self: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
    product = c.add(Binary("mul"), tensor1, tensor2)
    return c.add(Binary("add"), self, product if value == 1 else c.add(Binary("mul"), product, value))


def addcdiv(c: Context, self: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
    product = c.add(Binary("div"), tensor1, tensor2)
    return c.add(Binary("add"), self, product if value == 1 else c.add(Binary("mul"), product, value))


def converted(c: Context, self: Any, dtype: Any = None) -> Any:
    """A value of another type of number; to a half is to round, which is refused."""
    x = c.value(self)
    kind = c.kinds.get(dtype) if type(dtype) is int else x.dtype
    if kind == "half" and x.dtype == FLOAT:
        raise c.error("rounds numbers to half precision; fastgru computes in float32")
    if kind == "narrow":
        raise c.error("converts to integers of 8 or 16 bits; fastgru computes with 64")
    kind = {"half": FLOAT, None: None}.get(kind, kind)
    if kind is None:
        raise c.error(f"converts to a type that is not known, {str(dtype)[:40]}")
    return x if kind == x.dtype else c.add(Cast(kind), x)


def converted_as(c: Context, self: Any, other: Any) -> Any:
    x, kind = c.value(self), c.value(other).dtype
    return x if kind == x.dtype else c.add(Cast(kind), x)
