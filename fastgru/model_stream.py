"""The public class ``ModelStream``: a model one step at a time, which every GRU of it takes, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_integers, as_numbers, as_rows
from .engine.state import Turn, keep_all, put_all
from .errors import ShapeError, UnsupportedModelError
from .spec import FinalState, GRULayer, Last, Node, edge_of, signals_of
from .stream import as_states, state_of

if TYPE_CHECKING:
    from .gru import GRU
    from .model import Model
    from .ops.value import Runner, Step

__all__ = ["ModelStream"]

Array = NDArray[Any]


class ModelStream:
    """Single steps through a model; made by ``model.stream()``.

    It belongs to one caller at a time, and says so by an error where another thread is stepping it.
    """

    def __init__(self, model: Model, batch: int = 1) -> None:
        if as_integers(batch, "batch").ndim != 0 or batch < 1:
            raise ShapeError(f"batch: got {batch}, wanted a whole number of at least 1")
        _check_streams(model)
        for source in model.spec.inputs:
            source.check_stream(int(batch))
        self._model = model
        self._begin(int(batch))

    def _begin(self, batch: int) -> None:
        self.batch = batch
        self._turn = Turn()
        self._steps: list[tuple[str, list[str], Step]] = []
        self._grus: list[GRU] = []
        self._states: list[Any] = []
        for node, runner in zip(self._model.spec.nodes, self._model._graph.runners, strict=True):
            step = runner.step
            if runner.gru is not None:
                state = state_of(runner.gru, batch)
                self._grus.append(runner.gru)
                self._states.append(state)
                step = _of_state(state)
            assert step is not None, "as _check_streams has seen"
            self._steps.append((node.name, [edge_of(edge)[0] for edge in node.inputs], step))

    def step(self, x: ArrayLike) -> Any:
        """Take one step and keep the new states: of every GRU of the model, or where anything is raised of none.

        Parameters
        ----------
        x : array_like, (batch, features), or (features,) for one stream
            Where the first layer is an Embedding, (batch,) integers, or one integer.

        Returns
        -------
        ndarray, (batch, outputs) or (outputs,), or a dict of it where the model names its output

        Raises
        ------
        ShapeError, DTypeError
            The argument does not fit. The states are as they were.
        StreamInUseError
            Another thread is stepping this stream.
        """
        source = self._model.spec.inputs[0]
        value: Array = as_integers(x, "x") if source.integers else as_numbers(x, "x", self._model._dtype)
        single = value.ndim == len(source.shape) - 1
        if single and self.batch == 1:
            value = value[None]
        wanted = (self.batch, *source.shape[1:])
        if value.ndim != len(wanted) or any(w is not None and g != w for g, w in zip(value.shape, wanted, strict=True)):
            raise ShapeError(f"x: got shape {np.shape(x)}, wanted {wanted}: one step of every stream")
        values = {source.name: value}
        output = edge_of(self._model.spec.outputs[0])[0]
        with self._turn, np.errstate(all="ignore"):  # NaN and overflows are results like others
            for name, inputs, run in self._steps:
                values[name] = run([values[each] for each in inputs])
            result = values[output].copy() if values[output] is value else values[output]
            made = result[0] if single else result
            keep_all(self._states)
        names = self._model.spec.output_names
        return made if names is None else {names[0]: made}

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
        arrays = [as_states(state, gru, self.batch) for state, gru in zip(states, self._grus, strict=True)]
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
        twin = object.__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelStream:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        made = ("_turn", "_steps", "_grus", "_states")
        return {**{name: value for name, value in self.__dict__.items() if name not in made}, "state": self.state}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        own = dict(saved)
        states = own.pop("state")
        self.__dict__.update(own)
        self._begin(self.batch)
        self.state = states

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model!r}, batch={self.batch})"


def _of_state(state: Any) -> Step:
    return lambda inputs: np.asarray(state.try_step(inputs[0]))


def _check_streams(model: Model) -> None:
    """Raise unless every node can be computed one step at a time; the message has the first that cannot, and why."""
    spec, signals = model.spec, signals_of(model.spec)
    once: set[str] = set()  # nodes that give one value for the steps so far, not one for each
    for node, runner in zip(spec.nodes, model._graph.runners, strict=True):
        sources = [edge_of(edge)[0] for edge in node.inputs]
        ranks = {len(signals[edge_of(edge)].shape) for edge in node.inputs}
        reason = _reason(node, runner, len({name in once for name in sources}) > 1 or len(ranks) > 1)
        if reason:
            kind = type(node.layer).__name__.removesuffix("Layer")
            raise UnsupportedModelError(
                f"layer {node.name!r} ({kind}) is not computed one step at a time: {reason}; "
                "call the model on sequences instead"
            )
        layer = node.layer
        ends = isinstance(layer, (Last, FinalState)) or (isinstance(layer, GRULayer) and not layer.return_sequences)
        if ends or sources[0] in once:
            once.add(node.name)
    if len(spec.inputs) > 1 or len(spec.outputs) > 1:
        raise UnsupportedModelError(
            f"a model of {len(spec.inputs)} inputs and {len(spec.outputs)} outputs cannot be streamed; call it on "
            "sequences instead"
        )
    if not spec.inputs[0].has_steps:
        raise UnsupportedModelError(
            "a model whose input has no steps on its first axis cannot be streamed; call it on whole arrays instead"
        )


def _reason(node: Node, runner: Runner, mixed: bool) -> str:
    """Why a node has no single step; nothing where it has."""
    if node.mask is not None:
        return "a mask says which of its steps count"
    others = [edge for edge in map(edge_of, node.inputs) if edge[1]]
    if others:
        return f"it takes output {others[0][1]} of {others[0][0]!r}, and a stream has only the first"
    if runner.step is None:
        return runner.whole
    if runner.gru is not None and len(node.inputs) > 1:
        return "its first states are given to it, and a stream begins with zeros"
    return "it joins values of which some have a step where others have none" if mixed else ""
