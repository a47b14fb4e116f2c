"""PyTorch's zip format (torch 1.6 and later): one root folder, a pickle, and one stored record for each storage.

Owns the layout of that archive, and nothing of what a tensor is or which tensors are weights.
"""

from __future__ import annotations

from typing import Any

from ..errors import CheckpointError
from .contents import Checkpoint
from .opened import OpenedFile
from .state_dict import find_state_dict
from .text import shown
from .torch_tensors import TORCH_BUILDERS, Storage, TensorMaker, storage_of
from .unpickle import unpickle

__all__ = ["read_torch_zip"]

MAX_PICKLE = 128 << 20
MAX_TENSORS = 100_000
PICKLE_MEMORY = 32 << 20  # what the pickle's values may take beyond once its own and once the file's size


def read_torch_zip(opened: OpenedFile) -> Checkpoint:
    """The state dict of a file that ``torch.save`` wrote."""
    where, archive = opened.path, opened.archive
    root = next(name for name in archive.names if name.endswith("/data.pkl")).removesuffix("data.pkl")
    pickle = archive.read(f"{root}data.pkl", limit=MAX_PICKLE)
    tree, end = unpickle(
        pickle, TORCH_BUILDERS, _persistent(where), budget=PICKLE_MEMORY + len(pickle) + opened.size, where=where
    )
    if end != len(pickle):
        raise CheckpointError(f"{where}: its pickle ends at byte {end} of {len(pickle)}; the file is damaged")
    found = find_state_dict(tree, where)
    if len(found.tensors) > MAX_TENSORS:
        raise CheckpointError(f"{where}: got {len(found.tensors)} tensors, wanted at most {MAX_TENSORS}")
    order = _small_record(opened, f"{root}byteorder") or "little"
    if order not in ("little", "big"):
        raise CheckpointError(f"{where}: got byte order {shown(order)}, wanted little or big")

    def read_storage(key: str, wanted: int) -> bytes:
        name = f"{root}data/{key}"
        if archive.size_of(name) != wanted:
            raise CheckpointError(
                f"{where}: storage {shown(key)} has {archive.size_of(name)} bytes, wanted {wanted}; the file is damaged"
            )
        return archive.read(name)

    maker = TensorMaker(read_storage, big_endian=order == "big", file_size=opened.size, where=where)
    tensors = {name: maker.make(name, record) for name, record in found.tensors.items()}
    metadata: dict[str, Any] = {"skipped": found.skipped}
    if found.container:
        metadata["container"] = found.container
    if version := _small_record(opened, f"{root}version"):
        metadata["torch_format_version"] = version
    return Checkpoint(where, "pytorch-zip", tensors, None, metadata)


def _small_record(opened: OpenedFile, name: str) -> str:
    if name not in opened.archive:
        return ""
    return opened.archive.read(name, limit=64).decode("ascii", "replace").strip()


def _persistent(where: str) -> Any:
    def storage(fields: Any) -> Storage:
        if isinstance(fields, tuple) and len(fields) == 5 and fields[0] == "storage":
            found = storage_of(fields[1], fields[2], fields[4])
            if found is not None:
                return found
        raise CheckpointError(f"{where}: a storage is not described by a type, a key and a number; the file is damaged")

    return storage
