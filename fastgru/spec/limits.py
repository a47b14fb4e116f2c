"""Which sizes of an input a file allows where it does not leave them open, and what is said of others.

A graph that torch.export wrote has the sizes of its example as plain numbers, and nothing in it says which of its other
numbers were computed from them: with another size it may be another model.
"""

from __future__ import annotations

from collections.abc import Sequence

from .record import Record
from .signal import Shape

__all__ = ["Limits"]


class Limits(Record):
    """The least and the most that each axis may have, the batch among them; None where there is no most.

    ``reasons`` say why, one for each axis. ``unseen`` are the axes of which nothing in the graph knows the size, so
    that they can be opened by who knows the code that it was made of.
    """

    least: tuple[int, ...]
    most: Shape
    reasons: tuple[str, ...]
    unseen: tuple[int, ...] = ()

    def problem(self, sizes: Sequence[int], first: int = 0) -> str | None:
        """What is wrong with sizes of the axes from ``first`` on, and what to do; None where they are allowed."""
        for axis, size in enumerate(sizes, first):
            if axis < len(self.least) and not self._allows(axis, size):
                got = _GOT.get(axis, f"{{}} places along axis {axis}").format(size)
                return f"got {got}, wanted {self.wanted(axis)}: {self.why(axis)}"
        return None

    def wanted(self, axis: int) -> str:
        """The sizes that an axis may have: ``7``, ``at least 3`` or ``3 to 64``."""
        least, most = self.least[axis], self.most[axis]
        if most is None:
            return f"at least {least}"
        return str(least) if least == most else f"{least} to {most}"

    def why(self, axis: int) -> str:
        """Why an axis has limits, and the ways to others."""
        ways = [_BATCH if axis == 0 else _STEPS]
        if axis in self.unseen:
            ways.insert(0, "If you know that it does not, model.with_any_size() takes any")
        return ". ".join([self.reasons[axis], *ways])

    def is_open(self, axis: int) -> bool:
        """Whether an axis may have any size."""
        return axis >= len(self.least) or (self.least[axis] <= 1 and self.most[axis] is None)

    def nearest(self, size: int, axis: int) -> int:
        """The size that is allowed and nearest to this one."""
        return max(self.least[axis], min(size, self.most[axis] or size))

    def opened(self) -> Limits | None:
        """Those that are left where the axes of which nothing knows the size are opened."""
        axes = range(len(self.least))
        left = Limits(
            tuple(1 if axis in self.unseen else self.least[axis] for axis in axes),
            tuple(None if axis in self.unseen else self.most[axis] for axis in axes),
            self.reasons,
        )
        return None if all(left.is_open(axis) for axis in axes) else left

    def _allows(self, axis: int, size: int) -> bool:
        most = self.most[axis]
        return size >= self.least[axis] and (most is None or size <= most)


_GOT = {0: "a batch of {}", 1: "{} steps"}
_BATCH = "To leave the batch open export with dynamic_shapes that have torch.export.Dim.AUTO for it"
_STEPS = (
    "For other sizes export with torch.export.Dim.AUTO for this axis where PyTorch keeps it (nn.GRU does not), save by "
    "torch.jit.script or torch.jit.trace, which keep the steps open and take lengths=, or pad to this size as for "
    "PyTorch"
)
