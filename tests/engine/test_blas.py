"""Promise: the BLAS backend keeps the bounds on error everywhere, and the library's number of threads."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from networks import batched_reference, largest_difference, network, numbers, states_of
from threadpoolctl import ThreadpoolController, threadpool_limits

from fastgru import GRU
from fastgru.engine import single_threaded_blas as holding
from fastgru.engine.plan import Plan
from fastgru.layers import GATE_ACTIVATIONS

BOUNDS = {"float32": 1e-6, "float64": 1e-12}
PRECISIONS = sorted(BOUNDS)


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("recurrent", GATE_ACTIVATIONS)
@pytest.mark.parametrize("activation", GATE_ACTIVATIONS)
def test_every_pair_of_activations_agrees(activation, recurrent, reset_after, precision):
    options = {"activation": activation, "recurrent_activation": recurrent, "reset_after": reset_after}
    spec = network(3, 11, 2, dtype=np.dtype(precision).type, **options)
    x = 0.5 * numbers(4, 5, 3, dtype=precision)
    y, h = batched_reference(spec, x)
    tolerance = BOUNDS[precision] * max(1.0, float(np.abs(y).max()))
    assert largest_difference(GRU(spec, precision=precision, backend="blas")(x), (y, h)) <= tolerance


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("reset_after", [True, False])
def test_threads_and_directions_agree(precision, n_threads, reset_after):
    spec = network(5, 33, 3, 2, dtype=np.dtype(precision).type, reset_after=reset_after)
    gru = GRU(spec, precision=precision, backend="blas", n_threads=n_threads)
    for batch in (1, 2, 3, 17):
        x, h0 = numbers(batch, 20, 5, dtype=precision), numbers(states_of(spec), batch, 33, dtype=precision)
        assert largest_difference(gru(x, h0), batched_reference(spec, x, h0)) <= BOUNDS[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_long_sequences_are_projected_in_blocks(precision):
    spec = network(3, 64, dtype=np.dtype(precision).type)
    gru = GRU(spec, precision=precision, backend="blas")
    for batch, steps in ((3, 1000), (900, 3)):
        x = numbers(batch, steps, 3, dtype=precision)
        lengths = np.random.default_rng(0).integers(1, steps + 1, batch)
        lengths[0] = steps
        wanted = batched_reference(spec, x, lengths=lengths)
        assert largest_difference(gru(x, lengths=lengths), wanted) <= BOUNDS[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_chunks_and_streams_agree(precision):
    spec = network(3, 21, 2, dtype=np.dtype(precision).type)
    gru = GRU(spec, precision=precision, backend="blas")
    x = numbers(4, 10, 3, dtype=precision)
    y, h = gru(x)
    first, between = gru(x[:, :4])
    second, last = gru(x[:, 4:], between)
    assert largest_difference((np.concatenate([first, second], axis=1), last), (y, h)) <= BOUNDS[precision]
    stream = gru.stream(4)
    steps = np.stack([stream.step(x[:, t]) for t in range(10)], axis=1)
    assert steps.dtype == precision
    assert largest_difference((steps, stream.state), (y, h)) <= BOUNDS[precision]


def test_the_librarys_threads_are_what_they_were():
    gru = GRU(network(8, 64, dtype=np.float64), precision="float64", n_threads=2)
    x = numbers(8, 20, 8)
    gru(x)
    for limit in (1, 2, None):
        with threadpool_limits(limits=limit, user_api="blas"):
            before = blas_threads()
            gru(x)
            assert blas_threads() == before
            with pytest.raises(ValueError, match="batch of 8 rows"):
                gru._plan.run(x.astype(gru.dtype), None, np.arange(8), np.full(8, 99), np.array([0, 8]))
            assert blas_threads() == before


def test_the_librarys_threads_are_what_they_were_after_calls_from_many_threads():
    gru = GRU(network(8, 64, dtype=np.float64), precision="float64", n_threads=2)
    x = numbers(8, 30, 8)
    wanted = gru(x)
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        worst: list[float] = []

        def call() -> None:
            for _ in range(20):
                worst.append(largest_difference(gru(x), wanted))

        workers = [threading.Thread(target=call) for _ in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert blas_threads() == before
    assert len(worst) == 120 and max(worst) <= 1e-12


@contextmanager
def single_threaded_blas():
    holding.find()
    holding.enter(1)
    try:
        yield
    finally:
        holding.leave(1)


def test_inside_the_library_has_one_thread_until_the_last_call_is_out():
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        with single_threaded_blas():
            with pytest.raises(KeyError), single_threaded_blas():
                raise KeyError
            assert set(blas_threads()) == {1}
        assert blas_threads() == before


def test_the_last_call_out_may_be_another_threads_than_the_first_in():
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        first_is_in, second_is_out = threading.Event(), threading.Event()
        first_is_out, over = threading.Event(), threading.Event()
        seen: list[set[int]] = []

        def first() -> None:  # stays alive to the end: a library may heed only the thread that came first
            with single_threaded_blas():
                first_is_in.set()
                over.wait(10)
            first_is_out.set()
            second_is_out.wait(10)

        worker = threading.Thread(target=first)
        worker.start()
        first_is_in.wait(10)
        with single_threaded_blas():
            over.set()
            first_is_out.wait(10)
            seen.append(set(blas_threads()))
        after_both = blas_threads()
        with single_threaded_blas():
            seen.append(set(blas_threads()))
        second_is_out.set()
        worker.join(10)
        assert seen == [{1}, {1}] and after_both == before


def test_a_plan_says_what_it_is():
    plan = GRU(network(3, 5, dtype=np.float64), precision="float64")._plan
    assert isinstance(plan, Plan) and not plan.is_instruction
    assert (plan.kernel_level, plan.input_size, plan.hidden_size, plan.dtype) == ("blas", 3, 5, np.float64)
    assert plan.nbytes == 8 * (15 * 3 + 15 * 5 + 30)


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="this system has no fork")
def test_no_call_goes_in_while_one_of_two_forks_still_waits():
    """Both are waited for, though one of them is over."""
    holding.before_fork()
    with single_threaded_blas():  # whoever had let forks pass before is inside, so a second fork waits
        waiting = threading.Thread(target=holding.before_fork)
        waiting.start()
        time.sleep(0.05)
        holding.after_fork()  # the first is over
        caller = threading.Thread(target=holding.wait_for_fork)
        caller.start()
        caller.join(0.1)
        assert caller.is_alive()
    waiting.join(5)
    holding.after_fork()
    caller.join(5)
    assert not waiting.is_alive() and not caller.is_alive()
