"""A graph some steps at a time: which nodes keep a state, which are computed of the steps alone, and why some are not.

What a stream gives at a step is what the model gives for the sequence up to that step. A value has steps (``EACH``), or
one value for all the steps so far (``ONCE``, as what comes after the last step is taken), or does not know of steps
(``FIXED``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import FastGRUError, ShapeError, UnsupportedModelError
from .graph import Graph, Guard, Node
from .layout import Layout, Steps, has_steps, is_steps, is_steps_size
from .operations.operation import Array, Call
from .operations.recurrent import PackedGRU
from .run import Runner
from .size import Expression, evaluate

__all__ = ["Streaming", "check_streams", "keeps_state"]

FIXED, ONCE, EACH = range(3)

Compute = Callable[[Sequence[Array], Call], Sequence[Any]]
# Makes the zero states of a packed GRU for a number of rows.
NewState = Callable[[Any, int], Any]


class _Step(NamedTuple):
    name: str
    run: Compute
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Streaming:
    """A graph that is run some steps at a time, with states of its own.

    ``states`` has one of every GRU that runs along the steps, in order, and ``stacks`` these GRUs.
    """

    def __init__(self, runner: Runner, batch: int, new_state: NewState) -> None:
        self.runner, self.batch = runner, batch
        self.states: list[Any] = []
        self.stacks: list[Any] = []
        self.steps: list[_Step] = []
        graph = runner.graph
        self._pending: list[tuple[Any, Array]] = []
        used = {place for node in graph.nodes for place in node.inputs} | set(runner.outputs)
        for node, compute in zip(graph.nodes, runner.computes, strict=True):
            run: Compute = compute
            gives = node.outputs
            if keeps_state(node, runner):
                assert isinstance(compute, PackedGRU)
                state = new_state(compute.stack, evaluate(graph.tensors[node.inputs[0]].shape[0], {"batch": batch}))
                self.states.append(state)
                self.stacks.append(compute.stack)
                gives = gives if gives[1] in used else gives[:1]
                run = self._of_state(node, compute, state, len(gives) == 2)
            self.steps.append(_Step(node.name, run, node.inputs, gives))
        symbols = {name for each in graph.inputs for size in graph.tensors[each.value].shape for name in _symbols(size)}
        self._steps = [name for name in symbols if name.startswith("steps")]
        self._inputs = [(source.value, source.name) for source in graph.inputs]
        self._is_open = bool(symbols - {"batch", *self._steps})
        self._one = Call(runner.setup.dtype, self._sizes(1))

    def _sizes(self, count: int) -> dict[str, int]:
        return {"batch": self.batch, **dict.fromkeys(self._steps, count)}

    def _of_state(self, node: Node, compute: PackedGRU, state: Any, shows_states: bool) -> Compute:
        """A GRU that goes on from its state, which stays as it is until all nodes are done."""

        def run(arrays: Sequence[Array], call: Call) -> Sequence[Any]:
            x = arrays[0]
            if compute.operation.masked and not arrays[1].all():
                raise ShapeError(f"x: got a step that layer {node.name!r} masks; leave it out of the stream")
            rows, count, features = x.shape
            if count == 1:
                step = np.asarray(state.try_step(x.reshape(rows, features)))
                return (step[:, None], np.asarray(state.tried())) if shows_states else (step[:, None],)
            y, h = compute.stack._run(np.ascontiguousarray(x, call.dtype), state.get(), None, sequences=True)
            self._pending.append((state, h))
            return (y, h) if shows_states else (y,)

        return run

    def run(self, inputs: Mapping[str, Array], count: int) -> tuple[dict[int, Array], list[tuple[Any, Array]]]:
        """The outputs of ``count`` steps by their places, and the states after them of those GRUs that have no step
        tried."""
        values: dict[int, Any] = self.runner.constants.copy()
        for place, name in self._inputs:
            values[place] = inputs[name]
        if self._is_open:
            call = Call(self.runner.setup.dtype, {**self.runner.sizes(values), **self._sizes(count)})
        else:
            call = self._one if count == 1 else Call(self.runner.setup.dtype, self._sizes(count))
        self._pending = []
        step = None
        try:
            for step in self.steps:
                _, run, takes, gives = step
                made = run([values[place] for place in takes], call)
                if len(gives) == 1:
                    values[gives[0]] = made[0]
                else:
                    values.update(zip(gives, made, strict=True))
        except FastGRUError as error:
            if step is None or str(error).startswith("x: "):
                raise
            raise type(error)(f"layer {step.name!r}: {error}") from None
        except ValueError as error:  # NumPy's own, of shapes that no rule could know
            raise ShapeError(f"layer {step.name!r}: {error}" if step else str(error)) from None
        return {place: values[place] for place in self.runner.outputs}, self._pending


def keeps_state(node: Node, runner: Runner) -> bool:
    """Whether a node is a GRU that runs along the steps."""
    operation = getattr(runner.computes[runner.graph.nodes.index(node)], "operation", None)
    return operation is not None and is_steps(runner.analysis.layout(node.inputs[0])[1])


def check_streams(runner: Runner) -> None:
    """Raise unless every node can be computed some steps at a time; the message has the first that cannot, and why."""
    graph, analysis = runner.graph, runner.analysis
    if not analysis.has_steps:
        raise UnsupportedModelError(
            "a model whose input has no steps on its first axis cannot be streamed; call it on whole arrays instead"
        )
    mixes, looks = dict(analysis.mixes), dict(analysis.looks)
    flavours: dict[int, int] = dict.fromkeys(graph.constants, FIXED)
    for source in graph.inputs:
        flavours[source.value] = EACH if any(map(has_steps, analysis.inputs[source.name])) else FIXED
    for node in graph.nodes:
        reason = mixes.get(node.name) or _reason(node, runner, looks.get(node.name), [flavours[i] for i in node.inputs])
        if reason:
            raise UnsupportedModelError(
                f"layer {node.name!r} ({type(node.operation).__name__}) is not computed one step at a time: {reason}; "
                "call the model on sequences instead"
            )
        knows = any(flavours[place] for place in node.inputs)
        for place in node.outputs:
            flavours[place] = EACH if any(map(has_steps, analysis.layout(place))) else ONCE if knows else FIXED
    _check_sizes(graph, analysis.inputs)
    for place in runner.outputs:
        if any(has_steps(axis) and not isinstance(axis[0], Steps) for axis in analysis.layout(place)):
            raise UnsupportedModelError(
                "a stream gives the outputs of a step, but an output has its steps inside of other rows or places; "
                "call the model on sequences instead"
            )


def _reason(node: Node, runner: Runner, looks: str | None, flavours: Sequence[int]) -> str | None:
    """Why a node has no single step; None where it has."""
    operation = getattr(runner.computes[runner.graph.nodes.index(node)], "operation", None)
    if operation is not None and keeps_state(node, runner):
        if operation.gru.directions == 2:
            return "it is bidirectional, and its reverse direction begins with the last step"
        if len(node.inputs) > (2 if operation.masked else 1):
            return "its first states are given to it, and a stream begins with zeros"
        looks = None  # masked steps are refused when they come
    if looks is not None:
        return f"it {looks}"
    made = [(runner.analysis.layout(place), runner.graph.tensors[place].shape) for place in node.outputs]
    makes_steps = any(has_steps(axis) for layout, _ in made for axis in layout)
    for layout, shape in made:
        factors = [each for axis in layout for each in axis if isinstance(each, Steps)]
        if len(factors) > 1:
            return "it has steps along two axes"
        if any(str(each.size) not in _symbols(each.size) for each in factors):
            return "it makes other steps than it is given"
        fixed = [size for axis, size in zip(layout, shape, strict=True) if is_steps(axis) and isinstance(size, int)]
        if fixed:
            return f"it is made for {fixed[0]} steps"
    if ONCE in flavours and (EACH in flavours or makes_steps):
        return "it joins values of which some have a step where others have none"
    if type(node.operation).__name__ == "Arange" and makes_steps:
        return "it counts the steps"
    return None


def _check_sizes(graph: Graph, layouts: Mapping[str, Layout]) -> None:
    for source in graph.inputs:
        for axis, size in zip(layouts[source.name], graph.tensors[source.value].shape, strict=True):
            if is_steps(axis) and isinstance(size, int):
                raise UnsupportedModelError(
                    f"a stream runs any number of steps, but input {source.name!r} is made for {size}"
                )
    for guard in graph.guards:
        symbols = _symbols(guard.one) | _symbols(guard.other)
        if any(name.startswith("steps") for name in symbols) and not _bound(guard):
            raise UnsupportedModelError(
                f"a stream runs any number of steps, but {guard.one} {guard.relation} {guard.other}: {guard.reason}"
            )


def _bound(guard: Guard) -> bool:
    """Whether a guard holds for all numbers of steps that are large enough, or of as many steps of two inputs."""
    if guard.relation == "==":
        return all(str(size) in _symbols(size) for size in (guard.one, guard.other))
    return is_steps_size(guard.one) and isinstance(guard.other, int) and guard.relation in (">", ">=")


def _symbols(size: Any) -> set[str]:
    return set(size.symbols()) if isinstance(size, Expression) else set()
