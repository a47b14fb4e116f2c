"""``load`` and ``from_torch`` join reading, importing and the engine, and hand their options on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastgru
from fastgru import reference
from fastgru.errors import CheckpointError


def array(*shape):
    return np.random.default_rng(shape).uniform(-0.5, 0.5, shape).astype(np.float32)


def gru(prefix=""):
    dot = f"{prefix}." if prefix else ""
    return {
        f"{dot}weight_ih_l0": array(9, 4),
        f"{dot}weight_hh_l0": array(9, 3),
        f"{dot}bias_ih_l0": array(9),
        f"{dot}bias_hh_l0": array(9) / 2,
    }


HEAD = {"fc.weight": array(2, 3), "fc.bias": array(2)}


@pytest.fixture
def tagger(tmp_path):
    save_file(gru("rnn") | HEAD, tmp_path / "tagger")
    return tmp_path / "tagger"


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_a_file_of_one_gru_is_a_gru_of_the_precision_asked_for(tmp_path, precision, tolerance):
    save_file(gru(), tmp_path / "gru")
    ours = fastgru.load(tmp_path / "gru", precision=precision, n_threads=1, backend="blas")
    assert isinstance(ours, fastgru.GRU)
    assert (ours.precision, ours.n_threads, ours.backend) == (precision, 1, "blas")
    x = array(2, 6, 4)
    for got, wanted in zip(ours(x), reference.gru(ours.spec, x), strict=True):
        assert np.abs(got - wanted).max() <= tolerance


def test_named_layers_give_a_model(tagger):
    ours = fastgru.load(tagger, layers=["rnn", fastgru.Last(), "fc"])
    assert isinstance(ours, fastgru.Model)
    x = array(2, 6, 4)
    y, _ = reference.gru(ours.spec.nodes[0].layer.gru, x)
    assert np.abs(ours(x) - (y[:, -1] @ HEAD["fc.weight"].T + HEAD["fc.bias"])).max() <= 1e-6


def test_from_torch_takes_a_dict_of_arrays():
    ours = fastgru.from_torch(gru("rnn") | HEAD, layers=["rnn", "fc"], precision="float64")
    assert ours(array(2, 6, 4)).dtype == np.float64
    assert isinstance(fastgru.from_torch(gru()), fastgru.GRU)


def test_errors_of_live_objects_name_their_class():
    with pytest.raises(CheckpointError, match=r"^dict: tensor 'weight_ih_l0' is missing"):
        fastgru.from_torch({"weight_hh_l0": array(9, 3)})


def test_errors_of_files_name_their_path(tagger):
    with pytest.raises(CheckpointError, match=str(tagger)):
        fastgru.load(tagger)


def test_the_warning_about_unused_tensors_points_at_the_caller(tagger):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fastgru.load(tagger, layers=["rnn"], strict=False)
    assert [(each.category, each.filename) for each in caught] == [(UserWarning, __file__)]


@pytest.mark.filterwarnings("ignore:.*no layer uses the tensors:UserWarning")
@pytest.mark.parametrize("name", ["rnn", fastgru.Named("rnn")])
def test_a_name_and_no_list_is_that_gru_with_its_states(tagger, name):
    x = array(2, 6, 4)
    ours = fastgru.load(tagger, layers=name, strict=False)
    assert isinstance(ours, fastgru.GRU)
    y, h = ours(x)
    assert h.shape == (1, 2, 3) and np.array_equal(y[:, -1], h[0])
    listed = fastgru.load(tagger, layers=["rnn"], strict=False)
    assert isinstance(listed, fastgru.Model) and np.array_equal(listed(x), y)
    assert isinstance(fastgru.from_torch(gru("rnn"), layers=name), fastgru.GRU)


def test_a_name_leaves_nothing_out_silently(tagger):
    with pytest.raises(CheckpointError, match=r"no layer uses the tensors 'fc.bias', 'fc.weight'.*strict=False"):
        fastgru.load(tagger, layers="rnn")


@pytest.mark.filterwarnings("ignore:.*no layer uses the tensors:UserWarning")
def test_a_name_of_another_layer_asks_for_a_list(tagger):
    with pytest.raises(CheckpointError, match=r"layers='fc' is one name.*it is a Dense; pass layers=\['fc'\]"):
        fastgru.load(tagger, layers="fc", strict=False)
