"""A small model of every layer that there is, with options that are not the default: for what must hold for all."""

from __future__ import annotations

import numpy as np
from networks import network, numbers

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
    Embedding,
    FinalState,
    Flatten,
    GroupNormalization,
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
    Slice,
    Subtract,
    Sum,
    TimeDistributed,
    Unmasked,
    UpSampling1D,
    ZeroPadding1D,
    sequential,
)

STEPS, FEATURES = 12, 4


def chain(*layers: Layer, shape: tuple[int | None, ...] = (None, FEATURES)) -> ModelSpec:
    """The layers one after the other, over sequences of four features."""
    names = ["input", *(f"layer {place}" for place in range(len(layers)))]
    nodes = [Node(names[place + 1], layer, (names[place],)) for place, layer in enumerate(layers)]
    return ModelSpec((Input("input", shape),), tuple(nodes), (names[-1],))


def joined(layer: Layer) -> ModelSpec:
    """A layer of two inputs, both from one layer of which it takes the second again reversed."""
    return ModelSpec(
        (Input("x", (None, FEATURES)),),
        (Node("back", Reverse(), ("x",)), Node("join", layer, ("x", "back"))),
        ("join",),
    )


def masked() -> ModelSpec:
    """A mask that is an edge of its own, and a GRU that gives zeros where it holds."""
    return ModelSpec(
        (Input("ids", (None,), True),),
        (
            Node("real", NotEqual(3.0), ("ids",)),
            Node("words", Embedding(numbers(7, FEATURES)), ("ids",)),
            Node("gru", GRULayer(network(FEATURES, 5), zero_masked=True), ("words",), "real"),
        ),
        ("gru",),
    )


def stacked() -> ModelSpec:
    """Cells on cells, whose states are given by a side input and taken as outputs."""
    gru = GRULayer(network(FEATURES, 5), (network(5, 3),), return_state=True)
    return ModelSpec(
        (Input("x", (None, FEATURES)), Input("low", (5,)), Input("high", (3,))),
        (Node("cells", gru, ("x", "low", "high")),),
        ("cells", ("cells", 1), ("cells", 2)),
    )


def unmasked() -> ModelSpec:
    """A mask that is taken off one branch and handed to another."""
    return ModelSpec(
        (Input("x", (None, FEATURES)),),
        (
            Node("masking", Masking(), ("x",)),
            Node("mask", MaskOf(), ("masking",)),
            Node("bare", Unmasked(), ("masking",)),
            Node("all", GRULayer(network(FEATURES, 5)), ("bare",)),
            Node("some", GRULayer(network(FEATURES, 5), return_sequences=False), ("x",), "mask"),
        ),
        ("all", "some"),
    )


INNER = sequential(
    [("deep", Dense(numbers(3, FEATURES), numbers(3), "tanh")), ("flat", Activation("softmax"))], "step", (FEATURES,)
)

EXAMPLES: dict[type[Layer], list[ModelSpec]] = {
    Activation: [chain(Activation("softmax")), chain(Activation("hard_sigmoid_keras2"))],
    Add: [joined(Add())],
    Average: [joined(Average())],
    AveragePooling1D: [chain(AveragePooling1D(3, 2, "same"))],
    BatchNormalization: [
        chain(BatchNormalization(numbers(4), numbers(4) ** 2, numbers(4), numbers(4, seed=5), 1e-5)),
        chain(BatchNormalization(numbers(4), numbers(4) ** 2)),
    ],
    Concatenate: [joined(Concatenate()), joined(Concatenate(1))],
    Conv1D: [
        chain(Conv1D(numbers(6, 2, 3), numbers(6), "relu", 2, "causal", 1, 2)),
        chain(Conv1D(numbers(6, 4, 3), dilation=2)),
    ],
    Cropping1D: [chain(Cropping1D(2, 1))],
    Dense: [chain(Dense(numbers(5, 4))), chain(Dense(numbers(5, 4, dtype=np.float64), numbers(5), "sigmoid"))],
    Dropout: [chain(Dropout())],
    Embedding: [sequential([("e", Embedding(numbers(9, 4), True)), ("g", GRULayer(network(4, 3)))]), masked()],
    FinalState: [chain(GRULayer(network(4, 3, 2, 2)), FinalState())],
    Flatten: [chain(Flatten(), shape=(STEPS, FEATURES))],
    GRULayer: [
        chain(GRULayer(network(4, 5, 2, 2, bias=False), merge="ave", return_sequences=False)),
        chain(GRULayer(network(4, 5, reset_after=False, activation="relu"), go_backwards=True)),
        chain(GRULayer(network(4, 5, 1, 2, dtype=np.float64), merge="sum")),
        stacked(),
    ],
    GroupNormalization: [
        chain(GroupNormalization(numbers(4), numbers(4, seed=5), 2)),
        chain(GRULayer(network(4, 6)), Last(), GroupNormalization(numbers(6), numbers(6, seed=5), 3, 0.5)),
    ],
    Last: [chain(GRULayer(network(4, 3)), Last())],
    LayerNormalization: [
        chain(LayerNormalization(numbers(4), numbers(4), 1e-6)),
        chain(LayerNormalization(numbers(4), rms=True)),
        chain(LayerNormalization(numbers(12, 4), axes=(1, 2)), shape=(STEPS, FEATURES)),
    ],
    MaskOf: [unmasked()],
    Masking: [chain(Masking(0.5), GRULayer(network(4, 3))), chain(Masking(float("-inf")), GRULayer(network(4, 3)))],
    Max: [chain(Max(True)), chain(Max(False, False))],
    MaxPooling1D: [chain(MaxPooling1D(2, 2))],
    Maximum: [joined(Maximum())],
    Mean: [chain(Mean()), chain(Mean(True))],
    Minimum: [joined(Minimum())],
    Multiply: [joined(Multiply())],
    NotEqual: [masked()],
    PReLU: [chain(PReLU(numbers(4))), chain(PReLU(numbers(12, 1)), shape=(STEPS, FEATURES))],
    Permute: [chain(Permute((2, 1)), shape=(STEPS, FEATURES))],
    RepeatVector: [chain(Mean(), RepeatVector(5))],
    Reshape: [chain(Reshape((-1, 2)), shape=(STEPS, FEATURES))],
    Reverse: [chain(Reverse())],
    Sum: [chain(Sum()), chain(Sum(True))],
    Select: [chain(Select(1, -2)), chain(Select(-1, 0))],
    Slice: [chain(Slice(1, -7, -1)), chain(Slice(2, 1))],
    Subtract: [joined(Subtract())],
    TimeDistributed: [
        chain(TimeDistributed(INNER)),
        chain(TimeDistributed(chain(TimeDistributed(INNER))), shape=(None, 3, FEATURES)),
    ],
    Unmasked: [unmasked()],
    UpSampling1D: [chain(UpSampling1D(3))],
    ZeroPadding1D: [chain(ZeroPadding1D(1, 2))],
}


def inputs_for(spec: ModelSpec, seed: int = 3) -> list[np.ndarray]:
    """Three rows for every input of a model."""
    random = np.random.default_rng(seed)
    arrays = []
    for source in spec.inputs:
        shape = (3, *(STEPS if size is None else size for size in source.shape))
        arrays.append(random.integers(0, 7, shape) if source.integers else random.standard_normal(shape))
    return arrays
