"""The scenarios, by MLPerf's names, and as they are written on a command line."""

from __future__ import annotations

__all__ = ["SCENARIOS", "USUAL"]

SCENARIOS = {
    "single-stream": "SingleStream",  # one row: one step, and a sequence
    "multi-stream": "MultiStream",  # one step of several streams together
    "offline": "Offline",  # whole batches
    "ragged": "Ragged",  # batches of unequal lengths; MLPerf has no such scenario
    "server": "Server",  # single sequences that arrive at random
}

USUAL = ["SingleStream", "MultiStream", "Offline"]
