"""The engine's own form of a GRU's weights: which kind of plan computes them, and in which dtype it is given them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activations import GATE_ACTIVATIONS, formula, resolved
from .engine.plan import GATES, KernelTable, Plan
from .engine.reduced import widen
from .gru_weights import GRUSpec, GRUWeights
from .records.sealed import is_sealed, sealed
from .weights.matrices import Handle, Matrix, form_of

__all__ = ["packed_precision", "plan_of", "reads_as_packed"]


def plan_of(spec: GRUSpec, precision: str, dtype: np.dtype[Any], kernels: KernelTable | None) -> Plan:
    """The engine's own form of a spec, for these kernels or, if there are none, for BLAS."""
    act, act_r = _code(spec.activation), _code(spec.recurrent_activation)
    if kernels is not None and act is not None and act_r is not None:
        layers: list[Any] = [[(*w.matrices, *_biases(w, dtype)) for w in layer] for layer in spec.layers]
        return Plan(
            kernels, layers, spec.reset_after, act, act_r, precision, packed_precision(spec, precision, kernels)
        )
    if kernels is None:
        from .engine import blas

        kernels = blas.kernels(spec.hidden_size, dtype)
    if act is None or act_r is None:
        from .engine.python_gates import with_gates

        kernels = with_gates(kernels, formula(spec.activation), formula(spec.recurrent_activation))
    plan = Plan(kernels, _own_arrays(spec, precision, dtype), spec.reset_after, act or 0, act_r or 0)
    for number, (_, matrix) in enumerate(spec.named_matrices()):
        if isinstance(matrix, Handle):  # which takes its numbers from the plan from now on
            matrix.settle(partial(plan.form, *divmod(number, 2)), precision)
    return plan


def packed_precision(spec: GRUSpec, precision: str, kernels: KernelTable) -> str:
    """What a stack's weights are packed in: for float16 the same numbers in float32, where kernels are faster so."""
    largest = max(4 * sum(matrix.size for matrix in weights.matrices) for layer in spec.layers for weights in layer)
    return "float32" if precision == "float16" and largest < kernels.half_bytes else precision


def reads_as_packed(spec: GRUSpec, precision: str, kernels: KernelTable) -> bool:
    """Whether a plan computes from matrices that are packed already as they lie; ``Plan`` packs others again."""
    kept = packed_precision(spec, precision, kernels)
    last = kernels.last_vectors(spec.hidden_size) if spec.reset_after else 0
    for weights in (weights for layer in spec.layers for weights in layer):
        kind = kernels.weight_kind(kept, max(weights.input_size, spec.hidden_size))
        if kind == "float32" and kernels.may_narrow(sum(matrix.size for matrix in weights.matrices)):
            kind = kernels.kind_of_packed(weights.matrices) or kind
        for matrix, gates in zip(weights.matrices, ((3,), GATES[spec.reset_after]), strict=True):
            packed = matrix.packed if isinstance(matrix, Matrix) else None
            if packed is None or packed[:5] != (kernels.layout, kind, tuple(matrix.shape), gates, last):
                return False
    return True


def _own_arrays(spec: GRUSpec, precision: str, dtype: np.dtype[Any]) -> list[list[tuple[NDArray[Any], ...]]]:
    """The weights as arrays that nobody else can change; biases are never reduced."""
    left = iter(spec.named_matrices())

    def array(name: str, matrix: NDArray[Any] | Matrix) -> NDArray[Any]:
        numbers, scales = form_of(matrix, precision, name)[:2]
        given = matrix.held() if isinstance(matrix, Matrix) else [matrix]
        return _own(widen(numbers, scales), dtype, given)

    return [
        [(array(*next(left)), array(*next(left)), *_biases(weights, dtype)) for weights in layer]
        for layer in spec.layers
    ]


def _biases(weights: GRUWeights, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return _own(weights.b_ih, dtype, [weights.b_ih]), _own(weights.b_hh, dtype, [weights.b_hh])


def _own(array: NDArray[Any], dtype: np.dtype[Any], given: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """A sealed array of that type: a copy where it lies in one of those that are given, and these are not sealed."""
    plain = np.ascontiguousarray(array, dtype)
    if is_sealed(plain):
        return plain
    return sealed(plain.copy() if any(np.may_share_memory(plain, each) for each in given) else plain)


def _code(activation: Any) -> int | None:
    """The kernels' number of an activation; None for one that they do not know."""
    name, options = resolved(activation)
    return GATE_ACTIVATIONS.index(name) if name in GATE_ACTIVATIONS and not options else None
