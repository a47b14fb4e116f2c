"""Promise of ``Stream``: one step at a time with a state of its own, atomic where it refuses, and never used by two."""

from __future__ import annotations

import copy
import pickle
import threading
import tracemalloc

import numpy as np
import pytest
from networks import largest_difference, network, numbers, same_bits

from fastgru import GRU, DTypeError, FastGRUError, ShapeError, StreamInUseError, UnsupportedModelError

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
    stream.state[...] = 7
    stream.state = kept
    kept[...] = 7
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
