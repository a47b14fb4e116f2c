"""A file is what its content says; what is not read is named, and comes with advice."""

from __future__ import annotations

import gzip
import io
import pickle
import subprocess
import sys
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
from checkpoint_writers import ZipRecord, zip_bytes

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
    "compressed": gzip.compress(b"x"),
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "web page": b"<!DOCTYPE html><html></html>",
    "JSON": b'{"layers": []}',
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_are_named_and_come_with_advice(file_of, kind):
    with pytest.raises(UnsupportedModelError, match=rf"it is .*{kind}.*, which is not read; \w+"):
        read(file_of(OTHERS[kind]))


def test_a_zip_of_something_else_lists_what_is_in_it(file_of):
    with pytest.raises(CheckpointError, match=r"a zip of 2 files.*'a\.txt', 'b/c'"):
        read(file_of(zip_of("a.txt", "b/c")))


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
    with pytest.raises(UnsupportedModelError, match=r"it is a pickled Keras model, .*model.save\('model.keras'\)"):
        read(path)
