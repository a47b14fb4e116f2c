"""What each precision costs and gives for one model: differences from float64, time, and bytes of weights.

Owns the comparison for ``fastgru verify``: on which inputs, over which outputs, and what counts as too far. It prints
nothing.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import FastGRUError, ShapeError, UnsupportedModelError
from ..graph.graph import leaves
from ..graph.operations.along import AlongAxis
from ..graph.operations.product import Linear
from ..gru import GRU
from ..model import Model
from ..options import Precision, check_options
from .checking import compare, outputs_with_steps
from .random_inputs import SEED, STEPS, random_inputs
from .rows import Lengths, Rows, has_fixed_batch, inputs_of, rows_at_once

__all__ = ["ORDER", "noise", "parts", "verify"]

ORDER: tuple[Precision, ...] = ("float64", "float32", "float16", "bfloat16", "int8")
NOISE_ROWS = 8
NOISE_STEPS = (100, *STEPS)  # tried in turn: a layer may need many, or a number that it can divide
SECONDS = 1.0  # of timing a precision, where a call takes less
MAX_CALLS = 1000

Array = np.ndarray[Any, Any]
Advance = Callable[[int], None]


def noise(model: GRU | Model) -> dict[str, Array]:
    """Seeded random inputs that the model can take, by name.

    Raises
    ------
    FastGRUError
        It takes none of them; the message says why, and how to give data.
    """
    problems = []
    first = slice(None if has_fixed_batch(model) else 1)
    for steps in NOISE_STEPS:
        try:
            arrays = random_inputs(model, steps, NOISE_ROWS)
            model([array[first] for array in arrays] if len(arrays) > 1 else arrays[0][first])
        except FastGRUError as error:
            problems.append(str(error))
        else:
            return {source.name: array for source, array in zip(inputs_of(model), arrays, strict=True)}
    raise FastGRUError(f"the model does not run on random inputs: {problems[0]}; give it data of its own with --data")


def parts(
    model: GRU | Model, x: Mapping[str, Array], precisions: Sequence[Precision], has_expected: bool = False
) -> int:
    """How often ``verify`` calls ``advance`` with 1, for inputs that fit the model."""
    rows = Rows(model, x, None)
    batches = math.ceil(rows.count / rows_at_once(model, x)) if rows.batched else 1
    return batches * (len(precisions) + 1) + len(precisions) + has_expected


def verify(
    model: GRU | Model,
    x: Mapping[str, Array] | None = None,
    lengths: Lengths = None,
    precisions: Sequence[Precision] = ORDER,
    tolerance: float | None = None,
    *,
    expected: Mapping[str, Array] | None = None,
    seconds: float | None = None,
    advance: Advance = lambda parts: None,
) -> dict[str, Any]:
    """Run a model in several precisions and compare each with float64.

    Parameters
    ----------
    model : GRU or Model
        Its weights as given are those of every precision; ``n_threads`` and ``backend`` are its own.
    x : mapping of str to ndarray, optional
        Every input by its name, with a batch axis or all without one; ``noise`` if left out.
    lengths : ndarray of int, (batch,), or mapping of them by input, optional
        How many steps of each row are real; no others are compared.
    precisions : sequence of str
    tolerance : float, optional
        The largest difference that passes, from float64 and from what is expected. If left out, any from float64 does,
        and from what is expected one of 1e-4 of the largest number there.
    expected : mapping of str to ndarray, optional
        What a framework computed of x, outputs by name; ``checking.compare`` runs the model as it is.
    seconds : float, optional
        How long to time each precision, where its calls take less; 1 if left out.
    advance : callable
        Called with 1 after each of the ``parts`` of the work.

    Returns
    -------
    dict
        * ``inputs``, ``"given"`` or ``"noise"``, with their ``rows`` and ``steps``, None where no input has steps;
          ``seed`` of the noise, or None;
        * ``compared``, how many outputs are, a GRU's states too: those that are finite in float64; ``left_out``, how
          many are NaN or infinite because the inputs are; ``broken``, how many are so whatever the inputs, which is
          within no tolerance; ``largest_output``, of those compared, or None;
        * ``classes``, how many scores the model ends in, or None where it does not end in a Dense or a softmax of
          several outputs;
        * ``tolerance``, and ``passed``, whether every precision is within it, and every output that is expected;
        * ``expected``, what ``checking.compare`` gives, or an empty list;
        * ``precisions``, each with ``precision`` and ``problem``, why it cannot be had, or None;
          ``largest_difference`` and ``mean_difference``; ``lost``, how many of the outputs compared are NaN or infinite
          in it, and where there are any both differences are None; ``same_class``, the share of outputs with their
          largest score at the same place as in float64, or None; ``packed_bytes`` of its memory;
          ``timings``, of calls on the first row alone (unless the file fixed how many run together), and where there
          are more on as many as run together, each with
          ``rows``, ``seconds`` (the median) and ``calls``; ``within``, whether it is within the tolerance. Of a
          precision that cannot be had the figures are None.

    Raises
    ------
    ShapeError, DTypeError
        An array does not fit the model, or there are no rows.
    UnsupportedModelError
        There is no such precision, or lengths are given to a layer that mixes the steps of a row.
    FastGRUError
        No random inputs fit the model, or the inputs given leave no output finite.
    """
    for precision in precisions:
        check_options(precision, None, None)
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise ShapeError(f"tolerance: got {tolerance}, wanted a number of at least 0")
    given = noise(model) if x is None else x
    rows = Rows(model, given, lengths)
    if rows.total == 0:
        raise ShapeError(f"x: got {_shapes(given)}, that is no rows; wanted at least one")
    as_expected = [] if expected is None else compare(model, given, expected, lengths, tolerance)
    advance(expected is not None)
    size = rows_at_once(model, given) if rows.batched else 1
    classes = _classes(model)
    exact, compared = _compare(model, precisions, rows, size, classes is not None, advance)
    if exact.left_out and not exact.compared and not exact.broken:
        raise FastGRUError(
            "x: NaN or infinite numbers in it leave no output that is finite in float64, so there is nothing to "
            "compare; give data without them"
        )
    for each in compared:
        each.time(rows, min(size, rows.count), SECONDS if seconds is None else seconds)
        advance(1)
    found = [each.found(exact, tolerance) for each in compared]
    return {
        "inputs": "noise" if x is None else "given",
        "rows": rows.total,
        "steps": _steps(model, given),
        "seed": SEED if x is None else None,
        "compared": exact.compared,
        "left_out": exact.left_out,
        "broken": exact.broken,
        "largest_output": exact.largest if exact.compared else None,
        "classes": classes,
        "tolerance": tolerance,
        "passed": all(each["within"] for each in (*found, *as_expected)),
        "expected": as_expected,
        "precisions": found,
    }


class _Exact:
    """A model in float64, and what its outputs so far were."""

    def __init__(self, model: GRU | Model) -> None:
        self.model = model.astype("float64")
        self.compared, self.left_out, self.broken, self.largest = 0, 0, 0, 0.0

    def outputs(self, x: Any, lengths: Any) -> list[Array]:
        """The outputs, all of which are counted.

        One that is not finite counts as left out where it is finite with zeros in place of what is not in x.
        """
        made = _outputs(self.model, x, lengths)
        wrong = [~np.isfinite(array) for array in made]
        total, count = sum(array.size for array in made), sum(int(each.sum()) for each in wrong)
        broken = count
        if count and not _is_finite(x):
            again = _outputs(self.model, _zero_filled(x), lengths)
            broken = sum(int((each & ~np.isfinite(other)).sum()) for each, other in zip(wrong, again, strict=True))
        self.compared += total - count
        self.left_out += count - broken
        self.broken += broken
        finite = (np.abs(array[~each]).max(initial=0) for array, each in zip(made, wrong, strict=True))
        self.largest = max(self.largest, *map(float, finite))
        return made


def _is_finite(x: Any) -> bool:
    return all(bool(np.isfinite(array).all()) for array in (x.values() if isinstance(x, dict) else (x,)))


def _zero_filled(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: _zero_filled(array) for name, array in x.items()}
    return np.where(np.isfinite(x), x, np.zeros((), x.dtype))


class _Compared:
    """A model in one precision, if it can be had, and its differences from float64 so far."""

    def __init__(self, precision: Precision, models: Sequence[GRU | Model]) -> None:
        self.precision = precision
        self.model: GRU | Model | None = None
        self.problem: str | None = None
        self._largest, self._sum, self._lost = 0.0, 0.0, 0
        self._same, self._scored = 0, 0
        self._timings: list[dict[str, Any]] = []
        try:
            self.model = next((each for each in models if each.precision == precision), None)
            self.model = self.model or models[0].astype(precision)
        except UnsupportedModelError as error:
            self.problem = str(error)

    def compare(self, got: Sequence[Array], wanted: Sequence[Array], scores: bool) -> None:
        """Where float64 has a number; of scores, where it has all of them."""
        for one, other in zip(got, wanted, strict=True):
            known = np.isfinite(other)
            with np.errstate(over="ignore"):
                differences = np.abs(one[known] - other[known])
            numbers = differences[np.isfinite(differences)]
            self._largest = max(self._largest, float(numbers.max(initial=0)))
            self._sum += float(numbers.sum())
            self._lost += differences.size - numbers.size
        if scores:
            whole = np.asarray(np.isfinite(wanted[0]).all(axis=-1))
            same = got[0][whole].argmax(axis=-1) == wanted[0][whole].argmax(axis=-1)
            self._same += int(same.sum())
            self._scored += same.size

    def time(self, rows: Rows, together: int, seconds: float) -> None:
        if self.model is None:
            return
        sizes = dict.fromkeys((together,) if has_fixed_batch(self.model) else (1, together))
        for size in sizes:
            x, lengths = rows.cut(0, size)
            median, calls = _timed(self.model, x, lengths, seconds / len(sizes))
            self._timings.append({"rows": size if rows.batched else rows.total, "seconds": median, "calls": calls})

    def found(self, exact: _Exact, tolerance: float | None) -> dict[str, Any]:
        had = self.model is not None
        differs = had and not self._lost and exact.compared > 0
        return {
            "precision": self.precision,
            "problem": self.problem,
            "largest_difference": self._largest if differs else None,
            "mean_difference": self._sum / exact.compared if differs else None,
            "lost": self._lost if had else None,
            "same_class": self._same / self._scored if self._scored else None,
            "packed_bytes": None if self.model is None else self.model.nbytes,
            "timings": self._timings,
            "within": tolerance is None or (differs and not exact.broken and self._largest <= tolerance),
        }


def _compare(
    model: GRU | Model, precisions: Sequence[Precision], rows: Rows, size: int, scores: bool, advance: Advance
) -> tuple[_Exact, list[_Compared]]:
    """Run all rows in float64 and in every precision, ``size`` at a time."""
    exact = _Exact(model)
    compared: list[_Compared] = []
    for first in range(0, rows.count, size):
        wanted = rows.taken(first, first + size, exact.outputs)
        advance(1)
        compared = compared or [_Compared(each, (model, exact.model)) for each in precisions]  # the rows are right
        for each in compared:
            if each.model is not None:
                same = each.model is exact.model
                got = wanted if same else _outputs(each.model, *rows.cut(first, first + size))
                each.compare(got, wanted, scores)
            advance(1)
    return exact, compared


def _outputs(model: GRU | Model, x: Any, lengths: Any) -> list[Array]:
    """Everything that a model gives, of real steps alone, as float64: also the states of a GRU."""
    made = outputs_with_steps(model, x, lengths)
    real = [each.array if each.real is None else each.array[each.real] for each in made]
    return [array.astype(np.float64, copy=False) for array in real]


def _classes(model: GRU | Model) -> int | None:
    """How many scores a model ends in: the outputs of its last layer, if that is a softmax or a Dense without more."""
    if isinstance(model, GRU):
        return None
    outputs = [*leaves(model.graph.outputs)]
    makers = {place: node for node in model.graph.nodes for place in node.outputs}
    node = makers.get(outputs[0]) if len(outputs) == 1 else None
    if node is not None and isinstance(node.operation, AlongAxis) and node.operation.name in _SOFTMAXES:
        node = makers.get(node.inputs[0])  # its scores come from before it
    if node is None or not isinstance(node.operation, Linear):
        return None
    classes = node.operation.weight_shape[0]
    return classes if classes > 1 else None


_SOFTMAXES = ("softmax", "log_softmax")


def _timed(model: GRU | Model, x: Any, lengths: Any, seconds: float) -> tuple[float, int]:
    """The median time of a call and the number of calls: some in a tenth of ``seconds`` do not count, one at least."""

    def calls(budget: float) -> list[float]:
        taken: list[float] = []
        while not taken or (sum(taken) < budget and len(taken) < MAX_CALLS):
            start = time.perf_counter()
            model(x, lengths=lengths)
            taken.append(time.perf_counter() - start)
        return taken

    calls(seconds / 10)
    taken = calls(seconds)
    return statistics.median(taken), len(taken)


def _steps(model: GRU | Model, x: Mapping[str, Array]) -> int | None:
    """The most steps of an input, with or without a batch axis."""
    places = [(x[each.name].shape, each.steps - len(each.shape)) for each in inputs_of(model) if each.steps is not None]
    return max((shape[steps] for shape, steps in places), default=None)


def _shapes(x: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} of shape {array.shape}" for name, array in x.items())
