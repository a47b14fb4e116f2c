"""A graph as plain data and back: what ``save`` writes beside the weights, and ``load`` reads again.

What is read is data from a stranger: every name is looked up in a table, and every operation goes through the builder,
which checks it as it checks an importer's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..checkpoint.text import shown
from ..errors import CheckpointError, FastGRUError, UnsupportedModelError
from ..gru_weights import GRUSpec, GRUWeights
from ..layers import Activation
from ..records.record import Record
from ..weights.matrices import Matrix, as_array
from .builder import MAX_NODES, Builder, Value
from .graph import BOOLEAN, FLOAT, INTEGER, RELATIONS, FixedAxis, Graph, Structure
from .operations import by_name
from .operations.normalization import BatchNorm, Normalize
from .parse import size_of
from .size import Expression, Size

__all__ = ["from_data", "names_in_graph", "to_data"]

MAX_GUARDS = 500
SPARE = 1 << 20  # numbers that operations may hold beyond four times those of the file
MAX_DEPTH = 20  # of tuples in tuples: fields and outputs of real models have two or three
_RECORDS: dict[str, type[Record]] = {each.__name__: each for each in (GRUSpec, GRUWeights, Activation)}
_NORMALISATIONS = (BatchNorm.__name__, Normalize.__name__)
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_data(graph: Graph) -> tuple[dict[str, Any], dict[str, np.ndarray | Matrix]]:
    """A graph as data that ``json.dumps`` takes, and its arrays by the names that stand in it."""
    writer = _Writer()
    constants = {str(place): writer.tensor(f"constant_{place}", array) for place, array in graph.constants.items()}
    data = {
        "inputs": [
            [source.name, source.value, writer.plain(tensor.shape), tensor.dtype, list(map(list, source.fixed))]
            for source in graph.inputs
            for tensor in [graph.tensors[source.value]]
        ],
        "constants": constants,
        "operations": writer.operations,
        "nodes": [
            [node.name, writer.operation(node.operation, node.name), list(node.inputs), list(node.outputs)]
            for node in graph.nodes
        ],
        "outputs": _written(graph.outputs),
        "guards": [[*map(writer.plain, (each.one, each.relation, each.other)), each.reason] for each in graph.guards],
    }  # fmt: skip
    return {"graph": data}, writer.tensors


def names_in_graph(data: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Of the tensors of ``to_data`` those that are matrices of GRUs and nothing else, and those of normalisations."""
    matrices: set[str] = set()
    others: set[str] = set(data["graph"]["constants"].values())
    normalisations: set[str] = set()

    def look(value: Any, into: set[str]) -> None:
        if isinstance(value, list):
            for each in value:
                look(each, into)
        elif isinstance(value, dict) and "tensor" in value:
            into.add(value["tensor"])
        elif isinstance(value, dict) and "record" in value:
            for name, each in value["fields"].items():
                is_matrix = value["record"] == GRUWeights.__name__ and name in ("w_ih", "w_hh")
                look(each, matrices if is_matrix else into)

    for operation in data["graph"]["operations"]:
        look([*operation.values()], normalisations if operation["type"] in _NORMALISATIONS else others)
    return matrices - others - normalisations, normalisations


class _Writer:
    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray | Matrix] = {}
        self.operations: list[Any] = []
        self._places: dict[int, int] = {}  # of operations, by identity
        self._names: dict[int, str] = {}  # of arrays, by identity

    def operation(self, operation: Record, name: str) -> int:
        """The place of an operation in the table, which it gets where it has not got it yet."""
        if id(operation) not in self._places:
            self._places[id(operation)] = len(self.operations)
            fields = {key: self.plain(value, f"{name}.{key}") for key, value in operation.fields().items()}
            self.operations.append({"type": type(operation).__name__, **fields})
        return self._places[id(operation)]

    def tensor(self, name: str, array: np.ndarray | Matrix) -> str:
        if id(array) not in self._names:
            free, count = name, 0
            while free in self.tensors:
                count += 1
                free = f"{name}_{count}"
            self._names[id(array)], self.tensors[free] = free, array
        return self._names[id(array)]

    def plain(self, value: Any, path: str = "") -> Any:
        """A field as JSON: what JSON has no word for is an object of one key."""
        if isinstance(value, (np.ndarray, Matrix)):
            return {"tensor": self.tensor(path, value)}
        if isinstance(value, Expression):
            return {"size": str(value)}
        if isinstance(value, Record):
            fields = {key: self.plain(each, f"{path}.{key}") for key, each in value.fields().items()}
            return {"record": type(value).__name__, "fields": fields}
        if isinstance(value, (tuple, list)):
            return [self.plain(each, f"{path}.{at}") for at, each in enumerate(value)]
        if isinstance(value, (float, np.floating)):
            return float(value) if math.isfinite(value) else {"number": str(float(value))}
        if isinstance(value, (bool, int, str)) or value is None:
            return value
        return int(value)


def _written(structure: Structure) -> Any:
    if structure is None or isinstance(structure, int):
        return structure
    if isinstance(structure, dict):
        return {"dict": [[key, _written(part)] for key, part in structure.items()]}
    return {type(structure).__name__: [_written(part) for part in structure]}


def from_data(data: Mapping[str, Any], take: Callable[[str], np.ndarray | Matrix], where: str) -> Graph:
    """What ``to_data`` was given; ``take`` gives the tensor of a name, and errors begin with ``where``.

    Raises
    ------
    UnsupportedModelError
        An operation is not known.
    CheckpointError
        The data is not what ``to_data`` writes.
    """
    return _Reader(take, where).graph(data)


class _Reader:
    def __init__(self, take: Callable[[str], np.ndarray | Matrix], where: str) -> None:
        self.take, self.where = take, where
        self.tensors: dict[str, np.ndarray | Matrix] = {}
        self.left = SPARE  # numbers that operations may still hold: those of a tensor count once for each
        self.values: dict[int, Value] = {}

    def graph(self, given: Mapping[str, Any]) -> Graph:
        data = self._part(given, "graph", dict)
        parts = [self._part(data, name, kind) for name, kind in _PARTS.items()]
        inputs, constants, operations, nodes, guards = parts
        if len(nodes) > MAX_NODES or len(operations) > MAX_NODES:
            raise UnsupportedModelError(f"{self.where}: the model has more than {MAX_NODES} operations")
        if "outputs" not in data:
            raise self.damaged("it has no outputs")
        arrays = {name: as_array(self.tensor(value)) for name, value in constants.items()}
        self.builder = Builder(self.where, sum(array.size for array in arrays.values()), folds=False)
        for name in arrays:
            self._bind(self._place(int(name) if name.isdigit() else None), self.builder.constant(arrays[name]))
        for each in inputs:
            name, value, shape, dtype, fixed = self._row(each, 5, "an input")
            if not isinstance(name, str) or dtype not in (FLOAT, INTEGER, BOOLEAN):
                raise self.damaged("an input has no name or no type")
            sizes = self._sizes(shape)
            self._bind(self._place(value), self.builder.input(name, sizes, dtype, self._fixed(fixed, len(sizes))))
        self.operations = [self._operation(each) for each in operations]
        for each in guards:
            one, relation, other, why = self._row(each, 4, "a guard")
            if not isinstance(relation, str) or relation not in RELATIONS or not isinstance(why, str):
                raise self.damaged("a guard is no comparison")
            self.builder.guard(self._size(one), relation, self._size(other), why)
        for each in nodes:
            self._node(*self._row(each, 4, "a node"))
        graph = self.builder.finish(self._structure(data["outputs"], 0))
        self._check_symbols(graph)
        return graph

    def _fixed(self, given: Any, rank: int) -> tuple[FixedAxis, ...]:
        """The axes of an input that have one size only."""
        if not isinstance(given, list) or len(given) > rank:
            raise self.damaged("an input has fixed axes that are no list")
        made = []
        for each in given:
            axis, size, reason, opens = self._row(each, 4, "a fixed axis")
            if not isinstance(reason, str) or type(opens) is not bool or self._place(axis) >= rank:
                raise self.damaged("an input has a fixed axis that it has not")
            made.append(FixedAxis(axis, self._place(size), reason, opens))
        return tuple(made)

    def _check_symbols(self, graph: Graph) -> None:
        """Raise unless every symbol is the size of an axis of an input, and the guards are few."""
        if len(graph.guards) > MAX_GUARDS:
            raise UnsupportedModelError(f"{self.where}: it has {len(graph.guards)} guards, more than {MAX_GUARDS}")
        named = {
            str(size)
            for source in graph.inputs
            for size in graph.tensors[source.value].shape
            if isinstance(size, Expression) and str(size) in size.symbols()
        }
        fields = [value for node in graph.nodes for value in node.operation.fields().values()]
        sizes = [*fields, *(tensor.shape for tensor in graph.tensors), *(guard[:3:2] for guard in graph.guards)]
        unknown = _symbols_in(sizes) - named
        if unknown:
            raise self.damaged(f"a size is of {shown(min(unknown))}, which no input has")

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: its description does not fit together: {what}; the file is damaged")

    def _part(self, data: Any, name: str, kind: type) -> Any:
        found = data.get(name) if isinstance(data, Mapping) else None
        if not isinstance(found, kind):
            raise self.damaged(f"it has no {name}")
        return found

    def _row(self, given: Any, count: int, what: str) -> list[Any]:
        if not isinstance(given, list) or len(given) != count:
            raise self.damaged(f"{what} is no list of {count}")
        return given

    def _place(self, given: Any) -> int:
        if type(given) is not int or not 0 <= given < 1 << 31:
            raise self.damaged("a value is no number")
        return given

    def _bind(self, place: int, value: Value) -> None:
        if place in self.values:
            raise self.damaged(f"value {place} is made twice")
        self.values[place] = value

    def _known(self, place: Any) -> Value:
        found = self.values.get(self._place(place))
        if found is None:
            raise self.damaged(f"value {place} is made by nothing before it is taken")
        return found

    def _node(self, name: Any, operation: Any, inputs: Any, outputs: Any) -> None:
        if not isinstance(name, str) or not isinstance(inputs, list) or not isinstance(outputs, list):
            raise self.damaged("a node has no name, no inputs or no outputs")
        if type(operation) is not int or not 0 <= operation < len(self.operations):
            raise self.damaged(f"node {shown(name)} has no operation")
        known = [self._known(place) for place in inputs]
        try:
            made = self.builder.add(self.operations[operation], *known, name=name)
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            if isinstance(error, FastGRUError):
                raise
            raise self.damaged(f"node {shown(name)}: {str(error)[:200]}") from None
        values = made if isinstance(made, tuple) else (made,)
        if len(values) != len(outputs):
            raise self.damaged(f"node {shown(name)} has {len(outputs)} outputs, wanted {len(values)}")
        for place, value in zip(outputs, values, strict=True):
            self._bind(self._place(place), value)

    def _operation(self, data: Any) -> Any:
        kind = data.get("type") if isinstance(data, dict) else None
        if not isinstance(kind, str):
            raise self.damaged("an operation has no type")
        if kind not in by_name():
            raise UnsupportedModelError(
                f"{self.where}: {shown(kind)} is no operation that this version of fastgru knows; install a newer one"
            )
        return self._record(by_name()[kind], {key: value for key, value in data.items() if key != "type"}, 0)

    def _record(self, kind: type[Record], fields: Any, depth: int) -> Any:
        if not isinstance(fields, dict) or not set(fields) <= set(kind._fields):
            raise self.damaged(f"a {kind.__name__} has fields that are not known")
        try:
            made = {name: self._field(value, depth + 1) for name, value in fields.items()}
            return kind(**(made if kind is GRUWeights else {name: as_array(value) for name, value in made.items()}))
        except (TypeError, ValueError) as error:
            if isinstance(error, FastGRUError):
                raise
            raise self.damaged(str(error)[:200]) from None

    def _field(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.damaged("its fields are nested too deeply")
        if isinstance(value, list):
            return tuple(self._field(each, depth + 1) for each in value)
        if not isinstance(value, dict):
            return value
        if set(value) == {"tensor"}:
            return self.tensor(value)
        if set(value) == {"size"} and isinstance(value["size"], str):
            return size_of(value["size"], self.where)
        if set(value) == {"number"} and isinstance(value["number"], str) and value["number"] in _NOT_FINITE:
            return _NOT_FINITE[value["number"]]
        if set(value) == {"record", "fields"} and str(value["record"]) in _RECORDS:
            return self._record(_RECORDS[str(value["record"])], value["fields"], depth)
        raise self.damaged("a field is of no kind that is known")

    def tensor(self, value: Any) -> np.ndarray | Matrix:
        name = value.get("tensor") if isinstance(value, dict) else value
        if not isinstance(name, str):
            raise self.damaged("a tensor has no name")
        if name not in self.tensors:
            self.tensors[name] = self.take(name)
            self.left += 4 * self.tensors[name].size
        self.left -= self.tensors[name].size
        if self.left < 0:
            raise UnsupportedModelError(f"{self.where}: many operations hold {shown(name)}, each a copy when it runs")
        return self.tensors[name]

    def _size(self, value: Any) -> Size:
        made = self._field(value, 0)
        if not isinstance(made, (int, Expression)) or isinstance(made, bool):
            raise self.damaged("a size is no size")
        return made

    def _sizes(self, value: Any) -> tuple[Size, ...]:
        if not isinstance(value, list):
            raise self.damaged("a shape is no list")
        return tuple(map(self._size, value))

    def _structure(self, data: Any, depth: int) -> Structure:
        if depth > MAX_DEPTH:
            raise self.damaged("its outputs are nested too deeply")
        if data is None:
            return None
        if type(data) is int:
            return self._known(data).place
        if isinstance(data, dict) and len(data) == 1:
            ((kind, parts),) = data.items()
            if kind == "dict" and isinstance(parts, list):
                pairs = [self._row(pair, 2, "an output") for pair in parts]
                if all(isinstance(key, str) for key, _ in pairs):
                    return {key: self._structure(part, depth + 1) for key, part in pairs}
            if kind in ("tuple", "list") and isinstance(parts, list):
                made = [self._structure(part, depth + 1) for part in parts]
                return tuple(made) if kind == "tuple" else made
        raise self.damaged("its outputs are of no kind that is known")


def _symbols_in(value: Any) -> set[str]:
    """The names of all symbols in sizes, also in tuples of them."""
    if isinstance(value, Expression):
        return set(value.symbols())
    if isinstance(value, (tuple, list)):
        return set().union(*map(_symbols_in, value))
    return set()


_PARTS: dict[str, type] = {"inputs": list, "constants": dict, "operations": list, "nodes": list, "guards": list}
