"""What a group of sequences of unequal length gives, each as alone: padded and run with ``lengths``, and cut again.

Where a graph takes no lengths, only sequences of equal shapes form a group; where its rows are not known to be kept
apart, each runs alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import FastGRUError, ShapeError, UnsupportedModelError
from ..graph.graph import BOOLEAN, FLOAT, INTEGER, leaves
from ..graph.layout import BATCH, Layout, has_steps, plain
from ..graph.size import evaluate, symbol
from ..graph.steps import Analysis
from ..gru import GRU
from ..model import Model
from ..model_inputs import Source

__all__ = ["GRURuns", "ModelRuns", "Row", "Shape"]

Array = NDArray[Any]
MAX_ROWS = 4096  # of one group: a small step of a progress bar


class Shape:
    """What all sequences of the same shapes have in common."""

    def __init__(
        self,
        group: Any,
        steps: tuple[int, ...],
        held: int,
        outputs: dict[int, tuple[int, ...]] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.group = group  # those of one group may run together; None: their results have no numbers
        self.steps = steps  # of each symbol of steps that may differ within a group
        self.order = tuple(-each for each in steps)  # the longest first
        self.held = held  # numbers of inputs and results
        self.outputs = outputs  # shapes of the results by their places, without the batch
        self.sizes = sizes or {}  # what the symbols of the graph are


class Row(NamedTuple):
    """A sequence: its number, its inputs without a batch axis, and what it shares with others of its shapes."""

    number: int
    arrays: tuple[Array, ...]
    shape: Shape


class GRURuns:
    """The sequences of a GRU."""

    layers = True  # takes its input as models of layers do

    def __init__(self, gru: GRU) -> None:
        self.gru, self.dtype, self.most_rows = gru, gru.dtype, MAX_ROWS
        shape = symbol("batch"), symbol("steps"), gru.input_size
        self.sources = [Source("x", FLOAT, shape, 0, 1, "steps", called="x")]
        self._shapes: dict[int, Shape] = {}  # by their steps
        self._width: int = max(gru.input_size, 3 * gru.spec.output_size)

    def row(self, number: int, arrays: tuple[Array, ...]) -> Row:
        steps = len(arrays[0])
        shape = self._shapes.get(steps)
        if shape is None:
            if len(self._shapes) >= MAX_ROWS:
                self._shapes.clear()
            spec = self.gru.spec
            held = steps * (spec.input_size + spec.output_size) + spec.num_layers * spec.directions * spec.hidden_size
            shape = self._shapes[steps] = Shape("steps" if steps else None, (steps,), held)
        return Row(number, arrays, shape)

    def width(self, row: Row, steps: tuple[int, ...]) -> int:
        """The numbers of the widest value for a row with these steps."""
        return self._width * steps[0]

    def run(self, rows: Sequence[Row]) -> list[Any]:
        (longest,) = rows[0].shape.steps
        ends = np.array([len(row.arrays[0]) for row in rows])
        spec = self.gru.spec
        if longest == 0:  # the states after no steps are the first ones
            states = spec.num_layers * spec.directions, spec.hidden_size
            return [(np.zeros((0, spec.output_size), self.dtype), np.zeros(states, self.dtype)) for _ in rows]
        if len(rows) == 1:
            return [self.gru(rows[0].arrays[0])]
        x = _padded(rows, 0, 0, [longest, self.gru.input_size])
        y, h = self.gru(x, lengths=ends if np.ptp(ends) else None)
        return [(np.array(y[place, :end]), np.array(h[:, place])) for place, end in enumerate(ends)]


class ModelRuns:
    """The sequences of a model.

    Raises
    ------
    UnsupportedModelError
        It takes rows together, or no axis of its outputs is known to be the batch.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.dtype, self.sources = model, model.dtype, model.sources
        self.layers = model.spec is not None
        self._shapes: dict[Any, Shape] = {}
        self._widths: dict[Any, int] = {}
        rows = _rows_of(model)
        if rows is None and not self.layers:
            name, reason = model._analysis.mixes[0]
            raise UnsupportedModelError(
                f"map: layer {name!r} {reason}, so it is not known which part of the results is one sequence's; call "
                "the model with a whole batch"
            )
        self._batches = {
            place: 0 if rows is None else _batch_axis(rows.layout(place)) for place in leaves(model.graph.outputs)
        }
        apart = rows is not None and None not in self._batches.values() and all(map(_has_open_batch, self.sources))
        self.most_rows = MAX_ROWS if apart else 1
        self._ragged = [each for each in self.sources if each.steps is not None and apart and _takes_lengths(model)]
        self._numbers_of_steps = list(model._runner.numbers_of_steps) if self._ragged else []

    def row(self, number: int, arrays: tuple[Array, ...]) -> Row:
        key = tuple(array.shape for array in arrays)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shape(key)
            if len(self._shapes) >= MAX_ROWS:
                self._shapes.clear()
            if shape.outputs is not None:
                self._shapes[key] = shape
        return Row(number, arrays, shape)

    def _shape(self, key: Any) -> Shape:
        """What sequences of such shapes have in common, and an error if the model takes none alone."""
        whole = [_with_batch(source, shape) for source, shape in zip(self.sources, key, strict=True)]
        empty = [
            alone for source, shape, alone in zip(self.sources, whole, key, strict=True)
            if (source.steps is not None and shape[source.steps] == 0) or (self.layers and 0 in shape)
        ]  # fmt: skip
        given = {source.name: _nothing(shape) for source, shape in zip(self.sources, whole, strict=True)}
        try:
            sizes = self.model.sizes(given)
        except FastGRUError as error:
            if empty:
                raise _no_steps(empty[0]) from error
            raise
        if empty:
            return self._empty(empty[0], sizes)
        numbers = sum(map(math.prod, key))
        try:
            outputs = {place: self._size_of(place, axis, sizes) for place, axis in self._batches.items()}
        except FastGRUError:  # a size that the numbers decide
            return Shape(object(), (), numbers)  # each is a group
        group, steps = self._group(whole, sizes)
        held = numbers + sum(map(math.prod, outputs.values()))
        return Shape(group, tuple(steps[name] for name in sorted(steps)), held, outputs, {**sizes, **steps})

    def _group(self, shapes: Sequence[Sequence[int]], sizes: Mapping[str, int]) -> tuple[Any, dict[str, int]]:
        """What rows must have in common to run together, and the steps that may differ, by their symbols.

        An axis of one step is repeated where another has several: such rows are no shorter form of longer ones.
        """
        steps: dict[str, int] = {}
        others = []
        for source, shape in zip(self.sources, shapes, strict=True):
            ragged = source.steps if source in self._ragged else None
            if ragged is not None:
                steps[source.symbol] = shape[ragged]
            others.append(tuple(size for axis, size in enumerate(shape) if axis != ragged))
        ones = [evaluate(size, {**sizes, **steps}) == 1 for size in self._numbers_of_steps]
        return (*others, *ones, *(size == 1 for size in steps.values())), steps

    def _empty(self, shape: tuple[int, ...], sizes: Mapping[str, int]) -> Shape:
        """Of sequences of no steps, if a result of no numbers is all that the model can give."""
        values = [self.model.graph.tensors[place] for node in self.model.graph.nodes for place in node.outputs]
        try:
            outputs = {place: self._size_of(place, axis, sizes) for place, axis in self._batches.items()}
            every = [evaluate(size, sizes) for value in values for size in value.shape]
        except FastGRUError as error:
            raise _no_steps(shape) from error
        if min(every, default=0) < 0 or not all(0 in each for each in outputs.values()):
            raise _no_steps(shape)
        return Shape(None, (), 0, outputs)

    def _size_of(self, place: int, batch: int | None, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of an output without its batch axis."""
        shape = self.model.graph.tensors[place].shape
        return tuple(evaluate(size, sizes) for axis, size in enumerate(shape) if axis != batch)

    def width(self, row: Row, steps: tuple[int, ...]) -> int:
        """The numbers of the widest value for a row with these steps; of a GRU its gates."""
        key = row.shape.group, steps
        if key not in self._widths:
            if len(self._widths) >= MAX_ROWS:
                self._widths.clear()
            symbols = sorted({each.symbol for each in self._ragged})
            sizes = {**row.shape.sizes, **dict(zip(symbols, steps, strict=False))}
            self._widths[key] = max([sum(array.size for array in row.arrays), *self._value_sizes(sizes)])
        return self._widths[key]

    def _value_sizes(self, sizes: Mapping[str, int]) -> Iterator[int]:
        tensors = self.model.graph.tensors
        for node in self.model.graph.nodes:
            with suppress(FastGRUError):
                numbers = math.prod(evaluate(size, sizes) for size in tensors[node.outputs[0]].shape)
                yield 3 * numbers if hasattr(node.operation, "gru") else numbers

    def run(self, rows: Sequence[Row]) -> list[Any]:
        """What each of the rows gives; all are of one group."""
        if rows[0].shape.group is None:
            return [self.model._structured(self._nothings(row.shape), False) for row in rows]
        given, lengths = {}, {}
        for at, source in enumerate(self.sources):
            shapes = [row.arrays[at].shape for row in rows]
            longest = [max(sizes) for sizes in zip(*shapes, strict=True)]
            given[source.name] = _padded(rows, at, source.batch, longest)
            if source in self._ragged:
                axis = _axis_alone(source)
                lengths[source.name] = np.array([shape[axis] for shape in shapes])
        padded = any(np.ptp(ends) for ends in lengths.values())
        values, _, _ = self.model._run(given, lengths if padded else None)
        return [self.model._structured(self._cut(values, place, row), False) for place, row in enumerate(rows)]

    def _cut(self, values: Mapping[int, Array], place: int, row: Row) -> dict[int, Array]:
        """The outputs of one row of a group, cut to its own steps, and arrays of their own."""
        made = {}
        for output, array in values.items():
            axis = self._batches[output]
            if axis is not None:
                array = array[(slice(None),) * axis + (place,)]
            if row.shape.outputs is not None:
                array = array[tuple(map(slice, row.shape.outputs[output]))]
            made[output] = np.array(array, order="C")
        return made

    def _nothings(self, shape: Shape) -> dict[int, Array]:
        assert shape.outputs is not None
        kinds = {FLOAT: self.dtype, INTEGER: np.dtype(np.int64), BOOLEAN: np.dtype(np.bool_)}
        tensors = self.model.graph.tensors
        return {place: np.zeros(each, kinds[tensors[place].dtype]) for place, each in shape.outputs.items()}


def _rows_of(model: Model) -> Analysis | None:
    """An analysis in which rows are kept apart, if there is one: of the batch alone if steps are taken together."""
    if not model._analysis.mixes:
        return model._analysis
    if model.spec is None:  # then every way to take the batch was tried
        return None
    layouts = {}
    for source in model.graph.inputs:
        axes, sizes = model._analysis.inputs[source.name], plain(model.graph.tensors[source.value].shape)
        layouts[source.name] = tuple(size if has_steps(axis) else axis for axis, size in zip(axes, sizes, strict=True))
    found = Analysis(model.graph, layouts)
    return None if found.mixes else found


def _batch_axis(layout: Layout) -> int | None:
    """Where an output has its rows and nothing else."""
    return next((axis for axis, factors in enumerate(layout) if factors == (BATCH,)), None)


def _has_open_batch(source: Source) -> bool:
    return source.batch is not None and not isinstance(source.shape[source.batch], int) and not source.has_fixed_batch


def _takes_lengths(model: Model) -> bool:
    try:
        model._analysis.check_lengths()
    except UnsupportedModelError:
        return False
    return True


def _axis_alone(source: Source) -> int:
    """The axis of the steps where there is no batch axis."""
    assert source.steps is not None and source.batch is not None
    return source.steps - (source.batch < source.steps)


def _with_batch(source: Source, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of one row as a batch."""
    return tuple(shape) if source.batch is None else (*shape[: source.batch], 1, *shape[source.batch :])


def _nothing(shape: Sequence[int]) -> Array:
    """An array of a shape that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


def _padded(rows: Sequence[Row], at: int, batch: int | None, longest: Sequence[int]) -> Array:
    """One input of some rows as an array with a batch axis, zero beyond each row's own steps."""
    first = rows[0].arrays[at]
    if batch is None:  # such rows run alone
        return first
    if len(rows) == 1:
        return np.expand_dims(first, batch)
    array = np.zeros((*longest[:batch], len(rows), *longest[batch:]), first.dtype)
    by_row = np.moveaxis(array, batch, 0)
    for place, row in enumerate(rows):
        own: Any = (place, *map(slice, row.arrays[at].shape))
        by_row[own] = row.arrays[at]
    return array


def _no_steps(shape: Sequence[int]) -> ShapeError:
    return ShapeError(f"got shape {tuple(shape)}, that is no steps, and the model has no result for them; leave it out")
