"""What int8 keeps of a matrix is kept again: a file of it gives the bits that rounding gave."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import same_bits

from fastgru.engine.reduced import int8, is_kept, widened
from fastgru.errors import UnsupportedModelError

LARGEST = np.finfo(np.float32).max


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 12), st.integers(-30, 30), st.booleans())
def test_numbers_and_steps_come_back(seed: int, rows: int, columns: int, exponent: int, double: bool) -> None:
    random = np.random.default_rng(seed)
    weights = random.standard_normal((rows, columns)) * 10.0**exponent
    matrix = weights if double else weights.astype(np.float32)
    numbers, steps = int8(matrix, "w")
    made = widened(matrix, "int8", "w")
    again, same_steps = int8(made, "w")
    assert (numbers == again).all() and same_bits(steps, same_steps)
    assert same_bits(widened(made, "int8", "w"), made) and is_kept(made, "int8")


def test_every_step_that_would_come_back_as_its_neighbour() -> None:
    bits = np.float32(1.5).view(np.uint32) + np.arange(4096, dtype=np.uint32)
    for extent in (bits.view(np.float32), bits.view(np.float32) * np.float32(127)):
        made = widened(np.stack([extent, extent * np.float32(0.3)], axis=1), "int8", "w")
        assert same_bits(widened(made, "int8", "w"), made)


@pytest.mark.parametrize(
    "value", [0.0, 1e-45, 1e-38, 1e-36, float(LARGEST), float(np.nextafter(LARGEST, np.float32(0)))]
)
def test_the_ends_of_float32(value: float) -> None:
    made = widened(np.full((3, 2), value, np.float32), "int8", "w")
    assert np.isfinite(made).all() and same_bits(widened(made, "int8", "w"), made)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e39, -1e300])
def test_weights_without_int8_are_named(value: float) -> None:
    with pytest.raises(UnsupportedModelError, match=r"weight_hh_l0: .*(NaN or infinite|beyond float32)"):
        int8(np.array([[1.0, value]]), "weight_hh_l0")
