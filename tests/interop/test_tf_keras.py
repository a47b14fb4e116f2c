"""HDF5 files that the real Keras 2 wrote, by tf_keras, come out with the weights that it has, layer by layer."""

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

from fastgru.checkpoint import read

pytestmark = pytest.mark.filterwarnings("ignore:.*HDF5 file via.*:UserWarning", "ignore::DeprecationWarning")
layers = keras.layers


@pytest.fixture(autouse=True)
def seeded():
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)


def tagger():
    return keras.Sequential([
        layers.Embedding(9, 4, mask_zero=True, input_shape=(None,)),
        layers.Bidirectional(layers.GRU(5, return_sequences=True)), layers.TimeDistributed(layers.Dense(4)),
        layers.GRU(3, reset_after=False, bias_initializer="random_normal"), layers.Dropout(0.5),
        layers.BatchNormalization(), layers.Dense(2, activation="softmax"),
    ])  # fmt: skip


def stack(reset_after: bool):
    def make():
        x = keras.Input((5, 4))
        y, state = layers.GRU(3, return_state=True, reset_after=reset_after, name="scope/gru")(x)
        return keras.Model(x, [layers.Dense(1)(y), layers.Concatenate()([y, state])])

    return make


def nested():
    """A functional model around a Sequential with a frozen layer, itself around another."""
    deep = keras.Sequential([layers.GRU(2, return_sequences=True, input_shape=(5, 4))], name="deep")
    inner = keras.Sequential(
        [layers.GRU(3, return_sequences=True, trainable=False, input_shape=(5, 4)), layers.BatchNormalization(),
         layers.Dense(4), deep],
        name="inner",
    )  # fmt: skip
    x = keras.Input((5, 4))
    y = layers.RNN([layers.GRUCell(2), layers.GRUCell(3, reset_after=False)], name="cells")(inner(x))
    return keras.Model(x, layers.Dense(1)(y))


def cudnn():
    from tf_keras.src.layers.rnn.cudnn_gru import CuDNNGRU

    return keras.Sequential([CuDNNGRU(3, bias_initializer="random_normal", input_shape=(4, 2))])


MODELS = {
    "tagger": tagger,
    "reset after": stack(True),
    "reset before": stack(False),
    "nested": nested,
    "CuDNNGRU": cudnn,
}


def same(got, wanted) -> bool:
    got, wanted = list(got), [np.asarray(array) for array in wanted]
    return len(got) == len(wanted) and all(
        np.array_equal(a, b) and a.shape == b.shape for a, b in zip(got, wanted, strict=True)
    )


def in_file_order(layer):
    return [weight.numpy() for weight in layer.trainable_weights + layer.non_trainable_weights]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("whole", [True, False], ids=["model", "weights"])
def test_every_layer_is_listed(tmp_path, name, whole):
    model = MODELS[name]()
    (model.save if whole else model.save_weights)(tmp_path / "m.h5")
    checkpoint = read(tmp_path / "m.h5")
    assert checkpoint.format == "keras-h5" and (checkpoint.config is not None) == whole
    assert checkpoint.metadata["keras_version"] == keras.__version__
    assert checkpoint.metadata["backend"] == "tensorflow" and checkpoint.metadata["skipped"] == []
    listed = checkpoint.metadata["weight_names"]
    assert list(listed) == [layer.name for layer in model.layers]
    for layer in model.layers:
        assert same((checkpoint[name] for name in listed[layer.name]), in_file_order(layer))


def test_a_gru_has_its_three_arrays_in_the_order_of_get_weights(tmp_path):
    for name, shape in {"reset after": (2, 9), "reset before": (9,)}.items():
        model = MODELS[name]()
        model.save(tmp_path / "m.h5")
        checkpoint = read(tmp_path / "m.h5")
        names = checkpoint.metadata["weight_names"]["scope/gru"]
        assert [path.rpartition("/")[2] for path in names] == ["kernel:0", "recurrent_kernel:0", "bias:0"]
        assert checkpoint[names[2]].shape == shape
        assert same((checkpoint[path] for path in names), model.get_layer("scope/gru").get_weights())


def test_a_bidirectional_lists_forward_and_then_backward(tmp_path):
    model = tagger()
    model.save(tmp_path / "m.h5")
    checkpoint = read(tmp_path / "m.h5")
    both = model.layers[1]
    names = checkpoint.metadata["weight_names"][both.name]
    wanted = both.forward_layer.get_weights() + both.backward_layer.get_weights()
    assert (
        same((checkpoint[name] for name in names), wanted)
        and ["forward" in name for name in names] == [True] * 3 + [False] * 3
    )


def test_cudnn_biases_are_one_row(tmp_path):
    model = cudnn()
    model.save_weights(tmp_path / "m.h5")
    assert [array.shape for array in read(tmp_path / "m.h5").values()] == [(2, 9), (3, 9), (18,)]


def test_a_trained_model_leaves_its_optimizer_behind(tmp_path):
    model = tagger()
    model.compile("adam", "mse")
    model.fit(np.ones((4, 6)), np.zeros((4, 2)), verbose=0)
    model.save(tmp_path / "m.h5")
    assert read(tmp_path / "m.h5").metadata["skipped"] == ["optimizer_weights"]
    model.save_weights(tmp_path / "m.weights.h5")
    checkpoint = read(tmp_path / "m.weights.h5")
    assert checkpoint.format == "keras-weights" and checkpoint.metadata == {"names": {}, "skipped": ["optimizer"]}
    assert same((checkpoint[f"layers/gru/cell/vars/{place}"] for place in range(3)), model.layers[3].get_weights())


def test_a_subclassed_model_keeps_variables_of_its_own(tmp_path):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = layers.GRU(3)
            self.offset = self.add_weight(name="offset", shape=(2,), initializer="ones")

        def call(self, x):
            return self.encoder(x)[:, :2] + self.offset

    model = Subclassed()
    model(np.ones((1, 4, 3), "f4"))
    model.save_weights(tmp_path / "m.h5")
    checkpoint = read(tmp_path / "m.h5")
    assert same((checkpoint["top_level_model_weights/offset:0"],), [np.ones(2, "f4")])
    assert same(list(checkpoint.values())[:3], model.encoder.get_weights())
    model.save_weights(tmp_path / "m.weights.h5")
    checkpoint = read(tmp_path / "m.weights.h5")
    assert same((checkpoint[f"layers/gru/cell/vars/{place}"] for place in range(3)), model.encoder.get_weights())
    assert same((checkpoint["vars/0"],), [np.ones(2, "f4")])
