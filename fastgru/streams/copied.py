"""Copies of a stream, which go on from the same states by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Copied"]


class Copied:
    """The base of streams, whose ``__getstate__`` has the states, and whose ``__setstate__`` begins from them."""

    def copy(self) -> Self:
        """A stream of its own that goes on from the same states."""
        other = object.__new__(type(self))
        other.__setstate__(self.__getstate__())
        return other

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        raise NotImplementedError

    def __setstate__(self, saved: dict[str, Any]) -> None:
        raise NotImplementedError
