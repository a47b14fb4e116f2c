"""What signals do to the command while it runs: they end it as an exception does, and no file is left half written.

Until then they are for ``fastgru_command``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fastgru_command import end_at_once

__all__ = ["ended_by_signals"]


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, Ctrl-C KeyboardInterrupt; handlers of the caller stay."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # Python lets no other set a handler
        handlers = {"SIGTERM": end, "SIGHUP": end, "SIGINT": signal.default_int_handler}
        wanted = {getattr(signal, name): handlers[name] for name in handlers if hasattr(signal, name)}
        usual = (signal.SIG_DFL, end_at_once)
        before = {each: signal.signal(each, to) for each, to in wanted.items() if signal.getsignal(each) in usual}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
