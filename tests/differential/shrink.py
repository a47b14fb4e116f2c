"""Shrinking over plain data: a wrong case becomes the smallest that is still wrong in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from case import Outcome

__all__ = ["lower", "replaced", "shortened", "shrink"]


def shrink(
    case: Any,
    outcome: Outcome,
    smaller: Callable[[Any], Iterator[Any]],
    check: Callable[[Any], Outcome],
    seconds: float = 30.0,
) -> tuple[Any, Outcome]:
    """The smallest wrong case that is reached by steps of ``smaller`` in the time, each wrong by the same defect."""
    end = time.monotonic() + seconds
    progress = True
    while progress and time.monotonic() < end:
        progress = False
        for candidate in smaller(case):
            if time.monotonic() > end:
                break
            found = check(candidate)
            if found.kind == "wrong" and found.defect == outcome.defect:
                case, outcome, progress = candidate, found, True
                break
    return case, outcome


def replaced(data: Any, key: Any, value: Any) -> Any:
    """A copy of a list or dict with another value at a place."""
    copy = data.copy()
    copy[key] = value
    return copy


def shortened(items: list[Any], least: int = 0) -> Iterator[list[Any]]:
    """The list without one half, then without each item; never fewer than ``least``."""
    if len(items) // 2 >= max(least, 1) and len(items) > 3:
        yield items[: len(items) // 2]
        yield items[len(items) // 2 :]
    if len(items) > least:
        for place in reversed(range(len(items))):
            yield items[:place] + items[place + 1 :]


def lower(number: int, least: int = 1) -> Iterator[int]:
    """The least, a half, and one less."""
    yield from dict.fromkeys(value for value in (least, number // 2, number - 1) if least <= value < number)
