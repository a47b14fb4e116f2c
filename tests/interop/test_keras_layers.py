"""Every layer of Keras that fastgru reads, and every option of it, gives the outputs that Keras 3 gives.

Each model is saved as ``.keras`` and as ``.h5``, and run with one row and with several.
"""

from __future__ import annotations

import numpy as np
import pytest
from keras_models import FLOAT32, SUFFIXES, agree, keras, loaded, numbers, outputs, sequential

import fastgru
from fastgru.errors import UnsupportedModelError

# Keras's own variables and savers, on their way to NumPy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

layers = keras.layers

STEPS = {
    "activation": lambda: [layers.Activation("softplus")],
    "activity_regularization": lambda: [layers.ActivityRegularization(l2=0.1)],
    "alpha_dropout": lambda: [layers.AlphaDropout(0.4)],
    "average_pooling": lambda: [layers.AveragePooling1D(3)],
    "average_pooling_same": lambda: [layers.AveragePooling1D(5, strides=3, padding="same")],
    "average_pooling_channels_first": lambda: [layers.AveragePooling1D(2, data_format="channels_first")],
    "batch_normalization": lambda: [layers.BatchNormalization()],
    "batch_normalization_plain": lambda: [layers.BatchNormalization(center=False, scale=False, epsilon=0.1)],
    "batch_normalization_scale": lambda: [layers.BatchNormalization(center=False)],
    "batch_normalization_center": lambda: [layers.BatchNormalization(scale=False)],
    "batch_normalization_steps": lambda: [layers.BatchNormalization(axis=1)],
    "batch_normalization_renorm": lambda: [layers.BatchNormalization(renorm=True)],
    "conv": lambda: [layers.Conv1D(4, 3)],
    "conv_same": lambda: [layers.Conv1D(4, 4, padding="same", activation="relu", use_bias=False)],
    "conv_strides": lambda: [layers.Conv1D(4, 3, strides=2, padding="same")],
    "conv_causal": lambda: [layers.Conv1D(4, 3, padding="causal", dilation_rate=2)],
    "conv_dilated": lambda: [layers.Conv1D(4, 2, dilation_rate=3)],
    "conv_groups": lambda: [layers.Dense(6), layers.Conv1D(4, 3, groups=2, activation="tanh")],
    "conv_channels_first": lambda: [layers.Conv1D(4, 3, data_format="channels_first", activation="softmax")],
    "cropping": lambda: [layers.Cropping1D((2, 1))],
    "cropping_one_side": lambda: [layers.Cropping1D((0, 3))],
    "dense": lambda: [layers.Dense(4, activation="gelu")],
    "dense_without_bias": lambda: [layers.Dense(4, use_bias=False)],
    "dense_leaky": lambda: [layers.Dense(4, activation=layers.LeakyReLU(negative_slope=0.2))],
    "dense_leaky_word": lambda: [layers.Dense(4, activation="leaky_relu")],
    "dense_glu": lambda: [layers.Dense(6, activation="glu")],
    "dense_softmax": lambda: [layers.Dense(4, activation="softmax")],
    "dropout": lambda: [layers.Dropout(0.4)],
    "elu": lambda: [layers.ELU()],
    "flatten": lambda: [layers.Flatten(), layers.Dense(2)],
    "gaussian_dropout": lambda: [layers.GaussianDropout(0.4)],
    "gaussian_noise": lambda: [layers.GaussianNoise(0.4)],
    "global_average": lambda: [layers.GlobalAveragePooling1D()],
    "global_average_keepdims": lambda: [layers.GlobalAveragePooling1D(keepdims=True)],
    "global_average_channels_first": lambda: [layers.GlobalAveragePooling1D("channels_first", keepdims=True)],
    "global_max": lambda: [layers.GlobalMaxPooling1D()],
    "global_max_keepdims": lambda: [layers.GlobalMaxPooling1D(keepdims=True)],
    "global_max_channels_first": lambda: [layers.GlobalMaxPooling1D(data_format="channels_first")],
    "identity": lambda: [layers.Identity()],
    "layer_normalization": lambda: [layers.LayerNormalization()],
    "layer_normalization_plain": lambda: [layers.LayerNormalization(center=False, scale=False, epsilon=0.1)],
    "layer_normalization_center": lambda: [layers.LayerNormalization(scale=False)],
    "layer_normalization_both": lambda: [layers.LayerNormalization(axis=[1, 2])],
    "leaky_relu": lambda: [layers.LeakyReLU(negative_slope=0.1)],
    "masking": lambda: [layers.Masking(0.5)],
    "max_pooling": lambda: [layers.MaxPooling1D(2)],
    "max_pooling_strides": lambda: [layers.MaxPooling1D(3, strides=1)],
    "max_pooling_same": lambda: [layers.MaxPooling1D(4, strides=3, padding="same")],
    "max_pooling_channels_first": lambda: [layers.MaxPooling1D(2, data_format="channels_first")],
    "permute": lambda: [layers.Permute((2, 1)), layers.Dense(2)],
    "prelu": lambda: [layers.PReLU()],
    "prelu_shared": lambda: [layers.PReLU(shared_axes=[1])],
    "relu": lambda: [layers.ReLU()],
    "relu_options": lambda: [layers.ReLU(max_value=0.9, negative_slope=0.1, threshold=0.2)],
    "repeat_vector": lambda: [layers.GRU(3), layers.RepeatVector(4)],
    "reshape": lambda: [layers.Reshape((15, 3)), layers.Dense(2)],
    "reshape_free": lambda: [layers.Reshape((-1, 15))],
    "rms_normalization": lambda: [layers.RMSNormalization()],
    "rms_normalization_both": lambda: [layers.RMSNormalization(axis=[1, 2], epsilon=0.1)],
    "softmax": lambda: [layers.Softmax()],
    "softmax_steps": lambda: [layers.Softmax(axis=1)],
    "softmax_both": lambda: [layers.Softmax(axis=[1, 2])],
    "spatial_dropout": lambda: [layers.SpatialDropout1D(0.4)],
    "time_distributed": lambda: [layers.TimeDistributed(layers.Dense(4, activation="tanh"))],
    "time_distributed_normalization": lambda: [layers.TimeDistributed(layers.BatchNormalization())],
    "up_sampling": lambda: [layers.UpSampling1D(3)],
    "zero_padding": lambda: [layers.ZeroPadding1D((1, 2))],
    "zero_padding_channels_first": lambda: [layers.ZeroPadding1D(2, data_format="channels_first")],
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", STEPS)
def test_a_layer_over_steps(tmp_path, name, suffix):
    model = sequential(*STEPS[name](), shape=(9, 5))
    ours = loaded(model, tmp_path / f"model.{suffix}")
    for x in (numbers(), numbers(batch=1, seed=2)):
        agree(ours(x), outputs(model, x))


WITHOUT_STEPS = {
    "dense": lambda: [layers.Dense(4, activation="relu")],
    "batch_normalization": lambda: [layers.BatchNormalization()],
    "layer_normalization": lambda: [layers.LayerNormalization()],
    "rms_normalization": lambda: [layers.RMSNormalization()],
    "prelu": lambda: [layers.PReLU()],
    "flatten": lambda: [layers.Flatten()],
    "reshape": lambda: [layers.Reshape((5, 1)), layers.GRU(3)],
    "repeat_vector": lambda: [layers.RepeatVector(3), layers.GRU(3)],
    "softmax": lambda: [layers.Softmax()],
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", WITHOUT_STEPS)
def test_a_layer_over_features(tmp_path, name, suffix):
    model = sequential(*WITHOUT_STEPS[name](), shape=(5,))
    ours = loaded(model, tmp_path / f"model.{suffix}")
    for x in (numbers()[:, 0], numbers(batch=1, seed=2)[:, 0]):
        agree(ours(x), outputs(model, x))


GRUS = {
    "gru": lambda: layers.GRU(7),
    "sequences": lambda: layers.GRU(7, return_sequences=True),
    "before": lambda: layers.GRU(7, reset_after=False, return_sequences=True),
    "without_bias": lambda: layers.GRU(7, use_bias=False),
    "before_without_bias": lambda: layers.GRU(7, use_bias=False, reset_after=False),
    "backwards": lambda: layers.GRU(7, go_backwards=True),
    "backwards_sequences": lambda: layers.GRU(7, go_backwards=True, return_sequences=True),
    "states": lambda: layers.GRU(7, return_sequences=True, return_state=True),
    "last_and_state": lambda: layers.GRU(7, return_state=True, go_backwards=True),
    "ignored": lambda: layers.GRU(7, dropout=0.3, recurrent_dropout=0.3, kernel_constraint="max_norm"),
    "bidirectional": lambda: layers.Bidirectional(layers.GRU(4)),
    "bidirectional_sequences": lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True)),
    "bidirectional_before": lambda: layers.Bidirectional(layers.GRU(4, reset_after=False, return_sequences=True)),
    "sum": lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="sum"),
    "mul": lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="mul"),
    "ave": lambda: layers.Bidirectional(layers.GRU(4), merge_mode="ave"),
    "both": lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode=None),
    "both_last": lambda: layers.Bidirectional(layers.GRU(4), merge_mode=None),
    "bidirectional_states": lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True, return_state=True)),
    "both_and_states": lambda: layers.Bidirectional(layers.GRU(4, return_state=True), merge_mode=None),
    "backward_layer": lambda: layers.Bidirectional(
        layers.GRU(4, return_sequences=True), backward_layer=layers.GRU(4, return_sequences=True, go_backwards=True)
    ),
    "different_sizes": lambda: layers.Bidirectional(
        layers.GRU(4, return_sequences=True), backward_layer=layers.GRU(3, return_sequences=True, go_backwards=True)
    ),
    "different_options": lambda: layers.Bidirectional(
        layers.GRU(4, return_sequences=True, return_state=True, activation="relu"),
        backward_layer=layers.GRU(4, reset_after=False, return_sequences=True, return_state=True, go_backwards=True),
        merge_mode="mul",
    ),
    "different_last": lambda: layers.Bidirectional(
        layers.GRU(4), backward_layer=layers.GRU(4, use_bias=False, go_backwards=True), merge_mode="ave"
    ),
    "turned": lambda: layers.Bidirectional(
        layers.GRU(4, return_sequences=True, go_backwards=True), backward_layer=layers.GRU(4, return_sequences=True)
    ),
    "turned_last": lambda: layers.Bidirectional(
        layers.GRU(4, go_backwards=True), backward_layer=layers.GRU(4), merge_mode=None
    ),
    "cell": lambda: layers.RNN(layers.GRUCell(6), return_sequences=True),
    "cells": lambda: layers.RNN([layers.GRUCell(6), layers.GRUCell(4, reset_after=False), layers.GRUCell(5)]),
    "cells_states": lambda: layers.RNN(
        [layers.GRUCell(6), layers.GRUCell(4)], return_sequences=True, return_state=True, go_backwards=True
    ),
    "stacked": lambda: layers.RNN(layers.StackedRNNCells([layers.GRUCell(6, use_bias=False)]), return_state=True),
    "bidirectional_cells": lambda: layers.Bidirectional(
        layers.RNN([layers.GRUCell(4), layers.GRUCell(3)], return_sequences=True)
    ),
    "bidirectional_cell": lambda: layers.Bidirectional(layers.RNN(layers.GRUCell(4)), merge_mode="sum"),
    "time_distributed": lambda: layers.TimeDistributed(layers.Dense(3)),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", GRUS)
def test_a_gru(tmp_path, name, suffix):
    model = sequential(GRUS[name]())
    ours = loaded(model, tmp_path / f"model.{suffix}")
    for x in (numbers(), numbers(batch=1, steps=1, seed=2)):
        agree(ours(x), outputs(model, x), 2 * FLOAT32)  # two GRUs are added in some


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_stateful_gru_begins_every_call_with_zeros_and_that_is_said(tmp_path, suffix):
    chain = [keras.Input(batch_shape=(3, 9, 5)), layers.GRU(4, stateful=True), layers.Dense(2)]
    model = keras.Sequential(chain)
    with pytest.warns(UserWarning, match="is stateful: in Keras a call goes on"):
        ours = loaded(model, tmp_path / f"model.{suffix}")
    wanted = outputs(model, numbers())
    for _ in range(2):
        agree(ours(numbers()), wanted)
    chain[1].reset_state()
    agree(ours(numbers()), outputs(model, numbers()))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_stateful_gru_that_is_called_twice_is_refused(tmp_path, suffix, wrapped):
    """Its second call in one call of the model goes on from the first: already the first answer would be wrong."""
    gru = layers.GRU(4, return_sequences=True, stateful=True)
    shared = layers.Bidirectional(gru, merge_mode="sum") if wrapped else gru
    given = keras.Input(batch_shape=(3, 9, 4))
    with pytest.raises(UnsupportedModelError, match="is stateful and is called more than once, so that each time"):
        loaded(keras.Model(given, shared(shared(given))), tmp_path / f"model.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("activation", ["relu", "hard_sigmoid", "softmax", "elu", "mish", "linear", "softsign"])
@pytest.mark.parametrize("recurrent_activation", ["hard_sigmoid", "sigmoid", "tanh"])
def test_activations_of_a_gru(tmp_path, activation, recurrent_activation, suffix):
    gru = layers.GRU(4, activation=activation, recurrent_activation=recurrent_activation, return_sequences=True)
    model = sequential(gru)
    agree(loaded(model, tmp_path / f"model.{suffix}")(numbers(steps=4)), outputs(model, numbers(steps=4)))


def test_an_activation_layer_as_the_activation_of_a_gru(tmp_path):
    model = sequential(layers.GRU(4, activation=layers.LeakyReLU(negative_slope=0.2), return_sequences=True))
    agree(loaded(model, tmp_path / "model.keras")(numbers(steps=4)), outputs(model, numbers(steps=4)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_embedding(tmp_path, suffix):
    model = sequential(layers.Embedding(20, 6), layers.GRU(4), shape=(None,))
    ids = np.random.default_rng(1).integers(0, 20, (4, 12))
    agree(loaded(model, tmp_path / f"model.{suffix}")(ids), outputs(model, ids))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float16"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_reduced_precision_is_computed_in_float32(tmp_path, policy, suffix):
    gru = layers.GRU(4, dtype=policy, recurrent_initializer="glorot_uniform")  # torch has no orthogonal halves
    model = keras.Sequential([keras.Input((None, 5)), gru, layers.Dense(2, dtype=policy)])
    wide = keras.Sequential([keras.Input((None, 5)), layers.GRU(4), layers.Dense(2)])
    wide.set_weights([keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")) for weight in model.weights])
    agree(loaded(model, tmp_path / f"model.{suffix}")(numbers()), outputs(wide, numbers()), FLOAT32)


def test_float64_is_kept(tmp_path):
    gru = layers.GRU(7, return_sequences=True, dtype="float64")
    model = keras.Sequential([keras.Input((None, 5), dtype="float64"), gru])
    x = numbers().astype(np.float64)
    ours = loaded(model, tmp_path / "model.keras", precision="float64")
    assert np.abs(ours(x) - outputs(model, x)[0]).max() <= 1e-12


def test_many_layers_of_one_class_keep_their_order(tmp_path):
    chain = [layers.GRU(3, return_sequences=True) for _ in range(12)] + [layers.Dense(2), layers.Dense(2)]
    model = sequential(*chain)
    agree(loaded(model, tmp_path / "model.keras")(numbers()), outputs(model, numbers()))


class GRU(layers.GRU):
    """A class of the user's that is called like Keras's."""


def double(x):
    return 2 * x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [layers.LSTM(3)], r"'lstm[_0-9]*' \(LSTM, layers\[1\]\): LSTM layers are not supported"),
        (lambda: [GRU(3)], "it is a class of its own"),
        (lambda: [layers.Lambda(double, output_shape=(6, 5), name="twice"), layers.GRU(3)], r"'twice' \(Lambda, "),
        (lambda: [layers.GRU(3), layers.Dense(2, activation=double)], "functions of a file are never loaded"),
        (lambda: [layers.Dense(2, activation=layers.PReLU())], "PReLU"),
        (lambda: [layers.Bidirectional(layers.LSTM(3))], "Bidirectional of LSTM is not supported"),
        (lambda: [layers.RNN(layers.LSTMCell(3))], "RNN of LSTMCell is not supported"),
        (lambda: [layers.TimeDistributed(layers.LSTM(3))], "LSTM layers are not supported"),
        (lambda: [layers.LayerNormalization(rms_scaling=True)], "rms_scaling=True is not supported"),
        (lambda: [keras.Sequential([layers.SimpleRNN(2)], name="inner")], r"'inner/simple_rnn[^']*' \(SimpleRNN, "),
        (lambda: [layers.Flatten(data_format="channels_first")], "'channels_first' is not supported"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
def test_what_is_not_supported_is_refused_by_name_and_place(tmp_path, make, message):
    chain = make()
    shape = (4, 6, 5) if isinstance(chain[0], layers.TimeDistributed) else (6, 5)
    model = keras.Sequential([keras.Input(shape), *chain])
    model.save(tmp_path / "model.keras")
    with pytest.raises(UnsupportedModelError, match=message):
        fastgru.load(tmp_path / "model.keras")
    assert len(fastgru.read(tmp_path / "model.keras")) >= 0


def test_a_quantised_model_is_refused_by_name(tmp_path):
    model = keras.Sequential([keras.Input((6, 5)), layers.GRU(3), layers.Dense(2, name="out")])
    model.quantize("int8", filters=lambda layer: layer.name == "out")
    model.save(tmp_path / "model.keras")
    with pytest.raises(UnsupportedModelError, match=r"'out' .*quantised"):
        fastgru.load(tmp_path / "model.keras")


def test_a_trained_model_with_its_optimizer_loads(tmp_path):
    model = keras.Sequential([keras.Input((9, 5)), layers.GRU(4, dropout=0.1), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(numbers(), np.ones((3, 1), np.float32), epochs=2, verbose=0)
    for suffix in SUFFIXES:
        agree(loaded(model, tmp_path / f"model.{suffix}")(numbers()), outputs(model, numbers()))
