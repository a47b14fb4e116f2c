"""``import fastgru`` costs little more than ``import numpy`` and brings in nothing optional; so does loading a file.

1.2 times is what is promised of the import, and 1.35 of the import, a load and a call, of medians on a quiet machine;
1.5 and 1.7 are asked for here, because a test may share its machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastgru

HEAVY = ("scipy", "h5py", "safetensors", "threadpoolctl", "rich", "torch", "keras", "tensorflow", "onnx", "onnxruntime")
BOUND, BOUND_OF_LOADING = 1.5, 1.7
RUNS = 7


def python(code: str) -> str:
    """Run code in a process of its own, which may keep bytecode as an installed package does."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=120
    ).stdout


def test_it_imports_nothing_heavy() -> None:
    loaded = python("import sys, fastgru; print(*sorted(sys.modules))").split()
    assert "numpy" in loaded
    assert [name for name in loaded if name.partition(".")[0] in HEAVY] == []


def test_the_standard_librarys_heavy_modules_stay_out() -> None:
    """Each of these was found to cost 4 ms or more."""
    already = set(python("import sys, numpy; print(*sys.modules)").split())
    loaded = set(python("import sys, fastgru; print(*sys.modules)").split()) - already
    assert loaded.isdisjoint({"importlib.metadata", "email", "zipfile", "pathlib", "inspect", "json"})


def test_neither_layers_nor_operations_are_imported_for_a_gru() -> None:
    loaded = python("import sys, fastgru; print(*sys.modules)").split()
    assert [name for name in loaded if name.startswith(("fastgru.layers", "fastgru.graph"))] == []


def loading(path: object, layers: str = "None") -> str:
    """A program that loads a file of 8 features and calls what it holds."""
    call = "np.zeros((1, 8, 8), np.float32)"
    return f"import fastgru, numpy as np; fastgru.load({str(path)!r}, layers={layers})({call})"


@pytest.fixture
def gru_file(tmp_path):
    path = tmp_path / "gru.safetensors"
    shapes = {"weight_ih_l0": (12, 8), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    save_file({name: np.full(shape, 0.1, np.float32) for name, shape in shapes.items()}, path)
    return path


DEMO = "import fastgru, os; print(os.path.join(os.path.dirname(fastgru.__file__), 'demo', 'digits.pt'))"
OTHER_KINDS = (
    "fastgru.checkpoint.hdf5", "fastgru.checkpoint.keras", "fastgru.checkpoint.npz", "fastgru.checkpoint.torchscript",
    "fastgru.checkpoint.torch.export", "fastgru.importers.keras", "fastgru.importers.description",
    "fastgru.importers.torch",
)  # fmt: skip


def test_loading_imports_only_what_that_kind_of_file_needs(gru_file) -> None:
    already = set(python("import sys, numpy; print(*sys.modules)").split())
    own = gru_file.with_name("own")
    fastgru.load(gru_file).save(own)
    pickled = loading(python(DEMO).strip(), "['gru', fastgru.Last(), 'fc']")
    for code, more in (
        (pickled, ("json", "safetensors", "fastgru.checkpoint.safetensors")),
        (loading(gru_file), ("zipfile", "fastgru.checkpoint.torch", "fastgru.graph")),
        (loading(own), ("zipfile", "fastgru.checkpoint.torch", "fastgru.graph", "fastgru.importers.weights")),
    ):
        loaded = set(python(f"{code}\nimport sys; print(*sys.modules)").split()) - already
        assert [name for name in loaded if name.startswith((*OTHER_KINDS, *more))] == []
        assert {"dataclasses", "threading", "pickle", "scipy"}.isdisjoint(loaded)


@pytest.mark.parametrize("what", ["import", "load"])
def test_it_costs_little_more_than_numpy(what, gru_file) -> None:
    measured, bound = ("import fastgru", BOUND) if what == "import" else (loading(gru_file), BOUND_OF_LOADING)
    ratios = []
    for run in range(RUNS + 1):
        times = []
        for code in ("import numpy", measured):
            start = time.perf_counter()
            python(code)
            times.append(time.perf_counter() - start)
        if run:  # the first writes the bytecode
            ratios.append(times[1] / times[0])
    assert statistics.median(ratios) <= bound


def test_every_public_name_is_there_all_the_same() -> None:
    """Those that are imported late as well, and ``fastgru.load`` is the function although a module is called so."""
    found = python(
        "import fastgru, fastgru.load\n"
        "assert set(fastgru.__all__) <= set(dir(fastgru))\n"
        "print(*(type(getattr(fastgru, name)).__name__ for name in fastgru.__all__))"
    )
    assert set(found.split()) == {"type", "ABCMeta", "function", "str"}
