"""Layers without weights: on every element, over the steps, on the shape, and those that join several inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import ShapeError
from .layer import Layer, only
from .signal import MAX_RANK, Shape, Signal, check_choice, check_count, numbers, same, shape_text
from .weighted import axis_of
from .windows import windows

__all__ = [
    "Add", "Average", "AveragePooling1D", "Concatenate", "Cropping1D", "Dropout", "FinalState", "Flatten", "Last",
    "MaskOf", "Masking", "Max", "MaxPooling1D", "Maximum", "Mean", "Minimum", "Multiply", "NotEqual", "Permute",
    "RepeatVector", "Reshape", "Reverse", "Select", "Slice", "Subtract", "Sum", "Unmasked", "UpSampling1D",
    "ZeroPadding1D",
]  # fmt: skip


class Dropout(Layer):
    """Nothing at inference; kept so that a model lists all the layers of its file."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [only(inputs, where)]


class Masking(Layer):
    """A step whose features are all ``value`` is left out by the layers behind, and becomes zeros."""

    value: float = 0.0

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where, 2)
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float, np.floating)):
            raise ShapeError(f"{where}: value is {self.value!r}, wanted a number")
        return [Signal(given.shape)]


class NotEqual(Layer):
    """Booleans: whether each element is not ``value``; a mask of steps for other layers."""

    value: float = 0.0

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [Signal(only(inputs, where).shape, "booleans")]


class MaskOf(Layer):
    """Booleans: which steps are real in every input; an input without a mask has only real ones."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        steps: int | None = None
        for given in inputs:
            if not given.has_steps or not same(steps, given.shape[0]):
                raise ShapeError(f"{where}: takes sequences of as many steps, got {given}")
            steps = given.shape[0] if steps is None else steps
        return [Signal((steps,), "booleans")]


class Unmasked(Layer):
    """The same numbers, and no step of them is left out by the layers behind."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [only(inputs, where)]


class _OfSequence(Layer):
    """A layer that takes (steps, features)."""

    def given(self, inputs: Sequence[Signal], where: str) -> Signal:
        return numbers(only(inputs, where), where, 2)


class Last(_OfSequence):
    """``y[:, -1]``: each row's own last step where there are lengths."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [Signal(self.given(inputs, where).shape[1:])]


class FinalState(_OfSequence):
    """The last layer's final states of both directions, joined: (batch, hidden * directions). Follows a GRU."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = self.given(inputs, where)
        if not given.states:
            raise ShapeError(f"{where}: FinalState must come directly after a GRU")
        return [Signal((given.states,))]


class _OverSteps(_OfSequence):
    keepdims: bool = False

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = self.given(inputs, where)
        return [Signal((1, given.features) if self.keepdims else (given.features,))]


class Mean(_OverSteps):
    """The mean over the steps of each row; masked steps are left out."""


class Sum(_OverSteps):
    """The sum over the steps of each row; masked steps are left out."""


class Max(_OverSteps):
    """The largest value over the steps of each row; masked steps are left out only with ``skip_masked``."""

    keepdims: bool = False
    skip_masked: bool = True  # Keras's GlobalMaxPooling1D does not


class _Pooling(_OfSequence):
    size: int
    strides: int
    padding: str = "valid"

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = self.given(inputs, where)
        check_count(self.size, f"{where}: size")
        check_count(self.strides, f"{where}: strides")
        check_choice(self.padding, ("valid", "same"), f"{where}: padding")
        return [Signal((windows(given.shape[0], self.size, self.strides, self.padding, where=where), given.features))]


class MaxPooling1D(_Pooling):
    """The largest value of each window of ``size`` steps."""


class AveragePooling1D(_Pooling):
    """The mean of each window of ``size`` steps; padding does not count."""


class ZeroPadding1D(_OfSequence):
    """Steps of zeros before and after."""

    before: int
    after: int

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        steps, features = self.given(inputs, where).shape
        check_count(self.before, f"{where}: before", 0)
        check_count(self.after, f"{where}: after", 0)
        return [Signal((None if steps is None else steps + self.before + self.after, features))]


class Cropping1D(_OfSequence):
    """Without the first ``before`` and the last ``after`` steps."""

    before: int
    after: int

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        steps, features = self.given(inputs, where).shape
        check_count(self.before, f"{where}: before", 0)
        check_count(self.after, f"{where}: after", 0)
        left = None if steps is None else steps - self.before - self.after
        if left is not None and left < 1:
            raise ShapeError(f"{where}: got {steps} steps, and leaves none of them")
        return [Signal((left, features))]


class UpSampling1D(_OfSequence):
    """Every step ``size`` times."""

    size: int

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        steps, features = self.given(inputs, where).shape
        check_count(self.size, f"{where}: size")
        return [Signal((None if steps is None else steps * self.size, features))]


class Reverse(_OfSequence):
    """Each row's steps from its own last to its first, and the mask with them."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [Signal(self.given(inputs, where).shape)]


class RepeatVector(Layer):
    """(features,) as ``n`` equal steps."""

    n: int

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        check_count(self.n, f"{where}: n")
        return [Signal((self.n, *numbers(only(inputs, where), where, 1).shape))]


class Flatten(Layer):
    """All axes but the batch as one."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        return [Signal((size_of(given.shape),))]


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


class Permute(Layer):
    """The axes in another order; 1 is the first after the batch."""

    order: tuple[int, ...]

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        rank = len(given.shape)
        if not isinstance(self.order, tuple) or sorted(self.order) != list(range(1, rank + 1)):
            raise ShapeError(f"{where}: order is {self.order!r}, wanted 1 to {rank} in some order")
        return [Signal(tuple(given.shape[place - 1] for place in self.order))]


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


class _Merge(Layer):
    """Several inputs, element by element; sizes of 1 and missing axes are repeated as NumPy does."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        if len(inputs) < 2:
            raise ShapeError(f"{where} takes two inputs or more, got {len(inputs)}")
        shape = numbers(inputs[0], where).shape
        for given in inputs[1:]:
            shape = _joined(shape, numbers(given, where).shape, where)
        return [Signal(shape)]


def _joined(one: Shape, other: Shape, where: str) -> Shape:
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


class Add(_Merge):
    """The sum of the inputs."""


class Multiply(_Merge):
    """The product of the inputs."""


class Average(_Merge):
    """The mean of the inputs."""


class Maximum(_Merge):
    """The largest of the inputs."""


class Minimum(_Merge):
    """The smallest of the inputs."""


class Subtract(_Merge):
    """The first of two inputs without the second."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        if len(inputs) != 2:
            raise ShapeError(f"{where} takes two inputs, got {len(inputs)}")
        return super().outputs(inputs, where)


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


def size_of(shape: Shape) -> int | None:
    """The product of all sizes, None where one is not known."""
    return None if None in shape else math.prod(size for size in shape if size is not None)
