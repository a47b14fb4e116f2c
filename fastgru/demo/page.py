"""The demo's page: what was measured, as lines of plain text at most 79 characters wide.

Owns the words and the layout; measures nothing and decides nothing.
"""

from __future__ import annotations

import textwrap
from typing import TextIO

import numpy as np

from .. import __version__
from ..engine import dispatch
from ..terminal import can_print
from .drawing import ASCII, BLOCKS, Ramp, chart, image, side_by_side
from .measure import ACCURACY_BAR, AGREEMENT_BAR, Digits, Latency, Sunspots

__all__ = ["digits_part", "sunspots_part", "title", "verdict"]

WIDTH = 79
PIXEL_MAX = 16
IMAGES_SHOWN = 4
CHART_HEIGHT = 4
MONTHS_IN_A_COLUMN = 6
YEARS_BETWEEN_LABELS = 5


def title() -> list[str]:
    """What this is."""
    return _paragraph(
        f"fastgru {__version__}, {dispatch.chosen()} kernels. Two trained models, read from the files that their "
        "frameworks wrote, run on data they were not trained on. No framework is imported."
    )


def digits_part(digits: Digits, out: TextIO) -> list[str]:
    """The digit reader: pictures, then figures."""
    count = len(digits.labels)
    return [
        *_heading("Handwritten digits", f"PyTorch, digits.pt, {digits.file_bytes / 1000:.0f} KB: GRU 8 -> 64, Linear"),
        *_pictures(digits, out),
        "",
        *_paragraph(
            "The network reads an image row by row from the top. Below each is what it would have answered after "
            "every row, and its answer after the last." + _one_is_wrong(digits)
        ),
        "",
        _figure("read right", f"{digits.accuracy:.1%}", f"{digits.right} of {count}; {ACCURACY_BAR:.0%} wanted"),
        _figure("largest difference", f"{digits.difference:.1e}", "from PyTorch's " + _at_most()),
        _latency("one step", digits.step, "one row of pixels, streamed"),
        _latency("of it the GRU", digits.gru_step, "the same without Linear"),
        _latency("one sequence", digits.sequence, "one image, 8 steps"),
    ]


def sunspots_part(sunspots: Sunspots, out: TextIO) -> list[str]:
    """The forecaster: two curves, then figures."""
    lower = 1 - sunspots.error / sunspots.repeating_error
    bits = ", same bits" if sunspots.same_bits else ""
    return [
        *_heading("Sunspots", f"Keras, sunspots.keras, {sunspots.file_bytes / 1000:.0f} KB: GRU 1 -> 32, Dense"),
        *_curves(sunspots, out),
        "",
        *_paragraph(
            "Every month is forecast from the months before it, one step of a stream at a time. A column is the mean "
            f"of half a year. In training the network saw only years before {sunspots.first_year}."
        ),
        "",
        _figure("forecast error", f"{sunspots.error:.2f}", f"spots, RMS over {len(sunspots.observed)} months"),
        _figure("repeating the last", f"{sunspots.repeating_error:.2f}", f"spots; the network's is {lower:.0%} lower"),
        _figure("largest difference", f"{sunspots.difference:.1e}", "from Keras's " + _at_most()),
        _latency("one step", sunspots.step, "one month, streamed"),
        _latency("one sequence", sunspots.sequence, f"{sunspots.sequence_steps} months{bits}"),
    ]


def verdict(failures: list[str], seconds: float) -> list[str]:
    """The last lines."""
    if failures:
        return ["", *(f"FAILED  {failure}" for failure in failures)]
    what = "Both are as right as they must be, and as the framework computed them."
    return ["", *_paragraph(f"Passed in {seconds:.1f} s. {what}")]


def _heading(name: str, source: str) -> list[str]:
    return ["", f"{name}{source:>{WIDTH - len(name)}}", "-" * WIDTH]


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH)


def _figure(name: str, value: str, meaning: str) -> str:
    return f"  {name:19}{value:>18}  {meaning}"


def _latency(name: str, latency: Latency, meaning: str) -> str:
    return _figure(name, f"{_microseconds(latency.p50)}, {_microseconds(latency.p99)}", f"p50, p99: {meaning}")


def _microseconds(seconds: float) -> str:
    """Three digits that mean something, and never an exponent."""
    value = 1e6 * seconds
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(value))))}f} us"


def _at_most() -> str:
    return f"output; at most {AGREEMENT_BAR:.0e}"


def _one_is_wrong(digits: Digits) -> str:
    return " It gets the last image wrong." if digits.right < len(digits.labels) else ""


def _ramp(out: TextIO) -> Ramp:
    return BLOCKS if can_print(BLOCKS.shades + BLOCKS.heights, out) else ASCII


def _pictures(digits: Digits, out: TextIO) -> list[str]:
    """Some images that were read right, each of another digit, and the first that was not."""
    right = digits.answers == digits.labels
    changed = right & (digits.after_each_row[:, 4] != digits.labels)  # the answer changed late: better to look at
    _, firsts = np.unique(np.where(changed, digits.labels, -1), return_index=True)
    shown = np.concatenate([np.sort(firsts[1:])[: IMAGES_SHOWN - 1], np.flatnonzero(~right)[:1]])
    ramp = _ramp(out)
    blocks = []
    for index in shown:
        answer, label = digits.answers[index], digits.labels[index]
        guesses = "".join(str(guess) for guess in digits.after_each_row[index])
        note = f"{guesses}: {answer}" if answer == label else f"{guesses}: {answer}, is {label}"
        blocks.append([*image(digits.images[index], PIXEL_MAX, ramp), note])
    return side_by_side(blocks, width=2 * digits.images.shape[2], gap=4)


def _curves(sunspots: Sunspots, out: TextIO) -> list[str]:
    """What was observed above what was forecast, and the years below."""
    ramp = _ramp(out)
    columns = len(sunspots.observed) // MONTHS_IN_A_COLUMN
    used = columns * MONTHS_IN_A_COLUMN
    observed, forecast = (
        curve[:used].reshape(columns, MONTHS_IN_A_COLUMN).mean(axis=1)
        for curve in (sunspots.observed, sunspots.forecast)
    )
    full = float(max(observed.max(), forecast.max()))
    lines = []
    for name, curve in (("observed", observed), ("forecast", forecast)):
        drawn = chart(curve, full, CHART_HEIGHT, ramp)
        labels = [f"{full:9.0f}", *[" " * 9] * (CHART_HEIGHT - 2), f"{name:>9}"]
        lines += [f"{label} {line}".rstrip() for label, line in zip(labels, drawn, strict=True)]
    ticks = ""
    for years in range(0, columns * MONTHS_IN_A_COLUMN // 12, YEARS_BETWEEN_LABELS):
        ticks = ticks.ljust(years * 12 // MONTHS_IN_A_COLUMN) + str(sunspots.first_year + years)
    return [*lines, f"{'':10}{ticks}"]
