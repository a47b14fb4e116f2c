"""Arrays from files for ``fastgru run``: one ``.npy`` file, one for every input of a model, or an ``.npz`` of them.

Nothing in a file is unpickled. Which inputs there are is for the caller.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import CheckpointError, FastGRUError

__all__ = ["paths_in", "read_array", "read_inputs", "read_lengths"]

Array = np.ndarray[Any, Any]


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
    pairs = [_pair(text) for text in given]
    named = [name for name, _ in pairs if name is not None]
    if len(pairs) == 1 and not named:
        path = pairs[0][1]
        found = _read(path)
        if isinstance(found, dict):
            return _of_inputs(found, names, path)
        if len(names) == 1:
            return {names[0]: found}
    if sorted(named) != sorted(names) or len(named) != len(pairs):
        raise FastGRUError(f"the model has the inputs {_listed(names)}; give them {_how(names)}")
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
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return dict(found)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the readers of headers and zips let through whatever their parsing raises
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: not a .npy file of numbers ({reason}); write one with numpy.save") from error


def _pair(text: str) -> tuple[str | None, str]:
    """``name=path`` in its parts; a path alone, or a file that is called so, without a name."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and not os.path.exists(text) else (None, text)


def _of_inputs(found: Mapping[str, Array], names: Sequence[str], path: str) -> dict[str, Array]:
    """The arrays of an ``.npz`` by the names of the inputs, or in their order where ``numpy.savez`` numbered them."""
    if set(found) == set(names):
        return {name: found[name] for name in names}
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
