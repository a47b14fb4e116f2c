"""A graph as it runs in NumPy: each node when its inputs are there, each value for as long as it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FastGRUError, ShapeError
from .graph import BOOLEAN, FLOAT, INTEGER, RELATIONS, Graph, Node, leaves, rebuilt
from .layout import Rows
from .operations.operation import Array, Call, Compute, Setup
from .size import Expression, evaluate, size_text
from .steps import Analysis

__all__ = ["Runner"]


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

    def __call__(self, inputs: Mapping[str, Array], lengths: Mapping[str, NDArray[np.intp]] | None = None) -> Any:
        """The outputs, in the model's own structure; steps beyond a row's length are zero."""
        values: dict[int, Array] = dict(self._constants)
        for source in self.graph.inputs:
            values[source.value] = inputs[source.name]
        sizes = self._sizes(values)
        if lengths is not None:
            self.analysis.check_lengths()
            self._check_rows(sizes, lengths)
        for node, compute, done in zip(self.graph.nodes, self._computes, self._done, strict=True):
            for place, made in zip(node.outputs, self._computed(node, compute, values, sizes, lengths), strict=True):
                values[place] = made
            for place in done:
                values.pop(place, None)
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
        self._check_guards(sizes)
        return sizes

    def _check_guards(self, sizes: Mapping[str, int], where: str = "") -> None:
        for one, relation, other, reason in self.graph.guards:
            left, right = evaluate(one, sizes), evaluate(other, sizes)
            if not RELATIONS[relation](left, right):
                raise ShapeError(f"{where}got {left} for {one}, wanted {relation} {right}: {reason}")

    def _check_rows(self, sizes: Mapping[str, int], lengths: Mapping[str, NDArray[np.intp]]) -> None:
        """Raise unless the guards hold for every row by itself, cut to its length."""
        symbols = {name for each in self.graph.guards for size in (each.one, each.other)
                   if isinstance(size, Expression) for name in size.symbols()}  # fmt: skip
        ends = {name: each for name, each in lengths.items() if name in symbols}
        for row in range(min((len(each) for each in ends.values()), default=0)):
            own = {name: int(each[row]) for name, each in ends.items()}
            self._check_guards({**sizes, **own}, f"lengths: row {row}: ")

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
