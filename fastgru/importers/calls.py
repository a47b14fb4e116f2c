"""Calls by name become operations: what every file that writes its model as calls of a framework's operations shares.

A table has one row for each name: the function that builds it and the names of its operands in their order. Functions
are given a ``Context``, and then operands: values of the graph, sizes, numbers, texts, lists of these. What they give
are values too. Nothing here knows a framework.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import UnsupportedModelError
from ..graph.builder import Builder, Value
from ..graph.operations.create import SizeOf
from ..graph.operations.operation import Operation
from ..graph.size import Expression, Size
from ..weights.matrices import Matrix, as_array
from .tensors import OnceRead

__all__ = ["Context", "Row", "Table", "apply", "row"]

MAX_CALLS = 100_000


class Row(NamedTuple):
    """One operation of a framework."""

    function: Callable[..., Any]
    operands: dict[str, str]  # the function's own names, by the framework's


Table = Mapping[str, Row]


def row(function: Callable[..., Any], operands: str) -> Row:
    """``operands`` in the framework's order; where the function calls one otherwise, ``theirs:ours``."""
    pairs = [operand.partition(":") for operand in operands.split()]
    return Row(function, {theirs: ours or theirs for theirs, _, ours in pairs})


class Context:
    """What the functions of a table build with.

    Parameters
    ----------
    builder : Builder
    kinds : mapping of int to str
        What the source's numbers for types stand for: "float", "integer", "boolean", or "half" for what rounds.
    """

    def __init__(self, builder: Builder, kinds: Mapping[int, str]) -> None:
        self.builder, self.kinds = builder, kinds
        self.name = ""  # of the call that is being built
        self.place = ""  # where it stands, for messages
        self.count = 0
        self.sizes_of_example = False  # whether zeros that stand for initial states have the sizes of an example
        self.names: dict[int, str] = {}  # of weights in the source, by the identity of what is known
        self._made: dict[Any, tuple[Operation, tuple[Any, ...]]] = {}

    def error(self, message: str) -> UnsupportedModelError:
        return self.builder.error(f"{self.name}{self.place}", message)

    def add(self, operation: Operation, *inputs: Any) -> Any:
        """The outputs of an operation on values and numbers."""
        return self.builder.add(operation, *(self.value(each) for each in inputs), name=self.name)

    def shared(self, kind: str, weights: Sequence[Any], options: Sequence[Any], make: Callable[[], Operation]) -> Any:
        """What ``make`` gives, or what it gave before for the same weights and options: packed once."""
        known = tuple(each.known if isinstance(each, Value) else each for each in weights)
        key = (kind, *map(id, known), *map(repr, options))
        if key not in self._made:
            self._made[key] = make(), known
        return self._made[key][0]

    def value(self, given: Any) -> Value:
        """A value of the graph: numbers and sizes become one."""
        if isinstance(given, Value):
            return given
        if isinstance(given, Expression):
            made: Value = self.builder.add(SizeOf(given), name=self.name)
            return made
        if isinstance(given, (bool, int, float)):
            if isinstance(given, int) and not isinstance(given, bool) and abs(given) >= 1 << 63:
                raise self.error("takes a whole number of more than 64 bits")
            return self.builder.constant(given)
        raise self.error(f"takes {kind_text(given)} for a tensor")

    def values(self, given: Any) -> list[Value]:
        if not isinstance(given, (list, tuple)):
            raise self.error(f"takes a list of tensors, got {kind_text(given)}")
        return [self.value(each) for each in given]

    def weight(self, given: Any, *shape: int | None) -> np.ndarray:
        """A value that must be known before the model runs, as an array of that shape."""
        array = as_array(self._weight(given, shape))
        return np.ascontiguousarray(array, np.float32 if array.dtype.itemsize < 8 else np.float64)

    def matrix(self, given: Any, *shape: int | None) -> Any:
        """The same of a matrix of a layer, which may be a ``Matrix`` of the source."""
        known = self._weight(given, shape)
        return known.stored if isinstance(known, OnceRead) else self.weight(given, *shape)

    def _weight(self, given: Any, shape: tuple[int | None, ...]) -> np.ndarray | Matrix:
        if not isinstance(given, Value) or given.known is None:
            raise self.error("has weights that are computed while the model runs; they must be in the source")
        known = given.known
        fits = known.ndim == len(shape) and all(
            want in (None, got) for got, want in zip(known.shape, shape, strict=True)
        )
        if not fits or known.dtype.kind != "f":
            raise self.error(f"takes a weight of {known.dtype} and shape {known.shape}, wanted floats of {shape}")
        return known

    def owner(self, weight: Any) -> str:
        """What a node is called: the module whose weights it has, or the operation."""
        name = self.names.get(id(weight.known), "") if isinstance(weight, Value) else ""
        return name.rpartition(".")[0] or self.name

    def optional(self, given: Any, *shape: int | None) -> np.ndarray | None:
        return None if given is None else self.weight(given, *shape)

    def axis(self, dim: Any, rank: int) -> int:
        """The place of axis ``dim`` of ``rank``."""
        place = self.integer(dim, "dim")
        if not -max(rank, 1) <= place < max(rank, 1):
            raise self.error(f"dim is {place}, wanted one of {rank} axes")
        return place % max(rank, 1)

    def axes(self, dims: Any, rank: int) -> tuple[int, ...]:
        """Places of several axes, or of all where ``dims`` is None or empty."""
        if dims is None or (isinstance(dims, (list, tuple)) and not dims):
            return tuple(range(rank))
        each = dims if isinstance(dims, (list, tuple)) else [dims]
        return tuple(self.axis(dim, rank) for dim in each)

    def integer(self, given: Any, what: str) -> int:
        """A whole number that is known."""
        if isinstance(given, Value) and given.dtype == "integer" and given.number is not None:
            return int(given.number)
        if type(given) is not int:
            raise self.error(f"{what} is {kind_text(given)}, wanted a whole number that is known")
        return given

    def number(self, given: Any, what: str) -> float:
        """A number that is known."""
        if isinstance(given, Value) and given.number is not None:
            return given.number  # type: ignore[no-any-return]
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            raise self.error(f"{what} is {kind_text(given)}, wanted a number that is known")
        return given

    def size(self, given: Any, what: str = "a size") -> Size:
        """A size: a number, or what is computed from the sizes of the inputs."""
        if isinstance(given, Expression):
            return given
        return self.integer(given, what)

    def shape(self, given: Any) -> tuple[Size, ...]:
        """A shape, from one list or from its sizes."""
        if not isinstance(given, (list, tuple)):
            return (self.size(given),)
        return tuple(self.size(each) for each in given)

    def several(self, given: Any, count: int, what: str) -> tuple[int, ...]:
        """``count`` whole numbers; one, or a list of one, stands for all."""
        each = list(given) if isinstance(given, (list, tuple)) else [given]
        each = each * count if len(each) == 1 else each
        if len(each) != count:
            raise self.error(f"{what} is {str(given)[:40]}, wanted {count} numbers")
        return tuple(self.integer(one, what) for one in each)


def kind_text(given: Any) -> str:
    """What an operand is, for a message."""
    if given is None:
        return "nothing"
    if isinstance(given, Value):
        return f"a tensor of {given.dtype}s with {given.rank} axes"
    if isinstance(given, Expression):
        return f"the size {given}"
    if isinstance(given, (bool, int, float)):
        return f"the number {str(given)[:40]}"
    if isinstance(given, str):
        return f"the text {given[:40]!r}"
    return "a list" if isinstance(given, (list, tuple)) else "something that is no number"


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def apply(
    context: Context, table: Table, name: str, args: Sequence[Any], named: Mapping[str, Any], ignored: frozenset[str]
) -> Any:
    """What a call gives, by its row; operands whose names are in ``ignored`` are left out where the row has them not.

    Raises
    ------
    UnsupportedModelError
        There is no such row, or the row cannot be built with these operands.
    """
    context.count += 1
    context.name = name
    if context.count > MAX_CALLS:
        raise context.error(f"the model has more than {MAX_CALLS} operations")
    found = table.get(name)
    if found is None:
        raise context.error("the operation is not supported")
    operands = dict(zip(found.operands, args, strict=False))
    given = {key: value for key, value in named.items() if key in found.operands or key not in ignored}
    unknown = [key for key in given if key not in found.operands or key in operands]
    if len(args) > len(found.operands) or unknown:
        raise context.error(f"has operands that are not known; known are {', '.join(found.operands)}")
    values = {found.operands[key]: value for key, value in {**operands, **given}.items()}
    try:
        _signature(found.function).bind(context, **values)
    except TypeError:
        raise context.error(f"lacks one of its operands {', '.join(found.operands)}") from None
    return found.function(context, **values)
