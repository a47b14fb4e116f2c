"""From the tree of a Keras config to the nodes of a model: every layer made once, every call of it added.

A model within a model is taken apart: its layers become nodes of the outer one, called ``"inner/dense"``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import CheckpointError, UnsupportedModelError
from ...layers import (
    Conv1D,
    Embedding,
    Flatten,
    GRULayer,
    Layer,
    ModelSpec,
    Permute,
    Reshape,
    TimeDistributed,
    sequential,
    stateful_layers,
)
from ...layers.signal import Shape
from .calls import Call, Ref, references
from .config import Entry, number_of, short
from .dtypes import given_as_cast
from .layers import make
from .masks import TRUTHS, Steps, Truth, Wire, steps_of
from .operations import is_operation, operation
from .recurrent import RECURRENT
from .scope import Inputs, LayerCall, Scope
from .tensors import Source, Weights
from .tree import CONTAINERS, Part

__all__ = ["Builder"]

_FIRST = ("inputs", "sequences", "input", "x")  # what the first argument of a call is called
_FIXING = (Flatten, Permute, Reshape)  # layers for which the number of steps is part of the shape


class Builder:
    """Makes the layers of one model, each once."""

    def __init__(self, source: Source, where: str, *, loses_masks: bool = False) -> None:
        self._source, self._where, self.loses_masks = source, where, loses_masks
        self.scope = Scope(where)
        self._made: dict[int, LayerCall] = {}

    def model(self, part: Part) -> ModelSpec:
        """The whole model.

        Raises
        ------
        UnsupportedModelError
            A layer, an option or a way of calling a layer is not supported; the message names it and where it is.
        CheckpointError
            The config is damaged, or does not fit the tensors.
        """
        assert part.graph is not None
        entries = [None if place is None else part.inner[place].entry for place in part.graph.inputs]
        names = _input_names(part)
        wires = [self.scope.input(name) for name in names]
        outputs = self.run(part, self.scope, wires)
        shapes = [shape_of_input(entry) if entry else _declared(part) for entry in entries]
        if None in shapes:
            chain = sequential([(node.name, node.layer) for node in self.scope.nodes])
            shapes = [chain.inputs[0].shape]
        spec = self.scope.model([(wire, shape or ()) for wire, shape in zip(wires, shapes, strict=True)], outputs)
        _check_states(spec, self._where)
        spec = _with_output_names(part, spec)
        return spec if part.entry.class_name != "Sequential" else _of_any_length(spec)

    def weights(self, part: Part) -> Weights:
        """The weights of a layer."""
        return self._source.weights(part)

    def made(self, part: Part) -> LayerCall:
        """A layer, made when it is first asked for."""
        if id(part) not in self._made:
            if part.graph is not None:
                self._made[id(part)] = LayerCall(lambda scope, given: self._run_inner(part, scope, given))
            else:
                self._made[id(part)] = make(part, self)
        return self._made[id(part)]

    def time_distributed(self, part: Part) -> Layer:
        """The layer in a TimeDistributed as a model of one step."""
        inner, scope = part.inner[0], self.scope.separate().named(part.inner[0].entry.name)
        wire = scope.input("input")
        outputs = self.made(inner).apply(scope, Inputs([wire]))
        if len(outputs) != 1:
            raise part.entry.unsupported(f"its layer has {len(outputs)} outputs, supported is one")
        entry = _input_entry(inner)
        shape = _shape_of_steps(scope) if entry is None else shape_of_input(entry)
        return TimeDistributed(scope.model([(wire, shape)], outputs))

    def run(self, part: Part, scope: Scope, given: list[Wire]) -> list[Wire]:
        """The outputs of a model, all of whose calls are added."""
        assert part.graph is not None
        values: dict[tuple[int, int], list[Any]] = {}
        for place, wire in zip(part.graph.inputs, given, strict=True):
            if place is not None:
                _check_input(part.inner[place].entry)
            values[-1 if place is None else place, 0] = [wire]
        for call in part.graph.calls:
            values[call.layer, call.number] = self._call(part, call, scope, values)
        outputs = [each for ref in part.graph.outputs for each in _several(_value(ref, values, part.entry))]
        if not all(isinstance(each, Wire) for each in outputs):
            raise part.entry.unsupported("an output of it is made of booleans")
        return outputs

    def _run_inner(self, part: Part, scope: Scope, given: Inputs) -> list[Wire]:
        assert part.graph is not None
        if given.states or len(given.inputs) != len(part.graph.inputs):
            raise CheckpointError(
                f"{part.entry.where}: it is called with {len(given.inputs) + len(given.states)} inputs, wanted "
                f"{len(part.graph.inputs)}"
            )
        scope.spend()
        return self.run(part, scope, given.inputs)

    def _call(self, model: Part, call: Call, scope: Scope, values: Mapping[tuple[int, int], list[Any]]) -> list[Any]:
        part = model.inner[call.layer]
        entry = part.entry
        arguments = [_value(each, values, entry) for each in call.arguments]
        options = {key: _value(each, values, entry) for key, each in call.options.items()}
        inside = scope.named(entry.name)
        if is_operation(entry):
            ranks = {ref.rank for ref in references(call) if isinstance(ref, Ref) and ref.rank is not None}
            return operation(entry, inside, arguments, options, ranks)
        layer = self.made(part)
        given = _given(part, inside, arguments, options)
        if self.loses_masks:
            given = given_as_cast(model, call, inside, given)
        made = layer.apply(inside, given)
        return _handed_on(part, inside, given, made) if given.masked else made


def _value(value: Any, values: Mapping[tuple[int, int], list[Any]], entry: Entry) -> Any:
    """An argument with values in place of references."""
    if isinstance(value, Ref):
        outputs = values[value.layer, value.call]
        if value.output is None:
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        if value.output >= len(outputs):
            raise CheckpointError(
                f"{entry.where}: it refers to output {value.output} of a layer that has {len(outputs)}"
            )
        return outputs[value.output]
    if isinstance(value, tuple):
        return tuple(_value(each, values, entry) for each in value)
    if isinstance(value, dict):
        return {key: _value(each, values, entry) for key, each in value.items()}
    return value


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) and not isinstance(value, Wire) else (value,)


def _given(part: Part, scope: Scope, arguments: list[Any], options: Mapping[str, Any]) -> Inputs:
    """What a layer is called with, and an error for what would change what it does."""
    entry = part.entry
    arguments = [each for each in arguments if each is not None]
    options = {key: value for key, value in options.items() if value is not None}
    if not arguments:
        arguments = [options.pop(key) for key in _FIRST if key in options][:1]
    if options.pop("training", False) is not False:
        raise entry.unsupported("it is called with training=True, as in training")
    first, *more = arguments or [()]
    if isinstance(first, dict):
        first = _by_name(part, first)
    inputs = list(_several(first))
    states = [each for value in (*more, options.pop("initial_state", ())) for each in _several(value)]
    mask = options.pop("mask", None)
    if options or (states and entry.class_name not in RECURRENT):
        named = next(iter(options), "more than one argument")
        raise entry.unsupported(f"it is called with {short(named)}, which is not supported")
    if entry.class_name in RECURRENT:  # Keras 2 puts the states among the inputs
        inputs, states = inputs[:1], inputs[1:] + states
    if not inputs or not all(isinstance(each, Wire) for each in (*inputs, *states)):
        plain = "an initial state that is written out" if inputs and isinstance(inputs[0], Wire) else "plain values"
        what = plain if inputs else "nothing"
        raise entry.unsupported(f"it is called with {what}, which is not supported; wanted outputs of layers")
    if mask is None:
        return Inputs(inputs, states)
    masks = _several(_by_name(part, mask) if isinstance(mask, dict) else mask)
    if not all(each is None or isinstance(each, (Wire, *TRUTHS)) for each in masks):
        raise entry.unsupported("it is called with a mask that is written out, which is not supported")
    if len(masks) > len(inputs):
        raise CheckpointError(f"{entry.where}: it is called with {len(masks)} masks for {len(inputs)} inputs")
    own = part.graph is not None and entry.era >= 3  # a model's input without a mask here keeps its own
    masked = [
        wire if own and each is None else _masked(entry, scope, wire, each)
        for wire, each in zip(inputs, masks, strict=False)
    ]
    return Inputs(masked + inputs[len(masks) :], states, masked=True, before=inputs)


def _handed_on(part: Part, scope: Scope, given: Inputs, made: list[Wire]) -> list[Wire]:
    """The outputs of a layer that was called with a mask.

    Keras 3.0 to 3.10 compute with that mask, and hand on the one that the input came with.
    """
    entry, came, named = part.entry, given.before[0].mask, given.inputs[0].mask
    if not (3,) <= number_of(entry.version) < (3, 11) or part.graph is not None or came == named:
        return made
    if named is None:
        raise entry.unsupported("it is called with a mask that leaves out nothing, in place of one that does")
    return [wire if wire.mask is None else scope.masked(wire, came) for wire in made]


def _by_name(part: Part, named: Mapping[str, Any]) -> tuple[Any, ...]:
    """The inputs of a model in its own order, where it is called with a dict."""
    names = _input_names(part)
    if set(names) != set(named):
        raise CheckpointError(f"{part.entry.where}: it is called with {short(list(named))}, wanted {short(names)}")
    return tuple(named[name] for name in names)


def _input_names(part: Part) -> tuple[str, ...]:
    """What the inputs of a model are called: as in the dict that it takes, or else as their layers."""
    if part.graph is None:
        return ()
    if part.graph.input_names is not None:
        return part.graph.input_names
    return tuple("input" if place is None else part.inner[place].entry.name for place in part.graph.inputs)


def _check_states(spec: ModelSpec, where: str) -> None:
    """Raise where already the first call of the model goes on from a state: of the call of a layer before."""
    called: set[int] = set()
    for node in spec.nodes:
        layer = node.layer
        inner = stateful_layers(layer.model) if isinstance(layer, TimeDistributed) else []
        twice = isinstance(layer, GRULayer) and layer.stateful and id(layer.gru) in called
        if inner or twice:
            often = "runs on every step of a TimeDistributed" if inner else "is called more than once"
            raise UnsupportedModelError(
                f"{where}: layer {(inner or [node.name])[0]!r} is stateful and {often}, so that each time goes on from "
                "the states of the time before; save the model with stateful=False if each is to begin with zeros"
            )
        if isinstance(layer, GRULayer):
            called.add(id(layer.gru))


def _with_output_names(part: Part, spec: ModelSpec) -> ModelSpec:
    """The model with its outputs as a dict, where they are one: in Keras 2 in the order in which it was written."""
    names = part.graph.output_names if part.graph else None
    if names is None or len(names) != len(spec.outputs):
        return spec
    order = names if part.entry.era >= 3 else tuple(part.entry.config["output_layers"])
    edges = dict(zip(names, spec.outputs, strict=True))
    return spec.replace(outputs=tuple(edges[name] for name in order), output_names=order)


def _masked(entry: Entry, scope: Scope, wire: Wire, mask: Wire | Truth | None) -> Wire:
    """An input with the mask that the call gives it."""
    if mask is None:
        return scope.masked(wire, None)
    truth: Truth | None = None
    if isinstance(mask, Wire):  # an input of booleans, or of 0 and 1
        truth = Steps(scope.masks.not_equal(mask.edge, 0), mask.edge)
    elif isinstance(mask, TRUTHS):
        truth = steps_of(scope.masks, mask)
    if not isinstance(truth, Steps):
        raise entry.unsupported("its mask is made in a way that is not supported")
    number = truth.mask
    if number is not None and number != wire.mask and not scope.knows(number):
        raise entry.unsupported("its mask is made in a way that is not supported")
    return scope.masked(wire, number)


def shape_of_input(entry: Entry) -> Shape:
    """The shape of an InputLayer without the batch."""
    key = "batch_shape" if entry.get("batch_shape") is not None else "batch_input_shape"
    shape = entry.get(key)
    sizes = shape[1:] if isinstance(shape, list) and 1 <= len(shape) <= 9 else [0]
    if not all(size is None or (type(size) is int and 1 <= size < 2**31) for size in sizes):
        raise entry.wrong(key, "a list of sizes, each None or a whole number from 1 on")
    return tuple(sizes)


def _check_input(entry: Entry) -> None:
    for key in ("sparse", "ragged"):
        if entry.get(key, False) not in (False, None):
            raise entry.unsupported(f"{key} inputs are not supported")
    if str(entry.get("dtype")) in ("string", "complex64", "complex128"):
        raise entry.unsupported(f"inputs of type {entry.get('dtype')} are not supported")


def _input_entry(part: Part) -> Entry | None:
    """The InputLayer of a model with one, and one input."""
    if part.graph is None or len(part.graph.inputs) != 1 or part.graph.inputs[0] is None:
        return None
    return part.inner[part.graph.inputs[0]].entry


def _declared(part: Part) -> Shape | None:
    """The shape that the first layer of a Sequential gives, or it itself; None where neither does."""
    for each in _firsts(part):
        if each.entry.get("batch_input_shape") is not None:
            return shape_of_input(each.entry)
        inner = _input_entry(each)
        if inner is not None:
            return shape_of_input(inner)
    shape = part.entry.get("build_input_shape")
    if shape is None:
        return None
    if not isinstance(shape, list) or not shape:
        raise part.entry.wrong("build_input_shape", "a list of sizes")
    return shape_of_input(Entry("InputLayer", "input", "input", {"batch_shape": shape}, part.entry.where, ""))


def _firsts(part: Part) -> Iterator[Part]:
    while part.entry.class_name in CONTAINERS and part.inner:
        part = part.inner[0]
        yield part


def _shape_of_steps(scope: Scope) -> Shape:
    """What the first layer with weights takes, as a guess: the shape of a step is known where a model is called."""
    for node in scope.nodes:
        if isinstance(node.layer, Embedding):
            return ()
        features = node.layer.input_features
        if features is not None:
            return (None, features) if isinstance(node.layer, (Conv1D, GRULayer)) else (features,)
    return (None,)


def _of_any_length(spec: ModelSpec) -> ModelSpec:
    """A Sequential runs sequences of any length, whatever its InputLayer says, unless a layer needs to know it."""
    source = spec.inputs[0]
    steps = len(source.shape) >= (1 if source.integers else 2)
    if not steps or any(isinstance(node.layer, _FIXING) for node in spec.nodes):
        return spec
    return spec.replace(inputs=(source.replace(shape=(None, *source.shape[1:])),))
