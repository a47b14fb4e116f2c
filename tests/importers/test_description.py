"""``describe``: layers, sizes, options and tensors as plain data, for what can be loaded and for what cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest
from layer_examples import EXAMPLES, INNER, chain
from networks import network, numbers

from fastgru.checkpoint.contents import Checkpoint
from fastgru.command.description_text import print_description
from fastgru.importers import describe
from fastgru.importers.description.layers import facts_of
from fastgru.layers import (
    Activation,
    BatchNormalization,
    Conv1D,
    Dense,
    Embedding,
    GRULayer,
    Input,
    LayerNormalization,
    Masking,
    ModelSpec,
    Node,
    TimeDistributed,
)
from fastgru.saved.topology import to_data

KEYS = {
    "schema", "path", "format", "writer", "version", "metadata", "loads_as", "problem", "suggested_layers", "advice",
    "inputs", "outputs", "layers", "parameters", "used", "unused", "beside", "skipped", "stored", "stored_precision",
    "classes",
}  # fmt: skip
LAYER_KEYS = {
    "name", "kind", "sizes", "options", "parameters", "inputs", "mask", "outputs", "shared_with", "layers", "problem",
}  # fmt: skip


def zeros(*shape):
    return np.zeros(shape, np.float32)


def gru(prefix):
    return {
        f"{prefix}.weight_ih_l0": zeros(9, 4),
        f"{prefix}.weight_hh_l0": zeros(9, 3),
        f"{prefix}.bias_ih_l0": zeros(9),
        f"{prefix}.bias_hh_l0": zeros(9),
    }


def keras_checkpoint(*layers, tensors, model="Sequential"):
    entries = [
        {"module": "keras.layers", "class_name": kind, "config": {"name": name, **config}, "registered_name": None}
        for kind, name, config in layers
    ]
    config = {"module": "keras", "class_name": model, "config": {"name": "model", "layers": entries}}
    metadata = {"keras_version": "3.15.1", "skipped": ["assets/x"], "blob": object()}
    return Checkpoint("some.keras", "keras", tensors, config, metadata)


def saved(spec):
    data, tensors = to_data(spec)
    metadata = {"fastgru.format": "1", "fastgru.version": "0.1.0", "skipped": []}
    return Checkpoint("some.safetensors", "fastgru", tensors, json.loads(json.dumps(data)), metadata)


def described(checkpoint):
    """The description, having asserted that it is plain data with the keys that are documented."""
    found = describe(checkpoint)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == KEYS and found["schema"] == 1
    layers = list(found["layers"])
    while layers:
        layer = layers.pop()
        assert set(layer) == LAYER_KEYS
        layers += layer["layers"]
    assert sorted([*found["used"], *found["unused"], *found["beside"]]) == sorted(checkpoint)
    return found


def test_a_gru_is_described_in_full():
    found = described(Checkpoint("some.pt", "pytorch-zip", gru("rnn"), None, {"skipped": ["epoch"]}))
    assert found == {
        "schema": 1,
        "path": "some.pt",
        "format": "pytorch-zip",
        "writer": "PyTorch",
        "version": None,
        "metadata": {},
        "loads_as": "GRU",
        "problem": None,
        "suggested_layers": None,
        "advice": [],
        "classes": {},
        "inputs": [{"name": "x", "shape": [None, 4], "integers": False, "batch": None}],
        "outputs": [{"from": "y", "index": 0, "shape": [None, 3]}],
        "layers": [
            {
                "name": "rnn",
                "kind": "GRU",
                "sizes": {"input_size": 4, "hidden_size": 3, "num_layers": 1, "directions": 1},
                "options": {
                    "reset_after": True,
                    "activation": "tanh",
                    "recurrent_activation": "sigmoid",
                    "bias": True,
                    "return_sequences": True,
                    "return_state": False,
                    "go_backwards": False,
                    "zero_masked": False,
                    "merge": None,
                },
                "parameters": 81,
                "inputs": [],
                "mask": None,
                "outputs": [],
                "shared_with": None,
                "layers": [],
                "problem": None,
            }
        ],
        "parameters": 81,
        "used": list(gru("rnn")),
        "unused": [],
        "beside": [],
        "skipped": ["epoch"],
        "stored": {"float32": 4},
        "stored_precision": "float32",
    }


@pytest.mark.parametrize(
    ("kind", "place"), [(kind, at) for kind, specs in EXAMPLES.items() for at in range(len(specs))]
)
def test_every_layer_is_described_and_printed(kind, place, capsys):
    spec = EXAMPLES[kind][place]
    found = described(saved(spec))
    assert (found["format"], found["writer"], found["version"]) == ("fastgru", "fastgru", "0.1.0")
    assert (found["loads_as"], found["problem"], found["unused"]) == ("Model", None, [])
    assert [layer["name"] for layer in found["layers"]] == [node.name for node in spec.nodes]
    print_description(found)
    printed = capsys.readouterr().out
    assert all(each in printed for each in [*(node.name for node in spec.nodes), "loads as    Model"])


def test_a_graph_says_what_flows_where(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shared = Dense(numbers(4, 4), None, "softmax")
    spec = ModelSpec(
        (Input("ids", (None,), True), Input("state", (5,))),
        (
            Node("words", Embedding(numbers(9, 4), True), ("ids",)),
            Node("once", shared, ("words",)),
            Node("mask", Masking(float("inf")), ("once",)),
            Node("gru", GRULayer(network(4, 5, 1, 1), return_state=True), ("mask", "state")),
            Node("again", shared, ("once",)),
        ),
        ("gru", ("gru", 1), "again"),
    )
    found = described(saved(spec))
    by_name = {layer["name"]: layer for layer in found["layers"]}
    assert found["inputs"] == [
        {"name": "ids", "shape": [None], "integers": True, "batch": None},
        {"name": "state", "shape": [5], "integers": False, "batch": None},
    ]
    assert found["outputs"][1] == {"from": "gru", "index": 1, "shape": [5]}
    assert by_name["gru"]["inputs"] == [{"from": "mask", "index": 0}, {"from": "state", "index": 0}]
    assert by_name["gru"]["outputs"] == [[None, 5], [5]]
    assert (by_name["again"]["shared_with"], by_name["again"]["parameters"]) == ("once", 0)
    assert by_name["once"]["options"] == {"activation": "softmax", "bias": False}
    assert by_name["mask"]["options"] == {"value": "inf"}
    assert found["parameters"] == 36 + 16 + 165
    print_description(found)
    printed = capsys.readouterr().out
    for words in (
        "takes       ids (any,) of integers, state (5,)",
        "gives       gru (any, 5), gru[1] (5,), again (any, 4)",
        "mask, state",
        "(any, 5); (5,)",
        "the weights of once",
    ):
        assert " ".join(words.split()) in " ".join(printed.split()), words


def test_a_model_inside_a_layer_is_described_with_it(capsys):
    spec = chain(TimeDistributed(chain(TimeDistributed(INNER))), shape=(None, 3, 4))
    (outer,) = described(saved(spec))["layers"]
    assert (outer["parameters"], outer["outputs"]) == (15, [[None, 3, 3]])
    (middle,) = outer["layers"]
    assert [layer["name"] for layer in middle["layers"]] == ["deep", "flat"]
    assert middle["layers"][0]["outputs"] == [[3]]
    print_description(describe(saved(spec)))
    assert "\n    deep" in capsys.readouterr().out


def test_sizes_have_names_of_their_own():
    layers = [Conv1D(numbers(6, 2, 3), groups=2), LayerNormalization(numbers(6), rms=True), Dense(numbers(3, 6))]
    conv, norm, dense = described(saved(chain(*layers)))["layers"]
    assert conv["sizes"] == {"inputs": 4, "outputs": 6, "kernel": 3}
    assert conv["options"]["groups"] == 2 and conv["options"]["bias"] is False
    assert (norm["kind"], norm["sizes"]) == ("RMSNormalization", {"features": 6})
    assert dense["sizes"] == {"inputs": 6, "outputs": 3}


def test_an_activation_is_said_with_its_options(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    given = Activation("leaky_relu", negative_slope=0.25)
    as_layer, within = facts_of(given)["options"], facts_of(Dense(numbers(2, 4), None, given))["options"]
    assert as_layer == {"activation": "leaky_relu", "negative_slope": 0.25}
    assert within["activation"] == {"name": "leaky_relu", "negative_slope": 0.25}
    found = describe(saved(chain(Dense(numbers(2, 4)))))
    found["layers"][0]["options"] = within
    print_description(found)
    assert "leaky_relu(negative_slope=0.25), no bias" in capsys.readouterr().out


def test_cells_on_cells_are_counted_together():
    layer = GRULayer(network(4, 5), (network(5, 3), network(3, 2)))
    (found,) = described(saved(chain(layer)))["layers"]
    assert found["sizes"]["cells"] == [5, 3, 2]
    assert found["parameters"] == (3 * 5 * 11) + (3 * 3 * 10) + (3 * 2 * 7)


def test_biases_that_are_not_there_are_not_counted():
    for options, biases in (({"bias": False}, 0), ({"reset_after": False}, 15), ({}, 30)):
        (found,) = described(saved(chain(GRULayer(network(4, 5, **options)))))["layers"]
        assert found["parameters"] == 3 * 5 * 9 + biases


def test_a_gru_of_any_format_is_one_layer():
    found = described(saved(network(3, 2)))
    assert (found["loads_as"], found["layers"][0]["kind"], found["layers"][0]["name"]) == ("GRU", "GRU", "")


def test_a_file_of_several_modules_comes_with_the_layers_to_name():
    tensors = {"words.weight": zeros(9, 4)} | gru("rnn") | {"fc.weight": zeros(2, 3), "fc.bias": zeros(2)}
    found = described(Checkpoint("some.pt", "pytorch-zip", tensors))
    assert found["loads_as"] is None
    assert found["problem"] == (
        "some.pt: holds weights and not the order of its layers, and more than a GRU: 'words', 'fc'"
    )
    assert any("fastgru.Activation('relu')" in line for line in found["advice"])
    assert any("fastgru.FinalState()" in line for line in found["advice"])
    assert found["suggested_layers"] == 'layers=["words", ..., "rnn", ..., "fc", ...]'
    assert found["unused"] == []
    assert [layer["kind"] for layer in found["layers"]] == ["Embedding", "GRU", "Linear"]
    assert [layer["problem"] for layer in found["layers"]] == [None, None, None]
    assert found["layers"][0]["sizes"] == {"vocabulary": 9, "features": 4}
    assert found["layers"][2]["sizes"] == {"inputs": 3, "outputs": 2}
    assert found["parameters"] == 36 + 81 + 8


def test_an_npz_is_described_by_its_own_names():
    tensors = {"enc_w_ih": zeros(9, 4), "enc_w_hh": zeros(9, 3), "fc_w": zeros(2, 3), "fc_b": zeros(2)}
    found = described(Checkpoint("some.npz", "npz", tensors, None, {"skipped": ["words"]}))
    assert found["suggested_layers"] == 'layers=["enc", ..., "fc", ...]'
    assert found["used"] == list(tensors)
    assert found["skipped"] == ["words"]


def test_a_module_in_the_way_is_named_and_nothing_is_suggested():
    tensors = gru("rnn") | {"fc.weight": zeros(2, 3), "fc.bias": zeros(2), "image.weight": zeros(3, 4, 5, 5)}
    found = described(Checkpoint("some.pt", "pytorch-zip", tensors))
    assert found["problem"].endswith("more than a GRU: 'fc', 'image'; not supported: 'image' (Conv2d)")
    assert found["suggested_layers"] is None
    assert found["unused"] == ["image.weight"]
    assert [layer["problem"] for layer in found["layers"]] == [None, None, "Conv2d is not supported"]


def test_what_the_weights_leave_open_is_asked_for(capsys):
    tensors = gru("rnn") | {"norm.weight": zeros(3), "norm.bias": zeros(3), "up.weight": zeros(3, 3, 2)}
    found = described(Checkpoint("some.pt", "pytorch-zip", tensors))
    assert found["unused"] == []
    norm, up = found["layers"][1:]
    assert norm["kind"] == "LayerNorm, GroupNorm, InstanceNorm1d or BatchNorm1d without statistics"
    assert "say which: fastgru.Named('norm', kind='GroupNorm', groups=4)" in norm["problem"]
    assert "Conv1d or ConvTranspose1d" in up["problem"]
    assert found["suggested_layers"] == (
        'layers=["rnn", ..., fastgru.Named("norm", kind=...), ..., fastgru.Named("up", kind=..., padding=...), ...]'
    )
    print_description(found)
    printed = capsys.readouterr().out
    for words in ("say which: fastgru.Named('norm', kind='GroupNorm', groups=4)", "Replace each ... by"):
        assert words in printed


def test_a_whole_module_of_a_class_of_its_own_is_described_with_its_classes(capsys):
    def node(name, **children):
        return {"class_name": name, "options": {}, "hooks": [], "children": children}

    tree = node("my.Net", wrap=node("my.Reversed", rnn=node("torch.nn.modules.rnn.GRU")), act=node("my.Swish"))
    found = described(Checkpoint("some.pt", "pytorch-zip", gru("wrap.rnn"), tree, {"whole_module": "my.Net"}))
    assert found["loads_as"] is None and "class 'my.Net', whose forward is code" in found["problem"]
    assert found["suggested_layers"] is None
    assert found["classes"] == {"": "my.Net", "wrap": "my.Reversed", "act": "my.Swish"}
    print_description(found)
    printed = capsys.readouterr().out
    assert "classes     my.Net, wrap my.Reversed, act my.Swish" in printed and "layers='wrap.rnn'" in printed


def test_what_was_made_of_numbers_in_the_code_is_no_parameter():
    def scale(gamma, beta):
        return BatchNormalization(np.zeros(4), np.ones(4), gamma, beta, epsilon=0.0)

    half = scale(np.full(4, 0.5), np.zeros(4))
    assert facts_of(half)["parameters"] == 0
    assert facts_of(scale(np.arange(4.0), np.zeros(4)))["parameters"] == 4
    assert facts_of(scale(np.full(4, 0.5), np.arange(4.0)))["parameters"] == 4
    assert facts_of(half.replace(epsilon=1e-3))["parameters"] == 16


def test_a_damaged_module_says_what_is_wrong_with_it():
    tensors = gru("rnn")
    del tensors["rnn.bias_hh_l0"]
    found = described(Checkpoint("some.pt", "pytorch-zip", tensors))
    assert "'rnn.bias_hh_l0' is missing" in found["problem"]
    assert "'rnn.bias_hh_l0' is missing" in found["layers"][0]["problem"]
    assert found["layers"][0]["parameters"] == 72


def test_a_normalised_weight_counts_by_the_names_of_its_parts():
    tensors = gru("rnn")
    tensors["rnn.weight_hh_l0_v"] = tensors.pop("rnn.weight_hh_l0") + 1
    tensors["rnn.weight_hh_l0_g"] = zeros(9, 1)
    found = described(Checkpoint("some.pt", "pytorch-zip", tensors))
    assert found["loads_as"] == "GRU"
    assert sorted(found["used"]) == sorted(tensors)
    assert found["unused"] == []


def test_a_tensor_left_over_keeps_the_file_from_loading_and_hides_no_layer():
    checkpoint = saved(chain(Dense(numbers(5, 4))))
    checkpoint.tensors["stray"] = zeros(3)
    found = described(checkpoint)
    assert found["loads_as"] is None
    assert found["problem"] == "some.safetensors: no layer uses the tensors 'stray'"
    assert (found["unused"], found["used"]) == (["stray"], ["layer 0.weight"])
    assert found["layers"][0]["sizes"] == {"inputs": 4, "outputs": 5}


def test_layers_that_are_not_known_are_listed_as_the_file_does():
    checkpoint = saved(chain(Dense(numbers(5, 4)), GRULayer(network(5, 3))))
    checkpoint.config["layers"]["layer 1"]["type"] = "Later"
    found = described(checkpoint)
    assert [(layer["name"], layer["kind"], layer["parameters"]) for layer in found["layers"]] == [
        ("layer 0", "Dense", 20),
        ("layer 1", "Later", 90),
    ]
    assert [layer["problem"] is None for layer in found["layers"]] == [True, False]


def test_layers_in_a_list_are_told_by_their_place():
    tensors = {"layers.0.weights.0": zeros(4, 2), "layers.1.weights.0": zeros(2, 2)}
    layers = [{"type": "dense", "weights": ["layers.0.weights.0"]}, {"type": "lstm", "weights": ["layers.1.weights.0"]}]
    found = described(Checkpoint("a.json", "rtneural", tensors, {"in_shape": [None, None, 4], "layers": layers}))
    assert [layer["name"] for layer in found["layers"]] == ["dense_0", "lstm_1"]
    assert found["layers"][0]["problem"] is None and "not supported" in found["layers"][1]["problem"]
    assert found["unused"] == ["layers.1.weights.0"]
    assert found["writer"] == "RTNeural"


def test_a_keras_model_is_described_layer_by_layer():
    tensors = {
        "layers/gru/cell/vars/0": zeros(4, 9),
        "layers/gru/cell/vars/1": zeros(3, 9),
        "layers/gru/cell/vars/2": zeros(2, 9),
        "layers/dense/vars/0": zeros(3, 2),
        "layers/dense/vars/1": zeros(2),
        "optimizer/vars/0": np.array(7),
    }
    layers = [("InputLayer", "given", {"batch_shape": [None, None, 4]}), ("GRU", "rnn", {"units": 3})]
    found = described(keras_checkpoint(*layers, ("Dense", "out", {"units": 2}), tensors=tensors))
    assert (found["writer"], found["version"], found["loads_as"], found["problem"]) == (
        "Keras",
        "3.15.1",
        "Model",
        None,
    )
    assert [(layer["name"], layer["kind"], layer["parameters"]) for layer in found["layers"]] == [
        ("rnn", "GRU", 81),
        ("out", "Dense", 8),
    ]
    assert found["layers"][0]["options"]["return_sequences"] is False
    assert found["layers"][1]["options"] == {"activation": "linear", "bias": True}
    assert found["layers"][1]["inputs"] == [{"from": "rnn", "index": 0}]
    assert found["beside"] == ["optimizer/vars/0"]
    assert found["unused"] == []
    assert found["skipped"] == ["assets/x"]
    assert found["metadata"] == {"keras_version": "3.15.1"}


@pytest.mark.parametrize("nested", [False, True])
def test_a_keras_layer_that_is_not_supported_does_not_hide_the_others(nested):
    start = "layers/sequential/" if nested else ""
    tensors = {
        f"{start}layers/lstm/cell/vars/0": zeros(4, 12),
        f"{start}layers/dense/vars/0": zeros(3, 2),
        f"{start}layers/dense/vars/1": zeros(2),
    }
    lstm, dense = ("LSTM", "rnn", {"units": 3, "activation": "relu"}), ("Dense", "out", {"units": 2})
    given = keras_checkpoint(lstm, dense, tensors=tensors)
    if nested:
        inner = {**given.config["config"], "name": "inner"}
        given = keras_checkpoint(("Sequential", "inner", inner), tensors=tensors)
    found = described(given)
    assert found["loads_as"] is None
    assert "LSTM layers are not supported" in found["problem"]
    first, second = found["layers"]
    assert "LSTM layers are not supported" in first["problem"]
    assert first["kind"] == "LSTM"
    assert (second["problem"], second["sizes"]) == (None, {"inputs": 3, "outputs": 2})
    assert found["unused"] == [f"{start}layers/lstm/cell/vars/0"]


def test_a_model_that_is_code_still_has_a_description():
    given = keras_checkpoint(tensors={"layers/gru/cell/vars/0": zeros(4, 9)}, model="Mine")
    found = described(given)
    assert "the model is of a class of its own, 'Mine'" in found["problem"]
    assert found["layers"] == []
    assert found["unused"] == ["layers/gru/cell/vars/0"]


def test_a_damaged_config_is_listed_as_far_as_it_goes():
    given = keras_checkpoint(("GRU", "rnn", {}), tensors={})
    given.config["config"]["layers"] += [3, {"class_name": "Dense"}]
    found = described(given)
    assert (found["layers"][0]["name"], found["layers"][0]["kind"]) == ("rnn", "GRU")
    assert found["problem"]
