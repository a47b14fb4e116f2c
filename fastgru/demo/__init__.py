"""``fastgru demo``: two small trained models, read from their own files and run on data they never saw.

Owns the order of things and the exit code; ``measure`` owns the figures, ``page`` and ``drawing`` what is printed.
No framework is imported. The scripts in ``examples/training`` made the models.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TextIO

__all__ = ["run"]


def run(out: TextIO | None = None, *, as_json: bool = False, seconds: float = 0.8) -> int:
    """Run the demo and print what came of it.

    Parameters
    ----------
    out : text stream, optional
        Where to print; standard output if left out.
    as_json : bool
        Print the figures as JSON instead.
    seconds : float
        How long to time each of five latencies.

    Returns
    -------
    int
        0, or 1 where a model is less right than it must be or differs from its framework.
    """
    from . import measure, page

    out = sys.stdout if out is None else out
    start = time.perf_counter()
    digits = measure.measure_digits(seconds)
    if not as_json:
        print("\n".join([*page.title(), *page.digits_part(digits, out)]), file=out, flush=True)
    sunspots = measure.measure_sunspots(seconds)
    failures = digits.failures() + sunspots.failures()
    if as_json:
        figures = {
            "passed": not failures,
            "failures": failures,
            "digits": digits.as_dict(),
            "sunspots": sunspots.as_dict(),
        }
        print(json.dumps(figures, indent=2), file=out)
    else:
        lines = [*page.sunspots_part(sunspots, out), *page.verdict(failures, time.perf_counter() - start)]
        print("\n".join(lines), file=out)
    return 1 if failures else 0
