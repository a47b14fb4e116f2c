"""Tensors that are written in place: which names stand for the same numbers, so that all of them see a change.

A graph has no such names: what is written becomes a new value. A ``Cell`` is what a name of the program stands for: it
has numbers of its own, or it is a view of another's. Where PyTorch itself decides whether an operation gives a view or
a copy (``reshape``), a change makes the other uncertain, and what is uncertain is never read.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import UnsupportedModelError
from ...graph.builder import Value

__all__ = ["Cell", "Uncertain"]

MAX_VIEWS = 100  # of views of views, made anew after a change


class Uncertain(UnsupportedModelError):
    """Whether numbers have changed is not known."""


class _Group:
    """Tensors of which PyTorch may keep the numbers in one place, or not."""

    def __init__(self) -> None:
        self.version = 0
        self.writer: Cell | None = None  # of the last version
        self.others = 0  # the last version that another than ``writer`` wrote

    def write(self, cell: Cell) -> None:
        if self.writer is not None and self.writer is not cell:
            self.others = self.version
        self.version += 1
        self.writer = cell


class Cell:
    """The numbers that a name stands for.

    Parameters
    ----------
    value : Value
        What they are now.
    base : Cell, optional
        What they are a view of; then ``take`` gives the view of the base's value, and ``put`` the base's value with
        another in the place of the view.
    owner : str
        What may not be written, such as a weight; empty where all may.
    """

    __slots__ = ("_depth", "_group", "_joined", "_put", "_take", "_value", "_version", "base", "owner")

    def __init__(
        self, value: Value, base: Cell | None = None, take: Callable[[Value], Value] | None = None,
        put: Callable[[Value, Value], Value] | None = None, owner: str = "",
    ) -> None:  # fmt: skip
        self._value, self.base, self._take, self._put, self.owner = value, base, take, put, owner
        self._version: int = 0 if base is None else base.root._version
        self._depth: int = 0 if base is None else base._depth + 1
        self._group: _Group | None = None
        self._joined = 0

    @property
    def root(self) -> Cell:
        """The cell that has the numbers."""
        cell = self
        while cell.base is not None:
            cell = cell.base
        return cell

    def may_share(self, other: Cell) -> None:
        """Note that these numbers, which are new, may be those of another cell."""
        root = other.root
        if root._group is None:
            root._group = _Group()
        self._group, self._joined = root._group, root._group.version

    def read(self) -> Value:
        """What the numbers are now.

        Raises
        ------
        Uncertain
            They may have been changed under another name.
        """
        root = self.root
        group = root._group
        if group is not None:
            last = group.others if group.writer is root else group.version
            if last > root._joined:
                raise Uncertain("it takes a value that may have been changed in place; clone() it before the change")
        return self._current(root)

    def _current(self, root: Cell) -> Value:
        if self.base is not None and self._version != root._version:
            if self._depth > MAX_VIEWS:
                raise Uncertain(f"it takes a view of views, {self._depth} deep, of what was changed in place")
            assert self._take is not None
            self._value = self._take(self.base._current(root))
            self._version = root._version
        return self._value

    def write(self, value: Value) -> None:
        """Change the numbers, for all names that stand for them."""
        root, cell = self.root, self
        if root.owner:
            raise UnsupportedModelError(f"the model changes {root.owner}")
        self.read()
        if self._depth > MAX_VIEWS:
            raise Uncertain(f"it changes a view of views, {self._depth} deep")
        while cell.base is not None:
            if cell._put is None:
                raise UnsupportedModelError("it changes a view whose places are not told apart in the file")
            value = cell._put(cell.base._current(root), value)
            cell = cell.base
        root._value = value
        root._version += 1
        if root._group is not None:
            root._group.write(root)
