"""Whether the machine was left alone: how much of its cores other processes used while something was measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NOTEWORTHY", "Others", "others"]

NOTEWORTHY = 0.1  # cores: threads that wait for each other wait a scheduler's tick where a third is in their way
SHORTEST = 0.2  # seconds: the system counts in hundredths
STAT = Path("/proc/stat")
TICK = 0.01  # seconds, of every Linux that Python runs on


class Others:
    """``cores``: how many cores others used on average; None where the system does not say, or after too short."""

    cores: float | None = None


@contextmanager
def others() -> Iterator[Others]:
    """Watch while something runs; the answer is there at the end. What a hypervisor took away counts as others."""
    found, start, before = Others(), time.monotonic(), _busy(STAT)
    own = time.process_time()
    yield found
    elapsed, after = time.monotonic() - start, _busy(STAT)
    if before is not None and after is not None and elapsed >= SHORTEST:
        found.cores = max(0.0, after - before - (time.process_time() - own)) / elapsed


def _busy(stat: Path) -> float | None:
    """Seconds that all cores together have not been idle."""
    try:
        user, nice, system, _, _, *rest = map(int, stat.read_text().splitlines()[0].split()[1:])
    except (OSError, ValueError, IndexError):
        return None
    return TICK * (user + nice + system + sum(rest[:3]))  # interrupts, soft interrupts, and what a hypervisor took
