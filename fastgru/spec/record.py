"""The base of every description: an immutable record of named fields, some of them arrays.

It does what a frozen dataclass does, without the 0.5 ms that making a dataclass adds to the import of each class, and
compares arrays by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        return lambda cls: cls


__all__ = ["Record", "owned"]

_Self = TypeVar("_Self", bound="Record")


@dataclass_transform(frozen_default=True, eq_default=False)
class Record:
    """Fields are the class's annotations in their order; a class attribute of the same name is the default."""

    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        own = tuple(name for name in getattr(cls, "__annotations__", ()) if not name.startswith("_"))
        cls._fields = cls._fields + tuple(name for name in own if name not in cls._fields)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        if len(args) > len(cls._fields):
            raise TypeError(f"{cls.__name__} takes at most {len(cls._fields)} arguments, got {len(args)}")
        values = dict(zip(cls._fields, args, strict=False))
        for name, value in kwargs.items():
            if name not in cls._fields or name in values:
                wrong = "an unexpected argument" if name not in cls._fields else "two values for"
                raise TypeError(f"{cls.__name__} got {wrong} {name!r}; its fields are {', '.join(cls._fields)}")
            values[name] = value
        for name in cls._fields:
            if name not in values and not hasattr(cls, name):
                raise TypeError(f"{cls.__name__} needs {name!r}; its fields are {', '.join(cls._fields)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: descriptions are immutable, use replace()")

    __delattr__ = __setattr__  # type: ignore[assignment]

    def fields(self) -> dict[str, Any]:
        """Every field by name, in order."""
        return {name: getattr(self, name) for name in self._fields}

    def replace(self: _Self, **changes: Any) -> _Self:
        """The same record but for these fields."""
        return type(self)(**{**self.fields(), **changes})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Record) and _equal(self.fields(), other.fields())

    def __hash__(self) -> int:
        return hash((type(self), *(value for value in self.fields().values() if isinstance(value, (str, int, float)))))

    def __repr__(self) -> str:
        named = (f"{name}={_shown(value)}" for name, value in self.fields().items())
        return f"{type(self).__name__}({', '.join(named)})"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        same = isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.dtype == other.dtype
        return same and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"<{value.dtype} {value.shape}>" if isinstance(value, np.ndarray) else repr(value)


def owned(spec: Any, made: dict[int, Any] | None = None) -> Any:
    """The same description with arrays that nobody else can change: read-only ones as they are, copies of others.

    What stands in several places is one object afterwards too; ``made`` are the copies so far, by
    the id of the original.
    """
    made = {} if made is None else made
    if id(spec) in made:
        return made[id(spec)]
    if isinstance(spec, np.ndarray):
        if not spec.flags.writeable:
            return spec
        copy: Any = np.array(spec, order="C", subok=False)
        copy.flags.writeable = False
    elif isinstance(spec, tuple):
        copy = tuple(owned(part, made) for part in spec)
    elif isinstance(spec, Record):
        copy = spec.replace(**{name: owned(value, made) for name, value in spec.fields().items()})
    else:
        return spec
    made[id(spec)] = copy
    return copy
