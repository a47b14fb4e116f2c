"""The zip that PyTorch's writer makes (torch 1.6 and later): pickles, their storages, and the byte order of these.

Owns where they lie below the one root folder, and the reading of what ``torch.save`` wrote. What a tensor is and which
tensors are weights is known elsewhere; TorchScript and ``torch.export`` keep theirs in the same zip.
"""

from __future__ import annotations

from typing import Any

from ...errors import CheckpointError
from ..contents import Checkpoint
from ..opened import OpenedFile
from ..pickle.machine import Builders
from ..pickle.reading import unpickle
from ..text import shown
from ..zip import Place
from .contents import MAX_PICKLE, PICKLE_MEMORY, torch_checkpoint
from .later import tensors_in
from .tensors import TORCH_BUILDERS, Storage, storage_of

__all__ = ["TorchArchive", "read_torch_zip"]


def read_torch_zip(opened: OpenedFile) -> Checkpoint:
    """The state dict or the whole module of a file that ``torch.save`` wrote."""
    archive = TorchArchive(opened)
    tree = archive.unpickled("data.pkl", "data", TORCH_BUILDERS)
    checkpoint = torch_checkpoint(tree, opened, "pytorch-zip", lambda records: tensors_in(archive, opened, records))
    if version := archive.small("version"):
        checkpoint.metadata["torch_format_version"] = version
    return checkpoint


class TorchArchive:
    """One such zip. ``root`` is its folder with the slash at the end."""

    def __init__(self, opened: OpenedFile) -> None:
        self.where = opened.path
        self.root = next(iter(opened.archive.names)).partition("/")[0] + "/"
        self._opened = opened

    @property
    def big_endian(self) -> bool:
        order = self.small("byteorder") or "little"
        if order not in ("little", "big"):
            raise CheckpointError(f"{self.where}: got byte order {shown(order)}, wanted little or big")
        return order == "big"

    def small(self, name: str) -> str:
        """The text of a record of a few bytes, empty where there is none."""
        if self.root + name not in self._opened.archive:
            return ""
        return self._opened.archive.read(self.root + name, limit=64).decode("ascii", "replace").strip()

    def unpickled(self, name: str, folder: str, builders: Builders) -> Any:
        """What the pickle ``name`` holds; the keys of its storages are paths, such as ``data/0``."""
        pickle = self._opened.archive.read(self.root + name, limit=MAX_PICKLE)
        budget = PICKLE_MEMORY + len(pickle) + self._opened.size
        where = f"{self.where}: {name}"

        def storage(fields: Any) -> Storage:
            if isinstance(fields, tuple) and len(fields) == 5 and fields[0] == "storage":
                found = storage_of(fields[1], fields[2], fields[4])
                if found is not None:
                    return found.replace(key=f"{folder}/{found.key}")
            raise CheckpointError(f"{where}: a storage is not described by a type, a key and a number; it is damaged")

        tree, end = unpickle(pickle, builders, storage, budget=budget, where=where)
        if end != len(pickle):
            raise CheckpointError(f"{where}: it ends at byte {end} of {len(pickle)}; the file is damaged")
        return tree

    def has(self, path: str, size: int) -> bool:
        """Whether there is a storage of that size."""
        name = self.root + path
        return name in self._opened.archive and self._opened.archive.size_of(name) == size

    def place(self, path: str) -> Place:
        """Where a storage lies."""
        return self._opened.archive.place(self.root + path)

    def read_storage(self, path: str, wanted: int) -> bytes:
        """The bytes of a storage, which must be as many as its description says."""
        size = self._opened.archive.size_of(self.root + path)
        if size != wanted:
            raise CheckpointError(
                f"{self.where}: storage {shown(path)} has {size} bytes, wanted {wanted}; the file is damaged"
            )
        return self._opened.archive.read(self.root + path)
