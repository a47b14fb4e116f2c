"""Attacks by TorchScript files: code without end, names of Python, constants and modules that lie."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from archive_writers import gru_arrays, module, script_bytes, script_records, tensor_list, traced_gru
from checkpoint_writers import Call, Name, ZipRecord, tensor, zip_bytes
from mutations import mutated

from fastgru.errors import CheckpointError, FastGRUError
from fastgru.graph.graph import Graph

MUTATIONS = 200
X = np.zeros((2, 5, 3), "f4")
GRU = gru_arrays(3, 2)


NET = "class Net(Module):\n  training : bool\n"


def net(*lines: str, more: str = "", **state: Any) -> bytes:
    """A module whose forward is these lines."""
    text = NET + "  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n"
    text += "".join(f"    {line}\n" for line in lines) + more
    return script_bytes(module("Net", **state), {"__torch__.py": text})


SOUND = {
    "gru": module("torch.nn.modules.rnn.GRU", **{name: tensor(array) for name, array in GRU.items()}),
}
GRU_CODE = traced_gru("torch.nn.modules.rnn", 2, list(GRU))


def script(*lines: str, records: bool = False, constants: Any = (), more: str = "") -> Any:
    """A module around a traced GRU, with these lines before it."""
    text = NET + "  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n"
    text += "".join(f"    {line}\n" for line in (*lines, "gru = self.gru", "return (gru).forward(x, )")) + more
    made = script_records(
        module("Net", **SOUND), {"__torch__.py": text, "__torch__/torch/nn/modules/rnn.py": GRU_CODE}, constants
    )
    return made if records else zip_bytes(made)


def test_the_script_that_is_changed_is_sound(loaded):
    got = loaded(script())
    assert isinstance(got, Graph)
    assert len(got.nodes) == 1
    assert got.tensors[got.inputs[0].value].shape[2] == 3


@pytest.mark.parametrize("constant", ["c1", "c5", "c99999999", "c-1", "c", "x", "c0.c0"])
def test_script_constants_out_of_range(loaded, constant):
    frozen = script_bytes(
        module("Net"),
        {
            "__torch__.py": f"{NET}  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n"
            f"    return torch.linear(x, CONSTANTS.{constant})\n"
        },
        (tensor(np.ones((2, 3), "f4")),),
    )
    assert isinstance(loaded(frozen), FastGRUError)


def test_script_constants_that_are_no_tuple(refused):
    for value in ([tensor(np.ones(2, "f4"))], {"a": 1}, 5, None):
        refused(script(constants=value))


def test_script_with_code_of_50_mb(bounded, loaded):
    lines = (
        f"{NET}  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n" + "    x = torch.relu(x)\n" * 2_500_000
    )
    content = script_bytes(module("Net", **SOUND), {"__torch__.py": lines})
    assert len(content) < 1 << 20
    for run in (bounded, loaded):
        assert isinstance(run(content), CheckpointError)


def test_script_with_as_much_code_as_is_read(bounded, loaded):
    lines = (
        f"{NET}  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n" + "    x = torch.relu(x)\n" * 150_000
    )
    functions = "".join(f"def f{index}(x: int) -> int:\n  return x\n" for index in range(15_000))
    empty = "\n" * 3_900_000
    for text in (lines, functions, empty, "class A(Module):\n" * 200_000, "  a : Final[int] = 1\n" * 150_000):
        content = script_bytes(module("Net", **SOUND), {"__torch__.py": text})
        for run in (bounded, loaded):
            run(content)


def test_script_code_that_inflates_without_end(bounded):
    records = script(records=True)
    for record in records:
        if record.name.endswith(".py"):
            record.content = b" " * (64 << 20)
    assert isinstance(bounded(zip_bytes(records)), CheckpointError)


def test_script_that_calls_itself(loaded):
    loop = "  def again(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    return (self).again(x, )\n"
    assert isinstance(loaded(net("return (self).again(x, )", more=loop, w=tensor(X))), FastGRUError)
    assert isinstance(loaded(net("return (self).forward(x, )", w=tensor(X))), FastGRUError)


def test_script_whose_calls_double_without_end(loaded):
    functions = "".join(
        f"def f{index}(x: Tensor) -> Tensor:\n  a = __torch__.f{index + 1}(x, )\n  return __torch__.f{index + 1}(x, )\n"
        for index in range(35)
    )
    assert isinstance(loaded(net("return __torch__.f0(x, )", more=functions, w=tensor(X))), FastGRUError)


def test_script_with_100_000_operations(loaded):
    assert isinstance(loaded(net(*["x = torch.relu(x)"] * 11_000, "return x", w=tensor(X))), FastGRUError)


def test_script_with_lists_that_double(loaded):
    lines = ["a = [x]", *["a = [a, a]"] * 60, "return a"]
    assert isinstance(loaded(net(*lines, w=tensor(X))), FastGRUError)
    lines = ["a = [1]", *["b = torch.append(a, a)"] * 10, "if torch.eq(a, a):", "  pass", "else:", "  pass", "return a"]
    assert isinstance(loaded(net(*lines, w=tensor(X))), FastGRUError)


@pytest.mark.parametrize(
    "lines",
    [
        ["while True:", "  pass"],
        ["for i in range(1000000000):", "  pass"],
        ["for i in range(1000000000):", "  x = torch.relu(x)"],
        ["for i in range(1000000000):", "  x = torch.slice(x, 1, 1)"],
        ["for i in range(1000000000):", "  y = torch.add_(torch.select(x, 1, 0), 1)"],
        ["for i in range(1000):", "  for j in range(1000):", "    for k in range(1000):", "      y = torch.add(x, 1)"],
        ["z = torch.zeros([250, 250])", "for i in range(1000000000):", "  z = torch.matmul(z, z)"],
        ["z = torch.zeros([100000, 1])", "for i in range(1000000):", "  y = torch.split(z, 1, 0)"],
        ["s = torch.size(x, 1)", "for i in range(1000000000):", "  s = torch.add(torch.mul(s, s), 1)"],
        ["s = 3", "for i in range(1000000000):", "  s = torch.mul(s, s)"],
        ["s = \"text\"", "for i in range(1000000000):", "  s = torch.add(s, s)"],
        ["a = [1]", "for i in range(1000000000):", "  a = torch.add(a, a)"],
        ["a = annotate(List[Tensor], [])", "for i in range(1900):", "  b = torch.append(a, x)",
         "for i in range(100000):", "  y = torch.stack(a, 0)"],
        ["y = torch.chunk(torch.zeros([1000000000, 3]), 1000000000)"],
    ],
)  # fmt: skip
def test_script_loops_without_end(loaded, lines):
    assert isinstance(loaded(net(*lines, "return x", w=tensor(X))), FastGRUError)


def test_script_with_dicts_that_double(loaded):
    lines = ['a = {"a": x}', *['a = {"a": a, "b": a}'] * 60, "return a"]
    assert isinstance(loaded(net(*lines, w=tensor(X))), FastGRUError)
    lines = ["a = [x]", *["a = [a, a]"] * 60, "return torch.cat(a, 0)"]
    assert isinstance(loaded(net(*lines, w=tensor(X))), FastGRUError)


def test_script_with_names_of_python(loaded):
    for line in (
        "__import__('os').abort()",
        "self.__class__.__bases__",
        "getattr(self, '__dict__')",
        "exec('1')",
        "torch.__class__(x)",
        "ops.os.system('true')",
        "__torch__.__loader__(x, )",
        "torch.load('x')",
        "torch.os.system('x')",
        "CONSTANTS.__class__",
        "x.__class__",
        "torch.apply(x)",
    ):
        assert isinstance(loaded(net(f"y = {line}", "return x", w=tensor(X))), FastGRUError), line


def test_script_that_joins_and_splits_without_end(loaded):
    for line in (
        "x = torch.cat([x, x], 2)",
        "x = torch.stack([x, x], 0)",
        "x = torch.unsqueeze(x, 1)",
        "y = torch.chunk(torch.zeros([1000000000, 3]), 1000000000)",
        "x = torch.expand(x, [1000000000, -1, -1])",
        "x = torch.reshape(x, [1000000000, 1000000000, -1])",
        "x = torch.permute(x, [0, 0, 0])",
        "x = torch.select(x, 0, -99999999999999)",
        "x = torch.slice(x, 1, 5, 1)",
        "x = torch.squeeze(x, 99)",
    ):
        loaded(net(*[line] * 500, "return x", w=tensor(X)))


def test_script_with_a_cycle_of_modules(loaded):
    inner = module("Linear", weight=tensor(X))
    inner.state["back"] = inner
    loaded(script_bytes(module("Net", inner=inner), {"__torch__.py": NET}))


def test_script_with_2_to_the_40_paths_to_a_module(bounded, loaded):
    node = module("Linear", weight=tensor(X[0, 0]))
    for _ in range(40):
        node = module("Two", a=node, b=node)
    content = script_bytes(node, {"__torch__.py": NET})
    for run in (bounded, loaded):
        assert isinstance(run(content), FastGRUError)


def test_script_nested_without_end(loaded):
    opcodes = b"\x80\x02" + b"c__torch__\nA\n)R}X\x01\x00\x00\x00a" * 60_000 + b"N" + b"sb" * 60_000 + b"."
    records = [record for record in script(records=True) if not record.name.endswith("data.pkl")]
    assert isinstance(loaded(zip_bytes([ZipRecord("m/data.pkl", opcodes), *records])), CheckpointError)


def test_script_of_very_many_modules(bounded, loaded):
    many = {f"m{index}": module("Linear") for index in range(6000)}
    content = script_bytes(module("Net", w=tensor(X), **many), {"__torch__.py": NET})
    for run in (bounded, loaded):
        assert isinstance(run(content), CheckpointError)


def test_script_lists_of_tensors_that_share(bounded):
    one = tensor(np.ones((1000, 1000), "f4"))
    lists = {f"l{index}": tensor_list([one] * 300) for index in range(20)}
    bounded(script_bytes(module("Net", **lists), {"__torch__.py": NET}))


def test_script_tags_that_wrap_something_else(loaded):
    for value in (5, "text", tensor(X), Name("os", "system")):
        tag = Call(Name("torch.jit._pickle", "restore_type_tag"), (value, "List[int]"))
        loaded(script_bytes(module("Net", a=tag, w=tensor(X)), {"__torch__.py": NET}))


def test_script_classes_are_never_imported(loaded):
    loaded(script_bytes(module("antigravity.Net", w=tensor(X)), {"__torch__/antigravity.py": NET}))
    assert "antigravity" not in sys.modules


def test_a_file_that_is_cut_off_or_mutated_ends_in_a_result_or_an_error(damaged):
    damaged(script(), MUTATIONS)


@pytest.mark.parametrize("end", ["data.pkl", "constants.pkl", "__torch__.py", "rnn.py"])
def test_mutations_of_a_script_behind_a_sound_zip(loaded, end):
    chance = np.random.default_rng(22)
    records = script(records=True)
    at = next(index for index, record in enumerate(records) if record.name.endswith(end))
    for _ in range(MUTATIONS):
        changed = ZipRecord(records[at].name, mutated(records[at].content, chance), method=records[at].method)
        loaded(zip_bytes([*records[:at], changed, *records[at + 1 :]]))
