"""What is in a file that describes no model, or none that can be loaded: its parts, each with its tensors and problem.

A part is a module to which tensors belong by their names, or a layer that the file's configuration lists. Each is tried
by itself, so that one which is not supported hides no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...errors import FastGRUError
from ...layers import Layer
from ..torch.script_modules import as_weights
from ..weights import chain, npz, suggestion
from ..weights.folded import fold
from ..weights.layers import BUILDERS, layers_of_kind
from ..weights.modules import OPEN, Known, Module, modules_of, without_counters
from ..weights.options import Options
from ..weights.whole_modules import known_of, own_classes
from . import keras_parts

__all__ = ["FilePart", "classes_of", "outlined"]

_KERAS = ("keras", "keras-h5", "keras-weights")
_PICKLED = ("pytorch-zip", "pytorch-legacy")
_PYTORCH = (*_PICKLED, "torchscript", "torch-export")
_MAX_CLASSES = 100


@dataclass(frozen=True)
class FilePart:
    """A module, or a layer of a configuration; ``tensors`` are names in the file.

    ``is_open`` is said of one that can be loaded once a person has said what it is, which its problem asks for.
    """

    name: str
    kind: str
    layer: Layer | None = None
    tensors: tuple[str, ...] = ()
    parameters: int = 0
    problem: str | None = None
    is_open: bool = False


def outlined(checkpoint: Checkpoint, problem: str | None) -> tuple[list[FilePart], str | None]:
    """The parts in the file's order, and the ``layers=[...]`` to paste for a file of weights, or None.

    ``problem`` is why the whole cannot be loaded.
    """
    if checkpoint.format in _KERAS:
        return _of_keras(checkpoint), keras_parts.suggested(checkpoint)
    if isinstance(checkpoint.config, dict) and isinstance(checkpoint.config.get("layers"), (list, dict)):
        return list(_listed(checkpoint, problem or "")), None
    modules = _Modules(checkpoint)
    weights = checkpoint.config is None or checkpoint.format in _PYTORCH
    one = not checkpoint.metadata.get("several")  # no chain takes the layers of several models
    return modules.parts(), modules.suggested() if weights and one else None


def classes_of(checkpoint: Checkpoint) -> dict[str, str]:
    """The classes that are not PyTorch's, by the path of the module; of a file with its code none."""
    tree = checkpoint.config
    if checkpoint.format not in _PICKLED or not tree:
        return {}
    return {path[:80]: name[:80] for path, name in list(own_classes(tree).items())[:_MAX_CLASSES]}


class _Modules:
    """The modules of a file with PyTorch's names."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.own: dict[str, str] = {}  # what a tensor is called in the file, where that is something else
        if checkpoint.format == "npz":
            checkpoint = self._renamed(checkpoint)
        if checkpoint.format == "torchscript":
            checkpoint = as_weights(checkpoint)
        tree = checkpoint.config
        self.where = checkpoint.path
        whole = tree if tree and "children" in tree else None  # a whole pickled module
        scripted = checkpoint.format == "torchscript"
        self.known: dict[str, Known] = known_of(whole, scripted) if whole else {}
        self.classes = own_classes(whole) if whole and not scripted else {}
        options = {prefix: facts.options for prefix, facts in self.known.items()}
        self.tensors, self._sources = fold(without_counters(checkpoint.tensors), options)
        self.modules = modules_of(self.tensors, self.known)

    def _renamed(self, checkpoint: Checkpoint) -> Checkpoint:
        try:
            names = npz.torch_names(checkpoint.tensors, checkpoint.path)
        except FastGRUError:
            return checkpoint
        self.own = {given: name for name, given in names.items()}
        return checkpoint.replace(tensors={names[name]: array for name, array in checkpoint.items()})

    def parts(self) -> list[FilePart]:
        ordered = any(module.kind == "gru" for module in self.modules.values())
        embeddings = suggestion.embeddings(self.tensors, self.modules) if ordered else None
        return [self._part(module, embeddings) for module in self.modules.values()]

    def suggested(self) -> str | None:
        return suggestion.suggest(self.tensors, self.modules, self.classes) or None

    def _part(self, module: Module, embeddings: set[str] | None) -> FilePart:
        """One module; a lone matrix is an Embedding or a Linear where there is a GRU to stand before or behind."""
        kind, looks_like = module.kind, module.looks_like
        if kind == "matrix" and embeddings is not None:
            kind, looks_like = ("embedding", "Embedding") if module.prefix in embeddings else ("linear", "Linear")
        own = {name: self.tensors[name] for name in module.names}
        layer, problem = None, None
        try:
            if kind in BUILDERS:
                options = Options(module.options, f"{self.where}: {module.prefix!r}")
                layer = layers_of_kind(kind, own, module.prefix, options, self.where)[-1]
            elif kind in OPEN:
                problem = chain.open_question(module, "it")
            elif kind != "matrix":
                problem = f"{looks_like} is not supported"
        except FastGRUError as error:
            problem = str(error)
        parts = (part for name in module.names for part in self._sources.get(name, (name,)))
        names = tuple(self.own.get(part, part) for part in parts)
        return FilePart(module.prefix, looks_like, layer, names, _size(own), problem, is_open=kind in OPEN)


def _of_keras(checkpoint: Checkpoint) -> list[FilePart]:
    """The layers of a Keras file; of a damaged configuration the names and classes alone."""
    found = []
    for each in keras_parts.layers_found(checkpoint):
        parameters = _size({name: checkpoint[name] for name in each.tensors})
        found.append(FilePart(each.name, each.kind[:80], each.layer, each.tensors, parameters, each.problem))
    if found or checkpoint.config is None:
        return found
    inner = checkpoint.config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    named = []
    for layer in layers if isinstance(layers, list) else ():
        facts = layer if isinstance(layer, dict) else {}
        own = facts.get("config")
        name = own.get("name") if isinstance(own, dict) else facts.get("name")
        named.append(FilePart(str(name)[:80], str(facts.get("class_name"))[:80]))
    return named


def _size(tensors: Mapping[str, np.ndarray]) -> int:
    return sum(int(tensor.size) for tensor in tensors.values())


def _listed(checkpoint: Checkpoint, problem: str) -> Iterator[FilePart]:
    """The layers of a configuration that lists them with their types, by name or in their order."""
    layers = (checkpoint.config or {})["layers"]
    named = layers.items() if isinstance(layers, dict) else ((None, layer) for layer in layers)
    below: dict[str, list[str]] = {}  # names of tensors by what stands before their last dot or slash
    for name in checkpoint:
        below.setdefault(re.split(r"[./][^./]*$", name)[0], []).append(name)
    for index, (name, layer) in enumerate(named):
        facts = layer if isinstance(layer, dict) else {}
        kind = facts["type"] if isinstance(facts.get("type"), str) else "layer"
        own = f"{kind}_{index}" if name is None else str(name)
        listed = facts.get("weights")
        weights = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
        names = [each for each in dict.fromkeys([*weights, *below.get(own, ())]) if each in checkpoint]
        is_named = any(word in problem for word in (f"layer {index} (", f"layer {own!r}"))
        tensors = {each: checkpoint[each] for each in names}
        yield FilePart(own, kind[:80], None, tuple(names), _size(tensors), problem if is_named else None)
