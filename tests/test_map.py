"""Promise of ``map``: what each sequence gives alone, bit for bit, whatever it is grouped with."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_examples import EXAMPLES
from map_models import (
    FEATURES,
    HIDDEN,
    LENGTHS,
    SEQUENCES,
    assert_as_alone,
    assert_same,
    classifier,
    dense,
    model_of,
    sequence,
    tagger,
    translator,
)  # fmt: skip
from networks import network, numbers, same_bits
from numpy.testing import assert_array_equal
from random_graphs import random_graph
from random_operations import random_operations

from fastgru import GRU, FastGRUError, Model, ShapeError
from fastgru.graph.builder import Builder
from fastgru.graph.graph import FLOAT, Graph, leaves
from fastgru.graph.operations.elementwise import Binary
from fastgru.graph.size import symbol
from fastgru.layers import (
    Conv1D,
    Embedding,
    Flatten,
    GRULayer,
    MaxPooling1D,
    Mean,
    Reverse,
)
from fastgru.model import as_tuple
from fastgru.ragged import mapping
from fastgru.ragged.runs import ModelRuns


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
        patch.setattr(mapping, "GROUP_NUMBERS", numbers_of_a_group)
        patch.setattr(mapping, "WINDOW_ROWS", rows_of_a_window)
        patch.setattr(mapping, "ENOUGH_ROWS", 3)
        assert_as_alone(tagger(), [sequence(steps, place) for place, steps in enumerate(lengths)])


@pytest.mark.parametrize("shapes", [[(3, FEATURES)] * 2, [(3, FEATURES), (2, FEATURES + 1)]])
def test_a_deleted_model_that_has_mapped_lets_its_weights_go_at_once(shapes):
    gc.collect()
    gc.disable()
    try:
        model = tagger()
        try:
            list(model.map(numbers(*shape) for shape in shapes))
        except ShapeError:
            assert shapes[1][1] != FEATURES
        operation = weakref.ref(model.graph.nodes[0].operation)
        del model
        assert operation() is None
    finally:
        gc.enable()
