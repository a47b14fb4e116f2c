"""What exported programs compute with sizes, beside what they compute with tensors: one way for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...graph.graph import FLOAT
from ...graph.operations.elementwise import Cast
from ...graph.size import Expression, extreme
from ..calls import Context
from .table import call

__all__ = ["OPERATORS", "called"]

# Python's operators on sizes, by the rows that they are.
OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "floordiv": "floordiv", "truediv": "div", "pow": "pow", "neg": "neg",
    "mod": "remainder", "and_": "bitwise_and", "or_": "bitwise_or",
}  # fmt: skip


def called(c: Context, name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """What a call in an exported program gives: of an operation, or of torch's functions of sizes."""
    c.name = name
    if name == "sym_float" and len(args) == 1:
        return c.add(Cast(FLOAT), args[0])
    if name in ("sym_max", "sym_min") and len(args) == 2:
        return extreme(name.removeprefix("sym_"), *map(c.size, args))
    if name == "sym_sum" and args and isinstance(args[0], (list, tuple)):
        return sum(map(c.size, args[0]))
    if name == "sym_int" and args and isinstance(args[0], (int, Expression)):
        return args[0]
    if name in ("sym_int", "sym_not", "sym_ite"):
        raise c.error("computes with a size that is open")
    return call(c, "sqrt" if name == "sym_sqrt" else name, args, named)
