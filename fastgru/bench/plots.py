"""Pictures of results: latency against hidden size and against batch, the tail, and bars where there is little.

Owns what is drawn, and nothing of what was measured. matplotlib is imported when the first picture is made. A system
has the same colour and marker in every picture: the colours are those of Okabe and Ito, which the colour-blind tell
apart, and the markers differ for whoever sees no colour. Those of one engine have the same, and what they compute in
shows in the line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from ..errors import FastGRUError, MissingDependencyError
from ..outputs import replacing
from .peers import PEERS, engine
from .results import figure_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "MARKERS",
    "SUFFIXES",
    "charts",
    "look",
    "plain_ticks",
    "plot_results",
    "save",
    "sheet",
    "threads_text",
    "titled",
]

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = {"float32": "-", "float16": "--", "int8": "-."}  # bfloat16 and what an engine chooses: dotted
GREY = "#666666"
PANEL = (5.2, 3.9)  # inches
MAX_PANELS = 8
MIN_SIZES = 3  # of a line that says more than bars

Row = Mapping[str, Any]
Rows = Sequence[Row]


def plot_results(results: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the picture that says most about these results: lines where sizes vary, otherwise bars.

    Parameters
    ----------
    results : mapping
        In the form of ``fastgru.bench.results``, as ``fastgru bench --json`` writes it.
    path : str or path-like
        ``.png``, ``.svg`` or ``.pdf``; it is written whole or not at all.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    FastGRUError
        The suffix is none of these, nothing was timed, or the file cannot be written.
    """
    check_suffix(path)
    save(next(iter(charts(results).values()))(), path)


def charts(results: Mapping[str, Any]) -> dict[str, Callable[[], Figure]]:
    """What can be drawn of these results, by a name for a file, and what draws it; the most telling one is first."""
    timed = [row for row in results["results"] if row["skipped"] is None and row["p50"] is not None]
    if not timed:
        raise FastGRUError("there is nothing to draw: no case of these results was timed")
    server = [row for row in timed if row["scenario"] == "Server"]
    rows = [row for row in timed if row["scenario"] != "Server"]
    found: dict[str, Callable[[], Figure]] = {}
    for across, label in (("hidden", "units (and inputs)"), ("batch", "rows of a batch")):
        if panels := _panels(rows, across):
            found[f"latency_by_{across}"] = partial(_lines, results, panels, across, label)
    if rows and not found:
        found["latency"] = partial(_bars, results, rows, "p50", "median latency (us); thin line: to p99")
    if len({row["case"] for row in rows}) > 1:
        found["tail"] = partial(_tail, results, rows)
    if server:
        found["server"] = partial(_bars, results, server, "rate", "requests a second within the bound")
    return found


def sheet(title: str, panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with a title and its panels, at most four side by side."""
    try:
        from matplotlib.figure import Figure  # by itself, so that no window and no global state is involved
    except ImportError as error:
        raise MissingDependencyError("drawing needs matplotlib: pip install matplotlib") from error

    columns = {4: 2, 8: 4}.get(panels, min(panels, 3))
    lines = -(-panels // columns)
    figure = Figure(figsize=(max(PANEL[0] * columns, 7.5), PANEL[1] * lines + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = [figure.add_subplot(lines, columns, place + 1) for place in range(panels)]
    for each in axes:
        each.grid(True, color="#dddddd", linewidth=0.6)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a picture's path, if it is one that can be written."""
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in SUFFIXES:
        raise FastGRUError(f"{os.fspath(path)}: got suffix {suffix!r}, wanted one of {', '.join(SUFFIXES)}")
    return suffix


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a picture in the format of its suffix, whole or not at all."""
    suffix = check_suffix(path)
    try:
        with replacing(os.fspath(path)) as file:
            figure.savefig(file, format=suffix[1:], dpi=150)
    except OSError as error:
        raise FastGRUError(f"{os.fspath(path)}: cannot be written ({error.strerror or error})") from error


def threads_text(counts: Iterable[int]) -> str:
    """Such as ``1 thread`` or ``1 and 2 threads``."""
    ordered = sorted(set(counts))
    return f"{' and '.join(map(str, ordered))} thread{'s' if ordered != [1] else ''}"


def _title(results: Mapping[str, Any], what: str, rows: Rows) -> str:
    machine = results["machine"]
    return (
        f"{what}, {threads_text(row['threads'] for row in rows)}\n"
        f"{machine['cpu']}, {machine['caches']}, {machine['isa']} kernels, {results['date'][:10]}"
    )


def _systems(rows: Iterable[Row]) -> list[str]:
    """Those that occur, in the order of all tables."""
    found = {row["system"] for row in rows}
    return [name for name in PEERS if name in found] + sorted(found - set(PEERS))


def look(system: str) -> tuple[str, str]:
    """The colour and the marker of a system's engine."""
    engines = list(dict.fromkeys(engine(name) for name in PEERS))
    place = engines.index(engine(system)) if engine(system) in engines else len(engines)
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def titled(results: Mapping[str, Any], system: str) -> str:
    """The name of a system and its version."""
    title = PEERS[system].title if system in PEERS else system
    return f"{title} {results['versions'].get(system, '')}".strip()


def _panels(rows: Rows, across: str) -> list[tuple[str, list[Row]]]:
    """The groups of rows that differ in nothing but one size, and what each is called."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row[across] is None:
            continue
        size = row["batch"] if across == "hidden" else row["hidden"] or 0
        of = (row["lengths"], row["layers"] or 0, row["directions"] or 0)
        groups.setdefault((row["threads"], _whole(row), row["steps"], size, *of), []).append(row)
    sizes = {key: len({row[across] for row in group}) for key, group in groups.items()}
    kept = sorted((key for key in groups if sizes[key] >= MIN_SIZES), key=lambda key: -sizes[key])[:MAX_PANELS]
    return [(_panel_title(groups[key][0], across), groups[key]) for key in sorted(kept)]


def _whole(row: Row) -> str:
    """The name of a whole model, or "" of a GRU."""
    return row.get("model") or ""  # rows of earlier versions have no such key


def _panel_title(row: Row, across: str) -> str:
    steps = "one step" if row["steps"] == 1 else f"{row['steps']} steps"
    if row["lengths"] != "full":
        steps = f"ragged, {row['lengths'].removeprefix('uniform ')} steps"
    size = f"batch {row['batch']}" if across == "hidden" else f"{row['hidden']} units"
    parts = [_whole(row), steps] if _whole(row) else [steps, size]
    return ", ".join([*parts, threads_text([row["threads"]])])


def _lines(results: Mapping[str, Any], panels: Sequence[tuple[str, Rows]], across: str, label: str) -> Figure:
    """Median latency against a size, one panel a group and one line a system."""
    every = [row for _, rows in panels for row in rows]
    what = "whole models" if any(map(_whole, every)) else "a GRU"
    figure, axes = sheet(_title(results, f"Median latency of {what}", every), len(panels))
    for each, (title, rows) in zip(axes, panels, strict=True):
        each.set_title(title, fontsize=10)
        for system in _systems(rows):
            points = sorted((row[across], row["p50"]) for row in rows if row["system"] == system)
            xs, ys = zip(*points, strict=True)
            own = engine(system) == "fastgru"
            each.plot(xs, ys, **_drawn(system), linewidth=2 if own else 1.2, zorder=3 if own else 2)
        each.set_xscale("log", base=2)
        each.set_yscale("log")
        each.set_xticks(sorted({row[across] for row in rows}))
        each.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        plain_ticks(each.yaxis)
        each.set_xlabel(label)
        each.set_ylabel("latency (us)")
    _legend(results, figure, _systems(every))
    return figure


def _drawn(system: str) -> dict[str, Any]:
    """How a system's line and its points are drawn: hollow points where it does not compute in float32."""
    colour, marker = look(system)
    precision = PEERS[system].precision if system in PEERS else "float32"
    inside = colour if precision == "float32" else "white"
    line = LINES.get(precision, ":")
    return {"color": colour, "marker": marker, "markersize": 5, "markerfacecolor": inside, "linestyle": line}


def plain_ticks(axis: Axis) -> None:
    """Numbers as people write them on a logarithmic axis, at 1, 2 and 5 where it is short; call it last."""
    from matplotlib.ticker import LogLocator, NullFormatter

    least, most = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if most < 100 * least else (1.0,)))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _legend(results: Mapping[str, Any], figure: Figure, systems: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for system in systems:
        handles.append(Line2D([], [], **_drawn(system), label=titled(results, system)))
    columns = len(handles) if len(handles) <= 6 else -(-len(handles) // 2)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, handlelength=4)


def _bars(results: Mapping[str, Any], rows: Rows, figure_of_merit: str, label: str) -> Figure:
    """One panel a case and number of threads, one bar a system, with its number beside it."""
    groups: dict[tuple[str, int], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["threads"]), {})[row["system"]] = row
    shown = dict(list(groups.items())[:MAX_PANELS])
    more = f" (the first {MAX_PANELS} of {len(groups)} cases)" if len(groups) > MAX_PANELS else ""
    figure, axes = sheet(_title(results, f"{label.partition(' (')[0].capitalize()}{more}", rows), len(shown))
    for each, ((case, threads), by_system) in zip(axes, shown.items(), strict=True):
        systems = _systems(by_system.values())
        most = max(float(by_system[system][figure_of_merit]) for system in systems)
        tail = max(row["p99"] for row in by_system.values()) if figure_of_merit == "p50" else 0
        for place, system in enumerate(systems):
            row = by_system[system]
            value, note = float(row[figure_of_merit]), f" {figure_text(row[figure_of_merit])}"
            each.barh(place, value, color=look(system)[0], height=0.6)
            if figure_of_merit == "p50":
                each.plot([value, row["p99"]], [place, place], color="#000000", linewidth=1)
                note += f", p99 {figure_text(row['p99'])}"
            each.annotate(note, (value, place - 0.03), fontsize=8, va="bottom", color=GREY)
        each.set_yticks(range(len(systems)), [titled(results, system) for system in systems], fontsize=8)
        each.invert_yaxis()
        each.grid(False, axis="y")
        each.set_xlim(0, 1.35 * max(most, min(tail, 1.3 * most)))  # a longer tail runs out of the picture
        bound = f", p99 within {row['bound']:,g} us" if figure_of_merit == "rate" else ""
        each.set_title(f"{case}, {threads_text([threads])}{bound}", fontsize=10)
        each.set_xlabel(label)
    return figure


def _tail(results: Mapping[str, Any], rows: Rows) -> Figure:
    """p99 over p50: one panel a number of threads, one line a system, one point a case, a bar at their median."""
    counts = sorted({row["threads"] for row in rows})
    figure, axes = sheet(_title(results, "How far the tail reaches: p99 over p50, one point a case", rows), len(counts))
    for each, threads in zip(axes, counts, strict=True):
        here = [row for row in rows if row["threads"] == threads]
        systems = _systems(here)
        for place, system in enumerate(systems):
            ratios = [row["p99"] / row["p50"] for row in here if row["system"] == system]
            colour, marker = look(system)
            spread = [place + 0.24 * (2 * ((7 * index) % 11) / 10 - 1) for index in range(len(ratios))]
            each.plot(ratios, spread, color=colour, marker=marker, markersize=5, linestyle="none", alpha=0.8)
            each.plot([median(ratios)] * 2, [place - 0.36, place + 0.36], color="#000000", linewidth=1.8)
        each.set_yticks(range(len(systems)), [titled(results, system) for system in systems], fontsize=8)
        each.invert_yaxis()
        each.set_xscale("log")
        most = max(row["p99"] / row["p50"] for row in here)
        usual = (1, 1.2, 1.5, 2, 3, 5) if most < 8 else (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
        ticks = [tick for tick in usual if tick <= 1.5 * most]
        each.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        each.minorticks_off()
        each.set_title(threads_text([threads]), fontsize=10)
        each.set_xlabel("p99 / p50 (bar: the median of the cases)")
    return figure
