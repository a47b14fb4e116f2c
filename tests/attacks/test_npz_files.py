"""Attacks by npz files: pickled objects, headers that lie, bombs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from archive_writers import gru_arrays
from checkpoint_writers import ZipRecord, zip_bytes

from fastgru.errors import CheckpointError

MUTATIONS = 200


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def npz(compressed: bool = False, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npy(header: str, data: bytes = bytes(48), length: int | None = None) -> bytes:
    raw = header.encode()
    size = (len(raw) if length is None else length).to_bytes(2, "little")
    return zip_bytes([ZipRecord("w.npy", b"\x93NUMPY\x01\0" + size + raw + data)])


def shape(text: str, kind: str = "<f4") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {text}, }}\n"


def test_npz_with_pickled_object_arrays(refused, tmp_path):
    trace = tmp_path / "trace"
    content = npz(weight_hh_l0=np.zeros((6, 2), "f4"), other=np.array([Evil(trace), {}], object))
    assert "pickled" in refused(content)
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["O", "|O", "|O8", ">O"])
def test_npz_that_calls_its_elements_objects(refused, kind):
    assert "pickled" in refused(npy(shape("(12,)", kind)))


def test_npz_header_that_asks_for_64_gib(bounded):
    for text in ("(17179869184,)", "(131072, 131072)", "(9999999999999999999, 9)", "(4294967296, 4294967296)"):
        got = bounded(npy(shape(text)))
        assert isinstance(got, CheckpointError)


def test_npz_header_that_is_code(refused):
    for text in (
        "__import__('os').abort()",
        "(" * 400 + ")" * 400,
        "-" * 900 + "1",
        shape("(2**40,)"),
        shape("([12],)"),
    ):
        refused(npy(text))


@pytest.mark.parametrize("length", [0, 1, 10, 500, 1025, 65535])
def test_npz_header_length_lies(refused, length):
    refused(npy(shape("(12,)"), length=length))


@pytest.mark.slow
def test_npz_deflate_bomb(bounded):
    for arrays in ({"w": np.zeros(40 << 20, "f4")}, {f"w{index}": np.zeros(2 << 20, "f4") for index in range(30)}):
        got = bounded(npz(True, **arrays))
        assert isinstance(got, CheckpointError)
        assert "bomb" in str(got)


def test_npz_of_very_many_arrays(bounded):
    record = npy(shape("(0,)"), b"")
    assert isinstance(bounded(record), CheckpointError)
    many = zip_bytes([ZipRecord(f"{index}.npy", b"\x93NUMPY\x01\0\x00\x00") for index in range(12_000)])
    assert isinstance(bounded(many), CheckpointError)


FILES = {"stored": npz(**gru_arrays(3, 2)), "deflated": npz(True, **gru_arrays(3, 2))}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_or_mutated_ends_in_a_result_or_an_error(damaged, name):
    damaged(FILES[name], MUTATIONS)
