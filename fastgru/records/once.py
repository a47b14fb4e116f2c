"""A property that is computed at the first look, without a lock.

``functools.cached_property`` has one before Python 3.12, for all objects of a class together: threads that open files
wait for each other, and a process that is forked while one of them holds it waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["once"]

_Value = TypeVar("_Value")


class once(Generic[_Value]):
    """``cached_property`` for what several threads may compute at the same time: all get one of their values.

    Examples
    --------
    >>> class Circle:
    ...     @once
    ...     def area(self):
    ...         print("computed")
    ...         return 3.14
    >>> circle = Circle()
    >>> circle.area, circle.area
    computed
    (3.14, 3.14)
    """

    def __init__(self, compute: Callable[[Any], _Value]) -> None:
        self._compute, self.__doc__ = compute, compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, of: None, owner: type) -> once[_Value]: ...

    @overload
    def __get__(self, of: object, owner: type) -> _Value: ...

    def __get__(self, of: object | None, owner: type) -> once[_Value] | _Value:
        if of is None:
            return self
        made: _Value = of.__dict__.setdefault(self._name, self._compute(of))
        return made
