"""Folding: weights that a file keeps in parts become the one tensor that the layer computes with.

Owns PyTorch's weight normalisation, spectral normalisation (each in both of its spellings) and pruning, and calls
``quantised`` for packed weights. It changes names and values, never what a layer is; what it does not recognise it
leaves as it found it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...arrays import bytes_held
from ...engine.single_threaded_blas import product
from .quantised import unpack

__all__ = ["fold"]

_ROUNDS = 4  # a part may be made of parts itself, as a pruned direction of weight_norm is
_PARAMETRIZATIONS = "parametrizations."


class _Rule(NamedTuple):
    """``ends`` are what the names of the parts have where the whole has nothing, as hooks or parametrizations write."""

    ends: tuple[str, ...]
    fits: Callable[..., bool]
    make: Callable[..., np.ndarray]


def fold(
    tensors: Mapping[str, np.ndarray], options: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """The tensors with every weight in one piece, and for each that was not the names that it was made of.

    ``options`` are those of modules by prefix, where they are known. Every other tensor is passed on, not copied.

    * ``weight_norm`` writes a length g and a direction v, W = g v / ||v||, with one norm per row: as ``X_g`` and
      ``X_v``, or since PyTorch 2.0 as ``parametrizations.X.original0`` and ``.original1``.
    * ``spectral_norm`` writes W and two vectors of a power iteration, and computes with W / (u^T W v): ``X_orig``,
      ``X_u`` and ``X_v``, or ``parametrizations.X.original``, ``.0._u`` and ``.0._v``.
    * Pruning writes W and what is left of it, ``X_orig`` and ``X_mask``.
    """
    folded, sources = unpack(tensors, options or {})
    made = _Made(tensors)
    for _ in range(_ROUNDS):
        again, found = _fold_once(folded, made)
        if not found:
            break
        for name, parts in found.items():
            sources[name] = tuple(source for part in parts for source in sources.pop(part, (part,)))
        folded = again
    return folded, sources


class _Made:
    """The tensors made so far. Tied parts give one tensor, and all together take no more memory than the parts did."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._by_parts: dict[tuple[int, ...], tuple[np.ndarray, list[np.ndarray]]] = {}
        self._tensors = tensors
        self._left: int | None = None  # looked for when there is something to make, which in most files there is not

    def make(self, rule: _Rule, parts: list[np.ndarray]) -> np.ndarray | None:
        """None where a file names its tensors so often that there would be more numbers than it holds."""
        key = (id(rule), *map(id, parts))
        if key not in self._by_parts:
            if self._left is None:
                self._left = bytes_held(each for each in self._tensors.values() if isinstance(each, np.ndarray))
            size = max(part.nbytes for part in parts)
            if size > self._left:
                return None
            self._left -= size
            self._by_parts[key] = rule.make(*parts), parts  # the parts are kept, so that no identity is used twice
        return self._by_parts[key][0]


def _fold_once(
    tensors: Mapping[str, np.ndarray], made: _Made
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    folded: dict[str, np.ndarray] = {}
    sources: dict[str, tuple[str, ...]] = {}
    used: set[str] = set()
    for name, tensor in tensors.items():
        if name in used:
            continue
        whole, rule, parts = _whole_of(name, tensors) or (name, None, ())
        weight = None if rule is None or used & set(parts) else made.make(rule, [tensors[part] for part in parts])
        if weight is None:
            folded[name] = tensor
        else:
            folded[whole] = weight
            sources[whole] = parts
            used.update(parts)
    return folded, sources


def _whole_of(name: str, tensors: Mapping[str, np.ndarray]) -> tuple[str, _Rule, tuple[str, ...]] | None:
    """What a tensor is a part of, and all the parts; None of one that is whole."""
    if not name.endswith(_ENDS):
        return None
    for rules, split in ((_HOOKS, _hook_names), (_PARAMETRIZED, _parametrized_names)):
        for rule in rules:
            for end in rule.ends:
                names = split(name, end)
                if names is None:
                    continue
                whole, stem = names
                parts = tuple(stem + each for each in rule.ends)
                held = [tensors[part] for part in parts if part in tensors]
                if whole not in tensors and len(held) == len(parts) and _are_floats(held) and rule.fits(*held):
                    return whole, rule, parts
    return None


def _hook_names(name: str, end: str) -> tuple[str, str] | None:
    """``rnn.weight_hh_l0_g`` is a part of ``rnn.weight_hh_l0``."""
    leaf = name.rpartition(".")[2]
    if not name.endswith(end) or not leaf.startswith(("weight", "bias")):
        return None
    stem = name.removesuffix(end)
    return stem, stem


def _parametrized_names(name: str, end: str) -> tuple[str, str] | None:
    """``rnn.parametrizations.weight_hh_l0.original0`` is a part of ``rnn.weight_hh_l0``."""
    if not name.endswith("." + end):
        return None
    stem = name.removesuffix(end)  # with its last dot
    above, _, plain = stem[:-1].rpartition(".")
    if not f"{above}.".endswith(_PARAMETRIZATIONS) or not plain:
        return None
    return f"{above}."[: -len(_PARAMETRIZATIONS)] + plain, stem


def _are_floats(parts: list[np.ndarray]) -> bool:
    return all(part.dtype.kind == "f" for part in parts[:1]) and all(part.dtype.kind in "fb" for part in parts)


def _fits_weight_norm(length: np.ndarray, direction: np.ndarray) -> bool:
    """Whether g has one size of v at most, such as (rows, 1)."""
    sizes = _sizes(length, direction)
    own = [axis for axis, size in enumerate(sizes) if size != 1]
    fits = direction.ndim > 0 and len(sizes) == direction.ndim and len(own) <= 1
    return fits and all(sizes[axis] == direction.shape[axis] for axis in own)


def _sizes(length: np.ndarray, direction: np.ndarray) -> tuple[int, ...]:
    return length.shape if length.ndim else (1,) * direction.ndim


def _weight_norm(length: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """W = g v / ||v||, where the norm is over the axes that g does not have."""
    sizes = _sizes(length, direction)
    axes = tuple(axis for axis, size in enumerate(sizes) if size == 1)
    with np.errstate(all="ignore"):  # a zero row gives NaN, as it does in PyTorch
        norm = np.sqrt(np.sum(np.square(direction, dtype=np.float64), axis=axes, keepdims=True))
        return _scaled(direction, length.reshape(sizes) / norm)


def _scaled(weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """weight * factor, computed in float64 and rounded once, without a float64 copy of the weight."""
    scaled = np.empty_like(weight, order="C")
    np.multiply(weight, factor, out=scaled, dtype=np.float64, casting="same_kind")
    return scaled


def _fits_pruning(weight: np.ndarray, mask: np.ndarray) -> bool:
    return weight.shape == mask.shape


def _pruned(weight: np.ndarray, mask: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return _scaled(weight, mask)


def _fits_spectral_norm(weight: np.ndarray, u: np.ndarray, v: np.ndarray) -> bool:
    """Whether u is as long as W has rows, v as a row, and u is W v of length 1, as the iteration leaves it.

    The last tells axis 0 from axis 1 of a square matrix.
    """
    if weight.ndim < 2 or u.shape != weight.shape[:1] or v.shape != (weight[:1].size,):
        return False
    if weight.ndim > 2 or weight.shape[0] != weight.shape[1]:
        return True
    with np.errstate(all="ignore"):
        along, across = (product(matrix.astype(np.float64), v.astype(np.float64)) for matrix in (weight, weight.T))
        near = [np.abs(each / np.linalg.norm(each) - u).max() for each in (along, across)]
    return not near[1] < near[0]


def _spectral_norm(weight: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """W / (u^T W v), where W is a matrix of its rows."""
    matrix = weight.reshape(len(weight), -1)
    with np.errstate(all="ignore"):
        sigma = product(product(u.astype(np.float64), matrix.astype(np.float64)), v.astype(np.float64))
        return _scaled(weight, 1 / sigma)


_HOOKS = (
    _Rule(("_g", "_v"), _fits_weight_norm, _weight_norm),
    _Rule(("_orig", "_mask"), _fits_pruning, _pruned),
    _Rule(("_orig", "_u", "_v"), _fits_spectral_norm, _spectral_norm),
)
_PARAMETRIZED = (
    _Rule(("original0", "original1"), _fits_weight_norm, _weight_norm),
    _Rule(("original", "0._u", "0._v"), _fits_spectral_norm, _spectral_norm),
)
_ENDS = tuple(end for rule in (*_HOOKS, *_PARAMETRIZED) for end in rule.ends)
