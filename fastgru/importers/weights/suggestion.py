"""The ``layers=[...]`` to start from, for a file that holds weights and not the order in which its modules run.

Owns that line, which never computes wrong numbers when it is pasted: ``...`` stands wherever the file does not say what
runs, and loading asks what belongs there. A state dict says nothing of what runs between two modules (an activation,
``y[:, -1]``, nothing) or behind the last, so there ``...`` always stands. What a list means is for ``chain``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...checkpoint.text import shown
from ...errors import FastGRUError
from ...layers import validate
from ..tensors import listed
from .chain import ORDER, Modules, Tensors, is_embedding, model_of
from .layers import OPTION_NAMES
from .modules import OPEN, Module

__all__ = ["assumptions", "contents", "embeddings", "no_line", "suggest", "unsupported"]

_MAX_TRIED = 24  # modules; the order of more is that of the file, untried
_TRIED_AS = {"norm": "layer_norm", "vector": "layer_norm", "either_conv": "conv"}  # what says which sizes fit
_DEFAULTS = {"stride": "1", "padding": "0", "dilation": "1", "eps": "1e-5"}

Classes = Mapping[str, str]  # modules of classes that are not PyTorch's, by their path


def suggest(tensors: Tensors, modules: Modules, classes: Classes | None = None) -> str:
    """The line to paste; empty if there is none, for which ``no_line`` has the reason.

    Modules come in the file's order. If that order cannot run and the order embeddings, convolutions, GRUs, linear
    layers can (safetensors files are sorted by name), they come in the latter.
    """
    if no_line(tensors, modules, classes):
        return ""
    return f"layers=[{''.join(f'{_written(module)}, ..., ' for module in _ordered(tensors, modules))}".strip(", ") + "]"


def no_line(tensors: Tensors, modules: Modules, classes: Classes | None = None) -> str:
    """Why no line is suggested, or nothing: no order of the modules is known that could be the model's."""
    blocking = unsupported(modules)
    if blocking:
        return f"not supported: {', '.join(f'{module.prefix!r} ({module.looks_like})' for module in blocking[:8])}" + (
            ", ..." if blocking[8:] else ""
        )
    own = [path for path in classes or {} if path and any(_is_below(prefix, path) for prefix in modules)]
    if own:
        named = ", ".join(f"{path!r} ({shown((classes or {})[path])})" for path in own[:8])
        return f"what runs within {named}{', ...' if own[8:] else ''} is the code of a class that is not PyTorch's"
    grus = [module.prefix for module in modules.values() if module.kind == "gru"]
    if len({prefix.rpartition(".")[0] for prefix in grus}) > 1:
        return f"the GRUs {listed(grus, 8)} belong to different modules, and may be different networks"
    order = _ordered(tensors, modules)
    problem = _failure(order, tensors) if len(order) <= _MAX_TRIED else ""
    return f"in the file's order they make no chain ({problem})" if problem else ""


def assumptions(modules: Modules) -> str:
    """A line on what the file does not say of its modules and how to say it, or nothing."""
    words = []
    for module in modules.values():
        kind = _TRIED_AS.get(module.kind, module.kind)
        names = [name for name in OPTION_NAMES.get(kind, ()) if name in _DEFAULTS and name not in module.options]
        if names:
            words.append(f"{module.prefix!r} ({', '.join(f'{name} {_DEFAULTS[name]}' for name in names)})")
    if not words:
        return ""
    rest = f" and {len(words) - 4} more" if len(words) > 4 else ""
    return (
        f"PyTorch's defaults are taken for {', '.join(words[:4])}{rest}; say what is different as in "
        "fastgru.Named('conv', kind='Conv1d', padding=1) in place of 'conv'"
    )


def unsupported(modules: Modules) -> list[Module]:
    """The modules without which no chain uses every tensor of the file."""
    return [module for module in modules.values() if module.kind not in ORDER]


def embeddings(tensors: Tensors, modules: Modules) -> set[str]:
    """The prefixes of the lone matrices that the suggested chain takes for an Embedding."""
    order = _ordered(tensors, modules)
    known, items = {module.prefix: module for module in order}, [module.prefix for module in order]
    return {
        prefix
        for place, prefix in enumerate(items)
        if known[prefix].kind == "matrix" and is_embedding(items, place, known, tensors)
    }


def contents(tensors: Tensors, modules: Modules, classes: Classes | None = None, most: int = 40) -> str:
    """One line a module: its prefix, what it looks like, its weights' shapes, and the class that it is in."""
    lines = []
    for module in list(modules.values())[:most]:
        shapes = ", ".join(f"{_leaf(name)} {tensors[name].shape}" for name in module.names[:4])
        more = ", ..." if len(module.names) > 4 else ""
        owner = max((path for path in classes or {} if path and _is_below(module.prefix, path)), default="", key=len)
        within = f", in {owner!r} of class {shown((classes or {})[owner])}" if owner else ""
        lines.append(f"  {quoted(module.prefix)}: {module.looks_like} ({shapes}{more}){within}")
    if len(modules) > most:
        lines.append(f"  and {len(modules) - most} more modules")
    return "\n".join(lines)


def quoted(name: str) -> str:
    """A name of a file as it is pasted: in double quotes, with its own letters."""
    import json  # 1.3 ms, which who loads a file without an error does not have to pay

    return json.dumps(name, ensure_ascii=False)


def _written(module: Module) -> str:
    """The module as an element of the line, with ``...`` for what must be said of it."""
    blanks = ["kind=..."] if module.kind in OPEN else []
    if module.kind in ("conv", "either_conv") and "padding" not in module.options:
        blanks.append("padding=...")
    name = quoted(module.prefix)
    return f"fastgru.Named({', '.join([name, *blanks])})" if blanks else name


def _is_below(prefix: str, path: str) -> bool:
    return f"{prefix}.".startswith(f"{path}.")


def _ordered(tensors: Tensors, modules: Modules) -> list[Module]:
    found = [module for module in modules.values() if module.kind in ORDER]
    if len(found) > _MAX_TRIED:
        return found
    by_kind = sorted(found, key=lambda module: ORDER.index(module.kind))
    return by_kind if _failure(found, tensors) and not _failure(by_kind, tensors) else found


def _failure(order: Sequence[Module], tensors: Mapping[str, np.ndarray]) -> str:
    """Why these modules in this order make no model whose sizes fit, or nothing."""
    tried = {module.prefix: module.replace(kind=_TRIED_AS.get(module.kind, module.kind)) for module in order}
    try:
        validate(model_of(tensors, list(tried), "the file", tried))
    except FastGRUError as error:
        return str(error).removeprefix("the file: ")
    return ""


def _leaf(name: str) -> str:
    leaf = name.rpartition(".")[2]
    return leaf if leaf.isprintable() and len(leaf) <= 80 else shown(leaf)
