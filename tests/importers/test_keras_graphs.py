"""Functional configs of Keras, written by hand as its versions write them: how calls are found, named and ordered."""

from __future__ import annotations

import numpy as np
import pytest
from keras_configs import (
    array,
    called,
    checkpoint,
    endings_of_changes,
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

from fastgru import GRU, Model
from fastgru.errors import CheckpointError, FastGRUError, UnsupportedModelError
from fastgru.importers import spec_of
from fastgru.layers import Dropout, Embedding, GRULayer, MaskOf, NotEqual, Reverse, Select, Slice, Unmasked, validate


def given(name, *shape, **config):
    return called(layer("InputLayer", name, batch_shape=[None, *shape], **config))


def dense(name, units, *calls):
    return called(layer("Dense", name, units=units), *calls)


def dense_tensors(*sizes):
    """Of Dense layers from inputs to outputs, in the order of their groups."""
    tensors = {}
    for place, (inputs, outputs) in enumerate(sizes):
        group = f"layers/dense{f'_{place}' if place else ''}"
        tensors |= {f"{group}/vars/0": array(inputs, outputs, seed=place), f"{group}/vars/1": array(outputs)}
    return tensors


def two_inputs(**changes):
    """a and b through one Dense, added, and b through another."""
    layers = [
        given("a", 3), given("b", 3), dense("shared", 2, (tensor("a"),), (tensor("b"),)),
        called(layer("Add", "sum"), ([tensor("shared", 0), tensor("shared", 1)],)),
        dense("own", 4, (tensor("b"),)),
    ]  # fmt: skip
    options = {"inputs": [["a", 0, 0], ["b", 0, 0]], "outputs": [["own", 0, 0], ["sum", 0, 0]]} | changes
    return graph_checkpoint(layers, options["inputs"], options["outputs"], dense_tensors((3, 2), (3, 4)))


def test_inputs_and_outputs_come_in_the_files_order():
    spec = spec_of(two_inputs())
    assert [source.name for source in spec.inputs] == ["a", "b"]
    assert spec.outputs == ("own", "sum")
    assert [node.name for node in spec.nodes] == ["shared", "shared#1", "sum", "own"]
    assert spec.nodes[0].layer is spec.nodes[1].layer
    a, b = array(2, 3), array(2, 3, seed=1)
    own, total = Model(spec)([a, b])
    weights = list(two_inputs().tensors.values())
    np.testing.assert_allclose(total, (a + b) @ weights[0] + 2 * weights[1], atol=1e-6)
    np.testing.assert_allclose(own, b @ weights[2] + weights[3], atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "outputs", "names"),
    [
        (["b", 0, 0], ["own", 0, 0], None),
        ([["b", 0, 0], ["a", 0, 0]], [["sum", 0, 0]], ["b", "a"]),
        ({"y": ["b", 0, 0], "x": ["a", 0, 0]}, {"q": ["sum", 0, 0], "p": ["own", 0, 0]}, ["x", "y"]),
        ([["a", 0, 0], [["b", 0, 0]]], [[["sum", 0, 0]], ["own", 0, 0]], ["a", "b"]),
    ],
)
def test_inputs_and_outputs_may_be_one_a_list_or_a_dict(inputs, outputs, names):
    checkpoint = two_inputs(inputs=inputs, outputs=outputs)
    if names is None:
        with pytest.raises(CheckpointError, match=r"'a' .*input_layers must name every InputLayer once"):
            spec_of(checkpoint)
    else:
        assert [source.name for source in spec_of(checkpoint).inputs] == names


def test_calls_are_put_in_an_order_in_which_they_can_be_computed():
    layers = [
        dense("third", 2, (tensor("second"),)), dense("second", 2, (tensor("first"),)),
        dense("first", 2, (tensor("x"),)), given("x", 2),
    ]  # fmt: skip
    tensors = dense_tensors((2, 2), (2, 2), (2, 2))
    spec = spec_of(graph_checkpoint(layers, [["x", 0, 0]], [["third", 0, 0]], tensors))
    assert [node.name for node in spec.nodes] == ["first", "second", "third"]
    np.testing.assert_array_equal(spec.nodes[0].layer.weight, tensors["layers/dense_2/vars/0"].T)


def inner(style, name="inner"):
    """A functional model within one, as Keras 2 and 3 write it; it doubles what it takes."""
    if style == "old":
        layers = [
            {**old_layer("InputLayer", "i", batch_input_shape=[None, 3])},
            old_layer("Add", "twice", [["i", 0, 0], ["i", 0, 0]]),
        ]
        return {"class_name": "Model", "config": functional(layers, [["i", 0, 0]], [["twice", 0, 0]]) | {"name": name}}
    layers = [given("i", 3), called(layer("Add", "twice"), ([tensor("i"), tensor("i")],))]
    config = functional(layers, [["i", 0, 0]], [["twice", 0, 0]]) | {"name": name}
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": config,
        "registered_name": "Functional",
    }


def test_keras_3_counts_the_calls_of_a_model_from_1_only_among_the_outputs():
    model = called(inner("new"), (tensor("x"),), (tensor("inner", 0),), (tensor("inner", 1),), name="inner")
    checkpoint = graph_checkpoint([given("x", 3), model], [["x", 0, 0]], [["inner", 3, 0], ["inner", 1, 0]], {})
    spec = spec_of(checkpoint)
    assert [node.name for node in spec.nodes] == ["inner/twice", "inner/twice#1", "inner/twice#2"]
    assert spec.outputs == ("inner/twice#2", "inner/twice")
    eight, two = Model(spec)(np.ones((1, 3)))
    assert (eight == 8).all() and (two == 2).all()


def test_keras_2_counts_the_calls_of_a_model_from_1_everywhere():
    model = {**inner("old"), "name": "inner", "inbound_nodes": [[["x", 0, 0, {}]], [["inner", 1, 0, {}]]]}
    layers = [old_layer("InputLayer", "x", batch_input_shape=[None, 3]), model]
    config = functional(layers, [["x", 0, 0]], [["inner", 2, 0], ["inner", 1, 0]])
    four, two = Model(spec_of(h5(config, {"x": [], "inner": []}, class_name="Model")))(np.ones((1, 3)))
    assert (four == 4).all() and (two == 2).all()


def test_keras_2_lists_references_and_options():
    kernel, recurrent, bias = array(4, 9), array(3, 9), array(2, 9)
    layers = [
        old_layer("InputLayer", "x", batch_input_shape=[None, None, 4]),
        old_layer("InputLayer", "h", batch_input_shape=[None, 3]),
        old_layer("GRU", "listed", [["x", 0, 0], ["h", 0, 0]], units=3, reset_after=True),
        {**old_layer("GRU", "named", units=3, reset_after=True),
         "inbound_nodes": [[["x", 0, 0, {"initial_state": [["h", 0, 0]], "training": None}]]]},
        old_layer("Subtract", "difference", [["listed", 0, 0], ["named", 0, 0]]),
    ]  # fmt: skip
    config = functional(layers, [["x", 0, 0], ["h", 0, 0]], [["difference", 0, 0], ["named", 0, 0]])
    lists = {"listed": [kernel, recurrent, bias], "named": [kernel, recurrent, bias]}
    spec = spec_of(h5(config, lists, class_name="Model"))
    difference, state = Model(spec)([array(2, 5, 4), array(2, 3)])
    assert not difference.any() and state.any()
    assert [node.inputs for node in spec.nodes[:2]] == [("x", "h")] * 2


def test_functions_of_tensorflow_are_layers_of_their_own():
    key = {"slice_spec": [{"start": None, "stop": None, "step": None}, -1, {"start": None, "stop": None, "step": None}]}
    layers = [
        old_layer("InputLayer", "x", batch_input_shape=[None, 5, 4]),
        {**old_layer("SlicingOpLambda", "last", function="__operators__.getitem"), "inbound_nodes": [["x", 0, 0, key]]},
        {**old_layer("TFOpLambda", "sum", function="math.add"),
         "inbound_nodes": [["last", 0, 0, {"y": ["last", 0, 0], "name": None}]]},
    ]  # fmt: skip
    config = functional(layers, [["x", 0, 0]], [["sum", 0, 0]])
    x = array(2, 5, 4)
    got = Model(spec_of(h5(config, {"x": [], "last": [], "sum": []}, class_name="Functional")))(x)
    np.testing.assert_allclose(got, 2 * x[:, -1], atol=1e-6)


def sliced(*key):
    return {"class_name": "__slice__", "config": dict(zip(("start", "stop", "step"), key, strict=True))}


WHOLE = (None, None, None)


@pytest.mark.parametrize(
    ("key", "layer_of"),
    [
        ([sliced(*WHOLE), -1], Select(1, -1)),
        ([sliced(*WHOLE), sliced(*WHOLE), 2], Select(2, 2)),
        ([{"class_name": "__ellipsis__", "config": {}}, 0], Select(-1, 0)),
        ([sliced(*WHOLE), 1, {"class_name": "__ellipsis__", "config": {}}], Select(1, 1)),
        ([sliced(*WHOLE), sliced(1, None, None)], Slice(1, 1)),
        ([sliced(*WHOLE), sliced(None, -2, 1), sliced(*WHOLE)], Slice(1, 0, -2)),
        ([sliced(*WHOLE), sliced(None, None, -1)], Reverse()),
        ([sliced(*WHOLE), sliced(None, None, 2)], None),
        ([0], None),
        ([sliced(0, 1, None)], None),
        ([sliced(*WHOLE), 0, 0], None),
        ([sliced(*WHOLE), None], None),
        ([sliced(*WHOLE), True], None),
        ([sliced(*WHOLE), [0, 1]], None),
        ([sliced(*WHOLE), sliced("a", None, None)], None),
        ([sliced(*WHOLE), {"class_name": "__slice__"}], None),
        ([], None),
    ],
)
def test_a_part_of_a_tensor(key, layer_of):
    layers = [given("x", 5, 4), called(operation("GetItem", "part"), (tensor("x"), key))]
    checkpoint = graph_checkpoint(layers, [["x", 0, 0]], [["part", 0, 0]], {})
    if layer_of is None:
        with pytest.raises(UnsupportedModelError, match=r"'part' \(GetItem, layers\[1\]\)"):
            spec_of(checkpoint)
    else:
        assert spec_of(checkpoint).nodes[0].layer == layer_of


def masked(mask, **options):
    """An Embedding, a Dense behind it, and a GRU that is called with a mask."""
    layers = [
        given("ids", 6, dtype="int32"), given("other", 6, dtype="int32"),
        called(layer("Embedding", "words", input_dim=9, output_dim=4, mask_zero=True), (tensor("ids"),)),
        dense("dense", 4, (tensor("words"), {"training": False})),
        called(operation("NotEqual", "not_equal"), (tensor("ids", rank=2), 0)),
        called(operation("NotEqual", "not_two"), (tensor("other", rank=2), 2)),
        called(operation("LogicalOr", "either"), (tensor("not_equal"), tensor("not_two"))),
        called(gru(return_sequences=True), (tensor("dense"), {"mask": mask, **options})),
    ]  # fmt: skip
    tensors = dense_tensors((4, 4)) | gru_tensors("layers/gru", 4, 3) | {"layers/embedding/vars/0": array(9, 4)}
    inputs = [["ids", 0, 0], ["other", 0, 0]]
    return graph_checkpoint(layers, inputs, [["gru", 0, 0], ["dense", 0, 0]], tensors)


def test_the_mask_that_comes_with_the_input_is_not_written_down_twice():
    spec = spec_of(masked(tensor("not_equal")))
    assert [node.name for node in spec.nodes] == ["words", "dense", "gru"]
    assert all(node.mask is None for node in spec.nodes)
    assert spec == spec_of(masked(None))


def test_another_mask_is_a_node_of_booleans():
    spec = spec_of(masked(tensor("not_two")))
    assert [(node.name, type(node.layer), node.mask) for node in spec.nodes[2:4]] == [
        ("mask", NotEqual, None),
        ("gru/masked", Dropout, "mask"),
    ]
    assert spec.inputs[1].integers
    ids = np.array([[1, 2, 0, 3, 0, 4]])
    other = np.array([[1, 2, 2, 3, 2, 2]])
    got, dense_output = Model(spec)([ids, other])
    (gru,) = [node.layer.gru for node in spec_of(masked(None)).nodes if isinstance(node.layer, GRULayer)]
    real = np.array([0, 1, 3])
    shown = GRU(gru)(dense_output[:, other[0] != 2])[0]
    np.testing.assert_allclose(got[0, real], shown[0, [0, 0, 1]], atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("either", "its mask is made in a way"),
        ("dense", "is no output of booleans, one a step"),
        ("nowhere", "which its model has not"),
    ],
)
def test_masks_that_are_made_in_other_ways_are_refused(mask, message):
    with pytest.raises(FastGRUError, match=rf"'gru.*' .*{message}"):
        spec_of(masked(tensor(mask)))


@pytest.mark.parametrize("axis", [0, -1])
def test_the_mask_of_all_inputs_that_the_first_versions_of_keras_3_wrote(axis):
    ends = ("ids", "other")
    table = {"input_dim": 9, "output_dim": 2, "mask_zero": True}
    layers = [
        *(given(name, 6, dtype="int32") for name in ends),
        *(called(layer("Embedding", f"of_{name}", **table), (tensor(name),)) for name in ends),
        called(layer("Concatenate", "joined", axis=-1), ([tensor("of_ids"), tensor("of_other")],)),
        *(called(operation("NotEqual", f"not_{name}"), (tensor(name, rank=2), 0)) for name in ends),
        *(called(operation("ExpandDims", f"wide_{name}", axis=axis), (tensor(f"not_{name}"),)) for name in ends),
        called(operation("Concatenate", "wide", axis=axis), ([tensor("wide_ids"), tensor("wide_other")],)),
        called(operation("All", "all", axis=axis, keepdims=False), (tensor("wide"),)),
        called(gru(), (tensor("joined"), {"mask": tensor("all")})),
    ]  # fmt: skip
    tensors = gru_tensors("layers/gru", 4, 3) | {f"layers/embedding{end}/vars/0": array(9, 2) for end in ("", "_1")}
    spec = spec_of(graph_checkpoint(layers, [[name, 0, 0] for name in ends], [["gru", 0, 0]], tensors, "3.3.3"))
    masks = [node for node in spec.nodes if type(node.layer) is MaskOf]
    assert [node.inputs for node in masks] == [("of_ids", "of_other")]
    ids, other = np.array([[1, 0, 2, 3, 0, 4]]), np.array([[1, 2, 0, 3, 0, 5]])
    short = [np.array([[1, 3, 4, 0, 0, 0]]), np.array([[1, 3, 5, 0, 0, 0]])]  # the steps that both have
    np.testing.assert_array_equal(Model(spec)([ids, other]), Model(spec)(short))


def test_an_operation_hands_on_no_mask():
    checkpoint = masked(None)
    layers = checkpoint.config["config"]["layers"]
    layers.insert(4, called(operation("Add", "doubled"), (tensor("dense"), tensor("dense"))))
    layers[-1]["inbound_nodes"][0]["args"] = [tensor("doubled")]
    spec = spec_of(checkpoint)
    assert [type(node.layer) for node in spec.nodes].count(Unmasked) == 2


def test_a_state_makes_keras_3_forget_the_mask_and_keras_2_not():
    checkpoint = masked(None, initial_state=tensor("state"))
    checkpoint.config["config"]["layers"].insert(0, given("state", 3))
    checkpoint.config["config"]["input_layers"].append(["state", 0, 0])
    kinds = [type(node.layer) for node in spec_of(checkpoint).nodes]
    assert Unmasked in kinds and MaskOf in kinds
    checkpoint.metadata["keras_version"] = "2.15.0"
    kinds = [type(node.layer) for node in spec_of(checkpoint).nodes]
    assert Unmasked not in kinds and MaskOf not in kinds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"training": True}, "called with training=True"),
        ({"constants": [tensor("dense")]}, "called with 'constants'"),
        ({"initial_state": 3}, "called with .* wanted outputs of layers"),
        ({"whatever": 3}, "called with 'whatever'"),
    ],
)
def test_calls_that_change_what_a_layer_does_are_refused(options, message):
    with pytest.raises(UnsupportedModelError, match=rf"'gru' \(GRU, layers\[7\]\).*{message}"):
        spec_of(masked(None, **options))


def changed(edit):
    checkpoint = two_inputs()
    edit(checkpoint.config["config"])
    return checkpoint


def set_call(place, call, *arguments):
    return lambda config: config["layers"][place]["inbound_nodes"][call].update(args=list(arguments))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_call(2, 0, tensor("sum")), "layer 'shared' .*it needs its own output, in a cycle"),
        (set_call(4, 0, tensor("nowhere")), "'own' .*it refers to a layer 'nowhere', which its model has not"),
        (set_call(4, 0, tensor("shared", 2)), "'own' .*output 0 of call 2 of layer 'shared', which is called 2 times"),
        (set_call(4, 0, tensor("shared", -1)), "call -1 of layer 'shared'"),
        (set_call(4, 0, tensor("shared", 0, 1)), "it refers to output 1 of a layer that has 1"),
        (set_call(4, 0, tensor("shared", 0, -1)), "output -1 of call 0"),
        (set_call(4, 0, {"class_name": "__keras_tensor__", "config": {}}), "does not say whose output it is"),
        (set_call(4, 0), r"'own' .*called with nothing, .* wanted outputs of layers"),
        (set_call(4, 0, 3), r"'own' .*called with plain values, .* wanted outputs of layers"),
        (set_call(4, 0, tensor("b"), tensor("a")), "called with 'more than one argument'"),
        (lambda config: config["layers"][4].update(inbound_nodes=3), "inbound_nodes is 3, wanted a list"),
        (lambda config: config["layers"][4].update(inbound_nodes=[3]), r"inbound_nodes\[0\] is 3, wanted a call"),
        (lambda config: config["layers"][0].update(inbound_nodes=[{"args": []}]), "an InputLayer has inputs"),
        (lambda config: config["layers"][1].update(name="a"), "two layers have this name"),
        (lambda config: config.update(input_layers=[["a", 0, 0], ["a", 0, 0]]), "must name every InputLayer once"),
        (lambda config: config.update(input_layers=[["own", 0, 0]]), "input_layers has 'own', wanted an InputLayer"),
        (lambda config: config.update(output_layers=[["nowhere", 0, 0]]), "'nowhere', which its model has not"),
        (lambda config: config.update(output_layers=[]), r"output_layers has \[\], wanted"),
        (lambda config: config.update(output_layers=[["a", 0]]), r"output_layers has 'a', wanted"),
        (lambda config: config.update(output_layers=None), "output_layers has None, wanted"),
        (lambda config: config.update(layers={}), "layers is {}, wanted a list"),
    ],
)
def test_graphs_that_lead_nowhere_are_errors(edit, message):
    with pytest.raises(FastGRUError, match=message):
        spec_of(changed(edit))


def test_a_layer_that_is_never_called_leaves_its_tensors_unused():
    checkpoint = changed(lambda config: config["layers"][4].update(inbound_nodes=[]))
    checkpoint.config["config"]["output_layers"] = [["sum", 0, 0]]
    with pytest.raises(CheckpointError, match="no layer uses the tensors 'layers/dense_1/vars/0'"):
        spec_of(checkpoint)


def test_names_that_collide_are_told_apart():
    layers = [
        given("x", 3), dense("a", 3, (tensor("x"),), (tensor("a", 0),)), dense("a#1", 3, (tensor("a", 1),)),
    ]  # fmt: skip
    spec = spec_of(graph_checkpoint(layers, [["x", 0, 0]], [["a#1", 0, 0]], dense_tensors((3, 3), (3, 3))))
    names = [node.name for node in spec.nodes]
    assert len({*names, "x"}) == 4


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_layer_has_its_tensors_where_it_comes_first(shared):
    """Keras 3 gives the layer's number at the second place only where the first is within a wrapper."""
    inside = layer("Dense", "dense", units=3)
    alone = called(layer("Dense", "dense", units=3) | {"shared_object_id": 7}, (tensor("x"),))
    if shared:
        inside["shared_object_id"] = 7
    layers = [given("x", 5, 3), called(layer("TimeDistributed", "each", layer=inside), (tensor("x"),)), alone]
    tensors = {"layers/time_distributed/layer/vars/0": array(3, 3), "layers/time_distributed/layer/vars/1": array(3)}
    spec = spec_of(graph_checkpoint(layers, [["x", 0, 0]], [["each", 0, 0], ["dense", 0, 0]], tensors))
    one, other = Model(spec)(array(2, 5, 3))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("make", [two_inputs, lambda: masked(tensor("not_two"))])
def test_any_value_anywhere_in_a_graph_gives_a_model_or_an_error_of_ours(make):
    given = make()
    whole = given.config

    def made(config):
        validate(spec_of(given.replace(config={**whole, "config": config})))

    taken, refused = endings_of_changes(whole["config"], made)
    assert taken and refused and taken + refused > 1000


@pytest.mark.parametrize("version", ["3.15.1", "2.4.0", "2.2.4"])
def test_a_mask_that_reaches_a_softmax_layer_is_refused_where_keras_would_use_it(version):
    layers = [
        layer("Embedding", "words", input_dim=9, output_dim=4, mask_zero=True, batch_input_shape=[None, None]),
        layer("Softmax", "attention", axis=-1),
    ]
    if version == "3.15.1":
        made = checkpoint(layers, {"layers/embedding/vars/0": array(9, 4)}, (None, None), version)
    else:
        made = h5({"layers": layers}, {"words": [array(9, 4)], "attention": []}, version)
    if version == "2.2.4":
        assert [type(node.layer).__name__ for node in spec_of(made).nodes] == ["Embedding", "Activation"]
    else:
        with pytest.raises(UnsupportedModelError, match=r"'attention' \(Softmax.*a mask of steps reaches"):
            spec_of(made)


def joined(version, kind="Add", **config):
    """Two masked Embeddings, joined, and a GRU behind them."""
    ends = ("ids", "other")
    table = {"input_dim": 9, "output_dim": 4, "mask_zero": True}
    layers = [
        *(given(name, 6, dtype="int32") for name in ends),
        *(called(layer("Embedding", f"of_{name}", **table), (tensor(name),)) for name in ends),
        called(layer(kind, "joined", **config), ([tensor("of_ids"), tensor("of_other")],)),
        called(gru(), (tensor("joined"),)),
    ]
    size = 8 if config.get("axis") == -1 else 4
    tensors = gru_tensors("layers/gru", size, 3)
    tensors |= {f"layers/embedding{end}/vars/0": array(9, 4, seed=len(end)) for end in ("", "_1")}
    inputs = [[name, 0, 0] for name in ends]
    return spec_of(graph_checkpoint(layers, inputs, [["joined", 0, 0], ["gru", 0, 0]], tensors, version))


MERGES = [("Add", {}), ("Subtract", {}), ("Multiply", {}), ("Average", {}), ("Maximum", {}), ("Minimum", {}),
          ("Concatenate", {"axis": -1}), ("Concatenate", {"axis": 1})]  # fmt: skip


@pytest.mark.parametrize(("kind", "config"), MERGES)
@pytest.mark.parametrize("version", ["3.0.5", "3.3.3"])
def test_merging_layers_before_keras_3_4_see_no_masks(version, kind, config):
    """They compute with every step, as if the Embeddings had no masks at all."""
    spec = joined(version, kind, **config)
    bare = [
        node.replace(layer=node.layer.replace(mask_zero=False)) if isinstance(node.layer, Embedding) else node
        for node in spec.nodes
    ]
    ids = np.array([[1, 2, 0, 3, 0, 0], [0, 0, 1, 2, 3, 4]]), np.array([[1, 0, 2, 3, 4, 0], [0, 5, 6, 0, 0, 8]])
    for got, wanted in zip(Model(spec)([*ids]), Model(spec.replace(nodes=tuple(bare)))([*ids]), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("kind", "config"), MERGES)
def test_merging_layers_from_keras_3_4_on_join_masks(kind, config):
    later = joined("3.4.0", kind, **config)
    assert later == joined("3.15.1", kind, **config) != joined("3.3.3", kind, **config)


def test_a_multiply_of_one_masked_input_is_refused():
    layers = [
        given("ids", 6, dtype="int32"),
        called(layer("Embedding", "words", input_dim=9, output_dim=4, mask_zero=True), (tensor("ids"),)),
        called(layer("Multiply", "alone"), ([tensor("words")],)),
    ]
    with pytest.raises(UnsupportedModelError, match=r"'alone' .*a Multiply of one input that has a mask"):
        spec_of(graph_checkpoint(layers, [["ids", 0, 0]], [["alone", 0, 0]], {"layers/embedding/vars/0": array(9, 4)}))


@pytest.mark.parametrize(("version", "kept"), [("2.15.0", False), ("3.0.5", True), ("3.15.1", True)])
def test_identity_drops_the_mask_in_keras_2(version, kept):
    chain = [layer("Embedding", "words", input_dim=9, output_dim=4, mask_zero=True), layer("Identity", "same"), gru()]
    tensors = {"layers/embedding/vars/0": array(9, 4), **gru_tensors("layers/gru", 4, 3)}
    model = Model(spec_of(checkpoint(chain, tensors, (None, None), version)))
    short, padded = np.array([[1, 2, 3]]), np.array([[1, 2, 3, 0, 0]])
    assert np.array_equal(model(short), model(padded)) is kept


@pytest.mark.parametrize(("version", "handed_on"), [("3.0.5", False), ("3.10.0", False), ("3.11.0", True)])
def test_a_mask_that_a_call_names_is_handed_on_from_keras_3_11_on(version, handed_on):
    """Before, the layer computes with it and hands on the mask that its input came with: here none."""
    checkpoint = masked(tensor("not_two"))
    checkpoint.metadata["keras_version"] = version
    config = checkpoint.config["config"]
    config["layers"][2]["config"]["mask_zero"] = False
    config["layers"].append(called(gru("next"), (tensor("gru"),)))
    config["output_layers"] = [["next", 0, 0]]
    checkpoint.tensors.update(gru_tensors("layers/gru_1", 3, 3))
    spec = spec_of(checkpoint)
    assert (Unmasked not in [type(node.layer) for node in spec.nodes]) is handed_on
    ids, ends = np.array([[1, 5, 4, 3, 3, 4]]), [np.array([[1, 1, 1, 1, 2, 2]]), np.array([[1, 1, 1, 1, 2, 1]])]
    assert not np.array_equal(*(Model(spec)([ids, end]) for end in ends))  # the first GRU uses it in every version


@pytest.mark.parametrize(("version", "names"), [("3.15.1", ("p", "q")), ("2.15.0", ("q", "p"))])
def test_outputs_that_are_named_come_back_as_a_dict_in_the_order_of_keras(version, names):
    """Keras 3 sorts them, Keras 2 leaves them as they were written."""
    given = two_inputs(outputs={"q": ["sum", 0, 0], "p": ["own", 0, 0]})
    given.metadata["keras_version"] = version
    model = Model(spec_of(given))
    ones = np.ones((2, 3), np.float32)
    made = model([ones, ones])
    assert tuple(made) == names and {name: each.shape for name, each in made.items()} == {"q": (2, 2), "p": (2, 4)}
    assert f"outputs: {names[0]!r}, {names[1]!r}" in repr(model)
    assert {name: each.shape for name, each in model({"a": ones[0], "b": ones[0]}).items()}["p"] == (4,)


def test_one_output_with_a_name_is_a_dict_and_nested_ones_are_a_tuple():
    ones = np.ones((2, 3), np.float32)
    assert list(Model(spec_of(two_inputs(outputs={"only": ["own", 0, 0]})))([ones, ones])) == ["only"]
    nested = {"q": [["sum", 0, 0], ["own", 0, 0]], "p": ["own", 0, 0]}
    made = Model(spec_of(two_inputs(outputs=nested)))([ones, ones])
    assert [each.shape for each in made] == [(2, 4), (2, 2), (2, 4)]  # in the order of the keys


@pytest.mark.parametrize("version", ["2.15.0", "3.15.1"])
def test_inputs_that_are_named_go_by_their_keys_and_not_by_their_layers(version):
    given = two_inputs(inputs={"y": ["a", 0, 0], "x": ["b", 0, 0]})
    given.metadata["keras_version"] = version
    model, plain = Model(spec_of(given)), Model(spec_of(two_inputs()))
    a, b = array(2, 3), array(2, 3, seed=1)
    wanted = plain({"a": a, "b": b})
    for made in (model({"x": b, "y": a}), model([b, a])):
        assert all(map(np.array_equal, made, wanted))


def test_an_output_of_a_model_with_named_outputs_is_counted_in_the_order_of_their_names():
    inner = functional([given("x", 3), dense("one", 2, (tensor("x"),)), dense("two", 2, (tensor("x"),))],
                       [["x", 0, 0]], {"z": ["one", 0, 0], "a": ["two", 0, 0]})  # fmt: skip
    inner = called(layer("Functional", **{**inner, "name": "inner"}), (tensor("y"),))
    tensors = {f"layers/functional/{name}": each for name, each in dense_tensors((3, 2), (3, 2)).items()}
    layers = [given("y", 3), inner]
    spec = spec_of(graph_checkpoint(layers, [["y", 0, 0]], [["inner", 1, 0], ["inner", 1, 1]], tensors))
    assert spec.outputs == ("inner/two", "inner/one") and spec.output_names is None


def test_keras_2_calls_a_model_with_a_dict():
    ends = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 3]}}
    inner = functional([{**ends, "name": name, "config": {**ends["config"], "name": name}} for name in "xy"]
                       + [old_layer("Subtract", "minus", [["x", 0, 0], ["y", 0, 0]])],
                       {"x": ["x", 0, 0], "y": ["y", 0, 0]}, [["minus", 0, 0]])  # fmt: skip
    call = {"y": ["a", 0, 0, {}], "x": ["b", 0, 0, {}]}
    layers = [
        *({**ends, "name": name, "inbound_nodes": [], "config": {**ends["config"], "name": name}} for name in "ab"),
        {"class_name": "Functional", "name": "inner", "inbound_nodes": [call], "config": {**inner, "name": "inner"}},
    ]
    config = functional(layers, [["a", 0, 0], ["b", 0, 0]], [["inner", 1, 0]])
    model = Model(spec_of(h5(config, {}, version="2.12.0", class_name="Functional")))
    a, b = array(2, 3), array(2, 3, seed=1)
    np.testing.assert_array_equal(model([a, b]), b - a)


def test_a_stateful_gru_that_is_called_twice_is_refused():
    """Its second call goes on from the states of the first, so that already the first answer would be another."""
    layers = [
        called(layer("InputLayer", "x", batch_shape=[2, None, 3])),
        called(gru("gru", stateful=True, return_sequences=True, units=3), (tensor("x"),), (tensor("gru"),)),
    ]
    given = graph_checkpoint(layers, [["x", 0, 0]], [["gru", 1, 0]], gru_tensors("layers/gru", 3, 3))
    with pytest.raises(UnsupportedModelError, match="'gru#1' is stateful and is called more than once"):
        spec_of(given)
