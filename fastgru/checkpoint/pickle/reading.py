"""Pickles read as data: an own loop over the opcodes that builds plain values and inert stubs, and never runs anything.

No module is imported, no attribute fetched, no ``__setstate__`` or ``__reduce__`` honoured, and there is no other mode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .machine import Builders, Machine
from .opcodes import HANDLERS
from .window import Window

__all__ = ["unpickle"]


def unpickle(
    data: bytes | Window,
    builders: Builders,
    persistent: Callable[[Any], Any],
    *,
    budget: int,
    where: str,
    start: int = 0,
) -> tuple[Any, int]:
    """Read one pickle.

    Parameters
    ----------
    data : bytes or Window
    builders : mapping of (module, name) to function
        What is built of a call: the function gets the tuple of arguments, and returns NotImplemented for a Stub.
    persistent : function
        What is built of a persistent id.
    budget : int
        How many bytes of memory the values may take, roughly.
    where : str
        What messages begin with.
    start : int
        Where in ``data`` the pickle begins.

    Returns
    -------
    value, end
        The tree, which may share and even contain itself, and the position after the pickle.
    """
    window = data if isinstance(data, Window) else Window.of(data)
    return Machine(window, builders, persistent, budget, where, start).run(HANDLERS)
