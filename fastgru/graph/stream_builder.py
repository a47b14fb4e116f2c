"""What the rules of operations, ``Operation.stream``, build a graph with that runs some steps at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import FastGRUError
from .builder import Builder, Value
from .delays import Delays
from .graph import FLOAT, Node
from .layout import Layout, has_steps, is_steps
from .operations.operation import Array, Call, Compute, Operation
from .operations.parts import Slice
from .operations.shape import Concatenate
from .run import Runner
from .size import Expression, Size, evaluate, substitute, symbol
from .steps import Analysis
from .streams import EACH, FIXED, ONCE, Flow, State, Unstreamed, names_of
from .windows import Window

__all__ = ["StreamBuilder", "counts_steps"]


class StreamBuilder:
    """A graph that runs some steps at a time, while it is made from one of whole sequences.

    Attributes
    ----------
    node : Node
        Whose rule is at work.
    delays : Delays, optional
        What is known of steps that come later; None where none does.
    """

    node: Node

    def __init__(self, runner: Runner, delays: Delays | None = None) -> None:
        self.runner, self.graph, self.delays = runner, runner.graph, delays
        self.analysis: Analysis = runner.analysis
        self._builder = Builder(folds=False)
        self._states: list[State] = []
        self._next: dict[int, Value] = {}  # by the state
        self._flows: dict[int, Flow] = {}
        self._known: dict[int, Array | None] = {}
        self._nodes = {place: index for index, node in enumerate(self.graph.nodes) for place in node.outputs}

    def each(self, operation: Operation, inputs: Sequence[Flow]) -> list[Flow]:
        """An operation that computes a step of its outputs from the same step of its inputs."""
        knows = {flow.knows for flow in inputs}
        makes_steps = any(has_steps(axis) for place in self.node.outputs for axis in self.analysis.layout(place))
        if ONCE in knows and (EACH in knows or makes_steps):
            raise Unstreamed("it joins values of which some have a step where others have none")
        if makes_steps and EACH not in knows and not operation.alike:
            raise Unstreamed("it makes steps that are not all alike")
        if any(name != "shape" and counts_steps(value) for name, value in operation.fields().items()):
            raise Unstreamed("it computes with the number of steps")
        inputs, lead, ahead = self._at_one_time(inputs)
        made = self.add(self._settled(operation, lead + ahead), *(flow.value for flow in inputs))
        values = made if isinstance(made, tuple) else (made,)
        firsts: Sequence[Array | None] = [None] * len(values)
        if lead > 0:
            firsts = self.computed([self.beginning(flow) for flow in inputs], ahead, operation)
        return [Flow(value, lead=lead, first=first, ahead=ahead) for value, first in zip(values, firsts, strict=True)]

    def _at_one_time(self, inputs: Sequence[Flow]) -> tuple[list[Flow], int, int]:
        """The inputs with those delayed that come before others, their lead, and the places behind the last step."""
        lead = min((flow.lead for flow in inputs if flow.knows), default=0)
        made = [self.delayed(flow, flow.lead - lead) if flow.knows == EACH else flow for flow in inputs]
        aheads = {flow.ahead for flow in made if flow.knows == EACH} or {0}
        if len(aheads) > 1:
            raise Unstreamed("it joins steps of different times")
        return made, lead, aheads.pop()

    def delayed(self, x: Flow, count: int) -> Flow:
        """A value some steps later."""
        if not count:
            return x
        axis = next((at for at, factors in enumerate(x.layout) if is_steps(factors)), None)
        if axis is None:
            raise Unstreamed("it joins steps of different times, inside of a larger axis")
        lead = x.lead - count
        none = np.zeros(self.row_shape(x, axis, count - max(0, min(count, x.lead))), self.dtype_of(x))
        last = [] if x.lead <= 0 else [self.beginning(x)[_along(axis, max(lead, 0), None)]]
        first = np.concatenate([none, *last], axis)
        shape = [*x.value.shape[:axis], count, *x.value.shape[axis + 1 :]]
        state = self.state(shape, _without(x.layout, axis, count), first, x.value.dtype)
        joined = self.add(Concatenate(axis), state, x.value)
        self.keep(state, self.add(Slice(axis, -count), joined))
        value = self.add(Slice(axis, None, -count), joined)
        kept = None if lead <= 0 else self.beginning(x)[_along(axis, None, lead)]
        return x._replace(value=value, lead=lead, first=kept, ahead=x.ahead + count)

    def add(self, operation: Operation, *values: Value) -> Any:
        """What an operation makes of values of the new graph."""
        try:
            return self._builder.add(operation, *values, name=self.node.name)
        except FastGRUError as error:
            raise Unstreamed(f"its shapes do not hold for some steps alone: {error}") from None

    def state(self, shape: Sequence[Size], layout: Layout, first: Array | int, kind: str = FLOAT) -> Value:
        """A new state of the stream: what it is at first, for one row, or which value of the old graph that is."""
        value = self._builder.input(f"state {len(self._states)}", tuple(shape), kind)
        self._states.append(State(value.place, self.node.name, tuple(shape), layout, first))
        return value

    def keep(self, state: Value, value: Value) -> None:
        """What a state is after the steps."""
        self._next[state.place] = value

    def beginning(self, flow: Flow) -> Array:
        """The places of a value before the first step; of one without steps the value itself. For one row."""
        if flow.first is not None:
            return flow.first
        array = self.known(flow.place) if flow.knows == FIXED else None
        if array is None:
            raise Unstreamed("it joins what stands before the first step with an input")
        return array

    def known(self, place: int) -> Array | None:
        """What a value without steps is for one row, if it is the same for all of them."""
        if place not in self._known:
            self._known[place] = self._found(place)
        return self._known[place]

    def _found(self, place: int) -> Array | None:
        if place in self.runner.constants:
            return self.runner.constants[place]
        if place not in self._nodes or self._flows[place].knows != FIXED:
            return None
        node = self.graph.nodes[self._nodes[place]]
        arrays = [self.known(each) for each in node.inputs]
        if any(array is None for array in arrays):
            return None
        compute = self.runner.computes[self._nodes[place]]
        return self._computed(compute, arrays, 0)[node.outputs.index(place)]  # type: ignore[arg-type]

    def computed(self, arrays: Sequence[Array], ahead: int = 0, operation: Operation | None = None) -> Sequence[Array]:
        """What an operation, by default that whose rule is at work, makes of what is before the first step."""
        if operation is None or operation is self.node.operation:
            return self._computed(self.runner.computes[self._nodes[self.node.outputs[0]]], arrays, ahead)
        return self._computed(operation.prepare(self.runner.setup), arrays, ahead)

    def _computed(self, compute: Compute, arrays: Sequence[Array], ahead: int) -> Sequence[Array]:
        """What is computed of one row, of whose steps all are before the first but ``ahead``."""
        sizes = {name: -ahead for name in self.symbols() if name.startswith("steps")} | {"batch": 1}
        try:
            with np.errstate(all="ignore"):
                return [np.asarray(array) for array in compute(arrays, Call(self.runner.setup.dtype, sizes))]
        except (FastGRUError, ArithmeticError, ValueError, KeyError):
            raise Unstreamed("what stands before the first step does not go through it") from None

    def symbols(self) -> set[str]:
        """The names of all sizes that calls decide."""
        sizes = [size for source in self.graph.inputs for size in self.graph.tensors[source.value].shape]
        return {name for size in sizes for name in names_of(size)}

    def constant(self, array: Array) -> Value:
        """A value of the new graph that is known."""
        return self._builder.constant(array)

    def _settled(self, operation: Operation, more: int) -> Operation:
        """An operation whose fields count ``more`` steps than there are, for as many as there are."""
        if not more:
            return operation

        def settled(given: Any) -> Any:
            if isinstance(given, Expression):
                names = [name for name in given.symbols() if name.startswith("steps")]
                return substitute(given, {name: symbol(name) - more for name in names}) if names else given
            return tuple(map(settled, given)) if type(given) is tuple else given

        changed = {name: made for name, value in operation.fields().items() if (made := settled(value)) is not value}
        return self.alike(operation, **changed) if changed else operation

    def alike(self, operation: Operation, **fields: Any) -> Operation:
        """An operation with other fields and the same packed weights."""
        made = operation.replace(**fields)
        self.runner.setup.share(made, operation)
        return made

    def row_shape(self, flow: Flow, axis: int, places: int) -> list[int]:
        """The shape of one row of a value with another number of places along an axis."""
        sizes = list(flow.value.shape)
        sizes[axis] = places
        try:
            return [evaluate(size, {"batch": 1}) for size in sizes]
        except (FastGRUError, KeyError):
            raise Unstreamed("it keeps values of a size that each call decides") from None

    def windows(
        self, operation: Operation, x: Flow, axis: int, reach: int, padding: tuple[int, int] = (0, 0), fill: float = 0.0
    ) -> list[Flow]:
        """An operation over windows of ``reach`` steps, which pads none of them itself.

        ``padding`` are the places before and behind, of ``fill``, that the windows go over too.
        """
        if self.delays is not None:
            x = x._replace(value=self.delays.real(self, x, axis, fill))
        before, after = padding
        lead = x.lead + before - (reach - 1)
        least = max(before, reach - 1 - max(x.lead, 0))  # more of what is padded, for places that are none
        padded = self.shifted(x._replace(lead=max(x.lead, 0)), axis, least, 0, fill)
        made = self.add(operation, self.behind(padded, axis, reach - 1))
        first = None
        if lead > 0:
            assert padded.first is not None
            call = Call(self.runner.setup.dtype, {"batch": 1})
            (made_first,) = operation.prepare(self.runner.setup)([padded.first], call)
            first = np.asarray(made_first[_along(axis, None, lead)])
        return [Flow(made, lead=lead, first=first, ahead=x.ahead + after)]

    def over_windows(self, operation: Any, windows: Sequence[Window], x: Flow, fill: float) -> Sequence[Flow]:
        """An operation that has ``padding`` along the axes behind the rows, and windows over them."""
        along = [at for at, window in enumerate(windows) if has_steps(x.layout[at + 1]) and not window.changes_nothing]
        if not along:
            return self.each(operation, [x])
        (at,) = along
        window = windows[at]
        if window.stride != 1:
            raise Unstreamed("it takes several steps together, and gives other steps than it is given")
        alone = self.alike(operation, padding=(*operation.padding[:at], (0, 0), *operation.padding[at + 1 :]))
        return self.windows(alone, x, at + 1, window.reach, window.widths(window.reach), fill)

    def size(self, x: Flow, axis: int) -> Size:
        """How many places a value has along an axis in the whole sequence."""
        return self.graph.tensors[x.place].shape[axis]

    def behind(self, x: Flow, axis: int, count: int) -> Value:
        """The steps with ``count`` places before them, which a state keeps; there are as many in front of the first."""
        if not count:
            return x.value
        assert x.first is not None
        first = x.first.take(range(x.lead - count, x.lead), axis=axis)
        shape = [*x.value.shape[:axis], count, *x.value.shape[axis + 1 :]]
        state = self.state(shape, _without(x.layout, axis, count), first, x.value.dtype)
        joined: Value = self.add(Concatenate(axis), state, x.value)
        self.keep(state, self.add(Slice(axis, -count), joined))
        return joined

    def shifted(self, x: Flow, axis: int, before: int, after: int, fill: float = 0.0) -> Flow:
        """A value with ``fill`` before and behind its steps; negative numbers take places away."""
        if x.lead < 0 or x.lead + before < 0:
            return self._shifted_late(x, axis, before, after, fill)
        if self.delays is not None and after > 0:
            x = x._replace(value=self.delays.real(self, x, axis, fill))
        lead, first, ahead, value = x.lead + before, x.first, x.ahead + after, x.value
        if before > 0:
            around = np.full(self.row_shape(x, axis, before), fill, self.dtype_of(x))
            first = around if first is None else np.concatenate([around, first], axis=axis)
        elif before < 0 and first is not None:
            first = first.take(range(-before, x.lead), axis=axis)
        if ahead < 0:
            if lead < -ahead:
                return self.delayed(x._replace(lead=lead, first=first, ahead=0), -ahead)._replace(ahead=0)
            moved = x._replace(lead=lead, first=first)
            joined = self.behind(moved, axis, -ahead)
            value = self.add(Slice(axis, None, ahead), joined)
            lead, ahead = lead + ahead, 0
            first = None if first is None else first.take(range(lead), axis=axis)
        return x._replace(value=value, lead=lead, first=first if lead else None, ahead=ahead)

    def _shifted_late(self, x: Flow, axis: int, before: int, after: int, fill: float) -> Flow:
        """``shifted`` where places come later than the first step."""
        lead, ahead = x.lead + before, x.ahead + after
        if self.delays is not None and (before > 0 or after > 0):
            x = x._replace(value=self.delays.real(self, x, axis, fill))
        first = np.full(self.row_shape(x, axis, lead), fill, self.dtype_of(x)) if lead > 0 else None
        made = x._replace(lead=lead, first=first, ahead=max(ahead, 0))
        return self.delayed(made, -ahead)._replace(ahead=0) if ahead < 0 else made

    def led(self, x: Flow, axis: int, beginning: Sequence[Array]) -> Flow:
        """A value with known places before its steps, those of several arrays one after the other."""
        parts = [
            np.broadcast_to(part, self.row_shape(x, axis, part.shape[axis])).astype(self.dtype_of(x), copy=False)
            for part in beginning
        ]
        if x.lead < 0:
            raise Unstreamed("it puts a beginning before steps that come later")
        first = np.concatenate(parts if x.first is None else [*parts, x.first], axis=axis)
        return x._replace(lead=first.shape[axis], first=first)

    def dtype_of(self, flow: Flow) -> Any:
        """The dtype of its numbers as they are computed."""
        return {"float": self.runner.setup.dtype, "integer": np.int64, "boolean": np.bool_}[flow.value.dtype]


def _along(axis: int, start: int | None, stop: int | None) -> Any:
    return (*(slice(None),) * axis, slice(start, stop))


def _without(layout: Layout, axis: int, places: int) -> Layout:
    """A layout with plain places along an axis."""
    return (*layout[:axis], () if places == 1 else (places,), *layout[axis + 1 :])


def counts_steps(given: Any) -> bool:
    """Whether sizes are by the number of steps."""
    if isinstance(given, tuple):
        return any(map(counts_steps, given))
    return any(name.startswith("steps") for name in names_of(given))
