"""``part=`` and files of several state dicts: one is never taken for the other without a word."""

from __future__ import annotations

import json

import numpy as np
import pytest
from checkpoint_writers import legacy_bytes, module, tensor, torch_bytes
from safetensors.numpy import save_file

import fastgru
from fastgru.checkpoint import read
from fastgru.command.cli import main
from fastgru.errors import CheckpointError, DTypeError, UnsupportedModelError

GRU, SEQUENTIAL = "torch.nn.modules.rnn.GRU", "torch.nn.modules.container.Sequential"


def gru(value, prefix=""):
    shapes = {"weight_ih_l0": (6, 3), "weight_hh_l0": (6, 2), "bias_ih_l0": (6,), "bias_hh_l0": (6,)}
    return {prefix + name: np.full(shape, value, "<f4") for name, shape in shapes.items()}


def tensors(arrays):
    return {name: tensor(array) for name, array in arrays.items()}


def value_of(loaded):
    """The number that all its weights have."""
    return float(loaded.spec.layers[0][0].w_hh[0, 0])


ONE, OTHER = tensors(gru(1)), tensors(gru(2))
PAIRS = {
    "average": ({"model_state_dict": ONE, "ema_state_dict": OTHER, "epoch": 3}, "ema_state_dict"),
    "timm": ({"state_dict": ONE, "state_dict_ema": OTHER}, "state_dict_ema"),
    "short": ({"model": ONE, "model_ema": OTHER}, "model_ema"),
    "adversarial": ({"generator": ONE, "discriminator": OTHER}, "discriminator"),
    "within": ({"net": {"model": ONE, "best": OTHER}}, "net.best"),
    "relative": ({"net": {"model": ONE, "best": OTHER}}, "best"),
    "nested": ({"model": ONE, "averages": {"shadow": OTHER, "decay": 0.9}}, "averages.shadow"),
    "dotted": ({"model": ONE, "run.3": OTHER}, "run.3"),
    "wrapped": ({"model": ONE, "ema": {"n_averaged": tensor(np.int64(3)), **tensors(gru(2, "module."))}}, "ema"),
    "modules": (
        {"model": module(GRU, ONE, hidden_size=2), "ema": module(GRU, OTHER, hidden_size=2)},
        "ema",
    ),
}


@pytest.mark.parametrize("write", [torch_bytes, legacy_bytes])
@pytest.mark.parametrize("name", PAIRS)
def test_of_two_state_dicts_none_is_taken_silently_and_each_can_be_chosen(file_of, name, write):
    value, part = PAIRS[name]
    path = file_of(write(value))
    for strict in (True, False):
        with pytest.raises(CheckpointError, match=r"the weights may be at .*, .*; wanted one .* part='") as caught:
            fastgru.load(path, strict=strict)
    assert "--part" in str(caught.value) and "fastgru.FinalState()" in str(caught.value)
    assert value_of(fastgru.load(path, part=part)) == 2
    first = {"within": "net.model", "relative": "model"}.get(name, next(iter(value)))
    assert value_of(fastgru.load(path, part=first)) == 1
    assert set(read(path, part)) - {"n_averaged"} == set(gru(2))


def test_the_part_that_an_error_names_loads(file_of):
    for value, _ in PAIRS.values():
        path = file_of(torch_bytes(value))
        with pytest.raises(CheckpointError) as caught:
            fastgru.load(path)
        part = str(caught.value).partition("part='")[2].partition("'")[0]
        assert value_of(fastgru.load(path, part=part)) == 1


def test_lightnings_networks_side_by_side_are_chosen_by_what_their_names_begin_with(file_of):
    flat = {**gru(1, "generator.rnn."), **gru(2, "discriminator.rnn.")}
    path = file_of(torch_bytes({"epoch": 1, "state_dict": tensors(flat), "optimizer_states": []}))
    with pytest.raises(CheckpointError, match=r"(?s)more than one GRU: 'generator.rnn', .*part='generator' loads it"):
        fastgru.load(path)
    for part in ("generator", "state_dict.generator", "generator.rnn"):
        assert value_of(fastgru.load(path, part=part)) == 1
    assert value_of(fastgru.load(path, part="discriminator")) == 2
    assert list(read(path, "generator")) == [f"rnn.{name}" for name in gru(1)]


def test_what_training_keeps_beside_the_weights_is_no_other_state_dict(file_of):
    adam = {"state": {0: {"exp_avg": tensor(np.ones(3, "<f4"))}}, "param_groups": [{"lr": 0.1}]}
    beside = {"optimizer_g": adam, "stats": {"mean": tensor(np.ones(2, "<f4"))}, "hyper_parameters": {"weight": ONE}}
    checkpoint = read(file_of(torch_bytes({"model": ONE, **beside})))
    assert list(checkpoint) == list(gru(1)) and checkpoint.metadata["skipped"] == list(beside)
    path = file_of(torch_bytes({"netG": ONE, "optG": adam}))
    assert value_of(fastgru.load(path)) == 1 and read(path).metadata["skipped"] == ["optG"]


def test_a_part_may_be_a_module_within_a_module(file_of):
    inner = module("my.Encoder", modules={"rnn": module(GRU, ONE, hidden_size=2)})
    path = file_of(torch_bytes(module("my.Net", modules={"encoder": inner, "act": module("my.Swish")})))
    assert value_of(fastgru.load(path, part="encoder.rnn")) == 1
    with pytest.raises(CheckpointError, match=r"class 'my\.Encoder', whose forward is code"):
        fastgru.load(path, part="encoder")
    with pytest.raises(CheckpointError, match=r"holds no part 'decoder'; it holds 'encoder', 'act'"):
        fastgru.load(path, part="decoder")


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_a_part_of_a_flat_file_is_what_its_names_begin_with(tmp_path, kind):
    flat = {**gru(1, "online."), **gru(2, "ema.rnn.")}
    if kind == "npz":
        np.savez(tmp_path / "flat.npz", **flat)
        path = tmp_path / "flat.npz"
    else:
        path = tmp_path / "flat"
        save_file({**flat, "ema.half": np.ones(2, np.float16)}, path)
        assert read(path, "ema").stored == {"half": "float16"}
        flat["ema.half"] = np.ones(2)
        assert value_of(fastgru.load(path, part="ema.rnn")) == 2
    assert value_of(fastgru.load(path, part="online")) == 1
    assert read(path, "ema").metadata["container"] == "ema"
    with pytest.raises(CheckpointError, match=r"holds no part 'model'; it holds '(online', 'ema|ema', 'online)'"):
        fastgru.load(path, part="model")
    with pytest.raises(CheckpointError, match=r"part='online.bias_ih_l0' is one tensor"):
        fastgru.load(path, part="online.bias_ih_l0")


def test_a_part_of_a_file_that_holds_one_model_is_refused(tmp_path):
    fastgru.from_torch(gru(1)).save(tmp_path / "own")
    with pytest.raises(UnsupportedModelError, match=r"this file \(fastgru\) holds one model; leave part= out"):
        fastgru.load(tmp_path / "own", part="gru")


@pytest.mark.parametrize("part", ["", 3, b"model"])
def test_a_part_must_be_a_name(file_of, part):
    with pytest.raises(DTypeError, match="wanted the name of a state dict"):
        fastgru.load(file_of(torch_bytes(ONE)), part=part)


def test_live_dictionaries_and_their_parts():
    value = {"model": gru(1), "ema": {"rnn": gru(2)}}
    with pytest.raises(DTypeError, match=r"'rnn' is a dict, .* part='ema.rnn'"):
        fastgru.from_torch(value, part="ema")
    assert value_of(fastgru.from_torch(value, part="ema.rnn")) == 2
    assert value_of(fastgru.from_torch({**gru(1, "a."), **gru(2, "b.")}, part="b")) == 2
    with pytest.raises(DTypeError, match=r"under \['model'\]\? Then pass part='model'"):
        fastgru.from_torch(value)
    with pytest.raises(CheckpointError, match=r"dict: holds no part 'best'; it holds 'model', 'ema'"):
        fastgru.from_torch(value, part="best")


def test_from_torch_leaves_out_what_no_layer_uses_if_it_is_asked_to():
    flat = {**gru(1, "rnn."), "fc.weight": np.ones((2, 2), "f4"), "fc.bias": np.ones(2, "f4")}
    with pytest.raises(CheckpointError, match=r"no layer uses the tensors 'fc.weight', 'fc.bias'.*strict=False"):
        fastgru.from_torch(flat, layers="rnn")
    with pytest.warns(UserWarning, match="no layer uses the tensors 'fc.weight'"):
        assert value_of(fastgru.from_torch(flat, layers="rnn", strict=False)) == 1


def test_every_command_takes_a_part(file_of, tmp_path, capsys, monkeypatch):
    path = str(file_of(torch_bytes({"model": ONE, "ema": OTHER})))
    x, y = str(tmp_path / "x.npy"), str(tmp_path / "y.npy")
    np.save(x, np.ones((1, 4, 3), np.float32))
    assert main(["inspect", path]) == 0 and "part='model'" in capsys.readouterr().out
    assert main(["inspect", path, "--part", "ema", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loads_as"] == "GRU"
    assert main(["run", path, x, "-o", y, "--part", "ema"]) == 0
    np.testing.assert_array_equal(np.load(y), fastgru.load(path, part="ema")(np.load(x))[0])
    assert main(["convert", path, str(tmp_path / "out.safetensors"), "--part", "ema"]) == 0
    assert value_of(fastgru.load(tmp_path / "out.safetensors")) == 2
    assert main(["verify", path, "--part", "ema", "--precision", "float32"]) == 0
    asked = []
    monkeypatch.setattr("fastgru.bench.command.load", lambda *_, **options: asked.append(options) or fastgru.load(x))
    assert main(["bench", path, "--part", "ema"]) == 1 and asked[0]["part"] == "ema"
    assert main(["run", path, x, "-o", y]) == 1 and "--part model" in capsys.readouterr().err
