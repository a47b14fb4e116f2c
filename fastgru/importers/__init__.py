"""From a checkpoint to a specification: what the tensors of a file mean, one module per framework.

``spec_of`` is the way in, ``describe`` tells a person what is there. Nothing here opens a file or runs a model, and
everything in a file is taken for data.
"""

from __future__ import annotations

from .description import describe
from .resolve import spec_of

__all__ = ["describe", "spec_of"]
