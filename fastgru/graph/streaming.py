"""A graph some steps at a time: the same operations, and between them what each keeps from one step to the next.

What a stream gives at a step is what the model gives for the sequence up to that step. ``streamed`` makes a second
graph, which takes any number of steps and all states, and gives the outputs of these steps and the states after them.
How an operation goes through it is its own rule, ``Operation.stream``, written with what ``stream_builder`` has.

A value of the sequence has one place for every step, and perhaps some before the first or behind the last: what was
padded. Places before the first (``lead``) are the same in every sequence, so that they are computed once, when the
graph is made, and become states. Places behind the last (``ahead``) come only when the sequence is over. What looks
ahead comes later than the step that it is of: its lead is negative, and its first places are none (see ``delays``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import UnsupportedModelError
from .builder import Value
from .delays import Delays
from .graph import Graph, Input, Node, Structure
from .layout import Axis, Layout, Steps, has_steps, is_steps
from .operations.shape import View
from .run import Runner
from .size import evaluate
from .steps import Analysis
from .stream_builder import StreamBuilder, counts_steps
from .streams import EACH, FIXED, ONCE, Flow, State, Unstreamed, check_outputs, check_sizes, names_of

__all__ = ["Streamed", "Streams", "streamed"]


class Streamed(NamedTuple):
    """A graph some steps at a time."""

    runner: Runner
    states: tuple[State, ...]
    outputs: tuple[int, ...]  # in the new graph, for those of the old in order
    axes: Mapping[int, int]  # of the steps in each output that has them alone on an axis, by its place in the old graph
    firsts: Runner | None  # gives the first states that are computed from inputs, in the order of those states
    delay: int = 0  # steps by which outputs come later than what they are of
    behind: int | None = 0  # steps of the outputs that come when the sequence is over; None: of each its own
    times: tuple[int, int] | None = None  # which states count the steps, and know where a sequence ends
    warm: int = 0  # steps after which no value of the graph is none any more

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
    streams = Streams(runner)
    if streams.is_late:
        streams = Streams(runner, Delays())
    try:
        return streams.finish()
    except Unstreamed as error:
        raise UnsupportedModelError(
            f"an output is not given one step at a time: {error}; call the model on sequences instead"
        ) from None


class Streams(StreamBuilder):
    """A graph some steps at a time that is being made."""

    def __init__(self, runner: Runner, delays: Delays | None = None) -> None:
        super().__init__(runner, delays)
        self.warm = 0
        if not self.analysis.has_steps:
            why = "no axis of its inputs has steps"
            if self.analysis.lost is not None:
                name, reason = self.analysis.lost
                why = f"layer {name!r} {reason}"
            raise UnsupportedModelError(f"the model cannot be streamed: {why}; call it on whole arrays instead")
        self._sources: dict[int, Input] = {}
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

    @property
    def is_late(self) -> bool:
        """Whether a value comes later than what it is of, or an output has places behind the last step."""
        return self.warm > 0 or any(self._flows[place].ahead for place in self.runner.outputs)

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
                flow = flow._replace(lead=min(flow.lead, 0), first=None)
            self._check_steps(flow, along)
            self.warm = max(self.warm, -flow.lead)
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
            if not has_steps(axis) and counts_steps(size):
                raise Unstreamed("it makes places by how many steps there are")

    def finish(self) -> Streamed:
        """The whole graph with its states."""
        analysis = self.analysis
        lead = self._outputs_at_one_time()
        check_outputs(self.runner.outputs, self._flows)
        behind = {self._flows[place].ahead for place in self.runner.outputs if self._flows[place].knows == EACH} or {0}
        if self.delays is not None:
            self.delays.finish(self)
        places = self._places_of_outputs()
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
        late = behind.pop() if len(behind) == 1 else None
        times = None
        if self.delays is not None and self.delays.states is not None:
            known = [state.value for state in states]
            times = known.index(self.delays.states[0].place), known.index(self.delays.states[1].place)
        return Streamed(runner, states, places, axes, firsts, -lead, late, times, self.warm)

    def _places_of_outputs(self) -> tuple[int, ...]:
        """A place of its own for every output: some that differ in the whole sequence are one at each step."""
        made: list[int] = []
        for place in self.runner.outputs:
            value = self._flows[place].value
            if value.place in made:
                value = self.add(View(value.shape), value)
            made.append(value.place)
        return tuple(made)

    def _outputs_at_one_time(self) -> int:
        """Let every output of a step come as late as the last of them; their lead."""
        places = [place for place in self.runner.outputs if self._flows[place].knows]
        lead = min([0, *(self._flows[place].lead for place in places)])
        for place in places if self.delays is not None else ():
            flow = self._flows[place]
            if flow.knows == EACH:
                flow = self.delayed(flow, flow.lead - lead)
            if flow.lead < 0:
                flow = flow._replace(value=self.delays.shown(self, flow))  # type: ignore[union-attr]
            self._flows[place] = flow
        if any(self._flows[place].ahead for place in places):
            for place in places:
                flow = self._flows[place]
                if flow.knows == ONCE:
                    assert self.delays is not None
                    self._flows[place] = flow._replace(value=self.delays.lasting(self, flow))
        return lead

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


def _called(node: Node) -> str:
    return f"layer {node.name!r} ({type(node.operation).__name__})"
