"""Promise: a team of threads computes the same bits as one thread, whatever its size, and nobody waits for ever."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from networks import LEVELS, STACKS, network, numbers, plan_at, run_python, same_bits, states_of

from fastgru import GRU, threads
from fastgru.engine.state import State
from fastgru.errors import StreamInUseError

# Of the reduced precisions stacks whose units make several slices, with tails, and one with a single block.
PRECISE = [(shape, "float32") for shape in STACKS]
PRECISE += [((5, 33, 3, 2), "float16"), ((9, 100, 1, 2), "bfloat16"), ((33, 140, 1, 1), "bfloat16")]
PRECISE += [((3, 7, 2, 1), "int8"), ((2, 65, 2, 1), "int8"), ((9, 100, 1, 2), "int8")]


def run(plan, x, h0, lengths, shares, team):
    order = np.argsort(-lengths, kind="stable")
    return plan.run(x, h0, order, lengths[order], np.array(shares, np.intp), True, team)


@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize(("shape", "precision"), PRECISE, ids=str)
@pytest.mark.parametrize("level", LEVELS)
def test_teams_of_any_size_agree(level, shape, precision, reset_after):
    plan = plan_at(level, network(*shape, reset_after=reset_after), precision)
    for batch, steps in ((1, 1), (1, 5), (1, 23), (3, 9), (9, 4)):
        x = numbers(batch, steps, shape[0])
        h0 = numbers(shape[2] * shape[3], batch, shape[1])
        lengths = np.maximum(steps - np.arange(batch), 1)
        wanted = run(plan, x, h0, lengths, [0, batch], 1)
        for team in (2, 3, 4, 7):
            for shares in [[0, batch]] + [[0, 1, batch]] * (batch > 1):
                got = run(plan, x, h0, lengths, shares, team)
                assert all(same_bits(one, other) for one, other in zip(got, wanted, strict=True)), (batch, steps, team)


@pytest.mark.parametrize(
    ("batch", "precision"),
    [(1, "float32"), (3, "float32"), (20, "float32"), (1, "float16"), (3, "bfloat16"), (1, "int8"), (20, "int8")],
)
@pytest.mark.parametrize("level", LEVELS)
def test_a_team_steps_as_one_thread(level, batch, precision):
    spec = network(256, 256, 2)
    plan = plan_at(level, spec, precision)
    alone, together = State(plan, batch), State(plan, batch, 3)
    assert (alone.members, together.members > 1) == (1, True)
    for step in range(30):  # one after the other, so that the team is awake
        x = numbers(batch, 256, seed=step)
        assert same_bits(alone.step(x), together.step(x)), step
    assert same_bits(alone.get(), together.get())


def test_a_small_step_has_no_team():
    assert State(plan_at(LEVELS[-1], network(64, 64)), 1, 8).members == 1
    assert State(plan_at(LEVELS[-1], network(256, 256, reset_after=False)), 1, 8).members == 1


def test_a_gru_of_one_row_uses_a_team(monkeypatch):
    monkeypatch.setattr(threads, "STEP_WORK_PER_MEMBER", 1)
    for shape, precision in PRECISE:
        spec = network(*shape)
        x, h0 = numbers(40, shape[0]), numbers(states_of(spec), shape[1])
        wanted = GRU(spec, precision=precision, backend="packed", n_threads=1)(x, h0)
        got = GRU(spec, precision=precision, backend="packed", n_threads=3)(x, h0)
        assert all(same_bits(one, other) for one, other in zip(got, wanted, strict=True)), shape


def test_nothing_is_read_after_its_memory_is_given_back():
    """Where every workspace is a mapping of its own, which is gone when it is freed."""
    program = """
import numpy as np, fastgru
from fastgru import threads
threads.available = lambda: 4
for hidden, directions in ((160, 1), (64, 1), (48, 2)):
    names = [f"weight_{kind}_l0{end}" for kind in ("ih", "hh") for end in ("", "_reverse")[:directions]]
    gru = fastgru.from_torch({name: np.full((3 * hidden, hidden), 0.01, np.float32) for name in names}, n_threads=4)
    for batch in (1, 2, 3, 9):
        y, _ = gru(np.ones((batch, 100, hidden), np.float32))
        assert np.isfinite(y).all()
"""
    ended = run_python(program, MALLOC_MMAP_THRESHOLD_="4096")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_many_callers_and_one_team(precision):
    gru = GRU(network(128, 128, 1, 2), precision=precision, backend="packed", n_threads=4)
    inputs = [numbers(60, 128, seed=seed) for seed in range(6)]
    wanted = [GRU(gru.spec, precision=precision, backend="packed", n_threads=1)(x) for x in inputs]
    wrong: list[int] = []

    def call(who: int) -> None:
        for _ in range(20):
            if not all(same_bits(a, b) for a, b in zip(gru(inputs[who]), wanted[who], strict=True)):
                wrong.append(who)

    callers = [threading.Thread(target=call, args=(who,)) for who in range(len(inputs))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong and not any(caller.is_alive() for caller in callers)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_team_on_one_processor_ends_and_leaves_affinities_alone():
    before = os.sched_getaffinity(0)
    gru = GRU(network(64, 96), backend="packed", n_threads=4)
    x = numbers(50, 64)
    wanted = gru(x)
    assert os.sched_getaffinity(0) == before
    try:
        os.sched_setaffinity(0, {min(before)})
        got = gru(x)
    finally:
        os.sched_setaffinity(0, before)
    assert all(same_bits(one, other) for one, other in zip(got, wanted, strict=True))


def test_the_size_of_a_team(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 8)
    monkeypatch.setattr(threads, "_from_environment", lambda: None)
    little, much, step = threads.TEAM_WORK - 1, threads.TEAM_WORK, threads.STEP_WORK_PER_MEMBER
    assert threads.team_for(None, 1, little, 1, 100 * step) == 1
    assert threads.team_for(None, 1, much, 1, 100 * step) == 8
    assert threads.team_for(None, 1, much, 1, 3 * step) == 3
    assert threads.team_for(None, 1, much, 2, 3 * step) == 6
    assert threads.team_for(None, 3, 3 * much, 2, 100 * step) == 2
    assert threads.team_for(None, 8, 8 * much, 1, 100 * step) == 1
    assert threads.team_for(2, 1, 0, 1, 100 * step) == threads.team_for(2, 1, 0, 2, 0) == 2
    assert threads.team_for(2, 1, 0, 1, 2 * step - 1) == threads.team_for(1, 1, much, 2, 100 * step) == 1
    assert threads.threads_for_steps(4) == 4 and threads.threads_for_steps(None) == 8


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8"])
def test_a_step_may_write_over_its_input(precision):
    for size, layers in ((33, 1), (256, 1), (512, 1), (256, 2))[:: 1 if precision == "float32" else 3]:
        gru = GRU(network(size, size, layers), precision=precision, backend="packed", n_threads=2)
        given, over = gru.stream(), gru.stream()
        x = numbers(size)
        for step in range(50):
            wanted = given.step(x.copy())
            got = over.step(x, out=x)
            assert got is x and same_bits(got, wanted), (size, layers, step)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_stream_goes_on_in_a_forked_child():
    code = """
import os, signal, numpy as np, fastgru
weights = {"weight_ih": np.ones((768, 256)), "weight_hh": np.ones((768, 256))}
stream, x = fastgru.from_torch(weights, n_threads=2).stream(), np.ones(256, np.float32)
for _ in range(100): stream.step(x)
child = os.fork()
if child == 0:
    signal.alarm(20)
    for _ in range(100): stream.step(x)
    os._exit(0 if np.isfinite(fastgru.from_torch(weights)(np.ones((9, 256)))[0]).all() else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run_python(code).stdout.strip() == "0"


def test_a_stream_that_two_threads_step_says_so_or_is_right():
    gru = GRU(network(256, 256), backend="packed", n_threads=2)
    stream, x = gru.stream(), numbers(256)
    wanted, alone = set(), gru.stream()
    for _ in range(4000):
        wanted.add(alone.step(x).tobytes())
    wrong: list[str] = []
    taken, refused = [], []

    def steps() -> None:
        for _ in range(2000):
            try:
                y = stream.step(x)
            except StreamInUseError:
                refused.append(1)
            except BaseException as error:
                wrong.append(repr(error))
            else:
                taken.append(1)
                if y.tobytes() not in wanted:
                    wrong.append("bits")

    callers = [threading.Thread(target=steps) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong and not any(caller.is_alive() for caller in callers)
    assert taken and len(taken) + len(refused) == 4000
    stream.reset()
    alone.reset()
    for _ in range(5):
        assert same_bits(stream.step(x), alone.step(x))


def test_a_process_with_subinterpreters_goes_on():
    code = """
import numpy as np, fastgru
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
gru = fastgru.from_torch({"weight_ih": np.ones((768, 256)), "weight_hh": np.ones((768, 256))}, n_threads=2)
interpreters.create()
for x in (np.ones((100, 256), "f4"), np.ones((8, 100, 256), "f4")):
    gru(x)
stream = gru.stream()
for _ in range(100): stream.step(np.ones(256, "f4"))
print("alive")
"""
    ended = run_python(code)
    assert ended.stdout.strip() == "alive", ended.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_thread_that_lost_its_processors_computes_alone():
    code = """
import os, time, numpy as np, fastgru
gru = fastgru.from_torch({"weight_ih": np.ones((384, 128)), "weight_hh": np.ones((384, 128))}, n_threads=2)
x = np.ones((100, 128), "f4")
def fastest():
    times = []
    for _ in range(20):
        start = time.perf_counter(); gru(x); times.append(time.perf_counter() - start)
    return min(times)
fastest()
for task in os.listdir("/proc/self/task"):
    try:
        os.sched_setaffinity(int(task), {min(os.sched_getaffinity(0))})
    except ProcessLookupError:  # it has just ended
        assert int(task) not in map(int, os.listdir("/proc/self/task"))
assert len(os.sched_getaffinity(0)) == 1
print(fastest())
"""
    ended = run_python(code)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < 5e-3  # alone 0.25 ms; in turns on one processor 20 ms
