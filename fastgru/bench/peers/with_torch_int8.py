"""PyTorch's dynamic int8: the modules of ``with_torch`` after ``quantize_dynamic``, weights in qint8.

It scales a matrix as a whole, and inputs and states anew at every product. Of its backends it takes the one that is its
default: on x86-64 ``x86``, which was as fast as ``fbgemm`` and up to 1.6 times as fast as ``onednn``.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ..cases import Work
from . import with_torch
from .interface import Prepared

if TYPE_CHECKING:
    import torch

__all__ = ["prepare", "refusal"]

refusal = with_torch.refusal


def prepare(work: Work) -> Prepared:
    return with_torch.prepare(work, quantised)


def quantised(module: torch.nn.Module) -> torch.nn.Module:
    """A GRU or a GRUCell with its weights in int8; only what is inside another module is replaced."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated for years, and still PyTorch's only int8 GRU
        outside = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(module), {type(module)}, torch.qint8)
    found: torch.nn.Module = outside[0]
    return found
