"""Promise of ``lengths``: they belong to the axis of the steps, wherever a layer moves it, or that layer refuses."""

from __future__ import annotations

import numpy as np
import pytest
from layer_examples import chain, joined
from networks import network, numbers

from fastgru import FastGRUError, Model, ShapeError, UnsupportedModelError
from fastgru.layers import (
    Activation,
    Add,
    BatchNormalization,
    Concatenate,
    Conv1D,
    Cropping1D,
    Dense,
    Dropout,
    FinalState,
    Flatten,
    GRULayer,
    Input,
    Last,
    LayerNormalization,
    Masking,
    MaskOf,
    Max,
    Maximum,
    MaxPooling1D,
    Mean,
    ModelSpec,
    Multiply,
    Node,
    NotEqual,
    Permute,
    PReLU,
    RepeatVector,
    Reshape,
    Reverse,
    Select,
    Slice,
)

STEPS = 6
LENGTHS = np.array([6, 1, 3, 4])
SCORES = (GRULayer(network(4, 3)), Dense(numbers(1, 3)), Select(-1, 0))  # (batch, steps): squeeze(-1), y[:, :, 0]


def assert_rows_alone(model: Model, x: np.ndarray) -> None:
    together = model(x, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        assert_alone(together[row], model(x[row, :length]))


def assert_alone(given: np.ndarray, alone: np.ndarray) -> None:
    """A row with a length is what it gives alone, and zero beyond."""
    within = tuple(map(slice, alone.shape))
    np.testing.assert_allclose(given[within], alone, rtol=1e-6, atol=1e-7)
    beyond = given.copy()
    beyond[within] = 0
    assert not beyond.any()


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin", "sparsemax"])
@pytest.mark.parametrize("squeezed", [Select(-1, 0), Reshape((-1,)), Flatten()])
def test_a_softmax_over_the_steps_does_not_count_padding(name, squeezed):
    assert_rows_alone(Model(chain(*SCORES[:2], squeezed, Activation(name))), numbers(4, STEPS, 4))


@pytest.mark.parametrize("axis", [1, -2, (1, 2)])
def test_a_softmax_along_the_first_axis_does_not_count_padding(axis):
    assert_rows_alone(Model(chain(GRULayer(network(4, 3)), Activation("softmax", axis=axis))), numbers(4, STEPS, 4))


def test_attention_over_the_steps_is_what_each_row_gives_alone():
    gru, scores = GRULayer(network(4, 3)), Dense(numbers(1, 3))
    nodes = (
        Node("y", gru, ("x",)),
        Node("scores", scores, ("y",)),
        Node("flat", Select(-1, 0), ("scores",)),
        Node("weights", Activation("softmax"), ("flat",)),
        Node("unsqueezed", Reshape((-1, 1)), ("weights",)),
        Node("weighted", Multiply(), ("y", "unsqueezed")),
        Node("context", Max(), ("weighted",)),
    )
    assert_rows_alone(Model(ModelSpec((Input("x", (None, 4)),), nodes, ("context",))), numbers(4, STEPS, 4))


@pytest.mark.parametrize(
    "layer",
    [
        Dense(numbers(2, STEPS)), Dense(numbers(STEPS, STEPS)), BatchNormalization(numbers(STEPS), numbers(STEPS) ** 2),
        Activation("glu"), Reshape((2, 3)),
    ],
    ids=lambda layer: layer.described(),
)  # fmt: skip
def test_steps_that_are_taken_for_features_are_refused(layer):
    model = Model(chain(*SCORES, layer))
    model(numbers(4, STEPS, 4))
    with pytest.raises(UnsupportedModelError, match=r"lengths: layer 'layer 3'"):
        model(numbers(4, STEPS, 4), lengths=LENGTHS)


@pytest.mark.parametrize("layer", [LayerNormalization(), RepeatVector(2), Reshape((1, -1))], ids=str)
def test_steps_that_are_features_are_those_of_each_row(layer):
    assert_rows_alone(Model(chain(*SCORES, layer)), numbers(4, STEPS, 4))


@pytest.mark.parametrize(
    "layer",
    [
        BatchNormalization(numbers(STEPS), numbers(STEPS) ** 2, axis=1), Reshape((4, STEPS)),
    ],
    ids=lambda layer: layer.described(),
)  # fmt: skip
def test_layers_with_statistics_for_each_step_or_that_move_them_refuse_lengths(layer):
    model = Model(chain(layer, shape=(STEPS, 4)))
    model(numbers(4, STEPS, 4))
    with pytest.raises(UnsupportedModelError, match="lengths: layer 'layer 0'"):
        model(numbers(4, STEPS, 4), lengths=LENGTHS)


@pytest.mark.parametrize(
    "layer", [LayerNormalization(axes=(1,)), Permute((2, 1)), Flatten(), Reshape((-1, 2))], ids=str
)
def test_layers_that_move_the_steps_give_each_row_what_it_gives_alone(layer):
    fixed, alone = Model(chain(layer, shape=(STEPS, 4))), Model(chain(layer, shape=(None, 4)))
    x = numbers(4, STEPS, 4)
    together = fixed(x, lengths=LENGTHS)
    np.testing.assert_array_equal(together, alone(x, lengths=LENGTHS))
    for row, length in enumerate(LENGTHS):
        assert_alone(together[row], alone(x[row, :length]))


@pytest.mark.parametrize(
    "layer",
    [
        Reshape((-1, 2, 2)), Reshape((STEPS, 4)), Select(2, 1), Permute((1, 2)), PReLU(numbers(1, 4)),
        PReLU(numbers(STEPS, 1)), PReLU(numbers(STEPS, 4)),
    ],
)  # fmt: skip
def test_layers_that_leave_the_steps_where_they_are_take_lengths(layer):
    x = numbers(4, STEPS, 4)
    model = Model(chain(layer, shape=(STEPS, 4)))
    together, whole = model(x, lengths=LENGTHS), model(x)
    for row, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(together[row, :length], whole[row, :length])
        assert not together[row, length:].any()


def of_two(layer, one: tuple[int | None, ...], other: tuple[int | None, ...], **masks) -> Model:
    nodes = (Node("join", layer, ("a", "b"), **masks),)
    return Model(ModelSpec((Input("a", one), Input("b", other)), nodes, ("join",)))


@pytest.mark.parametrize("layer", [Add(), Maximum(), Concatenate()])
def test_steps_with_lengths_are_not_joined_with_steps_without(layer):
    a, b = numbers(2, 5, 3), numbers(2, 5, 3, seed=4)
    model = of_two(layer, (None, 3), (None, 3))
    with pytest.raises(ShapeError, match="lengths: got those of a, wanted those of b too"):
        model([a, b], lengths={"a": [5, 2]})
    with pytest.raises(ShapeError, match="lengths: inputs that are taken step by step together have different lengths"):
        model([a, b], lengths={"a": [5, 2], "b": [5, 3]})
    together = model([a, b], lengths=[5, 2])
    np.testing.assert_array_equal(together[1, :2], model([a[1, :2], b[1, :2]]))


def test_inputs_that_are_joined_step_by_step_have_as_many_steps():
    model = of_two(Add(), (None, 3), (None, 3))
    with pytest.raises(ShapeError, match=r"b: got shape \(2, 5, 3\), wanted \(batch, steps, 3\), where steps is 1"):
        model([numbers(2, 1, 3), numbers(2, 5, 3)])


def test_steps_that_meet_the_features_of_another_end_where_their_row_does():
    nodes = (Node("flat", Select(-1, 0), ("a",)), Node("join", Add(), ("flat", "b")))
    model = Model(ModelSpec((Input("a", (None, 4)), Input("b", (3, STEPS))), nodes, ("join",)))
    a, b = numbers(4, STEPS, 4), numbers(4, 3, STEPS)
    with pytest.raises(ShapeError, match="a row of 1 steps, but layer 'join' is made for 6"):
        model([a, b], lengths={"a": [STEPS, STEPS, STEPS, 1]})  # which alone is repeated
    lengths = [max(length, 2) for length in LENGTHS]
    whole, together = model([a, b]), model([a, b], lengths={"a": lengths})
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(together[row, :, :length], whole[row, :, :length])
        assert not together[row, :, length:].any()


def test_steps_are_no_initial_state():
    nodes = (Node("flat", Select(-1, 0), ("x",)), Node("gru", GRULayer(network(4, STEPS)), ("x", "flat")))
    model = Model(ModelSpec((Input("x", (None, 4)),), nodes, ("gru",)))
    with pytest.raises(UnsupportedModelError, match="lengths: layer 'gru' takes states"):
        model(numbers(4, STEPS, 4), lengths=LENGTHS)


def test_a_mask_of_other_lengths_is_refused():
    nodes = (
        Node("real", NotEqual(1.0), ("ids",)),
        Node("gru", GRULayer(network(4, 3)), ("x",), "real"),
    )
    model = Model(ModelSpec((Input("x", (None, 4)), Input("ids", (None,), True)), nodes, ("gru",)))
    given = [numbers(2, 5, 4), np.zeros((2, 5), int)]
    with pytest.raises(ShapeError, match="lengths: got those of x, wanted those of ids too"):
        model(given, lengths={"x": [5, 2]})
    both = Model(ModelSpec((Input("a", (None, 4)), Input("b", (None, 4))), (Node("m", MaskOf(), ("a", "b")),), ("m",)))
    with pytest.raises(FastGRUError, match=r"lengths"):
        both([given[0], given[0]], lengths={"a": [5, 2]})


def test_an_input_whose_open_axis_is_not_its_first_takes_no_lengths():
    model = Model(chain(Permute((2, 1)), GRULayer(network(4, 3)), shape=(4, None)))
    with pytest.raises(ShapeError, match=r"lengths: .*but the inputs with steps are none"):
        model(numbers(2, 4, 6), lengths=[4, 2])


def test_the_final_states_of_joined_directions_have_the_size_that_is_checked():
    spec = chain(GRULayer(network(4, 3, directions=2), merge="sum"), FinalState(), Dense(numbers(2, 6)))
    assert Model(spec)(numbers(2, 5, 4)).shape == (2, 2)
    with pytest.raises(ShapeError, match="weight"):
        Model(chain(GRULayer(network(4, 3, directions=2), merge="sum"), FinalState(), Dense(numbers(2, 3))))


def masked_final_state() -> ModelSpec:
    nodes = (
        Node("gru", GRULayer(network(4, 3)), ("x",)),
        Node("mask", MaskOf(), ("x",)),
        Node("final", FinalState(), ("gru",), "mask"),
    )
    return ModelSpec((Input("x", (None, 4)),), nodes, ("final",))


def squeezed_masks(layer) -> ModelSpec:
    nodes = (
        Node("masked a", Masking(), ("a",)),
        Node("masked b", Masking(), ("b",)),
        Node("flat a", Select(-1, 0), ("masked a",)),
        Node("flat b", Select(-1, 0), ("masked b",)),
        Node("join", layer, ("flat a", "flat b")),
    )
    return ModelSpec((Input("a", (None, 4)), Input("b", (None, 4))), nodes, ("join",))


def mask_under_a_dense() -> ModelSpec:
    return chain(Masking(), Select(-1, 0), Dense(numbers(3, 5)), RepeatVector(5), GRULayer(network(3, 2)), Mean())


def states_of_other_sizes() -> ModelSpec:
    inputs = (Input("x", (None, 4)), Input("one", (3,)), Input("two", (None, 1)))
    nodes = (
        Node("flat", Reshape((-1,)), ("two",)),
        Node("gru", GRULayer(network(4, 3, 2)), ("x", "one", "flat")),
    )
    return ModelSpec(inputs, nodes, ("gru",))


X = numbers(2, 5, 4)
MADE = {
    "a FinalState under a mask": (masked_final_state(), [X]),
    "squeezed masks side by side": (squeezed_masks(Concatenate()), [X, numbers(2, 3, 4)]),
    "a mask behind a Dense over steps": (mask_under_a_dense(), [X]),
}
REFUSED = {
    "a PReLU for other steps": (chain(PReLU(numbers(7, 1))), [X]),
    "initial states of other sizes": (states_of_other_sizes(), [X, numbers(2, 3), numbers(2, 2, 1)]),
    "a Reshape beyond any number": (chain(Reshape((2**31 - 1,) * 3)), [X]),
    "a Reshape whose sizes overflow to nothing": (chain(Reshape((2**30, 2**30, 2**30))), [X]),
}


@pytest.mark.parametrize("name", MADE)
def test_graphs_that_validate_accepts_run(name):
    spec, arrays = MADE[name]
    assert np.isfinite(Model(spec)(arrays if len(arrays) > 1 else arrays[0])).all()


@pytest.mark.parametrize("name", REFUSED)
def test_what_only_the_sizes_of_a_call_show_is_refused_in_words(name):
    spec, arrays = REFUSED[name]
    with pytest.raises(FastGRUError, match="layer"):
        Model(spec)(arrays if len(arrays) > 1 else arrays[0])


def test_a_mask_has_one_place_a_step():
    with pytest.raises(ShapeError, match=r"wanted \(steps, features\)"):
        Model(chain(Masking(), shape=(None, 3, 4)))


def test_the_final_state_under_a_mask_is_the_grus():
    gru = chain(GRULayer(network(4, 3)), Last())
    np.testing.assert_array_equal(Model(masked_final_state())(X), Model(gru)(X))


@pytest.mark.parametrize(
    "spec",
    [
        joined(Add()), joined(Multiply()), chain(LayerNormalization(epsilon=0.0)), chain(Reverse(), Dropout()),
        chain(BatchNormalization(numbers(4), np.zeros(4, np.float32), epsilon=0.0)), chain(PReLU(numbers(4))),
        chain(BatchNormalization(numbers(4), -np.ones(4, np.float32))), chain(Conv1D(numbers(2, 4, 2))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("fill", [0.0, 3e38, float("nan"), float("inf")])
def test_floating_point_errors_of_numpy_stay_inside(spec, fill):
    with np.errstate(all="raise"):
        Model(spec)(np.full((2, 5, 4), fill, np.float32))


def test_steps_inside_of_other_places_take_no_lengths_and_no_streams():
    model = Model(chain(Permute((2, 1)), Flatten(), shape=(None, 4)))
    assert model(numbers(2, 3, 4)).shape == (2, 12)
    with pytest.raises(UnsupportedModelError, match="steps inside of other places"):
        model(numbers(2, 3, 4), lengths=[3, 2])
    with pytest.raises(UnsupportedModelError, match="steps inside of other rows or places"):
        model.stream()


@pytest.mark.parametrize(
    ("layer", "length"), [(Slice(1, 2), 2), (Cropping1D(1, 1), 2), (MaxPooling1D(2, 2), 1), (Slice(1, -3, -1), 2)]
)
def test_a_row_of_which_nothing_is_left_is_refused(layer, length):
    model, x = Model(chain(layer, shape=(None, 4))), numbers(2, 6, 4)
    whole = model(x)
    np.testing.assert_array_equal(model(x, lengths=[6, 6]), whole)
    for given, options in ((x, {"lengths": [6, length]}), (x[:, :length], {})):
        with pytest.raises(ShapeError, match="layer 'layer 0'"):
            model(given, **options)
