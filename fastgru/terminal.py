"""What a person sees on a terminal: tables, progress bars, and characters that are safe to print.

Uses rich for progress bars on a terminal where it is installed; all else is plain text.
Computes nothing and knows no command.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import zip_longest
from typing import TextIO

__all__ = ["can_print", "counted", "print_table", "printable", "progress"]

BAR_WIDTH = 24
REDRAW_SECONDS = 0.1
NARROWEST = 24  # characters that a cell in a list is left with


def printable(text: str) -> str:
    """The text with control characters escaped: a name in a file must not steer the terminal. Newlines stay."""
    return "".join(
        character if character.isprintable() or character == "\n" else f"\\x{ord(character):02x}" for character in text
    )


def counted(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def can_print(characters: str, stream: TextIO) -> bool:
    """Whether the stream's encoding has these characters."""
    try:
        characters.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print rows under headings on standard output, within the width of the terminal or of ``COLUMNS``, or 80.

    The columns named in ``right`` are aligned to the right and keep their width; long cells of the others are wrapped
    between words. Where the longest words do not fit beside each other, each row is printed as a list of its cells.
    """
    cells = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    columns = list(zip(headings, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    least = [
        width if heading in right else max(map(_longest_word, column))
        for heading, width, column in zip(headings, widths, columns, strict=True)
    ]
    limit = shutil.get_terminal_size().columns
    if not _narrow(widths, least, limit):
        _print_lists(headings, cells, limit)
        return
    rule = "\u2500" if sys.stdout.isatty() and can_print("\u2500", sys.stdout) else "-"
    for row in (headings, [rule * width for width in widths], *cells):
        wrapped = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        for parts in zip_longest(*wrapped, fillvalue=""):
            aligned = [
                part.rjust(width) if heading in right else part.ljust(width)
                for heading, part, width in zip(headings, parts, widths, strict=True)
            ]
            print("  ".join(aligned).rstrip())


def _narrow(widths: list[int], least: Sequence[int], limit: int) -> bool:
    """Take from the widest column, one character at a time, until all fit with two spaces between them, if they can."""
    while sum(widths) + 2 * (len(widths) - 1) > limit:
        width, place = max((width if width > least[place] else -1, place) for place, width in enumerate(widths))
        if width < 0:
            return False
        widths[place] -= 1
    return True


def _print_lists(headings: Sequence[str], rows: Sequence[Sequence[str]], limit: int) -> None:
    """Each row as its first cell, and below it the others that are not empty, each behind its heading."""
    named = max(map(len, headings[1:]), default=0)
    for first, *others in rows:
        indent = " " * (len(first) - len(first.lstrip()) + 2)
        print(first)
        for heading, cell in zip(headings[1:], others, strict=True):
            begin = f"{indent}{heading.ljust(named)}  "
            for line in _wrapped(cell, max(limit - len(begin), NARROWEST)):
                print(begin + line)
                begin = " " * len(begin)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _longest_word(text: str) -> int:
    """What a column needs in order to keep the words of a cell, and the spaces that the cell begins with."""
    indent = len(text) - len(text.lstrip())
    first, *others = text.split() or [""]
    return max(indent + len(first), *map(len, others), 0)


@contextmanager
def progress(total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while a long work runs: call what is yielded with how many more ``unit`` are done.

    ``total`` is None if it is not known before the end. Nothing is drawn where standard error is not a terminal, and
    nothing of it is left at the end.
    """
    if not sys.stderr.isatty():
        yield lambda count: None
    elif find_spec("rich") is not None:
        from rich import progress as rich

        columns = (
            rich.BarColumn(),
            rich.TaskProgressColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn(unit),
            rich.TimeRemainingColumn(),
        )
        from rich.console import Console

        with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda count: bar.advance(task, count)
    else:
        line = _Line(total, unit)
        try:
            yield line.advance
        finally:
            line.clear()


class _Line:
    """A bar in plain characters on one line of standard error."""

    def __init__(self, total: int | None, unit: str) -> None:
        self._total, self._unit = total, unit
        self._done = 0
        self._start = time.monotonic()
        self._drawn = -REDRAW_SECONDS
        self._length = 0

    def advance(self, count: int) -> None:
        self._done += count
        elapsed = time.monotonic() - self._start
        if elapsed - self._drawn < REDRAW_SECONDS and (self._total is None or self._done < self._total):
            return
        self._drawn = elapsed
        text = self._text(elapsed)
        text = text[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write("\r" + text.ljust(self._length))
        sys.stderr.flush()
        self._length = len(text)

    def _text(self, elapsed: float) -> str:
        if self._total is None:
            return f"{self._done:,} {self._unit}, {elapsed:.0f} s"
        share = self._done / max(self._total, 1)
        bar = ("#" * round(BAR_WIDTH * share)).ljust(BAR_WIDTH, ".")
        left = elapsed / share - elapsed if share else 0.0
        return f"[{bar}] {share:4.0%}  {self._done:,} of {self._total:,} {self._unit}, {left:.0f} s left"

    def clear(self) -> None:
        sys.stderr.write("\r" + " " * self._length + "\r")
        sys.stderr.flush()
