"""Whose code raised an exception: what is no fault of a file or an argument must reach the caller as it is."""

from __future__ import annotations

__all__ = ["raised_in"]


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
