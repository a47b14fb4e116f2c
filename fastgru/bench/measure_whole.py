"""A whole model in this process: every engine's outputs against float64, then the time of every call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FastGRUError, ShapeError
from ..evaluation.random_inputs import random_inputs
from ..evaluation.rows import outputs_of
from ..graph.graph import FLOAT, INTEGER
from ..model import Model, as_tuple
from .cases import Case, ModelFiles, ModelWork, Whole
from .measure import Advance, Checked, checked_and_timed, failure
from .peers import PEERS, adapter, engine
from .peers.interface import CannotRun, PreparedModel

__all__ = ["ANOTHER_MODEL", "check", "inputs_for", "measure_model"]

OF_A_MODEL = 20  # times as far as a GRU alone may a whole model be, in parts of its largest output
LEAST = 1e-3  # of an output: where all its numbers are smaller, it may be as far off as if they were so large
ANOTHER_MODEL = "computes another model"  # the beginning of the reason

Array = NDArray[Any]


def measure_model(
    case: Case,
    given: Whole,
    files: ModelFiles,
    systems: Sequence[str],
    threads: int,
    seconds: float,
    exported: str,
    advance: Advance,
) -> list[dict[str, Any]]:
    """Check every engine that can run the model, then time those that are right.

    Parameters
    ----------
    case : Case
    given : ModelSpec or Graph
    files : ModelFiles
    systems : sequence of str
        Names in ``PEERS``.
    threads : int
        What every engine may use.
    seconds : float
        For each engine.
    exported : str
        The file in which the model's own export to ONNX is kept.
    advance : callable
        Called with 1 after each check and with 1 for each timing.

    Returns
    -------
    list of dict
        A row of the results for each engine.
    """
    exact = Model(given, precision="float64")
    inputs = inputs_for(exact, case, files.data)
    arrays = list(inputs.values())
    try:
        wanted = as_tuple(exact(arrays[0] if len(arrays) == 1 else arrays))
    except ShapeError as error:
        if files.data is not None:
            raise
        raise ShapeError(f"{error}; these were random inputs: give inputs that fit with --data") from error
    work = ModelWork(given, inputs, tuple(outputs_of(exact)), threads, files.path, files.onnx, exported, files.trusted)

    def check_one(name: str) -> Checked:
        return _checked(name, replace(work, precision=PEERS[name].precision), wanted)

    return checked_and_timed(case, given, systems, threads, seconds, check_one, advance)


def inputs_for(model: Model, case: Case, data: Mapping[str, Array] | None) -> dict[str, Array]:
    """The inputs of a case by name, in float32, int64 or bool: the user's first rows, or random ones."""
    sources = model.sources
    if data is None:
        arrays = random_inputs(model, case.steps, case.batch)
        return {source.name: array for source, array in zip(sources, arrays, strict=True)}
    cut = {}
    for source in sources:
        array = data[source.name]
        if source.batch is not None:
            array = array[(slice(None),) * source.batch + (slice(case.batch),)]
        dtype = {FLOAT: np.float32, INTEGER: np.int64}.get(source.kind, np.bool_)
        cut[source.name] = np.ascontiguousarray(array, dtype)
    return cut


def check(name: str, made: Sequence[Array], wanted: Sequence[Array]) -> tuple[float | None, str | None]:
    """The largest difference of an engine's outputs from those in float64, and what is wrong with them, if anything."""
    shapes, right = [np.shape(y) for y in made], [y.shape for y in wanted]
    if shapes != right:
        return None, f"{ANOTHER_MODEL}: gives outputs of {_listed(shapes)}, wanted {_listed(right)}"
    largest = [float(np.abs(y).max(initial=0, where=np.isfinite(y))) for y in wanted]
    if engine(name) == "fastgru":  # which rounds within the model, whatever its outputs are
        largest = [max(1.0, *largest)] * len(largest)
    differences, reason = [], None
    for y, other, scale in zip(made, wanted, largest, strict=True):
        difference = _difference(np.asarray(y, np.float64), np.asarray(other, np.float64))
        most = OF_A_MODEL * PEERS[name].tolerance * max(scale, LEAST)
        differences.append(difference)
        if not difference <= most and reason is None:
            what = "differs from float64" if engine(name) == "fastgru" else f"{ANOTHER_MODEL}: its outputs differ"
            reason = f"{what} by {difference:.1e}, at most {most:.1e} wanted"
    furthest = max(differences, default=0.0)
    return furthest if np.isfinite(furthest) else None, reason


def _difference(y: Array, other: Array) -> float:
    """The largest between two arrays, in which an infinity equals itself, and so does what is no number."""
    same = (y == other) | (np.isnan(y) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        return float(np.abs(y - other)[~same].max(initial=0))


def _checked(name: str, work: ModelWork, wanted: Sequence[Array]) -> Checked:
    """An engine that is ready and right; or the reason why it is not timed."""
    prepare = getattr(adapter(name), "prepare_model", None)
    if prepare is None:
        return None, None, "only GRUs run there"
    try:
        prepared: PreparedModel = prepare(work)
        made = prepared.outputs()
    except CannotRun as error:
        return None, None, str(error)
    except Exception as error:  # whatever goes wrong in another engine is its own affair, and the others go on
        if engine(name) == "fastgru" or isinstance(error, FastGRUError):
            raise
        return None, None, failure(name, error)
    difference, reason = check(name, made, wanted)
    return (prepared if reason is None else None), difference, reason


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes)) or "no output"
