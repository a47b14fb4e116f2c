"""``fastgru bench`` beside engines that run whole models: the same outputs or a warning, and a reason for the rest."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgru.bench.peers import installed
from fastgru.bench.peers.interface import CannotRun
from fastgru.bench.peers.whole_torch import loaded
from fastgru.command.cli import main

torch = pytest.importorskip("torch")

BATCH, STEPS = 3, 6
SIZES = ["--seconds", "0.01", "--batch", str(BATCH), "--steps", str(STEPS), "--scenario", "single-stream,offline"]
CHAIN = ["--layers", "words,gru,Last(),out"]
ONNX = [name for name in ("onnxruntime", "openvino") if installed(name)]
needs_onnx = pytest.mark.skipif(not ONNX, reason="no engine that runs ONNX is installed")
KEYS = {
    *("scenario", "case", "model", "steps", "batch", "inputs", "hidden", "layers", "directions", "lengths", "threads"),
    *("system", "precision", "p50", "p90", "p99", "min", "mean", "n", "warmup", "largest_difference", "skipped"),
}


class Words(torch.nn.Module):
    """An Embedding, a GRU and a Linear on the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(11, 4)
        self.gru = torch.nn.GRU(4, 5, batch_first=True)
        self.out = torch.nn.Linear(5, 2)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.out(self.gru(self.words(words))[0][:, -1])


class Pair(torch.nn.Module):
    """Two inputs of one shape, and two outputs of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(5, 4, batch_first=True)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, _ = self.gru(left - 2 * right)
        return y, 2 * y


@pytest.fixture
def quiet(seeded_torch: None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, kind: str) -> str:
    """A file that PyTorch runs, of these very sizes where it is a .pt2."""
    if kind == "pt2":
        torch.export.save(torch.export.export(module.eval(), inputs), path)
    else:
        torch.jit.trace(module.eval(), inputs, strict=False).save(path)
    return str(path)


def exported(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, **options: Any) -> str:
    torch.onnx.export(module.eval(), inputs, str(path), dynamo=False, opset_version=17, **options)
    return str(path)


class Nested(Pair):
    """The same with an input by name, and outputs in a dict and a list."""

    def forward(self, left: torch.Tensor, *, right: torch.Tensor) -> dict[str, Any]:
        y, doubled = super().forward(left, right)
        return {"z": y, "a": [doubled, y[:, -1]]}


def words() -> tuple[torch.Tensor]:
    return (torch.randint(0, 11, (BATCH, STEPS)),)


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(BATCH, STEPS, 5), torch.rand(BATCH, STEPS, 5)


def rows_of(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the whole model that were printed, by the engine."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(capsys.readouterr().out)["results"]:
        if row["case"].startswith("whole model"):
            assert set(row) == KEYS
            found.setdefault(row["system"], []).append(row)
    return found


@pytest.fixture
def weights(quiet: None, tmp_path: Path) -> Callable[..., str]:
    """A file of weights alone, and the ONNX of a module with these weights, perhaps changed."""
    module = Words()

    def write(change: Callable[[Words], None] = lambda module: None, sizes: tuple[int, int] | None = None) -> list[str]:
        torch.save(module.state_dict(), tmp_path / "model.pt")
        change(module)
        options: dict[str, Any] = {"input_names": ["words"]}
        if sizes is None:
            options["dynamic_axes"] = {"words": {0: "batch", 1: "steps"}}
        given = words() if sizes is None else (torch.zeros(sizes, dtype=torch.int64),)
        return [str(tmp_path / "model.pt"), "--onnx", exported(module, given, tmp_path / "model.onnx", **options)]

    return write


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("kind", ["pt2", "torchscript"])
@pytest.mark.parametrize(("make", "inputs"), [(Words, words), (Pair, pair)])
def test_a_program_of_pytorch_runs_in_every_engine_without_an_onnx_file(
    make: Any, inputs: Any, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(make(), inputs(), tmp_path / "model", kind)
    against = ",".join(["torch", *ONNX])
    assert main(["bench", path, "--trust", *SIZES, "--against", against, "--json"]) == 0
    found = rows_of(capsys)
    assert set(found) == {"fastgru", "torch", *ONNX}
    for rows in found.values():
        assert [row["batch"] for row in rows] == ([BATCH] if kind == "pt2" else [1, BATCH])
        assert all(row["skipped"] is None and row["p50"] > 0 and row["largest_difference"] < 1e-5 for row in rows)


@pytest.mark.usefixtures("quiet")
def test_inputs_by_name_and_nested_outputs_reach_every_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left, right = pair()
    path = str(tmp_path / "model.pt2")
    torch.export.save(torch.export.export(Nested().eval(), (left,), {"right": right}), path)
    against = ["--against", ",".join(["torch", *ONNX])]
    assert main(["bench", path, "--trust", "--seconds", "0.01", "--scenario", "offline", *against, "--json"]) == 0
    found = rows_of(capsys)
    assert set(found) == {"fastgru", "torch", *ONNX}
    assert all(row["p50"] > 0 and row["largest_difference"] < 1e-5 for rows in found.values() for row in rows)


@needs_onnx
def test_weights_run_in_the_engines_of_onnx_and_pytorch_has_one_reason(
    weights: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", *weights(), *CHAIN, *SIZES, "--against", ",".join(["torch", *ONNX])]
    assert main([*command, "--json"]) == 0
    found = rows_of(capsys)
    assert all(row["p50"] > 0 and row["largest_difference"] < 1e-5 for name in ONNX for row in found[name])
    assert {row["batch"] for row in found[ONNX[0]]} == {1, BATCH}
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.count("whole model: PyTorch is left out: the model's file is PyTorch's zip format, with no pro") == 1
    assert printed.count("left out") == 1 and "WARNING" not in printed and "gru:" not in printed.partition("cores")[2]


@needs_onnx
def test_another_model_is_said_loudly_and_has_no_ratio(weights: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def change(module: Words) -> None:
        module.out.bias += 0.01

    command = ["bench", *weights(change), *CHAIN, *SIZES, "--against", ",".join(ONNX)]
    assert main(command) == 1
    printed = capsys.readouterr().out
    assert printed.count("WARNING") == 1 and "another model than fastgru, so" in printed and "by 1.0e-02" in printed
    assert not [line for line in printed.splitlines() if line.startswith(("  ONNX Runtime ", "  OpenVINO "))]
    assert main([*command, "--json"]) == 1
    printed_as_json = capsys.readouterr()
    assert printed_as_json.err.startswith("fastgru: warning: whole model: ") and "not timed" in printed_as_json.err
    for row in json.loads(printed_as_json.out)["results"]:
        if row["system"] in ONNX:
            assert row["p50"] is None and row["skipped"].startswith("computes another model")
            assert row["largest_difference"] == pytest.approx(0.01, rel=1e-3)


@needs_onnx
def test_an_onnx_of_fixed_sizes_is_left_out_of_the_others(weights: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", *weights(sizes=(1, STEPS)), *CHAIN, *SIZES, "--against", ",".join(ONNX)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    reason = f"left out: its ONNX takes 'words' as (1, {STEPS}), and the inputs here have ({BATCH}, {STEPS})"
    assert printed.count(reason) == 1 and printed.count("left out") == 1
    assert f"whole model: {STEPS} steps, batch {BATCH}: " in printed


@needs_onnx
def test_what_is_no_onnx_is_left_out_with_the_engine_s_own_words(
    weights: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    given = weights()
    Path(given[2]).write_bytes(b"not an ONNX model")
    assert main(["bench", *given, *CHAIN, *SIZES, "--against", ",".join(ONNX)]) == 1
    printed = capsys.readouterr().out
    assert printed.count(" failed: ") == len(ONNX)


@needs_onnx
def test_onnx_without_an_engine_that_runs_it_is_an_error(weights: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *weights(), *CHAIN, *SIZES, "--against", "torch"]) == 1
    assert "--onnx: is run by onnxruntime and openvino, and --against names torch" in capsys.readouterr().err


@needs_onnx
@pytest.mark.usefixtures("quiet")
def test_every_engine_is_given_the_user_s_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(Pair(), pair(), tmp_path / "model", "torchscript")
    left, right = np.ones((BATCH, STEPS, 5), np.float32), np.zeros((BATCH, STEPS, 5), np.float32)
    np.savez(tmp_path / "x.npz", left=left, right=right)
    sizes = ["--seconds", "0.01", "--data", str(tmp_path / "x.npz"), "--against", ",".join(["torch", *ONNX])]
    assert main(["bench", path, "--trust", *sizes, "--json"]) == 0
    found = rows_of(capsys)
    assert all(row["skipped"] is None for rows in found.values() for row in rows)
    assert {(row["batch"], row["steps"]) for row in found["torch"]} == {(1, STEPS), (BATCH, STEPS)}


@pytest.mark.usefixtures("quiet")
def test_a_batch_that_the_file_fixed_is_run_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(Words(), words(), tmp_path / "model.pt2", "pt2")
    np.save(tmp_path / "x.npy", np.zeros((BATCH, STEPS), np.int64))
    data = ["--data", str(tmp_path / "x.npy")]
    command = ["bench", path, "--trust", "--seconds", "0.01", *data, "--against", "torch", "--json"]
    assert main(command) == 0
    assert [row["batch"] for row in rows_of(capsys)["torch"]] == [BATCH]
    np.save(tmp_path / "x.npy", np.zeros((BATCH + 1, STEPS), np.int64))
    assert main(command) == 1
    assert f"got a batch of {BATCH + 1}, wanted {BATCH}" in capsys.readouterr().err


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("kind", ["pt2", "torchscript"])
def test_pytorch_is_given_no_file_that_is_not_trusted(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loaders unpickle, and run what they find."""
    path = saved(Words(), words(), tmp_path / "model", kind)
    against = ",".join(["torch", *ONNX])
    assert main(["bench", path, *SIZES, "--against", against, "--json"]) == 0
    found = rows_of(capsys)
    for name in ("torch", *ONNX):
        assert all("any code in the model's file; give --trust" in row["skipped"] for row in found[name])

    def called(*_: Any, **__: Any) -> None:
        raise AssertionError("the file was loaded")

    monkeypatch.setattr(torch.jit, "load", called)
    monkeypatch.setattr(torch.export, "load", called)
    with pytest.raises(CannotRun, match="--trust"):
        loaded(path, trusted=False)
    with pytest.raises(AssertionError, match="the file was loaded"):
        loaded(path, trusted=True)
