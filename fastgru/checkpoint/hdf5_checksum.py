"""The checksum of HDF5's newer metadata: Bob Jenkins's ``hashlittle`` of lookup3.c (2006, public domain), from zero."""

from __future__ import annotations

import struct

__all__ = ["checksum"]

MASK = 0xFFFFFFFF
BLOCK = 12  # bytes: three words
MIXES = ((0, 2, 4), (1, 0, 6), (2, 1, 8), (0, 2, 16), (1, 0, 19), (2, 1, 4))  # word changed, word turned, by
LAST_MIXES = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))


def checksum(data: bytes) -> int:
    """Of all of ``data``."""
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
