"""Golden files: what real frameworks wrote, loaded without them and compared with their own outputs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastgru

HERE = Path(__file__).parent
CASES = json.loads((HERE / "cases.json").read_text())
NAMES = {name: getattr(fastgru, name) for name in ("Activation", "FinalState", "Last", "Named")}

BLOCKED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "keras", "tensorflow", "tf_keras", "jax", "onnx"):
            raise ImportError(f"{name} was asked for")
sys.meta_path.insert(0, Refuse())
import json, fastgru
from pathlib import Path
for case in json.loads(Path(sys.argv[1], "cases.json").read_text()).values():
    if not case["load"].get("layers"):
        fastgru.load(Path(sys.argv[1], case["file"]))
print("all loaded")
"""


@pytest.mark.parametrize("name", CASES)
def test_a_file_gives_what_its_framework_gave(name):
    pytest.importorskip("h5py")
    case = CASES[name]
    arrays = np.load(HERE / f"{name}.npz")
    inputs = [arrays[key] for key in sorted(arrays) if key.startswith("x")]
    wanted = [arrays[key] for key in sorted(arrays) if key.startswith("y")]
    options = dict(case["load"])
    if "layers" in options:
        options["layers"] = [eval(item, NAMES) if "(" in item else item for item in options["layers"]]
    model = fastgru.load(HERE / case["file"], **options)
    got = model(*inputs) if len(inputs) == 1 else model(inputs)
    got = list(got) if isinstance(got, tuple) else [got]
    for one, want in zip(got, wanted, strict=True):
        one = one if one.shape == want.shape else one.reshape(want.shape)
        assert np.abs(one - want).max() <= 2e-6 * max(1.0, float(np.abs(want).max()))


def test_all_of_them_load_where_no_framework_can_be_imported():
    pytest.importorskip("h5py")
    run = subprocess.run([sys.executable, "-c", BLOCKED, str(HERE)], capture_output=True, text=True, timeout=120)
    assert run.stdout == "all loaded\n", run.stderr
