"""How many windows fit over the steps of a sequence, for convolutions and pooling."""

from __future__ import annotations

from ..errors import ShapeError

__all__ = ["PADDINGS", "windows"]

PADDINGS = ("valid", "same", "causal")


def windows(steps: int | None, size: int, strides: int, padding: str, dilation: int = 1, where: str = "") -> int | None:
    """The number of windows over ``steps``; None where the steps are not known.

    Raises
    ------
    ShapeError
        Not one window fits.
    """
    if steps is None:
        return None
    reach = (size - 1) * dilation + 1
    count = (steps - reach) // strides + 1 if padding == "valid" else -(-steps // strides)
    if count < 1:
        raise ShapeError(f"{where}: got {steps} steps, wanted at least {reach}, the reach of one window")
    return count
