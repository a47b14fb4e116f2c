"""Modules around the GRUs: what each kind makes of its tensors and options, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.errors import CheckpointError, UnsupportedModelError
from fastgru.importers.tensors import UsedTensors
from fastgru.importers.weights.layers import layers_of_kind
from fastgru.importers.weights.options import Options
from fastgru.layers import BatchNormalization, Conv1D, Embedding, LayerNormalization, PReLU, ZeroPadding1D


def array(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def made(kind, tensors, **options):
    tensors = {f"m.{name}": tensor for name, tensor in tensors.items()}
    return layers_of_kind(kind, tensors, "m", Options(options, "file: 'm'"), "file")


CONV = {"weight": array(4, 2, 3), "bias": array(4)}


@pytest.mark.parametrize(
    ("options", "padding", "zeros"),
    [
        ({}, "valid", None),
        ({"padding": [0]}, "valid", None),
        ({"padding": "valid"}, "valid", None),
        ({"padding": "same"}, "same", None),
        ({"padding": 1}, "same", None),
        ({"padding": 1, "dilation": 2}, "valid", 1),
        ({"padding": 2, "dilation": 2}, "same", None),
        ({"padding": [1], "stride": [2]}, "valid", 1),
        ({"padding": 5}, "valid", 5),
    ],
)
def test_a_convolution_is_padded_as_pytorch_does(options, padding, zeros):
    layers = made("conv", CONV, **options)
    conv = layers[-1]
    assert isinstance(conv, Conv1D) and conv.padding == padding and conv.bias is not None
    assert [layer.fields() for layer in layers[:-1]] == ([] if zeros is None else [{"before": zeros, "after": zeros}])
    assert all(isinstance(layer, ZeroPadding1D) for layer in layers[:-1])


def test_the_options_of_a_convolution_are_kept():
    (conv,) = made("conv", CONV, stride=[2], dilation=3, groups=2, in_channels=4, out_channels=4, kernel_size=[3])
    assert (conv.strides, conv.dilation, conv.groups) == (2, 3, 2)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"padding": "same", "stride": 2}, CheckpointError, "padding is 'same', which needs a stride of 1"),
        ({"padding": -1}, CheckpointError, "padding is -1, wanted a whole number from 0"),
        ({"padding": "causal"}, CheckpointError, "padding is 'causal', wanted 'valid', 'same' or a"),
        ({"stride": 0}, CheckpointError, "stride is 0"),
        ({"stride": True}, CheckpointError, "stride is True"),
        ({"stride": [1, 1]}, CheckpointError, r"stride is \[1, 1\]"),
        ({"groups": "x" * 500}, CheckpointError, "groups is 'x"),
        ({"groups": 1 << 40}, CheckpointError, "groups is"),
        ({"padding_mode": "reflect"}, UnsupportedModelError, "padding_mode='reflect' is not supported, only 'zeros'"),
        ({"transposed": True}, UnsupportedModelError, "transposed=True"),
        ({"in_channels": 3}, CheckpointError, "its in_channels is 3, but its weights are those of in_channels 2"),
        ({"kernel_size": [5]}, CheckpointError, "kernel_size"),
        ({"out_channels": True}, CheckpointError, "out_channels"),
    ],
)
def test_an_option_that_cannot_be_is_named(options, error, said):
    with pytest.raises(error, match=f"file: 'm': .*{said}"):
        made("conv", CONV, **options)


def test_layer_normalisation_takes_its_own_axes():
    (norm,) = made("layer_norm", {"weight": array(4), "bias": array(4)})
    assert isinstance(norm, LayerNormalization) and norm.axes == (-1,) and norm.epsilon == 1e-5 and not norm.rms
    (norm,) = made("layer_norm", {"weight": array(3, 4), "bias": array(3, 4)}, normalized_shape=[3, 4], eps=0.5)
    assert norm.axes == (-2, -1) and norm.epsilon == 0.5
    (norm,) = made("layer_norm", {}, normalized_shape=4, elementwise_affine=False)
    assert norm.gamma is None and norm.beta is None
    with pytest.raises(CheckpointError, match=r"'m\.weight' has the wrong shape: got \(4,\), wanted \(5,\)"):
        made("layer_norm", {"weight": array(4)}, normalized_shape=[5])
    with pytest.raises(CheckpointError, match="eps is 'small', wanted a finite number"):
        made("layer_norm", {"weight": array(4)}, eps="small")


def test_rms_normalisation_without_an_epsilon_has_the_smallest_step_of_float32():
    (norm,) = made("rms_norm", {"weight": array(4)}, eps=None)
    assert norm.rms and norm.epsilon == np.finfo(np.float32).eps
    assert made("rms_norm", {"weight": array(4)}, eps=0.25)[0].epsilon == 0.25


def test_batch_normalisation_uses_the_statistics_of_the_training():
    tensors = {"weight": array(4), "bias": array(4), "running_mean": array(4), "running_var": array(4) ** 2,
               "num_batches_tracked": np.array(7)}  # fmt: skip
    used = UsedTensors({f"m.{name}": tensor for name, tensor in tensors.items()})
    (norm,) = layers_of_kind("batch_norm", used, "m", Options({"eps": 0.5, "num_features": 4}, "m"), "file")
    assert isinstance(norm, BatchNormalization) and norm.epsilon == 0.5 and norm.axis == -1
    np.testing.assert_array_equal(norm.mean, tensors["running_mean"])
    assert used.unused() == []
    with pytest.raises(UnsupportedModelError, match="no running_mean"):
        made("batch_norm", {"weight": array(4), "bias": array(4)})
    with pytest.raises(CheckpointError, match="num_features is 5"):
        made("batch_norm", tensors, num_features=5)


def test_an_embedding_cuts_rows_that_are_too_long():
    weight = np.array([[3, 4], [0.3, 0.4]], np.float32)
    (layer,) = made("embedding", {"weight": weight}, max_norm=1.0, norm_type=2.0, padding_idx=0)
    assert isinstance(layer, Embedding)
    np.testing.assert_allclose(layer.weight, [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    (layer,) = made("embedding", {"weight": weight}, max_norm=None)
    np.testing.assert_array_equal(layer.weight, weight)
    with pytest.raises(CheckpointError, match="max_norm is 'a'"):
        made("embedding", {"weight": weight}, max_norm="a")


def test_prelu_has_one_weight_or_one_a_feature():
    for size in (1, 4):
        (layer,) = made("prelu", {"weight": array(size)}, num_parameters=size)
        assert isinstance(layer, PReLU) and layer.weight.shape == (size,)
    with pytest.raises(CheckpointError, match="num_parameters"):
        made("prelu", {"weight": array(4)}, num_parameters=1)


def test_a_gru_whose_options_disagree_with_its_weights_is_an_error():
    tensors = {"weight_ih_l0": array(9, 4), "weight_hh_l0": array(9, 3)}
    good = {"input_size": 4, "hidden_size": 3, "num_layers": 1, "bidirectional": False, "bias": False}
    (layer,) = made("gru", tensors, **good)
    assert layer.gru.hidden_size == 3
    for name, wrong in (("input_size", 5), ("hidden_size", 1 << 60), ("num_layers", 10**9), ("num_layers", "1"),
                        ("bidirectional", True), ("bidirectional", 1), ("bias", True)):  # fmt: skip
        with pytest.raises(CheckpointError, match=f"its {name} is "):
            made("gru", tensors, **{**good, name: wrong})
