"""Every layer of the neutral description as a function on arrays: one table from the kind of layer to its maker."""

from __future__ import annotations

import numpy as np

from .. import spec
from . import distributed, elementwise, recurrent, steps, weighted
from .value import Context, Maker, Runner, Value

__all__ = ["Context", "Runner", "Value", "runner"]

MAKERS: dict[type[spec.Layer], Maker] = {
    spec.Activation: elementwise.activation,
    spec.Add: steps.merging(np.add),
    spec.Average: steps.merging(np.add, average=True),
    spec.AveragePooling1D: steps.pooling("mean"),
    spec.BatchNormalization: weighted.batch_normalization,
    spec.Concatenate: steps.concatenate,
    spec.Conv1D: weighted.conv1d,
    spec.Cropping1D: steps.cropping,
    spec.Dense: weighted.dense,
    spec.Dropout: elementwise.dropout,
    spec.Embedding: weighted.embedding,
    spec.FinalState: steps.final_state,
    spec.Flatten: steps.flatten,
    spec.GRULayer: recurrent.gru_layer,
    spec.GroupNormalization: weighted.group_normalization,
    spec.Last: steps.last,
    spec.LayerNormalization: weighted.layer_normalization,
    spec.MaskOf: elementwise.mask_of,
    spec.Masking: elementwise.masking,
    spec.Max: steps.maximum,
    spec.MaxPooling1D: steps.pooling("max"),
    spec.Maximum: steps.merging(np.maximum, masked=steps.others),
    spec.Mean: steps.mean,
    spec.Minimum: steps.merging(np.minimum, masked=steps.others),
    spec.Multiply: steps.merging(np.multiply, masked=steps.ones),
    spec.NotEqual: elementwise.not_equal,
    spec.PReLU: weighted.prelu,
    spec.Permute: steps.permute,
    spec.RepeatVector: steps.repeat_vector,
    spec.Reshape: steps.reshape,
    spec.Reverse: recurrent.reverse,
    spec.Select: steps.select,
    spec.Slice: steps.slice_of,
    spec.Subtract: steps.merging(np.subtract),
    spec.Sum: steps.mean,
    spec.TimeDistributed: distributed.time_distributed,
    spec.Unmasked: elementwise.unmasked,
    spec.UpSampling1D: steps.up_sampling,
    spec.ZeroPadding1D: steps.zero_padding,
}


def runner(layer: spec.Layer, context: Context) -> Runner:
    """The layer, ready to run."""
    return MAKERS[type(layer)](layer, context)
