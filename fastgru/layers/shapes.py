"""Layers on the shape: the same numbers in another one, or some of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ShapeError
from . import operations as op
from .flow import Flow
from .layer import Layer, only
from .signal import MAX_RANK, Shape, Signal, axis_of, check_count, numbers, shape_text

if TYPE_CHECKING:
    from ..graph.builder import Value
    from .scope import Scope

__all__ = ["Flatten", "Permute", "RepeatVector", "Reshape", "Select", "Slice"]


class RepeatVector(Layer):
    """(features,) as ``n`` equal steps."""

    n: int

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        check_count(self.n, f"{where}: n")
        return [Signal((self.n, *numbers(only(inputs, where), where, 1).shape))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        batch, *rest = inputs[0].value.shape
        value = s.add(op.View((batch, 1, *rest)), inputs[0].value)
        return [Flow(s.add(op.Expand((batch, self.n, *rest)), value))]


class Flatten(Layer):
    """All axes but the batch as one."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        return [Signal((size_of(given.shape),))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return [Flow(_viewed(s, inputs[0].value, (-1,)))]


class Reshape(Layer):
    """The same numbers in another shape, without the batch axis; one size may be -1."""

    shape: tuple[int, ...]

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        if not isinstance(self.shape, tuple) or not 1 <= len(self.shape) <= MAX_RANK:
            raise ShapeError(f"{where}: shape is {self.shape!r}, wanted a tuple of 1 to {MAX_RANK} sizes")
        for size in self.shape:
            if size != -1:
                check_count(size, f"{where}: shape")
        if self.shape.count(-1) > 1:
            raise ShapeError(f"{where}: shape is {self.shape}, wanted at most one -1")
        total, known = size_of(given.shape), math.prod(size for size in self.shape if size != -1)
        if total is not None and (total % known or (-1 not in self.shape and total != known)):
            raise ShapeError(f"{where}: {shape_text(given.shape)} cannot become {self.shape}")
        rest = None if total is None else total // known
        return [Signal(tuple(rest if size == -1 else size for size in self.shape))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return [Flow(_viewed(s, inputs[0].value, self.shape))]


class Permute(Layer):
    """The axes in another order; 1 is the first after the batch."""

    order: tuple[int, ...]

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        rank = len(given.shape)
        if not isinstance(self.order, tuple) or sorted(self.order) != list(range(1, rank + 1)):
            raise ShapeError(f"{where}: order is {self.order!r}, wanted 1 to {rank} in some order")
        return [Signal(tuple(given.shape[place - 1] for place in self.order))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return [Flow(s.add(op.Permute((0, *self.order)), inputs[0].value))]


class Select(Layer):
    """One place along an axis, which is then gone; a negative one counts from the end."""

    axis: int
    index: int

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        place = axis_of(self.axis, given, where)
        size = given.shape[place]
        if isinstance(self.index, bool) or not isinstance(self.index, (int, np.integer)):
            raise ShapeError(f"{where}: index is {self.index!r}, wanted a whole number")
        if size is not None and not -size <= self.index < size:
            raise ShapeError(f"{where}: index is {self.index}, but that axis has {size} places")
        if len(given.shape) == 1:
            raise ShapeError(f"{where}: got {shape_text(given.shape)} a row, of which nothing would be left")
        return [Signal(given.shape[:place] + given.shape[place + 1 :])]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        made = s.add(op.Select(self.axis, self.index), inputs[0].value)
        return [Flow(made, _mask_beside(inputs[0], self.axis) if made.rank > 2 else None)]  # see Signal.has_steps


class Slice(Layer):
    """The places from ``start`` to before ``stop`` along an axis, as Python counts them; None is the end."""

    axis: int
    start: int
    stop: int | None = None

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        place = axis_of(self.axis, given, where)
        for bound in (self.start, 0 if self.stop is None else self.stop):
            if isinstance(bound, bool) or not isinstance(bound, (int, np.integer)):
                raise ShapeError(f"{where}: takes from {self.start!r} to {self.stop!r}, wanted whole numbers")
        size = given.shape[place]
        left = None if size is None else len(range(*slice(self.start, self.stop).indices(size)))
        if left is not None and left < 1:
            raise ShapeError(f"{where}: takes from {self.start} to {self.stop}, none of the {size} places of that axis")
        return [Signal((*given.shape[:place], left, *given.shape[place + 1 :]))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        for bound in (self.start, self.stop):
            if bound is not None and bound < 0:
                s.check_places(inputs[0].value, self.axis, -bound)
        made = s.add(op.Slice(self.axis, self.start, self.stop), inputs[0].value)
        return [Flow(s.check_left(made, self.axis), _mask_beside(inputs[0], self.axis))]


def size_of(shape: Shape) -> int | None:
    """The product of all sizes, None where one is not known."""
    return None if None in shape else math.prod(size for size in shape if size is not None)


def _viewed(s: Scope, value: Value, shape: tuple[int, ...]) -> Value:
    made: Value = s.add(op.View((value.shape[0], *shape)), value)
    return made


def _mask_beside(flow: Flow, axis: int) -> Value | None:
    """The mask of a value of which places along an axis were taken: none if these are steps."""
    return flow.mask if axis % flow.value.rank != 1 else None
