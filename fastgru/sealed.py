"""Arrays that nobody can write to any more: which they are, and how one becomes such.

A read-only array proves nothing: it may be a view of memory that its owner still writes to, and views that were made
before it was closed still write. So what may be kept without a copy is what was read from a file or copied here.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import ref

import numpy as np

__all__ = ["is_sealed", "sealed"]

_sealed: dict[int, ref[np.ndarray[Any, Any]]] = {}  # by the id of an array, for as long as it lives


def sealed(array: np.ndarray) -> np.ndarray:
    """``array``, read-only from now on; for memory that was made for it and that nobody else has."""
    part: Any = array
    while isinstance(part, np.ndarray):
        part.flags.writeable = False
        _sealed[id(part)] = ref(part, partial(_forget, _sealed, id(part)))
        part = part.base
    return array


def _forget(known: dict[int, Any], key: int, _: object) -> None:
    known.pop(key, None)


def is_sealed(array: np.ndarray) -> bool:
    """Whether the array is sealed, or a view of one that is, or of bytes."""
    part: Any = array
    while isinstance(part, np.ndarray) and not part.flags.writeable:
        known = _sealed.get(id(part))
        if known is not None and known() is part:
            return True
        part = part.base
    return isinstance(part, bytes)
