"""Models of layers as graphs of operations."""

from __future__ import annotations

from ..errors import FastGRUError
from ..graph.builder import Builder
from ..graph.graph import FLOAT, INTEGER, Graph
from ..graph.layout import BATCH, STEPS, Layout, Steps, plain
from ..graph.size import Size, symbol
from .flow import Flow
from .model import Input, ModelSpec
from .scope import Scope

__all__ = ["graph_of"]


def graph_of(spec: ModelSpec) -> tuple[Graph, dict[str, Layout]]:
    """The graph that computes what a description says, and where its inputs have their batch and their steps.

    Where a description fixes the number of steps, the graph has them open if it can: then rows may be shorter.
    """
    try:
        graph = _built(spec, opened=True)
    except FastGRUError:
        graph = _built(spec, opened=False)
    return graph, {source.name: _layout(source, graph) for source in spec.inputs}


def _built(spec: ModelSpec, opened: bool) -> Graph:
    builder = Builder(demands=True)
    inputs = {
        source.name: Flow(builder.input(source.name, _shape(source, opened), _kind(source))) for source in spec.inputs
    }
    places = tuple(flow.value.place for flow in Scope(builder).outputs_of(spec, inputs))
    if spec.output_names is not None:
        return builder.finish(dict(zip(spec.output_names, places, strict=True)))
    return builder.finish(places[0] if len(places) == 1 else places)


def _shape(source: Input, opened: bool) -> tuple[Size, ...]:
    """With a symbol for every size that is open; those of different inputs may turn out to be one."""
    sizes: list[Size] = [symbol("batch")]
    for axis, size in enumerate(source.shape):
        is_open = size is None or (opened and axis == 0 and source.has_steps)
        sizes.append(symbol(f"{source.name}_{axis + 1}") if is_open else int(size or 0))
    return tuple(sizes)


def _layout(source: Input, graph: Graph) -> Layout:
    value = next(each.value for each in graph.inputs if each.name == source.name)
    axes = list(plain(graph.tensors[value].shape))
    axes[0] = (BATCH,)
    if source.has_steps:
        axes[1] = (Steps(STEPS),)
    return tuple(axes)


def _kind(source: Input) -> str:
    return INTEGER if source.integers else FLOAT
