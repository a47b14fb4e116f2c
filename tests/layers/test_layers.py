"""Every layer around the GRUs, against its formula written out, alone in a model."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
from fastgru import Model
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
    Embedding,
    Flatten,
    GroupNormalization,
    Input,
    LayerNormalization,
    Masking,
    Max,
    Maximum,
    MaxPooling1D,
    Mean,
    Minimum,
    ModelSpec,
    Multiply,
    Node,
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
    UpSampling1D,
    ZeroPadding1D,
    sequential,
)

RNG = np.random.default_rng(7)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def of_one(layer, shape):
    return ModelSpec((Input("x", shape),), (Node("layer", layer, ("x",)),), ("layer",))


def convolution(x, layer):
    """The sum written out, window by window, in float64."""
    outputs, inputs, kernel = layer.weight.shape
    reach = (kernel - 1) * layer.dilation + 1
    steps = len(x)
    if layer.padding == "valid":
        count, before = (steps - reach) // layer.strides + 1, 0
    elif layer.padding == "causal":
        count, before = -(-steps // layer.strides), reach - 1
    else:
        count = -(-steps // layer.strides)
        before = max((count - 1) * layer.strides + reach - steps, 0) // 2
    y = np.zeros((count, outputs))
    for t in range(count):
        for o in range(outputs):
            group = o // (outputs // layer.groups)
            for i in range(inputs):
                for k in range(kernel):
                    at = t * layer.strides + k * layer.dilation - before
                    if 0 <= at < steps:
                        y[t, o] += float(layer.weight[o, i, k]) * float(x[at, group * inputs + i])
    return y + layer.bias


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize(
    ("strides", "dilation", "groups", "kernel"), [(1, 1, 1, 3), (2, 1, 1, 4), (1, 2, 2, 3), (3, 1, 1, 1)]
)
def test_conv1d(padding, strides, dilation, groups, kernel):
    layer = Conv1D(numbers(6, 4 // groups, kernel), numbers(6), "linear", strides, padding, dilation, groups)
    x = numbers(3, 11, 4)
    y = Model(of_one(layer, (None, 4)))(x)
    for row in range(3):
        np.testing.assert_allclose(y[row], convolution(x[row], layer), atol=2e-6)


def test_conv1d_rows_do_not_depend_on_their_batch():
    model = Model(of_one(Conv1D(numbers(33, 20, 5), numbers(33), "tanh", padding="same"), (None, 20)))
    x = numbers(70, 40, 20)
    whole = model(x)
    for row in (0, 1, 35, 69):
        assert np.array_equal(whole[row], model(x[row]))


def test_batch_normalization_along_each_axis():
    mean, variance, gamma, beta = numbers(5), np.abs(numbers(5)) + 0.1, numbers(5), numbers(5)
    for axis, shape in ((-1, (7, 5)), (2, (7, 5)), (1, (5, 7))):
        x = numbers(3, *shape)
        y = Model(of_one(BatchNormalization(mean, variance, gamma, beta, 1e-2, axis), shape))(x)
        at = (1, 1, 5) if shape[-1] == 5 else (1, 5, 1)
        want = (x - mean.reshape(at)) / np.sqrt(variance.reshape(at) + 1e-2) * gamma.reshape(at) + beta.reshape(at)
        np.testing.assert_allclose(y, want, atol=2e-5)


@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("axes", [(-1,), (1,), (1, 2)])
def test_layer_normalization(axes, rms):
    x = numbers(3, 6, 5)
    sizes = tuple(x.shape[axis] for axis in axes)
    layer = LayerNormalization(numbers(*sizes), numbers(*sizes), 1e-3, axes, rms)
    mean = 0 if rms else x.astype(float).mean(axis=axes, keepdims=True)
    wide = x - mean
    wide = wide / np.sqrt((wide**2).mean(axis=axes, keepdims=True) + 1e-3)
    at = [1, 1, 1]
    for axis in axes:
        at[axis] = x.shape[axis]
    want = wide * layer.gamma.reshape(at) + layer.beta.reshape(at)
    np.testing.assert_allclose(Model(of_one(layer, (6, 5)))(x), want, atol=2e-6)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(3, 7, 6), (3, 6)])
def test_group_normalization(groups, shape):
    x = numbers(*shape)
    layer = GroupNormalization(numbers(6), numbers(6), groups, 1e-3)
    if len(shape) == 2 and groups == 6:
        with pytest.raises(fastgru.ShapeError, match="the steps, and these are gone"):
            Model(of_one(layer, shape[1:]))
        return
    grouped = x.astype(float).reshape(3, -1, groups, 6 // groups)
    wide = grouped - grouped.mean(axis=(1, 3), keepdims=True)
    wide = (wide / np.sqrt((wide**2).mean(axis=(1, 3), keepdims=True) + 1e-3)).reshape(shape)
    model = Model(of_one(layer, (None, 6) if len(shape) == 3 else (6,)))
    np.testing.assert_allclose(model(x), wide * layer.gamma + layer.beta, atol=2e-6)
    for row in range(3):  # the same bits in any batch
        np.testing.assert_array_equal(model(x[row : row + 1])[0], model(x)[row])


def test_group_normalization_refuses_masked_steps():
    layers = [("mask", Masking(0.0)), ("norm", GroupNormalization(numbers(6), numbers(6), 2))]
    with pytest.raises(fastgru.UnsupportedModelError, match="normalises over all steps, and some of them are masked"):
        Model(sequential(layers, shape=(None, 6)))


X = numbers(4, 6, 5)
PLAIN = [
    (Mean(), X.mean(axis=1)),
    (Mean(keepdims=True), X.mean(axis=1, keepdims=True)),
    (Sum(), X.sum(axis=1)),
    (Sum(keepdims=True), X.sum(axis=1, keepdims=True)),
    (Max(), X.max(axis=1)),
    (Max(keepdims=True), X.max(axis=1, keepdims=True)),
    (MaxPooling1D(2, 2), X.reshape(4, 3, 2, 5).max(axis=2)),
    (MaxPooling1D(4, 4, "same"), np.stack([X[:, :3].max(axis=1), X[:, 3:].max(axis=1)], axis=1)),
    (AveragePooling1D(2, 2), X.reshape(4, 3, 2, 5).mean(axis=2)),
    (AveragePooling1D(4, 4, "same"), np.stack([X[:, :3].mean(axis=1), X[:, 3:].mean(axis=1)], axis=1)),
    (AveragePooling1D(3, 1), np.stack([X[:, t : t + 3].mean(axis=1) for t in range(4)], axis=1)),
    (ZeroPadding1D(1, 2), np.pad(X, ((0, 0), (1, 2), (0, 0)))),
    (Cropping1D(1, 2), X[:, 1:4]),
    (Cropping1D(0, 0), X),
    (UpSampling1D(3), X.repeat(3, axis=1)),
    (Reverse(), X[:, ::-1]),
    (Flatten(), X.reshape(4, 30)),
    (Reshape((5, -1)), X.reshape(4, 5, 6)),
    (Reshape((30,)), X.reshape(4, 30)),
    (Permute((2, 1)), X.transpose(0, 2, 1)),
    (Select(1, -1), X[:, -1]),
    (Select(1, 0), X[:, 0]),
    (Select(2, 3), X[:, :, 3]),
    (Slice(1, 1, 3), X[:, 1:3]),
    (Slice(1, -2), X[:, -2:]),
    (Slice(-1, 1, -1), X[:, :, 1:-1]),
    (PReLU(np.full(5, 0.25, np.float32)), np.where(X > 0, X, X / 4)),
    (PReLU(np.full((6, 1), 0.25, np.float32)), np.where(X > 0, X, X / 4)),
    (Masking(0.0), X),
]


@pytest.mark.parametrize(("layer", "want"), PLAIN, ids=[layer.described() for layer, _ in PLAIN])
@pytest.mark.parametrize("known", [True, False])
def test_layers_over_steps_and_shapes(layer, want, known):
    spec = of_one(layer, (6, 5) if known else (None, 5))
    y = Model(spec)(X)
    assert y.shape == want.shape
    np.testing.assert_allclose(y, want, atol=1e-6)
    np.testing.assert_array_equal(Model(spec)(X[2]), y[2])


@pytest.mark.parametrize(
    ("layer", "join"),
    [(Add(), np.add), (Subtract(), np.subtract), (Multiply(), np.multiply), (Maximum(), np.maximum),
     (Minimum(), np.minimum), (Average(), lambda a, b: (a + b) / 2),
     (Concatenate(), lambda a, b: np.concatenate([a, b], -1)),
     (Concatenate(1), lambda a, b: np.concatenate([a, b], 1))],
)  # fmt: skip
def test_layers_of_two_inputs(layer, join):
    spec = ModelSpec((Input("a", (None, 5)), Input("b", (None, 5))), (Node("out", layer, ("a", "b")),), ("out",))
    a, b = numbers(3, 4, 5), numbers(3, 4, 5)
    np.testing.assert_allclose(Model(spec)([a, b]), join(a, b), atol=1e-7)
    np.testing.assert_allclose(Model(spec)({"b": b, "a": a}), join(a, b), atol=1e-7)


def test_a_vector_is_added_to_every_step():
    spec = ModelSpec((Input("a", (None, 5)), Input("b", (5,))), (Node("out", Add(), ("a", "b")),), ("out",))
    a, b = numbers(3, 4, 5), numbers(3, 5)
    np.testing.assert_array_equal(Model(spec)([a, b]), a + b[:, None])


def test_repeat_vector_makes_steps():
    x = numbers(3, 5)
    np.testing.assert_array_equal(Model(of_one(RepeatVector(4), (5,)))(x), np.stack([x] * 4, axis=1))


def test_time_distributed_runs_a_model_on_every_step():
    inner = sequential([("dense", Dense(numbers(7, 5), numbers(7))), ("act", Activation("relu"))], shape=(5,))
    x = numbers(3, 4, 5)
    y = Model(of_one(TimeDistributed(inner), (None, 5)))(x)
    alone = Model(inner)
    for t in range(4):
        np.testing.assert_array_equal(y[:, t], alone(x[:, t]))


def test_float64_models_compute_in_float64():
    layers = [("conv", Conv1D(RNG.standard_normal((4, 5, 3)))), ("norm", LayerNormalization()), ("mean", Mean())]
    x = RNG.standard_normal((2, 6, 5))
    y = Model(sequential(layers), precision="float64")(x)
    assert y.dtype == np.float64
    conv = np.stack([convolution(row, Conv1D(layers[0][1].weight, np.zeros(4))) for row in x])
    norm = (conv - conv.mean(-1, keepdims=True)) / np.sqrt(conv.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(y, norm.mean(axis=1), atol=1e-13)


@pytest.mark.parametrize(
    ("layer", "lengths"),
    [
        (Mean(), True), (Sum(), True), (Max(), True), (Reverse(), True), (ZeroPadding1D(2, 1), True),
        (Cropping1D(1, 1), True), (UpSampling1D(2), True), (MaxPooling1D(2, 2), True),
        (AveragePooling1D(2, 1), True), (Select(1, -2), True),
        (Conv1D(numbers(4, 5, 3), numbers(4), padding="same"), True), (Conv1D(numbers(4, 5, 3), numbers(4)), True),
        (Conv1D(numbers(4, 5, 3), numbers(4), strides=2), True),
        (Conv1D(numbers(4, 5, 2), numbers(4), padding="causal", dilation=2), True), (LayerNormalization(), True),
        (Flatten(), True), (Reshape((-1,)), True), (Permute((2, 1)), True), (MaxPooling1D(2, 2, "same"), False),
        (LayerNormalization(axes=(1, 2)), True), (GroupNormalization(numbers(5), numbers(5), 5), True),
        (Conv1D(numbers(4, 5, 3), padding="same", strides=2), False),
    ],
    ids=lambda value: value.described() if hasattr(value, "described") else "",
)  # fmt: skip
def test_a_row_with_a_length_gives_what_it_gives_alone(layer, lengths):
    from fastgru import UnsupportedModelError

    model = Model(of_one(layer, (None, 5)))
    x = numbers(4, 9, 5)
    ends = [9, 3, 5, 4]
    if not lengths:
        with pytest.raises(UnsupportedModelError, match="lengths: layer 'layer'"):
            model(x, lengths=ends)
        return
    y = model(x, lengths=ends)
    for row, end in enumerate(ends):
        alone = model(x[row, :end])
        within = tuple(map(slice, alone.shape))
        np.testing.assert_array_equal(y[row][within], alone)
        beyond = y[row].copy()
        beyond[within] = 0
        assert not beyond.any()


def test_embedding_of_one_integer_a_row():
    table = numbers(9, 4)
    spec = ModelSpec((Input("id", (), integers=True),), (Node("e", Embedding(table), ("id",)),), ("e",))
    np.testing.assert_array_equal(Model(spec)(np.array([3, 8])), table[[3, 8]])
