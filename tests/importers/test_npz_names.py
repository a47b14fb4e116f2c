"""Arrays in an npz file go by the names that people give them; the real ones, where they lie beside, too."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from beside import beside

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoint"))
from archive_writers import gru_arrays

import fastgru
from fastgru.errors import CheckpointError
from fastgru.importers.weights.npz import torch_names

MATRIX, VECTOR = np.zeros((3, 4), "f4"), np.zeros(3, "f4")


@pytest.mark.parametrize(("name", "wanted"), [
    ("enc_w_ih", "enc.weight_ih"), ("enc_b_hh", "enc.bias_hh"), ("w_hh", "weight_hh"), ("b_ih_l0", "bias_ih_l0"),
    ("enc/weight_hh_l1_reverse", "enc.weight_hh_l1_reverse"), ("a.b.weight_ih_l0", "a.b.weight_ih_l0"),
    ("my_net_gru_weight_hh_l0", "my_net_gru.weight_hh_l0"), ("weight_ih_l0", "weight_ih_l0"), ("fc_w", "fc.weight"),
    ("fc_b", "fc.bias"), ("out_layer_bias", "out_layer.bias"), ("a.fc.weight", "a.fc.weight"),
    ("enc_emb", "enc_emb.weight"), ("emb.weight", "emb.weight"),
])  # fmt: skip
def test_names(name, wanted):
    assert torch_names({name: MATRIX}, "here") == {name: wanted}


def test_vectors_and_statistics_keep_their_names():
    names = ["scale", "bn.running_mean", "epoch"]
    assert torch_names(dict.fromkeys(names, VECTOR), "here") == {name: name for name in names}


def test_two_arrays_of_one_name_are_an_error():
    with pytest.raises(CheckpointError, match=r"'fc_w' and 'fc\.weight' would both be 'fc\.weight'"):
        torch_names({"fc_w": MATRIX, "fc.weight": MATRIX}, "here")


def test_a_gru_alone(tmp_path, rng):
    arrays = gru_arrays(3, 4, layers=2, ways=2)
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez_compressed(tmp_path / "b.npz", **{f"rnn_{name.replace('weight', 'w').replace('bias', 'b')}": array
                                               for name, array in arrays.items()})  # fmt: skip
    x = rng.standard_normal((2, 6, 3)).astype("f4")
    wanted = fastgru.from_torch(arrays)(x)[0]
    for name in ("a.npz", "b.npz"):
        gru = fastgru.load(tmp_path / name)
        assert gru.num_layers == 2 and gru.bidirectional
        np.testing.assert_array_equal(gru(x)[0], wanted)


def test_what_is_unused_is_called_as_in_the_file(tmp_path):
    arrays = {
        f"enc_{name.replace('weight', 'w').replace('bias', 'b')}": array for name, array in gru_arrays(3, 4).items()
    }
    np.savez(tmp_path / "a.npz", **arrays, fc_w=np.zeros((2, 4), "f4"), fc_b=np.zeros(2, "f4"))
    with pytest.raises(CheckpointError, match="'fc_w', 'fc_b'"):
        fastgru.load(tmp_path / "a.npz", layers=["enc"])
    assert fastgru.load(tmp_path / "a.npz", layers=["enc", fastgru.Last(), "fc"])(np.zeros((1, 2, 3), "f4")).shape == (
        1,
        2,
    )


@pytest.mark.filterwarnings("ignore:.*no layer uses the tensors")
@pytest.mark.parametrize("name", ["enc", "dec"])
def test_the_real_encoder_and_decoder(name):
    """What is published was computed in float32, and is itself 2.4e-6 from the float64 result."""
    folder = beside("models/g2p")
    expected = np.load(folder / f"{name}.npz")
    for precision, bound in (("float64", 2.5e-6), ("float32", 4e-6)):
        model = fastgru.load(folder / "checkpoint20.npz", layers=[name], strict=False, precision=precision)
        assert np.abs(model(expected["x"]) - expected["y"]).max() <= bound
    gru = fastgru.from_torch({key[len(name) + 1 :].replace("w_", "weight_").replace("b_", "bias_"): value
                              for key, value in fastgru.read(folder / "checkpoint20.npz").items()
                              if key.startswith((f"{name}_w", f"{name}_b"))})  # fmt: skip
    assert np.abs(gru(expected["x"])[1] - expected["h"]).max() <= 4e-6


@pytest.mark.filterwarnings("ignore:.*no layer uses the tensors")
def test_the_real_encoder_behind_its_embedding():
    folder = beside("models/g2p")
    arrays = np.load(folder / "checkpoint20.npz")
    model = fastgru.load(folder / "checkpoint20.npz", layers=["enc_emb", "enc"], strict=False)
    ids = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])
    alone = fastgru.load(folder / "checkpoint20.npz", layers=["enc"], strict=False)
    np.testing.assert_array_equal(model(ids), alone(arrays["enc_emb"][ids]))
