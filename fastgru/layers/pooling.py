"""Layers without weights that make more or fewer steps of a sequence: pooling, padding, cropping, repeating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ShapeError
from . import operations as op
from .flow import Flow
from .over_steps import OfSequence
from .signal import Signal, check_choice, check_count
from .windows import windows

if TYPE_CHECKING:
    from .scope import Scope

__all__ = ["AveragePooling1D", "Cropping1D", "MaxPooling1D", "UpSampling1D", "ZeroPadding1D"]


class _Pooling(OfSequence):
    _function = ""  # of ``Pool``
    size: int
    strides: int
    padding: str = "valid"

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = self.given(inputs, where)
        check_count(self.size, f"{where}: size")
        check_count(self.strides, f"{where}: strides")
        check_choice(self.padding, ("valid", "same"), f"{where}: padding")
        return [Signal((windows(given.shape[0], self.size, self.strides, self.padding, where=where), given.features))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        padding = (0, 0) if self.padding == "valid" else self.padding
        operation = op.Pool(self._function, (self.size,), (self.strides,), (padding,), counts_padding=False)
        return [Flow(s.check_left(s.add(operation, inputs[0].value), 1))]


class MaxPooling1D(_Pooling):
    """The largest value of each window of ``size`` steps."""

    _function = "max"


class AveragePooling1D(_Pooling):
    """The mean of each window of ``size`` steps; padding does not count."""

    _function = "mean"


class ZeroPadding1D(OfSequence):
    """Steps of zeros before and after."""

    before: int
    after: int

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        steps, features = self.given(inputs, where).shape
        check_count(self.before, f"{where}: before", 0)
        check_count(self.after, f"{where}: after", 0)
        return [Signal((None if steps is None else steps + self.before + self.after, features))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return [Flow(s.add(op.Pad(((0, 0), (self.before, self.after), (0, 0))), inputs[0].value))]


class Cropping1D(OfSequence):
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

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        stop = None if self.after == 0 else -self.after
        return [Flow(s.check_left(s.add(op.Slice(1, self.before, stop), inputs[0].value), 1))]


class UpSampling1D(OfSequence):
    """Every step ``size`` times."""

    size: int

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        steps, features = self.given(inputs, where).shape
        check_count(self.size, f"{where}: size")
        return [Signal((None if steps is None else steps * self.size, features))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return [Flow(s.add(op.Upsample(1, self.size), inputs[0].value))]
