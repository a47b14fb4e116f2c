"""PyTorch's operations that take or set some places of an axis, and those that make values of sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.builder import MAX_FILLED, Value
from ...graph.graph import BOOLEAN, FLOAT, INTEGER
from ...graph.operations.create import Arange, Full, OneHot
from ...graph.operations.elementwise import Binary, Cast, Where
from ...graph.operations.index import Gather, Index, Put, Scatter, Take
from ...graph.operations.parts import Flip, Pad, Roll, Select, Slice, Windows
from ...graph.operations.shape import Expand, View
from ...graph.size import Expression, Size, smallest
from ..calls import Context

__all__ = [
    "arange", "counted", "flip", "full", "full_like", "gather", "index", "index_select", "narrow", "one_hot", "pad",
    "roll", "select", "select_scatter", "slice_", "slice_scatter", "triangle", "unfold",
]  # fmt: skip

END = 1 << 62  # at and beyond it a slice goes to the end


def select(c: Context, self: Any, dim: Any, index: Any) -> Any:
    x = c.value(self)
    axis = c.axis(dim, x.rank)
    size = x.shape[axis]
    if isinstance(index, Expression):
        if isinstance(size - index, int) and 0 < size - index < END:  # type: ignore[operator]
            return c.add(Select(axis, int(str(index - size))), x)  # counted from the end, for every size
        return select(c, slice_(c, x, axis, index, index + 1), axis, 0)
    if isinstance(index, Value) and index.known is None:
        return c.add(Take(axis), x, index)
    return c.add(Select(axis, c.integer(index, "index")), x)


def slice_(c: Context, self: Any, dim: Any = 0, start: Any = None, end: Any = None, step: Any = 1) -> Any:
    x = c.value(self)
    axis = c.axis(dim, x.rank)
    stride = c.integer(step, "step")
    first, last = _bounds(c, x.shape[axis], start, end)
    if first in (None, 0) and last is None and stride == 1:
        return x
    known = [abs(each) for each in (first, last) if isinstance(each, int)]
    within = bool(known) and max(known) <= c.builder.least(x.shape[axis])
    if known and not within and max(known) <= smallest(x.shape[axis]):
        c.builder.guard(x.shape[axis], ">=", max(known), f"{c.name}{c.place} takes {max(known)} places")
        within = True
    return c.add(Slice(axis, first, last, stride, within), x)


def _counted_from_end(c: Context, size: Size, bound: Size | None) -> Size | None:
    """A bound that is below zero for every size, counted from the start."""
    open_sizes = isinstance(bound, Expression) and isinstance(size, Expression)
    if not open_sizes or any(count > 0 for _, count in bound.terms):  # type: ignore[union-attr]
        return bound
    assert bound is not None
    c.builder.guard(-bound, ">=", 1, f"{c.name}{c.place} counts places from the end")
    c.builder.guard(-bound, "<=", size, f"{c.name}{c.place} counts places from the end")
    return size + bound


def _bounds(c: Context, size: Size, start: Any, end: Any) -> tuple[Size | None, Size | None]:
    """The bounds of a slice, those that follow from the size counted from the end."""
    first = None if start is None else c.size(start)
    last = None if end is None else c.size(end)
    first, last = (_counted_from_end(c, size, each) for each in (first, last))
    if last is not None and ((isinstance(last, int) and last >= END) or last == size):
        last = None
    if isinstance(last, Expression) and isinstance(size - last, int):
        last = last - size  # a number below 0
    if isinstance(first, Expression) and isinstance(size - first, int):
        first = first - size
    return first, last


def narrow(c: Context, self: Any, dim: Any, start: Any, length: Any) -> Any:
    first = c.size(start)
    return slice_(c, self, dim, first, first + c.size(length))


def select_scatter(c: Context, self: Any, src: Any, dim: Any, index: Any) -> Any:
    x, y = c.value(self), c.value(src)
    axis = c.axis(dim, x.rank)
    place = c.size(index)
    start = place
    if isinstance(place, int) and place < 0:
        start = x.shape[axis] + place
        c.builder.guard(x.shape[axis], ">=", -place, f"{c.name}{c.place} writes to the place {place}")
    y = c.add(View((*y.shape[:axis], 1, *y.shape[axis:])), y)
    return c.add(Put(axis, start, start + 1), x, y)


def slice_scatter(
    c: Context, self: Any, src: Any, dim: Any = 0, start: Any = None, end: Any = None, step: Any = 1
) -> Any:
    x = c.value(self)
    axis = c.axis(dim, x.rank)
    first, last = _bounds(c, x.shape[axis], start, end)
    operation = Put(axis, first, last, c.integer(step, "step"))
    y = c.value(src)
    if first in (None, 0) and last is None and operation.stride == 1:  # all of it
        return y if y.shape == x.shape else c.add(Expand(x.shape), y)
    part = Slice(axis, first, last, operation.stride).infer([x.tensor])[0]
    return c.add(operation, x, y if y.shape == part.shape else c.add(Expand(part.shape), y))


def flip(c: Context, self: Any, dims: Any) -> Any:
    x = c.value(self)
    return c.add(Flip(c.axes(dims, x.rank)), x)


def roll(c: Context, self: Any, shifts: Any, dims: Any = ()) -> Any:
    x = c.value(self)
    moves = list(shifts) if isinstance(shifts, (list, tuple)) else [shifts]
    axes = list(dims) if isinstance(dims, (list, tuple)) else [dims]
    if not axes:
        if len(moves) != 1:
            raise c.error("rolls all places by several numbers")
        return c.add(View(x.shape), c.add(Roll(0, c.integer(moves[0], "shifts")), c.add(View((-1,)), x)))
    for axis, move in zip(axes, moves, strict=True):
        x = c.add(Roll(c.axis(axis, x.rank), c.integer(move, "shifts")), x)
    return x


_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(c: Context, self: Any, pad: Any, mode: Any = "constant", value: Any = None) -> Any:
    """PyTorch counts the widths from the last axis on."""
    x = c.value(self)
    amounts = [c.integer(each, "pad") for each in (pad if isinstance(pad, (list, tuple)) else [])]
    if mode not in _MODES or len(amounts) % 2 or len(amounts) > 2 * x.rank:
        raise c.error(f"pads by {str(amounts)[:60]} in mode {str(mode)[:40]}")
    pairs = [(amounts[at], amounts[at + 1]) for at in range(0, len(amounts), 2)]
    widths = ((0, 0),) * (x.rank - len(pairs)) + tuple(pairs[::-1])
    for size, pair in zip(x.shape, widths, strict=True):
        taken = sum(min(each, 0) for each in pair)
        if taken:
            c.builder.guard(size + taken, ">=", 0, f"{c.name} takes {-taken} places away")
    return c.add(Pad(widths, 0.0 if value is None else float(c.number(value, "value")), _MODES[mode]), x)


def padded(mode: str) -> Callable[..., Any]:
    def run(c: Context, self: Any, padding: Any) -> Any:
        return pad(c, self, padding, mode)

    return run


def constant_pad(c: Context, self: Any, pad: Any, value: Any = 0) -> Any:
    from . import parts

    return parts.pad(c, self, pad, "constant", value)


def unfold(c: Context, self: Any, dimension: Any, size: Any, step: Any) -> Any:
    x = c.value(self)
    return c.add(Windows(c.axis(dimension, x.rank), c.integer(size, "size"), c.integer(step, "step")), x)


# Places by their numbers.


def index_select(c: Context, self: Any, dim: Any, index: Any) -> Any:
    x = c.value(self)
    size = x.shape[c.axis(dim, x.rank)]
    count = counted(c, c.value(index))
    if isinstance(count, Expression) and isinstance(size, Expression):  # every row, in its order
        c.builder.guard(count, "==", size, f"{c.name}{c.place} takes as many rows as there are")
        return x
    return c.add(Take(c.axis(dim, x.rank)), x, index)


def gather(c: Context, self: Any, dim: Any, index: Any, sparse_grad: Any = False) -> Any:
    x, places = c.value(self), c.value(index)
    axis = c.axis(dim, x.rank)
    return c.add(Gather(axis), x, places)


def take_along(c: Context, self: Any, indices: Any, dim: Any = None) -> Any:
    x, places = c.value(self), c.value(indices)
    if dim is None or places.rank != x.rank:
        raise c.error("takes places of all axes at once")
    axis = c.axis(dim, x.rank)
    shape = tuple(p if at == axis or p == s else s for at, (p, s) in enumerate(zip(places.shape, x.shape, strict=True)))
    return c.add(Gather(axis), x, places if places.shape == shape else c.add(Expand(shape), places))


def index(c: Context, self: Any, indices: Any) -> Any:
    """``x[i, :, j]``: axes beside each other taken by integers; rows by their own numbers are a gather."""
    x = c.value(self)
    given = list(indices) if isinstance(indices, (list, tuple)) else [indices]
    axes = [axis for axis, each in enumerate(given) if each is not None]
    values = [c.value(given[axis]) for axis in axes]
    if any(each.dtype == BOOLEAN for each in values):
        raise c.error("takes the places where booleans hold, whose number is not known before the model runs")
    if not axes or (axes == [0] and isinstance(x.shape[0], Expression) and _counts_rows(c, values[0], x.shape[0])):
        return x
    if axes == [0, 1] and _counts_rows(c, values[0], x.shape[0]) and values[1].rank == 1:
        rest = x.shape[2:]
        if isinstance(x.shape[0], Expression) and isinstance(values[1].shape[0], Expression):
            c.builder.same(values[1].shape[0], x.shape[0], f"{c.name}{c.place} takes a place of each row")
        places = _from_start(c, values[1], x.shape[1])
        places = c.add(View((x.shape[0], 1, *(1,) * len(rest))), places)
        taken = c.add(Gather(1), x, c.add(Expand((x.shape[0], 1, *rest)), places))
        return c.add(View((x.shape[0], *rest)), taken)
    if len(axes) == 1:
        return c.add(Take(axes[0]), x, values[0])
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise c.error("takes axes by integers that are not beside each other")
    return c.add(Index(tuple(axes)), x, *values)


def counted(c: Context, value: Value) -> Size | None:
    """How far a value counts from 0 on: of 0, 1, 2 ... n - 1 it is n."""
    node = next((node for node in reversed(c.builder.nodes) if value.place in node.outputs), None)
    if node is None or not isinstance(node.operation, Arange) or node.operation != Arange(0, node.operation.stop):
        return None
    stop: Size = node.operation.stop
    return stop


def _counts_rows(c: Context, value: Value, size: Size) -> bool:
    """Whether a value is 0, 1, 2 ... for each row of an axis of that size."""
    if value.array is not None:
        return value.shape == (size,) and bool(np.array_equal(value.array, np.arange(len(value.array))))
    return counted(c, value) == size


def _from_start(c: Context, places: Value, size: Size) -> Value:
    """Places that may be counted from the end, counted from the start."""
    if places.array is not None and places.array.min(initial=0) >= 0:
        return places
    below = c.add(Binary("lt"), places, 0)
    made: Value = c.add(Where(), below, c.add(Binary("add"), places, c.value(size)), places)
    return made


def one_hot(c: Context, self: Any, num_classes: Any = -1) -> Any:
    count = c.integer(num_classes, "num_classes")
    if count < 1:
        raise c.error("makes as many classes as its largest integer asks for; give num_classes")
    return c.add(OneHot(count), self)


def scatter(adds: bool) -> Callable[..., Any]:
    """The first value with others put in, or added to, the places that integers name along an axis."""

    def run(c: Context, self: Any, dim: Any, index: Any, src: Any) -> Any:
        x, places = c.value(self), c.value(index)
        values = c.value(src)
        if values.rank == 0 and places.rank:
            values = c.add(Expand(places.shape), values)
        elif values.shape != places.shape:
            parts = zip(values.shape, places.shape, strict=True)
            for axis, (own, wanted) in enumerate(parts):
                values = values if own == wanted else slice_(c, values, axis, 0, wanted)
        values = values if values.dtype == x.dtype else c.add(Cast(x.dtype), values)
        return c.add(Scatter(c.axis(dim, x.rank), adds), x, places, values)

    return run


# Values made of sizes.


def arange(c: Context, start: Any = None, end: Any = None, step: Any = 1, dtype: Any = None) -> Any:
    start, end = (0, start) if end is None else (0 if start is None else start, end)
    bounds = [each if isinstance(each, float) else c.size(each) for each in (start, end, step)]
    made = c.add(Arange(*bounds))
    kind = c.kinds.get(dtype) if type(dtype) is int else None
    return c.add(Cast(kind), made) if kind in (FLOAT, INTEGER) and kind != made.dtype else made


def linspace(c: Context, start: Any, end: Any, steps: Any, dtype: Any = None) -> Any:
    count = c.integer(steps, "steps")
    if not 0 <= count <= MAX_FILLED:
        raise c.error(f"makes {count} numbers, wanted at most {MAX_FILLED}")
    return c.builder.constant(np.linspace(c.number(start, "start"), c.number(end, "end"), count))


def _kind(c: Context, dtype: Any, value: Any, like: Value | None = None) -> str:
    if type(dtype) is int and dtype in c.kinds:
        return FLOAT if c.kinds[dtype] == "half" else c.kinds[dtype]
    if like is not None:
        return like.dtype
    return BOOLEAN if isinstance(value, bool) else INTEGER if isinstance(value, int) else FLOAT


def full(c: Context, size: Any, fill_value: Any, dtype: Any = None) -> Any:
    shape = c.shape(size)
    if isinstance(fill_value, Value) and fill_value.known is None:
        return c.add(Expand(shape), fill_value)
    value = c.number(fill_value, "fill_value")
    return c.add(Full(shape, value, _kind(c, dtype, value)))


def filled(value: float) -> Callable[..., Any]:
    """``zeros`` and ``ones``."""

    def run(c: Context, size: Any, dtype: Any = None) -> Any:
        return c.add(Full(c.shape(size), value, _kind(c, dtype, float(value))))

    return run


def full_like(c: Context, self: Any, fill_value: Any, dtype: Any = None) -> Any:
    x = c.value(self)
    return c.add(Full(x.shape, c.number(fill_value, "fill_value"), _kind(c, dtype, None, x)))


def filled_like(value: float) -> Callable[..., Any]:
    """``zeros_like`` and ``ones_like``."""

    def run(c: Context, self: Any, dtype: Any = None) -> Any:
        return full_like(c, self, value, dtype)

    return run


def new_full(c: Context, self: Any, size: Any, fill_value: Any, dtype: Any = None) -> Any:
    kind = _kind(c, dtype, None, c.value(self))
    return c.add(Full(c.shape(size), c.number(fill_value, "fill_value"), kind))


def new_filled(value: float) -> Callable[..., Any]:
    """``new_zeros`` and ``new_ones``."""

    def run(c: Context, self: Any, size: Any, dtype: Any = None) -> Any:
        return new_full(c, self, size, value, dtype)

    return run


def scalar(c: Context, s: Any, dtype: Any = None) -> Any:
    value = c.value(s)
    kind = _kind(c, dtype, None, value)
    return value if value.dtype == kind else c.add(Cast(kind), value)


def fill(c: Context, self: Any, value: Any) -> Any:
    x = c.value(self)
    if isinstance(value, Value) and value.known is None:
        return c.add(Expand(x.shape), value)
    return c.add(Full(x.shape, c.number(value, "value"), x.dtype))


def copied(c: Context, self: Any, src: Any, non_blocking: Any = False) -> Any:
    x, y = c.value(self), c.value(src)
    y = y if y.shape == x.shape else c.add(Expand(x.shape), y)
    return y if y.dtype == x.dtype else c.add(Cast(x.dtype), y)


def eye(c: Context, n: Any, m: Any = None, dtype: Any = None) -> Any:
    rows = c.integer(n, "n")
    columns = rows if m is None else c.integer(m, "m")
    if min(rows, columns) < 0 or rows * columns > MAX_FILLED:
        raise c.error(f"makes {rows} times {columns} numbers, wanted at most {MAX_FILLED}")
    return c.builder.constant(np.eye(rows, columns, dtype=np.float32))


def triangle(upper: bool) -> Callable[..., Any]:
    """``triu`` and ``tril``: zeros on the other side of a diagonal of the last two axes."""

    def run(c: Context, self: Any, diagonal: Any = 0) -> Any:
        x = c.value(self)
        rows = c.add(View((-1, 1)), c.add(Arange(0, x.shape[-2])))
        columns = c.add(Arange(0, x.shape[-1]))
        offset = c.add(Binary("sub"), c.add(Binary("sub"), columns, rows), c.integer(diagonal, "diagonal"))
        kept = c.add(Binary("ge" if upper else "le"), offset, 0)
        zero: Any = {FLOAT: 0.0, INTEGER: 0, BOOLEAN: False}[x.dtype]
        return c.add(Where(), kept, x, zero)

    return run
