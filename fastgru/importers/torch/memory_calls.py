"""Calls of operations by what reads a program: on its tensors as they are by now, with what is written kept in order.

Owns what an operation in place, one with ``out=`` and one that gives views do to the memory. What an operation computes
is for the function that is called, and for the table behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...graph.builder import Value
from ...graph.graph import BOOLEAN, FLOAT, INTEGER
from ...graph.operations.elementwise import Cast
from ..calls import Context
from .memory import Memory
from .table import TABLE
from .views import PARTS, SAME, is_view, kind_of, view_of

__all__ = ["MAX_NESTED", "MemoryCalls"]

MAX_NESTED = 4  # of lists within each other
_AXES = frozenset(("squeeze", "swapaxes", "t", "transpose", "unsqueeze"))
# In place, each place is computed of the same places of the operands alone.
_PLACE_BY_PLACE = frozenset(
    ("add", "addcdiv", "addcmul", "atan2", "bitwise_and", "bitwise_or", "bitwise_xor", "clamp", "clamp_max",
     "clamp_min", "copy", "div", "eq", "floor_divide", "fmod", "ge", "gt", "le", "lerp", "logical_and", "logical_or",
     "logical_xor", "lt", "masked_fill", "mul", "ne", "pow", "remainder", "sub")
)  # fmt: skip
_FIRST = ("self", "input", "tensors")
Computes = Callable[[Context, str, Sequence[Any], Mapping[str, Any]], Any]


class MemoryCalls:
    """The calls of one program.

    Parameters
    ----------
    context : Context
    computes : callable
        What ``name(*args, **named)`` gives of values, as the program's source has its operands.

    Attributes
    ----------
    memory : Memory
    """

    def __init__(self, context: Context, computes: Computes) -> None:
        self._context, self._computes = context, computes
        self.memory = Memory(context)

    def read(self, given: Any, depth: int = 0) -> Any:
        """Operands with what their tensors are now."""
        if isinstance(given, Value):
            return self.memory.read(given)
        if type(given) in (list, tuple):
            if depth == MAX_NESTED:
                raise self._context.error(f"takes lists nested deeper than {MAX_NESTED}")
            return [self.read(each, depth + 1) for each in given]
        return given

    def called(self, name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """The tensors that an operation gives, or what it gives else."""
        own = kind_of(name)
        out = named.get("out")
        given = {key: each for key, each in named.items() if key != "out"}
        values, operands = self.read(args), {key: self.read(each) for key, each in given.items()}
        made = self._computes(self._context, name, values, operands)
        tensors = list(_tensors([list(args), [given[key] for key in sorted(given, key=lambda key: key not in _FIRST)]]))
        if out is not None:
            return self._written(own, out, made, tensors)
        if name.endswith("_") and not name.endswith("__") and tensors and own not in SAME:
            target = tensors[0]
            if own in _AXES:
                return self._moved(name, target, values, operands, made)
            return self._written(own, target, made, tensors[1:])
        if name.endswith("_") and own in SAME and tensors:
            return tensors[0]
        if is_view(own) and tensors:
            return self._views(name, tensors, values, operands, made)
        return self.owned(made)

    def owned(self, made: Any) -> Any:
        """Values as tensors that have numbers of their own."""
        if isinstance(made, Value):
            return self.memory.tensor(made)
        return type(made)(self.owned(each) for each in made) if type(made) in (list, tuple) else made

    def _written(self, own: str, target: Any, made: Any, others: Sequence[Value]) -> Value:
        """Write what an operation gives into a tensor."""
        error = self._context.error
        if not isinstance(target, Value) or not isinstance(made, Value):
            raise error("writes several results, or into what is no tensor")
        before = self.memory.read(target)
        if made is before:
            return target  # such as dropout_(), which changes nothing when a model is used
        if made.shape != before.shape:
            raise error(f"writes a tensor of the shape {made.shape} into one of {before.shape}; wanted the same")
        if made.dtype != before.dtype:
            if before.dtype != FLOAT and not (before.dtype == INTEGER and made.dtype == BOOLEAN):
                raise error(f"writes {made.dtype}s into a tensor of {before.dtype}s; convert them before")
            made = self._context.add(Cast(before.dtype), made)
        for each in others:
            self.memory.check_apart(target, each, own in _PLACE_BY_PLACE)
        name = self._context.name
        self.memory.write(target, made)
        self._context.name = name
        return target

    def _views(
        self, name: str, bases: Sequence[Value], values: Sequence[Any], operands: Mapping[str, Any], made: Any
    ) -> Any:
        """What an operation gives as views of its operand; of a list of operands each of its own."""
        own = kind_of(name)
        several = type(made) in (list, tuple)
        parts = list(made) if several else [made]
        rest = _others(own, values, operands)
        tensors: list[Any] = []
        apart = own in PARTS
        for at, value in enumerate(parts):
            base = bases[at] if own == "broadcast_tensors" else bases[0]
            take = self._taking(name, values, operands, at if several else None)
            view = None
            if isinstance(value, Value):
                view = view_of(self._context, own, rest, self.read(base), parts, at, take)
            tensors.append(self.owned(value) if view is None else self.memory.view(base, value, view))
            apart = apart and view is not None and view.part is not None
        if apart:
            self.memory.set_apart(tensors)
        return type(made)(tensors) if several else tensors[0]

    def _moved(
        self, name: str, target: Value, values: Sequence[Any], operands: Mapping[str, Any], made: Value
    ) -> Value:
        """A tensor whose axes change in place."""
        own, take = kind_of(name), self._taking(name, values, operands, None)
        view = view_of(self._context, own, _others(own, values, operands), self.read(target), [made], 0, take)
        assert view is not None
        self.memory.move(target, made, view)
        return target

    def _taking(
        self, name: str, values: Sequence[Any], operands: Mapping[str, Any], at: int | None
    ) -> Callable[[Value], Value]:
        """A function that calls the operation again with another value for its first operand."""
        context, place = self._context, self._context.place
        key = next((each for each in _FIRST if each in operands), "")

        def take(whole: Value) -> Value:
            before = context.name, context.place
            context.place = place
            if values:
                made = self._computes(context, name, [whole, *values[1:]], operands)
            else:
                made = self._computes(context, name, [], {**operands, key: whole})
            context.name, context.place = before
            taken: Value = made if at is None else made[at]
            return taken

        return take


def _others(own: str, values: Sequence[Any], operands: Mapping[str, Any]) -> dict[str, Any]:
    """The operands behind the first, by PyTorch's names."""
    names = list(TABLE[own].operands) if own in TABLE else []
    given = {**dict(zip(names, values, strict=False)), **operands}
    return {key: each for key, each in given.items() if key not in _FIRST}


def _tensors(given: Any) -> Any:
    if isinstance(given, Value):
        yield given
    elif isinstance(given, (list, tuple)):
        for each in given:
            yield from _tensors(each)
