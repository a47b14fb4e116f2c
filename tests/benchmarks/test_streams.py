"""One step of a model in other engines: the same outputs step by step, and a table of every engine that is there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import script

from fastgru.bench.peers import installed

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoint"))
from archive_writers import rnnoise_bytes

pytest.importorskip("onnx")
streams = script("streams")
PEERS = [name for name in streams.ENGINES if name != "fastgru"]


@pytest.fixture
def rnnoise(tmp_path: Path) -> str:
    path = tmp_path / "small.rnnn"
    path.write_bytes(rnnoise_bytes())
    return str(path)


@pytest.mark.parametrize("engine", PEERS)
def test_an_engine_keeps_its_states_from_step_to_step(engine: str, rnnoise: str) -> None:
    if not installed(engine):
        pytest.skip(f"{engine} is not installed")
    for model in streams.models(rnnoise).values():
        x = np.random.default_rng(1).normal(size=(6, 3, model.sources[0].shape[-1])).astype(np.float32)
        own, other = streams.in_fastgru(model, 3), streams.PREPARE[engine](model, 3)
        for each in x:
            pairs = zip(own(each), other(each), strict=True)
            assert all(y.shape == z.shape and np.abs(y - z).max() < 1e-5 for y, z in pairs)


def test_an_engine_with_other_outputs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: Any, count: int) -> Any:
        step = streams.in_fastgru(model, count)
        return lambda x: tuple(y + 1 for y in step(x))

    monkeypatch.setitem(streams.PREPARE, "onnxruntime", wrong)
    (model,) = streams.models(None).values()
    with pytest.raises(SystemExit, match="digits, 2 streams: ONNX Runtime: computes another model"):
        streams.measure("digits", model, 2, ["fastgru", "onnxruntime"], 0.01)


def test_the_script_prints_a_line_for_each_model_and_number_of_streams(
    rnnoise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    file = tmp_path / "streams.json"
    streams.main(["--rnnoise", rnnoise, "--streams", "1,3", "--seconds", "0.01", "--json", str(file)])
    rows = json.loads(file.read_text())["results"]
    assert [(row["model"], row["streams"]) for row in rows] == [
        ("digits", 1),
        ("digits", 3),
        ("RNNoise", 1),
        ("RNNoise", 3),
    ]
    assert all(set(row["engines"]) == {"fastgru", *filter(installed, PEERS)} for row in rows)
    assert "| RNNoise | 3 |" in capsys.readouterr().out
    monkeypatch.setattr(streams, "installed", lambda name: name == "fastgru")
    streams.main(["--streams", "1", "--seconds", "0.01"])
    assert "ONNX Runtime is left out: it is not installed (pip install onnxruntime onnx)" in capsys.readouterr().out
