"""Layers that join several values, element by element or one behind the other, and their masks with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ShapeError
from . import operations as op
from .flow import Flow
from .layer import Layer
from .masks import all_real, any_real
from .signal import Shape, Signal, axis_of, numbers, same, shape_text

if TYPE_CHECKING:
    from ..graph.builder import Value
    from .scope import Scope

__all__ = ["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"]


class _Merge(Layer):
    """Several inputs, element by element; sizes of 1 and missing axes are repeated as NumPy does."""

    _function = "add"  # of ``Binary``

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        if len(inputs) < 2:
            raise ShapeError(f"{where} takes two inputs or more, got {len(inputs)}")
        shape = numbers(inputs[0], where).shape
        for given in inputs[1:]:
            shape = _broadcast(shape, numbers(given, where).shape, where)
        return [Signal(shape)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        values = _of_one_rank(s, inputs)
        rank = max(flow.value.rank for flow in inputs)
        masks = [flow.mask if flow.value.rank == rank else None for flow in inputs]
        if any(mask is None for mask in masks) and all(flow.mask is not None for flow in inputs):
            raise s.error("it joins masks of values that have different axes")
        return [Flow(self.joined(s, values, masks), any_real(s, masks))]

    def joined(self, s: Scope, values: Sequence[Value], masks: Sequence[Value | None]) -> Value:
        """Values of one rank as one; each mask, if there is one, says which steps of its value are real."""
        made = values[0]
        for value in values[1:]:
            made = s.add(op.Binary(self._function), made, value)
        return made


class Add(_Merge):
    """The sum of the inputs."""


class Average(_Merge):
    """The mean of the inputs."""

    def joined(self, s: Scope, values: Sequence[Value], masks: Sequence[Value | None]) -> Value:
        made: Value = s.add(op.Binary("div"), super().joined(s, values, masks), float(len(values)))
        return made


class Subtract(_Merge):
    """The first of two inputs without the second."""

    _function = "sub"

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        if len(inputs) != 2:
            raise ShapeError(f"{where} takes two inputs, got {len(inputs)}")
        return super().outputs(inputs, where)


class Multiply(_Merge):
    """The product of the inputs."""

    _function = "mul"

    def joined(self, s: Scope, values: Sequence[Value], masks: Sequence[Value | None]) -> Value:
        """A masked value counts as 1, and where all are masked the result is 0, as in Keras."""
        rank = values[0].rank
        spread = [None if mask is None else _spread(s, mask, rank) for mask in masks]
        kept = [
            value if real is None else s.add(op.Where(), real, value, 1.0)
            for value, real in zip(values, spread, strict=True)
        ]
        result = super().joined(s, kept, masks)
        real = any_real(s, spread)
        made: Value = result if real is None else s.add(op.Where(), real, result, 0.0)
        return made


class _Extreme(_Merge):
    def joined(self, s: Scope, values: Sequence[Value], masks: Sequence[Value | None]) -> Value:
        """Where a value is masked, the one that is not stands in for it, as in Keras."""
        rank = values[0].rank
        result, mask = values[0], None if masks[0] is None else _spread(s, masks[0], rank)
        for value, own in zip(values[1:], masks[1:], strict=True):
            real = None if own is None else _spread(s, own, rank)
            other = value if real is None else s.add(op.Where(), real, value, result)
            first = result if mask is None else s.add(op.Where(), mask, result, other)
            result = s.add(op.Binary(self._function), first, other)
            mask = None if mask is None or real is None else s.add(op.Binary("logical_or"), mask, real)
        return result


class Maximum(_Extreme):
    """The largest of the inputs."""

    _function = "maximum"


class Minimum(_Extreme):
    """The smallest of the inputs."""

    _function = "minimum"


class Concatenate(Layer):
    """The inputs one behind the other along an axis; the batch is axis 0."""

    axis: int = -1

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        if not inputs:
            raise ShapeError(f"{where} takes one input or more, got none")
        first = numbers(inputs[0], where)
        place = axis_of(self.axis, first, where)
        shapes = [numbers(given, where).shape for given in inputs]
        merged = first.shape
        for shape in shapes[1:]:
            others = [same(*sizes) for at, sizes in enumerate(zip(merged, shape, strict=False)) if at != place]
            if len(shape) != len(merged) or not all(others):
                raise ShapeError(
                    f"{where}: got shapes {shape_text(first.shape)} and {shape_text(shape)}, which may differ only "
                    f"along axis {self.axis}"
                )
            merged = tuple(right if left is None else left for left, right in zip(merged, shape, strict=True))
        along = [shape[place] for shape in shapes]
        total = None if None in along else sum(size for size in along if size is not None)
        return [Signal((*merged[:place], total, *merged[place + 1 :]))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        values, masks = [flow.value for flow in inputs], [flow.mask for flow in inputs]
        made = s.add(op.Concatenate(self.axis), *values)
        if self.axis % values[0].rank != 1:
            return [Flow(made, any_real(s, masks))]
        if all(mask is None for mask in masks):
            return [Flow(made)]
        full = [all_real(s, value) if mask is None else mask for value, mask in zip(values, masks, strict=True)]
        return [Flow(made, s.add(op.Concatenate(1), *full))]


def _broadcast(one: Shape, other: Shape, where: str) -> Shape:
    if len(one) != len(other):
        # Keras puts the missing axes of the shorter one behind the batch
        short, long = sorted((one, other), key=len)
        one, other = (1,) * (len(long) - len(short)) + short, long
    sizes: list[int | None] = []
    for left, right in zip(one, other, strict=True):
        if left == 1 or right == 1:
            sizes.append(right if left == 1 else left)
        elif same(left, right):
            sizes.append(right if left is None else left)
        else:
            raise ShapeError(f"{where}: got shapes {shape_text(one)} and {shape_text(other)}, which do not fit")
    return tuple(sizes)


def _of_one_rank(s: Scope, inputs: Sequence[Flow]) -> list[Value]:
    """The values with as many axes each: Keras puts the missing ones behind the batch."""
    rank = max(flow.value.rank for flow in inputs)
    return [
        flow.value
        if flow.value.rank == rank
        else s.add(
            op.View((flow.value.shape[0], *(1,) * (rank - flow.value.rank), *flow.value.shape[1:])),
            flow.value,
            name=f"{s.name}: axes",
        )
        for flow in inputs
    ]


def _spread(s: Scope, mask: Value, rank: int) -> Value:
    """A mask of steps with the axes of the value it belongs to."""
    made: Value = s.add(op.View((*mask.shape, *(1,) * (rank - mask.rank))), mask)
    return made
