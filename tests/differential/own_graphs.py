"""Random graphs of fastgru's own layers, beside their meaning for each row alone and beside themselves in other ways.

``meaning`` says what each row gives, in float64. That the rows of a batch, the steps of a stream, a saved and loaded
model, two threads and more threads give the same bits is compared with the model itself.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from case import Outcome
from meaning import TooShort, Undefined, Unfitting, meaning
from own_layers import _JOINING, _ONE_INPUT, NAMES, PREAMBLE, arguments, expression, node_text
from shrink import lower, replaced, shortened

from fastgru import FastGRUError, Model, load
from fastgru.spec import Signal, edge_of, validate

__all__ = ["FAMILIES", "OwnGraphs"]

WAYS = {"rows": 0.4, "lengths": 0.5, "stream": 1.0, "saved": 0.15, "threads": 0.15, "float64": 0.3}  # and how often
KINDS = (*_ONE_INPUT, *_JOINING, *["GRULayer"] * 10, *["Dense"] * 3, *["Activation"] * 2, *["Masking"] * 2)
CAUSAL = (  # the kinds of which a stream can be made; for the rest see ``KINDS``
    "Activation", "Add", "BatchNormalization", "Concatenate", "Dense", "Dropout", "Embedding", "GRULayer", "GRULayer",
    "GRULayer", "LayerNormalization", "Last", "Masking", "Maximum", "Multiply", "PReLU", "Subtract", "TimeDistributed",
    "Unmasked",
)  # fmt: skip
FLOAT32 = 1e-4  # of the largest output: weights are small, and chains of ten layers lose less
FLOAT64 = 1e-9
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

Arrays = dict[str, Any]


class Wrong(Exception):
    """A difference: the words for its kind, and what it is."""


class OwnGraphs:
    """Graphs of one to ten layers, one to three inputs and outputs."""

    name = "own"

    def generate(self, rng: random.Random) -> Any:
        causal = rng.random() < 0.2
        kinds = CAUSAL if causal else KINDS
        sources = [_source(rng, place) for place in range(1 if causal else rng.choice((1, 1, 1, 1, 2, 3)))]
        edges = [(name, Signal(tuple(shape), "integers" if ids else "numbers")) for name, shape, ids in sources]
        nodes: list[dict[str, Any]] = []
        wanted = rng.choice((1, 2, 3, 4, 5, 6, 8, 10))
        for _ in range(8 * wanted):
            kind = rng.choice(kinds)
            found = arguments(kind, rng, edges)
            if found is None:
                continue
            node = {"name": f"n{len(nodes)}", "layer": kind, "fields": found[0], "inputs": found[1]}
            node["inputs"] += _states(rng, node, edges)
            masks = [edge for edge, signal in edges if signal.kind == "booleans" and len(signal.shape) == 1]
            if masks and rng.random() < 0.3 and _has_steps(dict(_by_text(edges))[str(found[1][0])]):
                node["mask"] = rng.choice(masks)
            made = _signals(node, dict(_by_text(edges)))
            if made is None and rng.random() > 0.003:
                continue
            names = [node["name"], *([node["name"], place] for place in range(1, len(made or [0])))]
            edges += zip(names, made or [], strict=False)
            nodes.append(node)
            if len(nodes) == wanted:
                break
        if not nodes:
            return self.generate(rng)
        outputs = [nodes[-1]["name"]]
        while not causal and rng.random() < 0.25 and len(outputs) < 3:
            outputs.append(rng.choice(edges)[0])
        ways = [way for way in WAYS if rng.random() < WAYS[way]]
        options = {}
        if rng.random() < 0.1:
            options = {"precision": rng.choice(("bfloat16", "float16", "int8"))}
        elif rng.random() < 0.05:
            options = {"backend": "blas"}
        steps = rng.sample((1, 2, 7, 13), rng.choice((1, 1, 2)))
        return {
            "inputs": sources, "nodes": nodes, "outputs": outputs, "batch": rng.choice((1, 2, 5)), "steps": steps,
            "seed": rng.randrange(100_000), "holes": rng.choice((0, 0, 0.3, 0.7)), "nan": rng.random() < 0.03,
            "ways": ways, "options": options,
        }  # fmt: skip

    def check(self, case: Any) -> Outcome:
        return _checked(case)

    def smaller(self, case: Any) -> Iterator[Any]:
        yield from _smaller(case)

    def script(self, case: Any) -> str:
        return _script(case)


def _source(rng: random.Random, place: int) -> list[Any]:
    name, steps = f"x{place}", rng.choice((None, None, None, 7))
    if rng.random() < 0.2:
        return [name, rng.choice(([steps], [steps], [steps, 3], [])), True]
    features = rng.choice((1, 2, 3, 4, 6))
    if place and rng.random() < 0.4:
        return [name, [rng.choice((2, 3, 5))], False]
    return [name, [steps, features] if rng.random() < 0.9 else [steps, rng.choice((2, 3)), features], False]


def _by_text(edges: list[Any]) -> list[tuple[str, Signal]]:
    return [(str(edge), signal) for edge, signal in edges]


def _has_steps(signal: Signal) -> bool:
    return len(signal.shape) > (signal.kind == "numbers")


def _states(rng: random.Random, node: dict[str, Any], edges: list[Any]) -> list[Any]:
    """Initial states for a GRU, where there are values of its size."""
    if node["layer"] != "GRULayer" or rng.random() > 0.5:
        return []
    gru, above = node["fields"]["gru"]["gru"], node["fields"]["above"]
    sizes = [gru[2]] * (gru[3] * gru[4]) + [spec["gru"][2] for spec in above]
    found = [[edge for edge, s in edges if s.shape == (size,) and s.kind == "numbers"] for size in sizes]
    return [rng.choice(each) for each in found] if all(found) else []


def _signals(node: dict[str, Any], edges: dict[str, Signal]) -> list[Signal] | None:
    """What a node gives, or None where it is refused."""
    try:
        layer = eval(node_text(node), NAMES).layer
        made = layer.outputs([edges[str(edge)] for edge in node["inputs"]], "")
    except FastGRUError:
        return None
    small = all(size is None or size <= 200 for each in made for size in each.shape)
    return made if small and all(len(each.shape) <= 4 for each in made) else None


def _checked(case: Any) -> Outcome:
    try:
        spec = _built(case)
        validate(spec)
        model = Model(spec, **case["options"])
    except FastGRUError as error:
        return Outcome("refused", str(error))
    except Exception as error:
        return Outcome("wrong", f"making the model: {error!r}", type(error).__name__)
    done: list[str] = []
    refusal = ""
    for steps in case["steps"]:
        x = inputs(case, steps)
        try:
            _one_length(model, case, x, done)
        except FastGRUError as error:
            refusal = str(error)
        except Wrong as error:
            return Outcome("wrong", f"{steps} steps: {error.args[1]}", error.args[0])
        except Exception as error:
            return Outcome("wrong", f"{steps} steps: {error!r}", type(error).__name__)
    return Outcome("right", " ".join(done)) if done else Outcome("refused", refusal)


def _built(case: Any) -> Any:
    return eval(expression({name: case[name] for name in ("inputs", "nodes", "outputs")}), NAMES)


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


def _one_length(model: Model, case: Any, x: Arrays, done: list[str]) -> None:
    """Compare in every way; raises what the first plain call raises, or Wrong."""
    got = _run(model, x)
    ends = {name: np.stack([array[0], array[-1]]) for name, array in x.items()}
    wanted = _meanings(model, ends, 2)
    if isinstance(wanted, TooShort):
        raise Wrong("answered", f"gives shapes {[each.shape for each in got]}, but {wanted}")
    exact = case["options"].get("precision") is None
    if wanted is not None and exact:
        _near(model, ends, [each[[0, -1]] for each in got], wanted, "meaning", FLOAT32)
    if "batch" not in done:
        done.append("batch")
    for way in case["ways"]:
        try:
            _WAYS[way](model, case, x, got)
        except FastGRUError:
            continue
        if way not in done:
            done.append(way)


def _run(model: Model, x: Arrays, **options: Any) -> list[Any]:
    y = model(x, **options)
    return list(y) if isinstance(y, tuple) else [y]


def _meanings(model: Model, x: Arrays, batch: int, noise: Any = None) -> Any:
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
    if row.ndim != len(shape) or row.shape[1:] != shape[1:] or len(row) > shape[0]:
        return None
    return np.concatenate([row, np.zeros((shape[0] - len(row), *shape[1:]), row.dtype)])


def _differ(got: Any, wanted: Any, tolerance: float) -> bool:
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
        return array * (1 + size * rng.uniform(-1, 1, array.shape))

    plain = _meanings(model, one, 1)
    largest = 0.0
    for _ in range(6):
        moved = _meanings(model, one, 1, noise)
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
    for row in range(case["batch"]):
        alone = _run(model, {name: array[row] for name, array in x.items()})
        _same(alone, [each[row] for each in got], "rows", f"row {row} alone", _keeps_bits(case))


def _lengths(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    """Each row as if it ended at its length; where the model takes other lengths, it with the same bits."""
    stepped, lengths = _some_lengths(case, x)
    if not lengths:
        return
    got = _run(model, x, lengths=lengths)
    cut = [{name: array[row : row + 1, : lengths[row]] if name in stepped else array[row : row + 1]
            for name, array in x.items()} for row in range(case["batch"])]  # fmt: skip
    for row, given in enumerate(cut):
        wanted = _meanings(model, given, 1)
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


def _some_lengths(case: Any, x: Arrays) -> tuple[list[str], list[int]]:
    """The inputs that have steps, and lengths at random, or none where they have different steps."""
    stepped = [name for name, shape, integers in case["inputs"] if len(shape) >= (1 if integers else 2)]
    steps = {x[name].shape[1] for name in stepped}
    if len(steps) != 1:
        return stepped, []
    return stepped, np.random.default_rng(case["seed"] + 1).integers(1, steps.pop() + 1, case["batch"]).tolist()


def _stream(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    """Each step beside the model on the steps so far; a copy on the way goes on alike, and a reset begins again."""
    stream = model.stream(case["batch"])
    ((name, array),) = x.items()
    copy, made = stream, []
    for step in range(array.shape[1]):
        made.append(_step(stream, array[:, step]))
        if step == array.shape[1] // 2:
            copy = stream.copy()
            copied = step + 1
    for step, one in enumerate(made):
        try:
            whole = _run(model, {name: array[:, : step + 1]})[0]
        except FastGRUError:
            whole = got[0][:, : step + 1] if got[0].ndim == one.ndim + 1 else None
        if whole is not None:
            wanted = whole[:, -1] if whole.ndim == one.ndim + 1 else whole
            _same([one], [wanted], "stream", f"step {step}", _keeps_bits(case))
    for step in range(copied, array.shape[1]):
        _same([copy.step(array[:, step])], [made[step]], "stream", f"step {step} of a copy", True)
    stream.reset()
    _same([stream.step(array[:, 0])], [made[0]], "stream", "the first step after a reset", True)


def _step(stream: Any, x: Any) -> Any:
    """One step; where it is refused, the states have to be as they were."""
    before = stream.state
    try:
        return stream.step(x)
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
    if again.spec != model.spec:
        raise Wrong("saved", "another spec after loading")
    _same(_run(again, x), got, "saved", "saved and loaded", _keeps_bits(case))


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
    results.append(_run(Model(model.spec, n_threads=2, **case["options"]), x))
    for place, result in enumerate(results):
        said = f"caller {place} of two" if place < 2 else "two threads"
        if isinstance(result, Exception):
            raise Wrong("threads", f"{said}: {result!r}")
        _same(result, got, "threads", said, _keeps_bits(case))


def _float64(model: Model, case: Any, x: Arrays, got: list[Any]) -> None:
    wide = Model(model.spec, precision="float64")
    one = {name: array[:1] for name, array in x.items()}
    wanted = _meanings(model, one, 1)
    if wanted is not None:
        _near(model, one, [each[:1] for each in _run(wide, x)], wanted, "float64", FLOAT64)


_WAYS: dict[str, Callable[[Model, Any, Arrays, list[Any]], None]] = {
    "rows": _rows, "lengths": _lengths, "stream": _stream, "saved": _saved, "threads": _threads, "float64": _float64,
}  # fmt: skip


def _smaller(case: Any) -> Iterator[Any]:
    for place in range(len(case["nodes"])):  # a node by itself as the output
        name = case["nodes"][place]["name"]
        if case["outputs"] != [name]:
            yield _pruned({**case, "outputs": [name]})
    for outputs in shortened(case["outputs"], 1):
        yield _pruned({**case, "outputs": outputs})
    for place, node in enumerate(case["nodes"]):  # without a node: those behind take its input
        for edge in node["inputs"]:
            yield _pruned(_without(case, place, edge))
    for name in ("ways", "steps"):
        for items in shortened(case[name], name == "steps"):
            yield {**case, name: items}
    for batch in lower(case["batch"]):
        yield {**case, "batch": batch}
    for place, steps in enumerate(case["steps"]):
        for fewer in lower(steps):
            yield {**case, "steps": replaced(case["steps"], place, fewer)}
    for name, value in (("holes", 0), ("nan", False), ("options", {})):
        if case[name]:
            yield {**case, name: value}
    for place, node in enumerate(case["nodes"]):
        if node.get("mask") is not None:
            yield {**case, "nodes": replaced(case["nodes"], place, {**node, "mask": None})}
        for name in node["fields"]:
            fields = {key: value for key, value in node["fields"].items() if key != name}
            yield {**case, "nodes": replaced(case["nodes"], place, {**node, "fields": fields})}
            for simpler in _simpler(node["fields"][name]):
                changed = {**node, "fields": {**node["fields"], name: simpler}}
                yield {**case, "nodes": replaced(case["nodes"], place, changed)}


def _simpler(value: Any) -> Iterator[Any]:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int):
        yield from lower(abs(value), 0)
    elif isinstance(value, dict) and "gru" in value:
        if len(value) > 1:
            yield {"gru": value["gru"]}
        for place in (3, 4):
            if len(value["gru"]) > place and value["gru"][place] > 1:
                yield {**value, "gru": replaced(value["gru"], place, 1)}
    elif isinstance(value, dict) and "nodes" in value and len(value["nodes"]) > 1:
        yield {**value, "nodes": value["nodes"][:1], "outputs": [value["nodes"][0]["name"]]}


def _without(case: Any, place: int, edge: Any) -> Any:
    name = case["nodes"][place]["name"]

    def other(each: Any) -> Any:
        return edge if edge_of(each if isinstance(each, str) else tuple(each))[0] == name else each

    nodes = [
        {**node, "inputs": [other(each) for each in node["inputs"]],
         **({} if node.get("mask") is None else {"mask": other(node["mask"])})}
        for at, node in enumerate(case["nodes"]) if at != place
    ]  # fmt: skip
    return {**case, "nodes": nodes, "outputs": [other(each) for each in case["outputs"]]}


def _pruned(case: Any) -> Any:
    """Without the nodes and inputs that no output needs."""
    needed = {edge_of(each if isinstance(each, str) else tuple(each))[0] for each in case["outputs"]}
    nodes = []
    for node in reversed(case["nodes"]):
        if node["name"] in needed:
            nodes.append(node)
            edges = [*node["inputs"], *([] if node.get("mask") is None else [node["mask"]])]
            needed |= {edge if isinstance(edge, str) else edge[0] for edge in edges}
    kept = [source for source in case["inputs"] if source[0] in needed]
    return {**case, "nodes": nodes[::-1], "inputs": kept or case["inputs"][:1]}


def _script(case: Any) -> str:
    """The model, its inputs, and what it gives in each way of the case beside what it should give."""
    x = inputs(case, case["steps"][0])
    arrays = ", ".join(f"{name!r}: np.array({array.tolist()}, np.{array.dtype})" for name, array in x.items())
    options = "".join(f", {name}={value!r}" for name, value in case["options"].items())
    spec = expression({name: case[name] for name in ("inputs", "nodes", "outputs")})
    lines = [f"spec = {spec}", f"x = {{{arrays}}}", f"model = Model(spec{options})", 'print("it gives", model(x))']
    try:
        wanted = _meanings(Model(eval(spec, NAMES)), x, case["batch"])
        lines.append(f'print("wanted", {[np.asarray(rows).tolist() for rows in wanted]})')
    except Exception as error:
        lines.append(f"# no meaning: {error!r}")
    texts = _TEXTS
    if "stream" in case["ways"] and case["inputs"][0][1][0] is not None:  # no model for the steps so far
        texts = {**_TEXTS, "stream": _TEXTS["stream"].replace(', "wanted", model(array[:, : step + 1])', "")}
    given = {"batch": case["batch"], "lengths": _some_lengths(case, x)[1], "options": options}
    return "\n".join([PREAMBLE, *lines, *(texts[way].format(**given) for way in case["ways"]), ""])


_TEXTS = {
    "rows": """for row in range({batch}):
    print("row", row, "alone", model({{name: array[row] for name, array in x.items()}}))""",
    "lengths": """lengths = {lengths}
print("with lengths", lengths, model(x, lengths=lengths))
for row, end in enumerate(lengths):
    cut = {{name: array[row : row + 1, :end] if array.ndim > 2 - (array.dtype == int) else array[row : row + 1]
           for name, array in x.items()}}
    print("row", row, "alone", model(cut))""",
    "stream": """stream, (array,) = model.stream({batch}), x.values()
for step in range(array.shape[1]):
    print("step", step, stream.step(array[:, step]), "wanted", model(array[:, : step + 1]))""",
    "saved": """import fastgru
model.save("/tmp/case.safetensors")
print("saved and loaded", fastgru.load("/tmp/case.safetensors"{options})(x))""",
    "threads": """print("two threads", Model(spec, n_threads=2{options})(x))""",
    "float64": """print("float64", Model(spec, precision="float64")(x))""",
}


FAMILIES = {"own": OwnGraphs()}
