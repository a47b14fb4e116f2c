"""TorchScript's calls of operations on tensors: with what its names stand for, and what works in place put in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...graph.builder import Builder, Value
from ...graph.graph import BOOLEAN, FLOAT, INTEGER
from ...graph.operations.elementwise import Cast
from ...graph.size import Expression
from ..calls import Context
from .script_aliases import Aliases
from .script_calls import KINDS, called
from .script_code import Code
from .script_views import MAYBE_VIEWS, MOVES, VIEWS, put_of
from .table import TABLE, bare

__all__ = ["Operations"]

_IN_PLACE = ("copy_", "fill_", "zero_")


class Operations:
    """The operations of one attempt."""

    def __init__(self, code: Code, builder: Builder) -> None:
        self._code, self.builder = code, builder
        self.context = Context(builder, KINDS)
        self.used: set[str] = set()  # names of tensors
        self._weights: dict[int, str] = {}
        self.aliases = Aliases(self.context, self._weights)
        self.operands: list[Value] = []  # of the call that is being made, for who asks which inputs it depends on
        self.count = 0

    def weight(self, name: str) -> Value:
        """A tensor of the file."""
        array = self._code.tensors[name]
        value = self.builder.constant(array)
        self.used.add(name)
        self._weights[id(value)] = name
        self.context.names.setdefault(id(array), "" if name.startswith("CONSTANTS") else name)
        return value

    def current(self, value: Value) -> Value:
        """What a tensor of the code is by now."""
        return self.aliases.current(value)

    def settled(self, given: Any) -> Any:
        """A value with what has been found out of sizes, tensors as they are by now."""
        if isinstance(given, Expression):
            return self.builder.settled(given)
        if type(given) is tuple or (type(given) is list and any(isinstance(each, Expression) for each in given)):
            return type(given)(self.settled(each) for each in given)
        return self.current(given) if isinstance(given, Value) else given

    def call(self, name: str, args: Sequence[Any], named: Mapping[str, Any], place: str) -> Any:
        """What ``torch.name(*args, **named)`` gives."""
        self.context.name, self.context.place = name, place
        self.count += 1
        own = bare(name)
        now_args = [self._now(each) for each in args]
        now_named = {key: self._now(each) for key, each in named.items()}
        self.operands = list(_tensors([now_args, list(now_named.values())]))
        target = next(iter((*args, *named.values())), None)
        if name.endswith("_") and not name.endswith("__") and (own != name or name in _IN_PLACE):
            if isinstance(target, Value):
                return self._in_place(name, own, target, now_args, now_named)
        made = called(self.context, name, now_args, now_named)
        return self._linked(own, target, made, now_args, now_named)

    def _now(self, given: Any) -> Any:
        if isinstance(given, (list, tuple)) and type(given) in (list, tuple):
            return [self._now(each) for each in given]
        return self.settled(given)

    def _linked(self, own: str, base: Any, made: Any, args: list[Any], named: Mapping[str, Any]) -> Any:
        """What an operation gives, with a note of what it shares with its operand."""
        if not isinstance(base, Value) or own not in VIEWS | MAYBE_VIEWS:
            return self.aliases.fresh(made, self.operands)
        sure, rest = own in VIEWS, args[1:]
        place = self.context.place

        def again(value: Value) -> Any:
            self.context.place = place
            return called(self.context, own, [value, *rest], named)

        if isinstance(made, Value):
            put = put_of(self.context, own, rest) if sure and not named else None
            return self.aliases.link(made, base, again if sure else None, put)
        if type(made) not in (list, tuple):
            return made
        parts = []
        for at, each in enumerate(made):
            if not isinstance(each, Value):
                parts.append(each)
                continue
            put = put_of(self.context, own, rest, at) if sure and not named else None
            redo = (lambda value, at=at: again(value)[at]) if sure else None
            parts.append(self.aliases.link(each, base, redo, put))
        return type(made)(parts)

    def _in_place(self, name: str, own: str, target: Value, args: list[Any], named: Mapping[str, Any]) -> Any:
        before = self.current(target)
        if own in MOVES:
            return self.aliases.move(target, called(self.context, own, args, named))
        if own in VIEWS or own not in TABLE:
            made = called(self.context, name, args, named)  # such as requires_grad_(), which changes no numbers
            return target if made is before else made
        made = called(self.context, name, args, named)
        if not isinstance(made, Value) or made.shape != before.shape:
            raise self.context.error("changes the shape of what it writes to")
        if made.dtype != before.dtype:
            if before.dtype != FLOAT and not (before.dtype == INTEGER and made.dtype == BOOLEAN):
                raise self.context.error(f"writes {made.dtype}s into a tensor of {before.dtype}s")
            made = self.context.add(Cast(before.dtype), made)
        self.aliases.write(target, self.aliases.fresh(made, self.operands))
        return target


def _tensors(given: Any) -> Any:
    if isinstance(given, Value):
        yield given
    elif isinstance(given, (list, tuple)):
        for each in given:
            yield from _tensors(each)


