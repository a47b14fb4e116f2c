"""HDF5 as Keras writes it, read through h5py from bytes in memory and only after its structure has been checked.

Owns the rules that keep such a file to itself and to its size: hard links only, no cycles, no external, virtual or
filtered data, nothing declared that is not stored. Attributes are never read. h5py is imported on first use.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from ..errors import CheckpointError, FastGRUError, MissingDependencyError
from .hdf5_structure import MAX_OBJECTS, check_structure
from .text import shown

__all__ = ["read_hdf5_floats"]

MAX_DEPTH = 32
MAX_DIMENSIONS = 8
MAX_NAME = 1024


def read_hdf5_floats(
    content: bytes, where: str, *, skip: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Every floating-point dataset by its path, and the paths of what was left out.

    Parameters
    ----------
    content : bytes
        The whole file.
    where : str
        What messages begin with.
    skip : collection of str
        Names at the root that are not entered.

    Raises
    ------
    CheckpointError
        The file is damaged or breaks a rule.
    MissingDependencyError
        h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError(
            f'{where}: reading Keras weights needs h5py, which is not installed; pip install h5py (the extra "keras")'
        ) from None
    check_structure(content, where, skip=skip)
    reader = _Reader(h5py, content, where)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            skipped = [name for name in reader.names(file) if name in skip]
            tensors = {
                path: array
                for path, dataset in reader.datasets(file, skip)
                if (array := reader.array(path, dataset, skipped)) is not None
            }
    except FastGRUError:
        raise
    except MemoryError as error:
        raise CheckpointError(f"{where}: there is not enough memory to read it") from error
    except Exception as error:  # h5py raises what HDF5 reports as any of a dozen types, never one of its own
        raise CheckpointError(f"{where}: it is not a sound HDF5 file ({str(error)[:200]}); copy it again") from error
    return tensors, skipped


class _Reader:
    def __init__(self, h5py: Any, content: bytes, where: str) -> None:
        self.h5py, self.size, self.where = h5py, len(content), where
        self.left = len(content)  # bytes of tensors still to be had
        self.seen: set[int] = set()  # addresses of objects

    def error(self, path: str, message: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: {shown(path)}: {message}")

    def names(self, group: Any) -> list[str]:
        if len(group) > MAX_OBJECTS:
            raise self.error(group.name, f"it has {len(group)} members, wanted at most {MAX_OBJECTS}")
        return list(group)

    def datasets(self, root: Any, skip: Collection[str]) -> Iterator[tuple[str, Any]]:
        """Every dataset by path, depth first, each object once."""
        levels = [("", root, iter(self.names(root)))]
        while levels:
            prefix, group, names = levels[-1]
            name = next(names, None)
            if name is None:
                levels.pop()
                continue
            path = prefix + name
            if not prefix and name in skip:
                continue
            member = self.member(group, name, path)
            if isinstance(member, self.h5py.Dataset):
                yield path, member
            elif len(levels) >= MAX_DEPTH:
                raise self.error(path, f"groups are nested deeper than {MAX_DEPTH}")
            else:
                levels.append((path + "/", member, iter(self.names(member))))

    def member(self, group: Any, name: str, path: str) -> Any:
        """The group or dataset behind a hard link."""
        if len(path) > MAX_NAME or not path.isprintable():
            raise self.error(path, "its name is too long or not printable")
        link = group.get(name, getlink=True)
        if not isinstance(link, self.h5py.HardLink):
            raise self.error(path, f"it is a {type(link).__name__} to somewhere else, which is refused")
        # The address is the link's: asking the object for it would make HDF5 measure all of its B-trees.
        self.enter(group.id.links.get_info(name.encode()).u, path)
        member = group[name]
        if not isinstance(member, (self.h5py.Group, self.h5py.Dataset)):
            raise self.error(path, f"it is a {type(member).__name__}, wanted a group or a dataset")
        return member

    def enter(self, address: int, path: str) -> None:
        if address in self.seen:
            raise self.error(path, "it is linked twice, as a cycle would be; wanted every object once")
        self.seen.add(address)
        if len(self.seen) > MAX_OBJECTS:
            raise self.error(path, f"the file has more than {MAX_OBJECTS} objects")

    def array(self, path: str, dataset: Any, skipped: list[str]) -> np.ndarray | None:
        """The data of a float dataset, 16-bit floats widened; None, and a line in ``skipped``, of any other type."""
        kind = dataset.id.get_type()
        size, kinds = kind.get_size(), self.h5py.h5t
        bfloat16 = kind.get_class() == kinds.OPAQUE and size == 2
        if not bfloat16 and (kind.get_class() != kinds.FLOAT or size not in (2, 4, 8)):
            skipped.append(path)
            return None
        shape = self.checked_shape(path, dataset, size)
        if bfloat16:
            raw = np.empty(shape, "V2")
            if raw.size:
                dataset.read_direct(raw)
            bits = raw.view("<u2").astype(np.uint32)
            bits <<= 16
            array = bits.view(np.float32)
        else:
            array = np.asarray(dataset[()])
            if array.dtype.kind != "f":
                raise self.error(path, f"its type {shown(str(array.dtype))} is not supported")
            wide = np.float64 if array.dtype.itemsize == 8 else np.float32
            array = array.astype(wide, order="C", copy=False)
        array.flags.writeable = False
        return array

    def checked_shape(self, path: str, dataset: Any, size: int) -> tuple[int, ...]:
        """The shape, once all of its bytes are known to lie in this file as they are."""
        properties, layouts = dataset.id.get_create_plist(), self.h5py.h5d
        layout = properties.get_layout()
        if layout == layouts.VIRTUAL or properties.get_external_count():
            raise self.error(path, "its data lies in another file, which is refused")
        if layout not in (layouts.CONTIGUOUS, layouts.COMPACT) or properties.get_nfilters():
            raise self.error(path, "its data is compressed or filtered; save the model again without that")
        if dataset.id.get_space().get_simple_extent_type() == self.h5py.h5s.NULL:
            raise self.error(path, "it has no shape")
        shape = tuple(int(extent) for extent in dataset.id.shape)
        declared = math.prod(shape) * size
        stored = int(dataset.id.get_storage_size())
        self.left -= declared
        if len(shape) > MAX_DIMENSIONS or declared > stored or self.left < 0:
            raise self.error(path, f"its shape {str(shape)[:80]} asks for {declared} bytes, {stored} are stored")
        offset = dataset.id.get_offset()
        if layout == layouts.CONTIGUOUS and declared and (offset is None or offset + declared > self.size):
            raise self.error(path, f"its {declared} bytes reach beyond the end of the file; it was cut off")
        return shape
