"""Promise: a reduced weight is the nearest that there is, stays when it is rounded again, and keeps the order.

float16 is compared with NumPy's, bfloat16 with a search among all its numbers. What int8 keeps of files that were
quantised before is in ``test_int8_again``.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from networks import Array, same_bits

from fastgru.engine.reduced import REDUCED, bfloat16_bits, float16, int8, is_kept, reduce, widened
from fastgru.errors import UnsupportedModelError

HALF = st.floats(-65504, 65504, width=32)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
BFLOAT16 = np.sort((np.arange(0x7F80, dtype=np.uint32) << 16).view(np.float32).astype(np.float64))  # from 0 on


def matrices(elements: st.SearchStrategy[float]) -> st.SearchStrategy[Array]:
    return arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=elements)


def nearest_bfloat16(value: float) -> float:
    """By search among all of one sign; of two as near the one whose last bit is 0."""
    size = abs(value)
    above = int(np.searchsorted(BFLOAT16, size))
    if above == len(BFLOAT16):  # beyond the largest: as if there were one more
        return float(np.copysign(BFLOAT16[-1] if size < BFLOAT16[-1] + 2.0**119 else np.inf, value))
    places = [above] if above == 0 else [above - 1, above]
    best = min(places, key=lambda place: (abs(BFLOAT16[place] - size), place % 2))
    return float(np.copysign(BFLOAT16[best], value))


BEYOND_BFLOAT16 = np.float32(2.0**128 - 2.0**119)  # the middle of its largest and the next number


@given(matrices(HALF))
def test_float16_is_numpys(weights):
    got = float16(weights, "w")
    assert same_bits(got, weights.astype(np.float16))
    assert same_bits(widened(weights, "float16", "w"), got.astype(np.float32))


@given(matrices(FINITE))
def test_bfloat16_is_the_nearest(weights):
    if np.abs(weights).max(initial=0) >= BEYOND_BFLOAT16:
        with pytest.raises(UnsupportedModelError, match="a weight: got weights beyond bfloat16"):
            widened(weights, "bfloat16", "a weight")
        return
    got = widened(weights, "bfloat16", "w")
    wanted = np.array([nearest_bfloat16(float(value)) for value in weights.ravel()], np.float32).reshape(weights.shape)
    assert same_bits(got, wanted)
    assert same_bits(bfloat16_bits(weights), (wanted.view(np.uint32) >> 16).astype(np.uint16))


def test_every_bfloat16_and_every_middle_of_two():
    every = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32).reshape(256, 256)
    got = widened(every, "bfloat16", "w")
    numbers_of = ~np.isnan(every)
    assert np.array_equal(got.view(np.uint32)[numbers_of], every.view(np.uint32)[numbers_of])
    assert np.isnan(got[~numbers_of]).all()
    below = np.arange(0x7F7F, dtype=np.uint32)
    for more, rounded_up in ((0x7FFF, below * 0), (0x8000, below & 1), (0x8001, below * 0 + 1)):
        for sign in (0, 1 << 31):
            middle = ((below << 16) | more | sign).view(np.float32)[None]
            wanted = (((below + rounded_up) << 16) | sign).view(np.float32)[None]
            assert same_bits(widened(middle, "bfloat16", "w"), wanted)


def test_every_float16():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    got = float16(every.astype(np.float32), "w")
    assert np.array_equal(got, every, equal_nan=True)


@pytest.mark.parametrize("precision", REDUCED)
@given(matrices(HALF))
def test_what_was_rounded_stays(precision, weights):
    once = widened(weights, precision, "w")
    assert same_bits(widened(once, precision, "w"), once)
    assert once.dtype == np.float32 and once.shape == weights.shape
    assert is_kept(once, precision)
    assert is_kept(weights, precision) >= bool((once == weights).all())


@pytest.mark.parametrize("precision", REDUCED)
@given(matrices(HALF))
def test_the_order_and_the_sign_are_kept(precision, weights):
    for row, made in zip(weights, widened(weights, precision, "w"), strict=True):
        order = np.argsort(row, kind="stable")
        assert (np.diff(made[order]) >= 0).all()
        assert (made * row >= 0).all() and (made[row == 0] == 0).all()


@pytest.mark.parametrize("precision", REDUCED)
@given(matrices(st.floats(-1000, 1000, width=32)))
def test_weights_of_the_other_sign_are_rounded_alike(precision, weights):
    apart = np.abs(widened(-weights, precision, "w") + widened(weights, precision, "w"))
    if precision != "int8":
        assert not apart.any()
    else:  # a row may lie on a grid from -128 to 127 with one sign only: each is half a step of its own off
        steps = int8(weights, "w")[1] + int8(-weights, "w")[1]
        assert (apart <= 0.5001 * steps[:, None] + np.finfo(np.float32).tiny * 254).all()


@given(matrices(st.floats(-(2.0**100), 2.0**100, width=32)))
def test_int8_errs_by_half_a_step(weights):
    numbers_of, steps = int8(weights, "w")
    assert numbers_of.dtype == np.int8 and steps.dtype == np.float32 and steps.shape == (len(weights),)
    wide, step = weights.astype(np.float64), steps.astype(np.float64)[:, None]
    largest = np.abs(wide).max(axis=1)
    counted = steps > 0
    assert (np.abs(numbers_of * step - wide) <= 0.5001 * step + np.finfo(np.float32).tiny * 127)[counted].all()
    assert (largest[~counted] <= 128 * np.finfo(np.float32).tiny).all() and not numbers_of[~counted].any()
    used = np.abs(numbers_of.astype(int)).max(axis=1)
    assert ((used >= 1) | ~counted | (largest == 0)).all()


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(2, 30))
def test_int8_uses_all_steps_where_a_row_was_not_quantised_before(seed, rows, columns):
    weights = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    numbers_of, steps = int8(weights, "w")
    if not is_kept(weights, "int8"):
        lossy = [row for row in range(rows) if not is_kept(weights[row : row + 1], "int8")]
        assert (np.abs(numbers_of[lossy].astype(int)).max(axis=1) == 127).all()
    assert np.allclose(steps * np.abs(numbers_of.astype(int)).max(axis=1), np.abs(weights).max(axis=1), rtol=4e-3)


def test_int8_gives_every_row_its_step_beside_one_large_weight():
    """On the grid of the largest all others are close to 0, and would become it."""
    weights = np.random.default_rng(3).uniform(-0.1, 0.1, (12, 9)).astype(np.float32)
    weights[5, 5] = 1e6
    _, steps = int8(weights, "w")
    others = np.arange(12) != 5
    assert np.allclose(steps, np.abs(weights).max(axis=1) / 127, rtol=1e-6)
    assert (np.abs(widened(weights, "int8", "w") - weights)[others] <= 0.1 / 254 * 1.001).all()
    assert not is_kept(weights, "int8")


def test_int8_keeps_a_grid_that_reaches_to_minus_128(rng):
    numbers_of = rng.integers(-128, 128, (6, 40))
    numbers_of[:, 0] = -128
    for steps in (np.full(6, 0.0123, np.float32), rng.uniform(1e-3, 1, 6).astype(np.float32)):
        weights = numbers_of.astype(np.float32) * steps[:, None]
        got, got_steps = int8(weights, "w")
        assert (got == numbers_of).all() and np.allclose(got_steps, steps, rtol=1e-6, atol=0)
        assert is_kept(weights, "int8")


@given(st.integers(0, 2**32), st.floats(65520, 1e30))
def test_what_float16_has_not_is_counted_and_shown(seed, value):
    weights = np.random.default_rng(seed).standard_normal((4, 5)).astype(np.float32)
    weights[1, 2], weights[3, 0] = value, -value
    with pytest.raises(
        UnsupportedModelError, match=r"^weight_ih_l3: got 2 weights beyond float16, as .*; wanted at most"
    ):
        reduce(weights, "float16", "weight_ih_l3")
    assert not is_kept(weights, "float16")


def test_infinity_and_nan_stay_what_they_are_where_there_are_such():
    weights = np.array([[np.inf, -np.inf, np.nan, -0.0, 1.0]], np.float32)
    for precision in ("float16", "bfloat16"):
        made = widened(weights, precision, "w")
        assert np.array_equal(made, weights, equal_nan=True) and np.signbit(made[0, 3])
        assert not is_kept(weights, precision)
