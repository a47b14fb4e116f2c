"""Masks as Keras means them: a masked step keeps the state and repeats the output before it, wherever it lies."""

from __future__ import annotations

import numpy as np
import pytest
from networks import network, numbers

from fastgru import GRU, Model, UnsupportedModelError
from fastgru.layers import (
    Dense,
    Embedding,
    GRULayer,
    Input,
    Last,
    Masking,
    MaskOf,
    Mean,
    ModelSpec,
    Multiply,
    Node,
    NotEqual,
    PReLU,
    Reverse,
    Select,
    sequential,
)

RNG = np.random.default_rng(3)
MASKS = np.array(
    [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1], [1, 0, 0, 1, 0, 1, 0], [0, 1, 0, 1, 1, 0, 1],
     [0, 0, 0, 0, 0, 0, 0]],
    bool,
)  # fmt: skip


def steps_one_by_one(gru: GRU, x, mask, backwards=False):
    """One row, step by step: outputs in the order in which they are made, and the final state."""
    order = np.arange(len(x))[:: -1 if backwards else 1]
    h = np.zeros((gru.num_layers, gru.hidden_size), np.float32)
    shown = np.zeros(gru.hidden_size, np.float32)
    outputs = []
    for t in order:
        if mask[t]:
            y, h = gru(x[t : t + 1], h)
            shown = y[0]
        outputs.append(shown)
    return np.stack(outputs), h


def masked(seed=0):
    x = np.random.default_rng(seed).standard_normal((len(MASKS), 7, 4)).astype(np.float32)
    return np.where(MASKS[..., None], x, np.float32(9))


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
@pytest.mark.parametrize("cells", [1, 2])
def test_masks_with_gaps_in_one_direction(sequences, backwards, cells):
    above = (network(5, 3, seed=1),) if cells == 2 else ()
    layer = GRULayer(network(4, 5), above, return_sequences=sequences, return_state=True, go_backwards=backwards)
    spec = ModelSpec(
        (Input("x", (None, 4)),),
        (Node("mask", Masking(9.0), ("x",)), Node("gru", layer, ("mask",))),
        tuple(("gru", place) for place in range(1 + cells)),
    )
    x = masked()
    results = Model(spec)(x)
    for row, mask in enumerate(MASKS):
        y, h = steps_one_by_one(GRU(network(4, 5)), x[row], mask, backwards)
        states = [h[-1]]
        if cells == 2:
            inner = mask[::-1] if backwards else mask
            y, h = steps_one_by_one(GRU(above[0]), y, inner)
            states.append(h[-1])
        np.testing.assert_array_equal(results[0][row], y if sequences else y[-1])
        for state, want in zip(results[1:], states, strict=True):
            np.testing.assert_array_equal(state[row], want)


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", "none"])
def test_masks_with_gaps_in_two_directions(merge):
    spec = network(4, 5, directions=2)
    layer = GRULayer(spec, merge=merge)
    outputs = (("gru", 0), ("gru", 1)) if merge == "none" else ("gru",)
    nodes = (Node("mask", Masking(9.0), ("x",)), Node("gru", layer, ("mask",)))
    x = masked()
    results = Model(ModelSpec((Input("x", (None, 4)),), nodes, outputs))(x)
    one, other = (GRU(spec.replace(layers=((weights,),))) for weights in spec.layers[0])
    for row, mask in enumerate(MASKS):
        forward = np.where(mask[:, None], steps_one_by_one(one, x[row], mask)[0], 0)
        backward = np.where(mask[:, None], steps_one_by_one(other, x[row], mask, True)[0][::-1], 0)
        if merge == "none":
            np.testing.assert_array_equal(results[0][row], forward)
            np.testing.assert_array_equal(results[1][row], backward)
            continue
        want = {
            "concat": np.concatenate([forward, backward], -1),
            "sum": forward + backward,
            "mul": forward * backward,
            "ave": (forward + backward) / 2,
        }[merge]
        np.testing.assert_array_equal(results[row], want)


def test_zero_masked_gives_zeros_at_masked_steps():
    plain = Model(sequential([("mask", Masking(9.0)), ("gru", GRULayer(network(4, 5)))]))(masked())
    zeroed = Model(sequential([("mask", Masking(9.0)), ("gru", GRULayer(network(4, 5), zero_masked=True))]))(masked())
    np.testing.assert_array_equal(zeroed, np.where(MASKS[..., None], plain, 0))


def test_a_reversed_pair_is_the_backward_direction():
    """Reverse, GRU, Reverse: the composition for directions of different kinds."""
    weights = network(4, 5)
    around = sequential(
        [("m", Masking(9.0)), ("r", Reverse()), ("g", GRULayer(weights, zero_masked=True)), ("s", Reverse())]
    )
    y = Model(around)(masked())
    for row, mask in enumerate(MASKS):
        want = steps_one_by_one(GRU(weights), masked()[row], mask, True)[0][::-1]
        np.testing.assert_array_equal(y[row], np.where(mask[:, None], want, 0))


def test_embedding_masks_zeros_and_the_mean_leaves_them_out():
    table = RNG.standard_normal((6, 4)).astype(np.float32)
    ids = np.array([[3, 0, 5, 0], [1, 2, 3, 4]])
    y = Model(sequential([("e", Embedding(table, mask_zero=True)), ("mean", Mean())]))(ids)
    np.testing.assert_allclose(y[0], table[[3, 5]].mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(y[1], table[1:5].mean(axis=0), atol=1e-7)


def test_a_mask_given_by_an_edge_replaces_the_one_that_came_along():
    layer = GRULayer(network(4, 5), return_sequences=False)
    table = RNG.standard_normal((6, 4)).astype(np.float32)
    spec = ModelSpec(
        (Input("ids", (None,), integers=True),),
        (
            Node("keep", NotEqual(2), ("ids",)),
            Node("e", Embedding(table), ("ids",)),
            Node("gru", layer, ("e",), mask="keep"),
        ),
        ("gru",),
    )
    ids = np.array([[2, 4, 2, 5, 1], [3, 3, 3, 3, 2]])
    y = Model(spec)(ids)
    alone = Model(sequential([("e", Embedding(table)), ("gru", layer)]))
    np.testing.assert_array_equal(y[0], alone(np.array([4, 5, 1])))
    np.testing.assert_array_equal(y[1], alone(np.array([3, 3, 3, 3])))


def test_masks_and_lengths_together():
    model = Model(sequential([("mask", Masking(9.0)), ("gru", GRULayer(network(4, 5)))]))
    x = masked()
    lengths = [7, 5, 4, 4, 6, 3]
    y = model(x, lengths=lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(y[row, :length], model(x[row, :length]))
        assert not y[row, length:].any()


def test_a_mask_goes_through_a_dense_layer_and_ends_at_the_last_step():
    weight = RNG.standard_normal((5, 4)).astype(np.float32)
    layers = [("mask", Masking(9.0)), ("dense", Dense(weight)), ("gru", GRULayer(network(5, 3))), ("last", Last())]
    y = Model(sequential(layers))(masked())
    for row, mask in enumerate(MASKS[:-1]):
        real = np.ascontiguousarray(masked()[row][mask])
        np.testing.assert_array_equal(y[row], Model(sequential(layers[1:]))(real))


def test_a_last_output_behind_a_mask_is_not_streamed_and_the_layer_is_named():
    last = GRULayer(network(4, 5), return_sequences=False)
    model = Model(sequential([("mask", Masking(9.0)), ("gru", last)]))
    wanted = r"layer 'gru: whether a step is not masked' .* it asks whether any of the steps is true"
    with pytest.raises(UnsupportedModelError, match=wanted):
        model.stream()


def test_a_value_without_features_carries_no_mask():
    """A mask stands at steps; of (batch, steps) the last axis is features to the layers behind."""
    nodes = (
        Node("words", Embedding(numbers(9, 4), mask_zero=True), ("x",)),
        Node("first", Select(2, 0), ("words",)),
        Node("square", Multiply(), ("first", "first")),
    )
    ids = np.array([[7, 0], [0, 3]])
    made = Model(ModelSpec((Input("x", (None,), True),), nodes, ("square",)))(ids)
    np.testing.assert_array_equal(made, numbers(9, 4)[ids][..., 0] ** 2)


def test_the_mask_of_fixed_steps_ends_with_a_row():
    """Whatever says that the steps are fixed, before the mask is asked for or after."""
    nodes = (
        Node("scaled", PReLU(numbers(7, 1)), ("x",)),
        Node("real", MaskOf(), ("x",)),
        Node("after", MaskOf(), ("scaled",)),
    )
    for ordered in (nodes, (nodes[1], nodes[0], nodes[2])):
        model = Model(ModelSpec((Input("x", (7, 6)),), ordered, ("real", "after")))
        for made in model(numbers(2, 7, 6), lengths=[7, 4]):
            np.testing.assert_array_equal(made.sum(axis=1), [7, 4])
