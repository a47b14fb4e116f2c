"""Promise, for shapes and options nobody thought of: equal to the reference, and each row independent of its batch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import PAIRED, batched_reference, largest_difference, network, numbers, rounded, same_bits, states_of

from fastgru import GRU, threads
from fastgru.engine.dispatch import chosen
from fastgru.engine.packed import PRECISIONS
from fastgru.layers import GATE_ACTIVATIONS

BOUNDED = [name for name in GATE_ACTIVATIONS if name not in ("linear", "relu")]  # the others may grow without end
EXACT = ["float16"] if chosen() in PAIRED else ["float16", "bfloat16"]  # what rounds nothing but weights


@st.composite
def cases(draw):
    """A network, an input, a first state and lengths, any of the last two perhaps None."""
    inputs, hidden = draw(st.integers(1, 40)), draw(st.integers(1, 70))
    layers, directions = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2]))
    options = {
        "reset_after": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "activation": draw(st.sampled_from(BOUNDED)),
        "recurrent_activation": draw(st.sampled_from(BOUNDED[1:])),
        "seed": draw(st.integers(0, 9)),
    }
    spec = network(inputs, hidden, layers, directions, **options)
    batch, steps = draw(st.integers(1, 20)), draw(st.integers(1, 12))
    x = numbers(batch, steps, inputs)
    h0 = np.tanh(numbers(states_of(spec), batch, hidden)) if draw(st.booleans()) else None
    lengths = draw(st.none() | st.lists(st.integers(1, steps), min_size=batch, max_size=batch))
    return spec, x, h0, lengths


@settings(max_examples=120)
@given(cases(), st.integers(1, 4), st.sampled_from(["packed", "blas"]))
def test_results_equal_the_reference(case, n_threads, backend):
    spec, x, h0, lengths = case
    got = GRU(spec, n_threads=n_threads, backend=backend)(x, h0, lengths)
    assert largest_difference(got, batched_reference(spec, x, h0, lengths)) <= 2e-6  # inputs to 40 sqrt(hidden)


@settings(max_examples=60)
@given(cases(), st.integers(1, 4), st.sampled_from(EXACT), st.sampled_from(["packed", "blas"]))
def test_reduced_weights_equal_the_reference_with_those_weights(case, n_threads, precision, backend):
    spec, x, h0, lengths = case
    got = GRU(spec, precision=precision, n_threads=n_threads, backend=backend)(x, h0, lengths)
    assert largest_difference(got, batched_reference(rounded(spec, precision), x, h0, lengths)) <= 2e-6


@settings(max_examples=120)
@given(cases(), st.integers(1, 4), st.sampled_from(PRECISIONS), st.data())
def test_a_row_does_not_depend_on_its_batch(case, n_threads, precision, data):
    spec, x, h0, lengths = case
    gru = GRU(spec, precision=precision, n_threads=n_threads, backend="packed")
    y, h = gru(x, h0, lengths)
    rows = data.draw(st.lists(st.integers(0, len(x) - 1), min_size=1, max_size=12))
    some = (None if h0 is None else h0[:, rows], None if lengths is None else [lengths[row] for row in rows])
    y_some, h_some = gru(x[rows], *some)
    assert same_bits(y_some, y[rows]) and same_bits(h_some, h[:, rows])


@settings(max_examples=60)
@given(cases(), st.sampled_from(PRECISIONS), st.data())
def test_chunks_join_without_a_seam(case, precision, data):
    spec, x, h0, _ = case
    if spec.directions == 2:
        return
    gru = GRU(spec, precision=precision, backend="packed")
    y, h = gru(x, h0)
    cuts = sorted(data.draw(st.lists(st.integers(1, x.shape[1]), max_size=3)))
    parts, state = [], h0
    for first, last in zip([0, *cuts], [*cuts, x.shape[1]], strict=True):
        if first < last:
            part, state = gru(x[:, first:last], state)
            parts.append(part)
    assert same_bits(np.concatenate(parts, axis=1), y) and same_bits(state, h)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=200), st.integers(1, 40))
def test_shares_cover_every_row_once_and_are_balanced(lengths, wanted):
    ends = np.array(sorted(lengths, reverse=True), dtype=np.intp)
    n_threads = min(wanted, len(ends))
    shares = threads.shares_of(ends, n_threads)
    assert shares.dtype == np.intp and len(shares) == n_threads + 1
    assert shares[0] == 0 and shares[-1] == len(ends) and (np.diff(shares) >= 0).all()
    work = [int(ends[a:b].sum()) for a, b in pairwise(shares)]
    assert max(work) <= ends.sum() / n_threads + ends.max()
