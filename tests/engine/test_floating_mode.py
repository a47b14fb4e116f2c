"""Promise: NaN stays in its row, infinities and subnormal numbers do no harm, and the process's mode is left alone."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from networks import LEVELS, keeps_subnormals, network, numbers, plan_at, run_plan, run_python, same_bits

from fastgru import GRU, FastGRUError
from fastgru.engine.packed import PRECISIONS
from fastgru.layers import GATE_ACTIVATIONS

BACKENDS = [("float32", "packed"), ("float32", "blas"), ("float64", "blas")]
ALL = BACKENDS + [(precision, "packed") for precision in PRECISIONS[1:]]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bad_number_stays_in_its_row(level, precision, reset_after, bad):
    plan = plan_at(level, network(5, 19, 2, 2, reset_after=reset_after), precision)
    for batch in (1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 66):
        x = numbers(batch, 6, 5)
        y, h = run_plan(plan, x)
        for row in {0, batch // 2, batch - 1}:
            poisoned = x.copy()
            poisoned[row, 3, 2] = bad
            y_poisoned, h_poisoned = run_plan(plan, poisoned)
            others = np.arange(batch) != row
            assert same_bits(y_poisoned[others], y[others]) and same_bits(h_poisoned[:, others], h[:, others])
            if np.isnan(bad):
                assert np.isnan(y_poisoned[row]).all()  # two directions: every step has seen it


@pytest.mark.parametrize("activation", GATE_ACTIVATIONS)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_nan_comes_out_at_every_later_step_and_no_earlier_one(precision, activation, reset_after):
    spec = network(4, 21, activation=activation, reset_after=reset_after)
    gru = GRU(spec, precision=precision, backend="packed")
    x = numbers(3, 8, 4)
    y, _ = gru(x)
    x[1, 5] = np.nan
    poisoned, h = gru(x)
    assert same_bits(poisoned[1, :5], y[1, :5])
    assert np.isnan(poisoned[1, 5:]).all() and np.isnan(h[0, 1]).all()


@pytest.mark.parametrize(("precision", "backend"), BACKENDS)
def test_blas_keeps_nan_in_its_row_too(precision, backend):
    gru = GRU(network(5, 19, 2, 2), precision=precision, backend=backend)
    x = numbers(9, 6, 5)
    x[4, 3, 2] = np.nan
    y, h = gru(x)
    bad = np.isnan(y).any(axis=(1, 2))
    assert bad.tolist() == [row == 4 for row in range(9)] and np.isnan(y[4]).all()
    assert not np.isnan(np.delete(h, 4, axis=1)).any()


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_inputs_are_forgotten_with_floats_and_stay_as_nan_with_int8(value):
    """A state of 1 or -1 follows from infinite gates; but a row of bytes has no step for an infinite number."""
    x = numbers(1, 6, 1)
    x[0, 2] = value
    for precision in PRECISIONS:
        y, _ = GRU(network(1, 9), precision=precision, backend="packed")(x)
        assert np.isfinite(y[0, :2]).all()
        if precision == "int8":
            assert np.isnan(y[0, 2:]).all()
        else:
            assert (np.abs(y[0, 2:]) <= 1).all()


@pytest.mark.parametrize(("precision", "backend"), ALL)
@pytest.mark.parametrize("activation", GATE_ACTIVATIONS)
@pytest.mark.parametrize("value", [np.inf, -np.inf, 3e38, -3e38, 1e-45])
def test_extreme_inputs_and_states_give_a_result(precision, backend, activation, value):
    for reset_after in (True, False):
        gru = GRU(network(3, 9, activation=activation, reset_after=reset_after), precision=precision, backend=backend)
        y, h = gru(np.full((3, 5, 3), value, np.float32), np.full((1, 3, 9), value, np.float32))
        assert y.shape == (3, 5, 9) and h.shape == (1, 3, 9)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_subnormal_results_are_flushed(level, precision, reset_after):
    spec = network(3, 17, bias=False, reset_after=reset_after)
    for batch in (1, 2, 5, 9):
        tiny = np.full((batch, 4, 3), 1e-40, np.float32)
        y, h = run_plan(plan_at(level, spec, precision), tiny, np.full((1, batch, 17), 1e-40, np.float32))
        assert not y.any() and not h.any()


def fastest(function, repeats: int = 7) -> float:
    """The least time of this thread's own: what else the machine does is not in it."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times)


@pytest.mark.parametrize(("precision", "backend"), ALL)
@pytest.mark.parametrize("batch", [1, 16])
def test_subnormal_numbers_cost_nothing(precision, backend, batch):
    gru = GRU(network(64, 64, bias=False), precision=precision, backend=backend, n_threads=1)
    tiny = 1e-310 if precision == "float64" else 1e-40
    x = np.ones((batch, 50, 64), gru.dtype)
    usual = fastest(lambda: gru(x))
    subnormal = fastest(lambda: gru(np.full_like(x, tiny), np.full((1, batch, 64), tiny, gru.dtype)))
    assert subnormal < 3 * usual + 1e-4  # without flushing about 90 times


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_state_that_dies_away_costs_nothing(precision):
    gru = GRU(network(8, 64, bias=False), precision=precision, backend="packed")
    stream = gru.stream()
    loud, silent = np.ones(8, np.float32), np.zeros(8, np.float32)

    def steps(x):
        for _ in range(200):
            stream.step(x)

    usual = fastest(lambda: steps(loud))
    for _ in range(20):  # far enough for every unit to pass through the subnormal numbers
        steps(silent)
        assert fastest(lambda: steps(silent), 1) < 3 * usual + 2e-3
    assert not stream.state.any()


@pytest.mark.parametrize(("precision", "backend"), ALL)
def test_calls_leave_the_mode_as_it_was(precision, backend):
    gru = GRU(network(3, 17, 2), precision=precision, backend=backend, n_threads=2)
    stream = gru.stream(2)
    outcomes: dict[str, bool] = {}

    def use(name: str) -> None:
        before = keeps_subnormals()
        gru(numbers(6, 20, 3))
        stream_or_copy = stream.copy()
        stream_or_copy.step(numbers(2, 3))
        for bad in (numbers(6, 20, 4), np.zeros((2, 2, 3), complex), "x"):
            with pytest.raises(FastGRUError):
                gru(bad)
            with pytest.raises(FastGRUError):
                stream_or_copy.step(bad)
        with pytest.raises(FastGRUError):
            gru(numbers(6, 20, 3), lengths=[99] * 6)
        outcomes[name] = before and keeps_subnormals()

    workers = [threading.Thread(target=use, args=(f"worker {i}",)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    use("main")
    assert outcomes == {"worker 0": True, "worker 1": True, "worker 2": True, "main": True}


def test_the_callers_own_mode_is_kept_as_well():
    code = """
import ctypes, ctypes.util, numpy as np, fastgru
from fastgru.engine import blas, dispatch, pack, plan, state
for level in dispatch.available():
    dispatch.kernels(level)
assert np.all(np.full(32, 1e-40, np.float32) * np.float32(1) != 0), "importing changed the mode"
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
