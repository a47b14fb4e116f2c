"""Which core each engine's threads run on, where there are several threads.

Left to themselves, two threads that wait for each other may share a core for as long as a process lives while the next
core idles, and a call then takes a scheduler's ticks instead of microseconds; some kernels pack threads on purpose. So
the threads that an engine is seen to use are bound, one to a core, as a scheduler would place them that knew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .turns import wait_for_sleep

__all__ = ["Placement", "busy_threads"]

TASKS = Path("/proc/self/task")
WATCHED = 0.15  # seconds: the system counts a thread's time in hundredths
BUSY = 0.25  # of the busiest thread's time: what a thread uses that takes part
MAX_CALLS = 100_000


class Placement:
    """The cores of this process, and which of them each engine's calling thread is bound to.

    Where the system has no such thing nothing is bound.
    """

    def __init__(self, tasks: Path = TASKS) -> None:
        self._tasks = tasks
        self._possible = hasattr(os, "sched_setaffinity") and tasks.is_dir()
        self._cores = sorted(os.sched_getaffinity(0)) if self._possible else []
        self._calling: dict[str, int] = {}
        self._bound: set[int] = set()

    def learn(self, name: str, call: Callable[[], object]) -> None:
        """Call an engine for a while, and bind each thread that is busy meanwhile to a core of its own."""
        if not self._possible:
            return
        wait_for_sleep()
        before, end = _ticks(self._tasks), time.monotonic() + WATCHED
        for _ in range(MAX_CALLS):
            call()
            if time.monotonic() > end:
                break
        # Two engines may share a pool; and one that spins on must not be bound anew for the next.
        busy = busy_threads(before, _ticks(self._tasks), os.getpid())
        for place, thread in enumerate(thread for thread in busy if thread not in self._bound):
            core = self._cores[place % len(self._cores)]
            if thread == os.getpid():
                self._calling[name] = core  # only for this engine's turns: new threads inherit it
            else:
                os.sched_setaffinity(thread, {core})
                self._bound.add(thread)

    def take(self, name: str) -> None:
        """Before an engine's turn: wait for the others' threads to sleep, and bind this thread as it was learned."""
        wait_for_sleep()
        if self._possible:
            os.sched_setaffinity(0, {self._calling[name]} if name in self._calling else self._cores)

    def release(self) -> None:
        """Let this thread run on every core again."""
        if self._possible:
            os.sched_setaffinity(0, self._cores)


def busy_threads(before: dict[int, int], after: dict[int, int], calling: int) -> Sequence[int]:
    """Threads that took part in between, by their time: the calling one first if it did, then the busiest first."""
    used = {thread: ticks - before.get(thread, 0) for thread, ticks in after.items()}
    least = BUSY * max(used.values(), default=0)
    busy = [thread for thread, ticks in used.items() if ticks > 0 and ticks >= least]
    return sorted(busy, key=lambda thread: (thread != calling, -used[thread], thread))


def _ticks(tasks: Path) -> dict[int, int]:
    """The time that each thread has had so far, in hundredths of a second, by its id."""
    found = {}
    for task in tasks.iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        found[int(task.name)] = int(fields[11]) + int(fields[12])
    return found
