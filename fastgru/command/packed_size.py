"""How much memory the weights of GRUs take in each precision, without packing them, and in a packed file.

``GRU.nbytes`` is that of a GRU that was packed, with its biases as given. Packing a model of 100 MB in five precisions
takes seconds, this none; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..activations import GATE_ACTIVATIONS, resolved
from ..engine.packed import AS_BFLOAT16
from ..engine.reduced import upper_halves, widened
from ..errors import UnsupportedModelError
from ..gru_plan import packed_precision, reads_as_packed
from ..gru_weights import GRUSpec, GRUWeights
from ..layers import ModelSpec
from ..layers.grus import grus_of
from ..options import PRECISIONS, check_options, kernel_table
from ..weights.matrices import Matrix, as_array, form_of

if TYPE_CHECKING:
    from ..graph.graph import Graph

__all__ = ["packed_already", "packed_bytes", "packed_sizes"]

# Weights up to these are reduced without a look at each of them.
LARGEST = {"float16": 65504.0, "bfloat16": float.fromhex("0x1.fep127"), "int8": float(np.finfo(np.float32).max)}


def packed_sizes(specs: Sequence[GRUSpec | ModelSpec | Graph]) -> dict[str, int | str]:
    """By every precision the bytes of some GRUs together, or a sentence on why they cannot be had in it.

    Nothing where there are none.
    """
    sizes: dict[str, int | str] = {}
    if not [gru for spec in specs for gru in grus_of(spec)]:
        return sizes
    for precision in PRECISIONS:
        try:
            sizes[precision] = sum(packed_bytes(spec, precision) for spec in specs)
        except UnsupportedModelError as error:
            sizes[precision] = str(error)
    return sizes


def packed_already(specs: Sequence[GRUSpec | ModelSpec | Graph]) -> dict[str, Any] | None:
    """Of GRUs whose weights a file has packed: how, and whether this process computes from the file; otherwise None."""
    grus = [gru for spec in specs for _, gru in grus_of(spec)]
    matrices = {id(each): each for gru in grus for _, each in gru.named_matrices()}.values()
    packed = [each for each in matrices if isinstance(each, Matrix) and each.packed is not None]
    if not packed:
        return None
    precision, table = packed[0].packed.precision, kernel_table()
    return {
        "precision": precision,
        "kernels": getattr(packed[0], "level", None),
        "kernels_here": table.name,
        "bytes": sum(array.nbytes for each in packed for array in each.packed.arrays),
        "read_as_it_lies": all(reads_as_packed(gru, precision, table) for gru in grus),
    }


def packed_bytes(spec: GRUSpec | ModelSpec | Graph, precision: str) -> int:
    """Bytes of the weights and biases of a GRU, or of all GRUs of a model, as the engine would have them.

    Raises
    ------
    UnsupportedModelError
        There is no such precision, or a weight is beyond it; the message names its tensor.

    Examples
    --------
    >>> import numpy as np, fastgru
    >>> gru = fastgru.from_torch({"weight_ih": np.ones((96, 32)), "weight_hh": np.ones((96, 32))})
    >>> gru.nbytes - packed_bytes(gru.spec, "float32") == 2 * 96 * 8  # its biases, in float64
    True
    """
    check_options(precision, None, None)
    total = 0
    for where, gru in grus_of(spec):
        if precision in LARGEST:
            _check_reducible(gru, precision, where and f"layer {where!r}")
        total += sum(_bytes(weights, gru, precision) for layer in gru.layers for weights in layer)
    return total


def _bytes(weights: GRUWeights, gru: GRUSpec, precision: str) -> int:
    """Of one direction: three gates of weights and of two biases, with units padded to whole vectors where packed."""
    inputs, hidden = weights.input_size, gru.hidden_size
    table = kernel_table()
    if precision == "float64" or table.vector_length == 1:
        return (8 if precision == "float64" else 4) * 3 * hidden * (inputs + hidden + 2)
    if not _has_kernels(gru):  # products of columns, those of r * h apart where reset is before
        parts = [(inputs, 3), (hidden, 3)] if gru.reset_after else [(inputs, 3), (hidden, 2), (hidden, 1)]
        length = table.vector_length
        return sum(4 * -(-gates * hidden // length) * length * (terms + 1) for terms, gates in parts)
    kind = table.weight_kind(packed_precision(gru, precision, table), max(inputs, hidden))
    if precision == kind == "float32" and table.may_narrow(3 * hidden * (inputs + hidden)):
        narrow = all(upper_halves(as_array(matrix)) is not None for matrix in weights.matrices)
        kind = AS_BFLOAT16 if narrow else kind
    words = sum(_words(terms, kind, table.tile_words) for terms in (inputs, hidden)) + 2
    vectors = 3 * -(-hidden // table.vector_length)
    last = table.last_vectors(hidden) if gru.reset_after else 0
    return int(4 * (vectors - 6 + last if last else vectors) * table.vector_length * words)


def _words(terms: int, kind: str, multiple: int) -> float:
    """The 32-bit words of the weights of a unit for a number of inputs; of some kinds, whole tiles of them."""
    if kind == "float16":
        return terms / 2
    if kind == AS_BFLOAT16:
        return -(-terms // 2)
    if kind == "bfloat16":
        return -(-terms // (2 * multiple)) * multiple
    if kind == "int8":
        return -(-terms // (4 * multiple)) * multiple + 2  # and what its sum starts from, and its scale
    return terms


def _has_kernels(gru: GRUSpec) -> bool:
    """Whether the gates are computed inside the kernels; otherwise weights are kept as they are."""
    named = [resolved(gru.activation), resolved(gru.recurrent_activation)]
    return all(name in GATE_ACTIVATIONS and not options for name, options in named)


def _check_reducible(gru: GRUSpec, precision: str, where: str) -> None:
    """Raise what rounding the weights would; it is only tried where the largest of a matrix gives a reason."""
    for name, matrix in gru.named_matrices():
        place = f"{where}{': ' if where else ''}{name}"
        if isinstance(matrix, Matrix) and matrix.is_rounded:
            form_of(matrix, precision, place)
            continue
        array = as_array(matrix)
        least, most = np.min(array, initial=0), np.max(array, initial=0)
        if not (least >= -LARGEST[precision] and most <= LARGEST[precision]):  # or NaN
            widened(array, precision, place)
