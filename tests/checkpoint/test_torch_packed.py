"""Packed weights of torch.ao come out as plain float32 tensors, by name, and by tensor or by channel."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from checkpoint_writers import Call, Name, Storage, Tensor, module, tensor, torch_bytes

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError

RAW = np.array([[-128, 0, 5], [127, 1, -1]], "i1")
BIAS = np.array([0.5, -2.0], "<f4")


def quantised(scale=0.25, zero_point=0):
    scheme = (Name("torch", "per_tensor_affine"), scale, zero_point)
    return Tensor(Storage(RAW.tobytes(), "QInt8Storage", 6), 0, (2, 3), (3, 1), "_rebuild_qtensor", (scheme, False))


def by_channel(scales, zero_points, axis=0):
    scheme = (Name("torch", "per_channel_affine"), tensor(scales), tensor(zero_points), axis)
    return Tensor(Storage(RAW.tobytes(), "QInt8Storage", 6), 0, (2, 3), (3, 1), "_rebuild_qtensor", (scheme, False))


def script_object(content, name):
    return Call(Name("torch", "ScriptObject"), (), (content, f"__torch__.torch.classes.{name}"))


def linear(bias=BIAS):
    content = (quantised(), None if bias is None else tensor(bias))
    return script_object(content, "quantized.LinearPackedParamsBase")


def cell(kind="quantized_dynamic"):
    return script_object((kind, [tensor(BIAS), tensor(BIAS)], [], [1], [linear(), linear()]), "rnn.CellParamsBase")


def test_a_linear_layer_in_a_state_dict_is_a_pair(file_of):
    value = OrderedDict({"fc.scale": tensor(np.float32(1)), "fc._packed_params.dtype": Name("torch", "qint8"),
                         "fc._packed_params._packed_params": (quantised(), tensor(BIAS)),
                         "out._packed_params._packed_params": (quantised(), None)})  # fmt: skip
    checkpoint = read(file_of(torch_bytes(value)))
    inner = "_packed_params._packed_params"
    assert list(checkpoint) == ["fc.scale", f"fc.{inner}.weight", f"fc.{inner}.bias", f"out.{inner}.weight"]
    np.testing.assert_array_equal(checkpoint["fc._packed_params._packed_params.weight"], RAW * np.float32(0.25))
    assert checkpoint.metadata["skipped"] == ["fc._packed_params.dtype"]


@pytest.mark.parametrize("kind", ["quantized_dynamic", "quantized_fp16"])
def test_a_cell_gives_two_weights_and_two_biases(file_of, kind):
    checkpoint = read(file_of(torch_bytes({"rnn._all_weight_values.0.param": cell(kind)})))
    start = "rnn._all_weight_values.0.param."
    assert {name.removeprefix(start): array.shape for name, array in checkpoint.items()} == {
        "weight_ih": (2, 3), "bias_ih": (2,), "weight_hh": (2, 3), "bias_hh": (2,)
    }  # fmt: skip


def test_a_whole_module_holds_them_as_attributes(file_of):
    packed = module("torch.ao.nn.quantized.modules.linear.LinearPackedParams", _packed_params=linear())
    fc = module("torch.ao.nn.quantized.dynamic.modules.linear.Linear", modules={"_packed_params": packed}, scale=1.0)
    checkpoint = read(file_of(torch_bytes(module("my.Net", modules={"fc": fc}))))
    assert list(checkpoint) == ["fc._packed_params._packed_params.weight", "fc._packed_params._packed_params.bias"]


@pytest.mark.parametrize(
    "content",
    [None, (), (1, 2), (quantised(),), (quantised(), 3), ("quantized", [], [], [], [linear(), linear()]),
     ("quantized_dynamic", [], [], [], [linear()]), ("quantized_dynamic", [], [], [], [linear(), 3])],
)  # fmt: skip
def test_an_object_of_any_other_shape_is_left_out_by_name(file_of, content):
    for name in ("quantized.LinearPackedParamsBase", "rnn.CellParamsBase", "other"):
        value = {"w": tensor(BIAS), "x.param": script_object(content, name)}
        checkpoint = read(file_of(torch_bytes(value)))
        assert list(checkpoint) == ["w"] and checkpoint.metadata["skipped"] == ["x.param"]


@pytest.mark.parametrize("axis", [0, 1])
def test_tensors_quantised_by_channel_are_dequantised(file_of, axis):
    size = RAW.shape[axis]
    scales, zero_points = np.linspace(0.1, 0.7, size), np.arange(size)
    got = read(file_of(torch_bytes({"w": by_channel(scales, zero_points, axis)})))["w"]
    along = [1, 1]
    along[axis] = size
    wanted = (RAW - zero_points.reshape(along).astype("f4")) * scales.astype("f4").reshape(along)
    np.testing.assert_array_equal(got, wanted)


def test_channels_that_do_not_fit_are_an_error(file_of):
    for scales, zero_points in ((np.ones(3), np.zeros(2, int)), (np.ones(2), np.zeros(3, int)),
                                (np.ones((2, 1)), np.zeros(2, int)), (np.ones(2, "c8"), np.zeros(2, int))):  # fmt: skip
        with pytest.raises(CheckpointError, match="wanted one number for each"):
            read(file_of(torch_bytes({"w": by_channel(scales, zero_points)})))


def test_an_axis_beyond_the_tensor_or_scales_with_scales_make_no_tensor(file_of):
    nested = by_channel(np.ones(2), np.zeros(2, int))
    scheme = (Name("torch", "per_channel_affine"), nested, tensor(np.zeros(2, int)), 0)
    storage = Storage(RAW.tobytes(), "QInt8Storage", 6)
    deep = Tensor(storage, 0, (2, 3), (3, 1), "_rebuild_qtensor", (scheme, False))
    for odd in (by_channel(np.ones(2), np.zeros(2, int), 2), by_channel(np.ones(2), np.zeros(2, int), -1), deep):
        assert list(read(file_of(torch_bytes({"w": tensor(BIAS), "x": odd})))) == ["w"]
