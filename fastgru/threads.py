"""How many threads a call uses, and which rows each takes.

What ``asking_for`` says comes first, then a model's own ``n_threads``, then ``FASTGRU_NUM_THREADS``, then a rule: as
many as the work pays for. There are never more than the processors this process may use (affinity and the cgroup's
quota). No thread is started here: the engine starts them when they are first wanted, and a call for which the system
refuses some computes on those there are.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import DTypeError, ShapeError
from .origin import raised_in

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "asked_for",
    "asking_for",
    "available",
    "check_threads",
    "equal_rows",
    "few_equal_rows",
    "order_of",
    "shares_of",
    "team_for",
    "threads_for",
    "threads_for_steps",
    "warn_of_few",
]

# Multiply-adds a thread must have to itself before another is started. A parallel region costs 1 us when its threads
# are awake and 30 to 60 us when they sleep; 5 million take about 100 us of one core.
WORK_PER_THREAD = 5_000_000

# Multiply-adds of a call from which on a team computes a single row without being asked to. 100 steps with 128 units
# are 9.8 million: two threads take 140 us instead of 235 (Zen 4), and no longer than one after 20 ms asleep.
TEAM_WORK = 8_000_000

# Multiply-adds of a step that each member must have, who then waits 0.2 us for the others. With 64 inputs and units two
# members have 12,288 each: 100 steps took 47 us instead of 63 (Zen 4); with 32 the kernels have nothing to share out.
STEP_WORK_PER_MEMBER = 12_000

_warned = False
_asked_for: ContextVar[int | None] = ContextVar("fastgru_n_threads", default=None)

asked_for = _asked_for.get  # what stands before a model's own n_threads in this thread; None: nothing


@contextmanager
def asking_for(n_threads: int | None) -> Iterator[None]:
    """Calls of this thread inside it take ``n_threads`` instead of their model's own; None changes nothing."""
    token = _asked_for.set(n_threads)
    try:
        yield
    finally:
        _asked_for.reset(token)


def check_threads(n_threads: int | None) -> int | None:
    """``n_threads`` as it may be: None or a whole number of at least 1."""
    if n_threads is None:
        return None
    if isinstance(n_threads, bool) or not isinstance(n_threads, (int, np.integer)):
        raise DTypeError(f"n_threads: got {n_threads!r}, wanted a whole number of at least 1, or None to choose")
    if not 1 <= n_threads <= 1024:
        raise ShapeError(f"n_threads: got {n_threads}, wanted 1 to 1024, or None to choose")
    return int(n_threads)


@cache
def available() -> int:
    """Processors this process may use: its affinity, cut by its cgroup's CPU quota. Read once."""
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, processors if quota is None else min(processors, math.ceil(quota)))


def _cgroup_quota(root: Path | None = None, own: Path | None = None) -> float | None:
    """The smallest CPU quota, in processors, on the way from this process's cgroup up to the root."""
    from pathlib import Path  # 4 ms, which importing the package does not have to pay

    root = root or Path("/sys/fs/cgroup")
    own = own or Path("/proc/self/cgroup")
    try:
        lines = own.read_text().splitlines()
    except OSError as error:
        if not raised_in(error, "pathlib"):
            raise
        return None
    quotas = []
    for line in lines:
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = root
        elif "cpu" in controllers.split(","):
            base = root / "cpu"
        else:
            continue
        folder = base / path.lstrip("/")
        while True:
            quotas.append(_quota_of(folder))
            if folder == base or base not in folder.parents:
                break
            folder = folder.parent
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(folder: Path) -> float | None:
    """A cgroup's quota over its period: ``cpu.max`` of version 2, ``cpu.cfs_*`` of version 1."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError) as error:
        if not raised_in(error, "fastgru", "pathlib", "codecs"):
            raise
        return None


@cache
def _from_environment() -> int | None:
    text = os.environ.get("FASTGRU_NUM_THREADS")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= 1024:
        raise ShapeError(f"FASTGRU_NUM_THREADS={text!r}: wanted a whole number from 1 to 1024")
    return int(text)


def threads_for(n_threads: int | None, batch: int, work: int) -> int:
    """Threads for a call of ``batch`` rows and ``work`` multiply-adds."""
    if batch < 2:
        return 1
    wanted = _wanted(n_threads)
    if wanted is None:
        if work < 2 * WORK_PER_THREAD:
            return 1
        wanted = min(available(), work // WORK_PER_THREAD)
    return min(wanted, batch)


def team_for(n_threads: int | None, shares: int, work: int, directions: int, step_work: int) -> int:
    """Threads in the team that computes each of ``shares`` shares of a call of ``work`` multiply-adds.

    The directions of a layer are computed apart, and all or none of them. ``step_work`` are the multiply-adds of one
    step of one of them, which its members split by units; they wait for each other at every step.
    """
    wanted = _wanted(n_threads)
    if wanted == 1:
        return 1
    if wanted is None:
        wanted = available() if work >= shares * TEAM_WORK else 1
    slices = min(wanted // shares // directions, max(step_work // STEP_WORK_PER_MEMBER, 1))
    if slices * directions < 2:
        return 1
    return slices * directions


def threads_for_steps(n_threads: int | None) -> int:
    """Threads that a stream of single steps may use; whether one does is for the engine to say, step by step."""
    wanted = _wanted(n_threads)
    return available() if wanted is None else wanted


def _wanted(n_threads: int | None) -> int | None:
    """What is asked for, by the caller or the environment; more threads than processors would only wait in turn."""
    asked = asked_for() or n_threads or _from_environment()
    return None if asked is None else min(asked, available())


def warn_of_few(came: int, wanted: int) -> None:
    """Say, once in a process, that the system refused threads; the call has computed on those that there were."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"n_threads: the system let this call have {came} of {wanted} threads, and it computed on these; "
            "pass a smaller n_threads, or raise the limit on threads or memory",
            RuntimeWarning,
            stacklevel=2,
        )


def shares_of(lengths: NDArray[np.intp], threads: int) -> NDArray[np.intp]:
    """Where to cut rows of these lengths so that every thread has about the same number of steps: (threads + 1,)."""
    if threads == 1:
        return np.array([0, lengths.size], dtype=np.intp)
    done = np.cumsum(lengths)
    targets = done[-1] * np.arange(1, threads) / threads
    cuts = np.searchsorted(done, targets, side="left") + 1
    shares = np.concatenate(([0], np.minimum(cuts, lengths.size), [lengths.size]))
    return np.maximum.accumulate(shares).astype(np.intp)


Rows = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]


def equal_rows(batch: int, steps: int, threads: int) -> Rows:
    """Rows in order, all of ``steps`` steps, and their shares."""
    order, lengths = np.arange(batch), np.full(batch, steps)
    return order, lengths, shares_of(lengths, threads)


@lru_cache(maxsize=32)
def few_equal_rows(batch: int, steps: int, threads: int) -> Rows:
    """``equal_rows``, kept: making them takes 6 us, longer than a short call. For small batches only."""
    return equal_rows(batch, steps, threads)


def order_of(batch: int, steps: int, ends: NDArray[np.intp] | None, shares: int) -> Rows:
    """The rows, longest first, their lengths, and where the shares begin; ``ends`` is None for rows of all steps."""
    if ends is None:
        return (few_equal_rows if batch <= 1024 else equal_rows)(batch, steps, shares)
    order = np.argsort(-ends, kind="stable")
    ends = ends[order]
    return order, ends, shares_of(ends, shares)
