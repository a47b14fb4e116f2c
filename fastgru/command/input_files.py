"""Arrays from files for ``fastgru run`` and ``verify``: one ``.npy`` file, one for every input, or an ``.npz`` of them.

Nothing in a file is unpickled. Which inputs and outputs there are is for the caller.
"""

from __future__ import annotations

import errno
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import CheckpointError, FastGRUError
from ..origin import is_there

__all__ = ["paths_in", "read_array", "read_expected", "read_inputs", "read_lengths"]

Array = np.ndarray[Any, Any]

# What NumPy's reader of headers and Python's of zips let through of their parsing; what is not theirs goes on its way.
_DAMAGED = (
    ValueError, EOFError, LookupError, TypeError, SyntaxError, RuntimeError, OverflowError, tokenize.TokenError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_inputs(given: Sequence[str], names: Sequence[str]) -> dict[str, Array]:
    """An array for every input of a model.

    Parameters
    ----------
    given : sequence of str
        One path, of an ``.npz`` where the model has several inputs; or ``name=path`` for each of them.
    names : sequence of str
        The model's inputs.

    Raises
    ------
    FastGRUError
        The files are not of these inputs.
    CheckpointError
        A file is not of arrays, is damaged, or holds Python objects.
    OSError
        A file cannot be opened.
    """
    return _read_named(given, names, "inputs", names[0] if len(names) == 1 else None)


def read_expected(given: Sequence[str], names: Sequence[str], alone: str | None) -> dict[str, Array]:
    """The same of a model's outputs, of which some are enough; ``alone`` is what one array without a name is."""
    return _read_named(given, names, "outputs", alone, some=True)


def _read_named(
    given: Sequence[str], names: Sequence[str], kind: str, alone: str | None, some: bool = False
) -> dict[str, Array]:
    """Arrays by the names of inputs or outputs: of all of them, or of ``some`` at least."""
    pairs = [_pair(text) for text in given]
    named = [name for name, _ in pairs if name is not None]
    if len(pairs) == 1 and not named:
        path = pairs[0][1]
        found = _read(path)
        if isinstance(found, dict):
            return _of_names(found, names, path, some)
        if alone is not None:
            return {alone: found}
    fits = set(named) <= set(names) if some else set(named) == set(names)
    if not fits or len(set(named)) != len(pairs):
        raise FastGRUError(f"the model has the {kind} {_listed(names)}; give them {_how(names)}")
    return {str(name): read_array(path) for name, path in pairs}


def paths_in(given: Sequence[str]) -> list[str]:
    """The paths among what is given as inputs."""
    return [_pair(text)[1] for text in given]


def read_lengths(path: str) -> Array | dict[str, Array]:
    """The lengths of rows: one array for all inputs, or those of an ``.npz`` by the names of the inputs."""
    return _read(path)


def read_array(path: str) -> Array:
    """The array of a ``.npy`` file, mapped into memory and not read yet.

    Raises
    ------
    CheckpointError
        It is not a ``.npy`` file, is damaged, or holds Python objects.
    OSError
        It cannot be opened.
    """
    found = _read(path)
    if isinstance(found, dict):
        raise CheckpointError(f"{path}: holds several arrays (.npz), wanted one; write it with numpy.save")
    return found


def _read(path: str) -> Array | dict[str, Array]:
    """The one array of a ``.npy`` file, or those of an ``.npz`` by name."""
    with open(path, "rb") as file:
        head = file.read(16)
        file.seek(0)
        try:
            if not head.startswith(b"PK"):
                found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
                return found
            arrays = dict(np.load(file, allow_pickle=False))
        except (*_DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # of a zip that leads before its start
                raise
            reason = _reason(head, str(error))
            raise CheckpointError(
                f"{path}: not a .npy file of numbers ({reason}); write one with numpy.save"
            ) from error
    others = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if others:
        raise CheckpointError(
            f"{path}: a zip with {others[0]!r} in it, not an .npz of arrays; write one with numpy.savez"
        )
    return arrays


def _reason(head: bytes, error: str) -> str:
    """Why a file cannot be read: NumPy takes what it does not know for a pickle, and advises to load that."""
    if not head:
        return "it is empty"
    if not head.startswith((b"\x93NUMPY", b"PK")):
        return f"it begins with {ascii(head)[1:]}"
    if "allow_pickle" in error or "Python objects" in error:
        return "it holds Python objects"
    return error.partition("\n")[0]


def _pair(text: str) -> tuple[str | None, str]:
    """``name=path`` in its parts; a path alone, or a file that is called so, without a name."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and not is_there(text) else (None, text)


def _of_names(found: Mapping[str, Array], names: Sequence[str], path: str, some: bool) -> dict[str, Array]:
    """The arrays of an ``.npz`` by the names of inputs or outputs, or in order where ``numpy.savez`` numbered them."""
    if set(found) == set(names) or (some and found and set(found) < set(names)):
        return {name: found[name] for name in names if name in found}
    if set(found) == {f"arr_{place}" for place in range(len(names))}:
        return {name: found[f"arr_{place}"] for place, name in enumerate(names)}
    arguments = ", ".join(f"{name}=..." if name.isidentifier() else f"**{{{name!r}: ...}}" for name in names)
    raise CheckpointError(
        f"{path}: holds the arrays {_listed(list(found))}, wanted {_listed(names)}; write it with "
        f"numpy.savez(path, {arguments})"
    )


def _how(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"as one .npy file, or as {names[0]}=FILE.npy"
    return f"as {' '.join(f'{name}=FILE.npy' for name in names[:4])}{' ...' if names[4:] else ''}, or as one .npz file"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "none"
