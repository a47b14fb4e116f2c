"""Random graphs over every layer of fastgru, each of which fits what it is given: for what must hold for all.

Nothing here asserts a promise of the package. A graph follows from its seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from networks import network

from fastgru.activations import KNOWN
from fastgru.errors import FastGRUError
from fastgru.layers import (
    Activation,
    Add,
    Average,
    AveragePooling1D,
    BatchNormalization,
    Concatenate,
    Conv1D,
    Cropping1D,
    Dense,
    Dropout,
    Edge,
    Embedding,
    FinalState,
    Flatten,
    GRULayer,
    Input,
    Last,
    Layer,
    LayerNormalization,
    Masking,
    MaskOf,
    Max,
    Maximum,
    MaxPooling1D,
    Mean,
    Minimum,
    ModelSpec,
    Multiply,
    Node,
    NotEqual,
    Permute,
    PReLU,
    RepeatVector,
    Reshape,
    Reverse,
    Select,
    Signal,
    Slice,
    Subtract,
    Sum,
    TimeDistributed,
    Unmasked,
    UpSampling1D,
    ZeroPadding1D,
    signals_of,
)

MAX_STEPS = 6
WORDS = 5
SHAPES: list[tuple[tuple[int | None, ...], bool]] = [
    ((None, 3), False), ((None, 3), False), ((None,), True), ((None, 1), False), ((MAX_STEPS, 3), False),
    ((3,), False), ((None, 2, 3), False), ((None, 2), True), ((3, None), False), ((None,), False), ((), True),
]  # fmt: skip


class Maker:
    """Makes layers for one signal after another."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def graph(self, nodes: int, shapes: list[tuple[tuple[int | None, ...], bool]] = SHAPES) -> ModelSpec:
        """A graph that ``validate`` accepts, unless it refuses what its layers by themselves do not."""
        count = 1 if self.chance(0.7) else 2
        inputs = tuple(Input(f"in{place}", *self.one(shapes)) for place in range(count))
        signals: dict[Edge, Signal] = {
            each.name: Signal(each.shape, "integers" if each.integers else "numbers") for each in inputs
        }
        made: list[Node] = []
        for _ in range(nodes * 4):
            if len(made) == nodes:
                break
            node = self.node(f"n{len(made)}", signals, made)
            try:
                outputs = node.layer.outputs([signals[edge] for edge in node.inputs], "here")
            except FastGRUError:
                continue
            if any(size is not None and size > 2**40 for signal in outputs for size in signal.shape):
                continue
            made.append(node)
            for place, signal in enumerate(outputs):
                signals[node.name if place == 0 else (node.name, place)] = signal
        edges = list(signals)
        outputs = [edges[-1], *([self.one(edges)] if self.chance(0.3) else [])]
        return ModelSpec(inputs, tuple(made), tuple(outputs))

    def node(self, name: str, signals: dict[Edge, Signal], made: list[Node]) -> Node:
        edges = list(signals)
        first = edges[-1] if self.chance(0.7) else self.one(edges)
        masks = [edge for edge in edges if signals[edge].kind == "booleans" and len(signals[edge].shape) == 1]
        mask = self.one(masks) if masks and self.chance(0.5) else None
        if made and self.chance(0.1):
            layer = self.one(made).layer
        else:
            layer = self.one(LAYERS)(self, signals[first])
        others: list[Edge] = []
        if isinstance(layer, (Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate, MaskOf)):
            others = [self.one(edges)] if isinstance(layer, Subtract) or self.chance(0.8) else [first, self.one(edges)]
        elif isinstance(layer, GRULayer) and self.chance(0.3):
            vectors = [edge for edge in edges if len(signals[edge].shape) == 1]
            others = [self.one(vectors) for _ in layer.state_sizes] if vectors else []
        return Node(name, layer, (first, *others), mask)

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def one(self, of: Any) -> Any:
        return of[int(self.random.integers(len(of)))]

    def whole(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def numbers(self, *shape: int) -> np.ndarray:
        return self.random.standard_normal(shape).astype(np.float32)

    def size(self, size: int | None) -> int:
        """A size, or one that an open axis may turn out to have."""
        return self.whole(1, 4) if size is None or size > 1000 else size

    def axis(self, given: Signal) -> int:
        rank = len(given.shape) + 1
        return self.whole(1, max(1, rank - 1)) - (rank if self.chance(0.5) else 0)


def activation(make: Maker, given: Signal) -> Layer:
    name = make.one(("softmax", "softmax", "relu", *KNOWN))
    options: dict[str, Any] = {}
    if name in ("softmax", "log_softmax", "softmin", "glu") and make.chance(0.7):
        options["axis"] = make.axis(given)
    if name == "softmax" and len(given.shape) > 1 and make.chance(0.2):
        options["axis"] = (1, 2)
    return Activation(name, **options)


def batch_normalization(make: Maker, given: Signal) -> Layer:
    axis = make.axis(given) if make.chance(0.4) else -1
    size = make.size(given.shape[axis % (len(given.shape) + 1) - 1]) if given.shape else 1
    optional = [make.numbers(size) if make.chance(0.5) else None for _ in range(2)]
    return BatchNormalization(make.numbers(size), make.numbers(size) ** 2, *optional, make.one((1e-3, 0.0)), axis)


def layer_normalization(make: Maker, given: Signal) -> Layer:
    rank = len(given.shape) + 1
    axes = (-1,) if make.chance(0.5) else tuple(sorted({make.whole(1, max(1, rank - 1)) for _ in range(2)}))
    sizes = [make.size(given.shape[axis % rank - 1]) for axis in axes] if given.shape else [1]
    weights = [make.numbers(*sizes) if make.chance(0.5) else None for _ in range(2)]
    return LayerNormalization(*weights, make.one((1e-3, 0.0)), axes, make.chance(0.3))


def conv1d(make: Maker, given: Signal) -> Layer:
    features, groups = make.size(given.shape[-1] if given.shape else 1), 1
    if features % 2 == 0 and make.chance(0.3):
        groups = 2
    weight = make.numbers(2 * groups, features // groups, make.whole(1, 3))
    padding = make.one(("valid", "same", "causal"))
    return Conv1D(weight, make.numbers(2 * groups), "relu", make.whole(1, 2), padding, make.whole(1, 2), groups)


def prelu(make: Maker, given: Signal) -> Layer:
    rank = make.whole(1, max(1, len(given.shape)))
    sizes = [make.size(size) if make.chance(0.6) else 1 for size in given.shape[-rank:]]
    return PReLU(make.numbers(*(sizes or [1])))


def gru(make: Maker, given: Signal) -> Layer:
    features, hidden = make.size(given.shape[-1] if given.shape else 1), make.whole(1, 3)
    directions = 2 if make.chance(0.3) else 1
    options = {"reset_after": make.chance(0.7), "activation": make.one(("tanh", "relu", "softmax", "gelu"))}
    above = (network(hidden, 2),) if directions == 1 and make.chance(0.15) else ()
    return GRULayer(
        network(features, hidden, make.whole(1, 2), directions, **options),
        above,
        return_sequences=make.chance(0.7),
        return_state=make.chance(0.2),
        merge=make.one(("concat", "concat", "sum", "mul", "ave", "none")),
        go_backwards=directions == 1 and make.chance(0.2),
        zero_masked=make.chance(0.2),
    )


def reshape(make: Maker, given: Signal) -> Layer:
    known = [size for size in given.shape if size is not None]
    total = int(np.prod(known))
    return make.one(
        (
            Reshape((-1,)), Reshape((-1, total)), Reshape((total, -1)), Reshape((-1, 1)), Reshape((1, -1)),
            Reshape((-1, *known)), Reshape((*known, -1)), Reshape((-1, make.whole(1, 3))), Reshape((2**30,) * 3),
            Reshape(tuple(known) or (1,)),
        )
    )  # fmt: skip


def time_distributed(make: Maker, given: Signal) -> Layer:
    shape = given.shape[1:]
    inner = make.graph(make.whole(1, 3), [(shape, given.kind == "integers")])
    return TimeDistributed(inner.replace(inputs=inner.inputs[:1], outputs=inner.outputs[:1]))


LAYERS: list[Callable[[Maker, Signal], Layer]] = [
    activation,
    batch_normalization,
    layer_normalization,
    conv1d,
    prelu,
    gru,
    gru,
    gru,
    reshape,
    time_distributed,
    lambda make, given: make.one((Add, Subtract, Multiply, Average, Maximum, Minimum))(),
    lambda make, given: make.one((Add, Subtract, Multiply, Average, Maximum, Minimum))(),
    lambda make, given: make.one((Last, FinalState, Flatten, Dropout, Unmasked, MaskOf, Reverse))(),
    lambda make, given: make.one((Last, FinalState, Flatten, Dropout, Unmasked, MaskOf, Reverse))(),
    lambda make, given: make.one((Mean, Sum, Max))(make.chance(0.4)),
    lambda make, given: Max(make.chance(0.4), make.chance(0.5)),
    lambda make, given: make.one((Masking, NotEqual))(make.one((0.0, 1.0, float("nan")))),
    lambda make, given: Concatenate(make.axis(given)),
    lambda make, given: make.one((AveragePooling1D, MaxPooling1D))(
        make.whole(1, 3), make.whole(1, 3), make.one(("valid", "same"))
    ),
    lambda make, given: make.one((Cropping1D, ZeroPadding1D))(make.whole(0, 2), make.whole(0, 2)),
    lambda make, given: UpSampling1D(make.whole(1, 3)),
    lambda make, given: RepeatVector(make.whole(1, 4)),
    lambda make, given: Permute(tuple(int(axis) + 1 for axis in make.random.permutation(len(given.shape)))),
    lambda make, given: Select(make.axis(given), make.whole(-3, 2)),
    lambda make, given: Select(-1, 0),
    lambda make, given: Slice(make.axis(given), make.whole(-3, 2), make.one((None, make.whole(-2, 4)))),
    lambda make, given: Embedding(make.numbers(WORDS, make.whole(1, 3)), make.chance(0.3)),
    lambda make, given: Dense(
        make.numbers(make.one((1, 2, 4)), make.size(given.shape[-1] if given.shape else 1)),
        make.numbers(4) if make.chance(0.2) else None,
        make.one(("linear", "tanh", "softmax", "glu")),
    ),
]


def random_graph(seed: int, nodes: int = 6) -> ModelSpec | None:
    """A graph that ``validate`` accepts, or None if it refuses the one of this seed."""
    spec = Maker(np.random.default_rng([seed, nodes])).graph(nodes)
    try:
        signals_of(spec)
    except FastGRUError:
        return None
    return spec


def random_inputs(spec: ModelSpec, random: np.random.Generator, batch: int = 3, steps: int = 0) -> list[np.ndarray]:
    """An array for every input, of ``steps`` on open axes, or as many as chance will have."""
    arrays = []
    for source in spec.inputs:
        sizes = [size or steps or int(random.integers(1, MAX_STEPS + 1)) for size in source.shape]
        if source.integers:
            arrays.append(random.integers(0, WORDS, (batch, *sizes)))
        else:
            array = random.standard_normal((batch, *sizes)).astype(np.float32)
            array[random.random(array.shape[:2] if array.ndim > 2 else array.shape) < 0.2] = random.integers(0, 2)
            arrays.append(array)
    return arrays
