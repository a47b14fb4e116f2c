"""Layers with weights around the GRUs, on arrays. Products go through the engine, so that a row's bits do not depend
on the batch it is in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..engine.affine import Affine
from ..engine.single_threaded_blas import product as blas_product
from ..errors import ShapeError, UnsupportedModelError
from ..gru import kernel_table
from ..spec import BatchNormalization, Conv1D, Dense, Embedding, GroupNormalization, LayerNormalization, PReLU
from ..spec.windows import padding_of, windows
from .elementwise import OTHER_AXES, activate
from .value import Array, Context, Runner, Value, each_step

__all__ = [
    "batch_normalization",
    "conv1d",
    "dense",
    "embedding",
    "group_normalization",
    "layer_normalization",
    "prelu",
]

WINDOWS_BYTES = 8 << 20  # of windows copied at a time


def dense(layer: Dense, context: Context) -> Runner:
    """activation(x weight^T + bias)."""
    product = affine(layer.weight, layer.bias, context)
    activation = activate(layer.activation, context)
    return each_step(lambda x: activation(product(x)), context)


def affine(weight: Array, bias: Array | None, context: Context) -> Callable[[Array], Array]:
    """``x @ weight.T + bias`` over the last axis."""
    dtype, where = context.dtype, context.where
    matrix = np.ascontiguousarray(weight, dtype=dtype)
    outputs, inputs = matrix.shape
    offset = np.zeros(outputs, dtype) if bias is None else np.ascontiguousarray(bias, dtype=dtype)
    by_kernels = dtype == np.float32 and context.options["backend"] != "blas"
    packed = Affine(kernel_table(), matrix, offset) if by_kernels else None

    def run(x: Array) -> Array:
        if x.shape[-1] != inputs:
            raise ShapeError(f"{where}: got {x.shape[-1]} features, wanted {inputs}")
        if packed is None:
            return np.asarray(blas_product(x, matrix.T) + offset, dtype)
        flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1, inputs)
        return np.asarray(packed(flat)).reshape(*x.shape[:-1], outputs)

    return run


def embedding(layer: Embedding, context: Context) -> Runner:
    table = np.ascontiguousarray(layer.weight, dtype=context.dtype)
    where = context.where

    def rows(ids: Array) -> Array:
        if ids.size and (ids.min() < 0 or ids.max() >= len(table)):
            wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise ShapeError(f"x: got the integer {wrong}, but {where} knows 0 to {len(table) - 1}")
        return np.asarray(table[ids])

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        made = value.of(rows(value.array))
        if layer.mask_zero and value.array.ndim == 2:
            made.mask = value.array != 0
        return [made]

    def step(inputs: list[Array]) -> Array:
        if layer.mask_zero and not inputs[0].all():
            raise ShapeError(f"x: got the integer 0, a step that {where} masks; leave it out of the stream")
        return rows(inputs[0])

    return Runner(run, step)


def conv1d(layer: Conv1D, context: Context) -> Runner:
    """Every window of steps as one row of a product, a bounded number at a time."""
    outputs, inputs, kernel = layer.weight.shape
    group = outputs // layer.groups
    products = [
        affine(
            layer.weight[first : first + group].transpose(0, 2, 1).reshape(group, -1),
            None if layer.bias is None else layer.bias[first : first + group],
            context,
        )
        for first in range(0, outputs, group)
    ]
    activation = activate(layer.activation, context)
    reach = (kernel - 1) * layer.dilation + 1

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        if value.lengths is not None and layer.padding != "valid" and layer.strides > 1:
            value.without_lengths(context.where)
        x = value.zero_beyond()
        batch, steps, features = x.shape
        if features != inputs * layer.groups:
            raise ShapeError(f"{context.where}: got {features} features, wanted {inputs * layer.groups}")
        count = windows(steps, kernel, layer.strides, layer.padding, layer.dilation, context.where)
        assert count is not None
        before, after = padding_of(steps, kernel, layer.strides, layer.padding, layer.dilation)
        padded = np.pad(x, ((0, 0), (before, after), (0, 0)))
        # (batch, windows, features, kernel), without a copy
        view = sliding_window_view(padded, reach, axis=1)[:, :: layer.strides, :, :: layer.dilation][:, :count]
        y = np.empty((batch, count, outputs), context.dtype)
        rows = max(1, WINDOWS_BYTES // max(1, kernel * features * x.itemsize * count))
        for first in range(0, batch, rows):
            for place, product in enumerate(products):
                part = view[first : first + rows, :, place * inputs : (place + 1) * inputs]
                flat = np.ascontiguousarray(part.transpose(0, 1, 3, 2)).reshape(len(part), count, -1)
                y[first : first + rows, :, place * group : (place + 1) * group] = product(flat)
        lengths = value.lengths
        if lengths is not None and layer.padding == "valid":
            if lengths.size and lengths.min() < reach:
                raise ShapeError(f"{context.where}: lengths: got {lengths.min()} steps, wanted at least {reach}")
            lengths = (lengths - reach) // layer.strides + 1
        return [Value(activation(y), lengths)]

    later = layer.padding == "same" and reach > 1 and layer.strides == 1
    return Runner(run, whole="it looks at later steps" if later else "it looks at several steps at once")


def prelu(layer: PReLU, context: Context) -> Runner:
    weight = np.ascontiguousarray(layer.weight, dtype=context.dtype)
    axes = [axis for axis in range(-weight.ndim, 0) if weight.shape[axis] > 1]  # along which places have their own

    def function(x: Array) -> Array:
        if any(x.ndim <= -axis or x.shape[axis] != weight.shape[axis] for axis in axes):
            raise ShapeError(f"{context.where}: got {x.shape[1:]} a row, which does not fit its weight {weight.shape}")
        return np.where(x > 0, x, x * weight)

    if weight.ndim == 1:
        return each_step(function, context)
    return Runner(
        lambda values: [values[0].of(function(values[0].without_lengths(context.where, axes)))],
        whole="its weight has several axes, which may be those of the steps",
    )


def batch_normalization(layer: BatchNormalization, context: Context) -> Runner:
    """(x - mean) scale + beta, where scale = gamma / sqrt(variance + epsilon) is made once, in float64."""
    scale = 1 / np.sqrt(layer.variance.astype(np.float64) + layer.epsilon)
    scale = (scale if layer.gamma is None else scale * layer.gamma).astype(context.dtype)
    mean = layer.mean.astype(context.dtype)
    beta = np.zeros_like(mean) if layer.beta is None else layer.beta.astype(context.dtype)

    def function(x: Array) -> Array:
        shape = [1] * x.ndim
        shape[layer.axis] = -1
        if x.shape[layer.axis] != len(mean):
            raise ShapeError(f"{context.where}: got {x.shape[layer.axis]} features, wanted {len(mean)}")
        return np.asarray((x - mean.reshape(shape)) * scale.reshape(shape) + beta.reshape(shape), context.dtype)

    if layer.axis == -1:
        return each_step(function, context)
    return Runner(
        lambda values: [values[0].of(function(values[0].without_lengths(context.where, (layer.axis,))))],
        whole=OTHER_AXES,
    )


def layer_normalization(layer: LayerNormalization, context: Context) -> Runner:
    """(x - mean) / sqrt(variance + epsilon) gamma + beta, with mean and variance in float64."""

    def function(x: Array) -> Array:
        axes = tuple(axis % x.ndim for axis in layer.axes)
        wide = x.astype(np.float64)
        if not layer.rms:
            wide = wide - wide.mean(axis=axes, keepdims=True)
        wide = wide / np.sqrt(np.mean(wide * wide, axis=axes, keepdims=True) + layer.epsilon)
        shape = tuple(size if axis in axes else 1 for axis, size in enumerate(x.shape))
        for weight, join in ((layer.gamma, np.multiply), (layer.beta, np.add)):
            if weight is not None:
                if weight.shape != tuple(x.shape[axis] for axis in axes):
                    raise ShapeError(f"{context.where}: got {x.shape[1:]} a row, wanted weights of {weight.shape}")
                wide = join(wide, weight.reshape(shape))
        return np.asarray(wide, context.dtype)

    def run(values: list[Value]) -> list[Value]:
        made = values[0].of(function(values[0].without_lengths(context.where, layer.axes)))
        if layer.rms:
            made.mask = None  # Keras's RMSNormalization does not hand it on
        return [made]

    stepwise = (lambda inputs: function(inputs[0])) if layer.axes == (-1,) else None
    return Runner(run, stepwise, whole=OTHER_AXES)


def group_normalization(layer: GroupNormalization, context: Context) -> Runner:
    """(x - mean) / sqrt(variance + epsilon) gamma + beta, with mean and variance in float64 over a row's group.

    A group's numbers lie in one piece when they are summed, so that a row's bits do not depend on the batch it is in.
    """
    gamma, beta = layer.gamma.astype(np.float64), layer.beta.astype(np.float64)

    def function(x: Array) -> Array:
        if x.shape[-1] != len(gamma):
            raise ShapeError(f"{context.where}: got {x.shape[-1]} features, wanted {len(gamma)}")
        batch, steps, size = len(x), x.shape[1] if x.ndim > 2 else 1, len(gamma) // layer.groups
        grouped = x.astype(np.float64).reshape(batch, steps, layer.groups, size).transpose(0, 2, 1, 3)
        wide = np.ascontiguousarray(grouped).reshape(batch, layer.groups, steps * size)
        wide = wide - wide.mean(axis=-1, keepdims=True)
        wide = wide / np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True) + layer.epsilon)
        back = wide.reshape(batch, layer.groups, steps, size).transpose(0, 2, 1, 3).reshape(x.shape)
        return np.asarray(back * gamma + beta, context.dtype)

    def run(values: list[Value]) -> list[Value]:
        value = values[0]
        if value.array.ndim > 2 and value.mask is not None:
            raise UnsupportedModelError(f"{context.where}: it normalises over all steps, and some of them are masked")
        return [value.of(function(value.without_lengths(context.where, range(1, value.array.ndim))))]

    return Runner(run, whole="it normalises over all steps")
