"""A few random models of every family of ``tests/differential``, always the same ones, beside what they should give.

Continuous integration runs it for a minute; this says quickly that the fuzzer works and that nothing that it finds at
once has come back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import fastgru

FUZZER = Path(__file__).resolve().parent.parent / "differential"
MODELS = {"own": 150, "keras": 12}  # others: 15
FAMILIES = ["own", "keras", "torch scripted", "torch traced", "torch exported", "torch live", "torch states"]
WRITTEN = [name for name in FAMILIES if "torch" not in name or (FUZZER / "torch_modules.py").exists()]


def fuzzed(tmp_path: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict]:
    """A run of the fuzzer in one process, and its counts."""
    environment = {**os.environ, "PYTHONPATH": str(Path(fastgru.__file__).parent.parent)}
    command = [sys.executable, str(FUZZER), *arguments, "--jobs", "1", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    return done, json.loads((tmp_path / "out.json").read_text())["families"]


@pytest.mark.parametrize("family", WRITTEN)
def test_random_models_give_what_they_should(family, tmp_path):
    needed = () if family == "own" else ("torch", "keras", "h5py") if family == "keras" else ("torch",)
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        pytest.skip(f"without {', '.join(missing)}")
    models = MODELS.get(family, 15)
    done, counts = fuzzed(tmp_path, family, "--models", str(models), "--seed", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts[family]["models"] == models
    assert counts[family]["kinds"]["wrong"] == 0
    assert counts[family]["kinds"]["right"] > models // 2


def test_wrong_numbers_an_exception_a_crash_and_a_hang_are_found(tmp_path):
    """A family of which it is known what is wrong, in the place of one of the fuzzer's own."""
    for path in FUZZER.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "worker.py").write_text((FUZZER / "worker.py").read_text().replace("LIMIT = 20.0", "LIMIT = 2.0"))
    (tmp_path / "own_graphs.py").write_text(KNOWN)
    command = [sys.executable, str(tmp_path), "own", "--models", "8", "--jobs", "1", "--json", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((tmp_path / "out").read_text())["families"]["own"]
    assert found["kinds"] == {"right": 2, "refused": 1, "wrong": 4, "skipped": 1}
    assert found["reasons"]["wrong"] == {"numbers": 1, "hang": 1, "crash": 1, "fuzzer: RuntimeError": 1}
    assert found["reasons"]["refused"] == {"layer '...' has N features": 1}
    cases = {each["defect"]: each for each in found["wrong"]}
    assert cases["numbers"]["case"] == {"what": "numbers", "size": 3}  # not 2, which is right, and not 100
    assert "print('numbers', 3)" in done.stdout


KNOWN = """
import os
import random
import time
from case import Outcome

WHAT = ["right", "refused", "skipped", "numbers", "hang", "crash", "error", "right"]


class Known:
    name = "own"

    def generate(self, rng):
        return next({"what": what, "size": 100} for at, what in enumerate(WHAT)
                    if random.Random(f"own 0 {at}").getstate() == rng.getstate())

    def check(self, case):
        if case["what"] == "hang":
            time.sleep(60)
        if case["what"] == "crash":
            os.abort()
        if case["what"] == "error":
            raise RuntimeError("of the fuzzer itself")
        if case["what"] == "numbers":
            return Outcome("wrong", "0.5, wanted 1", "numbers") if case["size"] > 2 else Outcome("right")
        return Outcome(case["what"], "layer 'gru' has 17 features")

    def smaller(self, case):
        for size in (case["size"] // 2, case["size"] - 1):
            yield {**case, "size": size}

    def script(self, case):
        return f"print({case['what']!r}, {case['size']})"


FAMILIES = {"own": Known()}
"""
