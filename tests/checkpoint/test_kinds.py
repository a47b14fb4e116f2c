"""A file is what its content says; what is not read is named, and comes with advice."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections import OrderedDict

import h5py
import numpy as np
import pytest
from checkpoint_writers import ZipRecord, tensor, torch_records, zip_bytes
from keras_writer import hdf5_bytes, keras_records

import fastgru
from fastgru.checkpoint import read
from fastgru.errors import CheckpointError, FastGRUError, UnsupportedModelError


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def hdf5() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["a"] = 1.0
    return buffer.getvalue()


def tar(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return buffer.getvalue()


def zip_of(*names: str) -> bytes:
    return zip_bytes([ZipRecord(name, b"1") for name in names])


OTHERS = {
    "TorchScript file of PyTorch 1.3 or older": zip_of("m/model.json", "m/code/net.py", "m/tensors/0", "m/version"),
    "torch.export file of an older PyTorch": zip_of("serialized_exported_program.json", "serialized_state_dict.pt"),
    "pickled weights": zip_of("config.json", "metadata.json", "model.weights.npz"),
    ".npy": npy(),
    "HDF5": hdf5(),
    "a pickle": pickle.dumps({"a": 1}, 4),
    "tar container of PyTorch": tar("storages"),
    "a tar archive": tar("model.pt"),
    "TensorFlow Lite": b"\x1c\0\0\0TFL3" + bytes(40),
    "GGUF": b"GGUF" + bytes(40),
    "ONNX": b"\x08\x08\x12\x07pytorch" + bytes(40),
    "ONNX file": b"\x08\x09:\x10" + bytes(40),
    "Core ML": b"\x08\x04\x12\x83\x01\n\x10\n\x05input" + bytes(40),
    "OpenVINO": b'<?xml version="1.0"?>\n<net name="gru" version="11">',
    "ExecuTorch": b"\x1c\0\0\0ET12" + bytes(40),
    "TensorFlow SavedModel": b"\x08\x01\x12\xa0\x8d!\n\xb5\x1c\x12\x85\x1c\nD\n\x05AddV2" + bytes(40),
    "TensorFlow checkpoint": b"\x00\x00\x06\x08\x01\x1a\x02\x08\x01\x00" + bytes(40) + b"W\xfb\x80\x8b$uG\xdb",
    "part of a TensorFlow checkpoint": b"\n\xa7\t\x12\x80\t\nD\n\x05AddV2\x12\x06\n\x01x",
    "frozen TensorFlow graph": b"\n6\n\x01x\x12\x0bPlaceholder*\x0b\n\x05dtype\x12\x020\x01",
    "TensorFlow graph": b'node {\n  name: "x"\n  op: "Placeholder"\n}\n',
    "zip of a TensorFlow SavedModel": zip_of("m/saved_model.pb", "m/variables/variables.index"),
    "Stable-Baselines3": zip_of("data", "policy.pth", "policy.optimizer.pth", "pytorch_variables.pth"),
    "GuitarML": b'{"model_data": {"model": "SimpleRNN", "unit_type": "GRU", "skip": 1}, "state_dict": {}}',
    "GuitarML model of another unit": b'{"model_data": {"unit_type": "LSTM", "skip": 1}, "state_dict": {}}',
    "TensorFlow.js": b'{"modelTopology": {"layers": []}, "weightsManifest": [{"weights": []}]}',
    "Keras architecture": b'{"class_name": "Sequential", "config": {"layers": []}}',
    "weights in several files": b'{"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}',
    "list of weights in several files": b'{"metadata": {}, "weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}',
    "joblib": zlib.compress(b"x"),
    "compressed": gzip.compress(b"x"),
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "web page": b"<!DOCTYPE html><html></html>",
    "JSON": b'{"layers": []}',
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_are_named_and_come_with_advice(file_of, kind):
    with pytest.raises(UnsupportedModelError, match=rf"it is .*{kind}.*, which is not read; \w+"):
        read(file_of(OTHERS[kind]))


class Unpickled:
    """Stands for any object of a program's own."""


PICKLED = {
    "a pickle of NumPy arrays": {"gru.weight_ih_l0": np.zeros((3, 2), "f4")},
    "a pickle": {"epoch": 3},
}


@pytest.mark.parametrize("kind", PICKLED)
@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_are_named(file_of, kind, protocol):
    with pytest.raises(UnsupportedModelError, match=rf"it is {kind}, which is not read; load it where it was pickled"):
        read(file_of(pickle.dumps(PICKLED[kind], protocol)))


@pytest.mark.parametrize(
    "value", [[1, 2], OrderedDict(a=1), Unpickled(), {"a": {}}, {}], ids=lambda each: str(type(each))
)
@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_any_object_are_named(file_of, value, protocol):
    with pytest.raises(UnsupportedModelError, match="it is a pickle"):
        read(file_of(pickle.dumps(value, protocol)))


@pytest.mark.parametrize(
    ("head", "kind", "advice"),
    [
        (b"\x80\x04\x95\xcf3\0\0\0\0\0\0\x8c tf_keras.src.saving.pickle_utils\x94", "Keras model", "model.keras"),
        (b"ctf_keras.src.saving.pickle_utils\ndeserialize_model_from_bytecode\np0\n", "Keras model", "model.keras"),
        (b"\x80\x04\x8c\x08builtins\x94\x8c\x07getattr\x94\x8c\x1bkeras.src.models.functional", "Keras model", "keras"),
        (b"ccopy_reg\n_reconstructor\np0\n(ctorch.nn.modules.rnn\nGRU\n", "PyTorch object", "state_dict"),
        (b"\x80\x02ctorch.nn.modules.rnn\nGRU\nq\x00)", "PyTorch object", "state_dict"),
    ],
)
def test_pickled_models_are_told_by_whose_they_are(file_of, head, kind, advice):
    with pytest.raises(UnsupportedModelError, match=f"it is a pickled {kind}, which is not read; .*{advice}"):
        read(file_of(head + bytes(50)))


TENSORFLOW = {
    "saved_model.pb": OTHERS["TensorFlow SavedModel"],
    "keras_metadata.pb": b'\n\xbe"\x1a\x04root"\x14_tf_keras_sequential',
    "fingerprint.pb": b"\x08\xb1\x8f\x8f\x8c\xd1",
    "variables/variables.index": OTHERS["TensorFlow checkpoint"],
    "variables/variables.data-00000-of-00001": b"\x80\x03\x03?<\x0b<\xbf",
}


def folder_of(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("place", [".", "variables", *TENSORFLOW])
def test_a_saved_model_is_one_whatever_part_of_it_is_named(tmp_path, place):
    folder = folder_of(tmp_path / "model", TENSORFLOW)
    words = (
        r'TensorFlow SavedModel, which is not read; .*tf_keras\.models\.load_model\(\'.*model\'\)\.save\("model\.h5"\)'
    )
    with pytest.raises(UnsupportedModelError, match=words):
        read(folder / place)
    (folder / "keras_metadata.pb").unlink()
    if place != "keras_metadata.pb":
        with pytest.raises(UnsupportedModelError, match=r'operations and no layers; .*model\.save\("model\.keras"\)'):
            read(folder / place)


@pytest.mark.parametrize("place", [".", "checkpoint", "c-1.index", "c-1.data-00000-of-00001"])
def test_a_checkpoint_of_tensorflow_is_one_whatever_part_of_it_is_named(tmp_path, place):
    files = {
        "checkpoint": b'model_checkpoint_path: "c-1"\nall_model_checkpoint_paths: "c-1"\n',
        "c-1.index": OTHERS["TensorFlow checkpoint"],
        "c-1.data-00000-of-00001": b"\xa8\xf0\x03?",
    }
    with pytest.raises(UnsupportedModelError, match=r"TensorFlow checkpoint.*model\.load_weights\('.*c-1'\)"):
        read(folder_of(tmp_path, files) / place)


def test_data_alone_is_no_checkpoint_of_tensorflow(tmp_path):
    with pytest.raises(CheckpointError, match="no kind of file"):
        read(folder_of(tmp_path, {"c-1.data-00000-of-00001": b"\xa8\xf0\x03?"}) / "c-1.data-00000-of-00001")


@pytest.mark.parametrize("place", [".", ".metadata", "__0_0.distcp"])
def test_a_distributed_checkpoint_is_one_whatever_part_of_it_is_named(tmp_path, place):
    part = zip_bytes([ZipRecord("archive/data.pkl", b"N."), ZipRecord("archive/version", b"3")])
    files = {
        ".metadata": b"\x80\x04\x95\r\x05\0\0\0\0\0\0\x8c%torch.distributed.checkpoint.metadata",
        "__0_0.distcp": part * 2,
    }
    folder = folder_of(tmp_path / "dcp", files)
    with pytest.raises(UnsupportedModelError, match=r"distributed checkpoint.*dcp_to_torch '.*dcp' model\.pt"):
        read(folder / place)


def test_a_folder_names_the_files_in_it_that_are_read(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, weight_ih=np.zeros((6, 3), "f4"))
    files = {"notes.txt": b"x", "data/model.bin": buffer.getvalue(), "weights.pt": buffer.getvalue(), "empty": b""}
    with pytest.raises(
        CheckpointError, match=r"got a folder, wanted one file; name one that is read: 'weights\.pt', 'data"
    ):
        read(folder_of(tmp_path, files))


def test_a_package_of_core_ml_is_named(tmp_path):
    folder_of(tmp_path, {"Manifest.json": b"{}", "Data/model.mlmodel": OTHERS["Core ML"]})
    with pytest.raises(UnsupportedModelError, match="it is a folder with a Core ML model, which is not read; name the"):
        read(tmp_path)


def test_a_folder_around_a_known_one_names_that(tmp_path):
    folder_of(tmp_path / "1", TENSORFLOW)
    with pytest.raises(UnsupportedModelError, match=r"1: it is a folder with a TensorFlow SavedModel"):
        read(tmp_path)


def test_a_folder_of_nothing_says_what_it_holds(tmp_path):
    with pytest.raises(CheckpointError, match=r"got a folder, in which no file is read \(it holds nothing\)"):
        read(tmp_path)
    (tmp_path / "notes.txt").write_bytes(b"words")
    with pytest.raises(CheckpointError, match=r"in which no file is read \(it holds 'notes\.txt'\)"):
        read(tmp_path)


def advised(path) -> str:
    """The Python of what a refusal says to do."""
    with pytest.raises(FastGRUError) as error:
        read(path)
    return str(error.value)


def test_an_unpacked_keras_file_packed_as_advised_is_one_again(tmp_path, monkeypatch):
    records = keras_records(hdf5_bytes({"w": np.zeros(4, "f4")}))
    folder = folder_of(tmp_path / "unpacked", {record.name: record.content for record in records})
    line = advised(folder).partition("model.zip: ")[2]
    monkeypatch.chdir(tmp_path)
    eval(line, {"shutil": shutil})
    assert read("model.zip").format == "keras"


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs the zip program that the advice names")
@pytest.mark.parametrize("place", [".", "data.pkl"])
def test_an_unpacked_pytorch_file_packed_as_advised_is_one_again(tmp_path, place):
    with zipfile.ZipFile(io.BytesIO(zip_bytes(torch_records({"w": tensor(np.arange(12, dtype="<f4"))})))) as archive:
        archive.extractall(tmp_path)
    (root,) = {name.split("/")[0] for name in archive.namelist()}
    line = advised(tmp_path / root / place).partition("without compression: ")[2]
    subprocess.run(line, shell=True, check=True, stdout=subprocess.DEVNULL)
    assert list(read(tmp_path / "model.pt")) == ["w"]


def test_a_zip_around_a_model_says_how_to_take_it_out(tmp_path, monkeypatch):
    for name in ("policy.pth", "runs/best model.pt"):
        buffer = io.BytesIO()
        np.savez(buffer, weight_ih=np.zeros((6, 3), "f4"))
        path = tmp_path / "outer.zip"
        path.write_bytes(zip_bytes([ZipRecord("data", b"{}"), ZipRecord(name, buffer.getvalue())]))
        line = advised(path).partition("name that: ")[2]
        monkeypatch.chdir(tmp_path)
        assert read(eval(line, {"zipfile": zipfile})).format == "npz"


def test_a_guitarml_model_converted_as_advised_gives_what_it_computes(tmp_path, monkeypatch):
    random = np.random.default_rng(3)
    shapes = {
        "rec.weight_ih_l0": (12, 1),
        "rec.weight_hh_l0": (12, 4),
        "rec.bias_ih_l0": (12,),
        "rec.bias_hh_l0": (12,),
    }
    weights = {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    weights |= {"lin.weight": random.normal(size=(1, 4)).astype("f4"), "lin.bias": np.zeros(1, "f4")}
    facts = {"model": "SimpleRNN", "input_size": 1, "skip": 1, "unit_type": "GRU", "num_layers": 1, "hidden_size": 4}
    path = tmp_path / "amp.json"
    path.write_text(
        json.dumps({"model_data": facts, "state_dict": {name: each.tolist() for name, each in weights.items()}})
    )
    line = advised(path).partition("write its weights as .npz: ")[2].partition(", and load that with ")
    monkeypatch.chdir(tmp_path)
    eval(line[0], {"np": np, "json": json, "pathlib": pathlib})
    layers = eval(line[2].partition(";")[0].removeprefix("layers="))
    x = random.normal(size=(2, 9, 1)).astype("f4")
    wanted = fastgru.from_torch(weights, layers=["rec", "lin"], check=(x, fastgru.load("model.npz", layers=layers)(x)))
    assert wanted(x).shape == (2, 9, 1)


def test_a_zip_of_something_else_lists_what_is_in_it(file_of):
    with pytest.raises(CheckpointError, match=r"a zip of 2 files.*'a\.txt', 'b/c'"):
        read(file_of(zip_of("a.txt", "b/c")))


def test_a_text_that_is_no_model_is_shown(file_of):
    with pytest.raises(CheckpointError, match=r"it begins with 'epoch,loss\\n1,0\.5\\n'"):
        read(file_of(b"epoch,loss\n1,0.5\n"))


def test_an_empty_zip_is_a_zip_of_nothing(file_of):
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    with pytest.raises(CheckpointError, match="a zip of 0 files"):
        read(file_of(buffer.getvalue()))


def test_a_safetensors_header_whose_length_begins_as_a_pickle_does(file_of):
    header = b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x280)
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    assert content.startswith(b"\x80\x02")
    assert read(file_of(content)).format == "safetensors"


def test_random_bytes_are_no_kind_of_file(file_of):
    with pytest.raises(CheckpointError, match="no kind of file fastgru knows"):
        read(file_of(np.random.default_rng(1).bytes(5000)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pt: there is no such file"):
        read(tmp_path / "nowhere.pt")


def test_a_folder_is_named_as_such(tmp_path):
    with pytest.raises(CheckpointError, match="got a folder"):
        read(tmp_path)


def test_an_empty_file_is_named_as_such(file_of):
    with pytest.raises(CheckpointError, match="got an empty file"):
        read(file_of(b""))


@pytest.mark.parametrize("path", [5, None, 1.5, ["a"]])
def test_what_is_not_a_path_is_an_error(path):
    with pytest.raises(CheckpointError, match=f"got {type(path).__name__} as a path"):
        read(path)


def test_a_path_that_cannot_be_is_an_error():
    with pytest.raises(FastGRUError):
        read("a\0b")


def test_reading_imports_neither_safetensors_nor_h5py_before_they_are_needed():
    code = "import sys, fastgru.checkpoint; assert not {'h5py', 'safetensors', 'torch', 'keras'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    "call", [b"\x8c\x20tf_keras.src.saving.pickle_utils\x8c\x1fdeserialize_model_from_bytecode\x93",
             b"\x8c\x08builtins\x8c\x07getattr\x93\x8c\x1bkeras.src.models.sequential\x8c\nSequential\x93\x8c\x0f_unpickle_model\x86R"],
)  # fmt: skip
def test_a_pickled_keras_model_is_named_and_told_what_to_do(tmp_path, call, wrapped):
    path = tmp_path / "model.pkl"
    before = b"keras" + bytes(5000) if wrapped else b""
    path.write_bytes(b"\x80\x04" + before + call + b"B\x04\x00\x00\x00PK\x03\x04\x85R.")
    with pytest.raises(UnsupportedModelError, match=r"it is a pickled Keras model, .*model.save\(.model.keras.\)"):
        read(path)
