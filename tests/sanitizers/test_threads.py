"""Promise: the engine's threads order all that they share; and what ``.ci/sanitize`` runs computes what it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ENGINE = HERE.parents[1] / "fastgru" / "engine"
FLAGS = ["-std=c11", "-O2", "-fsanitize=thread", "-pthread", "-DFASTGRU_THREADS=1", f"-I{ENGINE}"]

pytestmark = pytest.mark.slow


def built(source: Path, folder: Path) -> list[str]:
    """The command that runs a C program under ThreadSanitizer; a skip where there is none."""
    gcc, program = shutil.which("gcc"), folder / source.stem
    if gcc is None or not ENGINE.joinpath("workers.h").is_file():
        pytest.skip("there is no gcc, or no source of the engine")
    fixed = shutil.which("setarch")
    command = [*([fixed, "-R"] if fixed else []), str(program)]
    made = subprocess.run([gcc, *FLAGS, str(source), "-o", str(program)], capture_output=True, text=True)
    if made.returncode and "tsan" in made.stderr:
        pytest.skip("this gcc has no ThreadSanitizer")
    assert made.returncode == 0, made.stderr
    return command


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TSAN_OPTIONS": "die_after_fork=0"}
    return subprocess.run(command, capture_output=True, text=True, timeout=150, env=environment)


def test_the_threads_alone_have_no_race(tmp_path: Path) -> None:
    empty = tmp_path / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    if run(built(empty, tmp_path)).returncode:
        pytest.skip("ThreadSanitizer does not run here")
    ended = run(built(HERE / "team.c", tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "160 of 160 works, and one in a forked child: done" in ended.stdout


def test_many_threads_in_one_model_and_one_pool_are_right() -> None:
    """What ThreadSanitizer watches in a build of its own."""
    ended = run([sys.executable, str(HERE / "threads.py"), "3"])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " calls by 5 threads, 0 wrong" in ended.stdout
