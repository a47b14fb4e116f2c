"""Arrays that nobody can write to any more: which they are, and how one becomes such.

A read-only array proves nothing: it may be a view of memory that its owner still writes to, and views that were made
before it was closed still write. So what may be kept without a copy is what was read from a file or copied here.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np

__all__ = ["is_sealed", "sealed"]

# By the id of an array, which may be that of another after its end. Nothing is called then: what a signal handler
# raised in a callback of a weak reference would be lost. The ends are found when there are many more than at last.
_sealed: dict[int, ref[np.ndarray[Any, Any]]] = {}
_most = 1000  # entries before the next search for ends


def sealed(array: np.ndarray) -> np.ndarray:
    """``array``, read-only from now on; for memory that was made for it and that nobody else has."""
    part: Any = array
    while isinstance(part, np.ndarray):
        part.flags.writeable = False
        _sealed[id(part)] = ref(part)
        part = part.base
    if len(_sealed) > _most:
        _forget_ended()
    return array


def _forget_ended() -> None:
    global _most
    for key, known in list(_sealed.items()):
        if known() is None and _sealed.get(key) is known:
            _sealed.pop(key, None)
    _most = max(1000, 2 * len(_sealed))


def is_sealed(array: np.ndarray) -> bool:
    """Whether the array is sealed, or a view of one that is, or of bytes."""
    part: Any = array
    while isinstance(part, np.ndarray) and not part.flags.writeable:
        known = _sealed.get(id(part))
        if known is not None and known() is part:
            return True
        part = part.base
    return isinstance(part, bytes)
