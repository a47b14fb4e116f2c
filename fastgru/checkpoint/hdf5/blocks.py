"""The bytes of an HDF5 file, with the checks that every look at its structure needs.

Owns bounds, the rule that a block is reached once, a budget of steps, and the checksums of what was met. It knows no
block's inside.
"""

from __future__ import annotations

import struct

from ...errors import CheckpointError
from ..span import Span
from ..text import shown

__all__ = ["MAX_OBJECTS", "UNDEFINED", "Blocks"]

UNDEFINED = (1 << 64) - 1  # an address of nothing
MAX_OBJECTS = 10_000  # Keras takes about 6 a layer
MAX_STEPS = 25 * MAX_OBJECTS  # messages, entries, free blocks and texts looked at; Keras takes about 15 a dataset

MASK = 0xFFFFFFFF  # it and the next three: of the checksum
BLOCK = 12  # bytes: three words
MIXES = ((0, 2, 4), (1, 0, 6), (2, 1, 8), (0, 2, 16), (1, 0, 19), (2, 1, 4))  # word changed, word turned, by
LAST_MIXES = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))


class Blocks:
    """The bytes of one file.

    Parameters
    ----------
    span : Span
        The file from its signature on.
    where : str
        What messages begin with.
    """

    def __init__(self, span: Span, where: str) -> None:
        self.span, self.where = span, where
        self._steps_left = MAX_STEPS
        self._seen: set[int] = set()  # addresses
        self._summed: list[tuple[int, int]] = []  # where what a checksum stands behind begins and ends

    def error(self, message: str) -> CheckpointError:
        """An error that says the file is at fault as a whole."""
        return CheckpointError(f"{self.where}: the HDF5 file is damaged or not laid out as Keras does: {message}")

    def error_at(self, path: str, message: str) -> CheckpointError:
        """An error that names one object by its path, which is empty for the root."""
        return CheckpointError(f"{self.where}: {shown(path or '/')}: {message}")

    def numbers(self, layout: str, at: int) -> tuple[int, ...]:
        """Little-endian unsigned numbers at an address, as ``struct`` names them."""
        layout = "<" + layout
        content = self.span.piece(at, size := struct.calcsize(layout))
        if len(content) != size:
            raise self._beyond()
        return struct.unpack(layout, content)

    def number(self, at: int, size: int) -> int:
        """One little-endian unsigned number of any size."""
        content = self.span.piece(at, size)
        if len(content) != size:
            raise self._beyond()
        return int.from_bytes(content, "little")

    def _beyond(self) -> CheckpointError:
        return self.error("it points beyond its end; it is damaged or was cut off")

    def spend(self, steps: int = 1) -> None:
        """Count work, so that blocks that overlap and lists without end are given up soon."""
        self._steps_left -= steps
        if self._steps_left < 0:
            raise self.error(f"reading its structure takes more than {MAX_STEPS} steps")

    def block(self, address: int, length: int, signature: bytes = b"") -> int:
        """The address, once it is known to be the block wanted and to be met for the first time."""
        if address + length > self.span.size or not self.span.holds(signature, address):
            raise self.error(f"a block {signature!r} is missing at byte {address}")
        if address in self._seen:
            raise self.error(f"the block at byte {address} is linked twice, as in a cycle")
        self._seen.add(address)
        if len(self._seen) > 4 * MAX_OBJECTS:
            raise self.error(f"it has more than {MAX_OBJECTS} objects")
        return address

    def summed(self, start: int, end: int) -> None:
        """Say that these bytes have their checksum behind them."""
        self._summed.append((start, end))

    def check_sums(self) -> None:
        """Compare all checksums met so far. Last, for what is wrong is said better by what reads it."""
        while self._summed:
            start, end = self._summed.pop()
            wanted = self.number(end, 4)
            if checksum(self.span.piece(start, end - start)) != wanted:
                raise self.error(f"the block at byte {start} is not what its checksum says; copy the file again")


def checksum(data: bytes) -> int:
    """Of HDF5's newer metadata: Bob Jenkins's ``hashlittle`` of lookup3.c (2006, public domain), from zero."""
    words = [(0xDEADBEEF + len(data)) & MASK] * 3
    if not data:
        return words[2]
    padded = data + b"\0" * (-len(data) % BLOCK)
    blocks = list(struct.iter_unpack("<3I", padded))
    for block in blocks[:-1]:
        words = [(word + more) & MASK for word, more in zip(words, block, strict=True)]
        for changed, turned, by in MIXES:
            words[changed] = ((words[changed] - words[turned]) & MASK) ^ _rotated(words[turned], by)
            other = 3 - changed - turned
            words[turned] = (words[turned] + words[other]) & MASK
    words = [(word + more) & MASK for word, more in zip(words, blocks[-1], strict=True)]
    for changed, turned, by in LAST_MIXES:
        words[changed] = ((words[changed] ^ words[turned]) - _rotated(words[turned], by)) & MASK
    return words[2]


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> 32 - by) & MASK
