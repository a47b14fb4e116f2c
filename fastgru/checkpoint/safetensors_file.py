"""safetensors files, parsed by the safetensors library; 16-bit floats are widened here, by hand.

Owns the translation, and the keys under which fastgru's own files describe their layers: the library checks offsets and
sizes, this checks the header as strictly as any JSON.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CheckpointError
from .contents import Checkpoint
from .opened import OpenedFile
from .text import MAX_JSON_BYTES, parse_json, shown

__all__ = ["FORMAT", "FORMAT_KEY", "MODEL_KEY", "VERSION_KEY", "read_safetensors"]

FORMAT = 1  # of the description in a file that fastgru writes; one that it does not know is refused
FORMAT_KEY, VERSION_KEY, MODEL_KEY = "fastgru.format", "fastgru.version", "fastgru.model"
MAX_DIMENSIONS = 8
_ELEMENTS = {
    "F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "u1",
}  # fmt: skip


def read_safetensors(opened: OpenedFile) -> Checkpoint:
    """Every tensor of the file, in the order of its header, which also gives the metadata.

    Where fastgru wrote it, ``format`` is ``"fastgru"`` and ``config`` its description of the layers.
    """
    where = opened.path
    content = opened.read_all()
    length = int.from_bytes(content[:8], "little")
    if length > min(len(content) - 8, MAX_JSON_BYTES):
        raise CheckpointError(
            f"{where}: its header is said to have {length} bytes, the file has {len(content)}; it is "
            "damaged or was cut off"
        )
    header = parse_json(content[8 : 8 + length], f"{where}: safetensors header")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{where}: its metadata is a {type(metadata).__name__}, wanted an object")
    found = _deserialised(content, where)
    del content
    if found.keys() != header.keys():
        raise CheckpointError(f"{where}: its header names {len(header)} tensors, {len(found)} were found")
    # Popped one by one, so that a widened tensor replaces its 16-bit original in memory.
    tensors = {name: _array(found.pop(name), f"{where}: tensor {shown(name)}") for name in header}
    if FORMAT_KEY not in metadata:
        return Checkpoint(where, "safetensors", tensors, None, {**metadata, "skipped": []})
    text = metadata.pop(MODEL_KEY, "{}").encode("utf-8", "surrogatepass")
    config = parse_json(text, f"{where}: its description of the layers")
    return Checkpoint(where, "fastgru", tensors, config, {**metadata, "skipped": []})


def _deserialised(content: bytes, where: str) -> dict[str, dict[str, Any]]:
    import safetensors

    try:
        return dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
    except BaseException as error:  # a panic in the library is not an Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            raise
        raise CheckpointError(
            f"{where}: it is not a sound safetensors file ({str(error)[:200]}); wanted one as "
            "safetensors writes it, so copy or download it again"
        ) from error


def _array(found: dict[str, Any], place: str) -> np.ndarray:
    kind, shape, data = found["dtype"], tuple(found["shape"]), found["data"]
    if kind not in _ELEMENTS:
        raise CheckpointError(f"{place}: its type {shown(kind)} is not supported; save it as float32")
    dtype = np.dtype(_ELEMENTS[kind])
    count = 1
    for extent in shape:
        count *= extent
    if len(shape) > MAX_DIMENSIONS or count * dtype.itemsize != len(data):
        raise CheckpointError(f"{place}: got {len(data)} bytes for shape {str(shape)[:80]}, which does not fit")
    flat = np.frombuffer(data, dtype)
    if kind == "BF16":
        bits = flat.astype(np.uint32)
        bits <<= 16
        flat = bits.view(np.float32)
    elif kind == "BOOL":
        flat = flat != 0
    else:
        flat = flat.astype(np.float32 if kind == "F16" else dtype.newbyteorder("="), copy=False)
    array = _reshaped(flat, shape, place)
    array.flags.writeable = False
    return array


def _reshaped(flat: np.ndarray, shape: tuple[int, ...], place: str) -> np.ndarray:
    try:
        return flat.reshape(shape)
    except (ValueError, OverflowError) as error:  # an empty tensor with sizes that NumPy cannot hold
        raise CheckpointError(f"{place}: NumPy cannot hold the shape {str(shape)[:80]} ({error})") from None
