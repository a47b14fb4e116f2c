"""safetensors files come out as the arrays that went in, with 16-bit floats widened."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError


def raw_file(header: dict, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("kind", ["f4", "f8", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"])
def test_every_plain_type_comes_back(file_of, kind):
    arrays = {"b": np.arange(6).reshape(2, 3).astype(kind), "a": np.asarray(1, kind), "empty": np.zeros((0, 4), kind)}
    checkpoint = read(file_of(safetensors.numpy.save(arrays)))
    assert checkpoint.format == "safetensors" and checkpoint.config is None and checkpoint.keys() == arrays.keys()
    for name, wanted in arrays.items():
        got = checkpoint[name]
        assert got.dtype == wanted.dtype and got.shape == wanted.shape and got.tobytes() == wanted.tobytes()
        assert got.flags.c_contiguous and not got.flags.writeable


def test_half_and_bfloat16_are_widened(file_of):
    values = np.array([[1.5, -0.25], [np.inf, 0.0]], np.float32)
    upper = (values.view("u4") >> 16).astype("<u2").tobytes()
    header = {
        "half": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]},
        "bf16": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]},
    }
    checkpoint = read(file_of(raw_file(header, values.astype("<f2").tobytes() + upper)))
    for name in header:
        assert checkpoint[name].dtype == np.float32 and np.array_equal(checkpoint[name], values)


def test_metadata_is_kept(file_of):
    content = safetensors.numpy.save({"a": np.zeros(1, "f4")}, {"format": "pt", "who": "me"})
    assert read(file_of(content)).metadata == {"format": "pt", "who": "me", "skipped": []}


def test_types_without_a_numpy_twin_are_refused_by_tensor_name(file_of):
    header = {"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    with pytest.raises(CheckpointError, match=r"'w'.*F8_E4M3"):
        read(file_of(raw_file(header, b"1234")))


def test_the_library_reads_the_same_from_a_header_in_any_order(file_of):
    header = {
        "last": {"dtype": "I16", "shape": [3], "data_offsets": [9, 15]},
        "none": {"dtype": "F64", "shape": [0, 5], "data_offsets": [9, 9]},
        "first": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
        "odd": {"dtype": "U8", "shape": [], "data_offsets": [8, 9]},
    }
    content = raw_file(header, bytes(range(15)))
    checkpoint, wanted = read(file_of(content)), safetensors.numpy.load(content)
    assert list(checkpoint) == list(header) and checkpoint.keys() == wanted.keys()
    for name, array in checkpoint.items():
        assert array.dtype == wanted[name].dtype and array.tobytes() == wanted[name].tobytes()
        assert array.flags.aligned and not array.flags.writeable


def test_16_bit_floats_are_widened_one_tensor_at_a_time(file_of, read_with_peak):
    size, count = 1 << 20, 16
    header = {
        f"w{index}": {"dtype": kind, "shape": [size // 2], "data_offsets": [index * size, (index + 1) * size]}
        for index, kind in enumerate(["F16", "BF16"] * (count // 2))
    }
    path = file_of(raw_file(header, bytes(size * count)))
    checkpoint, peak = read_with_peak(path)
    assert {array.dtype.name for array in checkpoint.values()} == {"float32"}
    assert peak < 2.2 * size * count  # twice the file is what float32 takes


def test_the_checkpoint_says_which_tensors_were_widened(file_of):
    header = {
        "half": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
        "bf16": {"dtype": "BF16", "shape": [1], "data_offsets": [2, 4]},
        "full": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    }
    assert read(file_of(raw_file(header, bytes(8)))).stored == {"half": "float16", "bf16": "bfloat16"}
