"""HDF5 files that the real Keras 3 wrote come out with the weights that Keras itself has, layer by layer."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")

from fastgru.checkpoint import read  # noqa: E402 - only where Keras is installed

# Keras 3.15 turns torch tensors into arrays in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")


def tagger():
    layers = keras.layers
    return keras.Sequential([
        keras.Input((None,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True),
        layers.Bidirectional(layers.GRU(5, return_sequences=True, dropout=0.2)),
        layers.TimeDistributed(layers.Dense(4)), layers.GRU(3, reset_after=False, name="last"), layers.Dropout(0.5),
        layers.BatchNormalization(), layers.Dense(2, activation="softmax"),
    ])  # fmt: skip


def nested():
    """A functional model around a Sequential with a frozen layer, itself around another."""
    layers = keras.layers
    deep = keras.Sequential([keras.Input((5, 4)), layers.GRU(2, return_sequences=True)], name="deep")
    inner = keras.Sequential(
        [keras.Input((5, 4)), layers.GRU(3, return_sequences=True, trainable=False), layers.BatchNormalization(),
         layers.Dense(4), deep],
        name="inner",
    )  # fmt: skip
    x = keras.Input((5, 4))
    y = layers.RNN([layers.GRUCell(2), layers.GRUCell(3, reset_after=False)], name="cells")(inner(x))
    return keras.Model(x, [layers.Dense(1)(y), y])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = keras.layers.GRU(3)
        self.heads = [keras.layers.Dense(2), keras.layers.Dense(2)]
        self.offset = self.add_weight(shape=(2,), name="offset", initializer="ones")

    def call(self, x):
        x = self.encoder(x)
        return self.heads[0](x) + self.heads[1](x) + self.offset


def arrays(weights) -> list[np.ndarray]:
    """The floating-point weights, in their order."""
    found = [np.asarray(keras.ops.convert_to_numpy(weight.value)) for weight in weights]
    return [array for array in found if array.dtype.kind == "f"]


def same(got, wanted) -> bool:
    got, wanted = list(got), list(wanted)
    return len(got) == len(wanted) and all(
        np.array_equal(a, b) and a.shape == b.shape for a, b in zip(got, wanted, strict=True)
    )


def in_file_order(layer) -> list[np.ndarray]:
    return arrays(layer.trainable_weights) + arrays(layer.non_trainable_weights)


@pytest.mark.parametrize("make", [tagger, nested])
def test_a_whole_model_lists_every_layer(tmp_path, make):
    model = make()
    model.save(tmp_path / "m.h5")
    checkpoint = read(tmp_path / "m.h5")
    assert checkpoint.format == "keras-h5" and checkpoint.config["class_name"] == type(model).__name__
    assert checkpoint.metadata["keras_version"] == keras.__version__ and checkpoint.metadata["backend"] == "torch"
    listed = checkpoint.metadata["weight_names"]
    assert list(listed) == [layer.name for layer in model.layers]
    for layer in model.layers:
        assert same((checkpoint[name] for name in listed[layer.name]), in_file_order(layer))
    assert checkpoint.metadata["skipped"] == [] and len(checkpoint) == sum(map(len, listed.values()))


def test_a_trained_model_leaves_its_optimizer_behind(tmp_path):
    model = tagger()
    model.compile("adam", "mse")
    model.fit(np.ones((4, 6), "int32"), np.zeros((4, 2), "f4"), verbose=0)
    model.save(tmp_path / "m.h5")
    model.save_weights(tmp_path / "m.weights.h5")
    assert read(tmp_path / "m.h5").metadata["skipped"] == ["optimizer_weights"]
    assert "optimizer" in read(tmp_path / "m.weights.h5").metadata["skipped"]


def by_name(checkpoint, layer_name: str) -> list[np.ndarray]:
    """The arrays below the objects of that name, in the order of their paths."""
    (path,) = (path for path, name in checkpoint.metadata["names"].items() if name == layer_name)
    return [array for name, array in sorted(checkpoint.items()) if name.startswith(path + "/")]


@pytest.mark.parametrize("size", [None, 3e-7], ids=["one file", "shards"])
def test_weights_by_the_names_of_layers(tmp_path, size):
    model = tagger()
    path = tmp_path / ("m.weights.json" if size else "m.weights.h5")
    model.save_weights(path, max_shard_size=size)
    assert size is None or len(list(tmp_path.iterdir())) > 4
    checkpoint = read(path)
    assert checkpoint.format == "keras-weights" and checkpoint.config is None
    assert len(checkpoint) == len(arrays(model.weights))
    assert same(by_name(checkpoint, "last"), arrays(model.get_layer("last").weights))
    assert list(checkpoint.metadata["names"]).count("layers/bidirectional") == 1
    cell = checkpoint["layers/bidirectional/forward_layer/cell/vars/1"]
    assert np.array_equal(cell, arrays(model.layers[1].forward_layer.weights)[1])
    for layer in model.layers:
        if "bidirectional" not in layer.name:  # which the alphabet puts backwards first
            assert not layer.weights or same(by_name(checkpoint, layer.name), arrays(layer.weights))


def test_weights_of_a_nested_model(tmp_path):
    model = nested()
    model.save_weights(tmp_path / "m.weights.h5")
    checkpoint = read(tmp_path / "m.weights.h5")
    inner = model.get_layer("inner")
    for path, layer in {
        "layers/sequential/layers/gru/cell": inner.layers[0],
        "layers/sequential/layers/batch_normalization": inner.layers[1],
        "layers/sequential/layers/sequential/layers/gru/cell": inner.layers[3].layers[0],
        "layers/rnn/cell/cells/gru_cell": model.get_layer("cells").cell.cells[0],
        "layers/rnn/cell/cells/gru_cell_1": model.get_layer("cells").cell.cells[1],
        "layers/dense": model.layers[-1],
    }.items():
        count = len(arrays(layer.weights))
        assert same((checkpoint[f"{path}/vars/{place}"] for place in range(count)), arrays(layer.weights)), path
    assert len(checkpoint) == len(arrays(model.weights)) and checkpoint.metadata["names"][""] == model.name


def test_weights_of_a_subclassed_model(tmp_path):
    model = Subclassed()
    model(np.ones((1, 4, 3), "f4"))
    model.save_weights(tmp_path / "m.weights.h5")
    checkpoint = read(tmp_path / "m.weights.h5")
    assert same((checkpoint[f"encoder/cell/vars/{place}"] for place in range(3)), arrays(model.encoder.weights))
    assert same((checkpoint[f"heads/dense_1/vars/{place}"] for place in range(2)), arrays(model.heads[1].weights))
    assert np.array_equal(checkpoint["vars/0"], np.ones(2)) and len(checkpoint) == 8


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"])
def test_every_float_policy(tmp_path, policy):
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, dtype=policy)])
    dense.save(tmp_path / "m.h5")
    dense.save_weights(tmp_path / "m.weights.h5")
    wanted = keras.ops.convert_to_numpy(keras.ops.cast(dense.layers[0].kernel.value, "float64"))
    for path in (tmp_path / "m.h5", tmp_path / "m.weights.h5"):
        got = next(iter(read(path).values()))
        assert got.dtype == (np.float64 if policy == "float64" else np.float32) and np.array_equal(got, wanted)


def test_lists_that_keras_splits_and_names_that_are_not_ascii(tmp_path):
    names = [f"Schicht {number} ".ljust(250, "ä") for number in range(150)]
    model = keras.Sequential([keras.Input((3,)), *(keras.layers.Activation("relu", name=name) for name in names)])
    model.add(keras.layers.Dense(2, name="层"))
    model.save(tmp_path / "m.h5")
    checkpoint = read(tmp_path / "m.h5")
    assert list(checkpoint.metadata["weight_names"]) == [*names, "层"]
    assert same(checkpoint.values(), arrays(model.weights))
