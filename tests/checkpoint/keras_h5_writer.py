"""HDF5 files laid out as Keras 1, 2 and 3 do, by h5py: layers that list their arrays, and groups of variables."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import numpy as np

Layers = Mapping[str, Mapping[str, Any]]
Edit = Callable[[h5py.File], None]

CONFIG: dict[str, Any] = {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": []}}
GATES = ("z", "r", "h")


def gru_arrays(inputs: int = 3, units: int = 2, biases: int = 2) -> dict[str, np.ndarray]:
    """The arrays of a Keras 2 GRU, every number of them another."""
    shapes = {"kernel:0": (inputs, 3 * units), "recurrent_kernel:0": (units, 3 * units), "bias:0": (biases, 3 * units)}
    start, arrays = 0.0, {}
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        arrays[name] = np.arange(start, start + size, dtype="f4").reshape(shape)
        start += size
    return arrays


def keras1_gru(name: str, inputs: int = 3, units: int = 2) -> dict[str, np.ndarray]:
    """The nine arrays of a Keras 1 GRU under the names that it gave them."""
    arrays: dict[str, np.ndarray] = {}
    for place, gate in enumerate(GATES):
        for letter, shape in (("W", (inputs, units)), ("U", (units, units)), ("b", (units,))):
            arrays[f"{name}_{letter}_{gate}"] = np.full(shape, 10 * place + ord(letter), "f4")
    return arrays


def fixed(names: list[str]) -> Any:
    """Names as Keras 1 and 2 store them, an empty list being one of float64."""
    return np.asarray([name.encode() for name in names])


def variable(names: list[str]) -> Any:
    """Names as Keras 3 and late tf.keras store them: text of variable length."""
    return names if names else np.zeros(0)


def layers_bytes(
    layers: Layers,
    *,
    config: Any = None,
    attributes: Mapping[str, Any] | None = None,
    names: Callable[[list[str]], Any] = fixed,
    most: int | None = None,
    edit: Edit | None = None,
    **options: Any,
) -> bytes:
    """A whole model, or weights where ``config`` is None.

    ``attributes`` are those of versions; lists longer than ``most`` are split; ``edit`` is let at the file in the end;
    options go to h5py.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        group: Any = file
        if config is not None:
            file.attrs["model_config"] = config if isinstance(config, bytes) else json.dumps(config).encode()
            group = file.create_group("model_weights")
        for where in {file, group}:
            where.attrs.update(attributes or {})
        _list(group, "layer_names", list(layers), names, most)
        for layer, arrays in layers.items():
            inner = group.create_group(layer)
            _list(inner, "weight_names", list(arrays), names, most)
            for name, array in arrays.items():
                inner.create_dataset(name, data=array)
        if edit is not None:
            edit(file)
    return buffer.getvalue()


def _list(group: Any, attribute: str, listed: list[str], names: Callable[[list[str]], Any], most: int | None) -> None:
    if most is None or len(listed) <= most:
        group.attrs[attribute] = names(listed)
        return
    for part, start in enumerate(range(0, len(listed), most)):
        group.attrs[f"{attribute}{part}"] = names(listed[start : start + most])


def variables_bytes(
    arrays: Layers | Mapping[str, Any], names: Mapping[str, str] | None = None, **options: Any
) -> bytes:
    """A ``.weights.h5``: arrays by path, and the names that groups of variables have."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        for path, array in arrays.items():
            file.create_dataset(path, data=array)
        for path, name in (names or {}).items():
            file.require_group(path).attrs["name"] = name
    return buffer.getvalue()
