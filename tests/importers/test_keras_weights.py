"""Keras files of weights alone: which layer an array belongs to, and chains of them named by hand."""

from __future__ import annotations

import numpy as np
import pytest
from keras_configs import array, h5, keras_states

import fastgru
from fastgru import Model
from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, DTypeError, FastGRUError, UnsupportedModelError
from fastgru.importers import describe, spec_of
from fastgru.importers.keras.modules import modules_of
from fastgru.importers.weights.named import Named
from fastgru.layers import BatchNormalization, Conv1D, Dense, Embedding, GRULayer, GRUSpec, LayerNormalization, PReLU

GRU = [array(4, 9), array(3, 9), array(2, 9)]
BEFORE = [array(4, 9), array(3, 9), array(9)]


def groups(names=None, **layers):
    """A .weights.h5 of Keras 3: a group of arrays for each path, double underscores for slashes."""
    tensors = {}
    for path, arrays in layers.items():
        for place, each in enumerate(arrays):
            tensors[f"layers/{path.replace('__', '/')}/vars/{place}"] = each
    return Checkpoint("some.weights.h5", "keras-weights", tensors, None, {"names": names or {}})


def lists(version="2.2.4", **layers):
    """A weights .h5 of Keras 2: a list of named arrays for each layer."""
    tensors = {f"{layer}/{name}": each for layer, arrays in layers.items() for name, each in arrays.items()}
    names = {layer: [f"{layer}/{name}" for name in arrays] for layer, arrays in layers.items()}
    return Checkpoint("some.h5", "keras-h5", tensors, None, {"keras_version": version, "weight_names": names})


def kinds(checkpoint):
    modules = modules_of(checkpoint, checkpoint.tensors)
    return {name: module.kind or module.looks_like for name, module in modules.items()}


def vectors(count, size=4):
    return [np.abs(array(size, seed=seed)) for seed in range(count)]


def test_layers_are_told_by_the_shapes_of_their_arrays():
    found = kinds(groups(
        gru__cell=GRU, gru_1__cell=BEFORE, gru_2__cell=GRU[:2], gru_10__cell=GRU,
        bidirectional__forward_layer__cell=GRU, bidirectional__backward_layer__cell=GRU,
        rnn__cell__cells__gru_cell=GRU, rnn__cell__cells__gru_cell_1=[array(3, 9), array(3, 9), array(9)],
        dense=[array(4, 2), array(2)], dense_1=[array(4, 2)], embedding=[array(9, 4)],
        conv1d=[array(3, 4, 2), array(2)],
        batch_normalization=vectors(4), layer_normalization=vectors(2), rms_normalization=vectors(1),
        p_re_lu=[array(1, 4)], time_distributed__layer=[array(4, 2), array(2)], lstm__cell=[array(4, 12), array(3, 12)],
        simple_rnn__cell=[array(4, 3), array(3, 3), array(3)], conv2d=[array(3, 3, 4, 2)], odd=[array(3), array(4)],
        batch_normalization_1=vectors(3), sequential__layers__gru__cell=GRU,
    ))  # fmt: skip
    assert found == {
        "gru": "GRU", "gru_1": "GRU", "gru_2": "GRU", "gru_10": "GRU", "bidirectional": "Bidirectional", "rnn": "RNN",
        "dense": "Dense", "dense_1": "Matrix", "embedding": "Embedding", "conv1d": "Conv1D",
        "batch_normalization": "BatchNormalization", "layer_normalization": "LayerNormalization",
        "rms_normalization": "RMSNormalization", "p_re_lu": "PReLU", "time_distributed": "Dense", "lstm": "LSTM",
        "simple_rnn": "SimpleRNN", "conv2d": "Conv2D", "odd": "unknown", "batch_normalization_1": "unknown",
        "sequential/gru": "GRU",
    }  # fmt: skip
    assert list(found).index("gru_2") < list(found).index("gru_10")


def test_in_lists_the_names_of_arrays_help():
    found = kinds(lists(
        gru_1={"gru_1/kernel:0": GRU[0], "gru_1/recurrent_kernel:0": GRU[1], "gru_1/bias:0": GRU[2]},
        cudnn={"kernel:0": array(4, 9), "recurrent_kernel:0": array(3, 9), "bias:0": array(18)},
        dense_1={"dense_1/kernel:0": array(4, 2)}, words={"words/embeddings:0": array(9, 4)},
        norm={"norm/beta:0": array(4), "norm/moving_mean:0": array(4), "norm/moving_variance:0": array(4)},
        layer={"layer/beta:0": array(4)}, slopes={"slopes/alpha:0": array(4)},
        both={f"{way}/{name}:0": each for way in ("forward_gru", "backward_gru")
              for name, each in zip(("kernel", "recurrent_kernel", "bias"), GRU, strict=True)},
        inner={"dense_2/kernel:0": array(4, 4), "dense_2/bias:0": array(4), "gru_2/gru_cell/kernel:0": GRU[0],
               "gru_2/gru_cell/recurrent_kernel:0": GRU[1], "gru_2/gru_cell/bias:0": GRU[2]},
    ))  # fmt: skip
    assert found == {
        "gru_1": "GRU", "cudnn": "CuDNNGRU", "dense_1": "Dense", "words": "Embedding", "norm": "BatchNormalization",
        "layer": "LayerNormalization", "slopes": "PReLU", "both": "Bidirectional", "inner/dense_2": "Dense",
        "inner/gru_2": "GRU",
    }  # fmt: skip


def test_nine_arrays_are_a_gru_of_keras_1():
    gates = [np.split(each, 3, axis=-1) for each in BEFORE]
    names = [f"gru_1_{matrix}_{gate}" for gate in "zrh" for matrix in "WUb"]
    arrays = dict(zip(names, [each[gate] for gate in range(3) for each in gates], strict=True))
    spec = spec_of(lists("", gru_1=arrays))
    assert isinstance(spec, GRUSpec) and spec.recurrent_activation == "hard_sigmoid_keras2" and not spec.reset_after


def test_a_file_with_one_gru_is_a_gru():
    listed = lists(gru_1=dict(zip("abc", GRU, strict=True)))
    for checkpoint in (groups(gru__cell=GRU), groups(anything__cell=GRU), listed):
        spec = spec_of(checkpoint)
        assert isinstance(spec, GRUSpec) and spec.reset_after and spec.bias
    y, _ = fastgru.GRU(spec_of(groups(gru__cell=BEFORE)))(array(5, 4))
    np.testing.assert_allclose(y, keras_states(array(5, 4), *BEFORE, reset_after=False), atol=1e-6)
    both = spec_of(groups(bidirectional__forward_layer__cell=GRU, bidirectional__backward_layer__cell=GRU))
    assert isinstance(both, GRUSpec) and both.directions == 2
    assert spec_of(groups(gru__cell=GRU[:2])).bias is False


def test_a_subclassed_model_has_the_names_of_its_attributes():
    tensors = {f"encoder/cell/vars/{place}": each for place, each in enumerate(GRU)}
    tensors |= {f"heads/dense{end}/vars/0": array(3, 2) for end in ("", "_1")}
    checkpoint = Checkpoint("some.weights.h5", "keras-weights", tensors, None, {"names": {}})
    assert list(kinds(checkpoint)) == ["encoder", "heads/dense", "heads/dense_1"]
    with pytest.warns(UserWarning, match="no layer uses the tensors 'heads/dense/vars/0'"):
        spec = spec_of(checkpoint, layers=["encoder", fastgru.Last(), "heads/dense_1"], strict=False)
    assert [node.name for node in spec.nodes] == ["encoder", "last", "heads/dense_1"]


def chain():
    return groups(
        embedding=[array(9, 4)], gru__cell=GRU, dense=[array(3, 2), array(2)], names={"layers/gru": "encoder"}
    )


def test_a_chain_is_named_by_its_groups():
    spec = spec_of(chain(), layers=["embedding", "gru", fastgru.Last(), "dense"])
    assert [node.name for node in spec.nodes] == ["embedding", "gru", "last", "dense"]
    assert spec.inputs[0].integers
    ids = np.array([1, 2, 3])
    wanted = keras_states(array(9, 4)[ids], *GRU)[-1] @ array(3, 2) + array(2)
    np.testing.assert_allclose(Model(spec)(ids), wanted, atol=1e-6)
    assert spec == spec_of(chain(), layers=["layers/embedding", "layers/gru", fastgru.Last(), "layers/dense"])
    assert spec == spec_of(chain(), layers=["embedding", "encoder", fastgru.Last(), "dense"])


@pytest.mark.parametrize(
    ("version", "bias", "activation"),
    [("", (9,), "hard_sigmoid_keras2"), ("2.2.4", (2, 9), "hard_sigmoid_keras2"), ("2.3.1", (9,), "sigmoid"),
     ("2.2.4-tf", (2, 9), "sigmoid"), ("2.2.4-tf", (9,), "hard_sigmoid_keras2"), ("2.11.0", (9,), "sigmoid"),
     ("3.15.1", (9,), "sigmoid")],
)  # fmt: skip
def test_the_gates_have_what_was_keras_default(version, bias, activation):
    spec = spec_of(lists(version, gru=dict(zip("abc", (GRU[0], GRU[1], array(*bias)), strict=True))))
    assert (spec.recurrent_activation, spec.reset_after) == (activation, len(bias) == 2)


@pytest.mark.parametrize(
    ("version", "after"), [("", False), ("2.2.4", False), ("2.2.4-tf", True), ("2.11.0", True), ("3.0.0", True)]
)
def test_without_a_bias_the_reset_is_where_keras_had_it(version, after):
    assert spec_of(lists(version, gru=dict(zip("ab", GRU[:2], strict=True)))).reset_after is after


def test_a_named_layer_says_what_the_file_does_not():
    checkpoint = groups(
        conv1d=[array(3, 4, 4), array(4)], batch_normalization=vectors(4), layer_normalization=vectors(2),
        bidirectional__forward_layer__cell=GRU, bidirectional__backward_layer__cell=GRU,
        gru__cell=[array(3, 9), GRU[1]],
        dense=[array(3, 2), array(2)], p_re_lu=[array(2)],
    )  # fmt: skip
    spec = spec_of(checkpoint, layers=[
        Named("conv1d", padding="causal", activation="relu", dilation_rate=2), "batch_normalization",
        Named("layer_normalization", epsilon=0.1), Named("bidirectional", merge_mode="sum"),
        Named("gru", recurrent_activation="hard_sigmoid_keras3", reset_after=False, return_sequences=False,
              go_backwards=True),
        Named("dense", kind="Dense", activation="softmax"), "p_re_lu",
    ])  # fmt: skip
    conv, batch, norm, both, gru, dense, slopes = (node.layer for node in spec.nodes)
    assert isinstance(conv, Conv1D) and (conv.padding, conv.activation, conv.dilation) == ("causal", "relu", 2)
    assert isinstance(batch, BatchNormalization) and batch.epsilon == 1e-3
    assert isinstance(norm, LayerNormalization) and norm.epsilon == 0.1
    assert isinstance(both, GRULayer) and both.merge == "sum" and both.gru.directions == 2
    assert isinstance(gru, GRULayer) and gru.go_backwards and not gru.return_sequences and not gru.gru.reset_after
    assert gru.gru.recurrent_activation == "hard_sigmoid"
    assert isinstance(dense, Dense) and dense.activation == "softmax"
    assert isinstance(slopes, PReLU)


def test_a_lone_matrix_is_an_embedding_where_it_comes_first():
    checkpoint = groups(table=[array(9, 4)], gru__cell=GRU, out=[array(3, 2)])
    spec = spec_of(checkpoint, layers=["table", "gru", "out"])
    assert [type(node.layer) for node in spec.nodes] == [Embedding, GRULayer, Dense]
    for kind in ("Dense", "Linear"):
        named = Named("table", kind=kind, activation="relu")
        dense = spec_of(groups(table=[array(9, 4)], gru__cell=GRU), layers=[named, "gru"])
        assert dense.nodes[0].layer.activation == "relu" and dense.inputs[0].shape == (None, 9)
    with pytest.raises(DTypeError, match=r"an? Embedding has no option 'activation'; it has mask_zero"):
        spec_of(checkpoint, layers=[Named("table", activation="relu"), "gru", "out"])


def test_a_name_and_no_list_is_that_gru():
    checkpoint = groups(table=[array(9, 4)], gru__cell=GRU)
    listed = spec_of(checkpoint, layers=["table", "gru"])
    with pytest.warns(UserWarning, match="no layer uses the tensors 'layers/table/vars/0'"):
        assert spec_of(checkpoint, layers="gru", strict=False) == listed.nodes[1].layer.gru


def test_cells_of_an_rnn_and_layers_that_come_twice():
    cells = groups(rnn__cell__cells__gru_cell=GRU, rnn__cell__cells__gru_cell_1=[array(3, 6), array(2, 6), array(2, 6)])
    with pytest.raises(CheckpointError, match=r"layers='rnn' is one name.*a GRU that does more than a GRU by itself"):
        spec_of(cells, layers="rnn")
    layer = spec_of(cells, layers=["rnn"]).nodes[0].layer
    assert layer.state_sizes == (3, 2) and layer.return_sequences
    square = groups(dense=[array(4, 4), array(4)], gru__cell=GRU)
    spec = spec_of(square, layers=["dense", "dense", "gru"])
    assert [node.name for node in spec.nodes] == ["dense", "dense#1", "gru"]


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (3, DTypeError, "layers= is int, wanted a list"),
        (["gru", 3], DTypeError, "layers= holds 3, wanted layer names"),
        ([fastgru.Last], DTypeError, r"write Last\(\)"),
        (["nothing"], CheckpointError, "'nothing', which is not a layer of this file; it holds 'dense', 'embedding'"),
        ([Named("gru", epsilon=1)], DTypeError, "'gru' is GRU, and a GRU has no option 'epsilon'; it has"),
        ([Named("gru", kind="Dense")], DTypeError, "'gru' is GRU"),
        (["dense"], CheckpointError, "no layer uses the tensors 'layers/embedding/vars/0'"),
        (["gru", fastgru.Last(), "gru"], CheckpointError, "takes a sequence|steps are already gone"),
    ],
)  # fmt: skip
def test_a_chain_that_cannot_be_is_an_error(layers, error, message):
    with pytest.raises(error, match=message):
        spec_of(chain(), layers=layers)


def test_a_layer_that_is_not_supported_is_named_with_what_it_looks_like():
    checkpoint = groups(gru__cell=GRU, lstm__cell=[array(4, 12), array(3, 12), array(12)])
    with pytest.raises(UnsupportedModelError, match=r"names 'lstm', which looks like LSTM .*supported are Embedding, "):
        spec_of(checkpoint, layers=["lstm"])
    with pytest.raises(CheckpointError, match=r"(?s)'gru', 'lstm'.*\"lstm\": LSTM \(4, 12\), .*Name the layers"):
        spec_of(checkpoint)
    with pytest.warns(UserWarning, match="no layer uses the tensors 'layers/lstm"):
        assert isinstance(spec_of(checkpoint, strict=False), GRUSpec)


def test_a_file_of_several_layers_shows_the_line_to_paste():
    with pytest.raises(CheckpointError) as caught:
        spec_of(chain())
    line = 'layers=["embedding", ..., "gru", ..., "dense", ...]'
    assert line in str(caught.value) and '"gru": GRU (4, 9), (3, 9), (2, 9)' in str(caught.value)
    pasted = eval(line.removeprefix("layers="))
    while ... in pasted:
        with pytest.raises(CheckpointError, match=r"layers= has \.\.\. behind .*the file does not say what runs there"):
            spec_of(chain(), layers=pasted)
        pasted.remove(...)
    assert spec_of(chain(), layers=pasted).nodes
    with pytest.raises(CheckpointError, match=r"activation=\.\.\.\): the file does not say the activation of 'dense'"):
        spec_of(chain(), layers=["embedding", "gru", fastgru.Named("dense", activation=...)])
    assert describe(chain())["suggested_layers"] == line
    two = groups(bidirectional__forward_layer__cell=GRU, bidirectional__backward_layer__cell=GRU, dense=[array(6, 2)])
    assert describe(two)["suggested_layers"] == 'layers=["bidirectional", ..., "dense", ...]'


def test_nothing_is_suggested_that_does_not_run():
    found = describe(groups(gru__cell=GRU, gru_1__cell=GRU))
    assert found["suggested_layers"] is None and [layer["kind"] for layer in found["layers"]] == ["GRU", "GRU"]
    with pytest.raises(CheckpointError, match=r"Name the layers in the order in which they run. Layers without"):
        spec_of(groups(gru__cell=GRU, gru_1__cell=GRU))


@pytest.mark.parametrize("given", [groups(), lists(), groups(dense=[array(3, 2)])])
def test_a_file_without_a_gru_is_an_error(given):
    with pytest.raises(CheckpointError, match="holds no"):
        spec_of(given)


def test_any_shapes_in_any_lists_give_a_model_or_an_error_of_ours():
    generator = np.random.default_rng(5)
    sizes = [0, 1, 2, 3, 6, 9, 12]
    made = refused = 0
    for _ in range(400):
        arrays = [
            np.zeros(tuple(generator.choice(sizes, generator.integers(0, 4))), np.float32)
            for _ in range(generator.integers(0, 10))
        ]
        listed = lists(one={str(place): each for place, each in enumerate(arrays)})
        for checkpoint in (groups(one=arrays, two=arrays[:2]), listed):
            for layers in (None, ["one"], ["two", "one"]):
                try:
                    spec_of(checkpoint, layers=layers)
                except FastGRUError:  # and nothing else
                    refused += 1
                else:
                    made += 1
    assert refused and made


def test_named_layers_of_a_whole_file_have_the_options_of_its_config():
    config = {"name": "gru", "units": 3, "recurrent_activation": "hard_sigmoid"}
    whole = h5([{"class_name": "GRU", "config": config}], {"gru": GRU})
    (node,) = spec_of(whole, layers=["gru"]).nodes
    assert not node.layer.return_sequences and node.layer.gru.recurrent_activation == "hard_sigmoid_keras2"
    with pytest.raises(DTypeError, match="this file says what 'gru' is; write 'gru' alone"):
        spec_of(whole, layers=[Named("gru", recurrent_activation="sigmoid")])
    with pytest.raises(CheckpointError, match="names 'gur', which is not a layer of this file; it holds 'gru'"):
        spec_of(whole, layers=["gur"])


WHICH = r"recurrent_activation='hard_sigmoid', .*write recurrent_activation='hard_sigmoid_keras2' or recurrent_act"


@pytest.mark.parametrize("word", ["hard_sigmoid", "hardsigmoid"])
def test_which_hard_sigmoid_is_asked_where_the_file_does_not_say(word):
    with pytest.raises(CheckpointError, match=WHICH):
        spec_of(groups(gru__cell=GRU), layers=[Named("gru", recurrent_activation=word)])
    both = groups(bidirectional__forward_layer__cell=GRU, bidirectional__backward_layer__cell=GRU)
    with pytest.raises(CheckpointError, match=WHICH):
        spec_of(both, layers=[Named("bidirectional", recurrent_activation=word)])
    with pytest.raises(CheckpointError, match=r"write activation='hard_sigmoid_keras2' or"):
        spec_of(groups(dense=[array(3, 2)]), layers=[Named("dense", kind="Dense", activation=word)])


@pytest.mark.parametrize(("word", "meaning"), [("hard_sigmoid_keras2", "hard_sigmoid_keras2"),
                                               ("hard_sigmoid_keras3", "hard_sigmoid")])  # fmt: skip
def test_each_hard_sigmoid_has_a_name_of_its_own(word, meaning):
    for given in (groups(gru__cell=GRU), groups({"layers/gru": "rnn"}, gru__cell=GRU)):
        (node,) = spec_of(given, layers=[Named("gru", recurrent_activation=word)]).nodes
        assert node.layer.gru.recurrent_activation == meaning
    given = lists(dense={"kernel:0": array(3, 2), "bias:0": array(2)})
    (node,) = spec_of(given, layers=[Named("dense", activation=word)]).nodes
    assert node.layer.activation == meaning


def test_hard_sigmoid_is_not_asked_where_the_file_says_whose_it_is():
    named = groups({"layers/gru": "rnn"}, gru__cell=GRU)  # only Keras 3 writes names
    (node,) = spec_of(named, layers=[Named("gru", recurrent_activation="hard_sigmoid")]).nodes
    assert node.layer.gru.recurrent_activation == "hard_sigmoid"
    tensors = {f"_layer_checkpoint_dependencies/gru/cell/vars/{place}": each for place, each in enumerate(GRU)}
    old = Checkpoint("some.weights.h5", "keras-weights", tensors, None, {"names": {}})  # and Keras 2 those groups
    (node,) = spec_of(old, layers=[Named("gru", recurrent_activation="hard_sigmoid")]).nodes
    assert node.layer.gru.recurrent_activation == "hard_sigmoid_keras2"
    (node,) = spec_of(old, layers=["gru"]).nodes
    assert node.layer.gru.recurrent_activation == "sigmoid"


def test_a_hard_sigmoid_layer_is_asked_unless_the_file_is_of_keras_3():
    dense = {"kernel:0": array(3, 2), "bias:0": array(2)}
    for given in (groups(dense=[array(3, 2), array(2)]), lists(dense=dense)):
        with pytest.raises(CheckpointError, match=r"says fastgru.Activation\('hard_sigmoid'\), .*_keras3'"):
            spec_of(given, layers=["dense", fastgru.Activation("hard_sigmoid")])
        spec_of(given, layers=["dense", fastgru.Activation("hard_sigmoid_keras3")])
    spec_of(lists("3.15.1", dense=dense), layers=["dense", fastgru.Activation("hard_sigmoid")])


@pytest.mark.parametrize("version", ["", "3.15.1"])
def test_which_sparsemax_is_asked_where_it_may_be_another(version):
    """Keras up to 3.15 computes it with another threshold: [0.742, 0.281] where the sum is to be 1."""
    given = groups(dense=[array(3, 2)])
    given.metadata.update({"keras_version": version} if version else {})
    named = Named("dense", kind="Dense")
    with pytest.raises(CheckpointError, match=r"write fastgru.Activation\('sparsemax_keras315'\) or .*'sparsemax_k"):
        spec_of(given, layers=[named, fastgru.Activation("sparsemax")])
    for word in ("sparsemax_keras315", "sparsemax_keras316"):
        *_, last = spec_of(given, layers=[named, fastgru.Activation(word)]).nodes
        assert last.layer.name == word
    named = Named("dense", kind="Dense", activation="sparsemax")
    if version:
        assert spec_of(given, layers=[named]).nodes[0].layer.activation == "sparsemax_keras315"
    else:
        with pytest.raises(CheckpointError, match=r"write activation='sparsemax_keras315' or .* does not say which"):
            spec_of(given, layers=[named])


def test_words_of_a_whole_file_of_another_keras_are_asked_for():
    """Between layers of a file that describes itself, an activation of the caller's own means what Keras 3 does."""
    whole = h5([{"class_name": "GRU", "config": {"name": "gru", "units": 3}}], {"gru": GRU})
    with pytest.raises(CheckpointError, match=r"Activation\('hard_sigmoid'\), which Keras 1 and 2 .*write"):
        spec_of(whole, layers=["gru", fastgru.Activation("hard_sigmoid")])
