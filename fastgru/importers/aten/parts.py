"""PyTorch's operations that take a part of a value: one place along an axis, some in a row, or all of them apart.

Where places are counted they may have been counted from a size of the example: they are noted as evidence of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...spec import Last, Select, Slice
from .builder import Builder
from .values import Array, Size, Stack, Unknown, Weight, described, known, same_size

__all__ = ["axis_of", "chunk", "rank_of", "select", "selected", "size", "slice_", "split", "unbind"]

END = 1 << 62  # at and beyond it a slice goes to the end
MAX_PARTS = 1000


def axis_of(b: Builder, dim: Any, rank: int) -> int:
    return b.axis(dim, rank)


def size(b: Builder, self: Any, dim: Any = None) -> Any:
    sizes = getattr(self, "sizes", None)
    if sizes is None:
        raise b.error(f"asks for the size of {described(self)}, wanted a tensor")
    return tuple(sizes) if dim is None else sizes[axis_of(b, dim, len(sizes))]


def rank_of(b: Builder, value: Any) -> int:
    if not isinstance(value, (Array, Stack, Weight)):
        raise b.error(f"takes a tensor, got {described(value)}")
    return len(value.sizes)


def select(b: Builder, self: Any, dim: int, index: int) -> Any:
    at = axis_of(b, dim, rank_of(b, self))
    if not isinstance(self, Stack) and type(index) is int:
        b.evidence.note_index(b.operation, index, None if isinstance(self, Weight) else b.array(self).sizes[at])
    return selected(b, self, at, index)


def selected(b: Builder, self: Any, at: int, index: int) -> Any:
    rank = rank_of(b, self)
    if type(index) is not int:
        raise b.error(f"index is {described(index)}, wanted a number")
    if isinstance(self, Weight):
        if not -self.array.shape[at] <= index < self.array.shape[at]:
            raise b.error(f"index is {index}, wanted one of {self.array.shape[at]}")
        return self._replace(array=np.asarray(self.array.take(index, axis=at)))
    if isinstance(self, Stack) and at == 0:
        if not -len(self.items) <= index < len(self.items):
            raise b.error(f"index is {index}, wanted one of {len(self.items)} states")
        return self.items[index]
    x = b.array(self)
    axis = x.order[at]
    if axis == 0:
        raise b.layout_error("takes one row of the batch")
    if rank == 2:
        raise b.error("leaves no axis but the batch, and fastgru gives at least one number a row in an axis of its own")
    last = axis == 1 and rank == 3 and index == -1
    name = b.add("last" if last else "select", Last() if last else Select(axis, index), x.edge)
    order = tuple(each - (each > axis) for each in x.order if each != axis)
    return Array(name, (*x.shape[:axis], *x.shape[axis + 1 :]), order)


def slice_(b: Builder, self: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    sizes = size(b, self)
    at = axis_of(b, dim, len(sizes))
    start = 0 if start is None else start
    whole = start == 0 and (end is None or (type(end) is int and end >= END))
    if not whole and not isinstance(self, Stack):
        for bound in (start, None if type(end) is int and end >= END else end):
            b.evidence.note_part(b.operation, bound, None if isinstance(self, Weight) else sizes[at])
    return _sliced(b, self, at, start, end, step)


def _sliced(b: Builder, self: Any, at: int, start: Any, end: Any, step: int = 1) -> Any:
    sizes = size(b, self)
    end = None if end is None or (type(end) is int and end >= END) or same_size(end, sizes[at]) else end
    if step != 1 or type(start) is not int or not (end is None or type(end) is int):
        raise b.error("takes places with a stride, or from a place that is not a number")
    if start == 0 and end is None:
        return self
    if isinstance(self, Weight):
        return self._replace(array=self.array[(slice(None),) * at + (slice(start, end),)])
    if isinstance(self, Stack) and at == 0:
        items = self.items[start:end]
        if not items:
            raise b.error("takes none of its states")
        return Stack(items)
    x = b.array(self)
    axis = x.order[at]
    if axis == 0:
        raise b.layout_error("takes some rows of the batch")
    whole = known(x.shape[axis])
    count: Size = Unknown() if whole is None else len(range(*slice(start, end).indices(whole)))
    name = b.add("slice", Slice(axis, start, end), x.edge)
    return x._replace(edge=name, shape=(*x.shape[:axis], count, *x.shape[axis + 1 :]))


def split(b: Builder, self: Any, split_size: Any, dim: int = 0) -> tuple[Any, ...]:
    """Parts of one size, the last of what is left, or of given sizes."""
    whole = _divided(b, self, dim)
    for number in split_size if isinstance(split_size, (list, tuple)) else [split_size]:
        b.evidence.note_part(b.operation, number, None if isinstance(self, Weight) else whole)
    return _split(b, self, split_size, dim)


def _split(b: Builder, self: Any, split_size: Any, dim: int) -> tuple[Any, ...]:
    total = known(_divided(b, self, dim))
    if total is None:
        raise b.error("splits an axis whose size is not known")
    if type(split_size) is int and split_size > 0 and total <= MAX_PARTS * split_size:
        lengths = [min(split_size, total - first) for first in range(0, total, split_size)]
    elif isinstance(split_size, (list, tuple)) and len(split_size) <= MAX_PARTS:
        lengths = [each for each in split_size if type(each) is int and each > 0]
    else:
        raise b.error(f"its sizes are {described(split_size)}, wanted at most {MAX_PARTS} numbers")
    if sum(lengths) != total:
        raise b.error(f"its sizes are {described(lengths)}, wanted numbers that add up to {total}")
    firsts = [sum(lengths[:part]) for part in range(len(lengths))]
    axis = axis_of(b, dim, rank_of(b, self))
    return tuple(_sliced(b, self, axis, at, at + length) for at, length in zip(firsts, lengths, strict=True))


def _divided(b: Builder, value: Any, dim: int) -> Size:
    """The size of an axis that is taken apart."""
    whole: Size = size(b, value, dim)
    if whole is b.batch:
        raise b.layout_error("takes the batch apart")
    return whole


def chunk(b: Builder, self: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    whole = _divided(b, self, dim)
    b.evidence.note_part(b.operation, chunks, whole)
    total = known(whole)
    if total is None or type(chunks) is not int or chunks < 1:
        raise b.error("splits an axis whose size is not known, or into no parts")
    return _split(b, self, max(1, -(-total // chunks)), dim)


def unbind(b: Builder, self: Any, dim: int = 0) -> tuple[Any, ...]:
    count = known(_divided(b, self, dim))
    if count is None or count > MAX_PARTS:
        raise b.error("takes an axis apart whose size is not known, or too large")
    axis = axis_of(b, dim, rank_of(b, self))
    return tuple(selected(b, self, axis, index) for index in range(count))
