"""Options of PyTorch modules, as a file or a person gives them: each is checked before it is used.

Owns what an option may be and what is said where it is not. What an option means is for the layers that ask for it.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import CheckpointError, UnsupportedModelError

__all__ = ["Options", "short"]

_LARGEST = 2**31 - 1

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


class Options:
    """The options of one module by PyTorch's names; one that is missing has PyTorch's default.

    Parameters
    ----------
    values : mapping of str to plain values
        Tuples as lists.
    place : str
        The file and the module, for messages.
    """

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        self.values = values
        self.place = place

    def value(self, name: str, default: Any) -> Any:
        """The option as it is; a list or tuple of one is that one, as ``kernel_size=(3,)``."""
        value = self.values.get(name, default)
        return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value

    def whole(self, name: str, default: int, least: int = 1) -> int:
        """A whole number."""
        value = self.value(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= _LARGEST:
            raise self.wrong(name, f"wanted a whole number from {least} to {_LARGEST}")
        return int(value)

    def number(self, name: str, default: float) -> float:
        """A finite number."""
        value = self.value(name, default)
        is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise self.wrong(name, "wanted a finite number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or False."""
        value = self.value(name, default)
        if not isinstance(value, (bool, np.bool_)):
            raise self.wrong(name, "wanted True or False")
        return bool(value)

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """A tuple of sizes; None where there is no such option."""
        value = self.values.get(name)
        value = [value] if type(value) is int else value
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or not all(type(size) is int and size > 0 for size in value):
            raise self.wrong(name, "wanted a tuple of sizes")
        return tuple(value)

    def agrees(self, name: str, found: object) -> None:
        """Raise unless the option, where it is there, is what the weights say."""
        value = self.value(name, None)
        if value is not None and (type(value) is not type(found) or value != found):
            raise CheckpointError(
                f"{self.place}: its {name} is {short(value)}, but its weights are those of {name} {found}; "
                "the file is damaged"
            )

    def must_be(self, name: str, default: Any) -> None:
        """Raise unless the option is its default, the only value that is supported."""
        value = self.value(name, default)
        if type(value) is not type(default) or value != default:
            raise UnsupportedModelError(f"{self.place}: {name}={short(value)} is not supported, only {default!r}")

    def wrong(self, name: str, wanted: str) -> CheckpointError:
        """The error for an option that cannot be what it is."""
        return CheckpointError(f"{self.place}: {name} is {short(self.values.get(name))}, {wanted}")


def short(value: object) -> str:
    """A value from a file, cut short for a message."""
    return _REPR.repr(value)
