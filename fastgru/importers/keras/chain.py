"""``layers=[...]`` for Keras files that hold weights and no configuration, and what is said where it is missing.

A string names a layer of the file. What the weights do not say is taken as Keras's default: no activation behind a
Dense or a Conv1D, tanh in a GRU, both directions side by side, an epsilon of 1e-3; the activation of a GRU's gates is
sigmoid, or the hard_sigmoid that Keras had up to 2.2. A ``Named`` says otherwise; "hard_sigmoid" is two functions, and
"sparsemax" another two: where the file does not say which Keras wrote it, they are asked for. A GRU gives its output
for every step, as it does for PyTorch's files, and ``Last()`` or ``FinalState()`` behind it takes the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...errors import CheckpointError, DTypeError, FastGRUError, UnsupportedModelError
from ...gru_weights import GRUSpec
from ...layers import Layer, ModelSpec, sequential, validate
from ..tensors import UsedTensors, listed
from ..weights.chain import CHOICE, LayerItem, question, refuse_blank
from ..weights.lone_gru import lone_gru
from ..weights.named import KERAS_OPTIONS, Named
from .activations import refuse_doubtful
from .config import LATEST, Entry, number_of, snake_case
from .layers import make
from .modules import Module, modules_of
from .scope import Inputs, Scope
from .tensors import Weights
from .tree import DEPENDENCIES, Part

__all__ = ["contents", "spec_from", "suggest"]

_ORDER = ("Embedding", "Matrix", "Conv1D", "BatchNormalization", "LayerNormalization", "RMSNormalization", "PReLU",
          "GRU", "CuDNNGRU", "Bidirectional", "RNN", "Dense")  # in which most chains run  # fmt: skip
_GRUS = ("GRU", "CuDNNGRU", "Bidirectional", "RNN")
_MATRICES = ((), ("Dense", "Embedding"))  # what one matrix may be said to be
_OF_TORCH = {
    "BatchNorm1d": "BatchNormalization", "Conv1d": "Conv1D", "LayerNorm": "LayerNormalization", "Linear": "Dense",
    "RMSNorm": "RMSNormalization",
}  # fmt: skip
_MAX_TRIED = 24  # layers; a longer chain is suggested in the file's order, untried

Modules = Mapping[str, Module]


def spec_from(
    checkpoint: Checkpoint, tensors: UsedTensors, layers: Sequence[LayerItem] | None, strict: bool
) -> GRUSpec | ModelSpec:
    """The chain that ``layers`` names, or without it the one GRU of the file.

    Raises
    ------
    CheckpointError
        The file has no layer of that name, or ``layers`` is needed; the message then shows the line to start from.
    UnsupportedModelError
        A layer is not supported.
    DTypeError
        ``layers`` is not a list of strings and layers.
    """
    modules = modules_of(checkpoint, tensors)
    if layers is not None:
        return _Chain(checkpoint, tensors, modules).model(layers)
    where = checkpoint.path
    grus = [module for module in modules.values() if module.kind in _GRUS]
    if len(grus) == 1 and (len(modules) == 1 or not strict):
        spec = _Chain(checkpoint, tensors, modules).model([grus[0].name])
        if (gru := lone_gru(spec)) is not None:
            return gru
    if not modules:
        raise CheckpointError(f"{where}: holds no weights of layers, wanted those of a GRU")
    found = f"It holds:\n{contents(modules, tensors)}"
    if not grus:
        raise CheckpointError(f"{where}: holds no GRU that can be told by its weights' shapes\n{found}")
    line = suggest(checkpoint, tensors)
    blanks = "Replace each ... by what the model runs there, or take it out if that is nothing"
    example = f", for example\n  {line}\n{blanks}.\n" if line else ". "
    raise CheckpointError(
        f"{where}: holds weights and not the order of its layers: {listed(modules, 8)}\n{found}\n"
        f"Name the layers in the order in which they run{example}"
        "Layers without weights and activations are not in the file: add them, also as "
        f"fastgru.Named('dense', activation='relu'). {CHOICE}"
    )


def suggest(checkpoint: Checkpoint, tensors: Mapping[str, np.ndarray]) -> str:
    """The ``layers=[...]`` to start from, with ``...`` wherever the file says nothing; empty where no order runs."""
    modules = modules_of(checkpoint, tensors)
    if any(not module.kind for module in modules.values()):
        return ""
    by_kind = sorted(modules.values(), key=lambda module: _ORDER.index(module.kind))
    for order in (list(modules.values()), by_kind):
        items: list[LayerItem] = [module.name for module in order]
        if len(items) > _MAX_TRIED or _runs(checkpoint, tensors, items):
            return f"layers=[{', '.join(f'{json.dumps(item)}, ...' for item in items)}]"
    return ""


def contents(modules: Modules, tensors: Mapping[str, np.ndarray], most: int = 40) -> str:
    """One line a layer: its name, what it looks like, and its weights' shapes."""
    lines = []
    for module in list(modules.values())[:most]:
        shapes = ", ".join(str(tensors[name].shape) for name in module.tensors[:4])
        more = ", ..." if len(module.tensors) > 4 else ""
        lines.append(f"  {json.dumps(module.name, ensure_ascii=False)}: {module.looks_like} {shapes}{more}")
    return "\n".join([*lines, *([f"  and {len(modules) - most} more layers"] if len(modules) > most else [])])


def _runs(checkpoint: Checkpoint, tensors: Mapping[str, np.ndarray], items: Sequence[LayerItem]) -> bool:
    try:
        validate(_Chain(checkpoint, UsedTensors(tensors), modules_of(checkpoint, tensors)).model(items))
    except FastGRUError:
        return False
    return True


def _written_by(checkpoint: Checkpoint, version: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The earliest and the latest Keras that may have written the file: a .weights.h5 has no version."""
    if checkpoint.format == "keras-h5" or version:
        return number_of(version), number_of(version)
    if checkpoint.metadata.get("names"):  # Keras 2 never wrote any
        return (3,), (3, _ANY)
    old = any(name.startswith(f"{DEPENDENCIES}/") or "/cu_dnngru" in name for name in checkpoint)
    return (2,), (2 if old else 3, _ANY)


_ANY = 10**6  # a second number of a version that is beyond every other


class _Chain:
    """Makes the layers that are named, with what is known of them."""

    def __init__(self, checkpoint: Checkpoint, tensors: UsedTensors, modules: Modules) -> None:
        self.where, self.tensors, self.modules = checkpoint.path, tensors, modules
        said = str(checkpoint.metadata.get("keras_version") or "")
        self.written_by = _written_by(checkpoint, said)
        unsaid = "2.15" if self.written_by[1] < (3,) else LATEST
        self.version = said if said or checkpoint.format == "keras-h5" else unsaid
        self._names: dict[int, Mapping[str, str]] = {}
        self._parts: list[Part] = []
        self._called = {other: module.name for module in modules.values() for other in module.also}

    def model(self, layers: Sequence[LayerItem]) -> ModelSpec:
        if isinstance(layers, (str, Layer, Named)) or not isinstance(layers, Iterable):
            raise DTypeError(f"layers= is {type(layers).__name__}, wanted a list of layer names and layers")
        items = list(layers)
        for place in range(len(items)):
            self._check(items, place)
        scope = Scope(self.where)
        source = scope.input("input")
        wires = [source]
        for place, item in enumerate(items):
            if isinstance(item, Layer):
                wires = scope.named(snake_case(type(item).__name__)).add(item, wires)
            else:
                part = self._part(items, place)
                wires = make(part, self).apply(scope.named(part.entry.name), Inputs(wires))
        chain = sequential([(node.name, node.layer) for node in scope.nodes])
        return scope.model([(source, chain.inputs[0].shape)], wires)

    def weights(self, part: Part) -> Weights:
        return Weights(self.tensors, self._names[id(part)], part.entry.where)

    def time_distributed(self, part: Part) -> Layer:
        raise UnsupportedModelError(f"{part.entry.where}: not supported")

    def _module(self, item: str | Named) -> Module | None:
        name = item.prefix if isinstance(item, Named) else str(item)
        return self.modules.get(name) or self.modules.get(self._called.get(name, ""))

    def _check(self, items: Sequence[object], place: int) -> None:
        """Raise unless an element of ``layers=`` is a layer or names one that can be loaded."""
        item = items[place]
        if item is ...:
            raise CheckpointError(f"{self.where}: {question(items, place)}")
        refuse_doubtful(item, *self.written_by, self.where)
        if isinstance(item, Layer):
            return
        if isinstance(item, Named):
            refuse_blank(item, self.where)
        if not isinstance(item, (str, Named)):
            hint = f"; write {item.__name__}()" if isinstance(item, type) and issubclass(item, Layer) else ""
            raise DTypeError(f"layers= holds {item!r}, wanted layer names and layers such as fastgru.Last(){hint}")
        module = self._module(item)
        name = item.prefix if isinstance(item, Named) else item
        if module is None:
            raise CheckpointError(
                f"{self.where}: layers= names {name!r}, which is not a layer of this file; it holds "
                f"{listed(self.modules)}"
            )
        if not module.kind:
            raise UnsupportedModelError(
                f"{self.where}: layers= names {name!r}, which looks like {module.looks_like} (tensors "
                f"{listed(module.tensors)}); supported are {', '.join(_ORDER[:1] + _ORDER[2:])}"
            )
        kind = self._kind(items, place)
        options = KERAS_OPTIONS.get(kind, ())
        wrong = [option for option in item.options if option not in options] if isinstance(item, Named) else []
        if wrong or kind not in (module.kind, *_MATRICES[module.kind == "Matrix"]):
            raise DTypeError(
                f"layers= holds {item!r}, but {name!r} is {module.looks_like}"
                + (f", and a {kind} has no option {wrong[0]!r}" if wrong else "")
                + (f"; it has {', '.join(options)}" if wrong and options else "")
            )

    def _kind(self, items: Sequence[object], place: int) -> str:
        """The class of the layer named at ``place``; one matrix is an Embedding where it comes first."""
        item = items[place]
        assert isinstance(item, (str, Named))
        module = self._module(item)
        assert module is not None
        if isinstance(item, Named) and isinstance(item.kind, str):
            return _OF_TORCH.get(item.kind, item.kind)
        if module.kind != "Matrix":
            return module.kind
        return "Dense" if any(not isinstance(each, Layer) for each in items[:place]) else "Embedding"

    def _part(self, items: Sequence[LayerItem], place: int) -> Part:
        """The layer named at ``place`` as if a configuration described it."""
        item, kind = items[place], self._kind(items, place)
        assert isinstance(item, (str, Named))
        module = self._module(item)
        assert module is not None
        options = dict(item.options) if isinstance(item, Named) else {}
        if module.kind == "Matrix" and kind == "Embedding":
            rows, columns = self.tensors[module.tensors[0]].shape
            return self._leaf(module.name, "Embedding", {"embeddings": module.tensors[0]},
                              {"input_dim": rows, "output_dim": columns, **options})  # fmt: skip
        if len(module.cells) == 1:
            cell = module.cells[0]
            usual = self._usual(cell.config) if kind in _GRUS else {}
            return self._leaf(module.name, kind, cell.names, {**usual, **cell.config, **options})
        outer = {key: options.pop(key) for key in ("merge_mode",) if key in options}
        inner = [
            self._leaf(f"{module.name}/{index}", cell.class_name, cell.names,
                       {**self._usual(cell.config), **cell.config, **options})
            for index, cell in enumerate(module.cells)
        ]  # fmt: skip
        if kind == "Bidirectional":
            inner[1] = self._leaf(inner[1].entry.name, inner[1].entry.class_name, module.cells[1].names,
                                  {**inner[1].entry.config, "go_backwards": True})  # fmt: skip
            return Part(self._entry(module.name, kind, outer), "", tuple(inner))
        cells = Part(self._entry(module.name, "StackedRNNCells", {}), "", tuple(inner))
        return Part(self._entry(module.name, kind, {"return_sequences": True, **options}), "", (cells,))

    def _leaf(self, name: str, kind: str, names: Mapping[str, str], config: Mapping[str, object]) -> Part:
        part = Part(self._entry(name, kind, config), "")
        self._parts.append(part)  # kept, so that its id is that of no other
        self._names[id(part)] = names
        return part

    def _entry(self, name: str, kind: str, config: Mapping[str, object]) -> Entry:
        return Entry(kind, name, name, config, f"{self.where}: layer {name!r} ({kind})", self.version)

    def _usual(self, config: Mapping[str, object]) -> dict[str, object]:
        """What Keras's GRU is where nothing else is said, in the version that wrote the file."""
        version = number_of(self.version)
        tensorflow = self.version.endswith("-tf")
        after = bool(config.get("reset_after", version >= (2, 4) or tensorflow))
        soft = version >= (2, 3) or (tensorflow and after)
        return {
            "return_sequences": True,
            "recurrent_activation": "sigmoid" if soft else "hard_sigmoid",
            "reset_after": after,
        }
