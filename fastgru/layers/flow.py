"""What flows between layers while they become a graph: a value, and the mask that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..graph.builder import Value

__all__ = ["Flow"]


class Flow(NamedTuple):
    """The output of a layer: ``mask`` says which of its steps the layers behind take, all if it is None."""

    value: Value
    mask: Value | None = None  # (batch, steps) of booleans
    final: Value | None = None  # after a GRU: its last layer's final states, (batch, hidden * directions)
