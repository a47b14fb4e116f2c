"""Models inside models: a layer that runs one for every step, and what is asked of the layers at any depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ShapeError
from . import operations as op
from .flow import Flow
from .layer import Layer, only
from .model import ModelSpec, edge_of, signals_of
from .recurrent import GRULayer
from .signal import Signal

if TYPE_CHECKING:
    from .scope import Scope

__all__ = ["TimeDistributed", "stateful_layers"]


class TimeDistributed(Layer):
    """A model of one input and one output, for every step by itself."""

    model: ModelSpec

    @property
    def input_features(self) -> int | None:
        shape = self.model.inputs[0].shape
        return shape[0] if len(shape) == 1 and not self.model.inputs[0].integers else None

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = only(inputs, where)
        if not isinstance(self.model, ModelSpec) or len(self.model.inputs) != 1 or len(self.model.outputs) != 1:
            raise ShapeError(f"{where}: takes a model of one input and one output")
        if len(given.shape) < 1 or (given.kind == "numbers" and len(given.shape) < 2):
            raise ShapeError(f"{where}: takes a sequence, got {given}")
        inner = self.model.inputs[0]
        step = Signal(given.shape[1:], given.kind)
        signals = signals_of(self.model, where + ": ", {inner.name: step})
        made = signals[edge_of(self.model.outputs[0])]
        return [Signal((given.shape[0], *made.shape), made.kind)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        """Steps become rows of a larger batch, and rows steps again."""
        x = inputs[0].value
        batch, steps, *rest = x.shape
        rows = s.add(op.View((batch * steps, *rest)), x)
        (made,) = s.outputs_of(self.model, {self.model.inputs[0].name: Flow(rows)}, f"{s.name}/")
        value = s.add(op.View((batch, steps, *made.value.shape[1:])), made.value)
        return [inputs[0]._replace(value=value, final=None)]

    def described(self) -> str:
        return f"TimeDistributed({', '.join(node.layer.described() for node in self.model.nodes)})"


def stateful_layers(spec: ModelSpec) -> list[str]:
    """The names of the GRUs that were stateful, also of those in models within."""
    names: list[str] = []
    for node in spec.nodes:
        if isinstance(node.layer, GRULayer) and node.layer.stateful:
            names.append(node.name)
        elif isinstance(node.layer, TimeDistributed):
            names += stateful_layers(node.layer.model)
    return names
