"""The public class ``ModelStream``: a model some steps at a time, which all that keeps a state takes, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import as_integers, as_numbers, as_rows
from ..engine.program import Carried, Stepper
from ..errors import ShapeError, UnsupportedModelError
from ..graph.layout import has_steps
from ..graph.limits import check_stream
from ..graph.size import size_text
from .copied import Copied
from .steps import Steps, check_room, first_states

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["ModelStream"]

Array = NDArray[Any]
MAX_STEPPERS = 4  # numbers of steps for which a stream keeps its program at hand


class ModelStream(Copied):
    """Steps through a model; made by ``model.stream()``.

    It belongs to one caller at a time, and says so by an error where another thread is stepping it.
    """

    def __init__(self, model: Model, batch: int = 1, **first: ArrayLike) -> None:
        if as_integers(batch, "batch").ndim != 0 or batch < 1:
            raise ShapeError(f"batch: got {batch}, wanted a whole number of at least 1")
        streamed = model._streamed  # which says first why there is none
        for source in model.graph.inputs:
            check_stream(source, int(batch), model._analysis.inputs[source.name])
        self._model, self._states = model, streamed.states
        self._begin(first_states(model, int(batch), first), int(batch))

    def _begin(self, first: list[Array], batch: int, now: list[Array] | None = None) -> None:
        """``first`` are the states before the first step, ``now`` those to go on from."""
        self.batch, self._first = batch, first
        self._carried = Carried(first if now is None else now)
        self._steps = Steps(self._model, batch)
        self._steppers: dict[int, Stepper | None] = {}
        one = self._stepper(1)
        self.__dict__.pop("step", None)
        if one is not None and len(self._steps.sources) == 1 and type(self).step is ModelStream.step:
            # The compiled method itself: Python around it would cost as much as the step of a small model.
            self.step = one.step  # type: ignore[method-assign, assignment]

    def _stepper(self, count: int) -> Stepper | None:
        if count not in self._steppers:
            self._steppers[count] = self._steps.stepper(self._carried, count)
            while len(self._steppers) > MAX_STEPPERS:
                del self._steppers[next(each for each in self._steppers if each not in (1, count))]
        return self._steppers[count]

    def step(self, *inputs: ArrayLike, out: Any = None, **named: ArrayLike) -> Any:
        """Take one step and keep the new states: of every layer that has one, or where anything is raised of none.

        Parameters
        ----------
        *inputs, **named : array_like
            As for the model, without the axis of the steps: (batch, features), or (batch,) integers where an Embedding
            comes first; of a model of layers (features,) and one integer are taken too for one stream. Inputs that only
            first states are computed from were given to ``stream``.
        out : ndarray, or these in tuples, lists and dicts, optional
            Where to put the results: C-contiguous arrays of their shapes and dtypes. With it a step of a model that is
            one program makes no array.

        Returns
        -------
        ndarray, or these in tuples, lists and dicts
            What the model gives for the sequence up to this step, of outputs with steps for this step, without that
            axis: (batch, outputs), or (outputs,) for one stream given so; ``out`` where it was given.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit. The states are as they were.
        StreamInUseError
            Another thread is stepping this stream.
        """
        steps = self._steps
        if len(inputs) == 2 and len(steps.sources) == 1 and out is None:
            out, inputs = inputs[-1], inputs[:1]  # as of a stream of one GRU
        if len(inputs) == 1 and not named and len(steps.sources) == 1 and not isinstance(inputs[0], (dict, list)):
            pairs = [steps.step_of(0, inputs[0])]
        else:
            given = self._model._by_name(inputs, named, steps.sources)
            pairs = [steps.step_of(place, given[source.name]) for place, source in enumerate(steps.sources)]
        single = any(alone for _, alone in pairs)
        if not all(alone == single for _, alone in pairs):
            raise ShapeError("x: some inputs have a batch axis and some have not; give all of them one, or none")
        arrays = [array[None] if single else array for array, _ in pairs]
        return self._taken(arrays, 1, out, single, of_step=True)

    def run(self, *inputs: ArrayLike, out: Any = None, **named: ArrayLike) -> Any:
        """Take any number of steps, from the states as they are: the same bits as steps one by one.

        Parameters
        ----------
        *inputs, **named : array_like
            As for the model: (batch, steps, features), or (batch, steps) integers.
        out : ndarray, or these in tuples, lists and dicts, optional
            Where to put the results, as for ``step``.

        Returns
        -------
        ndarray, or these in tuples, lists and dicts
            As from the model, for these steps; ``out`` where it was given.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit. The states are as they were.
        StreamInUseError
            Another thread is stepping this stream.
        """
        sources = self._steps.sources
        given, single = self._model._prepared(self._model._by_name(inputs, named, sources), sources)
        counts = set()
        for source in sources:
            array = given[source.name]
            if source.batch is not None and array.shape[source.batch] != self.batch:
                raise ShapeError(
                    f"{source.called}: got a batch of {array.shape[source.batch]}, wanted {self.batch}: one row for "
                    "every stream"
                )
            if source.steps is not None:
                counts.add(array.shape[source.steps])
        if len(counts) != 1:
            raise ShapeError(f"x: got inputs of {sorted(counts)} steps, wanted as many of each")
        arrays = [np.require(given[source.name], requirements=["C", "A"]) for source in sources]
        return self._taken(arrays, counts.pop(), out, single, of_step=False)

    @property
    def delay(self) -> int:
        """How many steps later than what they are of the outputs come, where layers look ahead; 0: at once.

        What a step gives is what the model gives for the step that was ``delay`` steps before; in the first ``delay``
        steps that is NaN. The last ones come from ``finish``.
        """
        return self._model._streamed.delay

    def finish(self, **given: ArrayLike) -> Any:
        """The outputs that layers which look ahead have not given yet: the sequence is over, and the next begins.

        Parameters
        ----------
        **given : array_like
            The inputs of every step that have no steps themselves, as they were given to ``step``.

        Returns
        -------
        ndarray, or these in tuples, lists and dicts
            As from ``run``: what the model gives for the last ``delay`` steps; NaN where a row had fewer, and outputs
            of all steps as they were with the last. All states are then as at the start.

        Raises
        ------
        UnsupportedModelError
            There is nothing to come, or not as many steps of each output, or what a step is has open sizes.
        ShapeError, DTypeError
            An input of every step is missing, or does not fit.
        """
        streamed = self._model._streamed
        if not streamed.behind:
            why = "every step has given its outputs" if streamed.behind == 0 else "its outputs end at different steps"
            raise UnsupportedModelError(f"finish() has nothing to give: {why}")
        shapes = self._steps.shapes
        if any(not isinstance(size, int) for shape in shapes for size in shape):
            sizes = ", ".join(map(size_text, shapes))
            raise UnsupportedModelError(f"finish() takes steps of zeros, and their sizes are open: {sizes}")
        if streamed.times is not None and not self._carried.now[streamed.times[0]].any():
            raise UnsupportedModelError("finish() has nothing to give: no step was taken")
        arrays = self._behind_the_end(given)
        with self._all_or_nothing():
            if streamed.times is not None:
                position, end = streamed.times
                now = list(self._carried.now)
                now[end] = now[position].copy()
                with self._carried.turn:
                    self._carried.put(now)
            made = self._one_by_one([arrays] * streamed.behind, False)
        self.reset()
        return self._steps.structured(made)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """The states are as they were where anything is raised within."""
        before = [array.copy() for array in self._carried.now]
        try:
            yield
        except BaseException:
            with self._carried.turn:
                self._carried.put(before)
            raise

    def _behind_the_end(self, given: Mapping[str, ArrayLike]) -> list[Array]:
        """A step of zeros, and what is given with every step as it is."""
        steps = self._steps
        lasting = [source.name for source in steps.sources if source.steps is None]
        if set(given) != set(lasting):
            wanted = ", ".join(f"{name}=..." for name in lasting) or "none"
            got = ", ".join(given) or "none"
            raise ShapeError(f"finish: got the inputs {got}, wanted those of every step that have no steps: {wanted}")
        return [
            np.zeros(shape, steps.kind_of(source)) if source.steps is not None
            else steps.step_of(place, given[source.name])[0]
            for place, (source, shape) in enumerate(zip(steps.sources, steps.shapes, strict=True))
        ]  # fmt: skip

    def _one_by_one(self, steps: Sequence[list[Array]], single: bool) -> list[Array]:
        """Steps of which some rows may have no outputs yet, with the axis of the steps."""
        made = []
        for arrays in steps:
            stepper = self._stepper(1)
            if stepper is not None:
                made.append(stepper.run(arrays, None, single))
            else:
                made.append(self._steps.in_numpy(self._carried, arrays, None, single, True))
        joined = []
        for place, parts in zip(self._model._runner.outputs, zip(*made, strict=True), strict=True):
            layout = self._model._analysis.layout(place)
            along = next((at for at, factors in enumerate(layout) if has_steps(factors)), None)
            if along is None:
                joined.append(parts[-1])
            elif place in self._model._streamed.axes:
                joined.append(np.stack(parts, axis=along - single))
            else:  # with other places behind the steps, as of a Flatten
                joined.append(np.concatenate(parts, axis=along - single))
        return joined

    def _is_cold(self) -> bool:
        """Whether a row has places that are none yet."""
        times = self._model._streamed.times
        return times is not None and bool((self._carried.now[times[0]] < self._model._streamed.warm).any())

    def _taken(self, arrays: list[Array], count: int, out: Any, single: bool, of_step: bool) -> Any:
        """Some steps of arrays that fit: their outputs in the model's structure, or ``out``."""
        rooms = None if out is None else self._steps.rooms(out)
        if not of_step and count > 1 and self._is_cold():
            steps = [
                [array if source.steps is None else np.ascontiguousarray(array.take(t, source.steps))
                 for source, array in zip(self._steps.sources, arrays, strict=True)]
                for t in range(count)
            ]  # fmt: skip
            with self._all_or_nothing():
                made = self._one_by_one(steps, single)
                for to, array in zip(rooms or (), made, strict=False):
                    check_room(to, array)
            for to, array in zip(rooms or (), made, strict=False):
                to[...] = array
            return self._steps.structured(made) if out is None else out
        stepper = self._stepper(count) if of_step or count > 1 else None
        if stepper is not None:
            made = stepper.run(arrays, rooms, single)
        else:
            made = self._steps.in_numpy(self._carried, arrays, rooms, single, of_step)
        return self._steps.structured(made) if out is None else out

    @property
    def state(self) -> tuple[Array, ...]:
        """The states of every layer that has one, in order: read-only copies, which can be set again later.

        Those of a GRU are (layers, batch, hidden), of a convolution or a pool its last inputs. To change states, set
        the attribute to arrays for all of them, or ``reset(rows=...)``.
        """
        with self._carried.turn:
            states = tuple(np.array(now) for now in self._carried.now)
        for array in states:
            array.flags.writeable = False
        return states

    @state.setter
    def state(self, states: Sequence[ArrayLike]) -> None:
        now = self._carried.now
        if not isinstance(states, (list, tuple)) or len(states) != len(now):
            raise ShapeError(f"state: wanted a list of {len(now)} arrays, one for every layer that keeps a state")
        arrays = []
        for given, array in zip(states, now, strict=True):
            floats = array.dtype.kind == "f"
            made = as_numbers(given, "state", array.dtype) if floats else as_integers(given, "state")
            if made.shape != array.shape:
                raise ShapeError(f"state: got shape {made.shape}, wanted {array.shape}")
            arrays.append(made)
        with self._carried.turn:
            self._carried.put(arrays)

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Set every state to what it is before the first step, or those of some rows.

        Parameters
        ----------
        rows : int, array_like of int, or array_like of bool (batch,), optional
            Which streams of the batch begin again: their numbers from 0, or a truth for each; the others go on.
            None: all.

        Raises
        ------
        ShapeError, DTypeError
            There is no such row. The states are as they were.
        UnsupportedModelError
            A layer keeps a state of several rows together, as of rows that are concatenated.
        """
        chosen = slice(None) if rows is None else as_rows(rows, self.batch)
        if not isinstance(chosen, slice) and len({*chosen.tolist()}) == self.batch:
            rows = None
        if rows is not None:
            self._check_rows("begins again")
        with self._carried.turn:
            made = []
            for state, now, first in zip(self._states, self._carried.now, self._first, strict=True):
                changed = (first if rows is None else now).copy()
                if rows is not None and state.batch is not None:
                    state.rows(changed)[chosen] = state.rows(first)[chosen]
                made.append(changed)
            self._carried.put(made)

    def take(self, rows: ArrayLike) -> None:
        """Let the streams go on from the states of these rows: the first from that of ``rows[0]``, and so on.

        So does a search with beams. Rows may come in any order, several times or not at all, and there are as many
        streams afterwards as rows were given.

        Parameters
        ----------
        rows : int, array_like of int, or array_like of bool (batch,)
            Their numbers from 0, or a truth for each.

        Raises
        ------
        ShapeError, DTypeError
            There is no such row, or none is taken. The states are as they were.
        UnsupportedModelError
            As for ``reset``.
        """
        chosen = as_rows(rows, self.batch)
        if not len(chosen):
            raise ShapeError("rows: got none, wanted at least one stream to go on")
        self._check_rows("goes on")
        for source in self._model.graph.inputs:
            check_stream(source, len(chosen), self._model._analysis.inputs[source.name])
        with self._carried.turn:
            now, first = (
                [state.taken(array, chosen) for state, array in zip(self._states, arrays, strict=True)]
                for arrays in (self._carried.now, self._first)
            )
            self._begin(first, len(chosen), now)

    def _check_rows(self, what: str) -> None:
        """Raise where a state has rows together, so that none of them can be told from the others."""
        for state in self._states:
            if state.joins_rows:
                raise UnsupportedModelError(
                    f"layer {state.node!r} keeps a state of rows together, of which none {what} alone; use a stream "
                    "for each, or reset() of all"
                )

    def __getstate__(self) -> dict[str, Any]:
        made = ("_states", "_carried", "_steps", "_steppers", "step")
        return {**{name: value for name, value in self.__dict__.items() if name not in made}, "state": self.state}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        own = dict(saved)
        now = list(own.pop("state"))
        self.__dict__.update(own)
        self._states = self._model._streamed.states
        self._begin(self._first, self.batch, now)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model!r}, batch={self.batch})"
