"""A graph run both ways, compiled and node by node in NumPy; nothing here asserts a promise of the package."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru import FastGRUError
from fastgru.graph.graph import Graph
from fastgru.model import Model

numbers = np.random.default_rng(8)


def model_of(graph: Graph, **options: Any) -> Model:
    return Model(graph, **{"n_threads": 1, **options})


def in_numpy(model: Model, arrays: dict[str, np.ndarray], lengths: Any = None) -> Any:
    """What the operations give one by one in NumPy."""
    runner, other = (object.__new__(type(each)) for each in (model._runner, model))
    runner.__dict__.update(model._runner.__dict__, _compiles=False, _compiled={})
    other.__dict__.update(model.__dict__, _runner=runner)
    return other(arrays, lengths=lengths)


def outcome(run: Any) -> Any:
    try:
        return run()
    except FastGRUError as error:
        return f"{type(error).__name__}: {error}"


def compiled(model: Model, arrays: dict[str, np.ndarray], lengths: Any = None) -> Any:
    """What a model gives for shapes that it was compiled for by a call before."""
    outcome(lambda: model(arrays, lengths=lengths))
    return model(arrays, lengths=lengths)


def assert_same(got: Any, wanted: Any) -> None:
    assert isinstance(got, str) == isinstance(wanted, str), (got, wanted)
    if isinstance(got, str):
        assert got == wanted
        return
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def floats(*shape: int) -> np.ndarray:
    return numbers.standard_normal(shape).astype(np.float32)
