"""Attacks by RTNeural and RNNoise files: lists that are ragged, numbers that are none, counts that lie."""

from __future__ import annotations

import json
from typing import Any

import pytest
from archive_writers import rnnoise_bytes, rtneural_bytes

from fastgru.errors import CheckpointError, FastGRUError
from fastgru.layers import ModelSpec

MUTATIONS = 200


DENSE = {"type": "dense", "activation": "", "shape": [None, None, 2], "weights": [[[1.0, 2.0]], [0.0, 0.0]]}


def rtneural(**changes: Any) -> bytes:
    return json.dumps({"in_shape": [None, None, 1], "layers": [{**DENSE, **changes}]}).encode()


def test_the_rtneural_model_that_is_changed_is_sound(loaded):
    assert isinstance(loaded(rtneural()), ModelSpec)


@pytest.mark.parametrize(
    "weights",
    [
        [[[1, 2], [3]], [0, 0]],
        [[[1], 2], [0, 0]],
        [[[]], []],
        [[], [0]],
        [[[1, "2"]], [0, 0]],
        [[[1, None]], [0, 0]],
        [[[1, True]], [0, 0]],
        [[[1, {}]], [0, 0]],
        [1, 2],
        "ab",
        None,
        {},
        [[[[[[[[[[[1]]]]]]]]]], [0]],
        [[[1, 2]], [[0, 0], [0]]],
    ],
)
def test_rtneural_lists_that_are_ragged_or_hold_no_numbers(loaded, weights):
    assert isinstance(loaded(rtneural(weights=weights)), CheckpointError)


@pytest.mark.parametrize(
    "weights",
    [
        [[[1, 2]]] * 9,
        [[[1, 2]], [0]],
        [[[1, 2]], [0, 0, 0]],
        [[1, 2], [0, 0]],
        [[[1, 2], [3, 4]], [0, 0]],
        [],
    ],
)
def test_rtneural_wrong_shapes(loaded, weights):
    assert isinstance(loaded(rtneural(weights=weights)), CheckpointError)


@pytest.mark.parametrize("kind", ["gru", "conv1d", "prelu", "batchnorm", "lstm", "conv2d", "", "__class__", "x" * 9999])
def test_rtneural_types_that_do_not_fit_the_arrays(loaded, kind):
    assert isinstance(loaded(rtneural(type=kind)), FastGRUError)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [None, None, 3]},
        {"activation": "exec"},
        {"activation": []},
        {"activation": {"a": 1}},
        {"activation": 5},
    ],
)
def test_rtneural_options_that_do_not_fit(loaded, change):
    assert isinstance(loaded(rtneural(**change)), FastGRUError)


@pytest.mark.parametrize(
    "in_shape", [[None, None, 2], [None, None, "1"], [1.5], [True], [-1], [[]], {"a": 1}, 5, [1 << 40]]
)
def test_rtneural_input_shapes_that_do_not_fit(loaded, in_shape):
    assert isinstance(loaded(rtneural_bytes(DENSE, in_shape=in_shape)), FastGRUError)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "1" + "0" * 30])
def test_rtneural_numbers_that_are_none(loaded, number):
    content = rtneural().replace(b"2.0", number.encode())
    assert isinstance(loaded(content), CheckpointError)


@pytest.mark.slow
def test_rtneural_nested_without_end(bounded):
    for text in (
        b"[" * 2_000_000,
        b'{"in_shape":[1],"layers":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b'{"in_shape":[1],"layers":[' + b"{}," * 1_000_000 + b"{}]}",
        b'{"in_shape":[1],"layers":[{"type":"dense","weights":[[' + b"0," * 3_000_000 + b"0]]}]}",
        b'{"in_shape":[1],"layers":[{"type":"dense","weights":[[' + b"[]," * 200_000 + b"[]]]}]}",
        b'{"in_shape":[1],"layers":[{"type":"dense","weights":[[' + b"1e1," * 900_000 + b"0]]}]}",
        b'{"in_shape":[1],' + b" " * (9 << 20) + b"}",
    ):
        assert isinstance(bounded(text), FastGRUError)


def test_rnnoise_with_huge_counts(bounded):
    for counts in (
        b"99999 99999 0",
        b"128 128 0",
        b"-5 24 0",
        b"42 0 0",
        b"42 24 3",
        b"42 24 -1",
        b"9" * 5000 + b" 1 0",
    ):
        got = bounded(b"rnnoise-nu model file version 1\n" + counts + b"\n1 2 3\n")
        assert isinstance(got, CheckpointError)


def test_rnnoise_with_short_data_or_too_much(refused):
    content = rnnoise_bytes()
    for cut in range(33, len(content) - 8, 97):
        refused(content[:cut])
    assert "after its last layer" in refused(content + b" 1 2 3\n")


@pytest.mark.parametrize(
    "word", [b"1.5", b"1e3", b"x", b"--1", b"-", b"1-1", b"0x10", b"128", b"-129", b"99999999999", b"\xff", b"\0"]
)
def test_rnnoise_numbers_that_are_no_weights(refused, word):
    first, counts, numbers, rest = rnnoise_bytes().split(b"\n", 3)
    refused(b"\n".join([first, counts, word + b" " + numbers.split(b" ", 1)[1], rest]))


def test_rnnoise_of_50_mb(bounded):
    assert isinstance(bounded(b"rnnoise-nu model file version 1\n" + b"1 " * (25 << 20)), CheckpointError)
    assert isinstance(bounded(b"rnnoise-nu model file version 1\n" + b"10 " * (680 << 10)), CheckpointError)


def test_rnnoise_layers_that_do_not_fit_each_other(loaded):
    sizes = {
        "input_dense": (5, 3, 0),
        "vad_gru": (3, 2, 0),
        "noise_gru": (9, 4, 2),
        "denoise_gru": (11, 6, 0),
        "denoise_output": (6, 4, 1),
        "vad_output": (2, 1, 1),
    }
    got = loaded(rnnoise_bytes(sizes))
    assert isinstance(got, CheckpointError)
    assert "noise_gru" in str(got)


FILES = {"rtneural": rtneural(), "rnnoise": rnnoise_bytes()}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_or_mutated_ends_in_a_result_or_an_error(damaged, name):
    damaged(FILES[name], MUTATIONS, every=16)
