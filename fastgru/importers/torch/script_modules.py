"""The modules of a TorchScript file as a tree of classes and options, for who takes its weights and not its code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...checkpoint.contents import Checkpoint

__all__ = ["as_weights"]

MAX_DEPTH = 60  # of the tree of modules that is handed on


def as_weights(checkpoint: Checkpoint) -> Checkpoint:
    """The same tensors, with the modules' classes and options as a tree, as of a pickled module, and without code."""
    return checkpoint.replace(config=_tree((checkpoint.config or {})["modules"]))


def _tree(modules: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The modules as a tree of classes and options; one that is shared stands where it is first met."""
    made: dict[str, dict[str, Any]] = {}
    depth = {"": 0}
    for path, module in modules.items():
        made[path] = {"class_name": module["class"], "options": module["options"], "hooks": [], "children": {}}
        for name, child in module["children"].items():
            own = f"{path}.{name}" if path else name
            depth.setdefault(child, depth[path] + 1 if own == child else MAX_DEPTH + 1)
    for path, module in modules.items():
        for name, child in module["children"].items():
            own = f"{path}.{name}" if path else name
            if own == child and depth[child] <= MAX_DEPTH:
                made[path]["children"][name] = made[child]
    return made[""]
