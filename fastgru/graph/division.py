"""How the rows of a call are divided: into pieces, each of which goes through the whole program, for one thread too.

Only rows that nothing takes together can be, of arrays in which they lie one after the other. A piece has a program of
its own, for as many rows and one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..engine.program import Program
from ..errors import ShapeError
from .graph import Graph
from .layout import BATCH
from .steps import Analysis

__all__ = ["divide", "pieces_of"]

# About as many rows has a piece where there are enough: few, so that what a layer makes of them is small and a thread
# that loses its processor holds the others up for a short time; not fewer, for each piece reads all weights.
ROWS = 32
# One thread takes fewer, where the values of all rows leave no room for others in L2. Batches of 32, 64 and 128 rows
# then took this share of the time: a tagger of 100 units with a normalisation 0.93, 0.89, 0.86; two GRUs of 50 units
# 0.98, 0.95, 0.91; a convolution before two GRUs of 96 units 0.98; GRUs of 256 units between dense layers 0.98, of 512
# and 1,024 units 1.00. Pieces of 8 rows took 0 to 3 % less and read weights twice as often (Zen 4, medians).
ROWS_OF_ONE = 16
WHOLE_BYTES = 1 << 19


def divide(
    program: Program,
    places: Sequence[int],
    graph: Graph,
    analysis: Analysis,
    batch: int,
    threads: int,
    compiled: Callable[[int], Program | None],
) -> None:
    """Let a program run in pieces, if its rows are apart.

    Parameters
    ----------
    program : Program
        Of all nodes of a graph, for ``batch`` rows.
    places : sequence of int
        The values that are its inputs and its outputs, in order.
    graph, analysis
    batch, threads : int
    compiled : callable
        The program for another number of rows and one thread, or None where the graph is not one program then.
    """
    if batch < 2 * threads or analysis.mixes or (threads == 1 and program.nbytes < WHOLE_BYTES):
        return
    divided = []
    for place in places:
        found = _is_divided(graph, analysis, place)
        if found is None:
            return
        divided.append(found)
    rows, count = pieces_of(batch, threads)
    if count < 2:
        return
    last = batch - (count - 1) * rows
    piece = compiled(rows)
    rest = None if last == rows else compiled(last)
    if piece is None or (rest is None and last < rows):
        return
    try:
        program.divide(piece, rest, rows, count, threads, divided)
    except ShapeError:  # for other numbers of rows it is another program
        return


def pieces_of(batch: int, threads: int) -> tuple[int, int]:
    """The rows of a piece, of which the last may have fewer, and how many pieces there are."""
    wanted = ROWS if threads > 1 else ROWS_OF_ONE
    rows = -(-batch // (threads * max(1, round(batch / threads / wanted))))
    if rows >= wanted:
        rows = -(-rows // 8) * 8  # which kernels take together
    return rows, -(-batch // rows)


def _is_divided(graph: Graph, analysis: Analysis, place: int) -> bool | None:
    """Whether the rows are outside of all else in a value; False where it has none, None where they are inside."""
    layout = analysis.layout(place)
    for axis, size in zip(layout, graph.tensors[place].shape, strict=True):
        if BATCH in axis:
            return True if axis[0] == BATCH else None
        if size != 1:
            break
    return None if any(BATCH in axis for axis in layout) else False
