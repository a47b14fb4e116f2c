"""MLPerf's Server scenario: requests arrive at random, and 99 % of them must be answered within a bound.

One server takes them in the order in which they came; a request's latency is from its arrival to its answer, the wait
in the queue included. The largest rate that keeps the bound is found by bisection, always with the same arrivals; a
rate has two tries, because whatever else the machine does for a moment would halve the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Served", "arrivals", "largest_rate", "serve"]

SEED = 20240607
TRIALS = 7  # halvings: the rate is found within 1 % of what the server could do if requests came one after the other
MIN_REQUESTS = 200  # two of them may miss the bound
MAX_REQUESTS = 100_000
MISSES = 0.01  # the share of requests that may
WARMUP = 12
SLEEPABLE = 2_000_000  # nanoseconds: longer waits sleep, and the last of them is spun, because a sleep ends late

Call = Callable[[], object]
Clock = Callable[[], int]


@dataclass(frozen=True)
class Served:
    """The largest rate that kept the bound, in requests a second, and its latencies; 0 and none where no rate did."""

    rate: float
    nanoseconds: list[int]
    warmup: int  # calls that do not count


def arrivals(rate: float, count: int) -> NDArray[np.int64]:
    """When each of ``count`` requests arrives, in nanoseconds from the first on: a Poisson process, seeded."""
    gaps = np.random.default_rng(SEED).exponential(1e9 / rate, count)
    return np.asarray(np.cumsum(gaps) - gaps[0], dtype=np.int64)


def serve(
    call: Call, due: Iterable[int], clock: Clock, sleep: Callable[[float], None], bound: int, misses: int
) -> list[int] | None:
    """The latency of every request, in nanoseconds; None as soon as more than ``misses`` are above the bound."""
    latencies = []
    start = clock()
    for wait in due:
        arrival = start + wait
        while (left := arrival - clock()) > 0:
            if left > SLEEPABLE:
                sleep((left - SLEEPABLE // 2) / 1e9)
        call()
        latencies.append(clock() - arrival)
        if latencies[-1] > bound:
            misses -= 1
            if misses < 0:
                return None
    return latencies


def largest_rate(
    call: Call,
    bound: int,
    seconds: float,
    clock: Clock = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Served:
    """Find the largest rate of arrivals of which 99 % are answered within a bound.

    Parameters
    ----------
    call : callable
        Answers one request.
    bound : int
        Nanoseconds.
    seconds : float
        For all trials together, about; each has 200 requests at least.
    clock, sleep : callable
        Nanoseconds that only grow; and how to wait for seconds.
    """
    taken = []
    for _ in range(WARMUP):
        start = clock()
        call()
        taken.append(clock() - start)
    one = float(np.median(taken[WARMUP // 2 :]))
    best = Served(0.0, [], WARMUP)
    if one > bound:
        return best
    low, high = 0.0, 1e9 / max(one, 1.0)
    for _ in range(TRIALS):
        rate = (low + high) / 2
        count = int(np.clip(rate * seconds / TRIALS, MIN_REQUESTS, MAX_REQUESTS))
        due, misses = arrivals(rate, count).tolist(), int(count * MISSES)
        latencies = serve(call, due, clock, sleep, bound, misses) or serve(call, due, clock, sleep, bound, misses)
        if latencies is None:
            high = rate
        else:
            low, best = rate, Served(rate, latencies, WARMUP)
    return best
