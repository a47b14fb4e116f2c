"""Folding: weights that a file keeps as two tensors become the one tensor that the layer computes with.

Owns PyTorch's weight normalisation, in both of its spellings. It changes names and values, never what a layer is;
what it does not recognise it leaves as it found it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["fold"]

_PARAMETRIZATIONS = "parametrizations."


def fold(tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    """The tensors with every normalised weight folded, and for each of these the two names it was made of.

    ``weight_norm`` writes W as a length g and a direction v, W = g v / ||v||, with one norm per row: as ``X_g`` and
    ``X_v``, or since PyTorch 2.0 as ``parametrizations.X.original0`` and ``.original1``. Every other tensor is
    passed on, not copied.
    """
    folded: dict[str, np.ndarray] = {}
    sources: dict[str, tuple[str, str]] = {}
    for name, tensor in tensors.items():
        halves = _halves(name)
        if halves is None or not _fit(halves, tensors):
            folded[name] = tensor
            continue
        plain, length, direction = halves
        if plain not in sources:
            folded[plain] = _weight_norm(tensors[length], tensors[direction])
            sources[plain] = (length, direction)
    return folded, sources


def _halves(name: str) -> tuple[str, str, str] | None:
    """(name of W, name of g, name of v) where a tensor is called like half of a normalised weight."""
    prefix, dot, leaf = name.rpartition(".")
    if leaf in ("original0", "original1"):
        above, _, plain = prefix.rpartition(".")
        if f"{above}.".endswith(_PARAMETRIZATIONS):
            return f"{above}."[: -len(_PARAMETRIZATIONS)] + plain, f"{prefix}.original0", f"{prefix}.original1"
    if leaf.startswith(("weight", "bias")) and leaf.endswith(("_g", "_v")):
        stem = f"{prefix}{dot}{leaf[:-2]}"
        return stem, f"{stem}_g", f"{stem}_v"
    return None


def _fit(halves: tuple[str, str, str], tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether both halves are there, are floats, and g has one size of v at most, such as (rows, 1)."""
    plain, length, direction = halves
    if plain in tensors or length not in tensors or direction not in tensors:
        return False
    g, v = tensors[length], tensors[direction]
    if g.dtype.kind != "f" or v.dtype.kind != "f" or v.ndim == 0:
        return False
    sizes = _sizes(g, v)
    own = [axis for axis, size in enumerate(sizes) if size != 1]
    return len(sizes) == v.ndim and len(own) <= 1 and all(sizes[axis] == v.shape[axis] for axis in own)


def _sizes(length: np.ndarray, direction: np.ndarray) -> tuple[int, ...]:
    return length.shape if length.ndim else (1,) * direction.ndim


def _weight_norm(length: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """W = g v / ||v||, where the norm is over the axes that g does not have."""
    sizes = _sizes(length, direction)
    axes = tuple(axis for axis, size in enumerate(sizes) if size == 1)
    wide = direction.astype(np.float64)
    norm = np.sqrt(np.sum(wide * wide, axis=axes, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a zero row gives NaN, as it does in PyTorch
        weight: np.ndarray = length.reshape(sizes) * wide / norm
    return weight.astype(direction.dtype)
