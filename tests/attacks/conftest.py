"""What every attack must end in: a checkpoint or a FastGRUError, soon, and within the memory that its size allows."""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "checkpoint"))

SECONDS = 2.0
SLACK = 64 << 20


@pytest.fixture
def file_of(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def write(content: bytes) -> Path:
        path = tmp_path / "stranger.bin"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def outcome(file_of):
    """A function that reads bytes as a file: the Checkpoint, or the FastGRUError it ended in. Others escape."""
    from fastgru.checkpoint import read
    from fastgru.errors import FastGRUError

    def run(content: bytes):
        path = file_of(content)
        start = time.process_time()  # not the clock: another process may be using the machine
        try:
            return read(path)
        except FastGRUError as error:
            return error
        finally:
            assert time.process_time() - start < SECONDS

    return run


@pytest.fixture
def refused(outcome):
    """A function that asserts the file ends in a CheckpointError, and gives its message."""
    from fastgru.errors import CheckpointError

    def run(content: bytes) -> str:
        got = outcome(content)
        assert type(got) is CheckpointError, got
        assert len(str(got)) < 1500
        return str(got)

    return run


@pytest.fixture
def peak_of(file_of):
    """A function that gives the outcome, having asserted that memory stayed below 4 times the file and 64 MiB."""
    from fastgru.checkpoint import read
    from fastgru.errors import FastGRUError

    def run(content: bytes):
        path = file_of(content)
        tracemalloc.start()
        try:
            return read(path)
        except FastGRUError as error:
            return error
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak <= 4 * len(content) + SLACK, f"{peak >> 20} MiB for {len(content)} bytes"

    return run


@pytest.fixture
def loaded(file_of):
    """A function that takes bytes as far as a specification: it, or the FastGRUError it ended in. Others escape."""
    from fastgru.checkpoint import read
    from fastgru.errors import FastGRUError
    from fastgru.importers import spec_of

    def run(content: bytes):
        path = file_of(content)
        start = time.process_time()
        try:
            got = spec_of(read(path))
        except FastGRUError as error:
            got = error
        assert time.process_time() - start < SECONDS
        assert not isinstance(got, FastGRUError) or len(str(got)) < 4000
        return got

    return run


@pytest.fixture
def bounded(file_of):
    """The same, having asserted that memory stayed below 4 times the file and 64 MiB."""
    from fastgru.checkpoint import read
    from fastgru.errors import FastGRUError
    from fastgru.importers import spec_of

    def run(content: bytes):
        path = file_of(content)
        tracemalloc.start()
        try:
            return spec_of(read(path))
        except FastGRUError as error:
            return error
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak <= 4 * len(content) + SLACK, f"{peak >> 20} MiB for {len(content)} bytes"

    return run
