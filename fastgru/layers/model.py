"""A whole model: inputs, nodes in an order in which they can be computed, and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from ..errors import ShapeError, UnsupportedModelError
from ..gru_weights import GRUSpec, check_gru
from ..records.record import Record
from .layer import Layer
from .signal import MAX_RANK, Shape, Signal, check_count, same

__all__ = ["Edge", "Input", "ModelSpec", "Node", "edge_of", "signals_of", "validate"]

Edge = Union[str, tuple[str, int]]

MAX_NODES = 10_000
LARGEST = 2**40  # of a size: no memory holds it


class Input(Record):
    """An input of a model: its shape without the batch axis, None where any size will do."""

    name: str
    shape: Shape  # (None, features) for sequences, (None,) of integers for an Embedding
    integers: bool = False

    @property
    def has_steps(self) -> bool:
        """Whether its first axis can be the steps: there are features behind it, and no other axis is the open one."""
        enough = len(self.shape) >= (1 if self.integers else 2)
        return enough and (self.shape[0] is None or None not in self.shape)


class Node(Record):
    """One layer in a graph. ``inputs`` are outputs of earlier nodes or inputs of the model.

    An edge is a name, or ``(name, index)`` for another output than the first. ``mask`` is an edge to booleans that says
    which steps are real; without it the mask that came with the first input holds.
    """

    name: str
    layer: Layer
    inputs: tuple[Edge, ...]
    mask: Edge | None = None


class ModelSpec(Record):
    """A whole model: nodes in an order in which they can be computed."""

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Edge, ...]
    output_names: tuple[str, ...] | None = None  # where the outputs come back as a dict


def edge_of(edge: Edge) -> tuple[str, int]:
    """An edge as a name and the index of an output."""
    return (edge, 0) if isinstance(edge, str) else edge


def validate(spec: GRUSpec | ModelSpec) -> None:
    """Raise unless every size fits every other, every array is a finite-ranked float array and every name is known.

    Raises
    ------
    ShapeError
        Sizes do not fit.
    DTypeError
        A weight is not float32 or float64.
    UnsupportedModelError
        An activation or an option is not known.
    """
    if isinstance(spec, GRUSpec):
        check_gru(spec, "GRU")
    else:
        signals_of(spec)


def signals_of(
    spec: ModelSpec, where: str = "", given: dict[str, Signal] | None = None
) -> dict[tuple[str, int], Signal]:
    """What every input is and what every node makes, by edge; raises what ``validate`` raises.

    ``given`` are the shapes of the inputs where they are known better than by the spec itself.
    """
    signals: dict[tuple[str, int], Signal] = {}
    for source in spec.inputs:
        if (source.name, 0) in signals:
            raise ShapeError(f"a model needs inputs of different names, got {[each.name for each in spec.inputs]}")
        _check_input(source)
        signals[source.name, 0] = Signal(source.shape, "integers" if source.integers else "numbers")
        signals[source.name, 0] = (given or {}).get(source.name, signals[source.name, 0])
    if not signals:
        raise ShapeError("a model needs at least one input")
    if len(spec.nodes) > MAX_NODES:
        raise ShapeError(f"a model of {len(spec.nodes)} layers; at most {MAX_NODES} are supported")
    for node in spec.nodes:
        if (node.name, 0) in signals:
            raise ShapeError(f"two layers are called {node.name!r}; every layer needs a name of its own")
        place = f"{where}layer {node.name!r}"
        wanted = [edge_of(edge) for edge in node.inputs]
        missing = [edge for edge in wanted if edge not in signals]
        if missing or not wanted:
            raise ShapeError(f"{place} needs {_edges_text(missing)}, which no earlier layer makes")
        if not isinstance(node.layer, Layer):
            raise UnsupportedModelError(f"{place}: {type(node.layer).__name__} is not a layer fastgru knows")
        if node.mask is not None:
            mask = signals.get(edge_of(node.mask))
            if mask is None or mask.kind != "booleans" or len(mask.shape) != 1:
                named = _edges_text([edge_of(node.mask)])
                raise ShapeError(f"{place}: its mask {named} is no output of booleans, one a step")
            masked = signals[wanted[0]]
            if not masked.has_steps or not same(mask.shape[0], masked.shape[0]):
                raise ShapeError(f"{place}: its mask has {mask.shape[0]} steps, its input is {masked}")
        for index, made in enumerate(node.layer.outputs([signals[edge] for edge in wanted], place)):
            if len(made.shape) > MAX_RANK:
                raise ShapeError(f"{place}: makes {len(made.shape)} axes, at most {MAX_RANK} are supported")
            if any(size is not None and size > LARGEST for size in made.shape):
                raise ShapeError(f"{place}: makes more than {LARGEST} numbers along an axis")
            signals[node.name, index] = made
    unknown = [edge_of(edge) for edge in spec.outputs if edge_of(edge) not in signals]
    if unknown or not spec.outputs:
        raise ShapeError(f"the model's outputs {_edges_text(unknown)} are made by no layer")
    _check_output_names(spec)
    return signals


def _check_output_names(spec: ModelSpec) -> None:
    names = spec.output_names
    if names is None:
        return
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ShapeError(f"output_names is {names!r}, wanted a tuple of names or None")
    if len({*names}) != len(spec.outputs) or len(names) != len(spec.outputs):
        raise ShapeError(f"output_names has {names!r}, wanted {len(spec.outputs)} different names, one for each output")


def _check_input(source: Input) -> None:
    shape = source.shape
    if not isinstance(shape, tuple) or not (0 if source.integers else 1) <= len(shape) <= MAX_RANK:
        raise ShapeError(f"input {source.name!r}: shape is {shape!r}, wanted a tuple of 1 to {MAX_RANK} sizes")
    for size in shape:
        if size is not None:
            check_count(size, f"input {source.name!r}: shape")


def _edges_text(edges: Sequence[tuple[str, int]]) -> str:
    return ", ".join(repr(name) if index == 0 else f"output {index} of {name!r}" for name, index in edges) or "an input"
