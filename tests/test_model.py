"""Promise of ``Model``: the layers' mathematics, a row's independence of its batch, streams, copies and refusals."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from networks import batched_reference, network, numbers, same_bits

from fastgru import DTypeError, FastGRUError, Model, ModelStream, ShapeError, UnsupportedModelError
from fastgru.graph.builder import Builder
from fastgru.graph.graph import INTEGER
from fastgru.graph.operations.normalization import Normalize
from fastgru.graph.operations.product import Embedding as EmbeddingOf
from fastgru.graph.operations.product import Linear as LinearOf
from fastgru.graph.size import symbol
from fastgru.layers import (
    Activation,
    Dense,
    Dropout,
    Embedding,
    FinalState,
    GRULayer,
    Input,
    Last,
    Max,
    Mean,
    ModelSpec,
    Node,
    Permute,
    Slice,
    sequential,
)
from fastgru.reference import sigmoid, softmax

WORDS, FEATURES, HIDDEN = 11, 4, 21


def dense(outputs: int, inputs: int, activation: str = "linear", seed: int = 3) -> Dense:
    return Dense(0.3 * numbers(outputs, inputs, seed=seed), numbers(outputs, seed=seed), activation)


def tagger(*tail, directions: int = 1, **layer) -> ModelSpec:
    """Embedding, dropout, a GRU, what the test wants, and a softmax over seven classes."""
    spec = network(FEATURES, HIDDEN, directions=directions)
    width = HIDDEN * (directions if layer.get("merge", "concat") == "concat" else 1)
    first = [Embedding(numbers(WORDS, FEATURES)), Dropout(), GRULayer(spec, **layer)]
    layers = [*first, *tail, dense(7, width, "softmax")]
    return sequential((f"layer{i}", each) for i, each in enumerate(layers))


def embedded(ids):
    return numbers(WORDS, FEATURES)[ids]


def classes(features):
    last = dense(7, features.shape[-1], "softmax")
    return softmax(features @ last.weight.T.astype(np.float64) + last.bias)


@pytest.fixture
def ids(rng) -> np.ndarray:
    return rng.integers(0, WORDS, (9, 6))


LENGTHS = np.array([6, 1, 3, 6, 2, 5, 4, 6, 1])


def over_real(y, reduce):
    return np.stack([reduce(row[:length], axis=0) for row, length in zip(y, LENGTHS, strict=True)])


TAILS = {
    "every step": ((), lambda y, h: y),
    "Last": ((Last(),), lambda y, h: y[np.arange(9), LENGTHS - 1]),
    "FinalState": ((FinalState(),), lambda y, h: np.concatenate(list(h), axis=-1)),
    "Mean": ((Mean(),), lambda y, h: over_real(y, np.mean)),
    "Max": ((Max(),), lambda y, h: over_real(y, np.max)),
    "Activation": ((Activation("relu"),), lambda y, h: np.maximum(y, 0)),
    "sigmoid": ((Activation("sigmoid"),), lambda y, h: sigmoid(y)),
}
PRECISIONS = [("float32", 1e-6), ("float64", 1e-12)]


@pytest.mark.parametrize(("precision", "bound"), PRECISIONS)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("name", TAILS)
def test_layers_do_what_they_say(name, directions, precision, bound, ids):
    tail, wanted = TAILS[name]
    model = Model(tagger(*tail, directions=directions), precision=precision)
    y, h = batched_reference(network(FEATURES, HIDDEN, directions=directions), embedded(ids), lengths=LENGTHS)
    got = model(ids, LENGTHS)
    assert got.dtype == np.dtype(precision)
    expected = classes(wanted(y, h))
    if name in ("every step", "Activation", "sigmoid"):
        real = np.arange(6) < LENGTHS[:, None]
        got, expected = got[real], expected[real]
    assert got.shape == expected.shape and np.abs(got - expected).max() <= bound


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
def test_directions_are_joined_as_asked(merge, ids):
    y, _ = batched_reference(network(FEATURES, HIDDEN, directions=2), embedded(ids))
    forward, reverse = y[..., :HIDDEN], y[..., HIDDEN:]
    joined = {"concat": y, "sum": forward + reverse, "mul": forward * reverse, "ave": (forward + reverse) / 2}[merge]
    got = Model(tagger(directions=2, merge=merge))(ids)
    assert np.abs(got - classes(joined)).max() <= 1e-6


def test_backwards_starts_at_each_rows_own_end(ids):
    spec, x = network(FEATURES, HIDDEN), embedded(ids)
    for row, length in enumerate(LENGTHS):
        x[row, :length] = x[row, :length][::-1]
    y, h = batched_reference(spec, x, lengths=LENGTHS)
    got = Model(tagger(go_backwards=True))(ids, LENGTHS)
    real = np.arange(6) < LENGTHS[:, None]
    assert np.abs(got - classes(y))[real].max() <= 1e-6
    last = Model(tagger(go_backwards=True, return_sequences=False))(ids, LENGTHS)
    assert np.abs(last - classes(h[0])).max() <= 1e-6


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", TAILS)
def test_a_row_has_the_same_bits_in_any_batch(name, lengths, ids):
    model = Model(tagger(*TAILS[name][0], directions=2), n_threads=2)
    whole = model(ids, lengths)
    real = np.full(9, 6) if lengths is None else lengths
    for batch in range(1, 10):
        for first in (0, 9 - batch):
            rows = slice(first, first + batch)
            got = model(ids[rows], None if lengths is None else lengths[rows])
            for one, other, length in zip(got, whole[rows], real[rows], strict=True):
                assert same_bits(*((one, other) if one.ndim == 1 else (one[:length], other[:length])))
    for row in range(9):
        alone = model(ids[row], None if lengths is None else lengths[row])
        part = slice(None) if alone.ndim == 1 else slice(int(real[row]))
        assert same_bits(alone[part].copy(), whole[row][part].copy())


@pytest.mark.parametrize("outputs", [1, 2, 16, 17, 49])
def test_dense_layers_keep_a_rows_bits(outputs):
    layers = [("in", dense(5, 3, "tanh")), ("gru", GRULayer(network(5, 9))), ("out", dense(outputs, 9, "hard_sigmoid"))]
    model = Model(sequential(layers))
    x = numbers(130, 4, 3)
    whole = model(x)
    for batch in (1, 2, 3, 8, 64, 65, 129):
        assert same_bits(model(x[:batch]), whole[:batch])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_an_empty_batch_gives_an_empty_result(precision):
    for name, (tail, _) in TAILS.items():
        model = Model(tagger(*tail), precision=precision)
        got = model(np.empty((0, 6), np.int64))
        assert got.shape == ((0, 7) if name in ("Last", "FinalState", "Mean", "Max") else (0, 6, 7))
        assert got.dtype == np.dtype(precision)


def test_every_output_is_an_array_of_its_own():
    """A caller may fill the input with the next rows, or change an output, and what was given before stays."""
    nodes = (Node("d", Dropout(), ("x",)), Node("p", Permute((2, 1)), ("x",)), Node("s", Slice(2, 0, 2), ("r",)))
    relu = Node("r", Activation("relu"), ("x",))
    spec = ModelSpec((Input("x", (None, 4)),), (relu, *nodes), ("x", "d", "d", "p", "r", "s"))
    x = numbers(2, 3, 4)
    for given in (x, x[0]):
        outputs = Model(spec)(given)
        for place, one in enumerate(outputs):
            assert not any(np.shares_memory(one, other) for other in (given, *outputs[:place]))
    only = Model(ModelSpec((Input("x", (None, 4)),), (Node("d", Dropout(), ("x",)),), ("d",)))
    assert not np.shares_memory(only.stream(2).step(x[:, 0]), x)


@pytest.mark.parametrize("last", [True, False])
def test_a_stream_follows_the_sequence(last, ids):
    model = Model(tagger(*([Last()] if last else [])))
    stream, whole = model.stream(9), None if last else model(ids)
    assert isinstance(stream, ModelStream)
    for t in range(6):
        wanted = model(ids[:, : t + 1]) if whole is None else whole[:, t].copy()
        assert same_bits(stream.step(ids[:, t]), wanted)
    twin, kept = stream.copy(), stream.state
    wanted = twin.step(ids[:, 0])
    assert same_bits(stream.step(ids[:, 0]), wanted)
    stream.state = kept
    assert same_bits(stream.step(ids[:, 0]), wanted)
    stream.reset()
    assert not any(state.any() for state in stream.state)
    assert model.stream().step(3).shape == (7,)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (tagger(directions=2), "layer2"),
        (tagger(go_backwards=True), "layer2"),
        (tagger(Mean()), "layer3"),
        (tagger(Max()), "layer3"),
    ],
)
def test_a_model_that_needs_later_steps_does_not_stream(spec, name):
    with pytest.raises(UnsupportedModelError, match=rf"{name}.*sequences instead"):
        Model(spec).stream()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_copies_compute_the_same(again, precision, ids):
    model = Model(tagger(Last()), precision=precision, n_threads=2)
    twin = again(model)
    assert repr(twin) == repr(model) and twin.precision == precision
    assert np.abs(twin(ids) - model(ids)).max() == 0


def test_repr_lists_every_layer():
    text = repr(Model(tagger(Last(), directions=2)))
    for part in ("Embedding(11, 4)", "Dropout()", "GRU(4, 21, bidirectional=True)", "Last()", "Dense(42, 7", "softmax"):
        assert part in text


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.zeros((2, 3)), DTypeError),
        (np.zeros((2, 3), bool), DTypeError),
        (np.zeros((2, 3), object), DTypeError),
        ("text", DTypeError),
        (None, DTypeError),
        ([[1], [2, 3]], DTypeError),
        (np.zeros((2, 0), int), ShapeError),
        (np.zeros((2, 3, 4), int), ShapeError),
        (3, ShapeError),
        ([[0, WORDS]], ShapeError),
        ([[0, -1]], ShapeError),
        ([[0, 2**62]], ShapeError),
        (np.array([[0, 2**64 - 1]], np.uint64), ShapeError),
    ],
)
def test_wrong_integers_are_refused(x, error):
    with pytest.raises(error):
        Model(tagger())(x)


def test_an_integer_beyond_the_vocabulary_names_layer_and_range():
    with pytest.raises(ShapeError, match="layer 'layer0': got the integer 11, wanted 0 to 10"):
        Model(tagger())([[0, 11]])


@pytest.mark.parametrize("lengths", [[1, 2], [0] * 9, [7] * 9, [1.0] * 9, "x", [True] * 9, 6])
def test_wrong_lengths_are_refused(lengths, ids):
    with pytest.raises(FastGRUError, match="lengths"):
        Model(tagger())(ids, lengths)


FIRST_DENSE = sequential([("in", dense(5, 3)), ("gru", GRULayer(network(5, 9)))])


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3), complex), np.zeros((2, 3), object), np.zeros((2, 3), "U1"), None, "x"]
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_stream_refuses_what_the_model_refuses(bad, precision):
    model = Model(FIRST_DENSE, precision=precision)
    with pytest.raises(FastGRUError):
        model(bad)
    with pytest.raises(FastGRUError):
        model.stream(2).step(bad)


@pytest.mark.parametrize("x", [np.zeros((2, 4)), np.zeros((3, 3)), np.zeros(3), np.zeros((2, 1, 3)), 1.0])
def test_a_step_of_the_wrong_shape_is_refused(x):
    with pytest.raises(ShapeError, match="x: got shape"):
        Model(FIRST_DENSE).stream(2).step(x)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "2", None, [2], 10**30])
def test_a_batch_that_is_none_is_refused(batch):
    with pytest.raises(FastGRUError, match="batch: "):
        Model(FIRST_DENSE).stream(batch)


@pytest.mark.parametrize("state", [[], [np.zeros((1, 2, 8))], [np.zeros((1, 1, 9))], ["x"]])
def test_a_state_that_does_not_fit_is_refused(state):
    stream = Model(FIRST_DENSE).stream(2)
    stream.step(numbers(2, 3))
    before = stream.state
    with pytest.raises(FastGRUError, match="state: "):
        stream.state = state
    assert same_bits(stream.state[0], before[0])


@pytest.mark.parametrize(
    "options", [{"precision": "float8"}, {"n_threads": 0}, {"n_threads": True}, {"backend": "cuda"}]
)
def test_a_wrong_option_is_refused_with_and_without_a_gru(options):
    for spec in (FIRST_DENSE, sequential([("in", dense(5, 3)), ("last", Last())])):
        with pytest.raises(FastGRUError, match=next(iter(options))):
            Model(spec, **options)


@pytest.mark.parametrize(
    "spec",
    [
        None,
        network(3, 5),
        sequential([("a", dense(5, 3)), ("b", dense(5, 4))]),
        sequential([("a", dense(5, 3)), ("b", FinalState())]),
        sequential([("a", dense(5, 3, "swoosh"))]),
        sequential([("a", Dense(np.zeros((0, 3), np.float32)))]),
        sequential([("a", Dense(np.zeros((3, 0), np.float32)))]),
        sequential([("a", Dense(np.zeros((5, 3), np.float16)))]),
        sequential([("a", Embedding(np.zeros((0, 3), np.float32)))]),
        sequential([("a", dense(5, 3)), ("b", Last()), ("c", GRULayer(network(5, 2)))]),
        ModelSpec((), (), ()),
        ModelSpec(FIRST_DENSE.inputs, (Node("in", dense(5, 3), ("nowhere",)),), ("in",)),
        ModelSpec(FIRST_DENSE.inputs, FIRST_DENSE.nodes, ("gru", ("in", 1))),
    ],
)
def test_a_wrong_spec_is_refused(spec):
    with pytest.raises(FastGRUError):
        Model(spec)


def test_the_mean_of_one_feature_does_not_depend_on_what_is_behind_a_rows_end():
    model = Model(sequential([("gru", GRULayer(network(3, 1))), ("mean", Mean())]))
    x, lengths = numbers(16, 40, 3), np.arange(1, 32, 2)
    together = model(x, lengths=lengths)
    for row, length in enumerate(lengths):
        assert same_bits(model(x[row, :length]), together[row])


def test_final_states_come_directly_after_a_gru():
    chain = [("gru", GRULayer(network(3, 4))), ("act", Activation("relu")), ("final", FinalState())]
    with pytest.raises(ShapeError, match=r"'final'.*directly after a GRU"):
        Model(sequential(chain))


def test_streams_copy_and_pickle_with_their_states():
    stream = Model(FIRST_DENSE).stream(2)
    stream.step(numbers(2, 3))
    for twin in (copy.copy(stream), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        before = twin.state[0].copy()
        stream.step(numbers(2, 3))
        assert same_bits(twin.state[0], before) and not same_bits(stream.state[0], before)


def test_numpys_floating_point_errors_stay_inside():
    model = Model(sequential([("gru", GRULayer(network(3, 4))), ("out", dense(5, 4, "softmax"))]))
    with np.errstate(all="raise"):
        assert model(np.full((2, 3, 3), 1e300)).shape == (2, 3, 5)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_a_model_of_a_graph_does_not_change_with_the_arrays_it_was_given(precision):
    """A live module's graph has the module's own memory: of normalisations, tables, products and plain parameters."""
    weight, gamma, table, added = numbers(3, 6), numbers(6), numbers(9, 6), numbers(6)
    builder = Builder()
    words = builder.add(EmbeddingOf(table), builder.input("x", (symbol("batch"), symbol("steps")), INTEGER))
    y = builder.add(Normalize((-1,), gamma, added), words)
    model = Model(builder.finish(builder.add(LinearOf(weight), y).place), precision=precision)
    index = np.arange(8).reshape(2, 4) % 9
    wanted = [model(index) for _ in range(3)]
    for array in (weight, gamma, table, added):
        array += 1
    assert all(same_bits(model(index), each) for each in wanted)
    assert same_bits(model(index[:1]), wanted[0][:1])
