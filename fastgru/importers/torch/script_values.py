"""What flows through TorchScript's code beside tensors, sizes, numbers, lists and dicts; and what each is called."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...graph.builder import Value
from ...graph.graph import RELATIONS
from ...graph.size import Expression, Size
from ..calls import kind_text

__all__ = [
    "OPAQUE", "PACKED", "Condition", "FloatSize", "Module", "Named", "Opaque", "Record", "ScriptObject", "compared",
    "described",
]  # fmt: skip

_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


class Opaque:
    """A device, a text made of parts, a truth that is not known."""


OPAQUE = Opaque()


class Condition(NamedTuple):
    """What must hold of two sizes for a truth that is not known before a call."""

    one: Size
    relation: str
    other: Size

    def opposite(self) -> Condition:
        return self._replace(relation=_OPPOSITE[self.relation])


class FloatSize(NamedTuple):
    """A size that was made a float, and divided by a whole number."""

    size: Expression
    over: int = 1

    def times(self, factor: float) -> FloatSize | None:
        """Multiplied; None where that is no whole multiple or part."""
        if factor > 0 and float(factor).is_integer():
            made = self.size * int(factor)
            return FloatSize(made, self.over) if isinstance(made, Expression) else None
        part = 1 / factor if factor > 0 else 0.5
        return FloatSize(self.size, self.over * int(part)) if part.is_integer() and self.over * part < 1 << 31 else None


class Module(NamedTuple):
    """A module of the file, by its path."""

    path: str


class Named(NamedTuple):
    """A name that begins with torch, ops or __torch__, until it is called."""

    name: str


class ScriptObject(NamedTuple):
    """An object of a class of the file that is no module."""

    name: str


class Record(tuple[Any, ...]):
    """A named tuple of the file's own."""

    fields: tuple[str, ...] = ()


PACKED: list[type] = []  # of what stands for packed sequences and what belongs to them


def compared(one: Size, relation: str, other: Size) -> bool | Condition:
    """Whether two sizes are so, as far as that is known."""
    difference = one - other
    if isinstance(difference, Expression):
        return Condition(one, relation, other)
    return RELATIONS[relation](difference, 0)


def described(value: Any) -> str:
    """A value for messages, as a person calls it."""
    if isinstance(value, (Opaque, Condition)):
        return "what is not known before the model runs"
    if isinstance(value, FloatSize):
        return f"the size {value.size}"
    if isinstance(value, tuple(PACKED)):
        return "packed sequences, or their order or lengths"
    if isinstance(value, Module):
        return "a module"
    if isinstance(value, Named):
        return f"the name {value.name[:80]!r}"
    if isinstance(value, ScriptObject):
        return "an object of a class of its own"
    if isinstance(value, Value) and value.array is not None and not value.rank:
        return f"the number {str(value.array)[:40]}"
    if isinstance(value, dict):
        return "a dict"
    return kind_text(value)
