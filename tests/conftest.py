"""Fixtures of every test: numbers that are the same in every run, and a watch on the floating-point mode."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# The same examples in every run: what a change breaks is then not left to chance. `tests/fuzz` looks for new ones.
settings.register_profile("fastgru", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("fastgru")

collect_ignore = ["differential"]  # a program of its own; `interop/test_differential.py` runs it
# Modules that tests take: imported under a second name, each would be there twice.
collect_ignore_glob = ["torch_writes*", "torch_zoo*"]


class _WithoutModules:
    """Leaves out the examples of the modules that cannot be imported, and no others: such a one is an error."""

    def __init__(self, modules: set[str]) -> None:
        self.modules = modules

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if any(collection_path.as_posix().endswith(f"/fastgru/{name}") for name in self.modules) else None


def pytest_configure(config: pytest.Config) -> None:
    of_torch = {"acceleration/modules.py", "acceleration/weights.py"} if find_spec("torch") is None else set()
    config.pluginmanager.register(_WithoutModules({"spec.py", *of_torch}))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    """Say by what a process of pytest-xdist ended that did not end by itself."""
    if error:
        print(f"\n{node.gateway.id} ended: {node.gateway._io.popen.wait(9)} ({error})", file=sys.stderr)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers from a fixed seed."""
    return np.random.default_rng(20240607)


@pytest.fixture(autouse=True)
def floating_mode_is_untouched():
    """Every test leaves the main thread computing with subnormal numbers, as it found it."""
    yield
    assert np.all(np.full(32, 1e-40, np.float32) * np.float32(1) != 0), "subnormal numbers are flushed"
