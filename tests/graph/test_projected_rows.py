"""Promise: a GRU over rows of a table gives the bits of the two layers apart, and projects a row once."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from both_ways import assert_same, compiled, floats, in_numpy, model_of, numbers
from networks import LEVELS, network, run_python

from fastgru import GRUSpec, ShapeError
from fastgru.engine.program import ProjectedRows
from fastgru.graph.builder import Builder
from fastgru.graph.operations import recurrent
from fastgru.graph.operations.product import Embedding, Linear
from fastgru.graph.operations.recurrent import GRU
from fastgru.graph.operations.shape import Permute, View
from fastgru.graph.size import symbol
from fastgru.model import Model
from fastgru.options import kernel_table

pytestmark = pytest.mark.skipif(kernel_table().vector_length == 1, reason="no kernels, and so no programs")

BATCH, STEPS = symbol("batch"), symbol("steps")
ROWS = 70
SHAPES = [(1, 1), (1, 19), (3, 7), (9, 2), (70, 5)]


def over_words(gru: GRUSpec, first_state: bool = False, **options: Any) -> Model:
    """A GRU over an Embedding."""
    builder = Builder()
    made = builder.add(Embedding(floats(ROWS, gru.input_size)), builder.input("words", (BATCH, STEPS), "integer"))
    states = (gru.num_layers * gru.directions, BATCH, gru.hidden_size)
    more = [builder.input("h", states)] if first_state else []
    y, h = builder.add(GRU(gru), made, *more)
    return model_of(builder.finish((y.place, h.place)), **options)


def words(*shape: int) -> np.ndarray:
    return numbers.integers(0, ROWS, shape)


def tables(model: Model) -> list[ProjectedRows]:
    return [made for _, made in model._runner.setup._made.values() if isinstance(made, ProjectedRows)]


NETWORKS = [
    network(16, 19, 2, 2), network(16, 3), network(40, 24, 1, 2, reset_after=False), network(17, 70, 3),
    network(20, 5, 1, 2, activation="relu"),
]  # fmt: skip
PRECISIONS = ["float32", "float16", "bfloat16", "int8"]


def compare(gru: GRUSpec, precision: str) -> None:
    for first_state in (False, True):
        model = over_words(gru, first_state, precision=precision)
        for shape in SHAPES:
            arrays = {"words": words(*shape)}
            if first_state:
                arrays["h"] = floats(gru.num_layers * gru.directions, shape[0], gru.hidden_size)
            assert_same(compiled(model, arrays), in_numpy(model, arrays))
            lengths = numbers.integers(1, shape[1] + 1, shape[0])
            assert_same(compiled(model, arrays, lengths), in_numpy(model, arrays, lengths))
        assert len(tables(model)) == 1


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("gru", NETWORKS, ids=lambda gru: f"{gru.input_size}x{gru.hidden_size}x{gru.num_layers}")
def test_the_bits_are_those_of_both_layers_apart(gru: GRUSpec, precision: str) -> None:
    compare(gru, precision)


CODE = """
import sys
sys.path[:0] = [{tests!r}, {tests!r} + "/graph"]
from test_projected_rows import NETWORKS, PRECISIONS, compare
for gru in NETWORKS:
    for precision in PRECISIONS:
        compare(gru, precision)
print("compared")
"""


@pytest.mark.parametrize("level", LEVELS)
def test_so_are_those_of_every_kernel_level(level: str) -> None:
    result = run_python(CODE.format(tests=str(Path(__file__).parent.parent)), FASTGRU_ISA=level)
    assert result.stdout == "compared\n", result.stderr


def test_teams_of_threads_give_the_same_bits() -> None:
    builder = Builder()
    made = builder.add(Embedding(floats(ROWS, 32)), builder.input("words", (BATCH, STEPS), "integer"))
    graph = builder.finish((builder.add(GRU(network(32, 128, 1, 2)), made)[0].place,))
    alone, together = (model_of(graph, n_threads=threads) for threads in (1, 4))
    for shape in [(1, 40), (2, 40), (33, 10)]:
        arrays = {"words": words(*shape)}
        assert_same(compiled(together, arrays), compiled(alone, arrays))
        assert_same(compiled(together, arrays), in_numpy(alone, arrays))


@pytest.mark.parametrize("lies", ["steps first", "words of characters", "one number"])
def test_integers_may_lie_in_any_order(lies: str) -> None:
    builder, gru, table = Builder(), network(16, 9), Embedding(floats(ROWS, 16))
    if lies == "steps first":
        made = builder.add(Permute((1, 0, 2)), builder.add(table, builder.input("words", (STEPS, BATCH), "integer")))
    elif lies == "one number":
        made = builder.add(table, builder.input("words", (1, 1), "integer"))
    else:
        rows = builder.add(table, builder.input("words", (BATCH, 4, STEPS), "integer"))
        made = builder.add(View((4 * BATCH, STEPS, 16)), rows)
    model = model_of(builder.finish(tuple(each.place for each in builder.add(GRU(gru), made))))
    for shape in [(6, 3), (5, 5)]:
        shape = (1, 1) if lies == "one number" else (2, 4, shape[1]) if lies == "words of characters" else shape
        arrays = {"words": words(*shape)}
        assert_same(compiled(model, arrays), in_numpy(model, arrays))
    assert len(tables(model)) == (lies != "one number")  # which is a step of a stream


def test_what_another_layer_reads_too_is_made_as_well() -> None:
    builder = Builder()
    made = builder.add(Embedding(floats(ROWS, 16)), builder.input("words", (BATCH, STEPS), "integer"))
    y, _ = builder.add(GRU(network(16, 16)), made)
    z, _ = builder.add(GRU(network(16, 5)), made)
    model = model_of(builder.finish((y.place, z.place)))
    arrays = {"words": words(4, 6)}
    assert_same(compiled(model, arrays), in_numpy(model, arrays))
    assert not tables(model)


def test_what_another_view_of_it_was_read_by_is_made_as_well() -> None:
    builder = Builder()
    made = builder.add(Embedding(floats(ROWS, 16)), builder.input("words", (STEPS, BATCH), "integer"))
    scores = builder.add(Linear(floats(5, 16)), made)
    y, _ = builder.add(GRU(network(16, 9)), builder.add(Permute((1, 0, 2)), made))
    model = model_of(builder.finish((scores.place, y.place)))
    arrays = {"words": words(6, 3)}
    assert_same(compiled(model, arrays), in_numpy(model, arrays))
    (compiled_for,) = model._runner._compiled.values()
    assert len(compiled_for.steps) == 1 and not tables(model)


def test_one_network_over_two_tables_keeps_them_apart() -> None:
    builder, gru = Builder(), GRU(network(16, 9))
    outputs = []
    for name in ("left", "right"):
        made = builder.add(Embedding(floats(ROWS, 16)), builder.input(name, (BATCH, STEPS), "integer"))
        outputs.append(builder.add(gru, made)[0].place)
    model = model_of(builder.finish(tuple(outputs)))
    arrays = {"left": words(4, 6), "right": words(4, 6)}
    assert_same(compiled(model, arrays), in_numpy(model, arrays))
    assert len(tables(model)) == 2


@pytest.mark.parametrize("wrong", [-1, ROWS, 1 << 40, -(1 << 62)])
def test_an_integer_that_is_no_row_is_an_error_that_names_the_table(wrong: int) -> None:
    model, given = over_words(network(16, 9)), words(3, 4)
    right = compiled(model, {"words": given})
    given[2, 1] = wrong
    with pytest.raises(ShapeError, match=f"layer 'embedding': got the integer {wrong}, wanted 0 to {ROWS - 1}"):
        model(given)
    given[2, 1] = 0
    assert [each.shape for each in model(given)] == [each.shape for each in right]


def test_only_rows_that_were_met_are_made_and_few_features_or_large_tables_have_none() -> None:
    model = over_words(network(16, 9, 1, 2))
    compiled(model, {"words": np.array([[3, 5, 3, 3], [5, 5, 9, 9]])})
    (table,) = tables(model)
    made = table.nbytes // 3
    assert table.nbytes == 3 * made > 0
    compiled(model, {"words": np.array([[3, 8, 3, 3], [5, 5, 9, 9]])})
    assert table.nbytes == 4 * made
    few = over_words(network(recurrent.MIN_FEATURES - 1, 9))
    compiled(few, {"words": words(2, 3)})
    assert not tables(few)


def test_a_table_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is counted, with the units up to whole vectors."""
    plan = GRU(network(16, 9, 1, 2)).prepare(over_words(network(16, 9))._runner.setup).stack._plan  # type: ignore[attr-defined]
    nbytes = ROWS * 2 * 3 * plan.width * 4
    for least, kept in ((nbytes, 1), (nbytes - 1, 0)):
        monkeypatch.setattr(recurrent, "MAX_PROJECTED_BYTES", least)
        model = over_words(network(16, 9, 1, 2))
        compiled(model, {"words": np.arange(ROWS).reshape(2, -1)})
        assert len(tables(model)) == kept
        assert all(table.nbytes == nbytes for table in tables(model))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_thread_that_a_forked_child_has_not_holds_nobody_up() -> None:
    model = over_words(network(64, 48))
    given = {"words": words(8, 12)}
    compiled(model, {"words": given["words"][:, :2]})
    (table,) = tables(model)
    assert table.owner == 0
    table.owner = os.getppid()  # as if the parent's thread had been copying rows
    assert_same(compiled(model, given), in_numpy(model, given))
    assert table.owner == 0


def test_threads_that_meet_rows_at_the_same_time_all_get_them() -> None:
    model = over_words(network(64, 48))
    given = [{"words": words(8, 12)} for _ in range(8)]
    wanted = [in_numpy(model, each) for each in given]
    for each in given:
        compiled(model, each)
    found: list[Any] = [None] * len(given)
    for _ in range(20):
        model._runner.setup._made.clear()
        model._runner._compiled.clear()
        model._runner.callers.clear()
        threads = [
            threading.Thread(target=lambda k=k: found.__setitem__(k, compiled(model, given[k])))
            for k in range(len(given))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for got, right in zip(found, wanted, strict=True):
            assert_same(got, right)
