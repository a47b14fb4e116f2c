"""What the tests of reading share: the folder of the writers on the path, and a file made of bytes."""

from __future__ import annotations

import sys
import tracemalloc
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


@pytest.fixture
def read_with_peak():
    """A function that reads a file, and gives what it holds and the most memory that it took meanwhile."""
    from fastgru.checkpoint import read

    def run(path: Path):
        tracemalloc.start()
        try:
            return read(path), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return run
