"""Attacks by a Keras configuration: graphs and depth without end, sizes that lie, classes that are not Keras's.

Each ends in a model or a FastGRUError, within 2 s and little memory, and nothing in it is imported or called.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from bounds import ending, in_little_memory, soon
from keras_configs import (
    array,
    called,
    checkpoint,
    functional,
    graph_checkpoint,
    gru,
    gru_tensors,
    h5,
    layer,
    old_layer,
    operation,
    tensor,
)
from keras_writer import hdf5_bytes, keras_bytes

from fastgru import load
from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, FastGRUError, UnsupportedModelError
from fastgru.importers import describe, spec_of
from fastgru.layers import ModelSpec


def ended(given: Checkpoint, layers=None, traced=False):
    """What a file ends in: a specification or the error; with ``traced`` its memory is watched and not its time."""
    with in_little_memory() if traced else soon():
        return ending(partial(spec_of, layers=layers), given)


def refused(given: Checkpoint, kind=CheckpointError, layers=None) -> str:
    error = ended(given, layers)
    assert isinstance(error, kind), error
    assert len(str(error)) < 3000
    return str(error)


def given_input(name="x", *shape):
    return called(layer("InputLayer", name, batch_shape=[None, *shape]))


def graph(*layers, output="last", tensors=None, version="3.15.1"):
    return graph_checkpoint([given_input("x", 4), *layers], [["x", 0, 0]], [[output, 0, 0]], tensors or {}, version)


def dropout(name, *calls):
    return called(layer("Dropout", name), *calls)


@pytest.mark.parametrize("length", [1, 2, 1000])
def test_cycles(length):
    ring = [dropout(f"d{place}", (tensor(f"d{(place + 1) % length}"),)) for place in range(length)]
    assert "in a cycle" in refused(graph(*ring, output="d0"))


def test_a_model_that_is_in_a_cycle_with_itself():
    inner = layer("Sequential", "inner", layers=[layer("Dropout", "d")])
    assert "in a cycle" in refused(graph(called(inner, (tensor("inner"),)), output="inner"))


@pytest.mark.parametrize("style", ["chain", "graph"])
def test_a_hundred_thousand_layers(style):
    if style == "chain":
        given = checkpoint([layer("Dropout", f"d{place}") for place in range(100_000)], {})
    else:
        given = graph(*[dropout("d", (tensor("x"),))] * 100_000, output="d")
    assert "more than 10000 layers" in refused(given)


def test_thousands_of_layers_are_a_model():
    names = ["x", *(f"d{place}" for place in range(6_000))]
    layers = [dropout(name, (tensor(before),)) for before, name in pairwise(names)]
    given = graph(*layers[::-1], output=names[-1])
    assert isinstance(ended(given), ModelSpec)


def test_a_layer_that_is_called_a_million_times():
    calls = [(tensor("x"),)] * (1 << 20)
    given = graph(called(layer("Dropout", "d"), (tensor("x"),)), output="d")
    given.config["config"]["layers"][1]["inbound_nodes"] *= len(calls)
    assert "more than 10000 calls" in refused(given)


def growing(depth, wrap, times):
    """A model that calls a model several times that calls a model several times ..."""
    inner = layer("Dropout", "deepest")
    for level in range(depth):
        name = f"level{level}"
        calls = [(tensor("i"),), *((tensor("inner", call),) for call in range(times - 1))]
        part = called(wrap(inner), *calls, name="inner")
        config = functional([given_input("i", 4), part], [["i", 0, 0]], [["inner", times - 1, 0]])
        inner = {
            "module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional",
            "config": {**config, "name": name},
        }  # fmt: skip
    return inner


def plain(inner):
    return {**inner, "config": {**inner["config"], "name": "inner"}}


def in_steps(inner):
    return layer("TimeDistributed", "inner", layer=plain(inner))


@pytest.mark.parametrize(("wrap", "depth", "times"), [(plain, 18, 2), (in_steps, 9, 4)])
def test_models_that_grow_with_every_level(wrap, depth, times):
    message = refused(graph(called(growing(depth, wrap, times), (tensor("x"),), name="last")))
    assert "come to more than 10000" in message


@pytest.mark.parametrize(
    ("wrap", "depth"),
    [
        (lambda inner: layer("TimeDistributed", "deep", layer=inner), 10_000),
        (lambda inner: layer("Bidirectional", "deep", layer=inner), 10_000),
        (lambda inner: layer("Sequential", "deep", layers=[inner]), 10_000),
        (lambda inner: layer("RNN", "deep", cell=inner), 10_000),
        (lambda inner: layer("StackedRNNCells", "deep", cells=[inner]), 10_000),
    ],
)
def test_ten_thousand_levels(wrap, depth):
    inner = layer("Dropout", "deepest")
    for _ in range(depth):
        inner = wrap(inner)
    assert "nested deeper than 20" in refused(checkpoint([inner], {}))


def test_a_list_of_references_without_end():
    nested = tensor("x")
    for _ in range(50_000):
        nested = [nested]
    refused(graph(called(layer("Add", "last"), ([nested],))), FastGRUError)
    outputs = [["last", 0, 0]]
    for _ in range(50_000):
        outputs = [outputs]
    given = graph(dropout("last", (tensor("x"),)))
    given.config["config"]["output_layers"] = outputs
    assert "output_layers has" in refused(given)


def test_activations_within_activations():
    inner = "relu"
    for _ in range(10_000):
        inner = {"module": "keras.layers", "class_name": "Activation", "config": {"name": "a", "activation": inner}}
    refused(checkpoint([layer("Activation", "a", activation=inner)], {}), UnsupportedModelError)


@pytest.mark.parametrize("size", [0, -1, -(2**63), 2**31, 2**63, 10**100, True, 3.0, "3", None, [3, 3], {}])
@pytest.mark.parametrize(
    ("class_name", "key"),
    [("GRU", "units"), ("Dense", "units"), ("Conv1D", "filters"), ("Conv1D", "strides"), ("RepeatVector", "n"),
     ("Embedding", "output_dim"), ("MaxPooling1D", "pool_size"), ("UpSampling1D", "size")],
)  # fmt: skip
def test_sizes_that_cannot_be(class_name, key, size):
    config = {"units": 3, "filters": 2, "kernel_size": 1, "input_dim": 9, "output_dim": 4, key: size}
    tensors = gru_tensors("layers/gru", 4, 3) | {"layers/embedding/vars/0": array(9, 4)}
    tensors |= {"layers/dense/vars/0": array(4, 3), "layers/dense/vars/1": array(3)}
    tensors |= {"layers/conv1d/vars/0": array(1, 4, 2), "layers/conv1d/vars/1": array(2)}
    assert isinstance(ended(checkpoint([layer(class_name, "odd", **config)], tensors)), CheckpointError)


def test_sizes_that_no_memory_has():
    huge = 2**31 - 1
    for made in (
        [layer("RepeatVector", "r", n=huge)], [layer("ZeroPadding1D", "z", padding=[huge, huge])],
        [layer("UpSampling1D", "u", size=huge)], [layer("Reshape", "r", target_shape=[huge] * 6)],
        [layer("Reshape", "r", target_shape=[1] * 1000)], [layer("Dense", "d", units=huge)], [gru(units=huge)],
        [layer("Conv1D", "c", filters=huge, kernel_size=huge, dilation_rate=huge)],
        [layer("MaxPooling1D", "m", pool_size=huge)], [layer("Permute", "p", dims=list(range(1, 10_000)))],
    ):  # fmt: skip
        ended(checkpoint(made, {"layers/dense/vars/0": np.zeros((0, huge), np.float32)}))


def test_an_input_of_any_shape():
    for shape in ([None] * 1000, [None, 2**31], [None, 0], [None, None, None], [], [[[]]], "abc", {}, 3):
        given = checkpoint([layer("Dropout", "d")], {}, shape=(None, 4))
        given.config["config"]["layers"][0]["config"]["batch_shape"] = shape
        ended(given)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..", "/", "a/../../b", "x" * 255, "\x1b[2J", "a\nb", "vars", "#1", "'"]
)
def test_names_that_lead_elsewhere_are_only_names(name):
    made = layer("Sequential", name, layers=[gru(name, return_sequences=True)])
    given = checkpoint([made, gru(name)], {})
    assert "'layers/sequential/layers/gru/cell/vars/0' is missing" in refused(given)
    tensors = gru_tensors("layers/sequential/layers/gru", 4, 3) | gru_tensors("layers/gru", 3, 3)
    spec = ended(checkpoint([made, gru(name)], tensors))
    assert isinstance(spec, ModelSpec) and len({node.name for node in spec.nodes}) == 2


@pytest.mark.parametrize("name", ["", "x" * 256, "x" * 1_000_000, None, 3, ["gru"]])
def test_names_that_are_none(name):
    assert "name is" in refused(checkpoint([gru() | {"name": name}], gru_tensors("layers/gru", 4, 3)))


def test_long_names_of_models_in_models_do_not_add_up():
    inner = layer("Dropout", "d" * 255)
    for _ in range(18):
        inner = layer("Sequential", "m" * 255, layers=[inner])
    calls = [(tensor("x"),)] * 500
    spec = ended(graph(called(inner, *calls, name="last")))
    assert isinstance(spec, ModelSpec) and max(len(node.name) for node in spec.nodes) < 300
    ended(graph(called(inner, *calls[:100], name="last")), traced=True)


@pytest.mark.parametrize(
    "made",
    [
        layer("Lambda", "l", function={"class_name": "__lambda__", "config": {"code": "4wEA", "defaults": None}}),
        layer("GRU", "g", units=3) | {"module": "os", "class_name": "system", "registered_name": None},
        layer("GRU", "g", units=3) | {"module": "evil", "registered_name": "evil>GRU"},
        layer("GRU", "g", units=3) | {"module": None, "registered_name": "GRU"},
        layer("GRU", "g", units=3) | {"module": ["keras"]},
        layer("TFSMLayer", "t", filepath="/etc/passwd"),
        layer("TorchModuleWrapper", "t", module="gASV"),
        layer("Dense", "d", units=3, activation={"module": "os", "class_name": "function", "config": "system"}),
        layer("Dense", "d", units=3, activation={"class_name": "eval", "config": {"x": 1}}),
        layer("Activation", "a", activation="os.system"),
        layer("__import__", "i"),
        layer("Masking", "m", mask_value={"class_name": "__lambda__", "config": {"value": {"module": "os"}}}),
        layer("Bidirectional", "b", layer=layer("LSTM", "l")),
        layer("RNN", "r", cell={"module": "evil", "class_name": "GRUCell", "config": {"name": "c"}}),
        operation("GetItem", "g"),
    ],
)  # fmt: skip
def test_classes_and_functions_are_only_words(made, monkeypatch):
    import builtins

    tensors = {"layers/dense/vars/0": array(4, 3), "layers/dense/vars/1": array(3)}
    given = checkpoint([made], tensors)
    spec_of(checkpoint([gru()], gru_tensors("layers/gru", 4, 3)))  # imports what it needs
    imported, known, real = [], {*sys.modules, ""}, builtins.__import__

    def noted(name, *more):
        imported.extend([name] if len(more) < 4 or not more[3] else ())  # not the package's own, by their level
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", noted)
    error = ended(given)
    monkeypatch.undo()
    assert isinstance(error, FastGRUError), error
    assert {name for name in imported if name not in known} == set()


WRONG_NODES = [
    3, "x", None, {}, [3], [[3]], [[[]]], [["x"]], [["x", 0]], [["x", 0, 0, 0]], [["x", "0", 0]], [[["x", 0, 0, []]]],
    [{"args": 3}], [{"args": [], "kwargs": 3}], [{"args": [{"class_name": "__keras_tensor__"}]}],
    [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0]}}]}],
    [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 2**70, 0]}}]}],
    [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 2**70]}}]}],
    [{"args": [{"class_name": "__tensor__", "config": {"value": [1], "dtype": "float32"}}]}],
    [{"args": [{"a": {"b": {"c": {"d": {"e": {"f": {}}}}}}}]}], [{"args": [tensor("x")], "kwargs": {"mask": 3}}],
    [{"args": [tensor("x")], "kwargs": {"mask": [tensor("x")] * 9}}], [{"args": [[tensor("x")] * 50_000]}],
]  # fmt: skip


@pytest.mark.parametrize("nodes", WRONG_NODES)
@pytest.mark.parametrize(
    "made", [layer("Dropout", "last"), gru("last"), layer("Add", "last"), operation("GetItem", "last")]
)
def test_calls_of_wrong_types(nodes, made):
    given = graph(called(made, (tensor("x"),)), tensors=gru_tensors("layers/gru", 4, 3))
    given.config["config"]["layers"][1]["inbound_nodes"] = nodes
    ended(given)


def test_masks_of_many_masks():
    """Every sum of n masked sequences has a mask of its own."""
    count = 300
    layers = []
    for place in range(count):
        layers.append(called(layer("Masking", f"m{place}", mask_value=float(place)), (tensor("x"),)))
        before = f"s{place - 1}" if place else "m0"
        layers.append(called(layer("Add", f"s{place}"), ([tensor(before), tensor(f"m{place}")],)))
    given = graph_checkpoint([given_input("x", 6, 4), *layers], [["x", 0, 0]], [[f"s{count - 1}", 0, 0]], {})
    for version in ("3.15.1", "2.15.0"):
        given.metadata["keras_version"] = version
        assert isinstance(ended(given), ModelSpec)
        ended(given, traced=True)


def test_lists_that_name_one_array_for_many_layers():
    """An array that is listed twice would be twice in memory."""
    chain = [old_layer("Dense", f"d{place}", units=300, use_bias=False) for place in range(1_000)]
    given = h5({"name": "m", "layers": chain}, {"d0": [array(300, 300)]})
    given.metadata["weight_names"] = {f"d{place}": ["d0/0"] for place in range(1_000)}
    assert "belongs to more than one layer" in refused(given)


@pytest.mark.parametrize("lists", [{}, {"gru": []}, {"gru": ["gru/0"] * 3}, {"other": ["gru/0", "gru/1", "gru/2"]}])
def test_lists_that_lie(lists):
    given = h5([old_layer("GRU", "gru", units=3)], {"gru": [array(4, 9), array(3, 9), array(9)]})
    given.metadata["weight_names"] = lists
    refused(given)


def test_shared_numbers_that_lie():
    one = layer("Dense", "one", units=3) | {"shared_object_id": 1}
    other = gru("other") | {"shared_object_id": 1}
    tensors = {"layers/dense/vars/0": array(4, 3), "layers/dense/vars/1": array(3)}
    assert "'layers/gru/cell/vars/0' is missing" in refused(checkpoint([one, other], tensors))
    for number in (-1, 2**80, True, "1", [1], {}):
        ended(checkpoint([one | {"shared_object_id": number}] * 2, tensors))


def test_weights_without_a_config_of_thousands_of_layers():
    tensors = {f"layers/dense_{place}/vars/0": np.zeros((3, 3), np.float32) for place in range(5_000)}
    given = Checkpoint("some.weights.h5", "keras-weights", tensors, None, {"names": {}})
    refused(given)
    assert isinstance(ended(given, layers=[f"dense_{place}" for place in range(5_000)]), ModelSpec)


def test_whatever_is_refused_is_described(tmp_path):
    inner = layer("Dropout", "deepest")
    for _ in range(30):
        inner = layer("TimeDistributed", "deep", layer=inner)
    for made in (inner, layer("Lambda", "l"), gru(units=-1), layer("GRU", "g") | {"module": "evil"}):
        found = describe(checkpoint([made], {}))
        assert found["problem"] and found["loads_as"] is None


def test_a_file_of_it_all(tmp_path):
    """The same by way of a file, whose JSON is bounded before."""
    config = graph(*(dropout(f"d{place}", (tensor("x"),)) for place in range(3_000)), output="d7").config
    path = tmp_path / "model.keras"
    path.write_bytes(keras_bytes(hdf5_bytes({"layers/x/vars/0": np.zeros(2, "f4")}), config=config))
    with pytest.raises(CheckpointError, match="no layer uses"):
        load(path)
