"""Each Keras layer as a layer of the neutral description: one function per class, in one table.

The table is the only place where a class name from a file means anything. To read another layer, write its function
and add a line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import UnsupportedModelError
from ...layers import (
    Activation,
    Add,
    Average,
    AveragePooling1D,
    BatchNormalization,
    Concatenate,
    Conv1D,
    Cropping1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNormalization,
    Masking,
    Max,
    Maximum,
    MaxPooling1D,
    Mean,
    Minimum,
    Multiply,
    Permute,
    PReLU,
    RepeatVector,
    Reshape,
    Subtract,
    UpSampling1D,
    ZeroPadding1D,
)
from ..activation_names import keras_activation, keras_activation_layer
from .arrays import rows_of_outputs
from .config import Entry, number_of, short
from .masks import Wire
from .recurrent import bidirectional, recurrent_layer
from .scope import Context, Inputs, LayerCall, Scope
from .tensors import Weights
from .tree import Part

__all__ = ["make"]

_FORMATS = ("channels_last", "channels_first")
_TURNED = Permute((2, 1))  # steps and features change places


def make(part: Part, context: Context) -> LayerCall:
    """The layer of one part, or an error that names it.

    Raises
    ------
    UnsupportedModelError
        The layer or an option of it is not supported.
    CheckpointError
        An option or a tensor is not what it can be.
    """
    entry = part.entry
    if entry.problem:
        raise entry.unsupported(entry.problem)
    maker = _LAYERS.get(entry.class_name)
    if maker is None or entry.operation:
        if entry.operation:
            raise entry.unsupported(f"the function {entry.class_name[:80]} is not supported")
        raise entry.unsupported(f"{entry.class_name[:80]} layers are not supported; the README lists those that are")
    dtype = entry.config.get("dtype")
    if isinstance(dtype, dict) and str(dtype.get("class_name")).startswith("Quantized"):
        raise entry.unsupported("its weights are quantised; save the model before quantize()")
    return maker(part, context)


def _of(function: Callable[[Entry, Weights], Layer | Sequence[Layer]]) -> Callable[[Part, Context], LayerCall]:
    """The maker of a class that is one layer here, or several one after the other."""

    def maker(part: Part, context: Context) -> LayerCall:
        found = function(part.entry, context.weights(part))
        return _in_turn(part.entry, [found] if isinstance(found, Layer) else list(found))

    return maker


def _in_turn(entry: Entry, layers: list[Layer]) -> LayerCall:
    main = next((layer for layer in layers if layer is not _TURNED), layers[0])

    def apply(scope: Scope, given: Inputs) -> list[Wire]:
        if given.states:
            raise entry.unsupported("it is called with an initial state")
        wires = given.inputs
        for place, layer in enumerate(layers):
            wires = scope.add(layer, wires, "" if layer is main else f"{_name_of(layer)}_{place}")
        return wires

    return LayerCall(apply, main)


def _name_of(layer: Layer) -> str:
    return type(layer).__name__.lower()


def _channels_last(entry: Entry, layer: Layer, turned_back: bool = True) -> list[Layer]:
    """The layer, or where features come before steps the layer between two turns."""
    if entry.word("data_format", "channels_last", _FORMATS) == "channels_last":
        return [layer]
    return [_TURNED, layer, _TURNED] if turned_back else [_TURNED, layer]


def _activated(entry: Entry, layer: Callable[[Any], Layer]) -> list[Layer]:
    """A layer with its activation; one that gives fewer features than it takes comes behind."""
    activation = _activation(entry, "linear")
    if activation == "glu":
        return [layer("linear"), Activation("glu")]
    return [layer(activation)]


def _activation(entry: Entry, default: str) -> str | Activation:
    return keras_activation(entry.config.get("activation", default), entry.version, f"{entry.where}: activation")


def _activation_layer(entry: Entry, weights: Weights) -> Layer:
    activation = _activation(entry, "linear")
    return Activation(activation) if isinstance(activation, str) else activation


def _own_activation(entry: Entry, weights: Weights) -> Layer:
    found = keras_activation_layer(entry.class_name, entry.config, entry.where)
    if found is None:
        raise UnsupportedModelError(f"{entry.where}: {entry.class_name} is not supported")
    return found


def _dense(entry: Entry, weights: Weights) -> list[Layer]:
    """kernel (inputs, units) and bias (units,)."""
    units = entry.size("units")
    kernel, bias = weights.matrix("kernel", None, units), weights.optional("bias", units)
    return _activated(entry, lambda activation: Dense(rows_of_outputs(kernel), bias, activation))


def _conv1d(entry: Entry, weights: Weights) -> Sequence[Layer]:
    """kernel (kernel, inputs / groups, filters) and bias (filters,)."""
    filters, size = entry.size("filters"), entry.size("kernel_size")
    if len(weights.shape("kernel")) == 4:  # of Keras 1, with an axis of one for the second dimension of an image
        kernel = weights.take("kernel", size, 1, None, filters)[:, 0]
    else:
        kernel = weights.matrix("kernel", size, None, filters)
    bias = weights.optional("bias", filters)
    options: dict[str, Any] = {
        "strides": entry.size("strides", 1),
        "padding": entry.word("padding", "valid", ("valid", "same", "causal")),
        "dilation": entry.size("dilation_rate", 1),
        "groups": entry.size("groups", 1),
    }
    if entry.word("data_format", "channels_last", _FORMATS) == "channels_last":
        return _activated(entry, lambda activation: Conv1D(rows_of_outputs(kernel), bias, activation, **options))
    # What an activation takes for its axis are the steps here
    conv, activation = Conv1D(rows_of_outputs(kernel), bias, **options), _activation_layer(entry, weights)
    return [_TURNED, conv, _TURNED, activation]


def _embedding(entry: Entry, weights: Weights) -> Layer:
    shape = (entry.size("input_dim"), entry.size("output_dim"))
    return Embedding(weights.matrix("embeddings", *shape), entry.flag("mask_zero", False))


def _batch_normalization(entry: Entry, weights: Weights) -> Layer:
    if entry.era == 1 and entry.get("mode", 0) != 0:
        raise entry.unsupported(f"mode {short(entry.get('mode'))} is not supported, only 0")
    mean = weights.take("moving_mean", None)
    variance = weights.take("moving_variance", *mean.shape)
    weights.set_aside(("moving_stddev", "renorm_mean", "renorm_stddev"))
    gamma, beta = weights.optional("gamma", *mean.shape), weights.optional("beta", *mean.shape)
    return BatchNormalization(mean, variance, gamma, beta, entry.number("epsilon", 1e-3), entry.size("axis", -1, -6))


def _layer_normalization(entry: Entry, weights: Weights) -> Layer:
    if entry.flag("rms_scaling", False):
        raise entry.unsupported("rms_scaling=True is not supported")
    axes = entry.whole_numbers("axis", -1)
    gamma, beta = (weights.optional(slot, *(None,) * len(axes)) for slot in ("gamma", "beta"))
    return LayerNormalization(gamma, beta, entry.number("epsilon", 1e-3), axes)


def _rms_normalization(entry: Entry, weights: Weights) -> Layer:
    axes = entry.whole_numbers("axis", -1)
    scale = weights.take("scale", *(None,) * len(axes))
    return LayerNormalization(scale, None, entry.number("epsilon", 1e-6), axes, rms=True)


def _prelu(entry: Entry, weights: Weights) -> Layer:
    """alpha of the shape of a row, 1 where an axis shares it."""
    return PReLU(weights.take("alpha", *(None,) * max(1, len(weights.shape("alpha")))))


def _pooling(kind: type[MaxPooling1D] | type[AveragePooling1D]) -> Callable[[Entry, Weights], list[Layer]]:
    def layer(entry: Entry, weights: Weights) -> list[Layer]:
        size = entry.size("pool_size", 2)
        strides = size if entry.get("strides") is None else entry.size("strides")
        return _channels_last(entry, kind(size, strides, entry.word("padding", "valid", ("valid", "same"))))

    return layer


def _global_pooling(kind: Callable[[bool], Layer]) -> Callable[[Entry, Weights], list[Layer]]:
    def layer(entry: Entry, weights: Weights) -> list[Layer]:
        keepdims = entry.flag("keepdims", False)
        return _channels_last(entry, kind(keepdims), turned_back=keepdims)

    return layer


def _flatten(entry: Entry, weights: Weights) -> Layer:
    entry.word("data_format", "channels_last", _FORMATS[:1])
    return Flatten()


def _merge_of_keras_1(entry: Entry, weights: Weights) -> Layer:
    """Keras 1 has one class for all ways of joining inputs."""
    kinds: dict[str, type[Layer]] = {"sum": Add, "mul": Multiply, "ave": Average, "max": Maximum}
    mode = entry.word("mode", "sum", ("concat", *kinds))
    if entry.get("layers"):
        raise entry.unsupported("it holds layers of its own, as the first of a Sequential model")
    return Concatenate(entry.size("concat_axis", -1, -6)) if mode == "concat" else kinds[mode]()


def _merging(layer: Callable[[Entry, Weights], Layer]) -> Callable[[Part, Context], LayerCall]:
    """The maker of a class that joins several inputs; one alone is what it is.

    A step is real from Keras 3.4 on where any input has it, and an input without a mask has it; in Keras 1 and 2 where
    all inputs that have a mask have it, and what is masked takes part in the sum or product all the same. Keras 3.0 to
    3.3 do not see the masks of inputs that come in a list: they compute with every step, and hand on no mask.
    """

    def maker(part: Part, context: Context) -> LayerCall:
        made = _of(layer)(part, context)

        def apply(scope: Scope, given: Inputs) -> list[Wire]:
            masks = [wire.mask for wire in given.inputs]
            blind = (3,) <= number_of(part.entry.version) < (3, 4)
            if len(masks) == 1:
                return [scope.masked(given.inputs[0], None)] if blind else _alone(part.entry, given.inputs)
            along_steps = isinstance(made.layer, Concatenate) and made.layer.axis in (1, -2)
            if {*masks} == {None} or (not blind and (part.entry.era >= 3 or along_steps)):
                return made.apply(scope, given)
            unmasked = [scope.masked(wire, None) for wire in given.inputs]
            result = made.apply(scope, Inputs(unmasked, given.states))[0]
            return [result if blind else scope.masked(result, scope.masks.both(masks))]

        return LayerCall(apply, made.layer)

    return maker


def _alone(entry: Entry, inputs: list[Wire]) -> list[Wire]:
    """The only input of a layer that joins; Multiply makes zeros of its masked steps since Keras 3.4."""
    if entry.class_name == "Multiply" and entry.era >= 3 and inputs[0].mask is not None:
        raise entry.unsupported("a Multiply of one input that has a mask is not supported; leave the layer out")
    return inputs


def _plain(layer: Layer) -> Callable[[Part, Context], LayerCall]:
    return _of(lambda entry, weights: layer)


def _identity(part: Part, context: Context) -> LayerCall:
    """Nothing, and in Keras 2 without the mask."""

    def apply(scope: Scope, given: Inputs) -> list[Wire]:
        wires = _dropout(part, context).apply(scope, given)
        return wires if part.entry.era >= 3 else [scope.masked(wire, None) for wire in wires]

    return LayerCall(apply, Dropout())


def _time_distributed(part: Part, context: Context) -> LayerCall:
    made = _in_turn(part.entry, [context.time_distributed(part)])
    return _without_mask(part, made) if any(each.entry.class_name == "Softmax" for each in part.leaves()) else made


def _softmax(part: Part, context: Context) -> LayerCall:
    return _without_mask(part, _of(_own_activation)(part, context))


def _without_mask(part: Part, made: LayerCall) -> LayerCall:
    """A Softmax takes a mask of steps, since Keras 2.4, for one of the numbers it normalises.

    That is an error there, or, where there happen to be as many features as steps, a result that nobody meant.
    """

    def apply(scope: Scope, given: Inputs) -> list[Wire]:
        if number_of(part.entry.version) >= (2, 4) and any(wire.mask is not None for wire in given.inputs):
            raise part.entry.unsupported(
                "a mask of steps reaches a Softmax layer, which Keras would take for a mask of its features; use "
                "Activation('softmax'), which has no use for masks, or Dense(..., activation='softmax')"
            )
        return made.apply(scope, given)

    return LayerCall(apply, made.layer)


_dropout = _plain(Dropout())

_LAYERS: dict[str, Callable[[Part, Any], LayerCall]] = {
    "Activation": _of(_activation_layer),
    "ActivityRegularization": _dropout,
    "Add": _merging(lambda entry, weights: Add()),
    "AlphaDropout": _dropout,
    "Average": _merging(lambda entry, weights: Average()),
    "AveragePooling1D": _of(_pooling(AveragePooling1D)),
    "BatchNormalization": _of(_batch_normalization),
    "Bidirectional": bidirectional,
    "Concatenate": _merging(lambda entry, weights: Concatenate(entry.size("axis", -1, -6))),
    "Conv1D": _of(_conv1d),
    "Cropping1D": _of(lambda entry, weights: Cropping1D(*entry.pair("cropping", 1))),
    "CuDNNGRU": recurrent_layer,
    "Dense": _of(_dense),
    "Dropout": _dropout,
    "ELU": _of(_own_activation),
    "Embedding": _of(_embedding),
    "Flatten": _of(_flatten),
    "GRU": recurrent_layer,
    "GaussianDropout": _dropout,
    "GaussianNoise": _dropout,
    "GlobalAveragePooling1D": _of(_global_pooling(Mean)),
    "GlobalMaxPooling1D": _of(_global_pooling(lambda keepdims: Max(keepdims, skip_masked=False))),
    "Identity": _identity,
    "LayerNormalization": _of(_layer_normalization),
    "LeakyReLU": _of(_own_activation),
    "Masking": _of(lambda entry, weights: Masking(entry.number("mask_value", 0.0))),
    "MaxPooling1D": _of(_pooling(MaxPooling1D)),
    "Maximum": _merging(lambda entry, weights: Maximum()),
    "Merge": _merging(_merge_of_keras_1),
    "Minimum": _merging(lambda entry, weights: Minimum()),
    "Multiply": _merging(lambda entry, weights: Multiply()),
    "PReLU": _of(_prelu),
    "Permute": _of(lambda entry, weights: Permute(entry.whole_numbers("dims"))),
    "RMSNormalization": _of(_rms_normalization),
    "RNN": recurrent_layer,
    "ReLU": _of(_own_activation),
    "RepeatVector": _of(lambda entry, weights: RepeatVector(entry.size("n"))),
    "Reshape": _of(lambda entry, weights: Reshape(entry.whole_numbers("target_shape", missing=-1))),
    "Softmax": _softmax,
    "SpatialDropout1D": _dropout,
    "Subtract": _merging(lambda entry, weights: Subtract()),
    "ThresholdedReLU": _of(_own_activation),
    "TimeDistributed": _time_distributed,
    "UpSampling1D": _of(lambda entry, weights: UpSampling1D(entry.size("size", 2))),
    "ZeroPadding1D": _of(lambda entry, weights: _channels_last(entry, ZeroPadding1D(*entry.pair("padding", 1)))),
}
