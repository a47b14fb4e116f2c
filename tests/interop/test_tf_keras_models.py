"""Models of the real Keras 2, by tf_keras, saved as ``.h5`` and as ``.keras``, give the outputs that it gives."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own, while it is imported
    keras = pytest.importorskip("tf_keras", exc_type=ImportError)
    import tensorflow as tf

import fastgru
import fastgru.importers.keras.live
from fastgru.errors import UnsupportedModelError

pytestmark = pytest.mark.filterwarnings("ignore:.*HDF5 file via.*:UserWarning", "ignore::DeprecationWarning")
layers = keras.layers

WHOLE = 5e-6  # of the largest output
IDS = np.array([[1, 2, 3, 4, 5, 6], [1, 2, 3, 0, 0, 0], [0, 0, 1, 2, 3, 4], [1, 0, 0, 2, 0, 3]])


@pytest.fixture(autouse=True)
def fresh():
    keras.backend.clear_session()


def randomised(model):
    generator = np.random.default_rng(3)
    for weight in model.weights:
        low, high = (0.4, 1.8) if "variance" in weight.name or "gamma" in weight.name else (-0.7, 0.7)
        weight.assign(generator.uniform(low, high, weight.shape).astype(np.float32))
    return model


def outputs(model, *inputs):
    result = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
    result = list(result.values()) if isinstance(result, dict) else result
    return [np.asarray(each) for each in (result if isinstance(result, (list, tuple)) else [result])]


@pytest.fixture(params=["h5", "keras", "live"])
def check(request, tmp_path):
    """A function that takes a model over, from a file or as it is, and asserts equal outputs."""

    def run(model, *inputs):
        randomised(model)
        path = tmp_path / f"model.{request.param}"
        if request.param == "live":
            ours = fastgru.from_keras(model)
        else:
            model.save(path)
            ours = fastgru.load(path)
        for rows in (slice(None), slice(1, 2)):
            given = [each[rows] for each in inputs]
            got = ours(given if len(given) > 1 else given[0])
            got = list(got.values()) if isinstance(got, dict) else list(got) if isinstance(got, tuple) else [got]
            wanted = outputs(model, *given)
            assert [each.shape for each in got] == [each.shape for each in wanted]
            for one, other in zip(got, wanted, strict=True):
                assert np.abs(one - other).max() <= WHOLE * max(1, np.abs(other).max())

    return run


def numbers(batch=4, steps=6, features=5):
    return np.random.default_rng(batch).standard_normal((batch, steps, features)).astype(np.float32)


LAYERS = {
    "gru": lambda: [layers.GRU(4)],
    "gru_hard": lambda: [layers.GRU(4, recurrent_activation="hard_sigmoid", return_sequences=True)],
    "gru_before": lambda: [layers.GRU(4, reset_after=False, go_backwards=True, return_sequences=True)],
    "gru_plain": lambda: [layers.GRU(4, use_bias=False)],
    "gru_elu": lambda: [layers.GRU(4, activation="elu")],
    "bidirectional": lambda: [layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="ave")],
    "bidirectional_last": lambda: [layers.Bidirectional(layers.GRU(4))],
    "backward_layer": lambda: [
        layers.Bidirectional(layers.GRU(4), backward_layer=layers.GRU(3, go_backwards=True, reset_after=False))
    ],
    "cells": lambda: [layers.RNN([layers.GRUCell(4), layers.GRUCell(3)], return_sequences=True)],
    "batch_normalization": lambda: [layers.BatchNormalization()],
    "batch_normalization_steps": lambda: [layers.BatchNormalization(axis=1, scale=False)],
    "layer_normalization": lambda: [layers.LayerNormalization()],
    "layer_normalization_steps": lambda: [layers.LayerNormalization(axis=1)],
    "conv": lambda: [layers.Conv1D(4, 3, padding="causal", activation="relu")],
    "conv_same": lambda: [layers.Conv1D(4, 2, padding="same", strides=2)],
    "average_pooling_same": lambda: [layers.AveragePooling1D(3, strides=2, padding="same")],
    "max_pooling": lambda: [layers.MaxPooling1D(2)],
    "global_average": lambda: [layers.GlobalAveragePooling1D()],
    "leaky_relu": lambda: [layers.LeakyReLU(alpha=0.1)],
    "thresholded_relu": lambda: [layers.ThresholdedReLU(theta=0.4)],
    "relu": lambda: [layers.ReLU(max_value=1.0, negative_slope=0.1)],
    "elu": lambda: [layers.ELU(alpha=0.5)],
    "prelu": lambda: [layers.PReLU(shared_axes=[1])],
    "softmax": lambda: [layers.Softmax(axis=1)],
    "hard_sigmoid": lambda: [layers.Activation("hard_sigmoid")],
    "dense_leaky": lambda: [layers.Dense(3, activation=layers.LeakyReLU(alpha=0.2))],
    "swish": lambda: [layers.Dense(3, activation="swish")],
    "time_distributed": lambda: [layers.TimeDistributed(layers.Dense(3))],
    "reshape": lambda: [layers.Reshape((10, 3)), layers.Permute((2, 1)), layers.Flatten(), layers.Dense(2)],
    "zero_padding": lambda: [layers.ZeroPadding1D((1, 2)), layers.Cropping1D(1), layers.UpSampling1D(2)],
    "dropouts": lambda: [layers.SpatialDropout1D(0.2), layers.GaussianNoise(0.1), layers.Dropout(0.1), layers.GRU(3)],
    "repeat_vector": lambda: [layers.GRU(3), layers.RepeatVector(3)],
    "stateful_free": lambda: [layers.GRU(3, unroll=True, dropout=0.2)],
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(check, name):
    check(keras.Sequential([keras.Input((6, 5)), *LAYERS[name]()]), numbers())


BETWEEN = {
    "activation": lambda: layers.Activation("tanh"),
    "average_pooling": lambda: layers.AveragePooling1D(2),
    "batch_normalization": lambda: layers.BatchNormalization(),
    "conv": lambda: layers.Conv1D(4, 3, padding="same"),
    "cropping": lambda: layers.Cropping1D(1),
    "dense": lambda: layers.Dense(4),
    "dropout": lambda: layers.Dropout(0.3),
    "layer_normalization": lambda: layers.LayerNormalization(),
    "identity": lambda: layers.Identity(),
    "leaky_relu": lambda: layers.LeakyReLU(),
    "permute": lambda: layers.Permute((2, 1)),
    "prelu": lambda: layers.PReLU(shared_axes=[1]),
    "reshape": lambda: layers.Reshape((3, 8)),
    "spatial_dropout": lambda: layers.SpatialDropout1D(0.3),
    "thresholded_relu": lambda: layers.ThresholdedReLU(),
    "time_distributed": lambda: layers.TimeDistributed(layers.Dense(3)),
    "up_sampling": lambda: layers.UpSampling1D(2),
    "zero_padding": lambda: layers.ZeroPadding1D(1),
    "sequential": lambda: keras.Sequential([layers.Dense(3), layers.GRU(3, return_sequences=True)]),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_a_layer_behind_a_masked_embedding(check, name):
    chain = [layers.Embedding(9, 4, mask_zero=True, input_length=6), BETWEEN[name](), layers.GRU(3, reset_after=False)]
    check(keras.Sequential(chain), IDS)


@pytest.mark.parametrize("kind", ["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"])
@pytest.mark.parametrize("which", ["both", "first", "second", "one"])
def test_two_masks_that_are_joined(check, kind, which):
    """In Keras 2 a step is real where both inputs have it, and an input without a mask says nothing."""
    ids = [keras.Input((6,), dtype="int32") for _ in range(2)]
    zeros = [which in ("both", "first"), which in ("both", "second")]
    x = [layers.Embedding(9, 4, mask_zero=zero)(each) for each, zero in zip(ids, zeros, strict=True)]
    if which == "one":
        x = [layers.Embedding(9, 4, mask_zero=True)(ids[0])] * 2
    merged = getattr(layers, kind)()(x)
    ends = [layers.GRU(3, return_sequences=True, reset_after=False)(merged), layers.GlobalAveragePooling1D()(merged)]
    check(keras.Model(ids[:1] if which == "one" else ids, ends), *([IDS] if which == "one" else [IDS, IDS + 1]))


MASKED = {
    "gru": lambda: [layers.GRU(4, return_sequences=True), layers.GRU(3)],
    "gru_before": lambda: [layers.GRU(4, reset_after=False, return_sequences=True, go_backwards=True), layers.GRU(3)],
    "bidirectional": lambda: [layers.Bidirectional(layers.GRU(4, return_sequences=True, reset_after=False))],
    "different": lambda: [
        layers.Bidirectional(
            layers.GRU(4, return_sequences=True, reset_after=False, activation="relu"),
            backward_layer=layers.GRU(4, return_sequences=True, reset_after=False, go_backwards=True),
            merge_mode="mul",
        )
    ],
    "average": lambda: [layers.Dense(4), layers.GlobalAveragePooling1D()],
    "cells": lambda: [layers.RNN([layers.GRUCell(4), layers.GRUCell(3)], return_sequences=True)],
    "zero": lambda: [layers.GRU(4, return_sequences=True, zero_output_for_mask=True, reset_after=False)],
}


@pytest.mark.parametrize("kind", ["Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"])
def test_two_inputs_with_the_same_mask(check, kind):
    """Keras 2 computes with masked steps too, also where both inputs have one mask."""
    ids = layers.Input((6,), dtype="int32")
    embedded = layers.Embedding(7, 3, mask_zero=True)(ids)
    joined = getattr(layers, kind)()([layers.Dense(3)(embedded), embedded])
    check(keras.Model(ids, [joined, layers.GRU(4)(joined)]), IDS)


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_embedding(check, name):
    check(keras.Sequential([layers.Embedding(9, 4, mask_zero=True, input_length=6), *MASKED[name]()]), IDS)


def test_states_and_masks(check):
    ids, state = keras.Input((6,), dtype="int32"), keras.Input((4,))
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    y, end = layers.GRU(4, return_sequences=True, return_state=True, reset_after=False)(x, initial_state=state)
    both = layers.Bidirectional(layers.GRU(4, reset_after=False), merge_mode=None)(y, initial_state=[state, end])
    check(keras.Model([ids, state], [y, end, *both]), IDS, numbers()[:, 0, :4])


def test_models_in_models(check):
    given = keras.Input((None, 5))
    x = layers.BatchNormalization()(layers.Dense(4)(given))
    inner = keras.Model(given, layers.GRU(5, return_sequences=True)(x), name="inner")
    frozen = keras.Sequential([keras.Input((None, 5)), layers.BatchNormalization(), layers.Dense(5)], name="frozen")
    frozen.trainable = False
    partly = keras.Sequential(
        [keras.Input((None, 5)), layers.GRU(5, return_sequences=True, trainable=False), layers.BatchNormalization()]
    )
    given = keras.Input((None, 5))
    y = partly(inner(frozen(inner(given))))
    check(keras.Model(given, [y, layers.GRU(2)(frozen(y))]), numbers())


def test_a_model_in_a_wrapper_and_by_itself(check):
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.BatchNormalization()], name="inner")
    given, single = keras.Input((6, 5)), keras.Input((5,))
    check(
        keras.Model([given, single], [layers.TimeDistributed(inner)(given), inner(single)]), numbers(), numbers()[:, 0]
    )


def test_merging_and_shared_layers(check):
    one, other = keras.Input((None, 5)), keras.Input((None, 5))
    gru = layers.GRU(4, return_sequences=True)
    x, y = gru(one), gru(other)
    merged = [layers.Add()([x, y]), layers.Subtract()([x, y]), layers.Multiply()([x, y]), layers.Maximum()([x, y])]
    check(keras.Model([one, other], [layers.Concatenate()(merged), layers.Average()(merged)]), numbers(), numbers() + 1)


def test_functions_of_tensors(check):
    given = keras.Input((6, 5))
    x = layers.Dense(5)(given)
    made = [x[:, -1, :], x[:, 0], x[:, 1:-1], x[:, ::-1], x[:, :, 1:3], x + given, x - given, x * given]
    made += [tf.nn.relu(x), tf.concat([x, given], axis=-1), tf.maximum(x, given), tf.reduce_mean(x, axis=1)]
    check(keras.Model(given, [*made, tf.reduce_max(x, axis=1, keepdims=True), tf.nn.softmax(x), tf.tanh(x)]), numbers())


def test_other_functions_are_refused(tmp_path):
    given = keras.Input((6, 5))
    for make in (lambda x: x * 2.0, lambda x: tf.reduce_sum(x, axis=1), lambda x: tf.transpose(x, [0, 2, 1])):
        keras.Model(given, make(given)).save(tmp_path / "model.h5")
        with pytest.raises(UnsupportedModelError, match="TFOpLambda"):
            fastgru.load(tmp_path / "model.h5")


class CuDNN(layers.GRU):
    """What a GRU of Keras 2 is called where it was made for cuDNN, which runs on GPUs only."""


def test_cudnn_layers_have_what_keras_makes_of_them_for_a_gru(tmp_path):
    from tf_keras.src.saving.legacy.hdf5_format import _convert_rnn_weights as converted

    model = randomised(keras.Sequential([keras.Input((None, 5)), CuDNN(4, return_sequences=True, name="gru")]))
    wanted = outputs(model, numbers())[0]
    plain = layers.GRU(4)
    plain.build((None, None, 5))
    kernel, recurrent, bias = model.get_weights()
    # From a GRU's weights to those of a CuDNNGRU: each gate the other way round than from there to here
    turned = np.hstack([gate.T.reshape(-1).reshape(gate.shape) for gate in np.split(kernel, 3, axis=1)])
    raw = [turned, np.hstack([gate.T for gate in np.split(recurrent, 3, axis=1)]), bias.reshape(-1)]
    for back, there in zip(converted(plain, raw), (kernel, recurrent, bias), strict=True):
        np.testing.assert_array_equal(back, there)
    checkpoint = fastgru.importers.keras.live.checkpoint_of(model)
    layer = next(each for each in checkpoint.config["config"]["layers"] if each["config"]["name"] == "gru")
    layer.update(class_name="CuDNNGRU", module="keras.layers", registered_name=None)
    checkpoint.tensors.update(zip(checkpoint.metadata["weight_names"]["gru"], raw, strict=True))
    ours = fastgru.Model(fastgru.importers.spec_of(checkpoint))
    assert np.abs(ours(numbers()) - wanted).max() <= WHOLE


def test_weights_alone(tmp_path):
    model = randomised(keras.Sequential([
        layers.Embedding(9, 4, input_length=6), layers.Bidirectional(layers.GRU(5, return_sequences=True)),
        layers.BatchNormalization(), layers.GRU(3), layers.Dense(2),
    ]))  # fmt: skip
    model.save_weights(tmp_path / "weights.h5")
    names = [layer.name for layer in model.layers]
    ours = fastgru.load(tmp_path / "weights.h5", layers=[*names[:4], fastgru.Last(), names[4]])
    assert np.abs(ours(IDS) - outputs(model, IDS)[0]).max() <= WHOLE


def test_outputs_that_are_named_come_back_as_a_dict_in_kerass_order(check):
    inputs = {"z": keras.Input((6, 5), name="z"), "a": keras.Input((6, 5), name="a")}
    inner = keras.Model(inputs, {name: layers.GRU(3, return_sequences=True)(x) for name, x in inputs.items()})
    first, second = keras.Input((6, 5)), keras.Input((6, 5))
    made = inner({"z": first, "a": second})
    model = keras.Model([first, second], {"y": made["z"], "b": layers.GRU(2)(made["a"])})
    check(model, numbers(), numbers(4)[:, ::-1].copy())
    assert list(fastgru.from_keras(model)([numbers(), numbers()])) == ["y", "b"]
    given = [numbers(), numbers()[:, ::-1].copy()]  # a list goes by the order of the keys
    for got, wanted in zip(fastgru.from_keras(inner)(given).values(), outputs(inner, *given), strict=True):
        assert np.abs(got - wanted).max() <= WHOLE


FROZEN = {
    "forward": lambda both: both.forward_layer,
    "backward": lambda both: both.backward_layer,
    "cell": lambda both: both.forward_layer.cell,
}


@pytest.mark.parametrize("around", ["alone", "time_distributed", "model"])
@pytest.mark.parametrize("part", FROZEN)
def test_a_partly_frozen_bidirectional(check, part, around):
    both = layers.Bidirectional(layers.GRU(4, return_sequences=True))
    shape = (3, 5, 4) if around == "time_distributed" else (5, 4)
    chain = {
        "alone": lambda: [both],
        "time_distributed": lambda: [layers.TimeDistributed(both)],
        "model": lambda: [keras.Sequential([layers.Dense(4), both, layers.BatchNormalization()])],
    }[around]()
    model = keras.Sequential([keras.Input(shape), *chain])
    FROZEN[part](both).trainable = False
    check(model, np.random.default_rng(1).standard_normal((2, *shape)).astype(np.float32))


def test_cells_of_a_bidirectional_that_are_partly_frozen(check):
    both = layers.Bidirectional(layers.RNN([layers.GRUCell(4), layers.GRUCell(4)], return_sequences=True))
    model = keras.Sequential([keras.Input((6, 4)), both])
    both.forward_layer.cell.cells[0].trainable = False
    check(model, numbers(features=4))
