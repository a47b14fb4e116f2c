"""Descriptions of layers as graphs of operations: chains of named layers, Keras's models, fastgru's own older files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph.builder import Builder
from ..graph.graph import FLOAT, INTEGER, Graph
from ..graph.size import Size, symbol
from ..spec import Input, ModelSpec, edge_of
from . import plain, weighted
from .flow import Flow, Scope

__all__ = ["graph_of", "nodes_of"]

BUILDERS = {**plain.BUILDERS, **weighted.BUILDERS}


def graph_of(spec: ModelSpec) -> Graph:
    """The graph that computes what a description says."""
    builder = Builder()
    inputs = {source.name: Flow(builder.input(source.name, _shape(source), _kind(source))) for source in spec.inputs}
    made = nodes_of(builder, spec, inputs)
    places = tuple(flow.value.place for flow in made)
    return builder.finish(places[0] if len(places) == 1 else places)


def _shape(source: Input) -> tuple[Size, ...]:
    """With a symbol for every size that is open; those of different inputs may turn out to be one."""
    sizes: list[Size] = [symbol("batch")]
    for axis, size in enumerate(source.shape):
        sizes.append(symbol(f"{source.name}_{axis + 1}") if size is None else int(size))
    return tuple(sizes)


def _kind(source: Input) -> str:
    return INTEGER if source.integers else FLOAT


def nodes_of(builder: Builder, spec: ModelSpec, inputs: Mapping[str, Flow], prefix: str = "") -> list[Flow]:
    """The outputs of a model within a graph, for inputs that are there."""
    flows: dict[tuple[str, int], Flow] = {(name, 0): flow for name, flow in inputs.items()}
    made: dict[Any, Any] = builder.__dict__.setdefault("_layers", {})
    for node in spec.nodes:
        scope = Scope(builder, prefix + node.name, made)
        given = [flows[edge_of(edge)] for edge in node.inputs]
        if node.mask is not None:
            given[0] = given[0]._replace(mask=flows[edge_of(node.mask)].value)
        for index, flow in enumerate(BUILDERS[type(node.layer)](scope, node.layer, given)):
            flows[node.name, index] = flow
    return [flows[edge_of(edge)] for edge in spec.outputs]
