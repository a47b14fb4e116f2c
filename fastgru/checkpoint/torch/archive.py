"""The zip that PyTorch's writer makes (torch 1.6 and later): pickles, their storages, and the byte order of these.

Owns where they lie below the one root folder, and the reading of what ``torch.save`` wrote. What a tensor is and which
tensors are weights is known elsewhere; TorchScript and ``torch.export`` keep theirs in the same zip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import CheckpointError
from ..contents import Checkpoint
from ..opened import OpenedFile
from ..pickle.machine import Builders
from ..pickle.reading import unpickle
from ..text import shown
from .contents import MAX_PICKLE, PICKLE_MEMORY, torch_checkpoint
from .later import tensors_in
from .tensors import TORCH_BUILDERS, Storage, TensorMaker, TensorRecord, storage_of

__all__ = ["TorchArchive", "read_torch_zip"]


def read_torch_zip(opened: OpenedFile) -> Checkpoint:
    """The state dict or the whole module of a file that ``torch.save`` wrote."""
    archive = TorchArchive(opened)
    tree = archive.unpickled("data.pkl", "data", TORCH_BUILDERS)
    checkpoint = torch_checkpoint(tree, opened, "pytorch-zip", archive.tensors)
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

    def tensors(self, records: Mapping[str, TensorRecord]) -> tuple[dict[str, Any], dict[str, str]]:
        """The tensors of records, and the types of those that are widened; large matrices may be read later."""
        opened = self._opened
        maker = TensorMaker(self.read_storage, big_endian=self.big_endian, file_size=opened.size, where=self.where)
        return tensors_in(maker, opened, records, self.later)

    def later(self, path: str, size: int) -> Callable[[OpenedFile], bytes] | None:
        """What reads a little-endian storage of that size from the file opened again."""
        archive, name = self._opened.archive, self.root + path
        if name not in archive or archive.size_of(name) != size or self.big_endian:
            return None
        member = archive.member(name)
        return lambda again: member.read(again.file)

    def read_storage(self, path: str, wanted: int) -> bytes:
        """The bytes of a storage, which must be as many as its description says."""
        size = self._opened.archive.size_of(self.root + path)
        if size != wanted:
            raise CheckpointError(
                f"{self.where}: storage {shown(path)} has {size} bytes, wanted {wanted}; the file is damaged"
            )
        return self._opened.archive.read(self.root + path)
