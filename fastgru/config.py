"""``show_config``: which version, kernels, threads and libraries this process uses."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["configuration", "show_config"]


def configuration() -> dict[str, Any]:
    """What ``show_config`` prints, as plain data. SciPy's BLAS is looked at only where it is loaded already.

    Raises
    ------
    ShapeError
        ``FASTGRU_NUM_THREADS`` is no number of threads, so that a call would fail.
    """
    import platform
    from importlib import metadata  # 17 ms, most of it the standard library's reader of e-mail

    import numpy

    from . import __version__, threads
    from .bench.machine import processor
    from .engine import cpu, dispatch, plan

    blas = "not loaded (imported on first use)"
    if "scipy.linalg" in sys.modules:
        from threadpoolctl import ThreadpoolController

        found = ThreadpoolController().select(user_api="blas").info()
        blas = ", ".join(sorted({f"{library['internal_api']} {library['version']}" for library in found})) or "unknown"
    return {
        "fastgru": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": metadata.version("scipy"),
        "machine": platform.machine(),
        "processor": processor(),
        "compiled by": cpu.COMPILED_BY,
        "vector types": f"no: {cpu.NO_VECTORS}" if cpu.NO_VECTORS else "yes",
        "kernels": _described(dispatch.chosen()),
        "kernels available": [_described(level) for level in dispatch.available()],
        "kernels left out": cpu.LEFT_OUT,
        "FASTGRU_ISA": os.environ.get("FASTGRU_ISA"),
        "threads": plan.THREADS,
        "processors available": threads.available(),
        "FASTGRU_NUM_THREADS": threads._from_environment(),
        "BLAS": blas,
    }


def _described(level: str) -> str:
    """A kernel level, with what is to be known of one that no processor has run yet."""
    from .engine import dispatch

    tried = dispatch.NEVER_ON_HARDWARE.get(level)
    return f"{level} ({tried})" if tried else level


def show_config() -> None:
    """Print version, processor, compiler, kernels chosen, available and left out at the build, threads and BLAS.

    Raises
    ------
    ShapeError
        ``FASTGRU_NUM_THREADS`` is no number of threads, so that a call would fail.

    Examples
    --------
    >>> import fastgru
    >>> fastgru.show_config()  # doctest: +ELLIPSIS
    fastgru ...
    """
    for name, value in configuration().items():
        lines = [f"{level}: {why}" for level, why in value.items()] if isinstance(value, dict) else [value]
        for line in lines:
            shown = ", ".join(line) if isinstance(line, list) else line
            print(f"{name:28}{'not set' if shown is None else shown}")
