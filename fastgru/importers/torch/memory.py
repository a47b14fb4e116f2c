"""Tensors that are written in place: which names of a program stand for the same numbers, and what these are by now.

A graph has no writes: what is written becomes a new value. A tensor of the program is a ``Value`` that is told from
others by its identity, and ``Memory`` knows what it stands for: numbers of its own, or a view of another tensor's,
through a chain of views. A read after a write takes the view anew; a write through a view goes back into its base.
Where PyTorch itself decides whether an operation gives a view or a copy (``reshape``), a write to one makes the other
uncertain, and what is uncertain is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...graph.builder import Value
from ...graph.size import Size
from ..calls import Context

__all__ = ["Memory", "Part", "View"]

MAX_VIEWS = 100  # of views of views
MAX_BESIDE = 64  # parts of one base that are told apart at each write
CLONE = "clone() it before the change"
FOLDED = (
    "changes a view of which several places may be one (as of expand, unfold and parts that overlap), or which may be "
    f"of such a view; {CLONE}"
)


class Part(NamedTuple):
    """The places of a view along one axis of its base, or more than these: ``start`` to ``end``, each ``step``-th."""

    axis: int
    start: Size
    end: Size
    step: int = 1

    def is_apart(self, other: Part) -> bool:
        """Whether two parts of one base certainly have no place in common."""
        if self.axis != other.axis:
            return False
        if any(isinstance(gap, int) and gap >= 0 for gap in (other.start - self.end, self.start - other.end)):
            return True
        between = self.start - other.start
        return self.step == other.step > 1 and isinstance(between, int) and between % self.step != 0


class View(NamedTuple):
    """How a view is made of its base."""

    take: Callable[[Value], Value] | None = None  # the view of the base's value; None: PyTorch may give a copy
    put: Callable[[Value, Value], Value] | None = None  # the base's value with another in the view's place
    places: object = None  # equal for the same places of a base; None for all of them in their order
    part: Part | None = None


class _Shared:
    """Numbers that PyTorch may keep in one place, or in several."""

    def __init__(self) -> None:
        self.version = 0
        self.writer: _Cell | None = None  # of the last version
        self.others = 0  # the last version that another than ``writer`` wrote

    def write(self, cell: _Cell) -> None:
        if self.writer is not None and self.writer is not cell:
            self.others = self.version
        self.version += 1
        self.writer = cell


class _Cell:
    """What a tensor stands for: numbers of its own, or a view of another cell's.

    ``origin`` is what it is a view of, or may be: a view that may be a copy has numbers of its own.
    """

    __slots__ = (
        "_first", "_root", "base", "beside", "depth", "folds", "joined", "origin", "owner", "shared", "value",
        "version", "view",
    )  # fmt: skip

    def __init__(self, value: Value, view: View | None = None, origin: _Cell | None = None, owner: str = "") -> None:
        self.value, self.view, self.origin, self.owner = value, view, origin, owner
        self.base = origin if view is not None and view.take is not None else None
        self._root = None if self.base is None else self.base.root  # None for itself: no cell holds itself
        self._first = None if origin is None else origin.first
        self.depth: int = 0 if origin is None else origin.depth + 1
        # Whether several of its places may be one place of the memory, as after expand().
        self.folds: bool = origin is not None and (origin.folds or (self.base is not None and view.put is None))  # type: ignore[union-attr]
        self.version: int = 0 if self.base is None else self.root.version
        self.beside: Sequence[_Cell] = ()  # views of the base that have no place in common with this one
        self.shared: _Shared | None = None
        self.joined = 0  # the version of ``shared`` at which this came to it

    @property
    def root(self) -> _Cell:
        """What has the numbers."""
        return self._root or self

    @property
    def first(self) -> _Cell:
        """The first of the origins."""
        return self._first or self

    def chain(self) -> list[View]:
        """The views from the first origin to this, without those of all places in their order."""
        views, cell = [], self
        while cell.origin is not None:
            if cell.view is not None and cell.view.places is not None:
                views.append(cell.view)
            cell = cell.origin
        return views[::-1]


class Memory:
    """The tensors of one program.

    Parameters
    ----------
    context : Context
        Whose errors are raised, and whose builder makes values.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._cells: dict[int, tuple[Value, _Cell]] = {}

    def clear(self) -> None:
        """Let go of all tensors, which hold each other."""
        self._cells.clear()

    def tensor(self, value: Value, owner: str = "") -> Value:
        """A tensor that has these numbers for its own; ``owner`` says whose they are if they may not be written."""
        return self._bound(value, _Cell(value, owner=owner))

    def view(self, base: Value, value: Value, view: View) -> Value:
        """A tensor that shares the numbers of another, or, without ``take``, may share them."""
        above = self._cell(base)
        cell = _Cell(value, view, above)
        if view.take is None:
            shared = above.root.shared = above.root.shared or _Shared()
            cell.shared, cell.joined = shared, shared.version
        return self._bound(value, cell)

    def set_apart(self, views: Sequence[Value]) -> None:
        """Note that views of one base have no place in common, so that a write to one leaves the others."""
        cells = [self._cell(view) for view in views[: MAX_BESIDE + 1]]
        if len(cells) <= MAX_BESIDE:
            for cell in cells:
                cell.beside = cells

    def move(self, tensor: Value, value: Value, view: View) -> None:
        """Let a tensor be a view of what it was, as where its axes change in place."""
        before = self._cell(tensor)
        self._check_owner(before)
        self._cells[id(tensor)] = tensor, _Cell(value, view, before)

    def read(self, tensor: Value) -> Value:
        """What a tensor is now.

        Raises
        ------
        UnsupportedModelError
            It may have been changed under another name.
        """
        cell = self._cell(tensor)
        root, shared = cell.root, cell.root.shared
        if shared is not None:
            last = shared.others if shared.writer is root else shared.version
            if last > root.joined:
                raise self._context.error(f"takes a value that may have been changed in place; {CLONE}")
        return self._current(cell)

    def write(self, tensor: Value, value: Value) -> None:
        """Change the numbers of a tensor, for all that share them."""
        self.read(tensor)
        cell = self._cell(tensor)
        root, before = cell.root, cell.root.version
        self._check_owner(cell)
        if cell.depth > MAX_VIEWS:
            raise self._context.error(f"changes a view of views, more than {MAX_VIEWS} deep; {CLONE}")
        if root.folds:
            raise self._context.error(FOLDED)
        changed = []
        while cell.base is not None and cell.view is not None:
            if cell.view.put is None:
                raise self._context.error(FOLDED)
            changed.append((cell, value))
            value, cell = cell.view.put(self._current(cell.base), value), cell.base
        root.value = value
        root.version += 1
        for cell, value in changed:
            cell.value = value
            for each in (cell, *cell.beside):
                each.version = root.version if each is cell or each.version == before else each.version
        if root.shared is not None:
            root.shared.write(root)

    def check_apart(self, target: Value, operand: Value, place_by_place: bool) -> None:
        """Raise if an operand has places in common with what is written, so that PyTorch's order of work decides.

        Parameters
        ----------
        place_by_place : bool
            Whether each place is computed of the same place of the operand alone: then it may be the target itself.
        """
        one, other = self._cell(target), self._cell(operand)
        if one.first is not other.first:
            return
        if max(one.depth, other.depth) > MAX_VIEWS:
            raise self._context.error(f"changes a view of views, more than {MAX_VIEWS} deep; {CLONE}")
        mine, theirs = one.chain(), other.chain()
        pairs = zip(mine, theirs, strict=False)
        apart = next((pair for pair in pairs if pair[0].places != pair[1].places), None)
        if apart is not None and apart[0].part is not None and apart[1].part is not None:
            if apart[0].part.is_apart(apart[1].part):
                return
        elif apart is None and len(mine) == len(theirs) and place_by_place:
            return
        raise self._context.error(
            "writes to places that it also reads, in an order that PyTorch does not promise; clone() what is read: "
            "y[:, 1:] = y[:, :-1].clone()"
        )

    def _cell(self, tensor: Value) -> _Cell:
        if id(tensor) not in self._cells:
            self._cells[id(tensor)] = tensor, _Cell(tensor)
        return self._cells[id(tensor)][1]

    def _bound(self, value: Value, cell: _Cell) -> Value:
        """The value as a tensor that stands for the cell: another object if it is a tensor already."""
        tensor = self._context.builder.copy(value) if id(value) in self._cells else value
        self._cells[id(tensor)] = tensor, cell
        return tensor

    def _check_owner(self, cell: _Cell) -> None:
        if cell.root.owner:
            raise self._context.error(
                f"the model changes its own {cell.root.owner[:80]!r}; call model.eval() before it is saved, or give "
                "what changes as an input and an output"
            )

    def _current(self, cell: _Cell) -> Value:
        if cell.base is not None and cell.view is not None and cell.version != cell.root.version:
            if cell.depth > MAX_VIEWS:
                raise self._context.error(
                    f"takes a view of views, more than {MAX_VIEWS} deep, of what was changed; {CLONE}"
                )
            assert cell.view.take is not None
            cell.value, cell.version = cell.view.take(self._current(cell.base)), cell.root.version
        return cell.value
