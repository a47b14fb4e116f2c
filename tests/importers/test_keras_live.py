"""Live Keras objects, by stand-ins that have what Keras's have: nothing else of them is asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from keras_configs import array, keras_states

import fastgru
from fastgru.errors import DTypeError, UnsupportedModelError

GRU_CONFIG = {"name": "gru", "units": 3, "reset_after": True, "return_sequences": False, "activation": "tanh",
              "recurrent_activation": "sigmoid"}  # fmt: skip
X = array(5, 4)


class Variable:
    def __init__(self, values):
        self.values = values

    def numpy(self):
        return self.values


class Layer:
    def __init__(self, name, config, *trained, still=()):
        self.name, self.config = name, config
        self.trainable_weights = [Variable(each) for each in trained]
        self.non_trainable_weights = [Variable(each) for each in still]

    def get_config(self):
        return self.config

    def get_weights(self):
        raise AssertionError("variables are asked for one by one")


def of_keras(kind, module="keras.src.layers.rnn.gru"):
    return type(kind, (Layer,), {"__module__": module})


class Sequential:
    built = True

    def __init__(self, *layers, version=None):
        self.layers = list(layers)
        self.version = version

    def get_config(self):
        raise AssertionError("a model is asked for its JSON")

    def get_weights(self):
        raise AssertionError

    def to_json(self):
        layers = [{"class_name": type(each).__name__, "config": each.config} for each in self.layers]
        config = {"class_name": "Sequential", "config": {"name": "model", "layers": layers}}
        return json.dumps(config | ({"keras_version": self.version} if self.version else {}))


def a_gru(module="keras.src.layers.rnn.gru", **config):
    weights = [array(4, 9), array(3, 9), array(2, 9)]
    return of_keras("GRU", module)("gru", {**GRU_CONFIG, **config}, *weights), weights


def test_a_model_is_asked_for_its_configuration_and_its_variables():
    gru, weights = a_gru()
    norm = of_keras("BatchNormalization")(
        "norm", {"name": "norm"}, np.ones(3), np.zeros(3), still=[np.zeros(3), np.ones(3)]
    )
    model = fastgru.from_keras(Sequential(gru, norm))
    wanted = keras_states(X, *weights)[-1] / np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(model(X), wanted, atol=1e-6)


def test_what_is_trained_on_afterwards_does_not_change_the_model():
    gru, weights = a_gru()
    ours = fastgru.from_keras(gru)
    before = ours(X)[0]
    weights[0][:] = 0
    np.testing.assert_array_equal(ours(X)[0], before)


@pytest.mark.parametrize("module", ["keras.src.layers.rnn.gru", "tf_keras.src.layers", "tensorflow.python.keras"])
def test_a_gru_by_itself_is_a_gru(module):
    gru, weights = a_gru(module)
    ours = fastgru.from_keras(gru, precision="float64")
    assert isinstance(ours, fastgru.GRU)
    y, h = ours(X)
    np.testing.assert_allclose(y, keras_states(X, *weights), atol=1e-6)
    np.testing.assert_array_equal(h[0], y[-1])


def test_a_gru_that_does_more_is_a_model():
    gru, weights = a_gru(go_backwards=True)
    ours = fastgru.from_keras(gru)
    assert isinstance(ours, fastgru.Model)
    np.testing.assert_allclose(ours(X), keras_states(X[::-1], *weights)[-1], atol=1e-6)


def test_hard_sigmoid_is_that_of_the_live_keras():
    gru, _ = a_gru(recurrent_activation="hard_sigmoid")
    old, _ = a_gru("tf_keras.src.layers.rnn.gru", recurrent_activation="hard_sigmoid")
    assert fastgru.from_keras(gru).spec.recurrent_activation == "hard_sigmoid"
    assert fastgru.from_keras(old).spec.recurrent_activation == "hard_sigmoid_keras2"
    chain = Sequential(old, version="2.15.0")
    assert fastgru.from_keras(chain).spec.nodes[0].layer.gru.recurrent_activation == "hard_sigmoid_keras2"


def test_halves_are_widened():
    gru, _ = a_gru()
    for variable in gru.trainable_weights:
        variable.values = variable.values.astype(np.float16)
    assert fastgru.from_keras(gru).spec.layers[0][0].w_ih.dtype == np.float32


class Mine(Sequential):
    def to_json(self):
        raise NotImplementedError("no config")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, DTypeError, r"got int, wanted a Keras model or layer; to read a file"),
        ("model.keras", DTypeError, "got str"),
        (Sequential, DTypeError, "got type"),
        (of_keras("Dense")("dense", {}), DTypeError, "got Dense, wanted a Keras model, or a layer that is one of"),
        (of_keras("GRU", "mine")("gru", GRU_CONFIG, array(4, 9)), DTypeError, "got GRU, wanted a Keras model"),
        (of_keras("GRU")("gru", GRU_CONFIG), DTypeError, "the GRU has no weights yet; build it, or call it once"),
        (Mine(), UnsupportedModelError, r"Mine: the model cannot describe itself \(no config\)"),
        (Sequential(of_keras("LSTM")("lstm", {"name": "lstm"}, array(3))), UnsupportedModelError, "LSTM layers are"),
    ],
)
def test_what_cannot_be_taken_over_is_an_error(given, error, message):
    with pytest.raises(error, match=message):
        fastgru.from_keras(given)


def test_a_model_that_was_never_called_has_no_weights():
    model = Sequential(of_keras("GRU")("gru", GRU_CONFIG))
    model.built = False
    with pytest.raises(DTypeError, match="the Sequential has no weights yet"):
        fastgru.from_keras(model)


def test_an_error_begins_with_the_class_of_the_model():
    lstm = of_keras("LSTM")("lstm", {"name": "lstm"}, array(3))
    with pytest.raises(UnsupportedModelError, match=r"^Sequential: layer 'lstm' \(LSTM"):
        fastgru.from_keras(Sequential(lstm))


def test_a_model_with_an_unsupported_layer_is_told_how_to_take_one_that_is():
    lstm = of_keras("LSTM")("lstm", {"name": "lstm"}, array(3))
    gru = of_keras("GRU")("mine", GRU_CONFIG | {"name": "mine"}, array(4, 9), array(3, 9), array(2, 9))
    advice = r"one layer of it is fastgru.from_keras\(model.get_layer\('mine'\)\)"
    with pytest.raises(UnsupportedModelError, match=advice):
        fastgru.from_keras(Sequential(lstm, gru))


def test_a_model_of_a_class_of_its_own_is_told_what_to_do():
    class Ours(Sequential):
        def to_json(self):
            return json.dumps({"class_name": "Ours", "module": "mine", "registered_name": "Ours", "config": {}})

    with pytest.raises(UnsupportedModelError, match=r"^Ours: it is a class of its own, .*model.save_weights"):
        fastgru.from_keras(Ours())


def test_a_model_of_a_class_of_its_own_is_told_the_name_of_a_layer_that_loads_by_itself():
    class Ours(Sequential):
        def to_json(self):
            return json.dumps({"class_name": "Ours", "module": "mine", "registered_name": "Ours", "config": {}})

    gru = of_keras("GRU")("mine", GRU_CONFIG | {"name": "mine"}, array(4, 9), array(3, 9), array(2, 9))
    with pytest.raises(UnsupportedModelError, match=r"fastgru.from_keras\(model.get_layer\('mine'\)\), or save its"):
        fastgru.from_keras(Ours(gru))


def test_directions_of_a_live_bidirectional_are_told_by_their_names():
    config = {"name": "both", "layer": {"class_name": "GRU", "config": GRU_CONFIG}, "merge_mode": "concat"}
    arrays = [array(4, 9), array(3, 9), array(2, 9), array(4, 9, seed=1), array(3, 9, seed=1), array(2, 9, seed=1)]
    both = of_keras("Bidirectional")("both", config, *arrays[3:], still=arrays[:3])  # forward_layer.trainable = False
    for variables, way in ((both.trainable_weights, "backward"), (both.non_trainable_weights, "forward")):
        for variable, slot in zip(variables, ("kernel", "recurrent_kernel", "bias"), strict=True):
            variable.name = f"both/{way}_gru/gru_cell/{slot}:0"
    gru = fastgru.from_keras(Sequential(both, version="2.15.0")).spec.nodes[0].layer.gru
    wanted = [keras_states(steps, *weights)[-1] for steps, weights in ((X, arrays[:3]), (X[::-1], arrays[3:]))]
    got = fastgru.from_keras(Sequential(both, version="2.15.0"))(X)
    assert gru.directions == 2
    np.testing.assert_allclose(got, np.concatenate(wanted), atol=1e-6)
