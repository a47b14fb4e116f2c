"""Whole PyTorch modules: from the tree of their classes and options, and their tensors, to a specification.

``nn.GRU`` and ``nn.GRUCell`` become a GRU, ``nn.Sequential`` a model, with PyTorch's own axes. What a class is called
in a file is only compared with full names: a class of its own, whatever it is called, has a forward that is code, so
of such a module only the weights and the options can be used; that is for ``chain``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...gru_weights import GRUSpec
from ...layers import ModelSpec
from .layers import checked_gru
from .modules import Known
from .options import Options, short
from .sequential import TorchSequence, handler_of

__all__ = ["Tree", "known_of", "model_of", "own_classes", "owner_of", "without_weights"]

Tree = Mapping[str, Any]  # class_name, options, hooks and children, as checkpoint.torch.modules makes it

SEQUENTIAL = "torch.nn.modules.container.Sequential"
_WITHOUT_FORWARD = ("", "torch.nn.modules.container.ModuleList", "torch.nn.modules.container.ModuleDict")
_CONTAINERS = (SEQUENTIAL, *_WITHOUT_FORWARD)
_DYNAMIC = ("torch.ao.nn.quantized.dynamic.modules.", "torch.nn.quantized.dynamic.modules.")
GRUS = frozenset(f"{package}rnn.{name}" for package in ("torch.nn.modules.", *_DYNAMIC) for name in ("GRU", "GRUCell"))
_CELLS = frozenset(name for name in GRUS if name.endswith("Cell"))
_KINDS = {
    **dict.fromkeys(GRUS, "gru"),
    **{f"{package}linear.Linear": "linear" for package in ("torch.nn.modules.", *_DYNAMIC)},
    "torch.nn.modules.linear.NonDynamicallyQuantizableLinear": "linear",
    "torch.nn.modules.sparse.Embedding": "embedding",
    "torch.nn.modules.conv.Conv1d": "conv",
    "torch.nn.modules.normalization.GroupNorm": "group_norm",
    "torch.nn.modules.normalization.LayerNorm": "layer_norm",
    "torch.nn.modules.normalization.RMSNorm": "rms_norm",
    "torch.nn.modules.batchnorm.BatchNorm1d": "batch_norm",
    "torch.nn.modules.batchnorm.SyncBatchNorm": "batch_norm",
    "torch.nn.modules.instancenorm.InstanceNorm1d": "instance_norm",
    "torch.nn.modules.activation.PReLU": "prelu",
    "torch.nn.modules.rnn.LSTM": "lstm",
    "torch.nn.modules.rnn.LSTMCell": "lstm",
    "torch.nn.modules.rnn.RNN": "rnn",
    "torch.nn.modules.rnn.RNNCell": "rnn",
}
# What PyTorch itself hangs on a module, whose effect is folded into the weights.
_FOLDED_HOOKS = ("torch.nn.utils.weight_norm.", "torch.nn.utils.spectral_norm.", "torch.nn.utils.prune.")


def known_of(tree: Tree, scripted: bool = False) -> dict[str, Known]:
    """What the tree says of each module by its prefix; of one that runs code of its own, only which that is.

    Nothing of the latter where its code is in the file.
    """
    known = {}
    for path, node in _walk(tree, into=None):
        name = node["class_name"]
        if _is_own(name):
            if not scripted:
                known[path] = Known("own", name[:80], {})
        elif hooks := _foreign_hooks(node):
            known[path] = Known("own", f"{_class(name)} with the hook {hooks[0][:80]}", {})
        elif name in _KINDS:
            known[path] = Known(_KINDS[name], _class(name), node["options"])
        elif name not in _CONTAINERS:
            known[path] = Known("other", _class(name), node["options"])
    return known


def own_classes(tree: Tree) -> dict[str, str]:
    """The classes that are not PyTorch's, by the path of the module, in the order of the file."""
    return {path: node["class_name"] for path, node in _walk(tree, into=None) if _is_own(node["class_name"])}


def without_weights(tree: Tree, prefixes: Iterable[str]) -> dict[str, str]:
    """The modules at the ends of the tree that hold none of these, such as activations: path and class."""
    weighted = tuple(f"{prefix}." for prefix in prefixes if prefix)
    ends = [(path, node["class_name"]) for path, node in _walk(tree, into=None) if path and not node["children"]]
    return {
        path: _class(name)
        for path, name in ends
        if name not in _WITHOUT_FORWARD and not f"{path}.".startswith(weighted)
    }


def owner_of(tree: Tree, prefix: str) -> tuple[str, str]:
    """The path and the class of the first module on the way to one that is more than a dictionary or a list."""
    path, node = "", tree
    while node["class_name"] in _WITHOUT_FORWARD:
        within = [
            (f"{path}.{name}" if path else name, child)
            for name, child in node["children"].items()
            if f"{prefix}.".startswith(f"{path}.{name}." if path else f"{name}.")
        ]
        if not within:
            return "", ""
        path, node = within[0]
    return path, node["class_name"]


def _is_own(name: str) -> bool:
    return bool(name) and not name.startswith("torch.")


def model_of(tree: Tree, tensors: Mapping[str, np.ndarray], where: str) -> GRUSpec | ModelSpec | None:
    """The GRU or the model that a tree describes; None where only the code of its class would say what it computes.

    Raises
    ------
    CheckpointError
        A tensor is missing or misshapen, or disagrees with an option.
    UnsupportedModelError
        A module or an option is not supported; the message names it and its path.
    """
    if tree["class_name"] in GRUS:
        _refuse_foreign("", tree, where)
        return checked_gru(tensors, "", Options(tree["options"], where), where)
    if tree["class_name"] != SEQUENTIAL:
        return None
    modules = list(_walk(tree, into=SEQUENTIAL))
    for path, node in modules:
        _refuse_foreign(path, node, where)
    leaves = [(path, node) for path, node in modules if node["class_name"] != SEQUENTIAL]
    if len(leaves) == 1 and leaves[0][1]["class_name"] in GRUS - _CELLS:  # a cell in a Sequential is one step
        path, node = leaves[0]
        return checked_gru(tensors, path, Options(node["options"], f"{where}: {short(path)}"), where)
    return TorchSequence(leaves, tensors, where).spec()


def _walk(tree: Tree, into: str | None) -> Iterator[tuple[str, Tree]]:
    """Every module with its path, each before those within it, in their order; looking ``into`` one class, or all."""
    waiting = [("", tree)]
    while waiting:
        path, node = waiting.pop()
        yield path, node
        if into in (None, node["class_name"]):
            below = [(f"{path}.{name}" if path else name, child) for name, child in node["children"].items()]
            waiting.extend(reversed(below))


def _refuse_foreign(path: str, node: Tree, where: str) -> None:
    """Raise for a module in a Sequential that is not one of PyTorch's own, or runs more than its own code."""
    name = node["class_name"]
    place = f"{where}: module {short(path)} ({short(name)})" if path else f"{where}: the {_class(name)}"
    if name != SEQUENTIAL and handler_of(name) is None:
        own = "" if name.startswith("torch.") else "; it is a class of its own, whose forward is code"
        raise UnsupportedModelError(
            f"{place} is not supported{own}; its weights can be read by fastgru.read(path), and what runs without it "
            "can be named by layers=[...] with strict=False"
        )
    hooks = _foreign_hooks(node)
    if hooks:
        raise UnsupportedModelError(
            f"{place}: {short(hooks[0])} is registered to run with it, which is code; remove the hook and save it again"
        )


def _foreign_hooks(node: Tree) -> list[str]:
    """What is registered to run with a module, but for what is folded into its weights."""
    return [hook for hook in node["hooks"] if not hook.startswith(_FOLDED_HOOKS)]


def _class(name: str) -> str:
    return short(name.rpartition(".")[2])[1:-1]
