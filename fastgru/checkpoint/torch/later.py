"""The tensors of PyTorch's files: arrays, but for matrices of layers, each of which is read when a model packs it.

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
from ..stored_matrix import PYTORCHS_NAMES, StoredMatrix, is_for_later
from .tensors import TensorMaker, TensorRecord

__all__ = ["tensors_in"]

_ELEMENTS = {"float32": "<f4", "float64": "<f8", "float16": "<f2", "bfloat16": "<u2"}


Content = Callable[[OpenedFile], bytes]


def tensors_in(
    maker: TensorMaker,
    opened: OpenedFile,
    records: Mapping[str, TensorRecord],
    reader_of: Callable[[str, int], Content | None],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors by name, in their order, and the types in the file of those that are widened, by name.

    ``reader_of`` gives what reads a storage of that many bytes later, or None where it must be read at once.
    """
    uses = Counter(record.storage.key for record in records.values())
    tensors: dict[str, Any] = {}
    stored: dict[str, str] = {}
    for name, record in records.items():
        content = None
        named = opened.for_model and PYTORCHS_NAMES.search(name)
        if named and uses[record.storage.key] == 1 and _is_alone(record):
            content = reader_of(record.storage.key, _size(record))
        if content is None:
            tensors[name] = maker.make(name, record)
            continue
        read = partial(_read, record, content)
        tensors[name] = StoredMatrix(opened.path, opened.identity, record.element, record.shape, read)
        if "16" in record.element:
            stored[name] = record.element
    return tensors, {**maker.stored, **stored}


def _is_alone(record: TensorRecord) -> bool:
    """Whether it is of floats, with several axes, and fills its storage."""
    if record.element not in _ELEMENTS or not is_for_later(record.shape):
        return False
    storage = record.storage
    return (
        record.scale is None
        and record.channels is None
        and record.offset == 0
        and record.strides == tuple(math.prod(record.shape[axis:]) for axis in range(1, len(record.shape) + 1))
        and (storage.element, storage.count)
        in ((record.element, math.prod(record.shape)), ("untyped", _size(record)))
    )


def _size(record: TensorRecord) -> int:
    return math.prod(record.shape) * np.dtype(_ELEMENTS[record.element]).itemsize


def _read(record: TensorRecord, content: Content, opened: OpenedFile) -> tuple[np.ndarray, None]:
    made = np.frombuffer(content(opened), _ELEMENTS[record.element]).reshape(record.shape)
    return made.astype(made.dtype.newbyteorder("="), copy=False), None
