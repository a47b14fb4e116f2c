"""Sizes that a file fixed although its operations might take others: what is said of them, and how they are opened.

``torch.export`` writes the sizes of its example as plain numbers, and nothing in a graph says which of its other
numbers were computed from them: for another size it may be another model. The importer decides which axes are fixed and
which of these may be opened; a graph has a symbol for the size of each that may.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..errors import ShapeError, UnsupportedModelError
from .graph import FixedAxis, Graph, Input
from .layout import BATCH, Axis, Layout, is_steps
from .size import Size

__all__ = ["check_fixed", "check_lengths", "check_stream", "fixed_text", "with_any_size"]

_ANY = "If you know that it does not, model.with_any_size() takes any"
_BATCH = "To leave the batch open export with dynamic_shapes that have torch.export.Dim.AUTO for it"
_STEPS = (
    "For other sizes export with torch.export.Dim.AUTO for this axis where PyTorch keeps it (nn.GRU does not), save by "
    "torch.jit.script or torch.jit.trace, which keep the steps open and take lengths=, or pad to this size as for "
    "PyTorch"
)


def check_fixed(source: Input, shape: Sequence[int], layout: Layout) -> None:
    """Raise unless an array of this shape has the sizes that an input is fixed to."""
    for fixed in source.fixed:
        if fixed.axis < len(shape) and shape[fixed.axis] != fixed.size:
            axis = layout[fixed.axis]
            got = _counted(shape[fixed.axis], fixed.axis, axis)
            raise ShapeError(f"{source.name}: got {got}, wanted {fixed.size}: {_why(fixed, axis)}")


def check_lengths(source: Input, lengths: NDArray[Any], shape: Sequence[Size], layout: Layout) -> None:
    """Raise unless rows have the number of steps that an input is fixed to, if it is.

    A graph that was not made of layers may have computed with that number: of shorter rows it would be another.
    """
    for fixed in source.fixed:
        if fixed.axis < len(layout) and is_steps(layout[fixed.axis]) and (lengths != fixed.size).any():
            wrong = int(lengths[lengths != fixed.size][0])
            raise ShapeError(f"lengths: got {wrong} steps, wanted {fixed.size}: {_why(fixed, layout[fixed.axis])}")
    for axis, size in zip(layout, shape, strict=True):
        if is_steps(axis) and isinstance(size, int) and (lengths != size).any():
            wrong = int(lengths[lengths != size][0])
            raise ShapeError(f"lengths: got {wrong} steps, wanted {size}: the model is for {size} steps. {_STEPS}")


def check_stream(source: Input, batch: int, layout: Layout) -> None:
    """Raise if an input cannot be given one step at a time, or not to a batch of this size."""
    for fixed in source.fixed:
        axis = layout[fixed.axis]
        if is_steps(axis):
            raise UnsupportedModelError(
                f"a stream runs any number of steps, but input {source.name!r} has {fixed.size}: {_why(fixed, axis)}"
            )
        if axis == (BATCH,) and batch != fixed.size:
            raise ShapeError(f"batch: got {batch}, wanted {fixed.size}: {_why(fixed, axis)}")


def fixed_text(graph: Graph, layouts: Mapping[str, Layout]) -> Iterator[str]:
    """Of each input the last size that is fixed, and why; several inputs with one reason share a line."""
    lines: dict[str, list[str]] = {}
    for source in graph.inputs:
        if source.fixed:
            fixed = source.fixed[-1]
            axis = layouts[source.name][fixed.axis]
            name = "batch" if axis == (BATCH,) else "steps" if is_steps(axis) else f"axis {fixed.axis}"
            lines.setdefault(f"{fixed.size}: {_why(fixed, axis)}", []).append(f"{name} of {source.name!r}")
    for why, named in lines.items():
        yield f"{', '.join(named)}: {why}"


def with_any_size(graph: Graph) -> Graph:
    """The graph with the sizes open that none of its numbers can have been computed from.

    Raises
    ------
    UnsupportedModelError
        There is none; the message says why.
    """
    fixed = [each for source in graph.inputs for each in source.fixed]
    if not any(each.opens for each in fixed):
        why = f"{fixed[0].reason}. {_STEPS}" if fixed else "its sizes are open already"
        raise UnsupportedModelError(f"with_any_size() finds no size to open: {why}")
    inputs = (source._replace(fixed=tuple(each for each in source.fixed if not each.opens)) for source in graph.inputs)
    return graph._replace(inputs=tuple(inputs))


def _counted(size: int, place: int, axis: Axis) -> str:
    if axis == (BATCH,):
        return f"a batch of {size}"
    return f"{size} steps" if is_steps(axis) else f"{size} places along axis {place}"


def _why(fixed: FixedAxis, axis: Axis) -> str:
    """Why an axis has one size, and the ways to others."""
    ways = [_ANY] if fixed.opens else []
    return ". ".join([fixed.reason, *ways, _BATCH if axis == (BATCH,) else _STEPS])
