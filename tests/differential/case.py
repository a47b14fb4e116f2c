"""What a family of random models is, what trying one of them can end in, and where each family lies.

A case is plain JSON data, so that it can be sent to another process, shrunk and printed. A family makes cases from a
seed, tries one against fastgru, says what simpler cases there are, and writes one as a script that needs nothing else.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

__all__ = ["KINDS", "MODULES", "Family", "Outcome", "case_of", "family_of"]

KINDS = ("right", "refused", "wrong", "skipped")

# Each module has FAMILIES, a dict of families by name. It imports its framework, so it is imported when asked for.
MODULES = {
    "own": "own_graphs",
    "keras": "keras_graphs",
    "torch scripted": "torch_modules",
    "torch traced": "torch_modules",
    "torch exported": "torch_modules",
    "torch live": "torch_modules",
    "torch states": "torch_modules",
}


class Outcome(NamedTuple):
    """What one case ended in.

    ``kind`` is "right" (the detail names the ways in which it was compared, as words), "refused" (a
    FastGRUError, whose message is the detail), "wrong" (anything else; the detail says what), or "skipped" (the
    framework itself does not run the model). ``defect`` is a word or two for the kind of
    wrong, such as "stream" or "AssertionError": shrinking keeps it, and wrong cases are counted by it.
    """

    kind: str
    detail: str = ""
    defect: str = ""


class Family(Protocol):
    """Random models of one kind."""

    name: str

    def generate(self, rng: random.Random) -> Any:
        """A case: what to build, sizes, seeds of weights."""

    def check(self, case: Any) -> Outcome:
        """Build the model, run it in every way that the case names, and compare."""

    def smaller(self, case: Any) -> Iterator[Any]:
        """Simpler cases, the boldest first."""

    def script(self, case: Any) -> str:
        """A Python script that shows the difference by itself."""


def family_of(name: str) -> Family:
    """The family of a name of ``MODULES``."""
    found: Family = importlib.import_module(MODULES[name]).FAMILIES[name]
    return found


def case_of(family: Family, seed: int, index: int) -> Any:
    """The case of a place in the endless list that a seed gives."""
    return family.generate(random.Random(f"{family.name} {seed} {index}"))
