"""Layers as Keras and PyTorch name them, and models of them: immutable records of NumPy arrays, and one ``validate``.

Importers build these, ``GRU`` and ``Model`` run them. Nothing here knows a file format or a kernel. A program that
only runs a GRU does not import the layers around it: every name is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from ..activations import GATE_ACTIVATIONS
    from ..gru_weights import GRUSpec, GRUWeights
    from ..records.record import Record, owned
    from .elementwise import ACTIVATIONS, Activation, Dropout, PReLU
    from .layer import Layer
    from .masks import Masking, MaskOf, NotEqual, Unmasked
    from .merging import Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract
    from .model import Edge, Input, ModelSpec, Node, edge_of, signals_of, validate
    from .nested import TimeDistributed, stateful_layers
    from .normalization import BatchNormalization, GroupNormalization, LayerNormalization
    from .over_steps import FinalState, Last, Max, Mean, Reverse, Sum
    from .pooling import AveragePooling1D, Cropping1D, MaxPooling1D, UpSampling1D, ZeroPadding1D
    from .recurrent import MERGES, GRULayer
    from .sequential import sequential
    from .shapes import Flatten, Permute, RepeatVector, Reshape, Select, Slice
    from .signal import Signal
    from .weighted import Conv1D, Dense, Embedding

__all__ = [
    "ACTIVATIONS", "GATE_ACTIVATIONS", "MERGES", "Activation", "Add", "Average", "AveragePooling1D",
    "BatchNormalization", "Concatenate", "Conv1D", "Cropping1D", "Dense", "Dropout", "Edge", "Embedding", "FinalState",
    "Flatten", "GRULayer", "GRUSpec", "GRUWeights", "GroupNormalization", "Input", "Last", "Layer",
    "LayerNormalization", "MaskOf", "Masking", "Max", "MaxPooling1D", "Maximum", "Mean", "Minimum",
    "ModelSpec", "Multiply", "Node", "NotEqual", "PReLU", "Permute", "Record", "RepeatVector", "Reshape", "Reverse",
    "Select", "Signal", "Slice", "Subtract", "Sum",
    "TimeDistributed", "Unmasked", "UpSampling1D", "ZeroPadding1D", "edge_of", "owned", "sequential", "signals_of",
    "stateful_layers", "validate",
]  # fmt: skip

_PLACES = {
    "..activations": "GATE_ACTIVATIONS",
    "..gru_weights": "GRUSpec GRUWeights",
    "..records.record": "Record owned",
    ".elementwise": "ACTIVATIONS Activation Dropout PReLU",
    ".layer": "Layer",
    ".masks": "MaskOf Masking NotEqual Unmasked",
    ".merging": "Add Average Concatenate Maximum Minimum Multiply Subtract",
    ".model": "Edge Input ModelSpec Node edge_of signals_of validate",
    ".nested": "TimeDistributed stateful_layers",
    ".normalization": "BatchNormalization GroupNormalization LayerNormalization",
    ".over_steps": "FinalState Last Max Mean Reverse Sum",
    ".pooling": "AveragePooling1D Cropping1D MaxPooling1D UpSampling1D ZeroPadding1D",
    ".recurrent": "MERGES GRULayer",
    ".sequential": "sequential",
    ".shapes": "Flatten Permute RepeatVector Reshape Select Slice",
    ".signal": "Signal",
    ".weighted": "Conv1D Dense Embedding",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(__name__, {name: place for place, names in _PLACES.items() for name in names.split()})
