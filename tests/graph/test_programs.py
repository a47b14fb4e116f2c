"""Promise: a compiled graph gives the numbers of its operations in NumPy, for any shapes, rows, lengths and threads.

Bit for bit, but that NaN is NaN, and zeros are equal whatever their sign.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from both_ways import assert_same, compiled, floats, in_numpy, model_of, numbers, outcome
from networks import LEVELS, network, run_python
from random_operations import arrays_for, of, random_operations

from fastgru import FastGRUError, ShapeError
from fastgru.graph.graph import leaves
from fastgru.graph.layout import BATCH
from fastgru.graph.operations.along import AlongAxis, Glu
from fastgru.graph.operations.convolution import Convolution
from fastgru.graph.operations.create import Full
from fastgru.graph.operations.elementwise import BINARY, UNARY, Activation, Binary, Cast, Clamp, Unary, Where
from fastgru.graph.operations.matmul import Einsum, MatMul
from fastgru.graph.operations.normalization import BatchNorm, Normalize
from fastgru.graph.operations.parts import Flip, Pad, Select, Slice
from fastgru.graph.operations.pooling import Pool, Upsample
from fastgru.graph.operations.product import Embedding, Linear
from fastgru.graph.operations.recurrent import GRU, GRUCell
from fastgru.graph.operations.reduce import Reduce
from fastgru.graph.operations.shape import Concatenate, Expand, Permute, View
from fastgru.model import Model
from fastgru.options import kernel_table

HAS_VECTORS = kernel_table().vector_length > 1  # without, there are no kernels, and all runs in NumPy
SHAPES = [(3, 5), (1, 1), (2, 7)]


def compare(seed: int) -> None:
    graph = random_operations(seed)
    model = model_of(graph)
    for batch, steps in SHAPES:
        arrays = arrays_for(seed, batch, steps)
        assert_same(outcome(lambda a=arrays: compiled(model, a)), outcome(lambda a=arrays: in_numpy(model, a)))


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_random_graphs_give_what_their_operations_give_in_numpy(first: int) -> None:
    for seed in range(first, first + 50):
        compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(200, 6200, 500))
def test_many_random_graphs_give_what_their_operations_give_in_numpy(first: int) -> None:
    for seed in range(first, first + 500):
        compare(seed)


def batched(model: Model) -> bool:
    """Whether rows are kept apart, and are the first axis of every input and output."""
    analysis = model._analysis
    if analysis.mixes:
        return False
    inputs = all(layout[0] == (BATCH,) for layout in analysis.inputs.values())
    layouts = [analysis.layout(place) for place in leaves(model.graph.outputs)]
    rows = [(each[:1], [axis for axis in each if BATCH in axis]) for each in layouts]
    return inputs and all(first == ((BATCH,),) and found == [(BATCH,)] for first, found in rows)


@pytest.mark.parametrize("first", range(0, 200, 100))
def test_a_row_has_the_same_bits_alone_and_in_a_batch(first: int) -> None:
    compared = 0
    for seed in range(first, first + 100):
        model = model_of(random_operations(seed))
        if not batched(model):
            continue
        arrays = arrays_for(seed, 5, 6)
        try:
            together = compiled(model, arrays)
        except FastGRUError:
            continue
        for row in range(5):
            alone = model(**{name: array[row : row + 1] for name, array in arrays.items()})
            for one, other in zip(alone, together, strict=True):
                np.testing.assert_array_equal(one[0], other[row])
        compared += 1
    assert compared > 10


@pytest.mark.parametrize("first", range(0, 200, 100))
def test_lengths_give_what_they_give_in_numpy(first: int) -> None:
    compared = 0
    for seed in range(first, first + 100):
        graph = random_operations(seed)
        model = model_of(graph)
        arrays = arrays_for(seed, 4, 6)
        lengths = np.array([6, 3, 5, 4])
        got = outcome(lambda m=model, a=arrays, n=lengths: compiled(m, a, n))
        wanted = outcome(lambda m=model, a=arrays, n=lengths: in_numpy(m, a, n))
        if isinstance(got, str) and "has none left here" in got:  # either way finds it where it looks first
            got, wanted = got.partition("lengths:")[2], str(wanted).partition("lengths:")[2]
        assert_same(got, wanted)
        compared += not isinstance(got, str)
    assert compared > 15


def test_two_threads_may_call_one_model() -> None:
    for seed in range(0, 60, 4):
        model = model_of(random_operations(seed))
        calls = [arrays_for(seed, batch, steps) for batch, steps in ((4, 6), (2, 9))]
        wanted = [outcome(lambda m=model, a=arrays: m(**a)) for arrays in calls]
        fresh = model_of(model.graph)
        failures: list[BaseException] = []

        def call(place: int, model: Model = fresh, calls: Any = calls, wanted: Any = wanted) -> None:
            try:
                for turn in range(6):
                    at = (place + turn) % 2
                    assert_same(outcome(lambda: model(**calls[at])), wanted[at])  # noqa: B023
            except BaseException as error:  # raised in the main thread
                failures.append(error)  # noqa: B023

        threads = [threading.Thread(target=call, args=(place,)) for place in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]


def test_threads_over_rows_change_no_bit() -> None:
    graph = of(GRU(network(9, 40, 2, 2)), (32, 30, 9))
    x = numbers.standard_normal((32, 30, 9)).astype(np.float32)
    for one, other in zip(model_of(graph, n_threads=2)(x), model_of(graph)(x), strict=True):
        np.testing.assert_array_equal(one, other)


CODE = """
import sys
sys.path[:0] = [{tests!r}, {tests!r} + "/graph"]
from test_programs import compare
for seed in range(0, 40):
    compare(seed)
print("compared")
"""


@pytest.mark.parametrize("level", LEVELS)
def test_every_kernel_level_agrees(level: str) -> None:
    result = run_python(CODE.format(tests=str(Path(__file__).parent.parent)), FASTGRU_ISA=level)
    assert result.stdout == "compared\n", result.stderr


# The operation, the shapes of its inputs, and their kinds where they are not all floats.
OPERATIONS: list[tuple[Any, ...]] = [
    *[(Unary(name), (3, 5, 7)) for name in UNARY if name != "logical_not"],
    *[(Binary(name), (3, 1, 7), (4, 1)) for name in BINARY if not name.startswith("logical")],
    *[(Binary(name), (3, 7), (), "ii") for name in ("add", "sub", "mul", "maximum", "minimum", "eq", "lt", "div")],
    *[(Binary(name), (5, 2), (5, 2), "bb") for name in ("logical_and", "logical_or", "logical_xor", "eq", "ne", "add")],
    *[(Unary("logical_not"), (4, 3), kind) for kind in "fib"],
    *[(Activation(name), (3, 1, 17)) for name in (
        "linear", "relu", "tanh", "sigmoid", "hard_sigmoid", "hard_sigmoid_keras2", "elu", "celu", "exponential",
        "gelu", "hard_shrink", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid", "mish", "relu6", "selu", "silu",
        "softplus", "softsign", "squareplus", "tanh_shrink",
    )],
    (Activation("gelu", (("approximate", True),)), (2, 9)),
    (Activation("relu", (("max_value", 0.3),)), (2, 9)),
    (Activation("relu", (("negative_slope", 0.3),)), (2, 9)),
    (Activation("softplus", (("beta", 2.0), ("threshold", 1.0))), (2, 9)),
    (Where(), (3, 1), (1, 5), (3, 5), "bff"),
    (Where(), (3, 1), (1, 5), (), "bif"),
    (Clamp(-0.5, None), (9,)), (Clamp(None, 0.1), (2, 9)), (Clamp(2.0, -1.0), (2, 9)),
    *[(Cast(to), (3, 4), kind) for to in ("float", "integer", "boolean") for kind in "fib"],
    (Linear(floats(7, 5), floats(7)), (3, 2, 5)), (Linear(floats(1, 1)), (1,)), (Linear(floats(49, 3)), (65, 3)),
    (Linear(floats(48, 16), floats(48)), (130, 16)), (Linear(floats(3, 5)), (2, 2, 3, 2, 5)),
    *[(MatMul(), *shapes) for shapes in (
        ((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 40)), ((3, 4), (2, 4, 5)), ((2, 60, 9), (9, 1)),
        ((2, 60, 9), (2, 9, 3)), ((2, 1, 9), (2, 9, 50)), ((4,), (4,)), ((4,), (3, 4, 5)), ((2, 3, 4), (4,)),
        ((2, 1, 3, 4), (5, 4, 2)), ((2, 3, 40, 17), (2, 3, 17, 40)), ((1, 300), (300, 1)), ((3, 200, 1), (3, 1, 20)),
        ((5, 0), (0, 4)), ((0, 5), (5, 4)),
    )],
    (MatMul(), (3, 4), (4, 5), "if"), (MatMul(), (3, 4), (4, 5), "bb"),
    *[(Einsum(equation), one, other) for equation, one, other in (
        ("bti,bsi->bts", (2, 7, 5), (2, 9, 5)), ("bts,bsi->bti", (2, 7, 9), (2, 9, 5)),
        ("bi,bti->bt", (2, 5), (2, 7, 5)),
        ("bt,bti->bi", (2, 7), (2, 7, 5)), ("bthd,bshd->bhts", (2, 7, 3, 4), (2, 6, 3, 4)),
        ("bhts,bshd->bthd", (2, 3, 7, 6), (2, 6, 3, 4)), ("i,j->ij", (5,), (4,)), ("ij,ij->", (5, 4), (5, 4)),
        ("ijk,jl->il", (3, 4, 5), (4, 6)), ("bi,oij->boj", (3, 4), (2, 4, 5)), ("bi,bi->bi", (3, 4), (3, 4)),
        ("bij,kl->bi", (2, 3, 4), (5, 6)), ("abij,jbc->caib", (2, 3, 4, 5), (5, 3, 2)), ("i,->i", (3,), ()),
    )],
    (Embedding(floats(6, 5)), (3, 4), "i"), (Embedding(floats(6, 1)), (), "i"),
    (Convolution(floats(5, 3, 3), floats(5)), (2, 9, 3)),
    (Convolution(floats(6, 2, 3), None, (2,), ("same",), (1,), 3), (2, 9, 6)),
    (Convolution(floats(5, 3, 4), floats(5), (3,), ((5, 2),), (2,)), (2, 70, 3)),
    (Convolution(floats(5, 3, 2), floats(5), (1,), ("causal",), (3,)), (1, 4, 3)),
    (Convolution(floats(17, 3, 1), floats(17)), (2, 65, 3)),
    (Convolution(floats(5, 3, 1, 3), None, (1, 2), ((0, 0), (1, 1)), (1, 1)), (2, 4, 9, 3)),
    (Convolution(floats(5, 3, 3, 1), None, (2, 1), ((1, 0), (0, 0)), (1, 1)), (2, 9, 4, 3)),
    (Convolution(floats(5, 3, 3, 3), None, (1, 1), ((1, 1), (1, 1)), (1, 1)), (2, 9, 4, 3)),
    (Convolution(floats(4, 3, 1), floats(4), (1,), ((1, 2),)), (2, 9, 3)),
    *[(Pool(name, (3,), (2,), (padding,), (2,), ceiling, counts), (2, 300, 5)) for name in ("max", "mean")
      for padding in ((0, 0), (1, 1)) for ceiling in (False, True) for counts in (False, True)],
    (Pool("max", (2,), (1,), ((4, 3),), (3,)), (2, 700, 3)), (Pool("mean", (3,), (2,), ((1, 0),)), (2, 700, 3)),
    *[(Pool(name, (2,), (2,), ((0, 1),)), (2, 9, channels)) for name in ("max", "mean")
      for channels in (1, 4, 7, 8, 17, 32, 70)],
    (Pool("max", (3,), (5,), ((2, 2),)), (2, 4, 40)), (Pool("mean", (1,), (3,), ((0, 0),)), (2, 7, 9)),
    (Pool("max", (2,), (1,), ("same",)), (3, 1, 259)), (Pool("mean", (2,), (3,), ("same",)), (3, 7, 1)),
    (Pool("max", (1, 2), (1, 2), ((0, 0), (0, 0))), (2, 3, 8, 5)),
    (Pool("mean", (2, 1), (2, 1), ((0, 0), (0, 0))), (2, 8, 3, 5)),
    (Pool("max", (2, 2), (2, 2), ((0, 0), (0, 0))), (2, 8, 4, 5)),
    (Upsample(1, 3), (2, 4, 5)), (Upsample(2, 1), (2, 4, 5)),
    (BatchNorm(floats(5), floats(5) ** 2), (2, 3, 5)),
    (BatchNorm(floats(3), floats(3) ** 2, floats(3), floats(3), 1e-3, 1), (2, 3, 5)),
    (Normalize((-1,)), (3, 200)), (Normalize((1,), floats(7), floats(1)), (3, 7)),
    (Normalize((-1,), floats(4, 1), floats(300)), (2, 4, 300)), (Normalize((-1,), None, floats(9), 1e-6, True), (5, 9)),
    *[(Normalize((-1,), floats(n), floats(n)), (3, n)) for n in (1, 2, 5, 8, 16, 31, 64, 67)],
    (Normalize((1, 2)), (2, 3, 4)), (Normalize((-1,)), (4, 1)),
    *[(AlongAxis(name, axis), (3, 4, 5)) for name in ("softmax", "log_softmax", "softmin") for axis in (-1, 1, 0)],
    *[(AlongAxis("softmax"), (3, n)) for n in (1, 2, 5, 8, 16, 31, 64, 67)],
    (AlongAxis("softmax"), (200,)), (AlongAxis("sparsemax"), (3, 5)),
    (Glu(), (3, 8)), (Glu(1), (3, 4, 5)),
    *[(Reduce(name, (axis,), keeps), (3, 4, 5)) for name in ("sum", "mean", "max", "min", "prod", "var")
      for axis in (0, 1, -1) for keeps in (False, True)],
    *[(Reduce(name, (axis,)), shape) for name in ("sum", "mean", "max", "min") for axis in (0, 1)
      for shape in ((40, 7), (7, 40), (3, 300), (300, 3), (9, 9), (1, 70))],
    (Reduce("sum", (1,)), (2, 5, 600)), (Reduce("mean", (0,)), (7,)), (Reduce("max", (0, 2)), (3, 4, 5)),
    (Reduce("sum", (1,)), (3, 4), "i"),
    (Select(1, -1), (3, 4, 5)), (Select(-1, 0), (3, 1)), (Select(0, 2), (3, 4), "i"),
    (Slice(1, -2), (3, 4)), (Slice(-1, 1, None, 2), (3, 6)), (Slice(0, None, -1), (3, 6), "b"),
    (Flip((0, -1)), (3, 4)), (Flip((1,)), (3, 4, 2)),
    (Pad(((0, 1), (2, 0)), 0.5), (3, 4)), (Pad(((1, 1), (0, 0)), 0.0, "edge"), (3, 4)), (Pad(((-1, 1),)), (5,)),
    (Pad(()), ()),
    (View((-1, 2)), (3, 4)), (View((3, 2, 2)), (3, 4)), (Permute((2, 0, 1)), (3, 4, 5)),
    (Expand((2, -1, 4)), (3, 1)), (Expand((5,)), (1,), "i"),
    (Concatenate(-1), (3, 4), (3, 1), (3, 2)), (Concatenate(0), (1, 4), (2, 4), "if"),
    (Concatenate(1), (2, 1), (2, 3), "ib"),
    (GRU(network(5, 19, 2, 2)), (3, 7, 5)), (GRU(network(5, 19)), (1, 7, 5), (1, 1, 19)),
    (GRU(network(5, 3, 3, 1, reset_after=False)), (9, 2, 5), (3, 9, 3)),
    (GRU(network(5, 3, activation="gelu")), (2, 3, 5)),
    (GRUCell(network(5, 19)), (3, 5)), (GRUCell(network(5, 3)), (1, 5), (1, 3)),
]  # fmt: skip


def inputs_of(case: tuple[Any, ...]) -> tuple[Any, list[tuple[int, ...]], str]:
    operation, *shapes = case
    kinds = shapes.pop() if isinstance(shapes[-1], str) else "f" * len(shapes)
    return operation, shapes, kinds


def array(kind: str, *shape: int) -> np.ndarray:
    if kind == "i":
        return numbers.integers(0, 6, shape)
    return numbers.random(shape) < 0.5 if kind == "b" else floats(*shape)


@pytest.mark.parametrize("laid", ["plain", "permuted", "turned", "cut"])
@pytest.mark.parametrize("case", OPERATIONS, ids=lambda case: type(case[0]).__name__ + getattr(case[0], "name", ""))
def test_every_operation_gives_what_it_gives_in_numpy(case: tuple[Any, ...], laid: str) -> None:
    from fastgru.graph.builder import Builder

    operation, shapes, kinds = inputs_of(case)
    builder = Builder()
    arrays, values = {}, []
    for place, (shape, kind) in enumerate(zip(shapes, kinds, strict=True)):
        named = {"f": "float", "i": "integer", "b": "boolean"}[kind]
        outer = shape[::-1] if laid == "permuted" else tuple(size + 2 for size in shape) if laid == "cut" else shape
        value = builder.input(f"x{place}", outer, named)
        arrays[f"x{place}"] = array(kind, *outer)
        if laid == "permuted":
            value = builder.add(Permute(tuple(range(len(shape)))[::-1]), value)
        elif laid == "turned" and shape:
            value = builder.add(Flip(tuple(range(len(shape)))), value)
        elif laid == "cut":
            for axis in range(len(shape)):
                value = builder.add(Slice(axis, 1, 1 + shape[axis]), value)
        values.append(value)
    made = builder.add(operation, *values, name="node")
    made = made if isinstance(made, tuple) else (made,)
    model = model_of(builder.finish(tuple(value.place for value in made)))
    got, wanted = compiled(model, arrays), in_numpy(model, arrays)
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(not HAS_VECTORS, reason="without kernels all runs in NumPy")
def test_products_of_two_values_have_instructions() -> None:
    in_numpy = (Einsum("bij,kl->bi"),)  # which sums over two axes of one value
    for operation, *shapes in OPERATIONS:
        if not isinstance(operation, (MatMul, Einsum)) or operation in in_numpy:
            continue
        if not any(isinstance(shape, str) or 0 in shape for shape in shapes):
            model = model_of(of(operation, *shapes))
            assert model._runner.whole({f"x{place}": shape for place, shape in enumerate(shapes)}) is not None


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("seed", range(40))
def test_empty_batches_and_single_steps_give_what_they_give_in_numpy(seed: int, batch: int) -> None:
    graph = random_operations(seed)
    model = model_of(graph)
    arrays = arrays_for(seed, batch, 1)
    assert_same(outcome(lambda: compiled(model, arrays)), outcome(lambda: in_numpy(model, arrays)))


def test_an_integer_that_is_no_row_is_named_and_harms_no_later_call() -> None:
    model = model_of(of(Embedding(floats(5, 3)), (2, 2), kinds="i"))
    good = np.array([[0, 4], [1, 2]])
    wanted = model(good)[0]
    for wrong in (-1, 5, 1 << 40, -(1 << 62)):
        with pytest.raises(ShapeError, match=rf"^layer 'node': got the integer {wrong}, wanted 0 to 4$"):
            model(np.array([[0, wrong], [1, 2]]))
        np.testing.assert_array_equal(model(good)[0], wanted)


def test_results_belong_to_their_caller() -> None:
    model = model_of(of(Linear(floats(4, 4)), (2, 4)))
    x = floats(2, 4)
    first = model(x)[0]
    kept = first.copy()
    first[...] = 7
    np.testing.assert_array_equal(model(x)[0], kept)


def test_one_operation_that_makes_a_constant_is_not_run_by_every_call() -> None:
    from fastgru.graph.builder import Builder

    builder = Builder()
    x = builder.input("x", (2, 3))
    made = builder.add(Binary("add"), x, builder.add(Full((3,), 2.5)))
    model = model_of(builder.finish((made.place,)))
    np.testing.assert_array_equal(model(np.ones((2, 3)))[0], np.full((2, 3), 3.5, np.float32))


def test_float64_and_blas_are_not_compiled() -> None:
    graph = of(Linear(floats(4, 4)), (2, 4))
    assert model_of(graph)._runner._compiles == HAS_VECTORS
    assert not model_of(graph, backend="blas")._runner._compiles
    assert not model_of(graph, precision="float64")._runner._compiles


def test_an_activation_joins_the_product_that_only_it_reads() -> None:
    from fastgru.graph.builder import Builder

    for shared in (False, True):
        builder = Builder()
        made = builder.add(Linear(floats(9, 4)), builder.input("x", (3, 4)))
        seen = builder.add(Cast("float"), made)
        active = builder.add(Activation("tanh"), made)
        outputs = (active.place, seen.place) if shared else (active.place,)
        model = model_of(builder.finish(outputs))
        arrays = {"x": floats(3, 4)}
        assert_same(compiled(model, arrays), in_numpy(model, arrays))
        if HAS_VECTORS:
            (stretch,) = next(iter(model._runner._compiled.values())).steps
            assert len(stretch.program) == (2 if shared else 1)
