"""How many windows fit over the steps of a sequence, for convolutions and pooling."""

from __future__ import annotations

from ..errors import ShapeError

__all__ = ["PADDINGS", "padding_of", "windows"]

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


def padding_of(steps: int, size: int, strides: int, padding: str, dilation: int = 1) -> tuple[int, int]:
    """Steps of padding before and after, as Keras divides them: the odd one goes to the end."""
    reach = (size - 1) * dilation + 1
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach - 1, 0
    total = max((-(-steps // strides) - 1) * strides + reach - steps, 0)
    return total // 2, total - total // 2
