"""A graph as it runs: compiled for the shapes of a call where its operations have instructions, in NumPy where not.

In NumPy each node runs when its inputs are there; each value is kept for as long as it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.program import Pool
from ..errors import FastGRUError, ShapeError
from .compile import Compiled, compiles
from .graph import BOOLEAN, FLOAT, INTEGER, RELATIONS, Graph, Node, leaves, rebuilt
from .layout import Rows
from .operations.operation import Array, Call, Compute, Setup
from .size import Expression, evaluate, size_text
from .steps import Analysis

__all__ = ["Runner"]

MAX_COMPILED = 64  # shapes of inputs for which a graph is kept compiled


class Runner:
    """The nodes of a graph, ready to run. An operation that stands in several nodes is prepared once."""

    def __init__(self, graph: Graph, analysis: Analysis, setup: Setup) -> None:
        self.graph, self.analysis, self.setup = graph, analysis, setup
        prepared: dict[int, Compute] = {}
        self._computes = [
            prepared.setdefault(id(node.operation), node.operation.prepare(setup)) for node in graph.nodes
        ]
        self._constants = {
            place: np.asarray(array, setup.dtype, order="C") if array.dtype.kind == "f" else array
            for place, array in graph.constants.items()
        }
        last = {place: index for index, node in enumerate(graph.nodes) for place in node.inputs}
        kept = set(leaves(graph.outputs))
        self._done: list[list[int]] = [[] for _ in graph.nodes]
        for place, index in last.items():
            if place not in kept:
                self._done[index].append(place)
        self._compiles = compiles(setup)
        self._compiled: dict[Any, Compiled] = {}  # by the shapes of the inputs, the latest last
        self._compiling = Lock()
        self._pool = Pool()

    def __call__(self, inputs: Mapping[str, Array], lengths: Mapping[str, NDArray[np.intp]] | None = None) -> Any:
        """The outputs, in the model's own structure; steps beyond a row's length are zero."""
        values: dict[int, Array] = dict(self._constants)
        for source in self.graph.inputs:
            values[source.value] = inputs[source.name]
        if not self._compiles:
            return self.by_numpy(values, lengths)
        compiled = self._of_shapes(values, lengths)
        for step, done in zip(compiled.steps, compiled.done, strict=True):
            if isinstance(step, int):
                self._run_node(step, values, compiled.sizes, lengths)
            else:
                step.run(values, lengths, self._pool)
            for place in done:
                values.pop(place, None)
        return self._results(values, compiled.sizes, lengths)

    def by_numpy(self, values: dict[int, Array], lengths: Mapping[str, NDArray[np.intp]] | None = None) -> Any:
        """The outputs from constants and inputs by their values, every node in NumPy."""
        sizes = self._sizes(values)
        if lengths is not None:
            self.analysis.check_lengths()
        for index, done in enumerate(self._done):
            self._run_node(index, values, sizes, lengths)
            for place in done:
                values.pop(place, None)
        return self._results(values, sizes, lengths)

    def _of_shapes(self, values: dict[int, Array], lengths: Mapping[str, Any] | None) -> Compiled:
        """The graph compiled for inputs of these shapes."""
        key = (*(values[source.value].shape for source in self.graph.inputs), lengths and tuple(lengths))
        compiled = self._compiled.get(key)
        if compiled is None:
            sizes = self._sizes(values)
            if lengths is not None:
                self.analysis.check_lengths()
            compiled = Compiled(self.graph, self.analysis, self.setup, sizes, lengths is not None)
            with self._compiling:
                while len(self._compiled) >= MAX_COMPILED:
                    del self._compiled[next(iter(self._compiled))]
                self._compiled[key] = compiled
        return compiled

    def _run_node(self, index: int, values: dict[int, Array], sizes: Mapping[str, int], lengths: Any) -> None:
        node = self.graph.nodes[index]
        made = self._computed(node, self._computes[index], values, sizes, lengths)
        values.update(zip(node.outputs, made, strict=True))

    def _results(self, values: dict[int, Array], sizes: Mapping[str, int], lengths: Any) -> Any:
        if lengths is not None:
            for place in set(leaves(self.graph.outputs)):
                values[place] = self._filled(place, values[place], lengths, sizes, 0.0)
        return rebuilt(self.graph.outputs, values)

    def _computed(
        self, node: Node, compute: Compute, values: dict[int, Array], sizes: Mapping[str, int], lengths: Any
    ) -> Sequence[Array]:
        arrays = [values[place] for place in node.inputs]
        rows = None
        try:
            if lengths is not None:
                layouts = [self.analysis.layout(place) for place in node.inputs]
                rows = [Rows(layout, lengths, sizes) for layout in layouts]
                fills = node.operation.fills(layouts)
                arrays = [
                    array if fill is None else self._filled(place, array, lengths, sizes, fill)
                    for place, array, fill in zip(node.inputs, arrays, fills, strict=True)
                ]
            made = compute(arrays, Call(self.setup.dtype, sizes, rows))
            self._check(node, made, sizes)
            return made
        except FastGRUError as error:
            raise type(error)(f"{node.name}: {error}") from None
        except ValueError as error:  # NumPy's own, of shapes that no rule could know
            raise ShapeError(f"{node.name}: {error}") from None

    def _filled(
        self, place: int, array: Array, lengths: Mapping[str, NDArray[np.intp]], sizes: Mapping[str, int], fill: float
    ) -> Array:
        real = Rows(self.analysis.layout(place), lengths, sizes).real(array.shape)
        if real is None:
            return array
        if array.dtype.kind == "f":
            return np.where(real, array, np.asarray(fill, array.dtype))
        limits = np.iinfo(np.int64)
        whole = limits.min if fill == -np.inf else limits.max if fill == np.inf else fill
        return np.where(real, array, np.asarray(whole).astype(array.dtype))

    def _sizes(self, values: Mapping[int, Array]) -> dict[str, int]:
        """What the symbols are in this call."""
        sizes: dict[str, int] = {}
        for source in self.graph.inputs:
            tensor, array = self.graph.tensors[source.value], values[source.value]
            if array.ndim != len(tensor.shape):
                raise ShapeError(f"{source.name}: got shape {array.shape}, wanted {size_text(tensor.shape)}")
            for size, got in zip(tensor.shape, array.shape, strict=True):
                if isinstance(size, Expression) and str(size) in size.symbols():
                    sizes.setdefault(str(size), got)
        for source in self.graph.inputs:
            tensor, array = self.graph.tensors[source.value], values[source.value]
            wanted = tuple(evaluate(size, sizes) for size in tensor.shape)
            if array.shape != wanted:
                raise ShapeError(f"{source.name}: got shape {array.shape}, wanted {size_text(tensor.shape)}")
        for one, relation, other, reason in self.graph.guards:
            left, right = evaluate(one, sizes), evaluate(other, sizes)
            if not RELATIONS[relation](left, right):
                raise ShapeError(f"got {left} for {one}, wanted {relation} {right}: {reason}")
        return sizes

    def _check(self, node: Node, made: Sequence[Array], sizes: Mapping[str, int]) -> None:
        """Raise unless every output has the shape that was inferred for it."""
        for place, array in zip(node.outputs, made, strict=True):
            wanted = tuple(evaluate(size, sizes) for size in self.graph.tensors[place].shape)
            if array.shape != wanted:
                raise ShapeError(
                    f"makes {array.shape}, but the model was made for {size_text(self.graph.tensors[place].shape)}, "
                    f"here {wanted}"
                )


_DTYPES = {INTEGER: np.dtype(np.int64), BOOLEAN: np.dtype(bool)}


def dtype_of(kind: str, setup: Setup) -> np.dtype[Any]:
    """Of the arrays of a kind."""
    return setup.dtype if kind == FLOAT else _DTYPES[kind]
