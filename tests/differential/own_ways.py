"""The ways in which a random graph of fastgru's layers is run, each beside what it should give.

The rows of a batch, a row alone, rows of other lengths and single steps give the same bits, and all of them what
``meaning`` says, as near as the last digits let them be.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from meaning import TooShort, Undefined, Unfitting, meaning

from fastgru import FastGRUError, Model, load
from fastgru.graph.graph import leaves
from fastgru.graph.layout import has_steps
from fastgru.model import as_tuple

__all__ = ["RUNNING", "Arrays", "Wrong", "compare", "inputs", "meanings", "some_lengths"]

FLOAT32 = 1e-4  # of the largest output: weights are small, and chains of ten layers lose less

FLOAT64 = 1e-9

FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

Arrays = dict[str, Any]


MANY = 19  # rows that two threads have pieces of


class Wrong(Exception):
    """A difference: the words for its kind, and what it is."""


def inputs(case: Any, steps: int) -> Arrays:
    """An array for every input; some steps are all zero, for masks."""
    rng = np.random.default_rng(case["seed"])
    arrays: Arrays = {}
    for name, shape, integers in case["inputs"]:
        sizes = (case["batch"], *(steps if size is None else size for size in shape))
        if integers:
            x = rng.integers(0, 9, sizes)
        else:
            x = rng.standard_normal(sizes).astype(np.float32)
        if case["holes"] and len(sizes) > 1:
            x[rng.random(sizes[:2]) < case["holes"]] = 0
        if case["nan"] and not integers:
            x[-1, ..., 0] = np.nan
        arrays[name] = x
    return arrays


def compare(model: Model, case: Any, x: Arrays, done: list[str]) -> None:
    """Compare in every way; raises what the first plain call raises, or Wrong."""
    got = _run(model, x)
    ends = {name: np.stack([array[0], array[-1]]) for name, array in x.items()}
    wanted = meanings(model, ends, 2)
    if isinstance(wanted, TooShort):
        raise Wrong("answered", f"gives shapes {[each.shape for each in got]}, but {wanted}")
    exact = case["options"].get("precision") is None
    if wanted is not None and exact:
        _near(model, ends, [each[[0, -1]] for each in got], wanted, "meaning", FLOAT32)
    _same(_run(model, x), got, "again", "the same again", _keeps_bits(case))  # compiled, which it was not before
    if "batch" not in done:
        done.append("batch")
    for way in case["ways"]:
        try:
            RUNNING[way](model, case, x, got)
        except FastGRUError as error:
            if way not in REFUSABLE:
                raise Wrong(way, f"the model runs, but here it is refused: {error!r}") from None
            continue
        if way not in done:
            done.append(way)


def _run(model: Model, x: Arrays, **options: Any) -> list[Any]:
    """The outputs, which are arrays of their own, of inputs that stay as they are."""
    before = {name: np.array(array) for name, array in x.items()}
    made = model(x, **options)
    names = model.spec.output_names
    if names is not None and not (isinstance(made, dict) and tuple(made) == names):
        raise Wrong("named", f"no dict of {names}")
    y = list(made.values()) if isinstance(made, dict) else list(made) if isinstance(made, tuple) else [made]
    for place, one in enumerate(y):
        others = [*x.values(), *y[:place]]
        if any(isinstance(other, np.ndarray) and np.shares_memory(one, other) for other in others):
            raise Wrong("shared", f"output {place} lies in the memory of an input, or of another output")
    if not all(np.array_equal(x[name], array, equal_nan=array.dtype.kind == "f") for name, array in before.items()):
        raise Wrong("inputs", "an input is another than before")
    return y


def meanings(model: Model, x: Arrays, batch: int, noise: Any = None) -> Any:
    """The outputs of every row; TooShort where one has to be refused, None where nothing says what is right."""
    rows = []
    for row in range(batch):
        given = {name: np.asarray(array[row], array.dtype if array.dtype.kind == "i" else np.float64)
                 for name, array in x.items()}  # fmt: skip
        try:
            rows.append(meaning(model.spec, given, noise))
        except TooShort as error:
            return error
        except Undefined:
            return None
    return [list(outputs) for outputs in zip(*rows, strict=True)]


def _near(model: Model, x: Arrays, got: list[Any], wanted: Any, defect: str, tolerance: float) -> None:
    """Raise unless every row is near its meaning, as near as the last digits of the layers before let it be."""
    for place, (one, rows) in enumerate(zip(got, wanted, strict=True)):
        for row, other in enumerate(rows):
            padded = _padded(other, one[row].shape)
            if padded is None:
                raise Wrong(defect, f"output {place}, row {row}: shape {one[row].shape}, wanted {other.shape}")
            if not _differ(one[row], padded, tolerance):
                continue
            if _differ(one[row], padded, _bound(model, x, place, row, tolerance)):
                raise Wrong(defect, f"output {place}, row {row}: {_shown(one[row])}, wanted {_shown(padded)}")


def _padded(row: Any, shape: tuple[int, ...]) -> Any:
    """A row with zeros behind its last step, or None where it is no row of that shape."""
    if row.shape == shape:
        return row
    if row.ndim != len(shape) or any(own > size for own, size in zip(row.shape, shape, strict=True)):
        return None
    return np.pad(row, [(0, size - own) for own, size in zip(row.shape, shape, strict=True)])


def _differ(got: Any, wanted: Any, tolerance: float) -> bool:
    if tolerance == np.inf:
        return False
    if got.dtype == bool or wanted.dtype == bool or got.dtype.kind == "i":
        return not np.array_equal(got, wanted)
    finite = np.isfinite(wanted)
    if not np.array_equal(got[~finite], wanted[~finite], equal_nan=True):
        return True
    scale = max(1.0, np.abs(wanted[finite]).max(initial=0))
    return bool(np.isnan(got[finite]).any() or np.abs(got[finite] - wanted[finite]).max(initial=0) > tolerance * scale)


def _bound(model: Model, x: Arrays, place: int, row: int, tolerance: float) -> float:
    """A tolerance for a row that its last digits decide: what it differs by when every layer's are changed."""
    rng, size = np.random.default_rng(0), tolerance / 100
    one = {name: array[row : row + 1] for name, array in x.items()}

    def noise(array: Any) -> Any:
        moved = array * (1 + size * rng.uniform(-1, 1, array.shape))
        return np.where(np.abs(array) < np.finfo(np.float32).tiny, 0.0, moved)

    plain = meanings(model, one, 1)
    largest = 0.0
    for _ in range(6):
        moved = meanings(model, one, 1, noise)
        if isinstance(plain, TooShort) or isinstance(moved, TooShort) or moved is None:
            return np.inf
        a, b = plain[place][0], moved[place][0]
        if a.dtype == bool or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return np.inf if not np.array_equal(a, b, equal_nan=a.dtype != bool) else tolerance
        finite = np.isfinite(a)
        largest = max(largest, np.abs(a[finite] - b[finite]).max(initial=0) / max(1, np.abs(a[finite]).max(initial=0)))
    return tolerance + 20 * largest


def _shown(array: Any) -> str:
    return np.array2string(np.asarray(array), threshold=12, precision=5).replace("\n", "")


def _same(got: list[Any], wanted: list[Any], defect: str, said: str, exact: bool) -> None:
    """Raise unless the bits are the same (of a NaN, that it is one); BLAS keeps only the numbers."""
    for place, (one, other) in enumerate(zip(got, wanted, strict=True)):
        if one.shape != other.shape or one.dtype != other.dtype:
            raise Wrong(defect, f"{said}: output {place}: {one.dtype} {one.shape}, wanted {other.dtype} {other.shape}")
        if exact and not np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
            raise Wrong(defect, f"{said}: output {place}: {_shown(one)}, wanted {_shown(other)}")
        if not exact and _differ(one, other, FLOAT32):
            raise Wrong(defect, f"{said}: output {place}: {_shown(one)}, wanted {_shown(other)}")


def _keeps_bits(case: Any) -> bool:
    return case["options"].get("backend") != "blas"


def _rows(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    """Each row without a batch axis, some rows in another order, and none at all."""
    order = np.random.default_rng(case["seed"]).permutation(case["batch"])[: case["batch"] // 2 + 1]
    others = _run(model, {name: array[order] for name, array in x.items()})
    _same(others, [each[order] for each in got], "rows", f"rows {order.tolist()}", _keeps_bits(case))
    none = _run(model, {name: array[:0] for name, array in x.items()})
    _same(none, [each[:0] for each in got], "rows", "no rows", True)
    for row in range(case["batch"]):
        alone = _run(model, {name: array[row] for name, array in x.items()})
        _same(alone, [each[row] for each in got], "rows", f"row {row} alone", _keeps_bits(case))


def _lengths(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    """Each row as if it ended at its length; where the model takes other lengths, it with the same bits."""
    stepped, lengths = some_lengths(case, x)
    if not lengths:
        return
    got = _run(model, x, lengths=lengths)
    ends = {name: np.array(array) for name, array in x.items()}  # what lies beyond is nothing, whatever it is
    for name in stepped:
        for row, end in enumerate(lengths):
            ends[name][row, end:] = 3 if ends[name].dtype.kind == "i" else np.nan
    _same(_run(model, ends, lengths=lengths), got, "beyond", f"lengths {lengths}, NaN beyond", _keeps_bits(case))
    cut = [{name: array[row : row + 1, : lengths[row]] if name in stepped else array[row : row + 1]
            for name, array in x.items()} for row in range(case["batch"])]  # fmt: skip
    for row, given in enumerate(cut):
        wanted = meanings(model, given, 1)
        if isinstance(wanted, Unfitting):
            return
        if isinstance(wanted, TooShort):
            raise Wrong("lengths", f"lengths {lengths}: an answer, but row {row}: {wanted}")
        mine = [each[row : row + 1] for each in got]
        if wanted is not None and case["options"].get("precision") is None:
            try:
                _near(model, given, mine, wanted, "lengths", FLOAT32)
            except Wrong as error:
                raise Wrong(error.args[0], f"lengths {lengths}, row {row}: {error.args[1]}") from None
        if all(case_input[1][:1] == [None] for case_input in case["inputs"] if case_input[0] in stepped):
            alone = [_padded(each[0], one.shape[1:]) for each, one in zip(_run(model, given), mine, strict=True)]
            if any(each is None for each in alone):
                raise Wrong("lengths", f"lengths {lengths}, row {row}: another shape than alone")
            _same([one[0] for one in mine], alone, "lengths", f"lengths {lengths}, row {row}", _keeps_bits(case))


def some_lengths(case: Any, x: Arrays) -> tuple[list[str], list[int]]:
    """The inputs that have steps, and lengths at random, or none where they have different steps."""
    stepped = [name for name, shape, integers in case["inputs"] if len(shape) >= (1 if integers else 2)]
    steps = {x[name].shape[1] for name in stepped}
    if len(steps) != 1:
        return stepped, []
    return stepped, np.random.default_rng(case["seed"] + 1).integers(1, steps.pop() + 1, case["batch"]).tolist()


def _stream(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    """Each step beside the model on the steps so far; a copy on the way goes on alike, and a reset begins again."""
    stream = model.stream(case["batch"])
    stepped = {source.name for source in model.sources if source.steps is not None}
    count = min(x[name].shape[1] for name in stepped)

    def at(step: int) -> Arrays:
        return {name: array[:, step] if name in stepped else array for name, array in x.items()}

    def until(step: int) -> Arrays:
        return {name: array[:, : step + 1] if name in stepped else array for name, array in x.items()}

    if stream.delay or model._streamed.behind != 0:
        if all(x[name].shape[1] == count for name in stepped):
            _late(model, stream, case, [at(step) for step in range(count)], got)
        return
    copy, made = stream, []
    for step in range(count):
        made.append(_step(stream, at(step)))
        if step == count // 2:
            copy = stream.copy()
            copied = step + 1
    for step, parts in enumerate(made):
        wanted = _of_step(model, stream, until(step), parts, got, step)
        if wanted is not None:
            _same(parts, wanted, "stream", f"step {step}", _keeps_bits(case))
    for step in range(copied, count):
        _same(_step(copy, at(step)), made[step], "stream", f"step {step} of a copy", True)
    chunked = model.stream(case["batch"])
    chunked.run(until(copied - 1))
    if copied < count:
        _same(_step(chunked, at(copied)), made[copied], "stream", f"step {copied} after a run", _keeps_bits(case))
    again = pickle.loads(pickle.dumps(copy))
    again.state = stream.state
    row = case["seed"] % case["batch"]
    begun, went_on = model.stream(case["batch"]), _step(stream.copy(), at(0))
    again.reset(rows=row)
    first, reset = _step(begun, at(0)), _step(again, at(0))
    for place, one, other, third in zip(leaves(model.graph.outputs), reset, went_on, first, strict=True):
        if model.batch_axis(place) == 0 and one.ndim and len(one) == case["batch"]:
            other[row] = third[row]
            _same([one], [other], "stream", f"a step after a reset of row {row}", _keeps_bits(case))
    stream.reset()
    _same(_step(stream, at(0)), made[0], "stream", "the first step after a reset", True)


def _late(model: Model, stream: Any, case: Any, steps: list[Arrays], got: list[Any]) -> None:
    """What comes later than its step, and when the sequence is over, beside what the model gives."""
    if model._streamed.delay >= len(steps):
        return
    made = [_step(stream, x) for x in steps][model._streamed.delay :]
    lasting = {source.name: steps[0][source.name] for source in stream._steps.sources if source.steps is None}
    last = list(as_tuple(stream.finish(**lasting))) if model._streamed.behind else None
    for number, place in enumerate(leaves(model.graph.outputs)):
        axis = model._streamed.axes.get(place)
        if axis is not None:
            whole = np.stack([part[number] for part in made], axis=axis)
            whole = whole if last is None else np.concatenate([whole, last[number]], axis=axis)
            wanted = got[number] if last is not None else got[number].take(range(whole.shape[axis]), axis)
            _same([whole], [wanted], "stream", "a late stream", _keeps_bits(case))
        elif last is not None and not any(map(has_steps, model._analysis.layout(place))):
            _same([last[number]], [got[number]], "stream", "the end of a late stream", _keeps_bits(case))


def _of_step(
    model: Model, stream: Any, x: Arrays, parts: list[Any], got: list[Any], step: int
) -> list[Any] | None:
    """What the outputs are at a step: the last of what the model gives so far; None where it takes no such steps."""
    try:
        whole, last = _run(model, x), -1
    except FastGRUError:
        whole, last = got, step
    wanted = []
    for place, part, array in zip(leaves(model.graph.outputs), parts, whole, strict=True):
        axis = model._streamed.axes.get(place)
        if axis is None and last >= 0:
            return None
        made = array if axis is None else np.take(array, last, axis=axis)
        if made.ndim != part.ndim:
            return None
        wanted.append(made[tuple(slice(max(0, n - m), None) for n, m in zip(made.shape, part.shape, strict=True))])
    return wanted


def _step(stream: Any, x: Arrays) -> list[Any]:
    """One step; where it is refused, the states have to be as they were."""
    before = stream.state
    try:
        return list(as_tuple(stream.step(x)))
    except FastGRUError as error:
        for one, other in zip(stream.state, before, strict=True):
            if not np.array_equal(one, other, equal_nan=True):
                raise Wrong("stream state", f"{error}; but a state is another than before") from None
        raise


def _saved(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        again = load(path, **case["options"])
        if again.spec != model.spec:  # read from the file again, where it was rounded
            raise Wrong("saved", "another spec after loading")
    _same(_run(again, x), got, "saved", "saved and loaded", _keeps_bits(case))
    _same(_run(pickle.loads(pickle.dumps(model)), x), got, "saved", "pickled", _keeps_bits(case))


def _forms(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    """The same numbers as lists, as views of other arrays, in float64, and read-only."""
    wide = {name: array.astype(np.float64 if array.dtype.kind == "f" else np.int32) for name, array in x.items()}
    views = {name: np.repeat(array[::-1], 2, axis=-1)[::-1, ..., ::2] if array.ndim > 1 else array[::-1][::-1]
             for name, array in x.items()}  # fmt: skip
    columns = {name: np.asfortranarray(array) for name, array in x.items()}
    for array in columns.values():
        array.flags.writeable = False
    lists = {name: array.tolist() for name, array in x.items()}
    for said, given in (("float64", wide), ("views", views), ("columns", columns), ("lists", lists)):
        _same(_run(model, given), got, "forms", said, _keeps_bits(case))


_JUMPS = ("hard_shrink", "hardshrink", "threshold")  # where numbers that are near can come out far apart


def _reduced(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    """Beside the model with whole weights, as near as weights of so many bits let it be."""
    name = case["options"]["precision"]
    if any(node["fields"].get("name") in _JUMPS for node in case["nodes"]):
        return
    one = {name: array[:1] for name, array in x.items()}
    wanted = meanings(model, one, 1)
    if wanted is not None:
        _near(model, one, [each[:1] for each in got], wanted, "reduced", 0.1 if name == "int8" else 0.05)


def _threads(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    """Two callers at once, and a model of two threads."""
    results: list[Any] = [None, None]

    def call(place: int) -> None:
        try:
            results[place] = _run(model, x)
        except Exception as error:
            results[place] = error

    callers = [threading.Thread(target=call, args=(place,)) for place in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    two = Model(model.spec, n_threads=2, **case["options"])
    results.append(_run(two, x))
    rows = np.arange(MANY) % len(got[0])
    many = {name: array[rows] for name, array in x.items()}
    for _ in range(2):  # divided into pieces, compiled by this call and by the one before
        _same(_run(two, many), [each[rows] for each in got], "threads", "many rows", _keeps_bits(case))
    for place, result in enumerate(results):
        said = f"caller {place} of two" if place < 2 else "two threads"
        if isinstance(result, Exception):
            raise Wrong("threads", f"{said}: {result!r}")
        _same(result, got, "threads", said, _keeps_bits(case))


def _float64(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    wide = Model(model.spec, precision="float64")
    one = {name: array[:1] for name, array in x.items()}
    wanted = meanings(model, one, 1)
    if wanted is not None:
        _near(model, one, [each[:1] for each in _run(wide, x)], wanted, "float64", FLOAT64)


RUNNING: dict[str, Callable[[Model, Any, Arrays, list[Any]], None]] = {
    "rows": _rows, "lengths": _lengths, "stream": _stream, "saved": _saved, "threads": _threads, "float64": _float64,
    "forms": _forms, "reduced": _reduced,
}  # fmt: skip
REFUSABLE = ("lengths", "stream")  # what a model that runs may refuse
