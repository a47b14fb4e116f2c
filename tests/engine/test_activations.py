"""Promise: tanh and sigmoid are within 2.5 ulp on every level, NaN stays NaN, and the other four are as written.

Results below the smallest normal float are zero: subnormal numbers are flushed inside a call.
"""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVELS, same_bits

from fastgru import reference
from fastgru.engine import dispatch
from fastgru.engine.plan import KernelTable
from fastgru.layers import GATE_ACTIVATIONS

TINY = np.finfo(np.float32).tiny
ULPS = 2.5


@pytest.fixture(params=LEVELS)
def table(request) -> KernelTable:
    return KernelTable(dispatch.kernels(request.param))


def activate(table: KernelTable, name: str, x) -> np.ndarray:
    return table.activate(GATE_ACTIVATIONS.index(name), np.asarray(x, np.float32))


def every_exponent(each: int) -> np.ndarray:
    """Finite floats of both signs: ``each`` random mantissas of every exponent, and the ends of every binade."""
    rng = np.random.default_rng(5)
    exponents = np.arange(255, dtype=np.uint32)[:, None] << 23
    mantissas = rng.integers(0, 1 << 23, (255, each), dtype=np.uint32)
    mantissas[:, :4] = [0, 1, (1 << 23) - 1, 1 << 22]
    positive = (exponents | mantissas).ravel()
    return np.concatenate([positive, positive | np.uint32(1 << 31)]).view(np.float32)


def errors_in_ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    return np.abs(got - exact) / np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_errors_are_within_two_and_a_half_ulps(table, name, record_property):
    close = np.random.default_rng(6).uniform(-20, 20, 400_000).astype(np.float32)
    x = np.concatenate([every_exponent(1500), close, np.linspace(-89, 89, 200_001, dtype=np.float32)])
    got = activate(table, name, x).astype(np.float64)
    wide = x.astype(np.float64)
    exact = np.tanh(wide) if name == "tanh" else 1 / (1 + np.exp(-np.clip(wide, -700, 700)))
    normal = np.abs(exact) >= TINY
    largest = float(errors_in_ulps(got[normal], exact[normal]).max())
    record_property("largest_ulps", largest)
    record_property("largest_difference", float(np.abs(got - exact).max()))
    assert largest <= ULPS
    assert np.abs(got - exact).max() <= 1.5e-7
    assert np.abs(got[~normal]).max() <= TINY


def test_tanh_is_odd_and_both_stay_within_their_range(table):
    x = every_exponent(200)
    tanh, sigmoid = activate(table, "tanh", x), activate(table, "sigmoid", x)
    assert same_bits(activate(table, "tanh", -x), -tanh)
    assert np.abs(tanh).max() == 1 and sigmoid.min() == 0 and sigmoid.max() == 1


def test_both_saturate(table):
    x = np.array([np.inf, 3e38, 1e4, 90, 20, -np.inf, -3e38, -1e4, -90], np.float32)
    assert activate(table, "tanh", x).tolist() == [1, 1, 1, 1, 1, -1, -1, -1, -1]
    sigmoid = activate(table, "sigmoid", x)
    assert sigmoid[:5].tolist() == [1, 1, 1, 1, 1]
    assert np.all((sigmoid[5:] >= 0) & (sigmoid[5:] < np.finfo(np.float32).tiny))  # zero, or less than is computed with


def test_zero_is_exact_and_keeps_its_sign(table):
    tanh = activate(table, "tanh", [0.0, -0.0])
    assert tanh.tolist() == [0, 0] and np.signbit(tanh).tolist() == [False, True]
    assert activate(table, "sigmoid", [0.0, -0.0]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", GATE_ACTIVATIONS)
def test_nan_stays_nan_and_goes_nowhere_else(table, name):
    payloads = np.array([0x7FC00000, 0xFFC00000, 0x7FC12345, 0x7F800001], np.uint32).view(np.float32)
    for size in (1, 3, 8, 16, 17, 33):
        clean = np.linspace(-4, 4, size, dtype=np.float32)
        wanted = activate(table, name, clean)
        for at in range(size):
            for nan in payloads:
                x = clean.copy()
                x[at] = nan
                got = activate(table, name, x)
                assert np.isnan(got[at])
                assert same_bits(np.delete(got, at), np.delete(wanted, at))


@pytest.mark.parametrize("name", GATE_ACTIVATIONS)
@pytest.mark.parametrize("size", [*range(34), 1000])
def test_any_number_of_values_is_taken(table, name, size):
    x = np.random.default_rng(size).normal(0, 3, size).astype(np.float32)
    got = activate(table, name, x)
    assert got.dtype == np.float32 and got.shape == (size,)
    exact = reference.ACTIVATIONS[name](x.astype(np.float64))
    np.testing.assert_allclose(got, exact, rtol=0, atol=1.5e-7 * max(1, np.abs(x).max(initial=0)))
    one_by_one = [activate(table, name, x[i : i + 1]) for i in range(size)]
    assert same_bits(got, np.concatenate([np.empty(0, np.float32), *one_by_one]))


def test_hard_sigmoids_are_exact_at_their_corners(table):
    corners = [-np.inf, -1e30, -3.5, -3, 0, 3, 3.5, 1e30, np.inf]
    assert activate(table, "hard_sigmoid", corners).tolist() == [0, 0, 0, 0, 0.5, 1, 1, 1, 1]
    corners = [-np.inf, -1e30, -3, -2.5, 0, 2.5, 3, 1e30, np.inf]
    assert activate(table, "hard_sigmoid_keras2", corners).tolist() == [0, 0, 0, 0, 0.5, 1, 1, 1, 1]


def test_relu_and_linear_are_exact(table):
    x = every_exponent(50)
    x = x[(np.abs(x) >= TINY) | (x == 0)]
    assert np.array_equal(activate(table, "relu", x), np.maximum(x, 0))
    assert same_bits(activate(table, "linear", x), x)
    assert activate(table, "relu", [np.inf, -np.inf]).tolist() == [np.inf, 0]
