"""Matrices of GRUs in PyTorch's files that are read when they are packed, each from a storage of its own.

Owns which these are: whatever is a view, shared, quantised or no matrix is read at once, as everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..opened import OpenedFile
from ..stored_matrix import PYTORCHS_NAMES, StoredMatrix
from .tensors import TensorRecord

__all__ = ["matrices_later"]

_ELEMENTS = {"float32": "<f4", "float64": "<f8", "float16": "<f2", "bfloat16": "<u2"}


Content = Callable[[OpenedFile], bytes]


def matrices_later(
    records: Mapping[str, Any], opened: OpenedFile, reader_of: Callable[[str, int], Content | None]
) -> dict[str, StoredMatrix]:
    """The matrices among the tensors of a file, by name; ``reader_of`` gives what reads a storage of that many bytes,
    or None where the file has none."""
    if not opened.for_model:
        return {}
    uses = Counter(record.storage.key for record in records.values() if isinstance(record, TensorRecord))
    found = {}
    for name, record in records.items():
        if PYTORCHS_NAMES.search(name) and _is_alone(record) and uses[record.storage.key] == 1:
            size = math.prod(record.shape) * np.dtype(_ELEMENTS[record.element]).itemsize
            content = reader_of(record.storage.key, size)
            if content is not None:
                read = partial(_read, record, content)
                found[name] = StoredMatrix(opened.path, opened.identity, record.element, record.shape, read)
    return found


def _is_alone(record: Any) -> bool:
    """Whether it is a matrix of floats that fills its storage."""
    if not isinstance(record, TensorRecord) or record.element not in _ELEMENTS or len(record.shape) != 2:
        return False
    storage = record.storage
    return (
        record.scale is None
        and record.channels is None
        and record.offset == 0
        and record.strides == (record.shape[1], 1)
        and storage.element == record.element
        and min(record.shape) > 0
        and storage.count == math.prod(record.shape)
    )


def _read(record: TensorRecord, content: Content, opened: OpenedFile) -> tuple[np.ndarray, None]:
    made = np.frombuffer(content(opened), _ELEMENTS[record.element]).reshape(record.shape)
    return made.astype(made.dtype.newbyteorder("="), copy=False), None
