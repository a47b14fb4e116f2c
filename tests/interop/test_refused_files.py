"""Files of PyTorch's and Keras's that are not read: what the refusal says to do makes one that is."""

from __future__ import annotations

import glob
import json
import pickle
import shlex
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

import fastgru  # noqa: E402
from fastgru.errors import UnsupportedModelError  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")


def advised(path) -> str:
    with pytest.raises(UnsupportedModelError) as error:
        fastgru.load(path)
    return str(error.value)


def test_a_distributed_checkpoint_written_as_one_file_is_read(tmp_path):
    checkpoint = pytest.importorskip("torch.distributed.checkpoint")
    gru = torch.nn.GRU(3, 4)
    checkpoint.save(gru.state_dict(), checkpoint_id=tmp_path / "dcp")
    parts = sorted(each.name for each in (tmp_path / "dcp").iterdir())
    assert {advised(tmp_path / "dcp" / part).partition("; ")[2] for part in parts} == {
        advised(tmp_path / "dcp").partition("; ")[2]
    }
    _, _, line = advised(tmp_path / "dcp").partition("one file: python ")
    subprocess.run([sys.executable, *shlex.split(line)], cwd=tmp_path, check=True, capture_output=True)
    x = torch.randn(2, 5, 3)
    y, h = gru(x.transpose(0, 1))
    fastgru.load(tmp_path / "model.pt", check=(x, (y.transpose(0, 1), h)))


@pytest.mark.parametrize(("stem", "suffix"), [("model", ".safetensors"), ("pytorch_model", ".bin")])
def test_weights_in_several_files_joined_as_advised_are_read(tmp_path, stem, suffix, monkeypatch):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    weights = torch.nn.GRU(3, 4).state_dict()
    (tmp_path / "parts").mkdir()
    weight_map = {name: f"{stem}-0000{1 + place // 2}-of-00002{suffix}" for place, name in enumerate(weights)}
    for part in set(weight_map.values()):
        save = safetensors_torch.save_file if suffix == ".safetensors" else torch.save
        save({name: weights[name] for name in weights if weight_map[name] == part}, str(tmp_path / "parts" / part))
    index = tmp_path / "parts" / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    monkeypatch.chdir(tmp_path)
    for path in (index, tmp_path / "parts"):
        _, _, lines = advised(path).partition("join its parts: ")
        exec(lines, {"glob": glob, "torch": torch, "safetensors": sys.modules["safetensors"]})
        made = f"model{suffix if suffix == '.safetensors' else '.pt'}"
        assert repr(fastgru.load(made)) == "GRU(3, 4, parameters=108)"


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickled_models_are_told_by_whose_they_are(tmp_path, protocol):
    (tmp_path / "module.pkl").write_bytes(pickle.dumps(torch.nn.GRU(3, 4), protocol))
    assert "it is a pickled PyTorch object" in advised(tmp_path / "module.pkl")
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(4)])
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model, protocol))
    assert "it is a pickled Keras model" in advised(tmp_path / "model.pkl")
