"""Attacks by Keras's HDF5 files: links that lead elsewhere, trees and heaps that lie, attributes without end."""

from __future__ import annotations

import json
import struct

import h5py
import numpy as np
import pytest
from keras_h5_writer import CONFIG, fixed, gru_arrays, layers_bytes, variable, variables_bytes
from mutations import mutated

from fastgru.checkpoint import read
from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, FastGRUError

GRU = {f"gru_1/{name}": array for name, array in gru_arrays().items()}
LAYERS = {"gru_1": GRU, "dense_1": {"dense_1/kernel:0": np.ones((2, 4), "f4")}}
KERNEL = "model_weights/dense_1/dense_1/kernel:0"
MANY = {f"dense_{n}": {f"k{m}": np.zeros(2, "f4") for m in range(n % 12)} for n in range(60)}


def sound(**options) -> bytes:
    return layers_bytes(LAYERS, config=CONFIG, **options)


def instead(path: str, make, **options) -> bytes:
    """The sound file with another thing at a path."""

    def edit(file):
        del file[path]
        make(file)

    return sound(edit=edit, **options)


def forged(content: bytes, old: bytes, new: bytes, at: int = 0) -> bytes:
    """The file with the first ``old`` from ``at`` on replaced."""
    place = content.index(old, at)
    return content[:place] + new + content[place + len(old) :]


def word(number: int, size: int = 8) -> bytes:
    return number.to_bytes(size, "little")


@pytest.fixture
def other(tmp_path):
    """Another HDF5 file, which must never be read."""
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["kernel"] = np.full((2, 4), 13, "f4")
    return path


# ---- data and links that lead elsewhere


def test_external_data(refused, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret!!" * 8)
    files = [(str(tmp_path / "secret"), 0, 64)]
    content = instead(KERNEL, lambda file: file.create_dataset(KERNEL, (16,), "f4", external=files))
    assert "another file" in refused(content)


def test_virtual_data(refused, other):
    layout = h5py.VirtualLayout((2, 4), "f4")
    layout[:] = h5py.VirtualSource(other, "kernel", (2, 4))
    assert "virtual data" in refused(instead(KERNEL, lambda file: file.create_virtual_dataset(KERNEL, layout)))


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}], ids=["classic", "newer"])
@pytest.mark.parametrize("path", [KERNEL, "model_weights/dense_1", "model_weights"])
@pytest.mark.parametrize("kind", ["ExternalLink", "SoftLink"])
def test_linked_data(refused, other, path, kind, options):
    link = h5py.SoftLink("/model_weights/gru_1") if kind == "SoftLink" else h5py.ExternalLink(str(other), "/kernel")

    def make(file):
        file[path] = link

    assert f"{kind} to somewhere else, which is refused" in refused(instead(path, make, **options))


@pytest.mark.parametrize("packed", [{"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}, {}])
def test_filtered_and_chunked_data(refused, packed):
    data = np.zeros((2, 4), "f4")
    content = instead(KERNEL, lambda file: file.create_dataset(KERNEL, data=data, chunks=(1, 4), **packed))
    assert "chunked, compressed" in refused(content)


# ---- cycles


@pytest.mark.parametrize("target", ["/", "/model_weights", "/model_weights/gru_1", "/model_weights/gru_1/gru_1/bias:0"])
@pytest.mark.parametrize("options", [{}, {"libver": "latest"}], ids=["classic", "newer"])
def test_groups_in_a_cycle(refused, target, options):
    def make(file):
        file["model_weights/dense_1"] = file[target]

    assert "linked twice" in refused(instead("model_weights/dense_1", make, **options))


def test_a_list_that_goes_round_a_cycle_of_groups(refused):
    def edit(file):
        group = file["model_weights/dense_1"]
        group["round"] = group
        group.attrs["weight_names"] = fixed(["round/" * 20 + "dense_1/kernel:0"])

    assert "linked twice" in refused(sound(edit=edit))


@pytest.mark.parametrize(
    ("signature", "field"), [(b"TREE", 8), (b"TREE", 16), (b"TREE", 32), (b"HEAP", 24), (b"SNOD", 16)]
)
@pytest.mark.parametrize("value", [None, 0, 96, 1 << 40, (1 << 64) - 2])
def test_trees_heaps_and_nodes_that_lead_back_or_away(outcome, signature, field, value):
    content = layers_bytes(MANY, config=CONFIG)
    at, tried = content.find(signature), 0
    while at >= 0 and tried < 12:
        lie = content[: at + field] + word(at if value is None else value) + content[at + field + 8 :]
        assert isinstance(outcome(lie), (Checkpoint, CheckpointError))
        at, tried = content.find(signature, at + 1), tried + 1


# Addresses and counts in the blocks of the newer layout.
NEWER_FIELDS = [
    (b"FRHP", 132), (b"FRHP", 110), (b"FRHP", 112), (b"FRHP", 22), (b"BTHD", 6), (b"BTHD", 16), (b"BTHD", 24),
    (b"BTIN", 6), (b"BTIN", 100), (b"BTLF", 10), (b"FHIB", 17), (b"FHDB", 20), (b"OHDR", 7), (b"OCHK", 8),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("signature", "field"), NEWER_FIELDS)
def test_blocks_of_the_newer_layout_that_lead_back_or_away(outcome, signature, field):
    content = layers_bytes(MANY, config=CONFIG, libver="latest")
    at = content.find(signature)
    assert at > 0
    for _ in range(4):
        for value in (at, 0, 48, 1 << 40, (1 << 64) - 2, (1 << 64) - 1):
            lie = content[: at + field] + word(value) + content[at + field + 8 :]
            assert isinstance(outcome(lie), (Checkpoint, CheckpointError))
        at = max(content.find(signature, at + 1), at)


def test_a_header_of_a_million_messages(refused):
    content = sound()
    messages = bytes(8 * 1_000_000)
    header = b"\x01\0" + word(60_000, 2) + word(1, 4) + word(len(messages), 4) + bytes(4)
    root = 24 + 32 + 8  # where the superblock has the address of the root's header
    lie = content[:root] + word(len(content)) + content[root + 8 :] + header + messages
    assert "steps" in refused(lie)


# ---- bombs by shape


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20)])
def test_shape_bomb_of_space_never_allocated(peak_of, shape):
    content = instead(KERNEL, lambda file: file.create_dataset(KERNEL, shape, "f4"))
    assert isinstance(peak_of(content), CheckpointError)


@pytest.mark.parametrize("extent", [4243, 1 << 31, 1 << 50, (1 << 64) - 1])
@pytest.mark.parametrize("size", [None, 1 << 40, (1 << 64) - 1])
def test_shape_bomb_by_a_forged_extent(peak_of, extent, size):
    content = layers_bytes({"a": {"k": np.zeros((7, 4242), "f4")}})
    lie = forged(content, word(4242), word(extent))
    if size is not None:
        lie = forged(lie, word(7 * 4242 * 4), word(size))
    assert isinstance(peak_of(lie), CheckpointError)


def test_one_array_under_many_names(refused):
    def edit(file):
        for n in range(1000):
            file[f"model_weights/dense_1/{n}"] = file[KERNEL]
        file["model_weights/dense_1"].attrs["weight_names"] = fixed([str(n) for n in range(1000)])

    assert "linked twice" in refused(sound(edit=edit))


# ---- attributes


def test_an_attribute_of_4_gigabytes(peak_of):
    names = fixed([f"dense_{n}" for n in range(37)])
    content = layers_bytes({name.decode(): {} for name in names})
    for field, lies in ((word(37), (38, 1 << 29, 1 << 32, 1 << 60)), (b"\x13\x01\0\0\x08\0\0\0", (1 << 32,))):
        for lie in lies:
            new = word(lie) if field == word(37) else b"\x13\x01\0\0" + word(lie - 1, 4)
            got = peak_of(forged(content, field, new, content.index(b"layer_names")))
            assert isinstance(got, CheckpointError) and "attribute" in str(got)


def test_text_of_variable_length_that_lies(peak_of):
    content = sound(names=variable)
    address = word(content.index(b"GCOL"))
    refers = [at for at in range(len(content)) if content.startswith(address, at)]
    assert len(refers) == 7  # the configuration, the names of two layers and of four arrays
    for at in refers:
        for length in (1000, 1 << 16, (1 << 32) - 1):
            got = peak_of(content[: at - 4] + word(length, 4) + content[at:])
            assert isinstance(got, CheckpointError) and "is not in the heap" in str(got)
        for index in (0, 999, (1 << 32) - 1):
            got = peak_of(content[: at + 8] + word(index, 4) + content[at + 12 :])
            assert isinstance(got, CheckpointError) and "is not in the heap" in str(got)


def test_a_global_heap_that_points_at_itself(peak_of):
    content = sound(names=variable)
    heap = content.index(b"GCOL")
    address = word(heap)
    first = content.index(address)
    assert first != heap
    lies = [
        content[:first] + word(first) + content[first + 8 :],  # the text's address is its own
        content[:first] + word(heap + 16) + content[first + 8 :],
        content[:first] + word((1 << 64) - 1) + content[first + 8 :],
    ]
    for size in (0, 8, 16, len(content), 1 << 40, (1 << 64) - 1):  # of the collection, of its first object
        lies.append(content[: heap + 8] + word(size) + content[heap + 16 :])
        lies.append(content[: heap + 24] + word(size) + content[heap + 32 :])
    lies.append(content[: heap + 16] + word(2, 2) + content[heap + 18 :])  # two objects of one index
    for lie in lies:
        assert isinstance(peak_of(lie), (Checkpoint, CheckpointError))
    assert all(isinstance(peak_of(lie), CheckpointError) for lie in lies[:3])


def test_a_heap_within_an_array(outcome):
    forgery = b"GCOL\x01\0\0\0" + word(4096) + word(1, 2) + bytes(6) + word(4064) + b'{"a":1}'.ljust(4064)
    content = layers_bytes({"a": {"k": np.frombuffer(forgery, "f4")}}, config=b"x" * 7)
    address = word(content.index(b"GCOL"))
    got = outcome(content.replace(address, word(content.index(forgery))))
    assert got.config == {"a": 1}  # strange, but sound: nothing outside of the file, and nothing twice


def test_one_long_text_as_thousands_of_names(peak_of):
    def edit(file):
        file.attrs["layer_names"] = [f"{n:04}" for n in range(4000)]
        file.attrs["long"] = "x" * 1000

    content = layers_bytes({}, edit=edit, names=variable)
    long = content.index(word(1000, 4), content.index(b"long"))
    names = content.index(word(4, 4), content.index(b"layer_names") + 48)
    lie = content[:names] + content[long : long + 16] * 4000 + content[names + 16 * 4000 :]
    assert "the same bytes are many texts" in str(peak_of(lie))


@pytest.mark.parametrize("what", ["array", "attribute"])
def test_a_type_nested_as_deep_as_a_message_can_be(outcome, what):
    """8 bytes a level, in a message of 64 KB: lists of lists of lists, which HDF5 would decode by recursion."""
    wide = np.zeros(1, [(f"field_{n:04}", "f4") for n in range(700)])

    def edit(file):
        del file["model_weights/gru_1/gru_1/bias:0"]
        if what == "array":
            file["model_weights/gru_1/gru_1/bias:0"] = wide
        else:
            file["model_weights/gru_1/gru_1/bias:0"] = np.zeros(2, "f4")
            file["model_weights/gru_1"].attrs["weight_names"] = wide

    content = sound(edit=edit)
    at = content.index(b"field_0000") - 8
    levels = 5000
    lie = content[:at] + b"\x19\0\0\0\x10\0\0\0" * levels + content[at + 8 * levels :]
    assert len(lie) == len(content)
    got = outcome(lie)
    if what == "array":
        assert isinstance(got, Checkpoint) and got.metadata["skipped"] == ["gru_1/gru_1/bias:0"]
    else:
        assert "is not text" in str(got)


@pytest.mark.parametrize(
    "value", [7, np.zeros(3), np.zeros((2, 2), "S3"), h5py.Empty("S1"), np.array(["a", "b"], "S1")]
)
def test_a_configuration_that_is_not_one_text(refused, value):
    def edit(file):
        file.attrs["model_config"] = value

    assert "attribute 'model_config'" in refused(sound(edit=edit))


def test_an_attribute_that_is_there_twice(refused):
    def edit(file):
        file["model_weights"].attrs["layer_namez"] = fixed(["dense_1"])

    assert "twice" in refused(sound(edit=edit).replace(b"layer_namez", b"layer_names"))


# ---- lists


@pytest.mark.parametrize(
    "names",
    [["dense_1/kernel:0", "dense_1/kernel:0"], ["../gru_1/gru_1/bias:0"], ["/" + KERNEL], ["./dense_1/kernel:0"],
     ["dense_1//kernel:0"], ["dense_1/kernel:0/"], [""], ["."], ["/"], ["dense_1"], ["dense_1/kernel:0/more"],
     ["nowhere"], ["a/" * 400 + "b"], ["x" * 2000]],
)  # fmt: skip
@pytest.mark.parametrize("kind", [fixed, variable])
def test_arrays_named_twice_or_outside_of_their_layer(refused, names, kind):
    def edit(file):
        file["model_weights/dense_1"].attrs["weight_names"] = kind(names)

    refused(sound(edit=edit))


@pytest.mark.parametrize(
    "names", [["gru_1", "gru_1"], [".."], ["/"], [""], ["gru_1/.."], ["/model_weights/gru_1"], ["gru_1/gru_1"],
              ["nowhere"], ["gru_1/gru_1/bias:0"], ["gru_1", "gru_1/gru_1"]],
)  # fmt: skip
def test_layers_named_twice_or_outside_of_the_model(refused, names):
    def edit(file):
        file["model_weights"].attrs["layer_names"] = fixed(names)

    refused(sound(edit=edit))


def test_two_layers_that_list_one_array(refused):
    def edit(file):
        file["model_weights"].attrs["layer_names"] = fixed(["gru_1", "gru_1/gru_1"])
        file["model_weights/gru_1/gru_1"].attrs["weight_names"] = fixed(["bias:0"])

    assert "two layers list it" in refused(sound(edit=edit))


def test_names_that_are_no_text(refused):
    assert "not UTF-8" in refused(sound(names=lambda names: np.array([name.encode() + b"\xff" for name in names])))


def test_a_million_layers(peak_of):
    def edit(file):
        file.attrs["layer_names"] = np.arange(1_000_000).astype("S7")

    content = layers_bytes(LAYERS, edit=edit, libver="latest")
    assert "1000000 texts" in str(peak_of(content))


def test_a_million_layers_in_thousands_of_parts(peak_of):
    def edit(file):
        del file.attrs["layer_names"]
        for part in range(200):
            file.attrs[f"layer_names{part}"] = np.arange(5000).astype("S4")

    assert "more than 10000 objects" in str(peak_of(layers_bytes(LAYERS, edit=edit)))


# ---- configurations


@pytest.mark.parametrize(
    "text",
    [b"nul", b"[]", b"7", b"{", b"\xff\xfe", b'{"a": 1, "a": 2}', b'{"x": {"a": 1, "\\u0061": 2}}', b'{"a": NaN}',
     b'{"a": 1e999}', b'{"a": ' + b"9" * 5000 + b"}", b'{"a":' * 300_000 + b"1" + b"}" * 300_000,
     b"[" * 300_000 + b"]" * 300_000, b'{"a":[' + b"{}," * 300_000 + b"{}]}", b'{"a":"' + b"x" * (9 << 20) + b'"}'],
    ids=lambda text: text[:12].decode("latin-1"),
)  # fmt: skip
def test_configurations_without_end_or_sense(peak_of, text):
    assert isinstance(peak_of(layers_bytes(LAYERS, config=text)), CheckpointError)


def test_classes_named_in_the_configuration_are_only_data(outcome):
    config = {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": "os>system"}
    assert outcome(layers_bytes(LAYERS, config=config)).config == config


# ---- maps of shards


@pytest.mark.parametrize(
    "name", ["../stolen.h5", "/etc/passwd", "a/b.h5", "..", ".", "", "c:stolen.h5", "..\\stolen.h5", "a\0b", 7, None,
             {"a": 1}, ["fine.h5", ["nested.h5"]]],
)  # fmt: skip
def test_shards_outside_of_their_folder(refused, tmp_path, name):
    (tmp_path.parent / "stolen.h5").write_bytes(variables_bytes({"layers/a/vars/0": np.ones(3, "f4")}))
    weight_map = {"weight_map": {"/layers/a/vars": name}}
    assert "wanted the name of a file in the same folder" in refused(json.dumps(weight_map).encode())


@pytest.mark.parametrize("name", ["stranger.bin", "folder", "missing.h5"])
def test_shards_that_are_the_map_itself_or_no_file(refused, tmp_path, name):
    (tmp_path / "folder").mkdir()
    refused(json.dumps({"weight_map": {"/layers/a/vars": name}}).encode())


@pytest.mark.parametrize("weight_map", [[], 7, None, "x.h5", {}, {"": "a.h5"}, {"/layers/a/vars": []}])
def test_maps_that_map_nothing(refused, weight_map):
    refused(json.dumps({"metadata": {}, "weight_map": weight_map}).encode())


def test_maps_of_thousands_of_files(refused):
    weight_map = {f"/layers/{n}/vars": f"{n}.h5" for n in range(5000)}
    assert "5000 files" in refused(json.dumps({"weight_map": weight_map}).encode())


# ---- damage


FILES = {
    "model": sound(),
    "text": sound(names=variable, attributes={"keras_version": "3.15.1"}),
    "newer": layers_bytes(LAYERS, config=CONFIG, names=variable, libver="latest"),
    "variables": variables_bytes({f"layers/gru/cell/vars/{n}": array for n, array in enumerate(GRU.values())},
                                 {"layers/gru/vars": "gru_1"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_truncation_at_every_64_bytes_is_an_error(outcome, name):
    content = FILES[name]
    assert isinstance(outcome(content), Checkpoint)
    for length in [*range(0, len(content), 64), len(content) - 1]:
        assert isinstance(outcome(content[:length]), FastGRUError), length


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_500_mutations_end_in_a_result_or_an_error(outcome, name):
    chance = np.random.default_rng(31)
    for _ in range(500):
        assert isinstance(outcome(mutated(FILES[name], chance)), (Checkpoint, FastGRUError))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model", "text", "variables"])
def test_500_mutations_of_addresses_and_lengths(outcome, name):
    """Where mutations of any byte are mostly in data, these put numbers that mean something where one was before."""
    content, chance = FILES[name], np.random.default_rng(32)
    places = [at for at in range(0, len(content) - 8, 4) if 0 < struct.unpack_from("<Q", content, at)[0] < 1 << 16]
    for _ in range(500):
        data = bytearray(content)
        for at in chance.choice(places, 2):
            lies = (0, 1, 8, int(at), int(at) + 8, len(data) - 8, 1 << 32, (1 << 64) - 1)
            data[at : at + 8] = word(lies[chance.integers(len(lies))])
        assert isinstance(outcome(bytes(data)), (Checkpoint, FastGRUError))


def test_a_wrong_list_does_not_stop_others(tmp_path):
    """After all that, a sound file is still read."""
    path = tmp_path / "sound"
    path.write_bytes(FILES["model"])
    assert len(read(path)) == 4
