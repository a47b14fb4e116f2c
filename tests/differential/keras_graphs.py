"""Random models of Keras 3 on PyTorch: masks, merges, shared and nested layers, as files and live, beside Keras itself.

A case is written as the Python text that builds the model, which is both what is run here and what a script shows.
"""

from __future__ import annotations

import gc
import os
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import absl.logging
import keras
import numpy as np
import torch
from case import Outcome
from keras_alone import both
from keras_cases import frozen, graph_of, names_of
from keras_smaller import smaller
from keras_text import PREAMBLE, chain_text, model_text

import fastgru
from fastgru import FastGRUError
from fastgru.graph.graph import leaves

__all__ = ["FAMILIES", "KerasGraphs"]

WAYS = {"keras": 0.6, "h5": 0.4, "live": 0.4, "weights": 1.0, "lengths": 0.4, "stream": 1.0, "saved": 0.1, "bare": 0.1}
FLOAT32 = 1e-4  # of the largest output; what is further off is compared again in float64
FLOAT64 = 1e-7  # Keras itself keeps some numbers of a model, epsilons among them, in float32
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

torch.set_num_threads(1)
absl.logging.set_verbosity("error")  # that .h5 files are of an old kind is known
gc.freeze()  # what the frameworks have made themselves is never garbage, and there are millions of it
NAMES: dict[str, Any] = {}
exec(PREAMBLE, NAMES)


class Wrong(Exception):
    """A difference: the words for its kind, and what it is."""


class KerasGraphs:
    """Sequential and functional models of one to eight layers."""

    name = "keras"

    def generate(self, rng: random.Random) -> Any:
        sequential, causal = rng.random() < 0.35, rng.random() < 0.25
        graph = graph_of(rng, 1 if sequential or causal else rng.choice((1, 1, 1, 2)), sequential, causal)
        if graph is None:
            return self.generate(rng)
        ways = [way for way in WAYS if rng.random() < WAYS[way] and (way != "weights" or sequential)]
        if not {"keras", "h5", "live"} & {*ways}:
            ways.append(rng.choice(("keras", "h5", "live")))
        return {
            "graph": graph, "sequential": sequential, "batch": rng.choice((1, 2, 5)), "seed": rng.randrange(100_000),
            "steps": rng.sample((1, 2, 7, 13), rng.choice((1, 1, 2))), "ways": ways,
            "holes": rng.choice(("", "", "gaps", "tail")), "frozen": frozen(rng, graph),
        }  # fmt: skip

    def check(self, case: Any) -> Outcome:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return _checked(case)

    def smaller(self, case: Any) -> Iterator[Any]:
        yield from smaller(case)

    def script(self, case: Any) -> str:
        return _script(case)


def _checked(case: Any) -> Outcome:
    keras.utils.clear_session(free_memory=False)  # so that names begin at the same count
    try:
        model = _built(case)
    except Exception as error:
        return Outcome("skipped", f"building: {error}")
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        return _compared(case, model, Path(folder))


def _built(case: Any, floatx: str = "float32") -> Any:
    _compute_in(floatx)
    try:
        names = dict(NAMES)
        exec(model_text(case), names)
        return names["model"]
    finally:
        _compute_in("float32")


def _compute_in(floatx: str) -> None:
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(floatx)  # which keeps what it was when it was first asked for


def _compared(case: Any, model: Any, folder: Path) -> Outcome:
    done: list[str] = []
    skipped, refusal = "", ""
    for way in case["ways"]:
        if way not in _OPENING:
            continue
        try:
            ours = _opened(case, way, folder, model)
        except FastGRUError as error:
            refusal = str(error)
            continue
        except Wrong as error:
            return Outcome("wrong", f"{way}: {error.args[1]}", error.args[0])
        except Exception as error:
            return Outcome("wrong", f"{way}: {error!r}", f"opening: {type(error).__name__}")
        for steps in case["steps"]:
            x = inputs(case, steps)
            try:
                wanted = run(model, x)
            except Exception as error:
                skipped = f"running: {error}"
                continue
            try:
                got = _run(ours, x, case)
                _near(case, way, folder, model, got, wanted, x, way)
                done += [way] * (way not in done)
                for other in [each for each in case["ways"] if each in _RUNNING]:
                    if _RUNNING[other](case, way, folder, model, ours, x, got):
                        done += [other] * (other not in done)
            except FastGRUError as error:
                refusal = str(error)
            except Wrong as error:
                return Outcome("wrong", f"{way}, {steps} steps: {error.args[1]}", error.args[0])
            except _Framework as error:
                skipped = f"running: {error}"
            except Exception as error:
                return Outcome("wrong", f"{way}, {steps} steps: {error!r}", type(error).__name__)
    if done:
        return Outcome("right", " ".join(done))
    return Outcome("refused", refusal) if refusal else Outcome("skipped", skipped)


def _opened(case: Any, way: str, folder: Path, model: Any) -> Any:
    """The model as fastgru reads it."""
    if way == "weights":
        return _OPENING[way](case, model, folder)
    return _saying(model, lambda: _OPENING[way](case, model, folder))


def _saying(model: Any, opening: Callable[[], Any]) -> Any:
    """What is opened, with a warning where the model or layer is stateful and only there."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ours = opening()
    warned = any("stateful" in str(each.message) for each in said)
    if warned != bool(_stateful(model)):
        raise Wrong("stateful", "a warning of a state" if warned else "no word of a state that goes on")
    return ours


def _stateful(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]


class _Framework(Exception):
    """Keras does not run it."""


def inputs(case: Any, steps: int) -> list[Any]:
    """An array for every input, with zeros for masks in places or at the ends."""
    rng = np.random.default_rng(case["seed"])
    arrays = []
    for _, shape, dtype in case["graph"]["inputs"]:
        sizes = (case["batch"], *(steps if size is None else size for size in shape))
        whole = dtype == "int32"
        x = rng.integers(1, 9, sizes) if whole else rng.standard_normal(sizes).astype(np.float32)
        if case["holes"] and len(sizes) > (1 if whole else 2):
            ends = rng.integers(1, sizes[1] + 1, sizes[0])
            tail = np.arange(sizes[1]) >= ends[:, None]
            x[tail if case["holes"] == "tail" else rng.random(sizes[:2]) < 0.4] = 0
        arrays.append(x)
    return arrays


def run(model: Any, x: list[Any]) -> list[Any]:
    """What Keras computes from states of zeros; of a dict its names come first."""
    for layer in _stateful(model):
        if hasattr(layer, "reset_state"):
            layer.reset_state()
    struct = getattr(model, "_inputs_struct", None)
    keys = list(struct) if isinstance(struct, dict) else None
    given = x[0] if len(x) == 1 else x
    result = model(given if keys is None else dict(zip(keys, x, strict=True)), training=False)
    return [each if isinstance(each, list) else keras.ops.convert_to_numpy(each) for each in _listed(result)]


def _run(ours: Any, x: list[Any], case: Any, **options: Any) -> list[Any]:
    """What fastgru computes; of a dict of inputs by their names, or in Keras's order of them."""
    keys = case["graph"].get("keys")
    if keys and {*keys} == {*names_of(case["graph"]["inputs"])}:
        return _listed(ours(dict(zip(keys, x, strict=True)), **options))
    if keys:
        x = [array for _, array in sorted(zip(keys, x, strict=True), key=lambda each: each[0])]
    return _listed(ours(x[0] if len(x) == 1 else x, **options))


def _listed(result: Any) -> list[Any]:
    if isinstance(result, dict):
        return [list(result), *result.values()]
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _near(case: Any, way: str, folder: Path, model: Any, got: Any, wanted: Any, x: Any, defect: str) -> None:
    """Raise unless outputs are near; of those that the last digits decide, the float64 ones."""
    found = _difference(got, wanted, FLOAT32)
    if not found:
        return
    if " dict of " in found:
        raise Wrong("dict", found)
    wide = _built(case, "float64")
    for mine, other in zip(wide.weights, model.weights, strict=True):
        mine.assign(np.asarray(keras.ops.convert_to_numpy(other), np.float64))
    exact = [each if each.dtype.kind == "i" else each.astype(np.float64) for each in x]
    ours = _OPENING[way](case, model, folder).astype("float64")
    if _difference(_run(ours, exact, case), run(wide, exact), FLOAT64):
        raise Wrong(defect, found)


def _difference(got: list[Any], wanted: list[Any], tolerance: float) -> str:
    if isinstance(wanted[0], list) and not isinstance(got[0], list):
        return f"a tuple, wanted a dict of {wanted[0]}"
    if len(got) != len(wanted):
        return f"{len(got)} outputs, wanted {len(wanted)}"
    for place, (one, other) in enumerate(zip(got, wanted, strict=True)):
        if isinstance(other, list):
            if one != other:
                return f"a dict of {one}, wanted {other}"
            continue
        if one.shape != other.shape:
            return f"output {place}: shape {one.shape}, wanted {other.shape}"
        finite = np.isfinite(other)
        scale = max(1.0, np.abs(other[finite]).max(initial=0))
        if (
            not np.array_equal(one[~finite], other[~finite], equal_nan=True)
            or not (np.abs(one[finite] - other[finite]) <= tolerance * scale).all()
        ):
            return f"output {place}: {_shown(one)}, wanted {_shown(other)}"
    return ""


def _shown(array: Any) -> str:
    return np.array2string(np.asarray(array), threshold=12, precision=5).replace("\n", "")


def _file(suffix: str) -> Any:
    def opened(case: Any, model: Any, folder: Path) -> Any:
        path = folder / f"model.{suffix}"
        if not path.exists():
            try:
                model.save(path)
            except Exception as error:
                raise _Framework(str(error)) from error
        return fastgru.load(path)

    return opened


def _live(case: Any, model: Any, folder: Path) -> Any:
    return fastgru.from_keras(model)


def _weights(case: Any, model: Any, folder: Path) -> Any:
    named = chain_text(case)
    if named is None:
        raise fastgru.UnsupportedModelError("weights alone do not say this of a layer")
    path = folder / "model.weights.h5"
    if not path.exists():
        model.save_weights(path)
    return fastgru.load(path, layers=eval(named, NAMES))


_OPENING = {"keras": _file("keras"), "h5": _file("h5"), "live": _live, "weights": _weights}


def _lengths(case: Any, way: str, folder: Path, model: Any, ours: Any, x: Any, got: Any) -> bool:
    """Each row beside Keras on that row alone, cut to its length."""
    if _stateful(model) and case["batch"] > 1:  # Keras takes no other batch
        return False
    stepped = [shape[0] is None for _, shape, _ in case["graph"]["inputs"]]
    steps = {array.shape[1] for array, has in zip(x, stepped, strict=True) if has}
    if len(steps) != 1 or any(len(s[1]) == (1 if s[2] == "int32" else 2) and s[1][0] for s in case["graph"]["inputs"]):
        return False
    lengths = np.random.default_rng(case["seed"] + 1).integers(1, steps.pop() + 1, case["batch"]).tolist()
    try:
        got = _run(ours, x, case, lengths=lengths)
    except FastGRUError:
        return False
    for row, end in enumerate(lengths):
        cut = [each[row : row + 1, :end] if has else each[row : row + 1] for each, has in zip(x, stepped, strict=True)]
        try:
            wanted = run(model, cut)
        except Exception as error:
            raise Wrong("lengths", f"lengths {lengths}: an answer, but row {row}: {error}") from None
        mine = []
        for one, other in zip(got, wanted, strict=True):
            if isinstance(one, list):
                mine.append(one)
                continue
            part = one[row : row + 1]
            if part.ndim == other.ndim > 2 and part.shape[1] > other.shape[1]:
                if part[:, other.shape[1] :].any():
                    raise Wrong("lengths", f"lengths {lengths}, row {row}: not zero beyond it")
                part = part[:, : other.shape[1]]
            mine.append(part)
        try:
            _near(case, way, folder, model, mine, wanted, cut, "lengths")
        except Wrong as error:
            raise Wrong("lengths", f"lengths {lengths}, row {row}: {error.args[1]}") from None
    return True


def _stream(case: Any, way: str, folder: Path, model: Any, ours: Any, x: Any, got: Any) -> bool:
    """Each step beside Keras on the steps so far."""
    sources = _sources(ours)
    if len(x) != len(sources):
        return False
    order = _order(case, sources)
    stepped = [False] * len(x)  # whether an input of Keras's model has steps
    for at, source in zip(order, sources, strict=True):
        stepped[at] = isinstance(ours, fastgru.GRU) or source.steps is not None
    counts = {array.shape[1] for array, has in zip(x, stepped, strict=True) if has}
    if len(counts) > 1:
        return False  # what Keras gives after all the steps of one is not what a stream gives after those of another
    count = counts.pop() if counts else 0
    try:
        stream = ours.stream(case["batch"])
        if not isinstance(ours, fastgru.GRU) and (stream.delay or ours._streamed.behind != 0):
            return False  # which its own graphs are compared with
        made = []
        for step in range(count):
            at = [x[place][:, step] if stepped[place] else x[place] for place in order]
            made.append(_arrays(stream.step(at[0] if len(at) == 1 else at)))
    except FastGRUError:
        return False
    is_open = all(shape[0] is None for (_, shape, _), has in zip(case["graph"]["inputs"], stepped, strict=True) if has)
    for step in sorted({0, len(made) // 2, len(made) - 1}):  # Keras takes long for each
        whole, last = _arrays(got), step
        if is_open:
            so_far = [array[:, : step + 1] if has else array for array, has in zip(x, stepped, strict=True)]
            try:
                whole, last = _arrays(run(model, so_far)), -1
            except Exception:  # Keras itself takes no sequences so short
                continue
        if isinstance(ours, fastgru.GRU):
            whole = whole[-1:]  # of whose outputs a stream gives that of the last layer
        for number, one in enumerate(made[step]):
            axis = _steps_axis(ours, stream, number, whole[number].ndim - one.ndim)
            if axis is None and last not in (-1, len(made) - 1):
                continue
            wanted = whole[number] if axis is None else np.take(whole[number], last, axis=axis)
            if wanted.ndim == one.ndim:
                wanted = wanted[tuple(slice(max(0, n - m), None) for n, m in zip(wanted.shape, one.shape, strict=True))]
            found = _difference([one], [wanted], 10 * FLOAT32)
            if found:
                raise Wrong("stream", f"step {step}: {found}")
    return True


def _order(case: Any, sources: list[Any]) -> list[int]:
    """Which input of Keras's model each of ours is."""
    keys = case["graph"].get("keys")
    if not keys:
        return list(range(len(sources)))
    if {*keys} == {*names_of(case["graph"]["inputs"])}:
        return [keys.index(source.name) for source in sources]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _sources(ours: Any) -> list[Any]:
    return [None] if isinstance(ours, fastgru.GRU) else ours.sources


def _arrays(given: Any) -> list[Any]:
    """The outputs without their names."""
    return [each for each in _listed(given) if not isinstance(each, list)]


def _steps_axis(ours: Any, stream: Any, number: int, more: int) -> int | None:
    """The axis of the steps of an output; a GRU has it where there is one axis more than in a step."""
    if isinstance(ours, fastgru.GRU):
        return 1 if more == 1 else None
    return ours._streamed.axes.get([*leaves(ours.graph.outputs)][number])


def _saved(case: Any, way: str, folder: Path, model: Any, ours: Any, x: Any, got: Any) -> bool:
    ours.save(folder / "model.safetensors")
    again = _run(fastgru.load(folder / "model.safetensors"), x, case)
    for one, other in zip(again, got, strict=True):
        if isinstance(one, list) or isinstance(other, list):
            if one != other:
                raise Wrong("dict", f"saved and loaded: {one}, wanted {other}")
            continue
        if not np.array_equal(one, other, equal_nan=True):
            raise Wrong("saved", f"saved and loaded: {_shown(one)}, wanted {_shown(other)}")
    return True


def _bare(case: Any, way: str, folder: Path, model: Any, ours: Any, x: Any, got: Any) -> bool:
    """The layers by themselves, beside Keras on an input of their own."""
    compared = False
    for layer in model.layers:
        if type(layer).__name__ not in ("GRU", "Bidirectional", "RNN"):
            continue
        try:
            alone = _saying(layer, lambda layer=layer: fastgru.from_keras(layer))
        except FastGRUError:
            continue
        found = _difference(*both(layer, alone, case["batch"], case["seed"]), 10 * FLOAT32)
        if found:
            raise Wrong("bare", f"{layer.name} by itself: {found}")
        compared = True
    return compared


_RUNNING = {"lengths": _lengths, "stream": _stream, "saved": _saved, "bare": _bare}


def _script(case: Any) -> str:
    """The model, what Keras gives for it, and what fastgru gives in the ways of the case."""
    x = inputs(case, case["steps"][0])
    arrays = ", ".join(f"np.array({array.tolist()}, np.{array.dtype})" for array in x)
    first = "x[0] if len(x) == 1 else x"
    lines = [PREAMBLE + model_text(case), f"x = [{arrays}]", f'print("keras", model({first}, training=False))']
    for way in case["ways"]:
        if way in ("keras", "h5"):
            lines += [f'model.save("/tmp/case.{way}")', f'ours = fastgru.load("/tmp/case.{way}")']
        elif way == "live":
            lines.append("ours = fastgru.from_keras(model)")
        elif way == "weights" and chain_text(case) is not None:
            lines.append('model.save_weights("/tmp/case.weights.h5")')
            lines.append(f'ours = fastgru.load("/tmp/case.weights.h5", layers={chain_text(case)})')
        else:
            continue
        lines.append(f'print("{way}", ours({first}))')
    return "\n".join([*lines, *(f"# and compare: {way}" for way in case["ways"] if way in _RUNNING), ""])


FAMILIES = {"keras": KerasGraphs()}
