"""Attacks by a tensor's numbers: what it claims of its storage is checked in integers that cannot overflow."""

from __future__ import annotations

import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from checkpoint_writers import Name, Storage, Tensor, TorchPickle, ZipRecord, torch_bytes, zip_bytes

from fastgru.checkpoint import read
from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError


def floats(count: int = 12) -> Storage:
    return Storage(np.arange(count, dtype="<f4").tobytes(), "FloatStorage", count)


def state(offset, shape, strides, storage: Storage | None = None) -> bytes:
    return torch_bytes({"w": Tensor(storage or floats(), offset, shape, strides)})


@pytest.mark.parametrize("shape", [(1 << 34,), (1 << 17, 1 << 17), (1 << 60, 1), (1 << 30,) * 8])
def test_stride_0_bomb(peak_of, shape):
    assert isinstance(peak_of(state(0, shape, (0,) * len(shape))), CheckpointError)


def test_overlapping_strides_bomb(peak_of):
    assert isinstance(peak_of(state(0, (1 << 20, 1 << 20), (0, 0), floats(1))), CheckpointError)
    views = {f"w{index}": Tensor(floats(1), 0, (1 << 20, index + 1), (0, 0)) for index in range(40)}
    assert isinstance(peak_of(torch_bytes(views)), CheckpointError)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (13,), (1,)), (12, (1,), (1,)), (1, (4, 3), (3, 1)), (0, (2, 2), (11, 1)), (0, (4,), (4,)), (13, (0,), (1,)),
     (1 << 62, (1,), (1,)), (1 << 64, (1,), (1,)), (0, (2,), (1 << 62,)), (0, (2,), (1 << 64,))],
)  # fmt: skip
def test_overrun_of_the_storage(refused, offset, shape, strides):
    assert "ends at element" in refused(state(offset, shape, strides))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(-1, (2,), (1,)), (-(1 << 63), (2,), (1,)), (4, (2,), (-1,)), (0, (-2,), (1,)), (0, (-1, -2), (1, 1)),
     (11, (3,), (-4,))],
)  # fmt: skip
def test_negative_offset_size_or_stride(refused, offset, shape, strides):
    assert "negative" in refused(state(offset, shape, strides))


@pytest.mark.parametrize(
    "shape", [(1 << 32, 1 << 32), (1 << 63, 2), ((1 << 64) + 3,), (1 << 21,) * 3, (0, 1 << 62, 1 << 62)]
)
def test_overflowing_product_of_sizes(refused, shape):
    refused(state(0, shape, (1,) * len(shape)))


def test_more_than_8_dimensions(refused):
    assert "9 sizes" in refused(state(0, (1,) * 9, (1,) * 9))
    refused(state(0, (1,) * 100_000, (1,) * 100_000))


def test_sizes_and_strides_of_unequal_number(refused):
    assert "3 sizes and 2 strides" in refused(state(0, (2, 2, 3), (6, 3)))


@pytest.mark.parametrize("count", [0, 4, 11, 13, 1 << 40, 1 << 62, 1 << 70])
def test_storage_size_lie(refused, count):
    content = np.arange(12, dtype="<f4").tobytes()
    refused(state(0, (12,), (1,), Storage(content, "FloatStorage", count)))


def test_storage_of_another_type_than_its_bytes(refused):
    content = np.arange(12, dtype="<f4").tobytes()
    refused(state(0, (12,), (1,), Storage(content, "DoubleStorage", 12)))


def test_one_storage_with_two_sizes(refused):
    content = bytes(48)
    value = {"a": Tensor(Storage(content, "FloatStorage", 12, "0"), 0, (12,), (1,)),
             "b": Tensor(Storage(content, "DoubleStorage", 12, "0"), 0, (12,), (1,))}  # fmt: skip
    refused(torch_bytes(value))


def test_one_storage_as_two_types_of_the_same_size_is_bounded(outcome):
    content = bytes(48)
    value = {"a": Tensor(Storage(content, "FloatStorage", 12, "0"), 0, (12,), (1,)),
             "b": Tensor(Storage(content, "DoubleStorage", 6, "0"), 0, (6,), (1,))}  # fmt: skip
    assert outcome(torch_bytes(value))["b"].shape == (6,)


@pytest.mark.parametrize("key", ["../data.pkl", "/etc/passwd", "..", "", "1/../0", "0\0", "missing", "9" * 5000])
def test_storage_key_that_leaves_the_folder(refused, key):
    forged = Storage(bytes(48), "FloatStorage", 12, key)
    data = TorchPickle().dump({"w": Tensor(forged, 0, (12,), (1,))})
    refused(zip_bytes([ZipRecord("archive/data.pkl", data), ZipRecord("archive/data/0", bytes(48))]))


@pytest.mark.parametrize("shape", [[4, 3], "43", (4, "3"), (True, 3), (4.0, 3), None, ((4,), 3)])
def test_sizes_that_are_not_integers_make_no_tensor(outcome, shape):
    got = outcome(torch_bytes({"w": Tensor(floats(), 0, shape, (3, 1)), "v": Tensor(floats(), 0, (2,), (1,))}))
    assert isinstance(got, Checkpoint) and list(got) == ["v"] and got.metadata["skipped"] == ["w"]


def test_type_smaller_than_its_storage_is_bounded_by_bytes(refused):
    more = (False, OrderedDict(), Name("torch", "float64"))
    value = Tensor(Storage(bytes(48), "UntypedStorage", 48), 0, (7,), (1,), "_rebuild_tensor_v3", more)
    assert "ends at element" in refused(torch_bytes({"w": value}))


def test_half_precision_files_stay_within_memory(peak_of):
    storage = Storage(bytes(32 << 20), "HalfStorage", 16 << 20)
    got = peak_of(torch_bytes({"a": Tensor(storage, 0, (4096, 4096), (1, 4096))}))
    assert got["a"].dtype == np.float32


def test_an_optimizer_beside_the_weights_is_not_read_into_memory(file_of):
    state = {"exp_avg": Tensor(Storage(bytes(32 << 20), "FloatStorage", 8 << 20), 0, (8 << 20,), (1,))}
    path = file_of(torch_bytes({"model": {"w": Tensor(floats(), 0, (12,), (1,))}, "optimizer": state}))
    tracemalloc.start()
    try:
        read(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_many_names_for_one_big_tensor_take_no_more_memory(peak_of):
    storage = Storage(bytes(1 << 20), "HalfStorage", 1 << 19)
    value = {f"w{index}": Tensor(storage, 0, (1 << 19,), (1,)) for index in range(3000)}
    assert len(peak_of(torch_bytes(value))) == 3000
