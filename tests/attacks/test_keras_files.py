"""Attacks by what lies in a .keras file: HDF5 that reaches elsewhere or lies of its size, and JSON without end."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from keras_writer import hdf5_bytes, keras_bytes

from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError

SOUND = {"layers/gru/vars/0": np.arange(12, dtype="f4")}


def with_edit(edit) -> bytes:
    return keras_bytes(hdf5_bytes(SOUND, edit))


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"secret!!" * 8)
    return str(path)


def test_external_data(refused, secret):
    def edit(file):
        file.create_dataset("stolen", (16,), "f4", external=[(secret, 0, 64)])

    assert "another file" in refused(with_edit(edit))


def test_virtual_data(refused, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = np.ones(16, "f4")

    def edit(file):
        layout = h5py.VirtualLayout((16,), "f4")
        layout[:] = h5py.VirtualSource(other, "x", (16,))
        file.create_virtual_dataset("stolen", layout)

    assert "virtual data" in refused(with_edit(edit))


def test_external_link(refused, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = np.ones(16, "f4")

    def edit(file):
        file["layers/stolen"] = h5py.ExternalLink(str(other), "x")

    assert "an ExternalLink to somewhere else" in refused(with_edit(edit))


@pytest.mark.parametrize("target", ["/layers", "/layers/gru/vars/0", "/nowhere", "/layers/soft"])
def test_soft_link(refused, target):
    def edit(file):
        file["layers/soft"] = h5py.SoftLink(target)

    assert "SoftLink" in refused(with_edit(edit))


@pytest.mark.parametrize("at", ["layers/gru/again", "layers/gru/vars/again"])
@pytest.mark.parametrize("target", ["/", "/layers", "/layers/gru/vars"])
def test_hard_links_in_a_cycle(refused, at, target):
    def edit(file):
        file[at] = file[target]

    assert "linked twice" in refused(with_edit(edit))


def test_one_dataset_under_many_names(refused):
    def edit(file):
        for index in range(1000):
            file[f"layers/again{index}"] = file["layers/gru/vars/0"]

    assert "linked twice" in refused(with_edit(edit))


@pytest.mark.parametrize(
    "options", [{"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True}]
)
def test_filtered_data(refused, options):
    def edit(file):
        file.create_dataset("packed", data=np.zeros(1 << 20, "f4"), chunks=(1 << 16,), **options)

    assert "chunked, compressed" in refused(with_edit(edit))


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20), (1 << 31, 1 << 31)])
def test_shape_bomb_of_chunks_never_written(peak_of, shape):
    def edit(file):
        file.create_dataset("bomb", shape, "f4", chunks=(1,) * (len(shape) - 1) + (1024,))

    assert isinstance(peak_of(with_edit(edit)), CheckpointError)


def test_shape_bomb_of_space_never_allocated(peak_of):
    def edit(file):
        file.create_dataset("bomb", (1 << 40,), "f4")

    assert isinstance(peak_of(with_edit(edit)), CheckpointError)


def test_shape_bomb_by_a_forged_extent(peak_of):
    content = hdf5_bytes({"w": np.zeros((7, 4242), "f4")})
    at = content.find((4242).to_bytes(8, "little"))
    assert at > 0
    for extent in (4243, 1 << 31, 1 << 50, (1 << 64) - 1):
        forged = content[:at] + extent.to_bytes(8, "little") + content[at + 8 :]
        assert isinstance(peak_of(keras_bytes(forged)), CheckpointError)


def test_shape_bomb_by_a_forged_extent_and_a_forged_size(peak_of):
    content = hdf5_bytes({"w": np.zeros((7, 4242), "f4")})
    at, size = content.find((4242).to_bytes(8, "little")), (7 * 4242 * 4).to_bytes(8, "little")
    forged = content[:at] + (1 << 40).to_bytes(8, "little") + content[at + 8 :]
    forged = forged.replace(size, (7 << 42).to_bytes(8, "little"))
    assert isinstance(peak_of(keras_bytes(forged)), CheckpointError)


def forged(content: bytes, signature: bytes, field: int, value: int | None) -> list[bytes]:
    """Copies of a file, each with one block's field set to a value, or to the address of the block itself."""
    copies, at = [], content.find(signature)
    while at >= 0:
        number = (at if value is None else value).to_bytes(8, "little")
        copies.append(content[: at + field] + number + content[at + field + 8 :])
        at = content.find(signature, at + 1)
    return copies


MANY = {f"layers/dense_{index}/vars/0": np.zeros(2, "f4") for index in range(100)}


@pytest.mark.parametrize(
    ("signature", "field"), [(b"TREE", 8), (b"TREE", 16), (b"TREE", 32), (b"HEAP", 24), (b"SNOD", 16)]
)
@pytest.mark.parametrize("value", [None, 0, 96, 1 << 40, (1 << 64) - 2])
def test_trees_heaps_and_nodes_that_lead_back_or_away(refused, signature, field, value):
    for content in forged(hdf5_bytes(MANY), signature, field, value)[:4]:
        refused(keras_bytes(content))


@pytest.mark.parametrize("arrays", [SOUND, MANY])
def test_tree_levels_and_counts_that_lie(outcome, arrays):
    content = hdf5_bytes(arrays)
    at = content.find(b"TREE")
    for level in (1, 2, 8, 255):
        for count in (0, 1, 32, 33, 65535):
            lie = bytes([level]) + count.to_bytes(2, "little")
            got = outcome(keras_bytes(content[: at + 5] + lie + content[at + 8 :]))
            assert isinstance(got, (Checkpoint, CheckpointError))


def test_lists_of_free_space_that_never_end(refused):
    content = hdf5_bytes(SOUND)
    for at in (at for at in range(len(content)) if content.startswith(b"HEAP", at)):
        free, data = (int.from_bytes(content[at + field : at + field + 8], "little") for field in (16, 24))
        if free > 1:
            cyclic = content[: data + free] + free.to_bytes(8, "little") + content[data + free + 8 :]
            assert "free space" in refused(keras_bytes(cyclic))


def test_hundreds_of_groups_deep(refused):
    def edit(file):
        file.create_group("/".join("g" * 300))

    assert "nested deeper" in refused(with_edit(edit))


def test_thousands_of_objects(outcome):
    def edit(file):
        for index in range(15_000):
            file.create_group(f"g{index}")

    assert "10000 objects" in str(outcome(with_edit(edit)))


def test_thousands_of_objects_below_the_limit_end_soon(outcome):
    def edit(file):
        for index in range(2_000):
            file[f"g{index // 100}/{index}"] = np.float32(0)

    assert len(outcome(with_edit(edit))) == 2_001


def test_data_of_odd_types_is_left_unread(outcome):
    def edit(file):
        file["text"] = "words"
        file["pickled"] = np.void(b"cos\nsystem\n")
        file["pair"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
        file["reference"] = file["layers"].ref
        file.create_dataset("ragged", (2,), h5py.vlen_dtype(np.float32))

    got = outcome(with_edit(edit))
    assert isinstance(got, Checkpoint) and list(got) == list(SOUND) and len(got.metadata["skipped"]) == 5


def test_a_named_type_among_the_weights(refused):
    def edit(file):
        file["type"] = np.dtype("f4")

    assert "wanted a group or a dataset" in refused(with_edit(edit))


def test_an_empty_dataspace(refused):
    def edit(file):
        file["null"] = h5py.Empty("f4")

    assert "no shape" in refused(with_edit(edit))


def test_names_that_are_not_printable(refused):
    def edit(file):
        file["bad\x1b[2Jname"] = np.zeros(2, "f4")

    message = refused(with_edit(edit))
    assert "not printable" in message and message.isprintable()


@pytest.mark.parametrize("part", ["config", "metadata"])
@pytest.mark.parametrize(
    "text",
    [b"[" * 300_000 + b"]" * 300_000, b'{"a":' * 300_000 + b"1" + b"}" * 300_000,
     b'{"a":[' + b"{}," * 300_000 + b"{}]}", b'{"a":"' + b"x" * (9 << 20) + b'"}', b'"' * 2_000_000,
     b'{"a": 1, "a": 2}', b'{"x": {"a": 1, "\\u0061": 2}}', b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 1}}',
     b"[]", b"7", b"", b"{", b'{"a": "\\', b"\xff\xfe{}", b'{"a": "\xff"}', b"nul",
     b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}'],
)  # fmt: skip
def test_json_without_end_or_sense(refused, part, text):
    refused(keras_bytes(hdf5_bytes(SOUND), **{part: text}))


def test_json_of_many_small_values_stays_within_memory(peak_of):
    for text in (b'{"a":[' + b"{}," * 200_000 + b"{}]}", b'{"a":[' + b'"b\xf0\x9f\x98\x80",' * 200_000 + b"{}]}"):
        peak_of(keras_bytes(hdf5_bytes(SOUND), config=text))


def test_classes_named_in_the_configuration_are_only_data(outcome):
    config = {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": "os>system"}
    assert outcome(keras_bytes(hdf5_bytes(SOUND), config=config)).config == config
