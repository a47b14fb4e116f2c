"""PyTorch's operations on the shape of a value: views, orders of axes, repeats, joins and splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...graph.builder import Value
from ...graph.operations.elementwise import broadcast_shapes
from ...graph.operations.index import Take
from ...graph.operations.pooling import Upsample
from ...graph.operations.shape import Concatenate, Expand, Permute, Repeat, View
from ...graph.size import Expression, Size, Sizes, product
from ..calls import Context
from .parts import select, slice_

__all__ = [
    "cat",
    "chunk",
    "expand",
    "flatten",
    "permute",
    "split",
    "squeeze",
    "stack",
    "transpose",
    "unbind",
    "unsqueeze",
    "view",
]

MAX_PARTS = 5000


def view(c: Context, self: Any, size: Any) -> Any:
    return c.add(View(c.shape(size)), self)


def view_as(c: Context, self: Any, other: Any) -> Any:
    return c.add(View(c.value(other).shape), self)


def flatten(c: Context, self: Any, start_dim: Any = 0, end_dim: Any = -1) -> Any:
    x = c.value(self)
    first, last = c.axis(start_dim, x.rank), c.axis(end_dim, x.rank)
    if x.rank == 0:
        return c.add(View((1,)), x)
    return c.add(View((*x.shape[:first], product(x.shape[first : last + 1]), *x.shape[last + 1 :])), x)


def unflatten(c: Context, self: Any, dim: Any, sizes: Any) -> Any:
    x = c.value(self)
    at = c.axis(dim, x.rank)
    parts = list(c.shape(sizes))
    if parts.count(-1) == 1:
        parts[parts.index(-1)] = View((-1, *(part for part in parts if part != -1))).resolved((x.shape[at],))[0]
    return c.add(View((*x.shape[:at], *parts, *x.shape[at + 1 :])), x)


def permute(c: Context, self: Any, dims: Any) -> Any:
    x = c.value(self)
    return c.add(Permute(c.axes(dims, x.rank) if x.rank else ()), x)


def transpose(c: Context, self: Any, dim0: Any, dim1: Any) -> Any:
    x = c.value(self)
    order = list(range(x.rank))
    one, other = c.axis(dim0, x.rank), c.axis(dim1, x.rank)
    if not x.rank:
        return x
    order[one], order[other] = order[other], order[one]
    return c.add(Permute(tuple(order)), x)


def t(c: Context, self: Any) -> Any:
    x = c.value(self)
    if x.rank > 2:
        raise c.error("takes two axes at most")
    return c.add(Permute((1, 0)), x) if x.rank == 2 else x


def reversed_axes(c: Context, self: Any) -> Any:
    x = c.value(self)
    return c.add(Permute(tuple(range(x.rank))[::-1]), x)


def matrix_transpose(c: Context, self: Any) -> Any:
    return transpose(c, self, -2, -1)


def movedim(c: Context, self: Any, source: Any, destination: Any) -> Any:
    x = c.value(self)
    sources = source if isinstance(source, (list, tuple)) else [source]
    places = destination if isinstance(destination, (list, tuple)) else [destination]
    froms, tos = [c.axis(each, x.rank) for each in sources], [c.axis(each, x.rank) for each in places]
    rest = iter(axis for axis in range(x.rank) if axis not in froms)
    order = [froms[tos.index(at)] if at in tos else next(rest) for at in range(x.rank)]
    return c.add(Permute(tuple(order)), x)


def squeeze(c: Context, self: Any, dim: Any = None) -> Any:
    """Without axes of one place. Of an open size that is not 1; a call that has 1 there is refused."""
    x = c.value(self)
    places = c.axes(dim, x.rank)
    kept = []
    for axis, size in enumerate(x.shape):
        if axis not in places or size != 1:
            kept.append(size)
        if axis in places and isinstance(size, Expression):
            # not "size != 1", which stands for what is right for one place too (``_leaves_out_one``)
            c.builder.guard(size - 1, "!=", 0, f"PyTorch leaves out an axis of one place there ({c.name}{c.place})")
    return x if len(kept) == x.rank else c.add(View(tuple(kept)), x)


def unsqueeze(c: Context, self: Any, dim: Any) -> Any:
    x = c.value(self)
    at = c.axis(dim, x.rank + 1)
    return c.add(View((*x.shape[:at], 1, *x.shape[at:])), x)


def expand(c: Context, self: Any, size: Any, implicit: Any = False) -> Any:
    return c.add(Expand(c.shape(size)), self)


def expand_as(c: Context, self: Any, other: Any) -> Any:
    return c.add(Expand(c.value(other).shape), self)


def repeat(c: Context, self: Any, repeats: Any) -> Any:
    return c.add(Repeat(c.shape(repeats)), self)


def tile(c: Context, self: Any, dims: Any) -> Any:
    x, counts = c.value(self), c.shape(dims)
    return c.add(Repeat((*(1,) * (x.rank - len(counts)), *counts)), x)


def repeat_interleave(c: Context, self: Any, repeats: Any, dim: Any = None, output_size: Any = None) -> Any:
    x = c.value(self)
    if dim is None:
        x, dim = c.add(View((-1,)), x), 0
    return c.add(Upsample(c.axis(dim, x.rank), c.integer(repeats, "repeats")), x)


def broadcast_tensors(c: Context, tensors: Any) -> Any:
    values = c.values(tensors)
    shape = broadcast_shapes([each.shape for each in values])
    return [each if each.shape == shape else c.add(Expand(shape), each) for each in values]


# Joins and splits.


def cat(c: Context, tensors: Any, dim: Any = 0) -> Any:
    values = c.values(tensors)
    if not values or len(values) > MAX_PARTS:
        raise c.error(f"joins {len(values)} tensors, wanted 1 to {MAX_PARTS}")
    real = [each for each in values if each.shape != (0,)] or values[:1]  # an empty tensor is joined to anything
    return real[0] if len(real) == 1 else c.add(Concatenate(c.axis(dim, real[0].rank)), *real)


def beside(axis: int) -> Callable[..., Any]:
    """``hstack``, ``vstack`` and ``dstack``: along axis 1, 0 or 2 of values that have it."""

    def run(c: Context, tensors: Any) -> Any:
        values = [_with_axes(c, each, axis) for each in c.values(tensors)]
        return cat(c, values, 0 if values and values[0].rank == 1 else axis)

    return run


def _with_axes(c: Context, x: Value, axis: int) -> Value:
    """A value with the axes that ``hstack`` and the like give what has fewer."""
    if x.rank == 0 and axis == 1:
        shape: Sizes = (1,)
    elif x.rank < 2 and axis != 1:
        shape = (1, *x.shape) if x.rank else (1, 1)
    else:
        shape = x.shape
    if axis == 2 and len(shape) == 2:
        shape = (*shape, 1)
    made: Value = x if shape == x.shape else c.add(View(shape), x)
    return made


def diagonal(c: Context, self: Any, offset: Any = 0, dim1: Any = 0, dim2: Any = 1) -> Any:
    """The places with equal numbers along two axes, in a last axis of their own."""
    x, shift = c.value(self), c.integer(offset, "offset")
    one, two = c.axis(dim1, x.rank), c.axis(dim2, x.rank)
    rows, columns = x.shape[one], x.shape[two]
    if not isinstance(rows, int) or not isinstance(columns, int):
        raise c.error(f"takes the diagonal of axes whose sizes are open, {rows} and {columns}")
    count = max(0, min(rows, columns - shift) if shift >= 0 else min(rows + shift, columns))
    first = shift if shift >= 0 else -shift * columns
    rest = [axis for axis in range(x.rank) if axis not in (one, two)]
    moved = c.add(Permute((*rest, one, two)), x)
    places = c.builder.constant(first + (columns + 1) * np.arange(count))
    return c.add(Take(len(rest)), c.add(View((*moved.shape[:-2], rows * columns)), moved), places)


def stack(c: Context, tensors: Any, dim: Any = 0) -> Any:
    values = c.values(tensors)
    if not values or len(values) > MAX_PARTS:
        raise c.error(f"joins {len(values)} tensors, wanted 1 to {MAX_PARTS}")
    at = c.axis(dim, values[0].rank + 1)
    return cat(c, [unsqueeze(c, each, at) for each in values], at)


def split(c: Context, self: Any, split_size: Any, dim: Any = 0) -> list[Value]:
    """Parts of one size, the last of what is left, or of given sizes."""
    x = c.value(self)
    at = c.axis(dim, x.rank)
    whole = x.shape[at]
    if isinstance(split_size, (list, tuple)):
        sizes: list[Size] = list(c.shape(split_size))
    else:
        each = c.integer(split_size, "the size of a part")
        if not isinstance(whole, int) or each < 1 or whole > MAX_PARTS * each:
            raise c.error(f"splits an axis of {whole} places into parts of {each}")
        sizes = [min(each, whole - first) for first in range(0, whole, each)]
    return _parts(c, x, at, sizes)


def _parts(c: Context, x: Value, at: int, sizes: Sequence[Size]) -> list[Value]:
    made: list[Value] = []
    first: Size = 0
    for size in sizes:
        end = first + size
        made.append(slice_(c, x, at, first, end))
        first = end
    if first != x.shape[at]:
        raise c.error(f"splits an axis of {x.shape[at]} places into {first}")
    return made


def chunk(c: Context, self: Any, chunks: Any, dim: Any = 0) -> list[Value]:
    x = c.value(self)
    at, count = c.axis(dim, x.rank), c.integer(chunks, "chunks")
    whole = x.shape[at]
    if count == 1:
        return [x]
    if not 1 <= count <= MAX_PARTS:
        raise c.error(f"splits an axis into {count} parts, wanted 1 to {MAX_PARTS}")
    if isinstance(whole, Expression):
        each = (whole + (count - 1)) // count
        last = whole - each * (count - 1)
        c.builder.guard(last, ">", 0, f"fewer than {count} parts are left")
        return _parts(c, x, at, [each] * (count - 1) + [last])
    each = max(1, -(-whole // count))
    return _parts(c, x, at, [min(each, whole - first) for first in range(0, whole, each)])


def tensor_split(c: Context, self: Any, indices_or_sections: Any, dim: Any = 0) -> list[Value]:
    x = c.value(self)
    at = c.axis(dim, x.rank)
    whole = x.shape[at]
    if not isinstance(whole, int):
        raise c.error(f"splits an axis of {whole} places")
    if isinstance(indices_or_sections, (list, tuple)):
        ends = [slice(0, c.integer(each, "a place")).indices(whole)[1] for each in indices_or_sections]
        ends = [*ends, whole]
    else:
        count = c.integer(indices_or_sections, "the number of parts")
        if not 1 <= count <= MAX_PARTS // 100:
            raise c.error(f"splits an axis into {count} parts, wanted 1 to {MAX_PARTS // 100}")
        ends = [sum(whole // count + (part < whole % count) for part in range(last + 1)) for last in range(count)]
    return _parts(c, x, at, [end - first for first, end in zip([0, *ends], ends, strict=False)])


def unbind(c: Context, self: Any, dim: Any = 0) -> list[Value]:
    x = c.value(self)
    at = c.axis(dim, x.rank)
    count = x.shape[at]
    if not isinstance(count, int) or count > MAX_PARTS:
        raise c.error(f"takes an axis of {count} places apart")
    return [select(c, x, at, place) for place in range(count)]


def size(c: Context, self: Any, dim: Any = None) -> Any:
    x = c.value(self)
    return list(x.shape) if dim is None else x.shape[c.axis(dim, x.rank)]


def numel(c: Context, self: Any) -> Size:
    return product(c.value(self).shape)
