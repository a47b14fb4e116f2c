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
from fastgru.bench.plots import charts

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
        streams.measure(streams.case_of("digits", 2), model, ["fastgru", "onnxruntime"], 0.01)


def test_the_script_prints_a_line_for_each_model_and_number_of_streams(
    rnnoise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    file = tmp_path / "streams.json"
    streams.main(["--rnnoise", rnnoise, "--streams", "1,3", "--seconds", "0.01", "--json", str(file)])
    rows = json.loads(file.read_text())["results"]
    engines = ["fastgru", *filter(installed, PEERS)]
    cases = [(model, count) for model in ("digits", "RNNoise") for count in (1, 3)]
    assert [(row["model"], row["batch"], row["system"]) for row in rows] == [
        (*case, engine) for case in cases for engine in engines
    ]
    assert all(row["p99"] >= row["p50"] > 0 and row["largest_difference"] < 1e-5 for row in rows)
    assert "| RNNoise, 3 streams |" in capsys.readouterr().out
    monkeypatch.setattr(streams, "installed", lambda name: name == "fastgru")
    streams.main(["--streams", "1", "--seconds", "0.01"])
    assert "ONNX Runtime is left out: it is not installed (pip install onnxruntime onnx)" in capsys.readouterr().out


def test_a_picture_has_a_line_for_every_engine_and_a_panel_for_every_model(rnnoise: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results, picture = streams.run(rnnoise, [1, 2, 4], 0.01), tmp_path / "streams.png"
    figure = charts(results)["latency_by_batch"]()
    assert [axes.get_title() for axes in figure.axes] == ["RNNoise, one step, 1 thread", "digits, one step, 1 thread"]
    assert {len(axes.lines) for axes in figure.axes} == {1 + sum(map(installed, PEERS))}
    streams.main(["--streams", "1", "--seconds", "0.01", "--plot", str(picture)])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_another_kind_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(streams, "run", lambda *_: pytest.fail("measured"))
    with pytest.raises(SystemExit) as stopped:
        streams.main(["--plot", "a.jpg"])
    assert stopped.value.code == 1 and "wanted one of .png" in capsys.readouterr().err
