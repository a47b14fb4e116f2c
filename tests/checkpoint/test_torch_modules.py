"""Whole pickled modules come out as their tensors by dotted name and the tree of their classes and options."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from checkpoint_writers import Call, Name, Raw, legacy_bytes, module, tensor, torch_bytes

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError

LINEAR, SEQUENTIAL = "torch.nn.modules.linear.Linear", "torch.nn.modules.container.Sequential"
ONES = np.ones((2, 3), "<f4")


def linear(**options):
    return module(LINEAR, {"weight": tensor(ONES), "bias": None}, in_features=3, out_features=2, **options)


@pytest.mark.parametrize("write", [torch_bytes, legacy_bytes])
def test_tensors_are_named_and_classes_and_options_told(file_of, write):
    norm = module("torch.nn.modules.batchnorm.BatchNorm1d", {"weight": tensor(np.ones(2, "<f4"))},
                  {"running_mean": tensor(np.zeros(2, "<f4")), "num_batches_tracked": tensor(np.int64(3))},
                  num_features=2, eps=0.25, affine=True)  # fmt: skip
    root = module(SEQUENTIAL, modules=OrderedDict(first=linear(), inner=module(SEQUENTIAL, modules={"0": norm})))
    checkpoint = read(file_of(write(root)))
    assert {name: array.shape for name, array in checkpoint.items()} == {
        "first.weight": (2, 3), "inner.0.weight": (2,), "inner.0.running_mean": (2,), "inner.0.num_batches_tracked": (),
    }  # fmt: skip
    assert checkpoint.format == ("pytorch-zip" if write is torch_bytes else "pytorch-legacy")
    assert checkpoint.metadata["whole_module"] == SEQUENTIAL and checkpoint.metadata["skipped"] == []
    assert checkpoint.config == {
        "class_name": SEQUENTIAL, "options": {}, "hooks": [],
        "children": {
            "first": {"class_name": LINEAR, "options": {"in_features": 3, "out_features": 2}, "hooks": [],
                      "children": {}},
            "inner": {"class_name": SEQUENTIAL, "options": {}, "hooks": [], "children": {
                "0": {"class_name": "torch.nn.modules.batchnorm.BatchNorm1d",
                      "options": {"num_features": 2, "eps": 0.25, "affine": True}, "hooks": [], "children": {}}}},
        },
    }  # fmt: skip
    assert list(checkpoint.config["children"]) == ["first", "inner"]


def test_options_are_plain_values_and_everything_else_is_none(file_of):
    odd = {"pair": (1, 2), "list": [True, None], "text": "zeros", "none": None, "_private": 1, "long": "x" * 500,
           "function": Name("torch.nn.functional", "relu"), "nested": ((1,),), "huge": 1 << 80, "dict": {"a": 1},
           "tensor": tensor(ONES), "many": (1,) * 100}  # fmt: skip
    checkpoint = read(file_of(torch_bytes(linear(**odd))))
    others = dict.fromkeys(("long", "function", "nested", "huge", "dict", "tensor", "many"), "<not plain>")
    assert checkpoint.config["options"] == {"in_features": 3, "out_features": 2, "pair": [1, 2], "list": [True, None],
                                            "text": "zeros", "none": None, **others}  # fmt: skip
    assert list(checkpoint) == ["weight"]


def test_buffers_that_a_state_dict_leaves_out_are_left_out(file_of):
    for names in (Call(Name("__builtin__", "set"), (["mask"],)), Raw(b"\x8f(X\x04\x00\x00\x00mask\x90")):
        buffers = {"mask": tensor(ONES), "kept": tensor(ONES), "empty": None}
        root = module("my.Net", {}, buffers, _non_persistent_buffers_set=names)
        assert list(read(file_of(torch_bytes(root)))) == ["kept"]


def test_hooks_are_told_by_class(file_of):
    hook = Call(Name("torch.nn.utils.weight_norm", "WeightNorm"), (), {"name": "weight", "dim": 0})
    root = module(
        "my.Net", {"w": tensor(ONES)}, _forward_hooks={0: Name("my", "function")}, _forward_pre_hooks={3: hook}
    )
    hooks = read(file_of(torch_bytes(root))).config["hooks"]
    assert hooks == ["torch.nn.utils.weight_norm.WeightNorm", "my.function"]


@pytest.mark.parametrize("name", ["torch.nn.parallel.data_parallel.DataParallel", "torch.optim.swa_utils.AveragedModel",
                                  "torch.nn.parallel.distributed.DistributedDataParallel"])  # fmt: skip
def test_wrappers_are_gone_at_the_top_and_within(file_of, name):
    def wrapped(inner):
        return module(name, {}, {"n_averaged": tensor(np.int64(3))}, modules={"module": inner}, device_ids=[0])

    root = wrapped(wrapped(module(SEQUENTIAL, modules={"0": wrapped(linear())})))
    checkpoint = read(file_of(torch_bytes(root)))
    assert list(checkpoint) == ["0.weight"] and checkpoint.config["children"]["0"]["class_name"] == LINEAR


def test_a_compiled_model_is_the_model(file_of):
    compiled = Call(Name("torch._dynamo.eval_frame", "OptimizedModule"), (linear(), Call(Name("a", "b"), ())))
    checkpoint = read(file_of(torch_bytes({"model": compiled, "epoch": 3})))
    assert list(checkpoint) == ["weight"] and checkpoint.config["class_name"] == LINEAR
    assert checkpoint.metadata["container"] == "model"


def test_a_module_in_two_places_is_named_twice_as_in_a_state_dict(file_of):
    shared = linear()
    checkpoint = read(file_of(torch_bytes(module(SEQUENTIAL, modules={"0": shared, "1": shared}))))
    assert list(checkpoint) == ["0.weight", "1.weight"] and checkpoint["0.weight"] is checkpoint["1.weight"]
    assert [list(checkpoint.config["children"])] == [["0", "1"]]


def test_modules_side_by_side_in_a_dictionary_are_told_by_their_keys(file_of):
    value = {"encoder": linear(), "decoder": linear(), "epoch": 3, "scale": tensor(np.ones(1, "<f4"))}
    checkpoint = read(file_of(torch_bytes(value)))
    assert list(checkpoint) == ["encoder.weight", "decoder.weight", "scale"]
    assert checkpoint.config["class_name"] == "" and list(checkpoint.config["children"]) == ["encoder", "decoder"]
    assert checkpoint.metadata["skipped"] == ["epoch"] and "whole_module" not in checkpoint.metadata


def test_two_whole_modules_in_usual_places_are_read_under_their_names(file_of):
    checkpoint = read(file_of(torch_bytes({"epoch": 3, "model": linear(), "ema": linear()})))
    assert list(checkpoint) == ["model.weight", "ema.weight"] and checkpoint.metadata["several"] == ["model", "ema"]
    assert list(checkpoint.config["children"]) == ["model", "ema"] and checkpoint.metadata["skipped"] == ["epoch"]


def test_an_empty_place_for_a_module_is_none(file_of):
    checkpoint = read(file_of(torch_bytes(module("my.Net", modules={"skip": None, "fc": linear()}))))
    assert list(checkpoint) == ["fc.weight"] and list(checkpoint.config["children"]) == ["fc"]


def test_a_parameter_that_is_no_plain_tensor_is_an_error(file_of):
    with pytest.raises(CheckpointError, match=r"'fc\.weight' is called as a parameter is"):
        read(file_of(torch_bytes(module("my.Net", modules={"fc": module(LINEAR, {"weight": 7})}))))


def test_a_module_without_any_tensor_is_an_error(file_of):
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read(file_of(torch_bytes(module("torch.nn.modules.activation.ReLU"))))
