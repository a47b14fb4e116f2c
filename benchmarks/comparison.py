"""What the scripts that compare engines share: their arguments, the names of cases, and a run of those asked for.

Owns no case and no table; ``table.py`` and ``precisions.py`` have theirs. ``fastgru.bench`` measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastgru.bench.cases import Case, Measured, ModelFiles, random_gru
from fastgru.bench.peers import PEERS, installed, pip_line
from fastgru.bench.runner import parts, run
from fastgru.terminal import progress

Sizes = tuple[int, int, int]  # steps, batch, hidden
Prepared = tuple[Mapping[str, Measured], Mapping[str, ModelFiles]]


def name_of(sizes: Sizes, ragged: bool = False) -> str:
    steps, batch, hidden = sizes
    length = "one step" if steps == 1 else f"{steps} steps"
    rows = "" if batch == 1 else f", batch {batch}"
    return f"{length if not ragged else f'1 to {steps} steps'}{rows}, H {hidden}"


def case_of(sizes: Sizes) -> Case:
    """The case of these sizes, all rows of one length."""
    steps, batch, hidden = sizes
    return Case("Offline" if batch > 1 else "SingleStream", name_of(sizes), f"h{hidden}", steps, batch)


def compare(
    argv: Sequence[str] | None,
    description: str,
    cases: Sequence[Case],
    usual: Sequence[str],
    seconds: float,
    threads: str,
    prepare: Callable[[Sequence[Case]], Prepared] | None = None,
) -> dict[str, Any]:
    """The results of those cases and systems that the arguments ask for, written as JSON where they say so.

    ``usual`` are the systems without ``--systems``; ``seconds`` and ``threads`` are defaults. ``prepare`` gives the
    models of the chosen cases and the files of whole ones; without it they are random GRUs, named for their units.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=seconds, help="for each system and case (default %(default)s)")
    parser.add_argument("--threads", default=threads, help="numbers of threads, as 1,2 (default %(default)s)")
    parser.add_argument("--cases", nargs="+", metavar="TEXT", help="only those with such a text in their names")
    without = f"without it, those of {','.join(usual)} that are installed"
    parser.add_argument("--systems", metavar="NAME,...", help=f"of {','.join(PEERS)}; {without}")
    parser.add_argument("--json", metavar="FILE", help="also write every figure as JSON, which plots.py draws")
    arguments = parser.parse_args(argv)
    chosen = [case for case in cases if any(text in case.name for text in arguments.cases or [""])]
    if not chosen:
        names = "\n".join(case.name for case in cases)
        raise SystemExit(f"--cases: none has {' or '.join(arguments.cases)} in its name; they are\n{names}")
    systems, counts = systems_of(arguments.systems, usual), [int(count) for count in arguments.threads.split(",")]
    models, files = _random_grus(chosen) if prepare is None else prepare(chosen)
    with progress(parts(chosen, systems, counts), "checks and timings") as advance:
        results = run(chosen, models, systems, counts, arguments.seconds, advance, files)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")
    return results


def _random_grus(cases: Sequence[Case]) -> Prepared:
    return {case.model: random_gru(int(case.model[1:]), int(case.model[1:])) for case in cases}, {}


def systems_of(text: str | None, usual: Sequence[str]) -> list[str]:
    """fastgru and the engines asked for, or of the usual ones those that are installed."""
    asked = list(usual) if text is None else text.split(",")
    unknown = [name for name in asked if name not in PEERS]
    if unknown:
        raise SystemExit(f"--systems: {', '.join(unknown)} is not one of {', '.join(PEERS)}")
    missing = [name for name in asked if not installed(name)]
    for name in missing:
        print(f"{PEERS[name].title} is left out, because it is not installed: {pip_line(name)}", file=sys.stderr)
    if missing and text is not None:
        raise SystemExit(1)
    return [name for name in PEERS if name == "fastgru" or (name in asked and name not in missing)]


def exit_if_skipped(results: Mapping[str, Any]) -> None:
    """Exit as failed where a system has no time; to be called when all is printed."""
    if any(row["skipped"] for row in results["results"]):
        raise SystemExit("a system did not compute a case, or not rightly; the table says which")
