"""The table of precisions: its ratios, what is wanted of them, and a run of fastgru alone."""

from __future__ import annotations

import json

import pytest
from benchmark_scripts import script

from fastgru.bench.cases import Case, random_gru
from fastgru.bench.peers import BEST_OF, OWN
from fastgru.bench.results import row

precisions = script("precisions")

TIMES = {"fastgru": 4.0, "fastgru-float16": 2.5, "fastgru-bfloat16": 2.0, "fastgru-int8": 1.0,
         "torch": 9.0, "onnxruntime": 6.0, "openvino": 8.0, "torch-int8": 3.0, "openvino-default": 5.0}  # fmt: skip
ERRORS = {"fastgru-float16": 6e-4, "fastgru-bfloat16": 3e-3, "fastgru-int8": 8e-3, "torch-int8": 2e-2,
          "openvino-default": 6e-3}  # fmt: skip


def rows_of(case, **changed):
    spec = random_gru(2, int(case.model[1:]))
    return [row(case, spec, 1, system, p50=time, largest_difference=ERRORS.get(system, 1e-7), **changed)
            for system, time in TIMES.items()]  # fmt: skip


def results(*rows):
    machine = {"cpu": "A CPU", "cores": 2, "caches": "L2 1M", "os": "Linux", "python": "3.12", "isa": "avx2"}
    return {"schema": 1, "date": "2026-01-02T03:04:05", "machine": machine, "versions": dict.fromkeys(TIMES, "1"),
            "results": list(rows), "notes": ["busy"]}  # fmt: skip


SINGLE = Case("SingleStream", precisions.name_of((100, 1, 512)), "h512", 100)
TILES = Case("Offline", precisions.name_of((100, 32, 512)), "h512", 100, 32)


def test_every_goal_has_its_case():
    names = {case.name for case in precisions.cases()}
    assert {goal.case for goal in precisions.goals(pairs=True)} <= names
    assert len(precisions.goals(pairs=True)) == len(precisions.goals(pairs=False)) + 4 * len(precisions.WANTED)


def test_each_precision_is_held_against_the_best_peer_in_float32():
    by_system = {each["system"]: each for each in rows_of(SINGLE)}
    cells = {heading: column(by_system) for heading, column in precisions.ratio_columns().items()}
    assert cells == {
        "best float32 peer / fastgru": "1.50",
        "best float32 peer / fastgru float16": "2.40",
        "best float32 peer / fastgru bfloat16": "3.00",
        "best float32 peer / fastgru int8": "6.00",
        "PyTorch int8 / fastgru int8": "3.00",
        "OpenVINO's default / fastgru bfloat16": "2.50",
        "OpenVINO's default / fastgru int8": "5.00",
    }


def test_goals_are_judged_by_ratios_and_by_errors():
    lines = precisions.goal_lines(results(*rows_of(SINGLE), *rows_of(TILES)), pairs=True)
    of_single = [line for line in lines if "| 100 steps, H 512 |" in line]
    assert of_single == [
        "| OpenVINO's default / bfloat16 | 100 steps, H 512 | 2.2 | 2.5 | met |",
        "| OpenVINO's default / int8 | 100 steps, H 512 | 4.5 | 5 | met |",
        "| PyTorch int8 / int8 | 100 steps, H 512 | 1.9 | 3 | met |",
        "| error, bfloat16 over OpenVINO's default | 100 steps, H 512 | at most 1 | 0.5 | met |",
        "| error, float16 | 100 steps, H 512 | at most 0.0005 | 0.0006 | 120% of it |",
        "| error, bfloat16 | 100 steps, H 512 | at most 0.0064 | 0.003 | met |",
        "| error, int8 | 100 steps, H 512 | at most 0.01 | 0.008 | met |",
        "| error, int8 over PyTorch int8 | 100 steps, H 512 | at most 1 | 0.4 | met |",
    ]
    assert len(lines) == 2 + 2 * 8
    without = precisions.goal_lines(results(*rows_of(TILES)), pairs=False)
    assert len(without) == 2 + 4 and all("error" in line for line in without[2:])


def test_what_was_not_timed_has_neither_ratio_nor_goal():
    found = results(*rows_of(SINGLE, skipped="no"))
    assert not [line for line in precisions.goal_lines(found, pairs=True) if " / " in line]
    assert "| 100 steps, H 512 |  |  |  |  |  |  |  |" in precisions.markdown(found, pairs=False)


@pytest.mark.parametrize(("flags", "found"), [("amx_bf16 amx_tile", True), ("avx512_bf16", True), ("avx512f", False)])
def test_pairs_are_looked_for_among_the_processor_s_flags(tmp_path, flags, found):
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags}\n")
    assert precisions.has_pairs(tmp_path / "cpuinfo") == found
    assert not precisions.has_pairs(tmp_path / "none")


def test_the_script_measures_and_prints_what_is_asked_for(tmp_path, capsys):
    file = tmp_path / "precisions.json"
    asked = ["--systems", ",".join(OWN.values()), "--cases", "one step, H 256", "--seconds", "0.01"]
    precisions.main([*asked, "--json", str(file)])
    rows = json.loads(file.read_text())["results"]
    assert [each["system"] for each in rows] == list(OWN.values())
    assert all(each["skipped"] is None for each in rows)
    printed = capsys.readouterr().out
    assert "| case | fastgru " in printed and "Largest difference from float64" in printed


@pytest.mark.parametrize("module", [precisions, script("table")])
@pytest.mark.parametrize(
    ("arguments", "said"), [(["--cases", "H 99"], "batch 32, H 512"), (["--systems", "tensorrt"], "tensorrt")]
)
def test_what_there_is_not_is_named(module, arguments, said):
    with pytest.raises(SystemExit, match=said):
        module.main(arguments)


def test_all_systems_are_those_of_the_issue():
    assert set(TIMES) == set(precisions.SYSTEMS) >= {*OWN.values(), *BEST_OF}
