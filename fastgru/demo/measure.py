"""The demo's two models on the inputs they were not trained on: how right, how near the framework, how fast.

Owns the figures and the bars they must meet; prints nothing. The data beside this file are 540 images of
scikit-learn's copy of the UCI handwritten digits (E. Alpaydin and C. Kaynak, CC BY 4.0) and the monthly mean
sunspot numbers of the National Geophysical Data Center from 1965 to 2009 (public domain).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

import fastgru

__all__ = ["ACCURACY_BAR", "AGREEMENT_BAR", "Digits", "Latency", "Sunspots", "measure_digits", "measure_sunspots"]

ACCURACY_BAR = 0.96  # of the held-out images
AGREEMENT_BAR = 1e-5  # from the framework's own float32 output, anywhere
PIXEL_MAX = np.float32(16)
UNIT = 100  # the forecaster reads and answers hundreds of spots
MIN_CALLS = 200


@dataclass(frozen=True)
class Latency:
    """Seconds of one call, as seen from Python."""

    p50: float
    p99: float
    calls: int


@dataclass(frozen=True, eq=False)
class Digits:
    """What came of the digit reader."""

    images: np.ndarray  # (count, 8, 8) uint8
    labels: np.ndarray  # (count,)
    answers: np.ndarray  # (count,)
    after_each_row: np.ndarray  # (count, 8): the answer a stream would give after each row
    difference: float  # the largest from PyTorch's own scores
    step: Latency
    gru_step: Latency  # without the linear layer and into an array that is there already
    sequence: Latency
    file_bytes: int

    @property
    def right(self) -> int:
        return int((self.answers == self.labels).sum())

    @property
    def accuracy(self) -> float:
        return self.right / len(self.labels)

    def failures(self) -> list[str]:
        """The bars that are missed, in words."""
        missed = []
        if not self.accuracy >= ACCURACY_BAR:
            missed.append(f"digits: {self.accuracy:.1%} read right, wanted at least {ACCURACY_BAR:.0%}")
        if not self.difference <= AGREEMENT_BAR:
            missed.append(f"digits: {self.difference:.1e} from PyTorch's output, wanted at most {AGREEMENT_BAR:.0e}")
        return missed

    def as_dict(self) -> dict[str, Any]:
        return {
            "images": len(self.labels),
            "right": self.right,
            "accuracy": self.accuracy,
            "largest_difference": self.difference,
            "gru_step_p50_seconds": self.gru_step.p50,
            "gru_step_p99_seconds": self.gru_step.p99,
            **_latencies(self.step, self.sequence),
        }


@dataclass(frozen=True, eq=False)
class Sunspots:
    """What came of the forecaster; numbers of spots, one a month."""

    first_year: int
    observed: np.ndarray  # (months,)
    forecast: np.ndarray  # (months,): each made one month ahead, by a stream
    repeated: np.ndarray  # (months,): the month before
    difference: float  # the largest from Keras's own output, streamed or at once, in the model's unit
    same_bits: bool  # streamed and at once
    sequence_steps: int
    step: Latency
    sequence: Latency
    file_bytes: int

    @property
    def error(self) -> float:
        return _root_mean_square(self.forecast - self.observed)

    @property
    def repeating_error(self) -> float:
        return _root_mean_square(self.repeated - self.observed)

    def failures(self) -> list[str]:
        """The bars that are missed, in words."""
        missed = []
        if not self.error < self.repeating_error:
            missed.append(
                f"sunspots: forecast error {self.error:.2f}, wanted below {self.repeating_error:.2f}, "
                "that of repeating the last month"
            )
        if not self.difference <= AGREEMENT_BAR:
            missed.append(f"sunspots: {self.difference:.1e} from Keras's output, wanted at most {AGREEMENT_BAR:.0e}")
        return missed

    def as_dict(self) -> dict[str, Any]:
        return {
            "months": len(self.observed),
            "forecast_error": self.error,
            "repeating_error": self.repeating_error,
            "largest_difference": self.difference,
            "stream_equals_sequence": self.same_bits,
            "sequence_steps": self.sequence_steps,
            **_latencies(self.step, self.sequence),
        }


def measure_digits(seconds: float) -> Digits:
    """Load ``digits.pt`` and run it on the held-out images.

    Parameters
    ----------
    seconds : float
        How long to time each latency.
    """
    with _data("digits.npz") as path, np.load(path, allow_pickle=False) as data:
        images, labels, outputs = data["images"], data["labels"], data["outputs"]
    with _data("digits.pt") as path:
        model = fastgru.load(path, layers=["gru", fastgru.Last(), "fc"])
        gru = fastgru.from_torch({name: tensor for name, tensor in fastgru.read(path).items() if "gru" in name})
        file_bytes = path.stat().st_size
    assert isinstance(model, fastgru.Model) and isinstance(gru, fastgru.GRU)
    rows = images / PIXEL_MAX  # (count, 8, 8) float32
    scores = model(rows)
    everyone = model.stream(batch=len(rows))
    after_each_row = [everyone.step(np.ascontiguousarray(rows[:, row])).argmax(axis=1) for row in range(8)]
    one, first_row = rows[:1].copy(), rows[0, 3].copy()
    stream, alone = model.stream(), gru.stream()
    out = np.empty(gru.hidden_size, np.float32)
    return Digits(
        images=images,
        labels=labels,
        answers=scores.argmax(axis=1),
        after_each_row=np.stack(after_each_row, axis=1),
        difference=_largest_difference(scores, outputs),
        step=_latency(lambda: stream.step(first_row), seconds),
        gru_step=_latency(lambda: alone.step(first_row, out), seconds),
        sequence=_latency(lambda: model(one), seconds),
        file_bytes=file_bytes,
    )


def measure_sunspots(seconds: float) -> Sunspots:
    """Load ``sunspots.keras`` and forecast month by month.

    Parameters
    ----------
    seconds : float
        How long to time each latency.
    """
    with _data("sunspots.keras") as path:
        model, file_bytes = fastgru.load(path), path.stat().st_size
    assert isinstance(model, fastgru.Model)
    with _data("sunspots.npz") as path, np.load(path, allow_pickle=False) as data:
        tenths, outputs = data["tenths"], data["outputs"]
        first, first_year = int(data["first_scored"]), int(data["first_scored_year"])
    months = (tenths / np.float32(10 * UNIT))[:, None]  # (months, 1)
    stream = model.stream()
    streamed = np.stack([stream.step(month) for month in months[:-1]])[:, 0]  # forecasts of months[1:]
    at_once = model(months[:-1])[:, 0]
    difference = max(_largest_difference(streamed, outputs), _largest_difference(at_once, outputs))
    one, month = months[None, :-1].copy(), months[-1].copy()
    return Sunspots(
        first_year=first_year,
        observed=tenths[first:] / 10,
        forecast=UNIT * streamed[first - 1 :].astype(np.float64),
        repeated=tenths[first - 1 : -1] / 10,
        difference=difference,
        same_bits=bool(np.array_equal(streamed, at_once)),
        sequence_steps=one.shape[1],
        step=_latency(lambda: stream.step(month), seconds),
        sequence=_latency(lambda: model(one), seconds),
        file_bytes=file_bytes,
    )


@contextmanager
def _data(name: str) -> Iterator[Path]:
    """A file of this folder, wherever the package is installed."""
    with resources.as_file(resources.files("fastgru.demo") / name) as path:
        yield path


def _latency(call: Callable[[], object], seconds: float) -> Latency:
    """Call again and again for ``seconds``, and at least 200 times after 20 that do not count."""
    clock = time.perf_counter_ns
    for _ in range(20):
        call()
    took = []
    end = clock() + round(1e9 * seconds)
    while True:
        start = clock()
        call()
        stop = clock()
        took.append(stop - start)
        if stop >= end and len(took) >= MIN_CALLS:
            break
    p50, p99 = np.percentile(took, (50, 99)) / 1e9
    return Latency(float(p50), float(p99), len(took))


def _latencies(step: Latency, sequence: Latency) -> dict[str, float]:
    return {
        "step_p50_seconds": step.p50,
        "step_p99_seconds": step.p99,
        "sequence_p50_seconds": sequence.p50,
        "sequence_p99_seconds": sequence.p99,
    }


def _largest_difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """NaN where there is one, which no bar lets pass."""
    return float(np.abs(got.astype(np.float64) - wanted).max())


def _root_mean_square(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))
