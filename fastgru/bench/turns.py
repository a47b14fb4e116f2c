"""The time of every call of several engines, taken in turn, so that whatever else the machine does meets all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Times", "in_turn", "wait_for_sleep"]

TURN = 4_000_000  # nanoseconds of calls that count, before it is another engine's turn
MAX_CALLS = 1000  # in a turn
WARM_START = 20_000_000  # nanoseconds of calls that do not count, at the beginning: code is compiled, pools grow
WARM_CALLS = (3, 1000)  # fewest and most of them
WARM_TURN = 200_000  # and at the beginning of a turn: the others' data leave the caches, sleeping threads wake
MIN_TURNS = 5
LONGER = 5  # times as long a turn where there are threads, because of the wait before it
REST = 0.002  # seconds of sleep at a time, until the process sleeps too
ASLEEP = 0.2  # of one core: what a sleeping process may use
MAX_RESTS = 100

Call = Callable[[], object]
Clock = Callable[[], int]


@dataclass
class Times:
    """One engine's calls so far."""

    nanoseconds: list[int] = field(default_factory=list)
    warmup: int = 0  # calls that do not count
    one: int = 1  # nanoseconds of a call, about


def in_turn(
    calls: Mapping[str, Call],
    seconds: float,
    *,
    before: Callable[[str], None] | None = None,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, Times]:
    """Time single calls in turns of about 4 ms, or of 20 ms where there is a wait before each.

    Parameters
    ----------
    calls : mapping of str to callable
        What to time, by the name of the engine.
    seconds : float
        For each engine, without what ``before`` takes; every engine has 5 turns at least.
    before : callable, optional
        Called with an engine's name before its turn, where there is something to wait for.
    clock : callable
        Nanoseconds that only grow.

    Returns
    -------
    dict of str to Times
    """
    times = {name: Times() for name in calls}
    length = TURN * (1 if before is None else LONGER)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for name, call in calls.items():
            _warm_up(call, times[name], clock)
        spent, turns = 0, 0
        while turns < MIN_TURNS or spent < 1e9 * seconds * len(calls):
            for name, call in calls.items():
                if before is not None:
                    before(name)
                start = clock()
                _turn(call, times[name], length, clock)
                spent += clock() - start
            turns += 1
    finally:
        if collecting:
            gc.enable()
    return times


def wait_for_sleep(
    clock: Clock = time.perf_counter_ns,
    used: Clock = time.process_time_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Sleep until this process uses no core: the threads of a pool spin for up to 40 ms after its last call.

    ``used`` is the time that all threads together have had of the processor.
    """
    asleep = 0
    for _ in range(MAX_RESTS):
        start, before = clock(), used()
        sleep(REST)
        asleep = asleep + 1 if used() - before < ASLEEP * (clock() - start) else 0
        if asleep == 2:
            return


def _warm_up(call: Call, times: Times, clock: Clock) -> None:
    fewest, most = WARM_CALLS
    taken: list[int] = []
    end = clock() + WARM_START
    while times.warmup < fewest or (times.warmup < most and clock() < end):
        start = clock()
        call()
        taken.append(clock() - start)
        times.warmup += 1
    times.one = max(1, sorted(taken)[len(taken) // 2])


def _turn(call: Call, times: Times, length: int, clock: Clock) -> None:
    """One turn of ``length`` nanoseconds; a call that takes one by itself needs no warming."""
    if times.one < length:
        warming = max(1, min(WARM_TURN // times.one, MAX_CALLS))
        for _ in range(warming):
            call()
        times.warmup += warming
    taken = times.nanoseconds
    for _ in range(max(1, min(length // times.one, MAX_CALLS))):
        start = clock()
        call()
        taken.append(clock() - start)
