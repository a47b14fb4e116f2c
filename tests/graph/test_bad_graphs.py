"""Graphs that ask for too much, contradict themselves or are damaged end in a FastGRUError, and soon."""

from __future__ import annotations

import copy
import json
import time

import numpy as np
import pytest
from networks import network

from fastgru.errors import FastGRUError, ShapeError
from fastgru.graph.builder import Builder
from fastgru.graph.graph import FLOAT, INTEGER
from fastgru.graph.operations import by_name
from fastgru.graph.operations.create import Arange, Full
from fastgru.graph.operations.elementwise import Binary, Unary
from fastgru.graph.operations.operation import Operation
from fastgru.graph.operations.parts import Pad, Select, Slice
from fastgru.graph.operations.product import Linear
from fastgru.graph.operations.recurrent import GRU
from fastgru.graph.operations.reduce import Reduce
from fastgru.graph.operations.shape import Concatenate, Expand, Permute, Repeat, View
from fastgru.graph.saved import from_data, to_data
from fastgru.graph.size import symbol
from fastgru.model import Model

BATCH, STEPS = symbol("batch"), symbol("steps")
SECONDS = 2.0


def sound():
    """A graph with a bit of everything."""
    builder = Builder("here")
    x = builder.input("x", (BATCH, STEPS, 6))
    y, h = builder.add(GRU(network(6, 5)), x)
    y = builder.add(Linear(np.ones((3, 5), np.float32)), builder.add(Unary("exp"), y))
    y = builder.add(Binary("add"), y, builder.constant(np.arange(3.0, dtype=np.float32)))
    flat = builder.add(View((BATCH * STEPS, 3)), y)
    builder.guard(STEPS, ">=", 2, "it says so")
    last = builder.add(Reduce("max", (1,)), builder.add(Slice(1, 1, None), y))
    return builder.finish({"flat": flat.place, "all": (h.place, [last.place, None])})


def within(seconds=SECONDS):
    start = time.perf_counter()
    return lambda: time.perf_counter() - start < seconds


def test_a_million_nodes_are_refused_soon():
    data, tensors = to_data(sound())
    data["graph"]["nodes"] = data["graph"]["nodes"][:1] * 1_000_000
    soon = within()
    with pytest.raises(FastGRUError, match="more than 100000 operations"):
        from_data(data, tensors.__getitem__, "here")
    assert soon(), "it took too long"


def test_a_builder_takes_no_more_nodes_than_a_model_has(monkeypatch):
    monkeypatch.setattr("fastgru.graph.builder.MAX_NODES", 10)
    builder = Builder("here")
    value = builder.input("x", (BATCH, 4))
    for _ in range(10):
        value = builder.add(Unary("neg"), value)
    with pytest.raises(FastGRUError, match="more than 10 operations"):
        builder.add(Unary("neg"), value)


def doubled(builder, value):
    for _ in range(30):
        value = builder.add(Concatenate(0), value, value)


def test_constants_cannot_grow_beyond_what_the_source_holds():
    builder = Builder("here", 10)
    value = builder.constant(np.ones(1024, np.float32))
    with pytest.raises(FastGRUError, match="many times"):
        doubled(builder, value)


@pytest.mark.parametrize("operation", [
    Full((2**40, 2**40), 0.0), Expand((2**30, 2**30, 6, -1, -1)), Repeat((2**30, 2**30, 4)), View((2**50,)),
    Arange(0, 2**60), Pad(((0, 0), (0, 2**62), (0, 0))),
], ids=lambda each: type(each).__name__)  # fmt: skip
def test_a_shape_that_overflows_is_refused(operation):
    soon = within()
    builder = Builder("here")
    x = builder.input("x", (3, 4, 6))
    with pytest.raises(FastGRUError, match=r"^here: "):
        builder.add(View((-1,)), builder.add(operation, *([] if isinstance(operation, (Full, Arange)) else [x])))
    assert soon()


WRONG = [None, True, -7, 2**70, 1.5, float("nan"), "text", (), (None,), (2**40,), ("a", "b"), [1], {"a": 1}, np.ones(3)]
GIVEN = {
    "float": (FLOAT, (BATCH, STEPS, 6)),
    "integer": (INTEGER, (BATCH, STEPS)),
}


@pytest.mark.parametrize("kind", by_name().values(), ids=lambda kind: kind.__name__)
def test_fields_of_a_wrong_type_are_refused(kind: type[Operation]):
    """Whatever stands in a field, an operation is refused or is one that computes: never another error."""
    soon = within(8)
    for count in (0, 1, 2, 3):
        for dtype, shape in GIVEN.values():
            for wrong in WRONG:
                builder = Builder("here")
                inputs = [builder.input(f"x{place}", shape, dtype) for place in range(count)]
                with np.errstate(all="ignore"):
                    try:
                        operation = kind(**dict.fromkeys(kind._fields, wrong))
                    except TypeError:
                        continue
                    try:
                        builder.add(operation, *inputs)
                    except FastGRUError:
                        continue
    assert soon()


def test_sizes_that_contradict_each_other_are_named_at_the_call():
    builder = Builder("here")
    x, y = builder.input("x", (BATCH, 4)), builder.input("y", (symbol("other"), 4))
    row = builder.add(Reduce("sum", (0,), True), y)
    total = builder.add(Concatenate(1), x, builder.add(Expand((BATCH, 4)), row))
    builder.guard(symbol("other"), "<", 3, "there are two")
    model = Model(builder.finish(total.place))
    assert model(np.ones((5, 4)), np.ones((2, 4))).shape == (5, 8)
    with pytest.raises(ShapeError, match="there are two"):
        model(np.ones((5, 4)), np.ones((3, 4)))
    with pytest.raises(ShapeError, match="y"):
        model(np.ones((5, 4)), np.ones((2, 3)))


def damaged(data):
    """The description with every part of it, in turn, gone or of another kind."""
    wrong = [None, True, -1, 2**40, 1.5, "text", [], {}, [1, 2, 3], {"tensor": "none"}, {"size": "steps"},
             {"size": "("},
             {"record": "GRUSpec", "fields": {}}, {"number": "nan"}]  # fmt: skip
    paths: list[tuple] = []

    def walk(part, path):
        paths.append(path)
        items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, each in items:
            walk(each, (*path, key))

    walk(data, ())
    for path in paths:
        for value in [*wrong, "gone"]:
            changed = copy.deepcopy(data)
            if not path:
                yield path, value
                continue
            owner = changed
            for key in path[:-1]:
                owner = owner[key]
            if value == "gone":
                del owner[path[-1]]
            else:
                owner[path[-1]] = value
            yield path, changed


def test_a_saved_graph_damaged_in_any_field_is_refused_or_harmless():
    data, tensors = to_data(sound())
    data = json.loads(json.dumps(data))

    def take(name):
        return tensors[name] if name in tensors else _missing(name)

    count = 0
    for path, changed in damaged(data):
        start = time.perf_counter()
        try:
            model = Model(from_data(changed, take, "here"))
            model(np.ones((2, 4, 6), np.float32))
        except FastGRUError:
            count += 1
        assert time.perf_counter() - start < SECONDS, path
    assert count > 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph["guards"].extend([["steps", ">=", 1, "it says so"]] * 1000), "guards"),
        (lambda graph: graph["guards"].append([{"size": "rows"}, ">=", 1, "it says so"]), "'rows', which no input has"),
    ],
)
def test_guards_without_end_or_of_no_input_are_refused(change, message):
    data, tensors = to_data(sound())
    change(data["graph"])
    data["graph"]["guards"] = [[{"size": one} if isinstance(one, str) else one, *rest] for one, *rest in
                               data["graph"]["guards"]]  # fmt: skip
    soon = within()
    with pytest.raises(FastGRUError, match=message):
        from_data(data, tensors.__getitem__, "here")
    assert soon()


def test_a_tensor_that_hundreds_of_operations_hold_is_refused():
    builder = Builder("here")
    value = builder.input("x", (BATCH, STEPS, 256))
    value = builder.add(Linear(np.ones((256, 256), np.float32)), value)
    data, tensors = to_data(builder.finish(value.place))
    data = json.loads(json.dumps(data))
    (node,), graph = data["graph"]["nodes"], data["graph"]
    graph["operations"] = graph["operations"] * 300
    name, _, (source,), (first,) = node
    graph["nodes"] = [[f"{name} {k}", k, [first + k - 1 if k else source], [first + k]] for k in range(300)]
    graph["outputs"] = first + 299
    with pytest.raises(FastGRUError, match="each a copy when it runs"):
        from_data(data, tensors.__getitem__, "here")


def _missing(name):
    raise FastGRUError(f"there is no tensor {name!r}")


def test_a_graph_is_the_same_when_it_is_read_again():
    data, tensors = to_data(sound())
    again = from_data(json.loads(json.dumps(data)), tensors.__getitem__, "here")
    x = np.random.default_rng(0).normal(size=(3, 5, 6)).astype(np.float32)
    one, other = Model(sound())(x), Model(again)(x)
    assert one["flat"].tobytes() == other["flat"].tobytes() and one["all"][1][1] is None
    assert one["all"][0].tobytes() == other["all"][0].tobytes()


def test_an_operation_names_itself_in_its_errors():
    builder = Builder("model.pt2")
    x = builder.input("x", (BATCH, STEPS, 6))
    for operation, text in ((Permute((0, 1)), "order"), (Select(5, 0), "axis"), (Linear(np.ones((2, 5))), "features")):
        with pytest.raises(FastGRUError, match=f"^model.pt2: here: .*{text}"):
            builder.add(operation, x, name="here")
