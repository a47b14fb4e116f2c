"""Functions of TorchScript's language that are no operations on tensors: comparisons, casts, lists.

What cannot be known before a model runs, and what nothing that is followed depends on, is ``OPAQUE``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from .aten import Unknown, Weight, described, known, same_size

__all__ = ["OPAQUE", "PLAIN", "Opaque", "PlainError"]

MAX_ITEMS = 2000  # of one list


class Opaque:
    """A device, a text made of parts, a truth that is not known."""

    described = "what is not known before the model runs"


OPAQUE = Opaque()


class PlainError(Exception):
    """A function whose effect would be lost; the message says what it is given."""


def _equal(one: Any, other: Any) -> bool | Opaque:
    """Whether two sizes, numbers, words or lists of them are the same, as far as that is known."""
    if type(one) in (list, tuple) and type(other) in (list, tuple):
        if len(one) != len(other):
            return False
        return _all([_same(*pair) for pair in zip(one, other, strict=True)])
    return _same(one, other)


def _same(one: Any, other: Any) -> bool | Opaque:
    if isinstance(one, Unknown) or isinstance(other, Unknown):
        return True if same_size(one, other) else OPAQUE
    plain = (bool, int, float, str, type(None))
    return bool(one == other) if isinstance(one, plain) and isinstance(other, plain) else OPAQUE


def _all(truths: list[bool | Opaque]) -> bool | Opaque:
    return False if False in truths else OPAQUE if OPAQUE in truths else True


def _not(value: Any) -> bool | Opaque:
    return not value if isinstance(value, bool) else OPAQUE


def _contains(items: Any, value: Any) -> bool | Opaque:
    if type(items) not in (list, tuple):
        return OPAQUE
    return _not(_all([_not(_same(item, value)) for item in items]))


def _compared(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(one: Any, other: Any) -> Any:
        return compare(one, other) if type(one) in (int, float) and type(other) in (int, float) else OPAQUE

    return run


def _taking(count: int, function: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    """The function where it is called with that many arguments."""
    return lambda args: function(*args) if len(args) == count else OPAQUE


def _last(args: list[Any]) -> Any:
    """What is only called something else."""
    return args[-1] if args else OPAQUE


def _opaque(args: list[Any]) -> Any:
    return OPAQUE


_WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def _cast(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """int(), float() and bool() of a number, of a size, and of a weight that is one number."""

    def run(value: Any) -> Any:
        if isinstance(value, Weight) and value.array.ndim == 0 and value.array.dtype.kind in "biuf":
            value = value.array.item()
        if isinstance(value, Unknown):
            number = known(value)
            if number is None:
                return OPAQUE if kind is bool else value
            value = number
        if kind is float and type(value) is str and value in _WORDS:
            return _WORDS[value]
        if type(value) not in (bool, int, float):
            raise PlainError(f"takes {described(value)}, wanted a number")
        if kind is int and not math.isfinite(value):
            raise PlainError(f"takes {value}, wanted a finite number")
        return kind(value)

    return run


def _appended(items: Any, value: Any) -> Any:
    if type(items) is not list:
        raise PlainError(f"takes {described(items)}, wanted a list")
    if len(items) >= MAX_ITEMS:
        raise PlainError(f"makes a list of more than {MAX_ITEMS} items, which fastgru does not follow")
    items.append(value)
    return items


def _copied(args: list[Any]) -> Any:
    return list(args[-1]) if args and type(args[-1]) is list else _last(args)


PLAIN: dict[str, Callable[[list[Any]], Any]] = {
    **dict.fromkeys(("annotate", "unchecked_cast", "ops.prim.NumToTensor"), _last),
    **{kind.__name__: _taking(1, _cast(kind)) for kind in (int, float, bool)},
    **dict.fromkeys(
        ("uninitialized", "ops.prim.device", "ops.prim.dtype", "ops.prim.layout", "torch.device", "torch.format"),
        _opaque,
    ),
    "torch.__contains__": _taking(2, _contains),
    "torch.__is__": _taking(2, lambda one, other: one is other),
    "torch.__isnot__": _taking(2, lambda one, other: one is not other),
    "torch.__not__": _taking(1, _not),
    "torch.append": _taking(2, _appended),
    "torch.eq": _taking(2, _equal),
    "torch.ge": _taking(2, _compared(operator.ge)),
    "torch.gt": _taking(2, _compared(operator.gt)),
    "torch.le": _taking(2, _compared(operator.le)),
    "torch.list": _copied,
    "torch.len": _taking(1, lambda items: len(items) if type(items) in (list, tuple) else OPAQUE),
    "torch.lt": _taking(2, _compared(operator.lt)),
    "torch.ne": _taking(2, lambda one, other: _not(_equal(one, other))),
}
