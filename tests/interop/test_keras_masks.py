"""Masks do what they do in Keras 3: with gaps, at the front, over whole rows, through every layer that hands them on.

A layer that does not know masks loses them, in Keras and here; so whatever stands behind it sees every step.
"""

from __future__ import annotations

import numpy as np
import pytest
from keras_models import SUFFIXES, agree, keras, loaded, outputs, randomised

import fastgru

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask attached to it:UserWarning"),
]

layers = keras.layers

IDS = np.array(
    [
        [1, 2, 3, 4, 5, 6],
        [1, 2, 3, 0, 0, 0],
        [0, 0, 1, 2, 3, 4],
        [1, 0, 0, 2, 0, 3],
        [0, 4, 0, 0, 5, 0],
        [0, 0, 0, 0, 0, 0],
    ]
)
REAL_ROWS = IDS[:-1]  # a mean over no steps is no number in Keras either

# One layer between a masked Embedding and a GRU that shows whether the mask came through.
BETWEEN = {
    "activation": lambda: [layers.Activation("tanh")],
    "activity_regularization": lambda: [layers.ActivityRegularization()],
    "batch_normalization": lambda: [layers.BatchNormalization()],
    "bidirectional": lambda: [layers.Bidirectional(layers.GRU(3, return_sequences=True))],
    "bidirectional_sum": lambda: [layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum")],
    "bidirectional_mul": lambda: [layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="mul")],
    "bidirectional_turned": lambda: [
        layers.Bidirectional(
            layers.GRU(3, return_sequences=True, go_backwards=True), backward_layer=layers.GRU(3, return_sequences=True)
        )
    ],
    "bidirectional_different": lambda: [
        layers.Bidirectional(
            layers.GRU(3, return_sequences=True),
            backward_layer=layers.GRU(3, return_sequences=True, go_backwards=True, use_bias=False),
        )
    ],
    "bidirectional_different_ave": lambda: [
        layers.Bidirectional(
            layers.GRU(3, return_sequences=True, activation="relu"),
            backward_layer=layers.GRU(3, return_sequences=True, go_backwards=True),
            merge_mode="ave",
        )
    ],
    "bidirectional_cells": lambda: [
        layers.Bidirectional(layers.RNN([layers.GRUCell(3), layers.GRUCell(2)], return_sequences=True))
    ],
    "conv": lambda: [layers.Conv1D(4, 3, padding="same")],
    "cropping": lambda: [layers.Cropping1D((0, 1))],
    "dense": lambda: [layers.Dense(4)],
    "dropout": lambda: [layers.Dropout(0.3)],
    "elu": lambda: [layers.ELU()],
    "gaussian": lambda: [layers.GaussianDropout(0.3), layers.GaussianNoise(0.3), layers.AlphaDropout(0.3)],
    "gru": lambda: [layers.GRU(3, return_sequences=True)],
    "gru_backwards": lambda: [layers.GRU(3, return_sequences=True, go_backwards=True)],
    "gru_before": lambda: [layers.GRU(3, return_sequences=True, reset_after=False)],
    "gru_zero": lambda: [layers.GRU(3, return_sequences=True, zero_output_for_mask=True)],
    "gru_zero_backwards": lambda: [layers.GRU(3, return_sequences=True, zero_output_for_mask=True, go_backwards=True)],
    "identity": lambda: [layers.Identity()],
    "layer_normalization": lambda: [layers.LayerNormalization()],
    "leaky_relu": lambda: [layers.LeakyReLU()],
    "masking": lambda: [layers.Dense(4, activation="relu"), layers.Masking(0.0)],
    "max_pooling": lambda: [layers.MaxPooling1D(2)],
    "average_pooling": lambda: [layers.AveragePooling1D(2)],
    "permute": lambda: [layers.Permute((2, 1))],
    "prelu": lambda: [layers.PReLU(shared_axes=[1])],
    "relu": lambda: [layers.ReLU()],
    "reshape": lambda: [layers.Reshape((3, 8))],
    "rms_normalization": lambda: [layers.RMSNormalization()],
    "rnn": lambda: [layers.RNN(layers.GRUCell(3), return_sequences=True)],
    "rnn_cells": lambda: [layers.RNN([layers.GRUCell(3), layers.GRUCell(2)], return_sequences=True)],
    "spatial_dropout": lambda: [layers.SpatialDropout1D(0.3)],
    "time_distributed": lambda: [layers.TimeDistributed(layers.Dense(3))],
    "up_sampling": lambda: [layers.UpSampling1D(2)],
    "zero_padding": lambda: [layers.ZeroPadding1D(1)],
    "sequential": lambda: [keras.Sequential([layers.Dense(3), layers.GRU(3, return_sequences=True)])],
    "sequential_without": lambda: [keras.Sequential([layers.Dense(3), layers.UpSampling1D(2)])],
}


def embedded(*chain):
    """The chain behind a masked Embedding, and its value as an output beside the last GRU's."""
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    for layer in chain:
        x = layer(x)
    return randomised(keras.Model(ids, [x, layers.GRU(4)(x)]))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", BETWEEN)
def test_a_layer_behind_a_masked_embedding(tmp_path, name, suffix):
    model = embedded(*BETWEEN[name]())
    ours = loaded(model, tmp_path / f"model.{suffix}")
    for ids in (IDS, IDS[3:4]):
        agree(ours(ids), outputs(model, ids))


@pytest.mark.parametrize("name", ["dense", "gru", "bidirectional", "conv", "rms_normalization", "masking", "gru_zero"])
def test_a_layer_behind_a_masked_embedding_in_a_chain(tmp_path, name):
    chain = [layers.Embedding(9, 4, mask_zero=True), *BETWEEN[name](), layers.GRU(3)]
    model = randomised(keras.Sequential([keras.Input((6,), dtype="int32"), *chain]))
    for suffix in SUFFIXES:
        agree(loaded(model, tmp_path / f"model.{suffix}")(IDS), outputs(model, IDS))


ENDS = {
    "gru": lambda: layers.GRU(3, return_state=True),
    "gru_backwards": lambda: layers.GRU(3, return_state=True, go_backwards=True),
    "gru_zero": lambda: layers.GRU(3, return_state=True, zero_output_for_mask=True),
    "gru_zero_backwards": lambda: layers.GRU(3, return_state=True, zero_output_for_mask=True, go_backwards=True),
    "bidirectional": lambda: layers.Bidirectional(layers.GRU(3, return_state=True)),
    "bidirectional_both": lambda: layers.Bidirectional(layers.GRU(3, return_state=True), merge_mode=None),
    "bidirectional_different": lambda: layers.Bidirectional(
        layers.GRU(3), backward_layer=layers.GRU(2, go_backwards=True)
    ),
    "cells": lambda: layers.RNN([layers.GRUCell(3), layers.GRUCell(2)], return_state=True),
    "global_average": lambda: layers.GlobalAveragePooling1D(),
    "global_average_keepdims": lambda: layers.GlobalAveragePooling1D(keepdims=True),
    "global_max": lambda: layers.GlobalMaxPooling1D(),
    "flatten": lambda: layers.Flatten(),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ENDS)
def test_what_a_masked_sequence_becomes(tmp_path, name, suffix):
    ids = keras.Input((6,), dtype="int32")
    made = ENDS[name]()(layers.Embedding(9, 4, mask_zero=True)(ids))
    model = randomised(keras.Model(ids, made))
    ours = loaded(model, tmp_path / f"model.{suffix}")
    rows = REAL_ROWS if "average" in name else IDS
    for given in (rows, rows[2:3]):
        agree(ours(given), outputs(model, given))


def test_steps_that_are_masked_by_their_features(tmp_path):
    x = np.random.default_rng(1).standard_normal((6, 6, 5)).astype(np.float32)
    x[IDS == 0] = 7
    x[0, 1, :3] = 7  # not all features: a real step
    given = keras.Input((None, 5))
    masked = layers.Masking(7.0)(given)
    behind = [layers.GRU(4, return_sequences=True)(masked), layers.GRU(3)(masked)]
    model = randomised(keras.Model(given, [masked, *behind]))
    for suffix in SUFFIXES:
        agree(loaded(model, tmp_path / f"model.{suffix}")(x), outputs(model, x))


MERGES = {
    "add": lambda: layers.Add(),
    "average": lambda: layers.Average(),
    "concatenate": lambda: layers.Concatenate(),
    "concatenate_steps": lambda: layers.Concatenate(axis=1),
    "maximum": lambda: layers.Maximum(),
    "minimum": lambda: layers.Minimum(),
    "multiply": lambda: layers.Multiply(),
    "subtract": lambda: layers.Subtract(),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("which", ["both", "first", "second", "neither"])
@pytest.mark.parametrize("name", MERGES)
def test_two_masks_that_are_joined(tmp_path, name, which, suffix):
    """Each of the two inputs is masked or not; masks are joined, and the GRU behind them sees the result."""
    ids = [keras.Input((6,), dtype="int32") for _ in range(2)]
    zeros = [which in ("both", "first"), which in ("both", "second")]
    x = [layers.Embedding(9, 4, mask_zero=zero)(each) for each, zero in zip(ids, zeros, strict=True)]
    merged = MERGES[name]()(x)
    model = randomised(keras.Model(ids, [merged, layers.GRU(3, return_sequences=True)(merged), layers.GRU(3)(merged)]))
    ours = loaded(model, tmp_path / f"model.{suffix}")
    for given in ([IDS, IDS[::-1].copy()], [IDS[2:3], IDS[3:4]]):
        agree(ours(given), outputs(model, *given))


@pytest.mark.parametrize("name", ["maximum", "multiply", "add"])
def test_three_masks_that_are_joined(tmp_path, name):
    ids = [keras.Input((6,), dtype="int32") for _ in range(3)]
    x = [layers.Embedding(9, 4, mask_zero=zero)(each) for each, zero in zip(ids, (True, False, True), strict=True)]
    merged = MERGES[name]()(x)
    model = randomised(keras.Model(ids, [merged, layers.GRU(3)(merged)]))
    given = [IDS, IDS[::-1].copy(), IDS[[3, 2, 1, 0, 5, 4]]]
    agree(loaded(model, tmp_path / "model.keras")(given), outputs(model, *given))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("wrapped", ["gru", "bidirectional", "cells"])
def test_a_mask_and_an_initial_state(tmp_path, wrapped, suffix):
    """Keras 3 forgets the mask of a layer that is called with a state, but hands it on."""
    made = {
        "gru": lambda: (layers.GRU(3, return_sequences=True), 1),
        "bidirectional": lambda: (layers.Bidirectional(layers.GRU(3, return_sequences=True)), 2),
        "cells": lambda: (layers.RNN([layers.GRUCell(3), layers.GRUCell(3)], return_sequences=True), 2),
    }
    layer, count = made[wrapped]()
    ids = keras.Input((6,), dtype="int32")
    states = [keras.Input((3,)) for _ in range(count)]
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    y = layer(x, initial_state=states if count > 1 else states[0])
    model = randomised(keras.Model([ids, *states], [y, layers.GRU(4)(y)]))
    given = [IDS, *np.random.default_rng(1).uniform(-1, 1, (count, len(IDS), 3)).astype(np.float32)]
    agree(loaded(model, tmp_path / f"model.{suffix}")(given), outputs(model, *given))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mask_that_the_call_names(tmp_path, suffix):
    ids, other = keras.Input((6,), dtype="int32"), keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    embedding = layers.Embedding(7, 3, mask_zero=True)
    embedding(other)
    y = layers.GRU(3, return_sequences=True)(x, mask=embedding.compute_mask(other))
    named = layers.GRU(2)(x, mask=keras.ops.not_equal(other, 2))
    model = randomised(keras.Model([ids, other], [y, layers.GRU(4)(y), named]))
    given = [IDS, IDS[::-1].copy()]
    agree(loaded(model, tmp_path / f"model.{suffix}")(given), outputs(model, *given))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mask_that_is_an_input(tmp_path, suffix):
    x, mask = keras.Input((6, 5)), keras.Input((6,), dtype="bool")
    model = randomised(keras.Model([x, mask], layers.Bidirectional(layers.GRU(3, return_sequences=True))(x, mask=mask)))
    ours = loaded(model, tmp_path / f"model.{suffix}")
    numbers = np.random.default_rng(1).standard_normal((6, 6, 5)).astype(np.float32)
    agree(ours([numbers, (IDS != 0).astype(int)]), outputs(model, numbers, IDS != 0))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_mask_of_one_layer_for_another(tmp_path, suffix):
    """A sequence that lost its mask in a convolution is given that of the Embedding again."""
    ids = keras.Input((6,), dtype="int32")
    embedding = layers.Embedding(9, 4, mask_zero=True)
    x = layers.Conv1D(4, 3, padding="same")(embedding(ids))
    y = layers.GRU(3, return_sequences=True)(x, mask=embedding.compute_mask(ids))
    model = randomised(keras.Model(ids, [y, layers.GlobalAveragePooling1D()(y)]))
    agree(loaded(model, tmp_path / f"model.{suffix}")(REAL_ROWS), outputs(model, REAL_ROWS))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mask_goes_into_a_model_and_out_of_it(tmp_path, suffix):
    given = keras.Input((6, 4))
    inner = keras.Model(given, layers.GRU(3, return_sequences=True)(layers.Dense(3)(given)), name="inner")
    ids = keras.Input((6,), dtype="int32")
    x = inner(layers.Embedding(9, 4, mask_zero=True)(ids))
    model = randomised(keras.Model(ids, [x, layers.GRU(3)(x)]))
    agree(loaded(model, tmp_path / f"model.{suffix}")(IDS), outputs(model, IDS))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_masked_embedding_in_a_model(tmp_path, suffix):
    given = keras.Input((6,), dtype="int32")
    inner = keras.Model(given, layers.Dense(3)(layers.Embedding(9, 4, mask_zero=True)(given)), name="inner")
    ids = keras.Input((6,), dtype="int32")
    model = randomised(keras.Model(ids, layers.GRU(3, return_sequences=True)(inner(ids))))
    agree(loaded(model, tmp_path / f"model.{suffix}")(IDS), outputs(model, IDS))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_function_of_tensors_loses_the_mask(tmp_path, suffix):
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    y = keras.ops.add(x, layers.Dense(4)(x))
    model = randomised(keras.Model(ids, [layers.GRU(3, return_sequences=True)(y), layers.GRU(2)(x[:, 1:])]))
    agree(loaded(model, tmp_path / f"model.{suffix}")(IDS), outputs(model, IDS))


def test_a_masked_model_that_looks_back_only_can_be_streamed(tmp_path):
    """What Keras writes down as a mask is the Embedding's own, so nothing stands in the way of single steps."""
    model = embedded(layers.Dense(4), layers.GRU(3, return_sequences=True))
    streamed = keras.Model(model.inputs, model.outputs[0])
    ours = loaded(streamed, tmp_path / "model.keras")
    stream = ours.stream()
    steps = np.stack([stream.step(np.array([each]))[0] for each in IDS[0]])
    np.testing.assert_allclose(steps, ours(IDS[0]), atol=1e-6)
    assert isinstance(ours, fastgru.Model)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("within", ["itself", "time distributed", "sequential"])
def test_a_softmax_layer_that_a_mask_reaches_is_refused_by_name(tmp_path, within, suffix):
    """Keras broadcasts a mask of steps over features: six of each here, so that it computes something at all."""
    softmax = layers.Softmax(name="attention")
    wrapped = {
        "itself": lambda: softmax,
        "time distributed": lambda: layers.TimeDistributed(softmax),
        "sequential": lambda: keras.Sequential([softmax]),
    }
    ids = keras.Input((6,), dtype="int32")
    x = wrapped[within]()(layers.Embedding(9, 6, mask_zero=True)(ids))
    model = keras.Model(ids, x)
    with pytest.raises(fastgru.UnsupportedModelError, match=r"mask of steps reaches a Softmax"):
        loaded(model, tmp_path / f"model.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_softmax_that_no_mask_reaches_and_the_function_are_as_in_keras(tmp_path, suffix):
    ids = keras.Input((6,), dtype="int32")
    embedding = layers.Embedding(9, 6, mask_zero=True)(ids)
    lost = layers.Softmax()(layers.Conv1D(6, 3, padding="same")(embedding))
    model = randomised(keras.Model(ids, [lost, layers.Activation("softmax")(embedding)]))
    agree(loaded(model, tmp_path / f"model.{suffix}")(IDS), outputs(model, IDS))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_input_of_a_model_keeps_the_mask_that_a_model_before_it_handed_on(tmp_path, suffix):
    """Keras writes down that it has none, and follows it all the same."""
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    first = keras.Sequential([keras.Input((6, 4)), layers.Dense(4), layers.GRU(4, return_sequences=True)])
    a, b = keras.Input((6, 4)), keras.Input((6, 4))
    second = keras.Model([a, b], [layers.Add()([a, b]), layers.GRU(3, return_sequences=True)(b)])
    both, gru = second([x, first(x)])
    model = randomised(keras.Model(ids, [layers.GRU(2)(both), layers.Bidirectional(layers.GRU(2))(gru)]))
    agree(loaded(model, tmp_path / f"model.{suffix}")(IDS), outputs(model, IDS))
