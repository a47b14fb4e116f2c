"""Real models and published vectors: they lie beside the repository, are no part of it, and may not be there."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "shared"


def beside(name: str) -> Path:
    """A file or a folder there; the test that asks for it is skipped where there is none."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the repository")
    return path
