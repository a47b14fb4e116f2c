"""Steps of a pool's streams: how many a second, and how long a call takes, by rows that step together and by threads.

    python benchmarks/pools.py [--rows 1,4,16,64,256] [--threads 1,2] [--call-threads 1] [--streams 1000] [--joining N]
                               [--seconds S] [--json FILE] [--plot FILE.png]

The model is that of ``ragged.py``, a GRU of 64 inputs and 128 units and 10 classes for every step. Every thread has its
share of the pool's streams and steps groups of them, drawn at random, one call after the other; a call itself has
``--call-threads``. With ``--joining`` some streams leave before each call, and as many join, which is not timed. Steps
are checked to have the bits of streams of their own before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ragged import INPUTS, model_of

import fastgru
from fastgru.bench.machine import on_cores
from fastgru.bench.others import NOTEWORTHY, others
from fastgru.bench.plots import COLOURS, MARKERS, check_suffix, plain_ticks, save, sheet, threads_text
from fastgru.bench.results import figure_text, result
from fastgru.bench.statistics import summary
from fastgru.errors import FastGRUError

Array = np.ndarray

GROUPS = 64  # of each thread, in turn
WARM_CALLS = 200  # of each thread: all of its groups came, and memory is where it stays
SEED = 20240607


class Caller:
    """What one thread steps: groups of streams that nobody else has, and an input for each."""

    def __init__(self, pool: fastgru.Pool, streams: int, rows: int, joining: int, seed: int) -> None:
        random = np.random.default_rng([SEED, seed])
        self._pool, self._ids = pool, pool.join(streams)
        self._groups = [random.choice(streams, rows, replace=False) for _ in range(GROUPS)]
        self._going = [random.choice(streams, joining, replace=False) for _ in range(GROUPS)]
        self._x = random.standard_normal((rows, INPUTS), np.float32)
        self.nanoseconds: list[int] = []
        self.start = self.end = 0

    def run(self, together: threading.Barrier, seconds: float) -> None:
        """Call for some seconds, from when all threads have warmed up."""
        clock, step, x = time.perf_counter_ns, self._pool.step, self._x
        for call in range(WARM_CALLS):
            step(self._group(call), x)
        together.wait()
        self.start = now = clock()
        until, call = now + int(1e9 * seconds), 0
        while now < until:
            group = self._group(call)
            begun = clock()
            step(group, x)
            now = clock()
            self.nanoseconds.append(now - begun)
            call += 1
        self.end = now

    def _group(self, call: int) -> Array:
        """The ids of the streams that step next, some of which may be new."""
        going = self._going[call % GROUPS]
        if len(going):
            self._pool.leave(self._ids[going])
            self._ids[going] = self._pool.join(len(going))
        return self._ids[self._groups[call % GROUPS]]


def measure(
    model: fastgru.Model, streams: int, rows: int, threads: int, joining: int, seconds: float
) -> dict[str, Any]:
    """Stream steps a second of all threads together, and the latencies of their calls."""
    pool, together = model.pool(streams), threading.Barrier(threads)
    callers = [Caller(pool, streams // threads, rows, joining, seed) for seed in range(threads)]
    workers = [threading.Thread(target=caller.run, args=(together, seconds)) for caller in callers]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    times = [each for caller in callers for each in caller.nanoseconds]
    elapsed = max(caller.end for caller in callers) - min(caller.start for caller in callers)
    rate = 1e9 * rows * len(times) / (sum(times) / threads if joining else elapsed)
    return {"rows": rows, "threads": threads, "streams": streams, "steps_per_second": rate, **summary(times)}


def check(model: fastgru.Model) -> None:
    """End the program where a stream of a pool has other bits than one of its own."""
    random = np.random.default_rng(SEED)
    pool, alone = model.pool(20), [model.stream() for _ in range(20)]
    ids = pool.join(20)
    for _ in range(50):
        chosen = random.permutation(20)[: random.integers(1, 21)]
        x = random.standard_normal((len(chosen), INPUTS), np.float32)
        made = pool.step(ids[chosen], x)
        for place, stream in enumerate(chosen):
            if made[place].tobytes() != alone[stream].step(x[place : place + 1])[0].tobytes():
                raise SystemExit("a pool's stream has not the bits of a stream of its own")


def run(
    rows: Sequence[int],
    threads: Sequence[int],
    streams: int,
    seconds: float,
    call_threads: int = 1,
    joining: int = 0,
) -> dict[str, Any]:
    """All figures, with what ``fastgru.bench.results`` keeps of where they were measured."""
    if streams < max(rows) * max(threads):
        raise SystemExit(
            f"--streams: got {streams}, wanted at least {max(rows) * max(threads)}: {max(rows)} rows for each of "
            f"{threads_text([max(threads)])}; or ask for fewer --rows or --threads"
        )
    if not 0 <= joining <= streams // max(threads) or call_threads < 1:
        most = streams // max(threads)
        raise SystemExit(
            f"--joining, --call-threads: got {joining} and {call_threads}, wanted 0 to {most} and at least 1"
        )
    model = model_of(call_threads)
    check(model)
    found, notes = [], []
    if call_threads > 1:
        notes.append(f"a call has {threads_text([call_threads])}")
    if joining:
        notes.append(f"{joining} streams leave and join between two calls of a thread; steps a second of calls alone")
    for count in threads:
        with on_cores(count * call_threads), others() as used:
            found += [measure(model, streams, each, count, joining, seconds) for each in rows]
        if used.cores is not None and used.cores > NOTEWORTHY:
            busy = f"{threads_text([count])}: other processes used {used.cores:.2f} cores meanwhile"
            notes.append(f"{busy}, so these figures are not those of an idle machine")
    return result(["fastgru"], found, notes)


def heading(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    return f"{results['date'][:10]}: {machine['cpu']}, {machine['caches']}, {machine['isa']} kernels"


def markdown(results: Mapping[str, Any]) -> str:
    """A line for each number of threads and of rows."""
    lines = [
        f"{heading(results)}. Calls of `pool.step` from Python, in microseconds.", "",
        "| threads | rows of a call | stream steps a second | p50 | p99 |", "|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for row in results["results"]:
        cells = " | ".join((f"{row['steps_per_second']:,.0f}", figure_text(row["p50"]), figure_text(row["p99"])))
        lines.append(f"| {row['threads']} | {row['rows']} | {cells} |")
    return "\n".join([*lines, *(f"\n* {note}" for note in results["notes"])])


def picture(results: Mapping[str, Any]) -> Any:
    """Stream steps a second, and p50 and p99 of a call, against rows; a line for each number of threads."""
    rows = results["results"]
    streams = max(row["streams"] for row in rows)
    title = f"A pool of {streams:,} streams, fastgru {results['versions']['fastgru']}\n{heading(results)}"
    figure, (rates, latencies) = sheet(title, 2)
    for place, threads in enumerate(sorted({row["threads"] for row in rows})):
        here = sorted((row for row in rows if row["threads"] == threads), key=lambda row: row["rows"])
        xs, name = [row["rows"] for row in here], threads_text([threads])
        look = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)], "markersize": 5}
        rates.plot(xs, [row["steps_per_second"] for row in here], label=name, **look)
        latencies.plot(xs, [row["p50"] for row in here], label=f"{name}, median", **look)
        latencies.plot(xs, [row["p99"] for row in here], label=f"{name}, p99", linestyle="--", **look)
    for axes, label in ((rates, "stream steps a second"), (latencies, "latency of a call (us)")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sorted({row["rows"] for row in rows}))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        plain_ticks(axes.yaxis)
        axes.set_xlabel("streams that step together")
        axes.set_ylabel(label)
        axes.legend(fontsize=8, framealpha=0.9)
    return figure


def _counts(text: str) -> list[int]:
    """Whole numbers from 1 on, as 1,4,16."""
    if not all(each.isdecimal() and int(each) for each in text.split(",")):
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted whole numbers from 1 on, as 1,4,16")
    return [int(each) for each in text.split(",")]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Steps of a pool's streams, by rows that step together and threads.")
    parser.add_argument(
        "--rows", type=_counts, default="1,4,16,64,256", help="that step together (default %(default)s)"
    )
    parser.add_argument("--threads", type=_counts, default="1,2", help="that call the pool (default %(default)s)")
    parser.add_argument("--call-threads", type=int, default=1, help="that a call has (default %(default)s)")
    parser.add_argument("--joining", type=int, default=0, help="that leave and join before each call (default 0)")
    parser.add_argument("--streams", type=int, default=1000, help="of the pool (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw them: .png, .svg or .pdf")
    options = parser.parse_args(argv)
    try:
        if options.plot:
            check_suffix(options.plot)
        results = run(
            options.rows, options.threads, options.streams, options.seconds, options.call_threads, options.joining
        )
        print(markdown(results))
        if options.json:
            options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        if options.plot:
            save(picture(results), options.plot)
    except (FastGRUError, OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
