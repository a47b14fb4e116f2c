"""Promise: what is not the library's own passes through it: MemoryError, and what signal handlers raise anywhere."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time

import numpy as np
import pytest
from networks import network, numbers, run_python

import fastgru
from fastgru import GRU
from fastgru.errors import CheckpointError, DTypeError
from fastgru.origin import raised_in

TIMERS = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")


class OwnError(Exception):
    """Of a caller, who has a time limit."""


def interrupts(call, raises: type[Exception], wanted: int = 30) -> int:
    """How often a call ended with what a handler raised, until it is ``wanted``; anything else is raised here."""

    def end(number, frame):
        raise raises("the time is over")

    before, caught = signal.signal(signal.SIGALRM, end), 0
    try:
        call()
        start = time.perf_counter()
        call()
        usual = time.perf_counter() - start
        for number in range(100 * wanted):
            if caught == wanted:
                break
            try:
                signal.setitimer(signal.ITIMER_REAL, max(usual * (number % 50 + 0.5) / 50, 1e-6))
                call()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except raises as error:
                if type(error) is not raises or str(error) != "the time is over":
                    raise
                caught += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return caught


@pytest.fixture
def h5_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        for number in range(40):
            file[f"layers/gru_{number}/cell/vars/0"] = np.ones((3, 6), np.float32)
    return path


# Between an open() and its with a file is nobody's; Python closes it, and says so.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@TIMERS
@pytest.mark.parametrize("raises", [OwnError, TimeoutError, ValueError, RuntimeError, MemoryError])
def test_what_a_signal_handler_raises_while_an_hdf5_file_is_read_reaches_the_caller(h5_file, raises):
    assert interrupts(lambda: fastgru.read(h5_file), raises) == 30


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@TIMERS
@pytest.mark.parametrize("raises", [OwnError, TimeoutError, ValueError])
def test_what_a_signal_handler_raises_while_a_file_is_read_or_written_reaches_the_caller(tmp_path, raises):
    path = tmp_path / "gru.safetensors"
    gru = GRU(network(40, 40))
    gru.save(path)
    assert interrupts(lambda: fastgru.load(path), raises) == 30
    if raises is not ValueError:  # which pathlib takes for a path that is none
        assert interrupts(lambda: gru.save(path), raises) == 30
    assert sorted(os.listdir(tmp_path)) == ["gru.safetensors"]


class Slow:
    """Something that computes its values when it is asked for them."""

    def __init__(self, values, raises=None):
        self.values, self.raises = values, raises

    def __array__(self, dtype=None, copy=None):
        if self.raises is not None:
            raise self.raises
        for _ in range(2000):
            pass
        return self.values


@TIMERS
@pytest.mark.parametrize("raises", [OwnError, TimeoutError, ValueError, TypeError])
def test_what_a_signal_handler_raises_while_an_argument_is_converted_reaches_the_caller(raises):
    gru = GRU(network(3, 5))
    x, lengths = Slow(numbers(2, 4, 3)), Slow(np.array([4, 2]))
    assert interrupts(lambda: gru(x, lengths=lengths), raises) == 30
    weights = {"weight_ih": Slow(np.ones((6, 3))), "weight_hh": np.ones((6, 2))}
    assert interrupts(lambda: fastgru.from_torch(weights), raises) == 30


@pytest.mark.parametrize("kind", [OwnError, MemoryError, ValueError, TimeoutError])
def test_what_an_arguments_own_conversion_raises_reaches_the_caller(kind):
    error = kind("own")
    gru = GRU(network(3, 5))
    for x in (Slow(None, error), [Slow(None, error)]):
        with pytest.raises(type(error), match="own") as caught:
            gru(x)
        assert caught.value is error
    with pytest.raises(type(error), match="own"):
        gru(numbers(2, 4, 3), lengths=Slow(None, error))
    with pytest.raises(type(error), match="own"):
        gru.stream().step(Slow(None, error))


def test_what_numpy_refuses_is_still_named():
    gru = GRU(network(3, 5))
    with pytest.raises(DTypeError, match="x: cannot be made an array"):
        gru([[1.0, 2.0], [3.0]])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and resource limits are Linux's")
def test_too_little_memory_for_a_file_is_a_memory_error(tmp_path):
    path = tmp_path / "gru.safetensors"
    GRU(network(1000, 1000)).save(path)
    code = f"""
import resource, fastgru
fastgru.read
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, ((pages * resource.getpagesize()) + (9 << 20),) * 2)
try:
    fastgru.load({str(path)!r})
except MemoryError as error:
    print(error)
"""
    ended = run_python(code)
    assert ended.stdout.strip() == f"{path}: there is not enough memory to read it", ended.stderr


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="this system has no file that is never readable")
def test_a_disk_that_fails_is_still_named(tmp_path):
    (tmp_path / "cannot be opened").symlink_to(tmp_path / "cannot be opened")
    with pytest.raises(CheckpointError, match=r"cannot be opened \("):
        fastgru.load(tmp_path / "cannot be opened")
    with pytest.raises(CheckpointError, match="reading failed"):
        fastgru.load("/proc/self/mem")  # whose first byte is an input/output error


def test_a_traceback_says_whose_an_exception_is():
    def own():
        raise OSError(errno.EIO, "own")

    for code in (own, lambda: os.stat("/missing/file")):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - of either kind
            code()
        assert raised_in(caught.value, __name__.partition(".")[0]) and not raised_in(caught.value, "fastgru")
    assert not raised_in(OSError(), "fastgru")


@TIMERS
def test_an_interrupt_while_threads_compute_arrives_afterwards_and_leaves_them_usable():
    code = """
import os, signal, numpy as np, fastgru
gru = fastgru.from_torch({"weight_ih": np.ones((384, 128)), "weight_hh": np.ones((384, 128)) / 128}, n_threads=2)
x = np.ones((4, 200, 128), "f4")
wanted = gru(x)[0]
def end(*_): raise TimeoutError
signal.signal(signal.SIGALRM, end)
caught = 0
for _ in range(50):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while True: gru(x)
    except TimeoutError:
        caught += 1
print(caught, np.array_equal(gru(x)[0], wanted))
"""
    assert run_python(code).stdout.split() == ["50", "True"]


def test_a_time_limit_that_ends_while_a_path_is_looked_at_reaches_the_caller(tmp_path, monkeypatch):
    """os.path.exists, isfile, isdir and realpath take an OSError for their own, and a TimeoutError is one."""
    path = tmp_path / "gru.safetensors"
    gru = GRU(network(3, 5))
    gru.save(path)
    calls, stop = [], [0]

    def interrupted(function):
        def call(*arguments, **keywords):
            calls.append(function)
            if len(calls) == stop[0]:
                raise TimeoutError("the time is over")
            return function(*arguments, **keywords)

        return call

    for name in ("stat", "lstat", "readlink"):
        monkeypatch.setattr(os, name, interrupted(getattr(os, name)))
    for use in (lambda: fastgru.load(path), lambda: gru.save(path)):
        calls.clear()
        stop[0] = 0
        use()
        for stop[0] in range(1, len(calls) + 1):
            calls.clear()
            with pytest.raises(TimeoutError, match="the time is over"):
                use()
    assert sorted(os.listdir(tmp_path)) == ["gru.safetensors"]
