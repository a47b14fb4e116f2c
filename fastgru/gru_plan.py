"""The engine's own form of a GRU's weights: which kind of plan computes them, and in which dtype it is given them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .activations import GATE_ACTIVATIONS, formula, resolved
from .engine.plan import KernelTable, Plan
from .engine.reduced import REDUCED, widened
from .gru_weights import GRUSpec

if TYPE_CHECKING:
    from .engine.blas import BlasPlan
    from .engine.generic import GenericPlan

__all__ = ["packed_precision", "plan_of"]


def plan_of(
    spec: GRUSpec, precision: str, dtype: np.dtype[Any], kernels: KernelTable | None
) -> Plan | BlasPlan | GenericPlan:
    """The engine's own form of a spec, for these kernels or, if there are none, for BLAS."""
    act, act_r = _code(spec.activation), _code(spec.recurrent_activation)
    if act is None or act_r is None:
        from .engine.generic import GenericPlan

        formulas = formula(spec.activation), formula(spec.recurrent_activation)
        return GenericPlan(_arrays_of(spec, precision, dtype), spec.reset_after, *formulas, kernels)
    if kernels is not None:
        kept = packed_precision(spec, precision, kernels)
        arrays = _arrays_of(spec, precision, dtype, rounds=kept == precision)
        return Plan(kernels, arrays, spec.reset_after, act, act_r, kept)
    from .engine.blas import BlasPlan

    return BlasPlan(_arrays_of(spec, precision, dtype), spec.reset_after, act, act_r)


def packed_precision(spec: GRUSpec, precision: str, kernels: KernelTable) -> str:
    """The precision of a stack's packed weights: float16 ones are float32, of the same numbers, where that is fast."""
    largest = max(4 * (weights.w_ih.size + weights.w_hh.size) for layer in spec.layers for weights in layer)
    return "float32" if precision == "float16" and largest < kernels.half_bytes else precision


def _arrays_of(
    spec: GRUSpec, precision: str, dtype: np.dtype[Any], rounds: bool = False
) -> list[list[tuple[NDArray[Any], ...]]]:
    """The weights as the engine takes them; biases are never reduced.

    A plan that ``rounds`` is given matrices of float32 as they are. Those of float64 are reduced here even so: rounded
    to float32 first, some would be rounded twice, and differ from what is saved in that precision.
    """
    stack = []
    for index, layer in enumerate(spec.layers):
        directions = []
        for suffix, weights in zip(("", "_reverse"), layer, strict=False):
            matrices = [weights.w_ih, weights.w_hh]
            if precision in REDUCED:
                names = f"weight_ih_l{index}{suffix}", f"weight_hh_l{index}{suffix}"
                matrices = [
                    matrix if rounds and matrix.dtype == np.float32 else widened(matrix, precision, name)
                    for matrix, name in zip(matrices, names, strict=True)
                ]
            arrays = (*matrices, weights.b_ih, weights.b_hh)
            directions.append(tuple(np.ascontiguousarray(array, dtype=dtype) for array in arrays))
        stack.append(directions)
    return stack


def _code(activation: Any) -> int | None:
    """The kernels' number of an activation; None for one that they do not know."""
    name, options = resolved(activation)
    return GATE_ACTIVATIONS.index(name) if name in GATE_ACTIVATIONS and not options else None
