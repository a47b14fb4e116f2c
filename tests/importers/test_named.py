"""``Named``: a module with its options in ``layers=[...]``, where weights alone do not say enough."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, DTypeError, ShapeError, UnsupportedModelError
from fastgru.importers import spec_of
from fastgru.importers.weights.chain import model_spec
from fastgru.importers.weights.modules import Known, modules_of
from fastgru.importers.weights.named import Named
from fastgru.importers.weights.suggestion import assumptions, suggest
from fastgru.layers import (
    Activation,
    BatchNormalization,
    Conv1D,
    Dense,
    Embedding,
    GroupNormalization,
    GRULayer,
    Last,
    LayerNormalization,
    PReLU,
    ZeroPadding1D,
    validate,
)


def array(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def gru(prefix, inputs, hidden):
    return {f"{prefix}.weight_ih_l0": array(3 * hidden, inputs), f"{prefix}.weight_hh_l0": array(3 * hidden, hidden)}


MODEL = {
    "conv.weight": array(6, 4, 3), "conv.bias": array(6),
    "batch.weight": array(6), "batch.bias": array(6), "batch.running_mean": array(6),
    "batch.running_var": array(6) ** 2, "batch.num_batches_tracked": np.array(3),
    "act.weight": array(6), **gru("rnn", 6, 3), "norm.weight": array(3), "norm.bias": array(3),
    "fc.weight": array(2, 3), "fc.bias": array(2),
}  # fmt: skip


def kinds(spec):
    return [(node.name, type(node.layer)) for node in spec.nodes]


def test_modules_of_every_kind_are_named_by_prefix():
    layers = [Named("conv", padding=1, stride=2), "batch", Named("act", kind="PReLU"), "rnn", Last(),
              Named("norm", kind="LayerNorm", eps=0.5), "fc"]  # fmt: skip
    spec = spec_of(Checkpoint("m.pt", "pytorch-zip", MODEL), layers)
    assert kinds(spec) == [
        ("conv_padding", ZeroPadding1D), ("conv", Conv1D), ("batch", BatchNormalization), ("act", PReLU),
        ("rnn", GRULayer), ("last", Last), ("norm", LayerNormalization), ("fc", Dense),
    ]  # fmt: skip
    assert spec.nodes[1].layer.strides == 2 and spec.nodes[2].layer.axis == -1 and spec.nodes[6].layer.epsilon == 0.5


def test_a_name_alone_has_pytorchs_defaults():
    spec = model_spec(MODEL, ["conv", Activation("relu"), "batch", "rnn", Named("norm", "LayerNorm")], "file")
    validate(spec)
    assert spec.nodes[0].layer.padding == "valid" and spec.nodes[2].layer.epsilon == 1e-5


def test_a_matrix_may_be_said_to_be_an_embedding_or_a_linear_layer():
    tensors = {"m.weight": array(4, 4), **gru("rnn", 4, 3)}
    for kind, wanted in (("Embedding", Embedding), ("Linear", Dense), (None, Embedding)):
        assert type(model_spec(tensors, [Named("m", kind), "rnn"], "file").nodes[0].layer) is wanted


@pytest.mark.parametrize(("kind", "wanted"), [("LayerNorm", False), ("RMSNorm", True)])
def test_a_lone_vector_needs_a_kind(kind, wanted):
    tensors = {**gru("rnn", 4, 3), "norm.weight": array(3)}
    assert model_spec(tensors, ["rnn", Named("norm", kind)], "file").nodes[1].layer.rms is wanted
    with pytest.raises(CheckpointError, match=r"'norm', which may be .* say which: fastgru\.Named\('norm', kind="):
        model_spec(tensors, ["rnn", "norm"], "file")


def test_one_number_is_a_prelu_unless_one_feature_comes_in_then_it_needs_a_kind():
    tensors = {**gru("rnn", 4, 3), "fc.weight": array(1, 3), "fc.bias": array(1), "act.weight": array(1)}
    assert kinds(model_spec(tensors, ["rnn", "act", "fc"], "file"))[1] == ("act", PReLU)
    for kind, wanted in (("PReLU", PReLU), ("RMSNorm", LayerNormalization), ("LayerNorm", LayerNormalization)):
        assert type(model_spec(tensors, ["rnn", "fc", Named("act", kind)], "file").nodes[2].layer) is wanted
    with pytest.raises(CheckpointError, match=r"'act', which may be PReLU, RMSNorm or .*Named\('act', kind='PReLU'\)"):
        model_spec(tensors, ["rnn", "fc", "act"], "file")


@pytest.mark.parametrize(
    ("kind", "options", "groups"),
    [("GroupNorm", {"groups": 3}, 3), ("GroupNorm", {"groups": 1, "eps": 0.5}, 1), ("InstanceNorm1d", {}, 6)],
)
def test_a_norm_with_a_bias_needs_a_kind_too(kind, options, groups):
    tensors = {**gru("rnn", 4, 6), "norm.weight": array(6), "norm.bias": array(6)}
    spec = model_spec(tensors, ["rnn", Named("norm", kind, **options)], "file")
    validate(spec)
    layer = spec.nodes[1].layer
    assert isinstance(layer, GroupNormalization)
    assert (layer.groups, layer.epsilon) == (groups, options.get("eps", 1e-5))
    said = "LayerNorm, GroupNorm, InstanceNorm1d or BatchNorm1d, .* kind='GroupNorm', groups=4"
    for unsaid in ("norm", Named("norm", eps=0.5), Named("norm", kind=...)):
        with pytest.raises(CheckpointError, match=f"names 'norm', which may be {said}"):
            model_spec(tensors, ["rnn", unsaid], "file")


def test_what_a_norm_is_said_to_be_must_be_possible():
    tensors = {**gru("rnn", 4, 6), "norm.weight": array(6), "norm.bias": array(6)}
    with pytest.raises(CheckpointError, match=r"do not say into how many groups .* kind='GroupNorm', groups=4"):
        model_spec(tensors, ["rnn", Named("norm", "GroupNorm")], "file")
    with pytest.raises(CheckpointError, match="its 6 features cannot be cut into 4 groups"):
        model_spec(tensors, ["rnn", Named("norm", "GroupNorm", groups=4)], "file")
    with pytest.raises(UnsupportedModelError, match=r"no running_mean .* give it statistics"):
        model_spec(tensors, ["rnn", Named("norm", "BatchNorm1d")], "file")
    spec = model_spec(tensors, ["rnn", Last(), Named("norm", "InstanceNorm1d")], "file")
    with pytest.raises(ShapeError, match="each feature is normalised over the steps, and these are gone"):
        validate(spec)


@pytest.mark.parametrize(
    ("weight", "bias", "kind"),
    [
        ((6, 4, 3), 6, "conv"),  # 6 is no multiple of 4
        ((6, 3, 3), 6, "either_conv"),  # transposed with two groups
        ((4, 4, 3), 4, "either_conv"),
        ((6, 4, 3), None, "either_conv"),
        ((6, 4, 3), 4, "other"),  # transposed for certain
        ((6, 3, 3), 9, "other"),
    ],
)
def test_a_convolution_may_be_transposed(weight, bias, kind):
    tensors = {"conv.weight": array(*weight)} | ({} if bias is None else {"conv.bias": array(bias)})
    module = modules_of(tensors)["conv"]
    assert module.kind == kind
    if kind == "other":
        assert module.looks_like == "ConvTranspose1d"
        with pytest.raises(UnsupportedModelError, match="looks like ConvTranspose1d"):
            model_spec(tensors, ["conv"], "file")
    elif kind == "either_conv":
        with pytest.raises(CheckpointError, match=r"may be Conv1d or ConvTranspose1d, .*kind='Conv1d'"):
            model_spec(tensors, [Named("conv", padding=1)], "file")
        assert kinds(model_spec(tensors, [Named("conv", "Conv1d")], "file")) == [("conv", Conv1D)]
        with pytest.raises(UnsupportedModelError, match="ConvTranspose1d"):
            model_spec(tensors, [Named("conv", "ConvTranspose1d")], "file")


def test_what_a_person_says_goes_before_what_the_file_says():
    known = {"conv": Known("conv", "Conv1d", {"padding": [2], "stride": [3]})}
    layers = model_spec(MODEL, [Named("conv", padding="same", stride=1)], "file", known).nodes
    assert [node.name for node in layers] == ["conv"] and layers[0].layer.padding == "same"
    layers = model_spec(MODEL, ["conv"], "file", known).nodes
    assert layers[0].layer.before == 2 and layers[1].layer.strides == 3


def test_groups_of_a_convolution_widen_what_it_takes():
    spec = model_spec(MODEL, [Named("conv", groups=2)], "file")
    assert spec.inputs[0].shape == (None, 8)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Named(3), "got int as a prefix"),
        (lambda: Named("conv", kind="Conv3d"), "kind is 'Conv3d', wanted one of GRU, "),
        (lambda: Named("conv", pading=1), "there is no option 'pading'; known are .*bidirectional, dilation, "),
        (lambda: model_spec(MODEL, [Named("fc", padding=1)], "file"), "'fc' is Linear, which has no option 'padding'$"),
        (lambda: model_spec(MODEL, [Named("conv", eps=1)], "file"), "it has stride, padding, dilation, groups"),
        (lambda: model_spec(MODEL, Named("conv"), "file"), "layers= is Named, wanted a list"),
    ],
)
def test_a_wrong_word_says_what_is_known(make, said):
    with pytest.raises(DTypeError, match=said):
        make()


def test_a_prefix_that_is_not_in_the_file_lists_the_modules():
    with pytest.raises(CheckpointError, match=r"layers= names 'cnv', .*'conv', 'batch'"):
        model_spec(MODEL, [Named("cnv", padding=1)], "file")


def test_a_suggestion_says_what_it_assumes():
    tensors = {name: tensor for name, tensor in MODEL.items() if not name.startswith("act")}
    assert suggest(tensors, modules_of(tensors)) == (
        'layers=[fastgru.Named("conv", padding=...), ..., "batch", ..., "rnn", ..., '
        'fastgru.Named("norm", kind=...), ..., "fc", ...]'
    )
    said = assumptions(modules_of(tensors))
    named = "fastgru.Named('conv', kind='Conv1d', padding=1)"
    for part in ("'conv' (stride 1, padding 0, dilation 1)", "'batch' (eps 1e-5)", named):
        assert part in said
    assert assumptions(modules_of({"fc.weight": array(2, 3)})) == ""
    known = {"norm": Known("layer_norm", "LayerNorm", {"eps": 1e-3})}
    assert assumptions(modules_of({"norm.weight": array(3), "norm.bias": array(3)}, known)) == ""


def test_a_named_module_shows_how_it_is_written():
    assert repr(Named("a", "PReLU")) == "Named('a', kind='PReLU')"
    assert repr(Named("conv", padding=1, stride=2)) == "Named('conv', padding=1, stride=2)"
    assert repr(Named("conv", kind=..., padding=...)) == "Named('conv', kind=..., padding=...)"


def test_the_suggested_kind_keeps_the_options_that_were_given() -> None:
    tensors = {"conv.weight": np.zeros((4, 4, 3), np.float32), "conv.bias": np.zeros(4, np.float32)}
    with pytest.raises(CheckpointError, match=r"say which: fastgru\.Named\('conv', kind='Conv1d', padding=1\)"):
        model_spec({**tensors, **gru("rnn", 4, 3)}, [Named("conv", padding=1), "rnn"], "file")
