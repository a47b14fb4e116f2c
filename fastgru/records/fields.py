"""The base of small immutable classes of named fields.

It does what a frozen dataclass that compares by identity does, without the 0.3 ms that making a dataclass adds to the
import of each class, and the 1 ms of ``dataclasses`` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        return lambda cls: cls


__all__ = ["Fields"]

_Self = TypeVar("_Self", bound="Fields")


@dataclass_transform(frozen_default=True, eq_default=False)
class Fields:
    """Fields are the class's annotations in their order; a class attribute of the same name is the default."""

    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        annotations = getattr(cls, "__annotations__", {}).items()
        own = tuple(name for name, kind in annotations if name[0] != "_" and not str(kind).startswith("ClassVar"))
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
        if len(values) < len(cls._fields):
            for name in cls._fields:
                if name not in values and not hasattr(cls, name):
                    raise TypeError(f"{cls.__name__} needs {name!r}; its fields are {', '.join(cls._fields)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: it is immutable, use replace()")

    __delattr__ = __setattr__  # type: ignore[assignment]

    def fields(self) -> dict[str, Any]:
        """Every field by name, in order."""
        return {name: getattr(self, name) for name in self._fields}

    def replace(self: _Self, **changes: Any) -> _Self:
        """The same but for these fields."""
        return type(self)(**{**self.fields(), **changes})
