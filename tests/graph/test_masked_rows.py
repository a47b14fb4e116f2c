"""Promise: a masked step keeps a GRU's state, wherever it stands, and shows the output before it, or zeros."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from both_ways import floats, model_of
from networks import network
from random_operations import of

from fastgru.graph.builder import Builder
from fastgru.graph.graph import BOOLEAN, INTEGER
from fastgru.graph.operations.along import AlongAxis
from fastgru.graph.operations.product import Embedding
from fastgru.graph.operations.recurrent import GRU

STEPS = 7
MASKS = {
    "all real": np.ones((4, STEPS), bool),
    "behind": np.arange(STEPS) < np.array([[7], [3], [0], [1]]),
    "in front": np.arange(STEPS) >= np.array([[0], [3], [7], [6]]),
    "among them": np.array([[1, 0, 1, 1, 0, 0, 1], [0] * 7, [0, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]], bool),
    "none real": np.zeros((4, STEPS), bool),
}


@pytest.mark.parametrize("zero_masked", [False, True])
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_a_masked_row_gives_what_its_real_steps_give_alone(
    name: str, begun: bool, layers: int, directions: int, zero_masked: bool
) -> None:
    gru, real, x = network(5, 9, layers, directions), MASKS[name], floats(4, STEPS, 5)
    states = (floats(layers * directions, 4, 9),) if begun else ()
    builder = Builder()
    values = [builder.input("x", x.shape), builder.input("real", real.shape, BOOLEAN)]
    values += [builder.input("h0", state.shape) for state in states]
    made = builder.add(GRU(gru, True, zero_masked), *values)
    model = model_of(builder.finish(tuple(value.place for value in made)))
    y, h = model(x, real, *states)
    plain = GRU(gru)
    for row in range(4):
        steps = np.flatnonzero(real[row])
        first = tuple(state[:, row : row + 1] for state in states)
        if not steps.size:
            np.testing.assert_array_equal(y[row], 0)
            np.testing.assert_array_equal(h[:, row], first[0][:, 0] if first else 0)
            continue
        alone = x[row : row + 1, steps]
        outputs, last = model_of(of(plain, alone.shape, *(state.shape for state in first)))(alone, *first)
        np.testing.assert_array_equal(h[:, row], last[:, 0])
        for step in range(STEPS):
            before = np.flatnonzero(steps <= step)
            shown = real[row, step] or (before.size and not zero_masked)
            np.testing.assert_array_equal(y[row, step], outputs[0, before[-1]] if shown else 0)


def test_a_pickled_model_takes_the_rows_of_a_table_as_its_original_does() -> None:
    """NumPy's own pickles give arrays a dtype that is equal to float32, and not the same object."""
    builder = Builder()
    words = builder.add(Embedding(floats(6, 5)), builder.input("ids", (2, 3), INTEGER))
    model = model_of(builder.finish((builder.add(AlongAxis("softmax"), words).place,)))
    ids = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(ids)[0], model(ids)[0])
