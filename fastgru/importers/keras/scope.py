"""The nodes of a model as they are made, one call of a Keras layer after the other.

Owns names that are unique, the number of nodes, and which mask comes with each value: what the layers do
with masks is said here once more, so that it can be compared with what Keras does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Protocol

from ... import layers
from ...errors import CheckpointError
from ...layers import Edge, Input, Layer, ModelSpec, Node
from ...layers.signal import Shape
from .masks import Masks, Wire
from .tensors import Weights
from .tree import Part

__all__ = ["Context", "Inputs", "LayerCall", "Scope"]

MAX_NODES = 10_000
_LONGEST = 255  # characters of a name

_HANDING_ON = (
    layers.Activation, layers.BatchNormalization, layers.Dense, layers.Dropout, layers.PReLU, layers.TimeDistributed,
)  # fmt: skip
_JOINING = (layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply, layers.Subtract)


@dataclass(frozen=True)
class Inputs:
    """What a layer is called with. ``masked`` is true where the call itself says which steps are real.

    ``before`` are then the inputs with the masks that they came with.
    """

    inputs: list[Wire]
    states: list[Wire] = field(default_factory=list)
    masked: bool = False
    before: list[Wire] = field(default_factory=list)


@dataclass(frozen=True)
class LayerCall:
    """A Keras layer, with its weights: adds its nodes for one call, and gives its outputs.

    ``layer`` is what it mainly is, to be told a person; a model is nothing by itself.
    """

    apply: Callable[[Scope, Inputs], list[Wire]]
    layer: Layer | None = None


class Context(Protocol):
    """What a layer asks for while it is made."""

    def weights(self, part: Part) -> Weights:
        """The weights of a layer."""

    def time_distributed(self, part: Part) -> Layer:
        """A layer for every step by itself."""


class Scope:
    """Where the nodes of one call of a layer go; those of another are told apart by its name alone."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.name = ""
        self.masks = Masks()
        self._nodes: list[Node] = []
        self._taken: dict[str, int] = {}
        self._budget = [MAX_NODES]
        self._costs: dict[int, int] = {}  # of the layers that hold models, by id; nodes keep them alive
        self._carriers: dict[int, Edge] = {}  # a mask -> something that carries it
        self._mask_edges: dict[int, Edge] = {}  # a mask -> its booleans

    def named(self, name: str) -> Scope:
        """The scope of one call of a layer within this one."""
        other = copy(self)
        other.name = f"{self.name}/{name}" if self.name else name
        return other

    def separate(self) -> Scope:
        """A scope of a model of its own, whose nodes count here too."""
        other = Scope(self.where)
        other._budget, other._costs = self._budget, self._costs
        return other

    def input(self, name: str) -> Wire:
        """An input of the model."""
        return Wire(self._free(name))

    def add(self, layer: Layer, inputs: Sequence[Wire], part: str = "") -> list[Wire]:
        """A node; ``part`` tells the several nodes of one Keras layer apart."""
        name = self._append(layer, [wire.edge for wire in inputs], f"{self.name}/{part}" if part else self.name)
        sequences, states = _outputs_of(layer)
        mask = self._mask_after(layer, inputs)
        if mask is not None:
            self._carriers.setdefault(mask, name)
        made = [Wire((name, index) if index else name, mask) for index in range(sequences)]
        return made + [Wire((name, sequences + index)) for index in range(states)]

    def masked(self, wire: Wire, mask: int | None) -> Wire:
        """The same numbers with another mask."""
        if mask == wire.mask:
            return wire
        if mask is None:
            return self.add(layers.Unmasked(), [wire], "unmasked")[0]
        edge = self._mask_edge(mask)
        name = self._append(layers.Dropout(), [wire.edge], f"{self.name}/masked", edge)
        return Wire(name, mask)

    def model(self, inputs: Sequence[tuple[Wire, Shape]], outputs: Sequence[Wire]) -> ModelSpec:
        """Everything that was added, as a model. An input that only an Embedding or a mask is made of has integers."""
        integers: set[Edge] = set()
        numbers: set[Edge] = set()
        for node in reversed(self._nodes):
            if _takes_integers(node.layer) or (isinstance(node.layer, layers.Dropout) and node.name in integers):
                integers.update(node.inputs)
            elif not isinstance(node.layer, layers.NotEqual):
                numbers.update(node.inputs)
        compared = {edge for node in self._nodes if isinstance(node.layer, layers.NotEqual) for edge in node.inputs}
        integers |= compared - numbers - {wire.edge for wire in outputs}
        made = [Input(str(wire.edge), shape, wire.edge in integers) for wire, shape in inputs]
        return ModelSpec(tuple(made), tuple(self._nodes), tuple(wire.edge for wire in outputs))

    @property
    def nodes(self) -> Sequence[Node]:
        """What was added so far."""
        return self._nodes

    def _append(self, layer: Layer, edges: Sequence[Edge], name: str, mask: Edge | None = None) -> str:
        self.spend(self._cost(layer))
        free = self._free(name)
        self._nodes.append(Node(free, layer, tuple(edges), mask))
        return free

    def spend(self, count: int = 1) -> None:
        """Count calls of layers and of models, and raise where there are too many."""
        self._budget[0] -= count
        if self._budget[0] < 0:
            raise CheckpointError(f"{self.where}: the calls of its layers come to more than {MAX_NODES}")

    def _cost(self, layer: Layer) -> int:
        """How many nodes a layer stands for, with those of models in it, however deep."""
        if not isinstance(layer, layers.TimeDistributed):
            return 1
        if id(layer) not in self._costs:
            self._costs[id(layer)] = 1 + sum(self._cost(node.layer) for node in layer.model.nodes)
        return self._costs[id(layer)]

    def _free(self, name: str) -> str:
        """The name, or with the first of #1, #2 ... that no node has yet."""
        name = name[-_LONGEST:] or "layer"
        free = name
        while free in self._taken:
            self._taken[name] += 1
            free = f"{name}#{self._taken[name]}"
        self._taken[free] = 0
        return free

    def _mask_edge(self, mask: int) -> Edge:
        """The booleans of a mask."""
        if mask not in self._mask_edges:
            carriers = [self._carriers[part] for part in self.masks.joined.get(mask, (mask,)) if part in self._carriers]
            layer: Layer = layers.MaskOf()
            if mask in self.masks.compared and not carriers:
                edge, value = self.masks.compared[mask]
                carriers, layer = [edge], layers.NotEqual(value)
            self._mask_edges[mask] = self._append(layer, carriers, "mask")
        return self._mask_edges[mask]

    def knows(self, mask: int) -> bool:
        """Whether there is a way to these booleans."""
        parts = self.masks.joined.get(mask, (mask,))
        return all(part in self._carriers for part in parts) or mask in self.masks.compared

    def _mask_after(self, layer: Layer, inputs: Sequence[Wire]) -> int | None:
        """The mask that the layer's output has where it runs."""
        first = inputs[0]
        if isinstance(layer, layers.Embedding):
            return self.masks.not_equal(first.edge, 0) if layer.mask_zero else None
        if isinstance(layer, layers.Masking):
            return self.masks.any_not_equal(first.edge, layer.value)
        if isinstance(layer, layers.GRULayer):
            return first.mask if layer.return_sequences else None
        if isinstance(layer, layers.LayerNormalization):
            return None if layer.rms else first.mask
        if isinstance(layer, layers.Select):
            return None
        if isinstance(layer, layers.Slice):
            return None if layer.axis == 1 else first.mask
        if isinstance(layer, layers.Concatenate) and layer.axis in (1, -2):
            return self.masks.in_turn([wire.mask for wire in inputs], [wire.edge for wire in inputs])
        if isinstance(layer, (*_JOINING, layers.Concatenate)):
            return self.masks.either([wire.mask for wire in inputs])
        return first.mask if isinstance(layer, _HANDING_ON) else None


def _takes_integers(layer: Layer) -> bool:
    if isinstance(layer, layers.TimeDistributed):
        return bool(layer.model.inputs[0].integers)
    return isinstance(layer, layers.Embedding)


def _outputs_of(layer: Layer) -> tuple[int, int]:
    """How many outputs a layer has, and how many states after them."""
    if not isinstance(layer, layers.GRULayer):
        return 1, 0
    both = layer.merge == "none" and layer.gru.directions == 2
    return 2 if both else 1, len(layer.state_sizes) if layer.return_state else 0
