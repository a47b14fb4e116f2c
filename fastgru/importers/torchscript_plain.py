"""Functions of TorchScript's language that are no operations on tensors: comparisons, casts, lists.

What cannot be known before a model runs, and what nothing that is followed depends on, is ``OPAQUE``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from .aten import Unknown, same_size

__all__ = ["OPAQUE", "PLAIN", "Opaque"]

MAX_ITEMS = 1000  # of lists that are compared


class Opaque:
    """A device, a text made of parts, a truth that is not known."""


OPAQUE = Opaque()


def _equal(one: Any, other: Any) -> bool | Opaque:
    """Whether two sizes, numbers, words or lists of them are the same, as far as that is known."""
    if type(one) in (list, tuple) and type(other) in (list, tuple):
        if len(one) != len(other):
            return False
        pairs = zip(one[:MAX_ITEMS], other, strict=False)
        return _all([_same(*pair) for pair in pairs])
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
    return _not(_all([_not(_same(item, value)) for item in items[:MAX_ITEMS]]))


def _compared(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(one: Any, other: Any) -> Any:
        return compare(one, other) if type(one) in (int, float) and type(other) in (int, float) else OPAQUE

    return run


def _taking(count: int, function: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    """The function where it is called with that many arguments."""
    return lambda args: function(*args) if len(args) == count else OPAQUE


def _last(args: list[Any]) -> Any:
    """A cast is what it casts."""
    return args[-1] if args else OPAQUE


def _opaque(args: list[Any]) -> Any:
    return OPAQUE


def _appended(items: Any, value: Any) -> Any:
    if type(items) is not list or len(items) >= MAX_ITEMS:
        return OPAQUE
    items.append(value)
    return items


_CASTS = ("annotate", "bool", "float", "int", "ops.prim.NumToTensor", "torch.list", "unchecked_cast")
_WITHOUT_EFFECT = (
    "ops.prim.device", "ops.prim.dtype", "ops.prim.layout", "torch.device", "torch.format", "uninitialized"
)  # fmt: skip

PLAIN: dict[str, Callable[[list[Any]], Any]] = {
    **dict.fromkeys(
        ("annotate", "unchecked_cast", "int", "float", "bool", "ops.prim.NumToTensor", "torch.list"), _last
    ),
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
    "torch.len": _taking(1, lambda items: len(items) if type(items) in (list, tuple) else OPAQUE),
    "torch.lt": _taking(2, _compared(operator.lt)),
    "torch.ne": _taking(2, lambda one, other: _not(_equal(one, other))),
    "torch.neg": _taking(1, lambda value: -value if type(value) in (int, float) else OPAQUE),
}
