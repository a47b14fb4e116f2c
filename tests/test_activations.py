"""Promise: every activation is its formula within an ulp, keeps NaN and rows apart, warns of nothing, and is refused
by name where its options make no sense.

The formulas stand here once more as a textbook writes them, in the widest float there is, and are compared where that
loses no digits.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from networks import same_bits

from fastgru import ShapeError, UnsupportedModelError
from fastgru.activations import (
    ALIASES,
    ELEMENTWISE,
    GATE_ACTIVATIONS,
    IN_GRU,
    KNOWN,
    activation,
    check_in_gru,
    check_options,
    defaults,
    formula,
    resolved,
    shape_after,
)
from fastgru.options import kernel_table

WIDE = np.longdouble
TINY = float(np.finfo(np.float32).tiny)
NEEDED = {"threshold": {"threshold": 0.25, "default_value": -3.0}}  # options without a default
OVER_UNITS = tuple(name for name in KNOWN if name not in ELEMENTWISE)


class Options:
    """What fastgru.Activation is, as far as activations need it."""

    def __init__(self, name, **options):
        self.name, self.options = name, options


def piece(*cases):
    """The value of the first (condition, value) that holds, element by element; else the last one's."""

    def chosen(conditions, values):
        return np.select([*conditions, np.ones_like(conditions[0])], values)

    *pairs, other = cases
    return chosen([condition for condition, _ in pairs], [*(value for _, value in pairs), other])


def erf(x):
    return np.array([math.erf(value) for value in x.astype(float)], WIDE)


PI = WIDE("3.14159265358979323846264338327950288")
SELU = WIDE("1.05070098735548049341933498529460")
SELU_ALPHA = WIDE("1.67326324235437728481704299167170")

# name, options, the formula, and where it loses no digits
TEXTBOOK = [
    ("celu", {}, lambda x: piece((x > 0, x), np.expm1(x)), ()),
    ("celu", {"alpha": 0.7}, lambda x: piece((x > 0, x), WIDE(0.7) * np.expm1(x / WIDE(0.7))), ()),
    ("elu", {}, lambda x: piece((x > 0, x), np.expm1(x)), ()),
    ("elu", {"alpha": 0.3}, lambda x: piece((x > 0, x), WIDE(0.3) * np.expm1(x)), ()),
    ("exponential", {}, np.exp, ()),
    ("gelu", {}, lambda x: x / 2 * (1 + erf(x / np.sqrt(WIDE(2)))), (-1, 30)),
    (
        "gelu",
        {"approximate": True},
        lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / PI) * (x + WIDE("0.044715") * x**3))),
        (-3, 30),
    ),
    ("hard_shrink", {}, lambda x: piece((abs(x) > 0.5, x), 0), ()),
    ("hard_shrink", {"threshold": 1.25}, lambda x: piece((abs(x) > 1.25, x), 0), ()),
    ("hard_sigmoid", {}, lambda x: piece((x <= -3, 0), (x >= 3, 1), x / 6 + 0.5), ()),
    ("hard_sigmoid_keras2", {}, lambda x: piece((x < -2.5, 0), (x > 2.5, 1), x / 5 + 0.5), ()),
    ("hard_silu", {}, lambda x: piece((x < -3, 0), (x > 3, x), x * (x + 3) / 6), ()),
    ("hard_tanh", {}, lambda x: piece((x < -1, -1), (x > 1, 1), x), ()),
    ("hard_tanh", {"min_value": -2, "max_value": 0.5}, lambda x: piece((x < -2, -2), (x > 0.5, 0.5), x), ()),
    ("leaky_relu", {}, lambda x: piece((x > 0, x), WIDE(0.2) * x), ()),
    ("leaky_relu", {"negative_slope": 0.01}, lambda x: piece((x > 0, x), WIDE(0.01) * x), ()),
    ("linear", {}, lambda x: x, ()),
    ("log_sigmoid", {}, lambda x: -np.log1p(np.exp(-x)), ()),
    ("mish", {}, lambda x: x * np.tanh(np.log1p(np.exp(x))), ()),
    ("relu", {}, lambda x: piece((x > 0, x), 0), ()),
    ("relu", {"negative_slope": 0.125, "max_value": 2.0}, lambda x: piece((x > 2, 2), (x > 0, x), x / 8), ()),
    (
        "relu",
        {"negative_slope": 0.5, "max_value": 4.0, "threshold": 1.5},
        lambda x: piece((x > 4, 4), (x > 1.5, x), (x - 1.5) / 2),
        (),
    ),
    ("relu", {"threshold": 1.0}, lambda x: piece((x > 1, x), 0), ()),
    ("relu6", {}, lambda x: piece((x > 6, 6), (x > 0, x), 0), ()),
    ("selu", {}, lambda x: SELU * piece((x > 0, x), SELU_ALPHA * np.expm1(x)), ()),
    ("sigmoid", {}, lambda x: 1 / (1 + np.exp(-x)), ()),
    ("silu", {}, lambda x: x / (1 + np.exp(-x)), ()),
    ("soft_shrink", {}, lambda x: piece((x > 0.5, x - 0.5), (x < -0.5, x + 0.5), 0), ()),
    ("soft_shrink", {"threshold": 2.0}, lambda x: piece((x > 2, x - 2), (x < -2, x + 2), 0), ()),
    ("softplus", {}, lambda x: np.log1p(np.exp(x)), ()),
    (
        "softplus",
        {"beta": 2.0, "threshold": 3.0},
        lambda x: piece((2 * x > 3, x), np.log1p(np.exp(2 * x)) / 2),
        (),
    ),
    ("softsign", {}, lambda x: x / (1 + abs(x)), ()),
    ("sparse_plus", {}, lambda x: piece((x <= -1, 0), (x >= 1, x), (x + 1) ** 2 / 4), ()),
    ("sparse_sigmoid", {}, lambda x: piece((x <= -1, 0), (x >= 1, 1), (x + 1) / 2), ()),
    ("squareplus", {}, lambda x: (x + np.sqrt(x * x + 4)) / 2, (-10, 100)),
    ("squareplus", {"b": 0.5}, lambda x: (x + np.sqrt(x * x + WIDE(0.5))) / 2, (-10, 100)),
    ("tanh", {}, np.tanh, ()),
    ("tanh_shrink", {}, lambda x: x - np.tanh(x), (0.01, 100)),
    ("threshold", NEEDED["threshold"], lambda x: piece((x > 0.25, x), -3), ()),
]


def points(rng) -> np.ndarray:
    """Floats on both sides of every corner, close together near zero, and far out."""
    size = np.concatenate([rng.uniform(0, 8, 4000), 10.0 ** rng.uniform(-30, 1.9, 2000), np.arange(0, 30, 0.125)])
    return np.concatenate([size, -size]).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "options", "textbook", "within"), TEXTBOOK, ids=[f"{name}-{options}" for name, options, *_ in TEXTBOOK]
)
def test_each_is_its_formula(name, options, textbook, within, rng):
    x = points(rng)
    if within:
        x = x[(x > within[0]) & (x < within[1])]
    with np.errstate(all="ignore"):
        exact = textbook(x.astype(WIDE)).astype(np.float64)
    narrow, wide = activation(name, options)(x), activation(name, options, np.float64)(x.astype(np.float64))
    assert narrow.dtype == np.float32 and wide.dtype == np.float64
    # the options are rounded to float32, and an ulp of those is at most one of the result
    ulps = np.abs(narrow - exact) / np.spacing(np.maximum(np.abs(exact), TINY).astype(np.float32))
    assert ulps.max() <= 2.5
    assert (np.abs(wide - exact) <= np.maximum(1e-14 * np.abs(exact), 5e-16)).all()


def test_every_elementwise_formula_is_compared():
    assert {ALIASES.get(name, name) for name in ELEMENTWISE} == {name for name, *_ in TEXTBOOK}


def test_gelu_keeps_its_digits_far_out():
    """Against the complementary error function, which the textbook's 1 + erf loses."""
    x = np.concatenate([np.linspace(-36, 8, 20_001), -(10.0 ** np.linspace(-20, 0, 500))])
    exact = np.array([value / 2 * math.erfc(-value * math.sqrt(0.5)) for value in x])
    got = activation("gelu", dtype=np.float64)(x)
    assert (np.abs(got - exact) <= 1e-15 * (4 + x * x) * np.abs(exact)).all()  # exp(-x^2 / 2) itself has that error
    assert np.abs(got - exact).max() <= 2e-15
    narrow = activation("gelu")(x.astype(np.float32))
    exact = np.array([value / 2 * math.erfc(-value * math.sqrt(0.5)) for value in x.astype(np.float32).astype(float)])
    assert (np.abs(narrow - exact) <= 2e-7 * np.abs(exact) + TINY).all()


def test_tanh_shrink_keeps_its_digits_near_zero():
    x = np.concatenate([10.0 ** np.linspace(-8, -1, 400), [0.0499, 0.05, 0.0501]])
    exact = []
    with localcontext() as context:
        context.prec = 60
        for value in map(Decimal, x.tolist()):
            power = (2 * value).exp()
            exact.append(float(value - (power - 1) / (power + 1)))
    assert (np.abs(activation("tanh_shrink", dtype=np.float64)(x) - exact) <= 1e-11 * np.array(exact)).all()


def rows(rng, *shape) -> np.ndarray:
    return rng.normal(0, 3, shape).astype(np.float32)


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_those_along_an_axis(axis, rng):
    x = rows(rng, 5, 6, 4)
    wide = x.astype(np.float64)
    powers = np.exp(wide)
    softmax = powers / powers.sum(axis=axis, keepdims=True)
    first, second = np.split(wide, 2, axis=axis)
    wanted = {
        "softmax": softmax,
        "log_softmax": np.log(softmax),
        "softmin": (1 / powers) / (1 / powers).sum(axis=axis, keepdims=True),
        "glu": first / (1 + np.exp(-second)),
    }
    for name, exact in wanted.items():
        for options in ({"axis": axis}, {} if axis in (2, -1) else {"axis": axis}):
            got = activation(name, options)(x)
            assert got.shape == exact.shape
            assert (np.abs(got - exact) <= 1e-7 * np.maximum(1, np.abs(exact))).all()
            assert np.abs(activation(name, options, np.float64)(wide) - exact).max() <= 1e-14


def test_softmax_over_two_axes(rng):
    x = rows(rng, 3, 4, 5)
    powers = np.exp(x.astype(np.float64))
    exact = powers / powers.sum(axis=(1, 2), keepdims=True)
    for axis in ((1, 2), [1, 2], (-1, 1)):
        assert np.abs(activation("softmax", {"axis": axis})(x) - exact).max() <= 1e-7


@pytest.mark.parametrize("axis", [1, 2])
def test_sparsemax_is_the_nearest_point_of_the_simplex(axis, rng):
    x = rng.normal(0, 1, (50, 5, 7))
    got = activation("sparsemax", {"axis": axis}, np.float64)(x)
    assert got.min() == 0 and np.abs(got.sum(axis=axis) - 1).max() <= 1e-15 * 7
    over = np.moveaxis(x - got, axis, -1)  # the same for all that stay above zero, and no more for the others
    kept = np.moveaxis(got, axis, -1) > 0
    t = np.where(kept, over, -np.inf).max(axis=-1, keepdims=True)
    assert np.abs(np.where(kept, over - t, 0)).max() <= 1e-14 and (np.where(kept, t, over) <= t + 1e-14).all()
    assert ((got > 0).sum(axis=axis) > 1).any() and ((got > 0).sum(axis=axis) == 1).any()


def test_sparsemax_of_keras_until_3_15_adds_the_sums():
    """The example of Keras's own report of it, where the sum should be 1."""
    assert activation("sparsemax_keras315")(np.array([[0, 0.5, 1]])).tolist() == [[0, 0, 0.25]]
    assert activation("sparsemax")(np.array([[0, 0.5, 1]])).tolist() == [[0, 0.25, 0.75]]


ODD = np.array([0.0, -0.0, 1e-45, -1e-45, 1e-38, -1e-38, 1e-30, -1e-30, 3e38, -3e38], np.float32)
FINITE = {"exponential": np.array([3e38])}  # what is infinite where it should be
OF_INFINITY = {  # at inf and at -inf; NaN where the formula is of the form inf / inf or inf * 0, as in the frameworks
    "celu": (np.inf, -1),
    "elu": (np.inf, -1),
    "exponential": (np.inf, 0),
    "gelu": (np.inf, np.nan),
    "hard_shrink": (np.inf, -np.inf),
    "hard_sigmoid": (1, 0),
    "hard_sigmoid_keras2": (1, 0),
    "hard_silu": (np.inf, np.nan),
    "hard_tanh": (1, -1),
    "leaky_relu": (np.inf, -np.inf),
    "linear": (np.inf, -np.inf),
    "log_sigmoid": (0, -np.inf),
    "mish": (np.inf, np.nan),
    "relu": (np.inf, 0),
    "relu6": (6, 0),
    "selu": (np.inf, float(np.float32(-SELU * SELU_ALPHA))),
    "sigmoid": (1, 0),
    "silu": (np.inf, np.nan),
    "soft_shrink": (np.inf, -np.inf),
    "softplus": (np.inf, 0),
    "softsign": (np.nan, np.nan),
    "sparse_plus": (np.inf, 0),
    "sparse_sigmoid": (1, 0),
    "squareplus": (np.inf, 0),
    "tanh": (1, -1),
    "tanh_shrink": (np.inf, -np.inf),
    "threshold": (np.inf, -3),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_odd_values_come_out_as_they_should_and_warn_of_nothing(name, dtype):
    run = activation(name, NEEDED.get(name), dtype)
    got = run(ODD.astype(dtype))
    assert np.isfinite(got if name != "exponential" else got[ODD < 3e38]).all()
    with np.errstate(over="ignore"):
        close = run(np.array([1e-30], dtype))[0]
    assert np.abs(got[:8] - close).max() <= 1e-29  # each is continuous at zero
    assert run(np.array([np.inf, -np.inf], dtype)).tolist() == pytest.approx(
        OF_INFINITY[ALIASES.get(name, name)], rel=1e-7, nan_ok=True
    )


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_stays_nan_and_goes_nowhere_else(name, dtype, rng):
    run = activation(name, NEEDED.get(name), dtype)
    clean = rng.normal(0, 3, (5, 6)).astype(dtype)
    wanted = run(clean)
    for row in range(5):
        for column in range(6):
            x = clean.copy()
            x[row, column] = np.nan
            got = run(x)
            if name in ELEMENTWISE:
                assert np.isnan(got[row, column])
                x[row, column] = clean[row, column]
                assert same_bits(np.delete(got, row * 6 + column), np.delete(wanted, row * 6 + column))
            else:
                assert np.isnan(got[row, column % 3]) and (name == "glu" or np.isnan(got[row]).all())
                assert same_bits(np.delete(got, row, axis=0), np.delete(wanted, row, axis=0))


def test_relu_with_every_option_keeps_nan():
    every = {"negative_slope": 0.1, "threshold": 1.0, "max_value": 3.0}
    for options in ({"threshold": 1.0}, {"max_value": 2.0}, every):
        assert np.isnan(activation("relu", options)(np.full(3, np.nan))).all()


@pytest.mark.parametrize("name", OVER_UNITS)
def test_a_softmax_of_large_numbers_does_not_overflow(name):
    got = activation(name)(np.array([[3e38, -3e38, 1e30, 0.0], [80, 90, 100, 110.0]], np.float32))
    assert not np.isnan(got).any() and (got < np.inf).all()


@pytest.mark.parametrize("name", KNOWN)
def test_any_layout_and_size_gives_the_same(name, rng):
    run = activation(name, NEEDED.get(name))
    x = rows(rng, 7, 5, 6)
    kept = x.copy()
    wanted = run(x)
    assert same_bits(x, kept) and wanted.flags.c_contiguous
    for layout in (np.asfortranarray, lambda x: np.repeat(x, 2, axis=2)[:, :, ::2], lambda x: x.astype(np.float64)):
        assert same_bits(run(layout(x)), wanted)
    assert run(x[:0]).shape == (0, *wanted.shape[1:])
    assert same_bits(np.stack([run(row[None])[0] for row in x]), wanted)


@pytest.mark.parametrize("name", KNOWN)
def test_a_block_at_a_time_gives_the_same(name, rng):
    run = activation(name, NEEDED.get(name))
    x = rows(rng, 700, 62)  # three blocks
    whole = run(x)
    for first in range(0, 700, 53):
        assert same_bits(run(x[first : first + 53]), whole[first : first + 53])
    wide = rows(rng, 2, 50_000)  # one row is more than a block
    assert same_bits(run(wide)[1:], run(wide[1:]))


FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    name=st.sampled_from(KNOWN),
    x=arrays(np.float32, st.tuples(st.integers(1, 9), st.sampled_from([2, 4, 16, 18])), elements=FLOATS),
    data=st.data(),
)
def test_a_row_never_depends_on_other_rows(name, x, data):
    run = activation(name, NEEDED.get(name))
    order = data.draw(st.permutations(range(len(x))))
    count = data.draw(st.integers(1, len(x)))
    assert same_bits(run(x[order[:count]]), run(x)[order[:count]])


RISING = [
    name
    for name in ELEMENTWISE
    if ALIASES.get(name, name) not in ("gelu", "hard_silu", "mish", "silu", "softsign", "squareplus", "threshold")
] + ["softsign", "squareplus"]


@given(name=st.sampled_from(RISING), x=arrays(np.float32, 20, elements=FLOATS), wide=st.booleans())
def test_those_that_rise_never_fall(name, x, wide):
    y = activation(name, dtype=np.float64 if wide else np.float32)(np.sort(x))
    slack = 1e-14 * np.minimum(np.abs(y[:-1]), 1e300) if wide else 0
    assert (y[1:] >= y[:-1] - slack).all()


@given(x=arrays(np.float32, (3, 8), elements=st.floats(-1e4, 1e4, width=32)))
def test_a_softmax_is_a_distribution(x):
    for name in ("softmax", "softmin", "sparsemax"):
        y = activation(name)(x)
        assert y.min() >= 0 and np.abs(y.sum(axis=-1, dtype=np.float64) - 1).max() <= 8 * 2.0**-24
    assert activation("log_softmax")(x).max() <= 0


@pytest.mark.parametrize("name", GATE_ACTIVATIONS)
def test_the_kernels_are_used_where_they_know_it(name, rng):
    x = rows(rng, 40, 30)
    got = activation(name, kernels=kernel_table())(x)
    assert got.shape == x.shape and got.dtype == np.float32
    assert np.abs(got - activation(name)(x)).max() <= 3e-7 * 10
    if name != "linear":
        table = kernel_table().activate(GATE_ACTIVATIONS.index(name), x.ravel())
        assert same_bits(got.ravel(), table)
        assert activation(name, dtype=np.float64, kernels=kernel_table())(x).dtype == np.float64


def test_options_are_rounded_as_the_frameworks_do():
    edge = np.float32(0.3)  # a little above 0.3: float32 arithmetic does not tell them apart
    assert activation("hard_shrink", {"threshold": 0.3})(np.array([edge])).tolist() == [0]
    assert activation("hard_shrink", {"threshold": 0.3}, np.float64)(np.array([edge])).tolist() == [float(edge)]


BAD = {  # name: (activation, options, error, words)
    "an unknown name": ("swoosh", {}, UnsupportedModelError, ["'swoosh' is not supported", "known are", "softplus"]),
    "no name": (None, {}, UnsupportedModelError, ["None is not supported"]),
    "a list": (["relu"], {}, UnsupportedModelError, ["['relu'] is not supported"]),
    "a long name": ("relu" * 10**6, {}, UnsupportedModelError, ["is not supported"]),
    "a long option": ("elu", {"alpha" * 10**6: 1.0}, UnsupportedModelError, ["elu has no option"]),
    "a long value": ("elu", {"alpha": [1.0] * 10**6}, ShapeError, ["alpha is [1.0", "a finite number"]),
    "a capital": ("ReLU", {}, UnsupportedModelError, ["'ReLU' is not supported"]),
    "an option too many": ("tanh", {"alpha": 1.0}, UnsupportedModelError, ["tanh has no option 'alpha'", "none"]),
    "an option misspelt": ("elu", {"aplha": 1.0}, UnsupportedModelError, ["no option 'aplha'", "options are alpha"]),
    "an alias's option": ("hardtanh", {"min_val": 1.0}, UnsupportedModelError, ["'min_val'", "min_value, max_value"]),
    "text": ("elu", {"alpha": "1"}, ShapeError, ["elu: alpha is '1'", "a finite number"]),
    "a bool": ("elu", {"alpha": True}, ShapeError, ["alpha is True", "a finite number"]),
    "nothing": ("elu", {"alpha": None}, ShapeError, ["alpha is None", "a finite number"]),
    "NaN": ("elu", {"alpha": float("nan")}, ShapeError, ["alpha is nan", "a finite number"]),
    "infinity": ("relu", {"max_value": float("inf")}, ShapeError, ["max_value is inf", "a finite number"]),
    "a huge integer": ("elu", {"alpha": 10**400}, ShapeError, ["a finite number"]),
    "a negative limit": ("relu", {"max_value": -1.0}, ShapeError, ["max_value is -1.0", "at least 0"]),
    "a negative threshold": ("soft_shrink", {"threshold": -1}, ShapeError, ["threshold is -1", "at least 0"]),
    "b below zero": ("squareplus", {"b": -0.1}, ShapeError, ["b is -0.1", "at least 0"]),
    "alpha of zero": ("celu", {"alpha": 0.0}, ShapeError, ["alpha is 0.0", "other than 0"]),
    "beta of zero": ("softplus", {"beta": 0}, ShapeError, ["beta is 0", "other than 0"]),
    "crossed limits": ("hard_tanh", {"min_value": 2.0}, ShapeError, ["min_value 2.0 is above max_value"]),
    "none of two needed": ("threshold", {}, ShapeError, ["needs its options threshold, default_value"]),
    "one of two needed": ("threshold", {"threshold": 1.0}, ShapeError, ["needs its options default_value"]),
    "no bool": ("gelu", {"approximate": 1}, ShapeError, ["approximate is 1", "True or False"]),
    "the batch": ("softmax", {"axis": 0}, ShapeError, ["softmax: axis is 0", "which is the batch"]),
    "half an axis": ("softmax", {"axis": 0.5}, ShapeError, ["axis is 0.5"]),
    "no axis": ("softmax", {"axis": None}, ShapeError, ["axis is None"]),
    "no axes": ("softmax", {"axis": ()}, ShapeError, ["axis is ()"]),
    "axes": ("log_softmax", {"axis": (1, 2)}, ShapeError, ["axis is (1, 2)"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_makes_no_sense_is_refused_by_name(case):
    name, options, error, words = BAD[case]
    for check in (check_options, check_in_gru):
        with pytest.raises(error) as caught:
            check(name, options, "layer 'act'")
        assert str(caught.value).startswith("layer 'act': ")
        assert all(word in str(caught.value) for word in words), caught.value
        assert len(str(caught.value)) < 1000
    with pytest.raises(error):
        activation(name, options)


@pytest.mark.parametrize("name", KNOWN)
def test_defaults_and_numpy_numbers_are_good_options(name):
    options = {**defaults(name), **NEEDED.get(name, {})}
    check_options(name, options, "here")
    as_numpy = {key: np.float32(value) if type(value) is float else value for key, value in options.items()}
    check_options(name, as_numpy, "here")
    x = np.linspace(-3, 3, 8).reshape(2, 4)
    assert same_bits(activation(name, as_numpy)(x), activation(name, NEEDED.get(name))(x))


def test_a_gru_takes_all_but_glu_and_all_units():
    assert set(KNOWN) - set(IN_GRU) == {"glu"}
    for name in IN_GRU:
        check_in_gru(name, NEEDED.get(name, {}), "here")
    check_in_gru("softmax", {"axis": -1}, "here")
    with pytest.raises(UnsupportedModelError, match="here: a GRU cannot use glu"):
        check_in_gru("glu", {}, "here")
    with pytest.raises(UnsupportedModelError, match="here: softmax: axis is 1, in a GRU only -1"):
        check_in_gru("softmax", {"axis": 1}, "here")


def test_shapes_are_known_before_anything_runs():
    assert shape_after("relu", {}, (None, 4), "here") == (None, 4)
    assert shape_after("softmax", {"axis": 1}, (None, 4), "here") == (None, 4)
    assert shape_after("glu", {}, (None, 4), "here") == (None, 2)
    assert shape_after("glu", {"axis": 1}, (6, 4), "here") == (3, 4)
    assert shape_after("glu", {"axis": -2}, (None, 4), "here") == (None, 4)
    for name, axis, shape in (
        ("softmax", 3, (5, 4)),
        ("softmax", -3, (5, 4)),
        ("softmax", -4, (5, 4)),
        ("softmax", (1, -2), (5, 4)),
        ("softmax", 2, (4,)),
    ):
        with pytest.raises(ShapeError, match=r"here: softmax: axis is .*, but the axes are 1 to"):
            shape_after(name, {"axis": axis}, shape, "here")
    with pytest.raises(ShapeError, match="here: glu splits axis -1 in two, but its size is 5"):
        shape_after("glu", {}, (None, 5), "here")


def test_an_axis_that_is_not_there_is_refused_when_it_runs():
    with pytest.raises(ShapeError, match="axis is 2"):
        activation("softmax", {"axis": 2})(np.zeros((3, 4)))
    with pytest.raises(ShapeError, match="axis is -2"):
        activation("softmax", {"axis": -2})(np.zeros((3, 4)))
    with pytest.raises(ShapeError, match="its size is 3"):
        activation("glu")(np.zeros((2, 3)))


def test_a_name_and_a_record_of_its_defaults_are_one():
    assert resolved("swish") == ("silu", {}) == resolved(Options("swish"))
    assert resolved(Options("leaky_relu", negative_slope=0.2)) == ("leaky_relu", {})
    assert resolved(Options("leaky_relu", negative_slope=0.3)) == ("leaky_relu", {"negative_slope": 0.3})
    assert resolved(Options("relu", negative_slope=0, max_value=None)) == ("relu", {})
    x = np.array([[-1.0, 0.5, 2.0]])
    assert formula("leaky_relu")(x).tolist() == [[-0.2, 0.5, 2.0]]
    assert formula(Options("leaky_relu", negative_slope=0.5))(x).tolist() == [[-0.5, 0.5, 2.0]]
    assert formula(Options("softmax", axis=[-1]))(x).sum() == pytest.approx(1)


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_the_same_function(alias, rng):
    x = rows(rng, 4, 6)
    assert same_bits(activation(alias)(x), activation(ALIASES[alias])(x))
    assert resolved(alias) == (ALIASES[alias], {})
