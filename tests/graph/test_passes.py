"""Promise: a graph that is rewritten to do less gives the bits of the one that was given."""

from __future__ import annotations

import numpy as np
import pytest
from networks import network, numbers, same_bits

from fastgru import Model
from fastgru.graph.builder import Builder
from fastgru.graph.graph import Graph
from fastgru.graph.operations.parts import Select
from fastgru.graph.operations.recurrent import GRU
from fastgru.graph.passes import rewritten
from fastgru.graph.size import symbol


def last_step(layers: int, directions: int = 1, axis: int = 1, index: int = -1, both: bool = False) -> Graph:
    builder = Builder()
    x = builder.input("x", (symbol("batch"), symbol("steps"), 4))
    y, _ = builder.add(GRU(network(4, 70, layers, directions)), x)
    last = builder.add(Select(axis, index), y)
    return builder.finish((last.place, y.place) if both else last.place)


@pytest.mark.parametrize("lengths", [None, [9, 4, 1]])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_last_step_is_the_final_state_of_the_last_layer(layers: int, lengths: list[int] | None) -> None:
    alone, both, x = Model(last_step(layers)), Model(last_step(layers, both=True)), numbers(3, 9, 4)
    assert alone._runner.graph.nodes[-1].operation == Select(0, layers - 1)
    assert alone.graph.nodes[-1].operation == Select(1, -1)
    for _ in range(3):
        last, y = both(x, lengths=lengths)
        ends = np.array(lengths or [9] * 3) - 1
        assert same_bits(alone(x, lengths=lengths), last) and same_bits(last, y[np.arange(3), ends])


@pytest.mark.parametrize("options", [{"directions": 2}, {"axis": 2}, {"index": 0}, {"index": -2}])
def test_other_places_are_taken_from_the_steps(options: dict[str, int]) -> None:
    graph = last_step(1, **options)
    assert rewritten(graph) == graph
    model, x = Model(graph), numbers(2, 5, 4)
    whole = Model(last_step(1, **options, both=True))(x)
    for _ in range(3):
        assert same_bits(model(x), whole[0])


def test_no_steps_are_kept_where_only_the_last_is_wanted() -> None:
    x = numbers(4, 5000, 4)
    sizes = []
    for both in (False, True):
        model = Model(last_step(1, both=both), n_threads=1)
        model(x)
        model(x)
        (compiled,) = model._runner._compiled.values() if model._runner._compiles else (None,)
        if compiled is None:
            pytest.skip("there are no programs without vector kernels")
        (stretch,) = compiled.steps
        sizes.append(stretch.program.nbytes)
        assert len(stretch.outputs) == 1 + both
    assert sizes[0] < 4 * 5000 * 70 * 4 // 2  # half of what the steps take
