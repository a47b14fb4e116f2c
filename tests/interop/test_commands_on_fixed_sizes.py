"""Of a model whose file fixes its sizes, every command runs these and says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import fastgru  # noqa: E402
from fastgru.command.cli import main  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")
BATCH, STEPS = 2, 6


class Pair(nn.Module):
    """Two inputs, and outputs with the batch on axis 0 and on axis 1."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.GRU(4, 8, batch_first=True)
        self.right = nn.GRU(3, 8, batch_first=True)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.left(left)
        return y + self.right(right)[0], h


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.gru(x)[0])


@pytest.fixture(params=["one output", "outputs on two axes"])
def fixed(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A file of torch.export for a batch of 2 and 6 steps."""
    path = str(tmp_path / "model.pt2")
    module, features = (Scores(), [4]) if request.param == "one output" else (Pair(), [4, 3])
    inputs = tuple(torch.zeros(BATCH, STEPS, size) for size in features)
    torch.export.save(torch.export.export(module.eval(), inputs), path)
    return path


def test_bench_measures_the_whole_model_once_and_names_its_sizes(
    fixed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--steps", "9", "--batch", "5", "--seconds", "0.01", "--scenario", "single-stream,offline"]
    assert main(["bench", fixed, *sizes, "--against", "torch", "--json"]) == 0
    rows = [row for row in json.loads(capsys.readouterr().out)["results"] if row["system"] == "fastgru"]
    whole = [row for row in rows if row["case"].startswith("whole model")]
    assert [(row["case"], row["batch"], row["steps"]) for row in whole] == [("whole model: 6 steps, batch 2", 2, 6)]
    assert {row["batch"] for row in rows if row not in whole} == {1, 5}  # its GRUs by themselves have no such limit


def test_convert_names_the_sizes_of_its_comparison(
    fixed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", fixed, str(tmp_path / "out.safetensors"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["steps"], found["largest_difference"]) == (BATCH, STEPS, 0)


def test_verify_runs_the_sizes_of_the_file(fixed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", fixed, "--precision", "float32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["steps"]) == (BATCH, STEPS)
    assert [timing["rows"] for timing in found["precisions"][0]["timings"]] == [BATCH]


def test_verify_counts_the_rows_of_a_model_that_gives_them_on_another_axis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = fastgru.from_torch(Pair().eval(), (torch.zeros(2, 6, 4), torch.zeros(2, 6, 3)))
    model.save(tmp_path / "pair.safetensors")
    np.savez(tmp_path / "x.npz", left=np.ones((3, 7, 4), np.float32), right=np.ones((3, 7, 3), np.float32))
    data = ["--data", str(tmp_path / "x.npz"), "--precision", "float32"]
    assert main(["verify", str(tmp_path / "pair.safetensors"), *data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["steps"]) == (3, 7)
    assert [timing["rows"] for timing in found["precisions"][0]["timings"]] == [3]


def test_inspect_says_each_reason_once_and_how_to_check_no_model_that_loads(
    fixed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", fixed]) == 0
    printed = capsys.readouterr().out
    assert printed.count("torch.export wrote the model for this size") == 1
    assert "with --layers" not in printed


def test_inspect_leaves_out_what_an_operation_does_not_do(fixed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", fixed]) == 0
    assert "False" not in capsys.readouterr().out
    assert main(["inspect", fixed, "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert {layer["options"]["masked"] for layer in layers if layer["kind"] == "GRU"} == {False}
