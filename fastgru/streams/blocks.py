"""Long sequences a block of steps at a time, where every layer is causal: what is made on the way is small, and near.

A block goes through all layers before the next, as in a stream that begins anew with each call; so results have the
bits that they have at once. A convolution, two GRUs of 96 units and a dense layer over a million steps took 47 MB
beside the input instead of 1,022, 46 of which are the result. Of the time, 20,000 and 100,000 steps of one row took
0.93 and 0.96, 4,000 of 16 rows 0.97, 1,000 of 64 rows 1.01; of GRUs of 64 units with a dense layer between 0.95, 0.94,
0.91 and 0.95; calls of less than WHOLE_BYTES 0.95 to 1.06 (Zen 4, one thread, lowest of five).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.program import Carried
from ..errors import ShapeError, UnsupportedModelError
from ..graph.layout import has_steps
from ..graph.limits import check_stream
from ..threads import asked_for
from .batch import power_below, steps_from
from .steps import Steps, first_states

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["Blocks"]

Array = NDArray[Any]
WHOLE_BYTES = 16 << 20  # of the values that a call makes on the way, from which on it goes in blocks
BLOCK_BYTES = 2 << 20  # about as many has a block, of as many rows as go through a program together
ROWS_TOGETHER = 16
FEWEST, MOST = 64, 1024  # steps of a block
MAX_KNOWN = 64  # shapes of inputs of which it is remembered how they are cut


class _Cut(NamedTuple):
    """How inputs of certain shapes are cut, and what they give."""

    batch: int
    blocks: list[int]  # steps of each
    shapes: dict[int, tuple[int, ...]]  # of the outputs, by their places


class Blocks:
    """How the calls of a model go in blocks. It does not keep the model, which has it."""

    def __init__(self) -> None:
        self._known: dict[Any, _Cut | None] = {}

    def run(self, model: Model, arrays: Mapping[str, Array]) -> dict[int, Array] | None:
        """The outputs by their places; None where the call goes through the model at once."""
        counts = {arrays[each.name].shape[each.steps] for each in model.sources if each.steps is not None}
        if len(counts) != 1 or max(counts) < 2 * FEWEST:
            return None
        key = (*(arrays[each.name].shape for each in model.sources), asked_for())
        known = self._known
        if key not in known:
            if len(known) >= MAX_KNOWN:
                known = self._known = {}  # another thread keeps the old ones until it is done
            known[key] = _cut(model, arrays, counts.pop())
        cut = known[key]
        return None if cut is None else _taken(model, cut, arrays)


def _cut(model: Model, arrays: Mapping[str, Array], count: int) -> _Cut | None:
    """How a call is cut; None where it is small, or the model is not one program of causal layers."""
    runner = model._runner
    batches = {arrays[each.name].shape[each.batch] for each in model.sources if each.batch is not None}
    if len(batches) != 1 or 0 in batches:
        return None
    whole = runner.whole({name: array.shape for name, array in arrays.items()})
    if whole is None or whole.repeats or whole.program.nbytes < WHOLE_BYTES:
        return None
    batch = batches.pop()
    try:
        streamed = model._streamed
        for source in model.graph.inputs:
            check_stream(source, batch, model._analysis.inputs[source.name])
    except (ShapeError, UnsupportedModelError):
        return None
    in_time = streamed.firsts is None and not streamed.delay and streamed.behind == 0 and not streamed.warm
    shapes = {place: shape for place, _, shape, _ in whole.outputs}
    for place in runner.outputs:
        of_steps = any(has_steps(axis) for axis in model._analysis.layout(place))
        if place not in shapes or (of_steps and place not in streamed.axes):
            return None
    together = whole.program.nbytes * min(batch, ROWS_TOGETHER) // batch
    block = power_below(min(max(BLOCK_BYTES * count // together, FEWEST), MOST))
    if not in_time or count < 2 * block:
        return None
    whole_blocks, rest = divmod(count, block)
    blocks = [block] * whole_blocks + [rest] * (rest > 1)
    blocks[-1] += rest == 1  # a program of a single step takes it without the axis of the steps
    steps, carried = Steps(model, batch), Carried(first_states(model, batch, {}))
    if any(steps.stepper(carried, each) is None for each in {*blocks}):
        return None
    return _Cut(batch, blocks, {place: shapes[place] for place in runner.outputs})


def _taken(model: Model, cut: _Cut, arrays: Mapping[str, Array]) -> dict[int, Array]:
    """The outputs, block by block."""
    steps, carried = Steps(model, cut.batch), Carried(first_states(model, cut.batch, {}))
    steppers = {count: steps.stepper(carried, count) for count in {*cut.blocks}}
    axes = [model._streamed.axes.get(place) for place in cut.shapes]
    made: list[Any] = [None] * len(axes)
    filled = [0] * len(axes)
    start = 0
    for count in cut.blocks:
        stepper = steppers[count]
        assert stepper is not None
        given = [np.ascontiguousarray(steps_from(arrays[each.name], each, start, count)) for each in model.sources]
        start += count
        parts = stepper.run(given)
        for at, (part, axis, shape) in enumerate(zip(parts, axes, cut.shapes.values(), strict=True)):
            if axis is None:
                made[at] = part
                continue
            if made[at] is None:
                made[at] = np.empty(shape, part.dtype)
            end = filled[at] + part.shape[axis]
            made[at][(slice(None),) * axis + (slice(filled[at], end),)] = part
            filled[at] = end
    for array, axis, end in zip(made, axes, filled, strict=True):
        assert axis is None or end == array.shape[axis], "blocks that give other steps"
    return dict(zip(cut.shapes, made, strict=True))
