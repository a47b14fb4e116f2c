"""``layers=[...]``: a chain named by hand, for files that hold weights and not the order in which they run.

Owns the meaning of such a list; one to paste is made by ``suggestion``. What a module is follows from its tensors, in
``modules``; nothing here reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import EllipsisType
from typing import Union

import numpy as np

from ...errors import CheckpointError, DTypeError, UnsupportedModelError
from ...layers import ACTIVATIONS, Embedding, Layer, ModelSpec, edge_of, sequential, signals_of
from ..tensors import listed
from .layers import OPTION_NAMES, layers_of_kind
from .modules import OPEN, Known, Module, modules_of
from .named import KINDS, Named
from .options import Options

__all__ = [
    "CHOICE",
    "ORDER",
    "LayerItem",
    "Layers",
    "Modules",
    "Tensors",
    "is_embedding",
    "known_with",
    "model_of",
    "model_spec",
    "open_question",
    "question",
    "refuse_blank",
]

LayerItem = Union[str, Layer, Named, EllipsisType]
Layers = Union[str, Named, Sequence[LayerItem]]  # what load() takes: a GRU by its name, or a chain

CHOICE = (
    "fastgru.Last() takes each row's last step (y[:, -1], or h[-1] of one direction), fastgru.FinalState() the final "
    "states of both directions (h[-2] and h[-1] side by side), fastgru.Activation('relu') is an activation; without "
    "Last() or FinalState() there is one output a step"
)

# Kinds of module in an order in which most chains run.
ORDER = (
    "embedding", "matrix", "conv", "either_conv", "batch_norm", "group_norm", "instance_norm", "layer_norm", "norm",
    "rms_norm", "vector", "one_number", "prelu", "gru", "linear",
)  # fmt: skip
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
        options. Layers without weights are objects, such as ``Last()``. ``...`` is a place of which a suggested line
        knows nothing: an error that asks what belongs there.
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
    return model_of(tensors, list(layers), where, modules_of(tensors, known_with(layers, known)))


def model_of(tensors: Tensors, items: Sequence[LayerItem], where: str, modules: Modules) -> ModelSpec:
    """``model_spec`` of modules that are known."""
    for place, item in enumerate(items):
        if item is ...:
            raise CheckpointError(f"{where}: {question(items, place)}")
        _check_item(item, modules, where)
    taken: set[str] = set()
    chain: list[tuple[str, Layer]] = []
    numbers: dict[str, Module] = {}  # by the layer's name
    for place, item in enumerate(items):
        if isinstance(item, Layer):
            chain.append((_free_name(_name_of(item), taken), item))
            continue
        made = _build(items, place, modules, tensors, where)
        own = _name_of(item)
        for layer in made:
            chain.append((_free_name(own if layer is made[-1] else f"{own}_padding", taken), layer))
        if modules[_prefix_of(item)].kind == "one_number":
            numbers[chain[-1][0]] = modules[_prefix_of(item)]
    spec = sequential(chain, _free_name("input", taken))
    _check_numbers(spec, numbers, where)
    return spec


def _check_numbers(spec: ModelSpec, numbers: Mapping[str, Module], where: str) -> None:
    """Raise where a weight of one number has one feature before it: there it may be a normalisation's."""
    signals = signals_of(spec) if numbers else {}
    for node in spec.nodes:
        if node.name in numbers and signals[edge_of(node.inputs[0])].shape[-1] in (None, 1):
            module = numbers[node.name].replace(kind="vector")
            raise CheckpointError(open_question(module, f"{where}: layers= names {module.prefix!r}, which"))


def known_with(items: object, known: Facts | None = None) -> dict[str, Known]:
    """What is known of the modules, and what the ``Named`` among the items of ``layers=`` say."""
    facts = dict(known or {})
    if isinstance(items, (list, tuple)):
        facts.update({item.prefix: item.known(facts.get(item.prefix)) for item in items if isinstance(item, Named)})
    return facts


def open_question(module: Module, place: str, options: Mapping[str, object] | None = None) -> str:
    """What to say of a module whose tensors leave open what it is, or nothing; ``place`` begins the sentence.

    ``options`` are what is said of it already: the answer that is suggested keeps them.
    """
    classes = OPEN.get(module.kind, ())
    if not classes:
        return ""
    if module.kind == "own":
        found = (
            f"runs code that is not PyTorch's own ({module.looks_like}); if it computes what one of PyTorch's classes "
        )
        found += "does, say which"
    else:
        found = f"may be {' or '.join((', '.join(classes[:-1]), classes[-1]))}, whose tensors look alike; say which"
    recurrent = any("weight_hh" in name for name in module.names)
    example = classes[1] if module.kind == "norm" or (module.kind == "own" and not recurrent) else classes[0]
    said = {**({"groups": 4} if module.kind == "norm" else {}), **(options or {})}
    return f"{place} {found}: fastgru.{Named(module.prefix, kind=example, **said)!r}"


def refuse_blank(item: str | Named, where: str) -> None:
    """Raise for a ``...`` in a ``Named``."""
    options = {"kind": item.kind, **item.options} if isinstance(item, Named) else {}
    blank = next((name for name, value in options.items() if value is ...), "")
    if blank:
        raise CheckpointError(
            f"{where}: layers= holds {item!r}: the file does not say the {blank} of {_prefix_of(item)!r}; put there "
            "what the code of the model has, or leave it out for the framework's default"
        )


def question(items: Sequence[object], place: int) -> str:
    """What a ``...`` in a list asks for."""
    before, behind = (items[at] if 0 <= at < len(items) else None for at in (place - 1, place + 1))
    at = [
        f"{word} {(item.prefix if isinstance(item, Named) else item)!r}"
        for word, item in (("behind", before), ("before", behind))
        if item is not None
    ]
    return (
        f"layers= has ... {' and '.join(at) or 'alone'}, because the file does not say what runs there; put there what "
        f"the code of the model does, or take ... out if that is nothing. {CHOICE}"
    )


def _part_hint(prefix: str, modules: Modules) -> str:
    """The parts of a file of several state dicts that hold a module of that name."""
    parts = [name.removesuffix(f".{prefix}") for name in modules if name.endswith(f".{prefix}")]
    return f"; choose a state dict by part={parts[0]!r}" if len(parts) > 1 else ""


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
            + _part_hint(prefix, modules)
            + _layer_hint(prefix)
        )
    module = modules[prefix]
    if module.kind in OPEN:
        options = item.options if isinstance(item, Named) else {}
        raise CheckpointError(open_question(module, f"{where}: layers= names {prefix!r}, which", options))
    if module.kind not in ORDER:
        raise UnsupportedModelError(
            f"{where}: layers= names {prefix!r}, which looks like {module.looks_like} (tensors "
            f"{listed(module.names)}), which is not supported; supported are "
            + ", ".join(["GRUCell", *(name for name, kind in KINDS.items() if kind in ORDER)])
        )
    refuse_blank(item, where)
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
    if "," in name:
        return "; a chain in one text is for --layers of the command line, and in Python a list of its parts"
    if bare not in _WITHOUT_WEIGHTS:
        return ""
    layer = f"{bare}({_WITHOUT_WEIGHTS[bare]})"
    return f"; the layer is written fastgru.{layer} in Python, without quotes round it, and {layer} after --layers"


def _build(items: Sequence[LayerItem], place: int, modules: Modules, tensors: Tensors, where: str) -> list[Layer]:
    """The layers of the module named at ``place``."""
    module = modules[_prefix_of(items[place])]
    kind = module.kind
    if kind == "matrix":
        kind = "embedding" if is_embedding(items, place, modules, tensors) else "linear"
    options = Options(module.options, f"{where}: {module.prefix!r}")
    return layers_of_kind(kind, tensors, module.prefix, options, where)


def is_embedding(items: Sequence[LayerItem], place: int, modules: Modules, tensors: Tensors) -> bool:
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
