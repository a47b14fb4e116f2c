"""Checkpoints as training code leaves them, written by the real torch: the GRU is found, and computes as in torch.

float32 outputs may differ by 2e-6, the project's bound for a GRU.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastgru  # noqa: E402 - only where torch is installed
from fastgru.errors import CheckpointError  # noqa: E402

BOUND = 2e-6
STEPS = np.random.default_rng(3).standard_normal((3, 9, 5)).astype(np.float32)


@pytest.fixture
def gru():
    torch.manual_seed(7)
    return torch.nn.GRU(5, 7, 2, bidirectional=True, batch_first=True).eval()


def foreign(name):
    """A class of that full name, which only the writer of the file has."""
    package, _, short = name.rpartition(".")
    made = type(short, (), {"__module__": package})
    module = sys.modules.setdefault(package, types.ModuleType(package))
    setattr(module, short, made)
    return made


def check(path, value, gru, **options):
    torch.save(value, path / "file", **options)
    with torch.no_grad():
        wanted = gru(torch.from_numpy(STEPS))
    for got, want in zip(fastgru.load(path / "file")(STEPS), wanted, strict=True):
        assert np.abs(got - want.numpy()).max() <= BOUND


def trained(gru):
    optimizer = torch.optim.AdamW(gru.parameters())
    output, _ = gru(torch.zeros(1, 2, 5))
    output.sum().backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("prefix", ["model.gru.", "net.", "module._orig_mod.encoder.rnn."])
def test_a_lightning_checkpoint(tmp_path, gru, prefix, protocol):
    optimizer = trained(gru)
    value = {
        "epoch": 3, "global_step": 120, "pytorch-lightning_version": "2.4.0",
        "state_dict": collections.OrderedDict((prefix + name, weight) for name, weight in gru.state_dict().items()),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.25),
                                                             "best_model_path": "a/b.ckpt"}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [torch.optim.lr_scheduler.StepLR(optimizer, 2).state_dict()],
        "hyper_parameters": {"lr": 0.1, "args": argparse.Namespace(layers=2), "path": pathlib.PurePosixPath("a")},
        "hparams_name": "kwargs", "native_amp_scaling_state": {"scale": 65536.0},
    }  # fmt: skip
    check(tmp_path, value, gru, pickle_protocol=protocol)


def test_a_checkpoint_with_the_configuration_of_omegaconf(tmp_path, gru, monkeypatch):
    for package in ("omegaconf", "omegaconf.dictconfig", "omegaconf.nodes", "omegaconf.base"):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    config, node, metadata = map(
        foreign, ("omegaconf.dictconfig.DictConfig", "omegaconf.nodes.AnyNode", "omegaconf.base.ContainerMetadata")
    )
    leaf, root = node(), config()
    leaf.__dict__.update(_val=0.1, _parent=root, _metadata=metadata())
    root.__dict__.update(_content={"lr": leaf}, _metadata=metadata(), _parent=None)  # refers to itself, as the real one
    check(tmp_path, {"cfg": root, "state_dict": gru.state_dict(), "best": np.float32(0.5)}, gru)


@pytest.mark.parametrize("legacy", [False, True])
def test_numpy_numbers_and_arrays_beside_the_weights(tmp_path, gru, legacy):
    value = {"loss": np.float64(0.25), "step": np.int64(3), "flag": np.bool_(True), "half": np.float16(0.5),
             "history": [np.float32(1.0)], "mean": np.zeros(5), "names": np.array(["a", "b"]), "wide": np.arange(10**5),
             "model": gru.state_dict(), "rng": torch.get_rng_state(), "when": collections.Counter("abc")}  # fmt: skip
    check(tmp_path, value, gru, _use_new_zipfile_serialization=not legacy)


def test_weights_that_cudnn_flattened(tmp_path, gru):
    flat = torch.cat([weight.reshape(-1) for weight in gru.parameters()])
    position = 0
    for weight in gru.parameters():
        weight.data = flat[position : position + weight.numel()].view(weight.shape)
        position += weight.numel()
    check(tmp_path, gru.state_dict(), gru)
    check(tmp_path, gru, gru)


def test_weights_that_are_views_strided_and_tied(tmp_path, gru):
    state = {name: weight.t().contiguous().t() if weight.ndim == 2 else torch.stack((weight, weight), 1)[:, 0]
             for name, weight in gru.state_dict().items()}  # fmt: skip
    check(tmp_path, state, gru)
    gru.weight_hh_l1, gru.bias_hh_l1 = gru.weight_hh_l0, gru.bias_hh_l0
    check(tmp_path, {"module": gru.state_dict()}, gru)
    check(tmp_path, gru, gru)


@pytest.mark.parametrize("name", ["half", "bfloat16", "double"])
def test_weights_of_other_precisions(tmp_path, gru, name):
    narrow = getattr(gru, name)()
    torch.save({"ema": narrow.state_dict(), "epoch": 1}, tmp_path / "file")
    with torch.no_grad():
        wanted = narrow.float()(torch.from_numpy(STEPS))[0].numpy()
    assert np.abs(fastgru.load(tmp_path / "file")(STEPS)[0] - wanted).max() <= BOUND


def test_two_networks_are_an_error_that_lists_both(tmp_path, gru):
    torch.save({"generator": gru.state_dict(), "ema": gru.state_dict()}, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"'generator', 'ema'.*layers=.*strict=False"):
        fastgru.load(tmp_path / "file")
    with pytest.warns(UserWarning, match=r"no layer uses the tensors 'generator\."), torch.no_grad():
        got, wanted = fastgru.load(tmp_path / "file", layers="ema", strict=False)(STEPS), gru(torch.from_numpy(STEPS))
    assert np.abs(got[0] - wanted[0].numpy()).max() <= BOUND
    torch.save({"encoder": gru.state_dict(), "decoder": gru.state_dict()}, tmp_path / "file")
    with pytest.raises(CheckpointError, match="more than one GRU: 'encoder', 'decoder'"):
        fastgru.load(tmp_path / "file")
