"""The making of a graph, operation by operation: what every importer calls.

The builder names nodes, infers shapes, computes what depends on constants alone, and holds the one budget: a file
cannot ask for many times the numbers that it holds, nor for more nodes than a model has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import FastGRUError, ShapeError, UnsupportedModelError
from ..weights.matrices import Matrix, as_array
from .graph import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    RELATIONS,
    FixedAxis,
    Graph,
    Guard,
    Input,
    Node,
    Structure,
    Tensor,
    leaves,
    rebuilt,
)
from .operations.create import SizeOf
from .operations.operation import Call, Operation, check_fields
from .size import Expression, Size, Sizes, Unequal, product, solved, substitute

__all__ = ["Builder", "TooMuchError", "Value", "specialised"]

MAX_NODES = 100_000
MAX_RANK = 8
MAX_FILLED = 1 << 16  # numbers of a constant made of sizes alone
LARGEST = 2**40  # of a size: no memory holds it
SPARE = 1 << 22  # numbers that constants may take beyond four times those of the file


class TooMuchError(UnsupportedModelError):
    """More operations, or more numbers, than a source may ask for."""


class Value:
    """A value of the graph that is being built; ``known`` is what it is where that is known already.

    That is an array, or a ``Matrix``: of a file, say, which only a GRU takes as it is.
    """

    __slots__ = ("known", "place", "tensor")

    def __init__(self, place: int, tensor: Tensor, known: np.ndarray | Matrix | None = None) -> None:
        self.place, self.tensor, self.known = place, tensor, known

    @property
    def array(self) -> np.ndarray | None:
        """What is known, as an array, which of a ``Matrix`` is made now."""
        return None if self.known is None else as_array(self.known)

    @property
    def number(self) -> Any:
        """The one number that it is; None where it has several, or is not known."""
        if self.known is None or product(self.shape) != 1:
            return None
        return as_array(self.known).reshape(()).item()

    @property
    def shape(self) -> Sizes:
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        return self.tensor.dtype

    @property
    def rank(self) -> int:
        return len(self.tensor.shape)

    def __repr__(self) -> str:
        return f"a value {self.tensor}"


class Builder:
    """A graph that is being built.

    Parameters
    ----------
    where : str
        What errors begin with: the file, or the module.
    numbers : int
        How many numbers the source holds, which bounds what may be made of them.
    folds : bool
        Whether what depends on constants alone is computed now. What was saved was folded before.
    demands : bool
        Whether sizes that must be equal for an operation, and of which neither is a symbol that could stand for the
        other, become a guard; else they are an error.
    """

    def __init__(self, where: str = "", numbers: int = 0, folds: bool = True, demands: bool = False) -> None:
        self.where, self.folds, self.demands = where, folds, demands
        self._left = SPARE + 4 * numbers
        self._names: dict[str, int] = {}
        self._inputs: list[Input] = []
        self._nodes: list[Node] = []
        self._tensors: list[Tensor] = []
        self._values: list[Value] = []
        self._constants: dict[int, np.ndarray | Matrix] = {}
        self._arrays: dict[int, Value] = {}  # of arrays that were given before, by identity
        self._guards: list[Guard] = []
        self._least: dict[Size, int] = {}  # of sizes, by the guards
        self._guarded: dict[Size, Size] = {}  # what other sizes are, by the guards
        self._equal: dict[str, Size] = {}  # what symbols stand for that have turned out to be the same as others

    def input(self, name: str, shape: Sequence[Size], dtype: str = FLOAT, fixed: tuple[FixedAxis, ...] = ()) -> Value:
        """A new input of the model; ``fixed`` are axes that have one size only."""
        self._check_shape(tuple(shape), f"input {name!r}")
        value = self._value(Tensor(tuple(shape), dtype))
        self._inputs.append(Input(self._free(name), value.place, fixed))
        return value

    def constant(self, given: Any) -> Value:
        """A value that is known: an array or a matrix of the source, or a number."""
        array = given if isinstance(given, Matrix) else np.asarray(given)
        kind = _kind_of(array)
        if kind is None:
            raise self.error("constant", f"has elements of {array.dtype}, wanted numbers or booleans")
        if id(given) in self._arrays:
            return self._arrays[id(given)]
        value = self._value(Tensor(array.shape, kind), array)
        self._constants[value.place] = array
        if array is given:
            self._arrays[id(given)] = value
        return value

    def add(self, operation: Operation, *inputs: Value, name: str = "") -> Any:
        """What an operation makes of values: one value, or a tuple where it makes several.

        Raises
        ------
        FastGRUError
            The inputs do not fit; the message begins with the source and the operation's name.
        """
        name = name or type(operation).__name__.lower()
        try:
            check_fields(operation)
            made = self._inferred(operation, inputs)
            for tensor in made:
                self._check_shape(tensor.shape, "its output")
            known = self._folded(operation, inputs, made)
        except FastGRUError as error:
            raise type(error)(f"{self._place(name)}{error}") from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # of a file that says nonsense
            raise ShapeError(f"{self._place(name)}its options or inputs do not fit: {str(error)[:200]}") from None
        if known is not None:
            values = [self.constant(array) for array in known]
        else:
            if len(self._nodes) >= MAX_NODES:
                raise TooMuchError(f"{self._place(name)}the model has more than {MAX_NODES} operations")
            values = [self._value(tensor) for tensor in made]
            places = tuple(value.place for value in inputs), tuple(value.place for value in values)
            self._nodes.append(Node(self._free(name), operation, *places))
        return values[0] if len(values) == 1 else tuple(values)

    def _inferred(self, operation: Operation, inputs: Sequence[Value]) -> list[Tensor]:
        """What an operation makes; symbols that must be equal for it are from now on the same."""
        for _ in range(MAX_RANK):
            try:
                return self._settled_fields(operation).infer([self._settled(value.tensor) for value in inputs])
            except Unequal as error:
                if not self._unify(error.one, error.other) and not self._demand(error.one, error.other, str(error)):
                    raise
        raise ShapeError("its sizes depend on each other")

    def _settled_fields(self, operation: Operation) -> Operation:
        """An operation whose fields have the sizes that symbols stand for by now."""
        if not self._equal:
            return operation

        def settled(given: Any) -> Any:
            if isinstance(given, Expression):
                return substitute(given, self._equal)
            return tuple(map(settled, given)) if type(given) is tuple else given

        changed = {name: made for name, value in operation.fields().items() if (made := settled(value)) is not value}
        return operation.replace(**changed) if changed else operation

    def _settled(self, tensor: Tensor) -> Tensor:
        """What is known of a value, with the symbols that stand for others replaced."""
        if not self._equal and not self._guarded:
            return tensor
        return tensor._replace(shape=tuple(map(self.settled, tensor.shape)))

    def _unify(self, one: Size, other: Size) -> bool:
        """Let a symbol stand for another size from now on; whether there is one that makes the two the same."""
        found = solved(one, other)
        if found is None:
            return False
        name, size = found
        for each, known in self._equal.items():
            self._equal[each] = substitute(known, {name: size})
        self._equal[name] = size
        self._settle_values()
        return True

    def _settle_values(self) -> None:
        for value in self._values:
            value.tensor = self._settled(value.tensor)

    def _demand(self, one: Size, other: Size, reason: str) -> bool:
        """Let two sizes be the same by a guard; False where that is not done, or was done and is not enough."""
        if not self.demands or one in self._guarded or other in self._guarded or one == other:
            return False
        if isinstance(one, int) and isinstance(other, int):
            return False
        self.guard(one, "==", other, reason[:200])
        self._settle_values()
        return True

    def settled(self, size: Size) -> Size:
        """A size with what has turned out to be the same as others replaced."""
        if isinstance(size, int):
            return size
        size = substitute(size, self._equal) if self._equal else size
        return self._guarded.get(size, size) if self._guarded else size

    def same(self, one: Size, other: Size, reason: str) -> None:
        """Let two sizes be the same from now on.

        Raises
        ------
        ShapeError
            They cannot be.
        """
        one, other = self.settled(one), self.settled(other)
        if one != other and not self._unify(one, other) and not self._demand(one, other, reason):
            raise ShapeError(f"{reason}: got {one}, wanted {other}")

    def copy(self, value: Value) -> Value:
        """The same value as an object of its own, for callers who tell values apart by identity."""
        made = Value(value.place, value.tensor, value.known)
        self._values.append(made)
        return made

    def _folded(self, operation: Operation, inputs: Sequence[Value], made: Sequence[Tensor]) -> list[np.ndarray] | None:
        """The outputs where they depend on constants alone: numbers in float64, rounded once when the model is made."""
        if not self.folds or any(value.known is None for value in inputs):
            return None
        if any(isinstance(size, Expression) for tensor in made for size in tensor.shape):
            return None
        if not inputs and isinstance(operation, SizeOf) and not isinstance(operation.size, int):
            return None
        numbers = sum(size for tensor in made if isinstance(size := product(tensor.shape), int))
        if not inputs and numbers > MAX_FILLED:
            return None  # made anew by every call, rather than kept
        self._left -= numbers + sum(value.known.size for value in inputs if value.known is not None)
        if self._left < 0:
            raise TooMuchError("makes many times the numbers that the source holds")
        wide = [np.asarray(value.array, np.float64) if value.dtype == FLOAT else value.array for value in inputs]
        return [np.asarray(each) for each in operation.compute(wide, Call(np.dtype(np.float64), {}))]  # type: ignore[arg-type]

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes so far."""
        return self._nodes

    def rank(self, place: int) -> int:
        """How many axes a value has, by its place."""
        return len(self._tensors[place].shape)

    def guard(self, one: Size, relation: str, other: Size, reason: str) -> None:
        """Note what the sizes of every call must satisfy; what is known to hold is left out.

        Raises
        ------
        UnsupportedModelError
            It is known not to hold.
        """
        if isinstance(one, int) and isinstance(other, int):
            if not RELATIONS[relation](one, other):
                raise UnsupportedModelError(f"{self.where}: {one} {relation} {other} does not hold: {reason}")
        elif one != other or relation not in ("==", "<=", ">="):
            self._guards.append(Guard(one, relation, other, reason))
            if relation == "==":
                longer, shorter = sorted((one, other), key=_complexity, reverse=True)
                self._guarded.setdefault(longer, shorter)
            if isinstance(other, int) and relation in (">", ">="):
                self._least[one] = max(self._least.get(one, 0), other + (relation == ">"))

    def settle(self) -> None:
        """Let sizes that the conditions so far say are equal be one, where one of them is a symbol."""
        for guard in self._guards:
            if guard.relation == "==":
                self._unify(self.settled(guard.one), self.settled(guard.other))

    def least(self, size: Size) -> int:
        """A number that a size is never below."""
        return size if isinstance(size, int) else self._least.get(size, 0)

    def finish(self, outputs: Structure) -> Graph:
        """The graph with these outputs (values' places), without what they do not need."""
        wanted = set(leaves(outputs))
        nodes: list[Node] = []
        for node in reversed(self._nodes):
            if wanted & set(node.outputs):
                nodes.append(node)
                wanted |= set(node.inputs)
        constants = {place: as_array(known) for place, known in self._constants.items() if place in wanted}
        graph = Graph(
            tuple(self._inputs), constants, tuple(reversed(nodes)), outputs, tuple(self._tensors), tuple(self._guards)
        )
        return specialised(graph, self._equal, self.folds) if self._equal else graph

    def error(self, name: str, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self._place(name)}{message}")

    def _place(self, name: str) -> str:
        return f"{self.where}: {name}: " if self.where else f"{name}: "

    def _value(self, tensor: Tensor, known: np.ndarray | Matrix | None = None) -> Value:
        self._tensors.append(tensor)
        value = Value(len(self._tensors) - 1, tensor, known)
        self._values.append(value)
        return value

    def _check_shape(self, shape: Sizes, what: str) -> None:
        if len(shape) > MAX_RANK:
            raise ShapeError(f"{what} has {len(shape)} axes, at most {MAX_RANK} are supported")
        for size in shape:
            if isinstance(size, int) and not 0 <= size <= LARGEST:
                raise ShapeError(f"{what} has a size of {size}")

    def _free(self, name: str) -> str:
        """The name, or with the first of _1, _2 ... that is free."""
        free = name
        while free in self._names:
            self._names[name] += 1
            free = f"{name}_{self._names[name]}"
        self._names[free] = 0
        return free


def _complexity(size: Size) -> tuple[bool, int]:
    return isinstance(size, Expression), len(str(size))


def _kind_of(array: np.ndarray | Matrix) -> str | None:
    return {"f": FLOAT, "i": INTEGER, "u": INTEGER, "b": BOOLEAN}.get(array.dtype.kind)


def specialised(graph: Graph, values: Mapping[str, Size], folds: bool = True) -> Graph:
    """The graph with other sizes for some symbols, built anew, so that what they make known is folded."""
    builder = Builder(folds=folds)

    def settled(given: Any) -> Any:
        if isinstance(given, Expression):
            return substitute(given, values)
        return tuple(map(settled, given)) if type(given) is tuple else given

    known: dict[int, Value] = {place: builder.constant(array) for place, array in graph.constants.items()}
    for source in graph.inputs:
        tensor = graph.tensors[source.value]
        known[source.value] = builder.input(source.name, settled(tensor.shape), tensor.dtype, source.fixed)
    for one, relation, other, reason in graph.guards:
        builder.guard(settled(one), relation, settled(other), reason)
    for node in graph.nodes:
        fields = node.operation.fields()
        changed = {name: settled(value) for name, value in fields.items() if settled(value) is not value}
        operation = node.operation.replace(**changed) if changed else node.operation
        made = builder.add(operation, *(known[place] for place in node.inputs), name=node.name)
        known.update(zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True))
    return builder.finish(rebuilt(graph.outputs, lambda place: known[place].place))
