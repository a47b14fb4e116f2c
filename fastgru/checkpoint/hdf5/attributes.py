"""The text in an HDF5 file's attributes, decoded from its bytes: Keras keeps its names and its configuration there.

Owns attribute messages, the types of text among them, and the global heap, where text of variable length lies. The
HDF5 library never sees an attribute, because it would follow every nested type and every address of the heap
unchecked. Values that are not text are not decoded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from ...errors import CheckpointError
from ..text import shown
from .blocks import MAX_OBJECTS, UNDEFINED
from .dense import ATTRIBUTES, Piece, read_dense
from .structure import MAX_NAME, Node, Structure

__all__ = ["Attributes"]

ATTRIBUTE, ATTRIBUTE_INFO = 0x0C, 0x15  # kinds of messages
STRING, VARIABLE = 3, 9  # classes of a datatype
TEXT = 1  # the kind of variable length that is a string
NULL_TERMINATED, NULL_PADDED = 0, 1  # how a string of fixed length ends; otherwise by spaces
NULL_SPACE = 2  # a dataspace that holds nothing
REFERENCE_SIZE = 16  # of text of variable length: its length, the address of a collection in the heap, an index there
MAX_RANK = 8


class _Value(NamedTuple):
    """Where the parts of an attribute are, and where it ends."""

    datatype: int
    dataspace: int
    elements: int
    end: int


class Attributes:
    """Reads the text in attributes of the objects of one file.

    Every method raises a ``CheckpointError`` where an attribute is damaged or holds something else.
    """

    def __init__(self, structure: Structure) -> None:
        self._blocks = structure.blocks
        self._span = structure.blocks.span
        self._bytes_left = self._span.size  # of all texts: in a sound file each has bytes of its own
        self._pieces: dict[str, list[Piece]] = {}
        self._collections: dict[int, dict[int, Piece]] = {}

    def text(self, node: Node, name: str, limit: int) -> bytes | None:
        """The one text of at most ``limit`` bytes in an attribute, or None without that attribute."""
        value = self._find(node, name)
        if value is None:
            return None
        texts = self._texts(node, name, value, limit)
        if len(texts) != 1:
            raise self._error(node, name, f"it holds {len(texts)} texts, wanted 1")
        return texts[0]

    def names(self, node: Node, name: str) -> list[str] | None:
        """The texts in an attribute, or in those that Keras split it into (``name0``, ``name1`` ...); None without."""
        whole = self._find(node, name)
        parts = [(name, whole)] if whole is not None else list(self._parts(node, name))
        names: list[str] = []
        for part, value in parts:
            for text in self._texts(node, part, value, MAX_NAME):
                try:
                    names.append(text.decode("utf-8"))
                except UnicodeDecodeError:
                    raise self._error(node, part, "it is not UTF-8") from None
            if len(names) > MAX_OBJECTS:
                raise self._error(node, part, f"it names more than {MAX_OBJECTS} objects")
        return names if parts else None

    def _error(self, node: Node, name: str, message: str) -> CheckpointError:
        return self._blocks.error_at(node.path, f"its attribute {shown(name)}: {message}")

    def _parts(self, node: Node, name: str) -> Iterator[tuple[str, _Value]]:
        for number in range(MAX_OBJECTS):
            part = f"{name}{number}"
            value = self._find(node, part)
            if value is None:
                return
            yield part, value

    def _find(self, node: Node, name: str) -> _Value | None:
        """Where the parts of an attribute are, all inside its message."""
        wanted = name.encode()
        found = [piece for piece in self._stored(node) if self._is_named(piece, wanted)]
        if len(found) > 1:
            raise self._error(node, name, "it is there twice")
        return self._value(node, name, found[0]) if found else None

    def _stored(self, node: Node) -> list[Piece]:
        """Where the attributes of an object are: in its header, or where that says."""
        if node.path not in self._pieces:
            pieces = [Piece(message.at, message.length) for message in node.all(ATTRIBUTE)]
            for message in node.all(ATTRIBUTE_INFO):
                _, flags = self._blocks.numbers("2B", message.at)
                heap, tree = self._blocks.numbers("2Q", message.at + (4 if flags & 1 else 2))
                if heap != UNDEFINED:
                    pieces += read_dense(self._blocks, heap, tree, ATTRIBUTES)
            self._pieces[node.path] = pieces
        return self._pieces[node.path]

    def _is_named(self, piece: Piece, wanted: bytes) -> bool:
        self._blocks.spend()
        version, _, size = self._blocks.numbers("2BH", piece.at)
        at = piece.at + (9 if version == 3 else 8)
        return size > len(wanted) and self._span.holds(wanted + b"\0", at)

    def _value(self, node: Node, name: str, piece: Piece) -> _Value:
        version, flags, *sizes = self._blocks.numbers("2B3H", piece.at)
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise self._error(node, name, "its layout is unknown or its type is kept elsewhere")
        if version == 1:  # which fills each part up to 8 bytes
            sizes = [-(-size // 8) * 8 for size in sizes]
        datatype = piece.at + (9 if version == 3 else 8) + sizes[0]
        dataspace = datatype + sizes[1]
        elements, end = dataspace + sizes[2], piece.at + piece.length
        if min(sizes[1], sizes[2]) < 4 or elements > end:
            raise self._error(node, name, "its parts reach beyond its end")
        return _Value(datatype, dataspace, elements, end)

    def _texts(self, node: Node, name: str, value: _Value, limit: int) -> list[bytes]:
        count = self._count(node, name, value)
        if not count:  # Keras writes an empty list as numbers
            return []
        kind, ending, size = self._blocks.numbers("2B2xI", value.datatype)
        kind, is_text = kind & 15, ending & 15 == TEXT
        if not (kind == STRING or (kind == VARIABLE and is_text and size == REFERENCE_SIZE)):
            raise self._error(node, name, "it is not text")
        if not size or count > MAX_OBJECTS or count * size > value.end - value.elements:
            raise self._error(node, name, f"its {count} texts of {size} bytes are more than it stores")
        texts = []
        for at in range(value.elements, value.elements + count * size, size):
            self._blocks.spend()
            place = Piece(at, size) if kind == STRING else self._referenced(node, name, at)
            if place.length > limit:
                raise self._error(node, name, f"it holds a text of {place.length} bytes, wanted at most {limit}")
            self._bytes_left -= place.length
            if self._bytes_left < 0:
                raise self._error(node, name, "the same bytes are many texts")
            text = self._span.piece(place.at, place.length)
            if kind == STRING and ending & 15 == NULL_TERMINATED:
                text = text.split(b"\0", 1)[0]
            padded_by_spaces = kind == STRING and ending & 15 > NULL_PADDED
            texts.append(text.rstrip(b" " if padded_by_spaces else b"\0"))
        return texts

    def _count(self, node: Node, name: str, value: _Value) -> int:
        """How many elements an attribute has."""
        version, rank, _, kind = self._blocks.numbers("4B", value.dataspace)
        if version == 2 and kind == NULL_SPACE:
            return 0
        extents = value.dataspace + (8 if version == 1 else 4)
        if version not in (1, 2) or rank > MAX_RANK or extents + 8 * rank > value.elements:
            raise self._error(node, name, "its shape is damaged")
        return math.prod(self._blocks.numbers(f"{rank}Q", extents))

    def _referenced(self, node: Node, name: str, at: int) -> Piece:
        """The piece of the global heap that a text of variable length refers to."""
        length, address, index = self._blocks.numbers("IQI", at)
        if not length:
            return Piece(at, 0)
        place = self._collection(address).get(index)
        if place is None or length > place.length:
            raise self._error(node, name, f"its text of {length} bytes is not in the heap at byte {address}")
        return Piece(place.at, length)

    def _collection(self, address: int) -> dict[int, Piece]:
        """The objects of one collection of the global heap by their index, each inside of it."""
        if address not in self._collections:
            blocks = self._blocks
            blocks.block(address, 16, b"GCOL\x01")
            end = address + blocks.numbers("Q", address + 8)[0]
            objects: dict[int, Piece] = {}
            at = address + 16
            while at + 16 <= min(end, self._span.size):
                blocks.spend()
                index, size = blocks.numbers("H6xQ", at)
                if index == 0:  # the free space, which comes last
                    break
                if index in objects or at + 16 + size > end:
                    raise blocks.error(f"the heap at byte {address} has objects that overlap or reach beyond it")
                objects[index] = Piece(at + 16, size)
                at += 16 + -(-size // 8) * 8
            if end > self._span.size:
                raise blocks.error(f"the heap at byte {address} reaches beyond the end")
            self._collections[address] = objects
        return self._collections[address]
