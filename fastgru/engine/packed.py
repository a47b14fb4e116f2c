"""A matrix of a GRU as a table of kernels reads it, with what decides how it lies, and the way back to its weights.

``pack`` knows the order; here stands which matrices it is the order of.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import ShapeError

from .pack import pack_weights, unpack_weights
from .reduced import widen

__all__ = ["AS_BFLOAT16", "KINDS", "PRECISIONS", "Layout", "PackedMatrix", "PlainMatrix", "vectors_of", "words_of"]

ALIGNMENT = 64  # bytes, as in pack.pyx
AS_BFLOAT16 = "float32_as_bfloat16"  # float32 of which each is a bfloat16: in half the memory, with the same results
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
KINDS = (*PRECISIONS, AS_BFLOAT16)  # what weights are kept in; in the order of kernels.pxd


class Layout(NamedTuple):
    """What decides how packed weights lie: the kernels of another level with the same numbers may read them too."""

    vector_length: int
    input_zero: int  # what kernels add to 8-bit inputs
    tile_words: int  # to a multiple of which bfloat16 and int8 are padded


class PackedMatrix(NamedTuple):
    """The weights of all three gates: (3H, inputs)."""

    layout: Layout
    kind: str
    shape: tuple[int, int]
    gates: tuple[int, ...]  # of each array: (3,), or (2, 1) of a product that the reset gate comes before
    last: int  # the vectors of the last tile where that joins two blocks; see `pack.last_vectors`
    arrays: tuple[NDArray[np.float32], ...]  # flat

    @classmethod
    def of(
        cls,
        numbers: NDArray[Any],
        scales: NDArray[np.float32] | None,
        kind: str,
        gates: tuple[int, ...],
        layout: Layout,
        last: int,
    ) -> PackedMatrix:
        """The form of a matrix that ``reduced.reduce`` gives for this kind, packed."""
        arrays, first, units = [], 0, len(numbers) // 3
        for count in gates:
            rows = slice(first * units, (first + count) * units)
            row_scales = None if scales is None else scales[rows]
            words = _tile_words(kind, layout)
            arrays.append(
                pack_weights(numbers[rows], row_scales, count, layout.vector_length, layout.input_zero, words, last)
            )
            first += count
        return cls(layout, kind, numbers.shape, gates, last, tuple(arrays))

    @property
    def precision(self) -> str:
        """What its numbers are rounded to."""
        return "float32" if self.kind == AS_BFLOAT16 else self.kind

    def form(self) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """The numbers in their precision, as ``reduced.reduce`` has them, in new arrays."""
        (rows, inputs), layout = self.shape, self.layout
        parts = [
            unpack_weights(
                array,
                self.kind,
                rows // 3 * count,
                inputs,
                count,
                layout.vector_length,
                _tile_words(self.kind, layout),
                self.last,
            )
            for array, count in zip(self.arrays, self.gates, strict=True)
        ]
        if self.kind == AS_BFLOAT16:
            parts = [(widen(numbers, None), None) for numbers, _ in parts]
        if len(parts) == 1:
            return parts[0]
        scales = [part for _, part in parts if part is not None]
        return np.concatenate([numbers for numbers, _ in parts]), np.concatenate(scales) if scales else None

    def check(self, layout: Layout, kind: str, shape: tuple[int, int], gates: tuple[int, ...], last: int) -> None:
        """Raise unless it is a matrix of that kind and shape for that layout, its arrays as large as it needs.

        The kernels check nothing: what is asked of arrays from a file is asked of all.
        """
        if self[:5] != (layout, kind, shape, gates, last):
            raise ShapeError(f"packed weights: got {self[:5]}, wanted {(layout, kind, shape, gates, last)}")
        for array, count in zip(self.arrays, gates, strict=True):
            words = words_of(shape[0] // 3, shape[1], kind, count, layout, last)
            if array.dtype != np.float32 or array.shape != (words,) or not array.flags.c_contiguous:
                raise ShapeError(f"packed weights: got {array.dtype} {array.shape}, wanted float32 ({words},)")
            if array.ctypes.data % ALIGNMENT:
                raise ShapeError(f"packed weights: they do not begin at a multiple of {ALIGNMENT} bytes")


class PlainMatrix(NamedTuple):
    """A matrix as it was given: arrays, or products that have their ``weight``, one below the other."""

    parts: tuple[Any, ...]

    def form(self) -> tuple[NDArray[Any], None]:
        """Its numbers, and no scales."""
        rows = [part if isinstance(part, np.ndarray) else part.weight for part in self.parts]
        return (rows[0] if len(rows) == 1 else np.concatenate(rows)), None


def vectors_of(units: int, gates: int, vector_length: int, last: int) -> int:
    """The vectors that some gates of ``units`` take for each of their inputs."""
    blocks = -(-units // vector_length)
    return (blocks - 2) * gates + last if last else blocks * gates


def words_of(units: int, inputs: int, kind: str, gates: int, layout: Layout, last: int) -> int:
    """The 32-bit words of some gates of ``units``, each with weights for that many inputs."""
    vectors = vectors_of(units, gates, layout.vector_length, last)
    if kind == "float16":
        return (vectors * layout.vector_length * inputs + 1) // 2
    count = {"float32": 1, AS_BFLOAT16: 2, "bfloat16": 2, "int8": 4}[kind]
    tile_words = _tile_words(kind, layout)
    words = -(-inputs // (count * tile_words)) * tile_words if count > 1 else inputs
    return vectors * layout.vector_length * (words + 2 * (kind == "int8"))


def _tile_words(kind: str, layout: Layout) -> int:
    """To what the words of a unit are padded; tiles take only what they multiply as it lies."""
    return 1 if kind == AS_BFLOAT16 else layout.tile_words
