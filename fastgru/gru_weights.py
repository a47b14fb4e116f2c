"""What a GRU is: its weights and options, and the check that they fit each other.

Arrays are in the orientation of PyTorch: one row an output, gates in the order r, z, n. Knows no layer around a GRU,
no file and no kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import check_activation
from .arrays import check_array
from .errors import DTypeError, ShapeError
from .records.record import Record

__all__ = ["GRUSpec", "GRUWeights", "check_gru"]


class GRUWeights(Record):
    """One direction of one layer. Gates r, z, n lie one after the other along the first axis.

    Where the reset is applied before the product there is one bias, and ``b_hh`` is zero.
    """

    w_ih: np.ndarray  # (3 * hidden, inputs)
    w_hh: np.ndarray  # (3 * hidden, hidden)
    b_ih: np.ndarray  # (3 * hidden,)
    b_hh: np.ndarray  # (3 * hidden,)

    @property
    def input_size(self) -> int:
        return int(self.w_ih.shape[1])

    @property
    def hidden_size(self) -> int:
        return int(self.w_hh.shape[1])


class GRUSpec(Record):
    """A stack of GRU layers: ``layers[layer][direction]``, forward first, reverse second where there is one."""

    layers: tuple[tuple[GRUWeights, ...], ...]
    reset_after: bool = True
    activation: Any = "tanh"  # of the candidate n: a name, or an Activation with options
    recurrent_activation: Any = "sigmoid"  # of the gates r and z
    bias: bool = True  # False: the source has no biases, and the arrays here are zeros

    @property
    def input_size(self) -> int:
        return self.layers[0][0].input_size

    @property
    def hidden_size(self) -> int:
        return self.layers[0][0].hidden_size

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def directions(self) -> int:
        return len(self.layers[0])

    @property
    def output_size(self) -> int:
        return self.hidden_size * self.directions


def check_gru(spec: GRUSpec, where: str) -> None:
    """Raise unless the sizes of all layers and directions fit each other."""
    layers = spec.layers
    if not isinstance(layers, tuple) or not layers or not all(isinstance(layer, tuple) and layer for layer in layers):
        raise ShapeError(f"{where}: layers must be a tuple of layers, each a tuple of one or two GRUWeights")
    if not all(isinstance(weights, GRUWeights) for layer in layers for weights in layer):
        raise DTypeError(f"{where}: every direction of a layer must be a GRUWeights")
    check_array(layers[0][0].w_ih, (None, None), f"{where}: layer 0 forward: w_ih")
    check_array(layers[0][0].w_hh, (None, None), f"{where}: layer 0 forward: w_hh")
    check_activation(spec.activation, f"{where}: activation", in_gru=True)
    check_activation(spec.recurrent_activation, f"{where}: recurrent_activation", in_gru=True)
    directions = len(layers[0])
    if directions not in (1, 2):
        raise ShapeError(f"{where}: a layer has one or two directions, got {directions}")
    hidden = spec.hidden_size
    for index, layer in enumerate(layers):
        if len(layer) != directions:
            raise ShapeError(f"{where}: layer {index} has {len(layer)} directions, layer 0 has {directions}")
        inputs = spec.input_size if index == 0 else hidden * directions
        for direction, weights in zip(("forward", "reverse"), layer, strict=False):
            place = f"{where}: layer {index} {direction}"
            check_array(weights.w_ih, (3 * hidden, inputs), f"{place}: w_ih")
            check_array(weights.w_hh, (3 * hidden, hidden), f"{place}: w_hh")
            check_array(weights.b_ih, (3 * hidden,), f"{place}: b_ih")
            check_array(weights.b_hh, (3 * hidden,), f"{place}: b_hh")
            if not spec.reset_after and np.any(weights.b_hh):
                raise ShapeError(f"{place}: a GRU with reset_after=False has one bias, and b_hh must be zero")
