"""The rows of all inputs of a model: how many are run together, and what each of them gives.

Owns the cutting into batches, and the names of what a model takes and gives; it reads and writes no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, Union

import numpy as np

from ..arrays import as_lengths
from ..errors import DTypeError, FastGRUError, ShapeError
from ..graph.graph import FLOAT, leaves
from ..graph.size import evaluate, symbol
from ..gru import GRU
from ..layers import edge_of
from ..model import Model, as_tuple
from ..model_inputs import Source

__all__ = ["Lengths", "Rows", "has_fixed_batch", "inputs_of", "outputs_of", "rows_at_once"]

NUMBERS_AT_ONCE = 2**25  # of the widest layer in one batch of rows: 128 MB of float32
MIN_ROWS, MAX_ROWS = 16, 4096  # a tile of rows for each of two threads; a small step of a progress bar
WORTH = 4  # times as many numbers, where a batch has its fewest rows only so

Array = np.ndarray[Any, Any]
Lengths = Union[Array, Mapping[str, Array], None]
Result = TypeVar("Result")


def inputs_of(model: GRU | Model) -> list[Source]:
    """What a model takes; a GRU's only input is called x."""
    if isinstance(model, GRU):
        return [Source("x", FLOAT, (symbol("batch"), symbol("steps"), model.input_size), 0, 1, "steps", called="x")]
    sources: list[Source] = model.sources
    return sources


def has_fixed_batch(model: GRU | Model) -> bool:
    """Whether a model's file fixed how many rows run together."""
    return any(source.has_fixed_batch for source in inputs_of(model))


def outputs_of(model: GRU | Model) -> list[str]:
    """A name for everything that a model gives: its own, or else what it comes from, with a number behind."""
    if isinstance(model, GRU):
        return ["y"]
    names: list[str] = []
    for name in _names(model):
        while name in names:
            name += "_again"
        names.append(name)
    return names


def _names(model: Model) -> Iterator[str]:
    if model.spec is not None and model.spec.output_names is None:
        for layer, index in map(edge_of, model.spec.outputs):
            yield f"{layer}_{index}" if index else layer
    elif isinstance(model.graph.outputs, dict):
        for key, part in model.graph.outputs.items():
            count = len([*leaves(part)])
            yield from [str(key)] if count == 1 else (f"{key}_{place}" for place in range(count))
    else:
        makers = {place: (node.name, at) for node in model.graph.nodes for at, place in enumerate(node.outputs)}
        for place in leaves(model.graph.outputs):
            name, index = makers.get(place, ("output", 0))
            yield f"{name}_{index}" if index else name


def rows_at_once(model: GRU | Model, x: Mapping[str, Array]) -> int:
    """Rows of (batch, ...) to run together: as many as keep every value at a moderate size."""
    count = max(array.shape[0] if array.ndim else 1 for array in x.values())
    width = max(array[0].size if array.ndim and len(array) else 1 for array in x.values())
    if isinstance(model, GRU):
        steps = x["x"].shape[1] if x["x"].ndim > 1 else 1
        width = max(width, 3 * model.spec.output_size * steps)
    elif not model.keeps_rows_apart or has_fixed_batch(model):
        return max(count, 1)
    else:
        with suppress(FastGRUError):  # what does not fit is said when it runs
            width = max(width, _widest(model, {name: array[:1] for name, array in x.items()}))
    rows = NUMBERS_AT_ONCE // max(width, 1)
    return int(min(max(rows, min(MIN_ROWS, WORTH * rows), 1), MAX_ROWS))


def _widest(model: Model, x: Mapping[str, Array]) -> int:
    """The numbers of a row in the largest value of a model while it runs; of a GRU its gates."""
    sizes = model.sizes(x)

    def numbers(place: int) -> int:
        return math.prod(evaluate(size, sizes) for size in model.graph.tensors[place].shape)

    gates = [3 * numbers(node.outputs[0]) for node in model.graph.nodes if hasattr(node.operation, "gru")]
    return max([numbers(node.outputs[0]) for node in model.graph.nodes] + gates, default=1)


def _batch_of(source: Source, array: Array) -> Iterator[int]:
    """The rows of an array, if it has the batch axis that the input may have."""
    if source.batch is not None and array.ndim == len(source.shape):
        yield array.shape[source.batch]


class Rows:
    """The rows of all inputs, where they have any: cut together, and run.

    ``batched`` is whether they can be cut: all inputs have a batch axis, and rows come out as they go in. ``count`` is
    how many there are to cut, or else 1; ``total`` how many there are.
    """

    def __init__(self, model: GRU | Model, x: Mapping[str, Array], lengths: Lengths) -> None:
        sources = inputs_of(model)
        whole = [source for source in sources if x[source.name].ndim == len(source.shape) and source.batch == 0]
        counts = {x[source.name].shape[0] for source in whole}
        self.batched = len(counts) == 1 and len(whole) == len(sources)
        self.batched &= isinstance(model, GRU) or model.keeps_rows_apart
        self.total = max((count for each in sources for count in _batch_of(each, x[each.name])), default=1)
        self.count = self.total if self.batched else 1
        self._model, self._x = model, x
        stepped = [source.name for source in sources if source.steps is not None]
        self._lengths: dict[str, Array] = {}
        if lengths is not None:
            self._lengths = dict(lengths) if isinstance(lengths, Mapping) else dict.fromkeys(stepped, lengths)
            unknown = [name for name in self._lengths if name not in stepped]
            if unknown or not stepped:
                named = ", ".join(unknown) or "some"
                raise ShapeError(f"lengths: got {named}, but the inputs with steps are {', '.join(stepped) or 'none'}")
        if self.batched:  # all of them, before the first batch is computed
            for name, ends in self._lengths.items():
                as_lengths(ends, self.count, x[name].shape[1])

    def run(self, first: int, end: int) -> tuple[Sequence[Array], Array]:
        """Outputs and final states of some rows; a Model's states are empty."""
        model = self._model
        if isinstance(model, GRU):
            y, h = self.taken(first, end, lambda x, lengths: model(x, lengths=lengths))
            return [y], h
        made = self.taken(first, end, lambda x, lengths: model(x, lengths=lengths))
        return as_tuple(made), np.empty(0)

    def taken(self, first: int, end: int, compute: Callable[[Any, Any], Result]) -> Result:
        """What ``compute`` makes of some rows and their lengths, both in the form in which the model takes them."""
        given, lengths = self.cut(first, end)
        try:
            return compute(given, lengths)
        except (DTypeError, ShapeError) as error:
            if not self.batched or end - first >= self.count:
                raise
            raise type(error)(f"rows from {first} of {self.count}: {error}") from error

    def cut(self, first: int, end: int) -> tuple[Any, Any]:
        """Some rows and their lengths, in the form in which the model takes them."""
        cut = slice(first, min(end, self.count)) if self.batched else ...
        given = {name: array[cut] for name, array in self._x.items()}
        lengths = {name: ends[cut] for name, ends in self._lengths.items()}
        if isinstance(self._model, GRU):
            return given["x"], lengths.get("x")
        return given if len(given) > 1 else next(iter(given.values())), lengths or None
