"""Keras Sequential configs, written by hand as Keras 3.15 writes them: what is read, and what is refused by name."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from fastgru import reference
from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, FastGRUError, UnsupportedModelError
from fastgru.importers import spec_of
from fastgru.spec import Activation, Dense, Dropout, Embedding, GRULayer, validate


def array(*shape):
    return np.random.default_rng(shape).uniform(-0.7, 0.7, shape).astype(np.float32)


def layer(class_name, name=None, **config):
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"name": name or class_name.lower(), "dtype": {"class_name": "DTypePolicy"}, **config},
        "registered_name": None,
    }


def gru(name="gru", units=3, **config):
    return layer("GRU", name, **{"units": units, "activation": "tanh", "recurrent_activation": "sigmoid"} | config)


def gru_tensors(group, inputs, units, bias="after"):
    tensors = {f"{group}/cell/vars/0": array(inputs, 3 * units), f"{group}/cell/vars/1": array(units, 3 * units)}
    if bias:
        shape = (2, 3 * units) if bias == "after" else (3 * units,)
        tensors[f"{group}/cell/vars/2"] = array(*shape)
    return tensors


def checkpoint(layers, tensors, shape=(None, None, 4), version="3.15.1"):
    given = [layer("InputLayer", "given", batch_shape=list(shape))] if shape else []
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "model", "layers": given + layers}}
    return Checkpoint("model.keras", "keras", tensors, config, {"keras_version": version})


def one_gru(inputs=4, units=3, bias="after", version="3.15.1", **config):
    tensors = gru_tensors("layers/gru", inputs, units, bias)
    return checkpoint([gru(units=units, **config)], tensors, version=version)


def keras_states(x, tensors, reset_after, act=np.tanh, act_r=reference.sigmoid):
    """Keras's own GRU equations in Keras's own order, z r h, and orientation: states (steps, units)."""
    kernel, recurrent, *rest = (tensor.astype(np.float64) for tensor in tensors.values())
    units = len(recurrent)
    bias = rest[0] if rest else np.zeros((2, 3 * units))
    b_x, b_h = bias if bias.ndim == 2 else (bias, np.zeros(3 * units))
    h, states = np.zeros(units), []
    for step in x:
        x_z, x_r, x_h = np.split(step @ kernel + b_x, 3)
        h_z, h_r, h_h = np.split(h @ recurrent + b_h, 3)
        z, r = act_r(x_z + h_z), act_r(x_r + h_r)
        h_h = r * h_h if reset_after else (r * h) @ recurrent[:, 2 * units :]
        h = z * h + (1 - z) * act(x_h + h_h)
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize("bias", ["after", "before", None])
def test_a_gru_computes_what_keras_defines(bias):
    reset_after = bias != "before"
    given = one_gru(bias=bias, use_bias=bias is not None, reset_after=reset_after, return_sequences=True)
    node = spec_of(given).nodes[0].layer
    x = array(7, 4).astype(np.float64)
    y, _ = reference.gru(node.gru, x[None])
    np.testing.assert_allclose(y[0], keras_states(x, given.tensors, reset_after), atol=1e-14)
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


def bidirectional(tensors=None, forward=None, backward=None, **config):
    inner = gru("forward_gru", return_sequences=True, **(forward or {}))
    other = gru("backward_gru", **({"return_sequences": True, "go_backwards": True} | (backward or {})))
    config = {"merge_mode": "concat", "layer": inner, "backward_layer": other} | config
    ways = [gru_tensors(f"layers/bidirectional/{way}_layer", 4, 3) for way in ("forward", "backward")]
    return checkpoint([layer("Bidirectional", **config)], tensors or {**ways[0], **ways[1]})


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
def test_a_bidirectional_gru_has_both_directions_in_one_layer(merge):
    given = bidirectional(merge_mode=merge)
    given.tensors["layers/bidirectional/backward_layer/cell/vars/0"] += 1
    node = spec_of(given).nodes[0].layer
    assert (node.merge, node.return_sequences, node.go_backwards) == (merge, True, False)
    y, _ = reference.gru(node.gru, array(1, 5, 4))
    parts = [{n: t for n, t in given.tensors.items() if way in n} for way in ("forward_layer", "backward_layer")]
    x = array(1, 5, 4)[0].astype(np.float64)
    np.testing.assert_allclose(y[0, :, :3], keras_states(x, parts[0], True), atol=1e-14)
    np.testing.assert_allclose(y[0, ::-1, 3:], keras_states(x[::-1], parts[1], True), atol=1e-14)


def test_a_config_without_a_backward_layer_means_the_forward_one_turned_round():
    given = bidirectional()
    del given.config["config"]["layers"][1]["config"]["backward_layer"]
    assert spec_of(given).nodes[0].layer.gru.directions == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merge_mode": None}, "merge_mode is None, which gives two outputs"),
        ({"merge_mode": "max"}, "'max' is not supported"),
        ({"layer": layer("LSTM", "forward_lstm", units=3)}, "'forward_lstm' .*Bidirectional of LSTM"),
        ({"backward": {"reset_after": False}}, "the two directions differ"),
        ({"backward": {"go_backwards": False}}, r"go_backwards of its two layers is \[False, False\]"),
        ({"forward": {"return_state": True}, "backward": {"return_state": True}}, "return_state=True"),
    ],
)
def test_a_bidirectional_option_that_cannot_be_kept_is_refused(changes, message):
    with pytest.raises(UnsupportedModelError, match=message):
        spec_of(bidirectional(**changes))


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
    assert spec.inputs[0].name == "given"
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
    ["Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization"],
)
def test_layers_that_only_matter_in_training_do_nothing(class_name):
    given = one_gru()
    given.config["config"]["layers"].append(layer(class_name, "only_training", rate=0.5))
    assert type(spec_of(given).nodes[1].layer) is Dropout


def test_a_model_without_an_input_layer_is_read_by_its_weights():
    given = one_gru()
    given.config["config"]["layers"].pop(0)
    given.config["config"]["build_input_shape"] = [2, 5, 4]
    spec = spec_of(given)
    assert (spec.inputs[0].name, spec.inputs[0].features) == ("input", 4)


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
        (layer("LSTM", "other", units=3), "LSTM layers are not supported; supported are GRU"),
        (layer("__reduce__", "os.system"), "__reduce__ layers are not supported"),
        (foreign(module="my.package", registered_name="my>GRU"), r"'mine' \(GRU, layers\[2\]\).*'my>GRU' of module"),
        (foreign(module=None, registered_name="GRU"), "it is a class of its own"),
        (foreign(module="kerasx.layers"), "it is a class of its own"),
        (foreign(module="builtins", class_name="eval"), "it is a class of its own"),
        (layer("Masking", "skip", mask_value=0.0), r"'skip' .*lengths="),
        (gru("second", activation="softmax"), "'softmax' is not supported"),
        (gru("second", return_state=True), "return_state=True is not supported"),
        (layer("Activation", "act", activation="mish"), "activation 'mish' is not supported"),
        (layer("Activation", "act", activation="hard_sigmoid_keras2"), "'hard_sigmoid_keras2' is not supported"),
        (
            layer("Activation", "act", activation={"module": "os", "class_name": "system"}),
            "activation .* not supported",
        ),
        (layer("GRU", "q", units=3, dtype={"class_name": "QuantizedDTypePolicy"}), "quantised"),
    ],
)
def test_what_is_not_supported_is_refused_by_name_and_place(last, message):
    tensors = gru_tensors("layers/gru", 4, 3) | gru_tensors("layers/gru_1", 3, 3)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        spec_of(checkpoint([gru(return_sequences=True), last], tensors))
    assert str(caught.value).startswith("model.keras: ")


def test_masks_from_an_embedding_are_refused_with_the_way_out():
    words = layer("Embedding", "words", input_dim=9, output_dim=4, mask_zero=True)
    with pytest.raises(UnsupportedModelError, match=r"'words'.*mask_zero=True is not supported.*lengths="):
        spec_of(checkpoint([words], {"layers/embedding/vars/0": array(9, 4)}, shape=(None, None)))


@pytest.mark.parametrize("class_name", ["Functional", "MyModel", None, 3, ["Sequential"]])
def test_a_model_that_is_not_sequential_is_refused(class_name):
    given = one_gru()
    given.config["class_name"] = class_name
    with pytest.raises(UnsupportedModelError, match="supported is Sequential"):
        spec_of(given)


def test_a_class_that_is_only_called_sequential_is_refused():
    given = one_gru()
    given.config.update(module="mine", registered_name="mine>Sequential")
    with pytest.raises(UnsupportedModelError, match="supported is Sequential"):
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
    ("shape", "error", "message"),
    [
        ((None, None, 5), CheckpointError, "config gives the input 5 features, .* take 4"),
        ((None, 4), UnsupportedModelError, r"shape is \[None, 4\], supported is \(batch, time, features\)"),
        ((None, 2, 3, 4), UnsupportedModelError, "supported is"),
    ],
)
def test_an_input_that_does_not_fit_the_weights_is_an_error(shape, error, message):
    given = one_gru()
    given.config["config"]["layers"][0]["config"]["batch_shape"] = list(shape)
    with pytest.raises(error, match=message):
        spec_of(given)


def test_layers_that_do_not_fit_each_other_are_an_error_with_the_path():
    tensors = gru_tensors("layers/gru", 4, 3) | {"layers/dense/vars/0": array(5, 2), "layers/dense/vars/1": array(2)}
    with pytest.raises(CheckpointError, match=r"^model.keras: layer 'out': weight: got shape \(2, 5\), wanted"):
        spec_of(checkpoint([gru(), layer("Dense", "out", units=2)], tensors))


def test_naming_the_layers_of_a_file_that_describes_itself_is_an_error():
    with pytest.raises(CheckpointError, match="describes its own layers; leave layers= out"):
        spec_of(one_gru(), layers=["gru"])


WRONG = [None, True, 3, -1, 2.5, 10**4000, "", "x", [], [[]], {}, {"class_name": {}}, ["GRU"] * 2, {"config": None}]


@pytest.mark.parametrize("make", [one_gru, bidirectional])
def test_any_value_anywhere_in_a_config_gives_a_model_or_an_error_of_ours(make):
    places = list(paths(make().config))
    assert len(places) > 15
    for place in places:
        for value in WRONG:
            given = make()
            target = given.config
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = value
            with contextlib.suppress(FastGRUError):  # and nothing else
                validate(spec_of(given))


def paths(tree, above=()):
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield (*above, key)
        yield from paths(tree[key], (*above, key))


def test_an_empty_model_is_an_error():
    with pytest.raises(CheckpointError, match="at least one layer"):
        spec_of(checkpoint([], {}))
