"""One open file as every reader sees it: its path, its size, its first bytes and, where it is a zip, its archive.

Owns the opening, so that a folder, a pipe, a missing or an empty file is refused in one place. It interprets nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO

from ..errors import CheckpointError
from ..origin import raised_in
from ..records.fields import Fields
from ..records.once import once
from .text import shown
from .zip import MAGIC, Archive

__all__ = ["Identity", "OpenedFile", "open_checkpoint"]

Identity = tuple[int, int, int, int]  # size, time of the last change, inode, device

HEAD_BYTES = 4096  # as much as any magic number needs: a tar's is at 257, HDF5's may be at 512, 1024 or 2048


class OpenedFile(Fields):
    """An open, non-empty, regular file."""

    path: str
    file: BufferedReader | BytesIO
    size: int
    head: bytes
    part: str | None = None  # which of several state dicts is asked for
    for_model: bool = False  # whether matrices of layers may be read when they are packed

    @once
    def identity(self) -> Identity:
        """What tells the file from another in its place, and from itself after a change."""
        found = os.fstat(self.file.fileno())
        return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev

    @property
    def is_zip(self) -> bool:
        return self.head.startswith(MAGIC)

    @once
    def archive(self) -> Archive:
        return Archive(self.file, self.size, self.path)

    def read_all(self) -> bytes:
        """The whole content, in one piece."""
        return self.read(0, self.size)

    def read(self, start: int, length: int) -> bytes:
        """Exactly that many bytes; the caller has checked that the file is as long."""
        self.file.seek(start)
        content = self.file.read(length)
        self._check_read(len(content), length)
        return content

    def read_into(self, start: int, buffer: memoryview) -> None:
        """The same, into memory that is there."""
        self.file.seek(start)
        got = 0
        while got < len(buffer) and (more := self.file.readinto(buffer[got:])):
            got += more
        self._check_read(got, len(buffer))

    def _check_read(self, got: int, wanted: int) -> None:
        if got != wanted:
            raise CheckpointError(f"{self.path}: got {got} bytes, wanted {wanted}: it changed while read")


@contextmanager
def open_checkpoint(path: str | os.PathLike[str]) -> Iterator[OpenedFile]:
    """Open ``path`` for reading, or raise a ``CheckpointError`` that says what is there instead."""
    try:
        name = os.fsdecode(os.fspath(path))
    except TypeError as error:
        if not raised_in(error, "fastgru", "os"):  # but in the path's own method
            raise
        raise CheckpointError(f"got {type(path).__name__} as a path, wanted a str or an os.PathLike") from None
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise CheckpointError(f"{name}: got a folder, wanted one checkpoint file")
        if not stat.S_ISREG(mode):
            raise CheckpointError(f"{name}: got a device or a pipe, wanted a regular file; copy it into one")
        file = open(name, "rb")  # noqa: SIM115 - closed below; only the opening itself is guarded
    except FileNotFoundError:
        raise CheckpointError(f"{name}: there is no such file; wanted a checkpoint to read") from None
    except (OSError, ValueError) as error:
        if not raised_in(error, "fastgru"):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CheckpointError(f"{shown(name, 300)}: cannot be opened ({reason}); wanted a readable file") from error
    with file:
        try:
            size = os.fstat(file.fileno()).st_size
            head = file.read(HEAD_BYTES)
            if not head:
                raise CheckpointError(f"{name}: got an empty file, wanted a checkpoint; copy or download it again")
            yield OpenedFile(name, file, size, head)
        except OSError as error:
            if not raised_in(error, "fastgru"):  # but in a signal handler: TimeoutError is one too
                raise
            raise CheckpointError(f"{name}: reading failed ({error})") from error
        except MemoryError as error:
            if not raised_in(error, "fastgru"):
                raise
            raise MemoryError(f"{name}: there is not enough memory to read it") from error
