"""Promise: int8 multiplies whole numbers exactly, inputs as two bytes and states as one, with a step for each row.

The model here is in float64. It takes each step from the state that the kernels had, so that only that step's errors
are in the difference, and bounds what float32 may lose in it. Where a number lies so close to the middle of two bytes
that float32 may round it to either, the row is left out.
"""

from __future__ import annotations

import numpy as np
import pytest
from networks import (
    LEVELS,
    SMALL,
    Array,
    network,
    numbers,
    plan_at,
    run_plan,
    same_bits,
    states_of,
)
from threadpoolctl import ThreadpoolController

from fastgru.activations import formula
from fastgru.engine.pack import pack_weights, unpack_matrix
from fastgru.engine.reduced import int8, widened
from fastgru.layers import GATE_ACTIVATIONS, GRUSpec, GRUWeights

BYTE = 127
MOST = 65536  # products of bytes whose sum 32 bits hold
ROUNDING = 2.0**-22  # of a sum of products in float32, in parts of what its terms add up to
NEIGHBOURS = dict(zip(SMALL, (17, 2, 65, 8, 7, 33, 1, 64, 15, 31, 3, 16, 63, 32), strict=True))  # inputs by units

levels = pytest.mark.parametrize("level", LEVELS)
resets = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])


def one_byte(rows: Array, near: float) -> tuple[Array, Array]:
    """What rows are as bytes, and which rows have no number as near as that to the middle of two."""
    step = np.abs(rows).max(axis=1, keepdims=True) / BYTE
    numbers_of = np.divide(rows, step, where=step > 1e-32, out=np.zeros_like(rows))
    middle = np.abs(np.abs(numbers_of - np.rint(numbers_of)) - 0.5)
    return np.rint(numbers_of) * step, (middle > near).all(axis=1)


def two_bytes(rows: Array) -> Array:
    """What rows are as two bytes each, the second of steps 254 times smaller."""
    step = np.abs(rows).max(axis=1, keepdims=True) / BYTE
    numbers_of = np.divide(rows, step, where=step > 1e-32, out=np.zeros_like(rows))
    return (np.rint(numbers_of) + np.rint((numbers_of - np.rint(numbers_of)) * 254) / 254) * step


# As in ``networks.batched_reference``.
@ThreadpoolController().wrap(limits=1, user_api="blas")
def modelled(spec: GRUSpec, weights: GRUWeights, x: Array, h: Array) -> tuple[Array, Array, Array]:
    """One step of rows (rows, I) from states (rows, H): new states, bounds on the error, the rows to compare."""
    act, act_r = formula(spec.activation), formula(spec.recurrent_activation)
    size = spec.hidden_size
    w, u = (numbers_of * steps[:, None].astype(np.float64) for numbers_of, steps in map(reduced, weights[:2]))
    b, c = (bias.astype(np.float64) for bias in weights[2:])
    x, h = x.astype(np.float64), h.astype(np.float64)
    xs, (hs, sure) = two_bytes(x), one_byte(h, 1e-4)
    xp, hp = xs @ w.T + b, hs @ u.T
    error = ROUNDING * (np.abs(xs) @ np.abs(w).T + np.abs(hs) @ np.abs(u).T + np.abs(b) + np.abs(c)) + 1e-7
    # a second byte may be rounded either way, here and there
    error += 2 * np.abs(x).max(axis=1, keepdims=True) / (BYTE * 254) * np.abs(w).max(axis=1)
    gates = xp[:, : 2 * size] + hp[:, : 2 * size] + c[: 2 * size]
    r, z = act_r(gates[:, :size]), act_r(gates[:, size:])
    of_r, of_z, of_n = (error[:, gate * size : (gate + 1) * size] for gate in range(3))
    of_r, of_z = 0.25 * of_r + 3e-7, 0.25 * of_z + 3e-7
    if spec.reset_after:
        last = hp[:, 2 * size :] + c[2 * size :]
        of_n = of_n + of_r * np.abs(last)
        last = r * last
    else:
        reset, also_sure = one_byte(r * h, 2e-3)
        sure &= also_sure
        last = reset @ u[2 * size :].T
        largest = np.abs(reset).max(axis=1, keepdims=True)
        lost = (of_r * np.abs(h)).max(axis=1, keepdims=True)
        of_n = of_n + np.divide(lost, largest, where=largest > 0, out=np.zeros_like(lost)) * np.abs(last)
    n = act(xp[:, 2 * size :] + last)
    bound = of_n + of_z * np.abs(h - n) + 3e-7 * np.maximum(np.abs(h), np.abs(n)) + 3e-7
    return n + z * (h - n), bound, sure


def reduced(matrix: Array) -> tuple[Array, Array]:
    return int8(matrix, "weights")


def check(level: str, spec: GRUSpec, x: Array, h0: Array | None = None, close: float | None = None) -> None:
    """One layer of one direction against the model, every step from the state before it."""
    weights = spec.layers[0][0]
    given = tuple(np.asarray(a) for a in (weights.w_ih, weights.w_hh, weights.b_ih, weights.b_hh))
    y, h = run_plan(plan_at(level, spec, "int8"), x, h0)
    assert same_bits(h[0], y[:, -1].copy())
    first = np.zeros((1, len(x), spec.hidden_size), np.float32) if h0 is None else h0
    before = np.concatenate([first[0][:, None], y[:, :-1]], axis=1)
    flat = x.reshape(-1, x.shape[2]), before.reshape(-1, spec.hidden_size)
    wanted, bound, sure = modelled(spec, given, *flat)
    difference = np.abs(y.reshape(wanted.shape) - wanted)
    assert sure.mean() > 0.2
    assert (difference <= bound)[sure].all(), (difference / bound)[sure].max()
    if close is not None:
        assert difference[sure].max() <= close


@resets
@pytest.mark.parametrize("hidden", SMALL)
@levels
def test_every_size_is_what_the_model_says(level, hidden, reset_after):
    for inputs, shapes in ((NEIGHBOURS[hidden], ((1, 14), (2, 3), (9, 3))), (5, ((3, 3), (70, 1)))):
        spec = network(inputs, hidden, reset_after=reset_after)
        for batch, steps in shapes:
            x, h0 = numbers(batch, steps, inputs), np.tanh(numbers(1, batch, hidden))
            check(level, spec, x, h0)


@resets
@pytest.mark.parametrize("hidden", [100, 140, 256])
@levels
def test_larger_sizes_are_within_1e5_of_the_model(level, hidden, reset_after):
    spec = network(hidden - 3, hidden, reset_after=reset_after)
    for batch, steps in ((1, 14), (9, 3)):
        check(level, spec, numbers(batch, steps, hidden - 3), close=1e-5)


@resets
@pytest.mark.parametrize("activation", GATE_ACTIVATIONS)
@levels
def test_any_activation_is_what_the_model_says(level, activation, reset_after):
    for recurrent in ("sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"):
        options = {"activation": activation, "recurrent_activation": recurrent, "reset_after": reset_after}
        check(level, network(6, 21, **options), numbers(5, 8, 6))


@pytest.mark.parametrize("activation", ["relu", "linear"])
@resets
@levels
def test_states_that_grow_keep_their_relative_error(level, reset_after, activation):
    spec = network(4, 24, activation=activation, reset_after=reset_after, seed=3)
    weights = spec.layers[0][0]
    w_hh = weights.w_hh.copy()
    w_hh[48:] = 4 * np.abs(w_hh[48:])
    spec = spec.replace(layers=((weights.replace(w_hh=w_hh),),))
    x = numbers(6, 30, 4)
    y, _ = run_plan(plan_at(level, spec, "int8"), x)
    assert np.abs(y).max() > 100
    check(level, spec, x)


@pytest.mark.parametrize("size", [1.5, 100.0, 1e4])
@resets
@levels
def test_first_states_beyond_one_have_a_step_of_their_own(level, reset_after, size):
    spec = network(5, 33, reset_after=reset_after)
    h0 = np.float32(size) * np.tanh(numbers(1, 9, 33))
    h0[0, 4] /= np.float32(size)  # one row within 1 beside the others
    check(level, spec, numbers(9, 4, 5), h0)
    alone, _ = run_plan(plan_at(level, spec, "int8"), numbers(9, 4, 5)[4:5], h0[:, 4:5].copy())
    together, _ = run_plan(plan_at(level, spec, "int8"), numbers(9, 4, 5), h0)
    assert same_bits(alone, together[4:5])


@resets
@pytest.mark.parametrize("hidden", [1, 7, 16, 33])
@levels
def test_a_stack_is_its_layers_one_after_the_other(level, hidden, reset_after):
    spec = network(5, hidden, 3, 2, reset_after=reset_after)
    for batch, steps in ((1, 13), (6, 4)):
        x, h0 = numbers(batch, steps, 5), numbers(states_of(spec), batch, hidden)
        y, h = run_plan(plan_at(level, spec, "int8"), x, h0)
        below = x
        for index, layer in enumerate(spec.layers):
            outputs = []
            for direction, weights in enumerate(layer):
                plan = plan_at(level, spec.replace(layers=((weights,),)), "int8")
                turned = np.ascontiguousarray(below[:, ::-1]) if direction else below
                state = 2 * index + direction
                above, last = run_plan(plan, turned, h0[state : state + 1])
                assert same_bits(last[0], h[state])
                outputs.append(above[:, ::-1] if direction else above)
            below = np.ascontiguousarray(np.concatenate(outputs, axis=2))
        assert same_bits(below, y)


def product(level: str, w_ih: Array, x: Array) -> Array:
    """x W^T alone: h' = n + z (h - n) with z = 0 and n = x W^T."""
    units, inputs = w_ih.shape
    w = np.concatenate([np.zeros((2 * units, inputs), np.float32), w_ih])
    zeros = np.zeros(3 * units, np.float32)
    weights = GRUWeights(w, np.zeros((3 * units, units), np.float32), zeros, zeros)
    return run_plan(plan_at(level, linear(weights), "int8"), x[:, None])[0][:, 0]


def recurrent_product(level: str, w_hh: Array, h: Array, reset_after: bool) -> Array:
    """h U^T alone: the same with r = 1."""
    units = len(w_hh)
    u = np.concatenate([np.zeros((2 * units, units), np.float32), w_hh])
    bias = np.repeat(np.float32([1, 0, 0]), units)
    weights = GRUWeights(np.zeros((3 * units, 1), np.float32), u, bias, np.zeros(3 * units, np.float32))
    plan = plan_at(level, linear(weights, reset_after), "int8")
    return run_plan(plan, np.zeros((len(h), 1, 1), np.float32), h[None])[0][:, 0]


def linear(weights: GRUWeights, reset_after: bool = True) -> GRUSpec:
    return GRUSpec(((weights,),), reset_after, "linear", "linear")


def nearly_equal(got: Array, wanted: Array, parts: float = 4e-7) -> bool:
    return bool((np.abs(got - wanted) <= parts * np.abs(wanted)).all())


@levels
def test_sums_of_the_largest_products_do_not_saturate(level):
    """Two products of 127 and 127 are beyond 2^15 - 1 as a processor adds them for unsigned and signed bytes."""
    for terms in [*range(1, 40), *range(63, 300, 59), 300, 5000]:
        for weight in (127, -127):
            w = np.full((2, terms), weight, np.float32)
            x = np.stack([np.full(terms, 127, np.float32), np.full(terms, -127, np.float32)])
            assert nearly_equal(product(level, w, x), x @ w.T.astype(np.float64)), (terms, weight)


@resets
@levels
def test_sums_of_the_largest_products_of_states_do_not_saturate(level, reset_after):
    for units in [*range(1, 20), *range(31, 300, 67), 300]:
        for weight in (127, -127):
            w = np.full((units, units), weight, np.float32)
            h = np.stack([np.ones(units, np.float32), -np.ones(units, np.float32)])
            got = recurrent_product(level, w, h, reset_after)
            assert nearly_equal(got, h @ w.T.astype(np.float64)), (units, weight)


@pytest.mark.parametrize("terms", [2, 3, 4, 5, 64, 65, 130])
@levels
def test_a_weight_of_128_steps_is_multiplied_as_such(level, terms, rng):
    """A file of torch.ao has numbers from -128."""
    w = rng.integers(-128, 128, (9, terms)).astype(np.float32)
    w[:, 0], w[:, 1] = -128, 127
    w[4] = -128
    numbers_of, steps = int8(np.concatenate([np.zeros((18, terms), np.float32), w]) * np.float32(0.5), "w")
    assert numbers_of[18:, 0].tolist() == [-128] * 9 and set(steps[18:]) == {0.5}
    x = np.stack([np.full(terms, 127), np.full(terms, -127), rng.integers(-127, 128, terms)]).astype(np.float32)
    x[2, 0] = 127
    got = product(level, w * np.float32(0.5), x)
    wanted = x @ w.T.astype(np.float64) * 0.5
    assert (np.abs(got - wanted) <= 1e-6 * np.abs(wanted) + 1e-3).all()
    u = rng.integers(-128, 128, (7, 7)).astype(np.float32)
    u[:, 2], u[3] = -128, -128
    h = np.float32([[1, -1, 1, 1, -1, 1, 1], [-1] * 7])
    for reset_after in (True, False):
        assert np.abs(recurrent_product(level, u, h, reset_after) - h @ u.T).max() <= 1e-3


@pytest.mark.parametrize("terms", [65535, 65536, 65537])
@levels
def test_the_longest_products_are_right(level, terms):
    for weight, value in ((127, 127), (-128, 127), (-128, -127)):
        w = np.full((1, terms), weight, np.float32)
        w[0, 0] = -128 if weight == -128 else 127
        wanted = float(weight * value * terms)
        got = product(level, w, np.full((1, terms), value, np.float32))
        assert abs(got.item() / wanted - 1) <= (1e-4 if terms > MOST else 1e-6), (weight, value)  # in float32 beyond


@levels
def test_random_whole_numbers_are_multiplied_exactly(level, rng):
    for terms in (1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 257):
        w = rng.integers(-127, 128, (19, terms)).astype(np.float32)
        w[:, 0] = 127
        x = rng.integers(-127 * 254, 127 * 254 + 1, (11, terms)).astype(np.float32)
        x[:, -1] = 127 * 254
        got = product(level, w, x)
        scale = np.abs(x).astype(np.float64) @ np.abs(w).T
        assert (np.abs(got - x.astype(np.float64) @ w.T) <= 2.0**-22 * scale).all()


@levels
def test_odd_rows_of_weights(level, rng):
    """Of zeros, of one sign, of a single weight, and of weights so small that they count as zeros."""
    w = rng.standard_normal((8, 21)).astype(np.float32)
    w[0] = 0
    w[1], w[2] = np.abs(w[1]), -np.abs(w[2])
    w[3, :20] = 0
    w[4] = 1e-38
    w[5] *= np.float32(1e-30)
    w[6] *= np.float32(1e30)
    x = numbers(5, 21)
    got = product(level, w, x)
    assert not got[:, 0].any() and not got[:, 4].any()
    exact = x @ w.T.astype(np.float64)
    scale = np.abs(x).sum(axis=1)[:, None] * np.abs(w).max(axis=1)
    rows = [1, 2, 3, 5, 6, 7]
    assert (np.abs(got - exact)[:, rows] <= 0.5 / 127 * 1.01 * scale[:, rows]).all()
    assert nearly_equal(got[:, 3], two_bytes(x.astype(np.float64))[:, 20] * w[3, 20], 1e-4)


@levels
def test_odd_rows_of_inputs(level):
    """Zeros, subnormal numbers, small and large ones: each row is as good as its largest number."""
    w = numbers(6, 9)
    x = np.concatenate([np.zeros((1, 9), np.float32), *(numbers(1, 9) * np.float32(s) for s in SIZES)])
    made = widened(w, "int8", "w").astype(np.float64)
    got = product(level, w, x)
    assert not got[0].any()
    for row, size in enumerate(SIZES, 1):
        if size < 1e-32:
            assert not got[row].any(), size
            continue
        wanted = x[row].astype(np.float64) @ made.T
        assert np.abs(got[row] - wanted).max() <= 1e-3 * np.abs(x[row]).max(), size


SIZES = (1e-45, 1e-40, 1e-38, 1e-33, 1e-28, 1e-10, 1e-3, 1.0, 1e10, 1e30, 3e37)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@resets
@levels
def test_a_row_with_a_number_that_is_not_finite_is_nan_from_there_on(level, reset_after, bad):
    """Infinity too: it has no step. With float32 weights it may give a state that is a number again."""
    plan = plan_at(level, network(5, 19, 2, reset_after=reset_after), "int8")
    for batch, steps in ((1, 20), (2, 6), (5, 6), (9, 6), (66, 4)):
        x, h0 = numbers(batch, steps, 5), np.zeros((2, batch, 19), np.float32)
        y, h = run_plan(plan, x, h0)
        row = batch // 2
        others = np.arange(batch) != row
        poisoned = x.copy()
        poisoned[row, 2, 4] = bad
        y_poisoned, h_poisoned = run_plan(plan, poisoned, h0)
        assert same_bits(y_poisoned[others], y[others]) and same_bits(h_poisoned[:, others], h[:, others])
        assert same_bits(y_poisoned[row, :2], y[row, :2])
        assert np.isnan(y_poisoned[row, 2:]).all() and np.isnan(h_poisoned[:, row]).all()
        h0[1, row, 18] = bad
        y_poisoned, h_poisoned = run_plan(plan, x, h0)
        assert same_bits(y_poisoned[others], y[others]) and same_bits(h_poisoned[:, others], h[:, others])
        assert same_bits(h_poisoned[0], h[0]) and np.isnan(y_poisoned[row]).all()


@pytest.mark.parametrize(("input_zero", "tile_words"), [(0, 1), (0, 16), (128, 1), (128, 16)])
@pytest.mark.parametrize("inputs", [1, 3, 4, 70])
def test_before_the_bytes_of_a_unit_stand_what_its_sums_start_from_and_its_step(input_zero, tile_words, inputs, rng):
    weights = rng.integers(-128, 128, (3 * 17, inputs)).astype(np.int8)
    steps = rng.random(len(weights)).astype(np.float32)
    packed = pack_weights(weights, steps, 3, 8, input_zero, tile_words)
    words = -(-inputs // (4 * tile_words)) * tile_words
    rows = np.empty((len(weights), 2 + words), np.float32)
    unpack_matrix(packed, rows, 3, 8)
    assert np.array_equal(rows.view(np.int32)[:, 0], -input_zero * weights.sum(axis=1, dtype=np.int64))
    assert same_bits(rows[:, 1], steps)
    padded = rows[:, 2:].copy().view(np.int8)
    assert np.array_equal(padded[:, :inputs], weights) and not padded[:, inputs:].any()
