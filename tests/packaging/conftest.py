"""What the tests of the build share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import setuptools

SETUP = Path(__file__).resolve().parent.parent.parent / "setup.py"


@pytest.fixture(scope="module")
def setup_script() -> ModuleType:
    """``setup.py`` as a module, without building anything."""
    spec = importlib.util.spec_from_file_location("setup_script", SETUP)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **keywords: None)
        spec.loader.exec_module(module)
    return module
