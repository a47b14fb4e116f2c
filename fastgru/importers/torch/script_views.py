"""Which of PyTorch's operations give views, and how a view that was written to goes back into what it is a view of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...graph.builder import Value
from ...graph.operations.shape import View
from ..calls import Context
from .script_aliases import Put
from .table import call

__all__ = ["MAYBE_VIEWS", "MOVES", "PARTS", "VIEWS", "put_of", "put_of_part"]

# They give a view, as far as PyTorch promises it.
VIEWS = frozenset(
    (
        "alias", "broadcast_to", "chunk", "detach", "diagonal", "expand", "expand_as", "lift_fresh", "matrix_H", "mT",
        "movedim", "narrow", "numpy_T", "permute", "requires_grad", "select", "slice", "split", "split_with_sizes",
        "squeeze", "swapaxes", "t", "tensor_split", "transpose", "unbind", "unflatten", "unfold", "unsqueeze", "view",
        "view_as",
    )
)  # fmt: skip
# They give a view, a copy or what they were given, by strides and types.
MAYBE_VIEWS = frozenset(
    (
        "_convert_element_type", "alpha_dropout", "bfloat16", "bool", "contiguous", "cpu", "double", "dropout",
        "feature_alpha_dropout", "feature_dropout", "flatten", "float", "int", "long", "reshape", "to", "type_as",
        "native_dropout", "broadcast_tensors",
    )
)  # fmt: skip
# In place they change the axes of a tensor, and no numbers.
MOVES = frozenset(("squeeze", "swapaxes", "t", "transpose", "unsqueeze"))


# They give parts of one tensor that have no numbers in common.
PARTS = frozenset(("chunk", "split", "split_with_sizes", "tensor_split", "unbind"))


def put_of(c: Context, name: str, args: Sequence[Any]) -> Put | None:
    """How the changed view ``name(base, *args)`` goes back into the base; None if it cannot."""
    if name not in _PUTS:
        return None
    return lambda base, new: _PUTS[name](c, base, new, *args)


def put_of_part(c: Context, name: str, args: Sequence[Any], parts: Sequence[Value], place: int) -> Put | None:
    """The same of one of several parts."""
    at = 0 if name == "unbind" else 1
    dim = args[at] if len(args) > at else 0
    if name not in PARTS or type(dim) is not int:
        return None
    if name == "unbind":
        return lambda base, new: call(c, "select_scatter", [base, new, dim, place], {})
    sizes = [part.shape[dim] for part in parts]
    start: Any = 0
    for size in sizes[:place]:
        start = start + size
    end = start + sizes[place]
    return lambda base, new: call(c, "slice_scatter", [base, new, dim, start, end], {})


def _same(c: Context, base: Value, new: Value, *args: Any) -> Any:
    return new


def _viewed(c: Context, base: Value, new: Value, *args: Any) -> Any:
    return c.add(View(base.shape), new)


def _scattered(name: str) -> Callable[..., Any]:
    return lambda c, base, new, *args: call(c, name, [base, new, *args], {})


def _again(name: str) -> Callable[..., Any]:
    """An order of axes that is its own inverse."""
    return lambda c, base, new, *args: call(c, name, [new, *args], {})


def _permuted(c: Context, base: Value, new: Value, dims: Any) -> Any:
    order = c.axes(dims, base.rank)
    return call(c, "permute", [new, [order.index(axis) for axis in range(base.rank)]], {})


def _moved(c: Context, base: Value, new: Value, source: Any, destination: Any) -> Any:
    return call(c, "movedim", [new, destination, source], {})


_PUTS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("alias", "detach", "lift_fresh", "requires_grad"), _same),
    **dict.fromkeys(("squeeze", "unflatten", "unsqueeze", "view", "view_as"), _viewed),
    **{name: _again(name) for name in ("mT", "numpy_T", "swapaxes", "t", "transpose")},
    "movedim": _moved,
    "permute": _permuted,
    "select": _scattered("select_scatter"),
    "slice": _scattered("slice_scatter"),
}
