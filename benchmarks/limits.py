"""The limits of this machine: products, reading from each cache and from memory, and a barrier of two threads.

    python benchmarks/limits.py [--threads 1 2] [--runs 9] [--json FILE]

``limits.c`` is compiled for every width of vectors that the processor has, into a temporary folder, and run for the
working sets that follow from the caches found in /sys. A figure is the median of the runs of the best width; beside it
stands the best run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastgru import threads as processors
from fastgru.bench.machine import CPUS, machine, on_cores
from fastgru.engine.dispatch import available
from fastgru.errors import FastGRUError, MissingDependencyError

__all__ = ["Caches", "caches", "compiled", "compiler", "limits", "main", "markdown", "summed", "working_sets"]

SOURCE = Path(__file__).with_name("limits.c")
FLAGS = ("-O3", "-pthread", "-ffp-contract=fast")
AVX512 = ("-mavx512f", "-mfma", "-mprefer-vector-width=512")
# By kernel level: the bytes of a vector, and what lets the compiler use it.
LEVELS = {
    "amx": (64, AVX512),
    "avx512_bf16": (64, (*AVX512, "-mavx512vnni", "-mavx512bf16")),
    "avx512_vnni": (64, (*AVX512, "-mavx512vnni")),
    "avx512": (64, AVX512),
    "avx2_vnni": (32, ("-mavx2", "-mfma", "-mavxvnni")),
    "avx2": (32, ("-mavx2", "-mfma")),
    "neon_dotprod": (16, ()),
    "neon": (16, ()),
    "baseline": (16, ()),
}
GRAIN = 4096  # bytes of which every working set is a multiple
ROUNDS = 3  # in which the runs are made, so that what else the machine does spoils few of one measurement
SMALLEST, LARGEST = 4096, 128 << 20  # bytes of working sets where no cache says otherwise

Caches = dict[str, int]  # "L1" to its bytes, from the nearest


def caches(cpus: Path = CPUS) -> Caches:
    """The data caches of the first core, from the nearest; empty where the system does not say."""
    found = {}
    for folder in cpus.glob("cpu0/cache/index*"):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:])
        if kind != "Instruction" and unit and level.isdecimal() and size[:-1].isdecimal():
            found[f"L{level}"] = int(size[:-1]) * unit
    return dict(sorted(found.items()))


def working_sets(found: Caches) -> tuple[dict[str, tuple[int, int]], list[int]]:
    """The fewest and most bytes that lie in each cache and in memory alone, and all sizes of the curve.

    Up to half of a cache lies in it alone, from four times the cache before it; four times the last lie in memory.
    """
    within, before = {}, 0
    for name, size in found.items():
        within[name] = _grained(min(4 * before, size // 2)), _grained(size // 2)
        before = size
    if found:
        within["memory"] = _grained(4 * before), _grained(4 * before)
    largest = within["memory"][1] if found else LARGEST
    sizes, size = {each for bounds in within.values() for each in bounds}, float(SMALLEST)
    while size <= largest:
        sizes.add(_grained(int(size)))
        size *= 2**0.5
    return within, sorted(sizes)


def _grained(size: int) -> int:
    return max(GRAIN, size // GRAIN * GRAIN)


def compiler() -> str:
    """The C compiler: ``CC``, or the first that is found.

    Raises
    ------
    MissingDependencyError
        There is none.
    """
    asked = os.environ.get("CC")
    found = next(filter(None, map(shutil.which, [asked] if asked else ["cc", "gcc", "clang"])), None)
    if found is None:
        raise MissingDependencyError(
            f"the limits are measured by a small C program, and there is no C compiler "
            f"({asked or 'cc, gcc or clang'}); install gcc or clang, or name yours by CC"
        )
    return found


def compiled(folder: Path, level: str) -> Path:
    """The program for vectors of a kernel level, in ``folder``."""
    width, flags = LEVELS[level]
    program = folder / f"limits_{level}"
    command = [compiler(), *FLAGS, *flags, f"-DWIDTH={width}", str(SOURCE), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise FastGRUError(
            f"{SOURCE.name} could not be compiled for {level} ({said}); wanted GCC or Clang with pthreads"
        )
    return program


def limits(threads: Sequence[int], runs: int) -> dict[str, Any]:
    """All limits, for each number of threads, as data that ``json.dumps`` takes."""
    found = caches()
    within, sizes = working_sets(found)
    with tempfile.TemporaryDirectory() as folder:
        programs = {level: compiled(Path(folder), level) for level in available()}
        measured = []
        for count in threads:
            with on_cores(count):
                rounds = [
                    {level: _run(program, count, -(-runs // ROUNDS), sizes) for level, program in programs.items()}
                    for _ in range(ROUNDS)
                ]
            outputs = {level: _joined([each[level] for each in rounds]) for level in programs}
            measured.append(summed(outputs, count, within))
    return {
        "schema": 1,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "caches": found,
        "runs": -(-runs // ROUNDS) * ROUNDS,
        "limits": measured,
    }


def _run(program: Path, threads: int, runs: int, sizes: Sequence[int]) -> dict[str, Any]:
    command = [str(program), str(threads), str(runs), *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FastGRUError(f"{program.name} failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    output: dict[str, Any] = json.loads(done.stdout)
    return output


def _joined(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One output with the runs of all."""
    read = [
        {"bytes": points[0]["bytes"], "gbs": [rate for point in points for rate in point["gbs"]]}
        for points in zip(*(each["read"] for each in rounds), strict=True)
    ]
    names = ("gflops", "pairs", "bytes", "barrier_ns")
    flat = {name: [figure for each in rounds for figure in each[name]] for name in names}
    return {**flat, "read": read}


def summed(
    outputs: Mapping[str, Mapping[str, Any]], threads: int, within: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """What the programs of all levels said, as one set of limits: of every figure that of the best level.

    Parameters
    ----------
    outputs : mapping of str to mapping
        What ``limits.c`` printed, by level: ``gflops``, ``pairs``, ``bytes``, ``read`` and ``barrier_ns``.
    threads : int
        With which they ran.
    within : mapping of str to (int, int)
        The bounds of ``working_sets``; the fastest working set within them is what the cache can do.

    Returns
    -------
    dict
        ``threads``; ``fma``, ``bandwidth`` by cache, and the ``curve`` over working sets: each ``median``, ``best`` and
        ``level``; ``fma_by_level``; ``pairs`` and ``bytes``, products of bfloat16 and of int8 by the instructions for
        them, or None; ``barrier_ns``, or None of one thread. GFLOP/s (a product and its sum are 2), GB/s, nanoseconds.
    """
    by_level = {level: _figure(each["gflops"]) for level, each in outputs.items()}
    peak = max(by_level, key=lambda level: by_level[level]["median"])
    curve = []
    for points in zip(*(each["read"] for each in outputs.values()), strict=True):
        rates = [
            {"bytes": point["bytes"], **_figure(point["gbs"]), "level": level}
            for level, point in zip(outputs, points, strict=True)
        ]
        curve.append(max(rates, key=_median))
    bandwidth = {
        name: max((point for point in curve if fewest <= point["bytes"] <= most), key=_median)
        for name, (fewest, most) in within.items()
    }
    found = {name: [_figure(each[name]) for each in outputs.values() if each[name]] for name in ("pairs", "bytes")}
    barriers = [_figure(each["barrier_ns"], min) for each in outputs.values() if each["barrier_ns"]]
    return {
        "threads": threads,
        "fma": {**by_level[peak], "level": peak},
        "fma_by_level": by_level,
        **{name: max(found[name], key=_median, default=None) for name in found},
        "bandwidth": bandwidth,
        "curve": curve,
        "barrier_ns": min(barriers, key=_median, default=None),
    }


def _figure(runs: Sequence[float], best: Callable[[Sequence[float]], float] = max) -> dict[str, float]:
    return {"median": statistics.median(runs), "best": best(runs)}


def _median(figure: Mapping[str, Any]) -> float:
    return float(figure["median"])


def markdown(results: Mapping[str, Any]) -> str:
    """The limits as a table: one line a limit, one column a number of threads."""
    columns = results["limits"]
    about = results["machine"]
    lines = [
        f"{results['date'][:10]}: {about['cpu']}, {about['caches']}; medians of {results['runs']} runs (best).",
        "",
    ]
    titles = [f"{each['threads']} thread{'s' if each['threads'] > 1 else ''}" for each in columns]
    lines += [f"| | {' | '.join(titles)} |", f"|---|{'---:|' * len(columns)}"]

    def line(title: str, figures: Sequence[Mapping[str, float] | None]) -> str:
        cells = ("" if each is None else f"{each['median']:.4g} ({each['best']:.4g})" for each in figures)
        return f"| {title} | {' | '.join(cells)} |"

    lines.append(line("float32 FMA, GFLOP/s", [each["fma"] for each in columns]))
    for level in columns[0]["fma_by_level"]:
        lines.append(line(f"the same by {level}", [each["fma_by_level"][level] for each in columns]))
    for name, title in (("pairs", "pairs of bfloat16, GFLOP/s"), ("bytes", "int8, GOP/s")):
        if columns[0][name]:
            lines.append(line(title, [each[name] for each in columns]))
    for name in columns[0]["bandwidth"]:
        lines.append(line(f"read from {name}, GB/s", [each["bandwidth"][name] for each in columns]))
    if any(each["barrier_ns"] for each in columns):
        lines.append(line("a barrier, ns", [each["barrier_ns"] for each in columns]))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What this machine can do at most: FMA, reading, barriers.")
    parser.add_argument(
        "--threads", type=int, nargs="+", metavar="N", help="default: 1, and 2 where there are two cores"
    )
    parser.add_argument("--runs", type=int, default=9, help="of every measurement (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write every figure and the curve as JSON")
    options = parser.parse_args(arguments)
    cores = processors.available()
    asked = options.threads or [count for count in (1, 2) if count <= cores]
    if options.runs < 1 or not 1 <= min(asked) <= max(asked) <= cores:
        parser.error(f"wanted --runs of at least 1, and --threads of 1 to {cores}, the cores of this process")
    try:
        results = limits(asked, options.runs)
    except FastGRUError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(markdown(results))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
