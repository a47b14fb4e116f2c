"""Files: what a checkpoint holds, as plain arrays and plain data, whichever program wrote it.

``read`` sniffs the content and hands the file to one reader per container. Nothing here knows what a GRU is,
nothing in a file is ever imported or called, and every failure is a ``FastGRUError``.
"""

from __future__ import annotations

from .contents import Checkpoint
from .sniff import read

__all__ = ["Checkpoint", "read"]
