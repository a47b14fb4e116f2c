"""Promise: with AMX int8 has the bits it has without, and nothing depends on how rows are cut; pairs: test_pairs.

Where no processor has AMX, a build with FASTGRU_BUILD_FLAGS=-DFASTGRU_AMX_EMULATED runs these; ``.ci/run`` makes one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from networks import LEVELS, Array, layers_of, network, numbers, same_bits

from fastgru.engine import dispatch
from fastgru.engine.plan import KernelTable, Plan
from fastgru.engine.state import State
from fastgru.layers import GATE_ACTIVATIONS, GRUSpec

pytestmark = pytest.mark.skipif("amx" not in LEVELS, reason="no AMX, and not built with its emulation")

INPUTS = (1, 3, 4, 5, 63, 64, 65, 100, 256)
HIDDEN = (1, 15, 16, 17, 48, 65, 100, 256)
BATCHES = (*range(1, 41), 64, 65, 130)
STACKS = [(1, 1, 1, 1), (3, 15, 2, 1), (17, 16, 1, 2), (64, 65, 3, 2), (65, 100, 1, 1)]


def plan_of(spec: GRUSpec, precision: str, level: str = "amx") -> Plan:
    activations = (GATE_ACTIVATIONS.index(spec.activation), GATE_ACTIVATIONS.index(spec.recurrent_activation))
    table = KernelTable(dispatch.kernels(level))
    return Plan(table, layers_of(spec), spec.reset_after, *activations, precision)


def run(plan: Plan, x: Array, h0: Array | None = None, **options: object) -> tuple[Array, ...]:
    """Sequences with the lengths, shares and team of ``options``."""
    batch, steps = x.shape[:2]
    lengths = np.ascontiguousarray(options.pop("lengths", np.full(batch, steps)), dtype=np.intp)
    shares = np.array(options.pop("shares", (0, batch)), dtype=np.intp)
    return plan.run(x, h0, np.arange(batch), lengths, shares, **options)


def alike(one: tuple[Array, ...], other: tuple[Array, ...]) -> bool:
    return all(same_bits(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(params=[True, False], ids=["reset_after", "reset_before"])
def reset_after(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("precision", ["int8", "float16", "float32"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_all_but_bfloat16_have_the_bits_of_avx512_vnni(precision: str, hidden: int, reset_after: bool) -> None:
    for inputs in INPUTS:
        spec = network(inputs, hidden, reset_after=reset_after)
        plan, other = plan_of(spec, precision), plan_of(spec, precision, "avx512_vnni")
        for batch in (1, 7, 8, 9, 16, 17, 33):
            x, h0 = numbers(batch, 3, inputs), numbers(1, batch, hidden)
            assert alike(run(plan, x, h0), run(other, x, h0)), (inputs, batch)


@pytest.mark.parametrize("shape", STACKS, ids=str)
def test_int8_has_the_bits_of_avx512_vnni_in_every_batch(shape: tuple[int, ...], reset_after: bool) -> None:
    spec = network(*shape, reset_after=reset_after)
    plan, other = plan_of(spec, "int8"), plan_of(spec, "int8", "avx512_vnni")
    for batch in BATCHES:
        x = numbers(batch, 4, shape[0])
        lengths = np.sort(np.random.default_rng(batch).integers(1, 5, batch))[::-1]
        assert alike(run(plan, x), run(other, x)), batch
        assert alike(run(plan, x, lengths=lengths), run(other, x, lengths=lengths)), batch


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
@pytest.mark.parametrize("shape", STACKS, ids=str)
def test_lengths_cuts_and_threads_change_nothing(precision: str, shape: tuple[int, ...], reset_after: bool) -> None:
    plan = plan_of(network(*shape, reset_after=reset_after), precision)
    x = numbers(37, 7, shape[0])
    y, h = run(plan, x)
    assert alike(run(plan, x, shares=(0, 5, 6, 37)), (y, h))
    assert alike(run(plan, x, team=2), (y, h)) and alike(run(plan, x[:1].copy(), team=3), (y[:1], h[:, :1]))
    lengths = np.sort(np.random.default_rng(0).integers(1, 8, 37))[::-1]
    ragged = run(plan, x, lengths=lengths)
    for row in (0, 9, 20, 36):
        alone = run(plan, x[row : row + 1, : lengths[row]].copy())
        assert alike(alone, (ragged[0][row : row + 1, : lengths[row]], ragged[1][:, row : row + 1]))
    if shape[3] == 1:
        first, between = run(plan, x[:, :3].copy())
        second, last = run(plan, x[:, 3:].copy(), between)
        assert alike((np.concatenate([first, second], axis=1), last), (y, h))


@pytest.mark.parametrize("shape", [(3, 15, 2, 1), (65, 100, 1, 1), (256, 256, 1, 1)], ids=str)
@pytest.mark.parametrize("batch", [1, 2, 15, 17, 33, 70])
def test_streams_give_what_sequences_give(shape: tuple[int, ...], batch: int, reset_after: bool) -> None:
    plan = plan_of(network(*shape, reset_after=reset_after), "int8")
    x = numbers(batch, 6, shape[0])
    y, h = run(plan, x)
    for threads in (1, 2):
        state = State(plan, batch, threads)
        steps = [state.step(np.ascontiguousarray(x[:, t])) for t in range(6)]
        assert alike((np.stack(steps, axis=1), state.get()), (y, h))


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_every_thread_has_tiles_of_its_own(precision: str) -> None:
    plan = plan_of(network(64, 100, 2), precision)
    x = numbers(33, 20, 64)
    wanted = run(plan, x)
    with ThreadPoolExecutor(4) as pool:
        assert all(alike(got, wanted) for got in pool.map(lambda _: run(plan, x), range(16)))


def test_packed_weights_are_whole_tiles() -> None:
    for precision, terms in (("bfloat16", 32), ("int8", 64)):
        sizes = [plan_of(network(inputs, 16), precision).nbytes for inputs in (1, terms, terms + 1, 2 * terms)]
        assert [later - before for before, later in pairwise(sizes)] == [0, 3 * 16 * 64, 0]
