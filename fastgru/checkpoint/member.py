"""One record of a zip: where its bytes lie, and the reading of these a piece at a time, inflated and proved by CRC-32.

Owns no rule of the container: ``zip`` gives a member once its headers and its size have been checked. It needs no
archive any more, so what lies in the file may be read again later.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from ..errors import CheckpointError
from ..records.fields import Fields

__all__ = ["DEFLATED", "STORED", "Member", "Reading"]

STORED, DEFLATED = 0, 8
PIECE = 1 << 16  # bytes that are read or inflated at once


class Member(Fields):
    """Where one record of a zip is. Its methods raise a ``CheckpointError`` where its bytes are damaged."""

    where: str  # what messages begin with: the file
    place: str  # and what in it
    method: int
    start: int
    packed_size: int
    size: int
    crc: int

    def read(self, file: BinaryIO) -> bytes:
        """The whole content."""
        if self.method == DEFLATED:
            return b"".join(self.pieces(file))
        content = self._bytes(file, 0, self.size)
        self._check_crc(zlib.crc32(content))
        return content

    def pieces(self, file: BinaryIO) -> Iterator[bytes]:
        """The content, some at a time; that it was whole is known only at the end."""
        crc = 0
        for piece in self._inflated(file) if self.method == DEFLATED else self._packed(file):
            crc = zlib.crc32(piece, crc)
            yield piece
        self._check_crc(crc)

    def check(self, file: BinaryIO) -> None:
        """Read all of it for its CRC-32 alone."""
        for _ in self.pieces(file):
            pass

    def error(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: {self.place}: {message}")

    def _packed(self, file: BinaryIO) -> Iterator[bytes]:
        for at in range(0, self.packed_size, PIECE):
            yield self._bytes(file, at, min(PIECE, self.packed_size - at))

    def _inflated(self, file: BinaryIO) -> Iterator[bytes]:
        inflater, left = zlib.decompressobj(-15), self.size
        wrong = self.error(f"its data does not inflate to the {self.size} bytes it declares")
        for packed in chain(self._packed(file), (b"",)):  # at last what zlib has taken in and not given out
            if packed and inflater.eof:
                raise wrong
            while not inflater.eof:
                try:
                    piece = inflater.decompress(packed, min(PIECE, left + 1))
                except zlib.error as error:
                    raise self.error(f"its compressed data is damaged ({error})") from error
                packed = inflater.unconsumed_tail
                left -= len(piece)
                if left < 0:
                    raise wrong
                if piece:
                    yield piece
                elif not packed:
                    break
        if left or not inflater.eof or inflater.unused_data:
            raise wrong

    def _bytes(self, file: BinaryIO, at: int, length: int) -> bytes:
        file.seek(self.start + at)
        content = file.read(length)
        if len(content) != length:
            raise CheckpointError(f"{self.where}: it became shorter while it was read")
        return content

    def _check_crc(self, crc: int) -> None:
        if crc != self.crc:
            raise self.error(
                "its CRC-32 does not fit its data, so the file is damaged (or was written with "
                "torch.serialization.set_crc32_options(False); save it anew without that)"
            )


class Reading:
    """The content of a member from its beginning on, into memory that is there."""

    def __init__(self, member: Member, file: BinaryIO) -> None:
        self._pieces, self._rest = member.pieces(file), memoryview(b"")
        self._member = member

    def read(self, length: int) -> bytes:
        """The next bytes, fewer where the content ends."""
        parts: list[bytes] = []
        while length and self._has_more():
            part = bytes(self._rest[:length])
            self._rest = self._rest[length:]
            length -= len(part)
            parts.append(part)
        return b"".join(parts)

    def read_into(self, memory: memoryview) -> None:
        """Exactly as many bytes as the memory has, which are known to be there."""
        at = 0
        while at < len(memory) and self._has_more():
            part = self._rest[: len(memory) - at]
            memory[at : at + len(part)] = part
            self._rest = self._rest[len(part) :]
            at += len(part)
        if at < len(memory):
            raise self._member.error(f"got {at} bytes, wanted {len(memory)}; the file is damaged")

    def finish(self) -> None:
        """Read what is left, so that the CRC-32 of all of it is checked."""
        while self._has_more():
            self._rest = memoryview(b"")

    def _has_more(self) -> bool:
        """Whether there is a piece that nobody took, looked for in the file where there is none here."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._rest = memoryview(piece)
        return True
