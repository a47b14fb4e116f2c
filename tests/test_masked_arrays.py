"""Masked arrays of NumPy are refused wherever an array is taken: what is behind a mask is no number to compute with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import network

import fastgru
from fastgru.layers import Dense, Embedding, GRULayer, sequential

GRU = fastgru.GRU(network(3, 4))
MODEL = fastgru.Model(sequential([("gru", GRULayer(network(3, 4))), ("fc", Dense(np.ones((2, 4), np.float32)))]))
WORDS = fastgru.Model(sequential([("words", Embedding(np.ones((5, 3), np.float32))), ("gru", GRULayer(network(3, 4)))]))


def masked(*shape: int, dtype: Any = np.float32) -> np.ma.MaskedArray[Any, Any]:
    array = np.ma.masked_array(np.ones(shape, dtype), mask=False)
    array[(0,) * len(shape)] = np.ma.masked
    return array


TAKES: dict[str, Callable[[], Any]] = {
    "gru": lambda: GRU(masked(2, 5, 3)),
    "gru, float64": lambda: GRU(masked(2, 5, 3, dtype=np.float64)),
    "gru, a list of rows": lambda: GRU([np.ones((5, 3)), masked(5, 3)]),
    "gru, a list of lists": lambda: GRU([[masked(3)] * 5]),
    "gru, first state": lambda: GRU(np.ones((2, 5, 3)), masked(1, 2, 4)),
    "gru, lengths": lambda: GRU(np.ones((2, 5, 3)), lengths=masked(2, dtype=np.int64)),
    "model": lambda: MODEL(masked(2, 5, 3)),
    "model, lengths": lambda: MODEL(np.ones((2, 5, 3)), lengths=masked(2, dtype=np.int64)),
    "model of integers": lambda: WORDS(masked(2, 5, dtype=np.int64)),
    "stream": lambda: GRU.stream().step(masked(3)),
    "stream of several": lambda: GRU.stream(2).step(masked(2, 3)),
    "stream, state": lambda: setattr(GRU.stream(), "state", masked(1, 1, 4)),
    "stream of a model": lambda: MODEL.stream().step(masked(3)),
    "stream of a model of integers": lambda: WORDS.stream(2).step(masked(2, dtype=np.int64)),
    "float64": lambda: fastgru.GRU(network(3, 4), precision="float64").stream().step(masked(3, dtype=np.float64)),
}


@pytest.mark.parametrize("name", TAKES)
def test_a_masked_array_is_refused(name: str) -> None:
    with pytest.raises(fastgru.DTypeError, match=r"got a masked array, whose mask would be lost; pass x\.filled"):
        TAKES[name]()


def test_an_array_that_masks_nothing_is_what_it_is() -> None:
    x = np.ones((2, 5, 3), np.float32)
    for given in (np.ma.masked_array(x), np.ma.masked_array(x, mask=np.zeros(x.shape, bool))):
        assert np.array_equal(GRU(given)[0], GRU(x)[0])
        assert np.array_equal(MODEL(given), MODEL(x))
