"""Masks of several inputs: what a join makes of steps that only some of them have, and masks taken off and put on."""

from __future__ import annotations

import numpy as np
import pytest
from networks import network

from fastgru import Model
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.layers import (
    Add,
    Dense,
    Dropout,
    Flatten,
    GRULayer,
    Input,
    Masking,
    MaskOf,
    Maximum,
    Mean,
    Minimum,
    ModelSpec,
    Multiply,
    Node,
    NotEqual,
    Unmasked,
)

A = np.array([[[1, 1], [2, 2], [9, 9], [9, 9]]], np.float32)  # 9 is masked
B = np.array([[[5, 5], [9, 9], [3, 3], [9, 9]]], np.float32)


def joined(layer, *nodes, outputs=("join",)):
    inputs = tuple(Input(name, (None, 2)) for name in "ab")
    masked = tuple(Node(f"m{name}", Masking(9.0), (name,)) for name in "ab")
    return Model(ModelSpec(inputs, (*masked, Node("join", layer, ("ma", "mb")), *nodes), outputs))


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [(Maximum(), [5, 2, 3, 0]), (Minimum(), [1, 2, 3, 0]), (Multiply(), [5, 2, 3, 0]), (Add(), [6, 2, 3, 0])],
)
def test_the_input_that_has_a_step_stands_in_for_the_one_that_has_not(layer, wanted):
    np.testing.assert_array_equal(joined(layer)([A, B])[0, :, 0], wanted)


@pytest.mark.parametrize(
    ("layer", "wanted"), [(Maximum(), [4, 4, 4]), (Minimum(), [2, 3, 4]), (Multiply(), [8, 12, 4])]
)
@pytest.mark.parametrize("first", ["sequence", "features"])
def test_one_value_for_every_step_stands_in_for_the_steps_that_are_masked(layer, wanted, first):
    """As in Keras 3.15: Minimum()([masked, features]) gives the features where a step is masked."""
    edges = ("m", "b") if first == "sequence" else ("b", "m")
    nodes = (Node("m", Masking(9.0), ("a",)), Node("join", layer, edges))
    model = Model(ModelSpec((Input("a", (None, 2)), Input("b", (2,))), nodes, ("join",)))
    y = model([np.array([[[2, 2], [3, 3], [9, 9]]]), np.array([[4, 4]])])
    np.testing.assert_array_equal(y[0, :, 0], wanted)


def test_masks_of_values_that_have_different_axes_are_refused():
    axes = Input("a", (3, None, 2))
    nodes = (
        Node("m", Masking(9.0), ("b",)),
        Node("mask", MaskOf(), ("b",)),
        Node("ma", Dropout(), ("a",), "mask"),
        Node("join", Add(), ("ma", "m")),
    )
    spec = ModelSpec((axes, Input("b", (3, 2))), nodes, ("join",))
    with pytest.raises(UnsupportedModelError, match="layer 'join': it joins masks of values that have different axes"):
        Model(spec)


def test_a_mask_of_features_is_refused():
    x, d = Input("x", (2,)), Dense(np.ones((1, 2), np.float32))
    with pytest.raises(ShapeError, match=r"layer 'm': takes sequences of as many steps, got \(2,\) numbers"):
        Model(ModelSpec((x,), (Node("m", MaskOf(), ("x",)),), ("m",)))
    nodes = (Node("m", NotEqual(), ("x",)), Node("d", Dropout(), ("x",), "m"), Node("e", d, ("d",)))
    with pytest.raises(ShapeError, match=r"layer 'd': its mask has 2 steps, its input is \(2,\) numbers"):
        Model(ModelSpec((x,), nodes, ("e",)))


def test_a_step_is_real_where_any_input_has_it():
    model = joined(Add(), Node("mean", Mean(), ("join",)), outputs=("mean",))
    np.testing.assert_allclose(model([A, B])[0], (6 + 2 + 3) / 3, rtol=1e-6)


def test_the_mask_of_several_is_where_all_have_a_step():
    nodes = (Node("both", MaskOf(), ("ma", "mb")), Node("again", Dropout(), ("join",), "both"))
    model = joined(Add(), *nodes, Node("mean", Mean(), ("again",)), outputs=("both", "mean"))
    both, mean = model([A, B])
    np.testing.assert_array_equal(both[0], [True, False, False, False])
    np.testing.assert_array_equal(mean[0], [6, 6])


def test_a_mask_that_is_taken_off_leaves_the_numbers():
    model = joined(Add(), Node("bare", Unmasked(), ("join",)), Node("mean", Mean(), ("bare",)), outputs=("mean",))
    np.testing.assert_allclose(model([A, B])[0], (6 + 2 + 3 + 0) / 4, rtol=1e-6)


def test_masks_of_other_lengths_are_refused():
    spec = ModelSpec(
        (Input("a", (None, 2)), Input("b", (None, 2))),
        (Node("mask", MaskOf(), ("b",)), Node("again", Dropout(), ("a",), "mask")),
        ("again",),
    )
    with pytest.raises(ShapeError, match=r"b: got shape \(1, 3, 2\), wanted \(batch, steps, 2\), where steps is 4"):
        Model(spec)([A, B[:, :3]])
    several = ModelSpec(spec.inputs, (Node("mask", MaskOf(), ("a", "b")),), ("mask",))
    with pytest.raises(ShapeError, match="where steps is 4"):
        Model(several)([A, B[:, :3]])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_the_last_output_of_a_row_that_ends_masked(backwards, zero):
    gru = GRULayer(network(2, 3), return_sequences=False, return_state=True, zero_masked=zero, go_backwards=backwards)
    nodes = (Node("m", Masking(9.0), ("a",)), Node("gru", gru, ("m",)))
    model = Model(ModelSpec((Input("a", (None, 2)),), nodes, ("gru", ("gru", 1))))
    last, state = model(A[:, ::-1].copy() if backwards else A)
    assert state.any() and (last == (0 if zero else state)).all()


def test_the_mask_of_a_sequence_whose_steps_a_layer_fixes_ends_with_its_rows() -> None:
    """The weights of a layer of all steps say how many there are; the steps of the mask are steps all the same."""
    x, weight = Input("x", (7, 3)), np.ones((2, 21), np.float32)
    nodes = (Node("flat", Flatten(), ("x",)), Node("wide", Dense(weight), ("flat",)), Node("m", MaskOf(), ("x",)))
    model = Model(ModelSpec((x,), nodes, ("m",)))
    sequence = np.ones((2, 7, 3), np.float32)
    sequence[1, 1] = np.nan
    for _ in range(2):
        wanted = np.arange(7) < np.array([[7], [2]])
        np.testing.assert_array_equal(model(sequence, lengths=[7, 2]), wanted)
