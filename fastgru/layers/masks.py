"""Layers that make, take or end the mask of a sequence: which of its steps the layers behind leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from . import operations as op
from .flow import Flow
from .layer import Layer, only
from .signal import Signal, numbers, same

if TYPE_CHECKING:
    from ..graph.builder import Value
    from .scope import Scope

__all__ = ["MaskOf", "Masking", "NotEqual", "Unmasked", "all_real", "any_real"]


class Masking(Layer):
    """A step whose features are all ``value`` is left out by the layers behind, and becomes zeros."""

    value: float = 0.0

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where, 2)
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float, np.floating)):
            raise ShapeError(f"{where}: value is {self.value!r}, wanted a number")
        return [Signal(given.shape)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        value = inputs[0].value
        real = s.add(op.Reduce("any", (-1,)), s.add(op.Binary("ne"), value, float(self.value)))
        wide = s.add(op.View((*real.shape, 1)), real)
        return [Flow(s.add(op.Where(), wide, value, 0.0), real)]


class NotEqual(Layer):
    """Booleans: whether each element is not ``value``; a mask of steps for other layers."""

    value: float = 0.0

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [Signal(only(inputs, where).shape, "booleans")]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        given, number = inputs[0].value, float(self.value)
        compared: Any = int(self.value) if given.dtype == op.INTEGER and number.is_integer() else number
        return [inputs[0]._replace(value=s.add(op.Binary("ne"), given, compared), final=None)]


class MaskOf(Layer):
    """Booleans: which steps are real in every input; an input without a mask has only real ones."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        steps: int | None = None
        for given in inputs:
            if not given.has_steps or not same(steps, given.shape[0]):
                raise ShapeError(f"{where}: takes sequences of as many steps, got {given}")
            steps = given.shape[0] if steps is None else steps
        return [Signal((steps,), "booleans")]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        for flow in inputs[1:]:
            s.check_steps(inputs[0].value, flow.value)
        masks = [flow.mask for flow in inputs if flow.mask is not None]
        made = masks[0] if masks else all_real(s, inputs[0].value)
        for mask in masks[1:]:
            made = s.add(op.Binary("logical_and"), made, mask)
        return [Flow(made)]


class Unmasked(Layer):
    """The same numbers, and no step of them is left out by the layers behind."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [only(inputs, where)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return [inputs[0]._replace(mask=None)]


def all_real(s: Scope, value: Value) -> Value:
    """The mask of a sequence that leaves no step out.

    It is made of the sequence: its steps may turn out to be a fixed number, and then nothing else says that they are
    steps, of which a row may have fewer.
    """
    while value.rank > 2:
        value = s.add(op.Select(-1, 0), value)
    one = s.add(op.Binary("ne"), value, value)
    other: Value = s.add(op.Binary("eq"), value, value)  # one of the two holds, for NaN too
    made: Value = s.add(op.Binary("logical_or"), one, other)
    return made


def any_real(s: Scope, masks: Sequence[Value | None]) -> Value | None:
    """Where one of the masks is real; None, all real, if a value has none."""
    if any(mask is None for mask in masks):
        return None
    made = masks[0]
    for mask in masks[1:]:
        made = s.add(op.Binary("logical_or"), made, mask)
    return made
