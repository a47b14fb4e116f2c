"""Promise: threads follow what the caller, the environment and the machine allow; forks compute; the GIL is free."""

from __future__ import annotations

import io
import os
import sys
import threading
import time

import numpy as np
import pytest
from networks import network, numbers, run_python, same_bits

from fastgru import GRU, threads
from fastgru.checkpoint.opened import OpenedFile, open_checkpoint
from fastgru.engine import plan

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
from fastgru import GRU
gru = GRU(network(5, 40, 2, 2), precision={precision!r}, backend={backend!r}, n_threads=2)
x = numbers(8, 50, 5)
wanted = gru(x)                 # starts the threads that do not survive the fork
child = os.fork()
if not child:
    ok = all(np.abs(a - b).max() < 1e-6 for a, b in zip(gru(x), wanted))
    grandchild = os.fork()
    if not grandchild:
        os._exit(0 if np.abs(gru(x)[0] - wanted[0]).max() < 1e-6 else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
    fresh = GRU(network(5, 8), n_threads=2)(x)[0].shape == (8, 50, 8)
    os._exit(0 if ok and fresh and status == 0 else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert all(same_bits(a, b) or {backend!r} == "blas" for a, b in zip(gru(x), wanted))
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


MORE = 0 if plan.THREADS == "none" else 1  # threads beside the calling one of a call with n_threads=2
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc and resource limits are Linux's")


@LINUX
@pytest.mark.parametrize("started", [False, True], ids=["nothing started", "team started"])
def test_a_forked_child_computes_on_as_many_threads_as_its_parent(started):
    code = f"""
import os, signal, numpy as np, fastgru
def tasks(): return len(os.listdir("/proc/self/task"))
gru = fastgru.from_torch({{"weight_ih": np.ones((384, 128)), "weight_hh": np.ones((384, 128)) / 128}}, n_threads=2)
gru = fastgru.GRU(gru.spec, n_threads=2, backend="packed")
x = np.linspace(-1, 1, 4 * 50 * 128, dtype="f4").reshape(4, 50, 128)
alone = fastgru.GRU(gru.spec, n_threads=1, backend="packed")(x)[0].tobytes()
if {started}: gru(x)
def compute():  # rows, a team, and steps of a stream
    before = tasks()
    assert before == 1
    assert gru(x)[0].tobytes() == alone and gru(x[:1])[0].tobytes() == alone[: len(alone) // 4]
    return tasks() - before
child = os.fork()
if not child:
    signal.alarm(20)
    more = compute()
    grandchild = os.fork()
    if not grandchild:
        signal.alarm(20)
        os._exit(compute())
    os._exit(10 * more + os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert gru(x)[0].tobytes() == alone
"""
    ended = run_python(code, timeout=60)
    assert ended.stdout.strip() == str(11 * MORE), ended.stderr


@LINUX
def test_a_child_forked_while_a_team_computes_has_a_team():
    code = """
import os, signal, threading, time, numpy as np, fastgru
gru = fastgru.from_torch({"weight_ih": np.ones((768, 256)), "weight_hh": np.ones((768, 256)) / 256}, n_threads=2)
gru = fastgru.GRU(gru.spec, n_threads=2, backend="packed")
x = np.linspace(-1, 1, 200 * 256, dtype="f4").reshape(1, 200, 256)
wanted = gru(x)[0].tobytes()
rows = np.repeat(x, 4, axis=0)  # shared out by rows: a team for one row is not formed soon after one that was held up
over = threading.Event()
caller = threading.Thread(target=lambda: [gru(x) for _ in iter(over.is_set, True)])
caller.start()
ended = []
for _ in range(20):
    time.sleep(0.003)
    child = os.fork()
    if not child:
        signal.alarm(20)
        right = all(gru(rows)[0][3].tobytes() == wanted for _ in range(3))
        os._exit(right and len(os.listdir("/proc/self/task")))
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
over.set()
caller.join()
print(set(ended))
"""
    ended = run_python(code, timeout=60)
    assert ended.stdout.strip() == str({1 + MORE}), ended.stderr


STARVED = """
import os, resource, sys, threading, warnings
import numpy as np, fastgru
from fastgru import threads
threads.available = lambda: 8
said = []
warnings.showwarning = lambda message, *rest: said.append(str(message))
weights = {{"weight_ih": np.ones((192, 64)), "weight_hh": np.ones((192, 64)) / 64}}
gru = fastgru.from_torch(weights, n_threads=8, precision={precision!r})
if {precision!r} == "float32":
    gru = fastgru.GRU(gru.spec, n_threads=8, backend="packed")
x = np.linspace(-1, 1, 8 * 20 * 64).reshape(8, 20, 64)
wanted = fastgru.from_torch(weights, n_threads=1, precision={precision!r})(x)[0]
def call(x, wanted):
    try:
        assert np.abs(gru(x)[0] - wanted).max() < 1e-6
    except MemoryError:
        said.append("MemoryError")
{limit}
for _ in range(3):
    call(x, wanted)
    call(x[:1], wanted[:1])
print(len(os.listdir("/proc/self/task")), said)
"""
NO_ADDRESS_SPACE = """
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, ((pages * resource.getpagesize()) + ({left} << 20),) * 2)
"""
NO_PROCESSES = """
os.setgroups([]); os.setgid({user}); os.setuid({user})
resource.setrlimit(resource.RLIMIT_NPROC, ({left}, {left}))
"""


@LINUX
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("left", [0, 1, 3, 5, 8, 64])
def test_a_call_computes_on_the_threads_that_address_space_leaves_or_raises(left, precision):
    code = STARVED.format(precision=precision, limit=NO_ADDRESS_SPACE.format(left=left))
    ended = run_python(code, OPENBLAS_NUM_THREADS="1")
    assert ended.returncode == 0, (ended.returncode, ended.stderr)
    if left >= 64 and precision == "float32":
        assert ended.stdout.split()[0] == ("8" if MORE else "1") and "n_threads" not in ended.stdout


@LINUX
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root alone becomes a user of no processes")
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("left", [1, 2, 4])
def test_a_call_computes_on_the_threads_that_the_limit_on_processes_leaves(left, precision):
    code = STARVED.format(precision=precision, limit=NO_PROCESSES.format(user=54000 + os.getpid() % 5000, left=left))
    ended = run_python(code, OPENBLAS_NUM_THREADS="1")
    assert ended.returncode == 0, (ended.returncode, ended.stderr)
    count, said = ended.stdout.split(maxsplit=1)
    assert int(count) == (left if MORE else 1)
    assert said.count("n_threads: the system let this call have") == MORE and "MemoryError" not in said


@LINUX
@pytest.mark.parametrize("order", ["gru, by_numpy", "by_numpy, gru"])
@pytest.mark.parametrize("left", [8, 24, 32, 33, 36, 40, 48, 64, 80, 120])
def test_the_first_float64_call_without_room_for_blas_raises_and_does_not_hang(left, order):
    """OpenBLAS asks for its buffer of 32 MiB again and again until it has it."""
    code = f"""
import resource, numpy as np, fastgru
weights = {{"weight_ih": np.ones((192, 64)), "weight_hh": np.ones((192, 64)) / 64}}
gru = fastgru.from_torch(weights, precision="float64", n_threads=1)
by_numpy = fastgru.GRU(gru.spec.replace(activation="swish"), precision="float64")
x = np.zeros((8, 20, 64))
{NO_ADDRESS_SPACE.format(left=left)}
for each in ({order}):
    try:
        print(each(x)[0].shape)
    except MemoryError as error:
        print(repr(error))
"""
    ended = run_python(code, timeout=60, OPENBLAS_NUM_THREADS="1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("MemoryError") + ended.stdout.count("(8, 20, 64)") == 2
    assert "MemoryError" in ended.stdout or left > 36
    assert "MemoryError" not in ended.stdout or left < 80  # NumPy and SciPy bring a library each


@LINUX
def test_the_threads_take_no_signal_from_the_process():
    code = """
import os, numpy as np, fastgru
gru = fastgru.from_torch({"weight_ih": np.ones((384, 128)), "weight_hh": np.ones((384, 128))}, n_threads=2)
before = set(os.listdir("/proc/self/task"))
gru(np.ones((4, 50, 128), "f4"))
for own in set(os.listdir("/proc/self/task")) - before:
    blocked = [line for line in open(f"/proc/self/task/{own}/status") if line.startswith("SigBlk")]
    mask = int(blocked[0].split()[1], 16)
    print([number for number in (1, 2, 10, 11, 14, 15) if not mask >> (number - 1) & 1])
"""
    assert run_python(code).stdout.split() == ["[11]"] * MORE


@LINUX
def test_a_thread_computes_where_its_caller_may():
    """Threads are shared by all callers, and begin where the caller who started them could."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one processor")
    code = """
import os, threading, numpy as np, fastgru
gru = fastgru.from_torch({"weight_ih": np.ones((384, 128)), "weight_hh": np.ones((384, 128))}, n_threads=2)
everywhere, x = os.sched_getaffinity(0), np.ones((4, 50, 128), "f4")
fastgru.threads.available()
def pinned():
    os.sched_setaffinity(0, {min(everywhere)})
    gru(x)
one = threading.Thread(target=pinned)
one.start()
one.join()
gru(x)
left = set(map(int, os.listdir("/proc/self/task"))) - {one.native_id}  # which may take a moment to be gone
print(all(os.sched_getaffinity(task) == everywhere for task in left))
"""
    assert run_python(code).stdout.strip() == "True"


def test_fewer_threads_than_wanted_are_said_once(monkeypatch):
    monkeypatch.setattr(threads, "_warned", False)
    with pytest.warns(RuntimeWarning, match=r"let this call have 3 of 8 threads, and it computed on these; pass a sma"):
        threads.warn_of_few(3, 8)
    threads.warn_of_few(2, 8)  # a second warning would be an error here


def test_who_looks_at_a_file_holds_nothing_that_another_waits_for(tmp_path):
    """Not even a child that was forked meanwhile, which would wait for ever."""
    begun, over, got = threading.Event(), threading.Event(), []

    class Slow(io.BytesIO):
        def fileno(self):
            begun.set()
            assert over.wait(30)
            raise OSError("no file")

    def look():
        with pytest.raises(OSError, match="no file"):
            _ = OpenedFile("slow", Slow(), 1, b"x").identity

    path = tmp_path / "file"
    path.write_bytes(b"content")
    lookers = [threading.Thread(target=look)]
    try:
        lookers[0].start()
        assert begun.wait(30)
        with open_checkpoint(path) as opened:
            lookers.append(threading.Thread(target=lambda: got.append(opened.identity)))
            lookers[1].start()
            lookers[1].join(5)
            assert got and got[0][0] == 7 and got[0] is opened.identity
    finally:
        over.set()
        for thread in lookers:
            thread.join(30)
