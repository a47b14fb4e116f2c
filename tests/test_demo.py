"""What the demo promises: both models meet their bars, and it says so in a page that fits a terminal."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

import fastgru
from fastgru import demo
from fastgru.command.cli import main
from fastgru.demo import drawing, measure
from fastgru.options import PRECISIONS, Precision, kernel_table

BRIEF = 0.01  # seconds a latency; what is measured here is not the speed


@pytest.fixture(scope="module")
def digits() -> measure.Digits:
    return measure.measure_digits(BRIEF)


@pytest.fixture(scope="module")
def sunspots() -> measure.Sunspots:
    return measure.measure_sunspots(BRIEF)


def test_both_models_meet_their_bars(digits: measure.Digits, sunspots: measure.Sunspots) -> None:
    assert digits.accuracy >= 0.96
    assert sunspots.error < sunspots.repeating_error
    assert max(digits.difference, sunspots.difference) <= 1e-5
    assert digits.failures() + sunspots.failures() == []


def test_a_stream_answers_as_the_whole_sequence(digits: measure.Digits, sunspots: measure.Sunspots) -> None:
    np.testing.assert_array_equal(digits.after_each_row[:, -1], digits.answers)
    assert sunspots.same_bits or kernel_table().vector_length == 1  # without vectors BLAS computes, by shape


def test_the_held_out_months_are_those_from_1976_to_june_2009(sunspots: measure.Sunspots) -> None:
    assert sunspots.first_year == 1976
    assert len(sunspots.observed) == len(sunspots.forecast) == 33 * 12 + 6
    np.testing.assert_array_equal(sunspots.repeated[1:], sunspots.observed[:-1])


def test_the_files_are_below_300_kb() -> None:
    names = ("digits.pt", "digits.npz", "sunspots.keras", "sunspots.npz")
    assert sum(len((resources.files("fastgru.demo") / name).read_bytes()) for name in names) < 300_000


def test_the_page_fits_80_columns() -> None:
    out = io.StringIO()
    assert demo.run(out, seconds=BRIEF) == 0
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 79
    for words in ("read right", "forecast error", "largest difference", "one step", "one sequence", "Passed"):
        assert words in out.getvalue()


def test_the_page_is_ascii_where_the_output_is() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert demo.run(out, seconds=BRIEF) == 0


def test_json_holds_the_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measure, "_latency", lambda call, seconds: measure.Latency(1e-6, 2e-6, 200))
    assert main(["demo", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["passed"]
    assert figures["digits"]["accuracy"] >= 0.96
    assert figures["sunspots"]["forecast_error"] < figures["sunspots"]["repeating_error"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_digits_are_read_as_well_in_every_precision(precision: Precision, digits: measure.Digits) -> None:
    with resources.as_file(resources.files("fastgru.demo") / "digits.pt") as path:
        model = fastgru.load(path, layers=["gru", fastgru.Last(), "fc"], precision=precision)
    answers = model(digits.images / measure.PIXEL_MAX).argmax(axis=1)
    accuracy = float((answers == digits.labels).mean())
    assert len(answers) == 540
    assert abs(accuracy - digits.accuracy) <= 0.003


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sunspots_are_forecast_as_well_in_every_precision(precision: Precision, sunspots: measure.Sunspots) -> None:
    folder = resources.files("fastgru.demo")
    with resources.as_file(folder / "sunspots.keras") as path:
        model = fastgru.load(path, precision=precision)
    with (folder / "sunspots.npz").open("rb") as file, np.load(file) as data:
        months = data["tenths"][:, None] / np.float32(10 * measure.UNIT)  # (months, 1)
    forecast = measure.UNIT * model(months[:-1])[-len(sunspots.observed) :, 0]
    error = float(np.sqrt(np.mean(np.square(forecast - sunspots.observed))))
    assert abs(error / sunspots.error - 1) < 0.01


@pytest.mark.parametrize("value", [2e-5, np.nan])
def test_a_difference_from_the_framework_fails(
    value: float, digits: measure.Digits, sunspots: measure.Sunspots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "measure_digits", lambda seconds: dataclasses.replace(digits, difference=value))
    monkeypatch.setattr(measure, "measure_sunspots", lambda seconds: dataclasses.replace(sunspots, difference=value))
    out = io.StringIO()
    assert demo.run(out) == 1
    assert out.getvalue().count("FAILED") == 2


def test_wrong_answers_fail(digits: measure.Digits, sunspots: measure.Sunspots) -> None:
    assert dataclasses.replace(digits, answers=np.zeros_like(digits.answers)).failures()
    assert dataclasses.replace(sunspots, forecast=sunspots.repeated).failures()


def test_it_needs_no_h5py() -> None:
    script = "import sys; sys.modules['h5py'] = None; from fastgru import demo; sys.exit(demo.run(seconds=0.01))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Both are as right as they must be" in done.stdout


def test_no_framework_is_imported() -> None:
    script = (
        "import sys; from fastgru import demo; demo.run(seconds=0.01); "
        "sys.exit(bool({'torch', 'keras', 'tensorflow', 'jax', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def test_a_column_is_as_tall_as_its_value() -> None:
    lines = drawing.chart(np.array([0.0, 1.0, 1.5, 2.0, 99.0]), full=2.0, height=2, ramp=drawing.BLOCKS)
    assert lines == ["  ▄██", " ████"]


def test_a_pixel_is_two_characters_of_its_shade() -> None:
    assert drawing.image(np.array([[0, 4, 16]]), 16, drawing.ASCII) == ["  ..##"]
