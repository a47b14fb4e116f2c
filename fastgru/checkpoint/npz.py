"""NumPy's ``.npz``: a zip of one ``.npy`` array a record, as ``np.savez`` and ``np.savez_compressed`` write it.

Owns the header of an array, which is matched against the one form that arrays of numbers have and never evaluated, and
which arrays may by their names be matrices of layers. Pickled objects are refused; nothing here could load them.
"""

from __future__ import annotations

import math
import re
from typing import Any, BinaryIO

import numpy as np

from ..errors import CheckpointError
from ..records.fields import Fields
from ..records.sealed import sealed
from .contents import Checkpoint
from .member import Member, Reading
from .opened import OpenedFile
from .signatures import NPY, NPY_SUFFIX
from .stored_matrix import StoredMatrix, is_for_later
from .text import shown

__all__ = ["read_npz"]

MAX_DIMENSIONS = 8
MAX_ARRAYS = 10_000
MAX_HEADER = 1024  # an array of numbers needs 128 bytes; more is a structured array
MAX_ELEMENTS = 1 << 48

_KINDS = {"f2": "float16", "f4": "float32", "f8": "float64"}
_NAMES = re.compile(r"(?:^|[._/])(?:weight|(?:weight|w)_(?:ih|hh)(?:_l[0-9]+)?(?:_reverse)?)$")
_HEADER = re.compile(
    r"\{\s*'descr'\s*:\s*(?P<descr>'[^']*'|\[.*\])\s*,\s*'fortran_order'\s*:\s*(?P<fortran>True|False)\s*,"
    r"\s*'shape'\s*:\s*\((?P<shape>[0-9L,\s]*)\)\s*,?\s*\}\s*",
    re.DOTALL,
)
_NUMBERS = re.compile(r"'[<>|=]?(f[248]|[iu][1248]|c8|c16|b1|\?)'")
_NOT_NUMBERS = re.compile(r"'[<>|=]?([SUaV][0-9]*|[mM]8(\[[a-zA-Z0-9/]*\])?)'|\[.*\]", re.DOTALL)
_OBJECTS = re.compile(r"'[<>|=]?O[0-9]*'")


def read_npz(opened: OpenedFile) -> Checkpoint:
    """Every array of numbers under its own name; arrays of text, dates and records are listed as skipped."""
    archive = opened.archive
    names = list(archive.names)
    if len(names) > MAX_ARRAYS:
        raise CheckpointError(f"{opened.path}: got {len(names)} arrays, wanted at most {MAX_ARRAYS}")
    tensors: dict[str, Any] = {}
    stored: dict[str, str] = {}
    skipped = []
    for record in names:
        name = record.removesuffix(NPY_SUFFIX)
        entry = _entry(opened, record, f"{opened.path}: array {shown(name)}")
        if entry is None:
            skipped.append(name)
            continue
        tensors[name] = _tensor(opened, name, entry)
        if entry.kind == "float16":
            stored[name] = "float16"
    return Checkpoint(opened.path, "npz", tensors, None, {"skipped": skipped}, stored)


class _Entry(Fields):
    """One array of numbers: where it is, and what its header says, which fits the size of its record."""

    member: Member
    begin: int  # of its elements, in the record
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def kind(self) -> str | None:
        """What its elements are as weights."""
        return _KINDS.get(self.dtype.newbyteorder("<").str[1:])

    def read(self, file: BinaryIO) -> np.ndarray:
        """In C order and native bytes; a copy only where one of these asks for it."""
        reading = Reading(self.member, file)
        reading.read(self.begin)
        flat = np.empty(math.prod(self.shape), self.dtype)
        reading.read_into(flat.view(np.uint8).data)
        reading.finish()
        array = flat.reshape(self.shape[::-1]).T if self.fortran else flat.reshape(self.shape)
        return np.require(array, self.dtype.newbyteorder("="), ["C", "A"])


def _entry(opened: OpenedFile, record: str, place: str) -> _Entry | None:
    """What a record holds; None where its elements are not numbers."""
    member = opened.archive.member(record, deflated=True)
    reading = Reading(member, opened.file)
    head = reading.read(12 + MAX_HEADER)
    try:
        made = _described(head, member, place)
    except CheckpointError:
        reading.finish()  # that its bytes are damaged says more
        raise
    if made is None:
        reading.finish()
    return made


def _tensor(opened: OpenedFile, name: str, entry: _Entry) -> Any:
    """The array, float16 widened and read-only; or what reads it later, of what may by its name be a matrix."""
    kind = entry.kind
    if not opened.for_model or kind is None or not is_for_later(entry.shape) or not _NAMES.search(name):
        array = entry.read(opened.file)
        return sealed(array.astype(np.float32) if kind == "float16" else array)
    return StoredMatrix(opened.path, opened.identity, kind, entry.shape, lambda again: (entry.read(again.file), None))


def _described(head: bytes, member: Member, place: str) -> _Entry | None:
    """What the first bytes of a record say of it."""
    header, begin = _header(head, member.size, place)
    found = _HEADER.fullmatch(header)
    if found is None:
        raise CheckpointError(f"{place}: its header {shown(header)} is not that of an array; the file is damaged")
    descr = found["descr"]
    if not _NUMBERS.fullmatch(descr):
        if _NOT_NUMBERS.fullmatch(descr) and not _OBJECTS.search(descr):
            return None
        raise CheckpointError(f"{place}: {_refusal(descr)}")
    dtype = np.dtype(descr.strip("'"))
    shape = _shape(found["shape"], place)
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != member.size - begin:
        raise CheckpointError(
            f"{place}: got {member.size - begin} bytes, wanted {wanted} for {dtype} of shape {shape}; it is damaged"
        )
    return _Entry(member, begin, dtype, shape, found["fortran"] == "True")


def _header(content: bytes, size: int, place: str) -> tuple[str, int]:
    """The text of the header, and where the elements begin in a record of that size."""
    length_bytes = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}.get(content[6:8], 0)
    if not content.startswith(NPY) or not length_bytes or len(content) < 8 + length_bytes:
        raise CheckpointError(f"{place}: it is not in a version of NumPy's format that is known; it is damaged")
    length = int.from_bytes(content[8 : 8 + length_bytes], "little")
    start = 8 + length_bytes + length
    if length > MAX_HEADER or start > size:
        raise CheckpointError(
            f"{place}: its header is said to have {length} bytes, wanted at most {MAX_HEADER}; it is damaged or not "
            "an array of numbers"
        )
    return content[8 + length_bytes : start].decode("latin-1"), start


def _shape(text: str, place: str) -> tuple[int, ...]:
    sizes = [part.strip().removesuffix("L") for part in text.split(",")]  # Python 2 wrote 3L
    if sizes[-1] == "":
        sizes.pop()
    if len(sizes) > MAX_DIMENSIONS or not all(size.isdigit() and len(size) < 20 for size in sizes):
        raise CheckpointError(f"{place}: its shape is ({shown(text)}), wanted at most {MAX_DIMENSIONS} whole numbers")
    shape = tuple(map(int, sizes))
    if math.prod(max(size, 1) for size in shape) > MAX_ELEMENTS:
        raise CheckpointError(f"{place}: its shape {shape} multiplies to more than {MAX_ELEMENTS} elements")
    return shape


def _refusal(descr: str) -> str:
    if _OBJECTS.search(descr):
        return (
            "it holds pickled Python objects, which are code and are never loaded; save arrays of numbers alone, "
            "with np.savez(path, **{name: np.asarray(weight, np.float32)})"
        )
    return f"its type {shown(descr)} is not supported; save it as float32"
