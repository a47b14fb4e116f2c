"""Random graphs of fastgru's own layers, beside their meaning for each row alone and beside themselves in other ways.

``meaning`` says what each row gives, in float64. That the rows of a batch, the steps of a stream, a saved and loaded
model, two threads and more threads give the same bits is compared with the model itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from case import Outcome
from own_layers import JOINING, NAMES, ONE_INPUT, PREAMBLE, arguments, expression, node_text
from own_smaller import smaller
from own_ways import Wrong, compare, inputs, meanings, some_lengths

from fastgru import FastGRUError, Model
from fastgru.layers import Signal, validate

__all__ = ["FAMILIES", "OwnGraphs"]

WAYS = {"rows": 0.4, "lengths": 0.5, "stream": 1.0, "saved": 0.15, "threads": 0.15, "float64": 0.3, "forms": 0.2,
        "reduced": 0.0}  # and how often  # fmt: skip

KINDS = (*ONE_INPUT, *JOINING, *["GRULayer"] * 10, *["Dense"] * 3, *["Activation"] * 2, *["Masking"] * 2)

CAUSAL = (  # the kinds of which a stream can be made; for the rest see ``KINDS``
    "Activation", "Add", "BatchNormalization", "Concatenate", "Dense", "Dropout", "Embedding", "GRULayer", "GRULayer",
    "GRULayer", "LayerNormalization", "Last", "Masking", "Maximum", "Multiply", "PReLU", "Subtract", "TimeDistributed",
    "Unmasked",
)  # fmt: skip


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
            if masks and rng.random() < 0.3:
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
            ways.append("reduced")
        elif rng.random() < 0.05:
            options = {"backend": "blas"}
        steps = rng.sample((1, 2, 7, 13, 40), rng.choice((1, 1, 2)))
        return {
            "inputs": sources, "nodes": nodes, "outputs": outputs, "named": rng.random() < 0.1,
            "batch": rng.choice((1, 2, 5) if rng.random() < 0.9 else (9, 35)), "steps": steps,
            "seed": rng.randrange(100_000), "holes": rng.choice((0, 0, 0.3, 0.7)), "nan": rng.random() < 0.03,
            "ways": ways, "options": options,
        }  # fmt: skip

    def check(self, case: Any) -> Outcome:
        return _checked(case)

    def smaller(self, case: Any) -> Iterator[Any]:
        yield from smaller(case)

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
            compare(model, case, x, done)
        except FastGRUError as error:
            refusal = str(error)
        except Wrong as error:
            return Outcome("wrong", f"{steps} steps: {error.args[1]}", error.args[0])
        except Exception as error:
            return Outcome("wrong", f"{steps} steps: {error!r}", type(error).__name__)
    return Outcome("right", " ".join(done)) if done else Outcome("refused", refusal)


def _built(case: Any) -> Any:
    return eval(expression({name: case[name] for name in ("inputs", "nodes", "outputs", "named")}), NAMES)


def _script(case: Any) -> str:
    """The model, its inputs, and what it gives in each way of the case beside what it should give."""
    x = inputs(case, case["steps"][0])
    arrays = ", ".join(f"{name!r}: np.array({array.tolist()}, np.{array.dtype})" for name, array in x.items())
    options = "".join(f", {name}={value!r}" for name, value in case["options"].items())
    spec = expression({name: case[name] for name in ("inputs", "nodes", "outputs", "named")})
    lines = [f"spec = {spec}", f"x = {{{arrays}}}", f"model = Model(spec{options})", 'print("it gives", model(x))']
    try:
        wanted = meanings(Model(eval(spec, NAMES)), x, case["batch"])
        lines.append(f'print("wanted", {[np.asarray(rows).tolist() for rows in wanted]})')
    except Exception as error:
        lines.append(f"# no meaning: {error!r}")
    texts = _TEXTS
    if "stream" in case["ways"] and case["inputs"][0][1][0] is not None:  # no model for the steps so far
        texts = {**_TEXTS, "stream": _TEXTS["stream"].replace(', "wanted", model(array[:, : step + 1])', "")}
    given = {"batch": case["batch"], "lengths": some_lengths(case, x)[1], "options": options}
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
    "forms": """print("lists", model({{name: array.tolist() for name, array in x.items()}}))""",
    "reduced": "",
}

FAMILIES = {"own": OwnGraphs()}
