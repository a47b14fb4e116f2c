"""The public class ``Pool``: many streams through one model, of which any may join, step and leave at any time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import as_integers
from ..engine.program import Claim, Exchange, Slots
from ..errors import DTypeError, ShapeError, UnsupportedModelError
from ..graph.layout import BATCH
from ..graph.limits import check_stream
from ..model_inputs import Source
from .batch import Batches, as_ids, batch_axis, check_rows, first_of, power_below, rows_of, steps_from
from .steps import Steps, check_room, first_states

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["Pool"]

Array = NDArray[Any]
MAX_COUNT = 64  # steps that a program takes
MAX_KNOWN = 256  # numbers of streams of which it is remembered what a step of them takes


class Pool:
    """Streams through one model that step in any groups; made by ``model.pool()``.

    Any number of threads may call one at the same time; a call has its streams for itself, and one that is wanted
    meanwhile by another call is an error of that call. What a stream gives has the bits of a stream of its own.

    Parameters
    ----------
    model : Model
    capacity : int
        Streams that there may be at a time.

    Examples
    --------
    >>> import numpy as np, fastgru
    >>> from fastgru.layers import GRULayer, GRUWeights, sequential
    >>> weights = GRUWeights(np.ones((6, 3)), np.ones((6, 2)), np.zeros(6), np.zeros(6))
    >>> pool = fastgru.Model(sequential([("gru", GRULayer(fastgru.GRUSpec(((weights,),))))])).pool(100)
    >>> ids = pool.join(5)
    >>> pool.step(ids[[3, 0]], np.ones((2, 3))).shape
    (2, 2)
    >>> pool.leave(ids[:4])
    >>> len(pool)
    1
    """

    def __init__(self, model: Model, capacity: int) -> None:
        if as_integers(capacity, "capacity").ndim != 0 or capacity < 1:
            raise ShapeError(f"capacity: got {capacity}, wanted a whole number of at least 1")
        self._model, self._states = model, model._streamed.states
        for source in model.graph.inputs:
            check_stream(source, 1, model._analysis.inputs[source.name])
        check_rows(model)
        if model._streamed.delay or model._streamed.behind != 0:
            raise UnsupportedModelError(
                f"a pool gives the outputs of a step with it, but here they come {max(model._streamed.delay, 1)} steps "
                "later, or when the sequence is over; use model.stream() instead"
            )
        self._slots = Slots(int(capacity))
        # The states that every stream begins with; None where they are computed from inputs.
        self._first = None if model._streamed.firsts is not None else self._by_row(first_states(model, 1, {}))
        shapes = self._by_row([state.zeros(1, model.dtype) for state in self._states])
        rows = {len(each) for each in (*shapes, *(self._first or ()))}
        if rows - {1}:
            raise UnsupportedModelError(
                f"a pool takes any number of streams, but the model is made for {max(rows)} rows at a time; use "
                "model.stream() instead, or export it with an open batch size"
            )
        self._store = [np.zeros((2 * int(capacity), *each.shape[1:]), each.dtype) for each in shapes]
        self._batches = Batches(model)
        self._known: dict[int, Steps] = {}

    def _begun(self, n: int, first: Mapping[str, ArrayLike]) -> list[Array]:
        """The states that n streams, or all, begin with."""
        if self._first is not None and not first:
            return self._first
        return self._by_row(first_states(self._model, n, first))

    def _by_row(self, states: Sequence[Array]) -> list[Array]:
        """States with the batch on the first axis."""
        return [state.rows(array) for state, array in zip(self._states, states, strict=True)]

    capacity = property(lambda self: self._slots.capacity, doc="Streams that there may be at a time.")

    def __len__(self) -> int:
        return self._slots.count

    def join(self, n: int = 1, **first: ArrayLike) -> NDArray[np.int64]:
        """Let new streams begin.

        Parameters
        ----------
        n : int
            How many.
        **first : array_like
            Inputs that only first states are computed from, as for ``model.stream``.

        Returns
        -------
        ndarray of int64, (n,)
            Their ids, which no other stream of this pool ever has.

        Raises
        ------
        ShapeError, DTypeError
            There is no room for as many, or an input does not fit. Nothing has changed.
        """
        if as_integers(n, "n").ndim != 0 or n < 1:
            raise ShapeError(f"n: got {n}, wanted a whole number of at least 1")
        begun = self._begun(int(n), first)
        ids, claim = self._slots.join(int(n))
        try:
            rows = claim.rows()
            for store, array in zip(self._store, begun, strict=True):
                store[rows] = array
        except BaseException:
            claim.leave()
            raise
        claim.give_back()
        return ids

    def leave(self, ids: ArrayLike) -> None:
        """Let streams end; their ids are nobody's from then on.

        Raises
        ------
        ShapeError, DTypeError, StreamInUseError
            An id is no stream's, comes twice, or is at work in another call. Nothing has changed.
        """
        self._slots.claim(as_ids(ids)).leave()

    def reset(self, ids: ArrayLike, **first: ArrayLike) -> None:
        """Let streams begin again.

        Parameters
        ----------
        ids : array_like of int, (n,)
        **first : array_like
            As for ``join``.

        Raises
        ------
        ShapeError, DTypeError, StreamInUseError
            As for ``leave``.
        """
        wanted = as_ids(ids)
        begun = self._begun(len(wanted), first)
        with self._claimed(wanted) as claim:
            after = claim.rows(True)
            for store, array in zip(self._store, begun, strict=True):
                store[after] = array

    def state(self, ids: ArrayLike) -> tuple[Array, ...]:
        """The states of streams: copies, each as of a stream of them (see ``ModelStream.state``)."""
        wanted = as_ids(ids)
        claim = self._slots.claim(wanted)
        rows = claim.rows()
        found = [store[rows] for store in self._store]
        claim.give_back()
        made = []
        for state, array in zip(self._states, found, strict=True):
            copy = state.zeros(len(wanted), self._model.dtype)
            state.rows(copy)[...] = array
            made.append(copy)
        return tuple(made)

    def step(self, ids: ArrayLike, *inputs: ArrayLike, out: Any = None, **named: ArrayLike) -> Any:
        """Take one step of some streams.

        Parameters
        ----------
        ids : array_like of int, (n,)
            Every stream once, in any order.
        *inputs, **named : array_like
            As for ``ModelStream.step`` of a batch of them: (n, features), or (n,) integers.
        out : ndarray, or these in tuples, lists and dicts, optional
            Where to put the results: arrays of their shapes and dtypes.

        Returns
        -------
        ndarray, or these in tuples, lists and dicts
            As from ``ModelStream.step``: row i is of the stream ``ids[i]``.

        Raises
        ------
        ShapeError, DTypeError, StreamInUseError
            An argument does not fit; an id is no stream's, comes twice, or is at work in another call. All states are
            as they were.
        """
        wanted = as_ids(ids)
        steps = self._steps_of(len(wanted))
        given = self._model._by_name(inputs, named, steps.sources)
        arrays = []
        for place, source in enumerate(steps.sources):
            array, single = steps.step_of(place, given[source.name])
            arrays.append(array[None] if single else array)
        rooms = None if out is None else steps.rooms(out)
        with self._claimed(wanted) as claim:
            made = self._taken(claim, arrays, steps.sources, rooms=rooms)
            if rooms is not None and made is not rooms:
                for to, array in zip(rooms, made, strict=True):
                    check_room(to, array)
                for to, array in zip(rooms, made, strict=True):
                    to[...] = array
        return steps.structured(made) if out is None else out

    def run(self, ids: ArrayLike, sequences: Sequence[ArrayLike]) -> list[Any]:
        """Take any number of steps of some streams, of each its own.

        Parameters
        ----------
        ids : array_like of int, (n,)
        sequences : list of array_like
            For each stream its steps, without an axis of the batch: (steps, features), or (steps,) integers; of a model
            of several inputs a list of these, in order. Their numbers of steps may differ.

        Returns
        -------
        list
            For each stream what the model gives for these steps, without an axis of the batch.

        Raises
        ------
        ShapeError, DTypeError, StreamInUseError
            As for ``step``. All states are as they were.
        """
        wanted = as_ids(ids)
        steps = self._steps_of(1)
        if len(sequences) != len(wanted):
            raise ShapeError(f"sequences: got {len(sequences)}, wanted {len(wanted)}: one for every id")
        given = [self._sequence(place, each, steps.sources) for place, each in enumerate(sequences)]
        parts: list[list[list[Array]]] = [[] for _ in wanted]
        cold = self._model._streamed.warm > 0  # a row may have places that are none yet, which single steps leave out
        with self._claimed(wanted) as claim:
            self._carry(claim)
            left = np.array([count for _, count in given], np.intp)
            done = np.zeros(len(wanted), np.intp)
            while (left > 0).any():
                rows = np.flatnonzero(left > 0)
                count = 1 if cold else power_below(min(int(left[rows].min()), MAX_COUNT))
                arrays = [
                    np.concatenate([steps_from(given[row][0][at], each, int(done[row]), count) for row in rows],
                                   axis=each.batch or 0)
                    for at, each in enumerate(steps.sources)
                ]  # fmt: skip
                made = self._taken(claim, arrays, steps.sources, count, rows)
                for place, row in enumerate(rows):
                    parts[row].append([each.take([place], axis) for each, axis in zip(made, self._axes(), strict=True)])
                done[rows] += count
                left[rows] -= count
            return [self._joined(steps, each) for each in parts]

    def _sequence(self, place: int, given: Any, sources: Sequence[Source]) -> tuple[list[Array], int]:
        """One stream's arrays with an axis for it, and its number of steps."""
        parts = list(given) if len(sources) > 1 else [given]
        if len(parts) != len(sources):
            raise ShapeError(f"sequences: {place} has {len(parts)} arrays, wanted {len(sources)}")
        named = {}
        for source, part in zip(sources, parts, strict=True):
            array = np.asarray(part)
            named[source.name] = array if source.batch is None else np.expand_dims(array, min(source.batch, array.ndim))
        try:
            arrays, _ = self._model._prepared(named, sources)
        except (ShapeError, DTypeError) as error:
            raise type(error)(f"sequences: {place}: {error}") from None
        counts = {arrays[s.name].shape[s.steps] for s in sources if s.steps is not None}
        if len(counts) != 1:
            raise ShapeError(f"sequences: {place} has inputs of {sorted(counts)} steps, wanted as many of each")
        return [arrays[source.name] for source in sources], counts.pop()

    def _joined(self, steps: Steps, parts: list[list[Array]]) -> Any:
        """The outputs of parts of a sequence as those of the whole, without the axis of the batch."""
        made = []
        streamed = self._model._streamed
        for place, old in enumerate(self._model._runner.outputs):
            axis, batch = streamed.axes.get(old), self._axes()[place]
            whole = parts[-1][place] if axis is None else np.concatenate([part[place] for part in parts], axis=axis)
            made.append(np.ascontiguousarray(whole.take(0, batch)))
        return steps.structured(made)

    def _axes(self) -> list[int]:
        """Where the batch is in each output of several steps."""
        layout = self._model._analysis.layout
        return [layout(place).index((BATCH,)) for place in self._model._runner.outputs]

    @contextmanager
    def _claimed(self, ids: NDArray[np.int64]) -> Iterator[Claim]:
        """A claim on streams, whose states that were written count when nothing was raised."""
        claim = self._slots.claim(ids)
        try:
            yield claim
            claim.turn()
        finally:
            claim.give_back()

    def _carry(self, claim: Claim) -> None:
        """Let the states that do not count yet be those that do."""
        now, after = claim.rows(), claim.rows(True)
        for store in self._store:
            store[after] = store[now]

    def _taken(
        self, claim: Claim, arrays: Sequence[Array], sources: Sequence[Source], count: int = 1,
        rows: NDArray[np.intp] | None = None, rooms: list[Any] | None = None,
    ) -> list[Array]:  # fmt: skip
        """The outputs of one step of all streams of a claim, in ``rooms`` where they fit, or of steps of some ``rows``.

        Those of ``rows`` go on from the states that do not count yet.
        """
        of_step, n = rows is None, len(claim) if rows is None else len(rows)
        made: list[list[Array]] = []
        axes = self._axes()
        if of_step:
            places = zip(self._model._runner.outputs, axes, strict=True)
            gone = [self._model._streamed.axes.get(place) for place, _ in places]
            axes = [axis - (steps is not None and steps < axis) for axis, steps in zip(axes, gone, strict=True)]
        start = 0
        while start < n:
            batch = self._batches.take(n - start)
            size = batch.size
            parts = [state.parts(now) for state, now in zip(self._states, batch.carried.now, strict=True)]
            exchange = Exchange(claim, self._store, parts, size, rows, start, not of_step)
            whole = size == n
            given = [
                array if whole or each.batch is None else rows_of(array, batch_axis(each, of_step), start, size)
                for each, array in zip(sources, arrays, strict=True)
            ]
            results = batch.run(given, count, of_step, rooms if whole else None, exchange)
            self._batches.give(batch)
            if whole:
                return results
            made.append([first_of(each, n - start, axis) for each, axis in zip(results, axes, strict=True)])
            start += size
        if len(made) == 1:
            return made[0]
        return [np.concatenate(parts, axis=axis) for *parts, axis in zip(*made, axes, strict=True)]

    def _steps_of(self, n: int) -> Steps:
        """What a step of n streams takes and gives."""
        steps = self._known.get(n)
        if steps is None:
            if len(self._known) >= MAX_KNOWN:
                self._known = {}
            steps = self._known[n] = Steps(self._model, n)
        return steps

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model!r}, capacity={self.capacity})"
