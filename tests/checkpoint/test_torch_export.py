"""torch.export files: weights as their descriptions say, the graph as it is."""

from __future__ import annotations

import numpy as np
import pytest
from archive_writers import export_bytes, export_records, graph_config, meta, payload
from checkpoint_writers import ZipRecord, zip_bytes

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError, UnsupportedModelError

ARRAYS = {"fc.weight": np.arange(12, dtype="f4").reshape(3, 4), "fc.bias": np.ones(3, "f4")}
CONFIG = graph_config([], {}, [], [])


def test_weights_come_back_by_their_names(file_of):
    checkpoint = read(file_of(export_bytes(ARRAYS, CONFIG)))
    assert checkpoint.format == "torch-export"
    assert checkpoint.metadata == {"skipped": [], "torch_version": "2.13.0"}
    assert checkpoint.config == CONFIG
    assert list(checkpoint) == list(ARRAYS)
    for name, wanted in ARRAYS.items():
        np.testing.assert_array_equal(checkpoint[name], wanted)
        assert not checkpoint[name].flags.writeable


@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "i8", "i4", "u1", "b1"])
def test_every_type(file_of, kind):
    array = np.arange(6).reshape(2, 3).astype(kind)
    got = read(file_of(export_bytes({"w": array}, CONFIG)))["w"]
    assert got.dtype == (np.float32 if kind == "f2" else array.dtype)
    assert np.array_equal(got, array)


def test_bfloat16_is_widened(file_of):
    values = np.array([1.5, -2, 0, 384], "f4")
    stored = {"w": (values.view("u4") >> 16).astype("<u2")}
    described = {"w": payload(0, values, tensor_meta=meta(values, dtype=13))}
    np.testing.assert_array_equal(read(file_of(export_bytes(stored, CONFIG, described)))["w"], values)


def test_views_and_ties_share_a_file(file_of):
    whole = np.arange(12, dtype="f4")
    turned = meta(np.zeros((4, 3), "f4"), strides=[{"as_int": 1}, {"as_int": 4}])
    part = meta(np.zeros(2, "f4"), storage_offset={"as_int": 10})
    described = {
        "a": payload(0, whole),
        "b": payload(0, whole),
        "turned": payload(0, whole, tensor_meta=turned),
        "part": payload(0, whole, tensor_meta=part),
    }
    checkpoint = read(file_of(export_bytes({"a": whole}, CONFIG, described)))
    assert checkpoint["a"] is checkpoint["b"]
    np.testing.assert_array_equal(checkpoint["turned"], whole.reshape(3, 4).T)
    np.testing.assert_array_equal(checkpoint["part"], [10, 11])


def test_big_endian_files(file_of):
    records = [
        record
        for record in export_records(
            {"w": ARRAYS["fc.bias"].astype(">f4")}, CONFIG, {"w": payload(0, ARRAYS["fc.bias"])}
        )
        if record.name != "m/byteorder"
    ]
    got = read(file_of(zip_bytes([*records, ZipRecord("m/byteorder", b"big")])))["w"]
    np.testing.assert_array_equal(got, ARRAYS["fc.bias"])


def test_what_is_kept_as_a_pickle_is_listed_and_never_opened(file_of):
    described = {"w": payload(0, ARRAYS["fc.bias"]), "odd": payload(1, ARRAYS["fc.bias"], use_pickle=True)}
    records = export_records({"w": ARRAYS["fc.bias"]}, CONFIG, described)
    checkpoint = read(file_of(zip_bytes([*records, ZipRecord("m/data/weights/weight_1", b"cos\nsystem\n.")])))
    assert list(checkpoint) == ["w"]
    assert checkpoint.metadata["skipped"] == ["odd"]


def test_constants_stand_beside_the_weights(file_of):
    records = [record for record in export_records(ARRAYS, CONFIG) if "constants" not in record.name]
    config = (
        b'{"config": {"lifted_tensor_0": {"path_name": "tensor_0", "use_pickle": false, "tensor_meta": {"dtype": 5, '
    )
    config += b'"sizes": [], "strides": [], "storage_offset": {"as_int": 0}, "layout": 7}}}}'
    records += [
        ZipRecord("m/data/constants/model_constants_config.json", config),
        ZipRecord("m/data/constants/tensor_0", (7).to_bytes(8, "little")),
    ]
    assert read(file_of(zip_bytes(records)))["lifted_tensor_0"] == 7


def test_files_of_an_older_pytorch_and_of_several_models_are_unsupported(file_of):
    records = [record for record in export_records(ARRAYS, CONFIG) if "config" not in record.name]
    with pytest.raises(UnsupportedModelError, match="older PyTorch"):
        read(file_of(zip_bytes(records)))
    with pytest.raises(UnsupportedModelError, match="holds 2 models"):
        read(file_of(zip_bytes([*export_records(ARRAYS, CONFIG), ZipRecord("m/models/other.json", b"{}")])))
    with pytest.raises(UnsupportedModelError, match=r"torch\.export file of an older PyTorch.*again"):
        read(file_of(zip_bytes([ZipRecord("serialized_exported_program.json", b"{}"), ZipRecord("version", b"1")])))


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": 29},
        {"dtype": "7"},
        {"dtype": None},
        {"layout": 1},
        {"sizes": None},
        {"sizes": [{"as_int": "3"}]},
        {"sizes": [{"as_expr": {}}]},
        {"strides": []},
        {"storage_offset": 0},
        {"sizes": [{"as_int": True}]},
    ],
)
def test_descriptions_that_are_wrong_are_refused_by_name(file_of, change):
    described = {"w": payload(0, ARRAYS["fc.bias"], tensor_meta=meta(ARRAYS["fc.bias"], **change))}
    with pytest.raises(CheckpointError, match="'w'"):
        read(file_of(export_bytes({"w": ARRAYS["fc.bias"]}, CONFIG, described)))
