"""Groups of HDF5's classic layout: a B-tree over symbol nodes, and a heap with the names of the members.

The HDF5 library would follow a tree that leads back to itself, or a heap whose free blocks do, until memory runs out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .blocks import MAX_OBJECTS, UNDEFINED, Blocks

__all__ = ["SOFT_LINK", "TREE_CACHED", "Symbol", "read_symbols"]

MAX_LEVEL = 8  # of a B-tree whose nodes have 32 entries
MAX_NAME = 4096  # bytes
NO_FREE_BLOCK = 1  # how a local heap ends its list of free blocks
TREE_CACHED, SOFT_LINK = 1, 2  # what an entry remembers of its object


class Symbol(NamedTuple):
    """An entry of a group. ``tree`` and ``heap`` mean something only where ``cached`` says so."""

    name: int
    header: int
    cached: int
    reserved: int
    tree: int
    heap: int


def read_symbols(
    blocks: Blocks, tree: int, heap: int, leaf_size: int, node_size: int
) -> Iterator[tuple[bytes, Symbol]]:
    """The entries of a group by name, each name checked to be in the heap and to end there.

    ``leaf_size`` and ``node_size`` are the most entries of a symbol node and of a tree node.
    """
    names, size = _heap(blocks, heap)
    for leaf in _leaves(blocks, tree, node_size):
        blocks.block(leaf, 8 + 40 * leaf_size, b"SNOD\x01")
        (count,) = blocks.numbers("H", leaf + 6)
        if count > leaf_size:
            raise blocks.error(f"the symbol node at byte {leaf} has {count} entries")
        for at in range(leaf + 8, leaf + 8 + 40 * count, 40):
            blocks.spend()
            symbol = Symbol(*blocks.numbers("QQII2Q", at))
            begin = names + symbol.name
            name, end, _ = blocks.span.piece(begin, min(size - symbol.name, MAX_NAME)).partition(b"\0")
            if symbol.name >= size or not end or symbol.cached > SOFT_LINK:
                raise blocks.error(f"a name of the group at byte {tree} is outside of its heap")
            yield name, symbol


def _heap(blocks: Blocks, address: int) -> tuple[int, int]:
    """Where a local heap's data begins and how long it is; its list of free blocks must lead forward to an end."""
    blocks.block(address, 32, b"HEAP\x00")
    size, free, data = blocks.numbers("3Q", address + 8)
    blocks.block(data, size)
    free_blocks: set[int] = set()
    while free not in (NO_FREE_BLOCK, UNDEFINED):
        blocks.spend()
        if free + 16 > size or free in free_blocks:
            raise blocks.error(f"the heap at byte {address} has a damaged list of free space")
        free_blocks.add(free)
        free, length = blocks.numbers("2Q", data + free)
        if length > size:
            raise blocks.error(f"the heap at byte {address} has a damaged list of free space")
    return data, size


def _leaves(blocks: Blocks, root: int, node_size: int) -> list[int]:
    """The symbol nodes of a group's B-tree: levels count down to 0, and neighbours know each other."""
    nodes, level = [root], None
    length = 24 + 16 * node_size + 8
    while level != 0:
        below: list[int] = []
        row = [UNDEFINED, *nodes, UNDEFINED]
        for index, node in enumerate(nodes):
            blocks.block(node, length, b"TREE\x00")
            depth, count, left, right = blocks.numbers("BH2Q", node + 5)
            wanted = depth if level is None else level - 1
            if (
                depth != wanted
                or depth > MAX_LEVEL
                or count > node_size
                or (left, right) != (row[index], row[index + 2])
            ):
                raise blocks.error(f"the B-tree node at byte {node} is not where it belongs")
            blocks.spend(count)
            below += [blocks.number(node + 32 + 16 * child, 8) for child in range(count)]
        level = wanted
        nodes = below
        if len(nodes) > MAX_OBJECTS:
            raise blocks.error(f"it has more than {MAX_OBJECTS} objects")
        if not nodes:
            return []
    return nodes
