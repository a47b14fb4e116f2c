"""GRU layers: directions, masks and states around the engine's stacks.

A masked step keeps the state. So the real steps of each row are moved together, run as a shorter row, and their outputs
moved back; where a masked step must show something, it shows the output before it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError, UnsupportedModelError
from ..gru import GRU
from ..spec import GRULayer, GRUSpec, Reverse
from .value import Array, Context, Runner, Value

__all__ = ["gru_layer", "reverse"]


def gru_layer(layer: GRULayer, context: Context) -> Runner:
    """The stack, or several one on top of the other."""
    stacks = [_made(spec, place, context) for place, spec in layer.stacks(context.where)]
    directions = layer.gru.directions

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        steps = Steps(value, layer.go_backwards)
        x, first = steps.inputs(value.array), 0
        states: list[Array] = []
        for place, gru in enumerate(stacks):
            count = gru.num_layers * directions
            h0 = first_states(values[1 + first : 1 + first + count], gru, context.where)
            sequences = layer.return_sequences or place < len(stacks) - 1
            y, h = gru._run(x, h0, steps.lengths, sequences=sequences)
            if steps.empty is not None:
                h[:, steps.empty] = 0 if h0 is None else h0[:, steps.empty]
            states += list(h)
            first += count
            x = x if y is None else y
        final = states[-directions:]
        if layer.return_sequences:
            outputs = np.split(steps.outputs(x, layer.zero_masked or directions == 2), directions, axis=-1)
            merged = [Value(array, value.lengths, value.mask) for array in _merged(outputs, layer.merge)]
            merged[0].final = np.concatenate(final, axis=-1)
        else:
            unseen = steps.without_output(value, layer.zero_masked and directions == 1)
            last = final if unseen is None else [_zero_rows(state, unseen) for state in final]
            merged = [Value(array) for array in _merged(last, layer.merge)]
        return [*merged, *(Value(state) for state in states)] if layer.return_state else merged

    whole = (
        "it is bidirectional, and its reverse direction begins with the last step" if directions == 2
        else "it takes the steps reversed, from the last one on" if layer.go_backwards
        else "it is several cells on top of each other, not the layers of one GRU" if len(stacks) > 1
        else "it gives its states as further outputs" if layer.return_state
        else ""
    )  # fmt: skip
    nbytes = sum(gru.nbytes for gru in stacks)
    return Runner(run, None if whole else lambda inputs: inputs[0], None if whole else stacks[0], nbytes, whole=whole)


def first_states(values: list[Value], gru: GRU, where: str) -> Array | None:
    """(layers * directions, batch, hidden), or None where no states are given."""
    if not values:
        return None
    arrays = [value.without_lengths(where) for value in values]
    for array in arrays:
        if array.shape[1:] != (gru.hidden_size,):
            raise ShapeError(f"{where}: got an initial state {array.shape[1:]} a row, wanted ({gru.hidden_size},)")
    return np.stack(arrays)


def _made(spec: GRUSpec, place: str, context: Context) -> GRU:
    try:
        return GRU(spec, **context.options)
    except UnsupportedModelError as error:  # a weight that the precision has not, by its name in the stack
        raise UnsupportedModelError(f"{place}: {error}") from error


class Steps:
    """Which steps of a value a GRU runs over, and in which order."""

    def __init__(self, value: Value, backwards: bool) -> None:
        self.order: NDArray[np.intp] | None = None  # (batch, steps): where each step of the GRU comes from
        self.lengths = value.lengths
        self.empty: NDArray[np.bool_] | None = None  # rows of masked steps only
        self.real: NDArray[np.bool_] | None = None
        if backwards:
            self.order = reversed_order(value)
        if value.mask is None:
            return
        real = value.mask & value.within()
        self.real = real if self.order is None else np.take_along_axis(real, self.order, axis=1)
        together = np.argsort(~self.real, axis=1, kind="stable")
        self.order = together if self.order is None else np.take_along_axis(self.order, together, axis=1)
        counts = self.real.sum(axis=1)
        self.lengths = np.maximum(counts, 1)
        if not counts.all():
            self.empty = counts == 0

    def inputs(self, x: Array) -> Array:
        return x if self.order is None else np.take_along_axis(x, self.order[..., None], axis=1)

    def without_output(self, value: Value, zero_masked: bool) -> NDArray[np.bool_] | None:
        """Which rows show zeros as their last output: those without a real step, or whose last step is masked."""
        if self.real is None or not zero_masked:
            return self.empty
        return ~self.real[np.arange(len(self.real)), value.last_steps]

    def outputs(self, y: Array, zero_masked: bool) -> Array:
        """The outputs at the places of the layer's own steps; with ``go_backwards`` these run from the end."""
        if self.real is None:
            return y
        places = np.cumsum(self.real, axis=1) - 1
        spread = np.take_along_axis(y, np.maximum(places, 0)[..., None], axis=1)
        shown = self.real if zero_masked else places >= 0
        return np.where(shown[..., None], spread, np.zeros((), y.dtype))


def reversed_order(value: Value) -> NDArray[np.intp]:
    """Every row from its own last step to its first; the steps beyond its length stay behind."""
    steps = np.arange(value.array.shape[1])
    order = value.last_steps[:, None] - steps
    return np.where(order < 0, steps, order)


def reverse(layer: Reverse, context: Context) -> Runner:
    """Every row's steps, and its mask, the other way round."""

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        order = reversed_order(value)
        mask = None if value.mask is None else np.take_along_axis(value.mask, order, axis=1)
        return [Value(np.take_along_axis(value.array, order[..., None], axis=1), value.lengths, mask)]

    return Runner(run, whole="it takes the steps reversed, from the last one on")


def _merged(parts: list[Array], merge: str) -> list[Array]:
    if len(parts) == 1 or merge == "none":
        return list(parts)
    if merge == "concat":
        return [np.concatenate(parts, axis=-1)]
    forward, backward = parts
    if merge == "mul":
        return [np.asarray(forward * backward)]
    return [np.asarray((forward + backward) / (2 if merge == "ave" else 1))]


def _zero_rows(array: Array, rows: NDArray[np.bool_]) -> Array:
    return np.where(rows[:, None], np.zeros((), array.dtype), array)
