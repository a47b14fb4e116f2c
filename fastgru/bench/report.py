"""The results of ``fastgru bench`` for a person: what was measured, a table, and who was left out and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..gru import GRU
from ..model import Model
from ..terminal import counted, print_table, printable
from .measure_whole import ANOTHER_MODEL
from .peers import PEERS, engine, pip_line
from .results import figure_text, ratio

__all__ = ["WHOLE", "print_report", "warnings_of"]

WHOLE = "whole model"
HEADINGS = ("case", "p50", "p90", "p99", "min", "calls", "a second", "/ fastgru")

Row = Mapping[str, Any]


def print_report(path: str, model: GRU | Model, results: Mapping[str, Any], own_inputs: bool, plot: str | None) -> None:
    """Print what was measured, then a table for each number of threads, then what must be known of it."""
    machine, versions, rows = results["machine"], results["versions"], results["results"]
    engines = ", ".join(f"{PEERS[name].title} {version}" for name, version in versions.items())
    print(printable(f"{path}: {model!r}"))
    print(printable(f"{machine['cpu']}, {counted(machine['cores'], 'core')}, {machine['isa']} kernels; {engines}"))
    if isinstance(model, Model):
        print(f"The whole model is given {'your inputs' if own_inputs else 'random inputs'}, the same in every engine.")
        if any(not _is_whole(row) for row in rows):
            print("Each GRU in it is given to the other engines with its weights, and all run it on random inputs.")
    elif len(versions) == 1:
        print(f"No other engine is installed to compare with; for one of them {pip_line('onnxruntime')}")
    print("Microseconds of single calls, after all outputs were compared with those in float64.")
    for threads in sorted({row["threads"] for row in rows}):
        print(f"\n{counted(threads, 'thread')}:\n")
        print_table(HEADINGS, list(_table([row for row in rows if row["threads"] == threads])), right=HEADINGS[1:])
    print()
    for line in _differences(rows):
        print(line)
    for line in (*_left_out(rows), *results["notes"]):
        print(printable(line))
    for line in warnings_of(rows):
        print(printable(f"WARNING: {line}"))
    if plot is not None:
        print(printable(f"Drawn in {plot}"))


def warnings_of(rows: Sequence[Row]) -> Iterator[str]:
    """A sentence on each engine that computes another model than fastgru; its time would mean nothing."""
    another = [row for row in rows if (row["skipped"] or "").startswith(ANOTHER_MODEL)]
    for where, who, reason in _grouped(another, rows):
        what = reason.removeprefix(ANOTHER_MODEL).removeprefix(": ")
        yield f"{where}: {who} {ANOTHER_MODEL} than fastgru, so it was not timed: {what}"


def _differences(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each case of the whole model: how far each engine was from float64."""
    for name in dict.fromkeys(row["case"] for row in rows if _is_whole(row)):
        found: dict[str, float] = {}
        for row in rows:
            if row["case"] == name and row["largest_difference"] is not None:
                title = PEERS[row["system"]].title
                found[title] = max(found.get(title, 0.0), row["largest_difference"])
        yield f"{name}: from float64 by at most {', '.join(f'{most:.1e} {title}' for title, most in found.items())}"


def _left_out(rows: Sequence[Row]) -> Iterator[str]:
    """A sentence on each engine that was not timed for another reason."""
    others = [row for row in rows if row["skipped"] is not None and not row["skipped"].startswith(ANOTHER_MODEL)]
    for where, who, reason in _grouped(others, rows):
        yield f"{where}: {who} {'is' if ' and ' not in who else 'are'} left out: {reason}"


def _grouped(chosen: Sequence[Row], rows: Sequence[Row]) -> Iterator[tuple[str, str, str]]:
    """Where, who and why, each once: engines with the same reason in the same cases together."""
    cases: dict[tuple[str, str], list[str]] = {}
    for row in chosen:
        found = cases.setdefault((row["system"], row["skipped"]), [])
        if row["case"] not in found:
            found.append(row["case"])
    engines: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (system, reason), found in cases.items():
        engines.setdefault((reason, tuple(found)), []).append(PEERS[system].title)
    whole = tuple(dict.fromkeys(row["case"] for row in rows if _is_whole(row)))
    for (reason, names), who in engines.items():
        for where in [WHOLE] if names == whole else names:
            yield where, ", ".join(who[:-1]) + " and " * (len(who) > 1) + who[-1], reason


def _is_whole(row: Row) -> bool:
    return bool(row["case"].startswith(WHOLE))


def _table(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Each case's name, and below it a line for every engine that was timed."""
    for name in dict.fromkeys(row["case"] for row in rows):
        same = {row["system"]: row for row in rows if row["case"] == name and row["skipped"] is None}
        own = [system for system in same if engine(system) == "fastgru"]
        if same:
            yield [name, *[""] * (len(HEADINGS) - 1)]
        for system, row in same.items():
            times = None if system in own else ratio(same, (system,), *own)
            rate = row["rate"] if row["scenario"] == "Server" else 1e6 * row["batch"] / row["p50"]
            figures = [row[figure] for figure in ("p50", "p90", "p99", "min")]
            yield [
                f"  {PEERS[system].title}",
                *map(figure_text, figures),
                f"{row['n']:,}",
                f"{rate:,.0f}",
                "" if times is None else f"{times:.2f}",
            ]
