"""The language of TorchScript's code, as far as straight computations need it: text to a tree of plain records.

Owns the tokens and the grammar: assignments, if and else, loops, with, return, calls, attributes, lists, tuples and
dicts. Whatever else ends in an UnsupportedModelError. Nothing here knows what a function does.
"""

from __future__ import annotations

import math
import re
from typing import Any

from ...errors import UnsupportedModelError
from ..text import shown
from .tree import (
    Assign,
    Attribute,
    Call,
    Constant,
    DictItems,
    Evaluate,
    Expression,
    For,
    Function,
    If,
    Index,
    Items,
    ListItems,
    Name,
    Return,
    SetAttribute,
    Statement,
    While,
    With,
)

__all__ = ["parse_function"]

MAX_TOKENS = 50_000  # of one function
MAX_DEPTH = 50  # of expressions, and of blocks

_TOKEN = re.compile(
    r"(?P<space>[ \n]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9]+(\.[0-9]*)?(e[-+]?[0-9]+)?)"
    r"|(?P<text>\"([^\"\\\n]|\\.)*\"|'([^'\\\n]|\\.)*')|(?P<mark>->|[()\[\]{},:=.\-])",
    re.ASCII,
)
_ESCAPE = re.compile(rb"\\([0-7]{3}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"0": b"\0",
            b"\\": b"\\", b"'": b"'", b'"': b'"'}  # fmt: skip
_WORDS = {"True": True, "False": False, "None": None}
MAX_NUMBER = 40  # characters


def _unescaped(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    if len(digits) == 1:
        return _ESCAPED[digits]
    number = int(digits[1:], 16) if digits[:1] == b"x" else int(digits, 8)
    if number > 255:
        raise KeyError(number)
    return bytes([number])


def parse_function(source: str, where: str) -> Function:
    """The tree of one ``def``.

    Raises
    ------
    UnsupportedModelError
        It has something that is not read.
    """
    lines = _logical_lines(source, where)
    if not lines:
        raise UnsupportedModelError(f"{where}: it has no code")
    head = _Line(lines[0][1], where)
    head.take("def")
    head.name()
    parameters, types = head.parameters()
    body: list[Statement] = []
    blocks = [(lines[0][0], body)]  # the indentation of what opened each block, and where its statements go
    for indent, tokens in lines[1:]:
        while len(blocks) > 1 and indent <= blocks[-1][0]:
            blocks.pop()
        line = _Line(tokens, where)
        statements = blocks[-1][1]
        if line.is_next("if"):
            line.take("if")
            statement = If(line.expression(), [], [])
            line.take(":")
            statements.append(statement)
            blocks.append((indent, statement.then))
        elif any(line.is_next(word) for word in _BLOCKS):
            block = line.block()
            statements.append(block)
            blocks.append((indent, block.body))
        elif line.is_next("else"):
            last = statements[-1] if statements else None
            if not isinstance(last, If) or last.otherwise:
                raise line.error()
            blocks.append((indent, last.otherwise))
        elif not line.is_next("pass"):
            statements.append(line.statement())
        if len(blocks) > MAX_DEPTH:
            raise UnsupportedModelError(f"{where}: its blocks are nested deeper than {MAX_DEPTH}")
    return Function(parameters, body, types)


_BLOCKS = ("for", "while", "with")
Token = tuple[str, str]  # kind and text


def _logical_lines(source: str, where: str) -> list[tuple[int, list[Token]]]:
    """Tokens by line, with the line's indentation; a line goes on while brackets are open."""
    lines: list[tuple[int, list[Token]]] = []
    position, brackets, count, fresh, indent = 0, 0, 0, True, 0
    while position < len(source):
        found = _TOKEN.match(source, position)
        if found is None:
            raise UnsupportedModelError(f"{where}: {shown(source[position : position + 20])} in its code is not read")
        position, kind, text = found.end(), str(found.lastgroup), found[0]
        if kind == "space":
            if "\n" in text and not brackets:
                fresh = True
            indent = len(text) - text.rfind("\n") - 1
            continue
        count += 1
        if count > MAX_TOKENS:
            raise UnsupportedModelError(f"{where}: it has more than {MAX_TOKENS} words")
        if fresh:
            lines.append((indent if lines else 0, []))
            fresh = False
        brackets += (text in ("(", "[", "{")) - (text in (")", "]", "}")) if kind == "mark" else 0
        lines[-1][1].append((kind, text))
    return lines


class _Line:
    """One logical line, read from its first token to its last."""

    def __init__(self, tokens: list[Token], where: str) -> None:
        self._tokens, self._place, self._where = tokens, 0, where
        self._depth = 0

    def error(self) -> UnsupportedModelError:
        near = " ".join(text for _, text in self._tokens[max(self._place - 3, 0) : self._place + 5])
        return UnsupportedModelError(f"{self._where}: the code near {shown(near)} is not read")

    def is_next(self, text: str) -> bool:
        return self._place < len(self._tokens) and self._tokens[self._place][1] == text

    def take(self, text: str) -> None:
        if not self.is_next(text):
            raise self.error()
        self._place += 1

    def name(self) -> str:
        kind, text = self._next()
        if kind != "name":
            raise self.error()
        return text

    def block(self) -> For | While | With:
        """The head of a loop or of a ``with``, whose body follows."""
        word = self.name()
        made: For | While | With
        if word == "for":
            name = self.name()
            self.take("in")
            made = For(name, self.expression(), [])
        elif word == "while":
            made = While(self.expression(), [])
        else:
            made = With(self.expression(), [])
        self.take(":")
        self._ended(made)
        return made

    def parameters(self) -> tuple[tuple[tuple[str, Expression | None], ...], tuple[Expression | None, ...]]:
        """Names with defaults, and types."""
        found: list[tuple[str, Expression | None]] = []
        types: list[Expression | None] = []
        self.take("(")
        while not self.is_next(")"):
            name, default = self.name(), None
            types.append(None)
            if self.is_next(":"):
                self.take(":")
                types[-1] = self.expression()
            if self.is_next("="):
                self.take("=")
                default = self.expression()
            found.append((name, default))
            if not self.is_next(")"):
                self.take(",")
        return tuple(found), tuple(types)

    def statement(self) -> Statement:
        if self.is_next("return"):
            self.take("return")
            return Return(self._ended(self._listed()))
        if any(self.is_next(word) for word in ("assert", "def", "class")):
            raise self.error()
        left = self._listed()
        if self.is_next(":"):
            self.take(":")
            self.expression()  # a type
        if not self.is_next("="):
            return Evaluate(self._ended(left))
        self.take("=")
        if isinstance(left, Attribute):
            return SetAttribute(left, self._ended(self._listed()))
        targets = left.items if isinstance(left, Items) else (left,)
        if not targets or not all(isinstance(target, Name) for target in targets):
            raise self.error()
        names = tuple(target.name for target in targets if isinstance(target, Name))
        return Assign(names, self._ended(self._listed()), isinstance(left, Items))

    def expression(self) -> Expression:
        """One expression, without a comma outside of brackets."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnsupportedModelError(f"{self._where}: its expressions are nested deeper than {MAX_DEPTH}")
        value = self._atom()
        while True:
            if self.is_next("."):
                self.take(".")
                value = Attribute(value, self.name())
            elif self.is_next("("):
                value = self._call(value)
            elif self.is_next("["):
                self.take("[")
                value = Index(value, self._until("]"))
            else:
                break
        self._depth -= 1
        return value

    def _next(self) -> Token:
        if self._place >= len(self._tokens):
            raise self.error()
        self._place += 1
        return self._tokens[self._place - 1]

    def _ended(self, value: Any) -> Any:
        if self._place != len(self._tokens):
            raise self.error()
        return value

    def _listed(self) -> Expression:
        """``a`` or ``a, b`` or ``a, b,``: the latter two as a tuple."""
        first = self.expression()
        if not self.is_next(","):
            return first
        items = [first]
        while self.is_next(","):
            self.take(",")
            if self._place == len(self._tokens) or self.is_next("="):
                break
            items.append(self.expression())
        return Items(tuple(items))

    def _atom(self) -> Expression:
        kind, text = self._next()
        if kind == "name":
            return Constant(_WORDS[text]) if text in _WORDS else Name(text)
        if kind == "number":
            return Constant(self._number(text))
        if kind == "text":
            return Constant(self._text(text[1:-1]))
        if text == "-":
            kind, text = self._next()
            if kind == "number":
                return Constant(-self._number(text))
            if text == "inf":
                return Constant(-math.inf)
        elif text == "[":
            return ListItems(self._until("]"))
        elif text == "{":
            return self._dict()
        elif text == "(":
            before = self._place
            items = self._until(")")
            if len(items) == 1 and self._tokens[self._place - 2][1] != ",":
                return items[0]
            if items or before + 1 == self._place:
                return Items(items)
        raise self.error()

    def _dict(self) -> DictItems:
        items: list[tuple[Expression, Expression]] = []
        while not self.is_next("}"):
            key = self.expression()
            self.take(":")
            items.append((key, self.expression()))
            if not self.is_next("}"):
                self.take(",")
        self.take("}")
        return DictItems(tuple(items))

    def _text(self, text: str) -> str:
        """A text without its escapes; those of bytes beyond ASCII are UTF-8."""
        try:
            return _ESCAPE.sub(_unescaped, text.encode()).decode()
        except (KeyError, UnicodeError):
            raise self.error() from None

    def _number(self, text: str) -> int | float:
        if len(text) > MAX_NUMBER:
            raise self.error()
        return int(text) if text.isdigit() else float(text)

    def _until(self, closing: str) -> tuple[Expression, ...]:
        items: list[Expression] = []
        while not self.is_next(closing):
            items.append(self.expression())
            if not self.is_next(closing):
                self.take(",")
        self.take(closing)
        return tuple(items)

    def _call(self, function: Expression) -> Call:
        self.take("(")
        args: list[Expression] = []
        named: list[tuple[str, Expression]] = []
        while not self.is_next(")"):
            value = self.expression()
            if self.is_next("=") and isinstance(value, Name):
                self.take("=")
                named.append((value.name, self.expression()))
            else:
                args.append(value)
            if not self.is_next(")"):
                self.take(",")
        self.take(")")
        return Call(function, tuple(args), tuple(named))
