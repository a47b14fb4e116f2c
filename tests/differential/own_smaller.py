"""Simpler graphs of fastgru's layers than a given one, and none that makes no sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shrink import lower, replaced, shortened

from fastgru.layers import edge_of

__all__ = ["smaller"]


def smaller(case: Any) -> Iterator[Any]:
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
    for name, value in (("holes", 0), ("nan", False), ("named", False), ("options", {})):
        if case[name]:
            yield {**case, name: value, "ways": [way for way in case["ways"] if way != "reduced" or name != "options"]}
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
