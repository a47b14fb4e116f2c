"""Products with weights: Linear, Embedding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import check_array
from ...engine.plain_product import PlainProduct
from ...engine.reduced import widen
from ...errors import ShapeError
from ...records.record import owned
from ...weights.matrices import Matrix, check_matrix, form_of
from ...weights.records import MatrixRecord
from ..graph import FLOAT, INTEGER, Tensor
from ..layout import Layout, Mixed, is_plain
from ..size import Sizes
from .operation import Array, Call, Compute, Operation, Setup, check_size, one_input

if TYPE_CHECKING:
    from ...engine.affine import Affine
    from ...engine.strided import Strided
    from ..writer import Writer

__all__ = ["Embedding", "Linear", "dense_of", "has_kernels", "is_kept_by", "numbers_of"]


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
    if not has_kernels(setup):
        return PlainProduct(owned(weight), bias)
    from ...engine.affine import Affine
    from ...options import kernel_table

    return Affine(kernel_table(), weight, bias, setup.options.get("precision", "float32"))


def has_kernels(setup: Setup) -> bool:
    """Whether products are the kernels' own."""
    return bool(setup.dtype == np.float32) and setup.options.get("backend") != "blas"


def _rounds(setup: Setup) -> bool:
    """Whether ``dense_of`` makes products that round their weights to bfloat16."""
    if not has_kernels(setup) or setup.options.get("precision") != "bfloat16":
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
