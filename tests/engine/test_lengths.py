"""Promise: each row runs over its own length, in any order; padding is neither read nor timed, and y is zero there."""

from __future__ import annotations

import time

import numpy as np
import pytest
from networks import batched_reference, largest_difference, network, numbers, same_bits, states_of

from fastgru import GRU
from fastgru.engine.reduced import REDUCED

KINDS = [("float32", "packed", 1e-6), ("float32", "blas", 1e-6), ("float64", "blas", 1e-12)]
LENGTHS = {
    "unsorted": [3, 11, 1, 7, 11, 2, 5],
    "rising": [1, 2, 3, 4, 5, 6, 7],
    "falling": [11, 9, 8, 5, 3, 2, 1],
    "equal": [6] * 7,
    "all one": [1] * 7,
    "all whole": [11] * 7,
    "one long": [1, 1, 1, 11, 1, 1, 1],
}


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(kind[:2]))
def kind(request):
    return request.param


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("directions", "reset_after"), [(1, True), (2, True), (2, False)])
def test_every_row_ends_at_its_own_length(kind, lengths, directions, reset_after, n_threads):
    precision, backend, bound = kind
    spec = network(3, 17, 2, directions, reset_after=reset_after, dtype=np.dtype(precision).type)
    gru = GRU(spec, precision=precision, backend=backend, n_threads=n_threads)
    x, h0 = numbers(7, 11, 3, dtype=precision), numbers(states_of(spec), 7, 17, dtype=precision)
    y, h = gru(x, h0, lengths)
    assert largest_difference((y, h), batched_reference(spec, x, h0, lengths)) <= bound
    for row, length in enumerate(lengths):
        assert not y[row, length:].any()
        y_alone, h_alone = gru(x[row, :length], h0[:, row])
        assert largest_difference((y[row, :length], h[:, row]), (y_alone, h_alone)) <= bound


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e38])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(
    ("precision", "backend"), [kind[:2] for kind in KINDS] + [(precision, "packed") for precision in REDUCED]
)
def test_what_lies_in_the_padding_does_not_matter(precision, backend, directions, garbage):
    gru = GRU(network(3, 17, 2, directions), precision=precision, backend=backend)
    lengths = np.array(LENGTHS["unsorted"])
    x = numbers(7, 11, 3, dtype=gru.dtype)
    y, h = gru(x, lengths=lengths)
    x[np.arange(11) >= lengths[:, None]] = garbage
    y_padded, h_padded = gru(x, lengths=lengths)
    assert same_bits(y_padded, y) and same_bits(h_padded, h)


def test_lengths_can_be_any_integers(kind):
    precision, backend, _ = kind
    gru = GRU(network(3, 5), precision=precision, backend=backend)
    x = numbers(3, 6, 3)
    wanted = gru(x, lengths=[2, 6, 1])
    for lengths in (
        (2, 6, 1),
        np.array([2, 6, 1], np.int8),
        np.array([2, 6, 1], np.uint64),
        np.array([2, 6, 1], ">i4"),
        np.array([2, 0, 6, 0, 1, 0])[::2],
        [np.int32(2), 6, np.uint8(1)],
    ):
        assert all(same_bits(*pair) for pair in zip(gru(x, lengths=lengths), wanted, strict=True))


def test_lengths_are_not_changed(kind):
    precision, backend, _ = kind
    lengths, x = np.array([2, 6, 1]), numbers(3, 6, 3)
    lengths.flags.writeable = x.flags.writeable = False
    GRU(network(3, 5), precision=precision, backend=backend)(x, lengths=lengths)
    assert lengths.tolist() == [2, 6, 1]


def test_one_sequence_takes_one_length(kind):
    precision, backend, _ = kind
    gru = GRU(network(3, 5), precision=precision, backend=backend)
    x = numbers(6, 3)
    y, h = gru(x[:4])
    for length in (4, [4], np.int64(4)):
        y_part, h_part = gru(x, lengths=length)
        assert same_bits(y_part[:4], y) and same_bits(h_part, h) and not y_part[4:].any()


def test_no_time_is_spent_on_padding():
    gru = GRU(network(64, 128), backend="packed", n_threads=1)
    x = numbers(16, 200, 64)

    def seconds(lengths) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            gru(x, lengths=lengths)
            times.append(time.perf_counter() - start)
        return min(times)

    whole = seconds([200] * 16)
    assert seconds([10] * 16) < whole / 3  # a twentieth of the steps
    assert seconds([200] + [1] * 15) < whole / 3  # one row of sixteen
