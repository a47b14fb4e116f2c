"""What the tests of reading share: the folder of the writers on the path, and a file made of bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def file_of(tmp_path):
    """A function that writes bytes to a file whose name says nothing, and gives its path."""

    def write(content: bytes, name: str = "file.bin") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write
