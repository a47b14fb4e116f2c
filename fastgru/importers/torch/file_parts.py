"""The parts of the JSON that ``torch.export`` writes, each of its kind or an error that names the place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...checkpoint.text import shown
from ...errors import CheckpointError, UnsupportedModelError

__all__ = ["Parts", "names_of"]

MAX_NUMBER = 1 << 63
_LISTS = {"as_ints": "as_int", "as_bools": "as_bool", "as_floats": "as_float", "as_strings": "as_string"}
_IGNORED = ("as_device", "as_layout", "as_memory_format")
_NOT_FINITE = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_NAMED = ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float", "as_optional_tensor")
_NAMED_LISTS = ("as_tensors", "as_sym_ints", "as_sym_bools", "as_sym_floats", "as_optional_tensors")


class Parts:
    """What takes the JSON apart; errors begin with ``where``."""

    def __init__(self, where: str) -> None:
        self.where = where

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: {what}; the file is damaged")

    def checked(self, value: Any, kind: type, what: str) -> Any:
        if not isinstance(value, kind):
            raise self.damaged(f"{what} in its graph is {type(value).__name__}, wanted {kind.__name__}")
        return value

    def dict(self, parent: Any, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.checked(parent.get(key) if isinstance(parent, dict) else None, dict, key[:80])
        return found

    def list(self, parent: Any, key: str) -> list[Any]:
        found: list[Any] = self.checked(parent.get(key) if isinstance(parent, dict) else None, list, key[:80])
        return found

    def text(self, parent: Any, key: str) -> str:
        found: str = self.checked(parent.get(key) if isinstance(parent, dict) else None, str, key[:80])
        return found

    def one(self, value: Any, what: str) -> tuple[str, Any]:
        """The key and the content of a union: an object with one key."""
        if not isinstance(value, dict) or len(value) != 1:
            raise self.damaged(f"{what} in its graph is no object with one key")
        ((kind, content),) = value.items()
        return kind, content

    def operand(self, arg: Any, named: Callable[[str], Any]) -> Any:
        """What an operand is: a value made before, which ``named`` gives, a list of them, or a plain value."""
        kind, content = self.one(arg, "an operand")
        if kind in _NAMED:
            return self._named(content, named)
        if kind in _NAMED_LISTS:
            return [self._named(each, named) for each in self.checked(content, list, kind)]
        if kind == "as_none" or kind in _IGNORED:
            return None
        if kind in _LISTS:
            return [self._plain(_LISTS[kind], each) for each in self.checked(content, list, kind)]
        return self._plain(kind, content)

    def _plain(self, kind: str, content: Any) -> Any:
        """A number, a truth or a text."""
        if kind == "as_float":
            content = _NOT_FINITE.get(content, content) if isinstance(content, str) else content
            if type(content) in (int, float):
                return float(content)
        elif kind in ("as_int", "as_scalar_type"):
            if type(content) is int and -MAX_NUMBER <= content < MAX_NUMBER:
                return content
        elif kind == "as_bool":
            if type(content) is bool:
                return content
        elif kind == "as_string":
            if isinstance(content, str):
                return content
        else:
            raise UnsupportedModelError(f"{self.where}: an operand of the kind {shown(kind)} is not supported")
        raise self.damaged(f"an operand in its graph is {shown(str(content))}, wanted a value {kind.replace('_', ' ')}")

    def _named(self, content: Any, named: Callable[[str], Any]) -> Any:
        content = self.checked(content, dict, "an operand")
        for kind in ("as_int", "as_bool", "as_float"):
            if kind in content:
                return self._plain(kind, content[kind])
        if "as_none" in content:
            return None
        inner = content.get("as_tensor", content)
        name = inner.get("name", inner.get("as_name")) if isinstance(inner, dict) else None
        if not isinstance(name, str):
            raise self.damaged("an operand in its graph has no name")
        return named(name)


def names_of(parts: Parts, output: Any) -> list[str | None]:
    """The names that one output of an operation has in the graph: of a list several."""
    _, content = parts.one(output, "an output")
    each = content if isinstance(content, list) else [content]
    inner = [part.get("as_tensor", part) if isinstance(part, dict) else None for part in each]
    names = [part.get("name", part.get("as_name")) if isinstance(part, dict) else None for part in inner]
    return [name if isinstance(name, str) else None for name in names]
