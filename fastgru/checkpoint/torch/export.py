"""Files of ``torch.export.save`` (``.pt2``): raw weights that JSON describes, and the graph of the model as JSON.

Owns where these lie and what a description of a weight means. The graph is parsed and handed on; the pickles that such
a file may hold beside it (sample inputs, tensor subclasses) are never opened.
"""

from __future__ import annotations

import re
from typing import Any

from ...errors import CheckpointError, UnsupportedModelError
from ..contents import Checkpoint
from ..opened import OpenedFile
from ..text import MAX_JSON_BYTES, parse_json, shown
from .archive import TorchArchive
from .tensors import Storage, TensorRecord

__all__ = ["read_torch_export"]

# What numbers stand for in the JSON; the rest (float8, complex half) is not read.
DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 34: "uint32", 35: "uint64",
}  # fmt: skip
STRIDED = 7  # of the layouts, the one that is not sparse
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 64
AGAIN = "write it again with torch.export.save of a newer PyTorch"

_FILE = re.compile(r"[A-Za-z0-9_]{1,200}")


def read_torch_export(opened: OpenedFile) -> Checkpoint:
    """Parameters, buffers and constants by their dotted names; ``config`` is the JSON of the graph as it is."""
    archive = TorchArchive(opened)
    where = opened.path
    model = _only_model(opened, archive.root)
    graph = _json(opened, archive, f"models/{model}.json")
    records: dict[str, TensorRecord] = {}
    skipped: list[str] = []
    for kind in ("weights", "constants"):
        name = f"data/{kind}/{model}_{kind}_config.json"
        if archive.root + name not in opened.archive:
            raise UnsupportedModelError(f"{where}: there is no {name} in it, as in files of an older PyTorch; {AGAIN}")
        payloads = _json(opened, archive, name).get("config")
        if not isinstance(payloads, dict) or len(payloads) > MAX_TENSORS:
            raise CheckpointError(f"{where}: {name} describes no weights; the file is damaged")
        for tensor, payload in payloads.items():
            place = f"{where}: tensor {shown(tensor)}"
            if tensor in records:
                raise CheckpointError(f"{place} is both a weight and a constant; the file is damaged")
            record = _record(payload, f"data/{kind}", opened, archive, place)
            if record is None:
                skipped.append(tensor)
            else:
                records[tensor] = record
    tensors, stored = archive.tensors(records)
    version = graph.get("torch_version")
    metadata: dict[str, Any] = {"skipped": skipped}
    if isinstance(version, str):
        metadata["torch_version"] = version
    return Checkpoint(where, "torch-export", tensors, graph, metadata, stored)


def _only_model(opened: OpenedFile, root: str) -> str:
    """The name of the one model in the file."""
    folder = f"{root}models/"
    within = [name.removeprefix(folder) for name in opened.archive.names if name.startswith(folder)]
    names = [name.removesuffix(".json") for name in within if name.endswith(".json")]
    if len(names) != 1:
        listed = ", ".join(map(shown, names[:8]))
        raise UnsupportedModelError(
            f"{opened.path}: it holds {len(names)} models ({listed}), wanted one; save that one with torch.export.save"
        )
    return names[0]


def _json(opened: OpenedFile, archive: TorchArchive, name: str) -> dict[str, Any]:
    content = opened.archive.read(archive.root + name, limit=MAX_JSON_BYTES, deflated=True)
    return parse_json(content, f"{opened.path}: {shown(name)}")


def _record(payload: Any, folder: str, opened: OpenedFile, archive: TorchArchive, place: str) -> TensorRecord | None:
    """The tensor that one entry describes, its numbers as they are; None where it is kept as a pickle."""
    if not isinstance(payload, dict) or not isinstance(payload.get("path_name"), str):
        raise CheckpointError(f"{place} is not described; the file is damaged")
    if payload.get("use_pickle") is not False:
        return None
    meta = payload.get("tensor_meta")
    if not isinstance(meta, dict) or meta.get("layout") != STRIDED or not _FILE.fullmatch(payload["path_name"]):
        raise CheckpointError(f"{place} is not described as a dense tensor in a file of its own; the file is damaged")
    shape, strides = _integers(meta.get("sizes"), place), _integers(meta.get("strides"), place)
    (offset,) = _integers([meta.get("storage_offset")], place)
    dtype = meta.get("dtype")
    element = DTYPES.get(dtype) if type(dtype) is int else None
    if element is None:
        raise CheckpointError(f"{place}: its type has the number {shown(str(dtype))}, which is not read; use float32")
    path = f"{folder}/{payload['path_name']}"
    storage = Storage(path, "untyped", opened.archive.size_of(archive.root + path))
    return TensorRecord(storage, offset, shape, strides, element)


def _integers(values: Any, place: str) -> tuple[int, ...]:
    """[{"as_int": 3}, ...] as numbers; weights have no symbolic sizes."""
    if not isinstance(values, list) or len(values) > MAX_DIMENSIONS:
        raise CheckpointError(f"{place}: its sizes or strides are no list; the file is damaged")
    found = [value.get("as_int") if isinstance(value, dict) else None for value in values]
    if not all(type(each) is int for each in found):
        raise CheckpointError(f"{place}: its sizes, strides and offset are not whole numbers; the file is damaged")
    return tuple(int(each) for each in found if each is not None)
