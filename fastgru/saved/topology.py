"""A description as plain data and back: what ``save`` writes beside the weights, and ``load`` reads again.

A record becomes an object of its fields and an array the name of its tensor; the layers of a model stand in one table,
each behind those of the models inside it. How a field is written is for ``topology_kinds``. What is read is data from
a stranger: every name is looked up in a table, every value is checked, and nothing here recurses over a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np

from ..checkpoint.text import shown
from ..errors import CheckpointError, ShapeError, UnsupportedModelError
from ..gru_weights import GRUSpec
from ..layers import Activation, BatchNormalization, GroupNormalization, GRULayer, Layer, LayerNormalization, ModelSpec
from ..weights.matrices import Matrix
from .topology_kinds import GRU, MODEL, Of, layer_classes, needs_tensors

__all__ = ["from_data", "layer_of", "names_of_matrices", "names_of_normalisations", "to_data"]

MAX_DEPTH = 16  # models inside models
MAX_PARTS = 100_000  # layers and tensors, counted once for every node that runs them

_OF_A_GRU = re.compile(r"(?:\bgru\.)?layers\.(\d+)\.(\d+)\.(\w+)$")


def to_data(given: GRUSpec | ModelSpec) -> tuple[dict[str, Any], dict[str, np.ndarray | Matrix]]:
    """A description as data that ``json.dumps`` takes, and its arrays by the names that stand in it.

    A layer that stands in several nodes of a model is written once.
    """
    writer = _Writer()
    if isinstance(given, GRUSpec):
        return {"gru": GRU.write(given, "", writer)}, writer.tensors
    model = MODEL.write(given, "", writer)
    return {"model": model, "layers": writer.layers}, writer.tensors


def from_data(data: dict[str, Any], take: Callable[[str], np.ndarray | Matrix], where: str) -> GRUSpec | ModelSpec:
    """What ``to_data`` was given; ``take`` gives the tensor of a name, and errors begin with ``where``.

    The sizes of the arrays are not looked at: that is for ``layers.validate``.

    Raises
    ------
    UnsupportedModelError
        A layer or a field is not known, or there are too many layers.
    CheckpointError
        The data is not what ``to_data`` writes.
    """
    reader = _Reader(take)
    if set(data) == {"gru"}:
        gru: GRUSpec = GRU.read(data["gru"], f"{where}: gru", reader)
        return gru
    layers = data.get("layers")
    if set(data) != {"model", "layers"} or not isinstance(layers, dict):
        raise CheckpointError(f"{where}: its description has neither a model with layers nor a gru; it is damaged")
    for key, layer in layers.items():
        reader.read_layer(key, layer, f"{where}: layer {shown(key)}")
    model: ModelSpec = MODEL.read(data["model"], f"{where}: model", reader)
    reader.check_parts(f"{where}: model")
    unused = [key for key in layers if key not in reader.homes]
    if unused:
        raise CheckpointError(f"{where}: layer {shown(unused[0])} is described and stands in no model")
    return model


def names_of_matrices(data: dict[str, Any]) -> set[str]:
    """The tensors that are matrices of GRUs, in what ``to_data`` gives."""
    layers = [layer for layer in data.get("layers", {}).values() if layer["type"] == GRULayer.__name__]
    grus = [data["gru"]] if "gru" in data else [gru for layer in layers for gru in (layer["gru"], *layer["above"])]
    directions = [direction for gru in grus for layer in gru["layers"] for direction in layer]
    return {direction[field] for direction in directions for field in ("w_ih", "w_hh")}


def names_of_normalisations(data: dict[str, Any]) -> set[str]:
    """The tensors of layers that compute in float64 with what they are given, in what ``to_data`` gives."""
    kinds = (BatchNormalization.__name__, GroupNormalization.__name__, LayerNormalization.__name__)
    layers = [layer for layer in data.get("layers", {}).values() if layer["type"] in kinds]
    fields = ("mean", "variance", "gamma", "beta")
    return {layer[field] for layer in layers for field in fields if layer.get(field) is not None}


def layer_of(name: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Layer:
    """A layer without weights by its class and arguments, as ``Activation("softmax", axis=1)`` is written in Python.

    Raises
    ------
    UnsupportedModelError
        There is no such layer without weights.
    ShapeError
        An argument is unknown, missing or of a wrong kind.
    """
    classes = {each: kind for each, kind in layer_classes().items() if not needs_tensors(kind)}
    if name not in classes:
        raise UnsupportedModelError(f"{name} is no layer without weights; known are {', '.join(sorted(classes))}")
    layer = classes[name]
    arguments = dict(zip(layer._fields, positional, strict=False))
    options = {"options": dict(named)} if layer is Activation else dict(named)
    wanted = ", ".join(layer._fields) or "no arguments"
    if len(positional) > len(layer._fields) or arguments.keys() & options.keys():
        raise ShapeError(f"{name} takes {wanted}, got more than these")
    arguments.update(options)
    missing = [field for field in layer._fields if field not in arguments and not hasattr(layer, field)]
    unknown = [field for field in arguments if field not in layer._fields]
    if missing or unknown:
        raise ShapeError(f"{name} takes {wanted}, got {', '.join(unknown) or f'no {missing[0]}'}")
    data = json.loads(json.dumps(arguments, default=str))  # tuples become lists, as in a file
    try:
        made: Layer = Of(layer).read(data, name, _Reader(_no_tensor))
    except CheckpointError as error:
        raise ShapeError(str(error)) from None
    return made


def _no_tensor(name: str) -> np.ndarray:
    raise ShapeError(f"got {name!r} for an array, which cannot be given as text")


class _Writer:
    """The table of layers and the tensors, as they are found."""

    def __init__(self) -> None:
        self.layers: dict[str, Any] = {}
        self.tensors: dict[str, np.ndarray | Matrix] = {}
        self._key = ""  # of the layer that is being written
        self._keys: set[str] = set()
        self._models: list[tuple[str, dict[int, str]]] = []  # being written: in which layer, and the keys of its own

    def begin_model(self) -> None:
        self._models.append((self._key, {}))

    def end_model(self) -> None:
        self._models.pop()

    def key_of(self, layer: Layer, name: str) -> str:
        """The key of a layer, which is written where its model has not had it yet."""
        outer, keys = self._models[-1]
        if id(layer) not in keys:
            key = keys[id(layer)] = _free(f"{outer}/{name}" if outer else name or "layer", self._keys)
            self._keys.add(key)
            before, self._key = self._key, key
            fields = Of(type(layer)).write(layer, "", self)
            self._key = before
            self.layers[key] = {"type": type(layer).__name__, **fields}
        return keys[id(layer)]

    def name_of(self, array: np.ndarray | Matrix, path: str) -> str:
        """The name of a tensor: the layer's key and the field, as PyTorch calls it where it is a GRU's."""
        field = _OF_A_GRU.sub(lambda found: f"{found[3]}_l{found[1]}{'_reverse' * int(found[2])}", path)
        name = f"{self._key}.{field}" if self._key else field
        name = _free(name.encode("utf-8", "backslashreplace").decode(), self.tensors)
        self.tensors[name] = array
        return name


def _free(name: str, taken: Container[str]) -> str:
    """The name, or with the first of _1, _2 ... that is not taken."""
    free, count = name, 0
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free


class _Reader:
    """The layers and tensors of a file, and who has taken them."""

    def __init__(self, take: Callable[[str], np.ndarray | Matrix]) -> None:
        self.homes: dict[str, str] = {}  # of each layer of the table: the layer whose model it stands in, or ""
        self._take = take
        self._taken: set[str] = set()
        self._layers: dict[str, Layer] = {}
        self._sizes: dict[str, tuple[int, int]] = {}  # of each layer: its parts, and how deep models lie in it
        self._key = ""  # of the layer that is being read
        self._parts = self._depth = 0  # of it, so far

    def read_layer(self, key: str, data: Any, where: str) -> None:
        """Read one layer of the table."""
        kind = data.get("type") if isinstance(data, dict) else None
        if not isinstance(kind, str) or not key:
            raise CheckpointError(f"{where}: it has no name or no type; the file is damaged")
        if kind not in layer_classes():
            raise UnsupportedModelError(f"{where}: {shown(kind)} is no layer that this version of fastgru knows")
        self._key, self._parts, self._depth = key, 1, 0
        fields = {name: value for name, value in data.items() if name != "type"}
        self._layers[key] = Of(layer_classes()[kind]).read(fields, where, self)
        self.check_parts(where)
        self._sizes[key] = self._parts, self._depth
        self._key, self._parts, self._depth = "", 0, 0

    def layer(self, key: str, where: str) -> Layer:
        """The layer of a key, for a node of the model that is being read."""
        if key not in self._layers:
            raise CheckpointError(f"{where}: {shown(key)} is no layer that is described before it")
        if self.homes.setdefault(key, self._key) != self._key:
            raise CheckpointError(f"{where}: {shown(key)} stands in two models, wanted a layer of this one alone")
        parts, depth = self._sizes[key]
        self._parts += parts
        self._depth = max(self._depth, depth)
        return self._layers[key]

    def end_model(self) -> None:
        """A model was read, within the layer that is being read or as the whole."""
        self._depth += 1

    def tensor(self, name: str, where: str) -> np.ndarray | Matrix:
        if name in self._taken:
            raise CheckpointError(f"{where}: tensor {shown(name)} is used twice, wanted one of its own")
        self._taken.add(name)
        self._parts += 1
        return self._take(name)

    def check_parts(self, where: str) -> None:
        """Raise where running what was read would take much longer than its description is long."""
        if self._parts > MAX_PARTS:
            raise UnsupportedModelError(f"{where}: it runs {self._parts} layers and tensors, more than {MAX_PARTS}")
        if self._depth > MAX_DEPTH:
            raise UnsupportedModelError(f"{where}: its models are nested deeper than {MAX_DEPTH}")
