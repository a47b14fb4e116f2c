"""The inputs of a finished model, with the sizes that its file allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...spec import Input, Limits
from .values import Size, Unknown, known

__all__ = ["Reasons", "input_of"]


_WRITTEN = "torch.export wrote the model for this size, and "


class Reasons(NamedTuple):
    """Why sizes are fixed, as sentences; empty or None for what is not so."""

    fixed: str | None  # the graph needs the numbers of the file
    found: str  # it holds a number that may come from a size
    unseen: str  # its code may have known a size without a trace


def input_of(name: str, sizes: Sequence[Size], integers: bool, reasons: Reasons) -> Input:
    """An input of these sizes, the batch first. What weights need is said by the shape alone."""
    limits: list[tuple[int, int | None, str]] = []
    unseen = []
    for axis, size in enumerate(sizes):
        limit: tuple[int, int | None, str] = (1, None, "")
        if isinstance(size, Unknown) and not size.required:
            limit = _limits(size, reasons, is_batch=axis == 0)
            if reasons.unseen and limit[2] == _WRITTEN + reasons.unseen:
                unseen.append(axis)
        limits.append(limit)
    shape = tuple(
        size.example if axis in unseen and isinstance(size, Unknown) else known(size) for axis, size in enumerate(sizes)
    )[1:]
    if all(limit[:2] == (1, None) for limit in limits):
        return Input(name, shape, integers)
    least, most, why = zip(*limits, strict=True)
    return Input(name, shape, integers, Limits(least, most, why, tuple(unseen)))


def _limits(size: Unknown, reasons: Reasons, is_batch: bool) -> tuple[int, int | None, str]:
    """The least and the most of a size, and why."""
    if not size.opened:
        is_open = (size.least, size.most) == (1, None)
        return size.least, size.most, size.why or ("" if is_open else f"{_WRITTEN}no other is said to work")
    settled = size.value is not None and reasons.fixed is not None
    reason = reasons.fixed if settled else reasons.found if is_batch else ""
    reason = reason or (reasons.unseen if size.value is None or settled else "")
    example = size.example or 1
    return (example, example, _WRITTEN + reason) if reason else (1, None, "")
