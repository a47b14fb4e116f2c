"""``map`` of a GRU and of a Model: sequences of unequal length, grouped by length, with results in the order given.

Sequences are read a window at a time, sorted within it, and run in groups whose padding is small. Owns the windows, the
groups and the order of results; what one group computes is for ``runs``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

from ..errors import FastGRUError
from ..threads import asking_for, check_threads
from .items import Check, items_of
from .runs import GRURuns, ModelRuns, Row

__all__ = ["map_sequences"]

# Numbers of inputs and results together that a window holds, 32 MB of float32, and how many sequences, however short:
# each takes about 2 kB beside its numbers.
WINDOW_NUMBERS = 2**23
WINDOW_ROWS = 8192

# Numbers of the widest value of a group, padding included: 8 MB of float32. Of 75 sequences of about 60 steps through
# both directions of 256 units, one thread takes 200 ms alone, 177 ms in groups of 2**16 numbers, 118 ms of 2**20 and
# 102 ms of 2**21 (Zen 3); of 400 through 128 units 138, 121, 88 and 84 ms. Larger groups gain nothing.
GROUP_NUMBERS = 2**21

# From how many rows on a group takes none that is shorter than this part of its longest: what is padding there is
# computed by layers other than GRUs. Between 0.5 and 0.94 and from 16 rows on, no choice was seen to be faster.
ENOUGH_ROWS = 32
SHORTEST = 0.75


def map_sequences(
    runs: GRURuns | ModelRuns, sequences: Any, lengths: Any, offsets: Any, n_threads: int | None, progress: bool
) -> Iterator[Any]:
    """What ``map`` gives; arguments are checked before the first result is asked for."""
    check_threads(n_threads)
    items, count = items_of(runs.sources, sequences, lengths, offsets, runs.dtype, runs.layers)
    return _results(runs, items, count, n_threads, progress)


def _results(
    runs: GRURuns | ModelRuns, items: Iterator[Any], count: int | None, n_threads: int | None, progress: bool
) -> Iterator[Any]:
    shown: Any = nullcontext(lambda done: None)
    if progress:
        from ..terminal import progress as bar

        shown = bar(count, "sequences")
    with shown as advance:
        number, failed = 0, None
        while failed is None:
            rows, failed = _window(runs, items, number)
            number += len(rows)
            yield from _in_order(runs, rows, n_threads, advance)
        if not isinstance(failed, StopIteration):
            try:
                raise failed
            finally:
                del failed  # which holds this frame, and with it the model


def _window(runs: GRURuns | ModelRuns, items: Iterator[Any], first: int) -> tuple[list[Row], Exception | None]:
    """The next sequences, and what ended them: ``StopIteration``, an error of one of them, or one of the iterable."""
    rows: list[Row] = []
    held = 0
    check = Check(runs.sources, runs.dtype, runs.layers)
    while held < WINDOW_NUMBERS and len(rows) < WINDOW_ROWS:
        try:
            item = next(items)
        except StopIteration:
            return rows, StopIteration()  # of no frame
        except Exception as error:  # raised again when the results of all before it are given
            return rows, error
        try:
            row = runs.row(first + len(rows), check.arrays_of(item))
        except FastGRUError as error:
            return rows, _named(error, first + len(rows))
        rows.append(row)
        held += row.shape.held
    return rows, None


def _in_order(
    runs: GRURuns | ModelRuns, rows: list[Row], n_threads: int | None, advance: Callable[[int], None]
) -> Iterator[Any]:
    """The results of a window, which is emptied; a group runs when the first of its results is asked for."""
    numbers = [row.number for row in rows]
    groups = {row.number: group for group in _groups(runs, rows) for row in group}
    rows.clear()  # so that the inputs of a group go when it has run
    made: dict[int, Any] = {}
    for number in numbers:
        if number in groups:
            group = groups[number]
            with asking_for(n_threads):
                results = _run(runs, group)
            for row, result in zip(group, results, strict=True):
                made[row.number] = result
                del groups[row.number]
            advance(len(group))
            del group, row, results
        result = made.pop(number)
        if isinstance(result, FastGRUError):
            raise result
        yield result


def _groups(runs: GRURuns | ModelRuns, rows: list[Row]) -> Iterator[list[Row]]:
    """The rows of a window in groups that may run together, the longest first.

    A group ends where the next row would make it larger than ``GROUP_NUMBERS``, or, when it has ``ENOUGH_ROWS``, where
    the next row is shorter than ``SHORTEST`` of its longest.
    """
    places: dict[Any, int] = {}
    group: list[Row] = []
    longest: tuple[int, ...] = ()
    most = 0
    for row in sorted(rows, key=lambda row: (places.setdefault(row.shape.group, len(places)), row.shape.order)):
        steps = row.shape.steps
        if group and row.shape.group == group[0].shape.group:
            joined = tuple(map(max, longest, steps))
            if joined != longest:
                most = GROUP_NUMBERS // max(runs.width(group[0], joined), 1)
            short = len(group) >= ENOUGH_ROWS and sum(steps) < SHORTEST * sum(joined)
            if len(group) < min(most, runs.most_rows) and not short:
                group.append(row)
                longest = joined
                continue
        if group:
            yield group
        group, longest = [row], steps
        most = GROUP_NUMBERS // max(runs.width(row, steps), 1)
    if group:
        yield group


def _run(runs: GRURuns | ModelRuns, group: list[Row]) -> list[Any]:
    """The results of a group, with an error in the place of each row that has none."""
    try:
        return runs.run(group)
    except FastGRUError as error:
        if len(group) == 1:
            return [_named(error, group[0].number)]
    alone = [_run(runs, [row])[0] for row in group]  # which of them it was
    if not any(isinstance(each, FastGRUError) for each in alone):
        runs.most_rows = 1  # each is right alone, so that is how the others of this call are run
    return alone


def _named(error: FastGRUError, number: int) -> FastGRUError:
    """The same error with the sequence in front."""
    named = type(error)(f"sequence {number}: {error}")
    named.__cause__ = error
    return named
