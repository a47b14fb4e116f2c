"""Random models of Keras 3 on PyTorch: masks, merges, shared and nested layers, as files and live, beside Keras itself.

A case is written as the Python text that builds the model, which is both what is run here and what a script shows.
"""

from __future__ import annotations

import gc
import os
import random
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import absl.logging
import keras
import numpy as np
import torch
from case import Outcome
from keras_layers import MERGING, OPERATIONS, layer_for, text_of
from shrink import lower, replaced, shortened

import fastgru
from fastgru import FastGRUError

__all__ = ["FAMILIES", "KerasGraphs"]

WAYS = {"keras": 0.6, "h5": 0.4, "live": 0.4, "weights": 1.0, "lengths": 0.4, "stream": 1.0, "saved": 0.1}
FLOAT32 = 1e-4  # of the largest output; what is further off is compared again in float64
FLOAT64 = 1e-7  # Keras itself keeps some numbers of a model, epsilons among them, in float32
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
PREAMBLE = """\
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
import fastgru
from keras import layers as L


def randomised(model, seed):
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        positive = weight.name in ("moving_variance", "gamma", "scale")
        low, high = (0.5, 1.5) if positive else (-0.7, 0.7)
        weight.assign(generator.uniform(low, high, weight.shape).astype(np.float32))
    return model


"""

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
        graph = _graph(rng, 1 if sequential or causal else rng.choice((1, 1, 1, 2)), sequential, causal)
        if graph is None:
            return self.generate(rng)
        ways = [way for way in WAYS if rng.random() < WAYS[way] and (way != "weights" or sequential)]
        if not {"keras", "h5", "live"} & {*ways}:
            ways.append(rng.choice(("keras", "h5", "live")))
        return {
            "graph": graph, "sequential": sequential, "batch": rng.choice((1, 2, 5)), "seed": rng.randrange(100_000),
            "steps": rng.sample((1, 2, 7, 13), rng.choice((1, 1, 2))), "ways": ways,
            "holes": rng.choice(("", "", "gaps", "tail")), "frozen": _frozen(rng, graph),
        }  # fmt: skip

    def check(self, case: Any) -> Outcome:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return _checked(case)

    def smaller(self, case: Any) -> Iterator[Any]:
        yield from _smaller(case)

    def script(self, case: Any) -> str:
        return _script(case)


def _graph(rng: random.Random, sources: int, chain: bool, causal: bool) -> dict[str, Any] | None:
    """Inputs, and calls of layers one after the other."""
    inputs, values = [], []
    for place in range(sources):
        kind = rng.random()
        steps = rng.choice((None, None, None, 7))
        if kind < 0.3:
            inputs.append([f"x{place}", [steps], "int32"])
            embedding = ["Embedding", {"input_dim": 9, "output_dim": rng.choice((2, 3, 4)),
                                       **({"mask_zero": True} if rng.random() < 0.7 else {})}]  # fmt: skip
        else:
            embedding = []
            shape = [steps, rng.choice((1, 2, 3, 4))] if not place or rng.random() < 0.5 else [rng.choice((2, 3, 5))]
            inputs.append([f"x{place}", shape, "float32"])
            values.append((f"x{place}", tuple(shape)))
        if embedding:
            values.append((f"e{place}", (steps, embedding[1]["output_dim"])))
            inputs[-1].append(embedding)
    calls: list[list[Any]] = [[f"e{i}", s[3], [s[0]], [], None] for i, s in enumerate(inputs) if len(s) > 3]
    inputs = [each[:3] for each in inputs]
    first = len(calls)
    for _ in range(rng.choice((1, 2, 3, 4, 6, 8))):
        call = _call(rng, f"v{len(calls) - first}", values, calls, inputs, chain, causal)
        if call is not None:
            calls.append(call[0])
            values += call[1]
    if len(calls) == first or (chain and isinstance(values[-1][0], list)):
        return None
    outputs = _outputs(rng, values, inputs, 1 if chain or causal else 3)
    return {"inputs": inputs, "calls": calls, "outputs": outputs, "dict": not chain and rng.random() < 0.1}


def _outputs(rng: random.Random, values: list[Any], inputs: list[Any], most: int) -> list[Any]:
    """The value that was made last, and perhaps others."""
    outputs = [values[-1][0]]
    while len(outputs) < most and rng.random() < 0.25:
        other = rng.choice(values)[0]
        if other not in outputs and other not in [source[0] for source in inputs]:
            outputs.append(other)
    return outputs


def _nested(rng: random.Random, name: str, first: Any, values: list[Any]) -> tuple[list[Any], list[Any]] | None:
    """A functional model of one input or two, called as a layer."""
    chosen = [first, *rng.sample(values, min(rng.choice((0, 0, 1)), len(values)))]
    inputs = [[f"{name}x{place}", list(shape), "float32"] for place, (_, shape) in enumerate(chosen)]
    inner: list[Any] = [(source[0], tuple(source[1])) for source in inputs]
    calls: list[Any] = []
    for _ in range(rng.choice((1, 2, 3, 4))):
        call = _call(rng, f"{name}v{len(calls)}", inner, calls, inputs, False, False, nests=False)
        if call is not None:
            calls.append(call[0])
            inner += call[1]
    if not calls:
        return None
    outputs = _outputs(rng, inner, inputs, 2)
    graph = {"inputs": inputs, "calls": calls, "outputs": outputs, "dict": False}
    shapes = [dict(_by_text(inner))[str(edge)] for edge in outputs]
    names = [name] if len(shapes) == 1 else [[name, place] for place in range(len(shapes))]
    call = [name, ["Graph", graph], [edge for edge, _ in chosen], [], None]
    return call, list(zip(names, shapes, strict=True))


def _call(
    rng: random.Random,
    name: str,
    values: list[Any],
    calls: list[Any],
    inputs: list[Any],
    chain: bool,
    causal: bool,
    nests: bool = True,
) -> tuple[list[Any], list[Any]] | None:
    """A call of a layer, of one that was called before, or of a function: and the values that it gives."""
    edge, shape = values[-1] if chain or causal or rng.random() < 0.6 else rng.choice(values)
    kind = 1.0 if chain else rng.random()
    if kind < 0.2:
        return _merge(rng, name, (edge, shape), values)
    if kind < 0.27:
        return _operation(rng, name, (edge, shape), values)
    if kind > 0.94 and nests and not chain and not causal:
        return _nested(rng, name, (edge, shape), values)
    if kind < 0.33:
        again = [call for call in calls if len(call[2]) == 1 and dict(_by_text(values)).get(str(call[2][0])) == shape
                 and isinstance(call[1], list) and call[1][0] not in MERGING and not call[3]]  # fmt: skip
        if again:
            call = rng.choice(again)
            first = [value for value in values if _name(value[0]) == call[0]]
            shared = call[1] if isinstance(call[1][0], str) and call[1][0] == "again" else ["again", call[0]]
            return [name, shared, [edge], [], None], [(_named(name, value[0]), value[1]) for value in first]
    found = layer_for(rng, tuple(shape), causal)
    if found is None or (chain and len(found[2]) > 1):
        return None
    layer, options, shapes = found
    states: list[Any] = []
    if layer == "GRU" and not chain and rng.random() < 0.2:
        states = [rng.choice([e for e, s in values if s == (options["units"],)] or [None])]
        states = [] if states == [None] else states
    mask = None
    if layer in ("GRU", "Bidirectional") and not chain and rng.random() < 0.15:
        mask = rng.choice([s[0] for s in inputs if s[2] == "int32" and s[1][0] == shape[0]] or [None])
    names = [name] if len(shapes) == 1 else [[name, place] for place in range(len(shapes))]
    return [name, [layer, options], [edge], states, mask], list(zip(names, shapes, strict=True))


def _by_text(values: list[Any]) -> list[Any]:
    return [(str(edge), shape) for edge, shape in values]


def _name(edge: Any) -> str:
    return str(edge if isinstance(edge, str) else edge[0])


def _named(name: str, edge: Any) -> Any:
    return name if isinstance(edge, str) else [name, edge[1]]


def _merge(rng: random.Random, name: str, first: Any, values: list[Any]) -> tuple[list[Any], list[Any]] | None:
    layer = rng.choice(MERGING)
    edge, shape = first
    if layer == "Concatenate":
        axis = rng.choice((-1, -1, 1)) if len(shape) == 2 else -1
        place = 1 if axis == 1 and len(shape) == 2 else len(shape)
        others = [(e, s) for e, s in values if len(s) == len(shape) and all(
            a == b for at, (a, b) in enumerate(zip(s, shape, strict=True), 1) if at != place)]  # fmt: skip
        chosen = [first, *(rng.choice(others) for _ in range(rng.choice((1, 2))))]
        sizes = [s[place - 1] for _, s in chosen]
        total = None if None in sizes else sum(sizes)
        made = (*shape[: place - 1], total, *shape[place:])
        options = {} if axis == -1 else {"axis": axis}
        return [name, ["Concatenate", options], [e for e, _ in chosen], [], None], [(name, made)]
    others = [e for e, s in values if s == shape or (rng.random() < 0.5 and _stretches(s, shape))]
    count = 1 if layer == "Subtract" else rng.choice((1, 1, 2))
    return [name, [layer, {}], [edge, *(rng.choice(others) for _ in range(count))], [], None], [(name, shape)]


def _stretches(small: Any, shape: Any) -> bool:
    return len(small) <= len(shape) and all(a in (1, b) for a, b in zip(small[::-1], shape[::-1], strict=False))


def _operation(rng: random.Random, name: str, first: Any, values: list[Any]) -> tuple[list[Any], list[Any]] | None:
    text, (count, shape_of) = rng.choice(list(OPERATIONS.items()))
    chosen = [first, *(rng.choice(values) for _ in range(count - 1))]
    made = shape_of(*(tuple(shape) for _, shape in chosen))
    return None if made is None else ([name, text, [edge for edge, _ in chosen], [], None], [(name, made)])


def _frozen(rng: random.Random, graph: Any) -> list[str]:
    """The layers, or half of a Bidirectional, that are not trained any more: Keras lists their weights elsewhere."""
    frozen = []
    for name, layer, *_ in graph["calls"]:
        if isinstance(layer, list) and layer[0] != "again" and rng.random() < 0.1:
            part = rng.choice(("", ".forward_layer", ".backward_layer")) if layer[0] == "Bidirectional" else ""
            frozen.append(f"{name}{part}")
    return frozen


def text(case: Any) -> str:
    """The model as Python."""
    graph = case["graph"]
    if case["sequential"]:
        ((_, shape, dtype),) = graph["inputs"]
        lines = [f"l_{call[0]} = {_layer_text(call[1])}" for call in graph["calls"]]
        layers = ", ".join(f"l_{call[0]}" for call in graph["calls"])
        lines.append(f"model = keras.Sequential([keras.Input({tuple(shape)}, dtype={dtype!r}), {layers}])")
    else:
        lines = _graph_lines("model", graph)
    called = {call[0] for call in graph["calls"]}
    lines += [f"l_{name}.trainable = False" for name in case["frozen"] if name.split(".")[0] in called]
    return "\n".join([*lines, f"randomised(model, {case['seed']})"])


def _graph_lines(name: str, graph: Any) -> list[str]:
    lines = [f"{name} = keras.Input({tuple(shape)}, dtype={dtype!r}, name={name!r})"
             for name, shape, dtype in graph["inputs"]]  # fmt: skip
    for call in graph["calls"]:
        lines += _call_lines(*call)
    inputs = ", ".join(source[0] for source in graph["inputs"])
    outputs = [_edge_text(edge) for edge in graph["outputs"]]
    made = "{" + ", ".join(f"'y{9 - at}': {each}" for at, each in enumerate(outputs)) + "}"
    made = made if graph["dict"] else f"[{', '.join(outputs)}]"
    return [*lines, f"{name} = keras.Model([{inputs}], {made if graph['dict'] or len(outputs) > 1 else outputs[0]})"]


def _layer_text(layer: Any) -> str:
    return text_of(layer[1]) if layer[0] == "Sequential" else text_of({"layer": layer})


def _call_lines(name: str, layer: Any, inputs: list[Any], states: list[Any], mask: Any) -> list[str]:
    edges = [_edge_text(edge) for edge in inputs]
    if isinstance(layer, str):
        return [f"{name} = {layer.format(*edges)}"]
    if layer[0] == "Graph":
        lines = _graph_lines(f"l_{name}", layer[1])
    else:
        lines = [f"l_{name} = " + (f"l_{layer[1]}" if layer[0] == "again" else _layer_text(layer))]
    given = f"[{', '.join(edges)}]" if layer[0] in MERGING or len(edges) > 1 else edges[0]
    given += f", initial_state=[{', '.join(map(_edge_text, states))}]" if states else ""
    given += f", mask=keras.ops.not_equal({mask}, 0)" if mask else ""
    return [*lines, f"{name} = l_{name}({given})"]


def _edge_text(edge: Any) -> str:
    return edge if isinstance(edge, str) else f"{edge[0]}[{edge[1]}]"


def _checked(case: Any) -> Outcome:
    keras.utils.clear_session(free_memory=False)  # so that names begin at the same count
    try:
        model = _built(case)
    except Exception as error:
        return Outcome("skipped", f"building: {error}")
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        return _compared(case, model, Path(folder))


def _built(case: Any, floatx: str = "float32") -> Any:
    keras.config.set_floatx(floatx)
    try:
        names = dict(NAMES)
        exec(text(case), names)
        return names["model"]
    finally:
        keras.config.set_floatx("float32")


def _compared(case: Any, model: Any, folder: Path) -> Outcome:
    done: list[str] = []
    skipped, refusal = "", ""
    for way in case["ways"]:
        if way not in _OPENING:
            continue
        try:
            ours = _OPENING[way](case, model, folder)
        except FastGRUError as error:
            refusal = str(error)
            continue
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
                got = _run(ours, x)
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
    """What Keras computes; of a dict its names come first."""
    result = model(x[0] if len(x) == 1 else x, training=False)
    return [each if isinstance(each, list) else keras.ops.convert_to_numpy(each) for each in _listed(result)]


def _run(ours: Any, x: list[Any], **options: Any) -> list[Any]:
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
    if _difference(_run(ours, exact), run(wide, exact), FLOAT64):
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


def chain_text(case: Any) -> str | None:
    """``layers=`` for a chain of which the weights are in a file without any more; None where it takes more words."""
    counts: dict[str, int] = {}
    named = []
    for _, (kind, options), *_ in case["graph"]["calls"]:
        if kind in _WITHOUT_WEIGHTS:
            named.append(_WITHOUT_WEIGHTS[kind].format(**options))
            continue
        if kind not in _OF_WEIGHTS or (kind == "Bidirectional" and options["layer"]["layer"][0] != "GRU"):
            return None
        prefix, words = _OF_WEIGHTS[kind]
        given = {**options, **(options["layer"]["layer"][1] if kind == "Bidirectional" else {})}
        if "backward_layer" in given or (kind == "Bidirectional" and given.get("go_backwards")):
            return None
        count = counts[prefix] = counts.get(prefix, -1) + 1
        said = {word: given[word] for word in words if word in given}
        if kind in ("GRU", "Bidirectional"):
            said["return_sequences"] = given.get("return_sequences", False)
        if {"zero_output_for_mask"} & {*given} or (kind == "Dense" and given.get("activation") == "glu"):
            return None
        text = ", ".join(f"{word}={value!r}" for word, value in said.items())
        kinds = f", kind={kind!r}" if kind in ("BatchNormalization", "Dense", "LayerNormalization") else ""
        named.append(f"fastgru.Named({prefix + (f'_{count}' if count else '')!r}{kinds}{', ' * bool(text)}{text})")
    return f"[{', '.join(named)}]"


_GRU_WORDS = ("go_backwards", "activation", "recurrent_activation", "reset_after")
_OF_WEIGHTS = {
    "BatchNormalization": ("batch_normalization", ("epsilon",)),
    "Bidirectional": ("bidirectional", ("merge_mode", "activation", "recurrent_activation", "reset_after")),
    "Conv1D": ("conv1d", ("activation", "strides", "padding", "dilation_rate", "groups")),
    "Dense": ("dense", ("activation",)),
    "Embedding": ("embedding", ("mask_zero",)),
    "GRU": ("gru", _GRU_WORDS),
    "LayerNormalization": ("layer_normalization", ("epsilon",)),
}
_WITHOUT_WEIGHTS = {
    "Activation": "fastgru.Activation('{activation}')",
    "Dropout": "fastgru.Dropout()",
    "Flatten": "fastgru.Flatten()",
    "Identity": "fastgru.Dropout()",
    "RepeatVector": "fastgru.RepeatVector({n})",
    "UpSampling1D": "fastgru.UpSampling1D({size})",
}

_OPENING = {"keras": _file("keras"), "h5": _file("h5"), "live": _live, "weights": _weights}


def _lengths(case: Any, way: str, folder: Path, model: Any, ours: Any, x: Any, got: Any) -> bool:
    """Each row beside Keras on that row alone, cut to its length."""
    stepped = [shape[0] is None for _, shape, _ in case["graph"]["inputs"]]
    steps = {array.shape[1] for array, has in zip(x, stepped, strict=True) if has}
    if len(steps) != 1 or any(len(s[1]) == (1 if s[2] == "int32" else 2) and s[1][0] for s in case["graph"]["inputs"]):
        return False
    lengths = np.random.default_rng(case["seed"] + 1).integers(1, steps.pop() + 1, case["batch"]).tolist()
    try:
        got = _run(ours, x, lengths=lengths)
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
    try:
        stream = ours.stream(case["batch"])
        made = [stream.step(x[0][:, step]) for step in range(x[0].shape[1])]
    except FastGRUError:
        return False
    for step, one in enumerate(made):
        if case["graph"]["inputs"][0][1][0] is None:
            wanted = run(model, [x[0][:, : step + 1]])[0]
            wanted = wanted[:, -1] if wanted.ndim == one.ndim + 1 else wanted
        elif got[0].ndim == one.ndim + 1:
            wanted = got[0][:, step]
        elif step < len(made) - 1:
            continue
        else:
            wanted = got[0]
        found = _difference([one], [wanted], 10 * FLOAT32)
        if found:
            raise Wrong("stream", f"step {step}: {found}")
    return True


def _saved(case: Any, way: str, folder: Path, model: Any, ours: Any, x: Any, got: Any) -> bool:
    ours.save(folder / "model.safetensors")
    again = _run(fastgru.load(folder / "model.safetensors"), x)
    for one, other in zip(again, got, strict=True):
        if isinstance(one, list) or isinstance(other, list):
            if one != other:
                raise Wrong("dict", f"saved and loaded: {one}, wanted {other}")
            continue
        if not np.array_equal(one, other, equal_nan=True):
            raise Wrong("saved", f"saved and loaded: {_shown(one)}, wanted {_shown(other)}")
    return True


_RUNNING = {"lengths": _lengths, "stream": _stream, "saved": _saved}


def _smaller(case: Any) -> Iterator[Any]:
    graph = case["graph"]
    if case["sequential"]:
        for calls in shortened(graph["calls"], 1):
            yield _chained(case, calls)
    else:
        for call in graph["calls"][:-1]:
            if graph["outputs"] != [call[0]]:
                yield _pruned({**case, "graph": {**graph, "outputs": [call[0]]}})
        for outputs in shortened(graph["outputs"], 1):
            yield _pruned({**case, "graph": {**graph, "outputs": outputs}})
        for place, call in enumerate(graph["calls"]):
            for edge in call[2]:
                yield _pruned({**case, "graph": _without(graph, place, edge)})
            if call[3] or call[4]:
                yield _with_call(case, place, [*call[:3], [], None])
            if len(call[2]) > 2:
                yield _with_call(case, place, [*call[:2], call[2][:2], *call[3:]])
    for name, least in (("ways", 1), ("steps", 1), ("frozen", 0)):
        for items in shortened(case[name], least):
            yield {**case, name: items}
    if case["holes"]:
        yield {**case, "holes": ""}
    for batch in lower(case["batch"]):
        yield {**case, "batch": batch}
    for place, steps in enumerate(case["steps"]):
        for fewer in lower(steps):
            yield {**case, "steps": replaced(case["steps"], place, fewer)}
    for place, call in enumerate(graph["calls"]):
        if isinstance(call[1], list):
            for layer in _simpler(call[1]):
                yield _with_call(case, place, [call[0], layer, *call[2:]])


def _with_call(case: Any, place: int, call: Any) -> Any:
    return {**case, "graph": {**case["graph"], "calls": replaced(case["graph"]["calls"], place, call)}}


def _simpler(layer: Any) -> Iterator[Any]:
    """The layer without an option, or with a simpler one within."""
    kind, options = layer
    if not isinstance(options, dict):
        return
    if kind == "Graph":
        for place, call in enumerate(options["calls"]):
            for edge in call[2]:
                yield [kind, _without(options, place, edge)]
            for inner in _simpler(call[1]) if isinstance(call[1], list) else ():
                yield [kind, {**options, "calls": replaced(options["calls"], place, [call[0], inner, *call[2:]])}]
        return
    for name, value in options.items():
        if name not in ("units", "layer", "cell", "filters", "kernel_size", "chain", "n", "target_shape", "dims"):
            yield [kind, {key: each for key, each in options.items() if key != name}]
        if isinstance(value, dict) and "layer" in value:
            for inner in _simpler(value["layer"]):
                yield [kind, {**options, name: {"layer": inner}}]
        chain = value if name == "chain" else value.get("chain") if isinstance(value, dict) else None
        if chain:
            for fewer in shortened(chain, 1):
                yield [kind, {**options, name: fewer if name == "chain" else {"chain": fewer}}]
        if isinstance(value, int) and not isinstance(value, bool) and name in ("units", "filters", "kernel_size", "n"):
            for fewer in lower(value):
                yield [kind, {**options, name: fewer}]


def _chained(case: Any, calls: Any) -> Any:
    return {**case, "graph": {**case["graph"], "calls": calls, "outputs": [calls[-1][0]]}}


def _without(graph: Any, place: int, edge: Any) -> Any:
    name = graph["calls"][place][0]

    def other(each: Any) -> Any:
        return edge if _name(each) == name else each

    calls = [
        [call[0], call[1], [other(each) for each in call[2]], [other(each) for each in call[3]], call[4]]
        for at, call in enumerate(graph["calls"]) if at != place
    ]  # fmt: skip
    return {**graph, "calls": calls, "outputs": [other(each) for each in graph["outputs"]]}


def _pruned(case: Any) -> Any:
    """Without the calls and inputs that no output needs."""
    graph = case["graph"]
    needed = {_name(edge) for edge in graph["outputs"]}
    calls = []
    for call in reversed(graph["calls"]):
        shared = isinstance(call[1], list) and call[1][0] == "again"
        if call[0] in needed:
            calls.append(call)
            needed |= {_name(edge) for edge in [*call[2], *call[3]]} | {call[4]} | ({call[1][1]} if shared else set())
    kept = [source for source in graph["inputs"] if source[0] in needed]
    return {**case, "graph": {**graph, "calls": calls[::-1], "inputs": kept or graph["inputs"][:1]}}


def _script(case: Any) -> str:
    """The model, what Keras gives for it, and what fastgru gives in the ways of the case."""
    x = inputs(case, case["steps"][0])
    arrays = ", ".join(f"np.array({array.tolist()}, np.{array.dtype})" for array in x)
    first = "x[0] if len(x) == 1 else x"
    lines = [PREAMBLE + text(case), f"x = [{arrays}]", f'print("keras", model({first}, training=False))']
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
