"""Files: what a checkpoint holds, as plain arrays and plain data, whichever program wrote it.

``read`` tells a file by its content and hands it to one reader per container; one that takes several modules to read is
a package of them. Nothing here knows what a GRU is, nothing in a file is ever imported or called, and every failure is
a ``FastGRUError``.
"""

from __future__ import annotations

from .contents import Checkpoint
from .reading import read

__all__ = ["Checkpoint", "read"]
