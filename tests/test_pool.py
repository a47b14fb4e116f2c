"""Promise of ``Pool``: every stream has the bits of a stream of its own, and a mistake changes nothing."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from layer_examples import chain
from networks import network, numbers, same_bits

from fastgru import DTypeError, FastGRUError, Model, Pool, ShapeError, StreamInUseError, UnsupportedModelError
from fastgru.graph.builder import Builder
from fastgru.graph.operations.elementwise import Binary
from fastgru.graph.operations.recurrent import GRU
from fastgru.graph.operations.shape import Permute
from fastgru.graph.size import symbol
from fastgru.layers import (
    Add,
    Concatenate,
    Conv1D,
    Dense,
    Embedding,
    GRULayer,
    Input,
    Last,
    Mean,
    ModelSpec,
    Node,
)
from fastgru.model import as_tuple
from fastgru.streams.batch import Batches

OPTIONS = [{}, {"precision": "int8"}, {"precision": "float64"}]


def several() -> ModelSpec:
    """Two inputs, integers among them, a causal convolution, two outputs and a residual."""
    nodes = (
        Node("text", Embedding(numbers(9, 4)), ("ids",)),
        Node("both", Concatenate(2), ("x", "text")),
        Node("conv", Conv1D(numbers(6, 7, 3), numbers(6), padding="causal"), ("both",)),
        Node("gru", GRULayer(network(6, 6, layers=2)), ("conv",)),
        Node("sum", Add(), ("conv", "gru")),
        Node("last", Last(), ("gru",)),
        Node("out", Dense(numbers(5, 6)), ("last",)),
    )
    return ModelSpec((Input("x", (None, 3)), Input("ids", (None,), True)), nodes, ("sum", "out"))


def time_major() -> Any:
    builder = Builder()
    x = builder.input("x", (symbol("steps"), symbol("batch"), 4))
    y, h = builder.add(GRU(network(4, 5)), builder.add(Permute((1, 0, 2)), x))
    return builder.finish((builder.add(Permute((1, 0, 2)), y).place, h.place))


SPECS = {
    "layers": lambda: chain(GRULayer(network(4, 70)), Dense(numbers(3, 70))),
    "last": lambda: chain(GRULayer(network(4, 5, layers=2)), Last()),
    "several": several,
    "time first": time_major,
}


def inputs(model: Model, batch: int, steps: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    made = []
    for source in model.sources:
        shape = source.sizes(batch, steps)
        whole = source.kind == "integer"
        made.append(rng.integers(0, 9, shape) if whole else rng.standard_normal(shape).astype(np.float32))
    return made


def given(arrays: list[np.ndarray]) -> Any:
    """As the only argument of a model."""
    return arrays[0] if len(arrays) == 1 else arrays


def axes_of_step(model: Model) -> list[int]:
    """Where the rows are in each output of a step."""
    axes = []
    for place in model._runner.outputs:
        steps, batch = model._streamed.axes.get(place), model.batch_axis(place)
        axes.append(batch - (steps is not None and steps < batch))
    return axes


def of_step(model: Model, arrays: list[np.ndarray], rows: Any, step: int) -> Any:
    """One step of some rows."""
    found = []
    for source, array in zip(model.sources, arrays, strict=True):
        part = array.take(step, axis=source.steps)
        found.append(part.take(rows, axis=source.batch - (source.steps < source.batch)))
    return given(found)


def alike(model: Model, one: Any, other: Any) -> bool:
    pairs = list(zip(as_tuple(one), as_tuple(other), strict=True))
    if model.precision == "float64":
        return all(np.allclose(a, b, atol=1e-12) for a, b in pairs)
    return all(same_bits(np.ascontiguousarray(a), np.ascontiguousarray(b)) for a, b in pairs)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_any_group_of_streams_has_the_bits_of_streams_of_their_own(name: str, options: dict[str, Any]) -> None:
    model = Model(SPECS[name](), **options)
    pool, rng = model.pool(40), np.random.default_rng(5)
    alone: dict[int, Any] = {}
    for turn in range(25):
        if len(pool) < 30 and turn % 3 == 0:
            for each in pool.join(int(rng.integers(1, 10))):
                alone[int(each)] = model.stream()
        ids = rng.permutation(list(alone))[: rng.integers(1, len(alone) + 1)]
        x = inputs(model, len(ids), 1, turn)
        made = as_tuple(pool.step(ids, of_step(model, x, range(len(ids)), 0)))
        for row, each in enumerate(ids):
            wanted = alone[int(each)].step(of_step(model, x, [row], 0))
            parts = tuple(part.take([row], axis) for part, axis in zip(made, axes_of_step(model), strict=True))
            assert alike(model, parts, wanted), (turn, row)
        if turn % 4 == 1:
            gone = ids[: len(ids) // 3]
            if len(gone):
                pool.leave(gone)
            for each in gone:
                del alone[int(each)]
        if turn % 5 == 2 and alone:
            again = list(alone)[:2]
            pool.reset(again)
            for each in again:
                alone[each].reset()
        for each, stream in alone.items():
            assert alike(model, pool.state([each]), stream.state)
    assert len(pool) == len(alone)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_sequences_of_unequal_length_go_on_from_the_states(name: str, options: dict[str, Any]) -> None:
    model = Model(SPECS[name](), **options)
    pool = model.pool(8)
    ids = pool.join(6)
    streams = [model.stream() for _ in ids]
    for turn, lengths in enumerate(([1, 5, 70, 3, 64, 5], [2, 2, 2, 2, 2, 2])):
        order = [4, 0, 2, 1, 5, 3]
        sequences, wanted = [], []
        for row in order:
            arrays = inputs(model, 1, lengths[row], 10 * turn + row)
            alone = [array.take(0, axis=source.batch) for source, array in zip(model.sources, arrays, strict=True)]
            sequences.append(given(alone))
            wanted.append(as_tuple(streams[row].run(given(arrays))))
        made = pool.run(ids[order], sequences)
        for place, row in enumerate(order):
            axes = [model.batch_axis(each) for each in model._runner.outputs]
            parts = [part.take(0, axis=axis) for part, axis in zip(wanted[place], axes, strict=True)]
            got = as_tuple(made[place])
            assert all(
                np.allclose(a, b, atol=1e-12) if model.precision == "float64" else np.array_equal(a, b)
                for a, b in zip(got, parts, strict=True)
            ), (turn, row)
    for each, stream in zip(ids, streams, strict=True):
        assert alike(model, pool.state([each]), stream.state)


def test_more_streams_than_step_together_at_once() -> None:
    model = Model(SPECS["layers"]())
    pool, stream, x = model.pool(3000), model.stream(2500), numbers(2500, 4)
    ids = pool.join(2500)
    for _ in range(2):
        assert same_bits(pool.step(ids, x), stream.step(x))
    room = np.empty((2500, 3), np.float32)
    assert pool.step(ids, x, out=room) is room and same_bits(room, stream.step(x))


def small() -> tuple[Model, Pool, np.ndarray]:
    model = Model(SPECS["layers"]())
    pool = model.pool(5)
    ids = pool.join(4)
    pool.step(ids, numbers(4, 4))
    return model, pool, ids


def test_a_mistaken_id_is_an_error_before_anything_changes() -> None:
    _, pool, ids = small()
    before, x = pool.state(ids), numbers(3, 4)
    pool.leave(ids[3])
    bad = [
        [ids[0], ids[1], ids[0]], [ids[0], ids[1], ids[3]], [ids[0], ids[1], -1], [ids[0], ids[1], 1 << 62],
        [ids[0], ids[1], 2.0], [[ids[0]], [ids[1]], [ids[2]]], "abc", [ids[0], ids[1], None],
    ]  # fmt: skip
    for wrong in bad:
        for act in (
            lambda wrong=wrong: pool.step(wrong, x),
            lambda wrong=wrong: pool.leave(wrong),
            lambda wrong=wrong: pool.reset(wrong),
            lambda wrong=wrong: pool.state(wrong),
            lambda wrong=wrong: pool.run(wrong, [x, x, x]),
        ):
            with pytest.raises((FastGRUError, ValueError), match=r"ids|whole|integer"):
                act()
    for wrong_x in (x[:2], numbers(3, 5), "x", numbers(3, 1, 4)):
        with pytest.raises(FastGRUError, match="x: "):
            pool.step(ids[:3], wrong_x)
    for out in (np.empty((2, 3), np.float32), np.empty((3, 3)), "x"):
        with pytest.raises(ShapeError, match="out: "):
            pool.step(ids[:3], x, out=out)
    with pytest.raises(ShapeError, match="sequences: got 2, wanted 3"):
        pool.run(ids[:3], [x, x])
    with pytest.raises(ShapeError, match="sequences: 1: "):
        pool.run(ids[:3], [x, numbers(3, 5), x])
    with pytest.raises(ShapeError, match="got none"):
        pool.step([], np.empty((0, 4), np.float32))
    with pytest.raises(ShapeError, match="3 of at most 5"):
        pool.join(3)
    for n in (0, -1, 1.5, "x"):
        with pytest.raises(FastGRUError, match="n: "):
            pool.join(n)
    assert len(pool) == 3 and pool.capacity == 5
    assert all(map(same_bits, pool.state(ids[:3]), (each[:, :3].copy() for each in before)))
    new = pool.join(2)
    assert not {*new.tolist()} & {*ids.tolist()} and not any(state.any() for state in pool.state(new))


@pytest.mark.parametrize("capacity", [0, -3, 1.5, "x", None])
def test_a_capacity_is_a_whole_number(capacity: Any) -> None:
    with pytest.raises(FastGRUError, match="capacity: "):
        Model(SPECS["layers"]()).pool(capacity)


def test_what_has_no_row_for_every_stream_has_no_pool() -> None:
    with pytest.raises(UnsupportedModelError, match="mean of all steps"):
        Model(chain(GRULayer(network(4, 5)), Mean())).pool(3)


def test_first_states_are_given_to_those_who_join() -> None:
    builder = Builder()
    x, h = builder.input("x", (symbol("batch"), symbol("steps"), 4)), builder.input("h", (1, symbol("batch"), 5))
    y, _ = builder.add(GRU(network(4, 5)), x, h)
    model = Model(builder.finish(y.place))
    pool, first, x = model.pool(9), numbers(1, 3, 5), numbers(3, 4)
    with pytest.raises(ShapeError, match="wanted the inputs h"):
        pool.join(3)
    ids, stream = pool.join(3, h=first), model.stream(3, h=first)
    for _ in range(2):
        assert same_bits(pool.step(ids, x), stream.step(x))
    other = numbers(1, 1, 5, seed=4)
    pool.reset(ids[1], h=other)
    assert same_bits(pool.state(ids[1])[0], other) and same_bits(pool.state(ids[2])[0], stream.state[0][:, 2:].copy())


def test_an_input_of_first_states_may_be_one_of_every_step_too() -> None:
    builder = Builder()
    batch, steps = symbol("batch"), symbol("steps")
    x, h = builder.input("x", (batch, steps, 4)), builder.input("h", (1, batch, 5))
    y, _ = builder.add(GRU(network(4, 5)), x, h)
    shift = builder.add(Permute((1, 0, 2)), h)  # one place of steps for all of them
    model = Model(builder.finish(builder.add(Binary("add"), y, shift).place))
    x0, h0 = numbers(3, 6, 4), numbers(1, 3, 5)
    pool = model.pool(7)
    ids, whole, stream = pool.join(3, h=h0), model(x0, h0), model.stream(3, h=h0)
    for t in range(6):
        made = pool.step(ids, x0[:, t], h0)
        assert same_bits(made, whole[:, t].copy()) and same_bits(made, stream.step(x0[:, t], h0))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, TimeoutError])
def test_a_call_that_ends_in_an_exception_changes_no_stream(error: Any, monkeypatch) -> None:
    _, pool, ids = small()
    before, x, put = pool.state(ids), numbers(4, 4), Batches.give

    def ended(*given: Any) -> None:
        put(*given)
        raise error

    monkeypatch.setattr(Batches, "give", ended)
    for act in (lambda: pool.step(ids, x), lambda: pool.run(ids, [x] * 4)):
        with pytest.raises(error):
            act()
    monkeypatch.setattr(Batches, "give", put)
    assert all(map(same_bits, pool.state(ids), before))
    pool.step(ids, x)
    pool.leave(ids)


def test_many_threads_each_with_its_own_streams() -> None:
    model = Model(SPECS["layers"](), n_threads=1)
    pool, wrong = model.pool(200), []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        ids, stream = pool.join(20), model.stream(20)
        for turn in range(30):
            x = rng.standard_normal((20, 4)).astype(np.float32)
            order = rng.permutation(20)
            made = np.empty((20, 3), np.float32)
            for part in np.array_split(order, 3):
                made[part] = pool.step(ids[part], x[part])
            if not same_bits(made, stream.step(x)):
                wrong.append((seed, turn))
        pool.leave(ids)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(pool) == 0


def test_streams_that_another_call_has_are_left_alone(monkeypatch) -> None:
    _, pool, ids = small()
    inside, go_on, take = threading.Event(), threading.Event(), Pool._taken

    def held(*given: Any, **named: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go_on.wait(20)
        return take(*given, **named)

    monkeypatch.setattr(Pool, "_taken", held)
    x = numbers(4, 4)
    thread = threading.Thread(target=pool.step, args=(ids[:2], x[:2]))
    thread.start()
    assert inside.wait(20)
    try:
        for act in (
            lambda: pool.step(ids, x), lambda: pool.leave(ids[1]), lambda: pool.reset(ids[0]),
            lambda: pool.state(ids[:1]), lambda: pool.run(ids[1:3], [x, x]),
        ):  # fmt: skip
            with pytest.raises(StreamInUseError, match="another thread"):
                act()
        pool.step(ids[2:], x[2:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python and of frameworks, that there are other threads
            child = os.fork() if hasattr(os, "fork") else None
        if child == 0:  # where nobody is at work
            try:
                pool.step(ids, x)
                os._exit(0)
            except BaseException:
                os._exit(3)
        assert child is None or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        go_on.set()
        thread.join()
    pool.step(ids, x)


def test_integers_beyond_their_range_are_an_error_of_the_call() -> None:
    model = Model(several())
    pool = model.pool(3)
    ids = pool.join(2)
    before = pool.state(ids)
    with pytest.raises(ShapeError, match="wanted 0 to 8"):
        pool.step(ids, [numbers(2, 3), np.array([1, 9])])
    with pytest.raises(DTypeError):
        pool.step(ids, [numbers(2, 3), np.array([1.5, 2])])
    assert all(map(same_bits, pool.state(ids), before))
