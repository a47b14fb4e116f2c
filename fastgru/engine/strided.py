"""What an instruction of a program reads or writes: a part of a buffer, seen through a shape and strides.

Taking a place, a slice or an order of axes of one gives another without an instruction. Nothing here is checked against
memory: ``Program`` does that for every one that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["ITEMSIZES", "Strided", "merged"]

ITEMSIZES = {"f": 4, "d": 8, "i": 8, "b": 1}  # float32, float64, int64, booleans

Shape = tuple[int, ...]


class Strided(NamedTuple):
    """Elements of a buffer: element ``index`` lies ``offset + sum(index * strides)`` elements from its start."""

    buffer: int
    kind: str  # of ITEMSIZES
    offset: int
    shape: Shape
    strides: Shape

    @property
    def size(self) -> int:
        """How many elements there are."""
        total = 1
        for size in self.shape:
            total *= size
        return total

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after the other in C order."""
        return self.strides == self.of(self.shape)

    @property
    def dense(self) -> bool:
        """Whether the elements lie beside each other with none between, in the order of some of their axes."""
        step = 1
        for stride, size in sorted((s, n) for s, n in zip(self.strides, self.shape, strict=True) if n != 1):
            if stride != step:
                return False
            step *= size
        return True

    @staticmethod
    def of(shape: Sequence[int]) -> Shape:
        """The strides of an array in C order; 0 for axes of one place, so that equal layouts are equal."""
        strides, step = [], 1
        for size in reversed(shape):
            strides.append(step if size != 1 else 0)
            step *= size
        return tuple(reversed(strides))

    def taken(self, axis: int, index: int) -> Strided:
        """One place along an axis, which is then gone."""
        offset = self.offset + index * self.strides[axis]
        return Strided(self.buffer, self.kind, offset, _without(self.shape, axis), _without(self.strides, axis))

    def sliced(self, axis: int, start: int, count: int, step: int = 1) -> Strided:
        """``count`` places along an axis from ``start``, every ``step``-th; backwards where it is negative."""
        stride = self.strides[axis]
        shape, strides = list(self.shape), list(self.strides)
        shape[axis], strides[axis] = count, stride * step if count != 1 else 0
        return Strided(self.buffer, self.kind, self.offset + start * stride, tuple(shape), tuple(strides))

    def permuted(self, order: Sequence[int]) -> Strided:
        """The axes in another order."""
        shape, strides = tuple([self.shape[axis] for axis in order]), tuple([self.strides[axis] for axis in order])
        return Strided(self.buffer, self.kind, self.offset, shape, strides)

    def expanded(self, shape: Sequence[int]) -> Strided | None:
        """Sizes of 1 repeated, and new axes in front; None where the shapes do not fit."""
        added = len(shape) - len(self.shape)
        if added < 0:
            return None
        strides = [0] * added
        for own, size, stride in zip(self.shape, shape[added:], self.strides, strict=True):
            if own != size and own != 1:
                return None
            strides.append(stride if own == size else 0)
        return Strided(self.buffer, self.kind, self.offset, tuple(shape), tuple(strides))

    def reshaped(self, shape: Sequence[int]) -> Strided | None:
        """The same elements in the same order under another shape of as many; None where that takes a copy."""
        old = [(size, stride) for size, stride in zip(self.shape, self.strides, strict=True) if size != 1]
        new = [size for size in shape if size != 1]
        made: list[int] = []
        first, begin = 0, 0
        while first < len(old) and begin < len(new):
            last, end = first + 1, begin + 1
            have, wanted = old[first][0], new[begin]
            while have != wanted:  # the fewest axes that hold as many elements
                if have < wanted and last < len(old):
                    have, last = have * old[last][0], last + 1
                elif wanted < have and end < len(new):
                    wanted, end = wanted * new[end], end + 1
                else:
                    return None
            inner = old[first + 1 : last]
            if any(stride != size * step for (_, stride), (size, step) in zip(old[first:last], inner, strict=False)):
                return None
            stride, group = old[last - 1][1], []
            for size in reversed(new[begin:end]):
                group.append(stride)
                stride *= size
            made += reversed(group)
            first, begin = last, end
        if first < len(old) or begin < len(new):
            return None
        strides = iter(made)
        return self._replace(shape=tuple(shape), strides=tuple(0 if size == 1 else next(strides) for size in shape))


def _without(sizes: Shape, axis: int) -> Shape:
    return (*sizes[:axis], *sizes[axis + 1 :])


def merged(parts: Sequence[Strided]) -> tuple[list[int], list[list[int]]]:
    """The fewest axes that go over the same elements of parts of one shape: their sizes, and each part's strides.

    The first part is gone over in the order of its memory.
    """
    shape: list[int] = []
    strides: list[list[int]] = [[] for _ in parts]
    order = sorted(range(len(parts[0].shape)), key=lambda axis: -abs(parts[0].strides[axis]))
    for axis in order:
        size = parts[0].shape[axis]
        if size == 1:
            continue
        if shape and all(own[-1] == size * part.strides[axis] for own, part in zip(strides, parts, strict=True)):
            shape[-1] *= size
            for own, part in zip(strides, parts, strict=True):
                own[-1] = part.strides[axis]
            continue
        shape.append(size)
        for own, part in zip(strides, parts, strict=True):
            own.append(part.strides[axis])
    return shape, strides
