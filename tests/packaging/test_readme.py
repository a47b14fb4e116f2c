"""The README's promises that a machine can check: its length, its commands, and that its Python runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import fastgru.demo

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = Path(fastgru.demo.__file__).parent


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_it_is_at_most_120_lines() -> None:
    assert len(README.splitlines()) <= 120


def test_set_up_is_two_commands_of_one_line_each() -> None:
    commands = blocks("sh", section("Set-up"))
    assert [len(command.splitlines()) for command in commands] == [1, 1]
    assert "fastgru demo" in commands[0]
    assert commands[1].endswith("pytest -n auto\n")
    assert blocks("sh") == commands


@pytest.mark.parametrize("place", range(len(blocks("python"))))
def test_its_python_runs(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = blocks("python")[place]
    assert len([line for line in block.splitlines() if line]) <= 10
    for name in ("digits.pt", "sunspots.keras"):
        shutil.copy(DEMO / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, f"README.md, block {place}", "exec"), names)
    assert "model" in names


def test_its_python_gives_the_shapes_that_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment ``# (5, 10)`` behind an assignment is the shape of what was assigned."""
    for name in ("digits.pt", "sunspots.keras"):
        shutil.copy(DEMO / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    checked = 0
    for block in blocks("python"):
        names: dict[str, object] = {}
        exec(block, names)
        for name, shape in re.findall(r"^ *(\w+) = .*# (\([\d, ]+\))", block, re.MULTILINE):
            assert str(getattr(names[name], "shape", None)) == shape
            checked += 1
    assert checked >= 3


def test_what_it_says_of_the_command_line_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    from fastgru.command.cli import main

    text = section("On the command line")
    for command in ("inspect", "run", "convert", "verify", "bench", "demo", "config"):
        assert command in text
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
    helped = capsys.readouterr().out
    for option in set(re.findall(r"--[a-z-]+", text)) - {"--version"}:
        assert option in helped


def test_the_files_that_it_names_are_there() -> None:
    for name in ("LICENSE", "examples", "examples/training", "fastgru/demo", "benchmarks/table.py"):
        assert name in README
        assert (ROOT / name).exists()
