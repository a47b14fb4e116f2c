"""A stack of GRUs as every kind of file that is read a matrix at a time, written without the frameworks."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from keras_configs import gru, layer

from fastgru.layers import GRUSpec, GRUWeights

sys.path.insert(0, str(Path(__file__).parent / "checkpoint"))
from checkpoint_writers import legacy_bytes, tensor, torch_bytes, zip_bytes
from keras_h5_writer import layers_bytes, variables_bytes
from keras_writer import keras_records

__all__ = ["KERAS_LAYERS", "WRITERS", "state_bytes"]

KERAS_LAYERS = ["gru", "gru_1", "gru_2"]  # as a file of weights alone calls three layers of one direction


def _npz(spec: GRUSpec, save: Callable[..., None] = np.savez) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **spec.state_dict())
    return buffer.getvalue()


def _tensors(spec: GRUSpec) -> dict[str, Any]:
    return {name: tensor(array) for name, array in spec.state_dict().items()}


def state_bytes(state: dict[str, np.ndarray], part: str | None = None) -> bytes:
    """A state dict as ``torch.save`` writes it, perhaps one of two."""
    made = {name: tensor(array) for name, array in state.items()}
    return torch_bytes(made if part is None else {part: made, "other": made})


def _turned(rows: np.ndarray) -> np.ndarray:
    """Rows of gates r, z, n as columns of z, r, h."""
    r, z, n = np.split(rows, 3)
    return np.concatenate([z, r, n]).T


def _keras_arrays(weights: GRUWeights) -> Iterator[np.ndarray]:
    yield _turned(weights.w_ih)
    yield _turned(weights.w_hh)
    yield np.stack([_turned(weights.b_ih), _turned(weights.b_hh)])


def _keras_layers(spec: GRUSpec) -> tuple[list[Any], list[list[list[np.ndarray]]]]:
    """The configurations, and for each the arrays of its directions."""
    configs = [layer("InputLayer", "given", batch_shape=[None, None, spec.input_size])]
    for number in range(spec.num_layers):
        options = {"return_sequences": True, "reset_after": True}
        one = gru("gru" if number == 0 else f"gru_{number}", spec.hidden_size, **options)
        if spec.directions == 2:
            back = gru(f"back_{number}", spec.hidden_size, go_backwards=True, **options)
            name = "bidirectional" if number == 0 else f"bidirectional_{number}"
            one = layer("Bidirectional", name, layer=one, backward_layer=back, merge_mode="concat")
        configs.append(one)
    return configs, [[list(_keras_arrays(weights)) for weights in each] for each in spec.layers]


def _keras_variables(spec: GRUSpec) -> bytes:
    configs, arrays = _keras_layers(spec)
    found = {}
    for config, directions in zip(configs[1:], arrays, strict=True):
        ways = ("",) if len(directions) == 1 else ("forward_layer/", "backward_layer/")
        for way, each in zip(ways, directions, strict=True):
            group = f"layers/{config['config']['name']}/{way}cell/vars"
            found.update({f"{group}/{place}": array for place, array in enumerate(each)})
    return variables_bytes(found)


def _keras_zip(spec: GRUSpec, method: int = 0) -> bytes:
    config = {"class_name": "Sequential", "config": {"name": "model", "layers": _keras_layers(spec)[0]}}
    return zip_bytes(keras_records(_keras_variables(spec), config, method=method))


def _keras_h5(spec: GRUSpec) -> bytes:
    configs, arrays = _keras_layers(spec)
    names = ("kernel", "recurrent_kernel", "bias")
    lists: dict[str, Any] = {"given": {}}
    for config, directions in zip(configs[1:], arrays, strict=True):
        lists[config["config"]["name"]] = {
            f"{way}/gru_cell/{name}": array
            for way, each in zip(("forward", "backward"), directions, strict=False)
            for name, array in zip(names, each, strict=True)
        }
    config = {"class_name": "Sequential", "config": {"name": "model", "layers": configs}}
    return layers_bytes(lists, config=config, attributes={"keras_version": "3.15.1", "backend": "torch"})


WRITERS: dict[str, Callable[[GRUSpec], bytes]] = {
    "given": lambda spec: safetensors.numpy.save(spec.state_dict()),
    "npz": _npz,
    "deflated npz": lambda spec: _npz(spec, np.savez_compressed),
    "torch": lambda spec: torch_bytes(_tensors(spec)),
    "legacy torch": lambda spec: legacy_bytes(_tensors(spec)),
    "keras": _keras_zip,
    "deflated keras": lambda spec: _keras_zip(spec, method=8),
    "keras h5": _keras_h5,
    "keras weights": _keras_variables,
}
