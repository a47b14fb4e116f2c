"""A graph compiled for the sizes of one call: stretches of instructions, and between them nodes that run in NumPy.

Consecutive nodes whose operations write instructions become one stretch, which is one program of the engine. Every
other node runs as it always does. Values that cross the border between the two are arrays in C order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..engine.program import Arenas, Program
from ..engine.strided import Strided
from ..errors import FastGRUError
from ..threads import asking_for, threads_for
from .division import divide
from .graph import Graph, Node, leaves
from .operations.operation import Array, Setup
from .size import evaluate
from .steps import Analysis
from .writer import KINDS, Lengths, Writer

__all__ = ["Compiled", "Stretch", "compiles"]

_DTYPES = {"f": np.float32, "i": np.int64, "b": np.bool_}


def compiles(setup: Setup) -> bool:
    """Whether graphs are compiled for these options: in float32, by this package's own kernels."""
    from ..options import kernel_table

    own = setup.options.get("backend") in (None, "packed")
    return setup.dtype == np.float32 and own and kernel_table().vector_length > 1 and np.intp(0).nbytes == 8


class Stretch:
    """Some nodes as a program: from these values to those."""

    def __init__(self, writer: Writer, inputs: Sequence[tuple[int, str]], outputs: Mapping[int, Strided]) -> None:
        self.inputs = [(place, np.dtype(_DTYPES[kind])) for place, kind in inputs]
        results = writer.results(list(outputs.values()))
        self.program = writer.program()
        self.schedules = writer.schedules
        self.arrangement = writer.arrangement()
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

    def __init__(
        self, graph: Graph, analysis: Analysis, setup: Setup, sizes: Mapping[str, int], has_lengths: bool
    ) -> None:
        self.sizes = sizes
        self.steps: list[Stretch | int] = []
        self.done: list[list[int]] = []
        self._graph, self._analysis, self._setup, self._has_lengths = graph, analysis, setup, has_lengths
        self._kept = set(leaves(graph.outputs))
        self._last = {place: index for index, node in enumerate(graph.nodes) for place in node.inputs}
        self._uses: dict[int, int] = {}
        for node in graph.nodes:
            for place in node.inputs:
                self._uses[place] = self._uses.get(place, 0) + 1
        self._shapes: dict[int, tuple[int, ...] | None] = {}
        self._begin(0)
        for index, node in enumerate(graph.nodes):
            self._index = index
            if not self._emitted(node):
                self._close(index)
                self.steps.append(index)
                self._end_step(index + 1)
                self._begin(index + 1)
        self._close(len(graph.nodes))
        if not has_lengths:
            self._divide(graph, analysis, setup)
        del self._writer, self._inputs, self._values, self._shapes, self._graph, self._analysis, self._uses, self._last

    @property
    def whole(self) -> Stretch | None:
        """The one program of all nodes; None where some run in NumPy, or there are none."""
        (step,) = self.steps if len(self.steps) == 1 else (None,)
        return step if isinstance(step, Stretch) else None

    def _divide(self, graph: Graph, analysis: Analysis, setup: Setup) -> None:
        """Let threads share out the rows, where there is one program and its work pays for them."""
        whole, batch = self.whole, self.sizes.get("batch", 1)
        if whole is None or whole.repeats:
            return

        def compiled(rows: int) -> Program | None:
            with asking_for(1):
                piece = Compiled(graph, analysis, setup, {**self.sizes, "batch": rows}, False).whole
            return None if piece is None else piece.program

        places = [place for place, _ in whole.inputs]
        places += [place for _, place in sorted((at, place) for place, at, *_ in whole.outputs)]
        threads = threads_for(setup.options.get("n_threads"), batch, whole.program.work)
        divide(whole.program, places, graph, analysis, batch, threads, compiled)

    def _begin(self, index: int) -> None:
        """A new stretch, from a node on."""
        self._first = index
        self._writer = Writer(self._setup, self.sizes)
        self._inputs: list[tuple[int, str]] = []
        self._values: dict[int, Strided] = {}

    def _close(self, index: int) -> None:
        """The stretch as a step, which ends before a node; one without instructions is left to NumPy."""
        if not len(self._writer):
            self._leave(index)
            return
        made = [place for node in self._graph.nodes[self._first : index] for place in node.outputs]
        wanted = {
            place: self._values[place] for place in made if place in self._kept or self._last.get(place, -1) >= index
        }
        try:
            self.steps.append(Stretch(self._writer, self._inputs, wanted))
            self._end_step(index)
        except (FastGRUError, OverflowError):  # axes that are too many for a loop, sizes beyond what it counts
            self._leave(index)

    def _leave(self, index: int) -> None:
        """The nodes of a stretch as steps in NumPy."""
        for place in range(self._first, index):
            self.steps.append(place)
            self._end_step(place + 1)

    def _end_step(self, index: int) -> None:
        """What is done with when the nodes before this one have run."""
        step = self.steps[-1]
        nodes = self._graph.nodes[step : step + 1] if isinstance(step, int) else self._graph.nodes[self._first : index]
        places = {place for node in nodes for place in (*node.inputs, *node.outputs)}
        self.done.append([p for p in places if p not in self._kept and self._last.get(p, -1) < index])

    def _emitted(self, node: Node) -> bool:
        """Whether a node became instructions of the stretch."""
        mark, known = self._writer.mark(), len(self._inputs)
        added: list[int] = []
        try:
            made = self._emit(node, added)
        except (FastGRUError, ValueError):  # which NumPy's way raises again, in words of its own
            made = None
        if made is None or any(part is not None and min(part.shape, default=1) < 1 for part in made):
            self._writer.back(mark)
            del self._inputs[known:]
            for place in added:
                del self._values[place]
            return False
        self._values.update((place, part) for place, part in zip(node.outputs, made, strict=True) if part is not None)
        return True

    def _emit(self, node: Node, added: list[int]) -> Sequence[Strided | None] | None:
        if self._has_lengths:
            layouts = [self._analysis.layout(place) for place in node.inputs]
            if node.operation.needs_lengths(layouts):
                return None
            self._writer.layouts = layouts
        wanted = [self._shape(place) for place in node.outputs]
        if None in wanted:
            return None
        inputs = []
        for place in node.inputs:
            part = self._read(place, added)
            if part is None:
                return None
            inputs.append(part)
        self._writer.name = node.name
        self._writer.alone = lambda: self._alone(node)
        self._writer.needs = [place in self._kept or place in self._last for place in node.outputs]
        made = node.operation.emit(inputs, self._writer)
        if made is None:
            return None
        for place, part, shape, needed in zip(node.outputs, made, wanted, self._writer.needs, strict=True):
            kind = KINDS[self._graph.tensors[place].dtype]
            if (part is None and needed) or (part is not None and (part.shape != shape or part.kind != kind)):
                return None
        return made

    def _alone(self, node: Node) -> bool:
        """Whether nothing but a node reads its first input, or another value of the same elements."""
        place = node.inputs[0]
        buffer = self._values[place].buffer
        later = [p for p, part in self._values.items() if part.buffer == buffer and p != place]
        outside = any(p in self._kept or self._last.get(p, -1) >= self._index for p in later)
        return self._uses[place] == 1 and place not in self._kept and not outside

    def _read(self, place: int, added: list[int]) -> Strided | None:
        """A value as a part of a buffer: one that the stretch made, a constant, or an array from outside."""
        found = self._values.get(place)
        if found is not None:
            return found
        kind, shape = KINDS[self._graph.tensors[place].dtype], self._shape(place)
        if shape is None or min(shape, default=1) < 1:
            return None
        if place in self._graph.constants:
            part = self._writer.constant(self._graph.constants[place], kind)
        else:
            part = self._writer.input(shape, kind)
            self._inputs.append((place, kind))
        self._values[place] = part
        added.append(place)
        return part

    def _shape(self, place: int) -> tuple[int, ...] | None:
        """The shape that a value has in this call; None where it is not known before it is there."""
        if place not in self._shapes:
            if place in self._graph.constants:
                self._shapes[place] = self._graph.constants[place].shape
            else:
                try:
                    sizes = self._graph.tensors[place].shape
                    self._shapes[place] = tuple(
                        size if type(size) is int else evaluate(size, self.sizes) for size in sizes
                    )
                except (FastGRUError, KeyError):
                    self._shapes[place] = None
        return self._shapes[place]
