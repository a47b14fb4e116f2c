"""The opcodes of pickle that weights need, and what each makes the machine do: a table, and nothing else.

What is not in it is refused: INST, OBJ, EXT*, PERSID, STRING, UNICODE and out-of-band buffers among others. STOP is
the machine's own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from .machine import Machine

__all__ = ["HANDLERS"]

Handler = Callable[[Machine], None]

_FLOAT = struct.Struct(">d")


def _handlers() -> list[Handler | None]:
    """One function an opcode, None for all that is refused."""
    table: dict[str, Handler] = {
        "(": lambda m: m.mark(),
        "0": lambda m: m.drop(),
        "1": lambda m: m.drop_to_mark(),
        "2": lambda m: m.push(m.top()),
        "\x80": lambda m: m.protocol(),
        "\x95": lambda m: m.frame(),
        # constants and numbers
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "I": lambda m: m.text_number(int),
        "L": lambda m: m.text_number(int),
        "F": lambda m: m.text_number(float),
        "K": lambda m: m.push(m.number(1)),
        "M": lambda m: m.push(m.number(2)),
        "J": lambda m: m.integer(m.take(4)),
        "\x8a": lambda m: m.long(m.number(1)),
        "\x8b": lambda m: m.long(m.number(4)),
        "G": lambda m: m.push(_FLOAT.unpack(m.take(8))[0]),
        # text and bytes; protocol 2 of Python 2 writes text as T and U
        "X": lambda m: m.text(m.number(4)),
        "\x8c": lambda m: m.text(m.number(1)),
        "\x8d": lambda m: m.text(m.number(8)),
        "T": lambda m: m.text(m.number(4)),
        "U": lambda m: m.text(m.number(1)),
        "B": lambda m: m.binary(m.number(4)),
        "C": lambda m: m.binary(m.number(1)),
        "\x8e": lambda m: m.binary(m.number(8)),
        "\x96": lambda m: m.binary(m.number(8), bytearray),
        # containers
        ")": lambda m: m.push(()),
        "\x85": lambda m: m.new_tuple([m.pop()]),
        "\x86": lambda m: m.new_tuple([m.pop(), m.pop()][::-1]),
        "\x87": lambda m: m.new_tuple([m.pop(), m.pop(), m.pop()][::-1]),
        "t": lambda m: m.new_tuple(m.pop_to_mark()),
        "]": lambda m: m.new_list([]),
        "l": lambda m: m.new_list(m.pop_to_mark()),
        "a": lambda m: m.append([m.pop()]),
        "e": lambda m: m.append(m.pop_to_mark()),
        "}": lambda m: m.new_dict([]),
        "d": lambda m: m.new_dict(m.pop_to_mark()),
        "s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
        "u": lambda m: m.set_items(m.pop_to_mark()),
        "\x8f": lambda m: m.new_set("set", []),
        "\x90": lambda m: m.append(m.pop_to_mark()),
        "\x91": lambda m: m.new_set("frozenset", m.pop_to_mark()),
        # the memo
        "p": lambda m: m.put(m.memo_number()),
        "q": lambda m: m.put(m.number(1)),
        "r": lambda m: m.put(m.number(4)),
        "\x94": lambda m: m.put(len(m.memo)),
        "g": lambda m: m.get(m.memo_number()),
        "h": lambda m: m.get(m.number(1)),
        "j": lambda m: m.get(m.number(4)),
        # names and objects
        "c": lambda m: m.named(m.line(), m.line()),
        "\x93": lambda m: m.named(*[m.pop(), m.pop()][::-1]),
        "R": lambda m: m.call(),
        "\x81": lambda m: m.call(),
        "\x92": lambda m: m.call_with_keywords(),
        "b": lambda m: m.build(),
        "Q": lambda m: m.persistent_id(),
    }
    return [table.get(chr(opcode)) for opcode in range(256)]


HANDLERS = _handlers()
