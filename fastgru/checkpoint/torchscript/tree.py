"""The tree that TorchScript's code is read into: plain records of its statements and expressions."""

from __future__ import annotations

from typing import NamedTuple, Union

__all__ = [
    "Assign", "Attribute", "Call", "Constant", "DictItems", "Evaluate", "Expression", "For", "Function", "If", "Index",
    "Items", "ListItems", "Name", "Return", "SetAttribute", "Statement", "While", "With",
]  # fmt: skip


class Constant(NamedTuple):
    value: object


class Name(NamedTuple):
    name: str


class Attribute(NamedTuple):
    value: Expression
    name: str


class Index(NamedTuple):
    value: Expression
    items: tuple[Expression, ...]


class Call(NamedTuple):
    function: Expression
    args: tuple[Expression, ...]
    named: tuple[tuple[str, Expression], ...]


class Items(NamedTuple):
    """A tuple."""

    items: tuple[Expression, ...]


class ListItems(NamedTuple):
    """A list."""

    items: tuple[Expression, ...]


class DictItems(NamedTuple):
    """A dict."""

    items: tuple[tuple[Expression, Expression], ...]


class Assign(NamedTuple):
    """``a = value``, or ``a, b = value`` where ``unpacks``."""

    targets: tuple[str, ...]
    value: Expression
    unpacks: bool


class Evaluate(NamedTuple):
    value: Expression


class Return(NamedTuple):
    value: Expression


class If(NamedTuple):
    condition: Expression
    then: list[Statement]
    otherwise: list[Statement]


class For(NamedTuple):
    """``for name in turns:``."""

    name: str
    turns: Expression
    body: list[Statement]


class While(NamedTuple):
    condition: Expression
    body: list[Statement]


class With(NamedTuple):
    context: Expression
    body: list[Statement]


class SetAttribute(NamedTuple):
    """``owner.name = value``."""

    target: Attribute
    value: Expression


class Function(NamedTuple):
    parameters: tuple[tuple[str, Expression | None], ...]  # with what it is where it is not given
    body: list[Statement]
    types: tuple[Expression | None, ...] = ()  # of the parameters


Expression = Union[Constant, Name, Attribute, Index, Call, Items, ListItems, DictItems]
Statement = Union[Assign, Evaluate, Return, If, For, While, With, SetAttribute]
