"""Models and sequences of unequal length for the tests of ``map``."""

from __future__ import annotations

from typing import Any

import numpy as np
from networks import network, numbers, same_bits

from fastgru import Model
from fastgru.layers import Add, Dense, GRULayer, Input, Last, ModelSpec, Node
from fastgru.model import as_tuple

FEATURES, HIDDEN = 4, 9
LENGTHS = [5, 1, 30, 7, 7, 2, 19, 1, 30, 12]


def sequence(steps: int, seed: int = 0) -> np.ndarray:
    return numbers(steps, FEATURES, seed=seed)


SEQUENCES = [sequence(steps, place) for place, steps in enumerate(LENGTHS)]


def dense(outputs: int, inputs: int) -> Dense:
    return Dense(0.3 * numbers(outputs, inputs), numbers(outputs), "tanh")


def model_of(*layers: Any, shape: tuple[int | None, ...] = (None, FEATURES), integers: bool = False) -> Model:
    nodes = [Node(f"layer{at}", layer, ("x" if at == 0 else f"layer{at - 1}",)) for at, layer in enumerate(layers)]
    return Model(ModelSpec((Input("x", shape, integers),), tuple(nodes), (nodes[-1].name,)))


def tagger() -> Model:
    return model_of(GRULayer(network(FEATURES, HIDDEN, 1, 2)), dense(3, 2 * HIDDEN))


def classifier() -> Model:
    return model_of(GRULayer(network(FEATURES, HIDDEN)), Last(), dense(3, HIDDEN))


def translator() -> Model:
    """Two inputs with steps of their own and one without, and outputs with names."""
    gru = GRULayer(network(FEATURES, HIDDEN))
    return Model(
        ModelSpec(
            (Input("source", (None, FEATURES)), Input("target", (None, FEATURES)), Input("speaker", (2,))),
            (
                Node("read", gru, ("source",)),
                Node("last", Last(), ("read",)),
                Node("write", gru, ("target",)),
                Node("voice", dense(HIDDEN, 2), ("speaker",)),
                Node("both", Add(), ("last", "voice")),
            ),
            ("both", "write", "write"),
            ("summary", "text", "again"),
        )
    )


def assert_same(got: Any, wanted: Any) -> None:
    assert type(got) is type(wanted)
    assert not isinstance(got, dict) or list(got) == list(wanted)
    for one, other in zip(as_tuple(got), as_tuple(wanted), strict=True):
        assert same_bits(np.asarray(one), np.asarray(other))


def assert_as_alone(model: Any, items: list[Any]) -> None:
    made = list(model.map(items))
    assert len(made) == len(items)
    for got, item in zip(made, items, strict=True):
        assert_same(got, model(item))
