"""Object headers of HDF5: the messages that describe a group or a dataset, in both layouts that there are.

Owns how messages follow each other and go on in other blocks; what a message says is read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .blocks import Blocks

__all__ = ["Message", "read_messages"]

CONTINUATION = 0x10
SHARED = 0x02
# What the flags of a newer header say: how wide its length is, and which fields it has.
LENGTH_WIDTH, ORDER_TRACKED, LIMITS_STORED, TIMES_STORED = 0x03, 0x04, 0x10, 0x20
CHECKSUM = 4  # bytes


class Message(NamedTuple):
    """One message: its kind, and where its content is."""

    kind: int
    at: int
    length: int


def read_messages(blocks: Blocks, header: int) -> Iterator[Message]:
    """The messages of the object whose header is at an address, continuations followed."""
    if blocks.span.holds(b"OHDR", header):
        blocks.block(header, 6, b"OHDR\x02")
        (flags,) = blocks.numbers("B", header + 5)
        at = header + 6 + (16 if flags & TIMES_STORED else 0) + (4 if flags & LIMITS_STORED else 0)
        width = 1 << (flags & LENGTH_WIDTH)
        length = blocks.number(at, width)
        blocks.summed(header, at + width + length)
        return _newer(blocks, at + width, length, 2 if flags & ORDER_TRACKED else 0)
    blocks.block(header, 16, b"\x01\x00")
    return _classic(blocks, header + 16, blocks.number(header + 8, 4))


def _classic(blocks: Blocks, at: int, length: int) -> Iterator[Message]:
    pieces = [(at, length)]
    while pieces:
        at, length = pieces.pop()
        end = at + length
        if end > blocks.span.size:
            raise blocks.error(f"a header that goes on at byte {at} reaches beyond the end")
        while at + 8 <= end:
            kind, size, flags = blocks.numbers("2HB", at)
            message = _checked(blocks, Message(kind, at + 8, size), end, flags)
            if kind == CONTINUATION:
                address, length = blocks.numbers("2Q", message.at)
                pieces.append((blocks.block(address, length), length))
            yield message
            at += 8 + size


def _newer(blocks: Blocks, at: int, length: int, order: int) -> Iterator[Message]:
    """As ``_classic``; ``order`` is the width of the field that says when an attribute was made."""
    pieces = [(at, length)]
    while pieces:
        at, length = pieces.pop()
        end = at + length
        if end + CHECKSUM > blocks.span.size:
            raise blocks.error(f"a header that goes on at byte {at} reaches beyond the end")
        while at + 4 + order <= end:
            kind, size, flags = blocks.numbers("BHB", at)
            message = _checked(blocks, Message(kind, at + 4 + order, size), end, flags)
            if kind == CONTINUATION:
                address, length = blocks.numbers("2Q", message.at)
                blocks.block(address, length, b"OCHK")
                blocks.summed(address, address + length - CHECKSUM)
                pieces.append((address + 4, length - 4 - CHECKSUM))
            yield message
            at += 4 + order + size


def _checked(blocks: Blocks, message: Message, end: int, flags: int) -> Message:
    blocks.spend()
    if message.at + message.length > end or flags & SHARED:
        raise blocks.error(f"a message at byte {message.at} is shared or too long")
    return message
