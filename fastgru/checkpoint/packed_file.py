"""Packed files: matrices of GRUs in the order in which kernels read them, mapped into memory and not read.

Other matrices of float32 lie there as they are, and are mapped too: a table of an Embedding is used from the file.

Owns their form. In a file that ``save(packed=True)`` wrote a matrix is a tensor of F32 of one axis: the words that
``engine.packed`` has for each of its products, each filled with zeros to a multiple of 64 bytes, on which all of them
begin. The metadata says how they are packed, and has a checksum of the file, in which its own digits count as zeros.
Everything here is checked before it is used: what the kernels are given has the sizes that they go by.
"""

from __future__ import annotations

import json
import math
import mmap
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.pack import aligned_empty, last_vectors
from ..engine.packed import AS_BFLOAT16, PRECISIONS, Layout, PackedMatrix, words_of
from ..engine.reduced import widen
from ..errors import CheckpointError, UnsupportedModelError
from ..records.sealed import sealed
from ..weights.matrices import Form, Matrix
from .opened import OpenedFile
from .text import parse_json, shown

__all__ = [
    "CHECKSUM_KEY",
    "PACKED_KEY",
    "MappedMatrix",
    "description_of",
    "packed_matrices",
    "plain_matrix",
    "words_in_file",
    "words_to_write",
]

PACKED_KEY, CHECKSUM_KEY = "fastgru.packed", "fastgru.crc32"
NUMBER = 2  # of the order; another order of ``pack`` is another number. 1 is the same without ``kinds``
WORDS = 16  # 32-bit words to whose multiples the products are filled: 64 bytes
MAX_SIZE = 2**31 // 64  # as in ``engine.checks``
MAX_LENGTH = 1024  # of vectors, and of tiles
NO_DIGITS = "00000000"


class MappedMatrix(Matrix):
    """A matrix of a packed file, whose numbers are those that the file has: packed ones, or what they stand for."""

    def __init__(self, packed: PackedMatrix, level: str) -> None:
        self.packed, self.level = packed, level
        self.shape, self.dtype = packed.shape, np.dtype(np.float32)

    def array(self) -> NDArray[Any]:
        return sealed(widen(*self.packed.form()))

    def form(self, precision: str, name: str) -> Form:
        if precision == self.packed.precision:
            numbers, scales = self.packed.form()
            return Form(numbers, scales, True)
        return super().form(precision, name)

    def keeps(self, precision: str) -> bool:
        return precision == self.packed.precision or super().keeps(precision)


def words_in_file(packed: PackedMatrix) -> int:
    """The words that a matrix has in a file."""
    return sum(-(-array.size // WORDS) * WORDS for array in packed.arrays)


def description_of(matrices: Mapping[str, PackedMatrix], level: str) -> str:
    """What the metadata says of packed matrices, all of one layout and one precision.

    Where some are kept in another kind than their precision, these are named, and the number is 2.
    """
    one = next(iter(matrices.values()))
    kinds = {name: each.kind for name, each in matrices.items() if each.kind != one.precision}
    data = {
        "number": 2 if kinds else 1,
        "level": level,
        "layout": one.layout._asdict(),
        "kind": one.precision,
        "matrices": {name: [*each.shape, each.last, *each.gates] for name, each in matrices.items()},
    }
    return json.dumps(data | ({"kinds": kinds} if kinds else {}), separators=(",", ":"))


def packed_matrices(
    opened: OpenedFile, begin: int, spans: Mapping[str, tuple[str, tuple[int, ...], int]], metadata: Mapping[str, str]
) -> tuple[NDArray[np.uint8], dict[str, MappedMatrix]]:
    """The file as it lies, and the matrices by name; ``spans`` are the type, shape and place of every tensor, from
    ``begin`` on.

    Raises
    ------
    CheckpointError
        The file is damaged.
    UnsupportedModelError
        A newer version of fastgru packed it in an order that this one does not know.
    """
    where = opened.path
    mapped = _mapped(opened)
    content = _content(opened) if mapped is None else sealed(np.frombuffer(mapped, np.uint8))
    _check_sum(content, begin, metadata.get(CHECKSUM_KEY, ""), where)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)  # pages that are used come back; of a table those of the rows looked up
    data = parse_json(metadata[PACKED_KEY].encode("utf-8", "surrogatepass"), f"{where}: how it is packed")
    if type(data.get("number")) is int and data["number"] > NUMBER:
        raise UnsupportedModelError(f"{where}: it is packed in order {data['number']}; install a newer fastgru")
    level, kind, rows, kinds = (data.get(key) for key in ("level", "kind", "matrices", "kinds"))
    layout = _layout(data.get("layout"))
    known = data.get("number") in (1, NUMBER) and kind in PRECISIONS and _are_kinds(kinds, kind)
    if not known or layout is None or not isinstance(level, str):
        raise CheckpointError(f"{where}: what it says of its packed weights cannot be; the file is damaged")
    if not isinstance(rows, dict) or not rows:
        raise CheckpointError(f"{where}: it is packed and names no packed weights; the file is damaged")
    kind_of: dict[str, str] = kinds or {}
    return content, {
        name: MappedMatrix(
            _matrix(
                content,
                begin,
                spans.get(name),
                layout,
                kind_of.get(name) or str(kind),
                row,
                f"{where}: {shown(name)}",
            ),
            level,
        )
        for name, row in rows.items()
    }


def _are_kinds(kinds: Any, kind: str) -> bool:
    """Whether it can be what matrices of this precision are kept in, by name."""
    return kinds is None or (
        isinstance(kinds, dict) and kind == "float32" and all(each == AS_BFLOAT16 for each in kinds.values())
    )


def plain_matrix(content: NDArray[np.uint8], start: int, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """A tensor of F32 as it lies in the file, or None if this machine cannot use it so."""
    if start % 4 or not np.dtype("<f4").isnative:
        return None
    return content[start : start + 4 * math.prod(shape)].view(np.float32).reshape(shape)


def _mapped(opened: OpenedFile) -> mmap.mmap | None:
    """The file in memory that all processes share which map it, or None if it cannot be mapped."""
    try:
        return mmap.mmap(opened.file.fileno(), opened.size, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None


def _content(opened: OpenedFile) -> NDArray[np.uint8]:
    """The file read into memory of this process."""
    content = aligned_empty(-(-opened.size // 4)).view(np.uint8)[: opened.size]
    opened.read_into(0, content.data)
    return sealed(content)


def _check_sum(content: NDArray[np.uint8], begin: int, digits: str, where: str) -> None:
    key = f'"{CHECKSUM_KEY}":"'.encode()
    header = content[:begin].tobytes()
    place = header.find(key) + len(key)
    if header.count(key) != 1 or header[place : place + len(NO_DIGITS)] != digits.encode("utf-8", "surrogatepass"):
        raise CheckpointError(f"{where}: it is packed and has no checksum; the file is damaged")
    made = zlib.crc32(NO_DIGITS.encode(), zlib.crc32(header[:place]))
    made = zlib.crc32(content[place + len(NO_DIGITS) :].data, made)
    if f"{made:08x}" != digits:
        raise CheckpointError(
            f"{where}: its checksum is {made:08x}, wanted {shown(digits)}; it is damaged, so copy or download it again"
        )


def _layout(given: Any) -> Layout | None:
    if not isinstance(given, dict) or set(given) != set(Layout._fields):
        return None
    layout = Layout(**given)
    if not all(type(each) is int for each in layout) or abs(layout.input_zero) > 255:
        return None
    return layout if all(1 <= each <= MAX_LENGTH for each in (layout.vector_length, layout.tile_words)) else None


def _matrix(
    content: NDArray[np.uint8],
    begin: int,
    span: tuple[str, tuple[int, ...], int] | None,
    layout: Layout,
    kind: str,
    row: Any,
    place: str,
) -> PackedMatrix:
    """One matrix, its arrays parts of the content."""
    known = isinstance(row, list) and len(row) in (4, 5) and all(type(each) is int for each in row)
    shape, last, gates = (tuple(row[:2]), row[2], tuple(row[3:])) if known else ((0, 0), 0, ())
    if gates not in ((3,), (2, 1)) or shape[0] % 3 or not all(0 < size < 3 * MAX_SIZE for size in shape):
        raise CheckpointError(f"{place}: got {str(row)[:80]} for the shape of packed weights; the file is damaged")
    if last and (gates != (3,) or last != last_vectors(shape[0] // 3, layout.vector_length)):
        raise CheckpointError(f"{place}: got {last} vectors for its last units, which it has not; the file is damaged")
    sizes = [words_of(shape[0] // 3, shape[1], kind, count, layout, last) for count in gates]
    filled = [-(-size // WORDS) * WORDS for size in sizes]
    if span is None or span[:2] != ("F32", (sum(filled),)):
        raise CheckpointError(f"{place}: it is no tensor of {sum(filled)} packed words; the file is damaged")
    start = begin + span[2]
    if start % (4 * WORDS):
        raise CheckpointError(f"{place}: it begins at byte {start}, wanted a multiple of 64; the file is damaged")
    words = content[start : start + 4 * sum(filled)].view(np.float32)
    return PackedMatrix(layout, kind, shape, gates, last, _parts(words, sizes, filled))


def _parts(words: NDArray[np.float32], sizes: Sequence[int], filled: Sequence[int]) -> tuple[NDArray[np.float32], ...]:
    starts = [sum(filled[:place]) for place in range(len(filled))]
    return tuple(words[start : start + size] for start, size in zip(starts, sizes, strict=True))


def words_to_write(packed: PackedMatrix) -> NDArray[np.float32]:
    """A matrix as it lies in a file."""
    made = np.zeros(words_in_file(packed), np.float32)
    start = 0
    for array in packed.arrays:
        made[start : start + array.size] = array
        start += -(-array.size // WORDS) * WORDS
    return made
