"""A graph compiled for the sizes of one call: stretches of instructions, and between them nodes that run in NumPy.

Consecutive nodes whose operations write instructions become one stretch, which is one program of the engine. Every
other node runs as it always does. Values that cross the border between the two are arrays in C order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.program import Arenas, Program
from ..engine.strided import Strided
from ..errors import FastGRUError
from ..threads import asking_for, threads_for
from .division import divide
from .facts import Facts
from .graph import Node
from .operations.operation import Array, Setup
from .writer import Lengths, Writer

__all__ = ["Compiled", "Stretch", "compiles"]

_DTYPES: dict[str, Any] = {"f": np.dtype(np.float32), "i": np.dtype(np.int64), "b": np.dtype(np.bool_)}


def compiles(setup: Setup) -> bool:
    """Whether graphs are compiled for these options: in float32, by this package's own kernels."""
    from ..options import kernel_table

    own = setup.options.get("backend") in (None, "packed")
    return setup.dtype == np.float32 and own and kernel_table().vector_length > 1 and np.intp(0).nbytes == 8


class Stretch:
    """Some nodes as a program: from these values to those."""

    def __init__(self, writer: Writer, inputs: Sequence[tuple[int, str]], outputs: Mapping[int, Strided]) -> None:
        self.inputs = [(place, _DTYPES[kind]) for place, kind in inputs]
        results = writer.results(list(outputs.values()))
        self.program = writer.program()
        self.schedules = writer.schedules
        self.arrangement = writer.arrangement() if writer.schedules else []
        self.outputs = [
            (place, at, part.shape, part.shape != shape)
            for (place, part), (at, shape) in zip(outputs.items(), results, strict=True)
        ]

    @property
    def repeats(self) -> bool:
        """Whether an output is repeated along an axis, of which the program gives one place."""
        return any(repeated for *_, repeated in self.outputs)

    def run(self, values: dict[int, Array], lengths: Lengths | None, arenas: Arenas) -> None:
        """Add the outputs to the values."""
        arrays: list[Array] = [np.ascontiguousarray(values[place], dtype) for place, dtype in self.inputs]
        if self.schedules:
            assert lengths is not None
            for name, make in self.schedules:
                try:
                    arrays += make(lengths)
                except FastGRUError as error:
                    raise type(error)(f"layer {name!r}: {error}") from None
            arrays = [arrays[place] for place in self.arrangement]
        made = self.program.run(arrays, arenas)
        for place, at, shape, repeated in self.outputs:
            values[place] = np.broadcast_to(made[at], shape) if repeated else made[at]


class Compiled:
    """What a graph does with inputs of certain shapes: ``steps`` are stretches, or nodes by their number.

    ``done`` has, for each step, the values that nothing needs after it.
    """

    def __init__(self, facts: Facts, sizes: Mapping[str, int], has_lengths: bool) -> None:
        self.sizes = sizes
        self.steps: list[Stretch | int] = []
        self.done: list[list[int]] = []
        _Compiling(facts, self, has_lengths).run()
        if not has_lengths:
            self._divide(facts)

    @property
    def whole(self) -> Stretch | None:
        """The one program of all nodes; None where some run in NumPy, or there are none."""
        (step,) = self.steps if len(self.steps) == 1 else (None,)
        return step if isinstance(step, Stretch) else None

    def _divide(self, facts: Facts) -> None:
        """Let threads share out the rows, where there is one program and its work pays for them."""
        whole, batch = self.whole, self.sizes.get("batch", 1)
        if whole is None or whole.repeats or batch < 2:
            return

        def compiled(rows: int) -> Program | None:
            with asking_for(1):
                piece = Compiled(facts, {**self.sizes, "batch": rows}, False).whole
            return None if piece is None else piece.program

        places = [place for place, _ in whole.inputs]
        places += [place for _, place in sorted((at, place) for place, at, *_ in whole.outputs)]
        threads = threads_for(facts.setup.options.get("n_threads"), batch, whole.program.work)
        divide(whole.program, places, facts.graph, facts.analysis, batch, threads, compiled)


class _Compiling:
    """A graph on its way to steps for one call's sizes: the stretch that grows, and what its values are."""

    def __init__(self, facts: Facts, made: Compiled, has_lengths: bool) -> None:
        self._facts, self._made, self._has_lengths = facts, made, has_lengths
        self._shapes = facts.shapes(made.sizes)
        self._begin(0)

    def run(self) -> None:
        nodes = self._facts.graph.nodes
        for index, node in enumerate(nodes):
            if not self._emitted(index, node):
                self._close(index)
                self._add(index, index, index + 1)
                self._begin(index + 1)
        self._close(len(nodes))
        del self._writer  # which knows this: a circle would stay in memory until it is looked for

    def _begin(self, index: int) -> None:
        """A new stretch, from a node on."""
        self._first = index
        self._writer = Writer(self._facts.setup, self._made.sizes)
        self._writer.alone = self._alone
        self._inputs: list[tuple[int, str]] = []
        self._values: dict[int, Strided] = {}

    def _close(self, index: int) -> None:
        """The stretch as a step, which ends before a node; one without instructions is left to NumPy."""
        if len(self._writer):
            wanted, _ = self._facts.stretch(self._first, index)
            outputs = {place: self._values[place] for place in wanted}
            try:
                self._add(Stretch(self._writer, self._inputs, outputs), self._first, index)
                return
            except (FastGRUError, OverflowError):  # axes that are too many for a loop, sizes beyond what it counts
                pass
        for place in range(self._first, index):
            self._add(place, place, place + 1)

    def _add(self, step: Stretch | int, first: int, index: int) -> None:
        """A step of the nodes from ``first`` to before ``index``."""
        self._made.steps.append(step)
        self._made.done.append(self._facts.stretch(first, index)[1])

    def _emitted(self, index: int, node: Node) -> bool:
        """Whether a node became instructions of the stretch."""
        mark, known = self._writer.mark(), len(self._inputs)
        added: list[int] = []
        self._index, self._node = index, node
        try:
            made = self._emit(index, node, added)
        except (FastGRUError, ValueError):  # which NumPy's way raises again, in words of its own
            made = None
        if made is None:
            self._writer.back(mark)
            del self._inputs[known:]
            for place in added:
                del self._values[place]
            return False
        for place, part in zip(node.outputs, made, strict=True):
            if part is not None:
                self._values[place] = part
        return True

    def _emit(self, index: int, node: Node, added: list[int]) -> Sequence[Strided | None] | None:
        writer, needs = self._writer, self._facts.needs[index]
        if self._has_lengths:
            writer.layouts = self._facts.layouts(index)
            if writer.layouts is None:
                return None
        inputs = []
        for place in node.inputs:
            part = self._values.get(place) or self._read(place, added)
            if part is None:
                return None
            inputs.append(part)
        for place in node.outputs:
            if self._shapes[place] is None:
                return None
        writer.name, writer.needs = node.name, needs
        made = node.operation.emit(inputs, writer)
        if made is None:
            return None
        for place, part, needed in zip(node.outputs, made, needs, strict=True):
            if part is None:
                if needed:
                    return None
            elif part.shape != self._shapes[place] or part.kind != self._facts.kinds[place]:
                return None
        return made

    def _alone(self) -> bool:
        """Whether nothing but the node reads its first input, or another value of the same elements."""
        facts, place = self._facts, self._node.inputs[0]
        if facts.uses[place] != 1 or place in facts.kept:
            return False
        buffer = self._values[place].buffer
        return not any(
            part.buffer == buffer and p != place and (p in facts.kept or facts.last.get(p, -1) >= self._index)
            for p, part in self._values.items()
        )

    def _read(self, place: int, added: list[int]) -> Strided | None:
        """A constant, or an array from outside, as a part of a buffer."""
        kind, shape = self._facts.kinds[place], self._shapes[place]
        if shape is None:
            return None
        constant = self._facts.constants.get(place)
        if constant is not None:
            part = self._writer.constant(constant, kind)
        else:
            part = self._writer.input(shape, kind)
            self._inputs.append((place, kind))
        self._values[place] = part
        added.append(place)
        return part
