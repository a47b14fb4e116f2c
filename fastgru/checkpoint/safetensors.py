"""safetensors files: a length, a JSON header of names, types, shapes and offsets, and the bytes they speak of.

Owns the reading, and the keys under which fastgru's own files describe their layers; what I8 means in these is for
``int8_rows``. The header is checked before a byte of a tensor is read: the tensors must lie one behind the other and
fill the file. The safetensors library is what the tests compare with, and not used here: it copies every tensor once
more.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..origin import raised_in
from ..records.fields import Fields
from ..records.sealed import sealed
from .contents import Checkpoint
from .int8_rows import SCALES, check_form, check_scales, multiplied
from .opened import OpenedFile
from .packed_file import PACKED_KEY, packed_matrices, plain_matrix
from .stored_matrix import PYTORCHS_NAMES, StoredMatrix, is_for_later
from .text import MAX_JSON_BYTES, parse_json, shown

__all__ = ["FORMAT", "FORMAT_KEY", "MODEL_KEY", "VERSION_KEY", "read_safetensors"]

FORMAT = 4  # of the newest files that fastgru writes; one that it does not know is refused
FORMAT_KEY, VERSION_KEY, MODEL_KEY = "fastgru.format", "fastgru.version", "fastgru.model"
MAX_DIMENSIONS = 8
LENGTH_BYTES = 8
_ELEMENTS = {
    "F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "u1",
}  # fmt: skip
_REDUCED = {"F16": "float16", "BF16": "bfloat16"}
_KINDS = {"F32": "float32", "F64": "float64", **_REDUCED}


class _Entry(Fields):
    """One tensor as the header has it, its type known and its shape and offsets proved to be counts that fit."""

    kind: str
    shape: tuple[int, ...]
    start: int  # from the end of the header
    end: int


def read_safetensors(opened: OpenedFile) -> Checkpoint:
    """Every tensor of the file, in the order of its header, which also gives the metadata.

    Where fastgru wrote it, ``format`` is ``"fastgru"`` and ``config`` its description of the layers.
    """
    where = opened.path
    length = int.from_bytes(opened.head[:LENGTH_BYTES], "little")
    if length > min(opened.size - LENGTH_BYTES, MAX_JSON_BYTES):
        raise CheckpointError(
            f"{where}: its header is said to have {length} bytes, the file has {opened.size}; it is "
            "damaged or was cut off"
        )
    header = parse_json(opened.read(LENGTH_BYTES, length), f"{where}: safetensors header")
    metadata = _metadata(header.pop("__metadata__", None), where)
    entries = {name: _entry(value, _place(where, name)) for name, value in header.items()}
    begin = LENGTH_BYTES + length
    _check_layout(entries, opened.size - begin, where)
    packed: dict[str, Any] = {}
    content = None  # of a packed file, as it lies
    if PACKED_KEY in metadata and FORMAT_KEY in metadata:
        spans = {name: (entry.kind, entry.shape, entry.start) for name, entry in entries.items()}
        content, matrices_there = packed_matrices(opened, begin, spans, metadata)
        packed = dict(matrices_there)
        one = next(iter(packed.values()))
        metadata[PACKED_KEY] = f"{one.packed.precision} for the kernels {shown(one.level, 40)}"
    matrices = [name for name, entry in entries.items() if entry.kind == "I8" and FORMAT_KEY in metadata]
    scales = {name + SCALES: _scales(opened, begin, entries, name) for name in matrices}
    # Read one by one, so that no more than one tensor is held twice while it is widened.
    read = partial(_tensor, opened, begin, is_own=FORMAT_KEY in metadata, content=content)
    tensors = {
        name: packed[name] if name in packed else read(name, entry, scales.get(name + SCALES))
        for name, entry in entries.items()
        if name not in scales
    }
    if not opened.for_model:
        tensors.update((name, matrix.array()) for name, matrix in packed.items())
    stored = {name: _REDUCED[entry.kind] for name, entry in entries.items() if entry.kind in _REDUCED}
    stored.update(dict.fromkeys(matrices, "int8"))
    stored.update((name, each.packed.precision) for name, each in packed.items() if each.packed.precision != "float32")
    if FORMAT_KEY not in metadata:
        return Checkpoint(where, "safetensors", tensors, None, {**metadata, "skipped": []}, stored)
    text = metadata.pop(MODEL_KEY, "{}").encode("utf-8", "surrogatepass")
    config = parse_json(text, f"{where}: its description of the layers")
    return Checkpoint(where, "fastgru", tensors, config, {**metadata, "skipped": []}, stored)


def _tensor(
    opened: OpenedFile,
    begin: int,
    name: str,
    entry: _Entry,
    scales: np.ndarray | None,
    is_own: bool,
    content: np.ndarray | None,
) -> np.ndarray:
    """The tensor, or what reads it later: of what has several axes and by its name may be a matrix of a layer."""
    place, path = _place(opened.path, name), opened.path
    kind = _KINDS.get(entry.kind) if scales is None else "int8"
    is_matrix = is_for_later(entry.shape) and (is_own or PYTORCHS_NAMES.search(name))
    if not opened.for_model or not is_matrix or kind is None:
        return _array(opened, begin, entry, place, scales)
    if content is not None and kind == "float32":
        mapped = plain_matrix(content, begin + entry.start, entry.shape)
        if mapped is not None:
            return mapped

    def read(again: OpenedFile) -> tuple[np.ndarray, np.ndarray | None]:
        flat = np.empty(math.prod(entry.shape), _ELEMENTS[entry.kind])
        again.read_into(begin + entry.start, flat.view(np.uint8).data)
        return _reshaped(flat.astype(flat.dtype.newbyteorder("="), copy=False), entry.shape, place), scales

    found: Any = StoredMatrix(path, opened.identity, kind, entry.shape, read)
    return found  # type: ignore[no-any-return]


def _place(where: str, name: str) -> str:
    return f"{where}: tensor {shown(name)}"


def _metadata(value: Any, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise CheckpointError(f"{where}: its metadata is not an object of texts, as safetensors writes it")
    return value


def _entry(value: Any, place: str) -> _Entry:
    """One value of the header, every field checked except that its bytes are there."""
    if not isinstance(value, dict) or not {"dtype", "shape", "data_offsets"} <= value.keys():
        raise CheckpointError(f"{place}: its header entry lacks a dtype, a shape or data_offsets; the file is damaged")
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in _ELEMENTS:
        raise CheckpointError(f"{place}: its type {shown(kind)} is not supported; save it as float32")
    if not _is_counts(shape) or not _is_counts(offsets) or len(offsets) != 2:
        raise CheckpointError(
            f"{place}: its shape {str(shape)[:80]} and offsets {str(offsets)[:80]} are not lists of "
            "counts; the file is damaged"
        )
    size = math.prod(shape) * np.dtype(_ELEMENTS[kind]).itemsize
    if len(shape) > MAX_DIMENSIONS or offsets[0] + size != offsets[1]:
        raise CheckpointError(
            f"{place}: got bytes {offsets[0]} to {offsets[1]} for shape {str(shape)[:80]} of {kind}, which does not fit"
        )
    return _Entry(kind, tuple(shape), *offsets)


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 64 and all(type(each) is int and each >= 0 for each in value)


def _check_layout(entries: dict[str, _Entry], size: int, where: str) -> None:
    """The tensors follow each other without a hole or an overlap, from the end of the header to the end of the file."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            raise CheckpointError(
                f"{_place(where, name)}: it begins at byte {entry.start}, where the tensor before it ends "
                f"at {end}; the file is damaged"
            )
        end = entry.end
    if end != size:
        raise CheckpointError(
            f"{where}: its tensors take {end} bytes, the file has {size} for them; it is damaged or was cut "
            "off, so copy or download it again"
        )


def _array(opened: OpenedFile, begin: int, entry: _Entry, place: str, scales: np.ndarray | None = None) -> np.ndarray:
    """The elements, read into memory of their own; read-only. With scales they are whole numbers of them."""
    first = begin + entry.start
    if scales is not None:
        flat = multiplied(entry.shape, scales, lambda start, memory: opened.read_into(first + start, memory))
    else:
        flat = np.empty(math.prod(entry.shape), _ELEMENTS[entry.kind])
        opened.read_into(first, flat.view(np.uint8).data)
    if entry.kind == "BF16":
        bits = flat.astype(np.uint32)
        bits <<= 16
        flat = bits.view(np.float32)
    elif entry.kind == "BOOL":
        flat = flat != 0
    else:
        flat = flat.astype(np.float32 if entry.kind == "F16" else flat.dtype.newbyteorder("="), copy=False)
    return sealed(_reshaped(flat, entry.shape, place))


def _scales(opened: OpenedFile, begin: int, entries: dict[str, _Entry], name: str) -> np.ndarray:
    """The scale of every row of a matrix of I8."""
    place, beside = _place(opened.path, name), entries.get(name + SCALES)
    check_form(entries[name].shape, None if beside is None else (beside.kind, beside.shape), place)
    assert beside is not None
    scales = _array(opened, begin, beside, place)
    check_scales(scales, place)
    return scales


def _reshaped(flat: np.ndarray, shape: tuple[int, ...], place: str) -> np.ndarray:
    try:
        return flat.reshape(shape)
    except (ValueError, OverflowError) as error:  # an empty tensor with sizes that NumPy cannot hold
        if not raised_in(error, "fastgru"):
            raise
        raise CheckpointError(f"{place}: NumPy cannot hold the shape {str(shape)[:80]} ({error})") from None
