"""Attacks by the zip around the data: two readings of one file, paths, bombs, lies in headers."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoint_writers import ZipRecord, tensor, torch_records, zip_bytes
from keras_writer import hdf5_bytes, keras_records

from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError
from fastgru.layers import GRUSpec

SOUND = {"w": tensor(np.arange(12, dtype="<f4"))}


def torch_file(*more: ZipRecord, **changes) -> bytes:
    """A sound file with more records, and with changes to the record of the storage."""
    records = torch_records(SOUND)
    for record in records:
        if record.name.endswith("/data/0"):
            for name, value in changes.items():
                setattr(record, name, value)
    return zip_bytes([*records, *more])


def test_the_file_that_is_changed_is_sound(outcome):
    assert list(outcome(torch_file())) == ["w"]


@pytest.mark.parametrize(
    "name", ["../evil", "archive/../../evil", "/etc/passwd", "archive\\..\\evil", "archive/..", "a\0b"]
)
def test_path_traversal(refused, tmp_path, name):
    assert "relative path" in refused(torch_file(ZipRecord(name, b"evil")))
    assert not list(tmp_path.parent.glob("evil"))


def test_nothing_is_extracted_to_disk(outcome, tmp_path):
    outcome(torch_file())
    assert [path.name for path in tmp_path.iterdir()] == ["stranger.bin"]


@pytest.mark.parametrize("name", ["archive/data.pkl", "archive/data/0", "archive/version"])
def test_duplicate_entry(refused, name):
    assert "two records" in refused(torch_file(ZipRecord(name, b"other")))


def test_encrypted_entry(refused):
    assert "encrypted" in refused(torch_file(flags=0x0809))


def test_encrypted_only_in_its_own_header(refused):
    assert "disagree" in refused(torch_file(local_flags=0x0809))


def test_local_and_central_names_differ(refused):
    assert "another name" in refused(torch_file(local_name="archive/data/9"))
    assert "another name" in refused(torch_file(local_name="archive/longer-name"))


def test_two_roots(refused):
    assert "it is a zip of" in refused(torch_file(ZipRecord("other/data.pkl", b"N.")))


def test_wrong_crc(refused):
    assert "CRC-32" in refused(torch_file(crc=1234))


def test_size_lies(refused):
    for size in (0, 47, 49, 1 << 31, 0xFFFFFFFF):
        refused(torch_file(size=size))
        refused(torch_file(size=size, packed_size=size))


def test_header_offset_lies(refused):
    for header in (0, 1, 100, 1 << 20, 0xFFFFFFFE, 0xFFFFFFFF):
        refused(torch_file(header=header))


def test_compressed_storage(refused):
    assert "stored" in refused(torch_file(method=8))


def test_unknown_compression(refused):
    refused(torch_file(method=99))


def test_overlapping_records(refused):
    records = torch_records(SOUND)
    inner = zip_bytes([ZipRecord("archive/data/1", bytes(100))])
    outer = ZipRecord("archive/data/0", inner)
    records = [record for record in records if not record.name.endswith("/data/0")]
    start = zip_bytes([*records, outer]).find(inner)
    assert "overlaps" in refused(zip_bytes([*records, outer, ZipRecord("archive/data/1", bytes(100), header=start)]))


def test_entry_count_lies(refused):
    content = bytearray(torch_file())
    for count in (0, 1, 7, 0xFFFE):
        content[-14:-10] = count.to_bytes(2, "little") * 2
        refused(bytes(content))


def test_zip64_end_record_disagrees(refused):
    content = torch_file()
    at = content.rfind(b"PK\x06\x06")
    for field in range(24, 56, 8):
        for value in (0, 1, 1 << 40, (1 << 64) - 1):
            changed = content[: at + field] + value.to_bytes(8, "little") + content[at + field + 8 :]
            refused(changed)


def test_bytes_before_and_behind_the_zip(refused):
    content = torch_file()
    assert "cut off or had bytes appended" in refused(content + b"\0")
    refused(content + content)
    refused(content[:4] + content)
    refused(b"\0" * 100 + content)


def test_a_million_tiny_records(refused):
    head, size = zip_bytes([ZipRecord("a", b"")]), 60_000
    central = head[head.find(b"PK\x01\x02") : head.find(b"PK\x06\x06")]
    at = head.find(b"PK\x01\x02")
    end = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(12)
    end += (size).to_bytes(8, "little") * 2 + (size * len(central)).to_bytes(8, "little") + at.to_bytes(8, "little")
    end_at = at + size * len(central)
    end += b"PK\x06\x07" + bytes(4) + end_at.to_bytes(8, "little") + (1).to_bytes(4, "little")
    end += b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2)
    assert "60000 records" in refused(head[:at] + central * size + end)


def keras_file(**changes) -> bytes:
    records = keras_records(hdf5_bytes({"w": np.zeros(4, "f4")}), method=changes.pop("method", 0))
    for name, value in changes.items():
        setattr(records[2], name, value)
    return zip_bytes(records)


def test_many_matrices_beside_many_records(loaded):
    """Coming back for each matrix must not mean going through all records each time."""
    state = {}
    for layer in range(100):
        for name, shape in (("weight_ih", (3, 1)), ("weight_hh", (3, 1)), ("bias_ih", (3,)), ("bias_hh", (3,))):
            state[f"{name}_l{layer}"] = tensor(np.ones(shape, "f4"))
    records = torch_records(state) + [ZipRecord(f"archive/more/{at}", b"") for at in range(20_000)]
    got = loaded(zip_bytes(records))
    assert isinstance(got, GRUSpec) and got.num_layers == 100


def test_zip_bomb_by_ratio(peak_of):
    got = peak_of(keras_file(method=8, content=b"\x89HDF\r\n\x1a\n" + bytes(100 << 20)))
    assert isinstance(got, CheckpointError) and "bomb" in str(got)


def test_zip_bomb_by_declared_size(peak_of):
    for size in (10, 100_000, 1 << 30, 0xFFFFFFFE):
        assert isinstance(peak_of(keras_file(method=8, size=size)), CheckpointError)


def test_zip_bomb_that_declares_less_than_it_holds(peak_of):
    content = b"\x89HDF\r\n\x1a\n" + bytes(50 << 20)
    assert isinstance(peak_of(keras_file(method=8, content=content, size=5000)), CheckpointError)


def test_zip_bomb_in_the_configuration(peak_of):
    records = keras_records(hdf5_bytes({}), config=b'{"a": "' + b" " * (80 << 20) + b'"}', method=8)
    assert isinstance(peak_of(zip_bytes(records)), CheckpointError)


def test_broken_deflate_streams(outcome):
    content = keras_file(method=8)
    at = content.find(b"model.weights.h5") + 40
    for index in range(at, at + 200, 7):
        got = outcome(content[:index] + bytes([content[index] ^ 0x55]) + content[index + 1 :])
        assert isinstance(got, (Checkpoint, CheckpointError))


def test_keras_duplicates_and_encryption(refused):
    records = keras_records(hdf5_bytes({"w": np.zeros(4, "f4")}))
    assert "two records" in refused(zip_bytes([*records, ZipRecord("config.json", b"{}")]))
    assert "encrypted" in refused(keras_file(flags=0x0809))
