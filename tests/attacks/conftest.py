"""What every attack must end in: a checkpoint or a FastGRUError, soon, and within the memory that its size allows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bounds import ending, in_little_memory, soon

sys.path.insert(0, str(Path(__file__).parent.parent / "checkpoint"))
from mutations import mutated

from fastgru.checkpoint import read
from fastgru.checkpoint.reading import read_for_model
from fastgru.errors import CheckpointError, FastGRUError
from fastgru.graph.graph import Graph
from fastgru.importers import spec_of
from fastgru.layers import GRUSpec, ModelSpec
from fastgru.weights.from_file import matrices_of
from fastgru.weights.matrices import as_array


@pytest.fixture
def file_of(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def write(content: bytes) -> Path:
        path = tmp_path / "stranger.bin"
        path.write_bytes(content)
        return path

    return write


def specification(path: Path) -> Any:
    """What is loaded, its matrices read from the file as a model does that packs them."""
    spec = spec_of(read_for_model(path))
    for _, matrix in matrices_of(spec):
        as_array(matrix)
    return spec


@pytest.fixture
def outcome(file_of):
    """A function that reads bytes as a file: the Checkpoint, or the FastGRUError it ended in, and that soon."""

    def run(content: bytes) -> Any:
        path = file_of(content)
        with soon():
            return ending(read, path)

    return run


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

    def run(content: bytes) -> Any:
        path = file_of(content)
        with in_little_memory(len(content)):
            return ending(read, path)

    return run


@pytest.fixture
def loaded(file_of):
    """A function that takes bytes as far as a specification: it, or the FastGRUError it ended in."""

    def run(content: bytes) -> Any:
        path = file_of(content)
        with soon():
            got = ending(specification, path)
        assert not isinstance(got, FastGRUError) or len(str(got)) < 4000
        return got

    return run


@pytest.fixture
def bounded(file_of):
    """``loaded`` within the memory that the file allows."""

    def run(content: bytes) -> Any:
        path = file_of(content)
        with in_little_memory(len(content)):
            return ending(specification, path)

    return run


@pytest.fixture
def damaged(loaded):
    """A function that damages a file that is sound: cut off at every so many bytes, and by seeded mutations."""

    def run(sound: bytes, mutations: int, every: int = 64) -> None:
        assert isinstance(loaded(sound), (GRUSpec, ModelSpec, Graph))
        for length in range(0, len(sound) - 8, every):
            assert isinstance(loaded(sound[:length]), FastGRUError), length
        chance = np.random.default_rng(21)
        for _ in range(mutations):
            loaded(mutated(sound, chance))

    return run
