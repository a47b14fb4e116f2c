"""``precision="stored"``: the smallest precision that a file stores and that keeps every weight of its GRUs.

Owns the choice, one for the whole model. What types a file has is known by its ``Checkpoint``, and whether a precision
keeps a matrix by the matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..gru_weights import GRUSpec
from ..options import PRECISIONS, Precision
from .matrices import Matrix, keeps

if TYPE_CHECKING:
    from ..checkpoint.contents import Checkpoint
    from ..graph.graph import Graph
    from ..layers import ModelSpec

__all__ = ["CHOICES", "FilePrecision", "precision_of"]

FilePrecision = Precision | Literal["stored"]
CHOICES: tuple[str, ...] = (*PRECISIONS, "stored")
_SMALLEST_FIRST: tuple[Precision, ...] = ("int8", "float16", "bfloat16")


def precision_of(checkpoint: Checkpoint, spec: GRUSpec | ModelSpec | Graph, wanted: FilePrecision) -> Precision:
    """The precision that is wanted, where it is the stored one that of the GRUs of ``spec`` in the file.

    The types of all tensors of the file are candidates, whoever uses them: a matrix that lies on the grid of one loses
    nothing by it. Where none keeps every matrix, the GRUs are float64 if all their matrices are, and otherwise float32.
    """
    if wanted != "stored":
        return wanted
    matrices = _matrices(spec)
    kinds = set(checkpoint.stored.values())
    for kind in _SMALLEST_FIRST:
        if kind in kinds and matrices and all(keeps(matrix, kind) for matrix in matrices):
            return kind
    return "float64" if matrices and all(matrix.dtype == np.float64 for matrix in matrices) else "float32"


def _matrices(spec: GRUSpec | ModelSpec | Graph) -> list[NDArray[Any] | Matrix]:
    """The matrices of every GRU, each once."""
    from ..layers.grus import grus_of  # a program that only runs a GRU does not import the layers

    return list({id(matrix): matrix for _, gru in grus_of(spec) for _, matrix in gru.named_matrices()}.values())
