"""Promises of the command line about files with fewer bits: what is printed, what it exits with, what can be run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_examples import chain
from networks import network, numbers, same_bits

import fastgru
from fastgru import GRU, Last, Model
from fastgru.command import conversion
from fastgru.command.cli import main
from fastgru.layers import Dense, GRULayer
from fastgru.options import kernel_table

GOLDEN = Path(__file__).parent / "golden"
DIGITS = str(Path(fastgru.__file__).parent / "demo" / "digits.pt")
CHAIN = "gru,Last(),fc"
KERNELS = pytest.mark.skipif(kernel_table().vector_length == 1, reason="these kernels pack nothing")
REDUCED = ["float16", "bfloat16", "int8"]


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "out.safetensors")


@pytest.mark.parametrize("precision", REDUCED)
def test_convert_writes_a_smaller_file_and_says_what_it_costs(
    precision: str, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", DIGITS, out, "--layers", CHAIN, "--precision", precision]) == 0
    shown = capsys.readouterr().out
    assert f"Largest difference between the two, in {precision}, on 3 random rows of 24 steps: 0\n" in shown
    assert f"Largest difference that {precision} makes to float32: 0.0" in shown
    assert os.path.getsize(out) < 0.6 * os.path.getsize(DIGITS)
    assert main(["inspect", out]) == 0
    assert f"{precision} (2 tensors)" in capsys.readouterr().out
    x = numbers(2, 24, 8)
    wanted = fastgru.load(DIGITS, layers=["gru", Last(), "fc"], precision=precision)
    for name in (precision, "stored"):
        assert same_bits(fastgru.load(out, precision=name)(x), wanted(x))


@pytest.mark.parametrize(
    ("name", "precision"),
    [("torch_dynamic_int8.pt", "int8"), ("torch_bfloat16.pt", "bfloat16"), ("torch_gru.pt", "float32")],
)
def test_convert_keeps_what_is_stored(name: str, precision: str, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(GOLDEN / name)
    assert main(["convert", path, out, "--precision", "stored", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["precision"], found["largest_difference"]) == (precision, 0)
    before, after = (fastgru.load(each, precision="stored") for each in (path, out))
    assert before.precision == after.precision == precision
    x = numbers(2, 5, before.input_size)
    assert same_bits(before(x)[0], after(x)[0])


@KERNELS
@pytest.mark.parametrize(
    ("options", "precision"),
    [([], "float32"), (["--precision", "int8"], "int8"), (["--precision", "stored"], "bfloat16")],
)
def test_convert_packs_what_save_packs(
    options: list[str], precision: Any, tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "in")
    GRU(network(3, 19, 2)).save(path, precision="bfloat16")
    assert main(["convert", path, out, "--packed", "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["precision"], found["packed_for"], found["largest_difference"]) == (precision, kernel_table().name, 0)
    fastgru.load(path).save(tmp_path / "saved", packed=True, precision=precision)
    assert (tmp_path / "saved").read_bytes() == Path(out).read_bytes()
    assert main(["convert", path, out, "--packed", "--force", *options]) == 0
    assert f"bytes, packed for the kernels '{kernel_table().name}')" in capsys.readouterr().out
    assert main(["convert", path, out, "--force", "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["packed_for"] is None


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("out.pt", [], "out.pt: convert writes safetensors; name a file that ends in .safetensors"),
        ("out.safetensors", ["--precision", "float64"], "not packed in float64 by the kernels"),
    ],
)
def test_what_convert_cannot_pack_is_said_and_nothing_written(
    name: str, options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = str(tmp_path / "in"), tmp_path / name
    GRU(network(3, 4)).save(path)
    assert main(["convert", path, str(target), "--packed", *options]) == 1
    assert words in capsys.readouterr().err
    assert not target.exists()


def test_convert_without_a_precision_says_nothing_of_one(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", DIGITS, out, "--layers", CHAIN]) == 0
    assert "between the two, on 3 random rows" in (shown := capsys.readouterr().out) and "makes to" not in shown
    assert main(["convert", DIGITS, out, "--layers", CHAIN, "--force", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["precision"] is None and found["rounding_difference"] is None


def test_what_convert_finds(tmp_path: Path, out: str) -> None:
    path = str(tmp_path / "in")
    GRU(network(3, 5, dtype=np.float64)).save(path)
    found = conversion.convert(path, out, precision="int8")
    assert found["largest_difference"] == 0 and 1e-6 < found["rounding_difference"] < 0.1
    for precision in ("float32", "float64", "stored"):
        found = conversion.convert(path, out, precision=precision)
        assert found["precision"] == precision.replace("stored", "float64")
        assert found["largest_difference"] == found["rounding_difference"] == 0
    with pytest.raises(fastgru.UnsupportedModelError, match=r"bfloat16, int8, stored$"):
        conversion.convert(path, out, precision="half")


def test_a_weight_beyond_float16_is_named_and_the_old_file_stays(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = network(4, 3).layers[0][0]
    spec = network(4, 3).replace(layers=((weights.replace(w_hh=weights.w_hh * 1e6),),))
    Model(chain(GRULayer(spec), Dense(numbers(2, 3)))).save(tmp_path / "in")
    Path(out).write_bytes(b"old")
    assert main(["convert", str(tmp_path / "in"), out, "--precision", "float16", "--force"]) == 1
    assert "layer 0.w_hh_l0: got 22 weights beyond float16" in capsys.readouterr().err
    assert Path(out).read_bytes() == b"old"
    assert main(["convert", str(tmp_path / "in"), out, "--precision", "bfloat16", "--force"]) == 0


def test_a_target_that_is_not_the_rounded_source_is_exit_code_1(
    tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "in")
    GRU(network(3, 4)).save(path)
    models = iter([fastgru.load(path), GRU(network(3, 4, seed=9), precision="int8")])
    monkeypatch.setattr(conversion, "load", lambda name, **options: next(models))
    assert main(["convert", path, out, "--precision", "int8"]) == 1
    assert "Largest difference that int8 makes" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["float32", "float64", *REDUCED, "stored"])
def test_run_in_every_precision(precision: str, tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    GRU(network(3, 4)).save(out, precision="bfloat16")
    x = numbers(2, 6, 3)
    np.save(tmp_path / "x.npy", x)
    target = str(tmp_path / "y.npy")
    assert main(["run", out, str(tmp_path / "x.npy"), "-o", target, "--precision", precision]) == 0
    used = precision.replace("stored", "bfloat16")
    said = used if used in ("float32", "float64") else f"float32 from weights in {used}"
    assert f"(2, 6, 4) {said}, in" in capsys.readouterr().out
    assert same_bits(np.load(target), fastgru.load(out, precision=precision)(x)[0])
