"""Layers on every element, or along an axis: activations, and dropout, which is nothing at inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import activations
from ..activations import KNOWN as ACTIVATIONS
from ..activations import NamedActivation, check_activation, resolved
from ..arrays import check_array
from ..errors import ShapeError, UnsupportedModelError
from . import operations as op
from .flow import Flow
from .layer import Layer, only
from .signal import Signal, numbers, same, shape_text

if TYPE_CHECKING:
    from ..graph.builder import Value
    from .scope import Scope

__all__ = ["ACTIVATIONS", "Activation", "Dropout", "PReLU", "activated", "signal_after"]


class Activation(NamedActivation, Layer):
    """An activation by Keras's or PyTorch's name in lower case, and its options: ``Activation("softmax", axis=1)``."""

    def __init__(self, name: str, options: tuple[tuple[str, Any], ...] = (), **named: Any) -> None:
        super().__init__(name, tuple(sorted({**dict(options), **named}.items())))

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [signal_after(self, numbers(only(inputs, where), where), where)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return [inputs[0]._replace(value=activated(s, self, inputs[0].value), final=None)]

    def described(self) -> str:
        return f"Activation({', '.join([repr(self.name), *(f'{name}={value!r}' for name, value in self.options)])})"

    __repr__ = described


class Dropout(Layer):
    """Nothing at inference; kept so that a model lists all the layers of its file."""

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [only(inputs, where)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        return [inputs[0]]


class PReLU(Layer):
    """``x`` where it is positive, ``weight * x`` elsewhere; the weight is broadcast against (..., features)."""

    weight: np.ndarray

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        given = numbers(only(inputs, where), where)
        rank = self.weight.ndim if isinstance(self.weight, np.ndarray) else 1
        check_array(self.weight, (None,) * rank, f"{where}: weight")
        fits = rank <= len(given.shape) and all(
            size == 1 or same(size, wanted)
            for size, wanted in zip(self.weight.shape[::-1], given.shape[::-1], strict=False)
        )
        if not fits:
            raise ShapeError(f"{where}: weight {self.weight.shape} does not fit {shape_text(given.shape)}")
        return [Signal(given.shape)]

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        x = inputs[0].value
        positive = s.add(op.Binary("gt"), x, 0.0)
        made = s.add(op.Where(), positive, x, s.add(op.Binary("mul"), x, self.weight))
        return [inputs[0]._replace(value=made, final=None)]


def signal_after(activation: Any, given: Signal, where: str, *, within: bool = False) -> Signal:
    """What an activation makes of a value: the same shape, but for glu, which halves an axis.

    ``within`` another layer it works on every element, or on the features.
    """
    check_activation(activation, where)
    name, options = resolved(activation)
    if within and options.get("axis", -1) != -1:
        advice = "within a layer it is -1; name the activation as a layer of its own"
        raise UnsupportedModelError(f"{where}: axis is {options['axis']!r}, but {advice}")
    return Signal(activations.shape_after(name, options, given.shape, where))


def activated(s: Scope, activation: Any, value: Value) -> Value:
    """The value that an activation makes of another, on every element or along an axis."""
    name, options = resolved(activation)
    if name == "linear":
        return value
    axis = {**activations.defaults(name), **options}.get("axis", -1)
    made: Value
    if name in activations.ELEMENTWISE:
        made = s.add(op.Activation(name, tuple(sorted(options.items()))), value)
    elif name == "glu":
        made = s.add(op.Glu(axis), value)
    else:
        made = s.add(op.AlongAxis(name, axis), value)
    return made
