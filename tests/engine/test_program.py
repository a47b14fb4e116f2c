"""Promise: a program refuses every operand that reaches beyond its buffer, and every call that does not fit it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import LEVELS, layers_of, network

from fastgru import ShapeError
from fastgru.engine import dispatch
from fastgru.engine.affine import Affine
from fastgru.engine.plan import KernelTable, Plan
from fastgru.engine.program import Arenas, Program
from fastgru.engine.strided import Strided

KERNELS = KernelTable(dispatch.kernels(LEVELS[0]))
HUGE = 1 << 62


def program() -> Program:
    """Buffers of 12 numbers: 0 in the arena, 1 an input, 2 an output, 3 a constant; 4 are 3 integers of an input."""
    buffers: list[Any] = [("arena", "f", (64, 12)), ("input", "f", 12), ("output", "f", (3, 4))]
    buffers += [("constant", "f", np.arange(12, dtype=np.float32)), ("input", "i", 3)]
    return Program(buffers, 128)


def part(buffer: int, *shape: int, kind: str = "f", offset: int = 0, strides: tuple[int, ...] | None = None) -> Strided:
    return Strided(buffer, kind, offset, shape, Strided.of(shape) if strides is None else strides)


def affine(inputs: int, outputs: int) -> Affine:
    return Affine(KERNELS, np.ones((outputs, inputs), np.float32), np.zeros(outputs, np.float32))


BEYOND = [
    part(1, 13), part(1, 3, 5), part(1, 12, offset=1), part(1, 12, offset=-1), part(1, 3, strides=(6,)),
    part(1, 3, strides=(-1,)), part(1, 4, offset=2, strides=(-1,)), part(7, 1), part(-1, 1), part(1, 2, kind="i"),
    part(1, 0), part(1, -3), part(1, HUGE), part(1, HUGE, 8), part(1, 2, strides=(HUGE * 4,)),
    part(1, 2, offset=HUGE * 8), part(1, 2, strides=(-HUGE * 4,), offset=HUGE * 4), part(4, 3),
    part(1, 1 << 63), part(1, 1 << 70), part(1, *[1 << 32] * 3), part(1, 3, strides=(1 << 63,)), part(1 << 70, 1),
    part(1, 2, strides=(-(1 << 63),)), part(1, 2, strides=(-(1 << 63),), offset=11), part(1, 2, offset=(1 << 63) - 1),
    part(1, 3, strides=((1 << 63) - 1,)), part(1, 5, strides=(1 << 62,)), part(1, 5, offset=1, strides=(-(1 << 62),)),
    part(1, 5, 5, strides=(1 << 62, -(1 << 62))), part(1, 1, offset=1 << 62), part(1, *[1] * 65), part(1, *[2] * 64),
    part(1, 1 << 62, strides=(4,)), part(1, (1 << 62) + 1, strides=(-4,)), part(1, 4, offset=3, strides=(3,)),
]  # fmt: skip


@pytest.mark.parametrize("bad", BEYOND, ids=str)
def test_an_operand_beyond_its_buffer_is_refused(bad: Strided) -> None:
    made = program()
    fitting = part(2, *(size if 0 < size < 5 else 1 for size in bad.shape))
    for inputs in ([bad, bad], [fitting, bad]):
        with pytest.raises(ShapeError, match="program"):
            made.elementwise("n", "copy", inputs)
    calls = [
        lambda: made.activate("n", KERNELS, 1, fitting, bad),
        lambda: made.reduce("n", KERNELS, "sum", part(2, *bad.shape[:-1]), bad),
        lambda: made.along("n", KERNELS, "softmax", fitting, bad),
        lambda: made.normalize("n", KERNELS, fitting, bad, None, None, 1e-5, False),
        lambda: made.linear("n", affine(4, 4), part(2, 3, 4), bad),
        lambda: made.embed("n", part(2, 3, 4), bad, part(4, 3, kind="i")),
    ]
    for call in calls:
        with pytest.raises(ShapeError, match="program"):
            call()
    assert len(made) == 0


@pytest.mark.parametrize(
    "result", [part(1, 3, 4), part(3, 3, 4), part(2, 3, 4, strides=(0, 1)), part(0, 4, 4)], ids=str
)
def test_a_result_that_may_not_be_written_is_refused(result: Strided) -> None:
    with pytest.raises(ShapeError, match="program"):
        program().elementwise("n", "copy", [result, part(1, 4).expanded(result.shape)])
    with pytest.raises(ShapeError, match="program"):
        program().linear("n", affine(4, 4), result, part(1, 3, 4))


def test_operands_that_do_not_fit_each_other_are_refused() -> None:
    made, x, out = program(), part(1, 3, 4), part(2, 3, 4)
    plan = Plan(KERNELS, layers_of(network(4, 2)), True, 2, 3)
    rows = part(4, 3, kind="i")
    calls = [
        lambda: made.elementwise("n", "add", [out, x]),
        lambda: made.elementwise("n", "nothing", [out, x]),
        lambda: made.elementwise("n", "copy", [out, part(1, 4)]),
        lambda: made.activate("n", KERNELS, 99, out, x),
        lambda: made.activate("n", KERNELS, 1, part(2, 2, 2, strides=(4, 1)), part(1, 2, 2, strides=(4, 1))),
        lambda: made.linear("n", affine(5, 4), out, x),
        lambda: made.linear("n", affine(4, 4), out, part(1, 3, 4, strides=(1, 3))),
        lambda: made.convolve("n", affine(9, 4), out, x, 2, 1, 1, 0),
        lambda: made.convolve("n", affine(8, 4), out, x, 2, 0, 1, 0),
        lambda: made.convolve("n", affine(8, 5), out, x, 2, 1, 1, 0),
        lambda: made.pool("n", KERNELS, True, out, part(1, 4, 3), 2, 1, 1, 0, (0, 0)),
        lambda: made.pool("n", KERNELS, True, out, x, 2, 1, -1, 0, (0, 0)),
        lambda: made.pool("n", KERNELS, True, out, x, 2, 1, 1, HUGE, (0, 0)),
        lambda: made.pool("n", KERNELS, True, out, x, 2, 1, 1, -HUGE, (0, 0)),
        lambda: made.pool("n", KERNELS, False, out, x, 2, 1, 1, 0, (0, HUGE)),
        lambda: made.embed("n", out, part(3, 3, 3), rows),
        lambda: made.reduce("n", KERNELS, "sum", part(2, 4), x),
        lambda: made.normalize("n", KERNELS, out, x, part(3, 4), None, 1e-5, False),
        lambda: made.recur("n", plan, None, part(2, 1, 3, 2), part(1, 3, 1, 4), None, None, rows, rows, rows, 1),
        lambda: made.recur("n", plan, None, part(2, 1, 3, 4), part(1, 3, 1, 4), None, None, rows, rows, rows, 1),
    ]
    for call in calls[:-2]:
        with pytest.raises(ShapeError):
            call()
    with pytest.raises(ShapeError):
        calls[-1]()
    assert len(made) == 0


@pytest.mark.parametrize(
    "buffers",
    [
        [("arena", "f", (64, 17))], [("arena", "f", (-64, 1))], [("arena", "f", (4, 1))], [("arena", "f", (0, 0))],
        [("arena", "f", (0, HUGE))], [("output", "f", (HUGE, HUGE))], [("output", "f", (3, 0))], [("nowhere", "f", 1)],
    ],
    ids=str,
)  # fmt: skip
def test_a_buffer_that_is_nowhere_is_refused(buffers: list[Any]) -> None:
    with pytest.raises((ShapeError, MemoryError)):
        Program(buffers, 128)
    with pytest.raises(MemoryError):
        Program([], HUGE)


def test_a_call_that_does_not_fit_is_refused() -> None:
    made, pool = program(), Arenas()
    made.elementwise("n", "copy", [part(2, 3, 4), part(1, 3, 4)])
    x, index = np.ones((3, 4), np.float32), np.zeros(3, np.int64)
    np.testing.assert_array_equal(made.run([x, index], pool)[0], x)
    wrong = [[x], [x, index, index], [x[:2], index], [x.astype(np.float64), index], [x.T, index], [index, x], [x, None]]
    for arrays in (*wrong, [x[:, ::-1], index]):
        with pytest.raises((ShapeError, AttributeError)):
            made.run(arrays, pool)


def test_the_order_of_rows_is_checked_by_every_call() -> None:
    plan = Plan(KERNELS, layers_of(network(4, 2)), True, 2, 3)
    buffers: list[Any] = [("input", "f", 12), ("output", "f", (1, 3, 2))]
    made = Program([*buffers, ("input", "i", 3), ("input", "i", 3), ("input", "i", 2)], 64)
    parts = [part(2, 3, kind="i"), part(3, 3, kind="i"), part(4, 2, kind="i")]
    made.recur("n", plan, None, part(1, 1, 3, 2), part(0, 3, 1, 4), None, None, *parts, 1)
    x, good = np.ones((3, 1, 4), np.float32), [np.arange(3), np.ones(3, np.int64), np.array([0, 3])]
    assert made.run([x, *good], Arenas())[0].shape == (1, 3, 2)
    for place, wrong in ((0, [0, 1, 3]), (0, [0, 0, 1]), (0, [-1, 0, 1]), (1, [1, 1, 2]), (1, [1, 1, 0]), (2, [0, 4])):
        given = list(good)
        given[place] = np.array(wrong)
        with pytest.raises(ShapeError, match="rows, lengths or shares"):
            made.run([x, *given], Arenas())


def test_parts_are_what_numpy_makes_of_arrays() -> None:
    numbers = np.random.default_rng(2)
    array = np.arange(120).reshape(2, 3, 4, 5)
    for _ in range(300):
        own, view = part(0, *array.shape, kind="i"), array
        for _ in range(4):
            axis = int(numbers.integers(view.ndim)) if view.ndim else 0
            which = int(numbers.integers(5))
            if which == 0 and view.ndim > 1:
                own, view = own.taken(axis, 0), np.take(view, 0, axis)
            elif which == 1 and view.ndim:
                own = own.sliced(axis, view.shape[axis] - 1, view.shape[axis], -1)
                view = np.flip(view, axis)
            elif which == 2:
                order = tuple(int(each) for each in numbers.permutation(view.ndim))
                own, view = own.permuted(order), view.transpose(order)
            elif which == 3:
                own, view = own.expanded((2, *own.shape)), np.broadcast_to(view, (2, *view.shape))
            else:
                shape = (view.size // 2, 2) if view.size % 2 == 0 else (view.size, 1)
                made = own.reshaped(shape)
                if made is not None:
                    own, view = made, view.reshape(shape)
        assert own is not None
        seen = np.lib.stride_tricks.as_strided(
            array.reshape(-1)[own.offset :], own.shape, [stride * array.itemsize for stride in own.strides]
        )
        np.testing.assert_array_equal(seen, view)
        made = Program([("constant", "i", array), ("output", "i", view.shape)], 0)
        made.elementwise("n", "copy", [part(1, *view.shape, kind="i"), own])
        np.testing.assert_array_equal(made.run([], Arenas())[0], view)
