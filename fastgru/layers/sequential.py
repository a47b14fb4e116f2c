"""Chains of layers as models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import ShapeError
from .layer import Layer
from .model import Input, ModelSpec, Node
from .nested import TimeDistributed
from .signal import Shape
from .weighted import Embedding

__all__ = ["sequential"]


def sequential(layers: Iterable[tuple[str, Layer]], input_name: str = "input", shape: Shape | None = None) -> ModelSpec:
    """A chain of (name, layer) as a graph; the input's shape follows from the first layer that has weights."""
    chain = list(layers)
    if not chain:
        raise ShapeError("a model needs at least one layer, got none")
    nodes = []
    previous = input_name
    for name, layer in chain:
        nodes.append(Node(name, layer, (previous,)))
        previous = name
    integers, wanted = _input_wanted([layer for _, layer in chain])
    return ModelSpec((Input(input_name, wanted if shape is None else shape, integers),), tuple(nodes), (previous,))


def _input_wanted(layers: Sequence[Layer]) -> tuple[bool, Shape]:
    for layer in layers:
        if isinstance(layer, Embedding):
            return True, (None,)
        if isinstance(layer, TimeDistributed) and layer.model.inputs[0].integers:
            return True, (None, *layer.model.inputs[0].shape)
        if layer.input_features is not None:
            return False, (None, layer.input_features)
    raise ShapeError("a model needs at least one layer with weights, got none")
