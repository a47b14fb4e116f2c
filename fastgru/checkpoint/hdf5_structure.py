"""The skeleton of an HDF5 file, walked over its bytes before the HDF5 library sees them.

The library trusts the addresses in a file: a B-tree that leads back to itself makes it loop until memory runs out, and
a damaged heap does the same. So every group, tree node, heap and header that it will visit is checked here to lie in
the file, to be of the kind expected and to be reached once. Only the classic layout is let through (superblock 0 or 1,
symbol tables), which is what h5py writes for every Keras; no data is decoded here.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator

from ..errors import CheckpointError

__all__ = ["check_structure"]

UNDEFINED = (1 << 64) - 1
MAX_OBJECTS = 10_000  # Keras takes about 6 a layer
MAX_LEVEL = 8  # of a B-tree whose nodes have 32 entries
MAX_MESSAGES = 4096
NO_FREE_BLOCK = 1  # how a local heap ends its list of free blocks

# Messages of an object header.
LINK_INFO, LINK, LAYOUT, CONTINUATION, SYMBOL_TABLE = 0x02, 0x06, 0x08, 0x10, 0x11
SHARED = 0x02
COMPACT, CONTIGUOUS = 0, 1
# What an entry of a symbol table remembers of its object.
NOTHING_CACHED, TREE_CACHED, SOFT_LINK = 0, 1, 2


def check_structure(data: bytes, where: str, *, skip: Collection[str] = ()) -> None:
    """Raise a ``CheckpointError`` unless all that the root leads to is well-formed, acyclic and inside ``data``.

    Parameters
    ----------
    data : bytes
        The whole file.
    where : str
        What messages begin with.
    skip : collection of str
        Names at the root that will not be entered.
    """
    try:
        _Walk(data, where).run(frozenset(name.encode() for name in skip))
    except (struct.error, IndexError):
        raise CheckpointError(f"{where}: the HDF5 file points beyond its end; it is damaged or was cut off") from None


class _Walk:
    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where
        self.seen: set[int] = set()  # addresses of blocks
        self.leaf_size = self.node_size = 0  # most entries of a symbol node and of a tree node

    def error(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: the HDF5 file is damaged or not laid out as Keras does: {message}")

    def numbers(self, layout: str, at: int) -> tuple[int, ...]:
        """Little-endian unsigned numbers at an address."""
        return struct.unpack_from("<" + layout, self.data, at)

    def block(self, address: int, length: int, signature: bytes = b"") -> int:
        """The address, once it is known to be the block wanted and to be met for the first time."""
        if address + length > len(self.data) or not self.data.startswith(signature, address):
            raise self.error(f"a block {signature!r} is missing at byte {address}")
        if address in self.seen:
            raise self.error(f"the block at byte {address} is linked twice, as in a cycle")
        self.seen.add(address)
        if len(self.seen) > 4 * MAX_OBJECTS:
            raise self.error(f"it has more than {MAX_OBJECTS} objects")
        return address

    def run(self, skip: frozenset[bytes]) -> None:
        version, offset_size, length_size = self.data[8], self.data[13], self.data[14]
        if version > 1 or (offset_size, length_size) != (8, 8):
            raise self.error(f"superblock version {version}; write it again with h5py's default settings")
        leaf, internal = self.numbers("2H", 16)
        self.leaf_size, self.node_size = 2 * leaf, 2 * internal
        at = 24 + 4 * version
        base, _, end, driver = self.numbers("4Q", at)
        if base or end > len(self.data) or driver != UNDEFINED:
            raise self.error(f"it should have {end} bytes after {base}, and has {len(self.data)}")
        waiting = [(self.numbers("QQII2Q", at + 32), skip)]
        while waiting:
            entry, skip = waiting.pop()
            waiting += [(below, frozenset()) for below in self.object(entry, skip)]

    def object(self, entry: tuple[int, ...], skip: frozenset[bytes]) -> Iterator[tuple[int, ...]]:
        """Check one object; give the entries of those below it, if it is a group."""
        _, header, cached, _, *remembered = entry
        table: tuple[int, int] | None = None
        for kind, at, length in self.messages(header):
            if kind in (LINK_INFO, LINK):
                raise self.error("a group has external links or a newer layout; write it again with h5py's defaults")
            if kind == SYMBOL_TABLE and length >= 16 and table is None:
                tree, heap = self.numbers("2Q", at)
                table = tree, heap
            if kind == LAYOUT:
                self.check_layout(at)
        if cached == TREE_CACHED and table != tuple(remembered):
            raise self.error(f"the object at byte {header} is remembered as another")
        if table is not None:
            yield from self.members(*table, skip)

    def messages(self, header: int) -> Iterator[tuple[int, int, int]]:
        """(kind, address, length) of each message of an object header, continuations followed."""
        if self.data.startswith(b"OHDR", header):
            raise self.error(f"the object at byte {header} has a newer layout; write it again with h5py's defaults")
        self.block(header, 16, b"\x01\x00")
        _, count, _, size = self.numbers("2H2I", header)
        if count > MAX_MESSAGES:
            raise self.error(f"the object at byte {header} has {count} messages")
        pieces = [(header + 16, size)]
        while pieces:
            at, size = pieces.pop()
            end = at + size
            if end > len(self.data):
                raise self.error(f"the header at byte {header} reaches beyond the end")
            while at + 8 <= end:
                kind, length, flags = self.numbers("2HB", at)
                at += 8
                if at + length > end or flags & SHARED:
                    raise self.error(f"a message of the object at byte {header} is shared or too long")
                if kind == CONTINUATION:
                    address, size = self.numbers("2Q", at)
                    pieces.append((self.block(address, size), size))
                yield kind, at, length
                at += length

    def check_layout(self, at: int) -> None:
        """Only data that lies in one piece: other layouts lead to more trees, to filters or to other files."""
        version, kind = self.numbers("2B", at)
        if version in (1, 2):
            kind = self.data[at + 2]
        if version not in (1, 2, 3) or kind not in (COMPACT, CONTIGUOUS):
            raise self.error("it has chunked, compressed or virtual data, which is refused; wanted data in one piece")

    def members(self, tree: int, heap: int, skip: frozenset[bytes]) -> Iterator[tuple[int, ...]]:
        """The entries of a group, each name checked to be in the heap and to end there."""
        names, size = self.heap(heap)
        for leaf in self.leaves(tree):
            self.block(leaf, 8 + 40 * self.leaf_size, b"SNOD\x01")
            (count,) = self.numbers("H", leaf + 6)
            if count > self.leaf_size:
                raise self.error(f"the symbol node at byte {leaf} has {count} entries")
            for index in range(count):
                entry = self.numbers("QQII2Q", leaf + 8 + 40 * index)
                begin, end = names + entry[0], names + size
                stop = self.data.find(b"\0", begin, end) if entry[0] < size else -1
                if stop < 0 or entry[2] > SOFT_LINK:
                    raise self.error(f"a name of the group at byte {tree} is outside of its heap")
                if entry[2] != SOFT_LINK and self.data[begin:stop] not in skip:
                    yield entry

    def heap(self, address: int) -> tuple[int, int]:
        """Where a local heap's data begins and how long it is; its list of free blocks must lead forward to an end."""
        self.block(address, 32, b"HEAP\x00")
        size, free, data = self.numbers("3Q", address + 8)
        self.block(data, size)
        blocks: set[int] = set()
        while free not in (NO_FREE_BLOCK, UNDEFINED):
            if free + 16 > size or free in blocks:
                raise self.error(f"the heap at byte {address} has a damaged list of free space")
            blocks.add(free)
            free, length = self.numbers("2Q", data + free)
            if length > size:
                raise self.error(f"the heap at byte {address} has a damaged list of free space")
        return data, size

    def leaves(self, root: int) -> list[int]:
        """The symbol nodes of a group's B-tree: levels count down to 0, and neighbours know each other."""
        nodes, level = [root], None
        length = 24 + 16 * self.node_size + 8
        while level != 0:
            below: list[int] = []
            row = [UNDEFINED, *nodes, UNDEFINED]
            for index, node in enumerate(nodes):
                self.block(node, length, b"TREE\x00")
                depth, count, left, right = self.numbers("BH2Q", node + 5)
                wanted = depth if level is None else level - 1
                if (
                    depth != wanted
                    or depth > MAX_LEVEL
                    or count > self.node_size
                    or (left, right) != (row[index], row[index + 2])
                ):
                    raise self.error(f"the B-tree node at byte {node} is not where it belongs")
                below += [self.numbers("Q", node + 32 + 16 * child)[0] for child in range(count)]
            level = wanted
            nodes = below
            if len(nodes) > MAX_OBJECTS:
                raise self.error(f"it has more than {MAX_OBJECTS} objects")
            if not nodes:
                return []
        return nodes
