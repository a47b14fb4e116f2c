"""Whole modules as ``torch.save(model, path)`` pickles them: objects with parameters, buffers, children and options.

Owns what is a module, which tensors it holds under which names, and the tree of classes and options as plain data. The
code of a class is not in the file and is never looked for. Every walk is iterative and bounded, because the modules of
a file may share and contain each other without end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import CheckpointError
from ..pickle.inert import Global, Stub, entries_of
from ..text import shown
from .packed import packed_entries

__all__ = [
    "COMPILED",
    "HOOKS",
    "MAX_DEPTH",
    "MAX_MODULES",
    "WRAPPERS",
    "as_module",
    "class_of",
    "module_entries",
    "module_tree",
    "plain_options",
]

MAX_DEPTH = 64
MAX_MODULES = 20_000
MAX_WRAPPERS = 8
MAX_OPTIONS = 40  # of one module; PyTorch's own have at most 20
MAX_OPTION_TEXT = 200
MAX_OPTION_ITEMS = 16
LARGEST = 1 << 63
NOT_PLAIN = "<not plain>"  # in place of an option of any other kind, so that it is not taken for one that is missing

# These hold the model as a child called module, and compute what it computes.
WRAPPERS = frozenset(
    (
        "torch.nn.parallel.data_parallel.DataParallel",
        "torch.nn.parallel.distributed.DistributedDataParallel",
        "torch.optim.swa_utils.AveragedModel",
    )
)
COMPILED = "torch._dynamo.eval_frame.OptimizedModule"  # a call with the model and how to compile it
HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def as_module(value: Any) -> Stub | None:
    """The pickled module that ``value`` is, or that it wraps as DataParallel and torch.compile do."""
    for _ in range(MAX_WRAPPERS):
        if not isinstance(value, Stub):
            return None
        if class_of(value) == COMPILED and isinstance(value.args, tuple) and value.args:
            value = value.args[0]
        elif not isinstance(value.state, dict) or "_modules" not in value.state:
            return None
        elif class_of(value) in WRAPPERS:
            value = (entries_of(value.state["_modules"]) or {}).get("module")
        else:
            return value
    return None


def class_of(module: Stub) -> str:
    """The full name of an object's class."""
    return f"{module.module}.{module.name}"


def module_entries(module: Stub, where: str) -> dict[str, Any]:
    """What a module holds by name: parameters, buffers that a state dict keeps, packed weights, and its children."""
    left_out = frozenset(_kept_out(module))
    entries = {**_named(module, "_parameters", where), **_named(module, "_buffers", where)}
    entries = {name: value for name, value in entries.items() if value is not None and name not in left_out}
    for name, value in module.state.items():
        if isinstance(name, str) and isinstance(value, Stub) and packed_entries(name, value) is not None:
            entries[name] = value
    for name, child in _children(module, where):
        if name in entries:
            raise CheckpointError(f"{where}: a module of class {shown(class_of(module))} has {shown(name)} twice")
        entries[name] = child
    return entries


def _kept_out(module: Stub) -> list[str]:
    """The names of the buffers that the module does not keep in a state dict (``persistent=False``)."""
    names = module.state.get("_non_persistent_buffers_set")
    if not isinstance(names, Stub) or names.name != "set":
        return []
    listed = names.items  # of protocol 4; of 2, set([...])
    if listed is None and isinstance(names.args, tuple) and names.args:
        listed = names.args[0]
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def module_tree(value: Any, where: str) -> dict[str, Any]:
    """The classes and options of a module and of all below it.

    Returns
    -------
    dict
        ``class_name``, the full name; ``options``, the attributes as ``plain_options`` gives them;
        ``hooks``, the classes of what runs before and after it; ``children``, the same of each by name, in their
        order. A dictionary of modules has the class_name "".
    """
    facts = _Facts(where)
    root: dict[str, Any] = {}
    waiting = [(root, value, 1)]
    count = 1
    while waiting:
        node, each, depth = waiting.pop()
        own, children = facts.of(each)
        count += len(children)
        if count > MAX_MODULES or (children and depth >= MAX_DEPTH):
            raise CheckpointError(
                f"{where}: its modules are more than {MAX_MODULES}, or nested deeper than {MAX_DEPTH}, perhaps within "
                "themselves; the file is damaged"
            )
        below: dict[str, dict[str, Any]] = {name: {} for name, _ in children}
        node.update(own, children=below)
        waiting.extend((below[name], child, depth + 1) for name, child in children)
    return root


class _Facts:
    """What is said of each module, worked out once for each, however often it is shared."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._known: dict[int, tuple[dict[str, Any], list[tuple[str, Any]]]] = {}
        self._names: dict[tuple[str, str], str] = {}

    def of(self, value: Any) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
        """class_name, options and hooks; and the children by name."""
        module = as_module(value)
        found = self._known.get(id(module or value))
        if found is None:
            found = self._known[id(module or value)] = self._made(value, module)
        return found

    def _made(self, value: Any, module: Stub | None) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
        if module is None:
            entries = entries_of(value) or {}
            children = [(name, each) for name, each in entries.items() if isinstance(name, str) and as_module(each)]
            return {"class_name": "", "options": {}, "hooks": []}, children
        facts = {"class_name": self._name(module), "options": plain_options(module.state), "hooks": self._hooks(module)}
        return facts, _children(module, self._where)

    def _hooks(self, module: Stub) -> list[str]:
        """What was registered to run before or after the module, by class: weight_norm and pruning among others."""
        hooks: list[Any] = []
        for attribute in HOOKS:
            hooks += list((entries_of(module.state.get(attribute)) or {}).values())[:MAX_OPTIONS]
        if "forward" in module.state:  # which this one has in place of that of its class
            hooks.append(module.state["forward"])
        return [self._name(hook) if isinstance(hook, (Stub, Global)) else type(hook).__name__ for hook in hooks]

    def _name(self, value: Stub | Global) -> str:
        """The full name of a class, one text for all who have it."""
        return self._names.setdefault((value.module, value.name), f"{value.module}.{value.name}")


def _children(module: Stub, where: str) -> list[tuple[str, Any]]:
    """The modules directly within one, by name; a place that was left empty (None) is none."""
    children = []
    for name, child in _named(module, "_modules", where).items():
        if child is not None:
            if as_module(child) is None:
                raise CheckpointError(
                    f"{where}: in a module of class {shown(class_of(module))}, {shown(name)} is no module; the file "
                    "is damaged"
                )
            children.append((name, child))
    return children


def _named(module: Stub, attribute: str, where: str) -> dict[str, Any]:
    """One of a module's three dictionaries, whose keys are names without dots."""
    entries = entries_of(module.state.get(attribute, {}))
    if entries is None or not all(isinstance(name, str) and name and "." not in name for name in entries):
        raise CheckpointError(
            f"{where}: in a module of class {shown(class_of(module))}, {attribute} is no dictionary of names; the file "
            "is damaged"
        )
    return entries


def plain_options(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """The attributes of a module by name: numbers, texts, None, and short tuples of them as lists.

    Anything else is ``NOT_PLAIN``, which no option can be.
    """
    options: dict[str, Any] = {}
    for name, value in attributes.items():
        if not isinstance(name, str) or name.startswith("_") or name == "training" or len(name) > MAX_OPTION_TEXT:
            continue
        if isinstance(value, (tuple, list)) and len(value) <= MAX_OPTION_ITEMS and all(map(_is_plain, value)):
            options[name] = list(value)
        else:
            options[name] = value if _is_plain(value) else NOT_PLAIN
        if len(options) >= MAX_OPTIONS:
            break
    return options


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_OPTION_TEXT
    if type(value) is int:
        return abs(value) < LARGEST
    return value is None or isinstance(value, (bool, float))
