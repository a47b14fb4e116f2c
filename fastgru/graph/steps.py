"""The one analysis of a graph: where the batch and the steps are in every value, and what takes them together.

Lengths, streams and batching are decided by it and by nothing else. Every refusal names the operation and the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, product

from ..errors import UnsupportedModelError
from .graph import FLOAT, Graph, Tensor
from .layout import BATCH, STEPS, Layout, Mixed, Steps, plain
from .size import Expression

__all__ = ["Analysis", "analyse"]

MAX_GUESSES = 256  # of which axes of the inputs are the batch and the steps


class Analysis:
    """The layouts of a graph's values, and why some have none.

    Attributes
    ----------
    inputs : dict of str to Layout
        What each input was found or taken to be.
    mixes : list of (str, str)
        The nodes that take rows, or steps of rows, together, with the reasons; empty where rows are kept apart.
    looks : list of (str, str)
        The nodes whose steps need more than the same step of their inputs and a state, with the reasons.
    """

    def __init__(self, graph: Graph, inputs: Mapping[str, Layout]) -> None:
        self.inputs = dict(inputs)
        self.mixes: list[tuple[str, str]] = []
        self.looks: list[tuple[str, str]] = []
        self._layouts: dict[int, Layout] = {source.value: inputs[source.name] for source in graph.inputs}
        for place, array in graph.constants.items():
            self._layouts[place] = plain(array.shape)
        for node in graph.nodes:
            layouts = [self._layouts[place] for place in node.inputs if place in self._layouts]
            if len(layouts) < len(node.inputs):
                continue  # behind one that is named already
            try:
                made = node.operation.follow(layouts, [graph.tensors[place].shape for place in node.inputs])
                reason = node.operation.looks(layouts)
            except Mixed as error:
                self.mixes.append((node.name, str(error)))
                continue
            if reason is not None:
                self.looks.append((node.name, reason))
            self._layouts.update(zip(node.outputs, made, strict=True))

    def layout(self, place: int) -> Layout:
        """Where the batch and the steps of a value are; only where nothing is mixed."""
        return self._layouts[place]

    def check_lengths(self) -> None:
        """Raise unless rows of different lengths can be followed through every operation."""
        if self.mixes:
            name, reason = self.mixes[0]
            raise UnsupportedModelError(
                f"lengths: {name} {reason}, so rows of different lengths cannot be followed; run rows of one length "
                "at a time"
            )


def analyse(graph: Graph) -> Analysis:
    """The analysis under which the fewest operations mix rows, of all ways in which the inputs' axes can be taken."""
    choices = [list(_layouts_of(graph.tensors[source.value])) for source in graph.inputs]
    best: Analysis | None = None
    for chosen in islice(product(*choices), MAX_GUESSES):
        names = [source.name for source in graph.inputs]
        found = Analysis(graph, dict(zip(names, chosen, strict=True)))
        if best is None or len(found.mixes) < len(best.mixes):
            best = found
        if not best.mixes:
            break
    return best or Analysis(graph, {})


def _layouts_of(tensor: Tensor) -> Iterator[Layout]:
    """Ways in which the axes of an input can be batch, steps and features, the usual first."""
    by_name = [str(size) if isinstance(size, Expression) else "" for size in tensor.shape]
    rest = plain(tensor.shape)
    rank = len(tensor.shape)

    def layout(batch: int | None, steps: int | None) -> Layout:
        axes = list(rest)
        if batch is not None:
            axes[batch] = (BATCH,)
        if steps is not None:
            axes[steps] = (Steps(STEPS),)
        return tuple(axes)

    if "batch" in by_name or "steps" in by_name:
        named = [by_name.index(name) if name in by_name else None for name in ("batch", "steps")]
        yield layout(named[0], named[1])
        if None not in named:
            return
    sequence = rank >= (3 if tensor.dtype == FLOAT else 2)
    if sequence:
        yield layout(0, 1)
        yield layout(1, 0)
    if rank >= 1:
        yield layout(0, None)
    if rank >= 3:
        yield layout(1, None)
        yield layout(0, rank - 1)
    yield layout(None, None)
