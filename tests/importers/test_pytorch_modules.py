"""Trees of PyTorch's modules become a GRU or a model with PyTorch's own axes, or an error that names the module."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, UnsupportedModelError
from fastgru.importers import spec_of
from fastgru.importers.weights.named import Named
from fastgru.importers.weights.whole_modules import known_of, model_of
from fastgru.layers import GRULayer, GRUSpec, Last, ModelSpec, validate

NN = "torch.nn.modules."


def array(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def node(name, children=None, hooks=(), **options):
    name = name if "torch." in name or "my." in name else NN + name
    return {"class_name": name, "options": options, "hooks": list(hooks), "children": children or {}}


def sequential(*children, **more):
    return node("container.Sequential", {str(index): child for index, child in enumerate(children)}, **more)


def gru(prefix, inputs, hidden, ends=("_l0",)):
    return {
        f"{prefix}{name}{end}": array(3 * hidden, size)
        for end in ends
        for name, size in (("weight_ih", inputs), ("weight_hh", hidden))
    }


def linear(prefix, inputs, outputs):
    return {f"{prefix}.weight": array(outputs, inputs), f"{prefix}.bias": array(outputs)}


GRU, RELU, LINEAR = node("rnn.GRU", batch_first=True), node("activation.ReLU"), node("linear.Linear")
CONV, FLATTEN, IDENTITY = node("conv.Conv1d"), node("flatten.Flatten"), node("linear.Identity")
BATCH_NORM = node("batchnorm.BatchNorm1d")
STATISTICS = {"running_mean": array(4), "running_var": array(4) ** 2}


def made(tree, tensors):
    spec = model_of(tree, tensors, "file")
    if spec is not None:
        validate(spec)
    return spec


def layers(spec):
    return [(each.name, type(each.layer).__name__) for each in spec.nodes]


@pytest.mark.parametrize("name", ["rnn.GRU", "rnn.GRUCell", "torch.ao.nn.quantized.dynamic.modules.rnn.GRU"])
def test_a_whole_gru_is_a_gru(name):
    spec = made(node(name, hidden_size=3), gru("", 4, 3, ("",) if "Cell" in name else ("_l0",)))
    assert isinstance(spec, GRUSpec) and spec.hidden_size == 3


def test_a_sequential_of_one_gru_is_a_gru():
    assert isinstance(made(sequential(sequential(GRU)), gru("0.0.", 4, 3)), GRUSpec)


def test_a_chain_runs_in_its_order_and_nested_chains_within():
    tree = sequential(LINEAR, sequential(RELU, node("dropout.Dropout"), LINEAR), GRU)
    spec = made(tree, linear("0", 5, 6) | linear("1.2", 6, 4) | gru("2.", 4, 3))
    assert layers(spec) == [("0", "Dense"), ("1.0", "Activation"), ("1.1", "Dropout"), ("1.2", "Dense"),
                            ("2", "GRULayer")]  # fmt: skip
    assert spec.inputs[0].shape == (None, 5) and spec.outputs == ("2", ("2", 1))


def test_a_gru_at_the_end_gives_its_outputs_and_every_state():
    tensors = gru("1.", 6, 3, ("_l0", "_l0_reverse")) | linear("0", 5, 6)
    spec = made(sequential(LINEAR, GRU, IDENTITY), tensors)
    assert spec.outputs == ("1", ("1", 1), ("1", 2)) and layers(spec) == [("0", "Dense"), ("1", "GRULayer")]


@pytest.mark.parametrize("behind", [LINEAR, RELU, node("dropout.Dropout"), GRU])
def test_a_gru_in_the_middle_cannot_run_in_pytorch_either(behind):
    tensors = gru("1.", 6, 6) | linear("0", 5, 6) | linear("2", 6, 2) | gru("2.", 6, 3)
    with pytest.raises(UnsupportedModelError, match=r"'1' is a GRU within an nn\.Sequential.*'2' cannot take"):
        made(sequential(LINEAR, GRU, behind), tensors)


def test_an_embedding_takes_integers():
    spec = made(sequential(node("sparse.Embedding"), GRU), {"0.weight": array(9, 4), **gru("1.", 4, 3)})
    assert spec.inputs[0].integers and spec.inputs[0].shape == (None,)


def test_convolutions_in_a_row_are_turned_round_once():
    tensors = {"0.weight": array(4, 5, 3), "3.weight": array(4, 4, 3), **gru("4.", 7, 3)}
    tensors |= {f"1.{name}": tensor for name, tensor in STATISTICS.items()}
    spec = made(sequential(node("conv.Conv1d", padding=[2]), BATCH_NORM, RELU, CONV, GRU), tensors)
    assert layers(spec) == [("permute", "Permute"), ("0_padding", "ZeroPadding1D"), ("0", "Conv1D"),
                            ("1", "BatchNormalization"), ("2", "Activation"), ("3", "Conv1D"),
                            ("permute_1", "Permute"), ("4", "GRULayer")]  # fmt: skip
    assert spec.inputs[0].shape == (5, None) and spec.nodes[3].layer.axis == -1


def test_batch_normalisation_is_along_axis_1_of_two_or_three():
    statistics = {f"0.{name}": tensor for name, tensor in STATISTICS.items()}
    spec = made(sequential(BATCH_NORM, LINEAR), statistics | linear("1", 4, 2))
    assert spec.inputs[0].shape == (4,) and spec.nodes[0].layer.axis == -1
    spec = made(sequential(BATCH_NORM, GRU), statistics | gru("1.", 5, 2))
    assert spec.inputs[0].shape == (4, None) and spec.nodes[0].layer.axis == 1


def test_prelu_with_several_weights_is_along_axis_1():
    tensors = {"0.weight": array(4)}
    spec = made(sequential(node("activation.PReLU"), GRU), tensors | gru("1.", 5, 2))
    assert spec.nodes[0].layer.weight.shape == (4, 1)
    tensors |= {"1.weight": array(2, 4, 1)}
    spec = made(sequential(node("activation.PReLU"), CONV), tensors)
    assert spec.nodes[0].layer.weight.shape == (4, 1) and spec.inputs[0].shape == (4, None)


@pytest.mark.parametrize(
    ("dim", "rank", "axis"), [(-1, 2, -1), (2, 2, -1), (1, 2, 1), (-2, 2, 1), (1, 1, -1), (-1, 1, -1), (None, 1, -1)]
)
def test_softmax_is_along_the_axis_that_pytorch_means(dim, rank, axis):
    pooled = [node("pooling.AdaptiveAvgPool1d", output_size=1), FLATTEN]
    tree = sequential(node("sparse.Embedding"), *pooled[: 4 - 2 * rank], node("activation.Softmax", dim=dim))
    spec = made(tree, {"0.weight": array(9, 4)})
    assert dict(spec.nodes[-1].layer.options).get("axis", -1) == axis


@pytest.mark.parametrize("dim", [0, -3, None, 3, "x", True])
def test_softmax_over_the_batch_or_no_axis_is_refused(dim):
    with pytest.raises((UnsupportedModelError, CheckpointError), match=r"'1' \(Softmax\): dim is "):
        made(sequential(node("sparse.Embedding"), node("activation.Softmax", dim=dim)), {"0.weight": array(9, 4)})


def test_a_gru_that_takes_the_steps_first_goes_behind_layers_that_treat_both_axes_alike():
    late = node("rnn.GRU", batch_first=False)
    assert isinstance(made(sequential(LINEAR, RELU, late), linear("0", 5, 6) | gru("2.", 6, 3)), ModelSpec)
    with pytest.raises(UnsupportedModelError, match=r"batch_first=False\), but '0' before it takes the batch first"):
        made(sequential(CONV, late), {"0.weight": array(4, 5, 3), **gru("1.", 7, 3)})


def test_a_cell_in_a_chain_makes_one_step():
    spec = made(sequential(node("rnn.GRUCell"), LINEAR), gru("0.", 4, 3, ("",)) | linear("1", 3, 2))
    assert layers(spec) == [("reshape", "Reshape"), ("0", "GRULayer"), ("1", "Dense")]
    assert spec.inputs[0].shape == (4,)


def test_pooling_and_flattening():
    pool = node("pooling.MaxPool1d", kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
    average = node("pooling.AvgPool1d", kernel_size=[3], stride=[1], padding=[0], ceil_mode=False)
    spec = made(sequential(CONV, pool, average, FLATTEN, LINEAR), {"0.weight": array(4, 5, 3), **linear("4", 8, 2)})
    assert [kind for _, kind in layers(spec)] == ["Permute", "Conv1D", "MaxPooling1D", "AveragePooling1D", "Permute",
                                                  "Flatten", "Dense"]  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="ceil_mode=True is not supported"):
        made(sequential(node("pooling.MaxPool1d", kernel_size=2, ceil_mode=True), LINEAR), linear("1", 4, 2))
    with pytest.raises(UnsupportedModelError, match="start_dim=1 and end_dim=-1"):
        made(sequential(CONV, node("flatten.Flatten", start_dim=0)), {"0.weight": array(4, 5, 3)})


def test_what_needs_other_axes_than_it_gets_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"'1' \(GRU\): takes a value of 3 axes, and gets one of 2"):
        made(sequential(FLATTEN, GRU), gru("1.", 4, 3))


def test_a_module_may_be_called_as_the_input_would_be():
    tree = node("container.Sequential", {"input": LINEAR, "permute": CONV})
    spec = made(tree, linear("input", 5, 6) | {"permute.weight": array(4, 3, 3)})
    assert spec.inputs[0].name == "input_1" and [each.name for each in spec.nodes] == ["input", "permute_1", "permute",
                                                                                      "permute_2"]  # fmt: skip


@pytest.mark.parametrize(
    ("child", "said"),
    [
        (node("rnn.LSTM"), r"module '1' \('torch\.nn\.modules\.rnn\.LSTM'\) is not supported; its weights"),
        (node("my.models.GRU"), r"module '1' \('my\.models\.GRU'\) is not supported; it is a class of its own"),
        (node("my.torch.nn.modules.rnn.GRU"), "is a class of its own"),
        (node("container.ModuleList"), "is not supported"),
        (node("activation.MultiheadAttention"), "is not supported"),
        (node("linear.Linear", hooks=["my.hook"]), "'my.hook' is registered to run with it"),
        (sequential(hooks=["builtins.function"]), "'builtins.function' is registered"),
    ],
)
def test_a_module_that_is_not_supported_is_named_with_its_path(child, said):
    with pytest.raises(UnsupportedModelError, match=said):
        made(sequential(LINEAR, child), linear("0", 5, 6) | linear("1", 6, 2))


@pytest.mark.parametrize("hook", ["weight_norm.WeightNorm", "spectral_norm.SpectralNorm", "prune.L1Unstructured"])
def test_hooks_whose_effect_is_in_the_weights_do_no_harm(hook):
    tree = sequential(node("linear.Linear", hooks=[f"torch.nn.utils.{hook}"]))
    assert layers(made(tree, linear("0", 5, 6))) == [("0", "Dense")]


def test_a_class_of_its_own_has_no_model_but_its_modules_are_known():
    tree = node("my.Net", {"rnn": node("rnn.GRU", num_layers=1), "norm": node("normalization.GroupNorm", eps=1.0),
                           "own": node("my.GRU"), "list": node("container.ModuleList", {"0": LINEAR})})  # fmt: skip
    assert model_of(tree, {}, "file") is None
    known = {path: (facts.kind, facts.looks_like, facts.options) for path, facts in known_of(tree).items()}
    assert known == {"": ("own", "my.Net", {}), "rnn": ("gru", "GRU", {"num_layers": 1}),
                     "norm": ("group_norm", "GroupNorm", {"eps": 1.0}), "own": ("own", "my.GRU", {}),
                     "list.0": ("linear", "Linear", {})}  # fmt: skip


def test_a_class_of_its_own_loads_as_weights_with_the_options_of_its_modules():
    tree = node("my.Net", {"rnn": node("rnn.GRU"), "norm": node("normalization.LayerNorm", eps=0.5), "fc": LINEAR})
    tensors = gru("rnn.", 4, 3) | {"norm.weight": array(3), "norm.bias": array(3)} | linear("fc", 3, 2)
    given = Checkpoint("net.pt", "pytorch-zip", tensors, tree)
    spec = spec_of(given, ["rnn", Last(), "norm", "fc"])
    assert spec.nodes[2].layer.epsilon == 0.5
    with pytest.raises(CheckpointError, match=r'layers=\["rnn", \.\.\., "norm", \.\.\., "fc", \.\.\.\]') as caught:
        spec_of(given)
    assert "eps" not in str(caught.value) and "class 'my.Net'" in str(caught.value)


def test_a_class_of_its_own_is_never_taken_for_the_one_gru_in_it():
    alone = Checkpoint("net.pt", "pytorch-zip", gru("rnn.", 4, 3), node("my.Net", {"rnn": node("rnn.GRU")}))
    for strict in (True, False):
        with pytest.raises(CheckpointError, match=r"(?s)class 'my\.Net', .*torch\.export\.save.*layers='rnn'$"):
            spec_of(alone, strict=strict)
    assert isinstance(spec_of(alone, "rnn"), GRUSpec)
    derived = Checkpoint("net.pt", "pytorch-zip", gru("", 4, 3), node("my.GRU"))
    with pytest.raises(CheckpointError, match=r"(?s)class 'my\.GRU'.*layers=fastgru\.Named\('', kind='GRU'\)$"):
        spec_of(derived)
    with pytest.raises(CheckpointError, match=r"names '', which runs code that is not PyTorch's own \(my\.GRU\)"):
        spec_of(derived, "")
    assert isinstance(spec_of(derived, Named("", kind="GRU")), GRUSpec)


@pytest.mark.parametrize("name", ["", "torch.nn.modules.container.ModuleList", "torch.nn.modules.container.ModuleDict"])
def test_of_what_has_no_forward_only_pytorchs_own_gru_is_taken(name):
    def held(child):
        return {"class_name": name, "options": {}, "hooks": [], "children": {"net": child}}

    own = Checkpoint("net.pt", "pytorch-zip", gru("net.", 4, 3), held(GRU))
    assert isinstance(spec_of(own), GRUSpec)
    for child in (sequential(node("activation.Tanh"), GRU), node("my.Net", {"1": GRU})):
        other = Checkpoint("net.pt", "pytorch-zip", gru("net.1.", 4, 3), held(child))
        with pytest.raises(CheckpointError, match=r"holds 'net', which part='net' loads by itself, a module of class"):
            spec_of(other)


def test_no_line_is_suggested_below_classes_that_are_not_known():
    tree = node("my.Net", {"wrap": node("my.Reversed", {"rnn": node("rnn.GRU")}), "act": RELU, "fc": LINEAR})
    given = Checkpoint("net.pt", "pytorch-zip", gru("wrap.rnn.", 4, 3) | linear("fc", 3, 2), tree)
    with pytest.raises(CheckpointError) as caught:
        spec_of(given)
    said = str(caught.value)
    assert "layers=[" not in said and "what runs within 'wrap' ('my.Reversed') is the code of a class" in said
    assert "in 'wrap' of class 'my.Reversed'" in said and "without weights: 'act' (ReLU)" in said
    assert "layers='wrap.rnn', strict=False" in said and "fastgru.FinalState()" in said


def test_a_module_of_a_class_of_its_own_must_be_said_to_be_one_of_pytorchs():
    tree = node("my.Net", {"rnn": node("rnn.GRU"), "fc": node("my.Masked")})
    given = Checkpoint("net.pt", "pytorch-zip", gru("rnn.", 4, 3) | linear("fc", 3, 2), tree)
    with pytest.raises(CheckpointError, match=r"'fc', which runs code .*my\.Masked.*Named\('fc', kind='Linear'\)"):
        spec_of(given, ["rnn", "fc"])
    assert layers(spec_of(given, ["rnn", Named("fc", kind="Linear")])) == [("rnn", "GRULayer"), ("fc", "Dense")]
    tree = node("my.Net", {"rnn": node("rnn.GRU"), "fc": node("linear.Linear", hooks=["my.scale"])})
    with pytest.raises(CheckpointError, match=r"'fc', which runs code .*Linear with the hook my\.scale"):
        spec_of(given.replace(config=tree), ["rnn", "fc"])


def test_a_norm_of_another_class_is_not_taken_for_layer_normalisation():
    tensors = gru("rnn.", 4, 3) | {"norm.weight": array(3), "norm.bias": array(3)}
    tree = node("my.Net", {"rnn": node("rnn.GRU"), "norm": node("normalization.GroupNorm", num_groups=3, eps=0.5)})
    spec = spec_of(Checkpoint("net.pt", "pytorch-zip", tensors, tree), ["rnn", "norm"])
    assert layers(spec) == [("rnn", "GRULayer"), ("norm", "GroupNormalization")]
    assert (spec.nodes[1].layer.groups, spec.nodes[1].layer.epsilon) == (3, 0.5)
    tree = node("my.Net", {"rnn": node("rnn.GRU"), "norm": node("normalization.LocalResponseNorm")})
    with pytest.raises(UnsupportedModelError, match=r"'norm', which looks like LocalResponseNorm"):
        spec_of(Checkpoint("net.pt", "pytorch-zip", tensors, tree), ["rnn", "norm"])


def test_layers_go_before_what_the_module_says_of_itself():
    tree = sequential(LINEAR, node("my.Swap"), GRU)
    given = Checkpoint("net.pt", "pytorch-zip", linear("0", 5, 6) | gru("2.", 6, 3), tree)
    spec = spec_of(given, ["0", "2"])
    assert [type(each.layer) for each in spec.nodes][1] is GRULayer


def test_a_tensor_that_no_module_uses_is_an_error_or_with_strict_off_a_warning():
    given = Checkpoint("net.pt", "pytorch-zip", linear("0", 5, 6) | {"0.extra": array(1)}, sequential(LINEAR))
    with pytest.raises(CheckpointError, match=r"no layer uses the tensors '0\.extra'"):
        spec_of(given)
    with pytest.warns(UserWarning, match="no layer uses"):
        spec_of(given, strict=False)


def test_a_missing_tensor_and_a_wrong_option_are_named():
    with pytest.raises(CheckpointError, match=r"tensor '0\.weight' is missing"):
        made(sequential(LINEAR), {})
    with pytest.raises(CheckpointError, match=r"file: '0' \(Linear\): its in_features is 7"):
        made(sequential(node("linear.Linear", in_features=7)), linear("0", 5, 6))
    with pytest.raises(CheckpointError, match="num_layers is 1000000000"):
        made(node("rnn.GRU", num_layers=10**9), gru("", 4, 3))
