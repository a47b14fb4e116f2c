"""Functions of TorchScript's language that are no operations on tensors: comparisons, casts, sums of sizes.

What cannot be known before a model runs, and what nothing that is followed depends on, is ``OPAQUE``. A function that
is given what it has no answer for, such as a tensor, gives ``NotImplemented``: then the call is one of an operation.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from ...graph.builder import Value
from ...graph.size import Expression, extreme, smallest
from .script_lists import LISTS, PlainError, extended, joined, repeated
from .script_values import OPAQUE, PACKED, Condition, FloatSize, Named, Opaque, compared, described

__all__ = ["KEEPS_TENSORS", "PLAIN", "equal", "negated"]

_RELATIONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
MAX_NUMBER = 1 << 62
Truth = bool | Condition | Opaque


def is_size(value: Any) -> bool:
    return type(value) is int or isinstance(value, Expression)


def is_number(value: Any) -> bool:
    return type(value) in (bool, int, float)


def equal(one: Any, other: Any) -> Truth:
    """Whether two sizes, numbers, words or lists of them are the same, as far as that is known."""
    if type(one) in (list, tuple) and type(other) in (list, tuple):
        if len(one) != len(other):
            return False
        return _all([_same_item(*pair) for pair in zip(one, other, strict=True)])
    return _same_item(one, other)


def _same_item(one: Any, other: Any) -> Truth:
    if isinstance(one, Expression) or isinstance(other, Expression):
        return compared(one, "==", other) if is_size(one) and is_size(other) else OPAQUE
    plain = (bool, int, float, str, type(None))
    return bool(one == other) if isinstance(one, plain) and isinstance(other, plain) else OPAQUE


def _all(truths: list[Truth]) -> Truth:
    if any(each is False for each in truths):
        return False
    unknown = [each for each in truths if each is not True]
    return True if not unknown else unknown[0] if len(unknown) == 1 else OPAQUE


def negated(value: Any) -> Any:
    if isinstance(value, Value):
        return NotImplemented
    if isinstance(value, Condition):
        return value.opposite()
    return not value if isinstance(value, bool) else OPAQUE


def _comparison(name: str) -> Callable[[Any, Any], Any]:
    def run(one: Any, other: Any) -> Any:
        if isinstance(one, Value) or isinstance(other, Value):
            return NotImplemented
        if name in ("eq", "ne"):
            truth = equal(one, other)
            return negated(truth) if name == "ne" else truth
        if is_size(one) and is_size(other):
            return compared(one, _RELATIONS[name], other)
        if is_number(one) and is_number(other):
            return getattr(operator, name)(one, other)
        return OPAQUE

    return run


def _contains(items: Any, value: Any) -> Any:
    if isinstance(items, dict):
        return value in items if isinstance(value, str) else OPAQUE
    if type(items) not in (list, tuple):
        return OPAQUE
    return negated(_all([negated(_same_item(item, value)) for item in items]))


def _same(one: Any, other: Any) -> Any:
    """``is`` and ``is not`` are asked of None, and of what may be it."""
    unknown = isinstance(one, Opaque) or isinstance(other, Opaque)
    return OPAQUE if unknown and one is not None and other is not None else one is other


def _of_sizes(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Arithmetic of sizes and whole numbers; of floats alone too."""

    def run(one: Any, other: Any) -> Any:
        sizes = is_size(one) and is_size(other)
        if not sizes and not (is_number(one) and is_number(other)):
            return NotImplemented
        made = function(one, other)
        if isinstance(made, int) and abs(made) > MAX_NUMBER:
            raise PlainError("makes a number of more than 62 bits")
        return made

    return run


def _added(one: Any, other: Any) -> Any:
    if type(one) in (list, tuple, str) and type(other) is type(one):
        return joined(one, other)
    return _of_sizes(operator.add)(one, other)


def _multiplied(one: Any, other: Any) -> Any:
    if type(one) is list or type(other) is list:
        return repeated(one, other) if type(one) is list else repeated(other, one)
    if isinstance(other, FloatSize):
        one, other = other, one
    if isinstance(one, Expression) and type(other) is float:
        one = FloatSize(one)
    if isinstance(one, FloatSize) and is_number(other):
        made = one.times(other)
        return NotImplemented if made is None else made
    return _of_sizes(operator.mul)(one, other)


def _floor_divided(one: Any, other: Any) -> Any:
    of_size = isinstance(one, Expression) or isinstance(other, Expression)
    if other == 0 or (of_size and (isinstance(other, Expression) or other < 0)):
        raise PlainError("divides by a size, by zero, or a size by a number below it")
    return one // other


def _remainder(one: Any, other: Any) -> Any:
    if isinstance(one, Expression) and not (type(other) is int and other > 0):
        raise PlainError("divides a size by what may not be positive")
    if not isinstance(one, Expression) and (isinstance(other, Expression) or other == 0):
        raise PlainError("divides by a size, or by zero")
    return one % other


def _divided(one: Any, other: Any, rounding_mode: Any = None) -> Any:
    rounding = rounding_mode
    if rounding == "floor" and is_size(one) and is_size(other):
        return _floor_divided(one, other)
    if rounding == "trunc" and is_size(one) and type(other) is int and other > 0 and smallest(one) >= 0:
        return one // other
    if rounding is None and isinstance(one, (Expression, FloatSize)) and type(other) in (int, float) and other > 0:
        whole = one if isinstance(one, FloatSize) else FloatSize(one)
        made = whole._replace(over=whole.over * int(other)) if float(other).is_integer() else whole.times(1 / other)
        return NotImplemented if made is None else made
    if rounding is not None or not is_number(one) or not is_number(other):
        return NotImplemented
    if other == 0:
        raise PlainError("divides by zero")
    return one / other


def _power(one: Any, other: Any) -> Any:
    if isinstance(one, Expression) or isinstance(other, Expression):
        return NotImplemented
    try:
        made = one**other
    except ArithmeticError:
        raise PlainError("makes a number that is too large, or divides by zero") from None
    if abs(other) > 64 or isinstance(made, complex):
        raise PlainError("makes a number that is too large, or no real one")
    return made


def _negative(value: Any) -> Any:
    return -value if is_number(value) or isinstance(value, Expression) else NotImplemented


def _of_number(function: Callable[[float], Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:
        if isinstance(value, Expression) and function in (math.floor, math.ceil):
            return value
        if isinstance(value, FloatSize) and function is math.floor:
            return value.size // value.over
        if not is_number(value):
            return NotImplemented
        try:
            return function(value)
        except (ArithmeticError, ValueError):
            raise PlainError(f"has no value for {value}") from None

    return run


def _extreme(name: str) -> Callable[..., Any]:
    def run(one: Any, other: Any = None) -> Any:
        if other is None and type(one) in (list, tuple) and one and all(map(is_size, one)):
            made = one[0]
            for each in one[1:]:
                made = extreme(name, made, each)
            return made
        if is_size(one) and is_size(other):
            return extreme(name, one, other)
        if is_number(one) and is_number(other):
            return max(one, other) if name == "max" else min(one, other)
        return NotImplemented

    return run


_WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def number_of(value: Any) -> Any:
    """The number that a tensor of one element is, where that is known."""
    return value.number if isinstance(value, Value) and value.number is not None else value


def _cast(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """int(), float() and bool() of a number, of a size, and of a weight that is one number."""

    def run(value: Any) -> Any:
        value = number_of(value)
        if isinstance(value, Expression):
            return compared(value, "!=", 0) if kind is bool else FloatSize(value) if kind is float else value
        if (isinstance(value, FloatSize) and kind is float) or (type(value) in PACKED and kind is int):
            return value
        if isinstance(value, FloatSize) and kind is int and smallest(value.size) >= 0 and _never_below_zero(value.size):
            return value.size // value.over
        if kind is bool and isinstance(value, (Condition, Opaque)):
            return value
        if isinstance(value, Value) and kind is float and value.rank == 0:
            return value
        if kind is float and type(value) is str and value in _WORDS:
            return _WORDS[value]
        if type(value) not in (bool, int, float):
            raise PlainError(f"takes {described(value)}, wanted a number that is known")
        if kind is int and not math.isfinite(value):
            raise PlainError(f"takes {value}, wanted a finite number")
        return kind(value)

    return run


def _never_below_zero(size: Expression) -> bool:
    """Whether it is so for symbols that may be 0 too."""
    return all(count >= 0 for _, count in size.terms)


def _count(items: Any) -> Any:
    return len(items) if type(items) in (list, tuple, dict, str) else NotImplemented


def _is_instance(value: Any, kind: Any) -> Any:
    name = kind.name if isinstance(kind, Named) else ""
    tensor = isinstance(value, (Value, *PACKED))
    if name == "Tensor":
        return tensor
    return type(value) is list if name == "List" else OPAQUE


def _of_truths(function: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """``any`` or ``all`` of a list of truths."""

    def run(items: Any, *more: Any) -> Any:
        if type(items) is not list or more:
            return NotImplemented
        known = [bool(each) for each in items if is_number(each)]
        if len(known) == len(items) or function([*known, function is all]) != (function is all):
            return function(known)
        return OPAQUE

    return run


def _derived(index: Any, start: Any, step: Any) -> Any:
    return start + index * step


def _range_length(start: Any, stop: Any, step: Any) -> Any:
    """How many numbers a range has; of open sizes with a step of 1, as where it begins before its end."""
    if all(type(each) is int for each in (start, stop, step)) and step:
        return len(range(start, stop, step))
    if step == 1 and is_size(start) and is_size(stop):
        return extreme("max", stop - start, 0)
    raise PlainError("has a range whose bounds or step are not known")


def _last(*args: Any) -> Any:
    """What is only called something else."""
    return args[-1] if args else OPAQUE


def _opaque(*args: Any) -> Any:
    return OPAQUE


PLAIN: dict[str, Callable[..., Any]] = {
    **LISTS,
    **dict.fromkeys(("annotate", "unchecked_cast", "ops.prim.unchecked_cast"), _last),
    "ops.prim.NumToTensor": _last,
    **dict.fromkeys(
        (
            "uninitialized", "ops.prim.device", "torch.device", "torch.format", "torch.warn",
            "torch.percentFormat", "torch.str", "ops.prim.name",
        ),
        _opaque,
    ),
    **{name: _cast(kind) for name, kind in (("int", int), ("float", float), ("bool", bool))},
    **{f"torch.{name}": _comparison(name) for name in _RELATIONS},
    "torch.add": _added,
    "torch.add_": lambda one, other: extended(one, other) if type(one) is list else NotImplemented,
    "torch.mul": _multiplied,
    **{f"torch.{name}": _of_sizes(function) for name, function in (
        ("sub", operator.sub), ("floordiv", _floor_divided), ("floor_divide", _floor_divided),
        ("remainder", _remainder), ("pow", _power),
    )},
    "torch.div": _divided,
    "torch.neg": _negative,
    "torch.max": _extreme("max"),
    "torch.min": _extreme("min"),
    "ops.prim.max": _extreme("max"),
    "ops.prim.min": _extreme("min"),
    "ops.prim.abs": _of_number(abs),
    **{f"torch.{name}": _of_number(getattr(math, name)) for name in ("floor", "ceil", "sqrt", "log", "exp")},
    "torch.__contains__": _contains,
    "torch.__is__": _same,
    "torch.__isnot__": lambda one, other: negated(_same(one, other)),
    "torch.__not__": negated,
    "torch.__derive_index": _derived,
    "torch.__range_length": _range_length,
    "torch.is_grad_enabled": lambda: True,  # which keeps PyTorch's own layers from their fused operations
    "torch.is_autocast_enabled": lambda: False,
    "torch.is_autocast_cpu_enabled": lambda: False,
    "ops.prim.layout": lambda value: 0,  # strided
    "ops.prim.type": lambda device: "cpu",
    "ops.prim.is_nested": lambda value: False,
    "ops.prim.requires_grad": lambda value: True,  # the same
    "isinstance": _is_instance,
    "ops.prim.is_cuda": lambda value: False,
    "ops.prim.is_quantized": lambda value: False,
    "torch.is_tracing": lambda: False,
    "torch.is_scripting": lambda: True,
    "torch.any": _of_truths(any),
    "torch.all": _of_truths(all),
    "torch.len": _count,
}  # fmt: skip
# They pass their operands on as they are, so that what is written to a tensor is seen under each of its names.
KEEPS_TENSORS = frozenset((*LISTS, "annotate", "ops.prim.unchecked_cast", "torch.add_", "unchecked_cast"))
