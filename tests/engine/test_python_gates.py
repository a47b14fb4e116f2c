"""Promise: GRUs of any activations are within 2e-6 of the reference, and keep a row's bits where kernels multiply.

The plan is run here by itself; ``test_gru_activations`` runs it as a GRU.
"""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest
from networks import batched_reference, largest_difference, layers_of, network, numbers, run_plan, same_bits, states_of

from fastgru import ShapeError, reference
from fastgru.activations import IN_GRU, formula
from fastgru.engine import blas
from fastgru.engine.plan import Plan
from fastgru.engine.python_gates import with_gates
from fastgru.engine.state import State
from fastgru.options import kernel_table

KINDS = [("float32", "packed", 2e-6), ("float32", "blas", 2e-6), ("float64", "blas", 1e-13)]
# Gates that stay within 0 and 1, or close to it: with others a network may grow without end, and errors with it.
GATES = ("sigmoid", "softmax", "sparse_sigmoid", "hard_sigmoid_keras2")
NAMES = [name for name in IN_GRU if name != "threshold"]  # which has options without a default
PAIRS = [("elu", "softplus"), ("silu", "softmax"), ("gelu", "sparse_sigmoid"), ("sparsemax", "softsign")]


def plan_of(spec, kind="packed", precision="float32") -> Plan:
    dtype = np.dtype(precision).type
    products = kernel_table() if kind == "packed" else blas.kernels(spec.hidden_size, dtype)
    kernels = with_gates(products, formula(spec.activation), formula(spec.recurrent_activation))
    return Plan(kernels, layers_of(spec, dtype), spec.reset_after, 0, 0)


def run_rows(plan, x, h0, lengths):
    order = np.argsort(-lengths, kind="stable")
    given = None if h0 is None else np.ascontiguousarray(h0)
    return plan.run(np.ascontiguousarray(x), given, order, lengths[order], np.array([0, len(x)]))


@pytest.mark.parametrize(("precision", "kind", "bound"), KINDS)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("recurrent", GATES)
@pytest.mark.parametrize("activation", NAMES)
def test_every_pair_agrees(activation, recurrent, reset_after, precision, kind, bound):
    dtype = np.dtype(precision).type
    options = {"activation": activation, "recurrent_activation": recurrent, "reset_after": reset_after}
    spec = network(3, 11, 2, 2, dtype=dtype, **options)
    x, h0 = 0.25 * numbers(5, 6, 3, dtype=dtype), 0.25 * numbers(4, 5, 11, dtype=dtype)  # some grow exponentially
    lengths = np.array([3, 6, 1, 6, 2])
    wanted = batched_reference(spec, x, h0, lengths)
    got = run_rows(plan_of(spec, kind, precision), x, h0, lengths)
    assert got[0].dtype == got[1].dtype == dtype
    assert largest_difference(got, wanted) <= bound * max(1.0, float(np.abs(wanted[0]).max()))


@pytest.mark.parametrize(("precision", "kind", "bound"), KINDS)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("hidden", [1, 2, 15, 16, 17, 64, 100])
def test_every_size_agrees(hidden, reset_after, precision, kind, bound):
    dtype = np.dtype(precision).type
    for inputs, layers, directions, batch in ((1, 1, 1, 1), (17, 2, 2, 4), (hidden, 3, 1, 9)):
        spec = network(inputs, hidden, layers, directions, dtype=dtype, activation="elu", reset_after=reset_after)
        x, h0 = numbers(batch, 20, inputs, dtype=dtype), numbers(states_of(spec), batch, hidden, dtype=dtype)
        got = run_plan(plan_of(spec, kind, precision), x, h0)
        wanted = batched_reference(spec, x, h0)
        assert largest_difference(got, wanted) <= bound * max(1.0, float(np.abs(wanted[0]).max()))


def test_the_batched_reference_is_the_reference_for_these_too():
    for activation, recurrent in PAIRS:
        spec = network(3, 7, 2, 2, dtype=np.float64, activation=activation, recurrent_activation=recurrent)
        x, lengths = numbers(3, 6, 3, dtype=np.float64), [6, 1, 4]
        wanted = reference.gru(spec, x, None, lengths)
        assert largest_difference(batched_reference(spec, x, None, lengths), wanted) <= 1e-13


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("activation", "recurrent"), PAIRS)
@pytest.mark.parametrize("hidden", [5, 16, 33])
def test_a_row_keeps_its_bits(hidden, activation, recurrent, reset_after):
    options = {"activation": activation, "recurrent_activation": recurrent, "reset_after": reset_after}
    plan = plan_of(network(3, hidden, 2, 2, **options))
    x, h0 = 0.5 * numbers(70, 7, 3), 0.5 * numbers(4, 70, hidden)
    lengths = np.random.default_rng(1).integers(1, 8, 70)
    y, h = run_rows(plan, x, h0, lengths)
    for rows in (*(slice(first, first + batch) for batch in (1, 2, 3, 8, 9, 17, 65) for first in (0, 5)), [69, 3, 40]):
        y_rows, h_rows = run_rows(plan, x[rows], h0[:, rows], lengths[rows])
        assert same_bits(y_rows, y[rows]) and same_bits(h_rows, np.ascontiguousarray(h[:, rows]))


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("activation", "recurrent"), PAIRS)
def test_a_sequence_can_be_cut_anywhere(activation, recurrent, reset_after):
    options = {"activation": activation, "recurrent_activation": recurrent, "reset_after": reset_after}
    plan = plan_of(network(3, 21, 2, **options))
    x = 0.5 * numbers(3, 8, 3)
    y, h = run_plan(plan, x)
    for cut in range(1, 8):
        first, between = run_plan(plan, np.ascontiguousarray(x[:, :cut]))
        second, last = run_plan(plan, np.ascontiguousarray(x[:, cut:]), between)
        assert same_bits(np.concatenate([first, second], axis=1), y) and same_bits(last, h)


@pytest.mark.parametrize("directions", [1, 2])
def test_long_batches_are_projected_in_blocks_with_the_same_bits(directions):
    plan = plan_of(network(6, 64, 1, directions, activation="elu"))  # 1365 rows of projected inputs at a time
    x, lengths = numbers(3, 600, 6), np.array([600, 20, 451])
    y, h = run_rows(plan, x, None, lengths)
    for row, length in enumerate(lengths):
        y_row, h_row = run_plan(plan, np.ascontiguousarray(x[row : row + 1, :length]))
        assert same_bits(y_row[0], y[row, :length]) and same_bits(h_row[:, 0].copy(), h[:, row].copy())
        assert not y[row, length:].any()
    many = np.repeat(x[:1, :4], 2000, axis=0)
    y_many, _ = run_plan(plan, many)
    assert (y_many == y_many[0]).all()


@pytest.mark.parametrize("kind", ["packed", "blas"])
def test_nan_and_infinity_stay_in_their_row_and_warn_of_nothing(kind):
    plan = plan_of(network(3, 9, 2, 2, activation="silu", recurrent_activation="softmax"), kind)
    x = numbers(4, 6, 3)
    y, _ = run_plan(plan, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bad in (np.nan, np.inf, -np.inf, 3e38):
            poisoned = x.copy()
            poisoned[2, 3, 1] = bad
            got, _ = run_plan(plan, poisoned)
            others = [0, 1, 3]
            assert largest_difference([got[others]], [y[others]]) <= (0 if kind == "packed" else 1e-6)
            assert np.isnan(got[2]).any() or bad == 3e38
    exploding = network(3, 9, activation="exponential", recurrent_activation="exponential")
    assert run_plan(plan_of(exploding, kind), 50 * np.abs(x))[0].shape == (4, 6, 9)


@pytest.mark.parametrize("kind", ["packed", "blas"])
def test_nothing_given_is_changed_and_nothing_kept(kind):
    spec = network(3, 9, 2, activation="elu")
    plan = plan_of(spec, kind)
    x, h0 = numbers(4, 6, 3), numbers(2, 4, 9)
    x.flags.writeable = h0.flags.writeable = False
    one, other = run_plan(plan, x, h0), run_plan(plan, x, h0)
    assert all(same_bits(*pair) and not np.shares_memory(*pair) for pair in zip(one, other, strict=True))


def test_a_plan_says_what_it_is_and_refuses_what_does_not_fit():
    plan = plan_of(network(3, 5, 2, activation="elu"), "blas")
    assert (plan.kernel_level, plan.input_size, plan.hidden_size, plan.num_layers) == ("blas", 3, 5, 2)
    assert plan_of(network(3, 5, activation="elu")).kernel_level == kernel_table().name
    assert plan_of(network(3, 5, activation="elu"), "blas").nbytes == 4 * (15 * 3 + 15 * 5 + 30)
    rows, lengths, shares = np.arange(4), np.full(4, 6), np.array([0, 4])
    good = np.zeros((4, 6, 3), np.float32)
    for x, h0, ends in (
        (good[:, :, :2], None, lengths),
        (good[0], None, lengths),
        (good[:0], None, lengths),
        (good, np.zeros((1, 4, 5), np.float32), lengths),
        (good, None, np.full(4, 7)),
        (good, None, np.arange(1, 5)),
    ):
        with pytest.raises(ShapeError):
            plan.run(x, h0, rows, ends, shares)


class Raised(Exception):
    """What a function of gates raises."""


def raising_plan(kind: str, directions: int, calls_left: threading.local) -> tuple[Plan, Any]:
    """A plan whose activation raises when its thread has no calls left, and its dtype."""

    def activation(x):
        calls_left.n = getattr(calls_left, "n", -1) - 1
        if calls_left.n == 0:
            raise Raised(threading.current_thread().name)
        return np.arctan(x)

    dtype = np.float64 if kind == "float64" else np.float32
    products = kernel_table() if kind == "packed" else blas.kernels(13, dtype)
    spec = network(5, 13, 2, directions, dtype=dtype)
    return Plan(with_gates(products, activation, formula("sigmoid")), layers_of(spec, dtype), True, 0, 0), dtype


@pytest.mark.parametrize("kind", ["packed", "blas", "float64"])
def test_what_a_function_raises_is_the_callers_whose_it_is(kind):
    left = threading.local()
    plan, dtype = raising_plan(kind, 2, left)
    x, lengths = numbers(4, 12, 5).astype(dtype), np.array([12, 9, 9, 2])
    wanted, wrong = run_rows(plan, x, None, lengths), []

    def work(seed: int) -> None:
        for count in np.random.default_rng(seed).integers(0, 60, 40).tolist():
            left.n = count
            try:
                got = run_rows(plan, x, None, lengths)
                wrong.append(largest_difference(got, wanted) > 1e-6 or 0 < count <= 40)
            except Raised as error:
                wrong.append(str(error) != threading.current_thread().name or not count)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(wrong) == 160 and not any(wrong)


@pytest.mark.parametrize("kind", ["packed", "blas", "float64"])
def test_a_step_whose_function_raises_leaves_the_states(kind):
    left = threading.local()
    plan, dtype = raising_plan(kind, 1, left)
    state, x = State(plan, 3), numbers(3, 5).astype(dtype)
    for count in range(5):
        before, left.n = state.get(), count
        if count in (1, 2):  # of two layers
            with pytest.raises(Raised):
                state.step(x)
            assert same_bits(state.get(), before)
        else:
            state.step(x)
            assert not same_bits(state.get(), before)
