"""What statements of a random ``forward`` pick from: values by their axes, modules, numbers that code works out.

Sizes tell what an axis is: ``BATCH`` rows, more than ``MOST`` steps, and else features.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch

__all__ = [
    "BATCH", "MOST", "NUMBERS", "OPERATIONS", "RARELY", "STEPS", "Operation", "Scope", "has_features", "is_channels",
    "is_sequence", "is_states", "is_vector", "operation",
]  # fmt: skip

BATCH, STEPS, MOST = 29, 31, 24
RARELY = 0.04

Operation = Callable[["Scope"], "str | None"]
OPERATIONS: list[tuple[float, Operation]] = []

NUMBERS = """
int(2.7)|int(-2.7)|int(7 / 2)|float(3)|float(7 // 2)|7 // 2|-7 // 2|7 % 3|-7 % 3|7 / 2|2 ** 3|abs(-3)|min(2, 3)
max(1.5, 0.5)|math.sqrt(4.0)|math.floor(2.7)|math.ceil(2.1)|int(True)|float(int(1.9))|{x}.size(-1)|{x}.size(1)
{x}.shape[-1]|{x}.dim()|{x}.size(1) // 2|{x}.shape[1] / 2|math.sqrt({x}.size(-1))|1.0 / {x}.size(1)
int({x}.size(1) * 0.5)|len({x}.shape)|float({x}.size(-1)) ** 0.5|{x}.size(1) - 1|{x}.size(0)
1 if {x}.size(1) > 4 else 2|int({x}.size(1) > 4)|round(2.4)|{x}.size(1) % 3|1.0 / float({x}.size(-1))|-({x}.dim())
{x}.ndim|int(3.999)|int({x}.shape[-1] / 2)|float({x}.size(1) // 2)|5 - int(1.5)|int(0.3)|1 / 3|int(2 * 1.9)
float(True)|int(-0.5)|2.5 // 1|-2.5 // 1|2.5 % 1|int(1e9) % 7|3 * int(2.5)|int(float(2.5))|math.pow(2, 3)
""".replace("\n", "|").strip("|").split("|")  # fmt: skip


class Scope:
    """The values that statements have made so far, and the modules that they use."""

    def __init__(self, rng: random.Random, scripted: bool) -> None:
        self.rng, self.scripted = rng, scripted
        self.values: dict[str, torch.Tensor] = {}
        self.numbers: list[str] = []
        self.modules: dict[str, str] = {}
        self._count = 0

    def new(self, kind: str = "v") -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def module(self, text: str) -> str:
        """``self.m3`` for a module; now and then one that was there before."""
        same = [name for name, other in self.modules.items() if other == text]
        if same and self.rng.random() < 0.3:
            return f"self.{self.rng.choice(same)}"
        name = f"m{len(self.modules)}"
        self.modules[name] = text
        return f"self.{name}"

    def pick(self, fits: Callable[[torch.Tensor], bool] | None = None) -> str | None:
        """A value of floats; the newest ones more often."""
        found = [name for name,
                 each in self.values.items() if each.is_floating_point() and (fits is None or fits(each))]
        if not found:
            return None
        return found[-1 - min(int(self.rng.expovariate(0.7)), len(found) - 1)]

    def sequence(self) -> str | None:
        """(batch, steps, features)"""
        return self.pick(is_sequence)

    def like(self, name: str) -> str | None:
        """Another value, or the same, of that shape."""
        shape = self.values[name].shape
        return self.pick(lambda each: each.shape == shape)

    def choose(self, texts: list[str]) -> str:
        """One of the texts; those that begin with ~, which fastgru is known to refuse, are rare."""
        while (text := self.rng.choice(texts)).startswith("~") and self.rng.random() > RARELY:
            pass
        return text.removeprefix("~")

    def size(self, name: str, axis: int) -> int:
        return self.values[name].shape[axis]

    def axis(self, name: str, batch: float = 0.02) -> int:
        """An axis, counted from either end, that is rarely the batch."""
        shape = self.values[name].shape
        axes = [axis for axis, size in enumerate(shape) if size != BATCH or self.rng.random() < batch] or [0]
        axis = self.rng.choice(axes)
        return axis if self.rng.random() < 0.5 else axis - len(shape)

    def number(self) -> str:
        """A number for arithmetic: a literal, or one that the code works out."""
        kind, x = self.rng.random(), self.pick(lambda v: v.dim() >= 2)
        if self.numbers and kind < 0.4:
            return self.rng.choice(self.numbers)
        if kind < 0.65:
            found = [text for text in NUMBERS if x or "{" not in text]
            return f"({self.choose(found).format(x=x)})"
        return self.rng.choice(["2", "0.5", "-1", "3.0", "1.5", "0.25", "1", "-2.0"])


def is_sequence(value: torch.Tensor) -> bool:
    return value.dim() == 3 and value.shape[0] == BATCH and value.shape[1] > MOST and value.shape[2] <= MOST


def is_channels(value: torch.Tensor) -> bool:
    return value.dim() == 3 and value.shape[0] == BATCH and value.shape[1] <= MOST < value.shape[2]


def is_vector(value: torch.Tensor) -> bool:
    return value.dim() == 2 and value.shape[0] == BATCH and value.shape[1] <= MOST


def has_features(value: torch.Tensor) -> bool:
    return value.dim() >= 2 and value.shape[-1] <= MOST


def is_states(value: torch.Tensor) -> bool:
    return value.dim() == 3 and value.shape[0] <= 8 and value.shape[1] == BATCH and value.shape[2] <= MOST


def operation(weight: float) -> Callable[[Operation], Operation]:
    def add(function: Operation) -> Operation:
        OPERATIONS.append((weight, function))
        return function

    return add
