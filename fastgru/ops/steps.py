"""Layers over the steps of a sequence, on the shape of a value, and those that join several values."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..errors import ShapeError, UnsupportedModelError
from ..origin import raised_in
from ..spec import (
    Concatenate,
    Cropping1D,
    FinalState,
    Flatten,
    Last,
    Layer,
    Max,
    Mean,
    Permute,
    RepeatVector,
    Reshape,
    Select,
    Slice,
    Sum,
    UpSampling1D,
    ZeroPadding1D,
)
from ..spec.windows import padding_of, windows
from .elementwise import OTHER_AXES
from .value import Array, Context, Runner, Value, common_lengths

__all__ = [
    "concatenate", "cropping", "final_state", "flatten", "last", "maximum", "mean", "merging", "permute", "pooling",
    "repeat_vector", "reshape", "select", "slice_of", "up_sampling", "zero_padding",
]  # fmt: skip


ALL_AT_ONCE = "it needs all steps at once"
OTHER_STEPS = "it gives other steps than it takes"


def last(layer: Last, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        return [Value(value.array[np.arange(len(value.array)), value.last_steps])]

    return Runner(run, lambda inputs: inputs[0])


def final_state(layer: FinalState, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        if values[0].final is None:
            raise UnsupportedModelError(f"{context.where}: FinalState must come directly after a GRU")
        return [Value(values[0].final)]

    return Runner(run, lambda inputs: inputs[0])


def mean(layer: Mean | Sum, context: Context) -> Runner:
    """Summed step by step in float64, so that a row's bits do not depend on what is behind its end."""

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        counts: Any = value.last_steps + 1
        real = None
        if value.mask is not None:
            real = value.mask & value.within()
            counts = real.sum(axis=1)
        elif value.lengths is not None:
            real = value.within()
        array = value.array if real is None else np.where(real[..., None], value.array, 0)
        total = np.cumsum(array, axis=1, dtype=np.float64)[:, -1]
        with np.errstate(all="ignore"):  # a row of masked steps only has no mean: NaN, as in Keras
            result = (total / counts[:, None] if isinstance(layer, Mean) else total).astype(value.array.dtype)
        return [Value(result[:, None] if layer.keepdims else result)]

    return Runner(run, whole=ALL_AT_ONCE)


def maximum(layer: Max, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        array = value.array
        if value.lengths is not None or (layer.skip_masked and value.mask is not None):
            real = value.within()
            if layer.skip_masked and value.mask is not None:
                real = real & value.mask
            array = np.where(real[..., None], array, -np.inf)
        return [Value(array.max(axis=1, keepdims=layer.keepdims).astype(value.array.dtype))]

    return Runner(run, whole=ALL_AT_ONCE)


def pooling(reduction: str) -> Callable[[Any, Context], Runner]:
    """Windows of steps reduced to one each; what is padded never counts."""

    def maker(layer: Any, context: Context) -> Runner:
        def run(values: list[Value]) -> list[Value]:
            value = values[0]
            lengths = value.lengths
            if lengths is not None:
                if layer.padding != "valid":
                    value.without_lengths(context.where)
                if lengths.size and lengths.min() < layer.size:
                    raise ShapeError(f"{context.where}: lengths: got {lengths.min()}, wanted at least {layer.size}")
                lengths = (lengths - layer.size) // layer.strides + 1
            steps = value.array.shape[1]
            count = windows(steps, layer.size, layer.strides, layer.padding, where=context.where)
            before, after = padding_of(steps, layer.size, layer.strides, layer.padding)
            filling = -np.inf if reduction == "max" else 0
            padded = np.pad(value.array, ((0, 0), (before, after), (0, 0)), constant_values=filling)
            view = sliding_window_view(padded, layer.size, axis=1)[:, :: layer.strides][:, :count]
            if reduction == "max":
                return [Value(np.asarray(view.max(axis=-1)), lengths)]
            inside = np.pad(np.ones(steps), (before, after))
            counts = sliding_window_view(inside, layer.size)[:: layer.strides][:count].sum(axis=-1)
            total = np.cumsum(view, axis=-1, dtype=np.float64)[..., -1]
            return [Value((total / counts[:, None]).astype(context.dtype), lengths)]

        return Runner(run, whole="it joins several steps")

    return maker


def zero_padding(layer: ZeroPadding1D, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        padded = np.pad(value.zero_beyond(), ((0, 0), (layer.before, layer.after), (0, 0)))
        return [Value(padded, _moved(value.lengths, layer.before + layer.after))]

    return Runner(run, whole=OTHER_STEPS)


def cropping(layer: Cropping1D, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        steps = value.array.shape[1]
        lengths = _moved(value.lengths, -layer.before - layer.after)
        left = steps - layer.before - layer.after
        if left < 1 or (lengths is not None and lengths.size and lengths.min() < 1):
            raise ShapeError(f"{context.where}: got a row of which it leaves no step")
        return [Value(value.array[:, layer.before : steps - layer.after], lengths)]

    return Runner(run, whole=OTHER_STEPS)


def _moved(lengths: NDArray[np.intp] | None, by: int) -> NDArray[np.intp] | None:
    return None if lengths is None else lengths + by


def up_sampling(layer: UpSampling1D, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        lengths = values[0].lengths
        longer = None if lengths is None else lengths * layer.size
        return [Value(np.repeat(values[0].array, layer.size, axis=1), longer)]

    return Runner(run, whole=OTHER_STEPS)


def repeat_vector(layer: RepeatVector, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        return [Value(np.repeat(values[0].without_lengths(context.where)[:, None], layer.n, axis=1))]

    return Runner(run, whole="it makes steps of its own")


def flatten(layer: Flatten, context: Context) -> Runner:
    return reshape(Reshape((-1,)), context)


def reshape(layer: Reshape, context: Context) -> Runner:
    known = math.prod(size for size in layer.shape if size != -1)
    within = math.prod(layer.shape[1:])  # of a step, unless a later size is -1

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        total, of_a_step = (math.prod(value.array.shape[first:]) for first in (1, 2))
        if total % known or (-1 not in layer.shape and total != known):
            raise ShapeError(f"{context.where}: got {value.array.shape[1:]} a row, which cannot become {layer.shape}")
        shape = [total // known if size == -1 else size for size in layer.shape]
        steps_stay = within == of_a_step
        array = value.array if steps_stay else value.without_lengths(context.where)
        made = np.ascontiguousarray(array).reshape(len(array), *shape)
        return [Value(made, value.lengths if steps_stay else None)]

    return Runner(run, whole="it may move numbers from one step to another")


def permute(layer: Permute, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        if layer.order[0] == 1:
            return [Value(values[0].array.transpose(0, *layer.order), values[0].lengths)]
        return [Value(values[0].without_lengths(context.where).transpose(0, *layer.order))]

    return Runner(run, whole="it moves the axes, and the steps with them")


def select(layer: Select, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        axis = layer.axis % value.array.ndim
        if not -value.array.shape[axis] <= layer.index < value.array.shape[axis]:
            raise ShapeError(f"{context.where}: index {layer.index} of an axis with {value.array.shape[axis]} places")
        if axis != 1:
            made = np.take(value.array, layer.index, axis=axis)
            # of two axes the last is the steps, or features to the next layer: no mask would fit both
            return [value.of(made) if made.ndim > 2 else Value(made, value.lengths)]
        if value.lengths is None:
            return [Value(value.array[:, layer.index])]
        places = np.full(len(value.array), layer.index) + (value.lengths if layer.index < 0 else 0)
        if places.size and (places.min() < 0 or (places >= value.lengths).any()):
            raise ShapeError(f"{context.where}: a row is too short for step {layer.index}")
        return [Value(value.array[np.arange(len(value.array)), places])]

    return Runner(run, whole="it picks places of a whole sequence")


def slice_of(layer: Slice, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        axis = layer.axis % value.array.ndim
        array = value.without_lengths(context.where) if axis == 1 else value.array
        part = array[(slice(None),) * axis + (slice(layer.start, layer.stop),)]
        if not part.shape[axis]:
            raise ShapeError(f"{context.where}: got {array.shape[axis]} places, none of them from {layer.start} on")
        return [Value(part) if axis == 1 else value.of(part)]

    return Runner(run, whole="it picks places of a whole sequence")


def merging(
    join: Callable[[Array, Array], Array], average: bool = False, masked: Masked | None = None
) -> Callable[[Layer, Context], Runner]:
    """The inputs element by element; masked where all of them are. ``masked`` joins them where some are masked."""

    def maker(layer: Layer, context: Context) -> Runner:
        def joined(masks: list[Mask | None], arrays: list[Array]) -> Array:
            rank = max(array.ndim for array in arrays)
            # Keras puts the missing axes of the shorter one behind the batch
            full = [array.reshape(len(array), *(1,) * (rank - array.ndim), *array.shape[1:]) for array in arrays]
            skipping = masked is not None and any(mask is not None for mask in masks)
            total = masked(join, masks, full) if masked is not None and skipping else reduce(join, full)
            return np.asarray(total / len(full) if average else total, context.dtype)

        def fitting(masks: list[Mask | None], arrays: list[Array]) -> Array:
            try:
                return joined(masks, arrays)
            except ValueError as error:
                if not raised_in(error, "fastgru", "numpy"):
                    raise
                shapes = ", ".join(str(array.shape) for array in arrays)
                raise ShapeError(f"{context.where}: its inputs have shapes {shapes}, which do not fit") from None

        def run(values: list[Value]) -> list[Value]:
            rank = max(value.array.ndim for value in values)
            # one of fewer axes has its steps at another place than the result
            masks = [value.mask if value.array.ndim == rank else None for value in values]
            if any(each is None for each in masks) and all(value.mask is not None for value in values):
                raise UnsupportedModelError(f"{context.where}: it joins masks of values that have different axes")
            lengths = common_lengths(values, context.where)
            array = fitting(masks, [value.array for value in values])
            mask = None if any(each is None for each in masks) else reduce(np.logical_or, masks)  # type: ignore[arg-type]
            return [Value(array, lengths, mask)]

        return Runner(run, partial(fitting, []))

    return maker


Mask = NDArray[np.bool_]
Masked = Callable[[Callable[[Array, Array], Array], "list[Mask | None]", list[Array]], Array]


def others(join: Callable[[Array, Array], Array], masks: list[Mask | None], arrays: list[Array]) -> Array:
    """Where an input is masked, the one that is not stands in for it, as in Keras's Maximum and Minimum."""
    result, mask = arrays[0], _spread(masks[0], arrays[0])
    for array, own in zip(arrays[1:], masks[1:], strict=True):
        real = _spread(own, array)
        other = array if real is None else np.where(real, array, result)
        result = join(result if mask is None else np.where(mask, result, other), other)
        mask = None if mask is None or real is None else mask | real
    return result


def ones(join: Callable[[Array, Array], Array], masks: list[Mask | None], arrays: list[Array]) -> Array:
    """A masked input counts as 1, and where all are masked the result is 0, as in Keras's Multiply."""
    spread = [_spread(mask, array) for mask, array in zip(masks, arrays, strict=True)]
    kept = [
        array if real is None else np.where(real, array, np.ones((), array.dtype))
        for array, real in zip(arrays, spread, strict=True)
    ]
    result = reduce(join, kept)
    real = [mask for mask in spread if mask is not None]
    if len(real) < len(spread):
        return result
    return np.where(reduce(np.logical_or, real), result, np.zeros((), result.dtype))


def _spread(mask: Mask | None, array: Array) -> Mask | None:
    """A mask of steps with the axes of the array it belongs to."""
    return None if mask is None else mask.reshape(*mask.shape, *(1,) * (array.ndim - mask.ndim))


def concatenate(layer: Concatenate, context: Context) -> Runner:
    def joined(arrays: list[Array]) -> Array:
        try:
            return np.concatenate(arrays, axis=layer.axis)
        except ValueError as error:
            if not raised_in(error, "fastgru", "numpy"):
                raise
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise ShapeError(f"{context.where}: its inputs have shapes {shapes}, which do not fit") from None

    def run(values: list[Value]) -> list[Value]:
        rank = values[0].array.ndim
        if layer.axis % rank == 1:
            array = joined([value.without_lengths(context.where) for value in values])
            masks = [np.ones(value.array.shape[:2], bool) if value.mask is None else value.mask for value in values]
            return [Value(array, None, np.concatenate(masks, 1) if any(v.mask is not None for v in values) else None)]
        array = joined([value.array for value in values])
        masks = [value.mask for value in values if value.mask is not None]
        # Keras: a step is real where any input has it, and an input without a mask has them all
        mask = reduce(np.logical_or, masks) if masks and len(masks) == len(values) else None
        return [Value(array, common_lengths(values, context.where), mask)]

    return Runner(run, joined if layer.axis == -1 else None, whole=OTHER_AXES)
