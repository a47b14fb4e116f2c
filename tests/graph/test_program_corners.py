"""Promise: compiled graphs keep the numbers of their operations where rows, padding, zeros and repeats are unusual."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from both_ways import assert_same, compiled, floats, in_numpy, model_of, numbers

from fastgru import UnsupportedModelError
from fastgru.graph.builder import Builder
from fastgru.graph.compile import Compiled
from fastgru.graph.operations.along import AlongAxis
from fastgru.graph.operations.convolution import Convolution, TransposedConvolution
from fastgru.graph.operations.elementwise import Activation, Unary
from fastgru.graph.operations.normalization import Normalize
from fastgru.graph.operations.pooling import Pool
from fastgru.graph.operations.reduce import Reduce
from fastgru.graph.operations.shape import Expand, Permute
from fastgru.graph.run import MAX_COMPILED, _keep
from fastgru.graph.size import symbol
from fastgru.graph.writer import Writer


def test_an_activation_joins_a_convolution_whose_rows_do_not_follow_each_other() -> None:
    builder = Builder()
    windows = Convolution(floats(5, 3, 3, 1), None, (1, 1), ((0, 0), (0, 0)), (1, 1))
    made = builder.add(Activation("relu"), builder.add(windows, builder.input("x", (2, 12, 19, 3))))
    model = model_of(builder.finish((made.place,)))
    arrays = {"x": floats(2, 12, 19, 3)}
    assert_same(compiled(model, arrays), in_numpy(model, arrays))


@pytest.mark.parametrize("padding", [(1, 1), (2, 0), (0, 2)])
@pytest.mark.parametrize("transposed", [False, True])
def test_windows_of_one_step_beside_padding_give_each_row_what_it_gives_alone(
    padding: tuple[int, int], transposed: bool
) -> None:
    builder = Builder()
    operation: Any = Convolution(floats(4, 3, 1), floats(4), (1,), (padding,))
    if transposed:
        operation = TransposedConvolution(floats(3, 4, 1), floats(4), (1,), ((0, 0),), output_padding=(padding[1],))
    made = builder.add(operation, builder.input("x", (symbol("batch"), symbol("steps"), 3)))
    model, x, lengths = model_of(builder.finish((made.place,))), floats(3, 5, 3), np.array([5, 2, 1])
    together = compiled(model, {"x": x}, lengths)
    assert_same(together, in_numpy(model, {"x": x}, lengths))
    for row, length in enumerate(lengths):
        alone = in_numpy(model, {"x": x[row : row + 1, :length]})[0]
        np.testing.assert_array_equal(together[0][row, : alone.shape[1]], alone[0])
    if transposed or padding[1] == 0:
        if padding != (2, 0) or not transposed:  # which adds no place
            with pytest.raises(UnsupportedModelError, match="takes several steps together"):
                model.stream()
        return
    stream = model.stream(3)
    parts = [stream.run(x[:, :2])[0], stream.run(x[:, 2:])[0], stream.finish()[0]]
    np.testing.assert_array_equal(np.concatenate(parts, 1), in_numpy(model, {"x": x})[0])


@pytest.mark.parametrize("padding", [(0, 0), (1, 1)])
def test_a_mean_of_zeros_has_the_sign_that_it_has_in_numpy(padding: tuple[int, int]) -> None:
    builder = Builder()
    made = builder.add(Pool("mean", (2,), (1,), (padding,)), builder.input("x", (1, 9, 3)))
    model = model_of(builder.finish((builder.add(Unary("reciprocal"), made).place,)))
    arrays = {"x": np.where(floats(1, 9, 3) < 0.5, np.float32(-0.0), np.float32(0.0))}
    assert_same(compiled(model, arrays), in_numpy(model, arrays))


@pytest.mark.parametrize("shape", [(2, 9, 3), (2, 9, 40), (3, 70, 17), (1, 1, 1)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    "operation",
    [
        *[Pool(name, (2,), (stride,), ((1, 1),)) for name in ("max", "mean") for stride in (1, 2, 3)],
        Pool("max", (2,), (4,), ((0, 7),), ceiling=True), Pool("mean", (2,), (1,), ((1, 1),), counts_padding=False),
        *[Reduce(name, (axis,)) for name in ("sum", "mean", "max", "min") for axis in (1, 2)],
        *[AlongAxis(name, axis) for name in ("softmax", "log_softmax", "softmin") for axis in (1, 2)],
        *[Normalize((2,), None, None, 1e-5, rms) for rms in (False, True)],
    ],
    ids=str,
)  # fmt: skip
def test_odd_values_give_what_they_give_in_numpy(operation: Any, transposed: bool, shape: tuple[int, ...]) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38, -3e38, 1e-45], np.float32)
    for share in (0.02, 0.2, 0.9):
        x = floats(*shape)
        where = numbers.random(shape) < share
        x[where] = numbers.choice(odd, int(where.sum()))
        builder = Builder()
        given = builder.input("x", (shape[0], shape[2], shape[1]) if transposed else shape)
        given = builder.add(Permute((0, 2, 1)), given) if transposed else given
        model = model_of(builder.finish((builder.add(operation, given).place,)))
        arrays = {"x": np.ascontiguousarray(x.transpose(0, 2, 1)) if transposed else x}
        assert_same(compiled(model, arrays), in_numpy(model, arrays))


def test_results_of_repeated_values_can_be_written() -> None:
    builder = Builder()
    repeated = builder.add(Expand((4, -1)), builder.add(Unary("neg"), builder.input("x", (1, 3))))
    model = model_of(builder.finish((builder.add(Activation("linear"), repeated).place,)))
    made = compiled(model, {"x": floats(1, 3)})[0]
    made[0] = 7
    assert (made[1:] != 7).all()


def test_a_signal_handler_may_call_the_model_that_it_interrupts() -> None:
    builder = Builder()
    made = builder.add(Unary("neg"), builder.input("x", (symbol("batch"), 3)))
    model = model_of(builder.finish((made.place,)))
    calls: list[int] = []

    class Interrupted(dict[Any, Any]):
        """Shapes that it is compiled for, in which a signal arrives whenever one is looked up."""

        def get(self, key: Any, default: Any = None) -> Any:
            if model._runner._compiles and len(calls) < 3:
                x = np.ones((len(calls) + 5, 3))
                calls.append(len(x))
                np.testing.assert_array_equal(model(x)[0], -x)
            return super().get(key, default)

    model._runner._compiled = Interrupted()
    np.testing.assert_array_equal(model(np.ones((2, 3)))[0], -np.ones((2, 3)))
    assert len(calls) == (3 if model._runner._compiles else 0)


def test_ever_new_shapes_keep_the_latest_alone_and_leave_nothing_behind() -> None:
    builder = Builder()
    made = builder.add(Unary("neg"), builder.input("x", (symbol("batch"), 3)))
    model = model_of(builder.finish((made.place,)))
    gc.collect()
    before = sum(type(each) is Compiled for each in gc.get_objects())
    gc.disable()  # what waits for it in a circle is found below
    try:
        for rows in range(1, 1001):
            x = np.ones((rows, 3), np.float32)
            for _ in range(2):
                np.testing.assert_array_equal(model(x)[0], -x)
        alive = [each for each in gc.get_objects() if type(each) in (Compiled, Writer)]
    finally:
        gc.enable()
    kept = MAX_COMPILED if model._runner._compiles else 0
    assert len(model._runner._compiled) == len(model._runner.callers) == kept
    assert [type(each) for each in alive] == [Compiled] * (before + kept)


def test_a_first_call_compiles_and_the_second_goes_straight_to_the_program() -> None:
    builder = Builder()
    made = builder.add(Unary("neg"), builder.input("x", (symbol("batch"), 3)))
    model, x = model_of(builder.finish((made.place,))), np.ones((2, 3), np.float32)
    for callers in (0, 1):
        np.testing.assert_array_equal(model(x)[0], -x)
        assert len(model._runner._compiled) == int(model._runner._compiles)
        assert len(model._runner.callers) == callers * int(model._runner._compiles)


def test_what_is_kept_may_change_while_an_item_is_added() -> None:
    kept: dict[Any, int] = {}

    class Interrupted(int):
        """A key at whose first comparisons other items are added."""

        left = 2

        def __hash__(self) -> int:
            if self.left:
                self.left -= 1
                for key in range(40, 45):
                    _keep(kept, key, key, 3)
            return int(self)

    for key in range(6):
        _keep(kept, Interrupted(key), key, 3)
    assert len(kept) == 3
