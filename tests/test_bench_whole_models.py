"""What ``fastgru bench`` promises of whole models without another engine: inputs, checks, reasons, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from networks import network

import fastgru
from fastgru.bench import measure_whole, peers
from fastgru.bench.cases import Case, ModelFiles, ModelWork
from fastgru.bench.measure_whole import ANOTHER_MODEL, check, inputs_for, measure_model
from fastgru.bench.peers import PEERS
from fastgru.bench.peers.interface import CannotRun, PreparedModel
from fastgru.bench.peers.whole_onnx import Taken, feeds, in_order, model_of
from fastgru.bench.report import warnings_of
from fastgru.command.cli import main
from fastgru.layers import Concatenate, Dense, GRULayer, Input, ModelSpec, Node, sequential

QUICK = ["--seconds", "0.01"]
OFFLINE = [*QUICK, "--scenario", "offline"]


def two_inputs() -> fastgru.Model:
    """Sequences of 2 and of 3 features side by side, through a GRU."""
    nodes = (
        Node("both", Concatenate(), ("left", "right")),
        Node("gru", GRULayer(network(5, 4)), ("both",)),
    )
    return fastgru.Model(ModelSpec((Input("left", (None, 2)), Input("right", (None, 3))), nodes, ("gru",)))


def one_input() -> fastgru.Model:
    chain = [("gru", GRULayer(network(3, 4))), ("out", Dense(network(3, 4).layers[0][0].w_hh[:2]))]
    return fastgru.Model(sequential(chain))


@pytest.fixture
def no_other_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nothing else is installed."""
    monkeypatch.setattr(peers, "find_spec", lambda name: None)


@pytest.fixture
def one(tmp_path: Path) -> str:
    path = tmp_path / "one.safetensors"
    one_input().save(path)
    return str(path)


@pytest.fixture
def two(tmp_path: Path) -> str:
    path = tmp_path / "two.safetensors"
    two_inputs().save(path)
    return str(path)


def npz(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


def work_with(inputs: dict[str, np.ndarray], outputs: tuple[str, ...] = ("y",), **more: Any) -> ModelWork:
    return ModelWork(one_input().description, inputs, outputs, 1, **more)


@pytest.mark.usefixtures("no_other_engine")
def test_engines_that_are_not_installed_are_named_once(one: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", one, *QUICK, "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    for title, packages in (("PyTorch", "torch"), ("ONNX Runtime", "onnxruntime onnx"), ("OpenVINO", "openvino onnx")):
        assert printed.count(f"{title} is left out: it is not installed (pip install {packages})") == 1
    assert printed.count("left out") == 3
    assert main(["bench", one, *OFFLINE, "--json"]) == 0
    assert sum("not installed" in note for note in json.loads(capsys.readouterr().out)["notes"]) == 3


@pytest.mark.usefixtures("no_other_engine")
def test_an_onnx_file_that_no_engine_can_run_is_an_error(
    one: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    assert main(["bench", one, *QUICK, "--onnx", str(tmp_path / "model.onnx")]) == 1
    assert "--onnx: no engine that runs ONNX is installed: pip install onnxruntime onnx" in capsys.readouterr().err
    assert main(["bench", one, *QUICK, "--onnx", str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx: No such file" in capsys.readouterr().err


@pytest.mark.usefixtures("no_other_engine")
@pytest.mark.parametrize("option", ["--onnx", "--data"])
def test_a_gru_alone_has_neither_onnx_nor_data(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fastgru.bench.command._check_onnx", lambda *_: None)
    fastgru.GRU(network(3, 5)).save(tmp_path / "gru.safetensors")
    assert main(["bench", str(tmp_path / "gru.safetensors"), *QUICK, option, str(tmp_path / "file")]) == 1
    assert f"{option}: is for whole models" in capsys.readouterr().err


@pytest.mark.usefixtures("no_other_engine")
def test_the_user_s_inputs_are_run_row_by_row_and_together(two: str, tmp_path: Path, capsys: Any) -> None:
    left, right = np.zeros((4, 7, 2)), np.ones((4, 7, 3), np.float32)
    path = npz(tmp_path / "x.npz", right=right, left=left)
    assert main(["bench", two, *QUICK, "--data", path, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert [(row["case"], row["batch"], row["steps"]) for row in rows] == [
        ("whole model: 7 steps", 1, 7),
        ("whole model: 7 steps, batch 4", 4, 7),
    ]
    assert all(row["skipped"] is None and row["p50"] > 0 and row["largest_difference"] < 1e-6 for row in rows)
    assert main(["bench", two, *OFFLINE, "--data", path, "--batch", "3"]) == 0
    printed = capsys.readouterr().out
    assert "whole model: 7 steps, batch 3" in printed and "The whole model is given your inputs" in printed


@pytest.mark.usefixtures("no_other_engine")
def test_one_npy_file_is_the_only_input(one: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 5, 3), np.float32))
    assert main(["bench", one, *OFFLINE, "--data", str(tmp_path / "x.npy"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert (row["batch"], row["steps"]) == (2, 5)
    np.save(tmp_path / "x.npy", np.zeros((5, 3), np.float32))
    assert main(["bench", one, *QUICK, "--data", str(tmp_path / "x.npy"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert (row["batch"], row["steps"]) == (1, 5)


@pytest.mark.usefixtures("no_other_engine")
@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"left": (4, 7, 2)}, [], ["holds the arrays left, wanted left, right"]),
        ({"left": (4, 7, 2), "up": (4, 7, 3)}, [], ["holds the arrays left, up, wanted left, right"]),
        ({"left": (4, 7, 2), "right": (4, 7, 5)}, [], ["'right': got shape (4, 7, 5), wanted (batch, steps, 3)"]),
        ({"left": (4, 7, 2), "right": (3, 7, 3)}, [], ["different batch sizes: {'left': 4, 'right': 3}"]),
        ({"left": (4, 7, 2), "right": (4, 7, 3)}, ["--batch", "5"], ["--batch: got 5, but DATA has 4 rows"]),
        ({"left": (4, 7, 2), "right": (4, 7, 3)}, ["--steps", "5"], ["--steps: ", "--data have their own steps"]),
    ],
)
def test_inputs_that_do_not_fit_say_got_and_wanted(
    two: str, tmp_path: Path, capsys: Any, arrays: dict[str, tuple[int, ...]], options: list[str], said: list[str]
) -> None:
    path = npz(tmp_path / "x.npz", **{name: np.zeros(shape, np.float32) for name, shape in arrays.items()})
    assert main(["bench", two, *QUICK, "--data", path, *options]) == 1
    error = capsys.readouterr().err
    assert all(text in error for text in said) and len(error.splitlines()) == 1


def test_random_inputs_that_do_not_fit_say_that_own_ones_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_whole, "random_inputs", lambda *_: [np.zeros((2, 5, 7), np.float32)])
    case, given = Case("Offline", "whole model", "model", 5, 2), one_input().description
    with pytest.raises(fastgru.ShapeError, match=r"got shape \(2, 5, 7\).*give inputs that fit with --data"):
        measure_model(case, given, ModelFiles(), ["fastgru"], 1, 0.01, "", lambda done: None)


@pytest.mark.usefixtures("no_other_engine")
def test_a_whole_model_alone_has_two_scenarios(one: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 5, 3), np.float32))
    command = ["bench", one, *QUICK, "--data", str(tmp_path / "x.npy"), "--scenario", "server"]
    assert main(command) == 1
    assert "a whole model is measured as single-stream and offline" in capsys.readouterr().err


def test_inputs_are_cut_to_the_rows_of_the_case_and_are_in_single_precision() -> None:
    model = two_inputs()
    data = {"left": np.random.default_rng(0).normal(size=(4, 7, 2)), "right": np.ones((4, 7, 3), np.float32)}
    found = inputs_for(model, Case("Offline", "", "model", 7, 2), data)
    assert list(found) == ["left", "right"]
    assert found["left"].shape == (2, 7, 2) and found["left"].dtype == np.float32
    assert np.array_equal(found["left"], data["left"][:2].astype(np.float32))
    again = [inputs_for(model, Case("Offline", "", "model", 7, 2), None) for _ in range(2)]
    assert all(np.array_equal(again[0][name], again[1][name]) for name in ("left", "right"))


def test_outputs_may_differ_by_a_ten_thousandth_of_the_largest() -> None:
    wanted = [np.array([[0.5, -2.0]]), np.array([1e-4])]
    assert check("torch", [wanted[0] + 1.9e-4, wanted[1]], wanted) == (pytest.approx(1.9e-4), None)
    difference, reason = check("torch", [wanted[0] + 2.1e-4, wanted[1]], wanted)
    assert difference == pytest.approx(2.1e-4) and reason is not None and reason.startswith(ANOTHER_MODEL)
    assert "by 2.1e-04, at most 2.0e-04 wanted" in reason
    _, small = check("torch", [wanted[0], wanted[1] * 1.01], wanted)  # each output by its own size
    assert small is not None and "by 1.0e-06, at most 1.0e-07 wanted" in small
    assert check("fastgru", [wanted[0] + 2.1e-4, wanted[1]], wanted)[1] == "differs from float64 by 2.1e-04, at most " \
        "2.0e-04 wanted"  # fmt: skip


def test_outputs_of_other_shapes_or_no_numbers_are_another_model() -> None:
    wanted = [np.zeros((2, 3))]
    assert check("torch", [np.zeros((2, 3, 1))], wanted) == (
        None,
        f"{ANOTHER_MODEL}: gives outputs of (2, 3, 1), wanted (2, 3)",
    )
    assert check("torch", [], wanted)[1] == f"{ANOTHER_MODEL}: gives outputs of no output, wanted (2, 3)"
    difference, reason = check("torch", [np.full((2, 3), np.nan)], wanted)
    assert difference is None and reason is not None and "nan" in reason
    odd = [np.array([np.nan, np.inf, -np.inf, 1.0])]  # what every engine makes of such inputs
    assert check("torch", odd, odd) == (0.0, None)
    assert check("torch", [odd[0] * [1, -1, 1, 1]], odd)[1] is not None
    assert check("torch", [odd[0] + [0, 0, 0, 1e-3]], odd)[1] is not None


def engine_of(prepare: Callable[[ModelWork], PreparedModel]) -> Any:
    """A stand-in for an adapter's module."""
    return SimpleNamespace(prepare_model=prepare)


def test_only_engines_that_are_right_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, case = one_input(), Case("Offline", "whole model: 5 steps, batch 2", "model", 5, 2)
    (x,) = inputs_for(model, case, None).values()
    right = model(x)

    def gives(y: np.ndarray) -> Any:
        return engine_of(lambda work: PreparedModel(lambda: None, lambda: [y]))

    def refuses(work: ModelWork) -> PreparedModel:
        raise CannotRun("has no such file")

    def fails(work: ModelWork) -> PreparedModel:
        raise RuntimeError("not today\nnor tomorrow")

    engines = {
        "fastgru": peers.adapter("fastgru"),
        "torch": gives(right),
        "onnxruntime": gives(right + 0.1),
        "openvino": engine_of(refuses),
        "jax": SimpleNamespace(),
        "openvino-default": engine_of(fails),
    }
    monkeypatch.setattr(measure_whole, "adapter", engines.__getitem__)
    done: list[int] = []
    found = measure_model(case, model.description, ModelFiles(), list(engines), 1, 0.01, "", done.append)
    rows = {row["system"]: row for row in found}
    assert {name for name, row in rows.items() if row["p50"] is not None} == {"fastgru", "torch"}
    assert {name for name, row in rows.items() if row["skipped"] is None} == {"fastgru", "torch"}
    assert rows["onnxruntime"]["skipped"].startswith(ANOTHER_MODEL)
    assert rows["onnxruntime"]["largest_difference"] == pytest.approx(0.1, abs=1e-6)
    assert rows["openvino"]["skipped"] == "has no such file"
    assert rows["jax"]["skipped"] == "only GRUs run there"
    assert rows["openvino-default"]["skipped"] == "OpenVINO's default failed: not today"
    assert sum(done) == 2 * len(engines)
    (warning,) = warnings_of(found)
    assert warning.startswith("whole model: ONNX Runtime computes another model than fastgru, so it was not timed")


def test_inputs_go_to_onnx_by_their_names_or_in_their_order() -> None:
    a, b = np.zeros((2, 3), np.float32), np.ones((2, 4), np.int64)
    work = work_with({"a": a, "b": b}, ("first", "second"))
    named = feeds(work, [Taken("b", (2, 4), "int32"), Taken("a", ("batch", None), "float32")])
    assert list(named) == ["b", "a"] and named["b"].dtype == np.int32 and np.array_equal(named["a"], a)
    ordered = feeds(work, [Taken("x", (None, 3), "float32"), Taken("y", (2, 4), "int64")])
    assert np.array_equal(ordered["x"], a) and np.array_equal(ordered["y"], b)
    assert in_order(work, ["second", "first"]) == ["first", "second"]
    assert in_order(work, ["11", "12"]) == ["11", "12"]


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ([], "takes 0 inputs"),
        ([Taken("x", (2, 3), "float32"), Taken("h", (3,), "float32")], r"takes 2 inputs \(x, h\), the model takes 1"),
        ([Taken("x", (1, 3), "float32")], r"takes 'x' as \(1, 3\), and the inputs here have \(2, 3\)"),
        ([Taken("x", ("n", 3, 1), "float32")], r"takes 'x' as \(any, 3, 1\), and"),
        ([Taken("x", (2, 3), "int64")], "takes 'x' in int64, and the inputs here are float32"),
        ([Taken("x", (2, 3), "float64")], "takes 'x' in float64, and"),
        ([Taken("x", (2, 3), "float16")], "takes 'x' in float16, and"),
    ],
)  # fmt: skip
def test_an_onnx_that_takes_something_else_says_got_and_wanted(taken: list[Taken], said: str) -> None:
    with pytest.raises(CannotRun, match=said):
        feeds(work_with({"x": np.zeros((2, 3), np.float32)}), taken)


def test_without_an_onnx_file_or_a_program_the_reason_says_what_to_do(one: str) -> None:
    inputs = {"x": np.zeros((2, 3), np.float32)}
    for path in (None, one):
        with pytest.raises(CannotRun, match="needs the model as ONNX: export the model to ONNX and name the file"):
            model_of(work_with(inputs, path=path))
    assert model_of(work_with(inputs, path=one, onnx="model.onnx")) == "model.onnx"


def test_a_file_without_a_program_is_not_run_by_pytorch(one: str) -> None:
    pytest.importorskip("torch")
    inputs = {"x": np.zeros((2, 3), np.float32)}
    with pytest.raises(CannotRun, match=r"is a safetensors file, with no program of PyTorch's; save the module with"):
        peers.adapter("torch").prepare_model(work_with(inputs, path=one))


def test_every_engine_with_a_whole_model_has_its_adapter() -> None:
    has = {name for name in PEERS if hasattr(peers.adapter(name), "prepare_model")}
    assert has == {name for name in PEERS if name.startswith(("fastgru", "onnxruntime", "openvino")) or name == "torch"}
