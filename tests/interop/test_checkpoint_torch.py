"""Files that the real torch.save wrote come out as torch itself has them."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import sys
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_states import check, stacked_gru  # noqa: E402 - only where torch is installed

from fastgru.checkpoint import read  # noqa: E402
from fastgru.errors import CheckpointError  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "checkpoint"))
from checkpoint_writers import TorchPickle, tensor  # noqa: E402

FLOATS = ["float16", "bfloat16", "float32", "float64"]
OTHERS = ["int8", "uint8", "int16", "int32", "int64", "bool", "complex64", "uint16", "uint32", "uint64"]


class Foreign:
    """A class that only the writer of the file has."""

    def __init__(self) -> None:
        self.values = {1, 2}
        self.when = datetime.date(2020, 1, 2)


def saved(path, value, **options):
    torch.save(value, path / "file", **options)
    return read(path / "file")


@pytest.fixture
def gru():
    return stacked_gru()


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_state_dicts_of_every_pickle_protocol(tmp_path, gru, protocol):
    checkpoint = saved(tmp_path, gru.state_dict(), pickle_protocol=protocol)
    assert checkpoint.format == "pytorch-zip"
    check(checkpoint, gru.state_dict())


@pytest.mark.parametrize("name", FLOATS + OTHERS)
def test_every_type(tmp_path, name):
    values = torch.tensor([[0, 1, 2], [100, 7, 1]])
    state = {"x": values.to(getattr(torch, name)), "scalar": values.to(getattr(torch, name))[1, 0]}
    check(saved(tmp_path, state), state)


def test_odd_values_keep_their_bits(tmp_path):
    values = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), float("nan"), 6e-8, 1e-40, 3.3e38])
    state = {name: values.to(getattr(torch, name)) for name in FLOATS}
    check(saved(tmp_path, state), state)


def test_views_transposes_strides_and_expansions(tmp_path):
    base = torch.arange(60.0).reshape(3, 4, 5)
    state = {"base": base, "transposed": base.transpose(0, 2), "slice": base[1:, ::2, 1:4], "column": base[:, 1, 1],
             "expanded": base[:1, :1].expand(3, 4, 5), "empty": base[:0], "scalar": base[1, 1, 1],
             "permuted": base.permute(1, 2, 0)[:, ::3], "last": torch.arange(100.0)[90:].reshape(2, 5)}  # fmt: skip
    check(saved(tmp_path, state), state)


def test_tied_parameters_come_out_as_one_array(tmp_path):
    model = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(9, 4), "output": torch.nn.Linear(4, 9, bias=False)})
    model["output"].weight = model["embedding"].weight
    checkpoint = saved(tmp_path, model.half().state_dict())
    check(checkpoint, model.state_dict())
    assert checkpoint["output.weight"] is checkpoint["embedding.weight"]


def test_weights_in_one_flat_storage_as_cudnn_lays_them(tmp_path, gru):
    state = gru.state_dict()
    flat = torch.cat([torch.zeros(3), *(weight.reshape(-1) for weight in state.values())])
    position, views = 3, {}
    for name, weight in state.items():
        views[name] = flat[position : position + weight.numel()].view(weight.shape)
        position += weight.numel()
    checkpoint = saved(tmp_path, views)
    check(checkpoint, state)
    assert len([name for name in zipfile.ZipFile(tmp_path / "file").namelist() if "/data/" in name]) == 1


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_training_checkpoint_with_all_that_lies_beside_the_weights(tmp_path, gru, protocol):
    optimizer = torch.optim.Adam(gru.parameters())
    output, _ = gru(torch.zeros(2, 1, 5))
    output.sum().backward()
    optimizer.step()
    value = {
        "epoch": 3, "best": torch.tensor(0.5), "state_dict": gru.state_dict(), "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("a/b")), "foreign": Foreign(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2).state_dict(), "loss": np.float64(0.25),
        "history": [np.float32(1.0), np.int64(2)], "words": collections.defaultdict(list, {"a": [1]}),
        "arrays": np.arange(5), "device": torch.device("cpu"), "type": torch.float32, "size": torch.Size([1, 2]),
        "generator": torch.get_rng_state(), "vocabulary": {(1, 2): "a", b"b": 3, None: 4, 1.5: 6},
    }  # fmt: skip
    del value["generator"]
    checkpoint = saved(tmp_path, value, pickle_protocol=protocol)
    check(checkpoint, gru.state_dict())
    assert checkpoint.metadata["container"] == "state_dict"
    assert set(checkpoint.metadata["skipped"]) == value.keys() - {"state_dict"}


@pytest.mark.parametrize("key", ["model_state_dict", "model", "net", "module", "generator", "ema", "weights"])
def test_the_usual_containers(tmp_path, gru, key):
    check(saved(tmp_path, {"step": 1, key: gru.state_dict()}), gru.state_dict())


def test_two_containers_are_read_under_their_names(tmp_path, gru):
    one, other = gru.state_dict(), stacked_gru().state_dict()
    both = {f"{key}.{name}": value for key, state in (("model", one), ("ema", other)) for name, value in state.items()}
    check(saved(tmp_path, {"model": one, "ema": other}), both)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_data_parallel_and_compiled_models_lose_their_prefixes(tmp_path, gru):
    check(saved(tmp_path, torch.nn.DataParallel(gru).state_dict()), gru.state_dict())
    compiled = torch.compile(gru)
    assert next(iter(compiled.state_dict())).startswith("_orig_mod.")
    check(saved(tmp_path, compiled.state_dict()), gru.state_dict())
    check(saved(tmp_path, torch.nn.DataParallel(compiled).state_dict()), gru.state_dict())


def test_averaged_models_lose_their_prefix(tmp_path, gru):
    averaged = torch.optim.swa_utils.AveragedModel(gru)
    checkpoint = saved(tmp_path, averaged.state_dict())
    assert set(checkpoint) == {"n_averaged", *gru.state_dict()}


def test_parameters_buffers_and_tensors_with_attributes(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    marked, tagged = torch.nn.Parameter(torch.ones(4)), torch.zeros(3)
    marked.note, tagged.note = "x", {"y": 1}
    state = {"parameter": parameter, "marked": marked, "tagged": tagged, "buffer": torch.nn.Buffer(torch.ones(5))}
    check(saved(tmp_path, state), state)


def test_parameters_that_are_no_dense_tensors_are_never_left_out_in_silence(tmp_path, gru):
    state = gru.state_dict()
    for odd in (lambda v: v.numpy(), lambda v: v.to_sparse(), torch._neg_view, lambda v: v.to("meta")):
        mixed = {name: odd(value) if "bias" in name else value for name, value in state.items()}
        with pytest.raises(CheckpointError, match=r"not a plain tensor|meta"):
            saved(tmp_path, mixed)


def test_lazy_negations_are_left_out_by_name(tmp_path):
    lazy = torch.ones(2, dtype=torch.complex64).conj().imag  # a view with its sign bit set apart
    checkpoint = saved(tmp_path, {"w": torch.ones(2), "lazy": lazy})
    assert list(checkpoint) == ["w"] and checkpoint.metadata["skipped"] == ["lazy"]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_tensors_quantised_as_a_whole(tmp_path):
    quantised = torch.quantize_per_tensor(torch.linspace(-1, 1, 9), 0.01, 3, torch.qint8)
    checkpoint = saved(tmp_path, {"w": quantised})
    np.testing.assert_array_equal(checkpoint["w"], quantised.dequantize().numpy())


def test_float8_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"'w'.*float8_e4m3fn"):
        saved(tmp_path, {"w": torch.ones(2).to(torch.float8_e4m3fn)})


def test_safetensors_that_torch_wrote(tmp_path, gru):
    library = pytest.importorskip("safetensors.torch")
    state = {**gru.state_dict(), "half": torch.ones(3).half(), "bf16": torch.linspace(-2, 2, 7).bfloat16()}
    library.save_file(state, tmp_path / "file", {"format": "pt"})
    checkpoint = read(tmp_path / "file")
    assert checkpoint.keys() == state.keys() and checkpoint.metadata["format"] == "pt"
    for name, wanted in state.items():
        np.testing.assert_array_equal(checkpoint[name], wanted.float().numpy())


def test_the_writer_of_the_tests_pickles_as_torch_does(tmp_path, gru):
    plain = {name: weight.clone() for name, weight in gru.state_dict().items()}
    torch.save({"epoch": 300, "weights": plain, "list": [1, (2, 3), None, "a"]}, tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        wanted = archive.read("m/data.pkl")
    mine = {name: tensor(weight.numpy()) for name, weight in plain.items()}
    assert TorchPickle().dump({"epoch": 300, "weights": mine, "list": [1, (2, 3), None, "a"]}) == wanted
