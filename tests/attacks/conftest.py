"""What every attack must end in: a checkpoint or a FastGRUError, soon, and within the memory that its size allows."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "checkpoint"))
from mutations import mutated

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError, FastGRUError
from fastgru.importers import spec_of
from fastgru.spec import GRUSpec, ModelSpec

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


def within_seconds(work: Callable[[Path], Any], path: Path) -> Any:
    """What the work gives, or the FastGRUError it ended in, having asserted that it was soon. Others escape."""
    start = time.process_time()  # not the clock: another process may be using the machine
    try:
        return work(path)
    except FastGRUError as error:
        return error
    finally:
        assert time.process_time() - start < SECONDS


def within_memory(work: Callable[[Path], Any], path: Path) -> Any:
    """The same, having asserted that memory stayed below 4 times the file and 64 MiB."""
    tracemalloc.start()
    try:
        return work(path)
    except FastGRUError as error:
        return error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        size = path.stat().st_size
        assert peak <= 4 * size + SLACK, f"{peak >> 20} MiB for {size} bytes"


def specification(path: Path) -> Any:
    return spec_of(read(path))


@pytest.fixture
def outcome(file_of):
    """A function that reads bytes as a file: the Checkpoint, or the FastGRUError it ended in."""
    return lambda content: within_seconds(read, file_of(content))


@pytest.fixture
def refused(outcome):
    """A function that asserts the file ends in a CheckpointError, and gives its message."""

    def run(content: bytes) -> str:
        got = outcome(content)
        assert type(got) is CheckpointError, got
        assert len(str(got)) < 1500
        return str(got)

    return run


@pytest.fixture
def peak_of(file_of):
    """``outcome`` within the memory that the file allows."""
    return lambda content: within_memory(read, file_of(content))


@pytest.fixture
def loaded(file_of):
    """A function that takes bytes as far as a specification: it, or the FastGRUError it ended in."""

    def run(content: bytes) -> Any:
        got = within_seconds(specification, file_of(content))
        assert not isinstance(got, FastGRUError) or len(str(got)) < 4000
        return got

    return run


@pytest.fixture
def bounded(file_of):
    """``loaded`` within the memory that the file allows."""
    return lambda content: within_memory(specification, file_of(content))


@pytest.fixture
def damaged(loaded):
    """A function that damages a file that is sound: cut off at every 64 bytes, and by seeded mutations."""

    def run(sound: bytes, mutations: int) -> None:
        assert isinstance(loaded(sound), (GRUSpec, ModelSpec))
        for length in range(0, len(sound) - 8, 64):
            assert isinstance(loaded(sound[:length]), FastGRUError), length
        chance = np.random.default_rng(21)
        for _ in range(mutations):
            loaded(mutated(sound, chance))

    return run
