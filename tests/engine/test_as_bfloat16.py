"""Promise: float32 weights that are bfloat16 take half the memory where that is faster, and give the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import LEVELS, layers_of, network, numbers, plan_at, rounded, run_plan, same_bits, states_of

import fastgru
from fastgru import GRU, GRUSpec
from fastgru.activations import GATE_ACTIVATIONS
from fastgru.engine import dispatch
from fastgru.engine.pack import last_vectors
from fastgru.engine.packed import AS_BFLOAT16, Layout, PackedMatrix
from fastgru.engine.plan import GATES, KernelTable, Plan
from fastgru.engine.reduced import upper_halves, widened
from fastgru.options import kernel_table

SHORT = [level for level in LEVELS if KernelTable(dispatch.kernels(level)).as_bfloat16_bytes]
SHAPES = [(64, 64, 1, 1), (63, 65, 2, 1), (1, 100, 1, 2), (90, 130, 1, 1), (200, 50, 2, 2), (5, 170, 2, 1)]
BATCHES = (1, 2, 3, 4, 8, 9, 17, 65)
here = pytest.mark.skipif(not kernel_table().as_bfloat16_bytes, reason="these kernels keep float32 as it is")


def exact(*shape: int, **options: object) -> GRUSpec:
    """A stack whose weights are bfloat16."""
    return rounded(network(*shape, **options), "bfloat16")


class AsFloat32:
    """A matrix that was packed as float32 before, which a plan takes as it is."""

    def __init__(self, weights: np.ndarray, gates: tuple[int, ...], table: KernelTable, last: int) -> None:
        self.shape, self.dtype = weights.shape, weights.dtype
        self.packed = PackedMatrix.of(weights, None, "float32", gates, table.layout, last)

    def form(self, precision: str, name: str) -> object:
        raise AssertionError("it is packed already")


def both(level: str, spec: GRUSpec) -> tuple[Plan, Plan]:
    """The same weights in half the memory, and in all of it."""
    table = KernelTable(dispatch.kernels(level))
    last = table.last_vectors(spec.hidden_size) if spec.reset_after else 0
    given = [
        [
            (AsFloat32(w_ih, (3,), table, last), AsFloat32(w_hh, GATES[spec.reset_after], table, last), b_ih, b_hh)
            for w_ih, w_hh, b_ih, b_hh in layer
        ]
        for layer in layers_of(spec)
    ]
    codes = (GATE_ACTIVATIONS.index(spec.activation), GATE_ACTIVATIONS.index(spec.recurrent_activation))
    return plan_at(level, spec), Plan(table, given, spec.reset_after, *codes)


def kinds(plan: Plan) -> set[str]:
    return {matrix.kind for pair in plan.packed for matrix in pair}


@pytest.mark.parametrize("options", [{}, {"reset_after": False}, {"activation": "relu"}], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("level", SHORT)
def test_it_has_the_bits_of_float32_in_half_the_memory(level: str, shape: tuple[int, ...], options: dict) -> None:
    spec = exact(*shape, **options)
    short, wide = both(level, spec)
    assert kinds(short) == {AS_BFLOAT16} and kinds(wide) == {"float32"}
    biases = sum(8 * 16 * 3 * -(-shape[1] // 16) for layer in spec.layers for _ in layer)
    assert (short.nbytes - biases) <= 0.53 * (wide.nbytes - biases)  # odd numbers of inputs are filled to even ones
    x, h0 = numbers(65, 9, shape[0]), numbers(states_of(spec), 65, shape[1])
    for batch in BATCHES:
        got, wanted = (run_plan(plan, x[:batch], np.ascontiguousarray(h0[:, :batch])) for plan in (short, wide))
        assert all(same_bits(one, other) for one, other in zip(got, wanted, strict=True)), batch
    alone = numbers(1, 41, shape[0])  # projected beside the steps
    assert same_bits(run_plan(short, alone)[0], run_plan(wide, alone)[0])


@pytest.mark.parametrize("value", [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-39, -1e-40, 3e38])
@pytest.mark.parametrize("level", SHORT)
def test_odd_weights_have_the_bits_of_float32(level: str, value: float) -> None:
    spec = exact(64, 64)
    weights = spec.layers[0][0]
    w_ih, w_hh = np.array(weights.w_ih), np.array(weights.w_hh)
    w_ih[:, 0], w_hh[:, 5] = widened(np.full((2, 1), value, np.float32), "bfloat16", "")[0], w_ih[0, 0]
    short, wide = both(level, spec.replace(layers=((weights.replace(w_ih=w_ih, w_hh=w_hh),),)))
    assert kinds(short) == {AS_BFLOAT16}
    x = numbers(9, 5, 64)
    x[:, :, 3] = -0.0
    for batch in (1, 9):
        assert same_bits(run_plan(short, x[:batch])[0], run_plan(wide, x[:batch])[0])


@pytest.mark.parametrize("which", ["w_ih", "w_hh"])
@pytest.mark.parametrize("level", SHORT)
def test_one_weight_with_more_bits_keeps_all_of_its_layer_as_they_are(level: str, which: str) -> None:
    spec = exact(70, 80, 2)
    first, *rest = spec.layers
    changed = np.array(getattr(first[0], which))
    changed[-1, -1] = np.nextafter(changed[-1, -1], np.float32(9))
    plan = plan_at(level, spec.replace(layers=((first[0].replace(**{which: changed}),), *rest)))
    assert [matrix.kind for pair in plan.packed for matrix in pair] == ["float32"] * 2 + [AS_BFLOAT16] * 2
    assert same_bits(plan.form(0, ("w_ih", "w_hh").index(which))[0], changed)


@pytest.mark.parametrize("level", LEVELS)
def test_few_weights_and_other_kernels_keep_them_as_they_are(level: str) -> None:
    table = KernelTable(dispatch.kernels(level))
    assert kinds(plan_at(level, exact(32, 32))) == {"float32"}
    assert kinds(plan_at(level, exact(70, 80), "bfloat16")) == {"bfloat16"}
    assert kinds(plan_at(level, exact(70, 80))) == {AS_BFLOAT16 if table.as_bfloat16_bytes else "float32"}


@pytest.mark.parametrize("layout", [Layout(16, 0, 1), Layout(16, 128, 16), Layout(8, 0, 1)])
@pytest.mark.parametrize("gates", [(3,), (2, 1)])
def test_what_is_packed_is_unpacked_as_float32(gates: tuple[int, ...], layout: Layout) -> None:
    for hidden, inputs in ((1, 1), (17, 64), (33, 9), (50, 6)):
        weights = widened(numbers(3 * hidden, inputs), "bfloat16", "")
        short = upper_halves(weights)
        assert short is not None
        last = last_vectors(hidden, layout.vector_length) if gates == (3,) else 0
        packed = PackedMatrix.of(short, None, AS_BFLOAT16, gates, layout, last)
        packed.check(layout, AS_BFLOAT16, (3 * hidden, inputs), gates, last)
        again, scales = packed.form()
        assert same_bits(again, weights) and scales is None and packed.precision == "float32"


@here
def test_a_model_gives_its_weights_in_any_precision_and_file(tmp_path: Path) -> None:
    spec = exact(70, 80, 2, 2)
    model, x = GRU(spec), numbers(3, 7, 70)
    assert model.precision == "float32" and kinds(model._plan) == {AS_BFLOAT16}
    for precision in ("float64", "float32", "float16", "bfloat16", "int8"):
        assert same_bits(model.astype(precision)(x)[0], GRU(spec, precision=precision)(x)[0])
        model.save(tmp_path / precision, precision=precision)
        again = fastgru.load(tmp_path / precision, precision="stored")
        assert again.precision == precision and same_bits(again(x)[0], model.astype(precision)(x)[0])
    for layer, direction in ((0, 0), (1, 1)):
        weights, given = model.spec.layers[layer][direction], spec.layers[layer][direction]
        assert same_bits(np.asarray(weights.w_ih), given.w_ih) and same_bits(np.asarray(weights.w_hh), given.w_hh)


@here
def test_a_packed_file_has_them_as_they_are_beside_others(tmp_path: Path) -> None:
    spec = exact(70, 80, 2)
    model, x = GRU(spec.replace(layers=(spec.layers[0], network(80, 80).layers[0]))), numbers(3, 7, 70)
    wanted = [AS_BFLOAT16] * 2 + ["float32"] * 2
    model.save(tmp_path / "packed", packed=True)
    again = fastgru.load(tmp_path / "packed", precision="stored")
    assert again.precision == "float32" and same_bits(again(x)[0], model(x)[0])
    for each in (model, again):
        assert [matrix.kind for pair in each._plan.packed for matrix in pair] == wanted
    assert all(not array.flags.owndata for pair in again._plan.packed for matrix in pair for array in matrix.arrays)
    again.save(tmp_path / "again", packed=True)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "packed").read_bytes()
    assert same_bits(again.astype("int8")(x)[0], model.astype("int8")(x)[0])
