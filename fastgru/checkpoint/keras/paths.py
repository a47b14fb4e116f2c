"""The paths of Keras's groups of variables as they are meant to be.

Keras 2.12 to 2.15 joined names by the separator of the system: on Windows one group is called ``layers\\gru\\cell``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ...errors import CheckpointError
from ..text import shown

__all__ = ["with_slashes"]

_Value = TypeVar("_Value")


def with_slashes(found: Mapping[str, _Value], where: str) -> dict[str, _Value]:
    """The same by paths with slashes."""
    plain = {path.replace("\\", "/"): value for path, value in found.items()}
    if len(plain) < len(found):
        twice = next(path for path in found if "\\" in path and path.replace("\\", "/") in found)
        raise CheckpointError(f"{where}: it has {shown(twice)} with slashes and with backslashes; the file is damaged")
    return plain
