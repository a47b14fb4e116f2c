"""Packed sequences in TorchScript's code: rows stay padded and in their order, and their lengths go with them.

PyTorch sorts the rows and lays their steps one behind the other, which no graph of open sizes can say. Here stand what
takes the places of the sorted rows, of their order, and of the packed data. Only what computes each step by itself, and
what packs, unpacks and orders, is known of them; anything else is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...graph.builder import Value
from ...graph.graph import INTEGER
from ...graph.operations.create import Arange
from ...graph.operations.elementwise import Binary, Where
from ...graph.operations.shape import Permute, View
from ...graph.size import Expression
from ..calls import Context
from .parts import counted
from .recurrent import is_zeros
from .script_values import PACKED
from .table import bare, call

__all__ = ["called_packed", "concerns"]


class Lengths(NamedTuple):
    """The lengths, the longest first."""

    lengths: Value


class Order:
    """The order in which the longest rows are first, or its inverse."""

    def __init__(self, lengths: Value, kind: str) -> None:
        self.lengths, self.kind = lengths, kind  # "sorts", "unsorts", or "empty" until numbers are put in


class Sorted(NamedTuple):
    """A value whose rows, along an axis, are in that order."""

    value: Value  # in its own order
    axis: int
    lengths: Value


class Data(NamedTuple):
    """The steps of all rows: (batch, steps, features), padded."""

    value: Value
    lengths: Value
    is_sorted: bool


class BatchSizes(NamedTuple):
    """How many rows have a step, for each step."""

    data: Value
    lengths: Value


class LongestRow(NamedTuple):
    """How many steps the longest row has."""

    data: Value


PACKED.extend((Lengths, Order, Sorted, Data, BatchSizes, LongestRow))
_TOKENS = tuple(PACKED)
# They compute each step by itself, whatever axes are before its features.
_BY_STEP = frozenset(
    (
        "abs", "celu", "clamp", "cos", "dropout", "elu", "exp", "gelu", "hardsigmoid", "hardswish", "hardtanh",
        "leaky_relu", "linear", "log_sigmoid", "mish", "neg", "relu", "relu6", "selu", "sigmoid", "silu", "sin",
        "softplus", "softsign", "sqrt", "square", "tanh",
    )
)  # fmt: skip


def concerns(name: str, args: Sequence[Any]) -> bool:
    """Whether a call is one of those that are known here alone."""
    if name == "_pack_padded_sequence" or any(isinstance(each, _TOKENS) for each in args):
        return True
    if name == "index" and len(args) == 2 and isinstance(args[1], list):
        return any(isinstance(each, Order) for each in args[1])
    is_lengths = bool(args) and isinstance(args[0], Value) and args[0].dtype == INTEGER and args[0].rank == 1
    falls = name == "sort" and len(args) == 3 and args[2] is True
    return falls and is_lengths and isinstance(args[0].shape[0], Expression)


def called_packed(c: Context, name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """What such a call gives.

    Raises
    ------
    UnsupportedModelError
        It does something with packed sequences that is not followed.
    """
    own = bare(name)
    made: Any = NotImplemented
    if own in _CALLS:
        made = _CALLS[own](c, *args)
    elif own in _BY_STEP and not name.endswith("_") and isinstance(args[0], Data):  # what is written has other names
        made = args[0]._replace(value=call(c, name, [args[0].value, *args[1:]], named))
    elif own in ("to", "cpu", "contiguous", "detach", "clone") and isinstance(args[0], _TOKENS):
        made = args[0]
    if made is NotImplemented:
        raise c.error(
            "takes packed sequences in a way that is not followed; take sequences as they are, and pass lengths="
        )
    return made


def _sort(c: Context, lengths: Value, *more: Any) -> Any:
    return Lengths(lengths), Order(lengths, "sorts")


def _index_select(c: Context, given: Any, dim: Any, order: Any) -> Any:
    if not isinstance(order, Order):
        return NotImplemented
    if isinstance(given, Value) and order.kind == "sorts":
        axis = c.axis(dim, given.rank)
        c.builder.same(given.shape[axis], order.lengths.shape[0], f"{c.name}{c.place} sorts rows by their lengths")
        return Sorted(given, axis, order.lengths)
    if isinstance(given, Sorted) and order.kind == "unsorts" and c.axis(dim, given.value.rank) == given.axis:
        return given.value
    if isinstance(given, Lengths) and order.kind == "unsorts":
        return given.lengths
    return NotImplemented


def _index(c: Context, given: Any, orders: Any) -> Any:
    order = orders[0] if isinstance(orders, list) and len(orders) == 1 else None
    if isinstance(given, Value) and given.rank == 1 and isinstance(order, Order) and order.kind == "sorts":
        return Lengths(given)
    return _index_select(c, given, 0, order)


def _scatter(c: Context, target: Any, dim: Any, order: Any, source: Any) -> Any:
    """The inverse of an order, as PyTorch makes it: 0, 1, 2 ... put to the places of the order."""
    if not (isinstance(target, Order) and isinstance(order, Order) and isinstance(source, Value)):
        return NotImplemented
    size = order.lengths.shape[0]
    if target.kind != "empty" or order.kind != "sorts" or dim not in (0, -1) or counted(c, source) != size:
        return NotImplemented
    target.kind = "unsorts"
    return target


def _pack(c: Context, rows: Any, lengths: Any, batch_first: Any) -> Any:
    is_sorted = isinstance(rows, Sorted)
    if is_sorted != isinstance(lengths, Lengths):
        return NotImplemented
    value, counts = (rows.value, lengths.lengths) if is_sorted else (rows, lengths)
    if not isinstance(value, Value) or not isinstance(counts, Value) or counts.rank != 1 or counts.dtype != INTEGER:
        raise c.error("takes lengths that are no row of integers")
    if value.rank < 2 or (is_sorted and rows.axis != (0 if batch_first else 1)):
        return NotImplemented
    if not batch_first:
        value = c.add(Permute((1, 0, *range(2, value.rank))), value)
    c.builder.same(counts.shape[0], value.shape[0], f"{c.name}{c.place} takes a length for each row")
    return Data(value, counts, is_sorted), BatchSizes(value, counts)


def _pad(c: Context, data: Any, sizes: Any, batch_first: Any, fill: Any, total: Any) -> Any:
    """The padded rows with ``fill`` beyond their ends; as many steps as there were, which one row must have."""
    if not isinstance(data, Data) or not isinstance(sizes, BatchSizes):
        return NotImplemented
    value = data.value
    steps = value.shape[1]
    reached = isinstance(total, LongestRow)
    if not reached and total != steps:
        return NotImplemented
    counts = call(c, "longest", [data.lengths, steps, reached], {})
    ends = c.add(View((value.shape[0], 1)), counts)
    real = c.add(Binary("lt"), c.add(Arange(0, steps)), ends)
    real = c.add(View((*value.shape[:2], *(1,) * (value.rank - 2))), real)
    rows = c.add(Where(), real, value, float(c.number(fill, "padding_value")))
    if not batch_first:
        rows = c.add(Permute((1, 0, *range(2, rows.rank))), rows)
    if data.is_sorted:
        return Sorted(rows, 0 if batch_first else 1, data.lengths), Lengths(counts)
    return rows, counts


def _gru(c: Context, data: Any, sizes: Any, hx: Any, params: Any, has_biases: Any, num_layers: Any, dropout: Any,
         train: Any, bidirectional: Any) -> Any:  # fmt: skip
    if not isinstance(data, Data) or not isinstance(sizes, BatchSizes):
        return NotImplemented
    if train and dropout:
        raise c.error("drops out at random, as in training; call module.eval() before it is saved")
    state = hx.value if isinstance(hx, Sorted) and hx.axis == 1 else hx
    if not isinstance(state, Value) or (data.is_sorted != isinstance(hx, Sorted) and not is_zeros(c, state)):
        return NotImplemented
    y, h = call(c, "gru_packed", [data.value, data.lengths, state, params, has_biases, num_layers, bidirectional], {})
    return data._replace(value=y), Sorted(h, 1, data.lengths) if data.is_sorted else h


def _select(c: Context, sizes: Any, dim: Any, place: Any) -> Any:
    """The first of the batch sizes: all rows."""
    return sizes.data.shape[0] if isinstance(sizes, BatchSizes) and (dim, place) == (0, 0) else NotImplemented


def _size(c: Context, given: Any, dim: Any = None) -> Any:
    if isinstance(given, BatchSizes):
        return LongestRow(given.data) if dim in (0, None) else NotImplemented
    if isinstance(given, (Order, Lengths)):
        shape: Sequence[Any] = given.lengths.shape
    elif isinstance(given, Data):
        shape = (None, *given.value.shape[2:])
    else:
        shape = given.value.shape if isinstance(given, Sorted) else ()
    found = list(shape) if dim is None else shape[c.axis(dim, len(shape))]
    return NotImplemented if found is None or (dim is None and None in shape) else found


_CALLS: dict[str, Callable[..., Any]] = {
    "sort": _sort,
    "index_select": _index_select,
    "index": _index,
    "scatter": _scatter,
    "zeros_like": lambda c, order, *_: Order(order.lengths, "empty") if isinstance(order, Order) else NotImplemented,
    "_pack_padded_sequence": _pack,
    "_pad_packed_sequence": _pad,
    "gru": _gru,
    "select": _select,
    "size": _size,
    "numel": lambda c, given: _size(c, given, 0),
}
