"""Promises of memory around GRUs: tables, matrices and kernels are there once, and give back what they were."""

from __future__ import annotations

import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import network, numbers, same_bits

import fastgru
from fastgru import CheckpointError, Model
from fastgru.graph.builder import Builder
from fastgru.graph.operations.convolution import Convolution, TransposedConvolution
from fastgru.graph.operations.product import Embedding as EmbeddingOf
from fastgru.graph.operations.product import Linear
from fastgru.graph.operations.recurrent import GRU
from fastgru.graph.size import symbol
from fastgru.layers import Conv1D, Dense, Embedding, Input, ModelSpec, Node
from fastgru.options import kernel_table

PAIRED = pytest.mark.skipif(not kernel_table().pairs, reason="these kernels do not multiply pairs of bfloat16")
LAYERS = {
    "dense": (Dense(numbers(480, 512)), (2, 3, 512)),
    "convolution": (Conv1D(numbers(192, 48, 25)), (2, 40, 48)),
    "groups": (Conv1D(numbers(480, 96, 3), numbers(480), groups=5), (2, 9, 480)),
    "table": (Embedding(numbers(1000, 250)), (2, 3)),
}
OPERATIONS: dict[str, tuple[Any, Any]] = {
    "linear": (Linear(numbers(480, 512)), ("batch", "steps", 512)),
    "two axes": (Convolution(numbers(192, 48, 5, 5), None, (1, 2), ((1, 0), (0, 2)), (2, 1)), ("batch", 20, 30, 48)),
    "turned": (
        TransposedConvolution(numbers(96, 96, 25), None, (2,), ((0, 0),), (1,), 2, (1,)),
        ("batch", "steps", 96),
    ),
}


def a_layer(name: str, **options: Any) -> tuple[Model, np.ndarray, np.ndarray]:
    """A model of one layer, its weight, and an input."""
    layer, shape = LAYERS[name]
    x = np.arange(np.prod(shape)).reshape(shape) % 1000 if name == "table" else numbers(*shape)
    return Model(described(layer, shape), **options), layer.weight, x


def described(layer: Any, shape: tuple[int, ...]) -> ModelSpec:
    integers = isinstance(layer, Embedding)
    return ModelSpec((Input("x", (None, *shape[2:]), integers),), (Node("layer", layer, ("x",)),), ("layer",))


def weight_of(model: Model) -> np.ndarray:
    return np.asarray(model.graph.nodes[0].operation.weight)


def an_operation(name: str, **options: Any) -> tuple[Model, np.ndarray]:
    operation, sizes = OPERATIONS[name]
    builder = Builder()
    shape = tuple(symbol(size) if isinstance(size, str) else size for size in sizes)
    return Model(builder.finish(builder.add(operation, builder.input("x", shape)).place), **options), operation.weight


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", [*LAYERS, *OPERATIONS])
def test_weights_are_there_once_and_are_what_they_were(name: str, precision: Any) -> None:
    model, weight, *_ = (an_operation if name in OPERATIONS else a_layer)(name, precision=precision)
    size = weight.size * np.dtype(precision).itemsize
    assert size <= model.nbytes <= 1.1 * size
    assert same_bits(weight_of(model), weight) and weight_of(model).dtype == weight.dtype
    if model.spec is not None:
        assert same_bits(model.spec.nodes[0].layer.weight, weight)
    again = pickle.loads(pickle.dumps(model))
    assert same_bits(weight_of(again), weight) and again.nbytes == model.nbytes


@pytest.mark.parametrize("name", LAYERS)
def test_a_model_of_another_precision_and_back_is_the_same(name: str, tmp_path: Path) -> None:
    model, weight, x = a_layer(name)
    wanted = model(x)
    wide = model.astype("float64")
    assert same_bits(wide.astype("float32")(x), wanted) and same_bits(weight_of(wide), weight)
    del model
    wide.save(tmp_path / "wide.safetensors")
    loaded = fastgru.load(tmp_path / "wide.safetensors")
    assert same_bits(loaded(x), wanted) and same_bits(weight_of(loaded), weight)


@pytest.mark.parametrize("name", ["dense", "groups", "table"])
def test_float64_that_was_rounded_stays_or_is_in_its_file(name: str, tmp_path: Path) -> None:
    layer, shape = LAYERS[name]
    weight = layer.weight.astype(np.float64) * (1 + 1e-12)
    model = Model(described(layer.replace(weight=weight), shape))
    assert np.array_equal(weight_of(model), weight) and model.nbytes >= 12 * weight.size
    path = tmp_path / "wide.safetensors"
    model.save(path)
    loaded = fastgru.load(path)
    assert loaded.nbytes <= 4.4 * weight.size
    assert np.array_equal(weight_of(loaded), weight)
    path.unlink()
    with pytest.raises(CheckpointError, match="put the file back"):
        weight_of(loaded)
    x = np.arange(np.prod(shape)).reshape(shape) % 1000 if name == "table" else numbers(*shape)
    loaded.save(tmp_path / "rounded", precision="float32")  # which it has
    assert same_bits(fastgru.load(tmp_path / "rounded")(x), loaded(x))


@PAIRED
@pytest.mark.parametrize("name", ["dense", "convolution", "groups"])
def test_what_pairs_round_stays_or_is_in_its_file(name: str, tmp_path: Path) -> None:
    """Nobody has asked for a dense layer to be rounded: the precision is that of GRUs."""
    model, weight, x = a_layer(name, precision="bfloat16")
    assert same_bits(weight_of(model), weight) and model.nbytes >= 6 * weight.size
    model.save(tmp_path / "given.safetensors")
    loaded = fastgru.load(tmp_path / "given.safetensors", precision="bfloat16")
    assert loaded.nbytes <= 2.2 * weight.size
    assert same_bits(weight_of(loaded), weight) and same_bits(loaded(x), model(x))
    assert same_bits(loaded.astype("float32")(x), model.astype("float32")(x))
    (tmp_path / "given.safetensors").unlink()
    wanted = loaded(x)
    for again in (pickle.loads(pickle.dumps(loaded)), loaded.astype("bfloat16"), Model(loaded.spec, **loaded._options)):
        assert same_bits(again(x), wanted) and again.nbytes <= 2.2 * weight.size
        with pytest.raises(CheckpointError, match="put the file back"):
            again.astype("float32")


def test_a_deleted_model_lets_its_weights_go_at_once() -> None:
    """What gives the weights back does not hold the operation that asks for them."""
    gc.disable()
    try:
        for name in OPERATIONS:
            model, _ = an_operation(name)
            operation = weakref.ref(model.graph.nodes[0].operation)
            del model
            assert operation() is None
    finally:
        gc.enable()


def test_a_table_that_is_a_matrix_too_serves_both() -> None:
    """Tied weights: one array for a table and for the product behind it."""
    table = numbers(50, 24)
    builder = Builder()
    words = builder.add(EmbeddingOf(table), builder.input("x", (symbol("batch"), 4), "integer"))
    model = Model(builder.finish(builder.add(Linear(table), words).place))
    index = np.arange(8).reshape(2, 4)
    wanted = table[index] @ table.T
    np.testing.assert_allclose(model(index), wanted, atol=1e-4)
    for node in model.graph.nodes:
        assert same_bits(node.operation.weight, table)


@pytest.mark.parametrize("backend", ["packed", "blas"])
@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_a_matrix_that_a_gru_rounds_serves_a_product_as_it_was_given(precision: Any, backend: Any) -> None:
    gru, x = network(24, 24), numbers(2, 3, 24)
    (weights,), options = gru.layers[0], {"precision": precision, "backend": backend}

    def model(weight: np.ndarray) -> Model:
        builder = Builder()
        hidden, _ = builder.add(GRU(gru), builder.input("x", (symbol("batch"), symbol("steps"), 24)))
        return Model(builder.finish(builder.add(Linear(weight), hidden).place), **options)

    tied, apart = model(weights.w_ih), model(weights.w_ih.copy())
    for each in (tied, pickle.loads(pickle.dumps(tied))):
        assert same_bits(each(x), apart(x))
        assert same_bits(weight_of_product(each), weights.w_ih)
    wide = Model(tied.graph, precision=precision).graph.nodes[-1].operation.weight
    assert same_bits(wide, weights.w_ih)


def weight_of_product(model: Model) -> np.ndarray:
    return np.asarray(model.graph.nodes[-1].operation.weight)
