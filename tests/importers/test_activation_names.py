"""Promise: the frameworks' words for activations mean what the frameworks mean by them, and nothing else is taken."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru import Activation, CheckpointError, UnsupportedModelError
from fastgru.activations import KNOWN
from fastgru.importers.activation_names import keras_activation, keras_activation_layer, torch_activation


@pytest.mark.parametrize(
    ("value", "version", "wanted"),
    [
        (None, "3.15.1", "linear"),
        ("relu", "2.4.0", "relu"),
        ("swish", "3.0.0", "silu"),
        ("hard_sigmoid", "3.0.0", "hard_sigmoid"),
        ("hard_sigmoid", "2.13.1", "hard_sigmoid_keras2"),
        ("hard_sigmoid", "2.13.1-tf", "hard_sigmoid_keras2"),
        ("hard_sigmoid", "1.2.2", "hard_sigmoid_keras2"),
        ("hard_sigmoid", "", "hard_sigmoid_keras2"),
        ("sparsemax", "3.8.0", "sparsemax_keras315"),
        ("sparsemax", "3.15.1", "sparsemax_keras315"),
        ("sparsemax", "3.16.0", "sparsemax"),
        ("sparsemax", "4.0.0", "sparsemax"),
    ],
)
def test_a_name_of_keras_means_what_its_version_meant(value, version, wanted):
    assert keras_activation(value, version, "here") == wanted


def leaky(**more):
    return {"class_name": "LeakyReLU", "config": {"name": "x", "trainable": True, "dtype": "float32", **more}}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (leaky(negative_slope=0.1), Activation("leaky_relu", negative_slope=0.1)),
        (leaky(), Activation("leaky_relu", negative_slope=0.3)),  # the layer's default is not the function's
        (leaky(negative_slope=0.2), Activation("leaky_relu")),
        (leaky(alpha=0.25), Activation("leaky_relu", negative_slope=0.25)),
        (leaky(alpha={"type": "ndarray", "value": 0.25}), Activation("leaky_relu", negative_slope=0.25)),
        ({**leaky(), "module": "keras.layers", "registered_name": None}, Activation("leaky_relu", negative_slope=0.3)),
        ({"class_name": "ELU", "config": {}}, Activation("elu")),
        ({"class_name": "ReLU", "config": {"max_value": 6.0}}, Activation("relu", max_value=6.0)),
        ({"class_name": "Softmax", "config": {"axis": [-1]}}, Activation("softmax")),
        ({"class_name": "Softmax", "config": {"axis": [1, 2]}}, Activation("softmax", axis=(1, 2))),
        (
            {"class_name": "ThresholdedReLU", "config": {"theta": 0.5}},
            Activation("threshold", threshold=0.5, default_value=0.0),
        ),
    ],
)
def test_a_layer_of_keras_as_an_activation(value, wanted):
    assert keras_activation(value, "3.15.1", "here") == wanted
    assert keras_activation_layer(value["class_name"], value["config"], "here") == wanted


@pytest.mark.parametrize(
    "value",
    [
        "swoosh",
        "ReLU",
        "relu" * 100_000,
        {"class_name": "function", "config": "relu"},
        {"module": "builtins", "class_name": "function", "config": "double", "registered_name": "function"},
        {"class_name": "Lambda", "config": {"function": "x"}},
        {"class_name": ["LeakyReLU"], "config": {}},
        {**leaky(), "module": "kerasx.layers"},
        {**leaky(), "module": "mine", "registered_name": "mine>LeakyReLU"},
        {**leaky(), "module": "keras.layers", "registered_name": "mine>LeakyReLU"},
        {**leaky(), "module": 3},
        {"class_name": "LeakyReLU"},
        7,
        ["relu"],
        True,
    ],
    ids=lambda value: str(value)[:40],
)
def test_nothing_else_is_an_activation_of_keras(value):
    with pytest.raises(UnsupportedModelError, match=r"^here: the activation") as caught:
        keras_activation(value, "3.15.1", "here")
    assert len(str(caught.value)) < 1000


def test_a_layer_that_is_no_activation_is_left_to_others():
    assert keras_activation_layer("Dense", {}, "here") is None
    assert keras_activation_layer(["Dense"], {}, "here") is None
    assert torch_activation("Linear", {}, "here") is None


@pytest.mark.parametrize(
    ("class_name", "attributes", "wanted"),
    [
        ("ReLU", {"inplace": False, "training": True}, Activation("relu")),
        ("ReLU6", {"min_val": 0.0, "max_val": 6.0}, Activation("relu6")),
        ("LeakyReLU", {}, Activation("leaky_relu", negative_slope=0.01)),
        ("LeakyReLU", {"negative_slope": 0.2}, Activation("leaky_relu")),
        ("RReLU", {"lower": 0.25, "upper": 0.75}, Activation("leaky_relu", negative_slope=0.5)),
        ("Hardtanh", {"min_val": -2.0, "max_val": 1.0}, Activation("hard_tanh", min_value=-2.0)),
        ("GELU", {}, Activation("gelu")),
        ("GELU", {"approximate": "tanh"}, Activation("gelu", approximate=True)),
        ("Softplus", {"beta": 2}, Activation("softplus", beta=2, threshold=20.0)),
        ("Threshold", {"threshold": 0.1, "value": 20}, Activation("threshold", threshold=0.1, default_value=20)),
        ("Softmax", {"dim": -1}, Activation("softmax")),
        ("LogSoftmax", {"dim": 1}, Activation("log_softmax", axis=1)),
        ("GLU", {}, Activation("glu")),
        ("Identity", {"args": ()}, Activation("linear")),
    ],
)
def test_a_module_of_pytorch(class_name, attributes, wanted):
    got = torch_activation(class_name, attributes, "here")
    assert got == wanted and got.name in KNOWN


@pytest.mark.parametrize(
    ("class_name", "attributes", "error", "message"),
    [
        ("Softmax", {"dim": None}, UnsupportedModelError, "here: Softmax without a dim.*dim=-1"),
        ("Softmin", {}, UnsupportedModelError, "here: Softmin without a dim"),
        ("GELU", {"approximate": "fast"}, UnsupportedModelError, "here: GELU: approximate is 'fast'"),
        ("GELU", {"approximate": np.zeros(2)}, UnsupportedModelError, "here: GELU: approximate is "),
        ("RReLU", {"lower": "0"}, CheckpointError, "here: RReLU: lower and upper are"),
    ],
)
def test_a_module_that_cannot_be_told_is_refused(class_name, attributes, error, message):
    with pytest.raises(error, match=message):
        torch_activation(class_name, attributes, "here")


def test_wild_options_are_kept_for_the_check_of_the_model():
    for value in (np.zeros(3), "0.1", [1, 2], {"a": 1}):
        got = torch_activation("LeakyReLU", {"negative_slope": value}, "here")
        assert dict(got.options)["negative_slope"] is value
