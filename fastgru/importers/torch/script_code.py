"""The functions, modules and constants of a TorchScript file, and how much work following them may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...checkpoint.torchscript.syntax import parse_function
from ...checkpoint.torchscript.tree import Attribute, Call, Evaluate, Function, Statement
from ...errors import UnsupportedModelError

__all__ = ["MAX_STEPS", "Code", "raises"]

MAX_STEPS = 40_000  # statements and calls in all attempts; the code of a scripted GRU takes 60
MAX_TEXT = 1 << 18  # characters of code parsed; the code of a scripted GRU is 5,000


class Code:
    """The functions of a file, each parsed when it is first called."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], where: str) -> None:
        self.modules: Mapping[str, Mapping[str, Any]] = config["modules"]
        self.constants: Sequence[Any] = config["constants"]
        self.tuples: Mapping[str, Sequence[str]] = config.get("tuples", {})
        self.tensors, self.where = tensors, where
        self._texts: Mapping[str, str] = config["functions"]
        self._parsed: dict[str, Function] = {}
        self._left = MAX_TEXT
        self.steps = MAX_STEPS

    def has(self, name: str) -> bool:
        return name in self._texts

    def function(self, name: str) -> Function:
        place = f"{self.where}: {name[:200]}"
        if name not in self._parsed:
            text = self._texts.get(name)
            if text is None:
                raise UnsupportedModelError(f"{place}: the function is not in the file's code")
            self._left -= len(text)
            if self._left < 0:
                raise UnsupportedModelError(f"{place}: the code is too long to be followed")
            self._parsed[name] = parse_function(text, place)
        return self._parsed[name]


def raises(statements: Sequence[Statement]) -> bool:
    """Whether a branch ends in an exception, as its own last statements."""
    names = [
        statement.value.function.name
        for statement in statements
        if isinstance(statement, Evaluate)
        and isinstance(statement.value, Call)
        and isinstance(statement.value.function, Attribute)
    ]
    return "RaiseException" in names
