"""What flows between layers while a model runs: an array, and which of its steps are real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError, UnsupportedModelError
from ..gru import GRU

__all__ = ["Array", "Context", "Maker", "Run", "Runner", "Step", "Value", "common_lengths", "each_step", "same_lengths"]

Array = NDArray[Any]


class Value:
    """An array with the batch in front, and its steps, if it has any, on axis 1.

    ``lengths`` are the caller's: how many steps of each row there are; what lies beyond does not exist and is zero in
    results. A value with lengths has its steps on axis 1: a layer that moves them elsewhere, or takes them for
    features, refuses the lengths. ``mask`` is the model's own: which steps the layers leave out; it may have gaps.
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

    def without_lengths(self, where: str, axes: Sequence[int] = (1,)) -> Array:
        """The array, for a layer that mixes the places of ``axes``: it cannot tell rows of different lengths apart."""
        if self.lengths is not None and any(axis % self.array.ndim == 1 for axis in axes):
            raise UnsupportedModelError(
                f"{where}: it mixes the steps of a row, so lengths= cannot be used with this model; run rows of one "
                "length at a time"
            )
        return self.array

    def by_length(self, function: Callable[[Array], Array]) -> Array:
        """``function``, which keeps shapes, of the rows of each length cut to it: what each row gives alone."""
        if self.lengths is None:
            return function(self.array)
        made = np.zeros_like(self.array)
        for length in np.unique(self.lengths):
            rows = self.lengths == length
            made[rows, :length] = function(self.array[rows, :length])
        return made


Run = Callable[[list[Value]], list[Value]]
Step = Callable[[list[Array]], Array]


class Runner:
    """A layer ready to run: on whole sequences, and on one step, or ``whole`` says why it has none."""

    def __init__(
        self, run: Run, step: Step | None = None, gru: GRU | None = None, nbytes: int = 0, *, whole: str = ""
    ) -> None:
        self.run = run
        self.step = step
        self.whole = whole
        self.gru = gru  # a layer with a state, which every stream keeps for itself
        self.nbytes = nbytes  # of the packed weights of all GRUs in it


class Context:
    """What a layer needs to know of the model it is in."""

    def __init__(self, where: str, dtype: np.dtype[Any], options: dict[str, Any]) -> None:
        self.where = where  # "layer 'dense'", for messages
        self.dtype = dtype
        self.options = options  # precision, n_threads, backend


Maker = Callable[[Any, Context], Runner]


def each_step(function: Callable[[Array], Array], context: Context) -> Runner:
    """A layer of one input that looks at the features of one step."""

    def run(values: list[Value]) -> list[Value]:
        made = function(values[0].without_lengths(context.where, (-1,)))
        return [Value(made) if made.ndim == 2 else values[0].of(made)]  # of two axes the last may be the steps

    return Runner(run, lambda inputs: function(inputs[0]))


def same_lengths(values: list[Value], where: str) -> NDArray[np.intp] | None:
    """The lengths of several values whose steps are the same ones: all have the same, or none has any."""
    lengths = [value.lengths for value in values]
    if any(each is not lengths[0] and not _equal(each, lengths[0]) for each in lengths):
        raise ShapeError(f"{where}: its inputs have different lengths, or only some have any; give all the same")
    return lengths[0]


def common_lengths(values: list[Value], where: str) -> NDArray[np.intp] | None:
    """The lengths of several values that are joined place by place.

    One without lengths is repeated at every step if it has one step or none. Any other has steps of which it is not
    known whose they are; and one of fewer axes has its steps at another place than the result.
    """
    rank = max(value.array.ndim for value in values)
    given = [value for value in values if value.lengths is not None]
    if not given:
        return None
    for value in given:
        if value.array.ndim < rank:
            value.without_lengths(where)
    one_step = [value.array.ndim < rank or value.array.shape[1] == 1 for value in values]
    stepped = [each for each, one in zip(values, one_step, strict=True) if each.lengths is not None or not one]
    return same_lengths(stepped, where)


def _equal(one: NDArray[np.intp] | None, other: NDArray[np.intp] | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)
