"""PyTorch's format before 1.6: five pickles one after the other, then a length and the raw bytes of each storage.

Owns that layout. A persistent id may name a part of a storage (a view); every part is a piece of the bytes of its
storage, which are read once. Numbers and data are little-endian whatever wrote them. Only the pickles are in memory
beside the tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...errors import CheckpointError
from ..contents import Checkpoint
from ..opened import OpenedFile
from ..pickle.inert import Global
from ..pickle.machine import Builders
from ..pickle.reading import unpickle
from ..pickle.window import Window
from ..signatures import TORCH_LEGACY
from ..text import shown
from .contents import MAX_PICKLE, PICKLE_MEMORY, torch_checkpoint
from .later import tensors_in
from .tensors import TORCH_BUILDERS, Storage, TensorMaker, element_size, is_count, storage_of

__all__ = ["read_torch_legacy"]

PROTOCOL = 1001
MAX_ELEMENTS = 1 << 63
NOTHING: Builders = {}

Persistent = Callable[[Any], Any]


def read_torch_legacy(opened: OpenedFile) -> Checkpoint:
    """The state dict or the whole module of a file that ``torch.save`` of PyTorch 1.5 or older wrote."""
    storages = _Storages(opened)
    tree = storages.read_pickles()
    maker = TensorMaker(storages.read, big_endian=False, file_size=opened.size, where=opened.path)
    later = partial(tensors_in, maker, opened, reader_of=storages.later)
    return torch_checkpoint(tree, opened, "pytorch-legacy", later)


class _Storages:
    """The storages that the object's pickle names, and where in the file each is."""

    def __init__(self, opened: OpenedFile) -> None:
        self._opened, self._where = opened, opened.path
        self._declared: dict[str, tuple[str, int]] = {}  # key: type and elements, as persistent ids have them
        self._parts: dict[str, tuple[str, int]] = {}  # key of a part: key of its storage and first byte
        self._starts: dict[str, int] = {}
        self._divided: set[str] = set()  # keys of storages of which there are parts
        self._content: dict[str, bytes] = {}  # of these

    def read_pickles(self) -> Any:
        """The object of the file; on the way every storage is found and its length checked."""
        window = Window(self._opened.read, self._opened.size)
        magic, position = self._unpickle(window, 0)
        protocol, position = self._unpickle(window, position)
        system, start = self._unpickle(window, position)
        if magic != TORCH_LEGACY or protocol != PROTOCOL or not isinstance(system, dict):
            raise self._error("its first three pickles are not PyTorch's magic number, protocol and system")
        tree, position = self._unpickle(window, start, TORCH_BUILDERS, self.persistent)
        if position - start > MAX_PICKLE:
            raise self._error(f"its object takes {position - start} bytes of pickle, wanted at most {MAX_PICKLE}")
        keys, position = self._unpickle(window, position)
        self._find(keys, position)
        return tree

    def persistent(self, fields: Any) -> Storage | Global:
        """("storage", type, key, location, elements, None or a view), or ("module", class, file, source code)."""
        if isinstance(fields, tuple) and fields:
            if fields[0] == "module" and len(fields) == 4 and isinstance(fields[1], Global):
                return fields[1]
            if fields[0] == "storage" and len(fields) == 6:
                whole = storage_of(fields[1], fields[2], fields[4])
                if whole is not None and whole.count < MAX_ELEMENTS:
                    return self._declare(whole) if fields[5] is None else self._part(self._declare(whole), fields[5])
        raise self._error("a storage is not described by a type, a key, a number and a view")

    def read(self, key: str, wanted: int) -> memoryview:
        """The bytes of a storage, or of a part of one."""
        whole, first = self._parts.get(key, (key, 0))
        content = self._content.get(whole)
        if content is None:
            content = self._opened.read(self._starts[whole], self._size(whole))
        if whole in self._divided:
            self._content[whole] = content
        return memoryview(content)[first : first + wanted]

    def later(self, key: str, size: int) -> Callable[[OpenedFile], bytes] | None:
        """What reads a whole storage of that size from the file opened again."""
        if key not in self._starts or self._size(key) != size:
            return None
        start = self._starts[key]
        return lambda again: again.read(start, size)

    def _declare(self, storage: Storage) -> Storage:
        if element_size(storage.element) is None:
            raise self._error(f"a storage is of the type {shown(storage.element)}, which is not known")
        if self._declared.setdefault(storage.key, (storage.element, storage.count)) != (storage.element, storage.count):
            raise self._error(f"storage {shown(storage.key)} is described in two ways")
        return storage

    def _part(self, whole: Storage, view: Any) -> Storage:
        """A view is (key, offset, elements), both counted in elements of the storage."""
        _, offset, count = view if isinstance(view, tuple) and len(view) == 3 else (None, None, None)
        if not is_count(offset) or not is_count(count) or offset + count > whole.count:
            raise self._error(f"a view reaches beyond the {whole.count} elements of storage {shown(whole.key)}")
        key = f"{whole.key}[{offset}:{offset + count}]"
        self._divided.add(whole.key)
        self._parts[key] = whole.key, offset * self._unit(whole.key)
        return Storage(key, whole.element, count)

    def _find(self, keys: Any, position: int) -> None:
        """Each storage follows in the order of ``keys``: its elements as 8 bytes, then their data."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise self._error("its fifth pickle is not the list of its storages")
        size = self._opened.size
        for key in keys:
            if key not in self._declared or key in self._starts:
                raise self._error(f"storage {shown(key)} is listed twice, or nothing in the file asks for it")
            count = int.from_bytes(self._opened.read(position, min(8, size - position)), "little")
            wanted = self._declared[key][1]
            if position + 8 > size or count != wanted:
                raise self._error(f"storage {shown(key)} has {count} elements, wanted {wanted}")
            self._starts[key] = position + 8
            position += 8 + self._size(key)
            if position > size:
                raise self._error(f"storage {shown(key)} ends at byte {position} of {size}: it was cut off")
        missing = next((key for key in self._declared if key not in self._starts), None)
        if missing is not None:
            raise self._error(f"storage {shown(missing)} is not in the file")
        if position != size:
            raise CheckpointError(
                f"{self._where}: {size - position} bytes follow its last storage; if torch.save was called "
                "several times with one file, load it where it was made and save what you need on its own"
            )

    def _unit(self, key: str) -> int:
        return element_size(self._declared[key][0]) or 0

    def _size(self, key: str) -> int:
        return self._declared[key][1] * self._unit(key)

    def _unpickle(
        self, window: Window, start: int, builders: Builders = NOTHING, persistent: Persistent | None = None
    ) -> tuple[Any, int]:
        """One of the five pickles; only the fourth may hold tensors."""
        budget = PICKLE_MEMORY + window.size
        return unpickle(
            window, builders, persistent or self._no_storage, budget=budget, where=self._where, start=start
        )

    def _no_storage(self, fields: Any) -> Any:
        raise self._error("a storage is named where none belongs")

    def _error(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self._where}: {message}; the file is damaged")
