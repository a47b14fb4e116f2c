"""The time of every call of several engines, taken in turn, so that whatever else the machine does meets all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Times", "in_turn"]

TURN = 4_000_000  # nanoseconds of calls that count, before it is another engine's turn
MOST_CALLS = 1000  # in a turn
WARM_START = 20_000_000  # nanoseconds of calls that do not count, at the beginning: code is compiled, pools grow
WARM_CALLS = (3, 1000)  # fewest and most of them
WARM_TURN = 200_000  # and at the beginning of a turn: the others' data leave the caches, sleeping threads wake
FEWEST_TURNS = 5
REST = 0.005  # seconds before a turn where there are threads: a peer's pool spins up to 2 ms after its last call

Call = Callable[[], object]


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
    rest: bool,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Times]:
    """Time single calls in turns of about 4 ms.

    Parameters
    ----------
    calls : mapping of str to callable
        What to time, by the name of the engine.
    seconds : float
        For each engine, warm-up and rests included; every engine has 5 turns at least.
    rest : bool
        Whether to sleep before each turn, so that other engines' threads have gone to sleep too.
    clock, sleep : callable
        Nanoseconds that only grow; and how to wait for seconds.

    Returns
    -------
    dict of str to Times
    """
    times = {name: Times() for name in calls}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for name, call in calls.items():
            _warm_up(call, times[name], clock)
        end, turns = clock() + round(1e9 * seconds * len(calls)), 0
        while turns < FEWEST_TURNS or clock() < end:
            for name, call in calls.items():
                if rest:
                    sleep(REST)
                _turn(call, times[name], clock)
            turns += 1
    finally:
        if collecting:
            gc.enable()
    return times


def _warm_up(call: Call, times: Times, clock: Callable[[], int]) -> None:
    fewest, most = WARM_CALLS
    end = clock() + WARM_START
    while times.warmup < fewest or (times.warmup < most and clock() < end):
        start = clock()
        call()
        times.one = max(1, clock() - start)
        times.warmup += 1


def _turn(call: Call, times: Times, clock: Callable[[], int]) -> None:
    """One turn; a call that takes a turn by itself needs no warming."""
    if times.one < TURN:
        warming = max(1, min(WARM_TURN // times.one, MOST_CALLS))
        for _ in range(warming):
            call()
        times.warmup += warming
    taken = times.nanoseconds
    for _ in range(max(1, min(TURN // times.one, MOST_CALLS))):
        start = clock()
        call()
        taken.append(clock() - start)
