"""The base of every layer of a model, and the activations that layers name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..activations import GATE_ACTIVATIONS, NamedActivation, check_activation, resolved, shape_after
from ..activations import KNOWN as ACTIVATIONS
from ..errors import ShapeError, UnsupportedModelError
from ..record import Record
from .signal import Signal, numbers

__all__ = ["ACTIVATIONS", "GATE_ACTIVATIONS", "Activation", "Layer", "activated", "only"]


class Layer(Record):
    """A layer: what it is made of, and what it makes of what flows in."""

    @property
    def input_features(self) -> int | None:
        """The features its weights take; None where any number will do."""
        return None

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        """What each output is, or an error that begins with ``where``. Own weights and options are checked here."""
        raise NotImplementedError

    def described(self) -> str:
        """One line for a person: sizes, and options that are not the default."""
        options = [
            f"{name}={value!r}"
            for name, value in self.fields().items()
            if not isinstance(value, np.ndarray) and value is not None and value != getattr(type(self), name, None)
        ]
        return f"{type(self).__name__}({', '.join(options)})"


def only(inputs: Sequence[Signal], where: str) -> Signal:
    """The one input of a layer that takes one."""
    if len(inputs) != 1:
        raise ShapeError(f"{where} takes one input, got {len(inputs)}")
    return inputs[0]


class Activation(NamedActivation, Layer):
    """An activation by Keras's or PyTorch's name in lower case, and its options: ``Activation("softmax", axis=1)``."""

    def __init__(self, name: str, options: tuple[tuple[str, Any], ...] = (), **named: Any) -> None:
        super().__init__(name, tuple(sorted({**dict(options), **named}.items())))

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        return [activated(self, numbers(only(inputs, where), where), where)]

    def described(self) -> str:
        return f"Activation({', '.join([repr(self.name), *(f'{name}={value!r}' for name, value in self.options)])})"

    __repr__ = described


def activated(activation: Any, given: Signal, where: str, *, within: bool = False) -> Signal:
    """What an activation makes of a value: the same shape, but for glu, which halves an axis.

    ``within`` another layer it works on every element, or on the features.
    """
    check_activation(activation, where)
    name, options = resolved(activation)
    if within and options.get("axis", -1) != -1:
        advice = "within a layer it is -1; name the activation as a layer of its own"
        raise UnsupportedModelError(f"{where}: axis is {options['axis']!r}, but {advice}")
    return Signal(shape_after(name, options, given.shape, where))
