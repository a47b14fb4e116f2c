"""How near fastgru comes to what this machine can do: its limits, and the share of them that is reached.

    python benchmarks/roofline.py [--limits limits.json] [--results results.json] [--threads 1] [--seconds 0.5]
                                  [--json FILE] [--plot roofline.png]

A single sequence reads its recurrent weights once a step, so that the bandwidth of the cache they lie in is its limit;
a batch uses what it reads for every row, and FMA is its limit. The recurrent part is a GRU with one input, whose
projection is next to nothing. The limits are those of ``benchmarks/limits.py --json``, or are measured first. Limits
and calls are both taken at their best, because what else the machine does slows them at different moments; medians
are in the JSON. ``--results`` adds other engines to the plot, from ``benchmarks/table.py --json``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from limits import limits

from fastgru import GRU
from fastgru.bench.cases import random_gru
from fastgru.bench.machine import machine, on_cores
from fastgru.bench.plots import COLOURS, MARKERS, check_suffix, look, save, sheet, threads_text, titled
from fastgru.bench.statistics import summary
from fastgru.bench.turns import in_turn
from fastgru.errors import FastGRUError

__all__ = ["bytes_per_step", "flop", "main", "markdown", "measured", "shares"]

HIDDEN = (32, 64, 128, 256, 512)
BATCHES = (8, 32, 128, 256)
STEPS = 100
FLOAT = 4  # bytes


def flop(steps: int, batch: int, inputs: int, hidden: int) -> int:
    """Multiplications and additions of both products of all steps; the arithmetic of the gates is not counted."""
    return 2 * 3 * hidden * (inputs + hidden) * steps * batch


def bytes_per_step(hidden: int) -> int:
    """The recurrent weights, which every step needs anew."""
    return FLOAT * 3 * hidden * hidden


def measured(threads: int, seconds: float, hidden: Sequence[int], batches: Sequence[int]) -> list[dict[str, Any]]:
    """The fastest and the median call of every case, in microseconds.

    One sequence with one input (``recurrent``) and with as many inputs as units, and every batch with the latter.
    """
    cases = [(1, 1, size) for size in hidden] + [(batch, size, size) for batch in (1, *batches) for size in hidden]
    random = np.random.default_rng(0)
    rows = []
    with on_cores(threads):
        for batch, inputs, size in cases:
            gru = GRU(random_gru(inputs, size), n_threads=threads)
            x = random.standard_normal((batch, STEPS, inputs), np.float32)
            times = in_turn({"fastgru": lambda gru=gru, x=x: gru(x)}, seconds)["fastgru"]
            rows.append({"batch": batch, "inputs": inputs, "hidden": size, "steps": STEPS, "threads": threads,
                         "recurrent": inputs == 1, **summary(times.nanoseconds)})  # fmt: skip
    return rows


def shares(
    rows: Sequence[Mapping[str, Any]], limit: Mapping[str, Any], caches: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Each row with its GFLOP/s, the GB/s at which it reads its recurrent weights, and the shares of the limits.

    Parameters
    ----------
    rows : sequence of mapping
        Of ``measured``.
    limit : mapping
        What ``limits.py`` found for the same number of threads.
    caches : mapping of str to int
        The bytes of each cache, from the nearest.
    """
    found = []
    for row in rows:
        seconds, weights = row["min"] * 1e-6, bytes_per_step(row["hidden"])
        gflops = flop(row["steps"], row["batch"], row["inputs"], row["hidden"]) / seconds * 1e-9
        gbs = weights * row["steps"] / seconds * 1e-9
        place = next((name for name, size in caches.items() if weights <= size), "memory")
        bandwidth = limit["bandwidth"].get(place)
        found.append({**row, "gflops": gflops, "gbs": gbs, "place": place,
                      "share_of_fma": gflops / limit["fma"]["best"],
                      "share_of_bandwidth": None if bandwidth is None else gbs / bandwidth["best"]})  # fmt: skip
    return found


def markdown(rows: Sequence[Mapping[str, Any]], limit: Mapping[str, Any]) -> str:
    """Two tables: single sequences against bandwidth, batches against FMA."""
    lines = [
        f"Single sequences of {STEPS} steps at their fastest, {threads_text([limit['threads']])}; recurrent part: one "
        "input.",
        "",
        "| units | weights, KB | in | recurrent part, us | GB/s | limit, GB/s | share | whole call, us | GFLOP/s |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    whole = {row["hidden"]: row for row in rows if row["batch"] == 1 and not row["recurrent"]}
    for row in (row for row in rows if row["recurrent"]):
        share = row["share_of_bandwidth"]
        of = ["", ""] if share is None else [f"{limit['bandwidth'][row['place']]['best']:.0f}", f"{share:.0%}"]
        cells = [f"{row['hidden']}", f"{bytes_per_step(row['hidden']) / 1024:,.0f}", row["place"], f"{row['min']:,.4g}"]
        cells += [f"{row['gbs']:.0f}", *of]
        cells += [f"{whole[row['hidden']]['min']:,.4g}", f"{whole[row['hidden']]['gflops']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    batches = sorted({row["batch"] for row in rows} - {1})
    peak = f"{limit['fma']['best']:.0f} GFLOP/s"
    lines += [
        "",
        f"Batches, as many inputs as units: GFLOP/s of whole calls at their fastest, and the share of {peak}.",
        "",
    ]
    lines += [f"| units | {' | '.join(f'batch {batch}' for batch in batches)} |", f"|---:|{'---:|' * len(batches)}"]
    for hidden in sorted(whole):
        found = {row["batch"]: row for row in rows if row["hidden"] == hidden}
        cells = [f"{found[batch]['gflops']:.1f} ({found[batch]['share_of_fma']:.0%})" for batch in batches]
        lines.append(f"| {hidden} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(
    rows: Sequence[Mapping[str, Any]],
    limit: Mapping[str, Any],
    about: Mapping[str, Any],
    others: Mapping[str, Any] | None = None,
) -> Any:
    """The roofline: operations a byte of recurrent weights against GFLOP/s, and a second panel with all engines."""
    title = f"Roofline of a GRU, {STEPS} steps, {threads_text([limit['threads']])}\n{about['cpu']}, {about['caches']}"
    peers = _of_others(others, limit["threads"]) if others else []
    figure, axes = sheet(title, 2 if peers else 1)
    sizes = sorted({row["hidden"] for row in rows})
    own = [
        (f"{size} units", COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)],
         [_point(row) for row in rows if row["hidden"] == size])
        for place, size in enumerate(sizes)
    ]  # fmt: skip
    titles = ("fastgru (leftmost: the recurrent part of one sequence)", "whole calls of all engines")
    for each, lines, name in zip(axes, (own, peers), titles, strict=False):
        points = [point for line in lines for point in line[3]]
        _roof(each, limit, max(x for x, _ in points), min(y for _, y in points))
        for label, colour, marker, line in lines:
            xs, ys = zip(*sorted(line), strict=True)
            style = "-" if lines is own else "none"
            each.plot(xs, ys, label=label, color=colour, marker=marker, markersize=5, linewidth=1, linestyle=style)
        each.legend(fontsize=8, loc="lower right", framealpha=0.9)
        each.set_xlabel("FLOP per byte of recurrent weights, read once a step")
        each.set_ylabel("GFLOP/s")
        each.set_title(name, fontsize=10)
    return figure


def _point(row: Mapping[str, Any]) -> tuple[float, float]:
    work = flop(row["steps"], row["batch"], row["inputs"], row["hidden"])
    return work / (bytes_per_step(row["hidden"]) * row["steps"]), work / row["min"] * 1e-3


def _of_others(results: Mapping[str, Any], threads: int) -> list[tuple[str, str, str, list[tuple[float, float]]]]:
    """Name, colour, marker and points of every engine of results; whole sequences only."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in results["results"]:
        whole = row["lengths"] == "full" and row["steps"] > 1 and row["layers"] == row["directions"] == 1
        if whole and row["threads"] == threads and row["scenario"] != "Server" and row["min"] is not None:
            found.setdefault(row["system"], []).append(_point(row))
    return [(titled(results, system), *look(system), points) for system, points in found.items()]


def _roof(axes: Any, limit: Mapping[str, Any], right: float, low: float) -> None:
    """The ceilings: one slope for each cache, the flat one of FMA, and their names along them."""
    peak = limit["fma"]["best"]
    left, right = 1 / 16, 2 * right
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.plot([left, right], [peak, peak], color="#000000", linewidth=1.2)
    axes.annotate(f"FMA {peak:.0f} GFLOP/s", (right, peak), fontsize=8, ha="right", va="bottom")
    slopes = {name: point["best"] for name, point in limit["bandwidth"].items()}
    axes.set_xlim(left, right)
    axes.set_ylim(min([low, *(left * slope for slope in slopes.values())]) / 1.5, 2 * peak)
    for place, (name, slope) in enumerate(slopes.items()):
        knee = min(peak / slope, right)
        axes.plot([left, knee], [left * slope, knee * slope], color="#000000", linewidth=0.8, linestyle="--")
        axes.text(
            1.1 * left, 1.1 * left * slope, f"{name} {slope:.0f} GB/s", fontsize=7.5, ha="left",
            va="top" if place == 2 else "bottom",  # a third cache is often nearly as fast as the second
            rotation=math.degrees(math.atan(slope)), rotation_mode="anchor", transform_rotates_text=True,
        )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The share of this machine's limits that fastgru reaches.")
    parser.add_argument("--limits", type=Path, metavar="JSON", help="of benchmarks/limits.py; else they are measured")
    parser.add_argument("--results", type=Path, metavar="JSON", help="of benchmarks/table.py: other engines to plot")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each case (default %(default)s)")
    parser.add_argument("--hidden", type=int, nargs="+", default=list(HIDDEN), metavar="H")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES), metavar="B")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the roofline: .png, .svg or .pdf")
    options = parser.parse_args(argv)
    try:
        if options.plot:
            check_suffix(options.plot)
        given = options.limits and json.loads(options.limits.read_text(encoding="utf-8"))
        found = given or limits([options.threads], 9)
        limit = next((each for each in found["limits"] if each["threads"] == options.threads), None)
        if limit is None:
            parser.error(f"--limits: {options.limits} has none for {threads_text([options.threads])}")
        rows = measured(options.threads, options.seconds, options.hidden, options.batches)
        rows = shares(rows, limit, found["caches"])
        print(markdown(rows, limit))
        if options.json:
            result = {"machine": machine(), "limits": found, "rows": rows}
            options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        if options.plot:
            others = json.loads(options.results.read_text(encoding="utf-8")) if options.results else None
            save(picture(rows, limit, machine(), others), options.plot)
    except (FastGRUError, OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
