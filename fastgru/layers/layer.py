"""The base of every layer of a model.

A layer is one class. Its fields are its options and weights; ``outputs`` checks them and is its rule for shapes,
``lower`` is what it becomes on the graph. Nothing else has to know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ShapeError
from ..records.record import Record
from .flow import Flow
from .signal import Signal

if TYPE_CHECKING:
    from .scope import Scope

__all__ = ["Layer", "only"]


class Layer(Record):
    """A layer: what it is made of, and what it makes of what flows in."""

    @property
    def input_features(self) -> int | None:
        """The features its weights take; None where any number will do."""
        return None

    def outputs(self, inputs: Sequence[Signal], where: str) -> list[Signal]:
        """What each output is, or an error that begins with ``where``. Own weights and options are checked here."""
        raise NotImplementedError

    def lower(self, s: Scope, inputs: Sequence[Flow]) -> list[Flow]:
        """The outputs as values of a graph, for inputs that ``outputs`` took."""
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
