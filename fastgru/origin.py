"""Whose code raised an exception: what is no fault of a file or an argument must reach the caller as it is."""

from __future__ import annotations

import os
import stat

__all__ = ["are_same", "is_file", "is_folder", "is_there", "raised_in"]


def raised_in(error: BaseException, *packages: str) -> bool:
    """Whether code of one of these packages raised it, or C code that this code called.

    A signal handler runs wherever Python happens to be, and what it raises (a time limit, say) looks like an error of
    the code that it interrupted, of any class. But the last frame of its traceback is the handler's own.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in packages


def is_there(path: str | bytes | os.PathLike[str]) -> bool:
    """``os.path.exists``, which takes what a signal handler raises, a TimeoutError say, for a path that is none."""
    return _mode(path) is not None


def is_file(path: str | bytes | os.PathLike[str]) -> bool:
    """``os.path.isfile``, through which a signal handler can raise."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: str | bytes | os.PathLike[str]) -> bool:
    """``os.path.isdir``, through which a signal handler can raise."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def are_same(one: str, other: str) -> bool:
    """Whether two paths lead to one file that is there."""
    found = [_stat(one), _stat(other)]
    return all(each is not None for each in found) and os.path.samestat(*found)  # type: ignore[arg-type]


def _mode(path: str | bytes | os.PathLike[str]) -> int | None:
    found = _stat(path)
    return None if found is None else found.st_mode


def _stat(path: str | bytes | os.PathLike[str]) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError) as error:
        if not raised_in(error, "fastgru"):
            raise
        return None
