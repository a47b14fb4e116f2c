"""Calls of TorchScript's operations as calls of the table: text has no names of overloads, operands tell them apart.

Owns what only such code has: devices and dtypes that stand among the operands, numbers as tensors without axes, and
the few functions that make a tensor of numbers. What an operation does is for ``table``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...graph.builder import Value
from ...graph.graph import BOOLEAN, FLOAT, INTEGER
from ...graph.operations.elementwise import Binary, Cast
from ...graph.size import Expression
from ..calls import Context
from .script_lists import MAX_ITEMS
from .script_plain import number_of
from .script_values import PACKED, Condition, FloatSize, Module, Named, Opaque, ScriptObject, described
from .table import bare, call

__all__ = ["CODES", "KINDS", "called", "rank_of"]

# As the code counts types. Half is not among the floats: to take it is to round.
KINDS = {
    **dict.fromkeys((0, 1, 2), "narrow"), **dict.fromkeys((3, 4), INTEGER), **dict.fromkeys((6, 7), FLOAT),
    **dict.fromkeys((5, 15), "half"), 11: BOOLEAN,
}  # fmt: skip
CODES = {FLOAT: 6, INTEGER: 4, BOOLEAN: 11}

Named_ = Mapping[str, Any]


def called(c: Context, name: str, args: Sequence[Any], named: Named_) -> Any:
    """What ``torch.name(*args, **named)`` gives.

    Raises
    ------
    UnsupportedModelError
        The operation is not known, or cannot be built with these operands; the message names it.
    """
    c.name = name
    own = bare(name)
    args = [_operand(c, each) for each in args]
    named = {key: _operand(c, each) for key, each in named.items()}
    special = _OWN.get(own)
    if special is not None:
        return special(c, args, named)
    if name in _OF_NUMBERS:
        args = [_number(each) for each in args]
    return call(c, name, args, named)


def _operand(c: Context, given: Any) -> Any:
    """An operand as the table knows them; one of a kind that no operation takes is an error."""
    if isinstance(given, FloatSize):
        size = c.add(Cast(FLOAT), given.size)
        return size if given.over == 1 else c.add(Binary("div"), size, float(given.over))
    if isinstance(given, Opaque):
        return None
    if isinstance(given, tuple(PACKED)):
        raise c.error(f"takes {described(given)}")
    if isinstance(given, list) or type(given) is tuple:
        return [_operand(c, each) for each in given]
    if isinstance(given, (Condition, Module, Named, ScriptObject, dict)):
        raise c.error(f"takes {described(given)}")
    return given


def _number(given: Any) -> Any:
    """A whole number that is a tensor without axes, as traces write them, as a number."""
    whole = isinstance(given, Value) and given.rank == 0 and given.dtype == INTEGER
    return number_of(given) if whole else given


_OF_NUMBERS = ("add", "sub", "mul", "div", "floor_divide", "remainder", "rsub", "neg")


def rank_of(c: Context, given: Any) -> int:
    """How many axes a tensor has; packed data have the steps of all rows along one."""
    if isinstance(given, tuple(PACKED)):
        return 2
    if not isinstance(given, Value):
        raise c.error(f"asks for the number of axes of {described(given)}")
    return given.rank


def _to(c: Context, args: Sequence[Any], named: Named_) -> Any:
    """``to`` with a dtype, a device or another tensor anywhere among its operands."""
    if not args:
        raise c.error("lacks its operand")
    others = [each for each in (*args[1:], named.get("other")) if isinstance(each, Value)]
    codes = [each for each in (*args[1:], named.get("dtype")) if type(each) is int]
    if others:
        return call(c, "type_as", [args[0], others[0]], {})
    return call(c, "to", [args[0]], {"dtype": codes[0]}) if codes else args[0]


def _tensor(c: Context, args: Sequence[Any], named: Named_) -> Any:
    """A tensor of numbers that stand in the code, or of sizes."""
    if len(args) < 1:
        raise c.error("lacks its operand")
    given, dtype = args[0], named.get("dtype", args[1] if len(args) > 1 else None)
    if _has_sizes(given):
        several = [c.value(each) for each in given] if isinstance(given, list) else []
        made = call(c, "stack", [several, 0], {}) if several else c.value(given)
    elif isinstance(given, Value):
        made = given
    else:
        try:
            array = np.asarray(given)
        except ValueError:
            raise c.error("takes lists of several lengths") from None
        if array.dtype.kind not in "bif":
            raise c.error(f"takes {described(given)}, wanted numbers")
        made = c.builder.constant(array.astype(np.float64) if not array.size else array)
    return call(c, "to", [made], {"dtype": dtype}) if type(dtype) is int else made


def _has_sizes(given: Any) -> bool:
    each = given if isinstance(given, list) else [given]
    return any(isinstance(one, (Expression, Value)) for one in each) and not isinstance(given, Value)


def _extreme(c: Context, args: Sequence[Any], named: Named_) -> Any:
    """``max`` and ``min`` of two tensors, one of which may be a constant."""
    if len(args) == 2 and isinstance(args[1], Value):
        return call(c, c.name, args[:1], {**named, "other": args[1]})
    return call(c, c.name, args, named)


def _variance(c: Context, args: Sequence[Any], named: Named_) -> Any:
    """``var(x, unbiased)`` and ``var(x, dims, unbiased, keepdim)``, or with a correction by its name."""
    if len(args) >= 3:
        named = {**named, "unbiased": args[2], **({"keepdim": args[3]} if len(args) == 4 else {})}
        args = args[:2]
    return call(c, c.name, args, named)


def _blaming(error: UnsupportedModelError, *operands: Value) -> UnsupportedModelError:
    """The error with the operands that are wrong, for who asks which inputs were taken for something else."""
    error.operands = operands  # type: ignore[attr-defined]
    return error


def _gru(c: Context, args: Sequence[Any], named: Named_) -> Any:
    if len(args) > 2 and isinstance(args[2], Value):
        raise c.error("runs packed sequences, which are not followed; take sequences as they are, and pass lengths=")
    if args and isinstance(args[0], Value) and args[0].rank != 3:
        raise _blaming(c.error(f"takes a sequence of three axes, got {args[0].rank}"), args[0])
    return call(c, c.name, args, named)


def _resized(c: Context, args: Sequence[Any], named: Named_) -> Any:
    """``upsample_linear1d`` and the like, whose third operand says what becomes of the corners."""
    names = ("self", "output_size", "align_corners")
    factors = [each for each in args[3:] if each is not None]
    factors = factors[0] if factors and isinstance(factors[0], list) else factors
    return call(c, c.name, [], {**dict(zip(names, args, strict=False)), "scale_factors": factors or None, **named})


def _conv(c: Context, args: Sequence[Any], named: Named_) -> Any:
    """Of a batch: which axis is missing from a value with fewer axes is not known where no file says its rank."""
    if len(args) > 1 and isinstance(args[0], Value) and isinstance(args[1], Value) and args[0].rank < args[1].rank:
        raise c.error(f"takes {args[1].rank} axes, got {args[0].rank}: a row without a batch is not followed")
    return call(c, c.name, args, named)


def _parted(c: Context, args: Sequence[Any], named: Named_) -> Any:
    """An operation that takes an axis apart, into no more parts than a list has room for."""
    x = args[0] if args else None
    most = max((size for size in x.shape if isinstance(size, int)), default=0) if isinstance(x, Value) else 0
    each = args[1] if len(args) > 1 and bare(c.name) == "split" and type(args[1]) is int else 1
    if most > MAX_ITEMS * max(each, 1) and bare(c.name) != "chunk":
        raise c.error(f"takes an axis of up to {most} places apart, wanted at most {MAX_ITEMS} parts")
    return call(c, c.name, args, named)


def _masked(place: int) -> Callable[[Context, Sequence[Any], Named_], Any]:
    """An operation that takes booleans as operand ``place``, and nothing that could be taken for them."""

    def run(c: Context, args: Sequence[Any], named: Named_) -> Any:
        mask = args[place] if len(args) > place else named.get(("condition", "mask")[place])
        if isinstance(mask, Value) and mask.dtype != BOOLEAN:
            raise _blaming(c.error(f"takes booleans, got {mask.dtype}s"), mask)
        return call(c, c.name, args, named)

    return run


def _view(c: Context, args: Sequence[Any], named: Named_) -> Any:
    """A view; sizes that its number of elements leaves no choice for are the same from then on."""
    made = call(c, c.name, args, named)
    if isinstance(made, Value) and args and isinstance(args[0], Value):
        before, after = list(args[0].shape), list(made.shape)
        for size in tuple(before):
            if size in after:
                before.remove(size)
                after.remove(size)
        if len(before) == len(after) == 1 and before != after:
            c.builder.same(before[0], after[0], f"{c.name}{c.place} keeps the number of elements")
    return made


def _type_of(c: Context, args: Sequence[Any], named: Named_) -> Any:
    """``float()``, ``long()`` and the like of a tensor."""
    return call(c, "to", list(args), {"dtype": {"float": 6, "double": 7, "long": 4, "int": 3, "bool": 11, "half": 5,
                                               "bfloat16": 15, "char": 1, "byte": 0, "short": 2}[c.name]})  # fmt: skip


def _sized(c: Context, args: Sequence[Any], named: Named_) -> Any:
    return call(c, c.name, args, {key: value for key, value in named.items() if key not in ("generator",)})


def _item(c: Context, args: Sequence[Any], named: Named_) -> Any:
    made = number_of(args[0]) if len(args) == 1 else None
    if isinstance(made, (Value, type(None))):
        raise c.error("asks for a number that is not known before the model runs")
    return made


def _sizes_of(c: Context, args: Sequence[Any], named: Named_) -> Any:
    if not args or not isinstance(args[0], Value):
        raise c.error(f"asks for the sizes of {described(args[0]) if args else 'nothing'}")
    return call(c, "size", args, named)


_OWN: dict[str, Callable[[Context, Sequence[Any], Named_], Any]] = {
    "to": _to,
    "tensor": _tensor,
    "max": _extreme,
    "min": _extreme,
    "var": _variance,
    "std": _variance,
    "var_mean": _variance,
    "std_mean": _variance,
    "gru": _gru,
    "view": _view,
    "upsample_linear1d": _resized,
    "upsample_bilinear2d": _resized,
    **dict.fromkeys(("split", "unbind"), _parted),
    "where": _masked(0),
    "masked_fill": _masked(1),
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "_convolution", "_convolution_mode"), _conv
    ),
    **dict.fromkeys(("float", "double", "long", "int", "bool", "half", "bfloat16", "char", "byte", "short"), _type_of),
    "item": _item,
    "size": _sizes_of,
    **dict.fromkeys(("arange", "zeros", "ones", "full", "empty"), _sized),
}
