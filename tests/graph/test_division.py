"""Promise: a model whose rows threads share out gives the bits of one thread, and says the same errors."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from both_ways import floats, model_of
from hypothesis import assume, given
from hypothesis import strategies as st
from networks import network, run_python

import fastgru
from fastgru import ShapeError
from fastgru.graph.builder import Builder
from fastgru.graph.division import ROWS, pieces_of
from fastgru.graph.graph import Graph
from fastgru.graph.operations.convolution import Convolution
from fastgru.graph.operations.elementwise import Binary
from fastgru.graph.operations.normalization import Normalize
from fastgru.graph.operations.parts import Slice
from fastgru.graph.operations.product import Embedding, Linear
from fastgru.graph.operations.recurrent import GRU
from fastgru.graph.operations.reduce import Reduce
from fastgru.graph.operations.shape import Permute, View
from fastgru.graph.size import symbol
from fastgru.options import kernel_table

pytestmark = pytest.mark.skipif(kernel_table().vector_length == 1, reason="no kernels, and so no programs")

BATCH, STEPS = symbol("batch"), symbol("steps")
BATCHES = [4, 5, 7, 16, 37, 64, 65, 129, 200]


def tagger() -> Graph:
    builder = Builder()
    made = builder.add(Embedding(floats(50, 20)), builder.input("words", (BATCH, STEPS), "integer"))
    y, _ = builder.add(GRU(network(20, 12, 1, 2)), made)
    y = builder.add(Linear(floats(9, 24)), builder.add(Normalize((-1,), floats(24), floats(24)), y))
    return builder.finish(y.place)


def of_two_inputs() -> Graph:
    """A sequence and first states; an output has rows and steps on one axis."""
    builder = Builder()
    x = builder.input("x", (BATCH, STEPS, 6))
    h = builder.input("h", (1, BATCH, 8))
    y, states = builder.add(GRU(network(6, 8)), x, h)
    wide = builder.add(View((BATCH * STEPS, 8)), y)
    return builder.finish((y.place, states.place, builder.add(Linear(floats(3, 8)), wide).place))


def of_two_layers() -> Graph:
    """The states of two layers have the rows inside, so it is not divided."""
    builder = Builder()
    y, states = builder.add(GRU(network(6, 8, 2)), builder.input("x", (BATCH, STEPS, 6)))
    return builder.finish((y.place, states.place))


def with_time_first() -> Graph:
    builder = Builder()
    x = builder.add(Permute((1, 0, 2)), builder.input("x", (STEPS, BATCH, 6)))
    y, _ = builder.add(GRU(network(6, 8)), x)
    return builder.finish(builder.add(Permute((1, 0, 2)), y).place)


def over_the_rows() -> Graph:
    """What takes rows together."""
    builder = Builder()
    y, _ = builder.add(GRU(network(6, 8)), builder.input("x", (BATCH, STEPS, 6)))
    return builder.finish(builder.add(Binary("sub"), y, builder.add(Reduce("mean", (0,), True), y)).place)


def arrays(graph: Graph, batch: int, steps: int = 9) -> dict[str, np.ndarray]:
    made: dict[str, Any] = {}
    rng = np.random.default_rng(batch)
    for source in graph.inputs:
        tensor = graph.tensors[source.value]
        shape = [{"batch": batch, "steps": steps}.get(str(size), size) for size in tensor.shape]
        made[source.name] = (
            rng.integers(0, 50, shape) if tensor.dtype == "integer" else rng.standard_normal(shape).astype(np.float32)
        )
    return made


def listed(made: Any) -> list[np.ndarray]:
    return list(made) if isinstance(made, tuple) else [made]


def programs(runner: Any) -> list[Any]:
    return [step.program for made in runner._compiled.values() for step in made.steps if not isinstance(step, int)]


def test_pieces_have_the_bits_of_one_thread() -> None:
    for make, is_divided in [(tagger, True), (of_two_inputs, True), (of_two_layers, False), (with_time_first, False)]:
        graph = make()
        one, two = model_of(graph), model_of(graph, n_threads=2)
        for batch in BATCHES:
            given = arrays(graph, batch)
            wanted = listed(one(given))
            for _ in range(3):
                got = listed(two(given))
                assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True)), (make, batch)
        two_cores = fastgru.threads.available() > 1
        assert all(each.is_divided == (is_divided and two_cores) for each in programs(two._runner)), make


def test_one_thread_goes_through_pieces_where_all_rows_leave_no_room_near_it(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = tagger()
    with monkeypatch.context() as patched:
        patched.setattr("fastgru.graph.division.WHOLE_BYTES", 1 << 40)
        whole, few = model_of(graph, n_threads=1), arrays(graph, 3)
        wanted = {batch: [whole(arrays(graph, batch, steps=40)) for _ in range(3)] for batch in (31, 40, 67, 128)}
    model = model_of(graph, n_threads=1)
    for batch, made in wanted.items():
        given = arrays(graph, batch, steps=40)
        assert all(np.array_equal(model(given), each) for each in made)
    assert [each.is_divided for each in programs(whole._runner)] == [False] * 4
    assert [each.is_divided for each in programs(model._runner)] == [False, True, True, True]
    assert np.array_equal(model(few), whole(few))


def test_rows_that_are_taken_together_are_not_divided() -> None:
    two = model_of(over_the_rows(), n_threads=2)
    x = np.random.default_rng(0).standard_normal((16, 9, 6)).astype(np.float32)
    wanted = two({"x": x})
    assert all(np.allclose(two({"x": x}), wanted) for _ in range(3)) and np.abs(wanted.mean(axis=0)).max() < 1e-6
    assert not any(program.is_divided for program in programs(two._runner))


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_every_precision_is_divided_alike(precision: str) -> None:
    graph = tagger()
    one, two = (model_of(graph, n_threads=threads, precision=precision) for threads in (1, 2))
    given = arrays(graph, 37)
    assert all(np.array_equal(one(given), two(given)) for _ in range(3))


def test_an_array_of_a_model_of_one_input_is_divided_too() -> None:
    graph = tagger()
    one, two = model_of(graph), model_of(graph, n_threads=2)
    words = np.random.default_rng(0).integers(0, 50, (256, 60))
    for _ in range(4):
        assert np.array_equal(two(words), one(words))


def test_a_number_that_is_no_row_is_the_same_error() -> None:
    for row in (0, 40, 66):
        words = np.zeros((67, 60), np.int64)
        words[row, 5] = 50
        model = model_of(tagger(), n_threads=2)
        for _ in range(3):
            model(np.zeros_like(words))
            for called in (words, {"words": words}):
                with pytest.raises(ShapeError, match="got the integer 50, wanted 0 to 49"):
                    model(called)


def test_a_stream_and_a_pool_of_many_rows_are_divided() -> None:
    builder = Builder()
    y, _ = builder.add(GRU(network(24, 40)), builder.input("x", (BATCH, STEPS, 24)))
    graph = builder.finish(builder.add(Linear(floats(9, 40)), y).place)
    one, two = model_of(graph), model_of(graph, n_threads=2)
    x = np.random.default_rng(1).standard_normal((6, 150, 24)).astype(np.float32)
    streams, pool = [one.stream(150), two.stream(150)], two.pool(200)
    ids = pool.join(150)
    for step in x:
        wanted, got = (stream.step(step) for stream in streams)
        assert np.array_equal(got, wanted) and np.array_equal(pool.step(ids, step), wanted)
    for other in (streams[1].state, pool.state(ids)):
        assert all(map(np.array_equal, other, streams[0].state))
    if fastgru.threads.available() > 1:
        assert any(program.is_divided for program in programs(two._streamed.runner))


SHORT = """
import numpy as np, sys
sys.path[:0] = [{tests!r}, {tests!r} + "/graph"]
from test_division import network, tagger, model_of
from fastgru import Model
from fastgru.layers import Dense, GRULayer, sequential
import fastgru.threads
fastgru.threads.available = lambda: 2
graph = tagger()
one, two = model_of(graph), model_of(graph, n_threads=2)
for batch in (4, 31, 96, 120, 200):
    words = np.random.default_rng(batch).integers(0, 50, (batch, 2))
    assert all(np.array_equal(two(words), one(words)) for _ in range(5)), batch
for inputs, units in ((3, 2), (16, 32), (64, 128)):
    spec = sequential([("g", GRULayer(network(inputs, units))), ("d", Dense(np.ones((4, units), np.float32)))])
    for batch in (4, 5, 6, 19, 100, 200):
        for precision in ("float32", "int8"):
            one, two = (Model(spec, n_threads=threads, precision=precision) for threads in (1, 2))
            streams, pool = [one.stream(batch), two.stream(batch)], two.pool(batch)
            ids = pool.join(batch)
            for x in np.random.default_rng(batch).standard_normal((30, batch, inputs)).astype(np.float32):
                wanted, got = (stream.step(x) for stream in streams)
                assert np.array_equal(wanted, got) and np.array_equal(pool.step(ids, x), wanted)
print("same")
"""


def test_runs_that_are_too_short_for_threads_stay_within_their_memory() -> None:
    """They go through the whole program, though it is divided; malloc looks for what was written beside blocks."""
    result = run_python(SHORT.format(tests=str(Path(__file__).parent.parent)), MALLOC_CHECK_="3", MALLOC_PERTURB_="7")
    assert result.stdout.strip() == "same", result.stderr[-2000:]


def test_many_callers_at_once_have_the_same_bits() -> None:
    graph = tagger()
    two = model_of(graph, n_threads=2)
    given = [np.random.default_rng(place).integers(0, 50, (64, 40)) for place in range(3)]
    wanted = [model_of(graph)(each) for each in given]
    wrong: list[Any] = []

    def call(place: int) -> None:
        try:
            for _ in range(30):
                if not np.array_equal(two(given[place]), wanted[place]):
                    wrong.append(place)
        except BaseException as error:
            wrong.append(error)

    callers = [threading.Thread(target=call, args=(place,)) for place in range(3)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not wrong


def test_threads_that_the_system_refuses_are_done_without() -> None:
    code = """
import resource, warnings
import numpy as np
import sys
sys.path[:0] = [{tests!r}, {tests!r} + "/graph"]
from test_division import tagger, model_of
import fastgru.threads
fastgru.threads.available = lambda: 2
graph = tagger()
words = np.random.default_rng(0).integers(0, 50, (256, 60))
wanted = model_of(graph)(words)
two = model_of(graph, n_threads=2)
two(words)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    print(all(np.array_equal(two(words), wanted) for _ in range(3)))
"""
    assert run_python(code.format(tests=str(Path(__file__).parent.parent))).stdout.strip() == "True"


def test_the_times_of_a_divided_program_are_those_of_one_thread() -> None:
    graph = tagger()
    two = model_of(graph, n_threads=2)
    words = np.random.default_rng(0).integers(0, 50, (64, 20))
    two(words), two(words)
    (program,) = programs(two._runner)
    seconds: list[Any] = []
    (made,) = program.run([words], two._runner.arenas, seconds)
    assert len(seconds) == len(program) and np.array_equal(made, two(words))


@given(st.integers(4, 5000), st.integers(1, 64))
def test_pieces_cover_all_rows(batch: int, threads: int) -> None:
    assume(batch >= 2 * threads)
    rows, count = pieces_of(batch, threads)
    assert 0 < batch - (count - 1) * rows <= rows <= 2 * ROWS
    assert count >= 2 or threads == 1


def test_convolutions_are_divided_with_their_rows() -> None:
    builder = Builder()
    made = builder.add(Convolution(floats(5, 6, 3), floats(5)), builder.input("x", (BATCH, STEPS, 6)))
    y, _ = builder.add(GRU(network(5, 12)), made)
    graph = builder.finish(builder.add(Slice(1, -1), y).place)
    one, two = model_of(graph), model_of(graph, n_threads=2)
    for batch in BATCHES:
        given = arrays(graph, batch)
        assert all(np.array_equal(one(given), two(given)) for _ in range(3))
