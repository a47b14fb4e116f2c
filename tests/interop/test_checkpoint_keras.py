"""Files that the real Keras 3 wrote come out with the weights that Keras itself has."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")

from fastgru.checkpoint import read  # noqa: E402 - only where Keras is installed

# Keras 3.15 turns torch tensors into arrays in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((None,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True),
        layers.Bidirectional(layers.GRU(5, return_sequences=True, dropout=0.2)), layers.GRU(3, reset_after=False),
        layers.Dropout(0.5), layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    return model


def by_size(arrays) -> list[bytes]:
    return sorted(np.asarray(array, "f4").tobytes() for array in arrays)


def floats(model):
    return [np.asarray(weight) for weight in model.get_weights() if np.asarray(weight).dtype.kind == "f"]


def test_a_sequential_model_gives_all_its_weights(tmp_path, model):
    model.save(tmp_path / "m.keras")
    checkpoint = read(tmp_path / "m.keras")
    assert checkpoint.format == "keras" and checkpoint.config["class_name"] == "Sequential"
    assert checkpoint.metadata["keras_version"] == keras.__version__
    assert by_size(checkpoint.values()) == by_size(floats(model))
    kernel = checkpoint["layers/gru/cell/vars/0"]
    np.testing.assert_array_equal(kernel, model.layers[2].get_weights()[0])
    assert checkpoint["layers/bidirectional/forward_layer/cell/vars/2"].shape == (2, 15)
    assert all(array.flags.c_contiguous for array in checkpoint.values())


def test_a_trained_model_leaves_its_optimizer_behind(tmp_path, model):
    model.compile("adam", "mse")
    model.fit(np.ones((4, 6), "int32"), np.zeros((4, 2), "f4"), verbose=0)
    model.save(tmp_path / "m.keras")
    checkpoint = read(tmp_path / "m.keras")
    assert "optimizer" in checkpoint.metadata["skipped"]
    assert by_size(checkpoint.values()) == by_size(floats(model))


def test_a_file_that_was_packed_again_with_compression(tmp_path, model):
    model.save(tmp_path / "m.keras")
    packed = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(tmp_path / "m.keras") as old, zipfile.ZipFile(tmp_path / "n", "w", packed) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert by_size(read(tmp_path / "n").values()) == by_size(floats(model))


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"])
def test_every_float_policy(tmp_path, policy):
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, dtype=policy)])
    dense.save(tmp_path / "m.keras")
    checkpoint = read(tmp_path / "m.keras")
    wanted = keras.ops.convert_to_numpy(keras.ops.cast(dense.layers[0].kernel.value, "float64"))
    got = checkpoint["layers/dense/vars/0"]
    assert got.dtype == (np.float64 if policy == "float64" else np.float32)
    np.testing.assert_array_equal(got, wanted)
