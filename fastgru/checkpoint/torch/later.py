"""Matrices of GRUs in PyTorch's zip that are read when they are packed, each from a storage of its own.

Owns which these are: whatever is a view, shared, quantised or no matrix is read at once, as everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..opened import OpenedFile
from ..stored_matrix import PYTORCHS_NAMES, StoredMatrix
from .archive import TorchArchive
from .tensors import TensorRecord

__all__ = ["matrices_later"]

_ELEMENTS = {"float32": "<f4", "float64": "<f8", "float16": "<f2", "bfloat16": "<u2"}


def matrices_later(records: Mapping[str, Any], opened: OpenedFile, archive: TorchArchive) -> dict[str, StoredMatrix]:
    """The matrices among the tensors of a file, by name."""
    if not opened.for_model or archive.big_endian:
        return {}
    uses = Counter(record.storage.key for record in records.values() if isinstance(record, TensorRecord))
    return {
        name: StoredMatrix(opened.path, opened.identity, record.element, record.shape, _reader(record))
        for name, record in records.items()
        if PYTORCHS_NAMES.search(name) and _is_alone(record, archive) and uses[record.storage.key] == 1
    }


def _is_alone(record: Any, archive: TorchArchive) -> bool:
    """Whether it is a matrix of floats that fills its storage, of the size that the file has for it."""
    if not isinstance(record, TensorRecord) or record.element not in _ELEMENTS or len(record.shape) != 2:
        return False
    storage, size = record.storage, math.prod(record.shape)
    return (
        record.scale is None
        and record.channels is None
        and record.offset == 0
        and record.strides == (record.shape[1], 1)
        and storage.element == record.element
        and min(record.shape) > 0
        and storage.count == size
        and archive.has(storage.key, size * np.dtype(_ELEMENTS[record.element]).itemsize)
    )


def _reader(record: TensorRecord) -> Callable[[OpenedFile], tuple[np.ndarray, None]]:
    element = _ELEMENTS[record.element]
    size = math.prod(record.shape) * np.dtype(element).itemsize

    def read(opened: OpenedFile) -> tuple[np.ndarray, None]:
        content = TorchArchive(opened).read_storage(record.storage.key, size)
        made = np.frombuffer(content, element).reshape(record.shape)
        return made.astype(made.dtype.newbyteorder("="), copy=False), None

    return read
