"""The words of Keras 1 in those of later versions: classes and options that were renamed.

Only names change here; what a class means is for the table in ``keras_layers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["modern"]

_CONVOLUTION = {
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "subsample_length": "strides",
    "border_mode": "padding",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
}
_POOLING = {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"}
_OPTIONS: dict[str, dict[str, str]] = {
    "AtrousConvolution1D": _CONVOLUTION,
    "AveragePooling1D": _POOLING,
    "Convolution1D": _CONVOLUTION,
    "Dense": {"output_dim": "units", "bias": "use_bias"},
    "GRU": {"output_dim": "units", "inner_activation": "recurrent_activation"},
    "MaxPooling1D": _POOLING,
    "TimeDistributedDense": {"output_dim": "units", "bias": "use_bias"},
    "UpSampling1D": {"length": "size"},
}
_CLASSES = {"AtrousConvolution1D": "Conv1D", "Convolution1D": "Conv1D", "TimeDistributedDense": "Dense"}


def modern(class_name: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class and its options as Keras 2 calls them; the old names stay beside the new ones."""
    renamed = {new: config[old] for old, new in _OPTIONS.get(class_name, {}).items() if old in config}
    return _CLASSES.get(class_name, class_name), {**config, **renamed}
