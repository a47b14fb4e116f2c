"""What a graph of fastgru's layers means, for one row alone, in slow float64 NumPy.

Written from what the layers say of themselves and not from how they become a graph: there are no batches here and no
lengths (a row is cut to its own), no streams and no kernels. Only the formulas of activations and the recurrence of
one direction of a GRU are the package's own slow reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgru import layers
from fastgru.activations import defaults, resolved
from fastgru.reference import ACTIVATIONS, gru_direction

__all__ = ["Row", "TooShort", "Undefined", "Unfitting", "meaning"]


LARGEST = 1e30


class TooShort(Exception):
    """The row has not the steps or the sizes that a layer needs: fastgru has to refuse it."""


class Unfitting(TooShort):
    """The values of a layer are of different steps. With lengths this says nothing: one of them may have none."""


class Undefined(Exception):
    """Nothing says what this gives."""


@dataclass
class Row:
    """The value of an edge for one row: without the batch axis."""

    array: Any
    mask: Any = None  # (steps,), which steps are real
    final: Any = None  # after a GRU: the final states of its last layer


Noise = Callable[[Any], Any]


def meaning(model: layers.ModelSpec, inputs: dict[str, Any], noise: Noise | None = None) -> list[Any]:
    """The outputs of a model for one row; ``noise`` is added to what every layer gives.

    Raises
    ------
    TooShort, Undefined
    """
    values = {(name, 0): Row(np.asarray(array)) for name, array in inputs.items()}
    wanted = {layers.edge_of(edge)[0] for edge in model.outputs}
    for node in reversed(model.nodes):
        if node.name in wanted:
            wanted |= {layers.edge_of(edge)[0] for edge in (*node.inputs, *([node.mask] if node.mask else []))}
    for node in (each for each in model.nodes if each.name in wanted):
        given = [values[layers.edge_of(edge)] for edge in node.inputs]
        if node.mask is not None:
            mask = values[layers.edge_of(node.mask)].array
            if mask.shape != given[0].array.shape[:1]:
                raise Unfitting("a mask of other steps")
            given[0] = replace(given[0], mask=mask)
        try:
            with np.errstate(all="ignore"):
                if isinstance(node.layer, layers.TimeDistributed):
                    made: Any = _time_distributed(node.layer, given, noise)
                else:
                    made = _LAYERS[type(node.layer).__name__](node.layer, given)
        except (ValueError, IndexError) as error:
            if _only_masks(model, node.name):
                raise Undefined("a value that nobody computes fits nothing") from error
            raise Unfitting(str(error)) from error
        for index, value in enumerate(made if isinstance(made, list) else [made]):
            if noise is not None and value.array.dtype == np.float64:
                value = replace(value, array=noise(value.array))
            if value.array.dtype == np.float64 and (np.abs(value.array) > LARGEST).any():
                raise Undefined("float32 has no such numbers")
            values[node.name, index] = value
    return [values[layers.edge_of(edge)].array for edge in model.outputs]


def _only_masks(model: layers.ModelSpec, name: str) -> bool:
    """Whether of this layer's value only the mask is asked for, of it or of what is made of it."""
    if name in {layers.edge_of(edge)[0] for edge in model.outputs}:
        return False
    users = [node for node in model.nodes if name in {layers.edge_of(edge)[0] for edge in node.inputs}]
    return all(isinstance(node.layer, layers.MaskOf) or _only_masks(model, node.name) for node in users)


def _activated(activation: Any, x: Any) -> Any:
    name, options = resolved(activation)
    options = {**defaults(name), **options}
    if isinstance(options.get("axis"), list):
        options["axis"] = tuple(options["axis"])
    return np.asarray(ACTIVATIONS[name](x[None], **options))[0]


def _each_step(function: Callable[[Any, Any], Any]) -> Callable[[Any, list[Row]], Row]:
    """A layer that keeps the steps, and with them the mask."""
    return lambda layer, given: Row(function(layer, given[0].array), given[0].mask)


def _same_shape(function: Callable[[Any, Any], Any]) -> Callable[[Any, list[Row]], Row]:
    """A layer whose weights may be of so many steps; rows that are cut have others."""

    def run(layer: Any, given: list[Row]) -> Row:
        made = function(layer, given[0].array)
        if made.shape != given[0].array.shape:
            raise Unfitting("it has weights for other steps")
        return Row(made, given[0].mask)

    return run


def _all_steps(function: Callable[[Any, Any], Any]) -> Callable[[Any, list[Row]], Row]:
    """A layer behind which there are other steps or none: no mask."""
    return lambda layer, given: Row(function(layer, given[0].array))


def _dense(layer: Any, x: Any) -> Any:
    y = x @ layer.weight.T.astype(np.float64)
    return _activated(layer.activation, y if layer.bias is None else y + layer.bias)


def _windows(x: Any, size: int, strides: int, padding: str, dilation: int = 1) -> tuple[list[range], int]:
    """The steps of every window, counted from ``before`` steps in front of the first, and ``before``."""
    steps, reach = len(x), (size - 1) * dilation + 1
    count = (steps - reach) // strides + 1 if padding == "valid" else -(-steps // strides)
    if count < 1:
        raise TooShort(f"{steps} steps for windows of {reach}")
    total = max((count - 1) * strides + reach - steps, 0)
    before = {"valid": 0, "causal": reach - 1, "same": total // 2}[padding]
    return [range(first * strides, first * strides + reach, dilation) for first in range(count)], before


def _conv1d(layer: Any, x: Any) -> Any:
    weight = layer.weight.astype(np.float64)
    outputs, inputs, kernel = weight.shape
    windows, before = _windows(x, kernel, layer.strides, layer.padding, layer.dilation)
    group = outputs // layer.groups
    y = np.zeros((len(windows), outputs))
    for place, window in enumerate(windows):
        for k, step in enumerate(window):
            if 0 <= step - before < len(x):
                for o in range(outputs):
                    first = o // group * inputs
                    y[place, o] += weight[o, :, k] @ x[step - before, first : first + inputs]
    return _activated(layer.activation, y if layer.bias is None else y + layer.bias)


def _pooling(reduction: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def function(layer: Any, x: Any) -> Any:
        windows, before = _windows(x, layer.size, layer.strides, layer.padding)
        inside = [[step - before for step in window if 0 <= step - before < len(x)] for window in windows]
        return np.stack([reduction(x[steps], axis=0) for steps in inside])

    return function


def _normalised(layer: Any, x: Any) -> Any:
    axes = tuple(axis % (x.ndim + 1) - 1 for axis in layer.axes)
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    if not layer.rms:
        x = x - x.mean(axis=axes, keepdims=True)
    x = x / np.sqrt((x * x).mean(axis=axes, keepdims=True) + layer.epsilon)
    x = x if layer.gamma is None else x * layer.gamma.reshape(shape)
    return x if layer.beta is None else x + layer.beta.reshape(shape)


def _layer_normalization(layer: Any, given: list[Row]) -> Row:
    made = _same_shape(_normalised)(layer, given)
    return Row(made.array, None if layer.rms else made.mask)


def _batch_normalization(layer: Any, x: Any) -> Any:
    shape = [1] * x.ndim
    shape[layer.axis % (x.ndim + 1) - 1] = -1
    mean, variance = (each.astype(np.float64).reshape(shape) for each in (layer.mean, layer.variance))
    y = (x - mean) / np.sqrt(variance + layer.epsilon)
    y = y if layer.gamma is None else y * layer.gamma.reshape(shape)
    return y if layer.beta is None else y + layer.beta.reshape(shape)


def _embedding(layer: Any, given: list[Row]) -> Row:
    ids = given[0].array
    return Row(layer.weight.astype(np.float64)[ids], ids != 0 if layer.mask_zero else given[0].mask)


def _masking(layer: Any, given: list[Row]) -> Row:
    x = given[0].array
    if x.ndim != 2:
        raise Undefined("a mask of more than steps")
    real = (x != layer.value).any(axis=-1)
    return Row(np.where(real[:, None], x, 0.0), real)


def _mask_of(layer: Any, given: list[Row]) -> Row:
    steps = len(given[0].array)
    if any(len(value.array) != steps for value in given):
        raise Unfitting("other steps")
    masks = [value.mask for value in given if value.mask is not None]
    return Row(np.logical_and.reduce([np.ones(steps, bool), *masks]))


def _mean(layer: Any, given: list[Row]) -> Row:
    x = given[0].array
    x = x if given[0].mask is None else x[given[0].mask]
    total = x.sum(axis=0, keepdims=layer.keepdims)
    return Row(total / len(x) if isinstance(layer, layers.Mean) else total)


def _max(layer: Any, given: list[Row]) -> Row:
    x = given[0].array
    if layer.skip_masked and given[0].mask is not None:
        x = np.where(given[0].mask[:, None], x, -np.inf)
    return Row(x.max(axis=0, keepdims=layer.keepdims))


def _select(layer: Any, given: list[Row]) -> Row:
    x = given[0].array
    axis = layer.axis % (x.ndim + 1) - 1
    return Row(np.take(x, layer.index, axis), None if axis == 0 or x.ndim < 3 else given[0].mask)


def _slice(layer: Any, given: list[Row]) -> Row:
    x = given[0].array
    axis = layer.axis % (x.ndim + 1) - 1
    part = x[(slice(None),) * axis + (slice(layer.start, layer.stop),)]
    if not part.shape[axis]:
        raise TooShort("nothing is left")
    return Row(part, None if axis == 0 else given[0].mask)


def _cropping(layer: Any, x: Any) -> Any:
    if len(x) <= layer.before + layer.after:
        raise TooShort("nothing is left")
    return x[layer.before : len(x) - layer.after]


def _merging(join: Callable[[Any, Any], Any], average: bool = False) -> Callable[[Any, list[Row]], Row]:
    """Element by element. Keras's rules for masks, from 3.4.1 on: a step is real where any input has it."""

    def function(layer: Any, given: list[Row]) -> Row:
        rank = max(value.array.ndim for value in given)
        given = [replace(value, mask=value.mask if value.array.ndim == rank else None) for value in given]
        masks = [value.mask for value in given]
        if isinstance(layer, _PLAIN) or all(mask is None for mask in masks):
            result = given[0].array
            for value in given[1:]:
                result = join(result, value.array)
        else:
            result = _skipping(layer, join, given)
        if any(mask is None for mask in masks):
            return Row(result / len(given) if average else result)
        return Row(result / len(given) if average else result, np.logical_or.reduce(np.broadcast_arrays(*masks)))

    return function


_PLAIN = (layers.Add, layers.Average, layers.Subtract)


def _skipping(layer: Any, join: Callable[[Any, Any], Any], given: list[Row]) -> Any:
    """A product for which what is masked counts as 1; a maximum or minimum of what is not masked."""
    spread = [None if v.mask is None else np.broadcast_to(v.mask[(..., *[None] * (v.array.ndim - 1))], v.array.shape)
              for v in given]  # fmt: skip
    if isinstance(layer, layers.Multiply):
        result = 1.0
        for value, real in zip(given, spread, strict=True):
            result = result * (value.array if real is None else np.where(real, value.array, 1.0))
        if any(real is None for real in spread):
            return result
        return np.where(np.logical_or.reduce(np.broadcast_arrays(*spread)), result, 0.0)
    result, mask = given[0].array, spread[0]
    for value, real in zip(given[1:], spread[1:], strict=True):
        other = value.array if real is None else np.where(real, value.array, result)
        result = join(result if mask is None else np.where(mask, result, other), other)
        mask = None if mask is None or real is None else mask | real
    return result


def _concatenate(layer: Any, given: list[Row]) -> Row:
    rank = given[0].array.ndim + 1
    axis = layer.axis % rank - 1
    joined = np.concatenate([value.array for value in given], axis=axis)
    masks = [value.mask for value in given]
    if all(mask is None for mask in masks):
        return Row(joined)
    if axis == 0:
        full = [np.ones(len(v.array), bool) if v.mask is None else v.mask for v in given]
        return Row(joined, np.concatenate(full))
    return Row(joined, None if any(mask is None for mask in masks) else np.logical_or.reduce(masks))


def _gru(layer: Any, given: list[Row]) -> list[Row]:
    """The real steps alone, one after the other; a masked step shows the output before it, or zeros."""
    x, mask = given[0].array, given[0].mask
    turn = -1 if layer.go_backwards else 1
    real = (np.ones(len(x), bool) if mask is None else mask)[::turn]
    y, directions = x[::turn][real], layer.gru.directions
    states: list[Any] = []
    for stack in (layer.gru, *layer.above):
        for level in stack.layers:
            parts = []
            for direction, weights in enumerate(level):
                h = given[1 + len(states)].array if len(given) > 1 else np.zeros(stack.hidden_size)
                way = -1 if direction else 1
                made = gru_direction(weights, y[::way], h, stack) if len(y) else np.zeros((0, stack.hidden_size))
                parts.append(made[::way])
                states.append(made[-1] if len(made) else h)
            y = np.concatenate(parts, axis=-1)
    final = states[-directions:]
    if layer.return_sequences:
        zero = layer.zero_masked or directions == 2
        parts = np.split(_spread(y, real, zero), directions, axis=-1)
        outputs = [Row(part, mask) for part in _merged(parts, layer.merge)]
        outputs[0].final = np.concatenate(final)
    else:
        unseen = not real.any() or (layer.zero_masked and directions == 1 and not real[-1])
        shown = [np.zeros_like(state) if unseen else state for state in final]
        outputs = [Row(part) for part in _merged(shown, layer.merge)]
    return [*outputs, *(Row(state) for state in states)] if layer.return_state else outputs


def _spread(y: Any, real: Any, zero: bool) -> Any:
    result, place = np.zeros((len(real), y.shape[-1])), -1
    for step, seen in enumerate(real):
        place += bool(seen)
        if seen or (place >= 0 and not zero):
            result[step] = y[place]
    return result


def _merged(parts: list[Any], merge: str) -> list[Any]:
    if len(parts) == 1 or merge == "none":
        return parts
    forward, backward = parts
    joins = {
        "concat": lambda: np.concatenate(parts, axis=-1),
        "sum": lambda: forward + backward,
        "mul": lambda: forward * backward,
        "ave": lambda: (forward + backward) / 2,
    }
    return [joins[merge]()]


def _time_distributed(layer: Any, given: list[Row], noise: Noise | None) -> Row:
    name = layer.model.inputs[0].name
    return Row(np.stack([meaning(layer.model, {name: step}, noise)[0] for step in given[0].array]), given[0].mask)


def _reverse(layer: Any, given: list[Row]) -> Row:
    return Row(given[0].array[::-1], None if given[0].mask is None else given[0].mask[::-1])


def _final_state(layer: Any, given: list[Row]) -> Row:
    if given[0].final is None:
        raise Undefined("a mask came between")
    return Row(given[0].final)


_LAYERS: dict[str, Callable[[Any, list[Row]], Any]] = {
    "Activation": _each_step(_activated),
    "Add": _merging(np.add),
    "Average": _merging(np.add, average=True),
    "AveragePooling1D": _all_steps(_pooling(np.mean)),
    "BatchNormalization": _same_shape(_batch_normalization),
    "Concatenate": _concatenate,
    "Conv1D": _all_steps(_conv1d),
    "Cropping1D": _all_steps(_cropping),
    "Dense": _each_step(_dense),
    "Dropout": lambda layer, given: given[0],
    "Embedding": _embedding,
    "FinalState": _final_state,
    "Flatten": _all_steps(lambda layer, x: x.reshape(-1)),
    "GRULayer": _gru,
    "Last": _all_steps(lambda layer, x: x[-1]),
    "LayerNormalization": _layer_normalization,
    "MaskOf": _mask_of,
    "Masking": _masking,
    "Max": _max,
    "MaxPooling1D": _all_steps(_pooling(np.max)),
    "Maximum": _merging(np.maximum),
    "Mean": _mean,
    "Minimum": _merging(np.minimum),
    "Multiply": _merging(np.multiply),
    "NotEqual": _each_step(lambda layer, x: x != layer.value),
    "PReLU": _same_shape(lambda layer, x: np.where(x > 0, x, x * layer.weight)),
    "Permute": _all_steps(lambda layer, x: x.transpose([place - 1 for place in layer.order])),
    "RepeatVector": _all_steps(lambda layer, x: np.repeat(x[None], layer.n, axis=0)),
    "Reshape": _all_steps(lambda layer, x: x.reshape(layer.shape)),
    "Reverse": _reverse,
    "Select": _select,
    "Slice": _slice,
    "Subtract": _merging(np.subtract),
    "Sum": _mean,
    "Unmasked": lambda layer, given: Row(given[0].array, None, given[0].final),
    "UpSampling1D": _all_steps(lambda layer, x: np.repeat(x, layer.size, axis=0)),
    "ZeroPadding1D": _all_steps(lambda layer, x: np.pad(x, ((layer.before, layer.after), (0, 0)))),
}
