"""fastgru beside its peers: every case whose ratio is wanted, for one thread and for two, as a table in Markdown.

    python benchmarks/table.py [--seconds S] [--threads 1,2] [--cases TEXT ...] [--systems NAME,...] [--json FILE]

Every GRU is reset-after, one layer, one direction, float32, with as many inputs as units. ``fastgru.bench`` measures;
here are the cases, what is wanted of each, and how much time a ragged batch takes of a full one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comparison import Sizes, case_of, compare, exit_if_skipped, name_of

from fastgru.bench.cases import Case, random_lengths
from fastgru.bench.markdown import RATIO, cases_of, markdown
from fastgru.bench.peers import BEST_OF, IN_FLOAT32
from fastgru.bench.results import ratio

# (steps, batch, hidden): the wanted ratio of the best peer to fastgru on one thread and on two; None: none is wanted
WANTED: dict[Sizes, tuple[float, float] | None] = {
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


def cases() -> list[Case]:
    """All of them, each ragged one after the full one of its size."""
    found = []
    for sizes in WANTED:
        found.append(case_of(sizes))
        if sizes in RAGGED:
            steps, batch, hidden = sizes
            found.append(Case("Ragged", name_of(sizes, ragged=True), f"h{hidden}", steps, batch))
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


def main(argv: Sequence[str] | None = None) -> None:
    about = "fastgru beside its peers, as a table in Markdown."
    results = compare(argv, about, cases(), IN_FLOAT32, seconds=2.0, threads="1,2")
    print("\n".join([markdown(results, {**RATIO, "wanted": wanted}), "", *ragged_lines(results)]))
    exit_if_skipped(results)


if __name__ == "__main__":
    main()
