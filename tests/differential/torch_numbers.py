"""Arrays that are compared, weights that are moved by their last bits, and what is said of an error."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ["difference", "largest", "moved", "reason", "row_of"]


def reason(error: BaseException) -> str:
    """A message without what differs from model to model."""
    lines = str(error).splitlines() or [""]
    cannot = [line for line in lines if "cannot be followed: " in line]  # why, behind what is said of its weights
    text = re.sub(r"^\S*?(/\S+|[A-Z]\w+):? ", "", cannot[0].partition("followed: ")[2] if cannot else lines[0])
    text = re.sub(r"\(node '[^']*'\)|\(in [^)]*\)", "", text)
    text = re.sub(r"'[^']*'|\d+", "_", text)
    return f"{type(error).__name__}: {text[:110]}"


def row_of(array: np.ndarray, row: int, axis: int) -> np.ndarray:
    """A row of an output with the axis of the batch, which an output without a batch has not."""
    return array.take([row], axis) if array.ndim > axis and row < array.shape[axis] else array


def moved(module: torch.nn.Module) -> Callable[[int], Callable[..., Any]]:
    """Copies of a module with its weights moved by about their last bits."""

    def make(seed: int) -> Callable[..., Any]:
        other = copy.deepcopy(module)
        source = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in itertools.chain(other.parameters(), other.buffers()):
                if weight.is_floating_point():
                    weight.mul_(1 + 1e-6 * torch.randn(weight.shape, generator=source))
        return other

    return make


def difference(one: np.ndarray, two: np.ndarray) -> float:
    """The largest; NaN and infinities are equal to themselves alone."""
    if not one.size:
        return 0.0
    one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(all="ignore"):
        return float(np.where(same, 0.0, np.nan_to_num(np.abs(one - two), nan=np.inf, posinf=np.inf)).max())


def largest(array: np.ndarray) -> float:
    finite = np.abs(array[np.isfinite(array)]) if array.size else array
    return float(finite.max()) if finite.size else 0.0
