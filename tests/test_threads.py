"""Promise: threads follow what the caller, the environment and the machine allow; forks compute; the GIL is free."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from networks import network, numbers, run_python, same_bits

from fastgru import GRU, threads

KINDS = [("float32", "packed"), ("float32", "blas"), ("float64", "blas")]


def quota_of(tmp_path, own: str, files: dict[str, str]) -> float | None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return threads._cgroup_quota(tmp_path / "root", tmp_path / "own")


@pytest.mark.parametrize(
    ("own", "files", "wanted"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "50000 100000", "cpu.max": "max 100000"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/host/path\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/../..\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "nonsense\n"}, None),
        ("0::/\n", {"cpu.max": ""}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        ("0::/\n", {"cpu.max": "-1 100000\n"}, None),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "250000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 2.5),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("3:cpuacct,cpu:/h\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 1),
        ("4:memory:/a\n3:cpuset:/a\n", {"cpu/a/cpu.cfs_quota_us": "1", "cpu/a/cpu.cfs_period_us": "1"}, None),
        ("1:cpu:/a\n0::/a\n", {"a/cpu.max": "max 1", "cpu/a/cpu.cfs_quota_us": "9", "cpu/a/cpu.cfs_period_us": "3"}, 3),
        ("", {}, None),
        ("rubbish\n", {}, None),
    ],
)
def test_a_cgroups_quota_is_read(tmp_path, own, files, wanted):
    assert quota_of(tmp_path, own, files) == wanted


def test_without_cgroups_there_is_no_quota(tmp_path):
    assert threads._cgroup_quota(tmp_path, tmp_path / "nothing") is None


@pytest.mark.parametrize(("quota", "wanted"), [(None, 6), (0.2, 1), (1.0, 1), (1.5, 2), (4.0, 4), (64.0, 6)])
def test_processors_are_cut_by_the_quota(monkeypatch, quota, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(threads, "_cgroup_quota", lambda: quota)
    assert threads.available.__wrapped__() == wanted


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_is_respected():
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from fastgru import threads
print(threads.available(), threads.threads_for(None, 64, 10**12))
"""
    assert run_python(code).stdout.split() == ["1", "1"]


def test_the_rule_starts_no_thread_that_the_work_does_not_pay_for(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 8)
    monkeypatch.setattr(threads, "_from_environment", lambda: None)
    work = threads.WORK_PER_THREAD
    assert threads.threads_for(None, 64, 2 * work - 1) == 1
    assert threads.threads_for(None, 64, 2 * work) == 2
    assert threads.threads_for(None, 64, 100 * work) == 8
    assert threads.threads_for(None, 3, 100 * work) == 3
    assert threads.threads_for(None, 1, 100 * work) == threads.threads_for(4, 1, 100 * work) == 1
    assert threads.threads_for(4, 64, 0) == 4


def test_the_callers_number_comes_before_the_environments(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 8)
    monkeypatch.setattr(threads, "_from_environment", lambda: 3)
    assert threads.threads_for(None, 64, 0) == 3 and threads.threads_for(2, 64, 0) == 2


def test_there_are_never_more_threads_than_processors(monkeypatch):
    """Threads that take turns on a processor wait for each other at every step: a hundred times slower."""
    monkeypatch.setattr(threads, "available", lambda: 2)
    monkeypatch.setattr(threads, "_from_environment", lambda: 64)
    assert threads.threads_for(None, 64, 0) == threads.threads_for(8, 64, 0) == 2
    assert threads.team_for(8, 1, 10**9, 1, 10**9) == threads.threads_for_steps(8) == 2


def test_shares_are_of_equal_work():
    assert threads.shares_of(np.full(8, 5), 1).tolist() == [0, 8]
    assert threads.shares_of(np.full(8, 5), 2).tolist() == [0, 4, 8]
    assert threads.shares_of(np.full(9, 5), 3).tolist() == [0, 3, 6, 9]
    assert threads.shares_of(np.array([100, 1, 1, 1]), 2).tolist() == [0, 1, 4]


@pytest.mark.parametrize(("precision", "backend"), KINDS)
def test_eight_threads_share_one_gru(precision, backend):
    gru = GRU(network(8, 33, 2, 2), precision=precision, backend=backend, n_threads=2)
    inputs = [numbers(5, 30, 8, seed=seed) for seed in range(8)]
    wanted = [gru(x) for x in inputs]
    wrong: list[int] = []

    def call(who: int) -> None:
        for _ in range(15):
            for one, other in zip(gru(inputs[who]), wanted[who], strict=True):
                if np.abs(one - other).max() > 0:
                    wrong.append(who)

    workers = [threading.Thread(target=call, args=(who,)) for who in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not wrong and not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize("what", ["sequence", "step"])
@pytest.mark.parametrize(("precision", "backend"), KINDS)
def test_the_gil_is_free_during_a_call(precision, backend, what):
    gru = GRU(network(128, 256), precision=precision, backend=backend, n_threads=1)
    x, many = numbers(64, 100, 128, dtype=precision), numbers(6000, 128, dtype=precision)
    stream = gru.stream(6000)
    call = (lambda: gru(x)) if what == "sequence" else (lambda: stream.step(many))
    call()
    ticks: list[float] = []
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.001):
            ticks.append(time.perf_counter())

    worker = threading.Thread(target=tick)
    worker.start()
    try:
        inside = 0
        for _ in range(3):
            start = time.perf_counter()
            call()
            end = time.perf_counter()
            quarter = (end - start) / 4  # far from both ends, where the lock is held to make the arrays
            inside += sum(start + quarter < at < end - quarter for at in ticks)
    finally:
        over.set()
        worker.join(30)
    assert inside >= 3


FORK = """
import os, sys
import numpy as np
sys.path.insert(0, {tests!r})
from networks import network, numbers, same_bits
from fastgru import GRU, threads
gru = GRU(network(5, 40, 2, 2), precision={precision!r}, backend={backend!r}, n_threads=2)
x = numbers(8, 50, 5)
wanted = gru(x)                 # starts the threads that do not survive the fork
child = os.fork()
if not child:
    ok = all(np.abs(a - b).max() < 1e-6 for a, b in zip(gru(x), wanted)) and threads._forked
    grandchild = os.fork()
    if not grandchild:
        os._exit(0 if np.abs(gru(x)[0] - wanted[0]).max() < 1e-6 else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
    fresh = GRU(network(5, 8), n_threads=2)(x)[0].shape == (8, 50, 8)
    os._exit(0 if ok and fresh and status == 0 else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert all(same_bits(a, b) or {backend!r} == "blas" for a, b in zip(gru(x), wanted)) and not threads._forked
print("child:", status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(("precision", "backend"), KINDS)
def test_a_forked_child_computes(precision, backend):
    code = FORK.format(tests=os.path.dirname(__file__), precision=precision, backend=backend)
    result = run_python(code, timeout=60)
    assert result.stdout.strip() == "child: 0", result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_during_a_blas_call_computes():
    before_fork = FORK.split("child = os.fork()")[0]
    code = before_fork.format(tests=os.path.dirname(__file__), precision="float64", backend="blas")
    code += """
import threading, time
over = threading.Event()
workers = [threading.Thread(target=lambda: [gru(x) for _ in iter(over.is_set, True)]) for _ in range(2)]
for worker in workers:
    worker.start()
ended = []
for _ in range(8):
    time.sleep(0.01)
    child = os.fork()
    if not child:
        os._exit(0 if np.abs(gru(x)[0] - wanted[0]).max() < 1e-6 else 1)
    until = time.monotonic() + 5
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone or time.monotonic() > until:
            break
        time.sleep(0.005)
    if not gone:
        os.kill(child, 9)
        os.waitpid(child, 0)
    ended.append(os.waitstatus_to_exitcode(status) if gone else "hung")
over.set()
for worker in workers:
    worker.join()
print(ended)
"""
    result = run_python(code, timeout=60)
    assert result.stdout.strip() == str([0] * 8), result.stderr


def test_many_threads_on_few_processors_give_the_same(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 32)  # no more than these are ever used
    spec, x = network(5, 33, 2), numbers(40, 20, 5)
    wanted = GRU(spec, n_threads=1, backend="packed")(x)
    for n_threads in (2, 7, 32):
        got = GRU(spec, n_threads=n_threads, backend="packed")(x)
        assert all(same_bits(*pair) for pair in zip(got, wanted, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="resource limits are Linux's")
def test_threads_that_cannot_be_started_do_not_end_the_process():
    code = """
import resource
import numpy as np, fastgru
weights = {"weight_ih_l0": np.zeros((6, 3), "f4"), "weight_hh_l0": np.zeros((6, 2), "f4")}
gru = fastgru.from_torch(weights, n_threads=1024)
gru(np.zeros((1, 2, 3)))
fastgru.threads.available = lambda: 1024  # or there would be no more threads than processors
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    gru(np.zeros((1024, 2, 3)))
except fastgru.FastGRUError as error:
    print(error)
"""
    result = run_python(code)
    assert result.returncode == 0, signal.Signals(-result.returncode) if result.returncode < 0 else result.stderr
    assert "n_threads: the system let this process start" in result.stdout
