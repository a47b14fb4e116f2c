"""Sizes are arithmetic that agrees with numbers, and layouts deal the same elements to other shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgru.errors import CheckpointError, ShapeError
from fastgru.graph.layout import BATCH, Mixed, Rows, Steps, broadcast, regrouped
from fastgru.graph.parse import size_of
from fastgru.graph.size import evaluate, extreme, product, quotient, smallest, substitute, symbol

VALUES = {"batch": 3, "steps": 7, "size_1": 5}
LEAVES = st.one_of(st.integers(-20, 20), st.sampled_from(sorted(VALUES)).map(symbol))


@st.composite
def sizes(draw, depth=3):
    """A size, and the number that Python makes of the same arithmetic."""
    if depth == 0 or draw(st.booleans()):
        size = draw(LEAVES)
        return size, evaluate(size, VALUES)
    (one, first), (other, second) = draw(sizes(depth - 1)), draw(sizes(depth - 1))
    kind = draw(st.sampled_from(["+", "-", "*", "//", "%", "max", "min"]))
    if kind in ("//", "%"):
        divisor = draw(st.integers(1, 9))
        return (one // divisor, first // divisor) if kind == "//" else (one % divisor, first % divisor)
    if kind in ("max", "min"):
        return extreme(kind, one, other), max(first, second) if kind == "max" else min(first, second)
    return {"+": one + other, "-": one - other, "*": one * other}[kind], {
        "+": first + second, "-": first - second, "*": first * second}[kind]  # fmt: skip


@given(sizes())
def test_a_size_is_the_number_that_its_arithmetic_gives(pair):
    size, number = pair
    assert evaluate(size, VALUES) == number
    assert substitute(size, VALUES) == number


@given(sizes())
def test_a_size_is_read_again_as_it_is_written(pair):
    size, number = pair
    assert evaluate(size_of(str(size), "here"), VALUES) == number


@given(sizes())
def test_the_smallest_number_of_a_size_is_no_larger_than_any(pair):
    size, number = pair
    assert number < 0 or smallest(size) <= max(number, 0) or isinstance(size, int)


@given(sizes(2), sizes(2))
def test_equal_polynomials_are_equal_objects(one, other):
    first, second = one[0], other[0]
    assert (first + second) * 2 == second * 2 + first * 2
    assert first - first == 0


@given(st.lists(st.sampled_from([2, 3, 4, symbol("batch"), symbol("steps")]), max_size=4), st.data())
def test_a_quotient_times_its_divisors_is_what_was_divided(parts, data):
    divisors = data.draw(st.lists(st.sampled_from(parts), max_size=3) if parts else st.just([]))
    found = quotient(parts, divisors)
    assert found is None or found * product(divisors) == product(parts)


@pytest.mark.parametrize(
    "text", ["", "batch +", "__import__('os')", "steps ** 2", "1 // 0", "x" * 5000, "(" * 500 + "1" + ")" * 500, "1.5",
             "steps if steps else 1", "[1]", "a.b", "f(1)", "9" * 4000]
)  # fmt: skip
def test_a_text_that_says_no_size_is_refused(text):
    with pytest.raises((CheckpointError, ShapeError)):
        squared(text)


def squared(text):
    made = size_of(text, "here")
    return product([made, made])


def grown(size, grow, times):
    for turn in range(times):
        size = grow(size, turn)


def test_sizes_that_overflow_are_refused():
    steps = symbol("steps")
    with pytest.raises(ShapeError):
        product([2**30, 2**30, steps, 2**30])
    with pytest.raises(ShapeError):
        grown(steps, lambda size, turn: (size + turn) * (size + symbol(f"s{turn}")), 200)
    with pytest.raises(ShapeError):
        grown(steps, lambda size, turn: (size + 1) // 2, 100)


LENGTHS = np.array([5, 2, 4])


def test_the_real_elements_stay_real_through_every_view():
    batch, steps = symbol("batch"), symbol("steps")
    layout, shape = ((BATCH,), (Steps(),), (4,)), (batch, steps, 4)
    values = {"batch": 3, "steps": 5}
    real = np.broadcast_to(Rows(layout, {"steps": LENGTHS}).real((3, 5, 4)), (3, 5, 4))
    for new in ((batch * steps, 4), (batch, steps * 4), (batch, steps, 2, 2), (batch * steps, 2, 2),
                (batch * steps * 4,),
                (batch, 1, steps, 4), (batch * steps, 1, 4)):  # fmt: skip
        made = regrouped(layout, shape, new)
        numbers = [evaluate(size, values) for size in new]
        seen = np.broadcast_to(Rows(made, {"steps": LENGTHS}).real(numbers), numbers)
        assert np.array_equal(seen.ravel(), real.ravel())
        back = Rows(regrouped(made, new, shape), {"steps": LENGTHS}).real((3, 5, 4))
        assert np.array_equal(np.broadcast_to(back, (3, 5, 4)), real)


@pytest.mark.parametrize(
    "new", [(symbol("steps"), symbol("batch"), 4), (12, -1), (symbol("batch"), 2, 2 * symbol("steps"))]
)
def test_a_view_that_tears_the_batch_or_the_steps_is_mixed(new):
    batch, steps = symbol("batch"), symbol("steps")
    with pytest.raises((Mixed, ShapeError)):
        regrouped(((BATCH,), (Steps(),), (4,)), (batch, steps, 4), new)


def test_axes_that_are_not_alike_are_not_joined():
    assert broadcast([((BATCH,), (Steps(),)), ((), (7,))]) == ((BATCH,), (Steps(),))
    for one, other in (((BATCH,), (Steps(),)), ((BATCH,), (5,)), ((Steps(),), (Steps(symbol("steps") + 1),))):
        with pytest.raises(Mixed):
            broadcast([(one,), (other,)])
