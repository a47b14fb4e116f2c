""".keras files give their weights by HDF5 path, their configuration as data, and leave the optimizer alone."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from keras_writer import CONFIG, METADATA, hdf5_bytes, keras_bytes

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError

ARRAYS = {
    "layers/dense/vars/0": np.arange(8, dtype="<f4").reshape(4, 2),
    "layers/gru/cell/vars/0": np.arange(36, dtype="<f4").reshape(3, 12),
    "layers/gru/cell/vars/10": np.arange(3, dtype="<f8"),
}


def test_weights_configuration_and_metadata_are_read(file_of):
    checkpoint = read(file_of(keras_bytes(hdf5_bytes({**ARRAYS, "optimizer/vars/0": np.ones(5, "f4")}))))
    assert checkpoint.format == "keras" and checkpoint.config == CONFIG
    assert checkpoint.metadata == {**METADATA, "skipped": ["optimizer"]}
    assert checkpoint.keys() == ARRAYS.keys()
    for name, wanted in ARRAYS.items():
        got = checkpoint[name]
        assert got.dtype == wanted.dtype and np.array_equal(got, wanted) and got.flags.c_contiguous


def test_a_deflated_file_reads_the_same(file_of):
    weights = hdf5_bytes(ARRAYS)
    checkpoint = read(file_of(keras_bytes(weights, method=8)))
    assert all(np.array_equal(checkpoint[name], array) for name, array in ARRAYS.items())


def test_half_and_bfloat16_are_widened(file_of):
    values = np.array([[1.5, -0.25, 3.0]], np.float32)
    upper = (values.view("u4") >> 16).astype("<u2").view("V2")
    checkpoint = read(file_of(keras_bytes(hdf5_bytes({"half": values.astype("f2"), "bf16": upper}))))
    for name in ("half", "bf16"):
        assert checkpoint[name].dtype == np.float32 and np.array_equal(checkpoint[name], values)
    assert checkpoint.stored == {"half": "float16", "bf16": "bfloat16"}


def test_data_that_is_not_floats_is_listed_and_not_read(file_of):
    arrays = {**ARRAYS, "layers/dropout/seed_generator/vars/0": np.zeros(2, "u4"), "text": np.array([b"a"])}
    checkpoint = read(file_of(keras_bytes(hdf5_bytes(arrays))))
    assert checkpoint.metadata["skipped"] == ["layers/dropout/seed_generator/vars/0", "text"]
    assert checkpoint.keys() == ARRAYS.keys()


def test_scalar_and_empty_data_are_read(file_of):
    checkpoint = read(file_of(keras_bytes(hdf5_bytes({"scalar": np.float32(3), "empty": np.zeros((0, 3), "f4")}))))
    assert checkpoint["scalar"].shape == () and checkpoint["empty"].shape == (0, 3)


def test_groups_of_hundreds_of_members_are_read(file_of):
    arrays = {f"layers/dense_{index}/vars/0": np.full(2, index, "f4") for index in range(700)}
    checkpoint = read(file_of(keras_bytes(hdf5_bytes(arrays))))
    assert checkpoint.keys() == arrays.keys()
    assert all(np.array_equal(checkpoint[name], array) for name, array in arrays.items())


def test_h5py_is_not_needed(file_of, monkeypatch):
    path = file_of(keras_bytes(hdf5_bytes(ARRAYS)))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert read(path).keys()


def test_weights_that_are_not_hdf5_are_an_error(file_of):
    with pytest.raises(CheckpointError, match="not an HDF5 file"):
        read(file_of(keras_bytes(b"nothing of the kind")))


def test_groups_that_windows_named_with_backslashes_are_read_as_with_slashes(file_of):
    """Keras 2.12 to 2.15 joined their names by the separator of the system."""
    there = {"layers\\gru\\cell/vars/0": np.ones((4, 6), "f2"), "vars/0": np.ones(2, "f4")}
    beside = {"metrics\\mean/vars/0": np.ones(1, "f4")}
    checkpoint = read(file_of(keras_bytes(hdf5_bytes(there | beside))))
    assert set(checkpoint) == {"layers/gru/cell/vars/0", "vars/0", "metrics/mean/vars/0"}
    assert checkpoint.stored == {"layers/gru/cell/vars/0": "float16"}


def test_a_path_with_slashes_and_again_with_backslashes_is_an_error(file_of):
    both = {"layers\\gru/vars/0": np.ones(2, "f4"), "layers/gru/vars/0": np.ones(2, "f4")}
    with pytest.raises(CheckpointError, match="with slashes and with backslashes"):
        read(file_of(keras_bytes(hdf5_bytes(both))))
