"""Promise: a call that takes long lets handlers of signals run, ends where one raises something, and tears nothing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from networks import network, run_python

import fastgru
from fastgru.graph.builder import Builder
from fastgru.graph.operations.matmul import MatMul
from fastgru.graph.operations.product import Linear
from fastgru.graph.operations.recurrent import GRU
from fastgru.graph.size import symbol
from fastgru.model import Model

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")

AFTER, WITHIN = 0.1, 0.2  # seconds, of the call and of the handler
LEAST = 1.5  # that a call takes which is interrupted


class Over(Exception):
    pass


@contextmanager
def alarm(handler: Callable[..., Any], after: float = AFTER) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def raises(*_: Any) -> None:
    raise Over


def whole_model(**options: Any) -> Model:
    builder = Builder()
    y, _ = builder.add(GRU(network(64, 96)), builder.input("x", (symbol("batch"), symbol("steps"), 64)))
    weight = np.random.default_rng(0).normal(size=(96, 96)).astype(np.float32)
    return Model(builder.finish(builder.add(Linear(weight), y).place), **options)


CALLS: dict[str, tuple[Callable[[], Any], tuple[int, int]]] = {  # what is called, and its batch and features
    "one row": (lambda: fastgru.GRU(network(64, 96), n_threads=1), (1, 64)),
    "one row, a team": (lambda: fastgru.GRU(network(64, 256, 1, 2), n_threads=4), (1, 64)),
    "two layers": (lambda: fastgru.GRU(network(64, 96, 2, 2), n_threads=1), (3, 64)),
    "a batch on threads": (lambda: fastgru.GRU(network(64, 96), n_threads=2), (64, 64)),
    "float64": (lambda: fastgru.GRU(network(64, 96), precision="float64", n_threads=2), (8, 64)),
    "int8": (lambda: fastgru.GRU(network(64, 96), precision="int8", n_threads=1), (8, 64)),
    "a model": (lambda: whole_model(n_threads=1), (8, 64)),
    "a model on threads": (lambda: whole_model(n_threads=2), (64, 64)),
    "a stream": (lambda: whole_model(n_threads=1).stream(8), (8, 64)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_handlers_exception_ends_a_long_call(name: str) -> None:
    make, (batch, features) = CALLS[name]
    called = make()
    run = called.run if name == "a stream" else called
    few = np.random.default_rng(1).normal(size=(batch, 50, features)).astype(np.float32)
    run(few)
    before = time.perf_counter()
    wanted = run(few)
    steps = int(50 * 2 * LEAST / max(time.perf_counter() - before, 1e-5)) + 50
    x = np.zeros((batch, steps, features), "float64" if name == "float64" else "float32")  # taken as it lies
    if name == "a stream":
        called.reset()
        wanted = run(few)
        states = called.state
    for _ in range(2):  # compiled by the first call, and by then
        began = time.perf_counter()
        with pytest.raises(Over), alarm(raises):
            run(x)
        assert time.perf_counter() - began < 3 * (AFTER + WITHIN) + x.nbytes / 1e9  # of a machine that is busy
    if name == "a stream":
        assert all(map(np.array_equal, called.state, states))
        called.reset()
    again = run(few)
    pairs = zip(again, wanted, strict=True) if isinstance(wanted, tuple) else [(again, wanted)]
    assert all(np.array_equal(one, other) for one, other in pairs)


def test_a_handlers_exception_ends_a_long_product_of_two_values() -> None:
    builder = Builder()
    one, other = (builder.input(name, shape) for name, shape in (("one", (3000, 9000)), ("other", (9000, 4000))))
    model = Model(builder.finish(builder.add(MatMul(), one, other).place), n_threads=1)
    arrays = np.ones((3000, 9000), np.float32), np.ones((9000, 4000), np.float32)
    for _ in range(3):
        began = time.perf_counter()
        with pytest.raises(Over), alarm(raises):
            model(*arrays)
        assert time.perf_counter() - began < 3 * (AFTER + WITHIN)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_handler_that_returns_changes_nothing_and_may_call_the_same_network(precision: Any) -> None:
    gru = fastgru.GRU(network(64, 96), precision=precision, n_threads=2)
    x = np.random.default_rng(1).normal(size=(16, 1500, 64)).astype(np.float32)
    wanted, made = gru(x)[0], []
    for _ in range(3):
        with alarm(lambda *_: made.append(gru(x[:, :40])[0]), 0.01):
            assert np.array_equal(gru(x)[0], wanted)
    assert made and all(np.array_equal(each, wanted[:, :40]) for each in made)


def test_other_threads_are_not_interrupted() -> None:
    gru = fastgru.GRU(network(64, 96), n_threads=1)
    x = np.zeros((16, 4000, 64), np.float32)
    wanted, made = gru(x)[0], []
    thread = threading.Thread(target=lambda: made.append(gru(x)[0]))
    thread.start()
    with pytest.raises(Over), alarm(raises, 0.01):
        time.sleep(60)
    thread.join()
    assert np.array_equal(made[0], wanted)


def test_interrupts_during_calls_through_blas_leave_nothing_held():
    result = run_python("""
import os, signal, time
import numpy as np, fastgru
from threadpoolctl import ThreadpoolController
weights = {"weight_ih_l0": np.ones((96, 8)), "weight_hh_l0": np.ones((96, 32)) / 32}
gru = fastgru.from_torch(weights, precision="float64")
x = np.ones((4, 20, 8))
wanted = gru(x)[0]
blas = ThreadpoolController().select(internal_api="openblas")
before = [library["num_threads"] for library in blas.info()]
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
interrupts, until = 0, time.monotonic() + 1
while time.monotonic() < until:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0011)    # once, so that none comes while this one is dealt with
        while True:
            gru(x)
    except KeyboardInterrupt:
        interrupts += 1
child = os.fork()
if not child:
    os._exit(not np.array_equal(gru(x)[0], wanted))
assert os.waitpid(child, 0)[1] == 0
assert [library["num_threads"] for library in blas.info()] == before
assert np.array_equal(gru(x)[0], wanted) and interrupts > 100
print("held")
""")
    assert result.stdout.strip().endswith("held"), result.stderr
