"""Where the modules of ``torch_zoo`` are registered, and what many of them are made with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

__all__ = ["ZOO", "After", "Entry", "after", "around", "gru", "integers", "numbers", "register"]


class Entry(NamedTuple):
    """A module and how it is called."""

    name: str
    make: Callable[[], nn.Module]
    example: tuple[Any, ...]
    fit: Callable[..., None] | None = None  # makes random inputs of other sizes, by name, ones that the module takes
    lengths: bool | None = None  # whether lengths= must be taken; None: either, but right where they are
    fast: bool = False  # whether it is among those of the fast suite
    wide: bool = True  # whether its code computes in float64 where the module is double
    refused: str = ""  # what the error says where it cannot be a graph


ZOO: dict[str, Entry] = {}


def numbers(*shape: int) -> torch.Tensor:
    """Normal numbers from a seed of their own."""
    made: torch.Tensor = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    return made


def integers(high: int, *shape: int) -> torch.Tensor:
    """Integers from 0 to below ``high``, both ends among them where there is room."""
    made = torch.randint(0, high, shape, generator=torch.Generator().manual_seed(sum(shape)))
    made.view(-1)[0] = high - 1
    made.view(-1)[-1] = 0
    return made


def register(*example: Any, **options: Any) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """A decorator of a module's class."""

    def add(kind: type[nn.Module]) -> type[nn.Module]:
        assert kind.__name__ not in ZOO
        ZOO[kind.__name__] = Entry(kind.__name__, kind, example, **options)
        return kind

    return add


def gru(inputs: int, hidden: int, layers: int = 1, **options: Any) -> nn.GRU:
    """Batch first, as most people write it."""
    return nn.GRU(inputs, hidden, layers, batch_first=True, **options)


class After(nn.Module):
    """Something computed of a GRU's outputs, (batch, steps, 8)."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.gru, self.compute = gru(5, 8), compute

    def forward(self, x: torch.Tensor) -> Any:
        return self.compute(self.gru(x)[0])


def after(name: str, compute: Callable[..., Any], *, steps: int = 6, **options: Any) -> None:
    """Register ``compute`` of a GRU's outputs."""
    assert name not in ZOO
    ZOO[name] = Entry(name, lambda: After(compute), (numbers(3, steps, 5),), **options)


class Around(nn.Module):
    """A GRU with a module behind it, over (batch, features, steps) where ``channels_first``."""

    def __init__(self, module: nn.Module, channels_first: bool) -> None:
        super().__init__()
        self.gru, self.module, self.channels_first = gru(5, 8), module, channels_first

    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return self.module(y.transpose(1, 2)) if self.channels_first else self.module(y)


def around(
    name: str, make: Callable[[], nn.Module], *, channels_first: bool = False, steps: int = 6, **options: Any
) -> None:
    """Register a module behind a GRU."""
    assert name not in ZOO
    ZOO[name] = Entry(name, lambda: Around(make(), channels_first), (numbers(3, steps, 5),), **options)
