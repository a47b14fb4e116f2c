"""The state of one reading of a pickle: a stack, marks and a memo, and what each opcode may do to them within bounds.

A name in a pickle stays a name. It is looked up only in the table the caller gives, which holds functions of this
package; every other class or function becomes a ``Stub`` that keeps what the file would have called it with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import CheckpointError
from ...origin import raised_in
from ..text import shown
from .inert import Built, Global, Key, Ordered, Stub
from .window import Window

__all__ = ["Builders", "Machine"]

MAX_OPCODES = 3_000_000  # a GRU takes 25 a tensor, a training checkpoint with a vocabulary of 400,000 words 1.6 million
MAX_MARKS = 10_000
MAX_INTEGER_BYTES = 1024
MAX_LINE = 2048
MAX_ARGUMENTS = 16
LONG_TEXT = 4096
MAX_MEMO_GAP = 4096
SAFE_KEY = 1 << 60  # integers below it all hash to themselves, so no file can make a dictionary quadratic


Builders = Mapping[tuple[str, str], Callable[[tuple[Any, ...]], Any]]


class Machine:
    """The state of one reading; ``opcodes`` says which method an opcode calls."""

    def __init__(
        self, window: Window, builders: Builders, persistent: Callable[[Any], Any], budget: int, where: str, start: int
    ) -> None:
        self.window, self.position, self.where = window, start, where
        self.builders, self.persistent = builders, persistent
        self.budget = budget
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: list[Any] = []
        self.names: dict[tuple[str, str], Global] = {}

    def run(self, handlers: Sequence[Callable[[Machine], None] | None]) -> tuple[Any, int]:
        data, size = self.window.data, len(self.window.data)
        for _ in range(MAX_OPCODES):
            position = self.position
            if position >= size:
                if not self.window.reach(position + 1):
                    raise self.error("it ends in the middle; the file was cut off")
                data, size = self.window.data, len(self.window.data)
            self.position = position + 1
            opcode = data[position]
            handler = handlers[opcode]
            if handler is None:
                if opcode == 0x2E:  # STOP
                    return self.finish()
                raise self.error(f"opcode {bytes([opcode])!r} is not one that weights need, and is refused")
            handler(self)
        raise self.error(f"it has more than {MAX_OPCODES} opcodes")

    def finish(self) -> tuple[Any, int]:
        value = self.pop()
        if self.stack or self.marks:
            raise self.error("it leaves values over, so it is damaged")
        return value, self.position

    def error(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: the pickle at byte {self.position - 1}: {message}")

    # Reading within bounds.

    def take(self, length: int) -> bytes:
        end = self.position + length
        if not self.window.reach(end):
            raise self.error(f"{length} bytes are wanted, {self.window.size - self.position} are left")
        piece = self.window.data[self.position : end]
        self.position = end
        return piece

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")

    def line(self) -> str:
        position = self.position
        self.window.reach(min(position + MAX_LINE, self.window.size))
        end = self.window.data.find(b"\n", position, position + MAX_LINE)
        if end < 0:
            raise self.error("a line has no end")
        self.position = end + 1
        return self.decode(self.window.data[position:end])

    def decode(self, text: bytes) -> str:
        try:
            return text.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise self.error("its text is not UTF-8") from None

    def charge(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise self.error("its values take more memory than a file of this size may ask for")

    # The stack: nothing below the last mark can be reached.

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.error("a value is wanted where there is none")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise self.error("a mark is wanted where there is none")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    # What the opcodes do.

    def mark(self) -> None:
        if len(self.marks) >= MAX_MARKS:
            raise self.error(f"it is nested deeper than {MAX_MARKS}")
        self.marks.append(len(self.stack))

    def drop(self) -> None:
        if self.marks and len(self.stack) == self.marks[-1]:
            self.marks.pop()
        else:
            self.pop()

    def drop_to_mark(self) -> None:
        self.pop_to_mark()

    def protocol(self) -> None:
        version = self.number(1)
        if version > 5:
            raise self.error(f"got pickle protocol {version}, wanted at most 5")

    def frame(self) -> None:
        length = self.number(8)
        left = self.window.size - self.position
        if length > left:
            raise self.error(f"a frame of {length} bytes is announced, {left} are left")

    def put(self, index: int) -> None:
        value = self.top()
        memo = self.memo
        if index < len(memo):
            memo[index] = value
            return
        if index > len(memo) + MAX_MEMO_GAP:
            raise self.error(f"memo number {index} is far beyond the {len(memo)} in use")
        self.charge(9 * (index + 1 - len(memo)))
        memo.extend([_NOTHING] * (index - len(memo)))
        memo.append(value)

    def get(self, index: int) -> None:
        value = self.memo[index] if index < len(self.memo) else _NOTHING
        if value is _NOTHING:
            raise self.error(f"memo number {index} is asked for and was never put")
        self.charge(9)
        self.stack.append(value)

    def memo_number(self) -> int:
        text = self.line()
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise self.error(f"{shown(text)} is not a memo number")
        return int(text)

    def integer(self, raw: bytes) -> None:
        self.charge(32 + len(raw))
        self.stack.append(int.from_bytes(raw, "little", signed=True))

    def long(self, length: int) -> None:
        if length > MAX_INTEGER_BYTES:
            raise self.error(f"an integer of {length} bytes is refused")
        self.integer(self.take(length))

    def text_number(self, kind: Callable[[str], Any]) -> None:
        text = self.line()
        self.charge(64 + len(text))
        if text in ("00", "01") and kind is int:
            self.push(text == "01")
            return
        try:
            self.push(kind(text.rstrip("L")))
        except ValueError as error:
            if not raised_in(error, "fastgru"):
                raise
            raise self.error(f"{shown(text)} is not a number") from None

    def text(self, length: int) -> None:
        raw = self.take(length)
        if length > LONG_TEXT and not raw.isascii():
            self.charge(4 * length)  # one wide character makes every other four bytes wide as well
        text = self.decode(raw)
        self.charge(sys.getsizeof(text))
        self.stack.append(text)

    def binary(self, length: int, kind: Callable[[bytes], Any] = bytes) -> None:
        self.charge(64 + length)
        self.stack.append(kind(self.take(length)))

    def new_tuple(self, values: list[Any]) -> None:
        self.charge(64 + 8 * len(values))
        self.stack.append(tuple(values))

    def new_list(self, values: list[Any]) -> None:
        self.charge(88 + 9 * len(values))
        self.stack.append(values)

    def new_dict(self, values: list[Any]) -> None:
        self.charge(72)
        self.stack.append({})
        self.set_items(values)

    def new_set(self, name: str, values: list[Any]) -> None:
        self.charge(256)
        stub = Stub("builtins", name)
        self.stack.append(stub)
        self.append(values)

    def append(self, values: list[Any]) -> None:
        target = self.top()
        self.charge(10 * len(values))
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Stub):
            if target.items is None:
                target.items = []
            target.items.extend(values)
        else:
            raise self.error(f"it appends to a {type(target).__name__}; only lists can be appended to")

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Stub):
            if target.entries is None:
                target.entries = {}
            target = target.entries
        if type(target) not in (dict, Ordered):
            raise self.error(f"it sets an item of a {type(target).__name__}; only dictionaries have items")
        if len(values) % 2:
            raise self.error("a key has no value")
        if values and not target:
            self.charge(168)
        self.charge(60 * (len(values) // 2))
        for index in range(0, len(values), 2):
            target[self.key(values[index])] = values[index + 1]

    def key(self, key: Any) -> Any:
        if isinstance(key, (str, bool, type(None), Global)) or (type(key) is int and -SAFE_KEY < key < SAFE_KEY):
            return key
        self.charge(64)
        return Key(key)

    def named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.error("a class is named by something that is not text")
        known = self.names.get((module, name))
        if known is None:
            self.charge(400 + len(module) + len(name))
            known = self.names[module, name] = Global(module, name)
        self.stack.append(known)

    def call(self, keywords: Any = None) -> None:
        args, target = self.pop(), self.pop()
        if not isinstance(args, tuple):
            raise self.error(f"a call has a {type(args).__name__} of arguments, wanted a tuple")
        self.charge(128)
        value: Any = NotImplemented
        if isinstance(target, Global):
            builder = self.builders.get((target.module, target.name))
            if builder is not None and keywords is None and len(args) <= MAX_ARGUMENTS:
                self.charge(sum(map(_work, args)))
                value = builder(args)
                self.charge(sys.getsizeof(value))
        elif not isinstance(target, Stub):
            raise self.error(f"it calls a {type(target).__name__}")
        if value is NotImplemented:
            value = Stub(target.module, target.name, args if keywords is None else (args, keywords))
        self.stack.append(value)

    def call_with_keywords(self) -> None:
        keywords = self.pop()
        self.call(keywords)

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Stub):
            target.state = state
        elif not isinstance(target, (Ordered, Built)):
            raise self.error(f"it gives a state to a {type(target).__name__}, which has none")

    def persistent_id(self) -> None:
        self.charge(128)
        self.push(self.persistent(self.pop()))


def _work(argument: Any) -> int:
    """What looking through an argument costs, so that a long one cannot be looked through again and again."""
    if isinstance(argument, (list, tuple)):
        return 64 * len(argument)
    return len(argument) if isinstance(argument, (str, bytes, bytearray)) else 0


_NOTHING = object()  # in the memo, where nothing was put
