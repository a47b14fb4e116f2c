"""Many Python threads in one model, one pool and one team at a time, for ThreadSanitizer: ``.ci/sanitize`` runs it.

    python tests/sanitizers/threads.py [ROUNDS]

Everything is checked to have the bits of one thread alone. Prints how many calls there were; the exit code is 1 where
one was wrong. Python is not instrumented, so that races are found between what the engine's own code reads and writes.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from networks import network, numbers, same_bits

import fastgru
from fastgru import threads
from fastgru.layers import Dense, Embedding, GRULayer, Last, sequential

CALLERS = 5
WORDS = 50
KINDS = ("float32", "int8", "bfloat16", "float64")

Check = Callable[[int, int], bool]  # from a caller and a round: whether its call was right


class Over(Exception):
    """What the handler of a signal raises."""


def one_gru(precision: str, rows: int) -> Check:
    """Sequences through one GRU: by rows where there are several, by a team where there is one."""
    gru = fastgru.GRU(network(96, 96, 2, 2), precision=precision, n_threads=3)
    alone = fastgru.GRU(network(96, 96, 2, 2), precision=precision, n_threads=1)
    given = [numbers(rows, 30, 96, seed=seed).astype(gru.dtype) for seed in range(CALLERS)]
    wanted = [alone(x) for x in given]
    exact = precision != "float64"
    return lambda caller, _: all(
        same_bits(a, b) if exact else bool(np.allclose(a, b, atol=1e-12))
        for a, b in zip(gru(given[caller]), wanted[caller], strict=True)
    )


def layers() -> Any:
    parts = [
        ("words", Embedding(numbers(WORDS, 24))), ("gru", GRULayer(network(24, 64))), ("last", Last()),
        ("out", Dense(numbers(7, 64))),
    ]  # fmt: skip
    return sequential(parts)


def one_model() -> Check:
    """Whole models: rows in pieces that threads take, and rows of a table that several meet first."""
    model = fastgru.Model(layers(), n_threads=3)
    alone = fastgru.Model(layers(), n_threads=1)
    given = [np.random.default_rng(seed).integers(0, WORDS, (64, 20)) for seed in range(CALLERS)]
    wanted = [alone(x) for x in given]
    return lambda caller, _: same_bits(model(given[caller]), wanted[caller])


def fresh_models() -> Check:
    """A model of every round, so that all callers make its programs and the rows of its table at the same time."""
    meeting, lock, made = threading.Barrier(CALLERS), threading.Lock(), {}
    wanted = fastgru.Model(layers(), n_threads=1)(np.arange(WORDS)[None])

    def call(_: int, turn: int) -> bool:
        meeting.wait(60)
        with lock:
            model = made.setdefault(turn, fastgru.Model(layers(), n_threads=2))
        return same_bits(model(np.arange(WORDS)[None]), wanted)

    return call


def one_pool() -> Check:
    """Streams that join, step in groups, begin again and leave, of every caller its own."""
    model = fastgru.Model(sequential([("gru", GRULayer(network(8, 40))), ("out", Dense(numbers(3, 40)))]), n_threads=1)
    pool = model.pool(20 * CALLERS)

    def call(caller: int, turn: int) -> bool:
        random = np.random.default_rng([caller, turn])
        ids, stream, right = pool.join(20), model.stream(20), True
        for _ in range(4):
            x = random.standard_normal((20, 8)).astype(np.float32)
            made = np.empty((20, 3), np.float32)
            for part in np.array_split(random.permutation(20), 3):
                made[part] = pool.step(ids[part], x[part])
            right = right and same_bits(made, stream.step(x))
        pool.reset(ids[:5])
        pool.leave(ids)
        return right

    return call


def streams() -> Check:
    """Steps of streams that are wide enough for a team."""
    gru = fastgru.GRU(network(256, 256), n_threads=3)
    alone = fastgru.GRU(network(256, 256), n_threads=1)
    pairs = [(gru.stream(1), alone.stream(1)) for _ in range(CALLERS)]

    def call(caller: int, turn: int) -> bool:
        x = numbers(1, 256, seed=turn)
        mine, other = pairs[caller]
        return all(same_bits(mine.step(x), other.step(x)) for _ in range(10))

    return call


CHECKS: dict[str, Callable[[], Check]] = {
    **{f"{kind}, {rows} rows": partial(one_gru, kind, rows) for kind in KINDS for rows in (1, 9)},
    "one model": one_model,
    "fresh models": fresh_models,
    "one pool": one_pool,
    "streams": streams,
}


def calls_of(name: str, rounds: int) -> tuple[int, int]:
    """How many calls there were of all callers at the same time, and how many of them were wrong."""
    check, wrong = CHECKS[name](), [0] * CALLERS

    def work(caller: int) -> None:
        for turn in range(rounds):
            try:
                wrong[caller] += not check(caller, turn)
            except Exception as error:
                wrong[caller] += 1
                print(f"{name}: {type(error).__name__}: {error}")

    callers = [threading.Thread(target=work, args=(caller,)) for caller in range(CALLERS)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    return CALLERS * rounds, sum(wrong)


def interrupted(rounds: int) -> tuple[int, int]:
    """Long calls of the main thread that a handler ends, with others at work; how many there were and did not end."""

    def over(*_: Any) -> None:
        raise Over

    # A weight matrix of 3 MB a direction and step: each call would last for 0.7 s, of which the handler leaves 0.1.
    gru = fastgru.GRU(network(64, 512, 1, 2), n_threads=3)
    team, rows = numbers(1, 20000, 64), numbers(8, 5000, 64)
    small, wanted = rows[:2, :20].copy(), gru(rows[:2, :20].copy())[0]
    wrong, done, others = 0, threading.Event(), list[bool]()

    def beside() -> None:
        while not done.is_set():
            others.append(same_bits(gru(small)[0], wanted))

    before = signal.signal(signal.SIGALRM, over)
    worker = threading.Thread(target=beside)
    worker.start()
    try:
        for turn in range(rounds):
            with contextlib.suppress(Over):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                gru(rows if turn % 2 else team)
                wrong += 1
                print("interrupts: a call came to its end")
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        done.set()
        worker.join()
        signal.signal(signal.SIGALRM, before)
    return rounds + len(others), wrong + others.count(False)


def main(rounds: int) -> int:
    threads.available = lambda: 4  # of which a small machine has fewer, and they take turns
    total = failed = 0
    for name in (*CHECKS, "interrupts"):
        count, wrong = interrupted(2 + rounds // 4) if name == "interrupts" else calls_of(name, rounds)
        print(f"{name}: {count} calls, {wrong} wrong", flush=True)
        total, failed = total + count, failed + wrong
    print(f"{total} calls by {CALLERS} threads, {failed} wrong")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
