"""Taking named tensors out of a file: each is asked for by name and shape, and what was never asked for is known.

Importers take every weight through here, so that a missing, misshapen or integer tensor is always the same error.
Nothing here knows what a layer is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..records.once import once
from ..weights.matrices import Matrix

__all__ = ["OnceRead", "UsedTensors", "indexed", "listed", "set_aside", "take", "take_matrix"]


class OnceRead(Matrix):
    """A matrix of a file as code finds it: layers take ``stored``, and all else one array, read when it is needed."""

    def __init__(self, stored: Matrix) -> None:
        self.stored, self.shape, self.dtype = stored, stored.shape, stored.dtype
        self._array: np.ndarray | None = None

    @classmethod
    def of(cls, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Tensors with such matrices in the places of others."""
        return {name: cls(each) if isinstance(each, Matrix) else each for name, each in tensors.items()}

    def array(self) -> np.ndarray:
        if self._array is None:
            self._array = self.stored.array()
        return self._array


class UsedTensors(Mapping[str, np.ndarray]):
    """A mapping of tensors that remembers which ``take`` took out of it; looking at one is not using it."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = tensors
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @once
    def by_module(self) -> dict[str, list[str]]:
        """The names by what stands before their last dot, both in the file's order."""
        groups: dict[str, list[str]] = {}
        for name in self._tensors:
            groups.setdefault(name.rpartition(".")[0], []).append(name)
        return groups

    @once
    def parametrised(self) -> dict[str, list[str]]:
        """The names of what PyTorch's parametrizations keep, by the module whose weights they make."""
        groups: dict[str, list[str]] = {}
        for prefix, names in self.by_module.items():
            owner, word, _ = f"{prefix}.".partition("parametrizations.")
            if word and (not owner or owner.endswith(".")):
                groups.setdefault(owner.removesuffix("."), []).extend(names)
        return groups

    def use(self, name: str) -> None:
        """Remember that a layer uses this tensor."""
        self._used.add(name)

    def used(self) -> list[str]:
        """The names that were taken, in the file's order."""
        return [name for name in self._tensors if name in self._used]

    def unused(self) -> list[str]:
        """The names that were never taken, in the file's order."""
        return [name for name in self._tensors if name not in self._used]


def take(tensors: Mapping[str, Any], name: str, shape: tuple[int | None, ...], where: str) -> np.ndarray:
    """The tensor of that name, in C order and native bytes, where None in ``shape`` is any size.

    Raises
    ------
    CheckpointError
        It is missing, has another shape, or is neither float32 nor float64.
    """
    tensor = _checked(tensors, name, shape, where)
    return np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("="))


def _checked(tensors: Mapping[str, Any], name: str, shape: tuple[int | None, ...], where: str) -> Any:
    if name not in tensors:
        raise CheckpointError(f"{where}: tensor {name!r} is missing; wanted shape {_shape_text(shape)}")
    tensor = tensors[name]
    fits = tensor.ndim == len(shape) and all(
        wanted is None or got == wanted for got, wanted in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise CheckpointError(
            f"{where}: tensor {name!r} has the wrong shape: got {tensor.shape}, wanted {_shape_text(shape)}"
        )
    if tensor.dtype.kind != "f" or tensor.dtype.itemsize not in (4, 8):
        raise CheckpointError(
            f"{where}: tensor {name!r} has the wrong type: got {tensor.dtype}, wanted float32 or float64"
        )
    if isinstance(tensors, UsedTensors):
        tensors.use(name)
    return tensor


def take_matrix(tensors: Mapping[str, Any], name: str, shape: tuple[int | None, ...], where: str) -> Any:
    """The same for a matrix of a layer, which may be a ``Matrix``."""
    return (
        _checked(tensors, name, shape, where)
        if isinstance(tensors.get(name), Matrix)
        else take(tensors, name, shape, where)
    )


def indexed(tensors: Mapping[str, np.ndarray]) -> UsedTensors:
    """The tensors with their index by module: themselves where they have one."""
    return tensors if isinstance(tensors, UsedTensors) else UsedTensors(tensors)


def set_aside(tensors: Mapping[str, np.ndarray], name: str) -> None:
    """Count a tensor as used, where it is there, that changes nothing of what is computed: a counter."""
    if name in tensors and isinstance(tensors, UsedTensors):
        tensors.use(name)


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names for a message: quoted, with commas, and cut short where there are very many."""
    every = [repr(name) for name in names]
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")


def _shape_text(shape: tuple[int | None, ...]) -> str:
    sizes = ["any" if size is None else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
