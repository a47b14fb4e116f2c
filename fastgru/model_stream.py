"""The public class ``ModelStream``: a model some steps at a time, which every GRU of it takes, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_integers, as_rows
from .engine.state import Turn, keep_all, put_all
from .errors import ShapeError
from .graph.layout import is_steps
from .graph.limits import check_stream
from .graph.size import size_text
from .graph.streaming import Streaming, check_streams
from .model_inputs import Source, as_kind
from .stream import as_states, state_of

if TYPE_CHECKING:
    from .model import Model

__all__ = ["ModelStream"]

Array = NDArray[Any]


class ModelStream:
    """Steps through a model; made by ``model.stream()``.

    It belongs to one caller at a time, and says so by an error where another thread is stepping it.
    """

    def __init__(self, model: Model, batch: int = 1) -> None:
        if as_integers(batch, "batch").ndim != 0 or batch < 1:
            raise ShapeError(f"batch: got {batch}, wanted a whole number of at least 1")
        check_streams(model._runner)
        for source in model.graph.inputs:
            check_stream(source, int(batch), model._analysis.inputs[source.name])
        self._model = model
        self._begin(int(batch))

    def _begin(self, batch: int) -> None:
        self.batch = batch
        self._turn = Turn()
        self._streaming = Streaming(self._model._runner, batch, state_of)
        self._states: list[Any] = self._streaming.states
        self._steps = self._streaming.steps
        analysis = self._model._analysis
        self._axes: dict[int, int] = {}  # of the steps in each output that has them alone on an axis
        for place in self._model._runner.outputs:
            axes = [axis for axis, factors in enumerate(analysis.layout(place)) if is_steps(factors)]
            if axes:
                self._axes[place] = axes[0]
        self._now = {place: (slice(None),) * axis + (0,) for place, axis in self._axes.items()}
        self._index = {source.name: (slice(None),) * (source.steps or 0) + (None,) for source in self._model._sources}
        self._shapes = {source.name: self._shape_of(source) for source in self._model._sources}

    def step(self, *inputs: ArrayLike, **named: ArrayLike) -> Any:
        """Take one step and keep the new states: of every GRU of the model, or where anything is raised of none.

        Parameters
        ----------
        *inputs, **named : array_like
            As for the model, without the axis of the steps: (batch, features), or (batch,) integers where an Embedding
            comes first; of a model of layers (features,) and one integer are taken too for one stream.

        Returns
        -------
        ndarray, or these in tuples, lists and dicts
            What the model gives for the sequence up to this step, of outputs with steps for this step, without that
            axis: (batch, outputs), or (outputs,) for one stream given so.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit. The states are as they were.
        StreamInUseError
            Another thread is stepping this stream.
        """
        model = self._model
        if len(inputs) == 1 and not named and len(model._sources) == 1 and not isinstance(inputs[0], (dict, list)):
            source = model._sources[0]
            array, single = self._step_of(source, inputs[0])
            values = self._run({source.name: array}, 1)
        else:
            given = model._by_name(inputs, named)
            pairs = {source.name: self._step_of(source, given[source.name]) for source in model._sources}
            single = all(alone for _, alone in pairs.values())
            values = self._run({name: array for name, (array, _) in pairs.items()}, 1)
        for place, index in self._now.items():
            values[place] = values[place][index]
        return model._structured(values, single)

    def run(self, *inputs: ArrayLike, **named: ArrayLike) -> Any:
        """Take any number of steps, from the states as they are: the same bits as steps one by one.

        Parameters
        ----------
        *inputs, **named : array_like
            As for the model: (batch, steps, features), or (batch, steps) integers.

        Returns
        -------
        ndarray, or these in tuples, lists and dicts
            As from the model, for these steps.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit. The states are as they were.
        StreamInUseError
            Another thread is stepping this stream.
        """
        model = self._model
        arrays, single = model._prepared(model._by_name(inputs, named))
        counts = set()
        for source in model._sources:
            array = arrays[source.name]
            if source.batch is not None and array.shape[source.batch] != self.batch:
                raise ShapeError(
                    f"{source.called}: got a batch of {array.shape[source.batch]}, wanted {self.batch}: one row for "
                    "every stream"
                )
            if source.steps is not None:
                counts.add(array.shape[source.steps])
        if len(counts) != 1:
            raise ShapeError(f"x: got inputs of {sorted(counts)} steps, wanted as many of each")
        values = self._run(arrays, counts.pop())
        return model._structured(values, single)

    def _run(self, arrays: dict[str, Array], count: int) -> dict[int, Array]:
        with self._turn, np.errstate(all="ignore"):  # NaN and overflows are results like others
            values, pending = self._streaming.run(arrays, count)
            made = self._model._apart(values, arrays)
            if count == 1:
                keep_all(self._states)
            else:
                put_all([state for state, _ in pending], [states for _, states in pending])
        return made

    def _step_of(self, source: Source, given: Any) -> tuple[Array, bool]:
        """One step of an input with an axis for it, and whether it came without a batch axis."""
        array = as_kind(source, given, self._model._dtype)
        shape = self._shapes[source.name]
        if array.shape == shape:
            return (array if source.steps is None else array[self._index[source.name]]), False
        single = self._model.spec is not None and self.batch == 1 and array.ndim == len(shape) - 1
        array = array[None] if single else array
        wrong = array.ndim != len(shape) or any(
            isinstance(size, int) and got != size for got, size in zip(array.shape, shape, strict=True)
        )
        if wrong:
            raise ShapeError(
                f"{source.called}: got shape {np.shape(given)}, wanted {size_text(shape)}: one step of every stream"
            )
        return (array if source.steps is None else array[self._index[source.name]]), single

    def _shape_of(self, source: Source) -> tuple[Any, ...]:
        """Of one step of an input."""
        shape = tuple(self.batch if at == source.batch else size for at, size in enumerate(source.shape))
        return shape if source.steps is None else (*shape[: source.steps], *shape[source.steps + 1 :])

    @property
    def state(self) -> tuple[Array, ...]:
        """The states of every GRU of the model, in order: read-only copies, which can be set again later.

        To change states, set the attribute to arrays for all GRUs, or ``reset(rows=...)``.
        """
        with self._turn:
            states = tuple(np.asarray(state.get()) for state in self._states)
        for array in states:
            array.flags.writeable = False
        return states

    @state.setter
    def state(self, states: list[Array] | tuple[Array, ...]) -> None:
        if not isinstance(states, (list, tuple)) or len(states) != len(self._states):
            raise ShapeError(f"state: wanted a list of {len(self._states)} arrays, one for every GRU of the model")
        held = zip(states, self._streaming.stacks, self._states, strict=True)
        arrays = [as_states(given, stack, state.batch) for given, stack, state in held]
        with self._turn:
            put_all(self._states, arrays)

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Set every state to zero, as at the start, or those of some rows.

        Parameters
        ----------
        rows : int, array_like of int, or array_like of bool (batch,), optional
            Which streams of the batch begin again: their numbers from 0, or a truth for each; the others go on.
            None: all.

        Raises
        ------
        ShapeError, DTypeError
            There is no such row. The states are as they were.
        """
        chosen = slice(None) if rows is None else as_rows(rows, self.batch)
        with self._turn:
            arrays = [np.asarray(state.get()) for state in self._states]
            for array in arrays:
                array[:, chosen] = 0
            put_all(self._states, arrays)

    def copy(self) -> ModelStream:
        """A stream of its own that goes on from the same states."""
        other = object.__new__(type(self))
        other.__setstate__(self.__getstate__())
        return other

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelStream:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        made = ("_turn", "_streaming", "_steps", "_states", "_axes", "_now", "_index", "_shapes")
        return {**{name: value for name, value in self.__dict__.items() if name not in made}, "state": self.state}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        own = dict(saved)
        states = own.pop("state")
        self.__dict__.update(own)
        self._begin(self.batch)
        self.state = states

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model!r}, batch={self.batch})"
