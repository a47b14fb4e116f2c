"""What an exported program says of the sizes that it is right for: texts such as ``L['x'].size()[1] % 2 == 0``.

The exporter writes Python; here it is parsed, never run. A condition that cannot be read closes the model.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any, Union

from ...errors import FastGRUError, UnsupportedModelError
from ...graph.builder import Builder
from ...graph.parse import size_of_node
from ...graph.size import Applied, Size

__all__ = ["UnreadGuard", "axes_named", "fixed_axes", "read_guards"]

Path = Union[str, tuple[Union[str, int], ...]]
_RELATIONS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


class UnreadGuard(UnsupportedModelError):
    """A condition that compares no sums, products and quotients of sizes. ``axes`` are the (input, axis) in it."""

    def __init__(self, message: str, axes: Sequence[tuple[Any, int]]) -> None:
        super().__init__(message)
        self.axes = tuple(axes)


def read_guards(
    texts: Sequence[str], inputs: Mapping[Path, Sequence[Size]], builder: Builder, why: str = "the model holds only"
) -> None:
    """Note every condition in the builder; ``inputs`` are the shapes of the inputs.

    An input goes by its name, or by the way to it: ``L['x'][0]`` is ``("x", 0)``.

    Raises
    ------
    UnreadGuard
        A condition is of another kind.
    """
    for text in texts:
        reader = _Reader(inputs)
        try:
            conditions = reader.conditions(ast.parse(text, mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError, FastGRUError) as error:
            raise UnreadGuard(
                f"{builder.where}: {why} where {text[:200]}, which is not followed: {error}", reader.axes
            ) from None
        for one, relation, other in conditions:
            if (relation, other) == (">=", 0) and _is_never_negative(one):
                continue
            builder.guard(one, relation, other, f"{why} where {text[:200]}")


def axes_named(text: str, inputs: Mapping[Path, Sequence[Size]]) -> list[tuple[Path, int]]:
    """The axes of inputs that a condition names; those of one that says what a size is, and nothing else, are none."""
    if re.fullmatch(r"L(\[['\w]+\])+\.size\(\)\[\d+\] == \d+", text):
        return []
    reader = _Reader(inputs)
    try:
        reader.note_axes(ast.parse(text, mode="eval"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [(path, axis) for path, shape in inputs.items() for axis in range(len(shape))]
    return reader.axes


def fixed_axes(texts: Sequence[str]) -> dict[tuple[str, int], int]:
    """The axes that may have one size only, by (input, axis): of texts such as ``L['x'].size()[2] == 5``."""
    found = {}
    for text in texts:
        match = re.fullmatch(r"L\['(\w+)'\]\.size\(\)\[(\d+)\] == (\d+)", text)
        if match:
            found[match[1], int(match[2])] = int(match[3])
    return found


def _is_never_negative(size: Size) -> bool:
    """Whether sizes are only added, multiplied and divided, so that none of them can make it negative."""
    if isinstance(size, int):
        return size >= 0
    applied = [atom for atoms, _ in size.terms for atom in atoms if isinstance(atom, Applied)]
    inner = [each for atom in applied for each in (atom.one, atom.other)]
    return all(count >= 0 for _, count in size.terms) and all(map(_is_never_negative, inner))


class _Reader:
    def __init__(self, inputs: Mapping[Path, Sequence[Size]]) -> None:
        self.inputs = inputs
        self.axes: list[tuple[Path, int]] = []

    def conditions(self, node: ast.expr) -> list[tuple[Size, str, Size]]:
        """All comparisons that must hold together."""
        self.note_axes(node)
        parts = node.values if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And) else [node]
        return [self._comparison(part) for part in parts]

    def _comparison(self, node: ast.expr) -> tuple[Size, str, Size]:
        if not isinstance(node, ast.Compare) or len(node.ops) != 1 or type(node.ops[0]) not in _RELATIONS:
            raise ValueError("it is no comparison of two sizes")
        return self.size(node.left), _RELATIONS[type(node.ops[0])], self.size(node.comparators[0])

    def note_axes(self, node: ast.AST) -> None:
        """All axes that are named anywhere in it."""
        for each in ast.walk(node):
            if isinstance(each, ast.Subscript):
                found = self._axis(each)
                if found is not None:
                    self.axes.append(found)
                path, axis = self._axis(each, "stride") or ((), -1)
                self.axes += [(path, behind) for behind in range(axis + 1, len(self.inputs.get(path, ())))]

    def size(self, node: ast.expr) -> Size:
        return size_of_node(node, self._of_axis)

    def _of_axis(self, node: ast.expr) -> Size | None:
        if not isinstance(node, ast.Subscript):
            return None
        axis, before = self._axis(node), self._axis(node, "stride")
        if axis is not None:
            return self.inputs[axis[0]][axis[1]]
        if before is None:
            return None
        stride: Size = 1  # of an array in C order, as all inputs are
        for size in self.inputs[before[0]][before[1] + 1 :]:
            stride = stride * size
        return stride

    def _axis(self, node: ast.Subscript, of: str = "size") -> tuple[Path, int] | None:
        """The input and the axis of ``L['x'].size()[1]``, or of another of its methods."""
        call, index = node.value, node.slice
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == of):
            return None
        owner, path = call.func.value, _path(call.func.value)
        name = owner.slice.value if len(path) == 1 and isinstance(owner, ast.Subscript) else path  # type: ignore[attr-defined]
        place = index.value if isinstance(index, ast.Constant) else None
        if not path or name not in self.inputs or type(place) is not int:
            return None
        return (name, place) if place < len(self.inputs[name]) else None


def _path(node: ast.expr) -> tuple[str | int, ...]:
    """The way to an input that ``L['x'][0]`` says; empty where it is something else."""
    path: list[str | int] = []
    while isinstance(node, ast.Subscript):
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if type(key) not in (str, int):
            return ()
        path.append(key)  # type: ignore[arg-type]
        node = node.value
    return tuple(reversed(path))
