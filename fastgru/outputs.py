"""A file that is written whole or not at all: a new one beside it takes its place when everything is in it.

A file that is there keeps its owner, its mode and the access lists of the system, as when it is written in place.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .origin import is_file, is_there

__all__ = ["check_writable", "replacing"]


def check_writable(path: str) -> Path:
    """Where ``path`` leads, unless no file can be written or replaced there: for before the work that makes it.

    Raises
    ------
    OSError
        The path is a folder or a pipe, its folder is not there, or it may not be written.
    """
    if is_there(path) and not is_file(path):  # asked of the path: a pipe's /dev/stdout resolves to nothing
        raise OSError(errno.EINVAL, "what is written must be a regular file, or the name of a new one", path)
    target = _followed(path)
    if is_there(target) and not os.access(target, os.W_OK):  # it could be replaced, but is not meant to be
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return target


def _followed(path: str) -> Path:
    """What is written through symbolic links is the file that they lead to; it need not be there, its folder must."""
    followed = path
    for _ in range(40):  # as many as Linux follows
        folder, name = os.path.split(followed)
        try:
            folder = os.path.realpath(folder, strict=True)
        except (FileNotFoundError, NotADirectoryError):
            break
        followed = os.path.join(folder, name)
        try:
            link = os.readlink(followed)
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                break
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # it is no link, or not there
                raise
            return Path(followed)
        followed = os.path.join(folder, link)
    else:
        raise OSError(errno.ELOOP, "its symbolic links lead in a circle", path)
    raise FileNotFoundError(errno.ENOENT, "its folder does not exist", path)


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file beside ``path`` that takes its place at the end, or disappears where something was raised.

    A file of somebody else's, which this process may write and not give back to its owner, is not replaced: what was
    made is copied into it at the end.

    Raises
    ------
    OSError
        The path is a folder or a pipe, its folder is not there, or the system refuses; the path is as it was.
    """
    target = check_writable(path)
    temporary = target.with_name(f".{target.name[:60]}.{secrets.token_hex(4)}.part")
    exists = is_there(target)
    try:
        with open(temporary, "x+b", opener=_private if exists else None) as file:
            replaces = not exists or _takes_after(temporary, target)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not replaces:
                file.seek(0)
                with open(target, "wb") as old:
                    shutil.copyfileobj(file, old)
        if replaces:
            os.replace(temporary, target)
        else:
            temporary.unlink()
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == os.fspath(temporary):
            raise OSError(error.errno, error.strerror, path) from error
        raise


def _private(path: str, flags: int) -> int:
    """Open a file for nobody else, until it has the mode of the one whose place it takes."""
    return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)


def _takes_after(new: Path, old: Path) -> bool:
    """Give a file the owner, group, mode and access lists of another; False where the owner cannot be given."""
    is_now, was = new.stat(), old.stat()
    try:
        if (is_now.st_uid, is_now.st_gid) != (was.st_uid, was.st_gid):
            os.chown(new, was.st_uid, was.st_gid)
        shutil.copystat(old, new)
    except OSError as error:
        if error.errno is None:  # not the system's: a signal handler's TimeoutError
            raise
        return False
    return True
