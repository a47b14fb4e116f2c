"""Every operation's rule for the batch and the steps: rows of unequal length give what each row gives alone."""

from __future__ import annotations

import numpy as np
import pytest
from networks import network

from fastgru import Model, ShapeError
from fastgru.graph.builder import Builder
from fastgru.graph.graph import Tensor
from fastgru.graph.layout import BATCH, STEPS, Batch, Mixed, Rows, Steps
from fastgru.graph.operations import by_name
from fastgru.graph.operations.along import AlongAxis, CumulativeExtreme, CumulativeProduct, CumulativeSum, Glu, TopK
from fastgru.graph.operations.convolution import Convolution, TransposedConvolution
from fastgru.graph.operations.create import Arange, Full, Longest, OneHot, SizeOf
from fastgru.graph.operations.elementwise import Activation, Binary, Cast, Clamp, Unary, Where
from fastgru.graph.operations.index import Gather, Index, Put, Scatter, Take
from fastgru.graph.operations.matmul import Einsum, MatMul
from fastgru.graph.operations.normalization import BatchNorm, Normalize
from fastgru.graph.operations.operation import Call, Setup
from fastgru.graph.operations.parts import Flip, Pad, Roll, Select, Slice, Windows
from fastgru.graph.operations.pooling import AdaptivePool, Pool, Upsample
from fastgru.graph.operations.product import Embedding, Linear
from fastgru.graph.operations.recurrent import GRU, GRUCell
from fastgru.graph.operations.reduce import ArgExtreme, Norm, Reduce
from fastgru.graph.operations.shape import Concatenate, Expand, Permute, Repeat, View
from fastgru.graph.size import evaluate, symbol

B, T, LENGTHS = 4, 9, np.array([9, 6, 7, 8])
ROWS, STEP = (BATCH,), (Steps(),)
BTF = (ROWS, STEP, (6,))  # of most inputs
batch = symbol("batch")
DTYPE = np.dtype(np.float32)
numbers = np.random.default_rng(4)


def floats(*shape):
    return numbers.normal(size=shape).astype(np.float32)


def integers(high, *shape):
    return numbers.integers(0, high, shape)


X, Y = floats(B, T, 6), floats(B, T, 6)
STATES = (((2,), ROWS, (6,)), floats(2, B, 6))

# The operation, and the layouts and numbers of its inputs.
FOLLOWED = [
    (Activation("tanh"), (BTF, X)),
    (Unary("exp"), (BTF, X)),
    (Unary("neg"), (BTF, X)),
    (Binary("mul"), (BTF, X), (BTF, Y)),
    (Binary("add"), (BTF, X), ((ROWS, (), (6,)), floats(B, 1, 6))),
    (Binary("sub"), (BTF, X), ((STEP, (6,)), floats(T, 6))),
    (Where(), (BTF, X > 0), (BTF, X), (BTF, Y)),
    (Clamp(-0.5, None), (BTF, X)),
    (Cast("integer"), (BTF, X)),
    (Linear(floats(3, 6), floats(3)), (BTF, X)),
    (Embedding(floats(8, 5)), ((ROWS, STEP), integers(8, B, T))),
    (OneHot(8), ((ROWS, STEP), integers(8, B, T))),
    (Arange(0, STEPS),),
    (Full((batch, STEPS, 2), 0.5),),
    (SizeOf(3),),
    (MatMul(), (BTF, X), ((ROWS, (6,), STEP), floats(B, 6, T))),
    (MatMul(), ((ROWS, STEP, STEP), floats(B, T, T)), (BTF, X)),
    (Einsum("bti,bsi->bts"), (BTF, X), (BTF, Y)),
    (Einsum("bti,bt->bi"), (BTF, X), ((ROWS, STEP), floats(B, T))),
    (Einsum("bti,ij->jbt"), (BTF, X), (((6,), (2,)), floats(6, 2))),
    (Convolution(floats(4, 6, 3), floats(4), (1,), ((2, 0),)), (BTF, X)),
    (Convolution(floats(4, 3, 2), None, (2,), ((1, 1),), (2,), 2), (BTF, X)),
    (Convolution(floats(2, 6, 3), None, (1,), ("causal",)), (BTF, X)),
    (Convolution(floats(2, 6, 3), None, (1,), ("same",)), (BTF, X)),
    (TransposedConvolution(floats(6, 4, 3), floats(4), (2,), ((1, 0),), (1,), 1, (1,)), (BTF, X)),
    (Pool("max", (3,), (2,), ((1, 1),)), (BTF, X)),
    (Pool("mean", (2,), (2,), ((1, 1),)), (BTF, X)),
    (AdaptivePool("mean", (2,)), ((ROWS, (6,), (3,)), floats(B, 6, 3))),
    (Upsample(1, 3), (BTF, X)),
    (BatchNorm(floats(6), np.abs(floats(6)), floats(6), floats(6)), (BTF, X)),
    (Normalize((-1,), floats(6), floats(6)), (BTF, X)),
    (Normalize((1,), None, None, 1e-5), (BTF, X)),
    (Normalize((1, 2), None, None, 1e-5, True), (BTF, X)),
    *((Reduce(name, (1,)), (BTF, X)) for name in ("sum", "mean", "max", "min", "prod", "any", "all")),
    (Reduce("var", (1,), True, 1), (BTF, X)),
    (Reduce("std", (1, 2)), (BTF, X)),
    (Reduce("sum", (2,)), (BTF, integers(9, B, T, 6))),
    (Norm(axes=(1,)), (BTF, X)),
    (Norm(axes=(1,), p=np.inf), (BTF, X)),
    (ArgExtreme("max", 1), (BTF, X)),
    (ArgExtreme("min", 1, True), (BTF, X)),
    (ArgExtreme("max", 1), (BTF, integers(5, B, T, 6) - 9)),
    (AlongAxis("softmax", 1), (BTF, X)),
    (AlongAxis("log_softmax", 2), (BTF, X)),
    (Glu(), (BTF, X)),
    (CumulativeSum(1), (BTF, X)),
    (CumulativeProduct(1), (BTF, X)),
    (CumulativeExtreme("max", 1), (BTF, X)),
    (CumulativeExtreme("min", 1), (BTF, X)),
    (TopK(2, 1), (BTF, X)),
    (TopK(3, 1, False), (BTF, X)),
    (View((batch * STEPS, 6)), (BTF, X)),
    (View((batch, STEPS, 2, 3)), (BTF, X)),
    (View((batch, -1, 6)), ((ROWS, STEP, (2,), (3,)), floats(B, T, 2, 3))),
    (Permute((1, 0, 2)), (BTF, X)),
    (Expand((batch, STEPS, 6)), ((ROWS, (), (6,)), floats(B, 1, 6))),
    (Expand((2, -1, -1, -1)), (BTF, X)),
    (Repeat((1, 1, 2)), (BTF, X)),
    (Repeat((1, STEPS, 1)), ((ROWS, (), (6,)), floats(B, 1, 6))),
    (Concatenate(-1), (BTF, X), (BTF, Y)),
    (Concatenate(1), ((ROWS, (2,), (6,)), floats(B, 2, 6)), (BTF, X)),
    (Select(1, -1), (BTF, X)),
    (Select(1, 0), (BTF, X)),
    (Select(2, 3), (BTF, X)),
    (Slice(1, -5, -2), (BTF, X)),
    (Slice(1, -3, -1), (BTF, X)),
    (Slice(1, -6, -1, 2), (BTF, X)),
    (Slice(1, 1, None), (BTF, X)),
    (Slice(1, None, -2), (BTF, X)),
    (Slice(1, -3, None), (BTF, X)),
    (Slice(1, 0, 4, 2, True), (BTF, X)),
    (Slice(1, None, None, 2), (BTF, X)),
    (Slice(2, 1, 5, 2), (BTF, X)),
    (Flip((1,)), (BTF, X)),
    (Flip((2,)), (BTF, X)),
    (Roll(2, 1), (BTF, X)),
    (Pad(((0, 0), (2, 1), (1, 0)), 0.5), (BTF, X)),
    (Pad(((0, 0), (2, 0), (0, 0)), 0.0, "edge"), (BTF, X)),
    (Windows(1, 3, 2), (BTF, X)),
    (Take(2), (BTF, X), (((2,),), np.array([4, 1]))),
    (Gather(1), (BTF, X), ((ROWS, (), (6,)), integers(5, B, 1, 6))),
    (Gather(2), (BTF, X), ((ROWS, STEP, (2,)), integers(6, B, T, 2))),
    (Index((1, 2)), ((ROWS, (5,), (6,)), floats(B, 5, 6)), (((2,),), np.array([0, 4])), (((2,),), np.array([1, 5]))),
    (Put(2, 1, 3), (BTF, X), ((ROWS, STEP, (2,)), floats(B, T, 2))),
    (Scatter(1, True), ((ROWS, (7,)), floats(B, 7)), ((ROWS, STEP), integers(7, B, T)), ((ROWS, STEP), floats(B, T))),
    (Scatter(2), (BTF, X), ((ROWS, STEP, (2,)), numbers.permuted(np.tile(np.arange(6), (B, T, 1)), axis=2)[..., :2]),
     ((ROWS, STEP, (2,)), floats(B, T, 2))),
    (GRU(network(6, 5)), (BTF, X)),
    (GRU(network(6, 6, 1, 2)), (BTF, X), STATES),
    (GRU(network(6, 5), masked=True), (BTF, X), ((ROWS, STEP), numbers.random((B, T)) < 0.7)),
    (GRUCell(network(6, 5)), ((ROWS, (6,)), floats(B, 6)), ((ROWS, (5,)), floats(B, 5))),
]  # fmt: skip

# What takes rows, or steps of rows, together.
MIXED = [
    (Reduce("sum", (0,)), BTF),
    (AlongAxis("softmax", 0), BTF),
    (CumulativeSum(0), BTF),
    (CumulativeExtreme("max", 0), BTF),
    (Select(0, 1), BTF),
    (Flip((0,)), BTF),
    (Roll(1, 1), BTF),
    (Slice(0, 1, None), BTF),
    (Take(1), BTF, ((2,),)),
    (Pad(((0, 0), (0, 1), (0, 0)), 0.0, "edge"), BTF),
    (Pad(((1, 0), (0, 0), (0, 0))), BTF),
    (AdaptivePool("mean", (2,)), BTF),
    (Pool("mean", (3,), (1,), ((1, 1),), (1,), False, False), BTF),
    (Concatenate(0), BTF, BTF),
    (Concatenate(1), BTF, BTF),
    (MatMul(), (ROWS, (6,)), ((6,), ROWS)),
    (Einsum("bti,bti->ti"), BTF, BTF),
    (GRU(network(6, 5)), (STEP, ROWS, (6,))),
    (View((symbol("steps"), batch, 6)), BTF),
    (Repeat((2, 1, 1)), BTF),
    (SizeOf(STEPS),),
    (Arange(0, batch),),
    (Scatter(0), BTF, BTF, BTF),
    (Put(1, 1, 3), BTF, (ROWS, (2,), (6,))),
    (Longest(STEPS), (ROWS,)),
]


def sizes_of(layout, array):
    """The shape with symbols for the batch and the steps."""
    known = {BATCH: batch}
    return tuple(
        known.get(axis[0], axis[0].size if isinstance(axis[0], Steps) else size) if axis else 1
        for axis, size in zip(layout, array.shape, strict=True)
    )


def cut(layout, array, row, lengths=LENGTHS):
    """One row, up to its end."""
    index = []
    for axis in layout:
        if axis == ROWS:
            index.append(slice(row, row + 1))
        elif axis and isinstance(axis[0], Steps):
            index.append(slice(0, evaluate(axis[0].size, {"steps": int(lengths[row])})))
        else:
            index.append(slice(None))
    return array[tuple(index)]


def filled(rows, array, fill):
    real = rows.real(array.shape)
    if real is None or fill is None:
        return array
    limits = {-np.inf: np.iinfo(np.int64).min, np.inf: np.iinfo(np.int64).max}
    value = fill if array.dtype.kind == "f" else np.asarray(limits.get(fill, fill)).astype(array.dtype)
    return np.where(real, array, np.asarray(value, array.dtype))


def run(operation, arrays, call):
    options = {"precision": "float32", "n_threads": 1, "backend": None}
    return operation.prepare(Setup(DTYPE, options))(arrays, call)


@pytest.mark.parametrize("case", FOLLOWED, ids=lambda case: f"{type(case[0]).__name__}-{len(case) - 1}")
def test_a_row_among_longer_ones_is_what_it_is_alone(case):
    operation, *inputs = case
    layouts, arrays = [layout for layout, _ in inputs], [array for _, array in inputs]
    shapes = [sizes_of(layout, array) for layout, array in inputs]
    followed = operation.follow(layouts, shapes)
    rows = [Rows(layout, {"steps": LENGTHS}) for layout in layouts]
    fills = operation.fills(layouts)
    given = [filled(*each) for each in zip(rows, arrays, fills, strict=True)]
    made = run(operation, given, Call(DTYPE, {"batch": B, "steps": T}, rows if rows else None))
    kinds = {"f": "float", "i": "integer", "b": "boolean"}
    tensors = [Tensor(s, kinds[a.dtype.kind]) for s, a in zip(shapes, arrays, strict=True)]
    for tensor, array in zip(operation.infer(tensors), made, strict=True):
        assert tuple(evaluate(size, {"batch": B, "steps": T}) for size in tensor.shape) == array.shape
        assert kinds[array.dtype.kind] == tensor.dtype
    for row in range(B):
        own = [cut(layout, array, row) for layout, array in inputs]
        alone = run(operation, own, Call(DTYPE, {"batch": 1, "steps": int(LENGTHS[row])}))
        for layout, array, wanted in zip(followed, made, alone, strict=True):
            got = of_row(layout, array, row).reshape(wanted.shape)
            assert got.dtype == wanted.dtype
            assert np.allclose(got, wanted, rtol=1e-5, atol=1e-5)


def of_row(layout, array, row):
    """The real part of one row of an output whose axes may have several factors."""
    rows = Rows(layout, {"steps": LENGTHS})
    fine = [part for axis, size in zip(layout, array.shape, strict=True) for part in rows._parts(axis, size)]
    split = array.reshape([size for _, size in fine])
    index = []
    for factor, _ in fine:
        ends = rows.of(factor) if isinstance(factor, Steps) else None
        whole = slice(row, row + 1) if isinstance(factor, Batch) else slice(None)
        index.append(whole if ends is None else slice(0, int(ends[row])))
    return split[tuple(index)]


@pytest.mark.parametrize("case", MIXED, ids=lambda case: type(case[0]).__name__)
def test_what_takes_rows_or_unknown_steps_together_says_so(case):
    operation, *layouts = case
    shapes = [
        tuple(batch if axis == ROWS else axis[0].size if isinstance(axis[0], Steps) else axis[0] for axis in layout)
        for layout in layouts
    ]
    with pytest.raises(Mixed):
        operation.follow(layouts, shapes)


def test_every_operation_is_followed_here_or_refused():
    seen = {type(case[0]).__name__ for case in [*FOLLOWED, *MIXED]}
    assert sorted(set(by_name()) - seen - OTHERS) == []


OTHERS: set[str] = set()


def test_rows_of_other_lengths_than_a_table_has_places_are_refused() -> None:
    """A table of six rows is added: three steps alone cannot be, and one alone makes six."""
    builder = Builder()
    x = builder.input("x", (symbol("batch"), symbol("steps"), 4))
    made = builder.add(Binary("add"), x, builder.constant(np.ones((6, 4), np.float32)), name="table")
    model = Model(builder.finish(made.place))
    x = np.zeros((2, 6, 4), np.float32)
    np.testing.assert_array_equal(model(x, lengths=[6, 6]), model(x))
    for length in (1, 3):
        with pytest.raises(ShapeError, match=f"a row of {length} steps, but layer 'table' is made for 6"):
            model(x, lengths=[6, length])
