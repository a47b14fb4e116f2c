"""Which of PyTorch's operations give a view of their operand, of which places, and how such a view is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...graph.builder import Value
from ...graph.operations.shape import Expand
from ...graph.operations.shape import View as Reshape
from ...graph.size import Expression
from ..calls import Context
from .memory import Part, View
from .table import bare, call

__all__ = ["PARTS", "SAME", "is_view", "kind_of", "view_of"]

Put = Callable[[Value, Value], Value]

# All places of the operand in their order.
SAME = frozenset(("alias", "detach", "lift_fresh", "requires_grad"))
# All its places under another shape.
_SHAPES = frozenset(("view", "view_as", "unflatten", "squeeze", "unsqueeze"))
_ORDERS = frozenset(("transpose", "swapaxes", "t", "mT", "numpy_T", "permute", "movedim"))
# Parts of one axis that have no place in common.
PARTS = frozenset(("chunk", "split", "split_with_sizes", "tensor_split", "unbind"))
_ONE_PART = frozenset(("select", "slice", "narrow"))
# Several places of these may be one of the operand's: they are never written.
_READ_ONLY = frozenset(("expand", "expand_as", "broadcast_to", "broadcast_tensors", "diagonal", "unfold"))
VIEWS = SAME | _SHAPES | _ORDERS | PARTS | _ONE_PART | _READ_ONLY
# A view or a copy, by strides and types, of all places in their order.
_MAYBE_SAME = frozenset(
    ("_convert_element_type", "alpha_dropout", "bfloat16", "bool", "contiguous", "cpu", "double", "dropout",
     "feature_alpha_dropout", "feature_dropout", "float", "int", "long", "native_dropout", "to", "type_as")
)  # fmt: skip
_MAYBE_OTHER = frozenset(("einsum", "flatten", "pad", "pixel_shuffle", "reshape"))


def kind_of(name: str) -> str:
    """The name under which an operation is known here: what copies is not the view that it is a copy of."""
    return name if name.endswith("_copy") else bare(name)


def is_view(own: str) -> bool:
    """Whether what an operation gives shares numbers with its operand, or may."""
    return own in VIEWS or own in _MAYBE_SAME or own in _MAYBE_OTHER


def view_of(
    c: Context, own: str, operands: Mapping[str, Any], base: Value, made: Sequence[Any], at: int,
    take: Callable[[Value], Value],
) -> View | None:  # fmt: skip
    """How output ``at`` of ``made`` is made of the base; None if it has numbers of its own.

    Parameters
    ----------
    operands : mapping
        By PyTorch's names, without the base.
    take : callable
        Makes the output anew of another value of the base.
    """
    value = made[at]
    if own in _MAYBE_SAME:
        return View() if value.dtype == base.dtype else None  # another type of numbers is a copy
    rest = (own, at, *sorted(operands.items()))
    has_tensors = any(isinstance(each, Value) for each in operands.values())
    places: object = object() if has_tensors else str(rest)
    if own in _MAYBE_OTHER:
        return View(places=places)
    if own in SAME or value is base:
        return View(take, lambda whole, part: part)
    if own in _SHAPES:
        return View(take, lambda whole, part: c.add(Reshape(whole.shape), part), places)
    if own in _ORDERS:
        return View(take, _ordered(c, own, operands, base.rank), places)
    if own == "broadcast_tensors":
        return View(lambda whole: c.add(Expand(value.shape), whole), None, places)
    if own in _READ_ONLY:
        return View(take, None, places)
    if own in PARTS and own != "unbind" and _overlap(c, operands, base, made):
        return View(take, None, places)
    put, part = _part(c, own, operands, base, made, at)
    return View(take, put, places, part)


def _overlap(c: Context, operands: Mapping[str, Any], base: Value, made: Sequence[Value]) -> bool:
    """Whether parts are not one behind the other, as ``tensor_split`` at falling places gives them."""
    axis = c.axis(operands.get("dim", 0), base.rank)
    return sum(each.shape[axis] for each in made) != base.shape[axis]


def _ordered(c: Context, own: str, operands: Mapping[str, Any], rank: int) -> Put:
    """The inverse of an order of axes."""
    given = dict(operands)
    if own == "permute":
        order = c.axes(operands.get("dims"), rank)
        given = {"dims": [order.index(axis) for axis in range(rank)]}
    elif own == "movedim":
        given = {"source": operands.get("destination"), "destination": operands.get("source")}
    return lambda whole, part: call(c, own, [part], given)


def _part(
    c: Context, own: str, operands: Mapping[str, Any], base: Value, made: Sequence[Value], at: int
) -> tuple[Put, Part | None]:
    """Of one place along an axis, or of places in a row."""
    dim = operands.get("dim", 0)
    axis = c.axis(dim, base.rank)
    size = base.shape[axis]
    if own in ("select", "unbind"):
        index = operands.get("index") if own == "select" else at
        known = isinstance(index, Expression) or type(index) is int
        place = size + index if type(index) is int and index < 0 else index
        part = Part(axis, place, place + 1) if known else None  # type: ignore[operator, arg-type]
        return (lambda whole, new: call(c, "select_scatter", [whole, new, dim, index], {})), part
    step: Any = 1
    if own == "slice":
        start, end, step = operands.get("start"), operands.get("end"), operands.get("step", 1)
    elif own == "narrow":
        start = c.size(operands.get("start"))
        end = start + c.size(operands.get("length"))
    else:
        start = sum(each.shape[axis] for each in made[:at])
        end = start + made[at].shape[axis]
    first, last = (size + each if type(each) is int and each < 0 else each for each in (start or 0, end))
    last = size if last is None else last
    sizes = [each for each in (first, last) if type(each) is int or isinstance(each, Expression)]
    part = Part(axis, sizes[0], sizes[1], step) if len(sizes) == 2 and type(step) is int else None
    return (lambda whole, new: call(c, "slice_scatter", [whole, new, dim, start, end, step], {})), part
