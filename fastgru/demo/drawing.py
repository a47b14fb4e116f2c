"""Digits and curves as plain characters, in Unicode blocks or, where the output cannot take them, in ASCII.

Owns the drawing only; it loads nothing and measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["ASCII", "BLOCKS", "Ramp", "chart", "image", "side_by_side"]


class Ramp:
    """Characters from empty to full, for the shade of a pixel and for the height of a column."""

    def __init__(self, shades: str, heights: str) -> None:
        self.shades = shades
        self.heights = heights


BLOCKS = Ramp(" ░▒▓█", " ▁▂▃▄▅▆▇█")
ASCII = Ramp(" .:*#", " .:|")


def image(pixels: np.ndarray, full: float, ramp: Ramp) -> list[str]:
    """An image (rows, columns) of values from 0 to ``full``, two characters a pixel, as characters are tall."""
    levels = np.rint(pixels / full * (len(ramp.shades) - 1)).astype(int)
    return ["".join(2 * ramp.shades[level] for level in row) for row in levels]


def chart(values: np.ndarray, full: float, height: int, ramp: Ramp) -> list[str]:
    """One column a value from 0 to ``full``, ``height`` lines tall, the top line first."""
    steps = len(ramp.heights) - 1
    filled = np.clip(np.rint(values / full * height * steps), 0, height * steps).astype(int)
    lines = []
    for line in range(height - 1, -1, -1):
        levels = np.clip(filled - line * steps, 0, steps)
        lines.append("".join(ramp.heights[level] for level in levels))
    return lines


def side_by_side(blocks: Sequence[Sequence[str]], width: int, gap: int) -> list[str]:
    """Blocks of lines next to each other, each ``width`` wide."""
    return [(" " * gap).join(part.ljust(width) for part in parts).rstrip() for parts in zip(*blocks, strict=True)]
