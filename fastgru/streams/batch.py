"""What a pool steps together: batches of a few sizes, with the programs for them, and the parts of arrays they take."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import as_integers
from ..engine.program import Carried, Exchange, Stepper
from ..errors import ShapeError, UnsupportedModelError
from ..graph.layout import BATCH, has_steps
from ..model_inputs import Source
from .steps import Steps

if TYPE_CHECKING:
    from ..model import Model

__all__ = [
    "Batches", "as_ids", "batch_axis", "check_rows", "first_of", "power_below", "rows_of", "steps_from",
]  # fmt: skip

Array = NDArray[Any]
MAX_ROWS = 1024  # that step together; more are taken in turn
MAX_EXACT = 16  # numbers of rows for which there are batches of just so many
MAX_SEEN = 256  # numbers of rows that are remembered as having come once
MAX_KEPT = 4  # batches of one size that are kept for calls to come


class Batch:
    """The states of a batch of one size, and the programs that step them."""

    def __init__(self, model: Model, size: int) -> None:
        self.size, self.steps = size, Steps(model, size)
        self.carried = Carried([state.zeros(size, model.dtype) for state in model._streamed.states])
        self._steppers: dict[int, Stepper | None] = {}

    def run(
        self, arrays: list[Array], count: int, of_step: bool, rooms: list[Any] | None, exchange: Exchange
    ) -> list[Array]:  # fmt: skip
        """The outputs of some steps, in ``rooms`` where they are given, from and to the states of a pool."""
        if count not in self._steppers:
            self._steppers[count] = self.steps.stepper(self.carried, count)
        stepper = self._steppers[count]
        if stepper is None or (count == 1 and not of_step):
            exchange.bring(self.carried)
            made = self.steps.in_numpy(self.carried, arrays, rooms, False, of_step)
            exchange.take_back(self.carried)
            return made
        made = stepper.run(arrays, rooms, False, exchange)
        return made if rooms is None else rooms


class Batches:
    """The batches of a model that no call has."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._ready: dict[int, deque[Batch]] = {}  # whose room is kept when the last is taken, unlike a list's
        self._seen: set[int] = set()  # numbers of rows that came once
        self._exact: set[int] = set()  # and more often

    def take(self, n: int) -> Batch:
        """A batch for n rows, or for the first of them."""
        size = self._size_for(n)
        try:
            return self._ready[size].pop()
        except (KeyError, IndexError):
            return Batch(self._model, size)

    def give(self, batch: Batch) -> None:
        kept = self._ready.get(batch.size)
        if kept is None:
            kept = self._ready.setdefault(batch.size, deque())
        if len(kept) < MAX_KEPT:
            kept.append(batch)

    def _size_for(self, n: int) -> int:
        """n, where as many came before, or a power of two."""
        if n > MAX_ROWS:
            return MAX_ROWS
        if n in self._exact:
            return n
        if len(self._exact) < MAX_EXACT:
            if n in self._seen:
                self._exact.add(n)
                return n
            if len(self._seen) >= MAX_SEEN:
                self._seen = set()
            self._seen.add(n)
        return power_above(n)


def as_ids(ids: ArrayLike) -> NDArray[np.int64]:
    array = np.atleast_1d(as_integers(ids, "ids"))
    if array.ndim != 1:
        raise ShapeError(f"ids: got shape {array.shape}, wanted one id or a list of them")
    if not array.size:
        raise ShapeError("ids: got none, wanted at least one")
    return np.ascontiguousarray(array, np.int64)


def batch_axis(source: Source, of_step: bool) -> int:
    """Where the batch is in an input of a step, or of several."""
    assert source.batch is not None
    return source.batch - (of_step and source.steps is not None and source.steps < source.batch)


def rows_of(array: Array, axis: int, start: int, count: int) -> Array:
    """``count`` rows of an array, the last of which fills what is left."""
    index = np.minimum(np.arange(start, start + count), array.shape[axis] - 1)
    return np.ascontiguousarray(np.take(array, index, axis=axis))


def first_of(array: Array, count: int, axis: int) -> Array:
    """The first rows of an array of one's own."""
    return array if array.shape[axis] == count else array[(slice(None),) * axis + (slice(count),)]


def steps_from(array: Array, source: Source, start: int, count: int) -> Array:
    if source.steps is None:
        return array
    return array[(slice(None),) * source.steps + (slice(start, start + count),)]


def power_below(count: int) -> int:
    return 1 << (count.bit_length() - 1)


def power_above(count: int) -> int:
    return 1 << (count - 1).bit_length()


def check_rows(model: Model) -> None:
    """Raise unless every row of the outputs is of one stream."""
    if any(state.batch is None for state in model._streamed.states):
        raise UnsupportedModelError(
            "a pool has a state for every stream, but a layer keeps one for all rows; use model.stream() instead"
        )
    for place in model._runner.outputs:
        layout = model._analysis.layout(place)
        if (BATCH,) not in layout or any(has_steps(axis) and len(axis) > 1 for axis in layout):
            raise UnsupportedModelError(
                "a pool gives every stream its row of the outputs, but an output has no axis of its own for them; use "
                "model.stream() instead"
            )
