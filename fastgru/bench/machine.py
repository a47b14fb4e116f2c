"""What the figures depend on: the processor, its caches, the system, and which cores a run may have."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..engine import dispatch
from ..threads import available

__all__ = ["machine", "on_cores", "processor"]

CPUS = Path("/sys/devices/system/cpu")


def machine() -> dict[str, str | int]:
    """The processor's name, the cores this process may use, the caches of one, the system, Python, the kernels."""
    return {
        "cpu": processor(),
        "cores": available(),
        "caches": _caches(CPUS),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "isa": dispatch.chosen(),
    }


def processor() -> str:
    """What the system calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _caches(cpus: Path) -> str:
    """Such as ``L1d 32K, L2 1024K, L3 32768K``; what the system does not say is left out."""
    found = []
    for folder in sorted(cpus.glob("cpu0/cache/index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found.append(f"L{level}{'d' if kind == 'Data' else ''} {size}")
    return ", ".join(found) or "unknown"


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Bind this thread to a number of cores, which processes started meanwhile inherit; where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _cores(sorted(before), CPUS)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cores(allowed: list[int], cpus: Path) -> list[int]:
    """The last first, because the first has the system's interrupts, and a second thread of a core after all cores."""
    order: list[int] = []
    second: list[int] = []
    seen: set[str] = set()
    for cpu in reversed(allowed):
        try:
            core = (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
        except OSError:
            core = str(cpu)
        (second if core in seen else order).append(cpu)
        seen.add(core)
    return order + second
