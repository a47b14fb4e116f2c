"""Where HDF5's newer layout keeps the members of a large group or many attributes: a B-tree over a fractal heap.

Keras's files have it where a layer's name is not ASCII, or where h5py was asked for a newer layout. Every node and
block that the HDF5 library could visit is checked here; the checksums in them are left to it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import CheckpointError
from .blocks import UNDEFINED, Blocks

__all__ = ["ATTRIBUTES", "LINKS", "Piece", "TreeKind", "read_dense"]

MAX_DEPTH = 6  # of a B-tree whose nodes have about 20 children
MAX_ROWS = 64  # of a block of the heap, each twice as large as the one before
MAX_WIDTH = 1 << 10
NODE_PREFIX, CHECKSUM = 6, 4  # bytes
MANAGED, HUGE = 0, 1  # kinds of a heap's objects: in its blocks, and in a place of their own


class TreeKind(NamedTuple):
    """A kind of B-tree: its number, the size of a record, and where in it the identity of an object in the heap is."""

    number: int
    record: int
    identity: int


HUGE_OBJECTS = TreeKind(1, 24, 16)
LINKS = TreeKind(5, 11, 4)
ATTRIBUTES = TreeKind(8, 17, 0)


class Piece(NamedTuple):
    """A piece of the file."""

    at: int
    length: int


def read_dense(blocks: Blocks, heap: int, tree: int, kind: TreeKind) -> list[Piece]:
    """Where the objects in a heap are that a B-tree lists."""
    objects = _Heap(blocks, heap)
    return [objects.find(record + kind.identity) for record in _records(blocks, tree, kind)]


def _bytes_for(limit: int) -> int:
    """How wide a number up to ``limit`` is stored."""
    return max(1, -(-limit.bit_length() // 8))


def _records(blocks: Blocks, address: int, kind: TreeKind) -> Iterator[int]:
    """Addresses of the records of a B-tree, level by level."""
    blocks.block(address, 38, b"BTHD\x00")
    blocks.summed(address, address + 34)
    number, node_size, record, depth, _, root, count = blocks.numbers("BIHHHQH", address + 5)
    if number != kind.number or record != kind.record or depth > MAX_DEPTH:
        raise blocks.error(f"the B-tree at byte {address} is not of the kind wanted")
    if root == UNDEFINED:
        return
    # How many records a node of each level may have, and how wide a pointer to one is, from the leaves up.
    most = [(node_size - NODE_PREFIX - CHECKSUM) // record]
    count_width, total, pointers = _bytes_for(max(most[0], 0)), most[0], [0]
    total_width = 0
    for _ in range(depth):
        pointer = 8 + count_width + total_width
        most.append((node_size - NODE_PREFIX - CHECKSUM - pointer) // (record + pointer))
        pointers.append(pointer)
        total = (most[-1] + 1) * total + most[-1]
        total_width = _bytes_for(max(total, 0))
    nodes = [(root, count)]
    for level in range(depth, -1, -1):
        below: list[tuple[int, int]] = []
        for node, count in nodes:
            blocks.block(node, node_size, b"BTIN\x00" if level else b"BTLF\x00")
            if not 0 <= count <= most[level] or blocks.number(node + 5, 1) != kind.number:
                raise blocks.error(f"the B-tree node at byte {node} is not where it belongs")
            blocks.spend(count + 1)
            children = node + NODE_PREFIX + count * record
            blocks.summed(node, children + ((count + 1) * pointers[level] if level else 0))
            yield from range(node + NODE_PREFIX, children, record)
            if level:
                below += [
                    (blocks.number(at, 8), blocks.number(at + 8, count_width))
                    for at in range(children, children + (count + 1) * pointers[level], pointers[level])
                ]
        nodes = below


@dataclass(frozen=True)
class _Extent:
    """A block of the heap: where it begins in the heap's own space, where in the file, and its size."""

    offset: int
    address: int
    size: int


class _Heap:
    """A fractal heap: blocks in rows of growing size, which together are one space that objects have offsets in."""

    def __init__(self, blocks: Blocks, address: int) -> None:
        self._blocks, self._address = blocks, address
        blocks.block(address, 146, b"FRHP\x00")
        blocks.summed(address, address + 142)
        identity, filters, _, most_managed, _, huge = blocks.numbers("HHBIQQ", address + 5)
        self._width, self._start, self._most_direct, bits, _, root, rows = blocks.numbers("HQQHHQH", address + 110)
        powers = (self._width, self._start, self._most_direct)
        if any(power < 1 or power & (power - 1) for power in powers) or self._width > MAX_WIDTH or bits > MAX_ROWS:
            raise self._error("has blocks of impossible sizes")
        if filters or identity < 2:
            raise self._error("is filtered, or its objects have no identity")
        self._offset_width = -(-bits // 8)
        direct_width = -(-(self._most_direct.bit_length() - 1) // 8)
        self._length_width = min(direct_width, _bytes_for(most_managed))
        self._prefix = 13 + self._offset_width
        self._extents: list[_Extent] = []
        if root != UNDEFINED and rows:
            self._read_rows(root, rows)
        elif root != UNDEFINED:
            self._add(root, 0, self._start)
        self._extents.sort(key=lambda extent: extent.offset)
        self._offsets = [extent.offset for extent in self._extents]
        self._identity_width = min(identity - 1, 8)
        self._huge: dict[int, Piece] = {}
        if huge != UNDEFINED:
            for at in _records(blocks, huge, HUGE_OBJECTS):
                place, length, number = blocks.numbers("3Q", at)
                self._huge[number] = Piece(place, length)

    def find(self, at: int) -> Piece:
        """The object whose identity in the heap is stored at an address."""
        blocks = self._blocks
        kind = blocks.number(at, 1) >> 4
        piece: Piece | None = None
        if kind == HUGE:
            piece = self._huge.get(blocks.number(at + 1, self._identity_width))
        elif kind == MANAGED:
            offset = blocks.number(at + 1, self._offset_width)
            length = blocks.number(at + 1 + self._offset_width, self._length_width)
            piece = self._managed(offset, length)
        if piece is None or piece.at + piece.length > blocks.span.size:
            raise self._error("does not hold an object that is said to be in it")
        return piece

    def _managed(self, offset: int, length: int) -> Piece | None:
        index = bisect_right(self._offsets, offset) - 1
        if index < 0:
            return None
        extent = self._extents[index]
        inside = offset - extent.offset
        if inside < self._prefix or inside + length > extent.size:
            return None
        return Piece(extent.address + inside, length)

    def _error(self, message: str) -> CheckpointError:
        return self._blocks.error(f"the heap at byte {self._address} {message}")

    def _add(self, address: int, offset: int, size: int) -> None:
        self._blocks.block(address, size, b"FHDB\x00")
        self._extents.append(_Extent(offset, address, size))

    def _read_rows(self, root: int, rows: int) -> None:
        """All blocks below an indirect block: rows of blocks of data, then rows of indirect blocks."""
        waiting = [(root, rows, 0)]
        while waiting:
            address, rows, offset = waiting.pop()
            if rows > MAX_ROWS:
                raise self._error(f"has a block of {rows} rows")
            self._blocks.block(address, self._prefix + 8 * rows * self._width, b"FHIB\x00")
            at = address + self._prefix
            for row in range(rows):
                size = self._start << max(row - 1, 0)
                for _ in range(self._width):
                    self._blocks.spend()
                    child = self._blocks.number(at, 8)
                    if child != UNDEFINED and size <= self._most_direct:
                        self._add(child, offset, size)
                    elif child != UNDEFINED:
                        below = size.bit_length() - (self._start * self._width).bit_length() + 1
                        waiting.append((child, below, offset))
                    at += 8
                    offset += size
            self._blocks.summed(address, at)
