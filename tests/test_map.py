"""Promise of ``map``: what each sequence gives alone, in order, for any lengths and in bounded memory."""

from __future__ import annotations

import io
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_examples import EXAMPLES
from networks import network, numbers, same_bits
from numpy.testing import assert_array_equal
from random_graphs import random_graph
from random_operations import random_operations

import fastgru.threads
from fastgru import GRU, DTypeError, FastGRUError, Model, ShapeError, ragged, terminal
from fastgru.graph.builder import Builder
from fastgru.graph.graph import FLOAT, Graph, leaves
from fastgru.graph.operations.elementwise import Binary
from fastgru.graph.size import symbol
from fastgru.layers import (
    Add,
    Conv1D,
    Dense,
    Embedding,
    Flatten,
    GRULayer,
    Input,
    Last,
    MaxPooling1D,
    Mean,
    ModelSpec,
    Node,
    Reverse,
)
from fastgru.model import as_tuple
from fastgru.ragged_runs import ModelRuns

FEATURES, HIDDEN = 4, 9
LENGTHS = [5, 1, 30, 7, 7, 2, 19, 1, 30, 12]


def sequence(steps: int, seed: int = 0) -> np.ndarray:
    return numbers(steps, FEATURES, seed=seed)


SEQUENCES = [sequence(steps, place) for place, steps in enumerate(LENGTHS)]


def dense(outputs: int, inputs: int) -> Dense:
    return Dense(0.3 * numbers(outputs, inputs), numbers(outputs), "tanh")


def model_of(*layers: Any, shape: tuple[int | None, ...] = (None, FEATURES), integers: bool = False) -> Model:
    nodes = [Node(f"layer{at}", layer, ("x" if at == 0 else f"layer{at - 1}",)) for at, layer in enumerate(layers)]
    return Model(ModelSpec((Input("x", shape, integers),), tuple(nodes), (nodes[-1].name,)))


def tagger() -> Model:
    return model_of(GRULayer(network(FEATURES, HIDDEN, 1, 2)), dense(3, 2 * HIDDEN))


def classifier() -> Model:
    return model_of(GRULayer(network(FEATURES, HIDDEN)), Last(), dense(3, HIDDEN))


def translator() -> Model:
    """Two inputs with steps of their own and one without, and outputs with names."""
    gru = GRULayer(network(FEATURES, HIDDEN))
    return Model(
        ModelSpec(
            (Input("source", (None, FEATURES)), Input("target", (None, FEATURES)), Input("speaker", (2,))),
            (
                Node("read", gru, ("source",)),
                Node("last", Last(), ("read",)),
                Node("write", gru, ("target",)),
                Node("voice", dense(HIDDEN, 2), ("speaker",)),
                Node("both", Add(), ("last", "voice")),
            ),
            ("both", "write", "write"),
            ("summary", "text", "again"),
        )
    )


def assert_same(got: Any, wanted: Any) -> None:
    assert type(got) is type(wanted)
    assert not isinstance(got, dict) or list(got) == list(wanted)
    for one, other in zip(as_tuple(got), as_tuple(wanted), strict=True):
        assert same_bits(np.asarray(one), np.asarray(other))


def assert_as_alone(model: Any, items: list[Any]) -> None:
    made = list(model.map(items))
    assert len(made) == len(items)
    for got, item in zip(made, items, strict=True):
        assert_same(got, model(item))


@pytest.mark.parametrize("n_threads", [None, 1, 2])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 2)])
def test_a_gru_gives_the_bits_of_each_sequence_alone(layers, directions, precision, n_threads):
    gru = GRU(network(FEATURES, 33, layers, directions), precision=precision)
    for got, x in zip(gru.map(SEQUENCES, n_threads=n_threads), SEQUENCES, strict=True):
        y, h = gru(x)
        assert same_bits(got[0], y) and same_bits(got[1], np.ascontiguousarray(h))


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_every_layer_gives_the_bits_of_each_sequence_alone(kind, rng):
    for spec in EXAMPLES[kind]:
        model, items, wanted = Model(spec), [], []
        for steps in rng.integers(1, 25, 40):
            item = {}
            for source in spec.inputs:
                shape = [int(steps) if size is None else size for size in source.shape]
                item[source.name] = rng.integers(0, 5, shape) if source.integers else numbers(*shape, seed=steps)
            try:
                wanted.append(model(item))
            except ShapeError:
                with pytest.raises(ShapeError, match="sequence 0: "):
                    list(model.map([item]))
                continue
            items.append(item)
        assert len(items) >= 30
        for got, alone in zip(model.map(items), wanted, strict=True):
            assert_same(got, alone)


@pytest.mark.parametrize("make", [tagger, classifier], ids=["tagger", "classifier"])
def test_models_of_layers(make):
    assert_as_alone(make(), SEQUENCES)
    assert_as_alone(make(), [x.astype(np.float64) for x in SEQUENCES])


def test_integers():
    model = model_of(
        Embedding(numbers(11, FEATURES)), GRULayer(network(FEATURES, HIDDEN)), shape=(None,), integers=True
    )
    assert_as_alone(model, [np.arange(steps) % 11 for steps in LENGTHS])
    assert_as_alone(model, [[1, 2, 3], [4], [10, 0]])
    with pytest.raises(ShapeError, match=r"sequence 2: .*got the integer 11, wanted 0 to 10"):
        list(model.map([[1, 2], [1], [11], [3, 4, 5]]))


def test_several_inputs_and_outputs_with_names():
    model = translator()
    items = [
        {"source": sequence(steps), "target": sequence(31 - steps), "speaker": numbers(2, seed=steps)}
        for steps in LENGTHS
    ]
    assert_as_alone(model, items)
    assert_as_alone(model, [tuple(item.values()) for item in items])
    first = next(model.map(items))
    assert not np.shares_memory(first["text"], first["again"])


def test_layers_that_change_the_number_of_steps():
    convolution = Conv1D(numbers(6, FEATURES, 3), numbers(6), "relu", 2, "valid", 1, 1)
    model = model_of(convolution, MaxPooling1D(2, 2), GRULayer(network(6, HIDDEN)))
    items = [x for x in SEQUENCES if len(x) >= 5]
    assert_as_alone(model, items)
    with pytest.raises(ShapeError, match="sequence 1: "):
        list(model.map([items[0], sequence(2)]))


def test_where_lengths_are_refused_sequences_of_one_length_run_together():
    model = model_of(Reverse(), Conv1D(numbers(3, FEATURES, 3), numbers(3), "linear", 1, "same", 1, 1), Mean())
    assert_as_alone(model, SEQUENCES)
    fixed = model_of(Flatten(), dense(5, 3 * FEATURES), shape=(3, FEATURES))
    assert_as_alone(fixed, [sequence(3, seed) for seed in range(7)])
    with pytest.raises(ShapeError, match=r"sequence 1: got shape \(5, 4\), wanted \(3, 4\)"):
        list(fixed.map([sequence(3), sequence(5)]))


def test_an_axis_of_one_step_is_repeated_as_it_is_alone():
    """One step beside a constant of six places gives six: in a group it must not be taken for a part of six steps."""
    graph = of_one_or_six()
    assert_as_alone_in_graph(Model(graph), [{"x": numbers(steps, FEATURES, seed=steps)} for steps in (6, 1, 6, 1)])


@pytest.mark.parametrize("first", range(0, 120, 40))
@pytest.mark.parametrize(
    "make", [random_operations, lambda seed: random_graph(seed, 1 + seed % 9)], ids=["graph", "layers"]
)
def test_random_graphs_give_the_bits_of_each_sequence_alone(make, first):
    grouped = 0
    for seed in range(first, first + 40):
        try:
            model = Model(make(seed))
            runs = ModelRuns(model)
        except FastGRUError:
            continue
        grouped += runs.most_rows > 1
        assert_as_alone_in_graph(model, random_items(model, np.random.default_rng(seed)))
    assert grouped >= 5


def random_items(model: Model, random: np.random.Generator) -> list[dict[str, np.ndarray]]:
    items = []
    for _ in range(12):
        steps = int(random.integers(1, 9))
        item = {}
        for source in model.sources:
            sizes = [size if isinstance(size, int) else steps if "steps" in str(size) else 3 for size in source.shape]
            shape = [size for axis, size in enumerate(sizes) if axis != source.batch]
            makers = {
                "float": lambda shape: random.standard_normal(shape).astype(np.float32),
                "integer": lambda shape: random.integers(0, 4, shape),
                "boolean": lambda shape: random.random(shape) < 0.5,
            }
            item[source.name] = makers[source.kind](shape)
        items.append(item)
    return items


def assert_as_alone_in_graph(model: Model, items: list[dict[str, np.ndarray]]) -> None:
    """Bits of a batch of one without its batch axis, wherever that is; what is refused alone is refused."""
    runs = ModelRuns(model)
    axes = [runs._batches[place] for place in leaves(model.graph.outputs)]
    taken, wanted = [], []
    for item in items:
        whole = {
            each.name: item[each.name] if each.batch is None else np.expand_dims(item[each.name], each.batch)
            for each in model.sources
        }
        try:
            wanted.append(as_tuple(model(whole)))
            taken.append(item)
        except FastGRUError:
            with pytest.raises(FastGRUError, match="sequence 0: "):
                list(model.map([item]))
    for got, alone in zip(model.map(taken), wanted, strict=True):
        for one, other, axis in zip(as_tuple(got), alone, axes, strict=True):
            assert_array_equal(one, other if axis is None else np.squeeze(other, axis))
            assert one.dtype == other.dtype


def of_one_or_six() -> Graph:
    """x + six rows of numbers, for any number of steps that the six can be added to."""
    builder = Builder()
    x = builder.input("x", (symbol("batch"), symbol("steps"), FEATURES), FLOAT)
    made = builder.add(Binary("add"), x, builder.constant(numbers(6, FEATURES)), name="add")
    return builder.finish(made.place)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 60), max_size=40), st.sampled_from([2**8, 2**11, 2**21]), st.integers(1, 40))
def test_any_lengths_in_any_windows_and_groups(lengths, numbers_of_a_group, rows_of_a_window):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragged, "GROUP_NUMBERS", numbers_of_a_group)
        patch.setattr(ragged, "WINDOW_ROWS", rows_of_a_window)
        patch.setattr(ragged, "ENOUGH_ROWS", 3)
        assert_as_alone(tagger(), [sequence(steps, place) for place, steps in enumerate(lengths)])


# What is given: flat values, generators, wrong items.


def test_flat_values_with_lengths_or_offsets():
    flat = np.concatenate(SEQUENCES)
    model, offsets = tagger(), np.concatenate(([0], np.cumsum(LENGTHS)))
    wanted = [model(x) for x in SEQUENCES]
    for options in ({"lengths": LENGTHS}, {"offsets": offsets}, {"offsets": offsets.astype(np.uint32)}):
        for got, alone in zip(model.map(flat, **options), wanted, strict=True):
            assert_same(got, alone)
    for got, alone in zip(model.map(flat, offsets=offsets[3:6]), wanted[3:5], strict=True):  # a slice of a list array
        assert_same(got, alone)
    assert list(model.map(np.empty((0, FEATURES)), lengths=[])) == []


def test_flat_values_of_several_inputs():
    model = translator()
    items = [(sequence(n), sequence(n + 2), numbers(2, seed=n)) for n in (4, 1, 6)]
    source, target, speaker = zip(*items, strict=True)
    values = {"source": np.concatenate(source), "target": np.concatenate(target), "speaker": np.stack(speaker)}
    made = model.map(values, lengths={"source": [4, 1, 6], "target": [6, 3, 8]})
    for got, item in zip(made, items, strict=True):
        assert_same(got, model(item))
    with pytest.raises(ShapeError, match="different numbers of sequences"):
        model.map(values, lengths={"source": [4, 1, 6], "target": [9, 8]})
    with pytest.raises(ShapeError, match="got those of nobody"):
        model.map(values, lengths={"nobody": [4, 1, 6]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": [3, 3]}, "got 6 steps in all, and values of 10"),
        ({"lengths": [-1, 11]}, "sequence 0 has length -1"),
        ({"lengths": [[5, 5]]}, r"got shape \(1, 2\)"),
        ({"lengths": [5.0, 5.0]}, "wanted integers"),
        ({"offsets": [0, 7, 5]}, "sequence 1 is from 7 to 5"),
        ({"offsets": [0, 11]}, "sequence 0 is from 0 to 11, wanted within 0 to 10"),
        ({"offsets": [-1, 3]}, "sequence 0 is from -1 to 3"),
        ({"offsets": []}, "offsets: got shape"),
        ({"offsets": [0, 10], "lengths": [10]}, "wanted one of them"),
    ],
)
def test_lengths_and_offsets_that_do_not_fit(options, message):
    with pytest.raises(FastGRUError, match=message):
        tagger().map(sequence(10), **options)


def test_what_is_no_iterable_of_sequences_is_said_at_once():
    with pytest.raises(DTypeError, match="sequences: got int"):
        tagger().map(3)
    with pytest.raises(DTypeError, match="sequences: got dict"):
        tagger().map({"x": SEQUENCES})
    with pytest.raises(ShapeError, match="for a padded batch"):
        tagger().map(np.zeros((2, 5, FEATURES)), lengths=[3, 5])
    with pytest.raises(ShapeError, match="n_threads"):
        tagger().map(SEQUENCES, n_threads=0)
    assert list(tagger().map([])) == list(GRU(network(2, 3)).map(iter(()))) == []


def test_a_generator_may_fill_one_buffer_again_and_again():
    def buffers() -> Iterator[np.ndarray]:
        buffer = np.empty((40, FEATURES), np.float32)
        for x in SEQUENCES:
            buffer[: len(x)] = x
            yield buffer[: len(x)]

    model = tagger()
    for got, x in zip(model.map(buffers()), SEQUENCES, strict=True):
        assert_same(got, model(x))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((5, 3)), r"sequence 4: got shape \(5, 3\), wanted \(steps, 4\)"),
        (np.zeros((1, 5, 4)), r"sequence 4: got shape \(1, 5, 4\), wanted \(steps, 4\)"),
        (["a"], "sequence 4: x: got dtype"),
        (np.zeros((5, 4), complex), "sequence 4: x: got dtype complex"),
        (np.ma.masked_equal(np.eye(4), 1), "sequence 4: x: got a masked array"),
    ],
)
def test_a_wrong_item_is_named_after_the_results_before_it(wrong, message):
    items = [*SEQUENCES[:4], wrong, *SEQUENCES[4:]]
    for model in (tagger(), GRU(network(FEATURES, HIDDEN))):
        results = model.map(items)
        made = [next(results) for _ in range(4)]
        with pytest.raises(FastGRUError, match=message):
            next(results)
        assert_same(made[2], model(SEQUENCES[2]))


def test_an_exception_of_the_iterable_passes_through_after_the_results_before_it():
    class Broken(Exception):
        pass

    def broken() -> Iterator[np.ndarray]:
        yield from SEQUENCES[:3]
        raise Broken("disk")

    results = tagger().map(broken())
    assert [len(next(results)) for _ in range(3)] == LENGTHS[:3]
    with pytest.raises(Broken, match="disk"):
        next(results)


# Sequences of no steps.


def test_no_steps_give_an_empty_result_where_there_is_one_for_each_step():
    (got, plain) = tagger().map([np.zeros((0, FEATURES)), SEQUENCES[0]])
    assert got.shape == (0, 3) and got.dtype == np.float32 and len(plain) == LENGTHS[0]
    made = list(tagger().map(np.concatenate(SEQUENCES[:2]), lengths=[0, 5, 0, 1, 0]))
    assert [len(each) for each in made] == [0, 5, 0, 1, 0]
    y, h = next(GRU(network(FEATURES, HIDDEN, 2, 2)).map([np.zeros((0, FEATURES))]))
    assert y.shape == (0, 2 * HIDDEN) and h.shape == (4, HIDDEN) and not h.any()


@pytest.mark.parametrize("model", [classifier(), translator()], ids=["classifier", "translator"])
def test_no_steps_are_an_error_where_a_result_would_need_some(model):
    empty, items = np.zeros((0, FEATURES)), SEQUENCES[:1]
    if len(model.inputs) > 1:
        items, empty = [(SEQUENCES[0], SEQUENCES[0], np.zeros(2))], (empty, SEQUENCES[0], np.zeros(2))
    with pytest.raises(ShapeError, match=r"sequence 1: got shape \(0, 4\), that is no steps"):
        list(model.map([*items, empty]))


# Memory, threads, progress.


@pytest.mark.parametrize("steps", [20, 400])
def test_a_generator_without_an_end_takes_bounded_memory(steps, monkeypatch):
    monkeypatch.setattr(ragged, "WINDOW_NUMBERS", 2**18)
    monkeypatch.setattr(ragged, "GROUP_NUMBERS", 2**16)
    count = 2**23 // (steps * (FEATURES + HIDDEN))  # 32 windows, or 32 MB

    def generated() -> Iterator[np.ndarray]:
        for place in range(count):
            yield np.full((1 + place % steps, FEATURES), 0.5, np.float32)

    gru = GRU(network(FEATURES, HIDDEN))
    tracemalloc.start()
    try:
        total = sum(len(y) for y, _ in gru.map(generated()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == sum(1 + place % steps for place in range(count))
    # The numbers of a window and of a group in float32, what Python keeps of each sequence, and room for one more.
    rows = 2**18 // (steps // 2 * (FEATURES + HIDDEN)) + 1
    assert peak <= 2 * 4 * (2**18 + 2**16) + 3000 * min(rows, ragged.WINDOW_ROWS) + 2**20


def test_it_reads_no_further_than_a_window_ahead(monkeypatch):
    monkeypatch.setattr(ragged, "WINDOW_ROWS", 3)
    read = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            read.append(1)
            yield SEQUENCES[len(read) % 4]

    results = tagger().map(endless())
    for taken in range(1, 10):
        next(results)
        assert len(read) <= taken + 2


def test_threads_are_those_of_the_call():
    gru = GRU(network(FEATURES, 300), n_threads=2)
    with fastgru.threads.asking_for(1):
        assert gru._threads_of(100, 100) == (1, 1)
    assert gru._threads_of(100, 100)[0] == min(2, fastgru.threads.available())
    model = Model(model_of(GRULayer(network(FEATURES, 40))).spec, n_threads=2)
    for _ in range(3):  # compiled for one number of threads, and for the other
        for n_threads in (1, 2, None):
            for got, x in zip(model.map(SEQUENCES, n_threads=n_threads), SEQUENCES, strict=True):
                assert_same(got, model(x))


def test_threads_may_map_with_one_model_at_the_same_time():
    model, failures = tagger(), []
    wanted = [model(x) for x in SEQUENCES]

    def work(turn: int) -> None:
        try:
            order = np.random.default_rng(turn).permutation(len(SEQUENCES))
            for _ in range(5):
                made = model.map([SEQUENCES[place] for place in order], n_threads=1 + turn % 2)
                for got, place in zip(made, order, strict=True):
                    assert_same(got, wanted[place])
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_silent_where_there_is_no_terminal(capfd):
    assert len(list(tagger().map(SEQUENCES, progress=True))) == len(SEQUENCES)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_progress_is_drawn_on_a_terminal(known, rich, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    if not rich:
        monkeypatch.setattr(terminal, "find_spec", lambda name: None)
    assert len(list(tagger().map(SEQUENCES if known else iter(SEQUENCES), progress=True))) == len(SEQUENCES)
    shown = screen.getvalue()
    assert "sequences" in shown
    assert ("10 of 10" in shown or "10/10" in shown) == known
