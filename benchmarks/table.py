"""fastgru beside its peers: every case whose ratio is wanted, for one thread and for two, as a table in Markdown.

    python benchmarks/table.py [--seconds S] [--threads 1,2] [--cases TEXT ...] [--systems NAME,...] [--json FILE]

Every GRU is reset-after, one layer, one direction, float32, with as many inputs as units. ``fastgru.bench`` measures;
here are the cases, what is wanted of each, and how much time a ragged batch takes of a full one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastgru.bench.cases import Case, random_gru, random_lengths
from fastgru.bench.markdown import RATIO, cases_of, markdown
from fastgru.bench.peers import BEST_OF, IN_FLOAT32, PEERS, installed, pip_line
from fastgru.bench.results import ratio
from fastgru.bench.runner import parts, run
from fastgru.terminal import progress

# (steps, batch, hidden): the wanted ratio of the best peer to fastgru on one thread and on two; None: none is wanted
WANTED: dict[tuple[int, int, int], tuple[float, float] | None] = {
    (1, 1, 32): (12, 12),
    (1, 1, 128): (3.5, 3.5),
    (1, 1, 256): (2.5, 2.0),
    (1, 1, 512): (1.25, 1.1),
    (100, 1, 32): (2.5, 2.5),
    (100, 1, 64): (2.0, 2.0),
    (100, 1, 128): (1.6, 1.6),
    (100, 1, 256): (1.6, 1.6),
    (100, 1, 512): (1.5, 1.4),
    (100, 8, 128): (1.4, 1.4),
    (100, 32, 128): (1.2, 1.2),
    (100, 32, 256): None,
    (100, 32, 512): (1.2, 1.2),
    (100, 64, 256): None,  # what the ragged batch of this size is held against
    (100, 256, 256): (1.2, 1.2),
}
RAGGED = {(100, 32, 128): (2.0, 2.0), (100, 64, 256): (2.0, 2.0)}  # torch's packed sequences to fastgru
RAGGED_SHARE = 1.25  # times the share of real steps: the most that a ragged batch may take of a full one's time

Sizes = tuple[int, int, int]


def name_of(sizes: Sizes, ragged: bool = False) -> str:
    steps, batch, hidden = sizes
    length = "one step" if steps == 1 else f"{steps} steps"
    rows = "" if batch == 1 else f", batch {batch}"
    return f"{length if not ragged else f'1 to {steps} steps'}{rows}, H {hidden}"


def cases() -> list[Case]:
    """All of them, each ragged one after the full one of its size."""
    found = []
    for steps, batch, hidden in WANTED:
        scenario = "Offline" if batch > 1 else "SingleStream"
        found.append(Case(scenario, name_of((steps, batch, hidden)), f"h{hidden}", steps, batch))
        if (steps, batch, hidden) in RAGGED:
            name = name_of((steps, batch, hidden), ragged=True)
            found.append(Case("Ragged", name, f"h{hidden}", steps, batch))
    return found


def wanted(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The cell beside a measured ratio: what is wanted of it, and whether it is met."""
    row = next(iter(rows.values()))
    sizes, ragged = (row["steps"], row["batch"], row["hidden"]), row["scenario"] == "Ragged"
    target = (RAGGED if ragged else WANTED).get(sizes)
    measured = ratio(rows, ("torch",) if ragged else BEST_OF)
    if target is None or measured is None or row["threads"] > len(target):
        return ""
    most = target[row["threads"] - 1]
    verdict = "met" if measured >= most else f"{measured / most:.0%} of it"
    return f"{most:g} of torch: {measured:.2f}, {verdict}" if ragged else f"{most:g}: {verdict}"


def ragged_lines(results: Mapping[str, Any]) -> list[str]:
    """How much of a full batch's time fastgru takes for a ragged one, beside the share of steps that are real."""
    lines = []
    for threads in sorted({row["threads"] for row in results["results"]}):
        rows = {name: by_system["fastgru"] for name, by_system in cases_of(results, threads).items()}
        for sizes in RAGGED:
            full, ragged = rows.get(name_of(sizes)), rows.get(name_of(sizes, ragged=True))
            if full is None or ragged is None or full["skipped"] or ragged["skipped"]:
                continue
            steps, batch, _ = sizes
            share = float(random_lengths(batch, steps).sum()) / (batch * steps)
            taken = ragged["p50"] / full["p50"]
            lines.append(
                f"{name_of(sizes, ragged=True)}, {threads} thread{'s' if threads > 1 else ''}: {taken:.3f} of the full "
                f"batch's time for {share:.3f} of its steps, {taken / share:.2f} times the share; wanted at most "
                f"{RAGGED_SHARE}"
            )
    return lines


def systems_of(text: str | None, usual: Sequence[str] = IN_FLOAT32) -> list[str]:
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


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="fastgru beside its peers, as a table in Markdown.")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each engine and case (default %(default)s)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default %(default)s)")
    parser.add_argument("--cases", nargs="+", metavar="TEXT", help="only those with such a text in their names")
    parser.add_argument("--systems", help=f"of {','.join(PEERS)}; without it, those in float32 that are installed")
    parser.add_argument("--json", metavar="FILE", help="also write every figure as JSON")
    arguments = parser.parse_args(argv)
    chosen = [case for case in cases() if any(text in case.name for text in arguments.cases or [""])]
    if not chosen:
        names = "\n".join(case.name for case in cases())
        raise SystemExit(f"--cases: none has {' or '.join(arguments.cases)} in its name; they are\n{names}")
    systems, threads = systems_of(arguments.systems), [int(count) for count in arguments.threads.split(",")]
    models = {case.model: random_gru(int(case.model[1:]), int(case.model[1:])) for case in chosen}
    with progress(parts(chosen, systems, threads), "checks and timings") as advance:
        results = run(chosen, models, systems, threads, arguments.seconds, advance)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")
    print("\n".join([markdown(results, {**RATIO, "wanted": wanted}), "", *ragged_lines(results)]))
    if any(row["skipped"] for row in results["results"]):
        raise SystemExit("an engine did not compute a case, or not rightly; the table says which")


if __name__ == "__main__":
    main()
