"""``part=``: one of the state dicts or modules that a file holds, by its dotted name.

Owns what such a name means. A key may hold dots itself, and a name may be what the names of several tensors begin with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import CheckpointError, DTypeError, UnsupportedModelError
from .contents import Checkpoint
from .text import shown

__all__ = ["check_part", "listed_parts", "part_of", "selected"]

MAX_LISTED = 8
_CHOSEN_BY_THE_READER = ("pytorch-zip", "pytorch-legacy")  # in the pickle, whose containers are no part of the names
_WEIGHTS = ("safetensors", "npz")


def check_part(part: object, where: str) -> None:
    """Raise unless it is the name of something."""
    if not isinstance(part, str) or not part:
        raise DTypeError(f"{where}: part= is {part!r}, wanted the name of a state dict, such as 'ema_state_dict'")


def part_of(value: Any, name: str, entries: Callable[[Any], Mapping[Any, Any] | None]) -> Any | None:
    """What a dotted name leads to, or None; ``entries`` gives what is within a value by name.

    Keys go before names that begin alike: of those a dictionary is made, without what they begin with.
    """
    within = entries(value)
    if not within:
        return None
    if name in within:
        return within[name]
    for key, each in within.items():
        if isinstance(key, str) and key and name.startswith(f"{key}."):
            found = part_of(each, name[len(key) + 1 :], entries)
            if found is not None:
                return found
    start = f"{name}."
    below = {key[len(start) :]: each for key, each in within.items() if isinstance(key, str) and key.startswith(start)}
    return below or None


def selected(checkpoint: Checkpoint, part: str) -> Checkpoint:
    """The part of a checkpoint whose reader has read all of it.

    Raises
    ------
    CheckpointError
        No name of a tensor begins with that of the part.
    UnsupportedModelError
        The file describes one model, which has no parts.
    """
    where = checkpoint.path
    if checkpoint.format in _CHOSEN_BY_THE_READER:
        return checkpoint
    if checkpoint.format not in _WEIGHTS:
        raise UnsupportedModelError(
            f"{where}: part= chooses one of several state dicts, and this file ({checkpoint.format}) holds one model; "
            "leave part= out"
        )
    tensors = part_of(checkpoint.tensors, part, lambda value: value if isinstance(value, dict) else None)
    if isinstance(tensors, np.ndarray):
        raise CheckpointError(f"{where}: part={part!r} is one tensor, wanted what the names of several begin with")
    if tensors is None:
        raise CheckpointError(f"{where}: holds no part {shown(part)}; it holds {listed_parts(checkpoint)}")
    stored = {name: checkpoint.stored[f"{part}.{name}"] for name in tensors if f"{part}.{name}" in checkpoint.stored}
    return checkpoint.replace(tensors=tensors, stored=stored, metadata={**checkpoint.metadata, "container": part})


def listed_parts(names: Iterable[Any]) -> str:
    """What the names begin with, for a message."""
    parts = list(dict.fromkeys(shown(name.partition(".")[0], 80) for name in names if isinstance(name, str)))
    more = f" and {len(parts) - MAX_LISTED} more" if len(parts) > MAX_LISTED else ""
    return (", ".join(parts[:MAX_LISTED]) or "nothing that has a name") + more
