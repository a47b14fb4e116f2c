"""Fixtures of every test: numbers that are the same in every run, and a watch on the floating-point mode."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# The same examples in every run: what a change breaks is then not left to chance. `tests/fuzz` looks for new ones.
settings.register_profile("fastgru", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("fastgru")

collect_ignore = ["differential"]  # a program of its own; `interop/test_differential.py` runs it
collect_ignore_glob = ["torch_zoo*"]  # modules that tests take: imported under a second name, each would be there twice


class _WithoutTorch:
    """Leaves out the examples of the modules that import torch; any other that cannot be imported is an error."""

    @staticmethod
    def pytest_ignore_collect(collection_path: Path) -> bool | None:
        inside = collection_path.parts[-3:-1] == ("fastgru", "acceleration")
        return True if inside and collection_path.name in ("modules.py", "weights.py") else None


def pytest_configure(config: pytest.Config) -> None:
    if find_spec("torch") is None:
        config.pluginmanager.register(_WithoutTorch())


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers from a fixed seed."""
    return np.random.default_rng(20240607)


@pytest.fixture(autouse=True)
def floating_mode_is_untouched():
    """Every test leaves the main thread computing with subnormal numbers, as it found it."""
    yield
    assert np.all(np.full(32, 1e-40, np.float32) * np.float32(1) != 0), "subnormal numbers are flushed"
