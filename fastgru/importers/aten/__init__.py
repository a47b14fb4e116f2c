"""PyTorch's operations, one by one, to layers: for files that hold a graph of them and not modules.

``Builder`` collects the layers, ``apply`` looks an operation up in the table and adds what it takes. Nothing here reads
a file; where the operations come from is for the importers of each kind.
"""

from __future__ import annotations

from .attempts import first_that_fits, left_over
from .builder import Builder
from .table import IGNORED, apply
from .values import Array, Size, Stack, Unknown, Weight, Zeros, described, known, same_size

__all__ = [
    "IGNORED",
    "Array",
    "Builder",
    "Size",
    "Stack",
    "Unknown",
    "Weight",
    "Zeros",
    "apply",
    "described",
    "first_that_fits",
    "known",
    "left_over",
    "same_size",
]
