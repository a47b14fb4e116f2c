"""The arrays of an HDF5 file as Keras writes it, read through h5py from bytes in memory.

Owns the rules that keep an array to its file and to its size: no external, virtual or filtered data, nothing declared
that is not stored. What leads to a dataset has been checked by ``Structure`` before h5py sees the file, and no object
but the datasets asked for is opened. h5py is imported on first use.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from ..errors import CheckpointError, FastGRUError, MissingDependencyError
from ..sealed import sealed
from .hdf5_structure import Node, Structure
from .text import shown

__all__ = ["read_arrays", "read_hdf5_floats"]

MAX_DIMENSIONS = 8


def read_hdf5_floats(
    content: bytes, where: str, *, skip: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, str], list[str]]:
    """Every floating-point dataset by its path, the type of those that had 16 bits, and the paths of what was left out.

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
    structure = Structure(content, where)
    skipped = [name for name in structure.members(structure.root) if name in skip]
    floats = []
    for node in structure.walk(skip):
        if node.is_group:
            continue
        if structure.holds_floats(node):
            floats.append(node)
        else:
            skipped.append(node.path)
    return *read_arrays(structure, floats), skipped


def read_arrays(structure: Structure, nodes: Iterable[Node]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The data of datasets of floats by their path, 16-bit floats widened to float32, and which of them these are.

    Raises
    ------
    CheckpointError
        A dataset is damaged or breaks a rule.
    MissingDependencyError
        h5py is not installed.
    """
    data, where = structure.blocks.data, structure.blocks.where
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError(
            f'{where}: reading Keras weights needs h5py, which is not installed; pip install h5py (the extra "keras")'
        ) from None
    reader = _Reader(h5py, structure)
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return {node.path: reader.array(file, node) for node in nodes}, reader.stored
    except FastGRUError:
        raise
    except MemoryError as error:
        raise CheckpointError(f"{where}: there is not enough memory to read it") from error
    except Exception as error:  # h5py raises what HDF5 reports as any of a dozen types, never one of its own
        raise CheckpointError(f"{where}: it is not a sound HDF5 file ({str(error)[:200]}); copy it again") from error


class _Reader:
    def __init__(self, h5py: Any, structure: Structure) -> None:
        self.h5py, self.structure = h5py, structure
        self.left = self.size = len(structure.blocks.data)  # bytes of tensors still to be had
        self.stored: dict[str, str] = {}  # the type of each 16-bit float, by its path

    def error(self, path: str, message: str) -> CheckpointError:
        return self.structure.blocks.error_at(path, message)

    def array(self, file: Any, node: Node) -> np.ndarray:
        self.structure.check_layout(node)
        spaces, types = self.h5py.h5s, self.h5py.h5t
        dataset = self.h5py.h5d.open(file.id, node.path.encode())  # h5py's Dataset would take three times as long
        kind = dataset.get_type()
        size, dtype = kind.get_size(), kind.dtype
        if dtype.itemsize > 2 * size or dtype.kind not in "fV":  # h5py widens floats that NumPy has not
            raise self.error(node.path, f"its type {shown(str(dtype))} is not supported")
        array = np.empty(self.checked_shape(node.path, dataset, size), dtype)
        if array.size:
            dataset.read(spaces.ALL, spaces.ALL, array)
        opaque = kind.get_class() == types.OPAQUE  # bfloat16, as Keras writes it
        if size == 2:
            self.stored[node.path] = "float16" if dtype == np.float16 and not opaque else "bfloat16"
        if opaque:
            bits = array.view("<u2").astype(np.uint32)
            bits <<= 16
            array = bits.view(np.float32)
        elif not array.dtype.isnative:  # in place, to need no second copy
            array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
        wide = np.float64 if array.dtype.itemsize == 8 else np.float32
        return sealed(array.astype(wide, order="C", copy=False))

    def checked_shape(self, path: str, dataset: Any, size: int) -> tuple[int, ...]:
        """The shape, once all of its bytes are known to lie in this file as they are."""
        properties, layouts = dataset.get_create_plist(), self.h5py.h5d
        layout = properties.get_layout()
        if layout not in (layouts.CONTIGUOUS, layouts.COMPACT) or properties.get_nfilters():
            raise self.error(path, "its data is compressed or filtered; save the model again without that")
        if dataset.get_space().get_simple_extent_type() == self.h5py.h5s.NULL:
            raise self.error(path, "it has no shape")
        shape = tuple(int(extent) for extent in dataset.shape)
        declared = math.prod(shape) * size
        stored = int(dataset.get_storage_size())
        self.left -= declared
        if len(shape) > MAX_DIMENSIONS or declared > stored or self.left < 0:
            raise self.error(path, f"its shape {str(shape)[:80]} asks for {declared} bytes, {stored} are stored")
        offset = dataset.get_offset()
        if layout == layouts.CONTIGUOUS and declared and (offset is None or offset + declared > self.size):
            raise self.error(path, f"its {declared} bytes reach beyond the end of the file; it was cut off")
        return shape
