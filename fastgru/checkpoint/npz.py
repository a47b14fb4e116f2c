"""NumPy's ``.npz``: a zip of one ``.npy`` array a record, as ``np.savez`` and ``np.savez_compressed`` write it.

Owns the header of an array, which is matched against the one form that arrays of numbers have and never evaluated.
Pickled objects are refused; nothing here could load them.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ..errors import CheckpointError
from ..records.sealed import sealed
from .contents import Checkpoint
from .opened import OpenedFile
from .signatures import NPY, NPY_SUFFIX
from .text import shown

__all__ = ["read_npz"]

MAX_DIMENSIONS = 8
MAX_ARRAYS = 10_000
MAX_HEADER = 1024  # an array of numbers needs 128 bytes; more is a structured array
MAX_ELEMENTS = 1 << 48

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
    tensors: dict[str, np.ndarray] = {}
    stored: dict[str, str] = {}
    skipped = []
    for record in names:
        name = record.removesuffix(NPY_SUFFIX)
        array, dtype = _array(archive.read(record, deflated=True), f"{opened.path}: array {shown(name)}")
        if array is None:
            skipped.append(name)
            continue
        tensors[name] = array
        if dtype == np.float16:
            stored[name] = "float16"
    return Checkpoint(opened.path, "npz", tensors, None, {"skipped": skipped}, stored)


def _array(content: bytes, place: str) -> tuple[np.ndarray | None, np.dtype | None]:
    """The array of one record and the type it has there; None and None where its elements are not numbers."""
    header, start = _header(content, place)
    found = _HEADER.fullmatch(header)
    if found is None:
        raise CheckpointError(f"{place}: its header {shown(header)} is not that of an array; the file is damaged")
    descr = found["descr"]
    if not _NUMBERS.fullmatch(descr):
        if _NOT_NUMBERS.fullmatch(descr) and not _OBJECTS.search(descr):
            return None, None
        raise CheckpointError(f"{place}: {_refusal(descr)}")
    dtype = np.dtype(descr.strip("'"))
    shape = _shape(found["shape"], place)
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != len(content) - start:
        raise CheckpointError(
            f"{place}: got {len(content) - start} bytes, wanted {wanted} for {dtype} of shape {shape}; it is damaged"
        )
    return _plain(np.frombuffer(content, dtype, offset=start), shape, found["fortran"] == "True"), dtype


def _header(content: bytes, place: str) -> tuple[str, int]:
    """The text of the header, and where the elements begin."""
    length_bytes = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}.get(content[6:8], 0)
    if not content.startswith(NPY) or not length_bytes or len(content) < 8 + length_bytes:
        raise CheckpointError(f"{place}: it is not in a version of NumPy's format that is known; it is damaged")
    length = int.from_bytes(content[8 : 8 + length_bytes], "little")
    start = 8 + length_bytes + length
    if length > MAX_HEADER or start > len(content):
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


def _plain(flat: np.ndarray, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
    """In C order and native bytes, float16 widened, and read-only; a copy only where one of these asks for it."""
    wanted = np.dtype("f4") if flat.dtype == np.float16 else flat.dtype.newbyteorder("=")
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return sealed(np.require(array, wanted, ["C", "A"]))
