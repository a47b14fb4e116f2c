"""Names that a package has but imports only when they are first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

__all__ = ["attach"]


def attach(package: str, places: dict[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for a package, from each name to the module below it that has it."""

    def getattribute(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(places[name], package), name)
        setattr(sys.modules[package], name, found)
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return getattribute, names
