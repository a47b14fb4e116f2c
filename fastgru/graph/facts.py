"""What is known of a graph before a call brings its sizes, worked out once: compiling it for a shape only reads it.

It owns who reads a value and when it is done with, the kinds of values, which of them are wanted, and their shapes as
numbers that few sizes of the call give. Nothing here depends on a call or changes after it was made.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import FastGRUError
from .graph import BOOLEAN, FLOAT, INTEGER, Graph, leaves
from .layout import Layout
from .operations.operation import Array, Setup
from .size import Size, evaluate
from .steps import Analysis

__all__ = ["KINDS", "Facts"]

KINDS = {FLOAT: "f", INTEGER: "i", BOOLEAN: "b"}  # as the engine calls them


class Facts:
    """A graph as it is compiled.

    Attributes
    ----------
    graph : Graph
    analysis : Analysis
    setup : Setup
    constants : dict of int to array
        Of the kinds that programs take.
    kept : set of int
        The values that the graph gives.
    last : dict of int to int
        The last node that reads each value.
    uses : dict of int to int
        How often each value is read.
    needs : list of list of bool
        By node: which of its outputs anything reads.
    kinds : list of str
        By value.
    """

    def __init__(self, graph: Graph, analysis: Analysis, setup: Setup, constants: Mapping[int, Array]) -> None:
        self.graph, self.analysis, self.setup, self.constants = graph, analysis, setup, constants
        self.kept = set(leaves(graph.outputs))
        self.last = {place: index for index, node in enumerate(graph.nodes) for place in node.inputs}
        self.uses: dict[int, int] = {}
        for node in graph.nodes:
            for place in node.inputs:
                self.uses[place] = self.uses.get(place, 0) + 1
        self.needs = [[place in self.kept or place in self.last for place in node.outputs] for node in graph.nodes]
        self.kinds = [KINDS[tensor.dtype] for tensor in graph.tensors]
        self._layouts: list[list[Layout] | None] | None = None
        self._stretches: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        self._find_shapes()

    def _find_shapes(self) -> None:
        """All sizes that differ, and each shape as their numbers; most values share both with others."""
        sizes: dict[Size, int] = {}
        shapes: dict[tuple[int, ...], int] = {}
        self._shape_of: list[int] = []  # by value: which shape
        for place, tensor in enumerate(self.graph.tensors):
            constant = self.constants.get(place)
            own = tensor.shape if constant is None else constant.shape
            shape = tuple([sizes.setdefault(size, len(sizes)) for size in own])
            self._shape_of.append(shapes.setdefault(shape, len(shapes)))
        self._sizes, self._shapes = [*sizes], [*shapes]

    def shapes(self, sizes: Mapping[str, int]) -> list[tuple[int, ...] | None]:
        """By value, its shape in a call; None where it has no elements, or is not known before the value is there."""
        numbers = [_number(size, sizes) for size in self._sizes]
        made = [tuple([numbers[place] for place in shape]) for shape in self._shapes]
        known = [shape if min(shape, default=1) > 0 else None for shape in made]
        return [known[which] for which in self._shape_of]

    def layouts(self, index: int) -> list[Layout] | None:
        """Of the inputs of a node, where its instructions serve rows of lengths of their own; elsewhere None."""
        if self._layouts is None:
            made: list[list[Layout] | None] = []
            for node in self.graph.nodes:
                layouts = [self.analysis.layout(place) for place in node.inputs]
                made.append(None if node.operation.needs_lengths(layouts) else layouts)
            self._layouts = made
        return self._layouts[index]

    def stretch(self, first: int, index: int) -> tuple[list[int], list[int]]:
        """What nodes from one to before another make for others, and what nothing needs any more after them."""
        found = self._stretches.get((first, index))
        if found is None:
            nodes = self.graph.nodes[first:index]
            made = [place for node in nodes for place in node.outputs]
            wanted = [place for place in made if place in self.kept or self.last.get(place, -1) >= index]
            places = {place for node in nodes for place in (*node.inputs, *node.outputs)}
            done = [place for place in places if place not in self.kept and self.last.get(place, -1) < index]
            found = self._stretches[first, index] = wanted, done
        return found


def _number(size: Size, sizes: Mapping[str, int]) -> int:
    """The number that a size is in a call, or 0 where it cannot be said."""
    try:
        return evaluate(size, sizes)
    except (FastGRUError, KeyError):
        return 0
