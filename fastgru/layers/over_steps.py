"""Layers over the steps of a sequence: one step of it, a number for all of them, or the steps in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ShapeError
from . import operations as op
from .flow import Flow
from .layer import Layer, only
from .signal import Signal, numbers

if TYPE_CHECKING:
    from .scope import Scope

__all__ = ["FinalState", "Last", "Max", "Mean", "OfSequence", "Reverse", "Sum"]


class OfSequence(Layer):
    """A layer that takes (steps, features)."""

    def given(self, inputs: Sequence[Signal], where: str) -> Signal:
        return numbers(only(inputs, where), where, 2)


class Last(OfSequence):
    """``y[:, -1]``: each row's own last step where there are lengths."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [Signal(self.given(inputs, where).shape[1:])]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return [Flow(s.add(op.Select(1, -1), inputs[0].value))]


class FinalState(OfSequence):
    """The last layer's final states of both directions, joined: (batch, hidden * directions). Follows a GRU."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = self.given(inputs, where)
        if not given.states:
            raise ShapeError(f"{where}: FinalState must come directly after a GRU")
        return [Signal((given.states,))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        if inputs[0].final is None:
            raise s.error("FinalState must come directly after a GRU")
        return [Flow(inputs[0].final)]


class _Reduced(OfSequence):
    _function = ""  # of ``Reduce``
    keepdims: bool = False

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = self.given(inputs, where)
        return [Signal((1, given.features) if self.keepdims else (given.features,))]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        value, mask = inputs[0].value, inputs[0].mask
        reduce = op.Reduce(self._function, (1,), self.keepdims)
        return [Flow(s.add(reduce, value) if mask is None else s.add(reduce, value, mask))]


class Mean(_Reduced):
    """The mean over the steps of each row; masked steps are left out."""

    _function = "mean"


class Sum(_Reduced):
    """The sum over the steps of each row; masked steps are left out."""

    _function = "sum"


class Max(_Reduced):
    """The largest value over the steps of each row; masked steps are left out only with ``skip_masked``."""

    _function = "max"
    keepdims: bool = False
    skip_masked: bool = True  # Keras's GlobalMaxPooling1D does not

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return super().lower(s, inputs if self.skip_masked else [inputs[0]._replace(mask=None)])


class Reverse(OfSequence):
    """Each row's steps from its own last to its first, and the mask with them."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [Signal(self.given(inputs, where).shape)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        mask = None if inputs[0].mask is None else s.add(op.Flip((1,)), inputs[0].mask)
        return [Flow(s.add(op.Flip((1,)), inputs[0].value), mask)]
