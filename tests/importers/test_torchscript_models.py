"""TorchScript's code is followed to a model, branch by branch; where it cannot be, the weights are there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoint"))
from archive_writers import gru_arrays, module, script_bytes, tensor_list, traced_gru
from checkpoint_writers import tensor

import fastgru
from fastgru.errors import CheckpointError, DTypeError, UnsupportedModelError

ARRAYS = gru_arrays(4, 4)
TENSORS = {name: tensor(array) for name, array in ARRAYS.items()}
LINEAR = {"weight": np.random.default_rng(1).standard_normal((2, 4)).astype("f4"), "bias": np.ones(2, "f4")}
GRU = "torch.nn.modules.rnn"


@pytest.fixture
def x(rng):
    return rng.standard_normal((3, 5, 4)).astype("f4")


@pytest.fixture
def y(x):
    return fastgru.from_torch(ARRAYS)(x)[0]


@pytest.fixture
def load(tmp_path):
    """A function from the lines of a forward to the model of a net with a traced ``gru`` and a ``fc``."""

    def run(*lines: str, parameters: str = "x: Tensor", more: str = "", constants=(), **state):
        text = f"class Net(Module):\n  def forward(self: __torch__.Net,\n    {parameters}) -> Tensor:\n"
        text += "".join(f"    {line}\n" for line in lines) + more
        linear = "class Linear(Module):\n  def forward(self: __torch__.Linear,\n    x: Tensor) -> Tensor:\n"
        linear += "    weight = self.weight\n    bias = self.bias\n    return torch.linear(x, weight, bias)\n"
        code = {
            "__torch__.py": text + linear,
            f"__torch__/{GRU.replace('.', '/')}.py": traced_gru(GRU, 4, list(ARRAYS)),
        }
        children = {"gru": module(f"{GRU}.GRU", **TENSORS)}
        children["fc"] = module("Linear", **{name: tensor(array) for name, array in LINEAR.items()})
        (tmp_path / "file").write_bytes(script_bytes(module("Net", **children, **state), code, constants))
        return fastgru.load(tmp_path / "file")

    return run


BOTH = ("gru = self.gru", "y = (gru).forward(x, )", "fc = self.fc", "z = (fc).forward(y, )")


def test_calls_of_submodules(load, x, y):
    got = load(*BOTH, "return torch.tanh(z)")
    assert isinstance(got, fastgru.Model)
    np.testing.assert_allclose(got(x), np.tanh(y @ LINEAR["weight"].T + 1), atol=1e-6)


def test_branches_by_what_is_known(load, x, y):
    lines = (
        'if torch.ne(torch.dim(x), 3):', '  ops.prim.RaiseException("no", "builtins.ValueError")', "else:", "  pass",
        "training = self.training", "if training:", "  a = torch.relu(x)", "else:", "  a = x",
        "if torch.__isnot__(a, None):", "  b = unchecked_cast(Tensor, a)", "else:", "  b = x",
        "if torch.eq(torch.size(b, -1), 4):", "  c = b", "else:", "  ops.prim.RaiseException(torch.format(\"{}\", 1))",
        "if torch.lt(torch.len([1, 2]), 2):", "  c0 = torch.neg(1)", "else:", "  c0 = c",
        "gru = self.gru", "fc = self.fc", "return (fc).forward((gru).forward(c0, ), )",
    )  # fmt: skip
    np.testing.assert_allclose(load(*lines)(x), y @ LINEAR["weight"].T + 1, atol=1e-6)


def test_functions_methods_defaults_and_constants(load, x, y):
    more = (
        "  def own(self: __torch__.Net,\n    x: Tensor,\n    scale: float=2.) -> Tensor:\n"
        "    return __torch__.scaled(x, scale, )\n"
        "def scaled(x: Tensor,\n    by: float) -> Tensor:\n  return torch.mul(torch.mul(x, by), CONSTANTS.c1)\n"
    )
    got = load(*BOTH, "return (self).own(z, )", more=more, constants=(1, tensor(np.float64(0.5))))
    np.testing.assert_allclose(got(x), y @ LINEAR["weight"].T + 1, atol=1e-6)


def test_several_outputs_and_optional_inputs(load, x, y):
    got = load(
        *BOTH, "return (z, (y, torch.select(y, 1, -1)))", parameters="x: Tensor,\n    hx: Optional[Tensor]=None"
    )(x)
    assert len(got) == len(got[1]) == 2
    np.testing.assert_array_equal(got[1][0], y)
    np.testing.assert_array_equal(got[1][1], y[:, -1])


def test_integers_for_an_embedding(load, rng):
    table = rng.standard_normal((7, 4)).astype("f4")
    lines = ("w = self.table", "x = torch.embedding(w, ids, -1)", *BOTH, "return z")
    ids = rng.integers(0, 7, (3, 5))
    got = load(*lines, parameters="ids: Tensor", table=tensor(table))(ids)
    wanted = fastgru.from_torch(ARRAYS)(table[ids])[0] @ LINEAR["weight"].T + 1
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_states_as_an_input(load, x, rng):
    names = ", ".join(f"gru.{name}" for name in ARRAYS)
    lines = ("gru = self.gru", f"y, n = torch.gru(x, h, [{names}], True, 1, 0., False, False, True)",
             "fc = self.fc", "return (fc).forward(y, ), n")  # fmt: skip
    h = rng.standard_normal((3, 4)).astype("f4")
    got = load(*lines, parameters="x: Tensor,\n    h: Tensor")(x, h[None])
    y, n = fastgru.from_torch(ARRAYS)(x, h[None])
    np.testing.assert_allclose(got[0], y @ LINEAR["weight"].T + 1, atol=1e-6)
    np.testing.assert_array_equal(got[1], n)


def test_a_frozen_module(load, tmp_path, x, y):
    text = "class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n"
    text += "    h = torch.zeros([1, torch.size(x, 0), 4])\n"
    text += "    w = [CONSTANTS.c0, CONSTANTS.c1, CONSTANTS.c2, CONSTANTS.c3]\n"
    text += "    y, n = torch.gru(x, h, w, True, 1, 0., False, False, True)\n"
    text += "    return torch.linear(y, CONSTANTS.c4, CONSTANTS.c5)\n"
    constants = (*TENSORS.values(), *(tensor(array) for array in LINEAR.values()))
    (tmp_path / "frozen").write_bytes(script_bytes(module("Net"), {"__torch__.py": text}, constants))
    model = fastgru.load(tmp_path / "frozen")
    np.testing.assert_allclose(model(x), y @ LINEAR["weight"].T + 1, atol=1e-6)
    assert set(fastgru.read(tmp_path / "frozen")) == {
        *(f"gru.{name}" for name in ARRAYS),
        "linear.weight",
        "linear.bias",
    }


def test_a_gru_alone_is_a_gru_whatever_its_code(tmp_path, x, y):
    root = module(f"{GRU}.GRU", **TENSORS, _flat_weights=tensor_list(list(TENSORS.values())))
    code = "class GRU(Module):\n  def forward(self: __torch__.GRU) -> int:\n    while True:\n      pass\n"
    (tmp_path / "file").write_bytes(script_bytes(root, {f"__torch__/{GRU.replace('.', '/')}.py": code}))
    got = fastgru.load(tmp_path / "file")
    assert isinstance(got, fastgru.GRU)
    np.testing.assert_array_equal(got(x)[0], y)


@pytest.mark.parametrize(("line", "message"), [
    ("for i in range(torch.size(x, 1)):", "a loop, for i in range"),
    ("z = torch.erfinv(z)", "erfinv .in __torch__.Net.forward.: the operation"),
    ("if torch.item(z):", "item"), ("z = self.nothing", "no plain attribute 'nothing'"),
    ("z = CONSTANTS.c7", "constant 'c7' is not in the file"), ("z = (fc).other(z, )", "not in the file's code"),
    ("z = torch.linear(z)", "lacks"), ("a, b, c = (1, 2)", "taken apart into 3"),
    ("z = __torch__.gone(z, )", "not in the file"), ("z = ops.aten.relu(z)", "not supported"),
    ("z = unknown(z)", "not supported"), ("z = (z)[0]", "no items"),
    ('ops.prim.RaiseException("always")', "raise an exception"), ("z = torch.to(z, 5)", "rounds numbers"),
    ("self.state = z", "changes its own attribute 'state'"), ("while torch.gt(torch.size(x, 1), 3):", "a loop, while"),
])  # fmt: skip
def test_code_that_cannot_be_followed_says_why_and_shows_layers(load, line, message):
    with pytest.raises(CheckpointError, match=rf"(?s)layers=\[.*cannot be followed: .*{message}"):
        load(*BOTH, line, "return z")


def test_code_that_changes_a_weight_is_not_followed(load):
    with pytest.raises(UnsupportedModelError, match=r"changes its own 'fc\.bias'; call model\.eval"):
        load(
            *BOTH,
            "b = fc.bias",
            "c = torch.add_(b, 1)",
            "d = torch.cumsum(c, 0)",
            "return z",
            odd=tensor(np.ones(3, "f4")),
        )


def test_layers_by_hand_go_before_the_code(load, tmp_path, x, y):
    with pytest.raises(CheckpointError):
        load(*BOTH, "return torch.erfinv(z)")
    got = fastgru.load(tmp_path / "file", layers=["gru", fastgru.Last(), "fc"])
    np.testing.assert_allclose(got(x), y[:, -1] @ LINEAR["weight"].T + 1, atol=1e-6)


def test_a_branch_that_is_not_known_is_an_error_unless_one_side_raises(load):
    with pytest.raises(CheckpointError, match="branches by something"):
        load(*BOTH, "if torch.gt(torch.size(x, 1), 2):", "  z0 = z", "else:", "  z0 = torch.relu(z)", "return z0")


@pytest.mark.parametrize(
    ("lines", "factor"),
    [
        (["return torch.mul(z, int(2.7))"], 2),
        (["return torch.mul(z, int(-1.5))"], -1),
        (["return torch.mul(z, int(torch.div(7, 2)))"], 3),
        (["return torch.mul(z, float(int(2.7)))"], 2),
        (["return torch.mul(z, int(bool(0.5)))"], 1),
        (["if torch.eq(int(torch.div(7, 2)), 3):", "  d = torch.mul(z, 5)", "else:", "  d = z", "return d"], 5),
    ],
)
def test_casts_of_numbers_are_casts(load, x, y, lines, factor):
    """Each alone: beside another that is refused, a cast that is none would not be seen."""
    np.testing.assert_allclose(load(*BOTH, *lines)(x), factor * (y @ LINEAR["weight"].T + 1), atol=1e-5)


def test_branches_by_casts_of_numbers(load, x, y):
    for number, factor in (("0", 1), ("0.5", 5), ("int(0.5)", 1)):
        lines = (f"if bool({number}):", "  e = torch.mul(z, 5)", "else:", "  e = z", "return e")
        np.testing.assert_allclose(load(*BOTH, *lines)(x), factor * (y @ LINEAR["weight"].T + 1), atol=1e-5)


def test_a_cast_of_what_is_no_number_is_an_error(load):
    for cast in ("int(z)", 'float("1e3")', "bool([1])", "int(inf)"):
        with pytest.raises(CheckpointError, match=r"(int|float|bool) takes .* wanted a"):
            load(*BOTH, f"a = {cast}", "return torch.mul(z, a)")


def test_the_negative_of_a_layer_and_the_complement_of_a_gate(load, x, y):
    got = load(*BOTH, "g = torch.sigmoid(z)", "return torch.neg(torch.mul(torch.add(torch.neg(g), 1), z))")(x)
    z = y @ LINEAR["weight"].T + 1
    np.testing.assert_allclose(got, -(1 - 1 / (1 + np.exp(-z))) * z, atol=1e-5)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (r'"it\'s \"so\" \\ \n"', 'it\'s "so" \\ \n'),
        ("CONSTANTS.c0", "\u00e9\u4e2d"),
        ("CONSTANTS.c0", "long " * 100),
        ("CONSTANTS.c0", ""),
    ],
)
def test_texts_are_what_they_are_written_as(load, x, y, written, kept):
    lines = (f"if torch.eq(CONSTANTS.c1, {written}):", "  a = torch.mul(z, 2)", "else:", "  a = z", "return a")
    z = y @ LINEAR["weight"].T + 1
    np.testing.assert_allclose(load(*BOTH, *lines, constants=(kept, kept))(x), 2 * z, atol=1e-5)
    np.testing.assert_allclose(load(*BOTH, *lines, constants=(kept, kept + "x"))(x), z, atol=1e-5)


def test_a_constant_that_is_not_read_is_an_error_where_it_is_used(load):
    with pytest.raises(CheckpointError, match="constant c0 is a list, which is not read"):
        load(*BOTH, "a = CONSTANTS.c0", "return z", constants=([0] * 99,))


def test_long_lists_are_whole_or_refused(load, x, y):
    lines = ("a = annotate(List[int], [])", *("b = torch.append(a, 1)",) * 1500, "return torch.mul(z, torch.len(a))")
    np.testing.assert_allclose(load(*BOTH, *lines)(x), 1500 * (y @ LINEAR["weight"].T + 1), rtol=1e-5)
    differ = [("torch.eq", "b", "a"), ("torch.__contains__", "a", "2")]
    for function, one, other in differ:
        made = ("a = annotate(List[int], [])", *("c = torch.append(a, 1)",) * 1200, "b = torch.list(a)",
                "c = torch.append(a, 2)", f"if {function}({one}, {other}):", "  d = torch.relu(z)", "else:", "  d = z",
                "return d")  # fmt: skip
        wanted = y @ LINEAR["weight"].T + 1
        wanted = np.maximum(wanted, 0) if function == "torch.__contains__" else wanted
        np.testing.assert_allclose(load(*BOTH, *made)(x), wanted, atol=1e-5)
    appends = (f"b = torch.append(a, {number})" for number in range(2001))
    with pytest.raises(CheckpointError, match=r"append makes a list of more than 2000 items"):
        load(*BOTH, "a = annotate(List[int], [])", *appends, "return z")
    with pytest.raises(CheckpointError, match=r"append takes the name 'x9', wanted a list"):
        load(*BOTH, "b = torch.append(x9, 1)", "return z")


def test_more_values_than_are_followed_are_an_error(load):
    with pytest.raises(CheckpointError, match="more than 1000 values"):
        load(*BOTH, f"return ({'z, ' * 1200})")


@pytest.mark.parametrize("name", ["dropout", "dropout_", "alpha_dropout", "feature_dropout", "native_dropout"])
def test_a_dropout_that_drops_is_refused_and_one_that_does_not_is_nothing(load, x, y, name):
    line = f"d, _m = torch.{name}(z, 0.5, %s)" if name == "native_dropout" else f"d = torch.{name}(z, 0.5, %s)"
    np.testing.assert_allclose(load(*BOTH, line % "False", "return d")(x), y @ LINEAR["weight"].T + 1, atol=1e-6)
    with pytest.raises(CheckpointError, match=r"at random .*model\.eval\(\).*F\.dropout\(x, training=self\.training\)"):
        load(*BOTH, line % "True", "return d")


@pytest.mark.parametrize("line", [
    "a = torch.mul(z, torch.device(\"cpu\"))", "a = torch.reshape(z, x)", "a = torch.add(torch.size(x), 1)",
    "a = torch.view(z, fc)", "a = torch.mul(fc, z)", "a = torch.add(torch.dtype, 1)", "a = (fc)[0]", "a = (z)(1)",
    "a = torch.size(fc)", "a = torch.split(z, [torch.size(x, 1)], 2)", "a, b = z",
    "a = torch.expand(z, [torch.size(x, 1), 3])",
])  # fmt: skip
def test_messages_call_values_what_a_person_calls_them(load, line):
    with pytest.raises(CheckpointError) as caught:
        load(*BOTH, line, "return a")
    message = str(caught.value).partition("cannot be followed: ")[2]
    for internal in ("opaque", "Unknown", "_Module", "_Named", "NoneType", "Array", "object at 0x", "Edge", "edge="):
        assert internal.lower() not in message.lower(), message


def test_not_strict_never_takes_code_for_its_gru(load, tmp_path):
    text = "class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n"
    text += "    gru = self.gru\n    return torch.erfinv((gru).forward(x, ))\n"
    code = {"__torch__.py": text, f"__torch__/{GRU.replace('.', '/')}.py": traced_gru(GRU, 4, list(ARRAYS))}
    root = module("Net", gru=module(f"{GRU}.GRU", **TENSORS))
    (tmp_path / "file").write_bytes(script_bytes(root, code))
    for strict in (False, True):
        with pytest.raises(UnsupportedModelError, match="layers='gru'"):
            fastgru.load(tmp_path / "file", strict=strict)
    assert isinstance(fastgru.load(tmp_path / "file", layers="gru"), fastgru.GRU)


def test_booleans_are_not_taken_for_floats_of_which_the_code_computes_something_else(load, x):
    got = load(*BOTH, "return z")
    with pytest.raises(DTypeError, match=r"x: got booleans, wanted floats.*astype"):
        got(x > 0)
    assert got((x > 0).astype("f4")).shape == (3, 5, 2)
