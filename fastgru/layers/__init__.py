"""Layers as Keras and PyTorch name them, and models of them: immutable records of NumPy arrays, and one ``validate``.

Importers build these, ``GRU`` and ``Model`` run them. Nothing here knows a file format or a kernel. A program that
only runs a GRU does not import the layers around it: every name is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from ..gru_weights import GRUSpec, GRUWeights
    from ..record import Record, owned
    from .layer import ACTIVATIONS, GATE_ACTIVATIONS, Activation, Layer
    from .model import (
        Edge,
        Input,
        ModelSpec,
        Node,
        TimeDistributed,
        edge_of,
        sequential,
        signals_of,
        stateful_layers,
        validate,
    )
    from .plain import (
        Add,
        Average,
        AveragePooling1D,
        Concatenate,
        Cropping1D,
        Dropout,
        FinalState,
        Flatten,
        Last,
        Masking,
        MaskOf,
        Max,
        Maximum,
        MaxPooling1D,
        Mean,
        Minimum,
        Multiply,
        NotEqual,
        Permute,
        RepeatVector,
        Reshape,
        Reverse,
        Select,
        Slice,
        Subtract,
        Sum,
        Unmasked,
        UpSampling1D,
        ZeroPadding1D,
    )
    from .recurrent import MERGES, GRULayer
    from .signal import Signal
    from .weighted import (
        BatchNormalization,
        Conv1D,
        Dense,
        Embedding,
        GroupNormalization,
        LayerNormalization,
        PReLU,
    )

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
    ".model": "Edge Input ModelSpec Node TimeDistributed edge_of sequential signals_of stateful_layers validate",
    ".recurrent": "MERGES GRULayer",
    "..gru_weights": "GRUSpec GRUWeights",
    ".layer": "ACTIVATIONS GATE_ACTIVATIONS Activation Layer",
    ".plain": "Add Average AveragePooling1D Concatenate Cropping1D Dropout FinalState Flatten Last MaskOf Masking Max "
    "Maximum MaxPooling1D Mean Minimum Multiply NotEqual Permute RepeatVector Reshape Reverse Select Slice Subtract "
    "Sum Unmasked UpSampling1D ZeroPadding1D",
    "..record": "Record owned",
    ".signal": "Signal",
    ".weighted": "BatchNormalization Conv1D Dense Embedding GroupNormalization LayerNormalization PReLU",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(__name__, {name: place for place, names in _PLACES.items() for name in names.split()})
