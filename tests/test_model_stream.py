"""Promise of ``ModelStream``: a step is taken by all GRUs or by none, whatever is raised; a refusal has one reason."""

from __future__ import annotations

import copy
import gc
import pickle
import signal
import tracemalloc

import numpy as np
import pytest
from layer_examples import chain
from networks import network, numbers, same_bits

from fastgru import FastGRUError, Model, ModelStream, ShapeError, UnsupportedModelError
from fastgru.graph.compile import Stretch
from fastgru.layers import (
    Activation,
    Add,
    BatchNormalization,
    Concatenate,
    Dense,
    Embedding,
    Flatten,
    GRULayer,
    Input,
    Last,
    Layer,
    LayerNormalization,
    Masking,
    MaskOf,
    Max,
    MaxPooling1D,
    Mean,
    ModelSpec,
    Node,
    Permute,
    PReLU,
    RepeatVector,
    Reshape,
    Reverse,
    Select,
    Slice,
    UpSampling1D,
    ZeroPadding1D,
)
from fastgru.model import as_tuple

GRUS = chain(*(GRULayer(network(4, 4, seed=seed)) for seed in range(4)))
OPTIONS = [{}, {"backend": "blas"}, {"precision": "float64"}]


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return len(one) == len(other) and all(map(same_bits, one, other))


@pytest.fixture(params=OPTIONS, ids=str)
def stream(request) -> ModelStream:
    stream = Model(GRUS, **request.param).stream(2)
    stream.step(numbers(2, 4))
    return stream


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, TimeoutError])
@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
@pytest.mark.parametrize("place", range(4))
def test_a_step_that_ends_in_any_layer_is_taken_by_none(options, place, error):
    stream, x = Model(GRUS, **options).stream(2), numbers(2, 4, seed=2)
    stream.step(numbers(2, 4))
    before, twin = stream.state, stream.copy()
    computes = stream._steps.streamed.runner.computes
    compute = computes[place]

    def interrupted(*given):
        compute(*given)
        raise error

    computes[place] = interrupted
    with pytest.raises(error):
        stream.step(x)
    assert same(stream.state, before)
    computes[place] = compute
    assert same_bits(stream.step(x), twin.step(x)) and same(stream.state, twin.state)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, TimeoutError])
@pytest.mark.parametrize("place", range(2))
def test_a_step_that_ends_between_two_programs_is_taken_by_none(place, error, monkeypatch):
    middle = chain(GRULayer(network(4, 4)), Masking(7.0), GRULayer(network(4, 4, seed=2)), Dense(numbers(3, 4)))
    model, x, run, done = Model(middle), numbers(2, 4), Stretch.run, []
    if not model._runner._compiles:
        pytest.skip("there are no programs without vector kernels")
    stream = model.stream(2)
    stream.step(x)
    stream.step(x)
    before, twin = stream.state, stream.copy()

    def interrupted(*given):
        run(*given)
        done.append(None)
        if len(done) > place:
            raise error

    monkeypatch.setattr(Stretch, "run", interrupted)
    with pytest.raises(error):
        stream.step(x)
    monkeypatch.setattr(Stretch, "run", run)
    assert same(stream.state, before)
    assert same_bits(stream.step(x), twin.step(x)) and same(stream.state, twin.state)


def test_a_step_of_a_program_that_an_integer_ends_is_not_taken():
    nodes = (
        Node("gru", GRULayer(network(4, 3)), ("x",)),
        Node("text", Embedding(numbers(5, 3)), ("words",)),
        Node("sum", Add(), ("gru", "text")),
    )
    model = Model(ModelSpec((Input("x", (None, 4)), Input("words", (None,), True)), nodes, ("sum",)))
    stream, x = model.stream(2), numbers(2, 4)
    stream.step([x, np.array([0, 4])])
    before = stream.state
    for wrong in ([1, 5], [-1, 0]):
        with pytest.raises(ShapeError, match=r"'text'.*wanted 0 to 4"):
            stream.step([x, np.array(wrong)])
        assert same(stream.state, before)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_step_that_a_later_layer_refuses_is_taken_by_none(options):
    nodes = (
        Node("first", GRULayer(network(4, 3)), ("x",)),
        Node("masking", Masking(), ("x",)),
        Node("second", GRULayer(network(4, 3)), ("masking",)),
        Node("out", Add(), ("first", "second")),
    )
    stream = Model(ModelSpec((Input("x", (None, 4)),), nodes, ("out",)), **options).stream(2)
    stream.step(numbers(2, 4))
    before = stream.state
    with pytest.raises(ShapeError, match="masks"):
        stream.step(np.zeros((2, 4)))
    assert same(stream.state, before)


def test_a_handlers_exception_leaves_the_states_of_one_moment(stream):
    class Over(Exception):
        pass

    def handler(*_):
        raise Over

    x = numbers(2, 4, seed=3).astype(stream._model.dtype)
    trail = [stream.state]
    twin = stream.copy()
    for _ in range(400):
        twin.step(x)
        trail.append(twin.state)
    random, at, interrupted = np.random.default_rng(0), 0, 0
    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # whose callbacks, of packages such as jax, may end the process where a handler raises in them
    try:
        for _ in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 1e-4))
                stream.step(x)
                stream.step(x)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Over:
                interrupted += 1
            at = next(place for place in range(at, at + 3) if same(stream.state, trail[place]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert interrupted


def test_states_are_read_only_copies(stream):
    states = stream.state
    assert isinstance(states, tuple)
    with pytest.raises(ValueError, match="read-only"):
        states[0][...] = 7
    with pytest.raises(TypeError):
        states[0] = np.zeros((1, 2, 4))
    wanted = stream.step(numbers(2, 4))
    stream.state = [array.copy() for array in states]
    assert same_bits(stream.step(numbers(2, 4)), wanted)


def test_states_of_which_one_does_not_fit_change_none(stream):
    before = stream.state
    for wrong in (np.zeros((1, 2, 5)), "x", np.zeros((1, 3, 4))):
        with pytest.raises(FastGRUError, match="state: "):
            stream.state = [np.ones((1, 2, 4)), np.ones((1, 2, 4)), np.ones((1, 2, 4)), wrong]
        assert same(stream.state, before)


def test_some_rows_begin_again_in_every_gru(stream):
    twin, x = stream.copy(), numbers(2, 4, seed=5)
    stream.reset(rows=[0])
    assert not any(state[:, 0].any() for state in stream.state)
    kept = zip(stream.state, twin.state, strict=True)
    assert all(same_bits(one[:, 1].copy(), other[:, 1].copy()) for one, other in kept)
    np.testing.assert_allclose(stream.step(x)[1], twin.step(x)[1], atol=1e-6)
    stream.reset()
    assert not any(state.any() for state in stream.state)


class Doubled(ModelStream):
    def step(self, x):
        return 2 * super().step(x)


def test_a_subclass_has_its_own_step_and_copies_keep_it():
    stream = Doubled(Model(GRUS), 2)
    stream.note = "mine"
    plain, x = Model(GRUS).stream(2), numbers(2, 4)
    assert same_bits(stream.step(x), 2 * plain.step(x))
    wanted = 2 * plain.step(x)
    for twin in (stream.copy(), copy.copy(stream), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        assert type(twin) is Doubled and twin.note == "mine" and same_bits(twin.step(x), wanted)


def after(layer: Layer) -> ModelSpec:
    return chain(GRULayer(network(4, 4)), layer)


def several(nodes: tuple[Node, ...], output: str) -> ModelSpec:
    return ModelSpec((Input("x", (None, 4)),), nodes, (output,))


GRU_OF_X = Node("gru", GRULayer(network(4, 4), return_state=False), ("x",))
REASONS = [
    (chain(GRULayer(network(4, 4, directions=2))), r"'layer 0' \(GRU\).*bidirectional"),
    (chain(GRULayer(network(4, 4), go_backwards=True)), r"'layer 0' \(Flip\).*begins at the last step"),
    (after(Reverse()), r"'layer 1' \(Flip\).*begins at the last step"),
    (several((GRU_OF_X, Node("last", Last(), ("gru",)), Node("more", GRU_OF_X.layer, ("x", "last"))), "more"),
     "'more'.*first states are given"),
    (several((GRU_OF_X, Node("last", Last(), ("gru",)), Node("join", Add(), ("gru", "last"))), "join"),
     r"'join' \(Binary\).*some have a step where others have none"),
    (after(Mean()), "mean of all steps"), (after(Max()), "max of all steps"),
    (after(MaxPooling1D(2, 2)), "several steps together"),
    (after(ZeroPadding1D(1, 0)), "pads the steps.*1 before the first"),
    (after(UpSampling1D(2)), "makes several steps of one"),
    (after(Select(1, 0)), "takes step 0 of the sequence"), (after(Slice(1, -2)), "takes steps from -2 to the end"),
    (after(Activation("softmax", axis=1)), "takes all steps together"),
    (after(LayerNormalization(axes=(1,))), "statistics of all steps"),
    (after(BatchNormalization(numbers(4), numbers(4) ** 2, axis=1)), "is made for 4 steps"),
    (several((GRU_OF_X, Node("join", Concatenate(1), ("gru", "x"))), "join"), "steps before others"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "reason"), REASONS, ids=[reason for _, reason in REASONS])
def test_a_refusal_names_the_layer_and_its_one_reason(spec, reason):
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        Model(spec).stream()
    assert str(caught.value).endswith("call the model on sequences instead")


SEVERAL = [
    chain(GRULayer(network(4, 4), (network(4, 2),))), chain(GRULayer(network(4, 4), return_state=True)),
    several((Node("m", MaskOf(), ("x",)), GRU_OF_X.replace(mask="m")), "gru"), after(Permute((1, 2))),
    after(Permute((2, 1))), after(Reshape((-1, 2, 2))), after(Reshape((-1, 2))), after(PReLU(numbers(1, 4))),
    chain(GRULayer(network(4, 4)), Last(), RepeatVector(2)), chain(Flatten(), shape=(None, 4)),
    ModelSpec((Input("x", (None, 4)),), (GRU_OF_X, Node("last", Last(), ("gru",))), ("gru", "last"), ("y", "h")),
    chain(GRULayer(network(4, 5, layers=2), return_state=True)),
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("spec", SEVERAL, ids=lambda spec: spec.nodes[-1].layer.described()[:40])
def test_a_step_gives_the_last_step_of_what_the_model_gives_so_far(spec, options):
    model, x = Model(spec, **options), numbers(2, 5, 4)
    stream, places = model.stream(2), model._runner.outputs
    for t in range(5):
        whole = as_tuple(model(x[:, : t + 1]))
        for place, got, wanted in zip(places, as_tuple(stream.step(x[:, t])), whole, strict=True):
            if place in model._streamed.axes:
                wanted = np.take(wanted, -1, axis=model._streamed.axes[place])
            np.testing.assert_allclose(got, wanted[tuple(slice(-size, None) for size in got.shape)], atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("spec", [GRUS, *SEVERAL], ids=lambda spec: spec.nodes[-1].layer.described()[:40])
def test_any_number_of_steps_gives_the_bits_of_steps_one_by_one(spec, options):
    model, x = Model(spec, **options), numbers(2, 9, 4)
    stream, other = model.stream(2), model.stream(2)
    stream.step(x[:, 0])
    other.step(x[:, 0])
    parts = [as_tuple(stream.run(x[:, 1:2])), as_tuple(stream.run(x[:, 2:7])), as_tuple(stream.run(x[:, 7:]))]
    single = [as_tuple(other.step(x[:, t])) for t in range(1, 9)]
    compare = same_bits if options == {} else lambda one, two: np.allclose(one, two, atol=1e-6)
    for at, place in enumerate(model._runner.outputs):
        if place in model._streamed.axes:
            axis = model._streamed.axes[place]
            made = np.concatenate([part[at] for part in parts], axis=axis)
            assert compare(made, np.stack([step[at] for step in single], axis=axis))
        elif parts[-1][at].shape == single[-1][at].shape:
            assert compare(parts[-1][at], single[-1][at])
    assert all(map(compare, stream.state, other.state))


def test_steps_that_a_masked_one_is_among_are_taken_by_none():
    stream = Model(chain(Masking(), GRULayer(network(4, 3)))).stream(2)
    stream.run(numbers(2, 3, 4))
    before, x = stream.state, numbers(2, 3, 4)
    x[1, 1] = 0
    with pytest.raises(ShapeError, match="masks"):
        stream.run(x)
    with pytest.raises(ShapeError, match="a batch of 3, wanted 2"):
        stream.run(numbers(3, 3, 4))
    assert same(stream.state, before)


def test_several_inputs_are_stepped_together():
    nodes = (
        Node("one", GRULayer(network(4, 3)), ("a",)),
        Node("two", GRULayer(network(2, 3)), ("b",)),
        Node("sum", Add(), ("one", "two")),
        Node("shifted", Add(), ("sum", "of_all")),
    )
    inputs = (Input("a", (None, 4)), Input("b", (None, 2)), Input("of_all", (3,)))
    model = Model(ModelSpec(inputs, nodes, ("shifted",)))
    a, b, c = numbers(2, 5, 4), numbers(2, 5, 2), numbers(2, 3)
    whole, stream = model([a, b, c]), model.stream(2)
    for t in range(5):
        np.testing.assert_array_equal(stream.step([a[:, t], b[:, t], c]), whole[:, t])


@pytest.mark.parametrize("shape", [(4,), (4, None)])
def test_a_model_without_steps_is_not_streamed(shape):
    spec = chain(Dense(numbers(2, 4)), shape=shape) if len(shape) == 1 else chain(Activation("relu"), shape=shape)
    with pytest.raises(UnsupportedModelError, match=r"cannot be streamed: .*call it on whole arrays"):
        Model(spec).stream()


def test_a_step_of_a_model_that_names_its_output_is_a_dict():
    nodes = (Node("gru", GRULayer(network(3, 2)), ("x",)), Node("last", Last(), ("gru",)))
    spec = ModelSpec((Input("x", (None, 3)),), nodes, ("last",), ("score",))
    x = numbers(1, 2, 3)
    stream = Model(spec).stream()
    stream.step(x[:, 0])
    step, whole = stream.step(x[:, 1]), Model(spec)(x)
    assert list(step) == list(whole) == ["score"]
    np.testing.assert_array_equal(step["score"], whole["score"])


@pytest.mark.parametrize(("hidden", "layers", "batch"), [(300, 1, 1), (512, 2, 1), (256, 1, 8)])
def test_steps_that_a_team_takes_give_the_bits_of_the_sequence(hidden, layers, batch):
    spec = chain(GRULayer(network(64, hidden, layers)), Dense(numbers(3, hidden)), shape=(None, 64))
    model, x = Model(spec, n_threads=2), numbers(batch, 30, 64)
    whole, stream = model(x), model.stream(batch)
    for _ in range(5):
        assert same_bits(np.stack([stream.step(x[:, t]) for t in range(30)], axis=1), whole)
        stream.reset()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_one_input_is_given_in_any_way_that_a_model_takes_it(options):
    model, x = Model(chain(GRULayer(network(4, 3)), Last()), **options), numbers(4).astype(np.float32)
    name, room = model.graph.inputs[0].name, np.empty(3, model.dtype)
    wanted = model.stream().step(x)
    assert model.stream().step(x, room) is room and same_bits(room, wanted)
    for given in (x[None], x.tolist(), x.astype(np.float64), np.repeat(x, 2)[::2]):
        assert same_bits(np.ravel(model.stream().step(given)), wanted)
    assert same_bits(model.stream().step(**{name: x}), wanted) and same_bits(model.stream().step({name: x}), wanted)
    stream = model.stream()
    for arguments, named in (((), {}), ((x, room, x), {}), ((x,), {"other": x}), (({},), {}), ((None,), {}),
                             ((np.ma.masked_array(x, [1, 0, 0, 0]),), {}), ((x,), {"out": room[::-1]})):  # fmt: skip
        with pytest.raises((FastGRUError, TypeError)):
            stream.step(*arguments, **named)
    assert not any(state.any() for state in stream.state)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_one_sequence_without_a_batch_axis_is_run(options):
    model, x = Model(chain(GRULayer(network(4, 3)), Dense(numbers(5, 3))), **options), numbers(6, 4)
    whole, stream, room = model(x[None])[0], model.stream(), np.empty((4, 5), model.dtype)
    first = stream.run(x[:2])
    assert stream.run(x[2:], out=room) is room
    compare = same_bits if not options else np.allclose
    assert compare(first, whole[:2].copy()) and compare(room, whole[2:].copy())


def test_a_step_with_out_makes_no_array():
    model, x = Model(chain(GRULayer(network(4, 3)), Dense(numbers(100_000, 3)))), numbers(1, 4).astype(np.float32)
    if not model._runner._compiles:
        pytest.skip("there are no programs without vector kernels")
    stream, room = model.stream(), np.empty((1, 100_000), np.float32)
    stream.step(x, out=room)
    tracemalloc.start()
    for _ in range(100):
        stream.step(x, out=room)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000  # and a result has 400,000 bytes
