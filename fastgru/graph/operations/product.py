"""Products: with weights (Linear, Embedding), and of two values (MatMul, Einsum, attention)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import check_array
from ...engine.plain_product import PlainProduct
from ...engine.reduced import widen
from ...errors import ShapeError, UnsupportedModelError
from ...records.record import owned
from ...weights.matrices import Matrix, check_matrix, form_of
from ...weights.records import MatrixRecord
from ..graph import FLOAT, INTEGER, Tensor
from ..layout import BATCH, Layout, Mixed, broadcast, has_steps, is_plain
from ..size import Size, Sizes, size_text
from .elementwise import broadcast_shapes
from .operation import Array, Call, Compute, Operation, Setup, check_size, one_input

if TYPE_CHECKING:
    from ...engine.affine import Affine
    from ...engine.strided import Strided
    from ..writer import Writer

__all__ = ["Einsum", "Embedding", "Linear", "MatMul", "dense_of", "is_kept_by", "numbers_of"]


def numbers_of(weight: Array | Matrix, setup: Setup) -> tuple[Array, bool]:
    """A weight in the dtype of a model, and whether that is all of it.

    Where a product would round it, a weight that was rounded so before is taken as it is: its file may be gone.
    """
    is_rounded = isinstance(weight, Matrix) and weight.is_rounded
    precision = "bfloat16" if is_rounded and _rounds(setup) else str(setup.dtype)
    made = form_of(weight, precision, "weight")
    return widen(made.numbers, made.scales), made.exact


def dense_of(weight: Array, bias: Array | None, setup: Setup) -> Affine | PlainProduct:
    """``x @ weight.T + bias`` of rows (rows, inputs), by the kernels where they are chosen; weight in C order."""
    bias = np.zeros(len(weight), setup.dtype) if bias is None else np.ascontiguousarray(bias, setup.dtype)
    if not _has_kernels(setup):
        return PlainProduct(owned(weight), bias)
    from ...engine.affine import Affine
    from ...options import kernel_table

    return Affine(kernel_table(), weight, bias, setup.options.get("precision", "float32"))


def _has_kernels(setup: Setup) -> bool:
    return bool(setup.dtype == np.float32) and setup.options.get("backend") != "blas"


def _rounds(setup: Setup) -> bool:
    """Whether ``dense_of`` makes products that round their weights to bfloat16."""
    if not _has_kernels(setup) or setup.options.get("precision") != "bfloat16":
        return False
    from ...options import kernel_table

    return bool(kernel_table().pairs)


def is_kept_by(dense: Affine | PlainProduct, weight: Array) -> bool:
    """Whether a product has the weights that it was made of, and has not rounded them."""
    return str(weight.dtype) == dense.precision or np.array_equal(dense.weight, weight, equal_nan=True)



class Linear(MatrixRecord, Operation):
    """``x @ weight.T + bias`` over the last axis."""

    fresh = True
    weight: np.ndarray  # (outputs, inputs)
    bias: np.ndarray | None = None  # (outputs,)

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        if not given.shape or given.dtype != FLOAT:
            raise ShapeError(f"takes numbers with at least one axis, got {given}")
        check_matrix(self.matrices[0], (None, None), "weight")
        outputs, features = self.weight_shape
        check_size(given.shape[-1], features, "features")
        if self.bias is not None:
            check_array(self.bias, (outputs,), "bias")
        return [Tensor((*given.shape[:-1], outputs))]

    def prepare(self, setup: Setup) -> Compute:
        packed = self.packed(setup)
        if isinstance(packed, PlainProduct):
            return lambda arrays, call: [packed(arrays[0])]

        def compute(arrays: Sequence[Array], call: Call) -> list[Array]:
            x = arrays[0]
            if x.ndim == 2:
                return [packed(np.ascontiguousarray(x, np.float32))]
            flat = np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1])
            return [packed(flat).reshape(*x.shape[:-1], packed.outputs)]

        return compute

    def packed(self, setup: Setup) -> Affine | PlainProduct:
        """The weights as they are multiplied, from then on the only copy."""
        made: Affine | PlainProduct = setup.once(self, "weights", lambda: self._packed(setup))
        return made

    def _packed(self, setup: Setup) -> Affine | PlainProduct:
        weight, exact = numbers_of(self.matrices[0], setup)
        made = dense_of(weight, self.bias, setup)
        self.settle(partial(_weight_of, made), made.precision, exact and is_kept_by(made, weight))
        return made

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        made = arrays[0] @ self.weight.T.astype(call.dtype)
        return [made if self.bias is None else np.asarray(made + self.bias.astype(call.dtype))]

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        affine: Any = self.packed(writer.setup)
        x = writer.rows(inputs[0])
        made = writer.new((*x.shape[:-1], affine.outputs))
        writer.write("linear", [made], affine, made, x)
        return [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        if not is_plain(inputs[0][-1]):
            raise Mixed("takes the places of the batch or of the steps for features")
        outputs = self.weight_shape[0]
        return [(*inputs[0][:-1], () if outputs == 1 else (outputs,))]


def _weight_of(dense: Affine | PlainProduct) -> tuple[Array, None]:
    return dense.weight, None


class Embedding(MatrixRecord, Operation):
    """Row ``weight[i]`` for every integer i."""

    fresh = True
    weight: np.ndarray  # (vocabulary, features)

    def infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        given = one_input(inputs)
        check_matrix(self.matrices[0], (None, None), "weight")
        if given.dtype != INTEGER:
            raise ShapeError(f"takes integers, got {given}")
        return [Tensor((*given.shape, self.weight_shape[1]))]

    def prepare(self, setup: Setup) -> Compute:
        table = self._table(setup)

        def compute(arrays: Sequence[Array], call: Call) -> list[Array]:
            index = arrays[0]
            if index.size and (index.min() < 0 or index.max() >= len(table)):
                wrong = int(index.min()) if index.min() < 0 else int(index.max())
                raise ShapeError(f"got the integer {wrong}, wanted 0 to {len(table) - 1}")
            return [np.asarray(table[index])]

        return compute

    def _table(self, setup: Setup) -> Array:
        """The rows in the dtype of the model, from then on the only copy."""
        return setup.once(self, "table", lambda: self._made(setup.dtype))  # type: ignore[no-any-return]

    def _made(self, dtype: np.dtype[Any]) -> Array:
        made = form_of(self.matrices[0], str(dtype), "weight")
        own: Array = owned(made.numbers)
        self.settle(lambda: (own, None), str(dtype), made.exact)
        return own

    def compute(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        return self.prepare(Setup(call.dtype, {}))(arrays, call)

    def emit(self, inputs: Sequence[Strided], writer: Writer) -> Sequence[Strided | None] | None:
        table = writer.constant(self._table(writer.setup))
        made = writer.new((*inputs[0].shape, self.weight_shape[1]))
        writer.write("embed", [made], made, table, inputs[0])
        return [made]

    def follow(self, inputs: Sequence[Layout], shapes: Sequence[Sizes]) -> list[Layout]:
        features = self.weight_shape[1]
        return [(*inputs[0], () if features == 1 else (features,))]


class Einsum(Operation):
    """The sum of products of two values over the letters that the result has not: ``"bij,bjk->bik"``.

    Every letter stands once in an input. Products are made in the values' dtype, sums by BLAS, row by row of the
    letters that both inputs and the result share.
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

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        x, y = (array.astype(call.dtype, copy=False) for array in arrays)
        one, other, result = self._letters()
        x, one = _summed(x, one, set(other) | set(result))
        y, other = _summed(y, other, set(one) | set(result))
        shared = [letter for letter in result if letter in one and letter in other]
        contracted = [letter for letter in one if letter in other and letter not in result]
        left = [letter for letter in one if letter not in other]
        right = [letter for letter in other if letter not in one]
        sizes = {**dict(zip(one, x.shape, strict=True)), **dict(zip(other, y.shape, strict=True))}
        if any(sizes[letter] != size for letter, size in zip(one, x.shape, strict=True)):
            raise ShapeError(f"{self.equation!r} got {x.shape} and {y.shape}, which do not fit")

        def count(letters: list[str]) -> int:
            return int(np.prod([sizes[letter] for letter in letters], dtype=np.int64))

        p = x.transpose([one.index(letter) for letter in (*shared, *left, *contracted)])
        q = y.transpose([other.index(letter) for letter in (*shared, *contracted, *right)])
        p = np.ascontiguousarray(p).reshape(count(shared), count(left), count(contracted))
        q = np.ascontiguousarray(q).reshape(count(shared), count(contracted), count(right))
        with np.errstate(all="ignore"):
            made = np.matmul(p, q).reshape([sizes[letter] for letter in (*shared, *left, *right)])
        letters = [*shared, *left, *right]
        return [made.transpose([letters.index(letter) for letter in result])]

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

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [0.0, 0.0]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        one, other, result = self._letters()
        letters = [*zip(one, inputs[0], strict=True), *zip(other, inputs[1], strict=True)]
        summed = any(has_steps(axis) for letter, axis in letters if letter not in result)
        many = sum(has_steps(axis) for letter, axis in dict(letters).items() if letter in result) > 1
        return "takes all steps together" if summed or many else None


def _summed(array: Array, letters: str, kept: set[str]) -> tuple[Array, str]:
    """An input without the letters that nothing else has."""
    axes = tuple(at for at, letter in enumerate(letters) if letter not in kept)
    if not axes:
        return array, letters
    total = array.astype(np.float64).sum(axis=axes).astype(array.dtype)
    return total, "".join(letter for letter in letters if letter in kept)


class MatMul(Operation):
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

    def compute(self, arrays: Sequence[Array], call: Call) -> list[Array]:
        one, other = (array.astype(call.dtype, copy=False) for array in arrays)
        with np.errstate(all="ignore"):
            return [np.asarray(np.matmul(one, other))]

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

    def fills(self, inputs: Sequence[Layout]) -> Sequence[float | None]:
        return [0.0, 0.0]

    def looks(self, inputs: Sequence[Layout]) -> str | None:
        summed = any(has_steps(axis) for axis in self._axes(inputs))
        many = (
            has_steps(inputs[0][-2:-1][0] if len(inputs[0]) > 1 else ())
            and len(inputs[1]) > 1
            and has_steps(inputs[1][-1])
        )
        return "takes all steps together" if summed or many else None
