"""What is measured: cases by the names of MLPerf's scenarios, and the numbers that every engine is given.

All numbers are seeded, so that every process and every engine has the same. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph.graph import Graph
from ..gru_weights import GRUSpec, GRUWeights
from ..layers import ModelSpec

__all__ = ["Case", "Measured", "ModelFiles", "ModelWork", "Whole", "Work", "random_gru", "random_lengths", "work_of"]

SEED = 20240607

Whole = ModelSpec | Graph
Measured = GRUSpec | Whole

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One line of a table.

    Parameters
    ----------
    scenario : str
        One of the values of ``SCENARIOS``.
    name : str
        For a person.
    model : str
        Which of the run's models it is.
    steps, batch : int
        One step is a step from a state that is given; more are sequences from zero states.
    bound : float, optional
        Server: the latency that 99 % of the requests must keep, in microseconds.
    """

    scenario: str
    name: str
    model: str
    steps: int
    batch: int = 1
    bound: float | None = None

    @property
    def ragged(self) -> bool:
        return self.scenario == "Ragged"


@dataclass(frozen=True, eq=False)
class Work:
    """What an engine is given to compute."""

    spec: GRUSpec
    x: Array  # (batch, steps, inputs) float32
    h0: Array | None  # (layers * directions, batch, hidden) float32: for one step
    lengths: Array | None  # (batch,)
    threads: int
    precision: str = "float32"  # that of the engine, as ``PEERS`` has it


@dataclass(frozen=True, eq=False)
class ModelFiles:
    """What the other engines are given of a whole model, and what all engines are given to run on.

    Parameters
    ----------
    path : str, optional
        The model's own file.
    onnx : str, optional
        The same model as ONNX, exported by the user.
    data : mapping of str to ndarray, optional
        An array for every input, in the order of the model's inputs; random ones if left out.
    trusted : bool
        Whether PyTorch may load the model's own file, which can run any code in it.
    """

    path: str | None = None
    onnx: str | None = None
    data: Mapping[str, Array] | None = None
    trusted: bool = False


@dataclass(frozen=True, eq=False)
class ModelWork:
    """What an engine is given to compute of a whole model."""

    model: Whole
    inputs: Mapping[str, Array]  # float32, int64 or bool, in the order of the model's inputs
    outputs: tuple[str, ...]  # their names, in order
    threads: int
    path: str | None = None  # the model's own file
    onnx: str | None = None  # the same model as ONNX
    exported: str | None = None  # where its own export to ONNX is kept
    trusted: bool = False  # whether PyTorch may load that file, and so run any code in it
    precision: str = "float32"  # that of the engine, as ``PEERS`` has it


def work_of(case: Case, spec: GRUSpec, threads: int) -> Work:
    """The case's numbers for a GRU: standard normal inputs, and for one step a state within -1 to 1."""
    random = np.random.default_rng([SEED, case.steps, case.batch])
    x = random.standard_normal((case.batch, case.steps, spec.input_size), np.float32)
    states = (spec.num_layers * spec.directions, case.batch, spec.hidden_size)
    h0 = random.uniform(-1, 1, states).astype(np.float32) if case.steps == 1 else None
    return Work(spec, x, h0, random_lengths(case.batch, case.steps) if case.ragged else None, threads)


def random_lengths(batch: int, steps: int) -> Array:
    """The lengths of a ragged batch, (batch,): uniform in 1 to ``steps``."""
    return np.random.default_rng([SEED, batch, steps]).integers(1, steps + 1, batch)


def random_gru(inputs: int, hidden: int) -> GRUSpec:
    """A reset-after GRU as PyTorch initialises it: everything uniform within 1 / sqrt(hidden)."""
    random = np.random.default_rng([SEED, inputs, hidden])
    shapes = ((3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,))
    bound = hidden**-0.5
    return GRUSpec(((GRUWeights(*(random.uniform(-bound, bound, shape).astype(np.float32) for shape in shapes)),),))
