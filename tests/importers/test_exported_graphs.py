"""Programs of torch.export files become graphs that compute the same, with the axes that PyTorch has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoint"))
from archive_writers import export_bytes, graph_config, gru_arrays
from archive_writers import operation as op

import fastgru
from fastgru.errors import CheckpointError, UnsupportedModelError

STEPS, BATCH = 5, 3
WEIGHTS = [f"p_gru_{name}" for name in gru_arrays(4, 4)]


def gru(
    output: str | list[str], x: str, hx: str, batch_first: bool = True, params=WEIGHTS, **options: Any
) -> dict[str, Any]:
    outputs = [output, f"{output}_h"] if isinstance(output, str) else output
    options = {"has_biases": True, "num_layers": 1, "dropout": 0.0, "train": False, "bidirectional": False, **options}
    return op("gru.input", outputs, input=x, hx=hx, params=list(params), **options, batch_first=batch_first)


def zeros(name: str = "h0", count: int = 1) -> dict[str, Any]:
    return op("zeros.default", name, size=[count, BATCH, 4])


@pytest.fixture
def load(tmp_path):
    """A function from inputs (examples), nodes and outputs to the loaded model."""

    def run(inputs: dict[str, np.ndarray], nodes, outputs, arrays=None, **options):
        arrays = {f"gru.{name}": array for name, array in gru_arrays(4, 4).items()} if arrays is None else arrays
        (tmp_path / "file").write_bytes(export_bytes(arrays, graph_config(list(arrays), inputs, nodes, outputs)))
        return fastgru.load(tmp_path / "file", **options)

    return run


@pytest.fixture
def x(rng):
    return rng.standard_normal((BATCH, STEPS, 4)).astype("f4")


@pytest.fixture
def y(x):
    """The GRU's output, and its final state."""
    return fastgru.from_torch(gru_arrays(4, 4))(x)


def test_a_gru_and_its_states_alone_are_a_gru(load, x, y):
    got = load({"x": x}, [zeros(), gru("y", "x", "h0")], ["y", "y_h"])
    assert isinstance(got, fastgru.GRU)
    np.testing.assert_array_equal(got(x)[0], y[0])


def test_a_gru_without_its_states_is_a_model(load, x, y):
    got = load({"x": x}, [zeros(), gru("y", "x", "h0")], ["y"])
    assert not isinstance(got, fastgru.GRU) and repr(got).count("GRU(") == 1
    np.testing.assert_array_equal(got(x), y[0])


def test_initial_states_that_are_an_input(load, x):
    state = np.ones((1, BATCH, 4), "f4")
    wanted = fastgru.from_torch(gru_arrays(4, 4))(x, state)
    got = load({"x": x, "h": state}, [gru("y", "x", "h")], ["y", "y_h"])
    assert isinstance(got, fastgru.GRU)
    got = load({"x": x, "h": state}, [gru("y", "x", "h"), op("tanh.default", "t", self="y")], ["t", "y_h"])
    np.testing.assert_allclose(got([x, state])[0], np.tanh(wanted[0]), atol=1e-6)
    np.testing.assert_array_equal(got([x, state])[1], wanted[1])


def test_steps_first_from_end_to_end(load, x, y):
    nodes = [zeros(), gru("y", "x", "h0", batch_first=False), op("relu.default", "z", self="y")]
    got = load({"x": x.swapaxes(0, 1)}, nodes, ["z"])
    np.testing.assert_array_equal(got(x.swapaxes(0, 1)), np.maximum(y[0], 0).swapaxes(0, 1))


def test_steps_first_within_a_model_that_has_its_batch_first(load, x, y):
    nodes = [
        op("transpose.int", "t", self="x", dim0=0, dim1=1), zeros(), gru("u", "t", "h0", batch_first=False),
        op("permute.default", "y", self="u", dims=[1, 0, 2]),
    ]  # fmt: skip
    got = load({"x": x}, nodes, ["y"])
    np.testing.assert_array_equal(got(x), y[0])


def test_a_batch_that_is_taken_for_the_steps_is_followed_but_not_with_lengths(load, x, y):
    nodes = [zeros(), gru("y", "x", "h0"), gru("z", "y", "h0", batch_first=False)]
    model = load({"x": x}, nodes, ["z"])
    wanted = fastgru.from_torch(gru_arrays(4, 4))(y[0].swapaxes(0, 1))[0].swapaxes(0, 1)
    np.testing.assert_array_equal(model(x), wanted)
    with pytest.raises(fastgru.FastGRUError):
        model(x, lengths=[STEPS, 2, STEPS])


def test_steps_are_open_unless_a_reshape_has_their_number(load, x):
    nodes = [zeros(), gru("y", "x", "h0"), op("mean.dim", "m", self="y", dim=[1])]
    assert load({"x": x}, nodes, ["m"])(np.zeros((2, 9, 4), "f4")).shape == (2, 4)
    nodes = [zeros(), gru("y", "x", "h0"), op("view.default", "v", self="y", size=[BATCH, STEPS * 4])]
    model = load({"x": x}, nodes, ["v"])
    assert model(np.zeros((2, STEPS, 4), "f4")).shape == (2, STEPS * 4)
    with pytest.raises(fastgru.ShapeError):
        model(np.zeros((2, 9, 4), "f4"))


LAST = op("select.int", "last", self="y", dim=1, index=-1)
CASES = {
    "last": ([LAST], ["last"], lambda y: y[:, -1]),
    "another step": ([op("select.int", "a", self="y", dim=1, index=2)], ["a"], lambda y: y[:, 2]),
    "a part": ([op("slice.Tensor", "a", self="y", dim=2, start=1, end=3)], ["a"], lambda y: y[..., 1:3]),
    "the last steps": ([op("slice.Tensor", "a", self="y", dim=1, start=-2)], ["a"], lambda y: y[:, -2:]),
    "all of it": ([op("slice.Tensor", "a", self="y", dim=1, start=0, end=2**63 - 1)], ["a"], lambda y: y),
    "halves": ([op("chunk.default", ["a", "b"], self="y", chunks=2, dim=-1)], ["b", "a"],
               lambda y: (y[..., 2:], y[..., :2])),
    "pieces": ([op("split_with_sizes.default", ["a", "b"], self="y", split_sizes=[1, 3], dim=2)], ["b"],
               lambda y: y[..., 1:]),
    "channels first": ([op("transpose.int", "a", self="y", dim0=1, dim1=2)], ["a"], lambda y: y.swapaxes(1, 2)),
    "joined": ([op("cat.default", "a", tensors=["y", "x"], dim=2)], ["a"], lambda y: None),
    "largest": ([op("amax.default", "a", self="y", dim=[1])], ["a"], lambda y: y.max(1)),
    "kept": ([op("mean.dim", "a", self="y", dim=[1], keepdim=True)], ["a"], lambda y: y.mean(1, keepdims=True)),
    "windows": ([op("transpose.int", "t", self="y", dim0=1, dim1=2),
                 op("max_pool1d.default", "a", self="t", kernel_size=[2])], ["a"],
                lambda y: y[:, :4].reshape(BATCH, 2, 2, 4).max(2).swapaxes(1, 2)),
    "split axis": ([op("view.default", "v", self="y", size=[BATCH, STEPS, 2, 2]),
                    op("select.int", "a", self="v", dim=2, index=1)], ["a"], lambda y: y[..., 2:]),
    "merged axes": ([op("unflatten.int", "v", self="y", dim=-1, sizes=[2, 2]),
                     op("flatten.using_ints", "a", self="v", start_dim=2)], ["a"], lambda y: y),
    "unsqueezed": ([LAST, op("unsqueeze.default", "u", self="last", dim=1),
                    op("expand.default", "a", self="u", size=[-1, 3, -1])], ["a"],
                   lambda y: np.repeat(y[:, -1:], 3, 1)),
    "numbers": ([op("mul.Tensor", "m", self="y", other=2.0), op("rsub.Scalar", "a", self="m", other=1)], ["a"],
                lambda y: 1 - 2 * y),
    "with itself": ([op("sub.Tensor", "s", self="y", other="y", alpha=3), op("mul.Tensor", "a", self="s", other="y")],
                    ["a"], lambda y: (y - 3 * y) * y),
    "softmax": ([op("softmax.int", "a", self="y", dim=1)], ["a"],
                lambda y: np.exp(y) / np.exp(y).sum(1, keepdims=True)),
    "clamped": ([op("clamp.default", "a", self="y", min=-0.1, max=0.2)], ["a"], lambda y: np.clip(y, -0.1, 0.2)),
    "in place": ([op("relu_.default", "a", self="y")], ["a"], lambda y: np.maximum(y, 0)),
    "nothing": ([op("dropout.default", "d", input="y", p=0.5, train=False), op("clone.default", "a", self="d"),
                 op("to.dtype", "b", self="a", dtype=7)], ["b"], lambda y: y),
    "states": ([op("select.int", "a", self="y_h", dim=0, index=-1), op("squeeze.dim", "b", self="y_h", dim=0)],
               ["a", "b"], lambda y: (y[:, -1], y[:, -1])),
    "padded": ([op("constant_pad_nd.default", "a", self="y", pad=[0, 0, 2, 1])], ["a"],
               lambda y: np.pad(y, ((0, 0), (2, 1), (0, 0)))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operations_on_the_output_of_a_gru(load, x, y, name):
    nodes, outputs, function = CASES[name]
    got = load({"x": x}, [zeros(), gru("y", "x", "h0"), *nodes], outputs)(x)
    wanted = np.concatenate((y[0], x), 2) if name == "joined" else function(y[0])
    if isinstance(wanted, tuple):
        for mine, theirs in zip(got, wanted, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
    else:
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_weights_that_are_made_of_others(load, rng):
    v, g = rng.standard_normal((3, 4)).astype("f4"), rng.standard_normal((3, 1)).astype("f4")
    x = rng.standard_normal((2, 5, 4)).astype("f4")
    arrays = {"fc.g": g, "fc.v": v}
    nodes = [op("_weight_norm_interface.default", ["w", "n"], v="p_fc_v", g="p_fc_g", dim=0),
             op("linear.default", "y", input="x", weight="w")]  # fmt: skip
    wanted = x @ (g * v / np.sqrt((v.astype("f8") ** 2).sum(1, keepdims=True))).T
    np.testing.assert_allclose(load({"x": x}, nodes, ["y"], arrays)(x), wanted, atol=1e-5)
    nodes = [op("t.default", "t", self="p_m"), op("addmm.default", "y", self="p_b", mat1="x", mat2="t")]
    arrays = {"m": v, "b": g[:, 0]}
    np.testing.assert_allclose(load({"x": x[:, 0]}, nodes, ["y"], arrays)(x[:, 0]), x[:, 0] @ v.T + g[:, 0], atol=1e-5)


def test_a_layer_that_is_used_twice_is_one(load, x):
    nodes = [zeros(), gru("y", "x", "h0"), gru("z", "y", "h0")]
    model = load({"x": x}, nodes, ["z"])
    once = fastgru.from_torch(gru_arrays(4, 4))
    np.testing.assert_array_equal(model(x), once(once(x)[0])[0])


def test_what_nobody_uses_is_left_out(load, x):
    nodes = [
        zeros(),
        gru("y", "x", "h0"),
        op("tanh.default", "a", self="y"),
        op("relu.default", "b", self="y"),
    ]
    assert "tanh" not in repr(load({"x": x}, nodes, ["b"]))


def test_tensors_that_nobody_uses_are_named(load, x):
    arrays = {**{f"gru.{name}": array for name, array in gru_arrays(4, 4).items()}, "left": np.ones(3, "f4"),
              "bn.num_batches_tracked": np.zeros((), "i8")}  # fmt: skip
    nodes = [zeros(), gru("y", "x", "h0")]
    with pytest.raises(CheckpointError, match=r"no layer uses the tensors 'left';"):
        load({"x": x}, nodes, ["y"], arrays)
    with pytest.warns(UserWarning, match="'left'"):
        load({"x": x}, nodes, ["y"], arrays, strict=False)


def test_layers_by_hand_go_before_the_graph(load, x, y):
    nodes = [zeros(), gru("y", "x", "h0"), op("linalg_inv.default", "c", self="y")]
    with pytest.raises(UnsupportedModelError, match=r"linalg_inv \(node 'c'\): the operation is not supported"):
        load({"x": x}, nodes, ["c"])
    np.testing.assert_array_equal(load({"x": x}, nodes, ["c"], layers=["gru"])(x), y[0])


@pytest.mark.parametrize(("node", "message"), [
    (gru("z", "y", "p_gru_weight_hh_l0"), r"initial states \(12, 4\), wanted"),
    (gru("z", "y", "h0", params=WEIGHTS[:3]), "3 weights, wanted 4"),
    (gru("z", "y", "h0", num_layers=0), "num_layers"),
    (op("linear.default", "z", input="y", weight="y"), "linear"),
    (op("linear.default", "z", input="y"), "lacks one of its operands"),
    (op("linear.default", "z", input="y", weight="p_gru_weight_hh_l0", other=1), "operands that are not known"),
    (op("batch_norm.default", "z", input="y", weight=None, bias=None, running_mean=None, running_var=None,
               training=True), "statistics of the batch.*track_running_stats=False"),
    (op("batch_norm.default", "z", input="y", weight=None, bias=None, running_mean="p_gru_bias_hh_l0",
               running_var="p_gru_bias_hh_l0", training=True), "eval"),
    (op("add_.Tensor", "z", self="p_gru_weight_hh_l0", other=1), "eval"),
    (op("select.int", "z", self="y", dim=0, index=3), "index is 3"),
    (op("cat.default", "z", tensors=["y", "y_h"], dim=0), "cat"),
    (op("view.default", "z", self="y", size=[-1, 9]), "view"),
    (op("to.dtype", "z", self="y", dtype=6), "half precision"),
    (op("to.dtype", "z", self="y", dtype=1), "8 or 16 bits"),
    (op("max_pool1d.default", "z", self="y", kernel_size=["y"]), "kernel_size"),
    (op("_operator.matmul", "z", a="y", b="y"), r"matmul"),
    (op("torch.ops.higher_order.cond", "z", a="y"), "higher_order"),
])  # fmt: skip
def test_what_is_not_supported_is_named_with_its_node(load, x, node, message):
    if node["target"].startswith("torch.ops.aten._operator") or "higher_order" in node["target"]:
        node = {**node, "target": node["target"].removeprefix("torch.ops.aten.")}
    with pytest.raises(UnsupportedModelError, match=f"{message}"):
        load({"x": x}, [zeros(), gru("y", "x", "h0"), node], ["z"])


def test_a_missing_tensor_is_named(load, x, tmp_path):
    config = graph_config(["gone"], {"x": x}, [op("linear.default", "y", input="x", weight="p_gone")], ["y"])
    (tmp_path / "file").write_bytes(export_bytes({"w": np.ones((2, 4), "f4")}, config))
    with pytest.raises(CheckpointError, match="'gone' is missing"):
        fastgru.load(tmp_path / "file")


GRU_ALONE = [zeros(), gru("y", "x", "h0")]
OTHERS = {"steps": (BATCH, 9, 4), "batch": (2, STEPS, 4)}
FIXED = {
    "a scale": op("mul.Tensor", "z", self="y", other=0.5),
    "a quotient": op("div.Tensor", "z", self="y", other=STEPS),
    "a quotient of one row": op("div.Tensor", "z", self="y", other=1),
    "an offset": op("add.Tensor", "z", self="y", other=3),
    "a place": op("select.int", "z", self="y", dim=1, index=STEPS - 1),
    "a start": op("slice.Tensor", "z", self="y", dim=1, start=2, end=2**63 - 1),
    "a slope": op("leaky_relu.default", "z", self="y", negative_slope=0.2),
    "a window": op("avg_pool1d.default", "z", self="y", kernel_size=[2]),
    "a padding": op("constant_pad_nd.default", "z", self="y", pad=[0, 0, 1, 0]),
}


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("axis", OTHERS)
def test_a_number_that_may_come_from_a_size_fixes_every_size(load, x, name, axis):
    model = load({"x": x}, [*GRU_ALONE, FIXED[name]], ["z"])
    model(x)
    with pytest.raises(fastgru.ShapeError, match=rf"wanted [35]: .*{FIXED[name]['target'][15:19]}"):
        model(np.zeros(OTHERS[axis], "f4"))


def test_options_of_pytorchs_own_modules_fix_nothing(load, x, y):
    node = op("leaky_relu.default", "z", self="y", negative_slope=0.2, module="torch.nn.modules.activation.LeakyReLU")
    model = load({"x": x}, [*GRU_ALONE, node], ["z"])
    longer = np.concatenate((x, x, x), 1)[:2]
    assert model(longer).shape == (2, 3 * STEPS, 4)
    np.testing.assert_allclose(model(x), np.where(y[0] > 0, y[0], 0.2 * y[0]), atol=1e-6)


@pytest.mark.parametrize("module", ["__main__.Tagger", "torch.nn.modules.activation.MultiheadAttention", ""])
def test_code_of_another_author_fixes_sizes_until_they_are_opened(load, x, module):
    model = load({"x": x}, [*GRU_ALONE, op("relu.default", "z", self="y", module=module)], ["z"])
    with pytest.raises(fastgru.ShapeError, match=r"got 9 steps, wanted 5: .*with_any_size"):
        model(np.zeros(OTHERS["steps"], "f4"))
    assert model.with_any_size()(np.zeros((2, 9, 4), "f4")).shape == (2, 9, 4)


def test_inputs_of_different_batches_are_refused(load, x):
    nodes = [*GRU_ALONE, op("add.Tensor", "z", self="y", other="w")]
    with pytest.raises(UnsupportedModelError, match=r"add: got shapes \(3, 5, 4\) and \(4, 4\)"):
        load({"x": x, "w": np.zeros((4, 4), "f4")}, nodes, ["z"])


def test_zeros_make_the_other_operand_as_large_as_they_are(load, x, y):
    wide = op("zeros.default", "w", size=[STEPS, BATCH, 4])
    model = load({"x": x}, [*GRU_ALONE, LAST, wide, op("add.Tensor", "z", self="last", other="w")], ["z"])
    np.testing.assert_array_equal(model(x), np.broadcast_to(y[0][:, -1], (STEPS, BATCH, 4)))
    with pytest.raises(fastgru.ShapeError, match="wanted 5"):
        model(np.zeros((BATCH, 9, 4), "f4"))
    same = op("zeros.default", "w", size=[BATCH, STEPS, 4])
    np.testing.assert_array_equal(
        load({"x": x}, [*GRU_ALONE, same, op("add.Tensor", "z", self="y", other="w")], ["z"])(x), y[0]
    )


def test_a_gru_and_a_dropout_in_training_mode_are_refused(load, x):
    arrays = gru_arrays(4, 4, layers=2)
    weights = [f"p_gru_{name}" for name in arrays]
    nodes = [zeros(count=2), gru("y", "x", "h0", params=weights, num_layers=2, dropout=0.5, train=True)]
    with pytest.raises(UnsupportedModelError, match=r"gru \(node 'y'\): drops out at random"):
        load({"x": x}, nodes, ["y"], {f"gru.{name}": array for name, array in arrays.items()})
    with pytest.raises(UnsupportedModelError, match=r"dropout \(node 'z'\): drops out at random"):
        load({"x": x}, [*GRU_ALONE, op("dropout.default", "z", input="y", p=0.5, train=True)], ["z"])


def test_a_model_with_fixed_sizes_is_saved_and_converted_with_them(load, x, tmp_path):
    model = load({"x": x}, [*GRU_ALONE, FIXED["a scale"]], ["z"])
    model.save(tmp_path / "saved")
    again = fastgru.load(tmp_path / "saved")
    assert again.graph.inputs[0].fixed == model.graph.inputs[0].fixed != ()
    with pytest.raises(fastgru.ShapeError, match=r"got 9 steps, wanted 5: .*mul"):
        again(np.zeros((BATCH, 9, 4), "f4"))
    np.testing.assert_array_equal(again(x), model(x))
    opened = load({"x": x}, GRU_ALONE, ["y"])
    opened.save(tmp_path / "open")
    assert not fastgru.load(tmp_path / "open").graph.inputs[0].fixed
