"""Products of two values: MatMul and Einsum, of which attention is made.

In float32 both ways of running them are the kernels', by one function that writes instructions: a row's bits do not
depend on the rows beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ShapeError, UnsupportedModelError
from ..graph import Tensor
from ..layout import BATCH, Layout, Mixed, broadcast, has_steps
from ..size import Size, Sizes, size_text
from .elementwise import broadcast_shapes
from .operation import Array, Call, Compute, Operation, Setup
from .product import has_kernels
from .reduce import Reduce

if TYPE_CHECKING:
    from ...engine.strided import Strided
    from ..writer import Writer

__all__ = ["Einsum", "MatMul"]


def _write_product(x: Strided, y: Strided, writer: Writer) -> Strided:
    """``x @ y`` of values with two axes or more, transposed where that saves work: vectors are of columns."""
    from ...options import kernel_table

    rows, terms, columns = x.shape[-2], x.shape[-1], y.shape[-1]
    if len(x.shape) > 2 and y.size == terms * columns:
        joined = x.reshaped((x.size // terms, terms))
        if joined is not None:  # all rows with one matrix
            earlier = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
            made = _write_product(joined, y.viewed(y.shape[-2:], y.strides[-2:]), writer)
            return _reshaped(made, (*earlier, rows, columns), writer)
    few = kernel_table().vector_length
    if rows > columns < few or (not _along(x, -1) and _along(y, -2) and not columns > rows < few):
        return _transposed(_write_as_it_is(_transposed(y), _transposed(x), writer))
    return _write_as_it_is(x, y, writer)


def _write_as_it_is(x: Strided, y: Strided, writer: Writer) -> Strided:
    from ...options import kernel_table

    earlier = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x = x if _along(x, -1) else writer.together(x)
    y = y if _along(y, -1) or _along(y, -2) else writer.together(y)
    made = writer.new((*earlier, x.shape[-2], y.shape[-1]))
    parts = [part.expanded((*earlier, *part.shape[-2:])) for part in (x, y)]
    writer.write("matmul", [made], kernel_table(), made, *parts)
    return made


def _reshaped(x: Strided, shape: Sequence[int], writer: Writer) -> Strided:
    """The same elements in C order under another shape, copied where they have to be."""
    made = x.reshaped(shape)
    return writer.together(x).viewed(shape) if made is None else made


def _along(x: Strided, axis: int) -> bool:
    """Whether the places of an axis lie beside each other."""
    return x.strides[axis] == 1 or x.shape[axis] == 1


def _transposed(x: Strided) -> Strided:
    return x.permuted([*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2])


def _product(x: Array, y: Array, setup: Setup) -> Array:
    """``x @ y`` of arrays with two axes or more: by the instruction where the kernels are chosen, otherwise by BLAS."""
    from ...engine.program import Arenas
    from ..writer import Writer

    if not has_kernels(setup) or not x.size or not y.size:
        with np.errstate(all="ignore"):
            return np.asarray(np.matmul(x, y))
    writer = Writer(setup, {})
    arrays, parts = [], []
    for array in (x, y):
        order = sorted(range(array.ndim), key=lambda axis, array=array: -array.strides[axis])  # type: ignore[misc]
        arrays.append(np.ascontiguousarray(array.transpose(order), np.float32))
        parts.append(writer.input(arrays[-1].shape, "f").permuted(np.argsort(order).tolist()))
    ((_, shape),) = writer.results([_write_product(parts[0], parts[1], writer)])
    return writer.program().run(arrays, Arenas())[0].reshape(shape)


class _Product(Operation):
    """What multiplies two values."""

    fresh = True

    def prepare(self, setup: Setup) -> Compute:
        return lambda arrays, call: self._computed(arrays, call, setup)

    def compute(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        return self._computed(arrays, call, Setup(call.dtype, {}))

    def _computed(self, arrays: Sequence[Array], call: Call, setup: Setup) -> list[Array]:
        raise NotImplementedError

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [0.0, 0.0]


class Einsum(_Product):
    """The sum of products of two values over the letters that the result has not: ``"bij,bjk->bik"``.

    Every letter stands once in an input. What one input alone has is summed first, in float64; the rest is a product of
    matrices for each place of the letters that both inputs and the result share.
    """

    equation: str

    def _letters(self) -> tuple[str, str, str]:
        inputs, arrow, result = self.equation.partition("->")
        one, comma, other = inputs.partition(",")
        letters = (one, other, result)
        if (
            not arrow
            or not comma
            or any(len(set(each)) < len(each) or not (each.isalpha() or not each) for each in letters)
        ):
            raise UnsupportedModelError(f"{self.equation!r} is not the product of two values, each letter once in each")
        if set(result) - set(one) - set(other):
            raise ShapeError(f"{self.equation!r} has a letter in its result that no input has")
        return letters

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        one, other, result = self._letters()
        if len(inputs) != 2 or len(one) != len(inputs[0].shape) or len(other) != len(inputs[1].shape):
            raise ShapeError(f"{self.equation!r} does not fit {', '.join(size_text(each.shape) for each in inputs)}")
        sizes: dict[str, Size] = dict(zip(one, inputs[0].shape, strict=True))
        for letter, size in zip(other, inputs[1].shape, strict=True):
            found = sizes.setdefault(letter, size)
            if found != size and isinstance(found, int) == isinstance(size, int):
                raise ShapeError(f"{self.equation!r}: {letter} is {found} and {size}")
            sizes[letter] = found if isinstance(found, int) else size
        return [Tensor(tuple(sizes[letter] for letter in result))]

    def _order(self) -> tuple[list[str], list[str], list[str], list[str]]:
        """The letters that both and the result share, that the first alone has, that are summed, and the second's."""
        one, other, result = self._letters()
        shared = [letter for letter in result if letter in one and letter in other]
        left = [letter for letter in one if letter in result and letter not in other]
        summed = [letter for letter in one if letter in other and letter not in result]
        return shared, left, summed, [letter for letter in other if letter in result and letter not in one]

    def _sums(self) -> list[Reduce | None]:
        """Of each input over what nothing else has."""
        one, other, result = self._letters()
        made: list[Reduce | None] = []
        for letters, rest in ((one, other + result), (other, one + result)):
            axes = tuple(at for at, letter in enumerate(letters) if letter not in rest)
            made.append(Reduce("sum", axes) if axes else None)
        return made

    def _computed(self, arrays: Sequence[Array], call: Call, setup: Setup) -> list[Array]:
        one, other, result = self._letters()
        shared, left, contracted, right = self._order()
        sizes: dict[str, int] = {}
        for letter, size in [*zip(one, arrays[0].shape, strict=True), *zip(other, arrays[1].shape, strict=True)]:
            if sizes.setdefault(letter, size) != size:
                raise ShapeError(f"{self.equation!r} got {arrays[0].shape} and {arrays[1].shape}, which do not fit")
        parts = []
        for array, letters, total, order in zip(
            arrays, (one, other), self._sums(), ((shared, left, contracted), (shared, contracted, right)), strict=True
        ):
            array = array.astype(call.dtype, copy=False)
            if total is not None:
                (array,) = total.compute([array], Call(call.dtype, call.sizes))
            kept = [letter for letter in letters if any(letter in group for group in order)]
            transposed = array.transpose([kept.index(letter) for group in order for letter in group])
            parts.append(transposed.reshape([math.prod(sizes[letter] for letter in group) for group in order]))
        found = [*shared, *left, *right]
        made = _product(parts[0], parts[1], setup).reshape([sizes[letter] for letter in found])
        return [made.transpose([found.index(letter) for letter in result])]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        one, other, result = self._letters()
        shared, left, contracted, right = self._order()
        sizes = dict([*zip(one, inputs[0].shape, strict=True), *zip(other, inputs[1].shape, strict=True)])
        parts = []
        for each, letters, total, order in zip(
            inputs, (one, other), self._sums(), ((shared, left, contracted), (shared, contracted, right)), strict=True
        ):
            part = writer.cast(each, "f")
            if part is None or part.shape != tuple(sizes[letter] for letter in letters):
                return None
            if total is not None:
                (part,) = total.emit([part], writer) or (None,)
                if part is None:
                    return None
            kept = [letter for letter in letters if any(letter in group for group in order)]
            part = part.permuted([kept.index(letter) for group in order for letter in group])
            matrix = [math.prod(sizes[letter] for letter in group) for group in order[1:]]
            parts.append(_reshaped(part, [*(sizes[letter] for letter in shared), *matrix], writer))
        found = [*shared, *left, *right]
        made = _write_product(parts[0], parts[1], writer)
        made = _reshaped(made, [sizes[letter] for letter in found], writer)
        return [made.permuted([found.index(letter) for letter in result])]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        one, other, result = self._letters()
        axes = dict(zip(one, inputs[0], strict=True))
        for letter, axis in zip(other, inputs[1], strict=True):
            axes[letter] = broadcast([(axes[letter],), (axis,)])[0] if letter in axes else axis
        for letter, axis in axes.items():
            if letter not in result and BATCH in axis:
                raise Mixed("sums over the rows of the batch")
        made = tuple(axes[letter] for letter in result)
        if sum(BATCH in axis for axis in made) > 1:
            raise Mixed("multiplies every row of the batch with every other")
        return [made]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        one, other, result = self._letters()
        letters = [*zip(one, inputs[0], strict=True), *zip(other, inputs[1], strict=True)]
        summed = any(has_steps(axis) for letter, axis in letters if letter not in result)
        many = sum(has_steps(axis) for letter, axis in dict(letters).items() if letter in result) > 1
        return "takes all steps together" if summed or many else None


class MatMul(_Product):
    """``x @ y`` as NumPy has it: over the last axis of x and the last but one of y, earlier axes taken together."""

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) != 2 or not all(each.shape for each in inputs):
            raise ShapeError("takes two values with at least one axis each")
        one, other = (each.shape for each in inputs)
        inner = other[-2] if len(other) > 1 else other[0]
        if one[-1] != inner and isinstance(one[-1], int) == isinstance(inner, int):
            raise ShapeError(f"multiplies {size_text(one)} by {size_text(other)}, which do not fit")
        earlier = broadcast_shapes([one[:-2] if len(one) > 1 else (), other[:-2] if len(other) > 1 else ()])
        return [Tensor((*earlier, *one[-2:-1], *(other[-1:] if len(other) > 1 else ())))]

    def _computed(self, arrays: Sequence[Array], call: Call, setup: Setup) -> list[Array]:
        x, y = (array.astype(call.dtype, copy=False) for array in arrays)
        if x.shape[-1:] != (y.shape[-2:-1] or y.shape):
            raise ShapeError(f"multiplies {x.shape} by {y.shape}, which do not fit")
        made = _product(x if x.ndim > 1 else x[None], y if y.ndim > 1 else y[:, None], setup)
        if y.ndim == 1:
            made = made[..., 0]
        return [made if x.ndim > 1 else made[(..., 0) if y.ndim == 1 else (..., 0, slice(None))]]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        x, y = (writer.cast(each, "f") for each in inputs)
        if x is None or y is None:
            return None
        column, row = len(y.shape) == 1, len(x.shape) == 1
        if row:
            x = x.viewed((1, *x.shape), (0, *x.strides))
        if column:
            y = y.viewed((*y.shape, 1), (*y.strides, 0))
        made = _write_product(x, y, writer)
        if column:
            made = made.taken(len(made.shape) - 1, 0)
        return [made.taken(len(made.shape) - (1 if column else 2), 0) if row else made]

    def _axes(self, inputs: Sequence[Layout]) -> tuple[Any, Any]:
        """The axes that are summed over."""
        return inputs[0][-1], inputs[1][-2] if len(inputs[1]) > 1 else inputs[1][0]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        one, other = inputs
        inner = broadcast([(axis,) for axis in self._axes(inputs)])[0]
        earlier = broadcast([one[:-2] if len(one) > 1 else (), other[:-2] if len(other) > 1 else ()])
        made = (*earlier, *one[-2:-1], *(other[-1:] if len(other) > 1 else ()))
        if BATCH in inner or sum(BATCH in axis for axis in made) > 1:
            raise Mixed("multiplies rows of the batch with each other")
        return [made]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        summed = any(has_steps(axis) for axis in self._axes(inputs))
        many = (
            has_steps(inputs[0][-2:-1][0] if len(inputs[0]) > 1 else ())
            and len(inputs[1]) > 1
            and has_steps(inputs[1][-1])
        )
        return "takes all steps together" if summed or many else None
