"""Promise: long sequences go through causal layers a block of steps at a time, with the bits that they have at once."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from layer_examples import chain
from networks import network, numbers, same_bits

from fastgru import Model, ShapeError
from fastgru.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv1D,
    Dense,
    Embedding,
    GRULayer,
    Input,
    Last,
    Layer,
    LayerNormalization,
    Max,
    Mean,
    ModelSpec,
    Node,
    sequential,
)
from fastgru.model import as_tuple
from fastgru.options import kernel_table
from fastgru.streams import blocks
from fastgru.threads import asking_for

pytestmark = pytest.mark.skipif(kernel_table().vector_length == 1, reason="without kernels there are no programs")
CONV = Conv1D(numbers(6, 4, 3), numbers(6), padding="causal", activation="relu")


def layer(name: str, of: Layer, *inputs: str) -> Node:
    return Node(name, of, inputs)


CASES: dict[str, Any] = {  # what goes in blocks, by name
    "gru": lambda: chain(GRULayer(network(4, 9, 2)), Dense(numbers(3, 9))),
    "convolution": lambda: chain(CONV, GRULayer(network(6, 7)), Dense(numbers(3, 7))),
    "last step": lambda: chain(GRULayer(network(4, 20)), Last(), Dense(numbers(3, 20))),
    "norms": lambda: chain(
        Dense(numbers(4, 4)), LayerNormalization(numbers(4), numbers(4), 1e-3), GRULayer(network(4, 17)),
        BatchNormalization(numbers(17), numbers(17) ** 2), Activation("tanh"),
    ),
    "two outputs": lambda: ModelSpec(
        (Input("x", (None, 4)),),
        (layer("a", GRULayer(network(4, 6)), "x"), layer("b", Dense(numbers(6, 6)), "a"), layer("sum", Add(), "a", "b"),
         layer("last", Last(), "sum")),
        outputs=("sum", "last"),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four steps, of calls of any size."""
    for name, value in {"WHOLE_BYTES": 0, "BLOCK_BYTES": 1, "FEWEST": 4, "MOST": 8}.items():
        monkeypatch.setattr(blocks, name, value)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The blocks of every call that went in some."""
    seen: list[list[int]] = []
    taken = blocks._taken

    def noted(model: Model, cut: Any, arrays: Any) -> Any:
        seen.append(cut.blocks)
        return taken(model, cut, arrays)

    monkeypatch.setattr(blocks, "_taken", noted)
    return seen


def at_once(model: Model, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "FEWEST", sys.maxsize)
        return model(x)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_blocks_give_the_bits_of_the_whole(
    name: str, threads: int, calls: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(CASES[name](), n_threads=threads)
    for batch, steps in ((1, 8), (1, 33), (3, 9), (1, 30), (20, 16), (3, 50)):
        x = numbers(batch, steps, 4)
        wanted = as_tuple(at_once(model, x, monkeypatch))
        assert not calls
        for _ in range(2):
            got = as_tuple(model(x))
            assert all(same_bits(one, other) for one, other in zip(got, wanted, strict=True)), (batch, steps)
            assert all(each.flags.owndata and each.flags.writeable for each in got)
            assert sum(calls.pop()) == steps
        assert same_bits(as_tuple(model(x[0]))[0], wanted[0][0])
        calls.clear()


def test_a_single_step_is_never_a_block(calls: list[list[int]]) -> None:
    model = Model(CASES["gru"]())
    model(numbers(1, 9, 4))
    model(numbers(1, 10, 4))
    assert calls == [[4, 5], [4, 4, 2]]


@pytest.mark.parametrize("spec", [
    lambda: chain(GRULayer(network(4, 9, 1, 2))),
    lambda: chain(Conv1D(numbers(6, 4, 3), padding="same"), GRULayer(network(6, 7))),
    lambda: chain(Conv1D(numbers(6, 4, 3)), GRULayer(network(6, 7))),
    lambda: chain(GRULayer(network(4, 9), go_backwards=True)),
    lambda: chain(GRULayer(network(4, 5)), Mean()),
    lambda: chain(CONV, GRULayer(network(6, 5)), Max()),
])  # fmt: skip
def test_what_is_not_causal_goes_at_once(spec: Any, calls: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Model(spec()), numbers(2, 40, 4)
    assert same_bits(model(x), at_once(model, x, monkeypatch)) and not calls


@pytest.mark.parametrize("options", [{"precision": "float64"}, {"backend": "blas"}])
def test_what_is_no_program_goes_at_once(options: Any, calls: list[list[int]]) -> None:
    assert Model(CASES["gru"](), **options)(numbers(2, 40, 4)).shape == (2, 40, 3) and not calls


def test_short_and_small_calls_go_at_once(calls: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(CASES["gru"]())
    model(numbers(2, 7, 4))
    monkeypatch.setattr(blocks, "WHOLE_BYTES", 1 << 20)
    model(numbers(2, 40, 4))
    assert not calls
    model(numbers(2, 9000, 4))
    assert len(calls) == 1


def test_no_rows_and_no_steps_are_as_ever(calls: list[list[int]]) -> None:
    model = Model(CASES["two outputs"]())
    assert [each.shape for each in model(numbers(0, 30, 4))] == [(0, 30, 6), (0, 6)] and not calls
    with pytest.raises(ShapeError, match="no steps"):
        model(numbers(2, 0, 4))


def test_lengths_go_at_once(calls: list[list[int]]) -> None:
    model, x = Model(CASES["last step"]()), numbers(2, 20, 4)
    got = model(x, lengths=[20, 11])
    assert not calls and same_bits(got[1], model(x[1, :11]))


def test_an_integer_that_is_no_row_is_the_same_error(calls: list[list[int]]) -> None:
    layers = {"words": Embedding(numbers(10, 5)), "gru": GRULayer(network(5, 8)), "out": Dense(numbers(3, 8))}
    model = Model(sequential([*layers.items()]))
    x = np.arange(60).reshape(2, 30) % 10
    wanted = model(x)
    assert len(calls) == 1
    x[1, 20] = 10
    with pytest.raises(ShapeError, match="got the integer 10, wanted 0 to 9"):
        model(x)
    x[1, 20] = 0
    assert same_bits(model(x), wanted)


def test_any_number_of_threads_call_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, xs = Model(CASES["convolution"](), n_threads=1), [numbers(2, 41, 4, seed=seed) for seed in range(8)] * 20
    wanted = [at_once(model, x, monkeypatch) for x in xs[:8]] * 20
    with ThreadPoolExecutor(8) as threads:
        assert all(map(same_bits, threads.map(model, xs), wanted))


def test_a_given_number_of_threads_is_taken(calls: list[list[int]]) -> None:
    model, x = Model(CASES["gru"]()), numbers(20, 40, 4)
    wanted = model(x)
    with asking_for(2):
        assert same_bits(model(x), wanted)
    assert len(calls) == 2
