"""Every example runs as it stands, with no framework installed, and prints what it claims."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
PRINTS = {
    "keras_forecast.py": "month  forecast  observed",
    "live_streams.py": "same bits as at once: True",
    "pytorch_checkpoint.py": "PyTorch imported: False",
}


def test_every_example_is_known_here() -> None:
    assert {path.name for path in EXAMPLES} == set(PRINTS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert PRINTS[path.name] in ran.stdout
    assert "False" not in ran.stdout.replace("PyTorch imported: False", "")
