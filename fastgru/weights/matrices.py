"""Matrices that are not arrays in memory: in a file, in the packed weights of a model, or rounded.

A model has one copy of its weights, as its kernels read them, and what describes the model says where that copy is. So
a matrix of a ``MatrixRecord`` is an array or a ``Matrix``, which gives its numbers when it is asked. Knows no file and
no kernel; what a precision keeps of a number is for ``engine.reduced``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays import check_array
from ..engine.reduced import REDUCED, is_kept, reduce, stands_for, widen
from ..errors import CheckpointError, UnsupportedModelError
from ..records.sealed import is_sealed, sealed
from .checksum import checksum_of

__all__ = ["Again", "Form", "Handle", "Kept", "Matrix", "as_array", "check_matrix", "form_of", "keeps", "read_again"]

Array = NDArray[Any]


class Form(NamedTuple):
    """A matrix as a precision has it: what ``reduced.reduce`` gives, or floats; and whether it stands for all of it."""

    numbers: Array
    scales: NDArray[np.float32] | None
    exact: bool
    checksum: int | None = None  # of what was given, where that is more


class Again(Protocol):
    """What matrices can be read from again."""

    @property
    def path(self) -> str: ...

    def matrices(self) -> Sequence[Array | Matrix]: ...


class Matrix:
    """A matrix that is made when it is asked for; each time a new array, of the numbers that were given."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]  # as given: float32 or float64
    packed: Any = None  # a PackedMatrix, of one that is packed already
    source: tuple[Again, int] | None = None  # what it can be read from again, and which it is there
    checksum: int | None = None  # of what was given, where its array is not here

    is_rounded = False  # whether its array is not here

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=object))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.array(), dtype)

    def array(self) -> Array:
        """The numbers as they were given; nobody else writes to the array.

        Raises
        ------
        UnsupportedModelError
            They were rounded, and what they were before is nowhere.
        CheckpointError
            They were in a file that is gone or was changed.
        """
        raise NotImplementedError

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """The rows as they were given, some at a time, each time after the number of the first."""
        yield 0, self.array()

    def form(self, precision: str, name: str) -> Form:
        """The numbers in a precision; errors are those of ``reduced.reduce``, with ``name``, and of ``array``."""
        return form_of(self.array(), precision, name)

    def keeps(self, precision: str) -> bool:
        """Whether it loses nothing in a reduced precision."""
        return is_kept(self.array(), precision)

    def held(self) -> list[Array]:
        """The arrays that it keeps in memory by itself."""
        return []


class Kept(Matrix):
    """A matrix as a model keeps it: in the precision that the model has, perhaps rounded.

    Parameters
    ----------
    numbers : callable
        Gives the numbers and their scales, as ``Form`` has them in this precision, or what they stand for.
    precision : str
    shape, dtype
        As given.
    exact : bool
        Whether nothing was lost.
    name : str
        Of the tensor, for a message.
    source : tuple of what it can be read from again and which it is there, optional
    checksum : int, optional
        Of what was given, if something was lost.
    """

    def __init__(
        self,
        numbers: Callable[[], tuple[Array, Any]],
        precision: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        exact: bool,
        name: str,
        source: tuple[Again, int] | None = None,
        checksum: int | None = None,
    ) -> None:
        self._numbers, self.precision, self.shape, self.dtype = numbers, precision, shape, dtype
        self.exact, self.is_rounded, self.name, self.source = exact, not exact, name, source
        self.checksum = checksum

    def array(self) -> Array:
        if self.exact:
            made = np.ascontiguousarray(widen(*self._numbers()), self.dtype)
            return made if is_sealed(made) else sealed(made)
        if self.source is None:
            raise UnsupportedModelError(
                f"{self.name}: it was given in {self.dtype} and is kept in {self.precision}, and no file has what it "
                f'was before. precision="{self.precision}" is there; for another one load the file again, or take the '
                "model that this one was made of"
            )
        source, number = self.source
        matrices = source.matrices()
        given = as_array(matrices[number]) if number < len(matrices) else None
        if given is None or not self._was(given):
            raise CheckpointError(
                f"{source.path}: it was changed since the model was loaded: {self.name} has other weights now than "
                "those that the model rounded, and these are nowhere else; load the model again, or save it in the "
                "precision that it has"
            )
        return given

    def _was(self, given: Array) -> bool:
        """Whether it is what was rounded: by its checksum, and by what it is rounded to."""
        if (given.shape, given.dtype, checksum_of(given)) != (self.shape, self.dtype, self.checksum):
            return False
        mine, again = self.form(self.precision, self.name), form_of(given, self.precision, self.name)
        same = np.array_equal(mine.numbers, again.numbers, equal_nan=mine.numbers.dtype.kind == "f")
        return same and np.array_equal(mine.scales, again.scales)  # type: ignore[arg-type]

    def form(self, precision: str, name: str) -> Form:
        if precision != self.precision:
            return super().form(precision, name)
        numbers, scales = self._numbers()
        if precision in REDUCED and numbers.dtype in (np.float32, np.float64):
            numbers, scales = reduce(numbers, precision, name)
        return Form(numbers, scales, self.exact, self.checksum)

    def keeps(self, precision: str) -> bool:
        return (precision == self.precision and self.exact) or super().keeps(precision)

    def held(self) -> list[Array]:
        return [self._numbers()[0]]

    def __reduce__(self) -> tuple[Any, ...]:
        numbers, scales = self.form(self.precision, self.name)[:2]
        more = (self.precision, self.shape, self.dtype, self.exact, self.name, self.source, self.checksum)
        return _kept, (np.ascontiguousarray(numbers), scales, *more)


def _kept(numbers: Array, scales: Any, *more: Any) -> Kept:
    both = sealed(numbers), scales
    return Kept(lambda: both, *more)


class Handle(Matrix):
    """A matrix of one model: at first where it was given, and from ``settle`` on in the model's own weights.

    All that describes the model, its layers, its graph and the GRUs that compute, has the same handle.
    """

    def __init__(
        self,
        given: Array | Matrix,
        name: str = "",
        source: tuple[Again, int] | None = None,
        passes: bool = False,
    ) -> None:
        self._now = given
        self._passes = passes  # whether it is only there for one model to take
        # Whether the last form that was asked for is exact; a matrix that is packed already is not asked for one.
        self._exact = not (isinstance(given, Matrix) and given.is_rounded)
        self._checksum = self.checksum
        self._settled = False
        self.is_only_for_grus = True  # otherwise a layer has it too, of which nobody asked to round it
        self.shape, self.dtype = tuple(given.shape), given.dtype
        self.name = name
        self.source = source or (given.source if isinstance(given, Matrix) else None)

    @property
    def packed(self) -> Any:
        return self._now.packed if isinstance(self._now, Matrix) else None

    @property
    def is_rounded(self) -> bool:  # type: ignore[override]
        return isinstance(self._now, Matrix) and self._now.is_rounded

    @property
    def checksum(self) -> int | None:  # type: ignore[override]
        return self._now.checksum if isinstance(self._now, Matrix) else None

    def array(self) -> Array:
        return as_array(self._now)

    def form(self, precision: str, name: str) -> Form:
        made = form_of(self._now, precision, name)
        self._exact, self._checksum = made.exact, made.checksum
        return made

    def keeps(self, precision: str) -> bool:
        return keeps(self._now, precision)

    def settle(
        self,
        numbers: Callable[[], tuple[Array, Any]],
        precision: str,
        packed: Any = None,
        exact: bool | None = None,
    ) -> None:
        """Leave what was given for what the model computes with, which ``numbers`` gives.

        Float64 that was rounded to float32 stays beside it, unless a file has it: nobody asked to lose it. A reduced
        precision of a GRU was asked for, unless a layer has the same matrix; with ``exact`` it is of another operation,
        and was not.
        """
        if self._settled:
            return
        if self._exact and exact is False:
            self._checksum = checksum_of(self.array())
        asked = exact is None and precision in REDUCED and self.is_only_for_grus
        self._exact = self._exact and exact is not False
        self._settled, given = True, self._now
        if self._exact or asked or self.source is not None:
            source = None if self._exact else self.source
            self._now = Kept(numbers, precision, self.shape, self.dtype, self._exact, self.name, source, self._checksum)
            if packed is not None and packed.precision == precision:  # otherwise float32 stands for something smaller
                self._now.packed = packed
            if isinstance(given, Handle) and given._passes:
                given._now = self._now
        elif isinstance(self._now, np.ndarray) and not is_sealed(self._now):
            self._now = sealed(np.array(self._now, order="C"))

    def hold(self) -> None:
        """Have the numbers here where no model has packed them: the file that they are in may go."""
        if isinstance(self._now, Handle):
            self._now.hold()
        elif isinstance(self._now, Matrix) and not self._settled and self.packed is None:
            self._now = self._now.array()
        elif isinstance(self._now, np.ndarray) and not is_sealed(self._now):
            self._now = sealed(np.array(self._now, order="C"))

    def held(self) -> list[Array]:
        if self._settled and isinstance(self._now, Kept):
            return []
        return [self._now] if isinstance(self._now, np.ndarray) else self._now.held()

    def __reduce__(self) -> tuple[Any, ...]:
        return Handle, (self._now, self.name, self.source)


def read_again(
    named: Sequence[tuple[str, Array | Matrix]], precision: str | None, own: str
) -> list[Sequence[Array | Matrix]]:
    """What rounded matrices are read from, each once, to be held while they are asked for another precision."""
    if precision == own:
        return []
    lost = [matrix for _, matrix in named if isinstance(matrix, Matrix) and matrix.is_rounded]
    sources = {id(each.source[0]): each.source[0] for each in lost if each.source is not None}
    return [source.matrices() for source in sources.values()]


def as_array(given: Array | Matrix) -> Array:
    """The numbers as given."""
    return given.array() if isinstance(given, Matrix) else given


def form_of(given: Array | Matrix, precision: str, name: str) -> Form:
    """A matrix in a precision."""
    if isinstance(given, Matrix):
        return given.form(precision, name)
    if precision in REDUCED:
        numbers, scales = reduce(given, precision, name)
        exact = stands_for(numbers, scales, given)
    else:
        numbers, scales = np.ascontiguousarray(given, precision), None
        wider = numbers.dtype.itemsize >= given.dtype.itemsize
        exact = wider or np.array_equal(numbers, given, equal_nan=True)
    return Form(numbers, scales, exact, None if exact else checksum_of(given))


def keeps(given: Array | Matrix, precision: str) -> bool:
    """Whether a matrix loses nothing in a reduced precision."""
    return given.keeps(precision) if isinstance(given, Matrix) else is_kept(given, precision)


def check_matrix(given: Any, shape: Sequence[int | None], where: str) -> None:
    """Raise unless it is a matrix of floats of that shape, where None is any size from 1."""
    is_here = not isinstance(given, Matrix)
    check_array(given if is_here else np.broadcast_to(np.zeros((), given.dtype), given.shape), shape, where)
