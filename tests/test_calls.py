"""Promise: a model called with arrays that fit as they lie gives what it gives in any other way."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from layer_examples import chain
from networks import network, numbers, same_bits

from fastgru import DTypeError, FastGRUError, Model, ShapeError
from fastgru.layers import Dense, Embedding, GRULayer, Input, Last, ModelSpec, Node

NODES = (Node("gru", GRULayer(network(4, 6)), ("x",)), Node("last", Last(), ("gru",)))
SPECS = {
    "one": chain(GRULayer(network(4, 6)), Last(), Dense(numbers(3, 6))),
    "several": ModelSpec((Input("x", (None, 4)),), NODES, ("gru", "last")),
    "named": ModelSpec((Input("x", (None, 4)),), NODES, ("last", "gru"), ("score", "steps")),
}


def arrays(made: Any) -> list[np.ndarray]:
    return [*made.values()] if isinstance(made, dict) else [*made] if isinstance(made, tuple) else [made]


@pytest.mark.parametrize("name", SPECS)
def test_every_way_to_give_an_array_gives_the_same_bits(name: str) -> None:
    model, x = Model(SPECS[name]), numbers(3, 5, 4).astype(np.float32)
    wanted = arrays(model(x))
    model(x)
    assert len(model._runner.callers) == int(model._runner._compiles)
    wide = np.repeat(x, 2, axis=2)[:, :, ::2]
    for given in (x, x.copy(), x.tolist(), x.astype(np.float64), wide, np.asfortranarray(x), [x], {"x": x}):
        if isinstance(given, dict):
            given = {model.sources[0].name: x}
        if isinstance(given, list) and isinstance(given[0], np.ndarray):
            continue  # a list is an array with one axis more
        made = model(given)
        assert type(made) is type(model(x)) and all(map(same_bits, arrays(made), wanted))
        if isinstance(made, dict):
            assert list(made) == ["score", "steps"]
    assert all(map(same_bits, arrays(model(x, lengths=[5, 5, 5])), wanted))
    for row in range(3):
        assert all(same_bits(one, two[row].copy()) for one, two in zip(arrays(model(x[row])), wanted, strict=True))
    for part in arrays(model(x)):
        part[...] = 7
    assert all(map(same_bits, arrays(model(x)), wanted))


def test_what_does_not_fit_is_refused_after_calls_that_did() -> None:
    model, x = Model(SPECS["one"]), numbers(3, 5, 4).astype(np.float32)
    for _ in range(3):
        model(x)
    for bad in (x[..., :3], x[:, :0], "x", None, x.astype(str), np.ma.masked_array(x, x > 0), x.astype(complex)):
        with pytest.raises(FastGRUError):
            model(bad)
    with pytest.raises(ShapeError):
        model(x, x, x)


def test_integers_beyond_their_range_are_refused_in_a_program() -> None:
    nodes = (Node("words", Embedding(numbers(9, 4)), ("x",)), Node("gru", GRULayer(network(4, 6)), ("words",)))
    model, ids = Model(ModelSpec((Input("x", (None,), True),), nodes, ("gru",))), np.array([[1, 2, 8]])
    for _ in range(3):
        wanted = model(ids)
    assert same_bits(model(ids.astype(np.int32)), wanted)
    for wrong in (9, -1, 1 << 40):
        with pytest.raises(ShapeError, match="wanted 0 to 8"):
            model(np.array([[1, wrong, 3]]))
    with pytest.raises(DTypeError):
        model(ids + 0.5)
    assert same_bits(model(ids), wanted)


def test_many_threads_call_one_model() -> None:
    model, wrong = Model(chain(GRULayer(network(4, 70)), Dense(numbers(3, 70))), n_threads=1), []
    inputs = [numbers(batch, 40, 4, seed=batch).astype(np.float32) for batch in (1, 2, 9, 64)]
    wanted = [model(x) for x in inputs]

    def work(first: int) -> None:
        for turn in range(40):
            place = (first + turn) % len(inputs)
            if not same_bits(model(inputs[place]), wanted[place]):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
