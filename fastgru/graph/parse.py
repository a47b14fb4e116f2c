"""Sizes from text, as they are written by ``str(size)`` and by torch.export: Python that is parsed and never run."""

from __future__ import annotations

import ast
from collections.abc import Callable

from ..errors import CheckpointError, FastGRUError
from .size import Size, extreme, symbol

__all__ = ["size_of", "size_of_node"]

MAX_TEXT = 4000
MAX_DEPTH = 60


def size_of(text: str, where: str) -> Size:
    """The size that a text says.

    Raises
    ------
    CheckpointError
        It says none.

    Examples
    --------
    >>> size_of("2 * batch * (steps - 1) + (steps + 1) // 2", "here")
    2 * batch * steps - 2 * batch + (steps + 1) // 2
    """
    try:
        if len(text) > MAX_TEXT:
            raise ValueError("it is too long")
        return size_of_node(ast.parse(text, mode="eval").body, _named)
    except (SyntaxError, ValueError, RecursionError, MemoryError, FastGRUError) as error:
        raise CheckpointError(f"{where}: {text[:80]!r} is no size: {error}") from None


def _named(node: ast.expr) -> Size | None:
    return symbol(node.id) if isinstance(node, ast.Name) and len(node.id) < 40 else None


def size_of_node(node: ast.expr, other: Callable[[ast.expr], Size | None], depth: int = 0) -> Size:
    """The size that a parsed expression says; ``other`` knows its names.

    Raises
    ------
    ValueError
        Something in it is neither a sum, product, quotient, maximum or minimum of sizes.
    """
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    known = other(node)
    if known is not None:
        return known
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -size_of_node(node.operand, other, depth + 1)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("max", "min") and node.args:
        made, *more = (size_of_node(each, other, depth + 1) for each in node.args)
        for each in more:
            made = extreme(node.func.id, made, each)
        return made
    if isinstance(node, ast.BinOp):
        one, two = size_of_node(node.left, other, depth + 1), size_of_node(node.right, other, depth + 1)
        if isinstance(node.op, ast.Add):
            return one + two
        if isinstance(node.op, ast.Sub):
            return one - two
        if isinstance(node.op, ast.Mult):
            return one * two
        if isinstance(node.op, ast.FloorDiv) and two != 0:
            return one // two
        if isinstance(node.op, ast.Mod) and two != 0:
            return one % two
    raise ValueError("it computes something else than sums, products and quotients of sizes")
