"""Where a layer becomes operations of a graph: what it adds them with, and the checks that it leaves to every call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnsupportedModelError
from ..graph.builder import Builder, Value
from ..graph.operations.operation import Operation
from .flow import Flow
from .model import ModelSpec, edge_of

__all__ = ["Scope"]

# Operations by the id of their layer and a key. The layer is held with them, so that no other gets its id.
_Made = dict[tuple[int, str], tuple[Operation, object]]


class Scope:
    """A place in a graph that is being built: the builder, and the name of the node whose layer stands there.

    Scopes of one graph share what was made of a layer, so that one that stands in several places is packed once.
    """

    def __init__(self, builder: Builder, name: str = "", made: _Made | None = None) -> None:
        self.builder, self.name = builder, name
        self._made: _Made = {} if made is None else made

    def at(self, name: str) -> Scope:
        """The place of another node of the same graph."""
        return Scope(self.builder, name, self._made)

    def outputs_of(self, model: ModelSpec, inputs: Mapping[str, Flow], prefix: str = "") -> list[Flow]:
        """The outputs of a model within the graph, for inputs that are there; ``prefix`` begins its nodes' names."""
        flows: dict[tuple[str, int], Flow] = {(name, 0): flow for name, flow in inputs.items()}
        for node in model.nodes:
            place = self.at(prefix + node.name)
            given = [flows[edge_of(edge)] for edge in node.inputs]
            if node.mask is not None:
                mask = flows[edge_of(node.mask)].value
                given[0] = given[0]._replace(mask=mask)
                place.check_steps(given[0].value, mask)
            for index, flow in enumerate(node.layer.lower(place, given)):
                flows[node.name, index] = flow
        return [flows[edge_of(edge)] for edge in model.outputs]

    def add(self, operation: Operation, *inputs: Any, name: str = "") -> Any:
        """What an operation makes of values, arrays and numbers; its node is called as this place, or ``name``."""
        values = (each if isinstance(each, Value) else self.builder.constant(each) for each in inputs)
        return self.builder.add(operation, *values, name=name or self.name)

    def check_left(self, value: Value, axis: int) -> Value:
        """The value, of which every call checks that it has places along an axis."""
        size = value.shape[axis]
        if isinstance(size, int) and size < 1:
            raise self.error("it leaves nothing")
        self.builder.guard(size, ">=", 1, f"layer {self.name!r} leaves nothing")
        return value

    def check_places(self, value: Value, axis: int, least: int) -> None:
        """Let every call check that an open axis of a value has at least ``least`` places."""
        if not isinstance(value.shape[axis], int):
            self.builder.guard(value.shape[axis], ">=", least, f"layer {self.name!r} counts {least} from the end")

    def check_steps(self, one: Value, other: Value) -> None:
        """Let two values have as many steps."""
        self.builder.same(one.shape[1], other.shape[1], f"layer {self.name!r} takes as many steps of both")

    def once(self, layer: object, key: str, operation: Operation) -> Operation:
        """The operation, or the equal one that was made of the same layer before."""
        return self._made.setdefault((id(layer), key), (operation, layer))[0]

    def error(self, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"layer {self.name!r}: {message}")
