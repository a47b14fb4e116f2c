"""TorchScript's calls of operations on tensors: with what its names stand for, and what works in place put in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import FastGRUError, UnsupportedModelError
from ...graph.builder import Builder, Value
from ...graph.graph import BOOLEAN, FLOAT, INTEGER
from ...graph.operations.elementwise import Cast
from ...graph.size import Expression
from ..calls import Context
from .script_aliases import Aliases
from .script_calls import KINDS, called
from .script_code import Code
from .script_packed import called_packed, concerns
from .script_views import MAYBE_VIEWS, MOVES, PARTS, VIEWS, put_of, put_of_part
from .table import TABLE, bare

__all__ = ["OpenSizeError", "Operations"]


class OpenSizeError(UnsupportedModelError):
    """A size that stays open decides how the code goes on, whatever its inputs are taken for."""


# How many axes the first operand of an operation has, by PyTorch's rules or nearly always.
_RANKS = {"gru": 3, "gru_cell": 2, "conv1d": 3, "conv2d": 4}
MAX_NESTED = 4  # of lists within each other
_IN_PLACE = ("copy_", "fill_", "zero_")


class Operations:
    """The operations of one attempt."""

    def __init__(self, code: Code, builder: Builder, squeezes: bool = False) -> None:
        self._code, self.builder = code, builder
        self.squeezes = squeezes  # whether an axis of an open size that is squeezed has one place
        self.undecided: set[str] = set()  # operations that depend on that
        self.context = Context(builder, KINDS)
        self.used: set[str] = set()  # names of tensors
        self._weights: dict[int, str] = {}
        self.aliases = Aliases(self.context, self._weights)
        self.operands: list[Value] = []  # of the call that is being made, for who asks which inputs it depends on
        self.count = 0
        self.certain: dict[int, bool] = {}  # places of inputs whose kind is certain, and whether their rank is
        self.expected: int | None = None  # how many values what is called is taken apart into

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
        if type(given) is list and any(isinstance(each, Expression) for each in given):
            return [self.builder.settled(each) if isinstance(each, Expression) else each for each in given]
        return self.current(given) if isinstance(given, Value) else given

    def call(self, name: str, args: Sequence[Any], named: Mapping[str, Any], place: str) -> Any:
        """What ``torch.name(*args, **named)`` gives."""
        self.context.name, self.context.place = name, place
        self.count += 1
        own = bare(name)
        now_args = [self._now(each) for each in args]
        now_named = {key: self._now(each) for key, each in named.items()}
        self.operands = list(_tensors([now_args, list(now_named.values())]))
        if concerns(own, now_args):
            return self._made(name, now_args, named, called_packed)
        target = next(iter((*args, *named.values())), None)
        writes = name.endswith("_") and not name.endswith("__") and (own != name or name in _IN_PLACE)
        if writes and isinstance(target, Value):
            return self._in_place(name, own, target, now_args, now_named)
        self._expect(own, now_args, now_named)
        if own == "chunk" and place.endswith(".GRUCell.forward)") and self.operands and self.operands[0].rank != 2:
            raise self.context.error(f"a GRUCell takes 2 axes, got {self.operands[0].rank}")
        made = self._made(name, now_args, now_named)
        self._note_certain(own)
        return self._linked(own, target, made, now_args, now_named)

    def _made(
        self, name: str, args: Sequence[Any], named: Mapping[str, Any], function: Callable[..., Any] = called
    ) -> Any:
        try:
            return function(self.context, name, args, named)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # of what makes no sense
            if isinstance(error, FastGRUError):
                raise
            raise self.context.error(f"its operands do not fit: {str(error)[:200]}") from error

    def _expect(self, own: str, args: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Let an axis have as many places as it is taken apart into, or squeezed to, where that is in the code."""
        if own == "squeeze" and len(args) == 2 and isinstance(args[0], Value) and not named:
            axes = args[1] if isinstance(args[1], list) else [args[1]]
            for axis in (axis for axis in axes if type(axis) is int and -args[0].rank <= axis < args[0].rank):
                if isinstance(args[0].shape[axis], Expression):
                    self.undecided.add(own)
                    if self.squeezes:
                        self.builder.same(args[0].shape[axis], 1, f"{own}{self.context.place} leaves out an axis")
        if own == "unbind" and self.expected is None and args and isinstance(args[0], Value) and not named:
            dim = args[1] if len(args) > 1 else 0
            if type(dim) is int and -args[0].rank <= dim < args[0].rank and isinstance(args[0].shape[dim], Expression):
                raise OpenSizeError(str(self.context.error(f"takes an axis of {args[0].shape[dim]} places apart")))
        parts = {"unbind": (1, 1), "split": (args[1] if len(args) > 1 else None, 2)}.get(own)
        if self.expected is None or parts is None or named or not args or not isinstance(args[0], Value):
            return
        each, place = parts
        dim = args[place] if len(args) > place else 0
        if type(each) is int and type(dim) is int and -args[0].rank <= dim < args[0].rank:
            size = args[0].shape[dim]
            if isinstance(size, Expression):
                self.builder.same(size, each * self.expected, f"{own}{self.context.place} gives {self.expected} parts")

    def _note_certain(self, own: str) -> None:
        """Note the inputs of the model whose rank or kind the operation leaves no doubt of."""
        if own == "embedding" and len(self.operands) > 1:
            for place in self._inputs_of_rank(self.operands[1]):
                self.certain.setdefault(place, False)
        rank = _RANKS.get(own)
        if rank is not None and self.operands and rank == self.operands[0].rank:
            self.certain.update(dict.fromkeys(self._inputs_of_rank(self.operands[0]), True))

    def _inputs_of_rank(self, value: Value) -> set[int]:
        """The places of the input that a value is made of by operations that keep the number of axes, if there is one.

        A value that some node makes is followed to its first operand.
        """
        place, rank = value.place, value.rank
        for node in reversed(self.builder.nodes):
            if place in node.outputs:
                place = node.inputs[0] if node.inputs else place
                if self.builder.rank(place) != rank:
                    return set()
        return {place}

    def _now(self, given: Any, depth: int = 0) -> Any:
        if type(given) in (list, tuple):
            if depth == MAX_NESTED:
                raise self.context.error(f"takes lists nested deeper than {MAX_NESTED}")
            return [self._now(each, depth + 1) for each in given]
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
            put = put_of_part(self.context, own, rest, made, at) if sure and not named else None
            redo = (lambda value, at=at: again(value)[at]) if sure else None
            parts.append(self.aliases.link(each, base, redo, put))
        if own in PARTS:
            self.aliases.apart(parts)
        return type(made)(parts)

    def _in_place(self, name: str, own: str, target: Value, args: list[Any], named: Mapping[str, Any]) -> Any:
        before = self.current(target)
        if own in MOVES:
            return self.aliases.move(target, self._made(own, args, named))
        if own in VIEWS or own not in TABLE:
            made = self._made(name, args, named)  # such as requires_grad_(), which changes no numbers
            return target if made is before else made
        made = self._made(name, args, named)
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
