"""What operations write their instructions with, and where the buffers of a stretch of instructions lie.

A writer serves one stretch, for the sizes of one call. It collects instructions and buffers; ``program`` lays the
buffers out by the first and the last instruction that uses them, and hands all to the engine, which checks every one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.program import Program, has_loop
from ..engine.strided import ITEMSIZES, Strided
from .layout import Layout
from .operations.operation import Setup
from .size import Size, evaluate

__all__ = ["Schedule", "Writer"]

BOUNDARY = 64  # bytes, on which buffers begin

Lengths = Mapping[str, NDArray[np.intp]]
Schedule = Callable[[Lengths], Sequence[NDArray[np.intp]]]


class LookedUp(NamedTuple):
    """Rows of a table, by integers."""

    instruction: Instruction
    table: NDArray[Any]
    numbers: Strided


class Writer:
    """Instructions for one stretch of nodes.

    Attributes
    ----------
    setup : Setup
    sizes : mapping of str to int
        What the symbols are in this call.
    name : str
        Of the node whose instructions are being written.
    alone : callable
        Whether nothing but the node reads its first input.
    needs : list of bool
        Which of the node's outputs anything reads; of the others none has to be made.
    layouts : list of Layout, optional
        Of the node's inputs, where rows have lengths of their own.
    """

    def __init__(self, setup: Setup, sizes: Mapping[str, int]) -> None:
        self.setup, self.sizes = setup, sizes
        self.name = ""
        self.alone: Callable[[], bool] = lambda: False
        self.needs: Sequence[bool] = ()
        self.layouts: Sequence[Layout] | None = None
        self.schedules: list[tuple[str, Schedule]] = []  # by node: what makes three more inputs of a call's lengths
        self._buffers: list[tuple[str, str, Any]] = []  # (where, kind, count, array or shape), as Program takes them
        self._instructions: list[Instruction] = []

    def __len__(self) -> int:
        return len(self._instructions)

    def mark(self) -> tuple[int, int, int]:
        """Where the writer is, for ``back``."""
        return len(self._instructions), len(self._buffers), len(self.schedules)

    def back(self, mark: tuple[int, int, int]) -> None:
        """Forget all that was written since."""
        del self._instructions[mark[0] :], self._buffers[mark[1] :], self.schedules[mark[2] :]

    def size(self, size: Size) -> int:
        """The number that a size is in this call."""
        return evaluate(size, self.sizes)

    def new(self, shape: Sequence[int], kind: str = "f") -> Strided:
        """A buffer for a result."""
        count = math.prod(shape)
        return self._declared("arena", kind, count, shape)

    def input(self, shape: Sequence[int], kind: str) -> Strided:
        """An array that the call brings."""
        return self._declared("input", kind, math.prod(shape), shape)

    def constant(self, array: Any, kind: str = "f") -> Strided:
        """An array that the program keeps."""
        array = np.asarray(array)
        return self._declared("constant", kind, array, array.shape)

    def _declared(self, where: str, kind: str, what: Any, shape: Sequence[int]) -> Strided:
        self._buffers.append((where, kind, what))
        shape = tuple(shape)
        return Strided(len(self._buffers) - 1, kind, 0, shape, Strided.of(shape))

    def write(self, method: str, results: Sequence[Strided], *arguments: Any) -> None:
        """An instruction: a method of ``Program`` and its arguments behind the name; it writes ``results``."""
        self._instructions.append(Instruction(method, self.name, list(arguments), [part.buffer for part in results]))

    def replace(self, instruction: Instruction) -> None:
        """Let the instruction that was written last do the work of an earlier one, too."""
        instruction.replaced_by = self._instructions[-1]

    def _live(self) -> list[Instruction]:
        """The instructions that no other has replaced."""
        made = self._instructions
        return [each for each in made if each.replaced_by is None or each.replaced_by not in made]

    def like(self, x: Strided, kind: str = "f") -> Strided:
        """A buffer for a result of the shape of x, laid out as x is if its elements lie beside each other."""
        made = self.new(x.shape, kind)
        return made.viewed(x.shape, x.strides) if x.dense else made

    def copy(self, to: Strided, x: Strided) -> None:
        """``to[...] = x``"""
        self.write("elementwise", [to], "copy", [to, x])

    def together(self, x: Strided) -> Strided:
        """The same elements in C order."""
        if x.contiguous:
            return x
        made = self.new(x.shape, x.kind)
        self.copy(made, x)
        return made

    def rows(self, x: Strided) -> Strided:
        """The same elements, with those of the last axis one after the other."""
        return x if x.strides[-1] == 1 or x.shape[-1] == 1 else self.together(x)

    def cast(self, x: Strided, kind: str) -> Strided | None:
        """The same values as another kind; None where that has no instruction."""
        return x if x.kind == kind else self.elementwise("cast", [x], kind)

    def elementwise(
        self, function: str, inputs: Sequence[Strided], kind: str = "f", first: float = 0, second: float = 0
    ) -> Strided | None:
        """A function of inputs that are broadcast; None where there is none of such kinds."""
        if not has_loop(function, kind + "".join(each.kind for each in inputs)):
            return None
        shape = inputs[0].shape
        for each in inputs:
            if each.shape != shape:
                shape = np.broadcast_shapes(*(each.shape for each in inputs))
                break
        parts = [each.expanded(shape) for each in inputs]
        dense = next((part for part in inputs if part.shape == shape and part.dense), None)
        made = self.new(shape, kind) if dense is None else self.new(shape, kind).viewed(shape, dense.strides)
        self.write("elementwise", [made], function, [made, *parts], first, second)
        return made

    def activate(self, kernels: Any, code: int, x: Strided) -> Strided:
        """An activation of the kernels; with the product before it, if only it reads that one's result."""
        last = self._instructions[-1] if self._instructions else None
        if last is not None and last.takes_activation(x) and self.alone():
            last.arguments.append(code)
            return x
        x = x if x.dense else self.together(x)
        made = self.like(x)
        flat = [part.viewed((x.size,)) for part in (made, x)]
        self.write("activate", [made], kernels, code, *flat)
        return made

    def looked_up(self, x: Strided) -> LookedUp | None:
        """The table and the integers that x was made of, (batch, steps, features), if only the node reads it."""
        if x.offset or len(x.shape) != 3 or not any(each.method == "embed" for each in self._instructions):
            return None
        made_by = [each for each in self._instructions if x.buffer in each.results]
        if len(made_by) != 1 or made_by[0].method != "embed" or not self.alone():
            return None
        if any(x.buffer in each.buffers for each in self._live() if each is not made_by[0]):
            return None  # which reads another view of it
        made, table, index = made_by[0].arguments
        if x.size == made.size and x.contiguous:
            index = index.reshaped(x.shape[:2])
        elif len(index.shape) == 2 and x == made.permuted((1, 0, 2)):
            index = index.permuted((1, 0))
        else:
            return None
        _, _, array = self._buffers[table.buffer]
        return None if index is None else LookedUp(made_by[0], array, index)

    def schedule(self, batch: int, shares: int, make: Schedule) -> list[Strided]:
        """Orders, lengths and shares of rows, which ``make`` gives for the lengths of a call."""
        self.schedules.append((self.name, make))
        return [self._declared("schedule", "i", count, (count,)) for count in (batch, batch, shares)]

    def results(self, wanted: Sequence[Strided]) -> list[tuple[int, tuple[int, ...]]]:
        """Let the program give these parts: which of its outputs each is, and its shape without repeated axes."""
        given: set[int] = set()
        made = []
        for part in wanted:
            if not part.contiguous:
                for axis, stride in enumerate(part.strides):
                    part = part.sliced(axis, 0, 1 if stride == 0 else part.shape[axis])
            shape = part.shape
            where, kind, count = self._buffers[part.buffer]
            whole = where == "arena" and part.contiguous and part.size == count
            if not whole or part.buffer in given:
                copied = self.new(part.shape, kind)
                self.copy(copied, part)
                part = copied
            given.add(part.buffer)
            self._buffers[part.buffer] = "output", kind, shape
            made.append((part.buffer, shape))
        order = {buffer: place for place, buffer in enumerate(sorted(given))}
        return [(order[buffer], shape) for buffer, shape in made]

    def program(self) -> Program:
        """The instructions as a program, which takes its inputs and gives its outputs in the order of their buffers."""
        live = self._live()
        offsets, total = self._laid_out(live)
        buffers: list[tuple[str, str, Any]] = []
        for place, (where, kind, what) in enumerate(self._buffers):
            if where == "arena":
                buffers.append((where, kind, (offsets[place], what) if place in offsets else (0, 1)))  # or of nobody
            else:
                buffers.append(("input" if where == "schedule" else where, kind, what))
        program = Program(buffers, total)
        for each in live:
            getattr(program, each.method)(each.name, *each.arguments)
        return program

    def arrangement(self) -> list[int]:
        """Which of the inputs, and of the arrays of schedules behind them, each input of the program is."""
        taken = [where for where, _, _ in self._buffers if where in ("input", "schedule")]
        places = {"input": 0, "schedule": taken.count("input")}
        found = []
        for where in taken:
            found.append(places[where])
            places[where] += 1
        return found

    def _laid_out(self, instructions: Sequence[Instruction]) -> tuple[dict[int, int], int]:
        """Where each buffer begins, in bytes, none in the place of another while that is used; where the last ends."""
        last: dict[int, int] = {}
        for at, each in enumerate(instructions):
            for buffer in each.buffers:
                last[buffer] = at
        offsets: dict[int, int] = {}
        live: list[tuple[int, int, int]] = []  # (start, end, last instruction), in order of start
        total = BOUNDARY
        for at, each in enumerate(instructions):
            live = [(start, end, until) for start, end, until in live if until >= at]
            for buffer in each.results:
                where, kind, count = self._buffers[buffer]
                if where != "arena" or buffer in offsets:
                    continue
                size = -(-count * ITEMSIZES[kind] // BOUNDARY) * BOUNDARY
                start, place = 0, len(live)
                for index, (begin, end, _) in enumerate(live):
                    if begin - start >= size:
                        place = index
                        break
                    start = end
                offsets[buffer] = start
                live.insert(place, (start, start + size, last[buffer]))
                total = max(total, start + size)
        return offsets, total


class Instruction:
    """A method of ``Program``, its arguments, and the buffers that it writes."""

    def __init__(self, method: str, name: str, arguments: list[Any], results: list[int]) -> None:
        self.method, self.name, self.arguments, self.results = method, name, arguments, results
        self.replaced_by: Instruction | None = None
        self.buffers = [*results]  # all that it reads and writes
        for each in arguments:
            if isinstance(each, Strided):
                self.buffers.append(each.buffer)
            elif isinstance(each, list):
                self.buffers += [part.buffer for part in each]

    def takes_activation(self, x: Strided) -> bool:
        """Whether this is a product without an activation, and x all of its result, in any order."""
        if len(self.arguments) != {"linear": 3, "convolve": 7}.get(self.method):
            return False
        made = self.arguments[1]
        return bool(x.buffer == made.buffer and x.size == made.size and x.dense and made.dense)
