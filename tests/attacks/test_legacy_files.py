"""Attacks by files of torch 1.5 and older: lies about storages, views and keys, cuts, and code in every pickle."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from checkpoint_writers import LegacyPickle, Storage, Tensor, TorchPickle, legacy_bytes, legacy_parts, tensor

from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, FastGRUError

FLOATS = np.arange(12, dtype="<f4")
CALL = b"cos\nabort\n)R"


def whole(count: int = 12, view=None, key: str = "7") -> Storage:
    return Storage(FLOATS.tobytes(), "FloatStorage", count, key, view)


def one(storage: Storage, shape=(2,), offset=0, strides=(1,)) -> dict[str, Tensor]:
    return {"w": Tensor(storage, offset, shape, strides)}


@pytest.mark.parametrize("count", [0, 4, 11, 13, 1 << 40, (1 << 63) - 1, 1 << 62, 1 << 63, 1 << 64, 1 << 70])
def test_storage_size_lie_in_the_pickle(refused, count):
    refused(legacy_bytes(one(whole(count)), counts={"7": 12}))
    refused(legacy_bytes(one(whole(count))))


@pytest.mark.parametrize("count", [0, 11, 13, 1 << 40, (1 << 64) - 1])
def test_storage_size_lie_in_front_of_the_data(refused, count):
    assert "elements, wanted 12" in refused(legacy_bytes(one(whole()), counts={"7": count}))


@pytest.mark.parametrize("keys", [[], ["8"], ["7", "7"], ["7", "8"], ["8", "7"], [""], ["7\0"], ["x" * 5000]])
def test_missing_double_and_unknown_storage_keys(refused, keys):
    refused(legacy_bytes(one(whole()), keys=keys))


@pytest.mark.parametrize(
    "view",
    [("8", 0, 13), ("8", 12, 1), ("8", 1 << 62, 1), ("8", 0, 1 << 62), ("8", -1, 2), ("8", 0, -1),
     ("8", 1 << 63, 1 << 63), ("8", None, 2), ("8", True, 2), ("8", 0), ("8", 0, 1, 2), (), "view", 3, {"a": 1}],
)  # fmt: skip
def test_view_beyond_its_storage_or_of_another_shape(refused, view):
    refused(legacy_bytes(one(whole(view=view))))


@pytest.mark.parametrize("shape", [(3,), (1 << 40,), (2, 2)])
def test_tensor_beyond_its_view_but_within_the_storage(refused, shape):
    value = one(whole(view=("8", 4, 2)), shape, strides=(1,) * len(shape))
    assert "ends at element" in refused(legacy_bytes(value))


@pytest.mark.slow
def test_overlapping_views_take_no_more_memory_than_the_storage(peak_of):
    content = np.ones(1 << 18, "<f4").tobytes()
    views = {
        f"w{index}": Tensor(
            Storage(content, "FloatStorage", 1 << 18, "7", (str(index), index, 1 << 17)), 0, (1 << 17,), (1,)
        )
        for index in range(2000)
    }
    got = peak_of(legacy_bytes(views))
    assert len(got) == 2000


def test_a_part_called_like_another_storage_gives_no_bytes_beyond_either(outcome):
    value = {**one(whole(view=("8", 0, 4)), (4,)), "v": Tensor(whole(key="7[0:4]"), 0, (12,), (1,))}
    assert isinstance(outcome(legacy_bytes(value)), (Checkpoint, CheckpointError))


def test_one_storage_with_two_sizes_or_types(refused):
    for kind, count in (("FloatStorage", 11), ("DoubleStorage", 12), ("IntStorage", 12)):
        other = Storage(FLOATS.tobytes(), kind, count, "7")
        assert "described in two ways" in refused(legacy_bytes({**one(whole()), "v": Tensor(other, 0, (2,), (1,))}))


def test_storage_of_an_unknown_type(refused):
    storage = Storage(FLOATS.tobytes(), "os.system", 12, "7")
    refused(legacy_bytes(one(storage)))


def test_stride_0_bomb(peak_of):
    for shape in ((1 << 34,), (1 << 17, 1 << 17), (1 << 60, 1)):
        value = one(whole(), shape, strides=(0,) * len(shape))
        assert isinstance(peak_of(legacy_bytes(value)), CheckpointError)


@pytest.mark.parametrize("place", range(5))
def test_code_in_each_of_the_five_pickles_is_inert(outcome, monkeypatch, place):
    ran = []
    monkeypatch.setattr("os.abort", lambda: ran.append(1))
    parts = legacy_parts(one(whole()))
    parts[place] = b"\x80\x02" + CALL + b"."
    assert isinstance(outcome(b"".join(parts)), FastGRUError) and not ran


def test_code_beside_the_weights_is_inert(outcome, monkeypatch):
    ran = []
    monkeypatch.setattr("os.abort", lambda: ran.append(1))
    parts = legacy_parts(one(whole()))
    pickler = LegacyPickle()
    pickler.out += b"}(X\x01\x00\x00\x00x" + CALL + b"X\x01\x00\x00\x00w"
    pickler.save(one(whole())["w"])
    parts[3] = bytes(pickler.out) + b"u."
    got = outcome(b"".join(parts))
    assert list(got) == ["w"] and got.metadata["skipped"] == ["x"] and not ran


@pytest.mark.parametrize("place", range(5))
def test_a_storage_where_none_belongs_or_of_any_shape(outcome, place):
    for fields in (b"N", b")", b"K\x01", b"(X\x07\x00\x00\x00storageNNNNNt", b"(X\x06\x00\x00\x00moduleNNNt",
                   b"(X\x07\x00\x00\x00storagecos\nsystem\nX\x01\x00\x00\x007X\x03\x00\x00\x00cpuK\x0cNt"):  # fmt: skip
        parts = legacy_parts(one(whole()))
        parts[place] = b"\x80\x02" + fields + b"Q."
        assert isinstance(outcome(b"".join(parts)), FastGRUError)


def test_huge_lengths_are_checked_before_anything_is_allocated(peak_of):
    for opcode in (
        b"X\xff\xff\xff\xff",
        b"B\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\x7f",
        b"\x8e" + b"\xff" * 7 + b"\x7f",
    ):
        for place in (1, 2, 3, 4):
            parts = legacy_parts(one(whole()))
            parts[place] = b"\x80\x04" + opcode + b"."
            assert isinstance(peak_of(b"".join(parts)), CheckpointError)


def test_many_storage_keys_cost_no_more_than_their_bytes(outcome):
    parts = legacy_parts(one(whole()))
    parts[4] = TorchPickle().dump(["7"] * 200_000)
    assert isinstance(outcome(b"".join(parts)), CheckpointError)


def test_truncation_at_every_64_bytes(outcome):
    content = legacy_bytes({f"w{index}": tensor(np.ones((5, index + 1), "<f4")) for index in range(20)})
    assert isinstance(outcome(content), Checkpoint)
    for length in range(0, len(content), 64):
        assert isinstance(outcome(content[:length]), FastGRUError), length
    for length in range(len(content) - 30, len(content)):
        assert isinstance(outcome(content[:length]), FastGRUError), length


def test_bytes_behind_the_last_storage(refused):
    content = legacy_bytes(one(whole()))
    for more in (b"\0", struct.pack("<Q", 12), bytes(100)):
        assert "follow its last storage" in refused(content + more)


def test_a_magic_number_and_nothing_else(outcome):
    magic = TorchPickle().dump(0x1950A86A20F9469CFC6C)
    for content in (magic, magic * 2, magic + TorchPickle().dump(1001), magic * 50_000):
        assert isinstance(outcome(content), CheckpointError)
