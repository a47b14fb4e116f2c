"""The flat lists of Keras's HDF5 files: which array of a nested model is whose."""

from __future__ import annotations

import numpy as np
import pytest
from keras_configs import array, h5

from fastgru.errors import CheckpointError
from fastgru.importers import spec_of


def old(class_name, name, **config):
    return {"class_name": class_name, "config": {"name": name, **config}}


def inner(*layers, **config):
    return {"class_name": "Sequential", "config": {"name": "inner", "layers": list(layers), **config}}


def dense(name, units=4, **config):
    return old("Dense", name, units=units, use_bias=False, **config)


def norm(name, **config):
    return old("BatchNormalization", name, **config)


def spec_with(layer, count, version):
    """The model of one layer whose arrays are full of their place in its list."""
    shapes = [(4, 4) if place in MATRICES else (4,) for place in range(count)]
    arrays = [np.full(shape, place, np.float32) for place, shape in enumerate(shapes)]
    config = {"name": "model", "layers": [layer], "build_input_shape": [None, 6, 4]}
    return spec_of(h5(config, {layer["config"]["name"]: arrays}, version=version))


def places(spec):
    """Where in the list the arrays of each layer came from."""
    found = {}
    for node in spec.nodes:
        values = {
            name: int(each.flat[0]) for name, each in node.layer.fields().items() if isinstance(each, np.ndarray)
        }
        found[node.name.rpartition("/")[2]] = [values[name] for name in ORDER if name in values]
    return found


ORDER = ("weight", "gamma", "beta", "mean", "variance")
MATRICES: set[int] = set()


@pytest.fixture
def matrices():
    def be(*wanted):
        MATRICES.clear()
        MATRICES.update(wanted)

    yield be
    MATRICES.clear()


@pytest.mark.parametrize("version", ["2.2.4", "2.11.0", "3.15.1"])
def test_moving_statistics_come_behind_everything_that_is_trained(matrices, version):
    matrices(0, 3)
    layer = inner(dense("a"), norm("n"), dense("b"), norm("m", scale=False))
    assert places(spec_with(layer, 9, version)) == {"a": [0], "n": [1, 2, 5, 6], "b": [3], "m": [4, 7, 8]}


@pytest.mark.parametrize("version", ["2.2.4", "2.11.0", "3.15.1"])
def test_frozen_layers_come_behind_everything_that_is_trained(matrices, version):
    matrices(0, 3)
    layer = inner(dense("a"), norm("n", trainable=False), dense("b", trainable=False), norm("m"))
    wanted = {"a": [0], "m": [1, 2, 8, 9], "n": [3, 4, 5, 6], "b": [7]}
    matrices(0, 7)
    assert places(spec_with(layer, 10, version)) == wanted


@pytest.mark.parametrize("version", ["2.11.0", "3.15.1"])
def test_a_frozen_model_keeps_the_order_of_its_layers(matrices, version):
    matrices(4, 5)
    layer = inner(norm("n"), dense("a"), dense("b"), trainable=False)
    assert places(spec_with(layer, 6, version)) == {"n": [0, 1, 2, 3], "a": [4], "b": [5]}


def test_models_within_models_are_one_list(matrices):
    matrices(0, 3, 4)
    deep = {"class_name": "Sequential", "config": {"name": "deep", "layers": [norm("n"), dense("b")]}}
    layer = inner(dense("a"), deep, dense("c"))
    assert places(spec_with(layer, 7, "3.15.1")) == {"a": [0], "n": [1, 2, 5, 6], "b": [3], "c": [4]}


def test_a_list_of_another_length_is_an_error_that_says_what_was_wanted():
    config = {"name": "model", "layers": [dense("a", batch_input_shape=[None, 4]), old("Dense", "b", units=2)]}
    with pytest.raises(CheckpointError, match=r"'b' \(Dense, .*has 1 tensors of it, wanted 2: 'kernel', 'bias'"):
        spec_of(h5(config, {"a": [array(4, 4)], "b": [array(4, 2)]}))
    with pytest.raises(CheckpointError, match="has 0 tensors of it, wanted 1: 'kernel'"):
        spec_of(h5(config, {"b": [array(4, 2), array(2)]}))


def test_a_tensor_that_no_layer_lists_is_unused():
    config = {"name": "model", "layers": [dense("a", batch_input_shape=[None, 4])]}
    given = h5(config, {"a": [array(4, 4)], "top_level_model_weights": [array(3)]})
    with pytest.raises(CheckpointError, match="no layer uses the tensors 'top_level_model_weights/0'"):
        spec_of(given)


def test_renormalisation_keeps_what_only_training_needs(matrices):
    matrices()
    given = spec_with(norm("n", renorm=True), 7, "3.15.1")
    assert places(given) == {"n": [0, 1, 2, 3]}
