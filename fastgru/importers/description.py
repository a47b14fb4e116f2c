"""What a checkpoint holds, as plain data for a person or a program to read.

Owns ``describe``, which names sizes, options, parameters and what is unused. It builds no engine, runs nothing, and
describes as well what cannot be loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checkpoint.contents import Checkpoint
from ..errors import FastGRUError
from ..spec import Activation, Dense, Embedding, GRULayer, GRUSpec, Layer
from . import chain, keras, pytorch
from .folded import fold
from .keras_config import Entry, entries
from .keras_layers import build
from .resolve import spec_of
from .tensors import UsedTensors

__all__ = ["describe"]

_WRITERS = {"pytorch-zip": "PyTorch", "keras": "Keras"}


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything ``fastgru inspect`` says of a file, as data that ``json.dumps`` takes.

    Returns
    -------
    dict
        ``path``, ``format``, ``writer`` and ``version`` (None where the file does not say) and what else it says of
        itself, ``metadata``; ``loads_as`` (``"GRU"``,
        ``"Model"`` or None) and ``problem``, why ``load(path)`` would fail, or None; ``layers``, each with ``name``,
        ``kind``, ``sizes``, ``options``, ``parameters`` and ``problem``; ``parameters`` in all; the names of tensors
        ``used``, ``unused`` and ``beside`` (of an optimizer and the like); ``skipped``, objects that are not tensors;
        and ``suggested_layers``, a ``layers=[...]`` that loads a file without an order, or None.
    """
    loads_as, problem = _outcome(checkpoint)
    beside = {name for name in checkpoint if checkpoint.format == "keras" and keras.is_beside(name)}
    tensors = {name: tensor for name, tensor in checkpoint.items() if name not in beside}
    suggested = None
    if checkpoint.format == "keras":
        layers, used = _keras_layers(checkpoint, tensors)
    else:
        layers, used = _modules(tensors, checkpoint.path)
        if loads_as is None:
            suggested = chain.suggest(fold(tensors)[0]) or None
    taken = set(used)
    metadata = checkpoint.metadata
    return {
        "path": checkpoint.path,
        "format": checkpoint.format,
        "writer": _WRITERS.get(checkpoint.format),
        "version": _text(metadata.get("keras_version")),
        "metadata": {key: value for key, value in metadata.items() if isinstance(value, (str, int, float))},
        "loads_as": loads_as,
        "problem": problem,
        "layers": layers,
        "parameters": sum(layer["parameters"] for layer in layers),
        "used": used,
        "unused": [name for name in tensors if name not in taken],
        "beside": sorted(beside),
        "skipped": [str(name) for name in metadata.get("skipped", ())],
        "suggested_layers": suggested,
    }


def _outcome(checkpoint: Checkpoint) -> tuple[str | None, str | None]:
    """What load() would make of the checkpoint, or the first line of why it would not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec = spec_of(checkpoint)
    except FastGRUError as error:
        return None, str(error).partition("\n")[0]
    return ("GRU" if isinstance(spec, GRUSpec) else "Model"), None


def _modules(tensors: Mapping[str, np.ndarray], where: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The modules of a state dict, and the tensors of those that can be loaded."""
    folded, sources = fold(tensors)
    layers, used = [], []
    loadable = {module.prefix for module in chain.suggested_modules(folded)}
    embeddings = chain.embeddings(folded)
    modules = pytorch.modules_of(folded)
    ordered = any(module.kind == "gru" for module in modules.values())
    for module in modules.values():
        own = {name: folded[name] for name in module.names}
        layer: Layer | None = None
        problem, kind = None, module.looks_like
        if module.kind == "matrix" and ordered:
            kind = "Embedding" if module.prefix in embeddings else "Linear"
        try:
            if module.kind == "gru":
                layer = GRULayer(pytorch.gru_from_tensors(own, module.prefix, where))
            elif kind == "Embedding":
                layer = pytorch.embedding_from_tensors(own, module.prefix, where)
            elif module.kind in ("linear", "matrix"):
                layer = pytorch.dense_from_tensors(own, module.prefix, where)
        except FastGRUError as error:
            problem = str(error)
        names = [part for name in module.names for part in sources.get(name, (name,))]
        if module.prefix in loadable and problem is None:
            used += names
        else:
            problem = problem or f"{module.looks_like} is not supported"
        layers.append(_layer(module.prefix, kind, layer, own, problem))
    return layers, used


def _keras_layers(checkpoint: Checkpoint, tensors: Mapping[str, np.ndarray]) -> tuple[list[dict[str, Any]], list[str]]:
    """The layers of a config, and the tensors that those of them use which can be loaded."""
    version = str(checkpoint.metadata.get("keras_version", ""))
    by_group: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in tensors.items():
        by_group.setdefault("/".join(name.split("/")[:2]), {})[name] = tensor
    layers: list[dict[str, Any]] = []
    used: list[str] = []
    try:
        for entry in entries(checkpoint.config or {}, checkpoint.path, version):
            if entry.class_name != "InputLayer":
                layers.append(_keras_layer(entry, by_group.get(entry.group, {}), used))
    except FastGRUError:  # the file's problem says why; what was listed so far is still true
        pass
    return layers, used


def _keras_layer(entry: Entry, own: Mapping[str, np.ndarray], used: list[str]) -> dict[str, Any]:
    """One layer; the tensors it uses are added to ``used``."""
    tensors = UsedTensors(own)
    layer, problem = None, None
    try:
        layer = build(entry, tensors)
        used += tensors.used()
    except FastGRUError as error:
        problem = str(error)
    return _layer(entry.name, entry.class_name, layer, own, problem)


def _layer(
    name: str, kind: str, layer: Layer | None, tensors: Mapping[str, np.ndarray], problem: str | None
) -> dict[str, Any]:
    sizes, options = _sizes_and_options(layer)
    return {
        "name": name,
        "kind": kind,
        "sizes": sizes,
        "options": options,
        "parameters": sum(int(tensor.size) for tensor in tensors.values()),
        "problem": problem,
    }


def _sizes_and_options(layer: Layer | None) -> tuple[dict[str, int], dict[str, Any]]:
    if isinstance(layer, GRULayer):
        gru = layer.gru
        sizes = {
            "input_size": gru.input_size,
            "hidden_size": gru.hidden_size,
            "num_layers": gru.num_layers,
            "directions": gru.directions,
        }
        options = {
            "reset_after": gru.reset_after,
            "bias": gru.bias,
            "activation": gru.activation,
            "recurrent_activation": gru.recurrent_activation,
            "return_sequences": layer.return_sequences,
            "merge": layer.merge if gru.directions == 2 else None,
            "go_backwards": layer.go_backwards,
        }
        return sizes, options
    if isinstance(layer, Dense):
        outputs, inputs = layer.weight.shape
        return {"inputs": inputs, "outputs": outputs}, {"bias": layer.bias is not None, "activation": layer.activation}
    if isinstance(layer, Embedding):
        vocabulary, features = layer.weight.shape
        return {"vocabulary": vocabulary, "features": features}, {}
    if isinstance(layer, Activation):
        return {}, {"activation": layer.name}
    return {}, {}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
