"""Promise: of few units beyond whole blocks all gates lie in one or two vectors, and nothing else is moved by it."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.engine.pack import last_vectors, pack_matrix


@pytest.mark.parametrize(("units", "length", "last"), [(50, 16, 4), (24, 16, 5), (90, 16, 5), (17, 4, 4), (18, 4, 5)])
def test_the_gates_of_units_beyond_whole_blocks_lie_together(units, length, last):
    assert last_vectors(units, length) == last
    inputs, blocks, beyond = 3, units // length, units % length
    rows = np.arange(1, 3 * units * inputs + 1, dtype=np.float32).reshape(3, units, inputs)
    packed = pack_matrix(rows.reshape(-1, inputs), 3, length, last)
    plain = (blocks - 1) * inputs * 3 * length
    before = rows[:, : (blocks - 1) * length].reshape(-1, inputs).copy()
    assert np.array_equal(packed[:plain], pack_matrix(before, 3, length))
    end = packed[plain:].reshape(inputs, last, length)
    assert packed.ctypes.data % 64 == 0 and packed.size == plain + end.size
    assert np.array_equal(end[:, :3], rows[:, (blocks - 1) * length : blocks * length].transpose(2, 0, 1))
    together = end[:, 3:].reshape(inputs, -1)
    assert np.array_equal(together[:, : 3 * beyond], rows[:, blocks * length :].reshape(3 * beyond, inputs).T)
    assert not together[:, 3 * beyond :].any()


@pytest.mark.parametrize("units", [1, 5, 15, 16, 27, 31, 32, 48, 64])
def test_units_without_a_whole_block_or_with_three_vectors_beyond_are_padded(units):
    assert last_vectors(units, 16) == 0
