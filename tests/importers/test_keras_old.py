"""What Keras 1 and 2 meant by the same words, and wrote in other words, against Keras's own equations."""

from __future__ import annotations

import numpy as np
import pytest
from beside import beside
from keras_configs import array, functional, h5, keras_states, old_layer

import fastgru
from fastgru import Model, reference
from fastgru.errors import CheckpointError, UnsupportedModelError
from fastgru.importers import spec_of
from fastgru.layers import Add, Average, Concatenate, Conv1D, Dense, GRULayer, Maximum, Multiply

X = array(6, 4)


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def old(class_name, name, **config):
    return {"class_name": class_name, "config": {"name": name, **config}}


GRU_1 = {"output_dim": 3, "inner_activation": "hard_sigmoid", "activation": "tanh", "return_sequences": True,
         "consume_less": "cpu", "input_dim": 4, "batch_input_shape": [None, None, 4]}  # fmt: skip
GRU_2 = {"units": 3, "recurrent_activation": "hard_sigmoid", "activation": "tanh", "return_sequences": True,
         "implementation": 1, "batch_input_shape": [None, None, 4]}  # fmt: skip


def of_nine(kernel, recurrent, bias):
    """The arrays of Keras 1: W, U and b of each gate."""
    gates = [np.split(each, 3, axis=-1) for each in (kernel, recurrent, bias)]
    return [np.ascontiguousarray(each[gate]) for gate in range(3) for each in gates]


def agrees(checkpoint, wanted, x=X):
    np.testing.assert_allclose(Model(spec_of(checkpoint))(x), wanted, atol=1e-6)


def test_keras_1_has_nine_arrays():
    weights = array(4, 9), array(3, 9), array(9)
    given = h5([old("GRU", "gru_1", **GRU_1)], {"gru_1": of_nine(*weights)}, version="")
    wanted = keras_states(X, *weights, reset_after=False, act_r=hard_sigmoid)
    agrees(given, wanted)
    assert spec_of(given).nodes[0].layer.gru.recurrent_activation == "hard_sigmoid_keras2"


def test_keras_1_has_three_arrays_where_it_was_made_for_a_gpu():
    weights = [array(4, 9), array(3, 9), array(9)]
    given = h5([old("GRU", "gru_1", **GRU_1 | {"consume_less": "gpu"})], {"gru_1": weights}, version="1.2.2")
    agrees(given, keras_states(X, *weights, reset_after=False, act_r=hard_sigmoid))


@pytest.mark.parametrize("bias", [(9,), (2, 9), None])
def test_before_2_1_5_the_bias_says_when_the_reset_is_applied(bias):
    weights = [array(4, 9), array(3, 9), *([] if bias is None else [array(*bias)])]
    config = [old("GRU", "gru_1", **GRU_2, use_bias=bias is not None)]
    agrees(
        h5(config, {"gru_1": weights}, version="2.0.6"),
        keras_states(X, *weights, reset_after=bias == (2, 9), act_r=hard_sigmoid),
    )


@pytest.mark.parametrize("shape", [(9,), (2, 9)])
def test_from_2_1_5_on_the_config_says_it_and_the_bias_must_fit(shape):
    config = [old("GRU", "gru_1", **GRU_2, reset_after=len(shape) == 1)]
    with pytest.raises(CheckpointError, match="'gru_1/2' has the wrong shape"):
        spec_of(h5(config, {"gru_1": [array(4, 9), array(3, 9), array(*shape)]}))


def test_a_sequential_config_was_a_list():
    weights = [array(4, 9), array(3, 9), array(9)]
    inner = {"class_name": "Sequential", "config": [old("Dense", "dense_1", units=2, activation="linear")]}
    given = h5([old("GRU", "gru_1", **GRU_2), inner], {"gru_1": weights, "sequential_2": [array(3, 2), array(2)]})
    states = keras_states(X, *weights, reset_after=False, act_r=hard_sigmoid)
    agrees(given, states @ array(3, 2) + array(2))


def test_cudnn_matrices_are_turned_round():
    kernel, recurrent, bias = array(4, 9), array(3, 9), array(2, 9)
    raw = [
        np.hstack([gate.T.reshape(4, 3) for gate in np.split(kernel, 3, axis=1)]),
        np.hstack([gate.T for gate in np.split(recurrent, 3, axis=1)]),
        bias.reshape(-1),
    ]
    config = [old("CuDNNGRU", "gru_1", units=3, return_sequences=True, batch_input_shape=[None, None, 4])]
    agrees(h5(config, {"gru_1": raw}), keras_states(X, kernel, recurrent, bias))
    both = [old("Bidirectional", "both", layer=config[0], merge_mode="sum", batch_input_shape=[None, None, 4])]
    back = keras_states(X[::-1], kernel, recurrent, bias)[::-1]
    agrees(h5(both, {"both": raw + raw}), keras_states(X, kernel, recurrent, bias) + back)


def test_a_bidirectional_lists_forward_and_then_backward():
    ways = [[array(4, 9, seed=seed), array(3, 9, seed=seed), array(9, seed=seed)] for seed in (1, 2)]
    layer = old("GRU", "gru_1", **GRU_2)
    given = h5([old("Bidirectional", "both", layer=layer, merge_mode="concat")], {"both": ways[0] + ways[1]})
    options = {"reset_after": False, "act_r": hard_sigmoid}
    back = keras_states(X[::-1], *ways[1], **options)[::-1]
    agrees(given, np.concatenate([keras_states(X, *ways[0], **options), back], axis=-1))


@pytest.mark.parametrize(("version", "zeroed"), [("2.2.4", False), ("2.2.4-tf", True), ("2.11.0", True)])
def test_only_tf_keras_zeroes_the_masked_steps_of_a_bidirectional(version, zeroed):
    layer = old("GRU", "gru_1", **GRU_2, reset_after=False)
    ways = [array(4, 9), array(3, 9), array(9)]
    chain = [old("Masking", "masking", mask_value=0.0, batch_input_shape=[None, None, 4])]
    chain.append(old("Bidirectional", "both", layer=layer, merge_mode="mul"))
    given = h5(chain, {"masking": [], "both": ways + ways}, version=version)
    x = X.copy()
    x[[0, 3]] = 0
    y = Model(spec_of(given))(x)
    assert not y[0].any()  # masked from the front: nothing came before
    assert (y[3] == 0).all() == zeroed
    if not zeroed:
        real = [1, 2, 4, 5]
        options = {"reset_after": False, "act_r": hard_sigmoid}
        ahead, back = keras_states(x[real], *ways, **options), keras_states(x[real][::-1], *ways, **options)[::-1]
        np.testing.assert_allclose(y[3], ahead[1] * back[2], atol=1e-6)  # each repeats what it saw last


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("sum", Add), ("mul", Multiply), ("ave", Average), ("max", Maximum), ("concat", Concatenate)],
)
def test_merge_layers_of_keras_1(mode, kind):
    layers = [
        old_layer("InputLayer", "a", batch_input_shape=[None, 5, 4], input_dtype="float32"),
        old_layer("InputLayer", "b", batch_input_shape=[None, 5, 4]),
        old_layer("Merge", "merge_1", [["a", 0, 0], ["b", 0, 0]], mode=mode, mode_type="raw", concat_axis=-1),
    ]
    config = functional(layers, [["a", 0, 0], ["b", 0, 0]], [["merge_1", 0, 0]])
    spec = spec_of(h5(config, {"a": [], "b": [], "merge_1": []}, version="1.2.2", class_name="Model"))
    assert type(spec.nodes[0].layer) is kind


@pytest.mark.parametrize(
    ("config", "message"),
    [({"mode": "dot"}, "mode 'dot' is not supported"), ({"mode": ["lambda"]}, "mode .* is not supported"),
     ({"mode": "sum", "layers": [{}]}, "it holds layers of its own")],
)  # fmt: skip
def test_other_merges_are_refused(config, message):
    layers = [
        old_layer("InputLayer", "a", batch_input_shape=[None, 4]),
        old_layer("Merge", "merge_1", [["a", 0, 0], ["a", 0, 0]], **config),
    ]
    whole = functional(layers, [["a", 0, 0]], [["merge_1", 0, 0]])
    with pytest.raises(UnsupportedModelError, match=message):
        spec_of(h5(whole, {"a": [], "merge_1": []}, version="1.0.0", class_name="Model"))


def test_other_layers_of_keras_1_in_their_own_words():
    kernel, bias = array(3, 4, 2), array(2)
    chain = [
        old("Convolution1D", "conv", nb_filter=2, filter_length=3, border_mode="same", subsample_length=1, bias=True,
            activation="relu", batch_input_shape=[None, 6, 4]),
        old("MaxPooling1D", "pool", pool_length=2, stride=2, border_mode="valid"),
        old("BatchNormalization", "norm", epsilon=0.1, mode=0, axis=-1, momentum=0.9),
        old("UpSampling1D", "up", length=2),
        old("TimeDistributedDense", "each", output_dim=2, bias=False, activation="linear"),
        old("Dropout", "drop", p=0.5),
        old("Dense", "dense", output_dim=1, bias=True, activation="hard_sigmoid"),
    ]  # fmt: skip
    statistics = [np.abs(array(2, seed=seed)) for seed in range(4)]
    lists = {
        "conv": [kernel[:, None], bias], "pool": [], "norm": statistics, "up": [], "each": [array(2, 2)], "drop": [],
        "dense": [array(2, 1), array(1)],
    }  # fmt: skip
    spec = spec_of(h5(chain, lists, version="1.1.0"))
    assert [node.name for node in spec.nodes] == ["conv", "pool", "norm", "up", "each", "drop", "dense"]
    conv, dense = spec.nodes[0].layer, spec.nodes[-1].layer
    assert type(conv) is Conv1D and (conv.padding, conv.activation) == ("same", "relu")
    np.testing.assert_array_equal(conv.weight, kernel.transpose(2, 1, 0))
    assert type(dense) is Dense and dense.activation == "hard_sigmoid_keras2"
    assert spec.nodes[4].layer.bias is None and spec.nodes[2].layer.epsilon == 0.1
    assert Model(spec)(X).shape == (6, 1)


def test_a_normalisation_of_keras_1_by_the_batch_is_refused():
    chain = [old("BatchNormalization", "norm", epsilon=0.1, mode=2, axis=-1, batch_input_shape=[None, 6, 4])]
    with pytest.raises(UnsupportedModelError, match="mode 2 is not supported, only 0"):
        spec_of(h5(chain, {"norm": [np.ones(4, np.float32)] * 4}, version="1.1.0"))


def test_tuples_of_tf_keras_are_read_as_lists():
    items = {"class_name": "__tuple__", "items": [3]}
    conv = old("Conv1D", "conv", filters=2, kernel_size=items, strides=items | {"items": [1]}, padding="valid",
               batch_input_shape={"class_name": "__tuple__", "items": [None, 6, 4]})  # fmt: skip
    spec = spec_of(h5({"name": "model", "layers": [conv]}, {"conv": [array(3, 4, 2), array(2)]}, version="2.4.0"))
    assert Model(spec)(X).shape == (4, 2)
    shape = [old("Reshape", "shape", target_shape=items | {"items": [3, 8]}, batch_input_shape=[None, 6, 4])]
    assert Model(spec_of(h5(shape, {"shape": []}, version="2.4.0")))(X).shape == (3, 8)


def test_other_names_of_classes():
    chain = [old("BatchNormalizationV1", "norm", axis=[1], epsilon=0.1, batch_input_shape=[None, 4])]
    given = h5({"name": "model", "layers": chain}, {"norm": [np.ones(4, np.float32)] * 4}, version="2.2.4-tf")
    assert Model(spec_of(given))(X[0]).shape == (4,)


def test_a_real_model_of_keras_2_2_2():
    """Three GRUs in a functional graph, one with relu, and a custom constraint in the config."""
    folder = beside("models/rnnoise")
    model, wanted = fastgru.load(folder / "weights.hdf5"), np.load(folder / "expected.npz")
    denoise, vad = model(wanted["x"])
    assert np.abs(denoise - wanted["denoise"]).max() <= 2e-6
    assert np.abs(vad - wanted["vad"]).max() <= 2e-6


def test_a_gru_is_the_same_in_both_files():
    """Groups of Keras 3 and lists of Keras 2 give one specification."""
    weights = [array(4, 9), array(3, 9), array(2, 9)]
    config = [old("GRU", "gru_1", **GRU_2, reset_after=True)]
    layer = spec_of(h5(config, {"gru_1": weights})).nodes[0].layer
    assert isinstance(layer, GRULayer)
    y, _ = reference.gru(layer.gru.replace(recurrent_activation="sigmoid"), X[None])
    np.testing.assert_allclose(y[0], keras_states(X, *weights), atol=1e-14)
