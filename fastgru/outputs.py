"""A file that is written whole or not at all: a new one beside it takes its place when everything is in it."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["check_writable", "replacing"]


def check_writable(path: str) -> Path:
    """Where ``path`` leads, unless no file can be written or replaced there: for before the work that makes it.

    Raises
    ------
    OSError
        The path is a folder or a pipe, its folder is not there, or it may not be written.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # asked of the path: a pipe's /dev/stdout resolves to nothing
        raise OSError(errno.EINVAL, "what is written must be a regular file, or the name of a new one", path)
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", path)
    if target.exists() and not os.access(target, os.W_OK):  # it could be replaced, but is not meant to be
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return target


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file beside ``path`` that takes its place at the end, or disappears where something was raised.

    Raises
    ------
    OSError
        The path is a folder or a pipe, its folder is not there, or the system refuses; the path is as it was.
    """
    target = check_writable(path)
    temporary = target.with_name(f".{target.name[:60]}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == os.fspath(temporary):
            raise OSError(error.errno, error.strerror, path) from error
        raise
