"""npz files come out as the arrays that went in; what is not an array of numbers is listed or refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from checkpoint_writers import ZipRecord, zip_bytes

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError


def npz(compressed: bool = False, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["f4", "f8", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8", "c16"])
def test_every_plain_type_comes_back(file_of, kind, compressed):
    arrays = {"b": np.arange(6).reshape(2, 3).astype(kind), "a": np.asarray(1, kind), "empty": np.zeros((0, 4), kind)}
    checkpoint = read(file_of(npz(compressed, **arrays)))
    assert checkpoint.format == "npz"
    assert checkpoint.config is None
    assert list(checkpoint) == list(arrays)
    for name, wanted in arrays.items():
        got = checkpoint[name]
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        assert got.tobytes() == wanted.tobytes()
        assert got.flags.c_contiguous
        assert got.flags.aligned
        assert not got.flags.writeable


def test_arrays_of_zeros_are_no_decompression_bomb(file_of):
    """2,048 units have a bias of 24,704 bytes in the file, and one of zeros takes 122."""
    zeros = {"bias_ih_l0": np.zeros(3 * 2048, "f4"), "weight_hh_l0": np.zeros((3 * 256, 256), "f4")}
    checkpoint = read(file_of(npz(True, **zeros)))
    for name, wanted in zeros.items():
        assert np.array_equal(checkpoint[name], wanted)


def test_half_is_widened(file_of):
    values = np.array([[1.5, -0.25], [np.inf, 6e-8]], np.float16)
    got = read(file_of(npz(w=values)))["w"]
    assert got.dtype == np.float32
    assert np.array_equal(got, values.astype("f4"))


@pytest.mark.parametrize("kind", [">f4", ">f8", ">f2", ">i4"])
def test_big_endian_arrays_become_native(file_of, kind):
    values = np.arange(6).reshape(2, 3).astype(kind)
    got = read(file_of(npz(w=values)))["w"]
    assert got.dtype.isnative
    assert np.array_equal(got, values)


def test_fortran_order_becomes_c_order(file_of):
    values = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    got = read(file_of(npz(w=values)))["w"]
    assert got.flags.c_contiguous
    assert np.array_equal(got, values)


def test_text_dates_and_records_are_listed(file_of):
    others = {
        "words": np.array(["a", "b"]),
        "raw": np.array([b"a"]),
        "when": np.zeros(2, "M8[s]"),
        "records": np.zeros(2, [("a", "f4"), ("b", "i4")]),
    }
    checkpoint = read(file_of(npz(w=np.zeros(3, "f4"), **others)))
    assert list(checkpoint) == ["w"]
    assert checkpoint.metadata["skipped"] == list(others)


def test_long_doubles_are_refused_by_name(file_of):
    with pytest.raises(CheckpointError, match=r"'w': its type .* is not supported"):
        read(file_of(npz(w=np.zeros(3, np.longdouble))))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format(file_of, version):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.arange(5.0), version=version)
    content = zip_bytes([ZipRecord("w.npy", buffer.getvalue())])
    np.testing.assert_array_equal(read(file_of(content))["w"], np.arange(5.0))


def header(text: str, data: bytes = bytes(48), *, length: int | None = None) -> bytes:
    raw = text.encode("latin-1")
    start = b"\x93NUMPY\x01\0" + (len(raw) if length is None else length).to_bytes(2, "little") + raw
    return zip_bytes([ZipRecord("w.npy", start + data)])


def test_headers_of_other_writers(file_of):
    for text in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}",
        "{'descr':'<f4','fortran_order':False,'shape':(3,4)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 4L), }   \n",
    ):
        assert read(file_of(header(text)))["w"].shape == (3, 4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (12,)}",
        "{'descr': '<f4', 'shape': (12,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 12}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-12,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1.2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (12,), 'more': 1}",
        "{'descr': 'f5', 'fortran_order': False, 'shape': (12,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (11,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (13,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 12)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (\xb2,)}",
    ],
)
def test_headers_that_are_wrong(file_of, text):
    with pytest.raises(CheckpointError, match="'w'"):
        read(file_of(header(text)))


def test_a_single_array_is_refused_with_advice(file_of):
    from fastgru.errors import UnsupportedModelError

    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    with pytest.raises(UnsupportedModelError, match=r"\.npy file.*np\.savez"):
        read(file_of(buffer.getvalue()))
