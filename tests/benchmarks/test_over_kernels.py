"""What a call takes beside its kernels: every model is measured, and its kernels take most of the time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_scripts import script

torch = pytest.importorskip("torch")
over = script("over_kernels")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_model_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(over, "BATCHES", (1, 2))
    over.main(["--seconds", "0.01", "--json", str(tmp_path / "over.json")])
    made = json.loads((tmp_path / "over.json").read_text())
    names = [f"{name}, batch {rows}" for name in over.MODELS for rows in (1, 2)]
    assert [row["case"] for row in made["cases"]] == names
    assert all(0 < row["kernels_us"] < 2 * row["whole_us"] for row in made["cases"])
    assert "a dense layer of 3 inputs" in capsys.readouterr().out
