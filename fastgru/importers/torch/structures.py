"""What exported programs take and give, as trees of tuples, lists and dicts, and the leaves in their order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ...checkpoint.text import shown
from ...errors import CheckpointError, UnsupportedModelError
from ...graph.graph import Structure

__all__ = ["input_paths", "output_structure", "structure"]

MAX_TEXT = 1 << 18
MAX_DEPTH = 20
MAX_LEAVES = 100_000
_DICTS = ("dict", "OrderedDict", "defaultdict")
Path = tuple[Any, ...]


def structure(kind: str, context: Any, children: list[Any], where: str) -> Structure:
    """One node of a tree, of what is in it; ``context`` are the keys of a dict."""
    if kind in _DICTS:
        keys = context[1] if kind == "defaultdict" else context
        if len(keys) != len(children):
            raise CheckpointError(f"{where}: a dict of the model has {len(keys)} keys for {len(children)} values")
        return dict(zip(keys, children, strict=True))
    if kind == "list":
        return children
    if kind == "tuple":
        return tuple(children)
    raise UnsupportedModelError(f"{where}: the model gives a {kind[:80]}; tuples, lists and dicts are read")


def output_structure(text: Any, leaves: Sequence[int | None], where: str) -> Structure:
    """The leaves as a file says that its model gives them; without a text they are one, or a tuple."""
    if text is None:
        return leaves[0] if len(leaves) == 1 else tuple(leaves)
    left = iter(leaves)

    def made(part: Any, depth: int) -> Structure:
        kind, context, children = _part(part, depth, where)
        if kind is None:
            leaf: int | None = _next(left, where)
            return leaf
        keys = _keys(kind, context, where)
        kind = "dict" if kind in _DICTS else kind
        return structure(kind, keys, [made(each, depth + 1) for each in children], where)

    whole = made(_tree(text, where), 0)
    if next(left, _END) is not _END:
        raise CheckpointError(f"{where}: its outputs are more than it says; the file is damaged")
    return whole


def input_paths(text: Any, names: Any, where: str) -> list[Path]:
    """The way to each leaf of what the model takes, such as ``("x", 0)``; none where the file does not say."""
    if text is None:
        return []
    found: list[Path] = []

    def walk(part: Any, path: Path, depth: int) -> None:
        kind, context, children = _part(part, depth, where)
        if kind is None:
            found.append(path)
            return
        keys = _keys(kind, context, where) if kind in _DICTS else range(len(children))
        for key, child in zip(keys, children, strict=False):
            walk(child, (*path, key), depth + 1)

    walk(_tree(text, where), (), 0)
    known = [each for each in names if isinstance(each, str)] if isinstance(names, list) else []
    return [_named(path, known) for path in found]


_END = object()


def _named(path: Path, names: Sequence[str]) -> Path:
    """``(0, 1, "k")`` of the arguments by place, ``(1, "y")`` of those by name, by the names of the parameters."""
    if len(path) > 1 and path[0] == 0 and type(path[1]) is int and path[1] < len(names):
        return (names[path[1]], *path[2:])
    return path[1:]


def _next(left: Iterator[Any], where: str) -> Any:
    found = next(left, _END)
    if found is _END:
        raise CheckpointError(f"{where}: its outputs are fewer than it says; the file is damaged")
    return found


def _tree(text: Any, where: str) -> Any:
    """The tree in a text such as ``[1, {"type": "builtins.tuple", ...}]``."""
    try:
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise ValueError("it is no text, or too long")
        _, tree = json.loads(text)
        return tree
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{where}: what the model takes or gives cannot be read: {str(error)[:80]}") from None


def _part(part: Any, depth: int, where: str) -> tuple[str | None, Any, list[Any]]:
    """The kind of one node, None for a leaf, with what is in it."""
    kind = part.get("type", 0) if isinstance(part, dict) else 0
    children = part.get("children_spec") if isinstance(part, dict) else None
    if not isinstance(children, list) or not (kind is None or isinstance(kind, str)):
        raise CheckpointError(f"{where}: what the model takes or gives is no tree; the file is damaged")
    if depth > MAX_DEPTH or len(children) > MAX_LEAVES:
        raise UnsupportedModelError(f"{where}: what the model takes or gives is nested too deeply, or too much")
    if kind is None:
        return None, None, []
    name = kind.rpartition(".")[2]
    is_tuple = name == "namedtuple" or kind.startswith("torch.return_types.")
    return "tuple" if is_tuple else name, part.get("context"), children


def _keys(kind: str, context: Any, where: str) -> Any:
    """The keys of a dict, which stand in it as JSON of their own."""
    if kind not in _DICTS:
        return None
    try:
        if kind == "defaultdict":
            names = context.get("dict_context") if isinstance(context, dict) else None
        else:
            names = json.loads(context)
    except (ValueError, TypeError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise UnsupportedModelError(f"{where}: a dict of the model has keys {shown(str(context))}; texts are read")
    return names
