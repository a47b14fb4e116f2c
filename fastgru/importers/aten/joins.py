"""PyTorch's operations that make one value of several: side by side along an axis, or along a new one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...spec import Concatenate
from .builder import Builder
from .parts import MAX_PARTS, axis_of, size
from .shapes import unsqueeze
from .values import Array, Size, Stack, Unknown, Weight, known

__all__ = ["alike", "cat", "stack"]


def cat(b: Builder, tensors: Any, dim: int = 0) -> Any:
    parts = list(tensors) if isinstance(tensors, (list, tuple)) else []
    if not parts or len(parts) > MAX_PARTS:
        raise b.error(f"joins {len(parts)} tensors, wanted 1 to {MAX_PARTS}")
    if all(isinstance(part, Weight) for part in parts):
        return _weights_joined(b, parts, dim)
    at = axis_of(b, dim, len(size(b, parts[0])))
    if at == 0 and all(isinstance(part, Stack) for part in parts):
        return Stack(tuple(item for part in parts for item in part.items))
    arrays = alike(b, [b.array(part) for part in parts])
    axis = arrays[0].order[at]
    if axis == 0:
        raise b.layout_error("joins batches")
    total = [known(array.shape[axis]) for array in arrays]
    length: Size = Unknown() if None in total else sum(each for each in total if each is not None)
    layer = Concatenate(-1 if axis == len(arrays[0].order) - 1 else axis)
    name = b.add("concatenate", layer, *(array.edge for array in arrays))
    first = arrays[0]
    return first._replace(edge=name, shape=(*first.shape[:axis], length, *first.shape[axis + 1 :]))


def _weights_joined(b: Builder, parts: list[Weight], dim: int) -> Weight:
    at = axis_of(b, dim, parts[0].array.ndim)
    others = [(*part.array.shape[:at], *part.array.shape[at + 1 :]) for part in parts]
    if any(part.array.ndim != parts[0].array.ndim for part in parts) or len(set(others)) != 1:
        raise b.error("joins weights that do not fit each other")
    names = tuple(name for part in parts for name in part.names)
    b.charge(sum(part.array.size for part in parts))
    return Weight(names, np.concatenate([part.array for part in parts], axis=at))


def stack(b: Builder, tensors: Any, dim: int = 0) -> Any:
    parts = list(tensors) if isinstance(tensors, (list, tuple)) else []
    return cat(b, [unsqueeze(b, part, dim) for part in parts[: MAX_PARTS + 1]], dim)


def alike(b: Builder, arrays: list[Array]) -> list[Array]:
    """The same values with the axes of all in the order of the first."""
    order = arrays[0].order
    if any(len(array.order) != len(order) for array in arrays):
        raise b.error("its tensors have different numbers of axes")
    dims = [order.index(axis) for axis in range(len(order))]
    return [
        array if array.order == order
        else Array(b.arranged(array, dims), tuple(array.sizes[dim] for dim in dims), order)
        for array in arrays
    ]  # fmt: skip
