"""Tensors that share their numbers, so that what one operation writes in place is seen by all that should see it.

A graph has no writes: a value that is written to is replaced by what the operation makes. Here stands which tensor of
the code is which value by now. A view knows how it is made of its base, and how the base is made of a changed view.
What may be a view or a copy, as ``reshape`` gives, is refused once one of the two was written to and the other is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...graph.builder import Value
from ..calls import Context

__all__ = ["Aliases"]

Made = Callable[[Value], Value]
Put = Callable[[Value, Value], Value]

MAX_DEPTH = 100  # of views of views
CHANGED = "takes a value that was changed in place before; write that operation without it"


class _Link:
    """A view: of which base, how it is made of it, how a change of it goes into the base, and what it is now."""

    __slots__ = ("base", "beside", "depth", "now", "put", "redo", "root", "value", "version")

    def __init__(
        self, value: Value, base: Value, redo: Made | None, put: Put | None, above: _Link | None, version: int
    ) -> None:
        self.value, self.base, self.redo, self.put = value, base, redo, put
        self.now, self.version = value, version
        self.beside: Sequence[_Link] = ()  # other parts of the base, which have no number in common with this
        self.root: Value = base if above is None else above.root
        self.depth: int = 0 if above is None else above.depth + 1
        if self.depth > MAX_DEPTH:
            self.redo = self.put = None


class Aliases:
    def __init__(self, context: Context, weights: dict[int, str]) -> None:
        self._context = context
        self._weights = weights  # names, by the identity of their values
        self._links: dict[int, _Link] = {}
        self._written: dict[int, tuple[Value, Value, int]] = {}  # the tensor, what it is now, how often it was written
        self._moved: dict[int, Value] = {}

    def current(self, tensor: Value) -> Value:
        """What a tensor of the code is now."""
        if self._moved.get(id(tensor)) is tensor:
            raise self._context.error(CHANGED)
        link = self._links.get(id(tensor))
        if link is None:
            return self._written[id(tensor)][1] if id(tensor) in self._written else tensor
        version = self._version(tensor)
        if version != link.version:
            if link.redo is None:
                raise self._context.error(CHANGED)
            link.now, link.version = link.redo(self.current(link.base)), version
        return link.now

    def link(self, made: Value, base: Value, redo: Made | None, put: Put | None) -> Value:
        """Note that ``made`` shares its numbers with ``base``; without ``redo`` that is not certain."""
        fresh = self._context.builder.copy(made)
        above = self._links.get(id(base))
        self._links[id(fresh)] = _Link(fresh, base, redo, put, above, self._version(base))
        return fresh

    def apart(self, parts: Sequence[Value]) -> None:
        """Note that views have no numbers in common, so that a change of one leaves the others."""
        links = [self._links[id(part)] for part in parts]
        for link in links:
            link.beside = links

    def write(self, tensor: Value, made: Value) -> None:
        """Note that an operation in place made this of a tensor."""
        link = self._links.get(id(tensor))
        if link is None:
            if id(tensor) in self._weights:
                name = self._weights[id(tensor)]
                raise self._context.error(
                    f"the model changes its own {name[:80]!r}; call model.eval() before it is saved"
                )
            count = self._written[id(tensor)][2] if id(tensor) in self._written else 0
            self._written[id(tensor)] = tensor, made, count + 1
            return
        if link.put is None:
            raise self._context.error(CHANGED.replace("was changed in place before", "shares its numbers with another"))
        before = self._version(tensor)
        beside = [each for each in link.beside if each is not link and each.version == before]
        self.write(link.base, link.put(self.current(link.base), made))
        link.now, link.version = made, self._version(tensor)
        for each in beside:
            each.version = link.version

    def move(self, tensor: Value, made: Value) -> Value:
        """Note that an operation changes the axes of a tensor in place, after which the tensor is not used again."""
        self._moved[id(tensor)] = tensor
        return self.link(made, tensor, None, None)

    def _version(self, tensor: Value) -> int:
        """How often what a tensor is a view of was written."""
        link = self._links.get(id(tensor))
        root = tensor if link is None else link.root
        return self._written[id(root)][2] if id(root) in self._written else 0

    def fresh(self, made: Any, operands: Sequence[Value]) -> Any:
        """What an operation gives, where it gave back an operand as a tensor of its own."""
        if isinstance(made, Value):
            return self._context.builder.copy(made) if any(made is each for each in operands) else made
        if type(made) in (list, tuple):
            return type(made)(self.fresh(each, operands) for each in made)
        return made
