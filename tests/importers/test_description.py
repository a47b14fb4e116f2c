"""``describe``: sizes, options and parameters as plain data, for what can be loaded and for what cannot."""

from __future__ import annotations

import json

import numpy as np

from fastgru.checkpoint.contents import Checkpoint
from fastgru.importers import describe


def zeros(*shape):
    return np.zeros(shape, np.float32)


def gru(prefix):
    return {
        f"{prefix}.weight_ih_l0": zeros(9, 4),
        f"{prefix}.weight_hh_l0": zeros(9, 3),
        f"{prefix}.bias_ih_l0": zeros(9),
        f"{prefix}.bias_hh_l0": zeros(9),
    }


def keras_checkpoint(*layers, tensors):
    entries = [{"class_name": kind, "config": {"name": name, **config}} for kind, name, config in layers]
    config = {"class_name": "Sequential", "config": {"layers": entries}}
    metadata = {"keras_version": "3.15.1", "skipped": ["assets/x"], "blob": object()}
    return Checkpoint("some.keras", "keras", tensors, config, metadata)


def test_a_gru_is_described_in_full():
    found = describe(Checkpoint("some.pt", "pytorch-zip", gru("rnn"), None, {"skipped": ["epoch"]}))
    assert json.loads(json.dumps(found)) == {
        "path": "some.pt",
        "format": "pytorch-zip",
        "writer": "PyTorch",
        "version": None,
        "metadata": {},
        "loads_as": "GRU",
        "problem": None,
        "layers": [
            {
                "name": "rnn",
                "kind": "GRU",
                "sizes": {"input_size": 4, "hidden_size": 3, "num_layers": 1, "directions": 1},
                "options": {
                    "reset_after": True,
                    "bias": True,
                    "activation": "tanh",
                    "recurrent_activation": "sigmoid",
                    "return_sequences": True,
                    "merge": None,
                    "go_backwards": False,
                },
                "parameters": 81,
                "problem": None,
            }
        ],
        "parameters": 81,
        "used": list(gru("rnn")),
        "unused": [],
        "beside": [],
        "skipped": ["epoch"],
        "suggested_layers": None,
    }


def test_a_file_of_several_modules_comes_with_the_layers_to_name():
    tensors = {"words.weight": zeros(9, 4)} | gru("rnn") | {"fc.weight": zeros(2, 3), "fc.bias": zeros(2)}
    found = describe(Checkpoint("some.pt", "pytorch-zip", tensors))
    json.dumps(found)
    assert found["loads_as"] is None
    assert found["problem"] == (
        "some.pt: holds weights and not the order of its layers, and more than a GRU: 'words', 'fc'"
    )
    assert found["suggested_layers"] == 'layers=["words", "rnn", fastgru.Last(), "fc"]'
    assert found["unused"] == []
    assert [layer["kind"] for layer in found["layers"]] == ["Embedding", "GRU", "Linear"]
    assert [layer["problem"] for layer in found["layers"]] == [None, None, None]
    assert found["layers"][0]["sizes"] == {"vocabulary": 9, "features": 4}
    assert found["layers"][2]["sizes"] == {"inputs": 3, "outputs": 2}
    assert found["parameters"] == 36 + 81 + 8


def test_a_module_in_the_way_is_named_and_nothing_is_suggested():
    tensors = gru("rnn") | {"fc.weight": zeros(2, 3), "fc.bias": zeros(2), "conv.weight": zeros(3, 4, 5)}
    found = describe(Checkpoint("some.pt", "pytorch-zip", tensors))
    assert found["problem"].endswith("more than a GRU: 'fc', 'conv'; not supported: 'conv' (Conv1d)")
    assert found["suggested_layers"] is None
    assert found["unused"] == ["conv.weight"]
    assert [layer["problem"] for layer in found["layers"]] == [None, None, "Conv1d is not supported"]


def test_a_damaged_module_says_what_is_wrong_with_it():
    tensors = gru("rnn")
    del tensors["rnn.bias_hh_l0"]
    found = describe(Checkpoint("some.pt", "pytorch-zip", tensors))
    assert "'rnn.bias_hh_l0' is missing" in found["problem"]
    assert "'rnn.bias_hh_l0' is missing" in found["layers"][0]["problem"]
    assert found["layers"][0]["parameters"] == 72


def test_a_normalised_weight_counts_by_the_names_of_its_parts():
    tensors = gru("rnn")
    tensors["rnn.weight_hh_l0_v"] = tensors.pop("rnn.weight_hh_l0") + 1
    tensors["rnn.weight_hh_l0_g"] = zeros(9, 1)
    found = describe(Checkpoint("some.pt", "pytorch-zip", tensors))
    assert found["loads_as"] == "GRU"
    assert sorted(found["used"]) == sorted(tensors)
    assert found["unused"] == []


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
    found = describe(keras_checkpoint(*layers, ("Dense", "out", {"units": 2}), tensors=tensors))
    json.dumps(found)
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
    assert found["layers"][1]["options"] == {"bias": True, "activation": "linear"}
    assert found["beside"] == ["optimizer/vars/0"]
    assert found["unused"] == []
    assert found["skipped"] == ["assets/x"]
    assert found["metadata"] == {"keras_version": "3.15.1"}


def test_a_keras_layer_that_is_not_supported_does_not_hide_the_others():
    tensors = {
        "layers/lstm/cell/vars/0": zeros(4, 12),
        "layers/dense/vars/0": zeros(3, 2),
        "layers/dense/vars/1": zeros(2),
    }
    found = describe(keras_checkpoint(("LSTM", "rnn", {"units": 3}), ("Dense", "out", {"units": 2}), tensors=tensors))
    assert found["loads_as"] is None
    assert "LSTM layers are not supported" in found["problem"]
    assert "LSTM layers are not supported" in found["layers"][0]["problem"]
    assert found["layers"][0]["parameters"] == 48
    assert found["layers"][1]["problem"] is None
    assert found["unused"] == ["layers/lstm/cell/vars/0"]


def test_a_model_that_is_not_sequential_still_has_a_description():
    given = keras_checkpoint(tensors={"layers/gru/cell/vars/0": zeros(4, 9)})
    given.config["class_name"] = "Functional"
    found = describe(given)
    assert "supported is Sequential" in found["problem"]
    assert found["layers"] == []
    assert found["unused"] == ["layers/gru/cell/vars/0"]
