"""fastgru in every precision beside its peers in float32, PyTorch's dynamic int8 and OpenVINO as it comes.

    python benchmarks/precisions.py [--seconds S] [--threads 1] [--cases TEXT ...] [--systems NAME,...] [--json FILE]

Every GRU is reset-after, one layer, one direction, with as many inputs as units, initialised as PyTorch does, and reads
standard normal numbers. ``fastgru.bench`` measures; here are the cases, the ratios of one precision to another, what
each costs in exactness, and what is wanted of all that on one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from comparison import case_of, compare, exit_if_skipped, name_of

from fastgru.bench.cases import Case
from fastgru.bench.markdown import Rows, cases_of, difference, latency, surroundings, tables
from fastgru.bench.peers import BEST_OF, OWN, PEERS
from fastgru.bench.results import ratio

SIZES = [
    *((100, 1, hidden) for hidden in (128, 256, 512, 1024)),  # float32 weights of 0.4 to 25 MB
    *((1, 1, hidden) for hidden in (256, 512, 1024)),
    *((100, batch, hidden) for batch, hidden in ((8, 256), (32, 128), (32, 512), (128, 256))),
]
SYSTEMS = (*OWN.values(), *BEST_OF, "torch-int8", "openvino-default")
HALF, INT8 = OWN["bfloat16"], OWN["int8"]
DEFAULT, DYNAMIC = "openvino-default", "torch-int8"
# (steps, batch, hidden): OpenVINO's default over bfloat16 and over int8, and PyTorch's dynamic int8 over int8, on
# processors that multiply pairs of bfloat16, which OpenVINO then takes by default.
WANTED = {
    (100, 1, 128): (2.5, 5.0, 4.0),
    (100, 1, 512): (2.2, 4.5, 1.9),
    (100, 8, 256): (1.15, 1.6, 2.0),
    (100, 32, 128): (1.15, 1.6, 2.5),
    (100, 32, 512): (1.15, 1.6, 1.7),
    (100, 128, 256): (1.1, 1.45, 2.5),
}
ERRORS = {"float16": 5e-4, "bfloat16": 6.4e-3, "int8": 1e-2}

Measure = Callable[[Rows], float | None]


@dataclass(frozen=True)
class Goal:
    """What is wanted of one case on one thread: ``bound`` at least, or of an error at most."""

    name: str
    steps: int
    batch: int
    hidden: int
    measure: Measure
    bound: float
    at_most: bool = False

    @property
    def case(self) -> str:
        return name_of((self.steps, self.batch, self.hidden))


def faster(peers: Sequence[str], own: Sequence[str], rows: Rows) -> float | None:
    """How many times as long as the fastest of fastgru's the fastest of these peers takes."""
    found = [ratio(rows, peers, each) for each in own]
    return max((each for each in found if each is not None), default=None)


def error(system: str, rows: Rows) -> float | None:
    return rows[system]["largest_difference"] if system in rows else None


def error_ratio(system: str, peer: str, rows: Rows) -> float | None:
    """The error of one over that of the other."""
    one, other = error(system, rows), error(peer, rows)
    return one / other if one is not None and other else None


def goals(pairs: bool) -> list[Goal]:
    """All of them; the ratios only where the processor multiplies pairs of bfloat16."""
    found = []
    for size, (half, int8, ahead) in WANTED.items() if pairs else ():
        found.append(Goal("OpenVINO's default / bfloat16", *size, partial(faster, [DEFAULT], [HALF]), half))
        found.append(Goal("OpenVINO's default / int8", *size, partial(faster, [DEFAULT], [INT8]), int8))
        found.append(Goal("PyTorch int8 / int8", *size, partial(faster, [DYNAMIC], [INT8]), ahead))
        not_above = partial(error_ratio, HALF, DEFAULT)
        found.append(Goal("error, bfloat16 over OpenVINO's default", *size, not_above, 1.0, at_most=True))
    for size in SIZES:
        for precision, most in ERRORS.items():
            found.append(Goal(f"error, {precision}", *size, partial(error, OWN[precision]), most, at_most=True))
        below = partial(error_ratio, INT8, DYNAMIC)
        found.append(Goal("error, int8 over PyTorch int8", *size, below, 1.0, at_most=True))
    return found


def has_pairs(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has AVX512-BF16 or AMX."""
    try:
        return not {"amx_bf16", "avx512_bf16"}.isdisjoint(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False


def goal_lines(results: Mapping[str, Any], pairs: bool) -> list[str]:
    """A table of what is wanted beside what was measured, of the cases that were."""
    cases = cases_of(results, 1)
    lines = ["| one thread | case | wanted | measured | |", "|---|---|---:|---:|---|"]
    for goal in goals(pairs):
        measured = goal.measure(cases.get(goal.case, {}))
        if measured is None:
            continue
        met = measured <= goal.bound if goal.at_most else measured >= goal.bound
        share = f"{measured / goal.bound:.0%} of it"
        wanted = f"{'at most ' if goal.at_most else ''}{goal.bound:g}"
        lines.append(f"| {goal.name} | {goal.case} | {wanted} | {measured:.3g} | {'met' if met else share} |")
    return lines if len(lines) > 2 else []


def ratio_columns() -> dict[str, Callable[[Rows], str]]:
    """The ratios of every case: peers in float32 over each precision, and those with fewer bits over their like."""
    pairs = [("best float32 peer", BEST_OF, own) for own in OWN.values()]
    pairs.append((PEERS[DYNAMIC].title, (DYNAMIC,), INT8))
    pairs += [(PEERS[DEFAULT].title, (DEFAULT,), own) for own in (HALF, INT8)]
    return {f"{title} / {PEERS[own].title}": partial(ratio_cell, peers, own) for title, peers, own in pairs}


def ratio_cell(peers: Sequence[str], own: str, rows: Rows) -> str:
    found = ratio(rows, peers, own)
    return "" if found is None else f"{found:.2f}"


def markdown(results: Mapping[str, Any], pairs: bool) -> str:
    """Latencies, ratios, errors, and what is wanted of them."""
    lines = [surroundings(results), *tables(results, latency)]
    lines += ["", "How many times as long they take:", *tables(results, None, ratio_columns())]
    lines += ["", "Largest difference from float64, of outputs within -1 to 1:", *tables(results, difference)]
    lines += ["", *goal_lines(results, pairs)]
    lines += ["", *(f"* {note}" for note in results["notes"])] if results["notes"] else []
    return "\n".join(lines)


def cases() -> list[Case]:
    return [case_of(sizes) for sizes in SIZES]


def main(argv: Sequence[str] | None = None) -> None:
    about = "fastgru in every precision, as tables in Markdown."
    results = compare(argv, about, cases(), SYSTEMS, seconds=1.0, threads="1")
    print(markdown(results, has_pairs()))
    exit_if_skipped(results)


if __name__ == "__main__":
    main()
