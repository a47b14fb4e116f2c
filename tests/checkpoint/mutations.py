"""Damage by chance: what a bad disk, a bad line or a fuzzer does to the bytes of a file."""

from __future__ import annotations

import numpy as np


def mutated(content: bytes, chance: np.random.Generator) -> bytes:
    """A few bytes changed, or a piece cut out, doubled, zeroed or filled with ones."""
    data = bytearray(content)
    for _ in range(chance.integers(1, 5)):
        at, length = int(chance.integers(len(data))), int(chance.integers(1, 16))
        kind = chance.integers(6)
        if kind < 2:
            data[at] = int(chance.integers(256))
        elif kind == 2:
            data[at] ^= 1 << int(chance.integers(8))
        elif kind == 3:
            data[at : at + length] = chance.choice([b"\0", b"\xff"]) * len(data[at : at + length])
        elif kind == 4:
            del data[at : at + length]
        else:
            data[at:at] = data[at : at + length]
        if not data:
            return b""
    return bytes(data)
