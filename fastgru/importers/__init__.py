"""From a checkpoint to a specification: what the tensors of a file mean, one module per framework.

``spec_of`` is the way in, ``describe`` tells a person what is there. Nothing here opens a file or runs a model, and
everything in a file is taken for data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .description import describe, described
    from .resolve import spec_of

__all__ = ["describe", "described", "spec_of"]

if not TYPE_CHECKING:  # who loads a file does not import what describes every kind of file to a person, which is 25 ms
    __getattr__, __dir__ = attach(
        __name__, {"describe": ".description", "described": ".description", "spec_of": ".resolve"}
    )
