"""What a model computes beside what the framework that trained it computed of the same inputs.

Owns the comparison for ``load(..., check=(x, y))`` and ``fastgru verify --expected``: which outputs are compared, over
which steps, and how far apart is too far. It reads no file and prints nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays import as_numbers
from ..errors import CheckpointError, DTypeError, ShapeError
from ..graph.graph import leaves
from ..gru import GRU
from ..model import Model
from ..model_inputs import as_kind
from ..records.fields import Fields
from .rows import Lengths, Rows, inputs_of, outputs_of, rows_at_once

__all__ = ["Output", "advice_for", "check_model", "compare", "output_names", "outputs_with_steps", "problem_of"]

# Of the largest number expected of an output. Frameworks that sum in another order differ by 1e-7 to 1e-5 of it; the
# mildest wrong reading that was met, a BatchNorm's epsilon of 1e-5 for one of 1e-3, by 5e-4.
TOLERANCE = 1e-4

Array = np.ndarray[Any, Any]


class Output(Fields):
    """One output of a model for some rows, or for inputs without a batch axis."""

    name: str
    array: Array
    real: Array | None = None  # which steps lie within lengths, for the first axes of the array; None is all of them
    axis: int = 0  # of the batch, if there is one


def outputs_with_steps(model: GRU | Model, x: Any, lengths: Any) -> list[Output]:
    """Everything that a model gives, also the states of a GRU, with the steps that are real."""
    if isinstance(model, GRU):
        y, h = model(x, lengths=lengths)
        real = None if lengths is None else np.arange(y.shape[-2]) < np.reshape(lengths, (*y.shape[:-2], 1))
        return [Output("y", y, real), Output("h", h, axis=1)]
    values, within, single = model._run(model._by_name((x,), {}), lengths)
    names = outputs_of(model)
    made = []
    for name, place in zip(names, leaves(model.graph.outputs), strict=True):
        array, real = values[place], _of_steps(within[place])
        if single:
            array, real = array[0], None if real is None else real[0]
        made.append(Output(name, array, real, model.batch_axis(place) or 0))
    return made


def _of_steps(real: Array | None) -> Array | None:
    """Which steps are real, without the axes behind them."""
    while real is not None and real.ndim > 1 and real.shape[-1] == 1:
        real = real[..., 0]
    return real


def output_names(model: GRU | Model) -> list[str]:
    """The outputs that can be compared, by name."""
    return ["y", "h"] if isinstance(model, GRU) else outputs_of(model)


def compare(
    model: GRU | Model,
    x: Mapping[str, Array],
    expected: Mapping[str, Array],
    lengths: Lengths = None,
    tolerance: float | None = None,
) -> list[dict[str, Any]]:
    """Run a model on all rows and compare what it gives with what is expected.

    Parameters
    ----------
    model : GRU or Model
    x : mapping of str to ndarray
        Every input by its name, with a batch axis or all without one.
    expected : mapping of str to ndarray
        One output or more by name.
    lengths : ndarray of int, (batch,), or mapping of them by input, optional
        How many steps of each row are real; no others are compared.
    tolerance : float, optional
        The largest difference that passes; ``TOLERANCE`` of the largest number expected of an output if left out.

    Returns
    -------
    list of dict
        Of each output that is expected: ``name``; ``largest_difference``, None where one of the two is NaN or infinite
        and the other is not that; ``at``, its place, and ``got`` and ``expected`` there, None where not finite;
        ``tolerance``, and ``within``.

    Raises
    ------
    ShapeError, DTypeError
        An array does not fit the model.
    """
    rows = Rows(model, x, lengths)
    if rows.count == 0:
        raise ShapeError("x: got no rows, wanted at least one")
    size = rows_at_once(model, x) if rows.batched else 1
    worst = {name: _Worst(name, array) for name, array in expected.items()}
    for first in range(0, rows.count, size):
        for output in rows.taken(first, first + size, lambda x, lengths: outputs_with_steps(model, x, lengths)):
            if output.name in worst:
                worst[output.name].compare(output, first, rows.count if rows.batched else None)
    return [each.found(tolerance) for each in worst.values()]


class _Worst:
    """What is expected of an output, and where the model is furthest from it so far."""

    def __init__(self, name: str, expected: Array) -> None:
        self.name, self.expected = name, expected
        self._difference, self._scale = -1.0, 0.0
        self._at: tuple[int, ...] = ()
        self._got, self._wanted = math.nan, math.nan

    def compare(self, output: Output, first: int, rows: int | None) -> None:
        """Compare the rows from ``first`` on; ``rows`` is the number of all, None without a batch axis."""
        got, wanted = output.array.astype(np.float64), self._cut(output, first, rows)
        with np.errstate(all="ignore"):
            difference = np.abs(got - wanted)
        difference[(got == wanted) | (np.isnan(got) & np.isnan(wanted))] = 0
        difference[np.isnan(difference)] = np.inf
        known = np.isfinite(wanted)
        if output.real is not None:
            difference[~output.real] = 0
            known[~output.real] = False
        self._scale = max(self._scale, float(np.abs(wanted[known]).max(initial=0)))
        if difference.size and difference.max() > self._difference:
            place = np.unravel_index(int(difference.argmax()), difference.shape)
            self._difference, self._got, self._wanted = (float(each[place]) for each in (difference, got, wanted))
            start = [first if rows is not None and axis == output.axis else 0 for axis in range(difference.ndim)]
            self._at = tuple(int(index) + begin for index, begin in zip(place, start, strict=True))

    def _cut(self, output: Output, first: int, rows: int | None) -> Array:
        """The part of what is expected that belongs to some rows."""
        shape = list(output.array.shape)
        cut: list[slice] = [slice(None)] * len(shape)
        if rows is not None:
            cut[output.axis] = slice(first, first + shape[output.axis])
            shape[output.axis] = rows
        if self.expected.shape != tuple(shape):
            raise ShapeError(
                f"{self.name}: expected has shape {self.expected.shape}, the model gives {tuple(shape)}; they must be "
                "outputs of the same inputs, from the same place of the model"
            )
        return as_numbers(self.expected[tuple(cut)], f"{self.name}: expected", np.float64)

    def found(self, tolerance: float | None) -> dict[str, Any]:
        wanted = (TOLERANCE * self._scale or TOLERANCE) if tolerance is None else tolerance
        return {
            "name": self.name,
            "largest_difference": _finite(max(self._difference, 0.0)),
            "at": list(self._at),
            "got": _finite(self._got),
            "expected": _finite(self._wanted),
            "tolerance": wanted,
            "within": self._difference <= wanted,
        }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def problem_of(found: Mapping[str, Any]) -> str:
    """What is wrong with an output that is not within its tolerance."""
    got, expected = ("no number" if found[key] is None else f"{found[key]:.6g}" for key in ("got", "expected"))
    place = f"[{', '.join(map(str, found['at']))}]" if found["at"] else ""
    return f"{found['name']}{place} is {got}, expected {expected}, and only {found['tolerance']:.1e} apart would pass"


def advice_for(layers_named: bool, stored: Sequence[str] = ()) -> str:
    """What to look for, where a model computes something else than what is expected.

    ``stored`` are the types of fewer bits than float32 in which its file has weights.
    """
    if stored:
        return (
            f"The file has weights in {', '.join(stored)}, and these are computed with, in float32: an output of the "
            "weights from before that rounding, or of a framework that rounds what meets them, is off by it, and "
            f"--tolerance of fastgru verify says how far it may be.\n{advice_for(layers_named)}"
        )
    if not layers_named:
        return (
            "The layers are those that the file describes, so look at what is compared: the outputs must be computed "
            "in eval mode, of just these inputs, scaled and ordered in the same way"
        )
    return (
        "If the framework computed it in eval mode of just these inputs, the layers named are not what the model's "
        "code does: look for an activation between two layers or at the end (Activation('relu')), for FinalState() in "
        "place of Last() if it takes h[-2] and h[-1], and for an option that Named(...) must say"
    )


def check_model(
    model: GRU | Model, check: Any, where: str, layers_named: bool, stored: Sequence[str] = ()
) -> None:
    """Raise unless a model gives y for x, ``check`` being the two of them; the others are for ``advice_for``.

    Raises
    ------
    CheckpointError
        It gives other numbers; the message says which, and what to look for.
    ShapeError, DTypeError
        ``check`` is no pair, or does not fit the model.
    """
    if not isinstance(check, (tuple, list)) or len(check) != 2:
        got = f"{len(check)} values" if isinstance(check, (tuple, list)) else type(check).__name__
        raise DTypeError(f"check: got {got}, wanted a pair: inputs, and what the framework computed of them")
    try:
        compared = compare(model, _inputs(model, check[0]), _expected(model, check[1]))
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"check: {error}") from error
    wrong = [problem_of(each) for each in compared if not each["within"]]
    if wrong:
        raise CheckpointError(
            f"{where}: the model does not compute what check= expects: {'; '.join(wrong[:4])}. "
            f"{advice_for(layers_named, stored)}"
        )


def _inputs(model: GRU | Model, x: Any) -> dict[str, Array]:
    """Every input by its name, as an array."""
    given = {"x": x} if isinstance(model, GRU) else model._by_name((x,), {})
    arrays: dict[str, Array] = {}
    for source in inputs_of(model):
        array, place = given[source.name], "x" if len(given) == 1 else f"x: input {source.name!r}"
        arrays[source.name] = as_kind(source._replace(called=place), array, model.dtype)
    return arrays


def _expected(model: GRU | Model, y: Any) -> dict[str, Array]:
    """The outputs that are expected, by name: of one array, of all outputs in order, or of a dict of some of them."""
    names = output_names(model)
    if isinstance(y, Mapping):
        given = dict(y)
    elif isinstance(y, (list, tuple)) and y and all(hasattr(each, "shape") for each in y):
        if len(y) != len(names):
            raise ShapeError(f"y: got {len(y)} arrays, wanted {len(names)} ({', '.join(names)}) or a dict by name")
        given = dict(zip(names, y, strict=True))
    elif len(names) > 1 and not isinstance(model, GRU):
        raise ShapeError(f"y: got one array, wanted a list of those of {', '.join(names)}, or a dict by name")
    else:
        given = {names[0]: y}
    unknown = [str(name) for name in given if name not in names]
    if unknown or not given:
        raise ShapeError(f"y: got outputs {', '.join(unknown) or 'of no name'}, wanted some of {', '.join(names)}")
    plain = {name: array.detach() if hasattr(array, "detach") else array for name, array in given.items()}
    return {name: as_numbers(array, f"y: {name}", np.float64) for name, array in plain.items()}
