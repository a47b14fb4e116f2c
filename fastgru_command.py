"""The command ``fastgru`` from its first moment: what Ctrl-C and a failing import do until its own code runs.

It lies beside the package because it has work to do before that is imported: a library touches no signal. Python would
print where it was. Ending at once is right as long as there is nothing to leave behind, and an exception would not do:
what NumPy imports from C turns it into an ImportError.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

__all__ = ["end_at_once", "end_at_once_on_interrupts", "end_with", "is_module_run", "main"]


def main() -> int:
    """Run the command of this process's arguments; the exit code."""
    end_at_once_on_interrupts()
    try:
        from fastgru.command.cli import main
    except ImportError as error:
        end_with(error)
    return main()


def is_module_run() -> bool:
    """Whether this process is ``python -m fastgru``, for which Python imports the package before its own module."""
    arguments = getattr(sys, "argv", None) or [""]  # "-m" for as long as the module is looked for
    return arguments[0] == "-m" and sys.orig_argv[-len(arguments) :][:1] == ["fastgru"]


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


def end_with(error: ImportError) -> NoReturn:
    """End the process with one line: a FASTGRU_ISA that cannot be had, or a library that is missing."""
    raise SystemExit(f"fastgru: error: {error}") from None
