"""What tensors with PyTorch's names mean: GRUs of every kind, and everything that only looks like one."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.errors import CheckpointError, UnsupportedModelError
from fastgru.importers.weights.modules import Known, dense_from_tensors, gru_from_tensors, modules_of, without_counters
from fastgru.layers import validate


def array(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def gru_tensors(prefix="", inputs=4, hidden=3, depth=1, reverse=False, bias=True, gates=3):
    dot = f"{prefix}." if prefix else ""
    ways = ("", "_reverse") if reverse else ("",)
    tensors = {}
    for layer in range(depth):
        for way in ways:
            width = inputs if layer == 0 else hidden * len(ways)
            end = f"_l{layer}{way}"
            tensors[f"{dot}weight_ih{end}"] = array(gates * hidden, width, seed=len(tensors))
            tensors[f"{dot}weight_hh{end}"] = array(gates * hidden, hidden, seed=len(tensors))
            if bias:
                tensors[f"{dot}bias_ih{end}"] = array(gates * hidden, seed=len(tensors))
                tensors[f"{dot}bias_hh{end}"] = array(gates * hidden, seed=len(tensors))
    return tensors


@pytest.mark.parametrize("depth", [1, 2, 12])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("prefix", ["", "encoder.rnn"])
def test_a_stack_of_any_depth_and_direction_is_read_whole(depth, reverse, bias, prefix):
    tensors = gru_tensors(prefix, depth=depth, reverse=reverse, bias=bias)
    spec = gru_from_tensors(tensors, prefix, "file")
    validate(spec)
    assert (spec.num_layers, spec.directions, spec.input_size, spec.hidden_size) == (depth, 1 + reverse, 4, 3)
    assert spec.bias is bias
    assert spec.reset_after
    dot = f"{prefix}." if prefix else ""
    for layer, directions in enumerate(spec.layers):
        for way, weights in zip(("", "_reverse"), directions, strict=False):
            end = f"_l{layer}{way}"
            np.testing.assert_array_equal(weights.w_ih, tensors[f"{dot}weight_ih{end}"])
            np.testing.assert_array_equal(weights.w_hh, tensors[f"{dot}weight_hh{end}"])
            wanted = tensors[f"{dot}bias_ih{end}"] if bias else np.zeros(9)
            np.testing.assert_array_equal(weights.b_ih, wanted)


def test_a_cell_is_a_stack_of_one_layer():
    tensors = {name.replace("_l0", ""): tensor for name, tensor in gru_tensors("cell").items()}
    spec = gru_from_tensors(tensors, "cell", "file")
    validate(spec)
    np.testing.assert_array_equal(spec.layers[0][0].b_hh, tensors["cell.bias_hh"])


def test_weights_come_out_in_c_order_and_native_bytes():
    tensors = {name: np.asfortranarray(tensor.astype(">f4")) for name, tensor in gru_tensors().items()}
    weights = gru_from_tensors(tensors, "", "file").layers[0][0]
    for tensor in (weights.w_ih, weights.w_hh, weights.b_ih, weights.b_hh):
        assert tensor.flags.c_contiguous
        assert tensor.dtype == np.float32
    np.testing.assert_array_equal(weights.w_ih, tensors["weight_ih_l0"])


@pytest.mark.parametrize("name", list(gru_tensors("gru", depth=2, reverse=True)))
def test_a_missing_tensor_is_named(name):
    tensors = gru_tensors("gru", depth=2, reverse=True)
    del tensors[name]
    with pytest.raises(CheckpointError, match=rf"file: tensor '{name}' is missing; wanted shape \("):
        gru_from_tensors(tensors, "gru", "file")


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("weight_hh_l0", (8, 3), "(9, 3)"),
        ("weight_hh_l0", (9,), "(any, any)"),
        ("weight_ih_l0", (8, 4), "(9, any)"),
        ("bias_ih_l0", (9, 1), "(9,)"),
        ("bias_hh_l0", (6,), "(9,)"),
        ("weight_hh_l1", (9, 4), "(12, 4)"),
        ("bias_hh_l1", (), "(9,)"),
    ],
)
def test_a_misshapen_tensor_is_named_with_got_and_wanted(name, shape, wanted):
    tensors = gru_tensors(depth=2) | {name: np.ones(shape, np.float32)}
    with pytest.raises(CheckpointError) as caught:
        gru_from_tensors(tensors, "", "file")
    for part in ("file", repr(name), f"got {shape}", f"wanted {wanted}"):
        assert part in str(caught.value)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float16, np.complex64, np.bool_])
def test_a_weight_that_is_not_a_float_is_an_error(dtype):
    tensors = gru_tensors() | {"weight_ih_l0": np.ones((9, 4), dtype)}
    with pytest.raises(CheckpointError, match=r"'weight_ih_l0' has the wrong type: got .*, wanted float32 or float64"):
        gru_from_tensors(tensors, "", "file")


@pytest.mark.parametrize(("gates", "family"), [(4, "LSTM"), (1, "RNN")])
@pytest.mark.parametrize("end", ["_l0", ""])
def test_other_recurrent_modules_are_refused_by_their_name(gates, family, end):
    tensors = {name.replace("_l0", end): tensor for name, tensor in gru_tensors("net", gates=gates).items()}
    assert modules_of(tensors)["net"].kind == family.lower()
    with pytest.raises(UnsupportedModelError, match=f"'net' is an {family}"):
        gru_from_tensors(tensors, "net", "file")


def test_an_lstm_with_a_projection_is_still_an_lstm():
    tensors = {"weight_ih_l0": array(12, 4), "weight_hh_l0": array(12, 2), "weight_hr_l0": array(2, 3)}
    with pytest.raises(UnsupportedModelError, match="LSTM"):
        gru_from_tensors(tensors, "", "file")


def test_a_layer_number_far_away_fails_at_the_first_layer_that_is_missing():
    tensors = gru_tensors() | {"weight_ih_l9999": array(9, 4)}
    with pytest.raises(CheckpointError, match="'weight_hh_l1' is missing"):
        gru_from_tensors(tensors, "", "file")


def test_an_unknown_prefix_is_an_error():
    with pytest.raises(CheckpointError, match="no GRU is called 'decoder'"):
        gru_from_tensors(gru_tensors("encoder"), "decoder", "file")


def test_modules_are_told_by_their_tensors_in_the_files_order():
    tensors = {
        "norm.weight": array(4),
        "norm.bias": array(4),
        "words.weight": array(10, 4),
        **gru_tensors("rnn"),
        "batch.weight": array(3),
        "batch.running_mean": array(3),
        "batch.num_batches_tracked": np.array(7),
        "conv.weight": array(3, 4, 5),
        "conv.bias": array(3),
        "attention.in_proj_weight": array(9, 3),
        "fc.weight": array(2, 3),
        "fc.bias": array(2),
        "scale": array(1),
    }
    found = {prefix: (module.kind, module.looks_like) for prefix, module in modules_of(tensors).items()}
    assert list(found) == ["norm", "words", "rnn", "batch", "conv", "attention", "fc", ""]
    assert found == {
        "norm": ("norm", "LayerNorm, GroupNorm, InstanceNorm1d or BatchNorm1d without statistics"),
        "words": ("matrix", "Embedding or Linear without bias"),
        "rnn": ("gru", "GRU"),
        "batch": ("other", "BatchNorm"),
        "conv": ("conv", "Conv1d"),
        "attention": ("other", "MultiheadAttention"),
        "fc": ("linear", "Linear"),
        "": ("other", "unknown"),
    }


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        ({"weight": (4,)}, "vector"),
        ({"weight": (1,)}, "one_number"),
        ({"weight": (4,), "bias": (4,)}, "norm"),
        ({"weight": (5, 4), "bias": (5, 4)}, "layer_norm"),
        ({"running_mean": (4,), "running_var": (4,)}, "batch_norm"),
        ({"weight": (4, 3, 5), "bias": (4,)}, "conv"),
        ({"weight": (4, 2, 3), "bias": (4,)}, "either_conv"),
        ({"weight": (4, 2, 3, 3)}, "other"),
        ({"running_mean": (4,)}, "other"),
        ({"weight": (4,), "bias": (4,), "extra": (1,)}, "other"),
    ],
)
def test_a_module_around_the_gru_is_told_by_its_tensors(tensors, kind):
    found = modules_of({f"m.{name}": array(*shape) for name, shape in tensors.items()})
    assert found["m"].kind == kind


def test_what_is_known_of_a_module_goes_before_what_is_seen():
    known = {"m": Known("rms_norm", "RMSNorm", {"eps": 0.5}), "n": Known(None, "", {"padding": 1})}
    found = modules_of({"m.weight": array(4), "n.weight": array(4, 2, 3)}, known)
    assert (found["m"].kind, found["m"].looks_like, found["m"].options) == ("rms_norm", "RMSNorm", {"eps": 0.5})
    assert (found["n"].kind, found["n"].options) == ("either_conv", {"padding": 1})


def test_a_linear_layer_has_a_bias_or_none():
    tensors = {"fc.weight": array(2, 3), "fc.bias": array(2)}
    np.testing.assert_array_equal(dense_from_tensors(tensors, "fc", "file").bias, tensors["fc.bias"])
    del tensors["fc.bias"]
    assert dense_from_tensors(tensors, "fc", "file").bias is None


def test_a_bias_that_does_not_fit_its_weight_is_named():
    with pytest.raises(CheckpointError, match=r"'fc.bias' has the wrong shape: got \(3,\), wanted \(2,\)"):
        dense_from_tensors({"fc.weight": array(2, 3), "fc.bias": array(3)}, "fc", "file")


def test_a_parametrisation_other_than_weight_norm_is_refused():
    tensors = gru_tensors("gru")
    tensors["gru.parametrizations.weight_hh_l0.original"] = tensors.pop("gru.weight_hh_l0")
    with pytest.raises(UnsupportedModelError, match=r"'gru' has weights under a parametrisation.*original"):
        gru_from_tensors(tensors, "gru", "file")
    tensors["gru.parametrizations.weight_hh_l0.0.base"] = array(9, 9)
    with pytest.raises(UnsupportedModelError, match=r"'gru' has weights under an orthogonal parametrisation"):
        gru_from_tensors(tensors, "gru", "file")


def test_the_counter_of_an_averaged_model_is_no_module():
    tensors = {"n_averaged": np.array(3), "sub.n_averaged": np.array(4), "rnn.n_averaged.weight": array(2, 3)}
    assert list(without_counters(tensors)) == ["rnn.n_averaged.weight"]
    assert list(without_counters({"n_averaged": array(3)})) == ["n_averaged"]  # a parameter that someone called so
