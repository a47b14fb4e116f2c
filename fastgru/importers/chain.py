"""``layers=[...]``: a chain named by hand, for files that hold weights and not the order in which they run.

Owns the meaning of such a list, and the making of one to paste. What a module is follows from its tensors, in
``pytorch``; nothing here reads a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Union, get_args

import numpy as np

from ..errors import CheckpointError, DTypeError, FastGRUError, UnsupportedModelError
from ..spec import Dense, Embedding, FinalState, GRULayer, Last, Layer, ModelSpec, sequential, validate
from .pytorch import Module, dense_from_tensors, embedding_from_tensors, gru_from_tensors, modules_of
from .tensors import listed

__all__ = [
    "CHOICE",
    "LayerItem",
    "contents",
    "embeddings",
    "in_the_way",
    "misfit",
    "model_spec",
    "suggest",
    "suggested_modules",
]

LayerItem = Union[str, Layer]

CHOICE = (
    "Last() takes each row's last step, FinalState() the final states of both directions; "
    "leave it out for one output a step"
)

_LOADABLE = ("gru", "linear", "matrix")
_MOST_TRIED = 24  # modules; a longer chain is suggested in the file's order, untried
_WITHOUT_WEIGHTS = {"Last": "", "FinalState": "", "Mean": "", "Max": "", "Dropout": "", "Activation": "'relu'"}


def model_spec(tensors: Mapping[str, np.ndarray], layers: Sequence[LayerItem], where: str) -> ModelSpec:
    """The chain of modules and layer objects as a model.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        With PyTorch's names.
    layers : sequence of str or layer
        A string is the prefix of a module, and may come twice where two layers share weights. Layers without weights
        are objects, such as ``Last()``.
    where : str
        The file, for messages.

    Raises
    ------
    CheckpointError
        No module has that prefix, or a tensor does not fit.
    UnsupportedModelError
        The module is not a GRU, a Linear or an Embedding.
    DTypeError
        ``layers`` is not a list of strings and layers.
    """
    if isinstance(layers, (str, *get_args(Layer))) or not isinstance(layers, Iterable):
        raise DTypeError(f"layers= is {type(layers).__name__}, wanted a list of module names and layers")
    items = list(layers)
    modules = modules_of(tensors)
    for item in items:
        _check_item(item, modules, where)
    taken: set[str] = set()
    chain = []
    for place, item in enumerate(items):
        layer = item if not isinstance(item, str) else _build(items, place, modules, tensors, where)
        chain.append((_free_name(_name_of(item), taken), layer))
    return sequential(chain, _free_name("input", taken))


def suggest(tensors: Mapping[str, np.ndarray]) -> str:
    """The ``layers=[...]`` to start from; empty where a module is ``in_the_way``, or the modules are a ``misfit``.

    Modules come in the file's order. Where that order cannot run and the order embeddings, GRUs, linear layers can
    (safetensors files are sorted by name), they come in the latter. If a linear layer comes after the last GRU,
    ``Last()`` stands between them, or ``FinalState()`` where the GRU has two directions, because that is what most
    classifiers do; the file itself does not say.
    """
    items = _suggestion(tensors)
    if not items or in_the_way(tensors) or misfit(tensors):
        return ""
    written = (
        f"fastgru.{item}" if not isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items
    )
    return f"layers=[{', '.join(written)}]"


def in_the_way(tensors: Mapping[str, np.ndarray]) -> list[Module]:
    """The modules that are not supported, without which no chain uses every tensor of the file."""
    return [module for module in modules_of(tensors).values() if module.kind not in _LOADABLE]


def misfit(tensors: Mapping[str, np.ndarray]) -> str:
    """Why the modules cannot run in the order that would be suggested, or nothing."""
    items = _suggestion(tensors)
    return _failure(items, tensors) if len(items) <= _MOST_TRIED else ""


def embeddings(tensors: Mapping[str, np.ndarray]) -> set[str]:
    """The prefixes of the lone matrices that the suggested chain takes for an Embedding."""
    modules, items = modules_of(tensors), _suggestion(tensors)
    return {
        str(item)
        for place, item in enumerate(items)
        if isinstance(item, str) and modules[item].kind == "matrix" and _is_embedding(items, place, modules, tensors)
    }


def suggested_modules(tensors: Mapping[str, np.ndarray]) -> list[Module]:
    """The modules of ``suggest``, in its order."""
    found = [module for module in modules_of(tensors).values() if module.kind in _LOADABLE]
    if len(found) > _MOST_TRIED:
        return found
    own = {name: tensors[name] for module in found for name in module.names}
    by_kind = sorted(found, key=lambda module: ("matrix", "gru", "linear").index(module.kind))
    orders = [[module.prefix for module in order] for order in (found, by_kind)]
    return by_kind if _failure(orders[0], own) and not _failure(orders[1], own) else found


def contents(tensors: Mapping[str, np.ndarray], most: int = 40) -> str:
    """One line a module: its prefix, what it looks like, and its weights' shapes."""
    modules = list(modules_of(tensors).values())
    lines = []
    for module in modules[:most]:
        shapes = ", ".join(f"{name.rpartition('.')[2]} {tensors[name].shape}" for name in module.names[:4])
        more = ", ..." if len(module.names) > 4 else ""
        lines.append(f"  {json.dumps(module.prefix, ensure_ascii=False)}: {module.looks_like} ({shapes}{more})")
    if len(modules) > most:
        lines.append(f"  and {len(modules) - most} more modules")
    return "\n".join(lines)


def _check_item(item: object, modules: Mapping[str, Module], where: str) -> None:
    """Raise unless an element of ``layers=`` is a layer or names a module that can be loaded."""
    if isinstance(item, get_args(Layer)):
        return
    if not isinstance(item, str):
        hint = f"; write {item.__name__}()" if isinstance(item, type) and issubclass(item, get_args(Layer)) else ""
        raise DTypeError(f"layers= holds {item!r}, wanted module names and layers such as fastgru.Last(){hint}")
    if item not in modules:
        raise CheckpointError(
            f"{where}: layers= names {item!r}, which is not a module of this file; it holds {listed(modules)}"
            + _layer_hint(item)
        )
    module = modules[item]
    if module.kind not in _LOADABLE:
        raise UnsupportedModelError(
            f"{where}: layers= names {item!r}, which looks like {module.looks_like} (tensors {listed(module.names)}); "
            "supported are GRU, GRUCell, Linear and Embedding"
        )


def _layer_hint(name: str) -> str:
    """What to write for a layer that was named like a module, as in ``["gru", "Last()", "fc"]``."""
    bare = name.removeprefix("fastgru.").partition("(")[0].strip()
    if bare not in _WITHOUT_WEIGHTS:
        return ""
    layer = f"{bare}({_WITHOUT_WEIGHTS[bare]})"
    return f"; the layer is written fastgru.{layer} in Python, without quotes round it, and {layer} after --layers"


def _build(
    items: Sequence[LayerItem],
    place: int,
    modules: Mapping[str, Module],
    tensors: Mapping[str, np.ndarray],
    where: str,
) -> Layer:
    """The layer of the module named at ``place``."""
    prefix = str(items[place])
    kind = modules[prefix].kind
    if kind == "gru":
        return GRULayer(gru_from_tensors(tensors, prefix, where))
    if kind == "matrix" and _is_embedding(items, place, modules, tensors):
        return embedding_from_tensors(tensors, prefix, where)
    return dense_from_tensors(tensors, prefix, where)


def _is_embedding(
    items: Sequence[LayerItem], place: int, modules: Mapping[str, Module], tensors: Mapping[str, np.ndarray]
) -> bool:
    """Whether a lone matrix (rows, columns) is an Embedding: only the first layer with weights can be one.

    An Embedding hands on ``columns`` features, a Linear without bias ``rows``. It is a Linear if the next layer wants
    ``rows`` and not ``columns``.
    """
    if any(_features_wanted(item, modules, tensors) is not None for item in items[:place]):
        return False
    rows, columns = tensors[modules[str(items[place])].names[0]].shape
    following = (_features_wanted(item, modules, tensors) for item in items[place + 1 :])
    wanted = next((size for size in following if size is not None), None)
    return not (wanted == rows and wanted != columns)


def _features_wanted(item: LayerItem, modules: Mapping[str, Module], tensors: Mapping[str, np.ndarray]) -> int | None:
    """The features that a layer with weights takes; None for a layer without."""
    if isinstance(item, GRULayer):
        return item.gru.input_size
    if isinstance(item, (Dense, Embedding)):
        return int(item.weight.shape[-1])
    if not isinstance(item, str):
        return None
    leaves = {name.rpartition(".")[2]: tensors[name] for name in modules[item].names}
    weights = (leaves[leaf] for leaf in ("weight_ih_l0", "weight_ih", "weight") if leaf in leaves)
    return next((int(weight.shape[-1]) for weight in weights if weight.ndim == 2), 0)


def _name_of(item: LayerItem) -> str:
    """A module's prefix, or a layer's class in snake case."""
    if isinstance(item, str):
        return item or "gru"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(item).__name__).lower()


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or with the first of _1, _2 ... that no layer has yet; it is taken from then on."""
    free, count = name, 0
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    taken.add(free)
    return free


def _suggestion(tensors: Mapping[str, np.ndarray]) -> list[LayerItem]:
    """The items of ``suggest``, whether or not they run."""
    modules = suggested_modules(tensors)
    items: list[LayerItem] = [module.prefix for module in modules]
    last = max((place for place, module in enumerate(modules) if module.kind == "gru"), default=len(modules))
    if last + 1 < len(modules):
        both = any(name.endswith("_reverse") for name in modules[last].names)
        items.insert(last + 1, FinalState() if both else Last())
    return items


def _failure(items: Sequence[LayerItem], tensors: Mapping[str, np.ndarray]) -> str:
    """Why these items in this order make no model whose sizes fit, or nothing."""
    try:
        validate(model_spec(tensors, items, "the file"))
    except FastGRUError as error:
        return str(error).removeprefix("the file: ")
    return ""
