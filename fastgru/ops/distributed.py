"""A model inside a model, run on every step by itself."""

from __future__ import annotations

from ..spec import TimeDistributed
from .graph import Graph
from .value import Context, Runner, Value

__all__ = ["time_distributed"]


def time_distributed(layer: TimeDistributed, context: Context) -> Runner:
    """Steps become rows of a larger batch, and rows steps again."""
    graph = Graph(layer.model, context.dtype, context.options)
    name = layer.model.inputs[0].name

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        batch, steps = value.array.shape[:2]
        rows = value.array.reshape(batch * steps, *value.array.shape[2:])
        made = graph.run({name: Value(rows)})[0].array
        return [value.of(made.reshape(batch, steps, *made.shape[1:]))]

    return Runner(run, lambda inputs: graph.run({name: Value(inputs[0])})[0].array, nbytes=graph.nbytes)
