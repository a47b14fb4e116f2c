"""Hold the BLAS library to one thread while some of our calls are inside it.

Our own threads each take rows; a BLAS that starts threads of its own inside them is slower by several times. The
number of threads is one setting for the whole process, so calls are counted: the first in lowers it, the last out
puts back what was there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["single_threaded_blas"]

_lock = threading.Lock()
_inside = 0
_limits: Any = None


@cache
def _controller() -> Any:
    """The BLAS libraries of the process. Finding them takes 400 us, so it is done once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """While any thread is inside, BLAS computes every call in the thread that made it."""
    global _inside, _limits
    with _lock:
        if _inside == 0:
            _limits = _controller().limit(limits=1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limits.restore_original_limits()
                _limits = None


def _forget_in_forked_child() -> None:
    """The lock may have been held, and the calls counted may be those of threads that the child does not have."""
    global _lock, _inside, _limits
    _lock = threading.Lock()
    if _inside:
        _inside = 0
        _limits.restore_original_limits()
        _limits = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_forked_child)
