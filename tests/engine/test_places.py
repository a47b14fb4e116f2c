"""Promise: softmax and normalisations of rows are those of float64, rounded once, whatever lies beside a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import LEVELS

from fastgru import ShapeError
from fastgru.activations import formula
from fastgru.engine import dispatch
from fastgru.engine.plan import KernelTable
from fastgru.engine.program import ALONG, along, normalize

ROUNDED = 2.0**-24 * 1.0001  # of a number: what one rounding to float32 changes, and what double leaves before it
LEAST = 2.0**-149  # the smallest float, for results that round to a multiple of it
SIZES = [*range(1, 72), 127, 128, 129, 200, 1000]
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-45, -1e-40, 88.0, -104.0, 1.0]

CENTERS = [(0, 1, 1e-5), (100, 1, 1e-3), (-1e4, 0.1, 1e-6), (1e6, 1, 1e-5), (0, 1e-6, 1e-12)]  # center, scale, epsilon

numbers = np.random.default_rng(5)


@pytest.fixture(params=LEVELS)
def kernels(request: pytest.FixtureRequest) -> KernelTable:
    return KernelTable(dispatch.kernels(request.param))


def floats(*shape: int, scale: float = 1) -> np.ndarray:
    return (scale * numbers.standard_normal(shape)).astype(np.float32)


def normalized(x: np.ndarray, gamma: Any, beta: Any, epsilon: float, rms: bool) -> np.ndarray:
    wide = x.astype(np.float64)
    if not rms:
        wide = wide - wide[..., :1]  # exact as a rule, and changes no result: their mean is held more finely
        wide = wide - wide.mean(axis=-1, keepdims=True)
    wide = wide / np.sqrt((wide * wide).mean(axis=-1, keepdims=True) + epsilon)
    wide = wide if gamma is None else wide * gamma
    return wide if beta is None else wide + beta


def assert_rounded(got: np.ndarray, wanted: np.ndarray, more: float = 0) -> None:
    assert got.dtype == np.float32 and got.shape == wanted.shape
    assert (np.isnan(got) == np.isnan(wanted)).all()
    with np.errstate(over="ignore"):
        nearest = wanted.astype(np.float32)
    real = np.isfinite(nearest)
    np.testing.assert_array_equal(got[~real], nearest[~real])
    assert (np.abs(got[real] - wanted[real]) <= ROUNDED * np.abs(wanted[real]) + LEAST + more).all()


@pytest.mark.parametrize("name", ALONG)
@pytest.mark.parametrize("scale", [0.1, 1, 30, 1000])
def test_softmax_is_that_of_float64(kernels: KernelTable, name: str, scale: float) -> None:
    for n in SIZES:
        x = floats(7, n, scale=scale)
        wanted = formula(name)(x.astype(np.float64))
        # x - m - log(sum), whose terms are rounded in double, is small where x = m is nearly all of the sum
        assert_rounded(along(kernels, name, x), wanted, 1e-12 * scale if name == "log_softmax" else 0)


@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("weights", ["none", "gamma", "beta", "both", "for each row"])
def test_normalisation_is_that_of_float64(kernels: KernelTable, weights: str, rms: bool) -> None:
    for n in SIZES:
        for center, scale, epsilon in CENTERS:
            x = (center + floats(5, n, scale=scale)).astype(np.float32)
            shape = (5, n) if weights == "for each row" else (n,)
            gamma = None if weights in ("none", "beta") else numbers.standard_normal(shape)
            beta = None if weights in ("none", "gamma") else numbers.standard_normal(shape)
            wanted = normalized(x, gamma, beta, epsilon, rms)
            # a result near 0 is a difference of larger numbers, of at most sqrt(n) deviations, which double rounds
            assert_rounded(normalize(kernels, x, gamma, beta, epsilon, rms), wanted, 1e-14 * n)


@pytest.mark.parametrize("name", ALONG)
def test_softmax_of_odd_values_is_that_of_float64(kernels: KernelTable, name: str) -> None:
    for n in (1, 2, 3, 4, 7, 8, 9, 17, 40):
        x = floats(300, n)
        where = numbers.random(x.shape) < 2 / n
        x[where] = numbers.choice(np.array(EDGES, np.float32), int(where.sum()))
        x[:4] = np.array([-np.inf, np.inf, np.nan, 3e38], np.float32)[:, None]
        with np.errstate(all="ignore"):
            wanted = formula(name)(x.astype(np.float64))
        assert_rounded(along(kernels, name, x), wanted, 1e-12)


@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
def test_normalisation_of_odd_values_is_that_of_float64(kernels: KernelTable, rms: bool, epsilon: float) -> None:
    for n in (1, 2, 4, 5, 16, 33, 100):
        x = floats(300, n)
        for row in range(100):
            x[row, numbers.integers(n)] = numbers.choice(np.array(EDGES[2:5], np.float32))
        x[100:104] = np.array([0, -2.5, 3e38, np.inf], np.float32)[:, None]  # all places alike: the variance is 0
        x[104:] *= numbers.choice(np.array([1e-30, 1, 1e30], np.float32), (196, 1))
        with np.errstate(all="ignore"):
            wanted = normalized(x, None, None, epsilon, rms)
        if not rms:
            wanted[101:103] = 0 if epsilon else np.nan  # which the rounded mean of equal numbers need not give
        assert_rounded(normalize(kernels, x, None, None, epsilon, rms), wanted, 1e-13 * n)


def test_one_place_far_from_the_others_costs_no_digits(kernels: KernelTable) -> None:
    """The first place, which both sums are taken from, may be the one."""
    for n in (2, 50, 5000):
        for far in (0, n // 2, n - 1):
            x = floats(1, n)
            x[0, far] = 1e6
            wanted = normalized(x, None, None, 1e-5, False)
            assert_rounded(normalize(kernels, x, None, None, 1e-5, False), wanted, 1e-12)


def test_places_of_no_weight_behind_a_row_change_no_bit(kernels: KernelTable) -> None:
    for name in ALONG:
        nothing = np.float32(np.inf if name == "softmin" else -np.inf)
        for n in (*range(1, 40), 130):
            x = floats(3, n)
            alone = along(kernels, name, x)
            for more in (*range(1, 34), 150):
                longer = np.concatenate([x, np.full((3, more), nothing)], axis=1)
                np.testing.assert_array_equal(along(kernels, name, longer)[:, :n], alone)


def test_a_row_has_the_same_bits_wherever_it_lies(kernels: KernelTable) -> None:
    for n in (1, 3, 8, 20, 37, 200):
        memory = np.full(4 * n + 64, np.nan, np.float32)  # nothing beside a row may be read into it
        row, gamma, beta = floats(1, n), numbers.standard_normal(n), numbers.standard_normal(n)
        wanted = along(kernels, "softmax", row), normalize(kernels, row, gamma, beta, 1e-5, False)
        for offset in range(17):
            memory[:] = np.nan
            moved = memory[offset : offset + n].reshape(1, n)
            moved[:] = row
            np.testing.assert_array_equal(along(kernels, "softmax", moved), wanted[0])
            np.testing.assert_array_equal(normalize(kernels, moved, gamma, beta, 1e-5, False), wanted[1])
        rows = np.concatenate([floats(3, n), row, np.full((1, n), np.nan, np.float32)])
        np.testing.assert_array_equal(along(kernels, "softmax", rows)[3:4], wanted[0])
        np.testing.assert_array_equal(normalize(kernels, rows, gamma, beta, 1e-5, False)[3:4], wanted[1])


def test_what_is_no_row_is_refused(kernels: KernelTable) -> None:
    x, gamma = floats(3, 4), np.ones(4)
    for wrong in (x.astype(np.float64), x.T, x[:, ::-1], np.float32(1), x[0, 0, ...], None):
        with pytest.raises((ShapeError, AttributeError)):
            along(kernels, "softmax", wrong)
        with pytest.raises((ShapeError, AttributeError)):
            normalize(kernels, wrong, None, None, 1e-5, False)
    for wrong in (gamma[:3], gamma.astype(np.float32), np.ones((2, 4)), np.ones((4, 3)).T, np.float64(1), 1.0):
        for weights in ((wrong, None), (None, wrong)):
            with pytest.raises(ShapeError, match="wanted float64"):
                normalize(kernels, x, *weights, 1e-5, False)
    assert along(kernels, "softmax", x[:0]).shape == (0, 4)
    assert along(kernels, "softmax", x[:, :0].copy()).shape == (3, 0)
    assert normalize(kernels, x[:0], None, None, 1e-5, False).shape == (0, 4)
