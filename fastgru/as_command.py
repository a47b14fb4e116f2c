"""The package as it is imported for the command ``fastgru``: whether it is, and what Ctrl-C does until that runs.

Python would print where it was. Ending at once is right as long as there is nothing to leave behind, and an exception
would not do: what NumPy imports from C turns it into an ImportError. The command itself is for ``cli``.
"""

from __future__ import annotations

import os
import sys

__all__ = ["end_at_once", "end_at_once_on_interrupts", "is_command"]


def is_command() -> bool:
    """Whether this process is ``fastgru`` or ``python -m fastgru``."""
    arguments = [str(argument) for argument in getattr(sys, "argv", None) or [""]]
    name = os.path.basename(arguments[0])  # "-m" for as long as the module is looked for
    as_module = name == "-m" and sys.orig_argv[-len(arguments) :][:1] == ["fastgru"]
    return as_module or name in ("fastgru", "fastgru.exe")


def end_at_once_on_interrupts() -> None:
    """Take Ctrl-C until the command does, unless whoever started the process has it ignored."""
    import signal
    from threading import current_thread, main_thread

    if current_thread() is not main_thread():  # Python lets no other set a handler
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)


def end_at_once(number: int, frame: object) -> None:
    """The handler: nothing is raised, and nothing printed."""
    os._exit(128 + number)
