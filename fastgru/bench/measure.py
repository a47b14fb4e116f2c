"""One case of a GRU in this process: every engine's outputs against float64, then the time of every call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import reference
from ..engine.reduced import widened
from ..gru_weights import GRUSpec
from .cases import Case, Measured, Work, work_of
from .peers import IN_FLOAT32, PEERS, adapter, engine
from .peers.interface import Prepared, PreparedModel
from .placement import Placement
from .results import row
from .server import largest_rate
from .statistics import summary
from .turns import in_turn

__all__ = ["Advance", "Checked", "checked_and_timed", "expected", "failure", "measure", "tolerance"]

ROUNDING = 4e-3  # what rounding weights to bfloat16 changes at most in a GRU with PyTorch's first weights
MOST = 0.5  # of the largest output: what is further off is not taken for rounding
LONGEST_REASON = 120

Array = NDArray[Any]
Advance = Callable[[int], None]
Checked = tuple[Prepared | PreparedModel | None, float | None, str | None]  # ready, its error, or why it is not timed


def measure(
    case: Case, spec: GRUSpec, systems: Sequence[str], threads: int, seconds: float, wanted: Array, advance: Advance
) -> list[dict[str, Any]]:
    """Check every engine that can compute the case, then time those that are right.

    Parameters
    ----------
    case : Case
    spec : GRUSpec
        The case's model.
    systems : sequence of str
        Names in ``PEERS``.
    threads : int
        What every engine may use.
    seconds : float
        For each engine.
    wanted : ndarray, (batch, steps, hidden * directions)
        What ``expected`` gives.
    advance : callable
        Called with 1 after each check and with 1 for each timing.

    Returns
    -------
    list of dict
        A row of the results for each engine.
    """
    work = work_of(case, spec, threads)
    rounded = _rounding(work, wanted) if not set(systems) <= set(IN_FLOAT32) else 0.0

    def check(name: str) -> Checked:
        most = tolerance(spec, name)
        if name not in IN_FLOAT32:
            most = min(most * max(1.0, rounded / ROUNDING), MOST * float(np.abs(wanted).max(initial=0)))
        return _checked(name, work, wanted, most)

    return checked_and_timed(case, spec, systems, threads, seconds, check, advance)


def checked_and_timed(
    case: Case,
    given: Measured,
    systems: Sequence[str],
    threads: int,
    seconds: float,
    check: Callable[[str], Checked],
    advance: Advance,
) -> list[dict[str, Any]]:
    """A row of the results for each engine: checked first, and timed in turn with the others that are right."""
    rows: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], object]] = {}
    for name in systems:
        prepared, difference, reason = check(name)
        rows[name] = row(case, given, threads, name, largest_difference=difference, skipped=reason)
        if prepared is not None:
            calls[name] = prepared.call
            rows[name]["precision"] = prepared.precision or PEERS[name].precision
        advance(1)
    for name, figures in _timed(case, calls, threads, seconds).items():
        rows[name].update(figures)
    advance(len(systems))
    return list(rows.values())


def expected(case: Case, spec: GRUSpec) -> Array:
    """The outputs in float64, (batch, steps, hidden * directions), by the package's plain reference."""
    work = work_of(case, spec, 1)
    return reference.gru(spec, work.x, work.h0, work.lengths)[0]


def tolerance(spec: GRUSpec, system: str = "fastgru") -> float:
    """How far a system may be from it: its own tolerance a layer, and more where a unit's weights are longer than 1.

    A sum of products errs with the length of the vector of weights; PyTorch's first weights have about 0.8.
    """
    lengths = [
        np.sqrt(np.square(w.w_ih, dtype=np.float64).sum(1) + np.square(w.w_hh, dtype=np.float64).sum(1)).max()
        for layer in spec.layers
        for w in layer
    ]
    return PEERS[system].tolerance * spec.num_layers * max(1.0, float(max(lengths)))


def _rounding(work: Work, wanted: Array) -> float:
    """How far float64 goes astray with weights of bfloat16: what this model makes of small errors, on these inputs.

    A trained one can make a hundred times as much of them as one with PyTorch's first weights, and is no less right.
    """
    layers = tuple(
        tuple(w.replace(w_ih=widened(w.w_ih, "bfloat16", ""), w_hh=widened(w.w_hh, "bfloat16", "")) for w in layer)
        for layer in work.spec.layers
    )
    y, _ = reference.gru(work.spec.replace(layers=layers), work.x, work.h0, work.lengths)
    return _largest(y, wanted, work)


def _largest(y: Array, wanted: Array, work: Work) -> float:
    """The largest difference within the real steps."""
    real = np.ones(y.shape[:2], bool)
    if work.lengths is not None:
        real = np.arange(y.shape[1]) < work.lengths[:, None]
    return float(np.abs(y - wanted)[real].max(initial=0))


def _checked(name: str, work: Work, wanted: Array, most: float) -> Checked:
    """An engine that is ready and right; or the reason why it is not timed."""
    try:
        module, own_work = adapter(name), replace(work, precision=PEERS[name].precision)
        reason = module.refusal(own_work)
        if reason is not None:
            return None, None, reason
        prepared: Prepared = module.prepare(own_work)
        y = np.asarray(prepared.outputs())
    except Exception as error:  # whatever goes wrong in another engine is its own affair, and the others go on
        if engine(name) == "fastgru":
            raise
        return None, None, failure(name, error)
    if y.shape != wanted.shape:
        return None, None, f"gives {y.shape}, wanted {wanted.shape}"
    difference = _largest(y, wanted, work)
    reason = _disagreement(difference, most)
    return (prepared if reason is None else None), difference, reason


def _disagreement(difference: float, most: float) -> str | None:
    return None if difference <= most else f"differs from float64 by {difference:.1e}, at most {most:.1e} wanted"


def failure(name: str, error: Exception) -> str:
    """The reason for an engine that failed: the first line that it said."""
    lines = (str(error) or type(error).__name__).strip().splitlines()
    return f"{PEERS[name].title} failed: {lines[0][:LONGEST_REASON]}"


def _timed(
    case: Case, calls: dict[str, Callable[[], object]], threads: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """The figures of each engine, by the names that the results have."""
    placement = Placement() if threads > 1 else None
    try:
        if placement is not None:
            for name, call in calls.items():
                placement.learn(name, call)
        before = None if placement is None else placement.take
        if case.scenario == "Server":
            assert case.bound is not None
            return _served(calls, case.bound, seconds, before)
        times = in_turn(calls, seconds, before=before)
    finally:
        if placement is not None:
            placement.release()
    return {name: {**summary(each.nanoseconds), "warmup": each.warmup} for name, each in times.items()}


def _served(
    calls: dict[str, Callable[[], object]], bound: float, seconds: float, before: Callable[[str], None] | None
) -> dict[str, dict[str, Any]]:
    """Each engine's largest rate under the bound, in microseconds, and its latencies at that rate."""
    figures: dict[str, dict[str, Any]] = {}
    for name, call in calls.items():
        if before is not None:
            before(name)
        served = largest_rate(call, round(1e3 * bound), seconds)
        figures[name] = {"rate": served.rate, "warmup": served.warmup}
        if served.nanoseconds:
            figures[name].update(summary(served.nanoseconds))
        else:
            figures[name]["skipped"] = f"no rate keeps the bound of {bound / 1e3:g} ms"
    return figures
