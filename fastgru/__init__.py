"""fastgru runs trained GRU networks on a CPU: ``fastgru.load(path)`` gives a ``GRU`` or a ``Model`` to call.

These are the public names. Importing the package imports NumPy and what runs a GRU; everything else, layers and readers
and SciPy and optional libraries, is imported when it is first asked for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .errors import (
    CheckpointError,
    DTypeError,
    FastGRUError,
    MissingDependencyError,
    PackedAgainWarning,
    ShapeError,
    StreamInUseError,
    UnsupportedModelError,
)
from .lazy import attach

_as_module = False
if (getattr(sys, "argv", None) or [""])[0] == "-m":  # Python looks for the module that it will run: perhaps this one
    from fastgru_command import end_at_once_on_interrupts, end_with, is_module_run

    _as_module = is_module_run()
    if _as_module:
        end_at_once_on_interrupts()

try:
    from .gru import GRU
    from .load import from_keras, from_torch, load
except ImportError as error:  # a FASTGRU_ISA that cannot be had, or a library that is missing
    if _as_module:
        end_with(error)
    raise

if TYPE_CHECKING:
    from .acceleration import accelerate, restore
    from .checkpoint import Checkpoint, read
    from .config import show_config
    from .gru_weights import GRUSpec, GRUWeights
    from .importers.weights.named import Named
    from .layers import (
        Activation,
        AveragePooling1D,
        Cropping1D,
        Dropout,
        FinalState,
        Flatten,
        Last,
        LayerNormalization,
        Masking,
        Max,
        MaxPooling1D,
        Mean,
        ModelSpec,
        Permute,
        RepeatVector,
        Reshape,
        Reverse,
        Select,
        Sum,
        UpSampling1D,
        ZeroPadding1D,
    )
    from .model import Model, ModelStream, Pool
    from .streams.gru import Stream

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "Activation",
    "AveragePooling1D",
    "Checkpoint",
    "CheckpointError",
    "Cropping1D",
    "DTypeError",
    "Dropout",
    "FastGRUError",
    "FinalState",
    "Flatten",
    "GRUSpec",
    "GRUWeights",
    "Last",
    "LayerNormalization",
    "Masking",
    "Max",
    "MaxPooling1D",
    "Mean",
    "MissingDependencyError",
    "Model",
    "ModelSpec",
    "ModelStream",
    "Named",
    "PackedAgainWarning",
    "Permute",
    "Pool",
    "RepeatVector",
    "Reshape",
    "Reverse",
    "Select",
    "ShapeError",
    "Stream",
    "StreamInUseError",
    "Sum",
    "UnsupportedModelError",
    "UpSampling1D",
    "ZeroPadding1D",
    "__version__",
    "accelerate",
    "from_keras",
    "from_torch",
    "load",
    "read",
    "restore",
    "show_config",
]

_PLACES = {
    ".checkpoint": "Checkpoint read",
    ".acceleration": "accelerate restore",
    ".config": "show_config",
    ".gru_weights": "GRUSpec GRUWeights",
    ".importers.weights.named": "Named",
    ".model": "Model ModelStream Pool",
    ".layers": "Activation AveragePooling1D Cropping1D Dropout FinalState Flatten Last "
    "LayerNormalization Masking Max MaxPooling1D Mean ModelSpec Permute RepeatVector Reshape Reverse Select "
    "Sum UpSampling1D ZeroPadding1D",
    ".streams.gru": "Stream",
}

if not TYPE_CHECKING:  # where types are checked, a name that is not above is an error
    __getattr__, __dir__ = attach(__name__, {name: place for place, names in _PLACES.items() for name in names.split()})
