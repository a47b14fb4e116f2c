"""Activations and the other layers that look at one element, or one step, at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import activations
from ..errors import ShapeError
from ..gru import kernel_table
from ..spec import Activation, Dropout, Masking, MaskOf, NotEqual, Unmasked
from .value import Array, Context, Runner, Value, same_lengths

__all__ = ["activate", "activation", "dropout", "mask_of", "masking", "not_equal", "unmasked"]


OTHER_AXES = "it works along another axis than -1, which alone is known to lie within a step"


def activate(given: Any, context: Context) -> Callable[[Array], Array]:
    """An activation as a function of arrays of the model's dtype."""
    name, options = activations.resolved(given)
    kernels = kernel_table() if context.options["backend"] != "blas" else None
    return activations.activation(name, options, context.dtype, kernels)


def axes_of(given: Any) -> tuple[int, ...]:
    """The axes along which an activation mixes what it is given; none where it looks at every element by itself."""
    name, options = activations.resolved(given)
    if name in activations.ELEMENTWISE:
        return ()
    axes = {**activations.defaults(name), **options}.get("axis", -1)
    return tuple(axes) if isinstance(axes, (list, tuple)) else (axes,)


def activation(layer: Activation, context: Context) -> Runner:
    function, axes = activate(layer, context), axes_of(layer)
    halves = activations.resolved(layer)[0] == "glu"

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        if not any(axis % value.array.ndim == 1 for axis in axes):
            return [value.of(function(value.array))]
        if halves:
            return [Value(function(value.without_lengths(context.where)))]
        return [value.of(value.by_length(function))]

    stepwise = (lambda inputs: function(inputs[0])) if axes in ((), (-1,)) else None
    return Runner(run, stepwise, whole=OTHER_AXES)


def dropout(layer: Dropout, context: Context) -> Runner:
    return Runner(lambda values: values[:1], lambda inputs: inputs[0])


def masking(layer: Masking, context: Context) -> Runner:
    """Steps whose features are all ``value`` become zeros, and are masked."""

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        real = (value.array != layer.value).any(axis=-1)
        made = value.of(np.where(real[..., None], value.array, np.zeros((), value.array.dtype)))
        made.mask = real
        return [made]

    def step(inputs: list[Array]) -> Array:
        if not (inputs[0] != layer.value).any(axis=-1).all():
            raise ShapeError(f"x: got a step that {context.where} masks; leave it out of the stream")
        return inputs[0]

    return Runner(run, step)


def not_equal(layer: NotEqual, context: Context) -> Runner:
    return Runner(lambda values: [values[0].of(values[0].array != layer.value)], whole="it makes a mask of steps")


def mask_of(layer: MaskOf, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        steps = values[0].array.shape[1]
        mask = np.ones((len(values[0].array), steps), bool)
        lengths = same_lengths(values, context.where)
        for value in values:
            if value.array.shape[1] != steps:
                raise ShapeError(f"{context.where}: got {value.array.shape[1]} steps, wanted {steps}")
            mask = mask if value.mask is None else mask & value.mask
        return [Value(mask, lengths)]

    return Runner(run, whole="it makes a mask of steps")


def unmasked(layer: Unmasked, context: Context) -> Runner:
    def run(values: list[Value]) -> list[Value]:
        return [Value(values[0].array, values[0].lengths, None, values[0].final)]

    return Runner(run, lambda inputs: inputs[0])
