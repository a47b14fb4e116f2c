"""Promise: a product of two values is that of float64 as near as sums of 128 terms are, whatever lies beside a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import LEVELS

from fastgru import ShapeError
from fastgru.engine import dispatch
from fastgru.engine.plan import KernelTable
from fastgru.engine.program import Arenas, Program
from fastgru.engine.strided import Strided

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 127, 128, 129, 130, 200]
EPSILON = 2.0**-24
WITH_FMA = [level for level in LEVELS if level != "baseline"]

numbers = np.random.default_rng(11)


@pytest.fixture(params=LEVELS)
def kernels(request: pytest.FixtureRequest) -> KernelTable:
    return KernelTable(dispatch.kernels(request.param))


def floats(*shape: int) -> np.ndarray:
    return numbers.standard_normal(shape).astype(np.float32)


def product(kernels: KernelTable, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``x @ y`` by the instruction; whatever strides they have, of the array that they are views of."""
    earlier = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    shape = (*earlier, x.shape[-2], y.shape[-1])
    buffers: list[Any] = [("output", "f", shape)]
    arrays, parts = [], [Strided(0, "f", 0, shape, Strided.of(shape))]
    for place, array in enumerate((x, y)):
        base = array if array.base is None else array.base
        assert base.flags.c_contiguous
        whole = np.broadcast_to(array, (*earlier, *array.shape[-2:]))
        offset = (array.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // 4
        strides = tuple(0 if n == 1 else step // 4 for n, step in zip(whole.shape, whole.strides, strict=True))
        parts.append(Strided(place + 1, "f", offset, whole.shape, strides))
        buffers.append(("input", "f", base.size))
        arrays.append(base)
    program = Program(buffers, 64)
    program.matmul("n", kernels, *parts)
    return program.run(arrays, Arenas())[0]


def assert_near(got: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Each product and each sum of a part may be rounded, and each sum of parts."""
    wide, other = x.astype(np.float64), y.astype(np.float64)
    terms = x.shape[-1]
    most = (min(terms, 128) + -(-terms // 128) + 1) * EPSILON
    assert (np.abs(got - wide @ other) <= most * (np.abs(wide) @ np.abs(other))).all()


def laid(kind: str, *shape: int) -> np.ndarray:
    """Numbers that lie as an operand may."""
    *earlier, rows, columns = shape
    if kind == "turned":
        return floats(*earlier, columns, rows).swapaxes(-1, -2)
    if kind == "apart":
        return floats(*earlier, rows, columns + 3)[..., 2 : columns + 2]
    if kind == "turned and apart":
        return floats(*earlier, columns, rows + 3)[..., 2 : rows + 2].swapaxes(-1, -2)
    return floats(*shape)


@pytest.mark.parametrize("kind", ["plain", "turned", "apart", "turned and apart"])
def test_products_of_any_size_are_near_those_of_float64(kernels: KernelTable, kind: str) -> None:
    for seed, rows in enumerate(SIZES):
        for turn in range(len(SIZES)):
            terms, columns = SIZES[turn], SIZES[(7 * turn + seed) % len(SIZES)]
            x, y = laid("apart" if turn % 2 else "plain", rows, terms), laid(kind, terms, columns)
            assert_near(product(kernels, x, y), x, y)


def test_larger_products_are_near_those_of_float64(kernels: KernelTable) -> None:
    for rows, terms, columns in ((1030, 5, 3), (3, 1000, 390), (1025, 130, 770), (1, 500, 1000)):
        for kind in ("plain", "turned"):
            x, y = floats(rows, terms), laid(kind, terms, columns)
            assert_near(product(kernels, x, y), x, y)


@pytest.mark.parametrize("shapes", [
    ((3, 5, 7), (3, 7, 9)), ((3, 5, 7), (7, 20)), ((5, 7), (4, 7, 17)), ((2, 3, 9, 33), (2, 3, 33, 40)),
    ((2, 1, 4, 6), (5, 6, 3)), ((1, 3, 1, 8), (4, 1, 8, 1)), ((2, 2, 1, 2, 3), (2, 3, 4)),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", ["plain", "turned", "apart"])
def test_earlier_axes_are_broadcast(kernels: KernelTable, shapes: Any, kind: str) -> None:
    x, y = laid("plain" if kind == "turned" else kind, *shapes[0]), laid(kind, *shapes[1])
    assert_near(product(kernels, x, y), x, y)


def test_a_row_has_its_bits_whatever_lies_beside_it(kernels: KernelTable) -> None:
    for terms in (3, 64, 300):
        for columns in (1, 5, 16, 40, 64, 100, 130):
            x, y = floats(21, terms), floats(terms, columns)
            whole = product(kernels, x, y)
            turned = np.ascontiguousarray(y.T).T
            np.testing.assert_array_equal(product(kernels, x, turned), whole)
            for rows in (1, 2, 3, 4, 5, 8, 12, 20):
                np.testing.assert_array_equal(product(kernels, x[:rows].copy(), y), whole[:rows])
            for count in (1, 2, 15, 17, 33, 96):
                kept = y[:, -count:].copy() if count <= columns else y
                np.testing.assert_array_equal(product(kernels, x, kept), whole[:, -count:])
            np.testing.assert_array_equal(product(kernels, y.T.copy(), x.T.copy()), whole.T)


def test_zeros_behind_the_last_term_change_no_bit(kernels: KernelTable) -> None:
    for terms in (1, 60, 128, 129, 255):
        x, y = floats(9, terms), floats(terms, 40)
        for more in (1, 7, 128, 300):
            longer = np.pad(x, ((0, 0), (0, more))), np.pad(y, ((0, more), (0, 0)))
            np.testing.assert_array_equal(product(kernels, *longer), product(kernels, x, y))


@pytest.mark.skipif(len(WITH_FMA) < 2, reason="one level with FMA")
def test_every_level_with_fma_gives_the_same_bits() -> None:
    tables = [KernelTable(dispatch.kernels(level)) for level in WITH_FMA]
    for rows, terms, columns in ((1, 60, 64), (7, 33, 5), (13, 300, 50), (60, 64, 60), (5, 2, 17)):
        x, y = floats(rows, terms), laid("turned", terms, columns)
        first = product(tables[0], x, y)
        for table in tables[1:]:
            np.testing.assert_array_equal(product(table, x, y), first)


def test_odd_values_stay_in_their_rows_and_columns(kernels: KernelTable) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    for rows, terms, columns in ((1, 5, 3), (9, 17, 33), (30, 140, 50), (6, 1, 16)):
        for kind in ("plain", "turned"):
            x, y = floats(rows, terms), laid(kind, terms, columns)
            x[numbers.integers(rows), numbers.integers(terms)] = numbers.choice(odd)
            y[numbers.integers(terms), numbers.integers(columns)] = numbers.choice(odd)
            with np.errstate(all="ignore"):
                wanted = (x.astype(np.float64) @ y.astype(np.float64)).astype(np.float32)
            got = product(kernels, x, y)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
            np.testing.assert_array_equal(got[np.isinf(wanted)], wanted[np.isinf(wanted)])


def test_subnormals_are_zeros_and_the_mode_of_the_process_stays(kernels: KernelTable) -> None:
    x, y = np.full((3, 4), 1e-30, np.float32), np.full((4, 20), 1e-12, np.float32)
    assert (product(kernels, x, y) == 0).all()
    assert np.float32(1e-30) * np.float32(1e-12) != 0


def view(buffer: int, *shape: int, strides: tuple[int, ...] | None = None, offset: int = 0, kind: str = "f") -> Strided:
    return Strided(buffer, kind, offset, shape, Strided.of(shape) if strides is None else strides)


@pytest.mark.parametrize("parts", [
    (view(0, 3, 4), view(1, 3, 5), view(2, 5, 4)),  # 15 of 12 numbers
    (view(0, 3, 4), view(1, 3, 4), view(2, 4, 4)), (view(0, 3, 4), view(1, 3, 2, offset=7), view(2, 2, 4)),
    (view(0, 3, 4), view(1, 3, 2), view(2, 2, 4, offset=-1)), (view(0, 4, 4), view(1, 4, 3), view(2, 3, 4)),
    (view(0, 3, 4), view(1, 3, 2, strides=(1 << 62, 1)), view(2, 2, 4)),
    (view(0, 3, 4), view(1, 3, 2, strides=(2, 2)), view(2, 2, 4)),  # terms apart
    (view(0, 3, 4), view(1, 3, 2), view(2, 2, 4, strides=(2, 2))),
    (view(0, 3, 2, strides=(4, 2)), view(1, 3, 2), view(2, 2, 2)),
    (view(0, 3, 2, strides=(0, 1)), view(1, 3, 2), view(2, 2, 2)),  # written over itself
    (view(1, 3, 2), view(1, 3, 2), view(2, 2, 2)), (view(0, 3, 2), view(1, 3, 2, kind="i"), view(2, 2, 2)),
    (view(0, 3, 2), view(1, 3, 2), view(2, 3, 2)), (view(0, 3, 2), view(1, 3, 0), view(2, 0, 2)),
    (view(0, 2), view(1, 2), view(2, 2, 2)), (view(0, 3, 2), view(1, 1, 3, 2), view(2, 2, 2)),
], ids=str)  # fmt: skip
def test_operands_that_do_not_fit_are_refused(parts: tuple[Strided, ...]) -> None:
    kernels = KernelTable(dispatch.kernels(LEVELS[0]))
    made = Program([("output", "f", (12,)), ("input", "f", 12), ("input", "f", 12)], 64)
    with pytest.raises(ShapeError, match="program"):
        made.matmul("n", kernels, *parts)
    made.elementwise("n", "copy", [view(0, 12), view(1, 12)])  # and leave nothing behind
    x = floats(12)
    np.testing.assert_array_equal(made.run([x, x], Arenas())[0], x)
