"""The benchmark of a fresh process runs, checks what it times, and says what it could not run."""

from __future__ import annotations

import json
import sys

import pytest
from benchmark_scripts import script

startup = script("startup")
FASTGRU = "fastgru, .safetensors"


@pytest.fixture
def without_peers(monkeypatch):
    """No peer is installed, so that none is imported."""
    monkeypatch.setattr(startup, "WRITE_TORCH", "raise ImportError('no torch here')")
    monkeypatch.setattr(startup, "WRITE_ONNX", "raise ImportError('no onnx here')")


def test_it_runs_and_its_ratios_are_to_numpy(without_peers, monkeypatch, tmp_path, capsys):
    file = tmp_path / "startup.json"
    monkeypatch.setattr(sys, "argv", ["startup.py", "--runs", "1", "--json", str(file)])
    startup.main()
    found = json.loads(file.read_text())
    rows = {row["program"]: row for row in found["programs"]}
    assert list(rows) == ["an empty program", "import numpy", "import fastgru", FASTGRU]
    assert rows["import numpy"]["median_over_numpy"] == 1
    assert rows[FASTGRU]["median_ms"] >= rows[FASTGRU]["min_ms"] > 0
    assert "no torch here" in found["skipped"]["torch, .pt"] and "onnx" in found["skipped"]["ONNX Runtime, .onnx"]
    assert f"| {FASTGRU} |" in capsys.readouterr().out


def test_a_program_that_computes_something_else_is_not_timed(without_peers, tmp_path):
    found, skipped = startup.programs(tmp_path)
    wrong = ["-c", found[FASTGRU][1] + "y[0, 0, 0] += 1\n", found[FASTGRU][2]]
    with pytest.raises(SystemExit, match="another engine: its output is not that of fastgru"):
        startup.checked({FASTGRU: found[FASTGRU], "another engine": wrong}, skipped)


def test_a_peer_that_fails_is_left_out_with_its_own_words(without_peers, tmp_path):
    found, skipped = startup.programs(tmp_path)
    good = startup.checked({**found, "another engine": ["-c", "raise RuntimeError('not today')", "x"]}, skipped)
    assert "another engine" not in good and skipped["another engine"] == "RuntimeError: not today"
