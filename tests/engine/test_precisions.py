"""Promise: float16 and bfloat16 round the weights and nothing else, int8 errs as little as is said, on every level.

What int8 rounds beside weights is in ``test_int8_kernels``.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from networks import (
    LEVELS,
    PAIRED,
    SMALL,
    STACKS,
    Array,
    batched_reference,
    largest_difference,
    network,
    numbers,
    plan_at,
    rounded,
    run_plan,
    same_bits,
    states_of,
)

from fastgru.engine.plan import Plan
from fastgru.engine.reduced import REDUCED
from fastgru.errors import UnsupportedModelError
from fastgru.layers import GATE_ACTIVATIONS, GRUSpec

HALVES = ("float16", "bfloat16")
NEIGHBOURS = dict(zip(SMALL, (17, 2, 65, 8, 7, 33, 1, 64, 15, 31, 3, 16, 63, 32), strict=True))  # inputs by units
ERRORS = {"float16": 5e-4, "bfloat16": 4e-3, "pairs": 6.4e-3, "int8": 1e-2}

levels = pytest.mark.parametrize("level", LEVELS)
exact = pytest.mark.parametrize(  # where pairs are multiplied bfloat16 rounds inputs and states too; see test_pairs
    ("level", "precision"),
    [(level, name) for level, name in product(LEVELS, HALVES) if level not in PAIRED or name != "bfloat16"],
)
resets = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])


def all_same(got: tuple[Array, ...], wanted: tuple[Array, ...]) -> bool:
    return all(same_bits(one, other) for one, other in zip(got, wanted, strict=True))


@resets
@pytest.mark.parametrize("hidden", SMALL)
@exact
def test_only_the_weights_are_rounded(level, precision, hidden, reset_after):
    for inputs, layers, directions in ((NEIGHBOURS[hidden], 1, 1), (3, 2, 2), (hidden, 3, 1)):
        spec = network(inputs, hidden, layers, directions, reset_after=reset_after)
        exact = rounded(spec, precision)
        plan, float32 = plan_at(level, spec, precision), plan_at(level, exact)
        for batch, steps in ((1, 13), (2, 3), (9, 4)):
            x, h0 = numbers(batch, steps, inputs), numbers(states_of(spec), batch, hidden)
            got = run_plan(plan, x, h0)
            assert all_same(got, run_plan(float32, x, h0)), (inputs, batch)
            bound = 1e-6 * max(1, inputs * hidden**-0.5 / 4)  # of a sum of many products with a few large weights
            assert largest_difference(got, batched_reference(exact, x, h0)) <= bound


@resets
@pytest.mark.parametrize("shape", [shape for shape in STACKS if shape[1] > 65], ids=str)
@exact
def test_only_the_weights_are_rounded_at_larger_sizes(level, precision, shape, reset_after):
    spec = network(*shape, reset_after=reset_after)
    exact = rounded(spec, precision)
    plan, float32 = plan_at(level, spec, precision), plan_at(level, exact)
    for batch, steps in ((1, 13), (20, 5)):
        x, h0 = numbers(batch, steps, shape[0]), numbers(states_of(spec), batch, shape[1])
        got = run_plan(plan, x, h0)
        assert all_same(got, run_plan(float32, x, h0))
        assert largest_difference(got, batched_reference(exact, x, h0)) <= 1e-6


@resets
@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("hidden", [257, 300])
@exact
def test_long_sums_are_taken_in_the_same_parts(level, precision, hidden, batch, reset_after):
    spec = network(513, hidden, reset_after=reset_after)
    x = numbers(batch, 14, 513)
    got = run_plan(plan_at(level, spec, precision), x)
    assert all_same(got, run_plan(plan_at(level, rounded(spec, precision)), x))


@pytest.mark.parametrize("activation", GATE_ACTIVATIONS)
@exact
def test_any_activation_has_the_bits_of_float32(level, precision, activation):
    for reset_after in (True, False):
        options = {"activation": activation, "recurrent_activation": "hard_sigmoid", "reset_after": reset_after}
        spec = network(3, 19, 1, 2, **options)
        x = numbers(4, 8, 3)
        got = run_plan(plan_at(level, spec, precision), x)
        assert all_same(got, run_plan(plan_at(level, rounded(spec, precision)), x))


def with_weights(spec: GRUSpec, w_ih: Array, w_hh: Array) -> GRUSpec:
    weights = spec.layers[0][0]
    return spec.replace(layers=((weights.replace(w_ih=w_ih, w_hh=w_hh),),))


@exact
def test_weights_at_the_ends_of_a_type_are_what_they_are(level, precision):
    """The largest, the smallest, numbers too small for a normal float16, both zeros, ties and what is next to them."""
    largest = 65504 if precision == "float16" else float(np.finfo(np.float32).max) * 0.99
    special = [largest, -largest, 6e-8, -6e-8, 3e-8, 2.9e-8, 6.1e-5, -6.05e-5, 0.0, -0.0, 1 + 2**-8, 1 + 2**-11, 1e-30]
    w_ih = np.resize(np.float32(special), (3 * 17, 13))
    spec = with_weights(network(13, 17), w_ih, network(13, 17).layers[0][0].w_hh)
    plan, float32 = plan_at(level, spec, precision), plan_at(level, rounded(spec, precision))
    for place in range(13):
        x = np.zeros((2, 3, 13), np.float32)
        x[..., place] = [[1.0], [1e-3]]
        assert all_same(run_plan(plan, x), run_plan(float32, x)), special[place]


@exact
def test_weights_that_are_not_finite_stay_so(level, precision):
    w_hh = network(3, 9).layers[0][0].w_hh.copy()
    w_ih = network(3, 9).layers[0][0].w_ih.copy()
    w_ih[0, 1], w_ih[20, 2], w_hh[26, 8] = np.inf, np.nan, -np.inf
    spec = with_weights(network(3, 9), w_ih, w_hh)
    x = numbers(3, 4, 3)
    y, h = run_plan(plan_at(level, spec, precision), x)
    wanted = run_plan(plan_at(level, rounded(spec, precision)), x)
    assert np.array_equal(y, wanted[0], equal_nan=True) and np.array_equal(h, wanted[1], equal_nan=True)
    assert np.isnan(y[..., 2]).all()


def error_of(plan: Plan, spec: GRUSpec) -> float:
    x = numbers(1, 100, spec.input_size)
    return largest_difference(run_plan(plan, x), batched_reference(spec, x))


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("hidden", [256, 512])
def test_the_error_of_default_networks_is_as_stated(record_property, hidden, precision):
    for reset_after in (True, False):
        spec = network(hidden, hidden, reset_after=reset_after)
        for level in LEVELS if hidden == 256 or precision == "int8" else LEVELS[:1]:
            error = error_of(plan_at(level, spec, precision), spec)
            record_property(f"{level} {reset_after}", error)
            paired = precision == "bfloat16" and level in PAIRED
            assert error <= ERRORS["pairs" if paired else precision]


@levels
def test_an_unknown_precision_is_refused_with_those_that_kernels_have(level):
    with pytest.raises(UnsupportedModelError, match="got 'float8', wanted one of float32, float16, bfloat16, int8"):
        plan_at(level, network(3, 5), "float8")
