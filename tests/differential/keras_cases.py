"""Random models of Keras as plain data: inputs, and calls of layers one after the other.

A call is ``[name, layer, inputs, initial states, mask]``. Its layer is one of ``keras_layers``, a functional model
``["Graph", graph]``, one that was called before ``["again", name]``, or the text of a function.
"""

from __future__ import annotations

import random
from typing import Any

from keras_layers import MERGING, OPERATIONS, layer_for

__all__ = ["frozen", "graph_of", "name_of", "names_of"]


def graph_of(rng: random.Random, sources: int, chain: bool, causal: bool) -> dict[str, Any] | None:
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
    graph = {"inputs": inputs, "calls": calls, "outputs": outputs, "dict": not chain and rng.random() < 0.1}
    if not chain and rng.random() < 0.15:  # a dict of inputs, in this order
        others = rng.sample(("a", "b", "x0", "x1"), len(inputs))
        graph["keys"] = others if rng.random() < 0.5 else names_of(inputs)[::-1]
    return graph


def names_of(inputs: list[Any]) -> list[str]:
    """Of the inputs of a graph."""
    return [source[0] for source in inputs]


def _outputs(rng: random.Random, values: list[Any], inputs: list[Any], most: int) -> list[Any]:
    """The value that was made last, and perhaps others."""
    outputs = [values[-1][0]]
    while len(outputs) < most and rng.random() < 0.25:
        other = rng.choice(values)[0]
        if other not in outputs and other not in [source[0] for source in inputs]:
            outputs.append(other)
    return outputs


def _nested(
    rng: random.Random, name: str, first: Any, values: list[Any], nests: int
) -> tuple[list[Any], list[Any]] | None:
    """A functional model of one input or two, called as a layer."""
    chosen = [first, *rng.sample(values, min(rng.choice((0, 0, 1)), len(values)))]
    inputs = [[f"{name}x{place}", list(shape), "float32"] for place, (_, shape) in enumerate(chosen)]
    inner: list[Any] = [(source[0], tuple(source[1])) for source in inputs]
    calls: list[Any] = []
    for _ in range(rng.choice((1, 2, 3, 4))):
        call = _call(rng, f"{name}v{len(calls)}", inner, calls, inputs, False, False, nests)
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
    nests: int = 2,
) -> tuple[list[Any], list[Any]] | None:
    """A call of a layer, of one that was called before, or of a function: and the values that it gives."""
    edge, shape = values[-1] if chain or causal or rng.random() < 0.6 else rng.choice(values)
    kind = 1.0 if chain else rng.random()
    if kind < 0.2:
        return _merge(rng, name, (edge, shape), values)
    if kind < 0.27:
        return _operation(rng, name, (edge, shape), values)
    if kind > (0.9 if nests > 1 else 0.94) and nests and not chain and not causal:
        return _nested(rng, name, (edge, shape), values, nests - 1)
    if kind < 0.35:
        again = [call for call in calls if len(call[2]) == 1 and dict(_by_text(values)).get(str(call[2][0])) == shape
                 and isinstance(call[1], list) and call[1][0] not in MERGING and not call[3]]  # fmt: skip
        if again:
            call = rng.choice(again)
            first = [value for value in values if name_of(value[0]) == call[0]]
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
    if layer in ("GRU", "RNN", "Bidirectional") and rng.random() < 0.06:
        (options if layer != "Bidirectional" else options["layer"]["layer"][1])["stateful"] = True
    mask = None
    if layer in _MASKED and not chain and rng.random() < 0.15:
        mask = rng.choice([s[0] for s in inputs if s[2] == "int32" and s[1][0] == shape[0]] or [None])
    names = [name] if len(shapes) == 1 else [[name, place] for place in range(len(shapes))]
    return [name, [layer, options], [edge], states, mask], list(zip(names, shapes, strict=True))


_MASKED = ("GRU", "RNN", "Bidirectional", "GlobalAveragePooling1D", "TimeDistributed")  # what may be called with mask=


def _by_text(values: list[Any]) -> list[Any]:
    return [(str(edge), shape) for edge, shape in values]


def name_of(edge: Any) -> str:
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


def frozen(rng: random.Random, graph: Any) -> list[str]:
    """The layers, or half of a Bidirectional, that are not trained any more: Keras lists their weights elsewhere."""
    frozen = []
    for name, layer, *_ in graph["calls"]:
        if isinstance(layer, list) and layer[0] != "again" and rng.random() < 0.1:
            part = rng.choice(("", ".forward_layer", ".backward_layer")) if layer[0] == "Bidirectional" else ""
            frozen.append(f"{name}{part}")
    return frozen
