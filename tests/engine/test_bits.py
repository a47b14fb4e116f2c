"""Promise: a sequence's results have the same bits whatever its batch, row, threads, chunks, steps and vector width.

Compared byte by byte: no tolerance. The BLAS backend does not promise this and is not tested here.
"""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVELS, PAIRED, STACKS, network, numbers, plan_at, run_plan, same_bits, states_of

from fastgru import GRU, threads
from fastgru.layers import GATE_ACTIVATIONS

# Of the reduced precisions stacks with whole and part vectors, pairs and fours of weights, one way and both.
PRECISE = [(shape, "float32") for shape in STACKS]
PRECISE += [((2, 65, 2, 1), "float16"), ((3, 7, 2, 1), "bfloat16"), ((9, 100, 1, 2), "bfloat16")]
PRECISE += [((5, 33, 3, 2), "int8"), ((33, 140, 1, 1), "int8")]
ONE_WAY = [(shape, precision) for shape, precision in PRECISE if shape[3] == 1]
WIDE = [level for level in LEVELS if level.startswith(("avx2", "avx512"))]  # these have FMA
BATCHES = (*range(1, 21), 64, 65, 130)
STEPS = 7


def packed(shape, precision="float32", n_threads=1, **options) -> GRU:
    return GRU(network(*shape, **options), precision=precision, n_threads=n_threads, backend="packed")


@pytest.fixture(params=[True, False], ids=["reset_after", "reset_before"])
def reset_after(request) -> bool:
    return request.param


@pytest.mark.parametrize(("shape", "precision"), PRECISE, ids=str)
def test_a_row_is_the_same_in_any_batch_at_any_place(shape, precision, reset_after):
    gru = packed(shape, precision, reset_after=reset_after)
    x, h0 = numbers(150, STEPS, shape[0]), numbers(states_of(gru.spec), 150, shape[1])
    y, h = gru(x, h0)
    for first in (0, 9):
        for batch in BATCHES:
            rows = slice(first, first + batch)
            y_rows, h_rows = gru(x[rows], h0[:, rows])
            assert same_bits(y_rows, y[rows]), (first, batch)
            assert same_bits(h_rows, h[:, rows]), (first, batch)
    for row in range(0, 150, 11):
        y_alone, h_alone = gru(x[row], h0[:, row])
        assert same_bits(y_alone, y[row]) and same_bits(h_alone, h[:, row])


@pytest.mark.parametrize(("shape", "precision"), PRECISE, ids=str)
def test_rows_can_be_in_any_order(shape, precision, reset_after, rng):
    gru = packed(shape, precision, reset_after=reset_after)
    x, lengths = numbers(23, STEPS, shape[0]), rng.integers(1, STEPS + 1, 23)
    y, h = gru(x, lengths=lengths)
    order = rng.permutation(23)
    y_moved, h_moved = gru(x[order], lengths=lengths[order])
    assert same_bits(y_moved, y[order]) and same_bits(h_moved, h[:, order])


@pytest.mark.parametrize(("shape", "precision"), PRECISE, ids=str)
def test_a_row_is_the_same_whatever_the_lengths_of_the_others(shape, precision, reset_after, rng):
    gru = packed(shape, precision, reset_after=reset_after)
    x, lengths = numbers(19, STEPS, shape[0]), rng.integers(1, STEPS + 1, 19)
    y, h = gru(x, lengths=lengths)
    for row, length in enumerate(lengths):
        y_alone, h_alone = gru(x[row, :length])
        assert same_bits(y_alone, y[row, :length]) and same_bits(h_alone, h[:, row])


@pytest.mark.parametrize(("shape", "precision"), ONE_WAY, ids=str)
@pytest.mark.parametrize("batch", [1, 2, 5, 70])
def test_a_sequence_can_be_cut_anywhere(shape, precision, batch, reset_after):
    gru = packed(shape, precision, reset_after=reset_after)
    x = numbers(batch, 12, shape[0])
    y, h = gru(x)
    for cut in range(1, 12):
        y_first, between = gru(x[:, :cut])
        y_second, last = gru(x[:, cut:], between)
        assert same_bits(np.concatenate([y_first, y_second], axis=1), y) and same_bits(last, h)


@pytest.mark.parametrize(("shape", "precision"), ONE_WAY, ids=str)
@pytest.mark.parametrize("batch", [1, 2, 3, 8, 9, 70])
def test_a_stream_gives_what_the_sequence_gives(shape, precision, batch, reset_after):
    gru = packed(shape, precision, reset_after=reset_after)
    x = numbers(batch, 12, shape[0])
    y, h = gru(x)
    stream = gru.stream(batch)
    steps = [stream.step(x[:, t].copy()) for t in range(12)]
    assert same_bits(np.stack(steps, axis=1), y)
    assert same_bits(stream.state, h)


@pytest.mark.parametrize(("shape", "precision"), PRECISE, ids=str)
def test_threads_change_nothing(shape, precision, reset_after, rng, monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 5)  # no more than these are ever used
    x, lengths = numbers(37, STEPS, shape[0]), rng.integers(1, STEPS + 1, 37)
    for ends in (None, lengths):
        y, h = packed(shape, precision, reset_after=reset_after)(x, lengths=ends)
        for n_threads in (2, 3, 5):
            y_shared, h_shared = packed(shape, precision, reset_after=reset_after, n_threads=n_threads)(x, lengths=ends)
            assert same_bits(y_shared, y) and same_bits(h_shared, h)


def alike(precision: str) -> list[str]:
    """The levels with FMA that give the same bits: those that multiply pairs of bfloat16 have their own there."""
    return [level for level in WIDE if precision != "bfloat16" or level not in PAIRED]


@pytest.mark.skipif(len(WIDE) < 2, reason="this processor runs one level of those with FMA, or none")
@pytest.mark.parametrize(("shape", "precision"), PRECISE, ids=str)
def test_levels_with_fma_agree(shape, precision, reset_after):
    spec = network(*shape, reset_after=reset_after)
    plans = [plan_at(level, spec, precision) for level in alike(precision)]
    for batch in (1, 2, 3, 4, 5, 8, 11, 66):
        x, h0 = numbers(batch, STEPS, shape[0]), numbers(states_of(spec), batch, shape[1])
        y, h = run_plan(plans[0], x, h0)
        for plan in plans[1:]:
            y_other, h_other = run_plan(plan, x, h0)
            assert same_bits(y_other, y) and same_bits(h_other, h), (plan.kernel_level, batch)


@pytest.mark.skipif(len(WIDE) < 2, reason="this processor runs one level of those with FMA, or none")
@pytest.mark.parametrize(
    ("hidden", "precision"),
    [(hidden, "float32") for hidden in (150, 170, 256, 384)]
    + [(170, "float16"), (256, "bfloat16"), (170, "int8"), (256, "int8")],
)
def test_levels_with_fma_agree_where_tiles_are_chosen_by_cache(hidden, precision, reset_after):
    spec = network(hidden, hidden, reset_after=reset_after)
    plans = [plan_at(level, spec, precision) for level in alike(precision)]
    for batch in (1, 2, 9):
        x = numbers(batch, 5, hidden)
        y, _ = run_plan(plans[0], x)
        assert all(same_bits(run_plan(plan, x)[0], y) for plan in plans[1:])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("hidden", "precision"),
    [(hidden, "float32") for hidden in (7, 33, 150, 170, 256)]
    + [(hidden, precision) for hidden in (7, 33, 170) for precision in ("float16", "bfloat16", "int8")],
)
def test_every_level_keeps_the_bits_of_a_row(level, hidden, precision, reset_after):
    plan = plan_at(level, network(5, hidden, 2, reset_after=reset_after), precision)
    x = numbers(21, STEPS, 5)
    y, _ = run_plan(plan, x)
    for batch in (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 20):
        assert same_bits(run_plan(plan, x[:batch])[0], y[:batch]), batch
    assert same_bits(run_plan(plan, x, shares=[0, 5, 6, 21])[0], y)
    first, between = run_plan(plan, np.ascontiguousarray(x[:, :4]))
    second, _ = run_plan(plan, np.ascontiguousarray(x[:, 4:]), between)
    assert same_bits(np.concatenate([first, second], axis=1), y)


@pytest.mark.parametrize("activation", GATE_ACTIVATIONS)
@pytest.mark.parametrize("recurrent", ["sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"])
def test_any_activations_keep_the_bits(activation, recurrent, reset_after):
    options = {"reset_after": reset_after, "activation": activation, "recurrent_activation": recurrent}
    gru = packed((3, 21, 2, 1), **options)
    x = numbers(13, STEPS, 3)
    y, _ = gru(x)
    stream = gru.stream()
    for row in (0, 5, 12):
        stream.reset()
        steps = np.stack([stream.step(step) for step in x[row]])
        assert same_bits(gru(x[row])[0], y[row]) and same_bits(steps, y[row])
    assert same_bits(packed((3, 21, 2, 1), n_threads=3, **options)(x)[0], y)
    assert len({run_plan(plan_at(level, gru.spec), x)[0].tobytes() for level in WIDE}) <= 1


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8"])
def test_long_batches_are_projected_in_blocks_with_the_same_bits(precision, reset_after):
    gru = packed((6, 64, 1, 1), precision, reset_after=reset_after)  # 341 rows of projected inputs at a time
    x = numbers(3, 500, 6)
    y, _ = gru(x)
    for row in range(3):
        assert same_bits(gru(x[row])[0], y[row])
    many = np.repeat(x[:1, :4], 800, axis=0)
    y_many, _ = gru(many)
    assert all(same_bits(one, y[0, :4]) for one in y_many)


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("inputs", [1, 6, 7, 300])
def test_what_is_projected_beside_the_steps_has_the_same_bits(precision, inputs):
    """One row of many steps; in a batch of two everything is projected first."""
    gru = packed((inputs, 130, 1, 2), precision)
    for steps in range(1, 22):
        x = numbers(2, steps, inputs)
        y, h = gru(x)
        for row in range(2):
            y_alone, h_alone = gru(x[row])
            assert same_bits(y_alone, y[row]) and same_bits(h_alone, h[:, row]), steps
