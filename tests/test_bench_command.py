"""What ``fastgru bench`` promises: what it measures of a file, what it prints, its errors and its exit codes."""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from layer_examples import chain
from networks import network, numbers

import fastgru
from fastgru.bench import command, machine, markdown, peers
from fastgru.bench.peers import IN_FLOAT32, OWN
from fastgru.bench.scenarios import SCENARIOS
from fastgru.command.cli import main
from fastgru.layers import Dense, GRULayer, GRUSpec, sequential

SUNSPOTS = str(resources.files("fastgru.demo") / "sunspots.keras")
QUICK = ["--seconds", "0.01", "--steps", "6", "--batch", "3"]


@pytest.fixture(autouse=True)
def no_other_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nothing else is installed."""
    monkeypatch.setattr(peers, "find_spec", lambda name: None)


@pytest.fixture
def gru_file(tmp_path: Path) -> str:
    path = tmp_path / "gru.safetensors"
    fastgru.GRU(network(3, 5)).save(path)
    return str(path)


def test_a_gru_is_measured_alone_where_no_other_engine_is_installed(
    gru_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", gru_file, *QUICK]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for text in ("GRU(3, 5", "pip install onnxruntime", "one step, batch 3", "6 steps, batch 3", "p50", "p99"):
        assert text in printed.out
    assert sum(line.startswith("  fastgru ") for line in printed.out.splitlines()) == 4


def test_one_core_is_not_several(
    gru_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for count, words in ((1, ", 1 core, "), (2, ", 2 cores, ")):
        monkeypatch.setattr(machine, "available", lambda count=count: count)
        assert main(["bench", gru_file, *QUICK]) == 0
        assert words in capsys.readouterr().out
        assert words in markdown.surroundings({"date": "2026-01-02T03:04:05", "machine": machine.machine()})


def test_every_scenario_can_be_asked_for_and_comes_as_json(gru_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", gru_file, *QUICK, "--json", "--bound", "200", "--scenario", ",".join(SCENARIOS)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["scenario"] for row in found["results"]} == set(SCENARIOS.values())
    assert {row["system"] for row in found["results"]} == {"fastgru"} == set(found["versions"])
    assert all(row["skipped"] is None and row["threads"] == 1 and row["hidden"] == 5 for row in found["results"])


def test_a_model_is_measured_whole_and_each_of_its_grus_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = network(3, 4, directions=2), network(8, 5)
    chain = [("both", GRULayer(first)), ("up", GRULayer(second)), ("out", Dense(second.layers[0][0].w_hh[:2]))]
    fastgru.Model(sequential(chain)).save(tmp_path / "model.safetensors")
    assert main(["bench", str(tmp_path / "model.safetensors"), *QUICK, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert [row["case"] for row in rows] == [
        *("whole model: 6 steps", "whole model: 6 steps, batch 3"),
        *("both: 6 steps", "both: 6 steps, batch 3"),  # it cannot step backwards
        *("up: one step", "up: 6 steps", "up: one step, batch 3", "up: 6 steps, batch 3"),
    ]
    assert all(row["skipped"] is None and row["largest_difference"] < 1e-5 for row in rows)


def test_a_scenario_that_was_asked_for_and_cannot_be_measured_is_named_as_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "model.safetensors")
    fastgru.Model(chain(GRULayer(network(3, 4)), Dense(numbers(2, 4)), shape=(None, 3))).save(path)
    np.save(tmp_path / "x.npy", np.zeros((2, 5, 3), np.float32))
    ask = ["bench", path, "--seconds", "0.01", "--data", str(tmp_path / "x.npy"), "--json", "--scenario"]
    assert main([*ask, "offline,multi-stream,server"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    for name in ("multi-stream", "server"):
        assert f"{name} is left out: nothing of {path} can be measured so" in notes
    assert main([*ask, "single-stream,multi-stream,offline"]) == 0  # the usual ones
    assert "is left out: nothing of" not in capsys.readouterr().out
    assert main([*ask, "server,ragged"]) == 1
    assert "nothing of it can be measured as server, ragged: a whole model" in capsys.readouterr().err


def test_a_keras_file_says_what_the_others_cannot_have_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("h5py")
    assert main(["bench", SUNSPOTS, *QUICK, "--scenario", "single-stream"]) == 0
    printed = capsys.readouterr().out
    assert "whole model: PyTorch is left out: it is not installed" in printed and "whole model: 6 steps" in printed
    assert "Each GRU in it is given to the other engines with its weights" in printed


def test_steps_that_the_only_gru_cannot_take_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fastgru.GRU(network(3, 5, directions=2)).save(tmp_path / "both.safetensors")
    path = str(tmp_path / "both.safetensors")
    assert main(["bench", path, *QUICK, "--scenario", "multi-stream"]) == 1
    assert "a bidirectional GRU cannot take single steps" in capsys.readouterr().err
    assert main(["bench", path, *QUICK, "--scenario", "multi-stream,offline"]) == 0


def test_an_engine_that_is_asked_for_and_not_installed_is_an_error(
    gru_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", gru_file, *QUICK, "--against", "onnxruntime"]) == 1
    error = (
        "fastgru: error: ONNX Runtime is asked for, and something it needs is not installed: "
        "pip install onnxruntime onnx\n"
    )
    assert capsys.readouterr().err == error


def test_all_engines_that_are_installed_are_taken_if_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "installed", lambda name: name in ("fastgru", "jax", "torch"))
    assert command.systems_for(None) == ["fastgru", "torch", "jax"]
    assert command.systems_for(["jax"]) == ["fastgru", "jax"]
    monkeypatch.setattr(command, "installed", lambda name: True)
    assert command.systems_for(None) == ["fastgru", *(name for name in IN_FLOAT32 if name != "fastgru")]
    assert command.systems_for(None, "float16") == ["fastgru-float16", *command.systems_for(None)[1:]]
    assert command.systems_for(None, "int8") == ["fastgru-int8", *command.systems_for(None)[1:], "torch-int8"]
    assert command.systems_for(["openvino-default", "torch-int8"]) == ["fastgru", "torch-int8", "openvino-default"]


@pytest.mark.parametrize("precision", OWN)
def test_a_model_is_measured_in_the_precision_that_is_asked_for(
    precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("h5py")
    command = ["bench", SUNSPOTS, *QUICK, "--scenario", "offline", "--precision", precision]
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert {row["case"].partition(":")[0] for row in rows} > {"whole model"}
    assert all(row["skipped"] is None and row["precision"] == precision for row in rows)
    assert {row["system"] for row in rows} == {OWN[precision]}
    assert all((row["largest_difference"] < 1e-5) == (precision == "float32") for row in rows)
    assert main(command) == 0
    assert f"  {'fastgru' if precision == 'float32' else f'fastgru {precision}'} " in capsys.readouterr().out


def test_a_weight_that_has_no_float16_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (weights,) = network(3, 5).layers[0]
    path = str(tmp_path / "large.safetensors")
    fastgru.GRU(GRUSpec(((weights.replace(w_hh=weights.w_hh * 1e9),),))).save(path)
    assert main(["bench", path, *QUICK, "--precision", "float16"]) == 1
    assert "weight_hh_l0: got" in capsys.readouterr().err


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(
    gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    monkeypatch.setattr(command, "run", None)
    assert main(["bench", gru_file, "--plot", str(tmp_path / "out.png")]) == 1
    assert "pip install matplotlib" in capsys.readouterr().err
    monkeypatch.setattr(command, "find_spec", lambda name: name)
    assert main(["bench", gru_file, "--plot", str(tmp_path / "out.txt")]) == 1
    assert "out.txt" in capsys.readouterr().err
    assert main(["bench", gru_file, "--plot", gru_file]) == 1
    assert "would be written over" in capsys.readouterr().err


def test_threads_that_are_not_there_are_an_error(gru_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", gru_file, *QUICK, "--threads", "1000"]) == 1
    assert "threads: got 1000" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [10**8, 10**12, 10**40])
def test_more_steps_than_memory_can_hold_are_one_line(
    gru_file: str, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", gru_file, *QUICK, "--steps", str(steps)]) == 1
    error = capsys.readouterr().err
    assert f"{steps} steps" in error and "ask for fewer steps" in error and len(error.splitlines()) == 1
    assert main(["bench", SUNSPOTS, *QUICK, "--scenario", "single-stream", "--steps", str(10**7)]) == 1
    error = capsys.readouterr().err
    assert "ask for fewer" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["gru.pt", "--against", "tensorrt"],
        ["gru.pt", "--against", "fastgru-int8"],
        ["gru.pt", "--precision", "int4"],
        ["gru.pt", "--scenario", "multi-stream,OneStream"],
        ["gru.pt", "--steps", "0"],
        ["gru.pt", "--batch", "some"],
        ["gru.pt", "--threads", "1,two"],
        ["gru.pt", "--seconds", "0"],
        ["gru.pt", "--bound", "nan"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_no_engine_is_imported_into_this_process(gru_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(sys.modules)
    assert main(["bench", gru_file, *QUICK, "--scenario", "offline"]) == 0
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert new.isdisjoint({"torch", "onnx", "onnxruntime", "openvino", "jax", "keras", "matplotlib"})
