"""Keras Sequential configs, written by hand as Keras 3.15 writes them: what is read, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from keras_configs import array, checkpoint, endings_of_changes, gru, gru_tensors, h5, keras_states, layer, one_gru

import fastgru
from fastgru import Model, reference
from fastgru.errors import CheckpointError, FastGRUError, UnsupportedModelError
from fastgru.importers import describe, spec_of
from fastgru.layers import (
    Activation,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    GRULayer,
    GRUSpec,
    Permute,
    stateful_layers,
    validate,
)


@pytest.mark.parametrize("bias", ["after", "before", None])
def test_a_gru_computes_what_keras_defines(bias):
    reset_after = bias != "before"
    given = one_gru(bias=bias, use_bias=bias is not None, reset_after=reset_after, return_sequences=True)
    node = spec_of(given).nodes[0].layer
    x = array(7, 4).astype(np.float64)
    y, _ = reference.gru(node.gru, x[None])
    np.testing.assert_allclose(y[0], keras_states(x, *given.tensors.values(), reset_after=reset_after), atol=1e-14)
    assert node.gru.bias is (bias is not None)
    assert node.gru.reset_after is reset_after
    if bias == "before":
        assert not node.gru.layers[0][0].b_hh.any()


def test_arrays_are_contiguous_and_keep_their_precision():
    given = one_gru()
    given.tensors.update({name: tensor.astype(np.float64) for name, tensor in given.tensors.items()})
    weights = spec_of(given).nodes[0].layer.gru.layers[0][0]
    for tensor in (weights.w_ih, weights.w_hh, weights.b_ih, weights.b_hh):
        assert tensor.flags.c_contiguous
        assert tensor.dtype == np.float64


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_grus_options_are_kept(return_sequences, go_backwards):
    options = {"return_sequences": return_sequences, "go_backwards": go_backwards}
    ignored = {"stateful": True, "unroll": True, "dropout": 0.5, "recurrent_dropout": 0.5, "implementation": 2}
    node = spec_of(one_gru(**options, **ignored)).nodes[0].layer
    assert (node.return_sequences, node.go_backwards) == (return_sequences, go_backwards)


@pytest.mark.parametrize("name", ["linear", "relu", "tanh", "sigmoid", "hard_sigmoid", None])
def test_gate_activations_are_read_by_name(name):
    given = one_gru()
    given.config["config"]["layers"][1]["config"].update(activation=name, recurrent_activation=name)
    stack = spec_of(given).nodes[0].layer.gru
    assert stack.activation == stack.recurrent_activation == (name or "linear")


@pytest.mark.parametrize(
    ("version", "meaning"), [("3.15.1", "hard_sigmoid"), ("3.0.0", "hard_sigmoid"), ("2.15.0", "hard_sigmoid_keras2")]
)
def test_hard_sigmoid_means_what_it_meant_in_the_version_that_wrote_the_file(version, meaning):
    given = one_gru(version=version)
    given.config["config"]["layers"][1]["config"]["recurrent_activation"] = "hard_sigmoid"
    assert spec_of(given).nodes[0].layer.gru.recurrent_activation == meaning


def bidirectional(tensors=None, forward=None, backward=None, units=3, **config):
    inner = gru("forward_gru", **({"return_sequences": True} | (forward or {})))
    other = gru("backward_gru", units, **({"return_sequences": True, "go_backwards": True} | (backward or {})))
    config = {"merge_mode": "concat", "layer": inner, "backward_layer": other} | config
    ways = gru_tensors("layers/bidirectional/forward_layer", 4, 3)
    bias = "after" if (backward or {}).get("reset_after", True) else "before"
    ways |= gru_tensors("layers/bidirectional/backward_layer", 4, units, bias)
    return checkpoint([layer("Bidirectional", **config)], tensors or ways)


def states_of(given, way, x, **options):
    own = [tensor for name, tensor in given.tensors.items() if f"{way}_layer" in name]
    return keras_states(x, *own, **options)


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
def test_a_bidirectional_gru_has_both_directions_in_one_layer(merge):
    given = bidirectional(merge_mode=merge)
    given.tensors["layers/bidirectional/backward_layer/cell/vars/0"] += 1
    node = spec_of(given).nodes[0].layer
    assert (node.merge, node.return_sequences, node.go_backwards) == (merge, True, False)
    y, _ = reference.gru(node.gru, array(1, 5, 4))
    x = array(1, 5, 4)[0].astype(np.float64)
    np.testing.assert_allclose(y[0, :, :3], states_of(given, "forward", x), atol=1e-14)
    np.testing.assert_allclose(y[0, ::-1, 3:], states_of(given, "backward", x[::-1]), atol=1e-14)


def test_a_config_without_a_backward_layer_means_the_forward_one_turned_round():
    given = bidirectional()
    del given.config["config"]["layers"][1]["config"]["backward_layer"]
    assert spec_of(given).nodes[0].layer.gru.directions == 2


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize(
    ("backward", "forward"),
    [
        ({"reset_after": False}, {}),
        ({"activation": "relu"}, {}),
        ({"go_backwards": False}, {"go_backwards": True}),
        ({"go_backwards": False}, {}),
    ],
)
def test_directions_that_differ_are_computed_each_by_itself(merge, backward, forward):
    given = bidirectional(merge_mode=merge, backward=backward, forward=forward)
    x = array(5, 4)
    turned = [x[::-1] if forward.get("go_backwards") else x, x[::-1] if backward.get("go_backwards", True) else x]
    ahead = states_of(given, "forward", turned[0])
    act = (lambda v: np.maximum(v, 0)) if "activation" in backward else np.tanh
    back = states_of(given, "backward", turned[1], reset_after=backward.get("reset_after", True), act=act)[::-1]
    got = Model(spec_of(given), precision="float64")(x)
    wanted = {
        "concat": lambda: np.concatenate([ahead, back], -1), "sum": lambda: ahead + back, "mul": lambda: ahead * back,
        "ave": lambda: (ahead + back) / 2, None: lambda: (ahead, back),
    }[merge]()  # fmt: skip
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_directions_of_different_sizes_are_computed_each_by_itself():
    given = bidirectional(units=2)
    assert Model(spec_of(given))(array(5, 4)).shape == (5, 5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"merge_mode": "max"}, UnsupportedModelError, "'max' is not supported"),
        (
            {"layer": layer("LSTM", "forward_lstm", units=3)},
            UnsupportedModelError,
            "'bidirectional/forward_lstm' .*Bidirectional of LSTM",
        ),
        ({"forward": {"return_sequences": False}}, CheckpointError, "return_sequences differs"),
        ({"forward": {"return_state": True}}, CheckpointError, "return_state differs"),
        ({"layer": None}, CheckpointError, r"layers\[1\].layer is None, wanted a dict"),
        ({"forward": {"time_major": True}}, UnsupportedModelError, "time_major=True is not supported"),
    ],
)
def test_a_bidirectional_that_cannot_be_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        spec_of(bidirectional(**changes))


def test_cells_of_an_rnn_are_one_layer():
    cells = [layer("GRUCell", f"cell{place}", units=units) for place, units in enumerate((3, 2))]
    stacked = layer("StackedRNNCells", "stacked", cells=cells)
    tensors = {}
    for place, (inputs, units) in enumerate(((4, 3), (3, 2))):
        group = f"layers/rnn/cell/cells/gru_cell{f'_{place}' if place else ''}"
        tensors |= {name.replace("/cell/vars", "/vars"): t for name, t in gru_tensors(group, inputs, units).items()}
    given = checkpoint([layer("RNN", cell=stacked, return_sequences=True)], tensors)
    node = spec_of(given).nodes[0].layer
    assert node.state_sizes == (3, 2)
    x = array(5, 4)
    arrays = list(given.tensors.values())
    wanted = keras_states(keras_states(x, *arrays[:3]), *arrays[3:])
    np.testing.assert_allclose(Model(spec_of(given))(x), wanted, atol=1e-6)


def test_a_whole_chain_is_read_in_its_order():
    tensors = {"layers/embedding/vars/0": array(9, 4), **gru_tensors("layers/gru", 4, 3)}
    tensors |= {**gru_tensors("layers/gru_1", 3, 2), "layers/dense/vars/0": array(2, 5)}
    tensors |= {"layers/dense/vars/1": array(5), "layers/dense_1/vars/0": array(5, 1)}
    layers = [
        layer("Embedding", "words", input_dim=9, output_dim=4, mask_zero=False),
        layer("SpatialDropout1D", "drop"),
        gru("zebra", return_sequences=True),
        gru("ape", units=2),
        layer("Dense", "hidden", units=5, activation="softmax"),
        layer("Activation", "act", activation="relu"),
        layer("Dense", "out", units=1, use_bias=False, activation=None),
    ]
    spec = spec_of(checkpoint(layers, tensors, shape=(None, 8)))
    assert [(node.name, type(node.layer)) for node in spec.nodes] == [
        ("words", Embedding),
        ("drop", Dropout),
        ("zebra", GRULayer),
        ("ape", GRULayer),
        ("hidden", Dense),
        ("act", Activation),
        ("out", Dense),
    ]
    assert (spec.inputs[0].name, spec.inputs[0].shape, spec.inputs[0].integers) == ("given", (None,), True)
    np.testing.assert_array_equal(spec.nodes[4].layer.weight, tensors["layers/dense/vars/0"].T)
    assert spec.nodes[6].layer.bias is None
    assert spec.nodes[4].layer.activation == "softmax"


def test_groups_are_counted_per_class_past_ten():
    layers = [gru(f"layer{place}", return_sequences=True) for place in range(12)]
    tensors = {}
    for place in sorted(range(12), key=str):  # alphabetically, as HDF5 lists them
        tensors |= gru_tensors(f"layers/gru_{place}" if place else "layers/gru", 4 if place == 0 else 3, 3)
        tensors[f"layers/gru_{place}/cell/vars/1" if place else "layers/gru/cell/vars/1"][:] = place
    spec = spec_of(checkpoint(layers, tensors))
    assert [node.layer.gru.layers[0][0].w_hh[0, 0] for node in spec.nodes] == list(range(12))


@pytest.mark.parametrize(
    "class_name",
    ["Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization",
     "Identity"],
)  # fmt: skip
def test_layers_that_only_matter_in_training_do_nothing(class_name):
    given = one_gru()
    given.config["config"]["layers"].append(layer(class_name, "only_training", rate=0.5))
    assert type(spec_of(given).nodes[1].layer) is Dropout


def test_a_model_without_an_input_layer_is_read_by_its_first_layer_or_its_weights():
    given = one_gru()
    given.config["config"]["layers"].pop(0)
    given.config["config"]["build_input_shape"] = [2, 5, 4]
    spec = spec_of(given)
    assert (spec.inputs[0].name, spec.inputs[0].shape) == ("input", (None, 4))
    del given.config["config"]["build_input_shape"]
    assert spec_of(given).inputs[0].shape == (None, 4)
    shape = {"class_name": "__tuple__", "items": [None, 7, 4]}
    given.config["config"]["layers"][0]["config"]["batch_input_shape"] = shape
    assert spec_of(given).inputs[0].shape == (None, 4)


def test_the_number_of_steps_is_kept_where_a_layer_needs_it():
    flatten = [gru(return_sequences=True), layer("Flatten"), layer("Dense", units=2)]
    tensors = gru_tensors("layers/gru", 4, 3) | {"layers/dense/vars/0": array(15, 2), "layers/dense/vars/1": array(2)}
    assert spec_of(checkpoint(flatten, tensors, shape=(None, 5, 4))).inputs[0].shape == (5, 4)
    with pytest.raises(CheckpointError, match=r"layer 'dense': weight: got shape \(2, 15\), wanted"):
        spec_of(checkpoint(flatten, tensors, shape=(None, 6, 4)))


def test_a_convolution_with_features_first_is_turned_twice():
    conv = layer("Conv1D", filters=2, kernel_size=[3], data_format="channels_first", activation="relu")
    tensors = {"layers/conv1d/vars/0": array(3, 4, 2), "layers/conv1d/vars/1": array(2)}
    spec = spec_of(checkpoint([conv], tensors, shape=(None, 4, 9)))
    assert [type(node.layer) for node in spec.nodes] == [Permute, Conv1D, Permute, Activation]
    assert Model(spec)(array(4, 9)).shape == (2, 7)


def test_the_state_of_optimizers_and_random_generators_is_no_weight():
    given = one_gru()
    given.tensors["optimizer/vars/0"] = np.array(3)
    given.tensors["layers/gru/cell/seed_generator/vars/0"] = np.array([1, 2], np.uint32)
    assert len(spec_of(given).nodes) == 1


def foreign(**changes):
    return layer("GRU", "mine", units=3) | changes


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (layer("Lambda", "trick", function={"class_name": "__lambda__"}), r"'trick' \(Lambda, layers\[2\]\)"),
        (layer("TFSMLayer", "saved", filepath="/etc/passwd"), "TFSMLayer layers are not supported"),
        (layer("LSTM", "other", units=3), "LSTM layers are not supported; the README lists those that are"),
        (layer("__reduce__", "os.system"), "__reduce__ layers are not supported"),
        (foreign(module="my.package", registered_name="my>GRU"), r"'mine' \(GRU, layers\[2\]\).*'my>GRU' of module"),
        (foreign(module=None, registered_name="GRU"), "it is a class of its own"),
        (foreign(module="kerasx.layers"), "it is a class of its own"),
        (foreign(module="builtins", class_name="eval"), "it is a class of its own"),
        (layer("Activation", "act", activation="misch"), "activation 'misch' is not supported"),
        (
            layer("Activation", "act", activation={"module": "os", "class_name": "system"}),
            "activation .* functions of a file are never loaded",
        ),
        (layer("GRU", "q", units=3, dtype={"class_name": "QuantizedDTypePolicy"}), "quantised"),
        (layer("TimeDistributed", "each", layer=layer("LSTM", "deep")), r"'each/deep' \(LSTM, layers\[2\].layer\)"),
        (
            layer("RNN", "cells", cell=layer("StackedRNNCells", "mine", cells=[]) | {"module": "mine"}),
            r"'cells/mine' \(StackedRNNCells, layers\[2\].cell\): it is a class of its own",
        ),
        (layer("LayerNormalization", "odd", rms_scaling=True), "rms_scaling=True is not supported"),
        (layer("Conv1D", "odd", filters=2, kernel_size=1, padding="full"), "padding 'full' is not supported"),
    ],
)
def test_what_is_not_supported_is_refused_by_name_and_place(last, message):
    tensors = gru_tensors("layers/gru", 4, 3) | gru_tensors("layers/gru_1", 3, 3)
    tensors |= {"layers/layer_normalization/vars/0": array(3), "layers/conv1d/vars/0": array(1, 3, 2)}
    tensors["layers/conv1d/vars/1"] = array(2)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        spec_of(checkpoint([gru(return_sequences=True), last], tensors))
    assert str(caught.value).startswith("model.keras: ")


@pytest.mark.parametrize("class_name", ["MyModel", None, 3, ["Sequential"]])
def test_a_model_that_is_not_sequential_or_functional_is_refused(class_name):
    given = one_gru()
    given.config["class_name"] = class_name
    with pytest.raises(FastGRUError, match=r"of a class of its own, 'MyModel'.*name its layers|describes no model"):
        spec_of(given)


def test_a_class_that_is_only_called_sequential_is_refused():
    given = one_gru()
    given.config.update(module="mine", registered_name="mine>Sequential")
    with pytest.raises(UnsupportedModelError, match="of a class of its own, 'Sequential'"):
        spec_of(given)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_missing_tensor_is_named(index):
    given = one_gru()
    del given.tensors[f"layers/gru/cell/vars/{index}"]
    with pytest.raises(CheckpointError, match=rf"layer 'gru' .* 'layers/gru/cell/vars/{index}' is missing"):
        spec_of(given)


@pytest.mark.parametrize(
    ("index", "shape", "wanted"),
    [
        (0, (4, 8), "(any, 9)"),
        (1, (4, 9), "(3, 9)"),
        (2, (9,), "(2, 9)"),
        (2, (2, 8), "(2, 9)"),
        (0, (4, 9, 1), "(any, 9)"),
    ],
)
def test_a_tensor_that_disagrees_with_the_config_is_named(index, shape, wanted):
    given = one_gru()
    given.tensors[f"layers/gru/cell/vars/{index}"] = np.zeros(shape, np.float32)
    with pytest.raises(CheckpointError) as caught:
        spec_of(given)
    for part in (f"vars/{index}'", f"got {shape}", f"wanted {wanted}"):
        assert part in str(caught.value)


def test_an_unused_tensor_is_an_error_or_with_strict_off_a_warning():
    given = one_gru()
    given.tensors["layers/dense/vars/0"] = array(3, 2)
    with pytest.raises(CheckpointError, match=r"no layer uses the tensors 'layers/dense/vars/0'.*strict=False"):
        spec_of(given)
    with pytest.warns(UserWarning, match="no layer uses the tensors 'layers/dense/vars/0'"):
        assert len(spec_of(given, strict=False).nodes) == 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((None, None, 5), "layer 'gru': got 5 features, wanted 4"),
        ((None, 4), "layer 'gru': takes a sequence"),
        ((None, 2, 3, 4), "layer 'gru': got .* wanted"),
        ((None, -1, 4), "batch_shape is .*wanted a list of sizes"),
        ((None, "a", 4), "batch_shape is .*wanted a list of sizes"),
        ((), "batch_shape is .*wanted a list of sizes"),
    ],
)
def test_an_input_that_does_not_fit_the_weights_is_an_error(shape, message):
    given = one_gru()
    given.config["config"]["layers"][0]["config"]["batch_shape"] = list(shape)
    with pytest.raises(CheckpointError, match=message):
        spec_of(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sparse": True}, "sparse inputs"), ({"ragged": True}, "ragged inputs"), ({"dtype": "string"}, "of type string")],
)
def test_an_input_that_is_no_array_of_numbers_is_refused(options, message):
    given = one_gru()
    given.config["config"]["layers"][0]["config"].update(options)
    with pytest.raises(UnsupportedModelError, match=message):
        spec_of(given)


def test_layers_that_do_not_fit_each_other_are_an_error_with_the_path():
    tensors = gru_tensors("layers/gru", 4, 3) | {"layers/dense/vars/0": array(5, 2), "layers/dense/vars/1": array(2)}
    with pytest.raises(CheckpointError, match=r"^model.keras: layer 'out': weight: got shape \(2, 5\), wanted"):
        spec_of(checkpoint([gru(), layer("Dense", "out", units=2)], tensors))


@pytest.mark.parametrize("module", ["keras.ops.numpy", "keras.src.ops.nn", "tf_keras.src.engine.sequential"])
def test_a_model_is_no_function_whatever_its_module(module):
    given = one_gru()
    given.config["module"] = module
    assert len(spec_of(given).nodes) == 1


def test_the_layers_of_a_class_of_the_users_own_can_be_named():
    given = one_gru()
    given.config.update(class_name="Mine", module=None, registered_name="Mine", config={"trainable": True})
    with pytest.raises(UnsupportedModelError, match=r"of a class of its own, 'Mine'.*name its layers .*layers="):
        spec_of(given)
    assert [node.name for node in spec_of(given, layers=["gru"]).nodes] == ["gru"]


def test_the_layers_of_a_file_that_describes_itself_can_be_named():
    assert [node.name for node in spec_of(one_gru(), layers=["gru"]).nodes] == ["gru"]
    assert isinstance(spec_of(one_gru(), layers="gru"), GRUSpec)


OPTIONS = {
    "AveragePooling1D": {"pool_size": [2], "strides": None, "padding": "same", "data_format": "channels_last"},
    "BatchNormalization": {"axis": [2], "epsilon": 0.1, "center": True, "scale": True, "renorm": False},
    "Conv1D": {
        "filters": 2, "kernel_size": [2], "strides": [1], "padding": "same", "dilation_rate": [1], "groups": 1,
        "activation": {"class_name": "ReLU", "config": {"max_value": 1.0}}, "use_bias": True,
    },
    "Cropping1D": {"cropping": [1, 1]},
    "ELU": {"alpha": 0.5},
    "GlobalAveragePooling1D": {"keepdims": True, "data_format": "channels_last"},
    "LayerNormalization": {"axis": [-1], "epsilon": 0.1, "center": True, "scale": True, "rms_scaling": False},
    "LeakyReLU": {"alpha": {"type": "ndarray", "value": 0.3}},
    "Masking": {"mask_value": {"class_name": "__numpy__", "config": {"value": 0.5, "dtype": "float32"}}},
    "PReLU": {"shared_axes": [1]},
    "Permute": {"dims": [2, 1]},
    "ReLU": {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.0},
    "Reshape": {"target_shape": [None, 4]},
    "RMSNormalization": {"axis": [-1], "epsilon": 0.1},
    "Softmax": {"axis": [-1]},
    "ThresholdedReLU": {"theta": 0.5},
    "TimeDistributed": {"layer": layer("Dense", units=2)},
    "UpSampling1D": {"size": 2},
    "ZeroPadding1D": {"padding": [1, 2], "data_format": "channels_first"},
}  # fmt: skip
ARRAYS = {
    "BatchNormalization": [(4,)] * 4, "Conv1D": [(2, 4, 2), (2,)], "LayerNormalization": [(4,)] * 2, "PReLU": [(1, 4)],
    "RMSNormalization": [(4,)],
}  # fmt: skip
SNAKE = {
    "BatchNormalization": "batch_normalization", "Conv1D": "conv1d", "LayerNormalization": "layer_normalization",
    "PReLU": "p_re_lu", "RMSNormalization": "rms_normalization", "TimeDistributed": "time_distributed",
}  # fmt: skip


def of_class(class_name):
    """A model of one layer with all its options."""
    group = f"layers/{SNAKE.get(class_name, class_name.lower())}"
    tensors = {f"{group}/vars/{place}": np.abs(array(*shape)) for place, shape in enumerate(ARRAYS.get(class_name, []))}
    if class_name == "TimeDistributed":
        tensors = {f"{group}/layer/vars/0": array(4, 2), f"{group}/layer/vars/1": array(2)}
    return checkpoint([layer(class_name, **OPTIONS[class_name])], tensors, shape=(None, 6, 4))


@pytest.mark.parametrize("class_name", OPTIONS)
def test_a_layer_with_all_its_options_runs(class_name):
    assert np.isfinite(Model(spec_of(of_class(class_name)))(array(6, 4))).all()


@pytest.mark.parametrize("make", [one_gru, bidirectional, *OPTIONS])
def test_any_value_anywhere_in_a_config_gives_a_model_or_an_error_of_ours(make):
    given = make() if callable(make) else of_class(make)
    taken, refused = endings_of_changes(given.config, lambda config: validate(spec_of(given.replace(config=config))))
    assert taken and refused and taken + refused > 200


def test_an_empty_model_is_an_error():
    with pytest.raises(CheckpointError, match="at least one layer"):
        spec_of(checkpoint([], {}))


def test_a_stateful_gru_is_said_when_it_is_loaded_shown_and_kept(tmp_path):
    given = one_gru(stateful=True, return_sequences=True)
    assert "stateful=True" in spec_of(given).nodes[0].layer.described()
    assert describe(given)["layers"][0]["options"]["stateful"] is True
    assert "stateful" not in describe(one_gru())["layers"][0]["options"]
    model = Model(spec_of(given))
    assert "stateful=True" in repr(model)
    path = tmp_path / "model.safetensors"
    model.save(path)
    with pytest.warns(
        UserWarning, match=r"'gru' is stateful: .* every call begins with zeros, and model.stream\(\)"
    ) as said:
        again = fastgru.load(path)
    assert len(said) == 1 and said[0].filename == __file__
    assert again.spec.nodes[0].layer.stateful


def test_a_stateful_gru_in_a_wrapper_is_said():
    back = gru("back", go_backwards=True, stateful=True)
    both = layer("Bidirectional", layer=gru(stateful=True), backward_layer=back, merge_mode="concat")
    group = "layers/bidirectional"
    tensors = gru_tensors(f"{group}/forward_layer", 4, 3) | gru_tensors(f"{group}/backward_layer", 4, 3)
    assert stateful_layers(spec_of(checkpoint([both], tensors))) == ["bidirectional"]
    each = layer("TimeDistributed", "each", layer=gru(stateful=True))
    tensors = gru_tensors("layers/time_distributed/layer", 4, 3)
    with pytest.raises(UnsupportedModelError, match="'gru' is stateful and runs on every step of a TimeDistributed"):
        spec_of(checkpoint([each], tensors, (None, 2, 5, 4)))


def groups_of(names, tensors):
    """The same arrays under other groups."""
    return {names[name.rpartition("/vars/")[0]] + name[name.rindex("/vars/") :]: each for name, each in tensors.items()}


def test_keras_2_12_counts_layers_with_weights_twice_and_others_once():
    def dense(name, units):
        return layer("Dense", name, units=units)

    def each(name, inner):
        return layer("TimeDistributed", name, layer=inner)

    inner = layer("Sequential", "inner", layers=[layer("InputLayer", "x", batch_shape=[None, None, 4]), dense("c", 4),
                                                 layer("Dropout"), dense("d", 4)])  # fmt: skip
    chain = [dense("a", 4), gru("g", 3, return_sequences=True), each("t", layer("Dropout")), each("u", dense("b", 4)),
             inner, gru("h", 3), dense("e", 2)]  # fmt: skip
    weights = {
        "dense": "layers/dense", "gru/cell": "layers/gru/cell", "time_distributed_1/layer":
        "layers/time_distributed_1/layer", "sequential/{}/dense": "layers/sequential/layers/dense",
        "sequential/{}/dense_2": "layers/sequential/layers/dense_1", "gru_2/cell": "layers/gru_1/cell",
        "dense_2": "layers/dense_1",
    }  # fmt: skip
    tensors = {}
    for place, group in enumerate(weights.values()):
        outputs = 2 if group == "layers/dense_1" else 4
        sizes = [(3 if place in (2, 6) else 4, outputs), (outputs,)]
        if "gru" in group:
            sizes = [(4, 9), (3, 9), (2, 9)]
        tensors |= {f"{group}/vars/{index}": array(*size, seed=place) for index, size in enumerate(sizes)}
    start = "_layer_checkpoint_dependencies"
    renamed = {new: f"{start}/{old.format(start)}" for old, new in weights.items()}
    wanted = spec_of(checkpoint(chain, tensors, version="2.15.0"))
    assert spec_of(checkpoint(chain, groups_of(renamed, tensors), version="2.12.0")) == wanted


def test_a_cudnn_gru_has_its_arrays_without_a_cell():
    config = {"name": "cu", "units": 3, "return_sequences": True}
    arrays = [array(4, 9), array(3, 9), array(18)]
    tensors = {f"layers/cu_dnngru/vars/{place}": each for place, each in enumerate(arrays)}
    wanted = spec_of(h5([{"class_name": "CuDNNGRU", "config": config}], {"cu": arrays}))
    spec = spec_of(checkpoint([layer("CuDNNGRU", **config)], tensors, version="2.15.0"))
    assert spec.nodes[0].layer == wanted.nodes[0].layer


def test_a_model_with_an_unsupported_layer_runs_by_the_names_of_the_others():
    chain = [layer("LSTM", "before", units=4), gru("mine", 3, activation="relu", return_sequences=True),
             layer("Dense", "out", units=2, activation="softmax")]  # fmt: skip
    tensors = gru_tensors("layers/gru", 4, 3) | {"layers/dense/vars/0": array(3, 2), "layers/dense/vars/1": array(2)}
    given = checkpoint(chain, tensors | {"layers/lstm/cell/vars/0": array(4, 16)})
    advice = (
        r"'before' \(LSTM, .*the other layers run by name, as by fastgru.load\(path, layers=\['mine'\], strict=False\)"
    )
    with pytest.raises(UnsupportedModelError, match=advice):
        spec_of(given)
    with pytest.warns(UserWarning, match="no layer uses the tensors 'layers/lstm/cell/vars/0'"):
        spec = spec_of(given, layers=["mine", "out"], strict=False)
    assert [(node.name, node.layer.described()) for node in spec.nodes] == [
        (node.name, node.layer.described()) for node in spec_of(checkpoint(chain[1:], tensors)).nodes
    ]
    with pytest.warns(UserWarning, match="no layer uses"):
        alone = spec_of(given, layers="mine", strict=False)
    assert isinstance(alone, GRUSpec) and alone.activation == "relu"
    with pytest.raises(UnsupportedModelError, match="LSTM layers are not supported"):
        spec_of(given, layers=["before", "mine"])
    with pytest.raises(CheckpointError, match="no layer uses the tensors"):
        spec_of(given, layers=["mine"])


def test_named_layers_of_a_config_hand_on_masks_and_stand_in_models():
    inner = layer("Sequential", "inner", layers=[
        layer("InputLayer", "x", batch_shape=[None, None]),
        layer("Embedding", "words", input_dim=9, output_dim=4, mask_zero=True), gru("low", 4, return_sequences=True),
    ])  # fmt: skip
    tensors = {"layers/sequential/layers/embedding/vars/0": array(9, 4),
               **gru_tensors("layers/sequential/layers/gru", 4, 4), **gru_tensors("layers/gru", 4, 3)}  # fmt: skip
    given = checkpoint([inner, gru("high", 3)], tensors, (None, None))
    ids = np.array([[1, 2, 0, 3, 0]])
    wanted = Model(spec_of(given))(ids)
    for names in (["inner", "high"], ["inner/words", "inner/low", "high"]):
        np.testing.assert_array_equal(Model(spec_of(given, layers=names))(ids), wanted)


@pytest.mark.parametrize(("name", "taken"), [("log_softmax_v2", "log_softmax"), ("softmax_v2", "softmax")])
def test_tensorflows_names_of_functions_are_those_of_keras_2(name, taken):
    given = one_gru(version="2.12.0", activation=name)
    assert spec_of(given).nodes[0].layer.gru.activation == taken
    with pytest.raises(UnsupportedModelError, match=rf"'{name}' is not supported; what comes near is {taken}"):
        spec_of(one_gru(activation=name))


@pytest.mark.parametrize(("version", "kept"), [("3.4.1", True), ("3.5.0", False), ("3.13.0", False), ("3.14.0", True)])
def test_a_cast_between_two_layers_loses_the_mask_in_keras_3_5_to_3_13(version, kept):
    def model(dtype, middle="float32"):
        chain = [layer("Embedding", "words", input_dim=9, output_dim=4, mask_zero=True, dtype="float32"),
                 layer("Dropout", "drop", dtype={"class_name": "DTypePolicy", "config": {"name": middle}}),
                 gru(dtype=dtype)]  # fmt: skip
        tensors = {"layers/embedding/vars/0": array(9, 4), **gru_tensors("layers/gru", 4, 3)}
        return checkpoint(chain, tensors, (None, None), version)

    short, padded = np.array([[1, 2, 3]]), np.array([[1, 2, 3, 0, 0]])
    for dtype in ("float32", "mixed_float16"):
        made = Model(spec_of(model(dtype)))
        assert np.array_equal(made(short), made(padded)) is (kept or dtype == "float32")
    if not kept:
        unknown = model("mixed_float16")
        del unknown.config["config"]["layers"][2]["config"]["dtype"]
        with pytest.raises(UnsupportedModelError, match=r"'drop' .*whether a mask is lost by the cast is not known"):
            spec_of(unknown)
        with pytest.raises(UnsupportedModelError, match="a mask reaches it, and the layers compute in several types"):
            spec_of(model("mixed_float16"), layers=["words", "gru"])
