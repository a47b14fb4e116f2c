"""How each kind of field of a description is written as plain data, and how it is read and checked.

The table at the end is by the annotation of a field, so that a new layer of ``layers`` is saved without a word here
unless it has a field of a kind that no other has.
"""

from __future__ import annotations

import math
from functools import cache
from inspect import get_annotations
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import layers
from ..checkpoint.text import shown
from ..errors import CheckpointError, UnsupportedModelError
from ..gru_weights import GRUSpec, GRUWeights
from ..layers import Activation, Input, Layer, ModelSpec, Node
from ..records.record import Record
from ..weights.matrices import as_array
from ..weights.records import MatrixRecord

if TYPE_CHECKING:
    from .topology import _Reader, _Writer

__all__ = ["GRU", "MODEL", "Kind", "Of", "kinds_of", "layer_classes", "needs_tensors"]

ADDED = {"output_names": None, "stateful": False}  # written only where they say more, for earlier versions to read
LARGEST = 2**31 - 1  # of a whole number
LONGEST = 10_000  # of a tuple: as many nodes as a model may have
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@cache
def layer_classes() -> dict[str, type[Layer]]:
    """Every layer of ``layers`` by its name: all that the name of a layer in a file can mean."""
    found = [getattr(layers, name) for name in layers.__all__]
    classes = [each for each in found if isinstance(each, type) and issubclass(each, Layer)]
    return {each.__name__: each for each in classes if each is not Layer}


def kinds_of(record: type[Record]) -> dict[str, Kind]:
    """The kind of every field of a record, by its annotation."""
    if record not in _kinds_found:
        annotations: dict[str, str] = {}
        for base in reversed(record.__mro__):
            annotations.update(get_annotations(base))
        found = {name: _kind(annotations[name]) for name in record._fields}
        matrices = record.MATRICES if issubclass(record, MatrixRecord) else ()
        _kinds_found[record] = {**found, **dict.fromkeys(matrices, _MATRIX)}
    return _kinds_found[record]


def needs_tensors(record: type[Record]) -> bool:
    """Whether there is no such record without arrays."""
    return any(kind.needs_tensors for kind in kinds_of(record).values())


class Kind:
    """A kind of field. ``path`` is its place in its layer, and names its tensors; ``where`` begins an error."""

    wanted = ""
    needs_tensors = False

    def write(self, value: Any, path: str, writer: _Writer) -> Any:
        raise NotImplementedError

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        raise NotImplementedError

    def refused(self, data: Any, where: str) -> CheckpointError:
        got = shown(data) if isinstance(data, str) else type(data).__name__ if isinstance(data, (list, dict)) else data
        return CheckpointError(f"{where}: got {got}, wanted {self.wanted}")


class _Text(Kind):
    wanted = "a string"

    def write(self, value: Any, path: str, writer: _Writer) -> str:
        return str(value)

    def read(self, data: Any, where: str, reader: _Reader) -> str:
        if not isinstance(data, str):
            raise self.refused(data, where)
        return data


class _Truth(Kind):
    wanted = "true or false"

    def write(self, value: Any, path: str, writer: _Writer) -> bool:
        return bool(value)

    def read(self, data: Any, where: str, reader: _Reader) -> bool:
        if not isinstance(data, bool):
            raise self.refused(data, where)
        return data


class _Whole(Kind):
    wanted = f"a whole number from {-LARGEST} to {LARGEST}"

    def write(self, value: Any, path: str, writer: _Writer) -> int:
        return int(value)

    def read(self, data: Any, where: str, reader: _Reader) -> int:
        if type(data) is not int or abs(data) > LARGEST:
            raise self.refused(data, where)
        return data


class _Number(Kind):
    wanted = "a number"

    def write(self, value: Any, path: str, writer: _Writer) -> float | str:
        number = float(value)
        return number if math.isfinite(number) else str(number)

    def read(self, data: Any, where: str, reader: _Reader) -> float:
        if isinstance(data, str) and data in NOT_FINITE:
            return NOT_FINITE[data]
        if type(data) not in (int, float):
            raise self.refused(data, where)
        return float(data)


class _Array(Kind):
    wanted = "the name of a tensor"
    needs_tensors = True

    def write(self, value: Any, path: str, writer: _Writer) -> str:
        return writer.name_of(value, path)

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        if not isinstance(data, str):
            raise self.refused(data, where)
        return as_array(reader.tensor(data, where))


class _Matrix(_Array):
    """A matrix, of which the array may be made later."""

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        if not isinstance(data, str):
            raise self.refused(data, where)
        return reader.tensor(data, where)


class _Optional(Kind):
    """None, or another kind."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def write(self, value: Any, path: str, writer: _Writer) -> Any:
        return None if value is None else self._kind.write(value, path, writer)

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        return None if data is None else self._kind.read(data, where, reader)


class _Tuple(Kind):
    """A tuple of one kind, as a list."""

    wanted = "a list"

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def write(self, value: Any, path: str, writer: _Writer) -> list[Any]:
        return [self._kind.write(each, f"{path}.{place}", writer) for place, each in enumerate(value)]

    def read(self, data: Any, where: str, reader: _Reader) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise self.refused(data, where)
        if len(data) > LONGEST:
            raise UnsupportedModelError(f"{where}: got {len(data)} of them, at most {LONGEST} are supported")
        return tuple(self._kind.read(each, f"{where}[{place}]", reader) for place, each in enumerate(data))


class _Edge(Kind):
    """An edge of a graph: a name, or a name and the index of an output."""

    wanted = "a name, or a list of a name and an index"

    def write(self, value: Any, path: str, writer: _Writer) -> Any:
        return value if isinstance(value, str) else [value[0], int(value[1])]

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        if isinstance(data, str):
            return data
        if not isinstance(data, list) or len(data) != 2 or not isinstance(data[0], str):
            raise self.refused(data, where)
        return data[0], _WHOLE.read(data[1], where, reader)


class _Option(Kind):
    """An option of an activation."""

    def write(self, value: Any, path: str, writer: _Writer) -> Any:
        return _kind_of_option(value).write(value, path, writer)

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        return _kind_of_option(data).read(data, where, reader)


def _kind_of_option(value: Any) -> Kind:
    if isinstance(value, (list, tuple)):
        return _Tuple(_WHOLE)
    if isinstance(value, (bool, np.bool_)):
        return _TRUTH
    return _WHOLE if isinstance(value, (int, np.integer)) else _Optional(_NUMBER)


class _Options(Kind):
    """Pairs of a name and an option, as an object."""

    wanted = "an object"

    def write(self, value: Any, path: str, writer: _Writer) -> dict[str, Any]:
        return {name: _Option().write(option, path, writer) for name, option in value}

    def read(self, data: Any, where: str, reader: _Reader) -> tuple[tuple[str, Any], ...]:
        if not isinstance(data, dict):
            raise self.refused(data, where)
        return tuple((name, _Option().read(data[name], f"{where}: {shown(name)}", reader)) for name in sorted(data))


class Of(Kind):
    """A record, as an object of its fields; a field that is not there has its default."""

    wanted = "an object"

    def __init__(self, record: type[Record], *, needs_tensors: bool = False) -> None:
        self._record = record
        self.needs_tensors = needs_tensors

    def write(self, value: Any, path: str, writer: _Writer) -> dict[str, Any]:
        start = f"{path}." if path else ""
        kinds = kinds_of(self._record)
        fields = value.fields()
        said = [name for name in kinds if name not in ADDED or fields[name] != ADDED[name]]
        return {name: kinds[name].write(fields[name], start + name, writer) for name in said}

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        if not isinstance(data, dict):
            raise self.refused(data, where)
        kinds, name = kinds_of(self._record), self._record.__name__
        for field in data:
            if field not in kinds:
                raise UnsupportedModelError(f"{where}: this version of fastgru knows no {shown(field)} of {name}")
        for field in kinds:
            if field not in data and not hasattr(self._record, field):
                raise CheckpointError(f"{where}: {field} of {name} is missing; the file is damaged")
        fields = {field: kinds[field].read(each, f"{where}: {field}", reader) for field, each in data.items()}
        return self._record(**fields)


class _Activation(Kind):
    """The activation of a layer: a name, or an Activation with options."""

    def write(self, value: Any, path: str, writer: _Writer) -> Any:
        return (_ACTIVATION if isinstance(value, Activation) else _TEXT).write(value, path, writer)

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        return (_TEXT if isinstance(data, str) else _ACTIVATION).read(data, where, reader)


class _LayerKey(_Text):
    """The layer of a node: its key in the table of layers."""

    wanted = "the name of a layer"

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        return reader.layer(super().read(data, where, reader), where)


class _Node(Of):
    """A node, after whose name its layer is called in the table."""

    def write(self, value: Any, path: str, writer: _Writer) -> dict[str, Any]:
        key = writer.key_of(value.layer, value.name)
        return {
            name: key if name == "layer" else kind.write(getattr(value, name), path, writer)
            for name, kind in kinds_of(Node).items()
        }


class _Model(Of):
    """A model: the whole, or one inside a layer."""

    def write(self, value: Any, path: str, writer: _Writer) -> dict[str, Any]:
        writer.begin_model()
        data = super().write(value, path, writer)
        writer.end_model()
        return data

    def read(self, data: Any, where: str, reader: _Reader) -> Any:
        model = super().read(data, where, reader)
        reader.end_model()
        return model


_TEXT, _TRUTH, _WHOLE, _NUMBER, _MATRIX = _Text(), _Truth(), _Whole(), _Number(), _Matrix()
_ACTIVATION = Of(Activation)
GRU, MODEL = Of(GRUSpec, needs_tensors=True), _Model(ModelSpec, needs_tensors=True)
_kinds_found: dict[type[Record], dict[str, Kind]] = {}

_KINDS: dict[str, Kind] = {
    "Any": _Activation(),
    "Edge": _Edge(),
    "GRUSpec": GRU,
    "GRUWeights": Of(GRUWeights, needs_tensors=True),
    "Input": Of(Input),
    "Layer": _LayerKey(),
    "ModelSpec": MODEL,
    "Node": _Node(Node),
    "Shape": _Tuple(_Optional(_WHOLE)),
    "bool": _TRUTH,
    "float": _NUMBER,
    "int": _WHOLE,
    "np.ndarray": _Array(),
    "str": _TEXT,
    "tuple[tuple[str, Any], ...]": _Options(),
}


def _kind(annotation: str) -> Kind:
    """The kind of a field's annotation: one of the table, a tuple of one, or one that may be None."""
    if annotation in _KINDS:
        return _KINDS[annotation]
    if annotation.endswith(" | None"):
        return _Optional(_kind(annotation.removesuffix(" | None")))
    if annotation.startswith("tuple[") and annotation.endswith(", ...]"):
        return _Tuple(_kind(annotation[len("tuple[") : -len(", ...]")]))
    raise TypeError(f"a field of a record is annotated {annotation!r}, of which it is not known how it is saved")
