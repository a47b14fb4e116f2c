"""The code text of a TorchScript file, cut into its functions and its constants; it is read as text and never run.

Owns which lines belong to which function and what its full name is. What a function says is for ``syntax``.
"""

from __future__ import annotations

import re

from ...errors import CheckpointError
from ..zip import Archive

__all__ = ["Code", "read_code"]

MAX_BYTES = 4 << 20  # of all files together; the code of one scripted GRU is 7 KB
MAX_FUNCTIONS = 20_000
MAX_CONSTANT = 200
MAX_FIELDS = 100  # of one named tuple
MAX_CONSTANTS = 32  # of one class; nn.GRU has 9

# A class, a function in it or beside it, or a constant of it: whatever begins one and ends another.
_START = re.compile(
    r"^class (?P<class>\w{1,200})(\((?P<base>\w+)\))?:$"
    r"|^(?P<indent> {0,2})def (?P<function>\w{1,200})\("
    r"|^  (?P<constant>\w{1,200}) : Final\[[^\n]*\] = (?P<value>[^\n]*)$",
    re.MULTILINE | re.ASCII,
)
_FIELD = re.compile(r"^  (\w{1,200}) : [^\n]*$", re.MULTILINE | re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_FLOAT = re.compile(r"-?[0-9]{1,40}\.[0-9]{0,40}(e[-+]?[0-9]{1,4})?")
_TEXT = re.compile(r"\"([^\"\\]*)\"|'([^'\\]*)'")
_WORDS = {"True": True, "False": False, "None": None}


class Code:
    """Every function's text by its full name, and what the classes say.

    ``constants`` are the ``Final`` ones of every class that are plain values, ``tuples`` the fields of named tuples.
    """

    def __init__(self) -> None:
        self.functions: dict[str, str] = {}
        self.constants: dict[str, dict[str, object]] = {}
        self.tuples: dict[str, list[str]] = {}

    def add(self, module: str, text: str) -> None:
        """Cut up the text of one file; ``module`` is the name that its path gives it."""
        owner = module
        open_function, begins, fields = "", 0, False
        for found in _START.finditer(text):
            if fields:
                self.tuples[owner] = _FIELD.findall(text[begins : found.start()])[:MAX_FIELDS]
                fields = False
            if open_function:
                self.functions[open_function] = text[begins : found.start()]
                open_function = ""
            if found["class"]:
                owner = f"{module}.{found['class']}"
                self.constants[owner] = {}
                fields, begins = found["base"] == "NamedTuple", found.end()
            elif found["function"]:
                owner = owner if found["indent"] else module
                open_function, begins = f"{owner}.{found['function']}", found.start()
            elif owner in self.constants and len(self.constants[owner]) < MAX_CONSTANTS:
                self._constant(owner, found["constant"], found["value"])
        if open_function:
            self.functions[open_function] = text[begins:]
        if fields:
            self.tuples[owner] = _FIELD.findall(text[begins:])[:MAX_FIELDS]

    def _constant(self, owner: str, name: str, value: str) -> None:
        values = value.strip("()").removesuffix(",").split(",") if value.startswith("(") else [value]
        read = [_literal(each.strip()) for each in values]
        if len(value) <= MAX_CONSTANT and _UNREAD not in read:
            self.constants[owner][name] = read if value.startswith("(") else read[0]


def read_code(archive: Archive, folder: str, where: str) -> Code:
    """The code below ``folder``, such as ``archive/code/``."""
    names = [name for name in archive.names if name.startswith(folder) and name.endswith(".py")]
    size = sum(archive.size_of(name) for name in names)
    if size > MAX_BYTES:
        raise CheckpointError(
            f"{where}: its code has {size} bytes of text, wanted at most {MAX_BYTES}; save the weights alone: "
            "torch.save(module.state_dict(), path)"
        )
    code = Code()
    for name in names:
        text = archive.read(name, limit=MAX_BYTES, deflated=True).decode("utf-8", "replace")
        code.add(name.removeprefix(folder).removesuffix(".py").replace("/", "."), text)
        if len(code.functions) > MAX_FUNCTIONS:
            raise CheckpointError(f"{where}: its code has more than {MAX_FUNCTIONS} functions")
    return code


_UNREAD = object()


def _literal(text: str) -> object:
    """A number, a word or a text as it is written; anything else is left unread."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    found = _TEXT.fullmatch(text)
    return _UNREAD if found is None else found[1] or found[2] or ""
