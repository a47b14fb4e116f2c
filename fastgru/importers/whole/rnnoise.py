"""RNNoise models: six layers that are always connected in the same way, with Keras's arrays.

Owns that graph. The sizes are the file's own and must fit it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...errors import CheckpointError
from ...gru_weights import GRUSpec
from ...layers import Concatenate, Dense, GRULayer, Input, ModelSpec, Node
from ..keras.arrays import gru_weights, rows_of_outputs
from ..tensors import take

__all__ = ["model_spec"]

# What each layer takes, in the order in which they run.
_INPUTS = {
    "input_dense": ("input",),
    "vad_gru": ("input_dense",),
    "noise_gru": ("input_dense", "vad_gru", "input"),
    "denoise_gru": ("vad_gru", "noise_gru", "input"),
    "denoise_output": ("denoise_gru",),
    "vad_output": ("vad_gru",),
}
_OUTPUTS = ("denoise_output", "vad_output")


def model_spec(checkpoint: Checkpoint, tensors: Mapping[str, np.ndarray]) -> ModelSpec:
    """The network: features of every frame to the gains of the bands, and to the probability of speech.

    Its config holds ``layers``, as the reader gives it: ``inputs``, ``units`` and ``activation`` by name.
    """
    where = checkpoint.path
    layers: Mapping[str, Mapping[str, Any]] = (checkpoint.config or {})["layers"]
    sizes = {"input": layers["input_dense"]["inputs"], **{name: layers[name]["units"] for name in _INPUTS}}
    nodes = []
    for name, sources in _INPUTS.items():
        wanted = sum(sizes[source] for source in sources)
        if layers[name]["inputs"] != wanted:
            raise CheckpointError(
                f"{where}: {name} takes {layers[name]['inputs']} numbers, wanted the {wanted} of {', '.join(sources)}"
            )
        if len(sources) > 1:
            nodes.append(Node(f"{name}_input", Concatenate(), sources))
            sources = (f"{name}_input",)
        make = _gru if name.endswith("_gru") else _dense
        nodes.append(Node(name, make(name, layers[name], tensors, where), sources))
    return ModelSpec((Input("input", (None, sizes["input"])),), tuple(nodes), _OUTPUTS)


def _dense(name: str, layer: Mapping[str, Any], tensors: Mapping[str, np.ndarray], where: str) -> Dense:
    kernel = take(tensors, f"{name}/kernel", (layer["inputs"], layer["units"]), where)
    bias = take(tensors, f"{name}/bias", (layer["units"],), where)
    return Dense(rows_of_outputs(kernel), bias, layer["activation"])


def _gru(name: str, layer: Mapping[str, Any], tensors: Mapping[str, np.ndarray], where: str) -> GRULayer:
    """Reset before; the file's activation is the candidate's, the gates have sigmoids."""
    inputs, units = layer["inputs"], layer["units"]
    kernel = take(tensors, f"{name}/kernel", (inputs, 3 * units), where)
    recurrent = take(tensors, f"{name}/recurrent_kernel", (units, 3 * units), where)
    bias = take(tensors, f"{name}/bias", (3 * units,), where)
    weights = gru_weights(kernel, recurrent, bias)
    return GRULayer(GRUSpec(((weights,),), reset_after=False, activation=layer["activation"]))
