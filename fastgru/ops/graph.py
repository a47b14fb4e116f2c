"""A graph of layers as it runs: each node when its inputs are there, each value for as long as it is needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..spec import ModelSpec, edge_of
from .value import Context, Runner, Value, same_lengths

__all__ = ["Graph"]


class Graph:
    """The nodes of a model, ready to run. A layer that stands in several nodes is made once."""

    def __init__(self, spec: ModelSpec, dtype: np.dtype[Any], options: dict[str, Any]) -> None:
        from . import runner

        self.spec = spec
        made: dict[int, Runner] = {}
        self.runners: list[Runner] = []
        for node in spec.nodes:
            key = id(node.layer)
            if key not in made:
                with np.errstate(all="ignore"):  # a variance below zero, a weight beyond float32
                    made[key] = runner(node.layer, Context(f"layer {node.name!r}", dtype, options))
            self.runners.append(made[key])
        self.nbytes = sum(each.nbytes for each in made.values())
        last_use: dict[tuple[str, int], int] = {}
        for index, node in enumerate(spec.nodes):
            for edge in (*node.inputs, *(() if node.mask is None else (node.mask,))):
                last_use[edge_of(edge)] = index
        outputs = {edge_of(edge) for edge in spec.outputs}
        self.done: list[list[tuple[str, int]]] = [[] for _ in spec.nodes]
        for edge, index in last_use.items():
            if edge not in outputs:
                self.done[index].append(edge)

    def run(self, inputs: dict[str, Value]) -> list[Value]:
        """The model's outputs, in order."""
        with np.errstate(all="ignore"):  # NaN and overflows are results like others
            return self._run({(name, 0): value for name, value in inputs.items()})

    def _run(self, values: dict[tuple[str, int], Value]) -> list[Value]:
        for node, runner, done in zip(self.spec.nodes, self.runners, self.done, strict=True):
            given = [values[edge_of(edge)] for edge in node.inputs]
            if node.mask is not None:
                given[0] = _masked(given[0], values[edge_of(node.mask)], f"layer {node.name!r}")
            for index, made in enumerate(runner.run(given)):
                values[node.name, index] = made
            for edge in done:
                del values[edge]
        return [values[edge_of(edge)] for edge in self.spec.outputs]


def _masked(value: Value, mask: Value, where: str) -> Value:
    """The same value under another mask."""
    got, wanted = mask.array.shape, value.array.shape[:2]
    if got != wanted:
        raise ShapeError(f"{where}: got a mask of shape {got}, wanted {wanted}")
    lengths = same_lengths([value, mask], f"{where}: its mask")
    return Value(value.array, lengths, mask.array.astype(bool), value.final)
