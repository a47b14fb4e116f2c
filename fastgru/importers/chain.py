"""``layers=[...]``: a chain named by hand, for files that hold weights and not the order in which they run.

Owns the meaning of such a list, and the making of one to paste. What a module is follows from its tensors, in
``pytorch``; nothing here reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Union

import numpy as np

from ..checkpoint.text import shown
from ..errors import CheckpointError, DTypeError, FastGRUError, UnsupportedModelError
from ..spec import ACTIVATIONS, Embedding, FinalState, Last, Layer, ModelSpec, sequential, validate
from .named import KINDS, Named
from .options import Options
from .pytorch import Known, Module, modules_of
from .pytorch_layers import OPTION_NAMES, layers_of_kind
from .tensors import listed

__all__ = [
    "CHOICE",
    "LayerItem",
    "Layers",
    "assumptions",
    "contents",
    "embeddings",
    "in_the_way",
    "known_with",
    "misfit",
    "model_spec",
    "suggest",
    "suggested_modules",
]

LayerItem = Union[str, Layer, Named]
Layers = Union[str, Named, Sequence[LayerItem]]  # what load() takes: a GRU by its name, or a chain

CHOICE = (
    "Last() takes each row's last step, FinalState() the final states of both directions; "
    "leave it out for one output a step"
)

# Kinds of module in an order in which most chains run.
_ORDER = (
    "embedding", "matrix", "conv", "batch_norm", "layer_norm", "rms_norm", "prelu", "gru", "linear"
)  # fmt: skip
_MOST_TRIED = 24  # modules; a longer chain is suggested in the file's order, untried
_WITHOUT_WEIGHTS = {"Last": "", "FinalState": "", "Mean": "", "Max": "", "Dropout": "", "Activation": "'relu'"}

Modules = Mapping[str, Module]
Facts = Mapping[str, Known]
Tensors = Mapping[str, np.ndarray]


def model_spec(tensors: Tensors, layers: Sequence[LayerItem], where: str, known: Facts | None = None) -> ModelSpec:
    """The chain of modules and layer objects as a model.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        With PyTorch's names.
    layers : sequence of str, Named or layer
        A string is the prefix of a module, and may come twice where two layers share weights; a ``Named`` is one with
        options. Layers without weights are objects, such as ``Last()``.
    where : str
        The file, for messages.
    known : mapping of str to Known, optional
        What the file says of its modules, by prefix.

    Raises
    ------
    CheckpointError
        No module has that prefix, or a tensor does not fit.
    UnsupportedModelError
        The module is of no kind that is supported.
    DTypeError
        ``layers`` is not a list of strings and layers.
    """
    if isinstance(layers, (str, Layer, Named)) or not isinstance(layers, Iterable):
        raise DTypeError(f"layers= is {type(layers).__name__}, wanted a list of module names and layers")
    return _model_of(tensors, list(layers), where, modules_of(tensors, known_with(layers, known)))


def _model_of(tensors: Tensors, items: Sequence[LayerItem], where: str, modules: Modules) -> ModelSpec:
    """``model_spec`` of modules that are known."""
    for item in items:
        _check_item(item, modules, where)
    taken: set[str] = set()
    chain: list[tuple[str, Layer]] = []
    for place, item in enumerate(items):
        if isinstance(item, Layer):
            chain.append((_free_name(_name_of(item), taken), item))
            continue
        made = _build(items, place, modules, tensors, where)
        own = _name_of(item)
        for layer in made:
            chain.append((_free_name(own if layer is made[-1] else f"{own}_padding", taken), layer))
    return sequential(chain, _free_name("input", taken))


def known_with(items: object, known: Facts | None = None) -> dict[str, Known]:
    """What is known of the modules, and what the ``Named`` among the items of ``layers=`` say."""
    facts = dict(known or {})
    if isinstance(items, (list, tuple)):
        facts.update({item.prefix: item.known(facts.get(item.prefix)) for item in items if isinstance(item, Named)})
    return facts


def suggest(tensors: Tensors, modules: Modules) -> str:
    """The ``layers=[...]`` to start from; empty where a module is ``in_the_way``, or the modules are a ``misfit``.

    Modules come in the file's order. Where that order cannot run and the order embeddings, convolutions, GRUs, linear
    layers can (safetensors files are sorted by name), they come in the latter. If a linear layer comes after the last
    GRU, ``Last()`` stands between them, or ``FinalState()`` where the GRU has two directions, because that is what most
    classifiers do; the file itself does not say.
    """
    items = _suggestion(tensors, modules)
    if not items or in_the_way(modules) or misfit(tensors, modules):
        return ""
    written = (f"fastgru.{item}" if not isinstance(item, str) else _quoted(item) for item in items)
    return f"layers=[{', '.join(written)}]"


def assumptions(modules: Modules) -> str:
    """A line on what the file does not say of its modules and how to say it, or nothing."""
    words = []
    for module in modules.values():
        names = [name for name in OPTION_NAMES.get(module.kind, ()) if name in _DEFAULTS and name not in module.options]
        if names:
            words.append(f"{module.prefix!r} ({', '.join(f'{name} {_DEFAULTS[name]}' for name in names)})")
    if not words:
        return ""
    rest = f" and {len(words) - 4} more" if len(words) > 4 else ""
    return (
        f"PyTorch's defaults are taken for {', '.join(words[:4])}{rest}; say what is different as in "
        "fastgru.Named('conv', padding=1) in place of 'conv'"
    )


_DEFAULTS = {"stride": "1", "padding": "0", "dilation": "1", "eps": "1e-5"}


def in_the_way(modules: Modules) -> list[Module]:
    """The modules that are not supported, without which no chain uses every tensor of the file."""
    return [module for module in modules.values() if module.kind not in _ORDER]


def misfit(tensors: Tensors, modules: Modules) -> str:
    """Why the modules cannot run in the order that would be suggested, or nothing."""
    items = _suggestion(tensors, modules)
    return _failure(items, tensors, modules) if len(items) <= _MOST_TRIED else ""


def embeddings(tensors: Tensors, modules: Modules) -> set[str]:
    """The prefixes of the lone matrices that the suggested chain takes for an Embedding."""
    items = _suggestion(tensors, modules)
    return {
        str(item)
        for place, item in enumerate(items)
        if isinstance(item, str) and modules[item].kind == "matrix" and _is_embedding(items, place, modules, tensors)
    }


def suggested_modules(tensors: Tensors, modules: Modules) -> list[Module]:
    """The modules of ``suggest``, in its order."""
    found = [module for module in modules.values() if module.kind in _ORDER]
    if len(found) > _MOST_TRIED:
        return found
    by_kind = sorted(found, key=lambda module: _ORDER.index(module.kind))
    orders = [[module.prefix for module in order] for order in (found, by_kind)]
    return by_kind if _failure(orders[0], tensors, modules) and not _failure(orders[1], tensors, modules) else found


def contents(tensors: Tensors, modules: Modules, most: int = 40) -> str:
    """One line a module: its prefix, what it looks like, and its weights' shapes."""
    lines = []
    for module in list(modules.values())[:most]:
        shapes = ", ".join(f"{_leaf(name)} {tensors[name].shape}" for name in module.names[:4])
        more = ", ..." if len(module.names) > 4 else ""
        lines.append(f"  {_quoted(module.prefix)}: {module.looks_like} ({shapes}{more})")
    if len(modules) > most:
        lines.append(f"  and {len(modules) - most} more modules")
    return "\n".join(lines)


def _leaf(name: str) -> str:
    leaf = name.rpartition(".")[2]
    return leaf if leaf.isprintable() and len(leaf) <= 80 else shown(leaf)


def _quoted(name: str) -> str:
    """A name of a file as it is pasted: in double quotes, with its own letters."""
    import json  # 1.3 ms, which who loads a file without an error does not have to pay

    return json.dumps(name, ensure_ascii=False)


def _check_item(item: object, modules: Modules, where: str) -> None:
    """Raise unless an element of ``layers=`` is a layer or names a module that can be loaded."""
    if isinstance(item, Layer):
        return
    if not isinstance(item, (str, Named)):
        hint = f"; write {item.__name__}()" if isinstance(item, type) and issubclass(item, Layer) else ""
        raise DTypeError(f"layers= holds {item!r}, wanted module names and layers such as fastgru.Last(){hint}")
    prefix = _prefix_of(item)
    if prefix not in modules:
        raise CheckpointError(
            f"{where}: layers= names {prefix!r}, which is not a module of this file; it holds {listed(modules)}"
            + _layer_hint(prefix)
        )
    module = modules[prefix]
    if module.kind == "vector":
        raise CheckpointError(
            f"{where}: layers= names {prefix!r}, whose one tensor {module.names[0]!r} may be that of a PReLU, an "
            f"RMSNorm or a LayerNorm without bias; say which: fastgru.Named({prefix!r}, kind='LayerNorm')"
        )
    if module.kind not in _ORDER:
        raise UnsupportedModelError(
            f"{where}: layers= names {prefix!r}, which looks like {module.looks_like} (tensors "
            f"{listed(module.names)}); supported are GRU, GRUCell, {', '.join(list(KINDS)[1:])}"
        )
    allowed = OPTION_NAMES.get(module.kind, ())
    wrong = [name for name in item.options if name not in allowed] if isinstance(item, Named) else []
    if wrong:
        raise DTypeError(
            f"layers= holds {item!r}, but {prefix!r} is {module.looks_like}, which has no option "
            f"{wrong[0]!r}{'; it has ' + ', '.join(allowed) if allowed else ''}"
        )


def _layer_hint(name: str) -> str:
    """What to write for a layer that was named like a module, as in ``["gru", "Last()", "fc"]``."""
    bare = name.removeprefix("fastgru.").partition("(")[0].strip()
    if bare.lower() in ACTIVATIONS:
        return f"; an activation is written fastgru.Activation({bare.lower()!r})"
    if bare not in _WITHOUT_WEIGHTS:
        return ""
    layer = f"{bare}({_WITHOUT_WEIGHTS[bare]})"
    return f"; the layer is written fastgru.{layer} in Python, without quotes round it, and {layer} after --layers"


def _build(items: Sequence[LayerItem], place: int, modules: Modules, tensors: Tensors, where: str) -> list[Layer]:
    """The layers of the module named at ``place``."""
    module = modules[_prefix_of(items[place])]
    kind = module.kind
    if kind == "matrix":
        kind = "embedding" if _is_embedding(items, place, modules, tensors) else "linear"
    options = Options(module.options, f"{where}: {module.prefix!r}")
    return layers_of_kind(kind, tensors, module.prefix, options, where)


def _is_embedding(items: Sequence[LayerItem], place: int, modules: Modules, tensors: Tensors) -> bool:
    """Whether a lone matrix (rows, columns) is an Embedding: only the first layer with weights can be one.

    An Embedding hands on ``columns`` features, a Linear without bias ``rows``. It is a Linear if the next layer wants
    ``rows`` and not ``columns``.
    """
    if any(_features_wanted(item, modules, tensors) is not None for item in items[:place]):
        return False
    rows, columns = tensors[modules[_prefix_of(items[place])].names[0]].shape
    following = (_features_wanted(item, modules, tensors) for item in items[place + 1 :])
    wanted = next((size for size in following if size is not None), None)
    return not (wanted == rows and wanted != columns)


def _features_wanted(item: LayerItem, modules: Modules, tensors: Tensors) -> int | None:
    """The features that a layer with weights takes; None for a layer without."""
    if isinstance(item, Layer):
        return int(item.weight.shape[-1]) if isinstance(item, Embedding) else item.input_features
    module = modules[_prefix_of(item)]
    leaves = {name.rpartition(".")[2]: tensors[name] for name in module.names}
    weight = next((leaves[leaf] for leaf in ("weight_ih_l0", "weight_ih", "weight") if leaf in leaves), None)
    if weight is None or not weight.ndim:
        return 0
    return int(weight.shape[1 if weight.ndim == 3 else -1])


def _prefix_of(item: LayerItem) -> str:
    return item.prefix if isinstance(item, Named) else str(item)


def _name_of(item: LayerItem) -> str:
    """A module's prefix, or a layer's class in snake case."""
    if not isinstance(item, Layer):
        return _prefix_of(item) or "gru"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(item).__name__).lower()


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or with the first of _1, _2 ... that no layer has yet; it is taken from then on."""
    free, count = name, 0
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    taken.add(free)
    return free


def _suggestion(tensors: Tensors, modules: Modules) -> list[LayerItem]:
    """The items of ``suggest``, whether or not they run."""
    ordered = suggested_modules(tensors, modules)
    items: list[LayerItem] = [module.prefix for module in ordered]
    last = max((place for place, module in enumerate(ordered) if module.kind == "gru"), default=len(ordered))
    if any(module.kind in ("linear", "matrix") for module in ordered[last + 1 :]):
        both = any(name.endswith("_reverse") for name in ordered[last].names)
        items.insert(last + 1, FinalState() if both else Last())
    return items


def _failure(items: Sequence[LayerItem], tensors: Tensors, modules: Modules) -> str:
    """Why these items in this order make no model whose sizes fit, or nothing."""
    try:
        validate(_model_of(tensors, items, "the file", modules))
    except FastGRUError as error:
        return str(error).removeprefix("the file: ")
    return ""
