"""How the layers of a Keras model are called, in an order in which they can be computed.

Owns the ways in which Keras 1, 2 and 3 write that down. References are resolved and checked here; nothing is looked up
by a name but in the list of the model's own layers.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...errors import CheckpointError
from .config import Entry, plain, short

__all__ = ["Call", "Graph", "Ref", "chain", "graph", "references"]

MAX_CALLS = 10_000
MAX_NESTING = 5  # of lists of tensors among the arguments of a call
_MODELS = ("Functional", "Sequential")


class Ref(NamedTuple):
    """An output of a call: of which layer, by its place, of which of its calls, and which; None for all of them."""

    layer: int
    call: int
    output: int | None
    rank: int | None = None  # how many axes it has, the batch among them, where the config says so


class Call(NamedTuple):
    """A call of a layer. Arguments are Refs, plain values, and tuples and dicts of both."""

    layer: int
    number: int
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """The calls of a model in an order in which they can be computed.

    ``inputs`` are the places of its InputLayers, None for a model that has none and takes one input. What is given or
    comes back as a dict has names; Keras goes through it in the order of its keys.
    """

    inputs: tuple[int | None, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Ref, ...]
    input_names: tuple[str, ...] | None = None
    output_names: tuple[str, ...] | None = None


def chain(model: Entry, layers: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> Graph:
    """A Sequential model: every layer takes what the one before it makes."""
    places = [place for place, entry in enumerate(entries) if entry.class_name == "InputLayer" and not entry.problem]
    if places not in ([], [0]):
        raise CheckpointError(f"{entries[places[-1]].where}: an InputLayer comes once and first, or not at all")
    if len(entries) == len(places):
        raise CheckpointError(f"{model.where}: a model needs at least one layer, got none")
    calls = [
        Call(place, 0, (Ref(place - 1, 0, None),), {})  # Ref(-1, ...) is the model's input where it has no InputLayer
        for place in range(len(places), len(entries))
    ]
    return Graph((0,) if places else (None,), tuple(calls), (Ref(len(entries) - 1, 0, None),))


def graph(model: Entry, layers: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> Graph:
    """A functional model.

    Raises
    ------
    CheckpointError
        A reference is damaged or leads nowhere, or the calls wait for each other.
    """
    return _Functional(model, layers, entries).read()


@dataclass(frozen=True)
class _Named:
    """A reference as it is written: with a layer's name, and an index of calls that may begin at 1."""

    layer: str
    call: int
    output: int
    listed: bool  # written as a list, as Keras 1 and 2 do
    rank: int | None = None


@dataclass
class _Functional:
    model: Entry
    layers: Sequence[Mapping[str, Any]]
    entries: Sequence[Entry]
    places: dict[str, int] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    total: int = 0

    def read(self) -> Graph:
        for place, entry in enumerate(self.entries):
            if entry.name in self.places:
                raise CheckpointError(f"{entry.where}: two layers have this name, wanted every name once")
            self.places[entry.name] = place
        calls = [call for place in range(len(self.entries)) for call in self._calls(place)]
        config = self.model.config
        inputs = list(self._leaves(config.get("input_layers"), "input_layers"))
        outputs = list(self._leaves(config.get("output_layers"), "output_layers"))
        places = [self._input(name) for name in inputs]
        missing = [entry for place, entry in enumerate(self.entries) if self._is_input(place) and place not in places]
        if missing or len({*places}) < len(places):
            raise CheckpointError(
                f"{(missing[0] if missing else self.model).where}: input_layers must name every InputLayer once"
            )
        begins = self._first_calls([ref for call in calls for ref in references(call)], outputs)
        resolved = [
            call._replace(
                arguments=self._resolved(call.arguments, begins, self.entries[call.layer]),
                options=self._resolved(call.options, begins, self.entries[call.layer]),
            )
            for call in calls
        ]
        return Graph(
            tuple(places),
            tuple(self._in_order(resolved)),
            tuple(self._resolved(name, begins, self.model) for name in outputs),
            _names(config.get("input_layers")),
            _names(config.get("output_layers")),
        )

    def _calls(self, place: int) -> Iterator[Call]:
        entry, nodes = self.entries[place], self.layers[place].get("inbound_nodes", [])
        if not isinstance(nodes, list):
            raise CheckpointError(f"{entry.where}: inbound_nodes is {short(nodes)}, wanted a list of calls")
        is_input = self._is_input(place)
        self.counts.append(1 if is_input else len(nodes))
        self.total += self.counts[-1]
        if self.total > MAX_CALLS + len(self.entries):
            raise CheckpointError(f"{entry.where}: its model has more than {MAX_CALLS} calls of layers")
        if is_input and nodes:
            raise CheckpointError(f"{entry.where}: an InputLayer has inputs of its own")
        for number, node in enumerate(nodes):
            if isinstance(node, dict) and isinstance(node.get("args"), list):
                options = node.get("kwargs", {})
                arguments = node["args"]
            elif isinstance(node, list):
                arguments, options = _listed_arguments(node)
            elif _names(node) is not None:  # Keras 2 with a dict
                arguments, options = [node], _own_options(next(iter(node.values())))
            else:
                raise CheckpointError(f"{entry.where}: inbound_nodes[{number}] is {short(node)}, wanted a call")
            if not isinstance(options, dict):
                raise CheckpointError(f"{entry.where}: inbound_nodes[{number}]: got {short(options)} as options")
            listed = isinstance(node, list) or arguments == [node]
            yield Call(
                place,
                number,
                tuple(_argument(value, listed, entry.where) for value in arguments),
                {str(key): _argument(value, listed, entry.where) for key, value in options.items()},
            )

    def _leaves(self, value: Any, key: str, depth: int = 0) -> Iterator[_Named]:
        """The references in what a model lists as its inputs or outputs, in its order."""
        value = plain(value)
        if _is_leaf(value):
            yield _Named(value[0], value[1], value[2], True)
        elif isinstance(value, (list, dict)) and value and depth < MAX_NESTING and len(value) <= MAX_CALLS:
            for each in [value[name] for name in sorted(value)] if isinstance(value, dict) else value:
                yield from self._leaves(each, key, depth + 1)
        else:
            raise CheckpointError(f"{self.model.where}: {key} has {short(value)}, wanted [name, call, output]")

    def _first_calls(self, refs: Sequence[_Named], outputs: Sequence[_Named]) -> dict[tuple[str, bool], int]:
        """From which index on the calls of a model in this model are counted, by its name and how it is written.

        A model that was built before it was called has a call of its own, which is not in the file. Keras 2 counts it
        wherever it refers to the model, Keras 3 only among the outputs.
        """
        seen: dict[tuple[str, bool], set[int]] = {}
        for ref in (*refs, *outputs):
            if ref.layer in self.places and self.entries[self.places[ref.layer]].class_name in _MODELS:
                seen.setdefault((ref.layer, ref.listed), set()).add(ref.call)
        begins = {}
        for (name, listed), calls in seen.items():
            place = self.places[name]
            functional = self.entries[place].class_name == "Functional" and self.model.era >= 3
            counted = listed and (functional or max(calls) >= self.counts[place])
            begins[name, listed] = 1 if counted and 0 not in calls else 0
        return begins

    def _resolved(self, value: Any, begins: Mapping[tuple[str, bool], int], entry: Entry) -> Any:
        """The same with Refs for references by name."""
        if isinstance(value, tuple):
            return tuple(self._resolved(each, begins, entry) for each in value)
        if isinstance(value, dict):
            return {key: self._resolved(each, begins, entry) for key, each in value.items()}
        if not isinstance(value, _Named):
            return value
        if value.layer not in self.places:
            raise CheckpointError(f"{entry.where}: it refers to a layer {short(value.layer)}, which its model has not")
        place = self.places[value.layer]
        call = value.call - begins.get((value.layer, value.listed), 0)
        if not 0 <= call < self.counts[place] or not 0 <= value.output < 2**31:
            raise CheckpointError(
                f"{entry.where}: it refers to output {value.output} of call {value.call} of layer "
                f"{short(value.layer)}, which is called {self.counts[place]} times"
            )
        return Ref(place, call, value.output, value.rank)

    def _is_input(self, place: int) -> bool:
        return self.entries[place].class_name == "InputLayer" and not self.entries[place].problem

    def _input(self, name: _Named) -> int:
        place = self.places.get(name.layer)
        if place is None or not self._is_input(place) or (name.call, name.output) != (0, 0):
            raise CheckpointError(f"{self.model.where}: input_layers has {short(name.layer)}, wanted an InputLayer")
        return place

    def _in_order(self, calls: Sequence[Call]) -> Iterator[Call]:
        """The calls so that each comes after those it needs, and otherwise in the file's order."""
        index = {(call.layer, call.number): place for place, call in enumerate(calls)}
        waits = []
        needed_by: dict[int, list[int]] = {}
        for place, call in enumerate(calls):
            needs = {index[ref.layer, ref.call] for ref in references(call) if (ref.layer, ref.call) in index}
            waits.append(len(needs))
            for other in needs:
                needed_by.setdefault(other, []).append(place)
        ready = [place for place, count in enumerate(waits) if not count]
        done = 0
        while ready:
            place = heapq.heappop(ready)
            done += 1
            yield calls[place]
            for other in needed_by.get(place, ()):
                waits[other] -= 1
                if not waits[other]:
                    heapq.heappush(ready, other)
        if done < len(calls):
            stuck = next(place for place, count in enumerate(waits) if count)
            raise CheckpointError(f"{self.entries[calls[stuck].layer].where}: it needs its own output, in a cycle")


def references(call: Call) -> Iterator[Any]:
    """Every reference among the arguments and options of a call."""
    values: list[Any] = [*call.arguments, *call.options.values()]
    while values:
        value = values.pop()
        if isinstance(value, (Ref, _Named)):
            yield value
        elif isinstance(value, tuple):
            values += value
        elif isinstance(value, dict):
            values += value.values()


def _is_leaf(value: Any) -> bool:
    """Whether it is [name, call, output], which may have a dict of options behind it."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and type(value[1]) is int
        and type(value[2]) is int
    )


def _names(value: Any) -> tuple[str, ...] | None:
    """The names of a dict of references, in their order."""
    named = isinstance(value, dict) and value.get("class_name") is None and all(map(_is_leaf, value.values()))
    return tuple(sorted(value)) if named and value else None


def _listed_arguments(node: list[Any]) -> tuple[list[Any], Any]:
    """The arguments and options of a call in Keras 1 and 2: one list of references, the options behind each of them."""
    if len(node) == 4 and node[0] == "_CONSTANT_VALUE":
        return [node[2]], node[3]
    leaves = [node] if _is_leaf(node) else node
    options = _own_options(leaves[0]) if leaves else {}
    inputs = [leaf[:3] if _is_leaf(leaf) else leaf for leaf in leaves]
    return (inputs if len(inputs) == 1 else [inputs]), options


def _own_options(leaf: Any) -> Any:
    """What stands behind a reference: the options of the call."""
    return leaf[3] if _is_leaf(leaf) and len(leaf) == 4 else {}


def _argument(value: Any, listed: bool, where: str, depth: int = 0) -> Any:
    """An argument with its references found, lists as tuples; ``listed`` where references are written as lists."""
    value = plain(value)
    if listed and _is_leaf(value):
        return _Named(value[0], value[1], value[2], True)
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        history = config.get("keras_history") if isinstance(config, dict) else None
        if not isinstance(config, dict) or not isinstance(history, list) or not _is_leaf(history):
            raise CheckpointError(f"{where}: it is called with {short(value)}, which does not say whose output it is")
        shape = plain(config.get("shape"))
        return _Named(history[0], history[1], history[2], False, len(shape) if isinstance(shape, list) else None)
    if depth < MAX_NESTING and isinstance(value, list):
        return tuple(_argument(each, listed, where, depth + 1) for each in value)
    if depth < MAX_NESTING and isinstance(value, dict) and "class_name" not in value:
        return {str(key): _argument(each, listed, where, depth + 1) for key, each in value.items()}
    return value
