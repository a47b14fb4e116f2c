"""Which of PyTorch's operations give a view of their first operand, and how such a view is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...graph.builder import Value
from ...graph.operations.shape import View
from ..calls import Context
from .table import call

__all__ = ["MAY_BE_VIEWS", "VIEWS", "put_of"]

Put = Callable[[Value, Value], Value]

# The first operand's own numbers.
_SAME = frozenset(("alias", "detach", "detach_", "lift_fresh", "requires_grad", "requires_grad_"))
# All its numbers under another shape.
_SHAPES = frozenset(("view", "unflatten", "squeeze", "unsqueeze", "view_as", "_reshape_alias"))
_ORDERS = frozenset(("transpose", "swapaxes", "swapdims", "t", "mT", "mH", "adjoint", "permute", "movedim", "moveaxis"))
_PARTS = frozenset(
    ("select", "slice", "narrow", "split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_split_with_sizes",
     "unsafe_chunk", "tensor_split", "unbind")
)  # fmt: skip
# Views that are read, and never written.
_READ_ONLY = frozenset(
    ("expand", "expand_as", "broadcast_to", "broadcast_tensors", "diagonal", "unfold", "numpy_T", "matrix_H",
     "_unsafe_view")
)  # fmt: skip
VIEWS = _SAME | _SHAPES | _ORDERS | _PARTS | _READ_ONLY
# A view or a copy, as PyTorch finds at the time.
MAY_BE_VIEWS = frozenset(
    ("reshape", "flatten", "contiguous", "to", "type_as", "cpu", "dropout", "alpha_dropout", "feature_dropout",
     "feature_alpha_dropout", "native_dropout", "einsum", "pixel_shuffle", "pad")
)  # fmt: skip


def put_of(c: Context, name: str, operands: Mapping[str, Any], index: int, made: list[Value]) -> Put | None:
    """How output ``index`` of ``made`` is written into the base's value; None where it is not.

    Each is given the base's value and the new one of the view.
    """
    if name in _SAME:
        return lambda whole, part: part
    if name in _SHAPES:
        return lambda whole, part: c.add(View(whole.shape), part)
    if name in _ORDERS:
        return _ordered(c, name, operands)
    if name in _PARTS:
        return _part(c, name, operands, index, made)
    return None


def _ordered(c: Context, name: str, operands: Mapping[str, Any]) -> Put:
    def put(whole: Value, part: Value) -> Any:
        given = {key: value for key, value in operands.items() if key != "self"}
        if name == "permute":
            order = c.axes(given.get("dims"), whole.rank)
            return call(c, "permute", [part, [order.index(axis) for axis in range(len(order))]], {})
        if name in ("movedim", "moveaxis"):
            given = {"source": given.get("destination"), "destination": given.get("source")}
        return call(c, name, [part], given)

    return put


def _part(c: Context, name: str, operands: Mapping[str, Any], index: int, made: list[Value]) -> Put | None:
    """Of one place along an axis, or of places in a row."""
    dim = operands.get("dim", 0)
    if name in ("select", "unbind"):
        place = operands.get("index") if name == "select" else index
        return lambda whole, part: call(c, "select_scatter", [whole, part, dim, place], {})
    if name == "slice":
        bounds = [operands.get("start"), operands.get("end"), operands.get("step", 1)]
        return lambda whole, part: call(c, "slice_scatter", [whole, part, dim, *bounds], {})
    if name == "narrow":
        start = c.size(operands.get("start"))
        end = start + c.size(operands.get("length"))
    else:
        axis = c.axis(dim, made[0].rank)
        start = sum(each.shape[axis] for each in made[:index])
        end = start + made[index].shape[axis]
    return lambda whole, part: call(c, "slice_scatter", [whole, part, dim, start, end], {})
