"""Models from real Keras 3, saved as ``.keras``, give the outputs that Keras gives.

float32 outputs of a GRU may differ by 2e-6, the project's bound beside a framework; whole models by 5e-6 of the
largest output. hard_sigmoid and relu have kinks, so models with them are compared in float64 as well.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytest.importorskip("h5py")

import fastgru  # noqa: E402
from fastgru.errors import UnsupportedModelError  # noqa: E402

# Keras's own variables and savers, on their way to NumPy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

layers = keras.layers

FLOAT32 = 2e-6
FLOAT64 = 1e-12
WHOLE = 5e-6  # of the largest output


def saved(tmp_path, *chain, shape=(None, 5), seed=3):
    """A Sequential model with weights away from their symmetric beginnings, its file, and its outputs' function."""
    model = keras.Sequential([keras.Input(shape), *chain])
    generator = np.random.default_rng(seed)
    model.set_weights([generator.uniform(-0.5, 0.5, w.shape).astype(w.dtype) for w in model.get_weights()])
    path = str(tmp_path / "model.keras")
    model.save(path)
    return path, lambda x: keras.ops.convert_to_numpy(model(x, training=False))


def numbers(steps=9, features=5, batch=3):
    return np.random.default_rng(steps).standard_normal((batch, steps, features)).astype(np.float32)


@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_gru_gives_kerass_outputs(tmp_path, reset_after, use_bias, return_sequences, go_backwards):
    gru = layers.GRU(
        7,
        reset_after=reset_after,
        use_bias=use_bias,
        return_sequences=return_sequences,
        go_backwards=go_backwards,
        stateful=False,
        unroll=False,
        dropout=0.2,
        recurrent_dropout=0.2,
    )
    path, outputs = saved(tmp_path, gru)
    assert np.abs(fastgru.load(path)(numbers()) - outputs(numbers())).max() <= FLOAT32


@pytest.mark.parametrize("reset_after", [False, True])
def test_a_float64_gru_agrees_to_float64(tmp_path, reset_after):
    gru = layers.GRU(7, reset_after=reset_after, return_sequences=True, dtype="float64")
    model = keras.Sequential([keras.Input((None, 5), dtype="float64"), gru])
    path = str(tmp_path / "model.keras")
    model.save(path)
    x = numbers().astype(np.float64)
    wanted = keras.ops.convert_to_numpy(model(x))
    # Keras's torch backend rounds products of float64 matrices to float32 where the reset comes before.
    assert np.abs(fastgru.load(path, precision="float64")(x) - wanted).max() <= (FLOAT64 if reset_after else FLOAT32)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize("recurrent_activation", ["sigmoid", "hard_sigmoid", "relu"])
@pytest.mark.parametrize("reset_after", [False, True])
def test_gate_activations_mean_what_they_mean_in_keras(tmp_path, activation, recurrent_activation, reset_after):
    gru = layers.GRU(
        4,
        activation=activation,
        recurrent_activation=recurrent_activation,
        reset_after=reset_after,
        dtype="float64",
    )
    path, outputs = saved(tmp_path, gru)
    x = numbers(steps=4)
    wanted = outputs(x)
    largest = max(1, np.abs(wanted).max())
    exact = FLOAT64 if reset_after else FLOAT32  # as in the test above
    assert np.abs(fastgru.load(path, precision="float64")(x) - wanted).max() <= exact * largest
    assert np.abs(fastgru.load(path)(x) - wanted).max() <= WHOLE * largest


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("reset_after", [False, True])
def test_a_bidirectional_gru_gives_kerass_outputs(tmp_path, merge_mode, return_sequences, reset_after):
    gru = layers.GRU(6, return_sequences=return_sequences, reset_after=reset_after)
    path, outputs = saved(tmp_path, layers.Bidirectional(gru, merge_mode=merge_mode))
    assert np.abs(fastgru.load(path)(numbers()) - outputs(numbers())).max() <= 2 * FLOAT32  # two GRUs are added


def test_a_bidirectional_gru_with_a_backward_layer_of_its_own(tmp_path):
    backward = layers.GRU(6, return_sequences=True, go_backwards=True, name="mine")
    chain = layers.Bidirectional(layers.GRU(6, return_sequences=True), backward_layer=backward)
    path, outputs = saved(tmp_path, chain)
    assert np.abs(fastgru.load(path)(numbers()) - outputs(numbers())).max() <= FLOAT32


def test_a_whole_text_model_gives_kerass_outputs(tmp_path):
    chain = [
        layers.Embedding(40, 6),
        layers.SpatialDropout1D(0.2),
        layers.Bidirectional(layers.GRU(5, return_sequences=True)),
        layers.GaussianNoise(0.1),
        layers.GRU(8, return_sequences=True, reset_after=False, name="zebra"),
        layers.ActivityRegularization(l2=0.01),
        layers.GRU(7, name="ape"),
        layers.Dropout(0.5),
        layers.Dense(9, activation="relu"),
        layers.GaussianDropout(0.1),
        layers.AlphaDropout(0.1),
        layers.Activation("tanh"),
        layers.Dense(3, activation="softmax", use_bias=False),
    ]
    path, outputs = saved(tmp_path, *chain, shape=(12,))
    ids = np.random.default_rng(1).integers(0, 40, (4, 12))
    assert np.abs(fastgru.load(path)(ids) - outputs(ids)).max() <= WHOLE


def test_many_layers_of_one_class_keep_their_order(tmp_path):
    chain = [layers.GRU(3, return_sequences=True) for _ in range(12)] + [layers.Dense(2), layers.Dense(2)]
    path, outputs = saved(tmp_path, *chain)
    assert np.abs(fastgru.load(path)(numbers()) - outputs(numbers())).max() <= WHOLE


def test_a_trained_model_with_its_optimizer_loads(tmp_path):
    model = keras.Sequential([keras.Input((9, 5)), layers.GRU(4, dropout=0.1), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(numbers(), np.ones((3, 1), np.float32), epochs=2, verbose=0)
    path = str(tmp_path / "model.keras")
    model.save(path)
    wanted = keras.ops.convert_to_numpy(model(numbers()))
    assert np.abs(fastgru.load(path)(numbers()) - wanted).max() <= FLOAT32


def test_a_model_built_by_its_first_call_loads(tmp_path):
    model = keras.Sequential([layers.GRU(4, return_sequences=True), layers.Dense(2)])
    wanted = keras.ops.convert_to_numpy(model(numbers()))
    path = str(tmp_path / "model.keras")
    model.save(path)
    assert np.abs(fastgru.load(path)(numbers()) - wanted).max() <= FLOAT32


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float16"])
def test_reduced_precision_policies_load_with_their_weights_widened(tmp_path, policy):
    gru = layers.GRU(4, dtype=policy, recurrent_initializer="glorot_uniform")  # torch has no orthogonal halves
    model = keras.Sequential([keras.Input((None, 5)), gru, layers.Dense(2, dtype=policy)])
    path = str(tmp_path / "model.keras")
    model.save(path)
    wide = keras.Sequential([keras.Input((None, 5)), layers.GRU(4), layers.Dense(2)])
    wide.set_weights([keras.ops.convert_to_numpy(keras.ops.cast(w, "float32")) for w in model.weights])
    wanted = keras.ops.convert_to_numpy(wide(numbers()))
    assert np.abs(fastgru.load(path)(numbers()) - wanted).max() <= FLOAT32


class GRU(layers.GRU):
    """A class of the user's that is called like Keras's."""


def double(x):
    return 2 * x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [layers.LSTM(3)], "LSTM layers are not supported"),
        (lambda: [GRU(3)], "it is a class of its own"),
        (
            lambda: [layers.Lambda(double, output_shape=(None, 5), name="twice"), layers.GRU(3)],
            r"'twice' \(Lambda, layers\[1\]\)",
        ),
        (
            lambda: [layers.GRU(3), layers.Dense(2, activation=double)],
            r"'[^']*dense[^']*' \(Dense.*activation .*double",
        ),
        (lambda: [layers.GRU(3), layers.Dense(2, activation=layers.LeakyReLU())], "activation .*LeakyReLU"),
        (lambda: [layers.GRU(3), layers.Dense(2, activation="mish")], "activation 'mish' is not supported"),
        (lambda: [layers.GRU(3, activation="softmax")], "'softmax' is not supported"),
        (lambda: [layers.Masking(), layers.GRU(3)], "lengths="),
        (lambda: [layers.Bidirectional(layers.LSTM(3))], "Bidirectional of LSTM"),
        (
            lambda: [layers.Bidirectional(layers.GRU(3), backward_layer=layers.GRU(4, go_backwards=True))],
            "directions differ",
        ),
        (
            lambda: [layers.Bidirectional(layers.GRU(3, go_backwards=True), backward_layer=layers.GRU(3))],
            r"go_backwards of its two layers is \[True, False\]",
        ),
        (lambda: [keras.Sequential([layers.GRU(3)])], "Sequential layers are not supported"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, make, message):
    model = keras.Sequential([keras.Input((6, 5)), *make()])
    path = str(tmp_path / "model.keras")
    model.save(path)
    with pytest.raises(UnsupportedModelError, match=message):
        fastgru.load(path)


def test_masks_of_an_embedding_are_refused_with_the_way_out(tmp_path):
    path, _ = saved(tmp_path, layers.Embedding(9, 4, mask_zero=True), layers.GRU(3), shape=(None,))
    with pytest.raises(UnsupportedModelError, match=r"mask_zero=True is not supported.*lengths="):
        fastgru.load(path)


def test_a_bidirectional_layer_with_two_outputs_is_refused(tmp_path):
    path, _ = saved(tmp_path, layers.Bidirectional(layers.GRU(3), merge_mode=None))
    with pytest.raises(UnsupportedModelError, match="merge_mode is None"):
        fastgru.load(path)


def test_a_gru_that_returns_its_state_is_refused(tmp_path):
    path, _ = saved(tmp_path, layers.GRU(3, return_state=True))
    with pytest.raises(UnsupportedModelError, match="return_state=True"):
        fastgru.load(path)


def test_a_functional_model_is_refused_for_now(tmp_path):
    given = keras.Input((None, 5))
    path = str(tmp_path / "model.keras")
    keras.Model(given, layers.GRU(3)(given)).save(path)
    with pytest.raises(UnsupportedModelError, match="'Functional', supported is Sequential"):
        fastgru.load(path)


def test_a_quantised_model_is_refused_by_name(tmp_path):
    model = keras.Sequential([keras.Input((6, 5)), layers.GRU(3), layers.Dense(2, name="out")])
    model.quantize("int8", filters=lambda layer: layer.name == "out")
    path = str(tmp_path / "model.keras")
    model.save(path)
    with pytest.raises(UnsupportedModelError, match=r"'out' .*quantised"):
        fastgru.load(path)
