"""Promise of ``Stream``: one step at a time with a state of its own, atomic where it refuses, and never used by two."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
from networks import largest_difference, network, numbers, same_bits

from fastgru import (
    GRU,
    DTypeError,
    FastGRUError,
    Model,
    ShapeError,
    Stream,
    StreamInUseError,
    UnsupportedModelError,
)
from fastgru.layers import GRULayer, Last, sequential

KINDS = [("float32", "packed"), ("float32", "blas"), ("float64", "blas")]


@pytest.fixture(params=KINDS, ids="-".join)
def gru(request) -> GRU:
    precision, backend = request.param
    return GRU(network(3, 5, 2, dtype=np.dtype(precision).type), precision=precision, backend=backend)


def test_a_step_has_the_rank_it_was_given(gru):
    assert gru.stream().step(numbers(3)).shape == (5,)
    assert gru.stream().step(numbers(1, 3)).shape == (1, 5)
    assert gru.stream(4).step(numbers(4, 3)).shape == (4, 5)
    assert gru.stream().step([1, 2, 3]).dtype == np.dtype(gru.precision)


def test_steps_follow_the_sequence(gru):
    x = numbers(2, 8, 3, dtype=gru.precision)
    y, h = gru(x)
    stream = gru.stream(2)
    steps = np.stack([stream.step(x[:, t]) for t in range(8)], axis=1)
    bound = 0 if gru.backend == "packed" else (1e-6 if gru.precision == "float32" else 1e-12)
    assert largest_difference((steps, stream.state), (y, h)) <= bound


def test_the_state_is_a_copy_that_can_be_set_again(gru):
    stream, x = gru.stream(2), numbers(2, 3)
    stream.step(x)
    kept = stream.state
    assert kept.shape == (2, 2, 5) and kept.dtype == np.dtype(gru.precision)
    wanted = stream.step(x)
    with pytest.raises(ValueError, match="read-only"):
        stream.state[...] = 7
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 7
    mine = kept.copy()
    stream.state = mine
    mine[...] = 7
    assert same_bits(stream.step(x), wanted)
    stream.reset()
    assert not stream.state.any()
    stream.state = np.zeros((2, 2, 5), np.int8)
    assert same_bits(stream.step(x), gru.stream(2).step(x))


def test_results_already_given_stay_as_they_are(gru):
    stream, x = gru.stream(), numbers(3)
    first = stream.step(x)
    kept = first.copy()
    for _ in range(3):
        stream.step(x)
    assert same_bits(first, kept)
    first[...] = np.nan
    assert not np.isnan(stream.step(x)).any()


@pytest.mark.parametrize(
    "again", [lambda s: s.copy(), copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_a_copy_goes_on_from_the_same_state(gru, again):
    stream, x = gru.stream(2), numbers(2, 3)
    stream.step(x)
    twin = again(stream)
    assert twin.batch == 2 and same_bits(twin.state, stream.state)
    wanted = [twin.step(x) for _ in range(3)]
    assert all(same_bits(stream.step(x), step) for step in wanted)
    stream.reset()
    assert twin.state.any()


def test_out_takes_the_result(gru):
    stream, twin = gru.stream(2), gru.stream(2)
    x = numbers(2, 3, dtype=gru.precision)
    out = np.full((2, 5), np.nan, gru.precision)
    assert stream.step(x, out) is out and same_bits(out, twin.step(x))
    assert stream.step(x, out=out) is out and same_bits(out, twin.step(x))
    line = np.zeros(5, gru.precision)
    assert gru.stream().step(x[0], line) is line and same_bits(line, gru.stream().step(x[0]))


def test_out_may_be_the_input():
    gru = GRU(network(5, 5, 2), backend="packed")
    stream, twin = gru.stream(2), gru.stream(2)
    x = numbers(2, 5)
    for _ in range(4):
        wanted = twin.step(x.copy())
        assert same_bits(stream.step(x, x), wanted)


@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: np.zeros((2, 4), dtype),
        lambda dtype: np.zeros((3, 5), dtype),
        lambda dtype: np.zeros(10, dtype),
        lambda dtype: np.zeros((1, 2, 5), dtype),
        lambda dtype: np.zeros((2, 5), np.float16),
        lambda dtype: np.zeros((2, 5), np.dtype(dtype).newbyteorder()),
        lambda dtype: np.zeros((5, 2), dtype).T,
        lambda dtype: np.zeros((2, 10), dtype)[:, ::2],
        lambda dtype: np.zeros((2, 5), dtype)[::-1],
        lambda dtype: np.broadcast_to(np.zeros(5, dtype), (2, 5)),
        lambda dtype: np.frombuffer(bytes(80), dtype)[:10].reshape(2, 5),
        lambda dtype: [[0.0] * 5] * 2,
        lambda dtype: "out",
    ],
)
def test_an_out_that_does_not_fit_is_refused_and_the_state_stays(gru, make):
    stream = gru.stream(2)
    stream.step(numbers(2, 3))
    before = stream.state
    with pytest.raises(ShapeError, match=rf"out: .*{gru.precision} array of shape \(2, 5\)"):
        stream.step(numbers(2, 3), make(gru.precision))
    assert same_bits(stream.state, before)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.zeros((2, 4)), ShapeError),
        (np.zeros((3, 3)), ShapeError),
        (np.zeros(3), ShapeError),
        (np.zeros(6), ShapeError),
        (np.zeros((2, 1, 3)), ShapeError),
        (np.zeros((0, 3)), ShapeError),
        (1.0, ShapeError),
        (np.zeros((2, 3), complex), DTypeError),
        (np.zeros((2, 3), object), DTypeError),
        (np.zeros((2, 3), "M8[s]"), DTypeError),
        ("text", DTypeError),
        (None, DTypeError),
        ([[1, 2], [3]], DTypeError),
    ],
)
def test_a_step_that_does_not_fit_is_refused_and_the_state_stays(gru, x, error):
    stream = gru.stream(2)
    stream.step(numbers(2, 3))
    before = stream.state
    with pytest.raises(error, match=r"x: .*(wanted|array of numbers)"):
        stream.step(x)
    assert same_bits(stream.state, before)


@pytest.mark.parametrize(
    "state", [np.zeros((2, 2, 4)), np.zeros((2, 5)), np.zeros((1, 2, 5)), None, "x", [[1], [2, 3]]]
)
def test_a_state_that_does_not_fit_is_refused(gru, state):
    stream = gru.stream(2)
    stream.step(numbers(2, 3))
    before = stream.state
    with pytest.raises(FastGRUError, match="state: "):
        stream.state = state
    assert same_bits(stream.state, before)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "2", None, [2], 2**63, 10**30])
def test_a_batch_that_is_none_is_refused(gru, batch):
    with pytest.raises(FastGRUError, match="batch: "):
        gru.stream(batch)


@pytest.mark.parametrize("batch", [2**40, 2**59, 2**60 + 5, 2**62, 2**63 - 1])
def test_a_batch_beyond_memory_is_refused(gru, batch):
    with pytest.raises((ShapeError, MemoryError)):
        gru.stream(batch)


def test_two_directions_cannot_stream():
    for precision, backend in KINDS:
        with pytest.raises(UnsupportedModelError, match=r"bidirectional.*whole sequence"):
            GRU(network(3, 5, 1, 2), precision=precision, backend=backend).stream()


def test_a_step_with_out_allocates_nothing():
    stream, x, out = GRU(network(16, 32), backend="packed").stream(), numbers(16), np.zeros(32, np.float32)
    stream.step(x, out)
    tracemalloc.start()
    try:
        step = stream.step
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(100):
            step(x, out)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 200 and peak - before < 500  # the loop's own integers


def test_streams_of_one_gru_know_nothing_of_each_other(gru):
    one, other = gru.stream(), gru.stream()
    for _ in range(3):
        one.step(numbers(3))
    assert not other.state.any()


def test_repr_says_what_it_streams(gru):
    assert repr(gru.stream(2)) == f"Stream({gru!r}, batch=2)"


@pytest.mark.parametrize(("precision", "backend"), KINDS)
def test_two_threads_on_one_stream_are_told_and_corrupt_nothing(precision, backend):
    gru = GRU(network(300, 300), precision=precision, backend=backend, n_threads=1)
    batch = 8  # enough work for the lock to be given up
    stream, x = gru.stream(batch), numbers(batch, 300, dtype=precision)
    trail = [stream.state]
    for _ in range(200):
        stream.step(x)
        trail.append(stream.state)
    stream.reset()
    done, refused = [0, 0], [0, 0]
    surprises: list[BaseException] = []

    def step(who: int) -> None:
        for _ in range(100):
            try:
                stream.step(x)
                done[who] += 1
            except StreamInUseError:
                refused[who] += 1
            except BaseException as error:
                surprises.append(error)

    workers = [threading.Thread(target=step, args=(who,)) for who in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not surprises and sum(done) + sum(refused) == 200
    assert same_bits(stream.state, trail[sum(done)])  # every step that was taken counts, and no other


@pytest.mark.parametrize(
    "rows", [1, np.int32(1), [1], (1, 1), np.array([1]), [False, True, False], np.array([False, True, False])]
)
def test_some_rows_begin_again_and_the_others_go_on(gru, rows):
    stream, twin, x = gru.stream(3), gru.stream(3), numbers(3, 3)
    for each in (stream, twin):
        each.step(x)
        each.step(-x)
    stream.reset(rows=rows)
    assert not stream.state[:, 1].any()
    assert same_bits(stream.state[:, [0, 2]].copy(), twin.state[:, [0, 2]].copy())
    fresh, wanted = gru.stream(3).step(x), twin.step(x)
    wanted[1] = fresh[1]
    assert largest_difference([stream.step(x)], [wanted]) <= (0 if gru.backend == "packed" else 1e-6)


def test_no_rows_are_no_rows_and_not_all(gru):
    stream = gru.stream(2)
    stream.step(numbers(2, 3))
    before = stream.state
    for rows in ([], np.empty(0, int), [False, False]):
        stream.reset(rows=rows)
        assert same_bits(stream.state, before)


@pytest.mark.parametrize(
    "rows", [2, -1, [0, 2], [0, -3], 1.0, [0.0], True, [True], [True, 0], [True] * 3, [[0]], "0", np.array(True), {0}]
)
def test_rows_that_there_are_not_are_refused_and_the_states_stay(gru, rows):
    model = Model(sequential([("gru", GRULayer(gru.spec))]), precision=gru.precision, backend=gru.backend)
    for stream in (gru.stream(2), model.stream(2)):
        stream.step(numbers(2, 3))
        before = stream.state
        with pytest.raises(FastGRUError, match="rows: "):
            stream.reset(rows=rows)
        assert all(map(same_bits, stream.state, before))


class Counting(Stream):
    """A stream that knows how many steps it has taken."""

    steps = 0

    def step(self, x, out=None):
        self.steps += 1
        return super().step(x, out)


def test_a_subclass_has_its_own_step_and_copies_keep_it(gru):
    stream, plain, x = Counting(gru, 2), gru.stream(2), numbers(2, 3)
    assert same_bits(stream.step(x), plain.step(x)) and stream.steps == 1
    for twin in (stream.copy(), copy.copy(stream), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        assert type(twin) is Counting and twin.steps == 1
        twin.step(x)
        assert twin.steps == 2 and stream.steps == 1


def test_the_step_of_the_class_is_the_streams(gru):
    stream, twin, x = gru.stream(2), gru.stream(2), numbers(2, 3)
    out = np.empty((2, 5), gru.precision)
    assert Stream.step(stream, x, out=out) is out and same_bits(out, twin.step(x))
    with pytest.raises(ShapeError, match="x: "):
        Stream.step(stream, x[:, :2])


class Held:
    """A step that another thread begins, and that ends when the test lets it."""

    def __init__(self, monkeypatch) -> None:
        self.inside, self.go_on, run = threading.Event(), threading.Event(), GRU._run

        def held(self_, *arguments, **options):
            if threading.current_thread() is not threading.main_thread():
                self.inside.set()
                self.go_on.wait(20)
            return run(self_, *arguments, **options)

        monkeypatch.setattr(GRU, "_run", held)

    def step(self, stream, x) -> None:
        if isinstance(stream, Stream):
            with stream._state.turn:
                self.inside.set()
                self.go_on.wait(20)
        stream.step(x)

    def while_stepping(self, stream, x, do) -> None:
        thread = threading.Thread(target=self.step, args=(stream, x))
        thread.start()
        assert self.inside.wait(20)
        try:
            do()
        finally:
            self.go_on.set()
            thread.join()


def slow_streams(batch: int):
    """Streams of what no vector kernels step: BLAS, float64, other activations, and models of each."""
    for options in ({"backend": "blas"}, {"precision": "float64"}, {"activation": "gelu"}):
        spec = network(3, 5, 2, **({"activation": "gelu"} if "activation" in options else {}))
        options.pop("activation", None)
        yield GRU(spec, **options).stream(batch)
        yield Model(sequential([("gru", GRULayer(spec)), ("last", Last())]), **options).stream(batch)


@pytest.mark.parametrize("kind", range(6))
def test_no_kind_of_stream_is_touched_while_another_thread_steps_it(kind, monkeypatch):
    stream, x = list(slow_streams(2))[kind], numbers(2, 3)
    stream.step(x)
    twin = stream.copy()

    def touch() -> None:
        for act in (
            lambda: stream.step(x),
            stream.reset,
            lambda: stream.reset(rows=0),
            lambda: stream.state,
            lambda: setattr(stream, "state", twin.state),
            stream.copy,
        ):
            with pytest.raises(StreamInUseError, match="another thread"):
                act()

    Held(monkeypatch).while_stepping(stream, x, touch)
    twin.step(x)
    assert all(map(same_bits, stream.state, twin.state))


@pytest.mark.parametrize("kind", range(6))
def test_a_child_of_a_fork_may_use_what_another_thread_was_stepping(kind, monkeypatch):
    stream, x = list(slow_streams(2))[kind], numbers(2, 3)
    stream.step(x)
    twin = stream.copy()

    def fork() -> None:
        child = forked(lambda: same_bits(stream.step(x), twin.step(x)))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    Held(monkeypatch).while_stepping(stream, x, fork)


def forked(right) -> int:
    """A child that ends with 0 where ``right()`` is true."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python from 3.12 on and of frameworks: that there are other threads
        child = os.fork()
    if child == 0:
        try:
            os._exit(0 if right() else 3)
        except BaseException:
            os._exit(4)
    return child


@pytest.mark.parametrize("model", [False, True])
def test_a_child_of_a_fork_steps_from_the_last_whole_step(model):
    spec, x = network(300, 300), numbers(8, 300)
    if model:
        stream = Model(sequential([("gru", GRULayer(spec))]), n_threads=1, backend="packed").stream(8)
    else:
        stream = GRU(spec, n_threads=1, backend="packed").stream(8)
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            stream.step(x)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        ends = [os.waitpid(forked(lambda: np.isfinite(stream.step(x)).all()), 0)[1] for _ in range(10)]
    finally:
        over.set()
        thread.join()
    assert list(map(os.waitstatus_to_exitcode, ends)) == [0] * 10
