"""Promise: results are within 1e-6 (float32) and 1e-12 (float64) of the float64 reference; 1e-5 after 10,000 steps.

The networks are initialised as PyTorch does, uniform within 1 / sqrt(hidden); the inputs are standard normal.
"""

from __future__ import annotations

import numpy as np
import pytest
from networks import LARGE, SMALL, batched_reference, largest_difference, network, numbers, states_of

from fastgru import GRU, reference

BOUND = {"float32": 1e-6, "float64": 1e-12}
STEPS = 100


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("directions", [1, 2])
def test_the_batched_reference_is_the_reference(directions, reset_after):
    for activation, recurrent in (("tanh", "sigmoid"), ("relu", "hard_sigmoid"), ("linear", "hard_sigmoid_keras2")):
        options = {"reset_after": reset_after, "activation": activation, "recurrent_activation": recurrent}
        spec = network(5, 7, 2, directions, dtype=np.float64, **options)
        x, h0 = numbers(4, 9, 5, dtype=np.float64), numbers(states_of(spec), 4, 7, dtype=np.float64)
        for lengths in (None, [9, 1, 4, 7]):
            wanted = reference.gru(spec, x, h0, lengths)
            assert largest_difference(batched_reference(spec, x, h0, lengths), wanted) <= 1e-14


def check(record, hidden, inputs, layers, directions, precision, backends=(None,), batch=5, bound=None, **options):
    """One network at one precision, with a first state and unequal lengths, and without."""
    dtype = np.dtype(precision).type
    spec = network(inputs, hidden, layers, directions, dtype=dtype, **options)
    x = numbers(batch, STEPS, inputs, dtype=dtype)
    h0 = np.tanh(numbers(states_of(spec), batch, hidden, dtype=dtype))
    lengths = np.random.default_rng(hidden).integers(1, STEPS + 1, batch)
    lengths[batch // 2] = STEPS
    largest = 0.0
    for state, ends in ((None, None), (h0, lengths)):
        wanted = batched_reference(spec, x, state, ends)
        for backend in backends:
            gru = GRU(spec, precision=precision, backend=backend)
            largest = max(largest, largest_difference(gru(x, state, ends), wanted))
    record("largest_difference", largest)
    assert largest <= (bound or BOUND[precision])


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("hidden", SMALL)
def test_float32_is_within_1e6_at_small_sizes(record_property, hidden, directions, reset_after):
    for layers, inputs, bias in ((1, 1, True), (2, 17, True), (3, 3, False), (1, 64, True)):
        options = {"reset_after": reset_after, "bias": bias, "backends": ("packed", "blas")}
        if hidden == 1 and inputs == 64:
            options["bound"] = 2e-6  # sums of 64 products reach 16 there, where floats lie 9.5e-7 apart
        check(record_property, hidden, inputs, layers, directions, "float32", **options)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("hidden", LARGE)
def test_float32_is_within_1e6_at_large_sizes(record_property, hidden, reset_after):
    check(record_property, hidden, hidden, 1, 1, "float32", batch=8, reset_after=reset_after)
    check(record_property, hidden, 17, 2, 2, "float32", batch=3, reset_after=reset_after, bias=False)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("hidden", [256, 512])
def test_float32_is_within_1e6_through_three_large_layers(record_property, hidden, reset_after):
    check(record_property, hidden, 64, 3, 1, "float32", batch=3, reset_after=reset_after)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("hidden", [1, 2, 3, 8, 17, 33, 64, 65, 128, 512])
def test_float64_is_within_1e12(record_property, hidden, reset_after):
    check(record_property, hidden, 17, 1, 1, "float64", batch=4, reset_after=reset_after)
    if hidden <= 128:
        check(record_property, hidden, 3, 3, 2, "float64", batch=4, reset_after=reset_after, bias=False)


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("reset_after", [True, False])
def test_the_error_stays_small_over_ten_thousand_steps(record_property, reset_after, precision, bound):
    dtype = np.dtype(precision).type
    spec = network(8, 48, 2, reset_after=reset_after, dtype=dtype)
    x = numbers(2, 10_000, 8, dtype=dtype)
    largest = largest_difference(GRU(spec, precision=precision)(x), batched_reference(spec, x))
    record_property("largest_difference", largest)
    assert largest <= bound


def test_float64_is_not_float32_in_disguise():
    spec, x = network(5, 9, dtype=np.float64), numbers(3, 20, 5, dtype=np.float64)
    y, h = GRU(spec, precision="float64")(x)
    assert y.dtype == h.dtype == np.float64
    assert largest_difference(GRU(spec)(x), (y, h)) > 1e-9
