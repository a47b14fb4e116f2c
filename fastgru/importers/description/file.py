"""What a checkpoint holds, as plain data for a person or a program to read.

Owns ``describe``, which names layers, sizes, options and what is unused. It builds no engine and runs nothing. What can
be loaded is described by its specification, what cannot by the ``parts`` of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...checkpoint.contents import Checkpoint
from ...errors import FastGRUError
from ...graph.graph import Graph
from ...graph.layout import Layout
from ...graph.limits import fixed_text
from ...graph.steps import analyse
from ...gru_weights import GRUSpec, check_gru
from ...layers import GRULayer, ModelSpec
from ...layers.grus import grus_of
from ...weights.stored import precision_of
from ..keras.model import is_beside
from ..resolve import examined
from ..tensors import listed
from . import graph
from .layers import facts_of, flow_of, layers_of, plain
from .parts import FilePart, classes_of, outlined

__all__ = ["describe", "described"]

SCHEMA = 1  # of the description; a new number where a key goes or changes what it means

# Who writes a format, and under which key the metadata has the version.
_WRITERS = {
    "fastgru": ("fastgru", "fastgru.version"),
    "keras": ("Keras", "keras_version"),
    "keras-h5": ("Keras", "keras_version"),
    "keras-weights": ("Keras", "keras_version"),
    "pytorch-legacy": ("PyTorch", "torch_version"),
    "pytorch-zip": ("PyTorch", "torch_version"),
    "rnnoise": ("RNNoise", "rnnoise_version"),
    "rtneural": ("RTNeural", ""),
    "torch-export": ("PyTorch", "torch_version"),
    "torchscript": ("PyTorch", "torch_version"),
}

LONGEST_TEXT = 200  # of what a file says of itself


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything ``fastgru inspect`` says of a file, as data that ``json.dumps`` takes.

    The command adds ``packed_gru_weights``: by each precision the bytes of the GRUs' weights as the engine would have
    them, or why it cannot; empty where there is no GRU. And ``packed``: of a file that has them packed already, its
    ``precision``, ``bytes`` and ``kernels``, those of the machine that packed it, ``kernels_here``, and whether these
    ``read_as_it_lies``; otherwise None.

    Returns
    -------
    dict
        * ``schema``: 1, the number of this list of keys;
        * ``path``, ``format``; ``writer`` and ``version``, None where the file does not say; ``metadata``, what else it
          says of itself;
        * ``stored``: how many tensors the file has of each type, such as ``{"int8": 2, "float32": 2}``;
          ``stored_precision``: what ``load(path, precision="stored")`` computes in, or None where that needs more;
        * ``loads_as``: ``"GRU"``, ``"Model"`` or None; ``problem``: the first line of why ``load(path)`` would fail, or
          None; ``suggested_layers``: a ``layers=[...]`` to start from, with ``...`` where the file does not say what
          runs, or None; ``advice``: sentences on what such a file does not say, and how to say it;
        * ``classes``: of a whole module, those that are not PyTorch's, by the path of the module in it;
        * ``inputs``: ``name``, ``shape`` without the batch axis and None for any size, ``integers``, and ``batch``, the
          rows that it may have, such as ``"3"``, or None for any; ``outputs``:
          ``from``, a layer or an input, ``index``, which of its outputs, ``shape``, and ``name`` where the model names
          its outputs; both empty where it cannot be loaded;
        * ``layers``, in the order in which they run, or else of the file; each with ``name``, ``kind``, ``sizes``,
          ``options``, ``parameters``, ``inputs`` and ``mask`` (``from`` and ``index``), ``outputs`` (shapes),
          ``shared_with``, an earlier layer with the same weights, or None, ``layers``, those of the model inside it,
          and ``problem``, why it cannot be loaded, or None;
        * ``parameters`` in all; the names of tensors ``used`` and ``unused``; ``beside``, those of an optimizer and the
          like; ``skipped``, objects that are not tensors.
    """
    return described(checkpoint)[0]


def described(checkpoint: Checkpoint) -> tuple[dict[str, Any], list[GRUSpec | ModelSpec]]:
    """What ``describe`` gives, and what it describes: the whole, or the GRUs among the parts of a file."""
    spec, unused, problem, advice = _outcome(checkpoint)
    layouts: Mapping[str, Layout] = {}
    if isinstance(spec, Graph):
        spec, analysis = analyse(spec)
        layouts = analysis.inputs
        advice += fixed_text(spec, layouts)
    beside = {name for name in checkpoint if checkpoint.format.startswith("keras") and is_beside(name)}
    suggestion: str | None = None
    models: list[GRUSpec | ModelSpec]
    if isinstance(spec, ModelSpec):
        layers, models = layers_of(spec), [spec]
    elif isinstance(spec, Graph):
        layers, models = graph.layers_of(spec), [gru for _, gru in grus_of(spec)]
    else:
        parts, suggestion = outlined(checkpoint, problem)
        if isinstance(spec, GRUSpec) and [part.kind for part in parts] not in (["GRU"], ["GRUCell"]):
            parts = [FilePart("", "GRU", GRULayer(spec))]
        if spec is None:
            taken = {name for part in parts if part.problem is None or part.is_open for name in part.tensors}
            unused = [name for name in checkpoint if name not in taken]
        layers = [_layer(part) for part in parts]
        models = [gru for part in parts for gru in _grus(part)]
    left_out = {*unused, *beside}
    writer, version_key = _WRITERS.get(checkpoint.format, (None, ""))
    metadata = checkpoint.metadata
    found = {
        "schema": SCHEMA,
        "path": checkpoint.path,
        "format": checkpoint.format,
        "writer": writer,
        "version": _text(metadata.get(version_key)),
        "metadata": {
            key[:LONGEST_TEXT]: value[:LONGEST_TEXT] if isinstance(value, str) else plain(value)
            for key, value in metadata.items()
            if isinstance(value, (str, int, float))
        },
        "stored": _stored(checkpoint),
        "stored_precision": None if spec is None else precision_of(checkpoint, spec, "stored"),
        "loads_as": None if spec is None or problem else "GRU" if isinstance(spec, GRUSpec) else "Model",
        "problem": problem,
        "suggested_layers": suggestion if spec is None else None,
        "advice": advice,
        "classes": classes_of(checkpoint),
        **_flow_of(spec, layouts),
        "layers": layers,
        "parameters": sum(layer["parameters"] for layer in layers),
        "used": [name for name in checkpoint if name not in left_out],
        "unused": [name for name in checkpoint if name in left_out and name not in beside],
        "beside": sorted(beside),
        "skipped": [str(name) for name in metadata.get("skipped", ())],
    }
    return found, models


def _flow_of(spec: GRUSpec | ModelSpec | Graph | None, layouts: Mapping[str, Layout]) -> dict[str, Any]:
    if spec is None:
        return {"inputs": [], "outputs": []}
    return graph.flow_of(spec, layouts) if isinstance(spec, Graph) else flow_of(spec)


def _stored(checkpoint: Checkpoint) -> dict[str, int]:
    """How many tensors there are of each type; its name is asked for once, as that of 30,000 takes 0.1 s."""
    counts: Counter[str] = Counter()
    for kind, count in Counter(checkpoint.stored.get(name, array.dtype) for name, array in checkpoint.items()).items():
        counts[str(kind)] += count
    return dict(counts)


def _outcome(checkpoint: Checkpoint) -> tuple[GRUSpec | ModelSpec | Graph | None, list[str], str | None, list[str]]:
    """What load() would make of the checkpoint, the tensors left over, and why it would fail: a line, and advice."""
    try:
        spec, unused = examined(checkpoint)
    except FastGRUError as error:
        problem, *more = str(error).split("\n")
        advice = [line for line in more if not line.startswith(_SAID_ELSEWHERE)]
        return None, [], problem, advice
    left = f"{checkpoint.path}: no layer uses the tensors {listed(unused, 4)}" if unused else None
    return spec, unused, left, []


# By the list of layers and by the suggestion.
_SAID_ELSEWHERE = ("It holds:", "  ", "Name the layers in the order in which they run, for", "If it is a chain, name")


def _layer(part: FilePart) -> dict[str, Any]:
    facts: dict[str, Any] = {"sizes": {}, "options": {}} if part.layer is None else facts_of(part.layer)
    return {
        "name": part.name,
        "kind": part.kind,
        "sizes": facts["sizes"],
        "options": facts["options"],
        "parameters": facts.get("parameters", part.parameters),
        "inputs": [],
        "mask": None,
        "outputs": [],
        "shared_with": None,
        "layers": [],
        "problem": part.problem and part.problem.partition("\n")[0],
    }


def _grus(part: FilePart) -> list[GRUSpec]:
    """The stacks of a part that is a sound GRU."""
    if part.problem is not None or not isinstance(part.layer, GRULayer):
        return []
    stacks = [part.layer.gru, *part.layer.above]
    try:
        for gru in stacks:
            check_gru(gru, part.name)
    except FastGRUError:
        return []
    return stacks


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:LONGEST_TEXT]
