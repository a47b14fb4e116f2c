"""What flows between layers while a model runs: an array, and which of its steps are real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError, UnsupportedModelError
from ..gru import GRU

__all__ = ["Array", "Context", "Maker", "Run", "Runner", "Step", "Value", "common_lengths", "each_step"]

Array = NDArray[Any]


class Value:
    """An array with the batch in front.

    ``lengths`` are the caller's: how many steps of each row there are; what lies beyond does not exist and is zero in
    results. ``mask`` is the model's own: which steps the layers leave out; it may have gaps.
    """

    def __init__(
        self,
        array: Array,
        lengths: NDArray[np.intp] | None = None,
        mask: NDArray[np.bool_] | None = None,
        final: Array | None = None,
    ) -> None:
        self.array = array
        self.lengths = lengths
        self.mask = mask
        self.final = final  # after a GRU: its last layer's final states, (batch, hidden * directions)

    def of(self, array: Array) -> Value:
        """Another array with the same steps."""
        return Value(array, self.lengths, self.mask)

    @property
    def last_steps(self) -> NDArray[np.intp]:
        """The place of each row's last step."""
        batch, steps = self.array.shape[:2]
        return np.full(batch, steps) - 1 if self.lengths is None else self.lengths - 1

    def within(self) -> NDArray[np.bool_]:
        """(batch, steps): whether a step lies within its row's length."""
        return np.arange(self.array.shape[1]) <= self.last_steps[:, None]

    def zero_beyond(self) -> Array:
        """The array with zeros beyond each row's length."""
        if self.lengths is None:
            return self.array
        real = self.within().reshape(*self.array.shape[:2], *(1,) * (self.array.ndim - 2))
        return np.where(real, self.array, np.zeros((), self.array.dtype))

    def without_lengths(self, where: str) -> Array:
        """The array, for a layer that mixes steps and so cannot tell rows of different lengths apart."""
        if self.lengths is not None:
            raise UnsupportedModelError(
                f"{where}: it mixes the steps of a row, so lengths= cannot be used with this model; run rows of one "
                "length at a time"
            )
        return self.array


Run = Callable[[list[Value]], list[Value]]
Step = Callable[[list[Array]], Array]


class Runner:
    """A layer ready to run: on whole sequences, and on one step where it needs no more."""

    def __init__(self, run: Run, step: Step | None = None, gru: GRU | None = None, nbytes: int = 0) -> None:
        self.run = run
        self.step = step
        self.gru = gru  # a layer with a state, which every stream keeps for itself
        self.nbytes = nbytes  # of the packed weights of all GRUs in it


class Context:
    """What a layer needs to know of the model it is in."""

    def __init__(self, where: str, dtype: np.dtype[Any], options: dict[str, Any]) -> None:
        self.where = where  # "layer 'dense'", for messages
        self.dtype = dtype
        self.options = options  # precision, n_threads, backend


Maker = Callable[[Any, Context], Runner]


def each_step(function: Callable[[Array], Array]) -> Runner:
    """A layer of one input that treats every step alike."""
    return Runner(lambda values: [values[0].of(function(values[0].array))], lambda inputs: function(inputs[0]))


def common_lengths(values: list[Value], where: str) -> NDArray[np.intp] | None:
    """The lengths of several inputs, which must agree where more than one has them."""
    given = [value.lengths for value in values if value.lengths is not None]
    if any(not np.array_equal(lengths, given[0]) for lengths in given):
        raise ShapeError(f"{where}: its inputs have different lengths; give all of them the same")
    return given[0] if given else None

