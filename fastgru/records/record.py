"""The base of every description: an immutable record of named fields, some of them arrays, compared by its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .fields import Fields
from .sealed import is_sealed, sealed

__all__ = ["Record", "arrays_in", "equal", "owned"]


class Record(Fields):
    """Two records are equal where they are of one class and all their fields are equal."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Record) and equal(self.fields(), other.fields())

    def __hash__(self) -> int:
        return hash((type(self), *(value for value in self.fields().values() if isinstance(value, (str, int, float)))))

    def owned(self, made: dict[Any, Any]) -> Any:
        """The same with arrays that nobody else can change; see the function ``owned``."""
        return self.replace(**{name: owned(value, made) for name, value in self.fields().items()})

    def __repr__(self) -> str:
        named = (f"{name}={_shown(value)}" for name, value in self.fields().items())
        return f"{type(self).__name__}({', '.join(named)})"


def equal(one: Any, other: Any) -> bool:
    """Whether two fields are equal: arrays by their numbers, and what can be an array as one."""
    one, other = (each.array() if hasattr(each, "array") else each for each in (one, other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        same = isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.dtype == other.dtype
        return same and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    return bool(one == other)


def arrays_in(value: Any) -> list[np.ndarray]:
    """The arrays in records, tuples, lists and dicts, and those that a matrix or packed weights keep in memory."""
    found: list[np.ndarray] = []
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, np.ndarray):
            found.append(each)
        elif isinstance(each, Record):
            left += each.fields().values()
        elif isinstance(each, (tuple, list)):
            left += each
        elif isinstance(each, dict):
            left += each.values()
        elif hasattr(each, "held"):
            found += each.held()
        elif hasattr(each, "arrays"):
            found += each.arrays
    return found


def _shown(value: Any) -> str:
    return f"<{value.dtype} {value.shape}>" if hasattr(value, "dtype") and hasattr(value, "shape") else repr(value)


def owned(spec: Any, made: dict[Any, Any] | None = None) -> Any:
    """The same description with arrays that nobody else can change: sealed ones as they are, copies of others.

    What stands in several places is one object afterwards too; ``made`` are the copies so far, by
    the id of the original.
    """
    made = {} if made is None else made
    if id(spec) in made:
        return made[id(spec)]
    if isinstance(spec, np.ndarray):
        if is_sealed(spec):
            return spec
        copy: Any = sealed(np.array(spec, order="C", subok=False))
    elif isinstance(spec, tuple):
        copy = tuple(owned(part, made) for part in spec)
    elif isinstance(spec, Record):
        copy = spec.owned(made)
    else:
        return spec
    made[id(spec)] = copy
    return copy
