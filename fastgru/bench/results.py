"""The form in which results are kept: one dict, which is JSON as it stands.

``schema`` 1: ``date``; ``machine`` with cpu, cores, caches, os, python and isa; ``versions`` by engine; ``results``,
a list of what ``row`` gives, times in microseconds; ``notes``, sentences such as that the machine was busy. Server's
rows have ``rate``, in requests a second, and ``bound``, in microseconds, as well. ``precision`` is what an engine
computes in, ``largest_difference`` how far its outputs were from float64, and ``skipped`` why it was not timed.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from ..gru_weights import GRUSpec
from .cases import Case, Measured
from .machine import machine
from .peers import PEERS, version

__all__ = ["FIGURES", "SCHEMA", "figure_text", "ratio", "result", "row"]

SCHEMA = 1
FIGURES = ("p50", "p90", "p99", "min", "mean", "n", "warmup")


def result(systems: Sequence[str], rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> dict[str, Any]:
    """All of it: where and when, the rows, and what must be known of them."""
    return {
        "schema": SCHEMA,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {name: version(name) for name in systems},
        "results": list(rows),
        "notes": list(notes),
    }


def row(case: Case, spec: Measured, threads: int, system: str, **more: Any) -> dict[str, Any]:
    """What is known of one engine and one case before it is timed: every figure is None.

    A whole model has its name as ``model``, and no sizes of its own but None in their place; a GRU is the reverse.
    """
    gru = spec if isinstance(spec, GRUSpec) else None
    facts: dict[str, Any] = {
        "scenario": case.scenario,
        "case": case.name,
        "model": None if gru else case.model,
        "steps": case.steps,
        "batch": case.batch,
        "inputs": gru.input_size if gru else None,
        "hidden": gru.hidden_size if gru else None,
        "layers": gru.num_layers if gru else None,
        "directions": gru.directions if gru else None,
        "lengths": f"uniform 1..{case.steps}" if case.ragged else "full",
        "threads": threads,
        "system": system,
        "precision": PEERS[system].precision,
        **dict.fromkeys(FIGURES),
        "largest_difference": None,
        "skipped": None,
    }
    if case.scenario == "Server":
        facts.update(rate=None, bound=case.bound)
    return {**facts, **more}


def figure_text(value: float) -> str:
    """A figure in four digits, or all before the point where these are more."""
    return f"{value:,.4g}" if value < 9999.5 else f"{value:,.0f}"


def ratio(rows: Mapping[str, Mapping[str, Any]], peers: Sequence[str], own: str = "fastgru") -> float | None:
    """How many times as long as fastgru the best of these peers takes, by p50; of Server, fastgru's rate over theirs.

    ``rows`` are those of one case and one number of threads, by system, and ``own`` is the one that counts as fastgru.
    None where fastgru or all peers were skipped.
    """
    timed = [rows[name] for name in peers if name in rows and rows[name]["skipped"] is None]
    mine = rows.get(own)
    if mine is None or mine["skipped"] is not None or not timed:
        return None
    if mine["scenario"] == "Server":
        return float(mine["rate"] / max(row["rate"] for row in timed))
    return float(min(row["p50"] for row in timed) / mine["p50"])
