"""PyTorch's weights packed for the engine, once for as long as they do not change, and what compiled code computes.

Weights change in place and without notice: how often PyTorch counted a change, and some of the numbers, tell it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import torch

from ..gru import GRU
from ..gru_weights import GRUSpec, GRUWeights
from ..options import Precision

__all__ = ["array_of", "packed", "probes_of", "run_operator", "version_of"]

KEPT = 64  # packed GRUs of operators in compiled code, the least recently used first to go
PROBES = 8  # numbers along each axis of a weight that are looked at in every call


def probes_of(weights: list[torch.Tensor]) -> list[tuple[Any, bytes]]:
    """Some numbers of each weight, in place and as they are now."""
    arrays = [weight.detach().numpy() for weight in weights]
    views = [array[tuple(slice(None, None, max(1, size // PROBES)) for size in array.shape)] for array in arrays]
    return [(view, view.tobytes()) for view in views]


def version_of(weight: torch.Tensor) -> int:
    """How often a weight was changed, as PyTorch counts; what is made under inference_mode it does not count."""
    return 0 if weight.is_inference() else weight._version


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The numbers of a tensor, without a copy where it is plain."""
    tensor = tensor.detach() if tensor.requires_grad else tensor
    return (tensor.resolve_neg() if tensor.is_neg() else tensor).numpy()  # type: ignore[no-any-return]


def packed(
    weights: list[torch.Tensor], layers: int, directions: int, bias: bool, precision: Precision, n_threads: int | None
) -> GRU:
    """The engine's GRU of PyTorch's flat list of weights."""
    arrays = [np.array(weight.detach().numpy(), np.float32, order="C") for weight in weights]
    each = 4 if bias else 2
    stack = []
    for layer in range(layers):
        row = []
        for direction in range(directions):
            first = (layer * directions + direction) * each
            w_ih, w_hh, *biases = arrays[first : first + each]
            row.append(GRUWeights(w_ih, w_hh, *(biases or [np.zeros(len(w_hh), np.float32)] * 2)))
        stack.append(tuple(row))
    return GRU(GRUSpec(tuple(stack), bias=bias), precision=precision, n_threads=n_threads)


# Compiled code hands over the weights with every call; what was packed of them is found by where they lie.

_kept: OrderedDict[Any, tuple[GRU, list[torch.Tensor], list[tuple[Any, bytes]]]] = OrderedDict()
_kept_lock = threading.Lock()


def run_operator(
    input: torch.Tensor, hx: torch.Tensor, params: list[torch.Tensor], has_biases: bool, num_layers: int,
    bidirectional: bool, batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor] | None:  # fmt: skip
    """What the operator of compiled code computes; None where PyTorch must.

    The weights that a packed GRU was made of are kept with it, so that no other tensor can take their place in memory.
    """
    if any(each.dtype != torch.float32 or each.device.type != "cpu" for each in (input, hx, *params)):
        return None
    key = tuple((each.data_ptr(), version_of(each), tuple(each.shape)) for each in params)
    with _kept_lock:
        found = _kept.get(key)
        if found is None or any(view.tobytes() != was for view, was in found[2]):
            gru = packed(params, num_layers, 2 if bidirectional else 1, has_biases, "float32", None)
            found = gru, [each.detach() for each in params], probes_of(params)
        _kept[key] = found
        _kept.move_to_end(key)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    y, h = found[0](array_of(input if batch_first else input.transpose(0, 1)), array_of(hx))
    output = torch.from_numpy(y)
    return (output if batch_first else output.transpose(0, 1).contiguous()), torch.from_numpy(h)
