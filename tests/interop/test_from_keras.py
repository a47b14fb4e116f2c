"""``from_keras`` on live models and layers of Keras 3, and Keras's files of weights alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras_models import FLOAT32, agree, keras, numbers, outputs, randomised, sequential

import fastgru
from fastgru.errors import CheckpointError, DTypeError, UnsupportedModelError
from fastgru.options import kernel_table

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask attached to it:UserWarning"),
]

layers = keras.layers


def text_model():
    ids, side = keras.Input((6,), dtype="int32"), keras.Input((3,))
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    frozen = layers.GRU(5, return_sequences=True)
    frozen.trainable = False
    inner = keras.Sequential([layers.BatchNormalization(), frozen, layers.Dense(4)], name="inner")
    y = layers.Bidirectional(layers.GRU(3, reset_after=False))(inner(x))
    z = layers.Concatenate()([y, side])
    return randomised(keras.Model([ids, side], [layers.Dense(2, activation="softmax")(z), y]))


IDS = np.array([[1, 2, 3, 4, 5, 6], [1, 2, 0, 0, 0, 0], [0, 0, 1, 0, 3, 4]])


def test_a_functional_model():
    model = text_model()
    given = [IDS, numbers()[:, 0, :3]]
    agree(fastgru.from_keras(model)(given), outputs(model, *given))


def test_a_sequential_model_in_float64():
    model = sequential(layers.GRU(4, return_sequences=True), layers.TimeDistributed(layers.Dense(3)), layers.GRU(2))
    ours = fastgru.from_keras(model, precision="float64", n_threads=1)
    assert ours.precision == "float64"
    agree(ours(numbers()), outputs(model, numbers()))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("reset_after", [False, True])
def test_a_layer_by_itself(wrapped, reset_after):
    gru = layers.GRU(4, return_sequences=True, return_state=True, reset_after=reset_after)
    layer = layers.Bidirectional(gru) if wrapped else gru
    layer(numbers())
    randomised(layer)
    wanted, *states = (keras.ops.convert_to_numpy(each) for each in layer(numbers()))
    ours = fastgru.from_keras(layer)
    assert isinstance(ours, fastgru.GRU) and ours.bidirectional is wrapped
    y, h = ours(numbers())
    agree(y, [wanted], FLOAT32)
    agree(tuple(h), states, FLOAT32)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.GRU(4, go_backwards=True), lambda: layers.RNN([layers.GRUCell(4), layers.GRUCell(3)]),
        lambda: layers.Bidirectional(layers.GRU(4), merge_mode="sum"),
    ],
)  # fmt: skip
def test_a_layer_that_is_more_than_a_gru_is_a_model(make):
    layer = make()
    layer(numbers())
    randomised(layer)
    ours = fastgru.from_keras(layer)
    assert isinstance(ours, fastgru.Model)
    agree(ours(numbers()), [keras.ops.convert_to_numpy(layer(numbers()))], FLOAT32)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_bfloat16"])
def test_reduced_precision_is_widened(dtype):
    layer = layers.GRU(4, dtype=dtype, recurrent_initializer="glorot_uniform")
    layer(numbers())
    ours = fastgru.from_keras(layer)
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(layer.weights[0], "float32"))
    z, r, n = np.split(kernel.T, 3)
    np.testing.assert_array_equal(ours.spec.layers[0][0].w_ih, np.concatenate((r, z, n)))


class Mine(keras.Model):
    def __init__(self):
        super().__init__()
        self.gru = layers.GRU(3)

    def call(self, x):
        return self.gru(x)


def test_what_cannot_be_taken_over_is_an_error():
    with pytest.raises(DTypeError, match="has no weights yet"):
        fastgru.from_keras(layers.GRU(3))
    with pytest.raises(DTypeError, match="has no weights yet"):
        fastgru.from_keras(keras.Sequential([layers.GRU(3)]))
    with pytest.raises(DTypeError, match="got Dense"):
        fastgru.from_keras(layers.Dense(3))
    with pytest.raises(UnsupportedModelError, match="LSTM layers are not supported"):
        fastgru.from_keras(sequential(layers.LSTM(3)))
    model = Mine()
    model(numbers())
    with pytest.raises(UnsupportedModelError, match=r"cannot describe itself|Mine: it is a class of its own"):
        fastgru.from_keras(model)


def chain():
    return randomised(keras.Sequential([
        keras.Input((None,), dtype="int32"), layers.Embedding(9, 4), layers.Conv1D(6, 3, padding="same"),
        layers.BatchNormalization(), layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        layers.LayerNormalization(), layers.RNN([layers.GRUCell(4), layers.GRUCell(5)], return_sequences=True),
        layers.GRU(4, reset_after=False), layers.Dense(2, activation="tanh"),
    ]))  # fmt: skip


def test_weights_alone_by_the_names_of_groups(tmp_path):
    model = chain()
    model.save_weights(tmp_path / "some.weights.h5")
    named = ["embedding", fastgru.Named("conv1d", padding="same"), "batch_normalization"]
    named += ["bidirectional", "layer_normalization", "layers/rnn", "gru", fastgru.Last()]
    named.append(fastgru.Named("dense", activation="tanh"))
    agree(fastgru.load(tmp_path / "some.weights.h5", layers=named)(IDS), outputs(model, IDS))
    with pytest.raises(fastgru.CheckpointError, match=r'(?s)"rnn": RNN of 2 GRUs.*Name the layers in the order'):
        fastgru.load(tmp_path / "some.weights.h5")


def test_weights_alone_with_the_line_that_is_shown(tmp_path):
    model = randomised(keras.Sequential([
        keras.Input((None,), dtype="int32"), layers.Embedding(9, 4), layers.Bidirectional(layers.GRU(3)),
        layers.Dense(2, activation="relu"),
    ]))  # fmt: skip
    model.save_weights(tmp_path / "some.weights.h5")
    with pytest.raises(fastgru.CheckpointError) as caught:
        fastgru.load(tmp_path / "some.weights.h5")
    line = next(line for line in str(caught.value).splitlines() if "layers=[" in line)
    named = eval(line.strip().removeprefix("layers="), {"fastgru": fastgru})
    assert named == ["embedding", ..., "bidirectional", ..., "dense", ...]
    with pytest.raises(fastgru.CheckpointError, match="the file does not say what runs there"):
        fastgru.load(tmp_path / "some.weights.h5", layers=named)
    named = ["embedding", "bidirectional", fastgru.FinalState(), fastgru.Named("dense", activation="relu")]
    agree(fastgru.load(tmp_path / "some.weights.h5", layers=named)(IDS), outputs(model, IDS))


def test_weights_of_one_gru(tmp_path):
    model = sequential(layers.GRU(4, return_sequences=True))
    model.save_weights(tmp_path / "some.weights.h5")
    agree(fastgru.load(tmp_path / "some.weights.h5")(numbers())[0], outputs(model, numbers()), FLOAT32)


def test_weights_of_a_model_of_a_class_of_its_own(tmp_path):
    model = Mine()
    model(numbers())
    randomised(model)
    model.save_weights(tmp_path / "some.weights.h5")
    _, h = fastgru.load(tmp_path / "some.weights.h5")(numbers())
    agree(h[0], outputs(model, numbers()), FLOAT32)


PROGRAM = """
import sys
for name in ("keras", "torch", "tensorflow", "tf_keras", "jax"):
    sys.modules[name] = None
import numpy as np, fastgru
given = np.load("given.npz")
ours = fastgru.load("model.keras")([given["ids"], given["side"]])
assert max(np.abs(a - given[b]).max() for a, b in zip(ours, ("p", "y"))) < 5e-6
ours = fastgru.load("model.h5")([given["ids"], given["side"]])
assert max(np.abs(a - given[b]).max() for a, b in zip(ours, ("p", "y"))) < 5e-6
"""


def test_no_framework_is_needed_to_load_them(tmp_path):
    model, given = text_model(), [IDS, numbers()[:, 0, :3]]
    p, y = outputs(model, *given)
    np.savez(tmp_path / "given.npz", ids=given[0], side=given[1], p=p, y=y)
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    root = str(Path(fastgru.__file__).parent.parent)
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, check=True, env={"PYTHONPATH": root})


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("writer", ["live", "keras", "h5", "weights.h5"])
def test_the_precision_that_keras_stores(kind, writer, tmp_path):
    # PyTorch has no orthogonal matrices of 16 bits
    gru = layers.GRU(4, return_sequences=True, dtype=kind, recurrent_initializer="glorot_uniform")
    model = randomised(keras.Sequential([keras.Input((None, 5)), gru, layers.Dense(3, dtype=kind)]))
    path = tmp_path / f"model.{writer}"
    if writer == "live":
        ours = fastgru.from_keras(model, precision="stored")
    elif writer == "weights.h5":
        model.save_weights(path)
        ours = fastgru.load(path, layers=["gru", "dense"], precision="stored")
    else:
        model.save(path)
        ours = fastgru.load(path, precision="stored")
    assert ours.precision == kind
    wide = fastgru.from_keras(model, precision="float64" if kind == "float64" else "float32")
    if kind == "bfloat16" and kernel_table().pairs:  # then inputs and states are rounded too
        assert np.abs(ours(numbers()) - wide(numbers())).max() < 2e-2
    else:
        assert np.array_equal(ours(numbers()), wide(numbers()))


def test_a_check_compares_with_what_keras_predicts():
    inputs = [keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")]
    gru = layers.Bidirectional(layers.GRU(4))
    joined = layers.Concatenate()([gru(each) for each in inputs])
    model = randomised(keras.Model(inputs, [layers.Dense(2, "softmax")(joined), layers.Dense(1)(joined)]))
    x = [numbers()[..., :3], -numbers()[..., :3]]
    y = model.predict(x, verbose=0)
    fastgru.from_keras(model, check=(x, y))
    with pytest.raises(CheckpointError, match="does not compute what check= expects"):
        fastgru.from_keras(model, check=(x[::-1], y))
