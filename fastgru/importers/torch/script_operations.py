"""TorchScript's calls of operations on tensors: what is found out of the inputs by them, and of open sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import FastGRUError, UnsupportedModelError
from ...graph.builder import Builder, Value
from ...graph.size import Expression
from ..calls import Context
from .memory_calls import MAX_NESTED, MemoryCalls
from .script_calls import KINDS, called
from .script_code import Code
from .script_packed import called_packed, concerns
from .table import bare

__all__ = ["OpenSizeError", "Operations"]


class OpenSizeError(UnsupportedModelError):
    """A size that stays open decides how the code goes on, whatever its inputs are taken for."""


# How many axes the first operand of an operation has, by PyTorch's rules or nearly always.
_RANKS = {"gru": 3, "gru_cell": 2, "conv1d": 3, "conv2d": 4}


class Operations:
    """The operations of one attempt."""

    def __init__(self, code: Code, builder: Builder, squeezes: bool = False) -> None:
        self._code, self.builder = code, builder
        self.squeezes = squeezes  # whether an axis of an open size that is squeezed has one place
        self.undecided: set[str] = set()  # operations that depend on that
        self.context = Context(builder, KINDS)
        self.used: set[str] = set()  # names of tensors
        self._weights: dict[str, Value] = {}  # tensors of the file by their names
        self._calls = MemoryCalls(self.context, self._made)
        self.operands: list[Value] = []  # of the call that is being made, for who asks which inputs it depends on
        self.count = 0
        self.certain: dict[int, bool] = {}  # places of inputs whose kind is certain, and whether their rank is
        self.expected: int | None = None  # how many values what is called is taken apart into

    def weight(self, name: str) -> Value:
        """A tensor of the file."""
        self.used.add(name)
        if name not in self._weights:
            array = self._code.tensors[name]
            self._weights[name] = self._calls.memory.tensor(self.builder.constant(array), owner=name)
            self.context.names.setdefault(id(array), "" if name.startswith("CONSTANTS") else name)
        return self._weights[name]

    def current(self, value: Value) -> Value:
        """What a tensor of the code is by now."""
        return self._calls.memory.read(value)

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
        args, named = [self._sized(each) for each in args], {key: self._sized(each) for key, each in named.items()}
        now_args, now_named = self._calls.read(args), {key: self._calls.read(each) for key, each in named.items()}
        self.operands = list(_tensors([now_args, list(now_named.values())]))
        if concerns(own, now_args):
            return self._calls.owned(self._made(self.context, name, now_args, now_named, called_packed))
        if not name.endswith("_"):
            self._expect(own, now_args, now_named)
        if own == "chunk" and place.endswith(".GRUCell.forward)") and self.operands and self.operands[0].rank != 2:
            raise self.context.error(f"a GRUCell takes 2 axes, got {self.operands[0].rank}")
        made = self._calls.called(name, args, named)
        self._note_certain(own)
        return made

    def _made(
        self, c: Context, name: str, args: Sequence[Any], named: Mapping[str, Any],
        function: Callable[..., Any] = called,
    ) -> Any:  # fmt: skip
        try:
            return function(c, name, args, named)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # of what makes no sense
            if isinstance(error, FastGRUError):
                raise
            raise c.error(f"its operands do not fit: {str(error)[:200]}") from error

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

    def _sized(self, given: Any, depth: int = 0) -> Any:
        """An operand with what has been found out of sizes."""
        if type(given) in (list, tuple):
            if depth == MAX_NESTED:
                raise self.context.error(f"takes lists nested deeper than {MAX_NESTED}")
            return [self._sized(each, depth + 1) for each in given]
        return self.builder.settled(given) if isinstance(given, Expression) else given


def _tensors(given: Any) -> Any:
    if isinstance(given, Value):
        yield given
    elif isinstance(given, (list, tuple)):
        for each in given:
            yield from _tensors(each)
