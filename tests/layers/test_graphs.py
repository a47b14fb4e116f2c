"""Models as graphs: several inputs and outputs, shared layers, states that flow, and streams of them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from networks import network

from fastgru import GRU, Model, ShapeError, UnsupportedModelError
from fastgru.graph.operations.product import Linear
from fastgru.layers import (
    Activation,
    Add,
    Concatenate,
    Dense,
    Embedding,
    FinalState,
    Flatten,
    GRULayer,
    Input,
    Last,
    ModelSpec,
    Node,
    sequential,
)

RNG = np.random.default_rng(11)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


DENSE = Dense(numbers(5, 4), numbers(5), "tanh")
BRANCHES = ModelSpec(
    (Input("x", (None, 4)),),
    (
        Node("dense", DENSE, ("x",)),
        Node("gru", GRULayer(network(5, 6)), ("dense",)),
        Node("again", DENSE, ("x",)),
        Node("join", Concatenate(), ("gru", "again")),
        Node("out", Dense(numbers(3, 11)), ("join",)),
    ),
    ("out", "gru"),
)
ENCODER_DECODER = ModelSpec(
    (Input("source", (None, 4)), Input("target", (None, 3))),
    (
        Node("encoder", GRULayer(network(4, 6), return_sequences=False, return_state=True), ("source",)),
        Node("decoder", GRULayer(network(3, 6)), ("target", ("encoder", 1))),
    ),
    ("decoder",),
)


def test_several_outputs_come_as_a_tuple_in_order():
    x = numbers(3, 7, 4)
    out, gru = Model(BRANCHES)(x)
    dense = Model(sequential([("d", DENSE)]))(x)
    y, _ = GRU(network(5, 6))(dense)
    np.testing.assert_array_equal(gru, y)
    last = Model(sequential([("o", BRANCHES.nodes[-1].layer)]))(np.concatenate([y, dense], -1))
    np.testing.assert_array_equal(out, last)


def test_a_layer_in_two_nodes_is_packed_once():
    model = Model(BRANCHES)
    nodes = {node.name: node.operation for node in model.graph.nodes}
    assert isinstance(nodes["dense"], Linear) and nodes["dense"] is nodes["again"]


def test_a_state_flows_from_the_encoder_to_the_decoder():
    source, target = numbers(3, 7, 4), numbers(3, 5, 3)
    _, h = GRU(network(4, 6))(source)
    y, _ = GRU(network(3, 6))(target, h)
    model = Model(ENCODER_DECODER)
    np.testing.assert_array_equal(model([source, target]), y)
    np.testing.assert_array_equal(model({"target": target[1], "source": source[1]}), y[1])


def test_lengths_for_inputs_by_name():
    source, target = numbers(2, 7, 4), numbers(2, 5, 3)
    model = Model(ENCODER_DECODER)
    y = model([source, target], lengths={"source": [7, 4]})
    np.testing.assert_array_equal(y[1], model([source[1, :4], target[1]]))
    with pytest.raises(ShapeError, match="row 1 has length 7"):
        model([source, target], lengths=[5, 7])
    with pytest.raises(ShapeError, match="nobody"):
        model([source, target], lengths={"nobody": [1, 1]})


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.zeros((2, 3, 4), np.float32), "list of 2 arrays"),
        ([np.zeros((2, 3, 4))], "got 1 arrays"),
        ({"source": np.zeros((2, 3, 4))}, "wanted"),
        ([np.zeros((2, 3, 4)), np.zeros((3, 3, 3))], "different batch sizes"),
        ([np.zeros((2, 3, 4)), np.zeros((3, 3))], "some inputs have a batch axis"),
        ([np.zeros((2, 3, 4)), np.zeros((2, 3, 5))], "'target'"),
        ([np.zeros((2, 3, 4)), np.zeros((2, 0, 3))], "no steps"),
    ],
)
def test_wrong_inputs_are_named(x, says):
    with pytest.raises(ShapeError, match=says):
        Model(ENCODER_DECODER)(x)


def test_an_empty_batch_gives_an_empty_result():
    out, gru = Model(BRANCHES)(np.zeros((0, 7, 4)))
    assert out.shape == (0, 7, 3) and gru.shape == (0, 7, 6)


def test_a_graph_streams_step_by_step():
    graph = BRANCHES.replace(outputs=("out",))
    model = Model(graph)
    x = numbers(3, 7, 4)
    stream = model.stream(batch=3)
    steps = np.stack([stream.step(x[:, t]) for t in range(7)], axis=1)
    np.testing.assert_array_equal(steps, model(x))


def test_what_cannot_be_streamed_is_named():
    with pytest.raises(UnsupportedModelError, match=r"'decoder'.*first states are given"):
        Model(ENCODER_DECODER).stream()


def test_a_stream_gives_all_outputs_of_a_step():
    model, x = Model(BRANCHES), numbers(3, 7, 4)
    stream = model.stream(3)
    steps = [stream.step(x[:, t]) for t in range(7)]
    for made, whole in zip(zip(*steps, strict=True), model(x), strict=True):
        np.testing.assert_array_equal(np.stack(made, axis=1), whole)


def test_models_survive_pickle_and_deepcopy():
    x = numbers(2, 5, 4)
    for twin in (pickle.loads(pickle.dumps(Model(BRANCHES))), copy.deepcopy(Model(BRANCHES))):
        for got, want in zip(twin(x), Model(BRANCHES)(x), strict=True):
            np.testing.assert_array_equal(got, want)
        assert twin.spec == BRANCHES


def test_specs_are_compared_by_their_numbers_and_cannot_be_changed():
    assert Dense(DENSE.weight.copy(), DENSE.bias.copy(), "tanh") == DENSE
    assert DENSE.replace(activation="relu") != DENSE and Activation("relu") != DENSE
    assert Activation("softmax", axis=1) == Activation("softmax", (("axis", 1),)) != Activation("softmax")
    with pytest.raises(AttributeError, match="immutable"):
        DENSE.weight = None
    with pytest.raises(TypeError, match="unexpected"):
        Dense(DENSE.weight, kernel=3)
    with pytest.raises(TypeError, match="needs 'weight'"):
        Dense()


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ((Node("a", Add(), ("x",)),), "two inputs or more"),
        ((Node("a", Add(), ("x", "y")),), "do not fit"),
        ((Node("a", Concatenate(1), ("x", "y")),), "may differ only"),
        ((Node("a", Dense(numbers(5, 3)), ("x",)),), "weight"),
        ((Node("a", Dense(numbers(5, 4)), ("x",)), Node("a", Flatten(), ("x",))), "two layers are called 'a'"),
        ((Node("a", Dense(numbers(5, 4)), (("x", 1),)),), "output 1 of 'x'"),
        ((Node("a", Embedding(numbers(5, 4)), ("x",)),), "takes integers"),
        ((Node("a", FinalState(), ("x",)),), "directly after a GRU"),
        ((Node("a", GRULayer(network(4, 3)), ("x", "x")),), "initial state"),
        ((Node("a", GRULayer(network(4, 3)), ("x",), mask="y"),), "no output of booleans"),
        ((Node("b", Last(), ("x",)), Node("a", Last(), ("b",))), "steps are already gone"),
    ],
)
def test_graphs_that_do_not_fit_are_refused(nodes, says):
    with pytest.raises(ShapeError, match=says):
        Model(ModelSpec((Input("x", (None, 4)), Input("y", (None, 3))), nodes, ("a",)))
