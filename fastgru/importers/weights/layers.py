"""PyTorch modules around the GRUs as layers: convolutions, normalisations and PReLU, and the table of all kinds.

A layer takes its tensors by PyTorch's names and its options from the file or from a person. Everything works on the
last axis, the features of a step, because in a chain named by hand that is where they are; a whole ``nn.Sequential``
keeps PyTorch's own axes, see ``sequential``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...errors import CheckpointError, UnsupportedModelError
from ...gru_weights import GRUSpec
from ...layers import (
    BatchNormalization,
    Conv1D,
    Dense,
    Embedding,
    GroupNormalization,
    GRULayer,
    Layer,
    LayerNormalization,
    PReLU,
    ZeroPadding1D,
)
from ..tensors import set_aside, take, take_matrix
from .modules import dense_from_tensors, embedding_from_tensors, full_name, gru_from_tensors, refuse_parametrised
from .options import Options

__all__ = ["BUILDERS", "OPTION_NAMES", "batch_norm", "checked_gru", "conv", "layers_of_kind"]

Tensors = Mapping[str, np.ndarray]

# What a person can say of a module that a state dict does not, by kind.
OPTION_NAMES: dict[str, tuple[str, ...]] = {
    "gru": ("bidirectional",),
    "conv": ("stride", "padding", "dilation", "groups", "padding_mode"),
    "layer_norm": ("eps",),
    "rms_norm": ("eps",),
    "batch_norm": ("eps",),
    "group_norm": ("groups", "eps"),
    "instance_norm": ("eps",),
}


def layers_of_kind(kind: str, tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    """The layers of one module, of which there are two where a convolution is padded by a number of steps.

    Raises
    ------
    CheckpointError
        A tensor is missing or has the wrong shape or type, an option cannot be what it is, or both disagree.
    UnsupportedModelError
        The kind or an option is not supported.
    """
    return BUILDERS[kind](tensors, prefix, options, where)


def checked_gru(tensors: Tensors, prefix: str, options: Options, where: str) -> GRUSpec:
    """The GRU called ``prefix``, where the options, if there are any, describe the same."""
    gru = gru_from_tensors(tensors, prefix, where)
    found = {"input_size": gru.input_size, "hidden_size": gru.hidden_size, "num_layers": gru.num_layers}
    for name, size in found.items():
        options.agrees(name, size)
    options.agrees("bidirectional", gru.directions == 2)
    options.agrees("bias", gru.bias)
    return gru


def conv(tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    """``nn.Conv1d``: weight (outputs, inputs / groups, kernel), bias (outputs,) or none."""
    refuse_parametrised(tensors, prefix, where)
    weight = take_matrix(tensors, full_name(prefix, "weight"), (None, None, None), where)
    bias = _optional(tensors, full_name(prefix, "bias"), weight.shape[:1], where)
    stride, dilation = options.whole("stride", 1), options.whole("dilation", 1)
    groups = options.whole("groups", 1)
    options.must_be("padding_mode", "zeros")
    options.must_be("transposed", False)
    options.agrees("in_channels", weight.shape[1] * groups)
    options.agrees("out_channels", weight.shape[0])
    options.agrees("kernel_size", weight.shape[2])
    padding, before = _padding(options, (weight.shape[2] - 1) * dilation, stride)
    layer = Conv1D(weight, bias, strides=stride, padding=padding, dilation=dilation, groups=groups)
    return [ZeroPadding1D(before, before), layer] if before else [layer]


def _padding(options: Options, reach: int, stride: int) -> tuple[str, int]:
    """The padding of a Conv1D, and the steps of zeros to put before it and after it."""
    value = options.value("padding", 0)
    if value == "valid":
        return "valid", 0
    if value == "same":
        if stride != 1:
            raise options.wrong("padding", "which needs a stride of 1")
        return "same", 0
    if isinstance(value, str):
        raise options.wrong("padding", "wanted 'valid', 'same' or a whole number from 0")
    steps = options.whole("padding", 0, least=0)
    return ("same", 0) if 2 * steps == reach > 0 and stride == 1 else ("valid", steps)


def batch_norm(tensors: Tensors, prefix: str, options: Options, where: str, axis: int = -1) -> BatchNormalization:
    """``nn.BatchNorm1d`` with the statistics of the training: running_mean and running_var, weight and bias or none."""
    refuse_parametrised(tensors, prefix, where)
    if full_name(prefix, "running_mean") not in tensors:
        raise UnsupportedModelError(
            f"{options.place}: it has no running_mean (track_running_stats=False), so what it computes for one row "
            "depends on the other rows of the batch; give it statistics (track_running_stats=True, and the training "
            "data once in train mode) and save it again"
        )
    mean = take(tensors, full_name(prefix, "running_mean"), (None,), where)
    variance = take(tensors, full_name(prefix, "running_var"), mean.shape, where)
    options.agrees("num_features", len(mean))
    set_aside(tensors, full_name(prefix, "num_batches_tracked"))
    gamma = _optional(tensors, full_name(prefix, "weight"), mean.shape, where)
    beta = _optional(tensors, full_name(prefix, "bias"), mean.shape, where)
    return BatchNormalization(mean, variance, gamma, beta, options.number("eps", 1e-5), axis)


def _group_norm(tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    """``nn.GroupNorm``: over the steps and the features of a group; into how many groups, the weights do not say."""
    if "groups" not in options.values and "num_groups" not in options.values:
        raise CheckpointError(
            f"{options.place}: the weights do not say into how many groups a GroupNorm cuts its features; say it as in "
            f"fastgru.Named({prefix!r}, kind='GroupNorm', groups=4)"
        )
    groups = options.whole("groups" if "groups" in options.values else "num_groups", 1)
    return [_grouped(tensors, prefix, options, where, groups)]


def _instance_norm(tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    """``nn.InstanceNorm1d``: each feature over the steps, or with the statistics of the training if it has them."""
    if full_name(prefix, "running_mean") in tensors:
        return [batch_norm(tensors, prefix, options, where)]
    return [_grouped(tensors, prefix, options, where, None)]


def _grouped(tensors: Tensors, prefix: str, options: Options, where: str, groups: int | None) -> GroupNormalization:
    """A normalisation of every row by itself, in as many groups as it has features if ``groups`` is None."""
    refuse_parametrised(tensors, prefix, where)
    gamma = take(tensors, full_name(prefix, "weight"), (None,), where)
    beta = take(tensors, full_name(prefix, "bias"), gamma.shape, where)
    options.agrees("num_channels", len(gamma))
    options.agrees("num_features", len(gamma))
    if groups is not None and len(gamma) % groups:
        raise CheckpointError(f"{options.place}: its {len(gamma)} features cannot be cut into {groups} groups")
    return GroupNormalization(gamma, beta, groups or len(gamma), options.number("eps", 1e-5))


def _layer_norm(tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    """``nn.LayerNorm``: weight and bias of the sizes it normalises over, or neither."""
    gamma, sizes = _normalised_over(tensors, prefix, options, where)
    beta = _optional(tensors, full_name(prefix, "bias"), sizes, where)
    return [LayerNormalization(gamma, beta, options.number("eps", 1e-5), tuple(range(-len(sizes), 0)))]


def _rms_norm(tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    """``nn.RMSNorm``: a weight or none; without an eps it is the smallest step of float32 at 1."""
    gamma, sizes = _normalised_over(tensors, prefix, options, where)
    smallest = float(np.finfo(np.float32).eps)
    epsilon = smallest if options.value("eps", None) is None else options.number("eps", smallest)
    return [LayerNormalization(gamma, None, epsilon, tuple(range(-len(sizes), 0)), rms=True)]


def _normalised_over(
    tensors: Tensors, prefix: str, options: Options, where: str
) -> tuple[np.ndarray | None, tuple[int, ...]]:
    """The weight, and the sizes of the last axes that it belongs to."""
    refuse_parametrised(tensors, prefix, where)
    name, sizes = full_name(prefix, "weight"), options.sizes("normalized_shape")
    if name in tensors:
        gamma = take(tensors, name, sizes or (None,) * tensors[name].ndim, where)
        return gamma, gamma.shape
    return None, sizes or (1,)


def _prelu(tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    """``nn.PReLU``: one weight, or one a feature."""
    refuse_parametrised(tensors, prefix, where)
    weight = take(tensors, full_name(prefix, "weight"), (None,), where)
    options.agrees("num_parameters", len(weight))
    return [PReLU(weight)]


def _gru(tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    return [GRULayer(checked_gru(tensors, prefix, options, where))]


def _linear(tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    dense: Dense = dense_from_tensors(tensors, prefix, where)
    options.agrees("in_features", dense.weight_shape[1])
    options.agrees("out_features", dense.weight_shape[0])
    return [dense]


def _embedding(tensors: Tensors, prefix: str, options: Options, where: str) -> list[Layer]:
    """Rows longer than ``max_norm`` are cut to it, as PyTorch does when it looks them up."""
    weight = embedding_from_tensors(tensors, prefix, where).weight
    options.agrees("num_embeddings", weight.shape[0])
    options.agrees("embedding_dim", weight.shape[1])
    if options.value("max_norm", None) is not None:
        most, order = options.number("max_norm", 1.0), options.number("norm_type", 2.0)
        with np.errstate(all="ignore"):
            norms = np.sum(np.abs(weight.astype(np.float64)) ** order, axis=1, keepdims=True) ** (1 / order)
            weight = (weight * np.where(norms > most, most / (norms + 1e-7), 1)).astype(weight.dtype)
    return [Embedding(weight)]


def _optional(tensors: Tensors, name: str, shape: tuple[int, ...], where: str) -> np.ndarray | None:
    return take(tensors, name, shape, where) if name in tensors else None


BUILDERS: dict[str, Callable[[Tensors, str, Options, str], list[Layer]]] = {
    "gru": _gru,
    "linear": _linear,
    "embedding": _embedding,
    "conv": conv,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": lambda *given: [batch_norm(*given)],
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "prelu": _prelu,
    "one_number": _prelu,
}
