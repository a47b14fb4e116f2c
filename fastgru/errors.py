"""Every exception the package raises on purpose: a small closed set, so that one ``except`` is enough.

A message says what is wrong and where, what was got, what was wanted, and what to do about it.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DTypeError",
    "FastGRUError",
    "MissingDependencyError",
    "PackedAgainWarning",
    "ShapeError",
    "StreamInUseError",
    "UnsupportedModelError",
]


LONGEST = 8000  # characters of a message: a file may have names and values of any length


class FastGRUError(Exception):
    """The base of all errors of the package."""

    def __init__(self, message: str = "", *more: object) -> None:
        cut = message if len(message) <= LONGEST else f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
        super().__init__(cut, *more)


class CheckpointError(FastGRUError):
    """A file is damaged, hostile, not a checkpoint, or does not hold what was asked of it."""


class UnsupportedModelError(FastGRUError):
    """A sound model uses a layer or an option that is not supported; the message names it and where it is."""


class ShapeError(FastGRUError, ValueError):
    """An argument has the wrong shape, size or value; the message says got and wanted."""


class DTypeError(FastGRUError, TypeError):
    """An argument has a type that cannot be computed with, such as object or complex."""


class StreamInUseError(FastGRUError, RuntimeError):
    """Two threads stepped one stream at the same time; give each its own by ``stream.copy()``."""


class MissingDependencyError(FastGRUError, ImportError):
    """An optional library is needed for this and is not installed; the message says what to install."""


class PackedAgainWarning(UserWarning):
    """A packed file is for kernels that read another order: its weights take memory in this process."""
