"""A piece of an open file, of which small parts are looked at in any order: read by pages, of which some are kept.

Owns the pages and the bounds of the piece. No file is mapped: one that another process cuts short would end this one.
"""

from __future__ import annotations

from .opened import OpenedFile

__all__ = ["Span"]

PAGE = 4096  # bytes
MAX_PAGES = 256


class Span:
    """Bytes of a file from ``start`` on; addresses count from there.

    Parameters
    ----------
    opened : OpenedFile
    start, size : int
        Known to lie in the file.
    """

    def __init__(self, opened: OpenedFile, start: int, size: int) -> None:
        self.opened, self.start, self.size = opened, start, size
        self._pages: dict[int, bytes] = {}

    def piece(self, at: int, length: int) -> bytes:
        """That many bytes, fewer where the span ends."""
        page, first = self._pages.get(at // PAGE), at % PAGE
        if page is not None and first <= first + length <= len(page):
            return page[first : first + length]
        length = min(length, self.size - at)
        if at < 0 or length <= 0:
            return b""
        if first + length > PAGE:
            return self.opened.read(self.start + at, length)
        return self._page(at // PAGE)[first : first + length]

    def holds(self, wanted: bytes, at: int) -> bool:
        """Whether these bytes are at an address."""
        return self.piece(at, len(wanted)) == wanted

    def read_into(self, at: int, memory: memoryview) -> None:
        """As many bytes as the memory has, which are known to be in the span."""
        self.opened.read_into(self.start + at, memory)

    def _page(self, number: int) -> bytes:
        if number in self._pages:
            return self._pages[number]
        if len(self._pages) >= MAX_PAGES:
            del self._pages[next(iter(self._pages))]
        at = number * PAGE
        page = self._pages[number] = self.opened.read(self.start + at, min(PAGE, self.size - at))
        return page
