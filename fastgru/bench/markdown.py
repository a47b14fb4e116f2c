"""Results as a Markdown table for each number of threads: one line a case, one column an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .peers import BEST_OF, PEERS
from .results import ratio

__all__ = ["cases_of", "markdown", "surroundings"]

Rows = Mapping[str, Mapping[str, Any]]


def markdown(results: Mapping[str, Any], wanted: Callable[[Rows], str] | None = None) -> str:
    """All results.

    Parameters
    ----------
    results : mapping
        As in ``results``.
    wanted : callable, optional
        From the rows of one case, by system, to the cell of one more column.
    """
    systems = [name for name in PEERS if name in results["versions"]]
    peers = len(systems) > 1
    headings = ["case", *(f"{PEERS[name].title} {results['versions'][name]}" for name in systems)]
    headings += ["best peer / fastgru"] if peers else []
    headings += ["wanted"] if wanted is not None and peers else []
    parts = [surroundings(results)]
    for threads in sorted({row["threads"] for row in results["results"]}):
        parts += ["", f"{threads} thread{'s' if threads > 1 else ''}:", "", _line(headings)]
        parts.append("|---|" + "---:|" * (len(headings) - 1))
        for name, rows in cases_of(results, threads).items():
            cells = [name, *(_cell(rows[system]) for system in systems)]
            cells += [_ratio(rows)] if peers else []
            cells += [wanted(rows)] if wanted is not None and peers else []
            parts.append(_line(cells))
    parts += ["", *(f"* {note}" for note in results["notes"])] if results["notes"] else []
    return "\n".join(parts)


def surroundings(results: Mapping[str, Any]) -> str:
    """One line: when and where, and what a figure is."""
    machine = results["machine"]
    return (
        f"{results['date'][:10]}: {machine['cpu']}, {machine['cores']} cores, {machine['caches']}; {machine['os']}, "
        f"Python {machine['python']}, {machine['isa']} kernels. Microseconds, medians of single calls; of Server, "
        f"requests a second. The best peer is that of {', '.join(PEERS[name].title for name in BEST_OF)}."
    )


def cases_of(results: Mapping[str, Any], threads: int) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The rows of each case by system, cases in their order."""
    cases: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in results["results"]:
        if row["threads"] == threads:
            cases.setdefault(row["case"], {})[row["system"]] = row
    return cases


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _cell(row: Mapping[str, Any]) -> str:
    if row["skipped"] is not None:
        return str(row["skipped"])
    return f"{row['rate']:.0f}/s" if row["scenario"] == "Server" else f"{row['p50']:.4g}"


def _ratio(rows: Rows) -> str:
    found = ratio(rows, BEST_OF)
    return "" if found is None else f"{found:.2f}"
