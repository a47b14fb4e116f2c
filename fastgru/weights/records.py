"""Records with matrices that need not be arrays in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..records.record import Record, owned
from .matrices import Again, Handle, Matrix

__all__ = ["MatrixRecord", "handle_of"]

Array = NDArray[Any]


class MatrixRecord(Record):
    """A record of which the fields in ``MATRICES`` are arrays, or each a ``Matrix``, of which every look makes one."""

    MATRICES: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.MATRICES:
            if isinstance(self.__dict__[name], Matrix):
                self.__dict__[f"_{name}"] = self.__dict__.pop(name)

    def __getattr__(self, name: str) -> Any:
        if f"_{name}" not in self.__dict__ or name not in self.MATRICES:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return self.__dict__[f"_{name}"].array()

    def fields(self) -> dict[str, Any]:
        """Every field by name, in order; a matrix that is no array as it is."""
        found = {name: self.__dict__.get(f"_{name}") for name in self.MATRICES}
        return {name: getattr(self, name) if found.get(name) is None else found[name] for name in self._fields}

    @property
    def matrices(self) -> tuple[Any, ...]:
        """Those fields as they are: of a ``Matrix`` no array is made."""
        return tuple(self.__dict__.get(f"_{name}", self.__dict__.get(name)) for name in self.MATRICES)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the first of them."""
        return tuple(self.matrices[0].shape)

    def settle(self, numbers: Callable[[], tuple[Array, Any]], precision: str, exact: bool) -> None:
        """Let its one matrix be what is computed with; see ``Handle.settle``."""
        (matrix,) = self.matrices
        if isinstance(matrix, Handle):
            matrix.settle(numbers, precision, exact=exact)

    def owned(self, made: dict[Any, Any]) -> Any:
        """The same for one model: with handles of its own, and arrays that nobody else can change."""
        given = dict(zip(self.MATRICES, self.matrices, strict=True))
        return self.replace(
            **{
                name: handle_of(given[name], made, name) if name in given else owned(value, made)
                for name, value in self.fields().items()
            }
        )


def handle_of(
    matrix: Any, made: dict[Any, Any], name: str, source: tuple[Again, int] | None = None, passes: bool = False
) -> Any:
    """The one handle of a matrix in a description that is made for one model; what is no matrix as it is."""
    if not isinstance(matrix, (np.ndarray, Matrix)):
        return matrix
    key = "handle", id(matrix)
    if key not in made:
        made[key] = Handle(matrix, name, source, passes)
    made[key].is_only_for_grus &= name not in MatrixRecord.MATRICES
    return made[key]
