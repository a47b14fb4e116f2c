"""Which kernels this process uses: the best level that was built, was tried and the processor runs, or the one forced.

``FASTGRU_ISA`` forces a level. It never falls back in silence: a level that is unknown, not built or not runnable
is an ImportError.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .cpu import runnable

__all__ = ["LEVELS", "available", "chosen", "kernels"]

LEVELS = ("amx", "avx512_bf16", "avx512_vnni", "avx512", "avx2_vnni", "avx2", "neon_dotprod", "neon", "baseline")


UNTRIED = ("amx",)  # has run in emulation only, so it is taken only where FASTGRU_ISA asks for it
# What no processor has run yet, and what has been tried instead.
NEVER_ON_HARDWARE = {
    "amx": "tried in emulation only",
    "avx2_vnni": "never tried",
    "neon": "tried in emulation only",
    "neon_dotprod": "tried in emulation only",
}


def available() -> tuple[str, ...]:
    """The levels that were built and that this processor runs, best first."""
    return tuple(level for level in runnable() if find_spec(_module(level)) is not None)


@cache
def chosen() -> str:
    """The level of this process.

    Raises
    ------
    ImportError
        ``FASTGRU_ISA`` names a level that is unknown, was not built, or that this processor does not run.
    """
    forced = os.environ.get("FASTGRU_ISA")
    if not forced:
        built = (level for level in runnable() if level not in UNTRIED and find_spec(_module(level)) is not None)
        if (best := next(built, None)) is None:
            raise _refusal("no kernels were built that this processor runs; build the package again")
        return best
    if forced not in LEVELS:
        raise _refusal(f"FASTGRU_ISA={forced!r} is not a kernel level; known are {', '.join(LEVELS)}")
    if forced not in available():
        reason = "this processor does not run it" if forced not in runnable() else "it was not built"
        raise _refusal(f"FASTGRU_ISA={forced!r}: {reason}; available here are {', '.join(available())}")
    return forced


def _refusal(message: str) -> ImportError:
    """The error for a level that cannot be had. It names the package, so that ``python -m fastgru`` shows one line."""
    return ImportError(message, name="fastgru")


def kernels(level: str | None = None) -> Any:
    """The table of kernels of a level, by default the one of this process, as a capsule."""
    level = level or chosen()
    if level not in available():
        raise ImportError(f"kernel level {level!r} is not available here; available are {', '.join(available())}")
    return import_module(_module(level)).kernels()


def _module(level: str) -> str:
    return f"fastgru.engine.kernels_{level}"


chosen()  # a level that cannot be had is refused when the package is imported, not at the first call
