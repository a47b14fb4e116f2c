"""Hold the BLAS library to one thread while some of our calls are inside it.

Our own threads each take rows; a BLAS that starts threads of its own inside them is slower by several times. The
number of threads is one setting for the whole process, so calls are counted: the first in lowers it, the last out
puts back what was there. A fork waits until nobody is inside.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["single_threaded_blas"]

_changed = threading.Condition(threading.Lock())
_inside = 0
_forking = False
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
    with _changed:
        while _forking:
            _changed.wait()
        if _inside == 0:
            _limits = _controller().limit(limits=1)
        _inside += 1
    try:
        yield
    finally:
        with _changed:
            _inside -= 1
            if _inside == 0:
                _limits.restore_original_limits()
                _limits = None
                _changed.notify_all()


def _before_fork() -> None:
    """A thread inside BLAS may hold one of its locks, and the child would wait for it for ever: let all come out."""
    global _forking
    _changed.acquire()
    while _forking:
        _changed.wait()
    _forking = True
    while _inside:
        _changed.wait()


def _after_fork() -> None:
    global _forking
    _forking = False
    _changed.notify_all()
    _changed.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
