"""Simpler Keras models than a given one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_cases import name_of
from shrink import lower, replaced, shortened

__all__ = ["smaller"]


def smaller(case: Any) -> Iterator[Any]:
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
        return edge if name_of(each) == name else each

    calls = [
        [call[0], call[1], [other(each) for each in call[2]], [other(each) for each in call[3]], call[4]]
        for at, call in enumerate(graph["calls"]) if at != place
    ]  # fmt: skip
    return {**graph, "calls": calls, "outputs": [other(each) for each in graph["outputs"]]}


def _pruned(case: Any) -> Any:
    """Without the calls and inputs that no output needs."""
    graph = case["graph"]
    needed = {name_of(edge) for edge in graph["outputs"]}
    calls = []
    for call in reversed(graph["calls"]):
        shared = isinstance(call[1], list) and call[1][0] == "again"
        if call[0] in needed:
            calls.append(call)
            needed |= {name_of(edge) for edge in [*call[2], *call[3]]} | {call[4]} | ({call[1][1]} if shared else set())
    kept = [source for source in graph["inputs"] if source[0] in needed]
    return {**case, "graph": {**graph, "calls": calls[::-1], "inputs": kept or graph["inputs"][:1]}}
