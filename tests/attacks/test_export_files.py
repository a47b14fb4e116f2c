"""Attacks by torch.export files: weights outside of their files, graphs that lie, work without end."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from archive_writers import export_bytes, export_records, graph_config, meta, operation, payload
from checkpoint_writers import ZipRecord, zip_bytes
from mutations import mutated

from fastgru.errors import CheckpointError, FastGRUError, UnsupportedModelError
from fastgru.graph.graph import Graph
from fastgru.graph.operations.product import Linear
from fastgru.importers.torch.table import TABLE
from fastgru.layers import GRUSpec

MUTATIONS = 200
X = np.zeros((2, 5, 3), "f4")


LINEAR = {"fc.weight": np.arange(12, dtype="f4").reshape(4, 3), "fc.bias": np.ones(4, "f4")}


def linear(
    nodes: list[dict[str, Any]] | None = None, outputs: tuple[str, ...] = ("y",), payloads: dict[str, Any] | None = None
) -> bytes:
    nodes = (
        [operation("linear.default", "y", input="x", weight="p_fc_weight", bias="p_fc_bias")]
        if nodes is None
        else nodes
    )
    return export_bytes(LINEAR, graph_config(list(LINEAR), {"x": X}, nodes, outputs), payloads)


def test_the_export_that_is_changed_is_sound(loaded):
    assert isinstance(loaded(linear()), Graph)


@pytest.mark.parametrize(
    "change",
    [
        {"storage_offset": {"as_int": 1}},
        {"storage_offset": {"as_int": -1}},
        {"storage_offset": {"as_int": 1 << 62}},
        {"sizes": [{"as_int": 5}, {"as_int": 3}]},
        {"sizes": [{"as_int": -4}, {"as_int": 3}]},
        {"sizes": [{"as_int": 1 << 40}, {"as_int": 1 << 40}]},
        {"strides": [{"as_int": -3}, {"as_int": 1}]},
        {"strides": [{"as_int": 1 << 40}, {"as_int": 1}]},
        {"sizes": [{"as_int": 1}] * 70, "strides": [{"as_int": 1}] * 70},
        {"strides": [{"as_int": 0}, {"as_int": 0}], "sizes": [{"as_int": 1 << 17}, {"as_int": 1 << 17}]},
        {"dtype": 8},
    ],
)
def test_export_offsets_sizes_and_strides_outside_of_the_weights(bounded, change):
    first = LINEAR["fc.weight"]
    payloads = {
        "fc.weight": payload(0, first, tensor_meta=meta(first, **change)),
        "fc.bias": payload(1, LINEAR["fc.bias"]),
    }
    assert isinstance(bounded(linear(payloads=payloads)), CheckpointError)


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "weight_9", "", "..", "a/b", "weight_0\0", "w" * 5000, "\u00e9"]
)
def test_export_path_traversal_in_the_names_of_weights(loaded, path):
    payloads = {"fc.weight": payload(0, LINEAR["fc.weight"], path_name=path), "fc.bias": payload(1, LINEAR["fc.bias"])}
    assert isinstance(loaded(linear(payloads=payloads)), CheckpointError)


def test_export_with_a_weight_described_twice(refused):
    records = export_records(LINEAR, graph_config([], {}, [], []))
    one = json.dumps(payload(0, LINEAR["fc.weight"]))
    for record in records:
        if record.name.endswith("weights_config.json"):
            record.content = f'{{"config": {{"w": {one}, "w": {one}}}}}'.encode()
    assert "twice" in refused(zip_bytes(records))
    for record in records:
        if "config.json" in record.name:
            record.content = f'{{"config": {{"w": {one}}}}}'.encode()
    records.append(ZipRecord("m/data/constants/weight_0", LINEAR["fc.weight"].tobytes()))
    assert "both a weight and a constant" in refused(zip_bytes(records))


def test_export_with_a_cyclic_graph(loaded):
    nodes = [operation("relu.default", "a", self="b"), operation("relu.default", "b", self="a")]
    assert isinstance(loaded(linear(nodes, ("a",))), CheckpointError)
    assert isinstance(loaded(linear([operation("relu.default", "a", self="a")], ("a",))), CheckpointError)


def test_export_that_makes_a_value_twice_or_never(loaded):
    twice = [operation("relu.default", "a", self="x"), operation("tanh.default", "a", self="x")]
    assert isinstance(loaded(linear(twice, ("a",))), CheckpointError)
    assert isinstance(loaded(linear([operation("relu.default", "x", self="x")], ("x",))), CheckpointError)
    assert isinstance(loaded(linear([], ("nothing",))), CheckpointError)


def test_export_with_deep_or_vast_json(bounded):
    for text in (
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"graph_module": ' + b"[" * 99 + b"]" * 99 + b"}",
        b'{"a": [' + b"0," * 2_000_000 + b"0]}",
        b'{"a": ' + b"9" * 100_000 + b"}",
        b'{"a": NaN}',
        b"{}" * 2,
        b"null",
    ):
        assert isinstance(bounded(export_bytes(LINEAR, text)), CheckpointError)


@pytest.mark.slow
def test_export_json_of_other_kinds_at_every_place(loaded):
    sound = json.loads(
        json.dumps(
            graph_config(
                list(LINEAR),
                {"x": X},
                [
                    operation("linear.default", "y", input="x", weight="p_fc_weight", bias="p_fc_bias"),
                    operation("select.int", "z", self="y", dim=1, index=-1),
                ],
                ["z"],
            )
        )
    )
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [sound]
    while waiting:
        each = waiting.pop()
        items = each.items() if isinstance(each, dict) else enumerate(each)
        for key, value in items:
            places.append((each, key))
            if isinstance(value, (dict, list)):
                waiting.append(value)
    for parent, key in places:
        kept = parent[key]
        for other in (None, 5, -1, True, "x", [], {}, [[]], {"as_int": 1}, {"as_tensor": {"name": []}}, 1e300):
            parent[key] = other
            got = loaded(export_bytes(LINEAR, sound))
            assert isinstance(got, (FastGRUError, Graph, GRUSpec)), (key, other)
        parent[key] = kept


def test_export_with_very_many_operations(loaded):
    names = ["x", *(f"v{index}" for index in range(12_000))]
    nodes = [operation("relu.default", new, self=old) for old, new in pairwise(names)]
    assert isinstance(loaded(linear(nodes, (names[-1],))), FastGRUError)
    nodes = [*nodes[:4000], operation("linear.default", "y", input=names[4000], weight="p_fc_weight", bias="p_fc_bias")]
    assert isinstance(loaded(linear(nodes)), Graph)


def big(nodes: list[dict[str, Any]], output: str, *more: str) -> bytes:
    arrays = {"w": np.ones((1000, 1000), "f4"), **{name: np.ones((1000, 1), "f4") for name in more}}
    x = np.zeros((2, 5, 1000), "f4")
    return export_bytes(arrays, graph_config(list(arrays), {"x": x}, nodes, [output]))


def test_export_that_computes_with_its_weights_again_and_again(bounded, loaded):
    norm = [
        operation("_weight_norm_interface.default", [f"w{at}", f"n{at}"], v="p_w", g="p_g", dim=0) for at in range(300)
    ]
    sums = [operation("add.Tensor", f"w{at}", self="p_w", other="p_w") for at in range(300)]
    turned = [operation("t.default", f"t{at}", self="p_w") for at in range(300)]
    turned += [operation("mm.default", f"w{at}", self="x", mat2=f"t{at}") for at in range(300)]
    views = [operation("view.default", f"w{at}", self="p_w", size=[at + 1, -1]) for at in range(299)]
    whole = [operation("linear.default", "y", input="x", weight="w0")]
    for nodes in (norm + whole, sums + whole, turned, views + whole):
        for run in (bounded, loaded):
            run(big(nodes, nodes[-1]["name"], "g"))


def test_export_that_uses_a_weight_very_often(bounded, loaded):
    names = ["x", *(f"y{index}" for index in range(1500))]
    nodes = [operation("linear.default", new, input=old, weight="p_w") for old, new in pairwise(names)]
    for run in (bounded, loaded):
        got = run(big(nodes, names[-1]))
        assert isinstance(got, Graph)
        assert len({id(node.operation) for node in got.nodes if isinstance(node.operation, Linear)}) == 1


@pytest.mark.slow
def test_export_operands_of_other_kinds(loaded):
    odd: list[Any] = [
        "x",
        "p_fc_weight",
        ["x", "x"],
        ["p_fc_weight"],
        0,
        1,
        -1,
        1 << 62,
        True,
        None,
        0.5,
        [],
        [1, 1],
        [-1, 5],
        [0],
    ]
    chance = np.random.default_rng(3)
    for name, row in TABLE.items():
        for _ in range(12):
            operands = {key: odd[chance.integers(len(odd))] for key in row.operands if chance.random() < 0.8}
            if not operands:
                continue
            node = operation(f"{name}.default", "a", **operands)
            got = loaded(linear([node], ("a",)))
            assert isinstance(got, (FastGRUError, Graph, GRUSpec)), node


def test_a_file_that_is_cut_off_or_mutated_ends_in_a_result_or_an_error(damaged):
    damaged(linear(), MUTATIONS)


@pytest.mark.parametrize("end", ["model.json", "weights_config.json"])
def test_mutations_of_an_export_behind_a_sound_zip(loaded, end):
    chance = np.random.default_rng(23)
    config = graph_config(
        list(LINEAR),
        {"x": X},
        [operation("linear.default", "y", input="x", weight="p_fc_weight", bias="p_fc_bias")],
        ["y"],
    )
    records = export_records(LINEAR, config)
    at = next(index for index, record in enumerate(records) if record.name.endswith(end))
    for _ in range(MUTATIONS):
        changed = ZipRecord(records[at].name, mutated(records[at].content, chance))
        loaded(zip_bytes([*records[:at], changed, *records[at + 1 :]]))


def test_an_unsupported_model_says_what_it_is(loaded):
    got = loaded(linear([operation("linalg_inv.default", "y", self="x")]))
    assert isinstance(got, UnsupportedModelError)
    assert "linalg_inv" in str(got)
    assert "'y'" in str(got)


def changed(change, nodes=None, outputs=("y",)):
    """The bytes of the sound file with its JSON changed."""
    nodes = nodes or [operation("linear.default", "y", input="x", weight="p_fc_weight", bias="p_fc_bias")]
    config = json.loads(json.dumps(graph_config(list(LINEAR), {"x": X}, nodes, list(outputs))))
    change(config)
    return export_bytes(LINEAR, config)


def tree(text, out=True):
    def change(config):
        signature = {"in_spec": None, "out_spec": None, "forward_arg_names": ["x"]}
        signature["out_spec" if out else "in_spec"] = text
        config["graph_module"]["module_call_graph"] = [{"fqn": "", "signature": signature}]

    return change


LEAF = '{"type": null, "context": null, "children_spec": []}'


@pytest.mark.parametrize("out", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000, "[1]", "{}", "[1, 5]", 5, [], "[1, []]", '[1, {"type": 5, "context": null, "children_spec": []}]',
        f'[1, {{"type": "builtins.tuple", "context": "null", "children_spec": [{LEAF}, {LEAF}]}}]',
        '[1, {"type": "builtins.dict", "context": "[1]", "children_spec": []}]',
        f'[1, {{"type": "builtins.dict", "context": "[]", "children_spec": [{LEAF}]}}]',
        f'[1, {{"type": "os.system", "context": "\\"true\\"", "children_spec": [{LEAF}]}}]',
        "[1, " + '{"type": "builtins.tuple", "context": "null", "children_spec": [' * 60 + LEAF + "]}" * 60 + "]",
    ],
)  # fmt: skip
def test_export_trees_of_outputs_and_inputs_that_lie(loaded, text, out):
    got = loaded(changed(tree(text, out)))
    assert isinstance(got, FastGRUError) or (isinstance(got, Graph) and not out)


def test_export_conditions_and_sizes_that_lie(loaded):
    size = {"as_expr": {"expr_str": "Symbol('s0', positive=True)", "hint": {"as_int": 2}}}

    def with_size(text, **more):
        def change(config):
            sizes = config["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
            sizes[0] = {"as_expr": {"expr_str": text, "hint": {"as_int": 2}}}
            config.update(more)

        return change

    for text in ("Symbol('s0', positive=True)", "s0", "__import__('os')", "(" * 5000, "Symbol(5)",
                 "Add(Symbol('s0'))", "Mul(" * 90 + "Symbol('s0')" + ")" * 90, "Integer(" + "9" * 5000 + ")",
                 "Pow(Symbol('s0'), Integer(9))", "9" * 3999, "Symbol('s0') * " * 60 + "1", ""):  # fmt: skip
        assert isinstance(loaded(changed(with_size(text))), (Graph, FastGRUError)), text
    for guards in (["x" * 5000], ["L['x'].size()[0] >= 2"] * 501, [5], ["(" * 3000], ["L['x'].size()[0] == 3"],
                   ["L['x'].size()[0] // 0 == 3"], ["exec('1')"], ["L['x'].size()[99] == 3"]):  # fmt: skip
        got = loaded(changed(with_size("Symbol('s0', positive=True)", guards_code=guards)))
        assert isinstance(got, (Graph, FastGRUError)), guards
    ranges = {"s0": {"min_val": 3, "max_val": 1}, "s1": None, "s2": {"min_val": "a"}}
    assert isinstance(loaded(changed(with_size(size["as_expr"]["expr_str"], range_constraints=ranges))), Graph)


def nested(depth, name="y"):
    """An operation without gradients, in graphs within graphs."""
    inner = [operation("relu.default", name, self="x")] if depth == 0 else [nested(depth - 1)]
    graph = {"inputs": [{"as_tensor": {"name": "x"}}], "outputs": [{"as_tensor": {"name": "y"}}], "nodes": inner}
    return {
        "target": "torch.ops.higher_order.wrap_with_set_grad_enabled",
        "inputs": [{"name": "", "arg": {"as_bool": False}},
                   {"name": "", "arg": {"as_graph": {"name": "g", "graph": graph}}},
                   {"name": "", "arg": {"as_tensor": {"name": "x"}}}],
        "outputs": [{"as_tensors": [{"name": "y"}]}], "metadata": {}, "name": "y",
    }  # fmt: skip


def test_export_graphs_in_graphs(loaded):
    last = operation("linear.default", "z", input="y", weight="p_fc_weight", bias="p_fc_bias")
    for depth in (0, 3):
        assert isinstance(loaded(changed(lambda config: None, [nested(depth), last], ["z"])), Graph)
    for depth in (11, 30):
        assert isinstance(loaded(changed(lambda config: None, [nested(depth), last], ["z"])), FastGRUError)
    other = nested(0)
    other["inputs"] = other["inputs"][:2]
    assert isinstance(loaded(changed(lambda config: None, [other, last], ["z"])), FastGRUError)


def test_export_that_writes_in_place_again_and_again(loaded):
    nodes = [operation("mul.Tensor", "a", self="x", other=2.0)]
    bases = [f"v{at - 1}" if at % 7 else "a" for at in range(400)]
    nodes += [operation("unsqueeze.default", f"v{at}", self=base, dim=0) for at, base in enumerate(bases)]
    nodes += [operation("add_.Tensor", f"w{at}", self=f"v{at}", other=1.0) for at in range(400)]
    last = operation("linear.default", "y", input="a", weight="p_fc_weight", bias="p_fc_bias")
    assert isinstance(loaded(linear([*nodes, last])), (Graph, FastGRUError))
    chain = [operation("alias.default", f"c{at}", self=f"c{at - 1}" if at else "a") for at in range(3000)]
    chain += [operation("add_.Tensor", "d", self="a", other=1.0), operation("relu.default", "e", self="c2999")]
    got = loaded(linear([nodes[0], *chain, last]))
    assert isinstance(got, UnsupportedModelError)
    assert "views" in str(got)


def test_export_that_makes_very_much_of_little(loaded):
    for node in (
        operation("linspace.default", "a", start=0.0, end=1.0, steps=1 << 40), operation("eye.default", "a", n=1 << 20),
        operation("tensor_split.sections", ["a"], self="x", sections=1 << 40, dim=0),
        operation("arange.default", "a", end=1 << 40),
        operation("one_hot.default", "a", self="x", num_classes=1 << 40),
        operation("full.default", "a", size=[1 << 20, 1 << 20, 1 << 20], fill_value=1.0),
        operation("split.Tensor", ["a"], self="x", split_size=0),
        operation("unfold.default", "a", self="x", dimension=0, size=1 << 40, step=1),
    ):  # fmt: skip
        assert isinstance(loaded(linear([node], ("a",))), FastGRUError), node["target"]
