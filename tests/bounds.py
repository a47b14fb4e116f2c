"""How soon, and in how little memory, every file must end in a result or in a FastGRUError, whatever it holds."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastgru.errors import FastGRUError

SECONDS = 2.0
SLACK = 64 << 20


def ending(work: Callable[..., Any], *given: Any) -> Any:
    """What the work gives, or the FastGRUError it ended in; others escape."""
    try:
        return work(*given)
    except FastGRUError as error:
        return error


@contextmanager
def soon() -> Iterator[None]:
    """Assert that what is done meanwhile takes little time, of the process: another may be using the machine."""
    start = time.process_time()
    yield
    spent = time.process_time() - start
    assert spent < SECONDS, f"{spent:.1f} s"


@contextmanager
def in_little_memory(size: int = 0) -> Iterator[None]:
    """Assert that memory stays below 4 times the size of the file and 64 MiB."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 4 * size + SLACK, f"{peak >> 20} MiB for {size} bytes"
