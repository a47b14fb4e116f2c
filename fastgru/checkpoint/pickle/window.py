"""The beginning of a file that holds pickles first and then much else: as many of its bytes as were wanted so far.

Owns how these grow. What is beyond the end of the file is never there, whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Window"]

FIRST = 1 << 16  # bytes; each time it must grow at least twice as many


class Window:
    """Bytes from the beginning of a file on.

    Parameters
    ----------
    read : callable
        Gives that many bytes from an address on.
    size : int
        Of the file.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self.size = read, size
        self.data = b""

    @classmethod
    def of(cls, data: bytes) -> Window:
        """All of these bytes."""
        made = cls(lambda start, length: data[start : start + length], len(data))
        made.data = data
        return made

    def reach(self, end: int) -> bool:
        """Whether the file has all bytes up to there; ``data`` has them then."""
        have = len(self.data)
        if have < end <= self.size:
            self.data += self._read(have, min(max(end, 2 * have, FIRST), self.size) - have)
        return end <= self.size
