"""Converting a model into a file of fastgru's own, and comparing what both files compute.

It reads and writes through ``load`` and ``save`` and prints nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FastGRUError
from ..evaluation.random_inputs import STEPS, random_inputs, rows_and_steps
from ..gru import GRU
from ..load import load
from ..model import Model, as_tuple
from ..options import Precision, check_precision, kernel_table
from ..weights.stored import CHOICES

if TYPE_CHECKING:
    from ..importers.weights.chain import LayerItem
    from ..weights.stored import FilePrecision

__all__ = ["PARTS", "convert", "largest_difference"]

PARTS = 4  # loading, saving, loading again, comparing


def convert(
    source: str,
    target: str,
    layers: Sequence[LayerItem] | None = None,
    advance: Callable[[int], None] = lambda parts: None,
    strict: bool = True,
    precision: FilePrecision | None = None,
    part: str | None = None,
    packed: bool = False,
) -> dict[str, Any]:
    """Load a model, write it as one safetensors file, load that, and run both on the same seeded random inputs.

    With a precision the file is written and loaded in it, and compared with what was loaded from the source and then
    rounded: these two should give the same bits.

    Parameters
    ----------
    source, target : str
        The file to read, and the one to write or to replace.
    layers : sequence, optional
        As in ``load``.
    advance : callable, optional
        Called with 1 after each of the ``PARTS`` of the work.
    strict : bool
        As in ``load``.
    precision : {"float32", "float64", "float16", "bfloat16", "int8", "stored"}, optional
        What the matrices of GRUs are written in; None for what they have, and ``"stored"`` for what the source stores.
    part : str, optional
        As in ``load``.
    packed : bool
        As in ``save``; without a precision the matrices are then float32.

    Returns
    -------
    dict
        ``source`` and ``target``; ``bytes_read`` and ``bytes_written``; ``precision``, that of the target, or None;
        ``packed_for``, the kernels that a packed target is for, or None;
        ``largest_difference`` between the results, and ``rows`` and ``steps`` of the inputs. Where the model runs on
        none of them these are None, and ``not_compared`` says why; it is None otherwise. ``rounding_difference`` is
        that between the target and the source before rounding, in float32 or, for a float64 target, in float64; None
        where no precision was asked for, nothing was compared, or NaN came out of one of them.
    """
    if precision is not None:
        check_precision(precision, CHOICES)
    # not loaded in any other precision: a weight that has no float16 is named in full by save
    options: dict[str, Any] = {"precision": "stored"} if precision == "stored" else {}
    before = load(source, layers=layers, strict=strict, part=part, **options)
    written: Precision | None = before.precision if precision == "stored" else precision
    if packed and written is None:
        written = before.precision
    advance(1)
    before.save(target, precision=written, packed=packed)
    advance(1)
    after = load(target) if written is None else load(target, precision=written)
    advance(1)
    compared = _compared(before if written is None else before.astype(written), after)
    rounding = None
    if written is not None and compared["steps"] is not None:
        original = before.astype("float64" if written == "float64" else "float32")
        rounding = largest_difference(original, after, random_inputs(after, compared["steps"]))
    advance(1)
    sizes = {"bytes_read": os.path.getsize(source), "bytes_written": os.path.getsize(target)}
    packed_for = kernel_table().name if packed else None
    found = {"source": source, "target": target, **sizes, "precision": written, "packed_for": packed_for, **compared}
    return {**found, "rounding_difference": rounding if rounding is not None and math.isfinite(rounding) else None}


def _compared(one: GRU | Model, other: GRU | Model) -> dict[str, Any]:
    """What ``convert`` gives of the comparison of two models, on the first inputs on which they run."""
    problem = None
    for steps in STEPS:
        try:
            difference = largest_difference(one, other, random_inputs(one, steps))
        except FastGRUError as error:
            problem = problem or str(error)
        else:
            rows, count = rows_and_steps(one, steps)
            return {"largest_difference": difference, "rows": rows, "steps": count, "not_compared": None}
    return {"largest_difference": None, "rows": None, "steps": None, "not_compared": problem}


def largest_difference(one: GRU | Model, other: GRU | Model, inputs: Sequence[np.ndarray]) -> float:
    """The largest difference between any two numbers of the results; the same bits have none, and NaN is beyond all."""
    given = inputs[0] if len(inputs) == 1 else list(inputs)
    largest = 0.0
    for left, right in zip(as_tuple(one(given)), as_tuple(other(given)), strict=True):
        if left.shape != right.shape:
            return float("inf")
        if left.tobytes() != right.tobytes():
            with np.errstate(all="ignore"):
                difference = np.abs(left.astype(np.float64) - right)
            largest = max(largest, float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0)))
    return largest
