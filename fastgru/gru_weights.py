"""What a GRU is: its weights and options, and the check that they fit each other.

Arrays are in the orientation of PyTorch: one row an output, gates in the order r, z, n. A matrix may be a ``Matrix``,
which gives its numbers when they are asked for. Knows no layer around a GRU, no file and no kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from .activations import check_activation
from .arrays import check_array
from .errors import DTypeError, ShapeError
from .records.record import Record
from .records.sealed import sealed
from .weights.matrices import Matrix, check_matrix
from .weights.records import MatrixRecord, handle_of

__all__ = ["GRUSpec", "GRUWeights", "check_gru"]


class GRUWeights(MatrixRecord):
    """One direction of one layer. Gates r, z, n lie one after the other along the first axis.

    Where the reset is applied before the product there is one bias, and ``b_hh`` is zero.
    """

    MATRICES: ClassVar[tuple[str, ...]] = ("w_ih", "w_hh")
    w_ih: np.ndarray  # (3 * hidden, inputs)
    w_hh: np.ndarray  # (3 * hidden, hidden)
    b_ih: np.ndarray  # (3 * hidden,)
    b_hh: np.ndarray  # (3 * hidden,)

    @property
    def input_size(self) -> int:
        return int(self.matrices[0].shape[1])

    @property
    def hidden_size(self) -> int:
        return int(self.matrices[1].shape[1])


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

    def named_matrices(self) -> list[tuple[str, np.ndarray | Matrix]]:
        """Every matrix in order, under PyTorch's name."""
        return [
            (f"weight_{kind}_l{index}{suffix}", matrix)
            for index, layer in enumerate(self.layers)
            for suffix, weights in zip(("", "_reverse"), layer, strict=False)
            for kind, matrix in zip(("ih", "hh"), weights.matrices, strict=True)
        ]

    def state_dict(self) -> dict[str, np.ndarray]:
        """The weights under PyTorch's names, as new arrays; biases where the source has them."""
        tensors = {}
        for index, layer in enumerate(self.layers):
            for suffix, weights in zip(("", "_reverse"), layer, strict=False):
                arrays = {"weight_ih": weights.w_ih, "weight_hh": weights.w_hh}
                if self.bias:
                    arrays |= {"bias_ih": weights.b_ih, "bias_hh": weights.b_hh}
                tensors.update({f"{name}_l{index}{suffix}": np.array(array) for name, array in arrays.items()})
        return tensors

    def with_matrices(self, matrices: Iterable[np.ndarray | Matrix]) -> GRUSpec:
        """The same stack with others, in the order of ``named_matrices``."""
        left = iter(matrices)
        layers = [[weights.replace(w_ih=next(left), w_hh=next(left)) for weights in layer] for layer in self.layers]
        return self.replace(layers=tuple(map(tuple, layers)))

    def owned(self, made: dict[Any, Any]) -> GRUSpec:
        """The same for one model: with handles of its own, and its own biases."""
        handles = [handle_of(matrix, made, name) for name, matrix in self.named_matrices()]
        own = self.with_matrices(handles)
        layers = [[each.replace(b_ih=_own(each.b_ih), b_hh=_own(each.b_hh)) for each in layer] for layer in own.layers]
        return own.replace(layers=tuple(map(tuple, layers)))


def _own(array: np.ndarray) -> np.ndarray:
    """A copy: what it is a view of need not stay for it."""
    return sealed(np.array(array, order="C", subok=False))


def check_gru(spec: GRUSpec, where: str) -> None:
    """Raise unless the sizes of all layers and directions fit each other."""
    layers = spec.layers
    if not isinstance(layers, tuple) or not layers or not all(isinstance(layer, tuple) and layer for layer in layers):
        raise ShapeError(f"{where}: layers must be a tuple of layers, each a tuple of one or two GRUWeights")
    if not all(isinstance(weights, GRUWeights) for layer in layers for weights in layer):
        raise DTypeError(f"{where}: every direction of a layer must be a GRUWeights")
    for name, matrix in zip(GRUWeights.MATRICES, layers[0][0].matrices, strict=True):
        check_matrix(matrix, (None, None), f"{where}: layer 0 forward: {name}")
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
            for name, matrix, terms in zip(GRUWeights.MATRICES, weights.matrices, (inputs, hidden), strict=True):
                check_matrix(matrix, (3 * hidden, terms), f"{place}: {name}")
            check_array(weights.b_ih, (3 * hidden,), f"{place}: b_ih")
            check_array(weights.b_hh, (3 * hidden,), f"{place}: b_hh")
            if not spec.reset_after and np.any(weights.b_hh):
                raise ShapeError(f"{place}: a GRU with reset_after=False has one bias, and b_hh must be zero")
