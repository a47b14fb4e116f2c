"""Promise: on every level that runs here, every tile and tail of the kernels agrees with the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
from networks import (
    LEVELS,
    SMALL,
    batched_reference,
    largest_difference,
    network,
    numbers,
    plan_at,
    run_plan,
    same_bits,
)

from fastgru import reference
from fastgru.engine import dispatch
from fastgru.engine.affine import Affine
from fastgru.engine.pack import aligned_empty, pack_columns, pack_matrix, pack_vector
from fastgru.engine.plan import KernelTable
from fastgru.engine.state import State
from fastgru.layers import GATE_ACTIVATIONS

pytestmark = pytest.mark.parametrize("level", LEVELS)
BATCHES = (*range(1, 18), 63, 64, 65, 129)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("hidden", SMALL)
def test_every_hidden_size_agrees(level, hidden, reset_after):
    for inputs, layers in ((1, 1), (5, 2)):
        spec = network(inputs, hidden, layers, reset_after=reset_after)
        plan = plan_at(level, spec)
        for batch in (1, 2, 3, 7, 8, 9):
            x, h0 = numbers(batch, 6, inputs), numbers(layers, batch, hidden)
            assert largest_difference(run_plan(plan, x, h0), batched_reference(spec, x, h0)) <= 1e-6


@pytest.mark.parametrize("reset_after", [True, False])
def test_every_batch_size_agrees(level, reset_after):
    spec = network(3, 37, 1, 2, reset_after=reset_after)
    plan = plan_at(level, spec)
    x, h0 = numbers(max(BATCHES), 5, 3), numbers(2, max(BATCHES), 37)
    wanted = batched_reference(spec, x, h0)
    for batch in BATCHES:
        got = run_plan(plan, x[:batch], np.ascontiguousarray(h0[:, :batch]))
        assert largest_difference(got, (wanted[0][:batch], wanted[1][:, :batch])) <= 1e-6


@pytest.mark.parametrize("inputs", [1, 2, 3, 7, 16, 17, 64, 65])
def test_every_input_size_agrees(level, inputs):
    spec = network(inputs, 64)
    x = numbers(9, 6, inputs)
    assert largest_difference(run_plan(plan_at(level, spec), x), batched_reference(spec, x)) <= 1e-6


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("recurrent", GATE_ACTIVATIONS)
@pytest.mark.parametrize("activation", GATE_ACTIVATIONS)
def test_every_pair_of_activations_agrees(level, activation, recurrent, reset_after):
    options = {"activation": activation, "recurrent_activation": recurrent, "reset_after": reset_after}
    spec = network(3, 19, **options)
    x = 0.5 * numbers(9, 5, 3)
    y, h = batched_reference(spec, x)
    tolerance = 1e-6 * max(1.0, float(np.abs(y).max()))  # relu and linear may grow
    assert largest_difference(run_plan(plan_at(level, spec), x), (y, h)) <= tolerance


def test_the_level_is_what_it_says(level):
    table = KernelTable(dispatch.kernels(level))
    assert table.name == level
    lengths = {"amx": (16,), "avx512": (16,), "avx2": (8,), "neon": (4,), "baseline": (4, 1)}
    assert table.vector_length in lengths[level.partition("_")[0]]
    assert plan_at(level, network(2, 3)).kernel_level == level


@pytest.mark.parametrize("inputs", [1, 3, 16, 33])
@pytest.mark.parametrize("outputs", [1, 2, 3, 15, 16, 17, 47, 48, 49, 100])
def test_affine_agrees_and_keeps_a_rows_bits(level, inputs, outputs):
    weight, bias = numbers(outputs, inputs), numbers(outputs)
    affine = Affine(KernelTable(dispatch.kernels(level)), weight, bias)
    x = numbers(130, inputs)
    wanted = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    got = affine(x)
    scale = np.abs(x).astype(np.float64) @ np.abs(weight).T + np.abs(bias)
    assert (np.abs(got - wanted) <= 2.0**-24 * (inputs + 1) * scale).all()  # one rounding a term
    for rows in (0, 1, 2, 3, 5, 8, 63, 64, 65, 129):
        assert same_bits(affine(x[:rows]), got[:rows])


def test_packing_puts_every_weight_where_the_kernels_look(level):
    length = KernelTable(dispatch.kernels(level)).vector_length
    for units, inputs, gates in ((1, 1, 3), (length, 2, 3), (length + 1, 5, 2), (3 * length - 1, 4, 1)):
        rows = np.arange(1, gates * units * inputs + 1, dtype=np.float32).reshape(gates * units, inputs)
        blocks = -(-units // length)
        packed = pack_matrix(rows, gates, length)
        assert packed.ctypes.data % 64 == 0 and packed.size == blocks * inputs * gates * length
        padded = np.zeros((gates, blocks * length, inputs), np.float32)
        padded[:, :units] = rows.reshape(gates, units, inputs)
        wanted = padded.reshape(gates, blocks, length, inputs).transpose(1, 3, 0, 2)
        assert np.array_equal(packed.reshape(wanted.shape), wanted)
        assert np.array_equal(pack_vector(rows[:, 0], gates, length), pack_matrix(rows[:, :1].copy(), gates, length))
        columns = pack_columns(rows, length)
        assert columns.ctypes.data % 64 == 0 and columns.size == -(-len(rows) // length) * length * inputs
        assert np.array_equal(np.sort(columns[columns != 0]), rows.ravel())


def test_memory_is_aligned_and_of_the_size_asked_for(level):
    for size in (1, 15, 16, 17, 1000):
        memory = aligned_empty(size)
        assert memory.shape == (size,) and memory.dtype == np.float32 and memory.ctypes.data % 64 == 0
    assert aligned_empty(0).shape == (0,)


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_state_steps_as_the_reference_does(level, reset_after):
    spec = network(3, 21, 2, reset_after=reset_after)
    for batch in (1, 3, 9, 66):
        state = State(plan_at(level, spec), batch)
        x = numbers(batch, 6, 3)
        y, h = batched_reference(spec, x)
        for t in range(6):
            assert largest_difference([state.step(np.ascontiguousarray(x[:, t]))], [y[:, t]]) <= 1e-6
        assert largest_difference([state.get()], [h]) <= 1e-6


def test_hard_sigmoid_is_the_references_everywhere(level):
    x = np.linspace(-4, 4, 10_001, dtype=np.float32)
    for name in ("hard_sigmoid", "hard_sigmoid_keras2"):
        got = KernelTable(dispatch.kernels(level)).activate(GATE_ACTIVATIONS.index(name), x)
        assert np.abs(got - reference.ACTIVATIONS[name](x.astype(np.float64))).max() <= 6e-8
