"""Damage: every format cut off at every 64 bytes, and some hundreds of seeded mutations of a file of each."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from checkpoint_writers import Call, Name, ZipRecord, legacy_bytes, tensor, torch_bytes, torch_records, zip_bytes
from keras_writer import hdf5_bytes, keras_bytes
from mutations import mutated

from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import FastGRUError

MUTATIONS = 300
numbers = np.random.default_rng(5)
ARRAYS = {name: numbers.standard_normal(shape).astype("f4") for name, shape in
          {"weight_ih_l0": (6, 3), "weight_hh_l0": (6, 2), "bias_ih_l0": (6,), "bias_hh_l0": (6,)}.items()}  # fmt: skip
VALUE = {
    "model": {name: tensor(array) for name, array in ARRAYS.items()},
    "optimizer": {"lr": 0.1, "state": {0: {"step": 5}}},
    "args": Call(Name("argparse", "Namespace"), (), {"epochs": 3}),
}


def safetensors_file() -> bytes:
    header, data = {}, b""
    for name, array in ARRAYS.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


HDF5 = hdf5_bytes({f"layers/gru/cell/vars/{index}": array for index, array in enumerate(ARRAYS.values())})
FILES = {
    "pytorch-zip": torch_bytes(VALUE),
    "pytorch-legacy": legacy_bytes(VALUE),
    "safetensors": safetensors_file(),
    "keras": keras_bytes(HDF5),
}


@pytest.mark.parametrize("name", FILES)
def test_the_files_that_are_damaged_are_sound(outcome, name):
    got = outcome(FILES[name])
    assert got.format == name and [array.tobytes() for array in got.values()] == [a.tobytes() for a in ARRAYS.values()]


@pytest.mark.parametrize("name", FILES)
def test_truncation_at_every_64_bytes_is_an_error(outcome, name):
    content = FILES[name]
    for length in range(0, len(content), 64):
        assert isinstance(outcome(content[:length]), FastGRUError), length
    assert isinstance(outcome(content[:-1]), FastGRUError)


@pytest.mark.parametrize("name", FILES)
def test_mutations_of_a_file_end_in_a_result_or_an_error(outcome, name):
    chance = np.random.default_rng(11)
    for _ in range(MUTATIONS):
        assert isinstance(outcome(mutated(FILES[name], chance)), (Checkpoint, FastGRUError))


def test_mutations_of_the_pickle_behind_a_sound_zip(outcome):
    chance = np.random.default_rng(12)
    records = torch_records(VALUE)
    for _ in range(MUTATIONS):
        changed = ZipRecord(records[0].name, mutated(records[0].content, chance))
        assert isinstance(outcome(zip_bytes([changed, *records[1:]])), (Checkpoint, FastGRUError))


def test_mutations_of_the_hdf5_behind_a_sound_zip(outcome):
    chance = np.random.default_rng(13)
    for _ in range(MUTATIONS):
        assert isinstance(outcome(keras_bytes(mutated(HDF5, chance))), (Checkpoint, FastGRUError))


def test_mutations_of_the_configuration_behind_a_sound_zip(outcome):
    chance = np.random.default_rng(14)
    text = json.dumps({"class_name": "Sequential", "config": {"layers": [{"a": [1, 2.5, None, "x\n"]}]}}).encode()
    for _ in range(MUTATIONS):
        got = outcome(keras_bytes(HDF5, config=mutated(text, chance)))
        assert isinstance(got, (Checkpoint, FastGRUError))


def test_a_file_that_is_a_folder_or_empty(outcome, tmp_path):
    from fastgru.checkpoint import read

    with pytest.raises(FastGRUError, match="got a folder"):
        read(tmp_path)
    assert "empty" in str(outcome(b""))
    for length in range(1, 40):
        assert isinstance(outcome(b"PK\x03\x04" + bytes(length)), FastGRUError)
        assert isinstance(outcome(bytes(length)), FastGRUError)
