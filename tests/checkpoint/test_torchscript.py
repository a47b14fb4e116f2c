"""TorchScript files: tensors by the path of their module, options from code and pickles, constants by their calls."""

from __future__ import annotations

import numpy as np
import pytest
from archive_writers import gru_arrays, module, script_bytes, tagged, tensor_list, traced_gru
from checkpoint_writers import Name, Raw, Storage, Tensor, tensor

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError

GRU = gru_arrays(3, 2, layers=2, ways=2)
LINEAR = {"weight": np.arange(8, dtype="f4").reshape(2, 4), "bias": np.ones(2, "f4")}
SCRIPTED = """class GRU(Module):
  __parameters__ = ["weight_ih_l0", ]
  weight_ih_l0 : Tensor
  training : bool
  num_layers : Final[int] = 2
  dropout : Final[float] = 0.10000000000000001
  mode : Final[str] = "GRU"
  sizes : Final[Tuple[int, int]] = (3, -4)
  nothing : Final[NoneType] = None
  batch_first : Final[bool] = True
  strange : Final[Thing] = __torch__.thing
  def forward(self: __torch__.torch.nn.modules.rnn.GRU) -> int:
    return 1
def alone(x: int) -> int:
  return x
"""


def records(arrays):
    return {name: tensor(array) for name, array in arrays.items()}


def test_tensors_are_called_by_the_path_of_their_module(file_of):
    gru = module("torch.nn.modules.rnn.GRU", **records(GRU))
    lines = module("torch.nn.modules.container.ModuleList", **{"0": module("Linear", **records(LINEAR))})
    root = module("Net", gru=gru, lines=lines, scale=tensor(np.float32(2)), epoch=3)
    checkpoint = read(file_of(script_bytes(root, {"__torch__.py": "class Net(Module):\n"})))
    assert checkpoint.format == "torchscript"
    assert checkpoint.metadata["torch_format_version"] == "3"
    wanted = {f"gru.{name}": array for name, array in GRU.items()}
    wanted.update({f"lines.0.{name}": array for name, array in LINEAR.items()})
    assert checkpoint.keys() == {*wanted, "scale"}
    for name, array in wanted.items():
        np.testing.assert_array_equal(checkpoint[name], array)
    modules = checkpoint.config["modules"]
    assert list(modules) == ["", "gru", "lines", "lines.0"]
    assert modules[""]["children"] == {"gru": "gru", "lines": "lines"}
    assert modules[""]["options"]["epoch"] == 3
    assert modules["lines.0"]["tensors"] == {"weight": "lines.0.weight", "bias": "lines.0.bias"}


def test_marks_of_classes_of_one_name_are_taken_off(file_of):
    root = module("___torch_mangle_5.Net", gru=module("torch.nn.modules.rnn.___torch_mangle_2.GRU", **records(GRU)))
    modules = read(file_of(script_bytes(root, {"__torch__.py": ""}))).config["modules"]
    assert modules[""]["class"] == "Net"
    assert modules[""]["type"] == "__torch__.___torch_mangle_5.Net"
    assert modules["gru"]["class"] == "torch.nn.modules.rnn.GRU"


def test_a_module_that_is_shared_is_named_once(file_of):
    shared = module("Linear", **records(LINEAR))
    checkpoint = read(file_of(script_bytes(module("Net", one=shared, two=shared), {"__torch__.py": ""})))
    assert list(checkpoint) == ["one.weight", "one.bias"]
    assert checkpoint.config["modules"][""]["children"] == {"one": "one", "two": "one"}


def test_lists_of_tensors_that_have_names_keep_them(file_of):
    arrays = records(GRU)
    unnamed = tensor(np.ones(3, "f4"))
    gru = module("GRU", _flat_weights=tensor_list([*arrays.values()]), **arrays)
    checkpoint = read(file_of(script_bytes(module("Net", gru=gru, many=tensor_list([unnamed])), {"__torch__.py": ""})))
    assert set(checkpoint) == {*(f"gru.{name}" for name in GRU), "many.0"}
    assert checkpoint.config["modules"]["gru"]["tensor_lists"] == {"_flat_weights": [f"gru.{name}" for name in GRU]}


def test_plain_attributes_are_options_and_others_are_listed(file_of):
    root = module(
        "Net",
        w=tensor(LINEAR["bias"]),
        words=tagged(["a", "b"], "List[str]"),
        rate=0.5,
        none=None,
        deep=tagged([[1], [2]], "List[List[int]]"),
        huge=tagged(list(range(50))),
        thing=Name("torch", "device"),
    )
    checkpoint = read(file_of(script_bytes(root, {"__torch__.py": ""})))
    assert checkpoint.config["modules"][""]["options"] == {
        "training": False,
        "words": ["a", "b"],
        "rate": 0.5,
        "none": None,
    }
    assert checkpoint.metadata["skipped"] == ["deep", "huge", "thing"]


def test_constants_of_a_class_are_options_of_its_modules(file_of):
    root = module("torch.nn.modules.rnn.GRU", **records(GRU))
    checkpoint = read(file_of(script_bytes(root, {"__torch__/torch/nn/modules/rnn.py": SCRIPTED})))
    assert checkpoint.config["modules"][""]["options"] == {
        "num_layers": 2,
        "dropout": 0.1,
        "mode": "GRU",
        "sizes": [3, -4],
        "nothing": None,
        "batch_first": True,
        "training": False,
    }
    functions = checkpoint.config["functions"]
    assert list(functions) == ["__torch__.torch.nn.modules.rnn.GRU.forward", "__torch__.torch.nn.modules.rnn.alone"]
    assert functions["__torch__.torch.nn.modules.rnn.alone"] == "def alone(x: int) -> int:\n  return x\n"


def test_options_of_a_trace_are_literals_of_its_call(file_of):
    name = "torch.nn.modules.rnn.___torch_mangle_0"
    root = module(f"{name}.GRU", **records(GRU))
    code = {f"__torch__/{name.replace('.', '/')}.py": traced_gru(name, 2, list(GRU), layers=2, ways=2)}
    options = read(file_of(script_bytes(root, code))).config["modules"][""]["options"]
    assert options == {"training": False, "bias": True, "num_layers": 2, "bidirectional": True, "batch_first": True}


def frozen(call: str, constants) -> bytes:
    text = f"class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n{call}    return x\n"
    return script_bytes(module("Net"), {"__torch__.py": text}, constants)


def test_constants_of_a_frozen_module_are_named_by_their_calls(file_of):
    arrays = [
        *records(GRU).values(),
        *records(LINEAR).values(),
        tensor(np.ones((5, 3), "f4")),
        7,
        tensor(np.ones(2, "f4")),
    ]
    listed = ", ".join(f"CONSTANTS.c{index}" for index in range(16))
    lines = (
        f"    weights = [{listed}]\n    a = torch.embedding(CONSTANTS.c18, x)\n"
        "    y, h = torch.gru(a, x, weights, True, 2, 0.1, False, True, True)\n"
        "    z = torch.relu(torch.linear(torch.linear(y, CONSTANTS.c16), CONSTANTS.c16, CONSTANTS.c17))\n"
    )
    checkpoint = read(file_of(frozen(lines, tuple(arrays))))
    wanted = [*(f"gru.{name}" for name in GRU), "linear.weight", "linear_1.bias", "embedding.weight", "CONSTANTS.c20"]
    assert list(checkpoint) == wanted
    assert checkpoint.config["constants"][16:] == [
        {"tensor": "linear.weight"},
        {"tensor": "linear_1.bias"},
        {"tensor": "embedding.weight"},
        7,
        {"tensor": "CONSTANTS.c20"},
    ]


def test_a_list_within_the_call_and_two_calls(file_of):
    arrays = records(gru_arrays(3, 2))
    listed = "[CONSTANTS.c0, CONSTANTS.c1, CONSTANTS.c2, CONSTANTS.c3]"
    call = f"    y, h = torch.gru(x, x, {listed}, True, 1, 0., False, False, {{}})\n"
    lines = call.format(True) + call.replace("c0", "c4").format(False)
    checkpoint = read(file_of(frozen(lines, (*arrays.values(), tensor(np.ones((6, 2), "f4"))))))
    assert list(checkpoint) == [*(f"gru.{name}" for name in arrays), "gru_1.weight_ih_l0"]


@pytest.mark.parametrize(
    "call",
    [
        "    y, h = torch.gru(x, x, [CONSTANTS.c0], True, 1, 0., False, False, True)\n",
        "    y, h = torch.gru(x, x, [CONSTANTS.c0], True, 99999999, 0., False, False, True)\n",
        "    y, h = torch.gru(x, x, weights, flag, 1, 0., False, False, True)\n",
        "    for _0 in range(3):\n      y = torch.linear(x, CONSTANTS.c0)\n",
        "    y = torch.linear(x, CONSTANTS.c99999999999999999999)\n",
    ],
)
def test_calls_that_say_nothing_leave_the_numbers(file_of, call):
    assert list(read(file_of(frozen(call, (tensor(np.ones(2, "f4")),))))) == ["CONSTANTS.c0"]


def test_views_share_their_storage(file_of):
    base = Storage(np.arange(12, dtype="f4").tobytes(), "FloatStorage", 12)
    views = {"a": Tensor(base, 0, (3, 4), (4, 1)), "b": Tensor(base, 1, (4, 2), (1, 4))}
    checkpoint = read(file_of(script_bytes(module("Net", **views), {"__torch__.py": ""})))
    whole = np.arange(12, dtype="f4")
    np.testing.assert_array_equal(checkpoint["a"], whole.reshape(3, 4))
    np.testing.assert_array_equal(checkpoint["b"], [[1, 5], [2, 6], [3, 7], [4, 8]])


def test_a_pickle_without_a_module_is_damaged(file_of):
    with pytest.raises(CheckpointError, match="no module"):
        read(file_of(script_bytes({"w": tensor(LINEAR["bias"])}, {"__torch__.py": ""})))


def test_names_that_would_be_one_are_damaged(file_of):
    with pytest.raises(CheckpointError, match=r"'a\.b'"):
        read(file_of(script_bytes(module("Net", **{"a.b": 1}), {"__torch__.py": ""})))
    odd = module("Net", w=tensor(LINEAR["bias"]))
    odd.state[5] = Raw(b"N")
    with pytest.raises(CheckpointError, match="attribute"):
        read(file_of(script_bytes(odd, {"__torch__.py": ""})))
