"""Promise of ``map``: whatever sequences are given in, results come in order, errors in their place, memory bounded."""

from __future__ import annotations

import io
import threading
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from map_models import (
    FEATURES,
    HIDDEN,
    LENGTHS,
    SEQUENCES,
    assert_same,
    classifier,
    model_of,
    sequence,
    tagger,
    translator,
)  # fmt: skip
from networks import network, numbers

import fastgru.threads
from fastgru import GRU, DTypeError, FastGRUError, Model, ShapeError, terminal
from fastgru.layers import GRULayer
from fastgru.ragged import mapping

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
    for got, alone in zip(model.map(flat.tolist(), lengths=LENGTHS), wanted, strict=True):
        assert_same(got, alone)
    with pytest.raises(DTypeError, match="x: cannot be made an array"):
        model.map([[1.0], [1.0, 2.0]], lengths=[2])
    masked = np.ma.masked_equal(flat, flat[6, 0])
    results = model.map(masked, lengths=LENGTHS)
    with pytest.raises(DTypeError, match="sequence 2: x: got a masked array"):
        assert [len(each) for each in results] == []


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
    monkeypatch.setattr(mapping, "WINDOW_NUMBERS", 2**18)
    monkeypatch.setattr(mapping, "GROUP_NUMBERS", 2**16)
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
    assert peak <= 2 * 4 * (2**18 + 2**16) + 3000 * min(rows, mapping.WINDOW_ROWS) + 2**20


def test_it_reads_no_further_than_a_window_ahead(monkeypatch):
    monkeypatch.setattr(mapping, "WINDOW_ROWS", 3)
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
