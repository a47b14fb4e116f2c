"""One layer of a file as far as it is known: for telling a person what is there, whether or not it can be loaded."""

from __future__ import annotations

from dataclasses import dataclass

from ..layers import Layer

__all__ = ["FilePart"]


@dataclass(frozen=True)
class FilePart:
    """A module, or a layer of a configuration; ``tensors`` are names in the file.

    ``is_open`` is said of one that can be loaded once a person has said what it is, which its problem asks for.
    """

    name: str
    kind: str
    layer: Layer | None = None
    tensors: tuple[str, ...] = ()
    parameters: int = 0
    problem: str | None = None
    is_open: bool = False
