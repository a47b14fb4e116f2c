"""The tensors of PyTorch's zips: arrays, but for matrices of GRUs, each of which is read when a model packs it.

Owns which these are: whatever is a view, shared, quantised or no matrix is read at once, as everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..opened import OpenedFile
from ..stored_matrix import PYTORCHS_NAMES, StoredMatrix
from ..zip import Place
from .tensors import TensorMaker, TensorRecord

if TYPE_CHECKING:
    from .archive import TorchArchive

__all__ = ["tensors_in"]

_ELEMENTS = {"float32": "<f4", "float64": "<f8", "float16": "<f2", "bfloat16": "<u2"}


def tensors_in(
    archive: TorchArchive, opened: OpenedFile, records: Mapping[str, TensorRecord]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors by name, in their order, and the types in the file of those that are widened, by name."""
    big_endian = archive.big_endian
    maker = TensorMaker(archive.read_storage, big_endian=big_endian, file_size=opened.size, where=opened.path)
    uses = Counter(record.storage.key for record in records.values())
    tensors: dict[str, Any] = {}
    stored: dict[str, str] = {}
    for name, record in records.items():
        named = opened.for_model and not big_endian and PYTORCHS_NAMES.search(name) is not None
        if named and uses[record.storage.key] == 1 and _is_alone(record, archive):
            read = _reader(record, archive.place(record.storage.key))
            tensors[name] = StoredMatrix(opened.path, opened.identity, record.element, record.shape, read)
            if "16" in record.element:
                stored[name] = record.element
        else:
            tensors[name] = maker.make(name, record)
    return tensors, {**maker.stored, **stored}


def _is_alone(record: TensorRecord, archive: TorchArchive) -> bool:
    """Whether it is a matrix of floats that fills its storage, of the size that the file has for it."""
    if record.element not in _ELEMENTS or len(record.shape) != 2:
        return False
    storage, size = record.storage, math.prod(record.shape)
    nbytes = size * np.dtype(_ELEMENTS[record.element]).itemsize
    return (
        record.scale is None
        and record.channels is None
        and record.offset == 0
        and record.strides == (record.shape[1], 1)
        and (storage.element, storage.count) in ((record.element, size), ("untyped", nbytes))
        and min(record.shape) > 0
        and archive.has(storage.key, nbytes)
    )


def _reader(record: TensorRecord, place: Place) -> Callable[[OpenedFile], tuple[np.ndarray, None]]:
    def read(opened: OpenedFile) -> tuple[np.ndarray, None]:
        made = np.empty(record.shape, _ELEMENTS[record.element])
        content = made.reshape(-1).view(np.uint8).data
        opened.read_into(place.start, content)
        place.check(content)
        return made.astype(made.dtype.newbyteorder("="), copy=False), None

    return read
