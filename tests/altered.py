"""Nested lists and objects with one value anywhere in them changed: what a file may hold that somebody has edited."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any


def paths(tree: Any, above: tuple = ()) -> Iterator[tuple]:
    """Where every value is; the whole is at ()."""
    yield above
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, each in inner:
        yield from paths(each, (*above, key))


def changed(tree: Any, path: tuple, new: Any) -> Any:
    """A copy with something else at one place."""
    if not path:
        return new
    made = copy.deepcopy(tree)
    _above(made, path)[path[-1]] = new
    return made


def without(tree: Any, path: tuple) -> Any:
    """A copy in which that place is missing."""
    made = copy.deepcopy(tree)
    del _above(made, path)[path[-1]]
    return made


def _above(tree: Any, path: tuple) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree
