"""The layers of a Keras config as a tree: models hold layers, wrappers hold a layer, cells lie in an RNN.

Owns which layers hold others, under which name Keras 3 keeps the tensors of each, and how many layers and how deep a
config may be. What is called with what is for ``calls``; what a layer means, for ``layers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...errors import CheckpointError, UnsupportedModelError
from .calls import Graph, chain, graph
from .config import Entry, problem_of, read_entry, short, snake_case
from .slots import slots

__all__ = ["CONTAINERS", "DEPENDENCIES", "Part", "lists_layers", "read_tree"]

CONTAINERS = ("Sequential", "Functional")
DEPENDENCIES = "_layer_checkpoint_dependencies"  # what Keras 2.12 and 2.13 call the layers of a model

MAX_LAYERS = 10_000
MAX_DEPTH = 20  # of models in wrappers in models; Keras users nest two or three


@dataclass(frozen=True, eq=False)
class Part:
    """One layer, with the layers in it.

    ``group`` is where Keras 3 keeps its tensors, such as ``"layers/gru_1"``. ``inner`` are a model's layers, a
    wrapper's one or two, an RNN's cells. ``graph`` says how a model's layers are called. ``twin`` is an earlier layer
    of the same class and name, where the config says that this one is shared and not with which.
    """

    entry: Entry
    group: str
    inner: tuple[Part, ...] = ()
    graph: Graph | None = None
    twin: Part | None = None

    def leaves(self) -> Iterator[Part]:
        """The layers without layers in them, in the order in which Keras goes through them."""
        if not self.inner:
            yield self
        for part in self.inner:
            yield from part.leaves()

    def units(self) -> Iterator[Part]:
        """The layers of models, also of those in models; a wrapper with what it wraps is one."""
        for part in self.inner:
            if part.graph is None:
                yield part
            else:
                yield from part.units()


def lists_layers(config: Mapping[str, Any]) -> bool:
    """Whether a config is that of a Sequential or functional model of Keras's own, and so says what its layers are."""
    kind = config.get("class_name")
    return isinstance(kind, str) and kind in (*CONTAINERS, "Model") and not problem_of(config)


def read_tree(config: Mapping[str, Any], where: str, version: str, *, sharing: bool, twice: bool = False) -> Part:
    """The model that a config describes.

    Parameters
    ----------
    config : mapping
        Of the whole model: its class_name and its config.
    where : str
        The file, for messages.
    version : str
        Of the Keras that wrote it; none for Keras 1.
    sharing : bool
        Whether a layer that stands in two models has its tensors in one place only.
    twice : bool
        Whether the groups are those of Keras 2.12 and 2.13, which count a layer with weights twice.

    Raises
    ------
    UnsupportedModelError
        It is neither a Sequential nor a functional model.
    CheckpointError
        The config is damaged, or has too many layers, or nests them too deep.
    """
    if "config" not in config or not isinstance(config.get("class_name"), str):
        raise CheckpointError(f"{where}: config describes no model, got {short(config)}")
    if not lists_layers(config):
        raise UnsupportedModelError(
            f"{where}: the model is of a class of its own, {short(config['class_name'])}, whose code is not in the "
            "file; name its layers in the order in which they run, by layers=[...]"
        )
    entry = read_entry({"name": "model", **config}, "config", where, version)
    return _Reader(where, version, sharing, twice).part(
        replace(entry, path="", where=where, operation=False), "", "", 0
    )


class _Reader:
    """Reads a tree, and counts."""

    def __init__(self, where: str, version: str, sharing: bool, twice: bool) -> None:
        self.where, self.version, self.sharing, self.twice = where, version, sharing, twice
        self.left = MAX_LAYERS
        self.shared: dict[int, Part] = {}
        self.first: dict[tuple[str, str], Part] = {}
        self.within = 0  # how many of the layers around are shared

    def part(self, entry: Entry, place: str, group: str, depth: int, shared: Any = None) -> Part:
        """The layer with what is in it. One that the config says is shared is what it was where it came first."""
        self.left -= 1
        if self.left < 0:
            raise CheckpointError(f"{self.where}: config has more than {MAX_LAYERS} layers")
        if depth > MAX_DEPTH:
            raise CheckpointError(f"{entry.where}: it is nested deeper than {MAX_DEPTH} layers")
        shared = shared if self.sharing and type(shared) is int else None
        known = None if shared is None else self.shared.get(shared)
        if known is not None and known.entry.class_name == entry.class_name:
            return known
        self.within += shared is not None
        key = (entry.class_name, entry.name)
        part = Part(entry, group, twin=self.first.get(key) if self.within else None)
        self.first.setdefault(key, part)
        if not entry.problem and not entry.operation:
            if entry.class_name in CONTAINERS:
                part = self._model(part, place, depth)
            else:
                part = replace(part, inner=tuple(self._held(part, place, depth)))
        self.within -= shared is not None
        if shared is not None:
            self.shared[shared] = part
        return part

    def _model(self, part: Part, place: str, depth: int) -> Part:
        layers = part.entry.get("layers")
        if not isinstance(layers, list):
            raise CheckpointError(f"{part.entry.where}: layers is {short(layers)}, wanted a list of layers")
        if len(layers) > self.left:
            raise CheckpointError(f"{self.where}: config has more than {MAX_LAYERS} layers")
        outer = f"{part.entry.path}/" if part.entry.path else ""
        held = DEPENDENCIES if self.twice else "layers"
        groups = _Groups(f"{part.group}/{held}" if part.group else held)
        entries, inner = [], []
        for index, layer in enumerate(layers):
            at = f"{place}.layers[{index}]" if place else f"layers[{index}]"
            entry = read_entry(layer, at, self.where, self.version, outer)
            group = "" if entry.operation else groups.next(layer["class_name"])
            entries.append(entry)
            inner.append(self.part(entry, at, group, depth + 1, layer.get("shared_object_id")))
            if self.twice and any(slots(leaf.entry) for leaf in inner[-1].leaves()):
                groups.next(layer["class_name"])
        made = chain if part.entry.class_name == "Sequential" else graph
        return replace(part, inner=tuple(inner), graph=made(part.entry, layers, entries))

    def _held(self, part: Part, place: str, depth: int) -> Iterator[Part]:
        """The layers in a wrapper or an RNN."""
        kind, config = part.entry.class_name, part.entry.config
        if kind == "Bidirectional":
            forward = config.get("layer")
            backward = config.get("backward_layer")
            yield self._inner(part, "layer", "forward_layer", forward, place, depth)
            yield self._inner(part, "backward_layer", "backward_layer", backward or _turned(forward), place, depth)
        elif kind == "TimeDistributed":
            yield self._inner(part, "layer", "layer", config.get("layer"), place, depth)
        elif kind == "RNN":
            yield self._inner(part, "cell", "cell", config.get("cell"), place, depth)
        elif kind == "StackedRNNCells":
            cells, groups = part.entry.get("cells"), _Groups("cells")
            if not isinstance(cells, list) or not cells:
                raise part.entry.wrong("cells", "a list of cells")
            for index, cell in enumerate(cells):
                class_name = cell.get("class_name") if isinstance(cell, dict) else None
                group = groups.next(class_name if isinstance(class_name, str) else "")
                yield self._inner(part, f"cells[{index}]", group, cell, place, depth)

    def _inner(self, part: Part, key: str, group: str, layer: object, place: str, depth: int) -> Part:
        at = f"{place}.{key}"
        entry = read_entry(layer, at, self.where, self.version, f"{part.entry.path}/")
        shared = layer.get("shared_object_id") if isinstance(layer, dict) else None
        return self.part(entry, at, f"{part.group}/{group}", depth + 1, shared)


class _Groups:
    """Names by class, counted: the third GRU of a model is gru_2, whatever the layer itself is called."""

    def __init__(self, start: str) -> None:
        self.start = start
        self.counts: dict[str, int] = {}

    def next(self, class_name: str) -> str:
        snake = snake_case(class_name)
        count = self.counts[snake] = self.counts.get(snake, -1) + 1
        return f"{self.start}/{snake}_{count}" if count else f"{self.start}/{snake}"


def _turned(layer: object) -> object:
    """The backward layer that Keras makes of the forward one."""
    if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
        return layer
    config = layer["config"]
    turned = {**config, "go_backwards": not config.get("go_backwards", False), "name": f"backward_{config.get('name')}"}
    return {**layer, "config": turned}
