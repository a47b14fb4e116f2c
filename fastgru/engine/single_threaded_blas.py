"""Hold the BLAS library to one thread while some of our calls are inside it.

Our own threads each take rows; a BLAS that starts threads of its own inside them is slower by several times. The
number of threads is one setting for the whole process, so calls are counted: the first in lowers it, the last out
puts back what was there. A fork waits until nobody is inside.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["single_threaded_blas"]

_changed = threading.Condition(threading.Lock())
_inside = 0
_forking = False
_before: list[int] = []  # the libraries' numbers of threads when the first came in

SETTERS = tuple(
    f"{prefix}openblas_set_num_threads{suffix}" for prefix in ("", "scipy_") for suffix in ("", "64_", "_64")
)


@cache
def _libraries() -> list[tuple[Callable[[], int], Callable[[int], Any]]]:
    """How to ask and to set the threads of each BLAS of the process. Finding them takes 400 us, so it is done once.

    threadpoolctl finds them, but its version 3.8 lets only one thread of the process change OpenBLAS; the first in
    and the last out are often two, so the library's own function is called.
    """
    from threadpoolctl import ThreadpoolController

    found = []
    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        setters = [getattr(library.dynlib, name, None) for name in SETTERS]
        setter = next((setter for setter in setters if setter is not None), library.set_num_threads)
        found.append((library.get_num_threads, setter))
    return found


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """While any thread is inside, BLAS computes every call in the thread that made it."""
    global _inside
    with _changed:
        while _forking:
            _changed.wait()
        if _inside == 0:
            _before[:] = [ask() for ask, _ in _libraries()]
            _set_threads([1] * len(_before))
        _inside += 1
    try:
        yield
    finally:
        with _changed:
            _inside -= 1
            if _inside == 0:
                _set_threads(_before)
                _changed.notify_all()


def _set_threads(numbers: list[int]) -> None:
    for (_, set_threads), number in zip(_libraries(), numbers, strict=True):
        set_threads(number)


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
