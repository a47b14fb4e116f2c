"""A graph some steps at a time: the same operations, and between them what each keeps from one step to the next.

What a stream gives at a step is what the model gives for the sequence up to that step. ``streamed`` makes a second
graph, which takes any number of steps and all states, and gives the outputs of these steps and the states after them.
How an operation goes through it is its own rule, ``Operation.stream``; here are the ways that the rules share.

A value of the sequence has one place for every step, and perhaps some before the first or behind the last: what was
padded. Places before the first (``lead``) are the same in every sequence, so that they are computed once, when the
graph is made, and become states. Places behind the last (``ahead``) never come; a value that has them has to lose
them again before anything of the end is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import FastGRUError, UnsupportedModelError
from .builder import Builder, Value
from .graph import Graph, Input, Node, Structure
from .layout import Axis, Layout, Steps, has_steps, is_steps
from .operations.operation import Array, Call, Compute, Operation
from .operations.parts import Slice
from .operations.shape import Concatenate
from .run import Runner
from .size import Expression, Size, evaluate, substitute, symbol
from .steps import Analysis
from .streams import EACH, FIXED, ONCE, Flow, State, Unstreamed, check_outputs, check_sizes, names_of
from .windows import Window

__all__ = ["Streamed", "Streams", "streamed"]


class Streamed(NamedTuple):
    """A graph some steps at a time."""

    runner: Runner
    states: tuple[State, ...]
    outputs: tuple[int, ...]  # in the new graph, for those of the old in order
    axes: Mapping[int, int]  # of the steps in each output that has them alone on an axis, by its place in the old graph
    firsts: Runner | None  # gives the first states that are computed from inputs, in the order of those states

    @property
    def once(self) -> tuple[str, ...]:
        """The inputs that only first states are computed from."""
        if self.firsts is None:
            return ()
        own = {source.name for source in self.runner.graph.inputs}
        return tuple(source.name for source in self.firsts.graph.inputs if source.name not in own)


def streamed(runner: Runner) -> Streamed:
    """The graph of a runner some steps at a time.

    Raises
    ------
    UnsupportedModelError
        An operation needs more than the steps so far; the message names it and says why.
    """
    return Streams(runner).finish()


class Streams:
    """A graph some steps at a time that is being made."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.graph, self.analysis = runner, runner.graph, runner.analysis
        if not self.analysis.has_steps:
            raise UnsupportedModelError(
                "a model whose input has no steps on its first axis cannot be streamed; call it on whole arrays instead"
            )
        self._builder = Builder(folds=False)
        self._states: list[State] = []
        self._next: dict[int, Value] = {}  # by the state
        self._flows: dict[int, Flow] = {}
        self._known: dict[int, Array | None] = {}
        self._nodes = {place: index for index, node in enumerate(self.graph.nodes) for place in node.outputs}
        self._sources: dict[int, Input] = {}
        self.node: Node = None  # type: ignore[assignment]  # whose rule is at work
        for place, array in runner.constants.items():
            self._flow(place, self._builder.constant(array), FIXED)
        for source in self.graph.inputs:
            tensor = self.graph.tensors[source.value]
            value = self._builder.input(source.name, tensor.shape, tensor.dtype, source.fixed)
            self._sources[value.place] = source
            knows = EACH if any(map(has_steps, self.analysis.inputs[source.name])) else FIXED
            self._flow(source.value, value, knows)
        for guard in self.graph.guards:
            if not any(name.startswith("steps") for size in (guard.one, guard.other) for name in names_of(size)):
                self._builder.guard(guard.one, guard.relation, guard.other, guard.reason)
        mixes = dict(self.analysis.mixes)
        for node in self.graph.nodes:
            self.node = node
            try:
                if node.name in mixes:
                    raise Unstreamed(mixes[node.name])
                self._pass(node)
            except Unstreamed as error:
                raise UnsupportedModelError(
                    f"{_called(node)} is not computed one step at a time: {error}; call the model on sequences instead"
                ) from None
        check_sizes(self.graph, self.analysis.inputs)

    def _flow(self, place: int, value: Value, knows: int) -> None:
        self._flows[place] = Flow(value, place, self.analysis.layout(place), knows)

    def _pass(self, node: Node) -> None:
        """A node by its operation's rule."""
        inputs = [self._flows[place] for place in node.inputs]
        if any(flow.knows == ONCE and flow.ahead for flow in inputs):
            raise Unstreamed("it takes what is known only when the sequence is over")
        made = node.operation.stream(inputs, self)
        knows = any(flow.knows for flow in inputs)
        shifts = {(flow.lead, flow.ahead): flow.why for flow in inputs if flow.knows == EACH}
        for place, flow in zip(node.outputs, made, strict=True):
            layout = self.analysis.layout(place)
            along = [axis for axis in layout if has_steps(axis)]
            flow = flow._replace(place=place, layout=layout, knows=EACH if along else ONCE if knows else FIXED)
            if not along and not flow.ahead:
                flow = flow._replace(lead=0, first=None)
            self._check_steps(flow, along)
            why = shifts.get((flow.lead, flow.ahead))
            if why is None and (flow.lead or flow.ahead):
                reason = node.operation.looks([each.layout for each in inputs])
                why = f"{_called(node)} is not computed one step at a time: it {reason}"
            self._flows[place] = flow._replace(why=why or "")

    def _check_steps(self, flow: Flow, along: Sequence[Axis]) -> None:
        """Raise unless a value has the steps that were made of it."""
        factors = [factor for axis in along for factor in axis if isinstance(factor, Steps)]
        if len(factors) > 1:
            raise Unstreamed("it has steps along two axes")
        for factor in factors:
            (name,) = names_of(factor.size) or ("",)
            rest = evaluate(factor.size, {name: 0}) if name else None
            if rest != flow.lead + flow.ahead or evaluate(factor.size, {name: 7}) != 7 + rest:
                raise Unstreamed("it makes other steps than it is given")
        sizes = self.graph.tensors[flow.place].shape
        for axis, size in zip(flow.layout, sizes, strict=True):
            if is_steps(axis) and isinstance(size, int):
                raise Unstreamed(f"it is made for {size} steps")
            if not has_steps(axis) and _counts_steps(size):
                raise Unstreamed("it makes places by how many steps there are")

    # What the rules of operations are written with.

    def each(self, operation: Operation, inputs: Sequence[Flow]) -> list[Flow]:
        """An operation that computes a step of its outputs from the same step of its inputs."""
        knows = {flow.knows for flow in inputs}
        makes_steps = any(has_steps(axis) for place in self.node.outputs for axis in self.analysis.layout(place))
        if ONCE in knows and (EACH in knows or makes_steps):
            raise Unstreamed("it joins values of which some have a step where others have none")
        if makes_steps and EACH not in knows and not operation.alike:
            raise Unstreamed("it makes steps that are not all alike")
        if any(name != "shape" and _counts_steps(value) for name, value in operation.fields().items()):
            raise Unstreamed("it computes with the number of steps")
        shifts = {(flow.lead, flow.ahead) for flow in inputs if flow.knows == EACH} or {(0, 0)}
        if len(shifts) > 1:
            raise Unstreamed("it joins steps of different times")
        ((lead, ahead),) = shifts
        made = self.add(self._settled(operation, lead + ahead), *(flow.value for flow in inputs))
        values = made if isinstance(made, tuple) else (made,)
        firsts: Sequence[Array | None] = [None] * len(values)
        if lead:
            firsts = self.computed([self.beginning(flow) for flow in inputs], ahead, operation)
        return [Flow(value, lead=lead, first=first, ahead=ahead) for value, first in zip(values, firsts, strict=True)]

    def add(self, operation: Operation, *values: Value) -> Any:
        """What an operation makes of values of the new graph."""
        try:
            return self._builder.add(operation, *values, name=self.node.name)
        except FastGRUError as error:
            raise Unstreamed(f"its shapes do not hold for some steps alone: {error}") from None

    def state(self, shape: Sequence[Size], layout: Layout, first: Array | int) -> Value:
        """A new state of the stream: what it is at first, for one row, or which value of the old graph that is."""
        kind = self.graph.tensors[self.node.inputs[0]].dtype
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
        names = {name for size in self._sizes() for name in names_of(size)}
        sizes = {name: -ahead if name.startswith("steps") else 1 for name in names}
        try:
            with np.errstate(all="ignore"):
                return [np.asarray(array) for array in compute(arrays, Call(self.runner.setup.dtype, sizes))]
        except (FastGRUError, ArithmeticError, ValueError, KeyError):
            raise Unstreamed("what stands before the first step does not go through it") from None

    def _sizes(self) -> Sequence[Size]:
        return [size for source in self.graph.inputs for size in self.graph.tensors[source.value].shape]

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
        padded = self.shifted(x, axis, *padding, fill)
        short = reach - 1 - padded.lead
        if short > 0:
            steps = "step" if short == 1 else "steps"
            raise Unstreamed(f"it takes several steps together, the first of them with {short} {steps} to come")
        taken = self.behind(padded, axis, reach - 1)
        made = self.add(operation, taken)
        first = None
        if short < 0:
            assert padded.first is not None
            call = Call(self.runner.setup.dtype, {"batch": 1})
            (first,) = operation.prepare(self.runner.setup)([padded.first], call)
        return [Flow(made, lead=-short, first=first, ahead=padded.ahead)]

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
        state = self.state(shape, _without(x.layout, axis, count), first)
        joined: Value = self.add(Concatenate(axis), state, x.value)
        self.keep(state, self.add(Slice(axis, -count), joined))
        return joined

    def shifted(self, x: Flow, axis: int, before: int, after: int, fill: float = 0.0) -> Flow:
        """A value with ``fill`` before and behind its steps; negative numbers take places away."""
        lead, first, ahead, value = x.lead + before, x.first, x.ahead + after, x.value
        if lead < 0:
            raise Unstreamed("it leaves the first steps out")
        if before > 0:
            around = np.full(self.row_shape(x, axis, before), fill, self._dtype_of(x))
            first = around if first is None else np.concatenate([around, first], axis=axis)
        elif before < 0 and first is not None:
            first = first.take(range(-before, x.lead), axis=axis)
        if ahead < 0:
            if lead < -ahead:
                raise Unstreamed("it leaves the last steps out, which are not known before the sequence is over")
            moved = x._replace(lead=lead, first=first)
            joined = self.behind(moved, axis, -ahead)
            value = self.add(Slice(axis, None, ahead), joined)
            lead, ahead = lead + ahead, 0
            first = None if first is None else first.take(range(lead), axis=axis)
        return x._replace(value=value, lead=lead, first=first if lead else None, ahead=ahead)

    def led(self, x: Flow, axis: int, beginning: Sequence[Array]) -> Flow:
        """A value with known places before its steps, those of several arrays one after the other."""
        parts = [
            np.broadcast_to(part, self.row_shape(x, axis, part.shape[axis])).astype(self._dtype_of(x), copy=False)
            for part in beginning
        ]
        first = np.concatenate(parts if x.first is None else [*parts, x.first], axis=axis)
        return x._replace(lead=first.shape[axis], first=first)

    def _dtype_of(self, flow: Flow) -> Any:
        return {"float": self.runner.setup.dtype, "integer": np.int64, "boolean": np.bool_}[flow.value.dtype]

    def finish(self) -> Streamed:
        """The whole graph with its states."""
        analysis = self.analysis
        check_outputs(self.runner.outputs, self._flows)
        places = tuple(self._flows[place].value.place for place in self.runner.outputs)
        after = tuple(self._next[state.value].place for state in self._states)
        made = self._builder.finish((places, after))
        firsts = self._firsts()
        used = {place for node in made.nodes for place in node.inputs} | {*places}
        once = set() if firsts is None else {source.name for source in firsts.graph.inputs}
        kept = [each for each in made.inputs if each.value in used or each.name not in once]
        made = made._replace(inputs=tuple(kept))
        layouts = {state.value: state.layout for state in self._states}
        inputs: dict[str, Layout] = {}
        for source in made.inputs:
            own = self._sources.get(source.value)
            inputs[source.name] = layouts[source.value] if own is None else analysis.inputs[own.name]
        axes = {}
        for place in self.runner.outputs:
            along = [axis for axis, factors in enumerate(analysis.layout(place)) if is_steps(factors)]
            if along:
                axes[place] = along[0]
        names = {source.value: source.name for source in made.inputs}
        states = tuple(
            state._replace(input=names[state.value], after=place)
            for state, place in zip(self._states, after, strict=True)
        )
        runner = Runner(made, Analysis(made, inputs), self.runner.setup)
        return Streamed(runner, states, places, axes, firsts)

    def _firsts(self) -> Runner | None:
        """What computes the first states that depend on inputs."""
        wanted = [state.first for state in self._states if isinstance(state.first, int)]
        if not wanted:
            return None
        nodes, needed = [], set(wanted)
        for node in reversed(self.graph.nodes):
            if needed & set(node.outputs):
                nodes.append(node)
                needed |= set(node.inputs)
        inputs = tuple(source for source in self.graph.inputs if source.value in needed)
        outputs: Structure = tuple(wanted)
        graph = Graph(inputs, self.graph.constants, tuple(reversed(nodes)), outputs, self.graph.tensors)
        return Runner(graph, self.analysis, self.runner.setup)


def _counts_steps(given: Any) -> bool:
    """Whether sizes are by the number of steps."""
    if isinstance(given, tuple):
        return any(map(_counts_steps, given))
    return any(name.startswith("steps") for name in names_of(given))


def _called(node: Node) -> str:
    return f"layer {node.name!r} ({type(node.operation).__name__})"


def _without(layout: Layout, axis: int, places: int) -> Layout:
    """A layout with plain places along an axis."""
    return (*layout[:axis], () if places == 1 else (places,), *layout[axis + 1 :])
