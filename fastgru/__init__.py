"""fastgru runs trained GRU networks on a CPU: ``fastgru.load(path)`` gives a ``GRU`` or a ``Model`` to call.

These are the public names. Importing the package imports NumPy and nothing else that is heavy: readers, SciPy and
optional libraries are loaded when they are first needed.
"""

from __future__ import annotations

from .checkpoint import Checkpoint, read
from .config import show_config
from .errors import (
    CheckpointError,
    DTypeError,
    FastGRUError,
    MissingDependencyError,
    ShapeError,
    StreamInUseError,
    UnsupportedModelError,
)
from .gru import GRU
from .load import from_torch, load
from .model import Model, ModelStream
from .spec import Activation, Dropout, FinalState, GRUSpec, GRUWeights, Last, Max, Mean, ModelSpec
from .stream import Stream

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "Activation",
    "Checkpoint",
    "CheckpointError",
    "DTypeError",
    "Dropout",
    "FastGRUError",
    "FinalState",
    "GRUSpec",
    "GRUWeights",
    "Last",
    "Max",
    "Mean",
    "MissingDependencyError",
    "Model",
    "ModelSpec",
    "ModelStream",
    "ShapeError",
    "Stream",
    "StreamInUseError",
    "UnsupportedModelError",
    "__version__",
    "from_torch",
    "load",
    "read",
    "show_config",
]
