"""From the times of single calls to the figures of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["PERCENTILES", "summary"]

PERCENTILES = (50, 90, 99)


def summary(nanoseconds: Sequence[int]) -> dict[str, float | int]:
    """p50, p90, p99, min and mean in microseconds, and n, of the times of at least one call.

    A percentile is interpolated between the two calls beside it, as NumPy does by default.
    """
    times = np.asarray(nanoseconds, dtype=np.float64) / 1e3
    figures = {f"p{each}": float(np.percentile(times, each)) for each in PERCENTILES}
    return {**figures, "min": float(times.min()), "mean": float(times.mean()), "n": len(times)}
