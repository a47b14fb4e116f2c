"""The table of whole models: every one is computed alike by all engines, and a line for each number of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import script

import fastgru
from fastgru.bench.measure_whole import inputs_for
from fastgru.bench.peers import BEST_OF, installed

torch = pytest.importorskip("torch")
whole = script("whole_models")


def test_every_model_has_a_case_for_each_number_of_rows() -> None:
    names = [case.name for case in whole.cases()]
    assert names == [f"{name}, batch {rows}" for name in whole.MODELS for rows in (1, 16, 128)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", whole.MODELS)
def test_the_file_that_is_measured_computes_what_the_module_does(name: str, tmp_path: Path) -> None:
    case = next(case for case in whole.cases() if case.model == name)
    models, files = whole.traced([case], tmp_path)
    model = fastgru.Model(models[name])
    (x,) = inputs_for(model, case, None).values()
    torch.manual_seed(0)
    module = whole.MODELS[name].make().eval()
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
        assert np.abs(torch.jit.load(files[name].path)(torch.from_numpy(x)).numpy() - wanted).max() < 1e-6
    assert np.abs(model(x) - wanted).max() < 1e-5 and wanted.shape[0] == case.batch


def test_the_script_measures_what_is_asked_for(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "whole.json"
    asked = ["--cases", "ts, batch 16", "--threads", "1", "--seconds", "0.01", "--json", str(file)]
    whole.main(asked)
    rows = json.loads(file.read_text())["results"]
    assert [row["system"] for row in rows] == ["fastgru", *(name for name in BEST_OF if installed(name))]
    assert all(row["skipped"] is None and row["largest_difference"] < 1e-5 and row["p99"] > 0 for row in rows)
    printed = capsys.readouterr().out
    assert "| ts, batch 16 |" in printed and "best peer / fastgru" in printed
