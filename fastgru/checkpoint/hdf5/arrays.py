"""The arrays of an HDF5 file as Keras writes it, each read into memory of its own, or where it is for later.

Owns the rules that keep an array to its file and to its size: no external, virtual or filtered data, nothing declared
that is not stored. What leads to a dataset has been checked by ``Structure``.
The HDF5 library has no part in this: it trusts a file's addresses, and an exception of a signal handler is lost in its
Python binding.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from ...engine.reduced import widen
from ...errors import CheckpointError
from ...records.fields import Fields
from ...records.sealed import sealed
from ..opened import OpenedFile
from ..span import Span
from ..stored_matrix import StoredMatrix, is_for_later
from .blocks import UNDEFINED
from .structure import COMPACT, DATATYPE, FLOAT, LAYOUT, Node, Structure

__all__ = ["read_arrays", "read_hdf5_floats"]

MAX_DIMENSIONS = 8
MAX_ELEMENTS = 1 << 59  # that NumPy can count the bytes of
DATASPACE, FILTERS = 0x01, 0x0B  # kinds of messages
SIMPLE, NO_SPACE = 1, 2  # kinds of a dataspace
BIG_ENDIAN, SIGN_PLACE = 0x01, 8  # in what a datatype says of its bits: the order of bytes, where the sign's place is
IMPLIED_BIT = 2 << 4  # how a mantissa is normalised, in the bits of the mask below
LAYOUT_BITS = 0xFFFFFF & ~0x0E  # all but how a float is padded, which has no padding

# A type by its size in bytes and its first bit, its bits, the place and the bits of its exponent and of its mantissa,
# and its bias. bfloat16 is read as whole numbers, which are the upper halves of float32.
BFLOAT16 = "u2"
FLOATS: dict[tuple[int, ...], str] = {
    (2, 0, 16, 10, 5, 0, 10, 15): "f2",
    (4, 0, 32, 23, 8, 0, 23, 127): "f4",
    (8, 0, 64, 52, 11, 0, 52, 1023): "f8",
    (2, 0, 16, 7, 8, 0, 7, 127): BFLOAT16,
}
_KINDS = {BFLOAT16: "bfloat16", "f2": "float16", "f4": "float32", "f8": "float64"}


def read_hdf5_floats(
    span: Span, where: str, *, skip: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Every floating-point dataset by its path, the type of those that had 16 bits, and the paths of what was left out.

    Parameters
    ----------
    span : Span
        The whole file.
    where : str
        What messages begin with.
    skip : collection of str
        Names at the root that are not entered.

    Raises
    ------
    CheckpointError
        The file is damaged or breaks a rule.
    """
    structure = Structure(span, where)
    skipped = [name for name in structure.members(structure.root) if name in skip]
    floats = []
    for node in structure.walk(skip):
        if node.is_group:
            continue
        if structure.holds_floats(node):
            floats.append(node)
        else:
            skipped.append(node.path)
    return *read_arrays(structure, floats), skipped


def read_arrays(structure: Structure, nodes: Iterable[Node]) -> tuple[dict[str, Any], dict[str, str]]:
    """The data of datasets of floats by their path, 16-bit floats widened to float32, and which of them these are.

    For a model, what has several axes is a ``StoredMatrix``.

    Raises
    ------
    CheckpointError
        A dataset is damaged or breaks a rule.
    """
    reader = _Reader(structure)
    structure.blocks.check_sums()
    found = {node.path: reader.rows(node) for node in nodes}
    opened = structure.blocks.span.opened
    return {
        path: StoredMatrix(opened.path, opened.identity, rows.kind, rows.shape, rows.all, rows.some)
        if opened.for_model and is_for_later(rows.shape)
        else sealed(widen(*rows.all(opened)))
        for path, rows in found.items()
    }, {path: rows.kind for path, rows in found.items() if rows.dtype.itemsize == 2}


class _Rows(Fields):
    """The numbers of a dataset: where they begin in the file, and how they lie there."""

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        return _KINDS[self.dtype.newbyteorder("<").str[1:]]

    def all(self, opened: OpenedFile) -> tuple[np.ndarray, None]:
        return self._read(opened, 0, self.shape), None

    def some(self, opened: OpenedFile, first: int, last: int) -> np.ndarray:
        """Rows along the first axis, widened."""
        row = self.shape[1:]
        skipped = first * math.prod(row) * self.dtype.itemsize
        return widen(self._read(opened, skipped, (last - first, *row)), None)

    def _read(self, opened: OpenedFile, skipped: int, shape: tuple[int, ...]) -> np.ndarray:
        flat = np.empty(math.prod(shape), self.dtype)
        if flat.size:
            opened.read_into(self.start + skipped, flat.view(np.uint8).data)
        return flat.astype(self.dtype.newbyteorder("="), copy=False).reshape(shape)


class _Reader:
    def __init__(self, structure: Structure) -> None:
        self.structure, self.blocks, self.span = structure, structure.blocks, structure.blocks.span
        self.left = self.span.size  # bytes of tensors that may still be read

    def error(self, path: str, message: str) -> CheckpointError:
        return self.blocks.error_at(path, message)

    def rows(self, node: Node) -> _Rows:
        self.structure.check_layout(node)
        dtype = self._dtype(node)
        shape = self._shape(node)
        return _Rows(self.span.start + self._data(node, shape, dtype.itemsize), dtype, shape)

    def _dtype(self, node: Node) -> np.dtype[np.generic]:
        """What NumPy calls the type, once every bit is known to be where that has it."""
        (message,) = node.all(DATATYPE)
        kind_and_bits, size = self.blocks.numbers("2I", message.at)
        bits = kind_and_bits >> 8
        if kind_and_bits & 15 != FLOAT:  # opaque, as Keras writes bfloat16
            return np.dtype("<" + BFLOAT16)
        offset, precision, *parts = self.blocks.numbers("2H4BI", message.at + 8)
        name = FLOATS.get((size, offset, precision, *parts))
        wanted = (8 * size - 1) << SIGN_PLACE | IMPLIED_BIT
        if name is None or message.length < 20 or bits & LAYOUT_BITS & ~BIG_ENDIAN != wanted:
            raise self.error(node.path, "its type is not supported: a float of its own layout")
        return np.dtype((">" if bits & BIG_ENDIAN else "<") + name)

    def _shape(self, node: Node) -> tuple[int, ...]:
        messages = node.all(DATASPACE)
        if len(messages) != 1:
            raise self.error(node.path, "it has no shape of its own")
        (message,) = messages
        version, rank, _, kind = self.blocks.numbers("4B", message.at)
        if version == 2 and kind == NO_SPACE:
            raise self.error(node.path, "it has no shape")
        extents = 8 if version == 1 else 4
        if version not in (1, 2) or (version == 2 and kind > SIMPLE) or extents + 8 * rank > message.length:
            raise self.error(node.path, "its shape is damaged")
        if rank > MAX_DIMENSIONS:
            raise self.error(node.path, f"its shape has {rank} axes, wanted at most {MAX_DIMENSIONS}")
        shape = self.blocks.numbers(f"{rank}Q", message.at + extents)
        if math.prod(max(extent, 1) for extent in shape) > MAX_ELEMENTS:  # also of an empty array
            raise self.error(node.path, f"its shape {str(shape)[:80]} is beyond any array's")
        return shape

    def _data(self, node: Node, shape: tuple[int, ...], size: int) -> int:
        """Where the data begins, once all of its bytes are known to lie in this file as they are."""
        if any(self.blocks.numbers("2B", message.at)[1] for message in node.all(FILTERS)):
            raise self.error(node.path, "its data is compressed or filtered; save the model again without that")
        declared = math.prod(shape) * size
        at, stored = self._place(node, declared)
        self.left -= declared
        if declared > stored or self.left < 0:
            raise self.error(node.path, f"its shape {str(shape)[:80]} asks for {declared} bytes, {stored} are stored")
        if declared and at + declared > self.span.size:
            raise self.error(node.path, f"its {declared} bytes reach beyond the end of the file; it was cut off")
        return at if declared else 0

    def _place(self, node: Node, declared: int) -> tuple[int, int]:
        """Where the data is, and how many bytes of it the file says it has."""
        (message,) = node.all(LAYOUT)
        numbers, at = self.blocks.numbers, message.at
        version, kind, older_kind = numbers("3B", at)
        if version > 2:
            if kind == COMPACT:
                return at + 4, min(numbers("H", at + 2)[0], message.length - 4)
            address, stored = numbers("2Q", at + 2)
        elif older_kind == COMPACT:  # its second byte is the rank, by which sizes of axes follow
            start = at + 8 + 4 * kind
            return start + 4, min(numbers("I", start)[0], message.at + message.length - start - 4)
        else:
            (address,), stored = numbers("Q", at + 8), declared
        return address, 0 if address == UNDEFINED else stored
