"""What flows along an edge of a model, as far as it is known before it runs, and the checks every layer shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ShapeError, UnsupportedModelError

__all__ = ["Shape", "Signal", "axis_of", "check_choice", "check_count", "same", "shape_text"]

Shape = tuple["int | None", ...]
MAX_RANK = 6


class Signal:
    """The shape of a value without its batch axis, None where a size is not known, and what its elements are.

    ``kind`` is "numbers", "integers" (for an Embedding) or "booleans" (a mask). ``states`` are the units of the final
    states that can be asked for straight after a GRU; elsewhere 0.
    """

    def __init__(self, shape: Shape, kind: str = "numbers", states: int = 0) -> None:
        self.shape = shape
        self.kind = kind
        self.states = states

    @property
    def features(self) -> int | None:
        return self.shape[-1]

    @property
    def has_steps(self) -> bool:
        """Whether there is a step for a mask to leave out: numbers need another axis, of features."""
        return len(self.shape) > (self.kind == "numbers")

    def with_features(self, features: int | None) -> Signal:
        """The same but for its last axis."""
        return Signal((*self.shape[:-1], features))

    def __repr__(self) -> str:
        return f"{shape_text(self.shape)} {self.kind}"


def numbers(given: Signal, where: str, rank: int | None = None) -> Signal:
    """``given`` if it is of numbers, with at least one axis, or exactly ``rank`` of them."""
    if given.kind != "numbers":
        advice = "; an Embedding must come before it" if given.kind == "integers" else ""
        raise ShapeError(f"{where}: takes numbers, but its input is {given.kind}{advice}")
    if rank == 2 and len(given.shape) == 1:
        raise ShapeError(f"{where}: takes a sequence, but the steps are already gone before it")
    if (rank is not None and len(given.shape) != rank) or not given.shape:
        wanted = {1: "(features,)", 2: "(steps, features)"}.get(rank or 0, "at least one axis")
        raise ShapeError(f"{where}: got {shape_text(given.shape)} a row, wanted {wanted}")
    return given


def same(one: int | None, other: int | None) -> bool:
    """Whether two sizes may be equal."""
    return one is None or other is None or one == other


def shape_text(shape: Shape) -> str:
    sizes = ["any" if size is None else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def check_choice(name: object, known: Sequence[str], where: str) -> None:
    if not isinstance(name, str) or name not in known:
        raise UnsupportedModelError(f"{where}: {name!r} is not supported; known are {', '.join(known)}")


def check_count(value: object, where: str, least: int = 1) -> None:
    """Raise unless ``value`` is a whole number from ``least`` to 2^31."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not least <= value < 2**31:
        raise ShapeError(f"{where}: got {value!r}, wanted a whole number from {least} to {2**31 - 1}")


def axis_of(axis: object, given: Signal, where: str) -> int:
    """The place in ``given.shape`` of an axis that counts the batch as 0."""
    rank = len(given.shape) + 1
    whole = isinstance(axis, (int, np.integer)) and not isinstance(axis, bool)
    if not whole or not -rank < axis < rank or axis == 0:  # type: ignore[operator]
        raise ShapeError(f"{where}: axis is {axis!r}, wanted 1 to {rank - 1} or -1 to {1 - rank}")
    return int(axis) % rank - 1  # type: ignore[call-overload, no-any-return]
