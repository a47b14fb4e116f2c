"""fastgru runs trained GRU networks on a CPU: ``fastgru.load(path)`` gives a ``GRU`` or a ``Model`` to call.

These are the public names. Importing the package imports NumPy and nothing else that is heavy: readers, SciPy and
optional libraries are loaded when they are first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from .checkpoint import Checkpoint, read

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

if not TYPE_CHECKING:  # where types are checked, a name that is not above is an error

    def __getattr__(name: str) -> object:
        """``Checkpoint`` and ``read``, when they are first asked for: the readers of files take 8 ms to import."""
        if name not in ("Checkpoint", "read"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import checkpoint

        globals()[name] = getattr(checkpoint, name)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
