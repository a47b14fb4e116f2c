"""The sizes of the inputs of a ``torch.export`` file: numbers, or symbols with ranges and conditions.

A symbol of which a condition cannot be followed, or that no axis has alone, is what it was in the example.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import FastGRUError, UnsupportedModelError
from ...graph.builder import Builder
from ...graph.parse import size_of_node
from ...graph.size import Expression, Size, solved, substitute, symbol
from .file_parts import Parts
from .guards import UnreadGuard, axes_named, read_guards

__all__ = ["FileInput", "FileSizes", "example_of", "size_in_file"]

WHY = "torch.export wrote the model for sizes"
MAX_GUARDS = 500
MAX_TEXT = 4000
LARGEST = 1 << 31
_CALLS = {"Add": ast.Add, "Mul": ast.Mult, "FloorDiv": ast.FloorDiv, "Mod": ast.Mod, "PythonMod": ast.Mod}


class FileInput(NamedTuple):
    """One input as the file has it."""

    name: str
    kind: str
    shape: tuple[Size, ...]
    example: tuple[int | None, ...]  # the sizes in the example, where the file has them
    path: tuple[Any, ...]  # in the arguments of the model


class FileSizes:
    """What a file says of its inputs' sizes.

    Attributes
    ----------
    shapes : dict of str to tuple of Size
        Of every input by name.
    examples : dict of str to int
        What each symbol was in the example.
    why : dict of (str, int) to str
        Why an axis of an input that was a symbol is a number now.
    """

    def __init__(self, config: Mapping[str, Any], inputs: Sequence[FileInput], where: str) -> None:
        self._where, self._inputs = where, inputs
        ranges, guards = config.get("range_constraints"), config.get("guards_code")
        self._ranges: Mapping[str, Any] = ranges if isinstance(ranges, dict) else {}
        self._guards: list[str] = guards if isinstance(guards, list) else []
        readable = all(isinstance(text, str) and len(text) <= MAX_TEXT for text in self._guards)
        if len(self._guards) > MAX_GUARDS or not readable:
            raise UnsupportedModelError(f"{where}: it has more than {MAX_GUARDS} conditions, or one that is too long")
        self.shapes = {each.name: each.shape for each in inputs}
        self.examples: dict[str, int] = {}
        self.why: dict[tuple[str, int], str] = {}
        self._solve()
        self.fix(self._lost(), f"{WHY} that depend on each other")
        for text in self._guards:
            self._try(text)

    def _solve(self) -> None:
        """Find what the symbols were in the example."""
        for each in self._inputs:
            for size, number in zip(each.shape, each.example, strict=True):
                if number is None or isinstance(size, int) or str(size) not in size.symbols():
                    continue
                if self.examples.setdefault(str(size), number) != number:
                    raise Parts(self._where).damaged(f"the size {size} of its inputs has two numbers")
        for each in self._inputs:
            for size, number in zip(each.shape, each.example, strict=True):
                known = substitute(size, self.examples)
                found = None if number is None or isinstance(known, int) else solved(known, number)
                if found is not None and isinstance(found[1], int):
                    self.examples[found[0]] = found[1]

    def _lost(self) -> set[str]:
        """The symbols that are the size of no axis alone."""
        sizes = [size for each in self._inputs for size in each.shape if isinstance(size, Expression)]
        return {name for size in sizes for name in size.symbols()} - {str(size) for size in sizes}

    def symbols(self) -> set[str]:
        """The names of the sizes that are open."""
        sizes = [size for shape in self.shapes.values() for size in shape if isinstance(size, Expression)]
        return {name for size in sizes for name in size.symbols()}

    def fix(self, names: set[str], why: str) -> None:
        """Let symbols be what they were in the example."""
        unknown = names - set(self.examples)
        if unknown:
            raise UnsupportedModelError(
                f"{self._where}: the sizes of its inputs depend on each other, and the file has no example of "
                f"{min(unknown)[:40]}; export the model with sizes that are numbers"
            )
        values = {name: self.examples[name] for name in names}
        for each in self._inputs if names else ():
            for axis, size in enumerate(self.shapes[each.name]):
                if isinstance(size, Expression) and isinstance(substitute(size, values), int):
                    self.why[each.name, axis] = why
            self.shapes[each.name] = tuple(substitute(size, values) for size in self.shapes[each.name])

    def _by_path(self, shapes: Mapping[str, tuple[Size, ...]]) -> dict[Any, tuple[Size, ...]]:
        paths = {each.path if len(each.path) > 1 else each.path[0]: shapes[each.name] for each in self._inputs
                 if each.path}  # fmt: skip
        return {**shapes, **paths}

    def _try(self, text: str) -> None:
        """Fix the axes of a condition that cannot be followed, and those that it gives a number."""
        scratch = Builder(self._where)
        why = f"torch.export wrote the model for this size: {text[:200]}"
        try:
            read_guards([text], self._by_path(self.shapes), scratch)
        except UnreadGuard as error:
            by_path = self._by_path(self.shapes)
            sizes = [by_path[path][axis] for path, axis in error.axes] or [s for v in self.shapes.values() for s in v]
            names = {name for size in sizes if isinstance(size, Expression) for name in size.symbols()}
            self.fix(names, why)
        except UnsupportedModelError:
            raise Parts(self._where).damaged(f"its condition {text[:80]} does not hold in its own example") from None
        scratch.settle()
        self.fix({name for name in self.symbols() if isinstance(scratch.settled(symbol(name)), int)}, why)

    def named(self) -> set[tuple[str, int]]:
        """The axes that a condition compares with others."""
        by_path = self._by_path(self.shapes)
        names = {path: each.name for each in self._inputs for path in (each.name, each.path, *each.path[:1])}
        axes = [each for text in self._guards for each in axes_named(text, by_path)]
        return {(names[path], axis) for path, axis in axes}

    def note(self, builder: Builder, shapes: Mapping[str, tuple[Size, ...]]) -> None:
        """Note the conditions and the ranges that sizes must satisfy, for inputs of these shapes."""
        for text in self._guards:
            try:
                read_guards([text], self._by_path(shapes), builder, WHY)
            except UnreadGuard:
                continue  # the axes of it are fixed
        open_names = {str(size) for shape in shapes.values() for size in shape if isinstance(size, Expression)}
        for name, found in self._ranges.items():
            if name not in open_names or not isinstance(found, dict):
                continue
            least, most = found.get("min_val"), found.get("max_val")
            # PyTorch's own least of 2 is no promise of the model: it runs 1 too.
            if type(least) is int and least > 2:
                builder.guard(symbol(name), ">=", least, f"{WHY} of at least {least}")
            if type(most) is int and 0 < most < LARGEST:
                builder.guard(symbol(name), "<=", most, f"{WHY} of at most {most}")
        builder.settle()


def size_in_file(parts: Parts, size: Any, what: str) -> tuple[Size, int | None]:
    """A size of a value, and what it was in the example."""
    kind, content = parts.one(size, what)
    if kind == "as_int" and type(content) is int and 0 <= content < LARGEST:
        return content, content
    if kind != "as_expr" or not isinstance(content, dict) or not isinstance(content.get("expr_str"), str):
        raise parts.damaged(f"{what} is neither a number nor a symbol")
    hint = content.get("hint")
    example = hint.get("as_int") if isinstance(hint, dict) else None
    known = example if type(example) is int and 0 <= example < LARGEST else None
    made = _expression(content["expr_str"], parts.where)
    if isinstance(made, int) and made != known:
        raise parts.damaged(f"{what} is {str(made)[:40]}, in the example {known}")
    return made, known


def example_of(size: Any) -> int | None:
    """What a size of a value was in the example, if the file says so."""
    if not isinstance(size, dict):
        return None
    expression = size.get("as_expr")
    hint = expression.get("hint") if isinstance(expression, dict) else size
    found = hint.get("as_int") if isinstance(hint, dict) else None
    return found if type(found) is int else None


def _expression(text: str, where: str) -> Size:
    """The size that SymPy's text of it says, such as ``Add(Symbol('s0', positive=True), Integer(1))``."""
    try:
        if len(text) > MAX_TEXT:
            raise ValueError("it is too long")
        return size_of_node(_plain(ast.parse(text, mode="eval").body, 0), _symbol)
    except (SyntaxError, ValueError, RecursionError, MemoryError, FastGRUError) as error:
        raise UnsupportedModelError(
            f"{where}: a size of its inputs is {text[:80]!r}, which is not followed ({error}); export the model with "
            "sizes that are numbers"
        ) from None


def _symbol(node: ast.expr) -> Size | None:
    return symbol(node.id) if isinstance(node, ast.Name) and len(node.id) < 40 and node.id.isidentifier() else None


def _plain(node: ast.expr, depth: int) -> ast.expr:
    """The calls in an expression as what they stand for."""
    if depth > 60:
        raise ValueError("it is nested too deeply")
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
        return node
    name, first = node.func.id, node.args[0]
    if name == "Symbol" and isinstance(first, ast.Constant) and isinstance(first.value, str):
        return ast.Name(first.value)
    if name == "Integer":
        return first
    parts = [_plain(each, depth + 1) for each in node.args]
    if name not in _CALLS:
        raise ValueError(f"{name[:40]} is not known")
    made = parts[0]
    for each in parts[1:]:
        made = ast.BinOp(made, _CALLS[name](), each)
    return made
