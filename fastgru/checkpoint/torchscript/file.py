"""TorchScript files (``torch.jit.save``), scripted, traced or frozen: the modules' tensors, and the code as text.

Owns the tree of modules in ``data.pkl`` and the constants in ``constants.pkl``. The code is cut into functions and
kept; what it computes is for the importer, and nothing runs it.
"""

from __future__ import annotations

import math
import re
from typing import Any

from ...errors import CheckpointError
from ..contents import Checkpoint
from ..opened import OpenedFile
from ..pickle.inert import Stub
from ..text import shown
from ..torch.archive import TorchArchive
from ..torch.tensors import TORCH_BUILDERS, TensorRecord
from .calls import constant_names, gru_options
from .code import Code, read_code

__all__ = ["read_torchscript"]

MAX_TENSORS = 100_000
MAX_MODULES = 5000
MAX_DEPTH = 64
MAX_NAME = 4096
MAX_LIST = 1000
MAX_TEXT = 200
MAX_ITEMS = 16
MAX_SCANNED = 1 << 18  # characters of code that are looked through for options
GRU = "torch.nn.modules.rnn.GRU"

_MANGLED = re.compile(r"___torch_mangle_[0-9]+\.")


def _first(args: tuple[Any, ...]) -> Any:
    """restore_type_tag(value, type) and build_*list(values) are their first argument."""
    return args[0] if args and isinstance(args[0], (list, dict)) else NotImplemented


_PICKLE = "torch.jit._pickle"
BUILDERS = {
    **TORCH_BUILDERS,
    **{(_PICKLE, f"build_{kind}list"): _first for kind in ("int", "double", "bool", "tensor")},
    (_PICKLE, "restore_type_tag"): _first,
}


def read_torchscript(opened: OpenedFile) -> Checkpoint:
    """Tensors by the path of their module; those that a frozen file keeps as constants by the calls they are used in.

    ``config`` has ``modules``, by path and in the file's order: ``class`` (without the marks that keep classes of one
    name apart), ``type`` (with them), ``children`` (paths by attribute), ``tensors`` (names by attribute),
    ``tensor_lists``, and ``options``, every plain value that the module or its class holds. ``functions`` has the text
    of every function by its full name, ``tuples`` the fields of named tuples, and
    ``constants`` what ``CONSTANTS`` holds: plain values, or a tensor's name
    under the key ``tensor``, or under ``unread`` what else it is.
    """
    archive = TorchArchive(opened)
    where = opened.path
    code = read_code(opened.archive, f"{archive.root}code/", where)
    tree = _Tree(where)
    tree.walk(archive.unpickled("data.pkl", "data", BUILDERS))
    _add_options(tree.modules, code)
    constants = _constants(archive, opened, tree, code)
    tensors, stored = archive.tensors(tree.tensors)
    config = {
        "modules": tree.modules,
        "functions": code.functions,
        "constants": constants,
        "tuples": code.tuples,
    }
    metadata: dict[str, Any] = {"skipped": tree.skipped}
    if version := archive.small("version"):
        metadata["torch_format_version"] = version
    return Checkpoint(where, "torchscript", tensors, config, metadata, stored)


def _add_options(modules: dict[str, dict[str, Any]], code: Code) -> None:
    """To the options of every module those that its class has; of a traced GRU, those of its call."""
    found: dict[str, dict[str, Any]] = {}
    left = MAX_SCANNED
    for module in modules.values():
        kind = module["type"]
        known = {**code.constants.get(kind, {}), **module["options"]}
        if module["class"] == GRU and "num_layers" not in known:
            if kind not in found:
                left -= len(code.functions.get(f"{kind}.forward", ""))
                found[kind] = gru_options(code.functions, kind) if left >= 0 else {}
            known.update(found[kind])
        module["options"] = known


def _constants(archive: TorchArchive, opened: OpenedFile, tree: _Tree, code: Code) -> list[Any]:
    """What ``CONSTANTS.c0``, ``.c1`` ... are in the code."""
    if f"{archive.root}constants.pkl" not in opened.archive:
        return []
    values = archive.unpickled("constants.pkl", "constants", BUILDERS)
    if not isinstance(values, tuple):
        raise CheckpointError(f"{archive.where}: its constants are a {type(values).__name__}, wanted a tuple")
    names = constant_names(code.functions, tree.modules[""]["type"])
    return [tree.constant(value, names.get(index, f"CONSTANTS.c{index}")) for index, value in enumerate(values)]


class _Tree:
    """The modules below a root, each once, by the path on which it is first met."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.modules: dict[str, dict[str, Any]] = {}
        self.tensors: dict[str, TensorRecord] = {}
        self.skipped: list[str] = []
        self._paths: dict[int, str] = {}  # of modules
        self._names: dict[int, str] = {}  # of tensors
        self._same: dict[str, str] = {}  # of tensors, by what elements they are
        self._classes: dict[tuple[str, str], tuple[str, str]] = {}

    def walk(self, root: Any) -> None:
        if not _is_module(root):
            raise CheckpointError(f"{self.where}: its data.pkl holds no module; the file is damaged")
        self._paths[id(root)] = ""
        waiting = [("", root, 0)]
        while waiting:
            path, module, depth = waiting.pop()
            if len(self.modules) >= MAX_MODULES or depth > MAX_DEPTH:
                raise CheckpointError(
                    f"{self.where}: its modules are more than {MAX_MODULES}, or nested deeper than {MAX_DEPTH}"
                )
            below = self._module(path, module)
            waiting += [(name, child, depth + 1) for name, child in reversed(below)]

    def constant(self, value: Any, name: str) -> Any:
        if isinstance(value, TensorRecord):
            return {"tensor": self._tensor(value, name)}
        if isinstance(value, str):
            return value
        return value if _is_plain(value) else {"unread": f"a {type(value).__name__}"}

    def _module(self, path: str, module: Stub) -> list[tuple[str, Stub]]:
        """Take in one module; the modules below it that were not met before, by path."""
        name, kind = self._class(module)
        entry: dict[str, Any] = {
            "class": name, "type": kind, "children": {}, "tensors": {}, "tensor_lists": {}, "options": {}
        }  # fmt: skip
        self.modules[path] = entry
        state = module.state if isinstance(module.state, dict) else {}
        if not isinstance(module.state, dict):
            self.skipped.append(path or "the module")
        below = []
        lists = []
        for key, value in state.items():
            if not isinstance(key, str) or not key or "." in key or len(path) + len(key) > MAX_NAME:
                raise CheckpointError(f"{self.where}: {shown(path)} has an attribute {shown(key)}; the file is damaged")
            own = f"{path}.{key}" if path else key
            if isinstance(value, TensorRecord):
                entry["tensors"][key] = self._tensor(value, own)
            elif _is_module(value):
                if id(value) not in self._paths:
                    self._paths[id(value)] = own
                    below.append((own, value))
                entry["children"][key] = self._paths[id(value)]
            elif _is_plain(value):
                entry["options"][key] = value
            elif isinstance(value, list) and len(value) <= MAX_LIST and all(isinstance(v, TensorRecord) for v in value):
                lists.append((key, value))
            elif not key.startswith("_"):
                self.skipped.append(own)
        for key, value in lists:  # of tensors that mostly have names of their own
            start = f"{path}.{key}" if path else key
            entry["tensor_lists"][key] = [self._listed(each, f"{start}.{at}") for at, each in enumerate(value)]
        return below

    def _listed(self, record: TensorRecord, name: str) -> str:
        """The name of a tensor in a list: that of an attribute with the same elements, if there is one."""
        known = self._same.get(_elements(record))
        return self._tensor(record, name) if known is None else known

    def _tensor(self, record: TensorRecord, name: str) -> str:
        """The name of a tensor: the first it was met under."""
        known = self._names.get(id(record))
        if known is not None:
            return known
        if name in self.tensors or len(self.tensors) >= MAX_TENSORS:
            raise CheckpointError(f"{self.where}: tensor {shown(name)} comes twice, or is one of too many")
        self.tensors[name] = record
        self._names[id(record)] = name
        self._same.setdefault(_elements(record), name)
        return name

    def _class(self, module: Stub) -> tuple[str, str]:
        """The name of a class as people know it, and as the code has it; the same texts for all modules of a class."""
        key = (module.module, module.name)
        if key not in self._classes:
            kind = f"{module.module}.{module.name}"
            self._classes[key] = (_MANGLED.sub("", kind).removeprefix("__torch__."), kind)
        return self._classes[key]


def _elements(record: TensorRecord) -> str:
    """What tells the elements of a tensor from others; text, because the file chooses what would be hashed."""
    return repr((record.storage.key, record.element, record.offset, record.shape, record.strides))


def _is_module(value: Any) -> bool:
    return isinstance(value, Stub) and (value.module == "__torch__" or value.module.startswith("__torch__."))


def _is_plain(value: Any) -> bool:
    """A number, a short text, None, or a short list of these."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return len(values) <= MAX_ITEMS and all(
        each is None
        or isinstance(each, (bool, int))
        or (isinstance(each, float) and math.isfinite(each))
        or (isinstance(each, str) and len(each) <= MAX_TEXT)
        for each in values
    )
