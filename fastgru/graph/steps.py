"""The one analysis of a graph: where the batch and the steps are in every value, and what takes them together.

Lengths, streams and batching are decided by it and by nothing else. Every refusal names the operation and the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product

from ..errors import UnsupportedModelError
from .builder import specialised
from .graph import FLOAT, Graph, Tensor, leaves
from .layout import BATCH, STEPS, Axis, Layout, Mixed, Steps, has_steps, is_steps, plain
from .operations.recurrent import GRU
from .size import Expression, Size, is_symbol, substitute, symbol

__all__ = ["Analysis", "analyse"]

MAX_VISITS = 30_000  # nodes and guards that are followed in all, over all ways of taking the batch and the steps
MAX_GUESSES = 256  # of which axes of the inputs are the batch and the steps


class Analysis:
    """The layouts of a graph's values, and why some have none.

    Attributes
    ----------
    inputs : dict of str to Layout
        What each input was found or taken to be.
    mixes : list of (str, str)
        The nodes that take rows, or steps of rows, together, with the reasons; empty where rows are kept apart.
    unknown : int
        How many nodes have no layout: those that mix, and all behind them.
    looks : list of (str, str)
        The nodes whose steps need more than the same step of their inputs and a state, with the reasons.
    """

    def __init__(self, graph: Graph, inputs: Mapping[str, Layout]) -> None:
        self.inputs = dict(inputs)
        self.mixes: list[tuple[str, str]] = []
        self._gru_along_steps = False
        self.lost: tuple[str, str] | None = None  # why no axis could be taken for the steps
        self.looks: list[tuple[str, str]] = []
        self.unknown = 0
        self._layouts: dict[int, Layout] = {source.value: inputs[source.name] for source in graph.inputs}
        for place, array in graph.constants.items():
            self._layouts[place] = plain(array.shape)
        for node in graph.nodes:
            layouts = [self._layouts[place] for place in node.inputs if place in self._layouts]
            if len(layouts) < len(node.inputs):
                self.unknown += 1
                continue  # behind one that is named already
            try:
                self._gru_along_steps |= isinstance(node.operation, GRU) and is_steps(layouts[0][1])
                made = node.operation.follow(layouts, [graph.tensors[place].shape for place in node.inputs])
                if any(sum(BATCH in axis for axis in layout) > 1 for layout in made):
                    raise Mixed("takes every row of the batch with every other")
                reason = node.operation.looks(layouts)
            except Mixed as error:
                self.mixes.append((node.name, str(error)))
                self.unknown += 1
                continue
            if reason is not None:
                self.looks.append((node.name, reason))
            self._layouts.update(zip(node.outputs, made, strict=True))
        made_here = (place for place in leaves(graph.outputs) if place not in graph.constants)
        outputs = [self._layouts[place] for place in made_here if place in self._layouts]
        # Whether an output is of no row, so that it would be computed as if no lengths were given.
        self._loose = any(all(BATCH not in axis for axis in layout) for layout in outputs)
        # Whether an output has its steps inside of other places, so that a shorter row would have gaps.
        self._inside = any(has_steps(axis) and not _is_outermost(axis) for layout in outputs for axis in layout)

    def layout(self, place: int) -> Layout:
        """Where the batch and the steps of a value are; only where nothing is mixed."""
        return self._layouts[place]

    @property
    def is_plausible(self) -> bool:
        """Whether inputs have their steps on axis 1, behind the batch, or a GRU says that they are elsewhere."""
        usual = all(
            not any(map(has_steps, layout)) or (layout[0] == (BATCH,) and is_steps(layout[1]))
            for layout in self.inputs.values()
        )
        return usual or self._gru_along_steps

    @property
    def has_steps(self) -> bool:
        """Whether an input was taken to have steps."""
        return any(has_steps(axis) for layout in self.inputs.values() for axis in layout)

    def check_lengths(self) -> None:
        """Raise unless rows of different lengths can be followed through every operation."""
        if self.mixes or self.lost is not None:
            name, reason = self.mixes[0] if self.lost is None else self.lost
            raise UnsupportedModelError(
                f"lengths: layer {name!r} {reason}, so rows of different lengths cannot be followed; run rows of one "
                "length at a time"
            )
        if self._loose:
            raise UnsupportedModelError(
                "lengths: an output has no axis that is known to be the batch, so rows of different lengths cannot be "
                "followed; run rows of one length at a time"
            )
        if self._inside:
            raise UnsupportedModelError(
                "lengths: an output has its steps inside of other places, where shorter rows would leave gaps; run "
                "rows of one length at a time"
            )


def _is_outermost(axis: Axis) -> bool:
    """Whether nothing but the rows stands before the steps of an axis."""
    return isinstance(next(factor for factor in axis if factor != BATCH), Steps)


def analyse(graph: Graph, known: Mapping[str, Layout] | None = None) -> tuple[Graph, Analysis]:
    """The graph with its symbols named by what they are, and its analysis; ``known`` are the layouts of inputs.

    Of all ways in which the axes of the inputs can be the batch and the steps it is the one under which the fewest
    operations take rows together or stand behind one that does, the usual ways first.
    """
    choices = [
        [known[source.name]] if known is not None else list(_layouts_of(graph.tensors[source.value]))
        for source in graph.inputs
    ]
    best: tuple[Graph, Analysis] | None = None
    lost: tuple[str, str] | None = None
    most = max(8, min(MAX_GUESSES, MAX_VISITS // max(1, len(graph.nodes) + len(graph.guards))))
    guesses = (_named(graph, chosen) for chosen in islice(product(*choices), 4 * most))
    for named in islice(filter(None, guesses), most):
        found = Analysis(*named)
        if not found.is_plausible:
            continue
        if lost is None and found.has_steps and found.mixes:
            lost = found.mixes[0]
        if best is None or found.unknown < best[1].unknown:
            best = named[0], found
        if not best[1].mixes:
            break
    if best is None:
        layouts = {each.name: plain(graph.tensors[each.value].shape) for each in graph.inputs}
        best = graph, Analysis(graph, layouts)
    if not best[1].has_steps:
        best[1].lost = lost
    return best


def _named(graph: Graph, layouts: Sequence[Layout]) -> tuple[Graph, dict[str, Layout]] | None:
    """The graph with names for its symbols, and the inputs' layouts by them; None where one would have two names.

    Sequences that are known to have as many steps share the symbol ``steps``; the next is ``steps_2``.
    """
    names: dict[str, Size] = {}
    steps: dict[Size, Expression] = {}
    owners: dict[str, str] = {}
    inputs = {}
    for source, layout in zip(graph.inputs, layouts, strict=True):
        axes = list(layout)
        for place, (axis, size) in enumerate(zip(layout, graph.tensors[source.value].shape, strict=True)):
            if is_steps(axis):
                own = steps.setdefault(size, symbol(f"steps_{len(steps) + 1}") if steps else STEPS)
                axes[place] = (Steps(own),)
            elif axis == (BATCH,):
                own = symbol("batch")
            else:
                continue
            if not is_symbol(size):
                continue
            if names.setdefault(str(size), own) != own or owners.setdefault(str(own), str(size)) != str(size):
                return None  # two sizes of one name, which a call may give different numbers
        inputs[source.name] = tuple(axes)
    for source in graph.inputs:
        for size in graph.tensors[source.value].shape:
            if is_symbol(size):
                names.setdefault(str(size), symbol(f"size_{len(names) + 1}"))
    names = {name: size for name, size in names.items() if name != str(size)}
    for name, layout in inputs.items():
        inputs[name] = tuple(
            tuple(substitute(each, names) if isinstance(each, Expression) else each for each in axis) for axis in layout
        )
    return (specialised(graph, names, folds=False) if names else graph), inputs


def _layouts_of(tensor: Tensor) -> Iterator[Layout]:
    """Ways in which the axes of an input can be batch, steps and features, the usual first."""
    rest = plain(tensor.shape)
    rank = len(tensor.shape)

    def layout(batch: int | None, steps: int | None) -> Layout:
        axes = list(rest)
        if batch is not None:
            axes[batch] = (BATCH,)
        if steps is not None:
            axes[steps] = (Steps(STEPS),)
        return tuple(axes)

    if rank >= (3 if tensor.dtype == FLOAT else 2):
        yield layout(0, 1)
        yield layout(1, 0)
    for axis in range(2, rank):
        if not isinstance(tensor.shape[axis], int):
            yield layout(0, axis)
    if rank:
        yield layout(0, None)
    for axis in range(1, rank):
        yield layout(axis, None)
    for axis in range(rank):
        yield layout(None, axis)
    yield layout(None, None)
