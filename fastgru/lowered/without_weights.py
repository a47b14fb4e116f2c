"""Layers without weights as operations: activations, masks, over the steps, on the shape, joins of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import activations, layers
from ..graph.builder import Value
from ..graph.graph import BOOLEAN, INTEGER
from ..graph.operations import elementwise as each
from ..graph.operations import parts, pooling, shape
from ..graph.operations.reduce import AlongAxis, Glu, Reduce
from .flow import Flow, Scope

__all__ = ["BUILDERS", "activated"]

Build = Callable[[Scope, Any, Sequence[Flow]], list[Flow]]


def activated(s: Scope, activation: Any, value: Value) -> Value:
    """An activation on every element, or along an axis."""
    name, options = activations.resolved(activation)
    if name == "linear":
        return value
    axis = {**activations.defaults(name), **options}.get("axis", -1)
    made: Value
    if name in activations.ELEMENTWISE:
        made = s.add(each.Activation(name, tuple(sorted(options.items()))), value)
    elif name == "glu":
        made = s.add(Glu(axis), value)
    else:
        made = s.add(AlongAxis(name, axis), value)
    return made


def activation(s: Scope, layer: layers.Activation, inputs: Sequence[Flow]) -> list[Flow]:
    return [inputs[0]._replace(value=activated(s, layer, inputs[0].value), final=None)]


def same(s: Scope, layer: layers.Layer, inputs: Sequence[Flow]) -> list[Flow]:
    return [inputs[0]]


def masking(s: Scope, layer: layers.Masking, inputs: Sequence[Flow]) -> list[Flow]:
    value = inputs[0].value
    real = s.add(Reduce("any", (-1,)), s.add(each.Binary("ne"), value, float(layer.value)))
    wide = s.add(shape.View((*real.shape, 1)), real)
    return [Flow(s.add(each.Where(), wide, value, 0.0), real)]


def not_equal(s: Scope, layer: layers.NotEqual, inputs: Sequence[Flow]) -> list[Flow]:
    value = inputs[0].value
    number: Any = int(layer.value) if value.dtype == INTEGER and float(layer.value).is_integer() else float(layer.value)
    return [inputs[0]._replace(value=s.add(each.Binary("ne"), value, number), final=None)]


def mask_of(s: Scope, layer: layers.MaskOf, inputs: Sequence[Flow]) -> list[Flow]:
    for flow in inputs[1:]:
        s.check_steps(inputs[0].value, flow.value)
    masks = [flow.mask for flow in inputs if flow.mask is not None]
    made = masks[0] if masks else _all_real(s, inputs[0].value)
    for mask in masks[1:]:
        made = s.add(each.Binary("logical_and"), made, mask)
    return [Flow(made)]


def _all_real(s: Scope, value: Value) -> Value:
    from ..graph.operations.create import Full

    made: Value = s.add(Full(value.shape[:2], 1, BOOLEAN))
    return made


def unmasked(s: Scope, layer: layers.Unmasked, inputs: Sequence[Flow]) -> list[Flow]:
    return [inputs[0]._replace(mask=None)]


# Over the steps.


def last(s: Scope, layer: layers.Last, inputs: Sequence[Flow]) -> list[Flow]:
    return [Flow(s.add(parts.Select(1, -1), inputs[0].value))]


def final_state(s: Scope, layer: layers.FinalState, inputs: Sequence[Flow]) -> list[Flow]:
    if inputs[0].final is None:
        raise s.error("FinalState must come directly after a GRU")
    return [Flow(inputs[0].final)]


def over_steps(name: str) -> Build:
    """The sum, mean or maximum of the steps; masked ones are left out."""

    def build(s: Scope, layer: Any, inputs: Sequence[Flow]) -> list[Flow]:
        value, mask = inputs[0].value, inputs[0].mask
        if name == "max" and not layer.skip_masked:
            mask = None
        reduce = Reduce(name, (1,), layer.keepdims)
        return [Flow(s.add(reduce, value) if mask is None else s.add(reduce, value, mask))]

    return build


def pool(name: str) -> Build:
    def build(s: Scope, layer: Any, inputs: Sequence[Flow]) -> list[Flow]:
        padding = (0, 0) if layer.padding == "valid" else layer.padding
        operation = pooling.Pool(name, (layer.size,), (layer.strides,), (padding,), counts_padding=False)
        return [Flow(s.check_left(s.add(operation, inputs[0].value), 1))]

    return build


def zero_padding(s: Scope, layer: layers.ZeroPadding1D, inputs: Sequence[Flow]) -> list[Flow]:
    return [Flow(s.add(parts.Pad(((0, 0), (layer.before, layer.after), (0, 0))), inputs[0].value))]


def cropping(s: Scope, layer: layers.Cropping1D, inputs: Sequence[Flow]) -> list[Flow]:
    after = None if layer.after == 0 else -layer.after
    return [Flow(s.check_left(s.add(parts.Slice(1, layer.before, after), inputs[0].value), 1))]


def up_sampling(s: Scope, layer: layers.UpSampling1D, inputs: Sequence[Flow]) -> list[Flow]:
    return [Flow(s.add(pooling.Upsample(1, layer.size), inputs[0].value))]


def reverse(s: Scope, layer: layers.Reverse, inputs: Sequence[Flow]) -> list[Flow]:
    mask = None if inputs[0].mask is None else s.add(parts.Flip((1,)), inputs[0].mask)
    return [Flow(s.add(parts.Flip((1,)), inputs[0].value), mask)]


# On the shape.


def repeat_vector(s: Scope, layer: layers.RepeatVector, inputs: Sequence[Flow]) -> list[Flow]:
    batch, *rest = inputs[0].value.shape
    value = s.add(shape.View((batch, 1, *rest)), inputs[0].value)
    return [Flow(s.add(shape.Expand((batch, layer.n, *rest)), value))]


def reshape(s: Scope, layer: Any, inputs: Sequence[Flow]) -> list[Flow]:
    wanted = layer.shape if isinstance(layer, layers.Reshape) else (-1,)
    return [Flow(s.add(shape.View((inputs[0].value.shape[0], *wanted)), inputs[0].value))]


def permute(s: Scope, layer: layers.Permute, inputs: Sequence[Flow]) -> list[Flow]:
    return [Flow(s.add(shape.Permute((0, *layer.order)), inputs[0].value))]


def select(s: Scope, layer: layers.Select, inputs: Sequence[Flow]) -> list[Flow]:
    flow = inputs[0]
    mask = flow.mask if layer.axis % flow.value.rank != 1 else None
    return [Flow(s.add(parts.Select(layer.axis, layer.index), flow.value), mask)]


def slice_of(s: Scope, layer: layers.Slice, inputs: Sequence[Flow]) -> list[Flow]:
    flow = inputs[0]
    mask = flow.mask if layer.axis % flow.value.rank != 1 else None
    for bound in (layer.start, layer.stop):
        if bound is not None and bound < 0:
            s.check_places(flow.value, layer.axis, -bound)
    made = s.add(parts.Slice(layer.axis, layer.start, layer.stop), flow.value)
    return [Flow(s.check_left(made, layer.axis), mask)]


# Several values.


def _of_one_rank(s: Scope, inputs: Sequence[Flow]) -> list[Value]:
    """The values with as many axes each: Keras puts the missing ones behind the batch."""
    rank = max(flow.value.rank for flow in inputs)
    return [
        flow.value
        if flow.value.rank == rank
        else s.add(
            shape.View((flow.value.shape[0], *(1,) * (rank - flow.value.rank), *flow.value.shape[1:])),
            flow.value,
            name=f"{s.name}: axes",
        )
        for flow in inputs
    ]


def _any_mask(s: Scope, masks: Sequence[Value | None]) -> Value | None:
    """Where one of the masks is real; None, all real, where a value has none."""
    if any(mask is None for mask in masks):
        return None
    made = masks[0]
    for mask in masks[1:]:
        made = s.add(each.Binary("logical_or"), made, mask)
    return made


def merged(name: str, masked: str = "") -> Build:
    """The values element by element; ``masked`` is how values take part whose steps are masked."""

    def build(s: Scope, layer: Any, inputs: Sequence[Flow]) -> list[Flow]:
        values = _of_one_rank(s, inputs)
        rank = max(flow.value.rank for flow in inputs)
        masks = [flow.mask if flow.value.rank == rank else None for flow in inputs]
        if any(mask is None for mask in masks) and all(flow.mask is not None for flow in inputs):
            raise s.error("it joins masks of values that have different axes")
        if masked and any(mask is not None for mask in masks):
            made = (_others if masked == "others" else _ones)(s, name, values, masks)
        else:
            made = values[0]
            for value in values[1:]:
                made = s.add(each.Binary(name), made, value)
        if isinstance(layer, layers.Average):
            made = s.add(each.Binary("div"), made, float(len(values)))
        return [Flow(made, _any_mask(s, masks))]

    return build


def _spread(s: Scope, mask: Value, rank: int) -> Value:
    """A mask of steps with the axes of the value it belongs to."""
    made: Value = s.add(shape.View((*mask.shape, *(1,) * (rank - mask.rank))), mask)
    return made


def _others(s: Scope, name: str, values: Sequence[Value], masks: Sequence[Value | None]) -> Value:
    """Where a value is masked, the one that is not stands in for it, as in Keras's Maximum and Minimum."""
    rank = values[0].rank
    result, mask = values[0], None if masks[0] is None else _spread(s, masks[0], rank)
    for value, own in zip(values[1:], masks[1:], strict=True):
        real = None if own is None else _spread(s, own, rank)
        other = value if real is None else s.add(each.Where(), real, value, result)
        result = s.add(each.Binary(name), result if mask is None else s.add(each.Where(), mask, result, other), other)
        mask = None if mask is None or real is None else s.add(each.Binary("logical_or"), mask, real)
    return result


def _ones(s: Scope, name: str, values: Sequence[Value], masks: Sequence[Value | None]) -> Value:
    """A masked value counts as 1, and where all are masked the result is 0, as in Keras's Multiply."""
    rank = values[0].rank
    spread = [None if mask is None else _spread(s, mask, rank) for mask in masks]
    kept = [
        value if real is None else s.add(each.Where(), real, value, 1.0)
        for value, real in zip(values, spread, strict=True)
    ]
    result = kept[0]
    for value in kept[1:]:
        result = s.add(each.Binary(name), result, value)
    real = _any_mask(s, spread)
    made: Value = result if real is None else s.add(each.Where(), real, result, 0.0)
    return made


def concatenate(s: Scope, layer: layers.Concatenate, inputs: Sequence[Flow]) -> list[Flow]:
    values = [flow.value for flow in inputs]
    made = s.add(shape.Concatenate(layer.axis), *values)
    masks = [flow.mask for flow in inputs]
    if layer.axis % values[0].rank == 1:
        if all(mask is None for mask in masks):
            return [Flow(made)]
        full = [_all_real(s, flow.value) if flow.mask is None else flow.mask for flow in inputs]
        return [Flow(made, s.add(shape.Concatenate(1), *full))]
    return [Flow(made, _any_mask(s, masks))]


BUILDERS: dict[type[layers.Layer], Build] = {
    layers.Activation: activation,
    layers.Add: merged("add"),
    layers.Average: merged("add"),
    layers.AveragePooling1D: pool("mean"),
    layers.Concatenate: concatenate,
    layers.Cropping1D: cropping,
    layers.Dropout: same,
    layers.FinalState: final_state,
    layers.Flatten: reshape,
    layers.Last: last,
    layers.MaskOf: mask_of,
    layers.Masking: masking,
    layers.Max: over_steps("max"),
    layers.MaxPooling1D: pool("max"),
    layers.Maximum: merged("maximum", "others"),
    layers.Mean: over_steps("mean"),
    layers.Minimum: merged("minimum", "others"),
    layers.Multiply: merged("mul", "ones"),
    layers.NotEqual: not_equal,
    layers.Permute: permute,
    layers.RepeatVector: repeat_vector,
    layers.Reshape: reshape,
    layers.Reverse: reverse,
    layers.Select: select,
    layers.Slice: slice_of,
    layers.Subtract: merged("sub"),
    layers.Sum: over_steps("sum"),
    layers.Unmasked: unmasked,
    layers.UpSampling1D: up_sampling,
    layers.ZeroPadding1D: zero_padding,
}
