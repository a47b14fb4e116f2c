"""Attacks by a safetensors header: lengths, offsets, shapes and JSON that do not fit the file."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
import safetensors

import fastgru
from fastgru.checkpoint.contents import Checkpoint
from fastgru.checkpoint.opened import open_checkpoint
from fastgru.checkpoint.safetensors import read_safetensors
from fastgru.errors import CheckpointError
from fastgru.importers import describe


def raw(header, data: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def one(shape=(4,), offsets=(0, 16), dtype="F32"):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def test_the_file_that_is_changed_is_sound(outcome):
    assert outcome(raw(one()))["w"].shape == (4,)


@pytest.mark.parametrize("length", [0, 1, 10, 1000, 1 << 20, 99_999_999, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_header_length_lies(refused, length):
    refused(raw(one(), length=length))


@pytest.mark.parametrize("offsets", [(0, 15), (0, 17), (1, 17), (16, 0), (0, 1 << 40), (1 << 62, (1 << 62) + 16),
                                     (4, 20), (0, 1 << 64), (-1, 15), (0, 8)])  # fmt: skip
def test_offsets_beyond_the_file_or_the_shape(refused, offsets):
    refused(raw(one(offsets=offsets)))


@pytest.mark.parametrize(
    "shape", [(5,), (1 << 62,), (1 << 32, 1 << 32), (1 << 33, 1 << 33, 0), (-4,), (1 << 64,), (4.0,), ("4",)]
)
def test_shapes_that_overflow_or_do_not_fit(refused, shape):
    refused(raw(one(shape)))


def test_empty_shapes_that_numpy_cannot_hold(outcome):
    for shape in ((0, 1 << 62), (0, 1 << 62, 1 << 62), (1 << 63, 0), (1,) * 9 + (4,), (0,) * 70):
        got = outcome(raw(one(shape, (0, 0 if 0 in shape else 16)), b"" if 0 in shape else bytes(16)))
        assert isinstance(got, (Checkpoint, CheckpointError))


def test_overlapping_tensors_and_holes(refused):
    two = {**one((2,), (0, 8)), "v": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}
    refused(raw(two, bytes(12)))
    two["v"]["data_offsets"] = [12, 20]
    refused(raw(two, bytes(20)))


def test_unknown_types(refused):
    for dtype in ("F128", "", "O", 5, None, "float32"):
        refused(raw(one(dtype=dtype)))


def test_duplicate_names(refused):
    entry = '{"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}'
    assert "twice" in refused(raw(f'{{"w": {entry}, "w": {entry}}}'.encode()))


def test_deep_or_endless_json(refused):
    for text in (b'{"w":' + b"[" * 300_000, b'{"a":' * 300_000, b'{"w": ' + b"[" * 300_000 + b"]" * 300_000 + b"}",
                 b"{" + b",".join(b'"%d":1' % index for index in range(260_000)) + b"}"):  # fmt: skip
        refused(raw(text))


def test_metadata_that_is_not_text(outcome):
    for metadata in (5, [], {"a": 1}, {"a": {"b": "c"}}, "text", None, {"skipped": "lie"}):
        got = outcome(raw({"__metadata__": metadata, **one()}))
        assert isinstance(got, CheckpointError) or got.metadata["skipped"] == []


def test_data_missing_or_left_over(refused):
    refused(raw(one(), bytes(15)))
    refused(raw(one(), bytes(17)))
    refused(raw(one(), b""))


def test_entries_that_are_not_what_they_should_be(refused):
    for entry in (5, None, [], {}, {"dtype": "F32", "shape": [4]}, {**one()["w"], "shape": 4},
                  {**one()["w"], "shape": [True] * 2 + [4]}, {**one()["w"], "data_offsets": [0]},
                  {**one()["w"], "data_offsets": {"0": 16}}, {**one()["w"], "data_offsets": [0, 16, 16]}):  # fmt: skip
        assert "'w'" in refused(raw({"w": entry}))


def test_metadata_of_anything_but_texts_is_refused_as_by_the_library(refused):
    for metadata in (5, [], {"a": 1}, {"a": {"b": "c"}}, "text", 0, False):
        assert "metadata" in refused(raw({"__metadata__": metadata, **one()}))


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path):
    path = tmp_path / "cut.bin"
    path.write_bytes(raw(one((1 << 16,), (0, 1 << 18)), bytes(1 << 18)))
    with open_checkpoint(path) as opened:
        os.truncate(path, 1 << 12)
        with pytest.raises(CheckpointError, match="changed while read"):
            read_safetensors(opened)


def test_what_is_read_after_a_change_of_one_byte_is_what_the_library_reads(outcome):
    header = {"v": {"dtype": "I16", "shape": [3, 2], "data_offsets": [16, 28]}, **one(), "__metadata__": {"a": "b"}}
    sound, chance, read = raw(header, bytes(range(28))), np.random.default_rng(21), 0
    for _ in range(800):
        content = bytearray(sound)
        content[chance.integers(8, len(content))] = chance.choice(list(b'0123456789 ",[]-U'))
        got = outcome(bytes(content))
        if isinstance(got, Checkpoint):
            read += 1
            wanted = dict(safetensors.deserialize(bytes(content)))
            assert got.keys() == wanted.keys()
            assert all(got[name].tobytes() == bytes(each["data"]) for name, each in wanted.items())
    assert read > 80


def seconds(work) -> float:
    """The least of two times, of the process."""
    times = []
    for _ in range(2):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def test_thousands_of_tiny_modules_are_refused_in_little_more_time_than_they_are_read(file_of):
    """Twice the time here, and six times where the modules are worked out anew for each thing said of them."""
    header, names = {}, ["rnn.weight_ih_l0", "rnn.weight_hh_l0", *(f"m{place}.weight" for place in range(4_000))]
    for place, name in enumerate(names):
        shape, at = ([3, 1], 12 * place) if place < 2 else ([1], 24 + 4 * (place - 2))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * shape[0]]}
    path = file_of(raw(header, bytes(24 + 4 * 4_000)))

    def refused() -> None:
        with pytest.raises(CheckpointError, match="more than a GRU"):
            fastgru.load(path)

    reading = seconds(lambda: fastgru.read(path))
    assert seconds(refused) < 4 * reading + 0.1
    assert seconds(lambda: describe(fastgru.read(path))) < 8 * reading + 0.1
