"""RTNeural's JSON models: a list of Keras layers with their weights as nested lists of numbers.

Owns the layout and the making of arrays from such lists. What a layer is called means nothing here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..records.sealed import sealed
from .contents import Checkpoint
from .opened import OpenedFile
from .text import MAX_JSON_BYTES, parse_json, shown

__all__ = ["read_rtneural"]

MAX_VALUES = 1_000_000  # 8 MB of numbers as Python writes them are 400,000
MAX_LAYERS = 1000
MAX_ARRAYS = 16  # of one layer
MAX_DIMENSIONS = 8


def read_rtneural(opened: OpenedFile) -> Checkpoint:
    """The arrays as ``layers.0.weights.1``; ``config`` is the file's own JSON with these names for its numbers."""
    where = opened.path
    if opened.size > MAX_JSON_BYTES:
        raise CheckpointError(f"{where}: got {opened.size} bytes of JSON, wanted at most {MAX_JSON_BYTES}")
    model = parse_json(opened.read_all(), where, most_values=MAX_VALUES)
    layers = model.get("layers")
    if not isinstance(layers, list) or not 1 <= len(layers) <= MAX_LAYERS:
        raise CheckpointError(f"{where}: wanted a list of 1 to {MAX_LAYERS} layers, as RTNeural's JSON models have it")
    tensors: dict[str, np.ndarray] = {}
    for index, layer in enumerate(layers):
        place = f"{where}: layer {index}"
        if not isinstance(layer, dict) or not isinstance(layer.get("type"), str):
            raise CheckpointError(f"{place}: wanted an object with a type, as RTNeural's JSON models have it")
        weights = layer.get("weights", [])
        if not isinstance(weights, list) or len(weights) > MAX_ARRAYS:
            raise CheckpointError(f"{place} ({shown(layer['type'])}): wanted a list of at most {MAX_ARRAYS} weights")
        names = [f"layers.{index}.weights.{number}" for number in range(len(weights))]
        for name, values in zip(names, weights, strict=True):
            tensors[name] = _array(values, f"{where}: {name}")
        layer["weights"] = names
    return Checkpoint(where, "rtneural", tensors, model, {"skipped": []})


def _array(nested: Any, place: str) -> np.ndarray:
    """Nested lists of one length a level as float64, which holds every number as it is written."""
    shape: list[int] = []
    values = [nested]
    while isinstance(values[0], list):
        length = len(values[0])
        if not length or len(shape) == MAX_DIMENSIONS:
            raise CheckpointError(f"{place}: its lists are empty or nested deeper than {MAX_DIMENSIONS}")
        if not all(isinstance(part, list) and len(part) == length for part in values):
            raise CheckpointError(f"{place}: its lists differ in length, wanted all of {length}; the file is damaged")
        shape.append(length)
        values = [value for part in values for value in part]
    kinds = {type(value) for value in values}
    if not kinds <= {int, float} or not shape:
        got = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise CheckpointError(f"{place}: its elements are {got}, wanted lists of numbers")
    array: np.ndarray = np.array(values, np.float64).reshape(shape)
    return sealed(array)
