"""Files in the format of torch 1.5 and older, which torch still writes, come out as torch itself has them."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_states import check, stacked_gru  # noqa: E402 - only where torch is installed

import fastgru  # noqa: E402
from fastgru.checkpoint import read  # noqa: E402
from fastgru.errors import CheckpointError  # noqa: E402


def saved(path, value, **options):
    torch.save(value, path / "file", _use_new_zipfile_serialization=False, **options)
    checkpoint = read(path / "file")
    assert checkpoint.format == "pytorch-legacy"
    return checkpoint


@pytest.fixture
def gru():
    return stacked_gru()


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_state_dicts_of_every_pickle_protocol(tmp_path, gru, protocol):
    check(saved(tmp_path, gru.state_dict(), pickle_protocol=protocol), gru.state_dict())


TYPES = "float16 bfloat16 float32 float64 int8 uint8 int16 int32 int64 bool complex64 uint16 uint32"


@pytest.mark.parametrize("name", TYPES.split())
def test_every_type(tmp_path, name):
    values = torch.tensor([[0, 1, 2], [100, 7, 1]]).to(getattr(torch, name))
    check(saved(tmp_path, {"x": values, "scalar": values[1, 0]}), {"x": values, "scalar": values[1, 0]})


def test_views_strides_ties_and_one_flat_storage(tmp_path, gru):
    base = torch.arange(60.0).reshape(3, 4, 5)
    state = {"base": base, "transposed": base.transpose(0, 2), "slice": base[1:, ::2, 1:4], "empty": base[:0],
             "expanded": base[:1, :1].expand(3, 4, 5), "tied": base, "other": torch.ones(2)}  # fmt: skip
    checkpoint = saved(tmp_path, state)
    check(checkpoint, state)
    assert checkpoint["tied"] is checkpoint["base"]
    weights = gru.state_dict()
    flat = torch.cat([torch.zeros(3), *(weight.reshape(-1) for weight in weights.values())])
    position, views = 3, {}
    for name, weight in weights.items():
        views[name] = flat[position : position + weight.numel()].view(weight.shape)
        position += weight.numel()
    check(saved(tmp_path, views), weights)


def test_a_training_checkpoint_with_all_that_lies_beside_the_weights(tmp_path, gru):
    optimizer = torch.optim.Adam(gru.parameters())
    output, _ = gru(torch.zeros(2, 1, 5))
    output.sum().backward()
    optimizer.step()
    value = {"epoch": 3, "state_dict": torch.nn.DataParallel(gru).state_dict(), "optimizer": optimizer.state_dict(),
             "args": argparse.Namespace(lr=0.1), "loss": np.float64(0.25), "arrays": np.arange(5)}  # fmt: skip
    checkpoint = saved(tmp_path, value)
    check(checkpoint, gru.state_dict())
    assert set(checkpoint.metadata["skipped"]) == value.keys() - {"state_dict"}


@pytest.mark.filterwarnings("ignore:torch.quantize_per")
def test_quantised_tensors(tmp_path):
    values = torch.linspace(-1, 1, 9)
    by_tensor = torch.quantize_per_tensor(values, 0.01, 3, torch.qint8)
    checkpoint = saved(tmp_path, {"w": by_tensor})
    np.testing.assert_array_equal(checkpoint["w"], by_tensor.dequantize().numpy())


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_gru_gives_torchs_outputs(tmp_path, protocol):
    torch.manual_seed(1)
    gru = torch.nn.GRU(5, 7, 2, bidirectional=True, batch_first=True).eval()
    x = np.random.default_rng(1).standard_normal((3, 20, 5)).astype(np.float32)
    with torch.no_grad():
        wanted = [each.numpy() for each in gru(torch.from_numpy(x))]
    for value in (gru.state_dict(), gru):
        torch.save(value, tmp_path / "gru", _use_new_zipfile_serialization=False, pickle_protocol=protocol)
        for got, want in zip(fastgru.load(tmp_path / "gru")(x), wanted, strict=True):
            assert np.abs(got - want).max() <= 2e-6


def test_two_objects_in_one_file_are_refused(tmp_path, gru):
    with open(tmp_path / "file", "wb") as file:
        for _ in range(2):
            torch.save(gru.state_dict(), file, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="follow its last storage"):
        read(tmp_path / "file")
