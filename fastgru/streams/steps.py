"""Steps through a model from given states: by one program where the whole model is one, otherwise node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..engine.program import Carried, Stepper
from ..errors import ShapeError
from ..graph.graph import leaves
from ..graph.size import Expression, evaluate, size_text
from ..model_inputs import Source, as_kind, as_tuple

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["Steps", "check_room", "first_states"]

Array = NDArray[Any]
KINDS = {"integer": np.dtype(np.int64), "boolean": np.dtype(np.bool_)}


class Steps:
    """What steps of a batch through a model take and give.

    Attributes
    ----------
    sources : list of Source
        The inputs that every step takes.
    shapes : list of tuple
        Of one step of each, without the axis of the steps; a size that each call decides is an expression.
    takes_single : bool
        Whether a step is taken without the axis of the batch, too.
    """

    def __init__(self, model: Model, batch: int) -> None:
        self.model, self.batch, self.streamed = model, batch, model._streamed
        once = set(self.streamed.once)
        self.sources = [source for source in model.sources if source.name not in once]
        self.shapes = [_shape_of(source, batch) for source in self.sources]
        self.takes_single = batch == 1 and model.spec is not None
        runner = self.streamed.runner
        self._inputs = {source.name: source.value for source in runner.graph.inputs}
        self._kinds = {"float": np.dtype(model.dtype), **KINDS}
        self._outputs = [  # (place in the graph of steps, axis of the steps)
            (place, self.streamed.axes.get(old))
            for old, place in zip(model._runner.outputs, self.streamed.outputs, strict=True)
        ]

    def kind_of(self, source: Source) -> np.dtype[Any]:
        """What an input is computed with."""
        kind: np.dtype[Any] = self._kinds[source.kind]
        return kind

    def stepper(self, carried: Carried, count: int) -> Stepper | None:
        """The program of ``count`` steps from these states on; None where a part of the model runs in NumPy.

        Of one step it takes and gives arrays without the axis of the steps.
        """
        runner, states = self.streamed.runner, self.streamed.states
        if any(isinstance(size, Expression) for shape in self.shapes for size in shape):
            return None
        long = [_with_steps(source, shape, count) for source, shape in zip(self.sources, self.shapes, strict=True)]
        shapes = {source.name: shape for source, shape in zip(self.sources, long, strict=True)}
        shapes.update((state.input, now.shape) for state, now in zip(states, carried.now, strict=True))
        stretch = runner.whole(shapes)
        if stretch is None or stretch.repeats:
            return None
        inputs = {place: at for at, (place, _) in enumerate(stretch.inputs)}
        outputs = {place: (at, shape) for place, at, shape, _ in stretch.outputs}
        if not outputs.keys() >= {place for place, _ in self._outputs} | {state.after for state in states}:
            return None  # an input, or a constant, is an output as it is
        takes = [
            (inputs.get(self._inputs[source.name]), shape, self._kinds[source.kind])
            for source, shape in zip(self.sources, self.shapes if count == 1 else long, strict=True)
        ]
        gives = []
        for place, axis in self._outputs:
            at, shape = outputs[place]
            shape = shape if axis is None or count != 1 else (*shape[:axis], *shape[axis + 1 :])
            gives.append((at, shape, self._kinds[runner.graph.tensors[place].dtype]))
        before = [inputs[self._inputs[state.input]] for state in states]
        after = [outputs[state.after][0] for state in states]
        return Stepper(
            stretch.program, runner.arenas, carried, takes, gives, before, after, self.takes_single,
            self._converted, self._structure(), self.rooms,
        )  # fmt: skip

    def _structure(self) -> Callable[[list[Array]], Any] | None:
        """What makes the model's structure of a list of outputs; of a tuple of all in order ``tuple`` itself."""
        outputs = self.model.graph.outputs
        if isinstance(outputs, int):
            return None
        return tuple if outputs == tuple(self.model._runner.outputs) else self.structured

    def _converted(self, x: Any, named: Mapping[str, Any]) -> tuple[Array, bool]:
        """One step of the only input, given in any way that a model takes it."""
        if not named and x is not None and not isinstance(x, dict):
            return self.step_of(0, x)
        given = self.model._by_name(() if x is None else (x,), named, self.sources)
        return self.step_of(0, given[self.sources[0].name])

    def in_numpy(self, carried: Carried, arrays: Sequence[Array], room: Sequence[Any] | None, single: bool,
                 of_step: bool) -> list[Array]:  # fmt: skip
        """The outputs of some steps from these states on, which are then those after the steps.

        ``of_step``: the arrays are of one step, without the axis of the steps, and so are the outputs.
        """
        runner, states = self.streamed.runner, self.streamed.states
        with carried.turn, np.errstate(all="ignore"):  # NaN and overflows are results like others
            given: dict[str, Array] = {}
            for source, array in zip(self.sources, arrays, strict=True):
                index: Any = (slice(None),) * (source.steps or 0) + (None,)
                given[source.name] = array[index] if of_step and source.steps is not None else array
            given.update((state.input, now) for state, now in zip(states, carried.now, strict=True))
            values, _ = runner(given)
            values = runner.apart(values, given)
            made = []
            for place, axis in self._outputs:
                array = values[place]
                if of_step and axis is not None:
                    array = array[(slice(None),) * axis + (0,)]
                made.append(np.asarray(array[0]) if single else array)
            for to, array in zip(room or (), made, strict=False):
                check_room(to, array)
            carried.put([values[state.after] for state in states])
            for to, array in zip(room or (), made, strict=False):
                to[...] = array
        return made if room is None else list(room)

    def step_of(self, place: int, given: Any) -> tuple[Array, bool]:
        """One step of an input in C order, and whether it came without a batch axis."""
        source, shape = self.sources[place], self.shapes[place]
        array = as_kind(source, given, self.model.dtype)
        single = array.ndim == len(shape) - 1 and self.takes_single
        wanted = shape[1:] if single else shape
        if array.ndim != len(wanted) or any(
            isinstance(size, int) and got != size for got, size in zip(array.shape, wanted, strict=True)
        ):
            raise ShapeError(
                f"{source.called}: got shape {np.shape(given)}, wanted {size_text(shape)}: one step of every stream"
            )
        return np.require(array, requirements=["C", "A"]), single

    def rooms(self, out: Any) -> list[Any]:
        """The arrays of ``out``, one for each output of the graph."""
        rooms = [*as_tuple(out)] if isinstance(out, (tuple, list, dict)) else [out]
        wanted = [*leaves(self.model.graph.outputs)]
        if len(rooms) != len(wanted):
            raise ShapeError(f"out: got {len(rooms)} arrays, wanted {len(wanted)}: one for every result")
        if len({*wanted}) < len(wanted):
            raise ShapeError("out: the model gives one value twice; leave out away")
        return rooms

    def structured(self, made: Sequence[Array]) -> Any:
        """Outputs in the model's structure."""
        if isinstance(self.model.graph.outputs, int):
            return made[0]
        return self.model._structured(dict(zip(self.model._runner.outputs, made, strict=True)), False)


def check_room(to: Any, array: Array) -> None:
    """Raise unless a result fits in."""
    wanted = f"wanted a writeable C-contiguous {array.dtype} array of shape {array.shape}"
    if not isinstance(to, np.ndarray):
        raise ShapeError(f"out: got {type(to).__name__}; {wanted}")
    if to.shape != array.shape or to.dtype != array.dtype or not to.flags.c_contiguous or not to.flags.writeable:
        got = f"{to.dtype} of shape {to.shape}, C-contiguous {to.flags.c_contiguous}, writeable {to.flags.writeable}"
        raise ShapeError(f"out: got {got}; {wanted}")


def first_states(model: Model, batch: int, given: Mapping[str, ArrayLike]) -> list[Array]:
    """The states of a batch before the first step; ``given`` are the inputs that some of them are computed from."""
    streamed = model._streamed
    names = [] if streamed.firsts is None else [each.name for each in streamed.firsts.graph.inputs]
    more = sorted(set(given) - set(names))
    if more:
        wanted = f"{', '.join(names)}, from which first states are computed" if names else "none"
        raise ShapeError(f"stream: got the inputs {', '.join(more)}, wanted {wanted}")
    missing = [name for name in names if name not in given]
    if missing:
        call = ", ".join(f"{name}=..." for name in names)
        raise ShapeError(
            f"stream: wanted the inputs {', '.join(missing)}, from which first states are computed: "
            f"model.stream(batch, {call})"
        )
    computed: list[Array] = []
    if streamed.firsts is not None:
        sources = [source for source in model.sources if source.name in given]
        arrays, _ = model._prepared(given, sources)
        for source in sources:
            if source.batch is not None and arrays[source.name].shape[source.batch] != batch:
                got = arrays[source.name].shape[source.batch]
                raise ShapeError(f"{source.called}: got a batch of {got}, wanted {batch}: one row for every stream")
        with np.errstate(all="ignore"):
            values, _ = streamed.firsts(arrays)
        computed = [values[place] for place in leaves(streamed.firsts.graph.outputs)]
    made = []
    for state in streamed.states:
        made.append(state.begin(batch, model.dtype, computed.pop(0) if isinstance(state.first, int) else None))
    return made


def _with_steps(source: Source, shape: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    return shape if source.steps is None else (*shape[: source.steps], count, *shape[source.steps :])


def _shape_of(source: Source, batch: int) -> tuple[Any, ...]:
    """Of one step of an input."""
    sizes = [batch if at == source.batch else size for at, size in enumerate(source.shape) if at != source.steps]
    return tuple(
        evaluate(size, {"batch": batch}) if isinstance(size, Expression) and set(size.symbols()) == {"batch"} else size
        for size in sizes
    )
