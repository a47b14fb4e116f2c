"""What the values of a pickle become: names, stubs and two kinds of dictionary. All of it is data, and none of it acts.

Owns the classes that ``unpickle`` fills in and the readers walk. Every one compares and hashes by identity.
"""

from __future__ import annotations

from typing import Any

from ...records.fields import Fields
from ..text import shown

__all__ = ["Built", "Global", "Key", "Ordered", "Stub", "entries_of"]


class Global(Fields):
    """The name of a class or a function, not the thing."""

    module: str
    name: str


class Stub:
    """An object of a class that is not built: everything the file says of it, inert."""

    def __init__(self, module: str, name: str, args: Any = ()) -> None:
        self.module = module
        self.name = name
        self.args = args  # of the call that would have made it
        self.state: Any = None  # what its __setstate__ would have got: usually a dict of attributes
        self.items: list[Any] | None = None  # what was appended or added
        self.entries: dict[Any, Any] | None = None  # what was set by key

    def __repr__(self) -> str:
        return f"Stub({shown(self.module)}, {shown(self.name)})"


class Ordered(dict[Any, Any]):
    """A collections.OrderedDict of the file; the attributes it carries (``_metadata``) are dropped."""


class Built:
    """The base of what a framework's builders make: a state given to it (Python attributes on a tensor) is dropped."""


class Key(Fields):
    """A dictionary key that is neither text nor a small number, kept but compared by identity only.

    Hashing a tuple of the file's making could take exponential time, overflow the C stack or collide on purpose.
    """

    value: Any


def entries_of(value: Any) -> dict[Any, Any] | None:
    """The items of a dictionary, or of a stub that was filled like one (defaultdict); None of anything else."""
    if isinstance(value, dict):
        return value
    return value.entries if isinstance(value, Stub) else None
