"""Seeded random inputs that a model can take, for comparing what several models compute."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ShapeError
from ..graph.graph import FLOAT, INTEGER, Graph
from ..graph.operations.product import Embedding
from ..gru import GRU
from ..model import Model
from .rows import inputs_of

__all__ = ["ROWS", "SEED", "STEPS", "random_inputs", "rows_and_steps"]

ROWS = 3
STEPS = (24, 20, 64, 7, 840, 1)  # tried in turn: a layer may need many, or a number that it can divide
MAX_NUMBERS = 2**24  # of an input
SEED = 20240607


def random_inputs(model: GRU | Model, steps: int, rows: int = ROWS) -> list[np.ndarray]:
    """An array for every input: normal numbers, and integers that every Embedding knows."""
    random = np.random.default_rng(SEED)
    known = 2 if isinstance(model, GRU) else min(_vocabularies(model.graph), default=2)
    arrays: list[np.ndarray] = []
    for source in inputs_of(model):
        shape = source.sizes(rows, steps)
        if math.prod(shape) > MAX_NUMBERS:
            raise ShapeError(f"its input {source.name!r} is too large to try: {math.prod(shape):,} numbers")
        if source.kind == FLOAT:
            arrays.append(random.standard_normal(shape, np.float32))
        else:
            integers = random.integers(0, known, shape)
            arrays.append(integers if source.kind == INTEGER else integers > 0)
    return arrays


def rows_and_steps(model: GRU | Model, steps: int, rows: int = ROWS) -> tuple[int, int]:
    """How many rows and steps ``random_inputs`` of this call have: a size that the model's file fixed is taken."""
    for source in reversed(inputs_of(model)):
        shape = source.sizes(rows, steps)
        rows = rows if source.batch is None else shape[source.batch]
        steps = steps if source.steps is None else shape[source.steps]
    return rows, steps


def _vocabularies(graph: Graph) -> list[int]:
    """How many integers each Embedding knows."""
    return [node.operation.weight_shape[0] for node in graph.nodes if isinstance(node.operation, Embedding)]
