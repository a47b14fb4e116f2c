"""The sizes of inputs in a ``torch.export`` file: numbers, or symbols with a range.

Owns what the file says of them: a symbol's range, and its guards, which are facts that the exporter assumed of sizes.
A size of which more is assumed than a range is what it was in the example.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError, UnsupportedModelError
from .aten import Size, Unknown

__all__ = ["ExportedSizes"]

_SYMBOL = re.compile(r"(?:Symbol\('(\w{1,40})'(?:, \w+=True)*\)|(\w{1,40}))")
_GUARDED = re.compile(r"size\(\)\[(\d{1,3})\]")
LARGEST = 1 << 31


class ExportedSizes:
    """The sizes in the JSON of one graph."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self._where = where
        ranges, guards = config.get("range_constraints"), config.get("guards_code")
        self._ranges: Mapping[str, Any] = ranges if isinstance(ranges, dict) else {}
        self._guarded: set[int] | None = set()  # axes, as PyTorch counts them; None for all
        for guard in guards if isinstance(guards, list) else ():
            axes = [int(axis) for axis in _GUARDED.findall(guard)] if isinstance(guard, str) else []
            self._guarded = self._guarded | set(axes) if axes and self._guarded is not None else None
        self._axis_of: dict[str, int] = {}

    def of(self, sizes: list[Any], is_state: bool) -> list[Size]:
        """The sizes of one input; a state has its batch on another axis."""
        return [self._size(size, None if is_state else axis) for axis, size in enumerate(sizes)]

    def _size(self, size: Any, axis: int | None) -> Size:
        number = size.get("as_int") if isinstance(size, dict) else None
        if type(number) is int and 0 < number < LARGEST:
            return number
        expression = size.get("as_expr") if isinstance(size, dict) else None
        if not isinstance(expression, dict):
            raise CheckpointError(f"{self._where}: a size of an input is neither a number nor a symbol; it is damaged")
        hint = expression.get("hint")
        example = hint.get("as_int") if isinstance(hint, dict) else None
        found = _SYMBOL.fullmatch(str(expression.get("expr_str")))
        name = "" if found is None else found[1] or found[2]
        least, most = self._range(name)
        made = Unknown(example if type(example) is int else None, least=least, most=most)
        free = bool(name) and (axis is None or self._axis_of.setdefault(name, axis) == axis)
        if not free or self._guarded is None or axis in self._guarded:
            if made.example is None or not 0 < made.example < LARGEST:
                raise UnsupportedModelError(
                    f"{self._where}: the sizes of its inputs depend on each other, and the file has no example of "
                    "them; export the model with sizes that are numbers"
                )
            made.fix()
        return made

    def _range(self, symbol: str) -> tuple[int, int | None]:
        """The least and the most of a symbol. PyTorch's own least of 2 is no promise of the model: it runs 1 too."""
        found = self._ranges.get(symbol)
        bounds = found if isinstance(found, dict) else {}
        least, most = bounds.get("min_val"), bounds.get("max_val")
        return (
            least if type(least) is int and least > 2 else 1,
            most if type(most) is int and 0 < most < LARGEST else None,
        )
