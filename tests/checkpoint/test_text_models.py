"""RTNeural's JSON and RNNoise's text come out as the arrays they list, and wrong ones are named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from archive_writers import RNNOISE_SIZES, rnnoise_bytes, rtneural_bytes

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError, UnsupportedModelError

DENSE = {"type": "dense", "activation": "tanh", "shape": [None, None, 2], "weights": [[[1.5, -2], [0.1, 3]], [0, 1e-9]]}


def test_rtneural_arrays_have_their_place_as_a_name(file_of):
    checkpoint = read(file_of(rtneural_bytes(DENSE, {"type": "activation", "activation": "relu"})))
    assert checkpoint.format == "rtneural"
    assert list(checkpoint) == ["layers.0.weights.0", "layers.0.weights.1"]
    np.testing.assert_array_equal(checkpoint["layers.0.weights.0"], np.array([[1.5, -2], [0.1, 3]]))
    assert checkpoint["layers.0.weights.1"].dtype == np.float64
    assert checkpoint.config["layers"][0]["weights"] == list(checkpoint)
    assert checkpoint.config["in_shape"] == [
        None,
        None,
        1,
    ]


def test_rtneural_is_known_by_its_content(file_of):
    text = json.dumps({"layers": [DENSE], "in_shape": [1]}).encode()
    for content in (text, b"  \n" + text, json.dumps({"layers": [DENSE]}).encode()):
        assert read(file_of(content)).format == "rtneural"


@pytest.mark.parametrize("layers", [[], None, {}, "x", [1], [{"type": 1}], [{}], [{"type": "gru", "weights": 1}]])
def test_rtneural_without_layers_is_refused(file_of, layers):
    with pytest.raises(CheckpointError):
        read(file_of(json.dumps({"in_shape": [1], "layers": layers}).encode()))


def test_other_json_is_refused_as_before(file_of):
    for text in (b'{"layers": []}', b'{"model": 1}', b'["in_shape"]'):
        with pytest.raises(UnsupportedModelError, match="JSON or similar text"):
            read(file_of(text))


def test_rnnoise_arrays_are_numbers_divided_by_256(file_of):
    content = rnnoise_bytes()
    checkpoint = read(file_of(content))
    assert checkpoint.format == "rnnoise"
    assert checkpoint.metadata["rnnoise_version"] == 1
    assert [name for name in checkpoint if name.startswith("vad_gru")] == [
        "vad_gru/kernel",
        "vad_gru/recurrent_kernel",
        "vad_gru/bias",
    ]
    first = np.array(content.split(b"\n")[2].split(), float).reshape(5, 3) / 256
    np.testing.assert_array_equal(checkpoint["input_dense/kernel"], first.astype("f4"))
    assert checkpoint["noise_gru/recurrent_kernel"].shape == (4, 12)
    assert checkpoint.config["layers"]["noise_gru"] == {"inputs": 10, "units": 4, "activation": "relu"}


@pytest.mark.parametrize("end", [b"\r\n", b" ", b"\n\n"])
def test_rnnoise_may_have_any_space_between_its_numbers(file_of, end):
    first, rest = rnnoise_bytes().split(b"\n", 1)
    checkpoint = read(file_of(first + b"\n" + rest.replace(b"\n", end)))
    assert len(checkpoint) == 15


def test_another_version_of_rnnoise_is_unsupported(file_of):
    with pytest.raises(UnsupportedModelError, match="version '2'"):
        read(file_of(rnnoise_bytes(first="2")))


@pytest.mark.parametrize("change", [{"vad_gru": (0, 2, 0)}, {"vad_gru": (3, 129, 0)}, {"vad_gru": (3, 2, 3)}])
def test_rnnoise_counts_are_checked(file_of, change):
    with pytest.raises(CheckpointError, match="vad_gru"):
        read(file_of(rnnoise_bytes({**RNNOISE_SIZES, **change})))
