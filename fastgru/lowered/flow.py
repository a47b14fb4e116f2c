"""What flows between the layers of a description while it becomes a graph: a value, and the mask that goes with it."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import UnsupportedModelError
from ..graph.builder import Builder, Value
from ..graph.operations.operation import Operation

__all__ = ["Flow", "Scope"]


class Flow(NamedTuple):
    """The output of a layer: ``mask`` says which of its steps the layers behind take, all where it is None."""

    value: Value
    mask: Value | None = None  # (batch, steps) of booleans
    final: Value | None = None  # after a GRU: its last layer's final states, (batch, hidden * directions)


class Scope:
    """Where a layer is built: the builder, and the name of its node."""

    def __init__(self, builder: Builder, name: str, made: dict[int, Any]) -> None:
        self.builder, self.name = builder, name
        self._made = made  # what was made of a layer, by its identity, so that one that stands twice is packed once

    def add(self, operation: Operation, *inputs: Any, name: str = "") -> Any:
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
        found: Operation = self._made.setdefault((id(layer), key), (operation, layer))[0]  # type: ignore[call-overload]
        return found

    def error(self, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"layer {self.name!r}: {message}")
