"""RTNeural and RNNoise models compute what their layers mean; real ones, where they lie beside the repository, too."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from beside import beside

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoint"))
from archive_writers import rnnoise_bytes, rtneural_bytes

import fastgru
from fastgru.errors import CheckpointError, UnsupportedModelError


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def keras_gru(x, kernel, recurrent, bias, activation=np.tanh):
    """One direction in float64 with Keras's arrays: gates z, r, h; reset before where there is one row of biases."""
    units = len(recurrent)
    both = np.zeros((2, 3 * units))
    both[: bias.ndim] = bias
    h, out = np.zeros((len(x), units)), []
    for step in range(x.shape[1]):
        given = x[:, step] @ kernel + both[0]
        if bias.ndim == 2:
            held = h @ recurrent + both[1]
            z, r = (sigmoid(given[:, at] + held[:, at]) for at in (slice(units), slice(units, 2 * units)))
            n = activation(given[:, 2 * units :] + r * held[:, 2 * units :])
        else:
            gates = given[:, : 2 * units] + h @ recurrent[:, : 2 * units]
            z, r = sigmoid(gates[:, :units]), sigmoid(gates[:, units:])
            n = activation(given[:, 2 * units :] + (r * h) @ recurrent[:, 2 * units :])
        h = z * h + (1 - z) * n
        out.append(h)
    return np.stack(out, 1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def test_a_chain_of_every_rtneural_layer(path, rng):
    def numbers(*shape):
        return rng.standard_normal(shape) * 0.5

    conv, conv_bias, kernel, recurrent, bias = (
        numbers(3, 2, 5),
        numbers(5),
        numbers(5, 12),
        numbers(4, 12),
        numbers(2, 12),
    )
    gamma, beta, mean, variance = numbers(4), numbers(4), numbers(4), rng.uniform(0.5, 2, 4)
    slopes, dense, dense_bias = numbers(1, 4), numbers(4, 3), numbers(3)
    path.write_bytes(
        rtneural_bytes(
            {"type": "conv1d", "activation": "relu", "kernel_size": [3], "dilation": [2], "shape": [None, None, 5],
             "weights": [conv, conv_bias]},
            {"type": "gru", "activation": "tanh", "shape": [None, None, 4], "weights": [kernel, recurrent, bias]},
            {"type": "batchnorm", "activation": "", "epsilon": 0.01, "weights": [gamma, beta, mean, variance]},
            {"type": "prelu", "weights": [slopes]},
            {"type": "time-distributed-dense", "activation": "elu", "shape": [None, None, 3],
             "weights": [dense, dense_bias]},
            {"type": "activation", "activation": "softmax"},
            in_shape=[None, None, 2],
        )
    )  # fmt: skip
    x = rng.standard_normal((2, 9, 2))
    padded = np.pad(x, ((0, 0), (4, 0), (0, 0)))
    y = sum(padded[:, 2 * tap : 2 * tap + 9] @ conv[tap] for tap in range(3)) + conv_bias
    y = keras_gru(np.maximum(y, 0), kernel, recurrent, bias)
    y = (y - mean) / np.sqrt(variance + 0.01) * gamma + beta
    y = np.where(y > 0, y, y * slopes) @ dense + dense_bias
    y = np.where(y > 0, y, np.expm1(y))
    wanted = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
    model = fastgru.load(path, precision="float64")
    assert isinstance(model, fastgru.Model)
    assert np.abs(model(x) - wanted).max() < 1e-12


def test_batch_normalisation_without_scale(path):
    path.write_bytes(rtneural_bytes({"type": "dense", "weights": [[[1.0, 2]], [0, 0]]},
                                    {"type": "batchnorm", "weights": [[1, 2], [4, 9]]}))  # fmt: skip
    got = fastgru.load(path)(np.ones((1, 1, 1), np.float32))
    np.testing.assert_allclose(got, [[[0, 0]]], atol=1e-6)


@pytest.mark.parametrize(("layer", "message"), [
    ({"type": "lstm", "weights": [[[1]], [[1]], [1]]}, r"layer 0 \(lstm\): not supported"),
    ({"type": "gru", "activation": "relu", "weights": [[[1] * 3], [[1] * 3], [[1] * 3] * 2]}, "tanh alone"),
    ({"type": "dense", "activation": "gelu", "weights": [[[1]], [1]]}, "'gelu' is not one of RTNeural's"),
])  # fmt: skip
def test_what_rtneural_has_and_fastgru_has_not(path, layer, message):
    path.write_bytes(rtneural_bytes(layer))
    with pytest.raises(UnsupportedModelError, match=message):
        fastgru.load(path)


def test_text_models_describe_their_own_layers(path):
    for content in (rtneural_bytes({"type": "dense", "weights": [[[1.0]], [0]]}), rnnoise_bytes()):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="leave layers= out"):
            fastgru.load(path, layers=["dense"])


def rnnoise(x, weights, activations):
    """The network in float64, from its arrays."""

    def gru(name, x):
        arrays = (weights[f"{name}/{array}"].astype("f8") for array in ("kernel", "recurrent_kernel", "bias"))
        return keras_gru(x, *arrays, activations[name])

    def dense(name, x):
        return activations[name](x @ weights[f"{name}/kernel"].astype("f8") + weights[f"{name}/bias"])

    first = dense("input_dense", x)
    vad = gru("vad_gru", first)
    noise = gru("noise_gru", np.concatenate([first, vad, x], -1))
    denoise = gru("denoise_gru", np.concatenate([vad, noise, x], -1))
    return dense("denoise_output", denoise), dense("vad_output", vad)


def relu(x):
    return np.maximum(x, 0)


FUNCTIONS = {"input_dense": np.tanh, "vad_gru": np.tanh, "noise_gru": relu, "denoise_gru": np.tanh,
             "denoise_output": sigmoid, "vad_output": sigmoid}  # fmt: skip


def test_a_made_up_rnnoise_model(path, rng):
    path.write_bytes(rnnoise_bytes())
    x = rng.standard_normal((2, 12, 5))
    model = fastgru.load(path, precision="float64")
    for got, wanted in zip(model(x), rnnoise(x, fastgru.read(path), FUNCTIONS), strict=True):
        assert np.abs(got - wanted).max() < 1e-12


def test_the_real_rnnoise_model(rng):
    """Its numbers are those of the Keras model, rounded down to eighths of a percent: the outputs are near to them."""
    path, expected = beside("models/rnnoise/bd.rnnn"), np.load(beside("models/rnnoise/expected.npz"))
    weights = fastgru.read(path)
    gains, speech = fastgru.load(path)(expected["x"])
    for got, wanted in zip((gains, speech), rnnoise(expected["x"].astype("f8"), weights, FUNCTIONS), strict=True):
        assert np.abs(got - wanted).max() <= 2e-5
    assert np.abs(gains - expected["denoise"]).max() < 0.05 and np.abs(speech - expected["vad"]).max() < 0.05


@pytest.mark.parametrize("name", ["gru", "gru_1d"])
def test_the_real_rtneural_models(name):
    model = fastgru.load(beside(f"models/rtneural/{name}.json"))
    x, wanted = (np.loadtxt(beside(f"models/rtneural/{name}_{kind}_python.csv")) for kind in "xy")
    got = model(x[None, :, None].astype(np.float32))
    assert np.abs(got[0, :, 0] - wanted).max() <= 1e-6
    stream = model.stream()
    steps = np.array([stream.step(np.array([each], np.float32))[0] for each in x])
    assert np.abs(steps - wanted).max() <= 1e-6
