"""Results as Markdown tables: one line a case, one column an engine, and whatever is computed of a case's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..terminal import counted
from .peers import BEST_OF, PEERS, engine
from .results import figure_text, ratio

__all__ = ["RATIO", "Cell", "Rows", "cases_of", "difference", "latency", "markdown", "surroundings", "tables"]

Rows = Mapping[str, Mapping[str, Any]]
Cell = Callable[[Mapping[str, Any]], str]


def markdown(results: Mapping[str, Any], more: Mapping[str, Callable[[Rows], str]] | None = None) -> str:
    """When and where, a table of latencies for each number of threads, and the notes.

    Parameters
    ----------
    results : mapping
        As in ``results``.
    more : mapping, optional
        As in ``tables``; the ratio to the best peer if left out.
    """
    parts = [surroundings(results), *tables(results, latency, RATIO if more is None else more)]
    parts += ["", *(f"* {note}" for note in results["notes"])] if results["notes"] else []
    return "\n".join(parts)


def tables(
    results: Mapping[str, Any], cell: Cell | None, more: Mapping[str, Callable[[Rows], str]] | None = None
) -> list[str]:
    """The lines of a table for each number of threads.

    Parameters
    ----------
    results : mapping
        As in ``results``.
    cell : callable, optional
        From a row to what stands in its engine's column; no such columns if left out.
    more : mapping, optional
        Further columns where fastgru has a peer: from the heading to what makes a cell of the rows of one case, by
        system.
    """
    systems = [name for name in PEERS if name in results["versions"]]
    further = more if more is not None and any(engine(name) != "fastgru" for name in systems) else {}
    headings = ["case", *(_heading(results, name) for name in systems if cell is not None), *further]
    lines = []
    for threads in sorted({row["threads"] for row in results["results"]}):
        lines += ["", f"{counted(threads, 'thread')}:", "", _line(headings)]
        lines.append("|---|" + "---:|" * (len(headings) - 1))
        for name, rows in cases_of(results, threads).items():
            cells = [name, *(cell(rows[system]) for system in systems if cell is not None)]
            lines.append(_line([*cells, *(column(rows) for column in further.values())]))
    return lines


def surroundings(results: Mapping[str, Any]) -> str:
    """One line: when and where, and what a figure is."""
    machine = results["machine"]
    cores = counted(machine["cores"], "core")
    return (
        f"{results['date'][:10]}: {machine['cpu']}, {cores}, {machine['caches']}; {machine['os']}, "
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


def _heading(results: Mapping[str, Any], system: str) -> str:
    """Title and version, and what the engine computed in where it chose by itself."""
    title = f"{PEERS[system].title} {results['versions'][system]}"
    chosen = {row["precision"] for row in results["results"] if row["system"] == system and row["skipped"] is None}
    return title if chosen <= {PEERS[system].precision} else f"{title} ({' and '.join(sorted(chosen))})"


def latency(row: Mapping[str, Any]) -> str:
    """The median, or the reason why there is none."""
    if row["skipped"] is not None:
        return str(row["skipped"])
    return f"{row['rate']:.0f}/s" if row["scenario"] == "Server" else figure_text(row["p50"])


def difference(row: Mapping[str, Any]) -> str:
    """The largest from float64."""
    return "" if row["largest_difference"] is None else f"{row['largest_difference']:.1e}"


def _ratio(rows: Rows) -> str:
    found = ratio(rows, BEST_OF)
    return "" if found is None else f"{found:.2f}"


RATIO = {"best peer / fastgru": _ratio}
