"""HDF5 files of every Keras give their arrays by path, their lists in order, and leave everything else alone."""

from __future__ import annotations

import contextlib
import json
import sys

import h5py
import numpy as np
import pytest
from beside import beside
from keras_h5_writer import CONFIG, fixed, gru_arrays, keras1_gru, layers_bytes, variable, variables_bytes

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError, UnsupportedModelError

VERSIONS = {"keras_version": b"2.2.4", "backend": b"tensorflow"}
DENSE = {"dense_1/kernel:0": np.ones((2, 4), "f4"), "dense_1/bias:0": np.zeros(4, "f4")}
GRU = {f"gru_1/{name}": array for name, array in gru_arrays().items()}
LAYERS = {"input_1": {}, "gru_1": GRU, "dropout_1": {}, "dense_1": DENSE}
LISTED = {
    "input_1": [],
    "gru_1": ["gru_1/gru_1/kernel:0", "gru_1/gru_1/recurrent_kernel:0", "gru_1/gru_1/bias:0"],
    "dropout_1": [],
    "dense_1": ["dense_1/dense_1/kernel:0", "dense_1/dense_1/bias:0"],
}


def same(checkpoint, layers) -> bool:
    """The arrays of layers, in the order of their lists, and nothing else."""
    wanted = {f"{layer}/{name}": array for layer, arrays in layers.items() for name, array in arrays.items()}
    return list(checkpoint) == list(wanted) and all(
        np.array_equal(checkpoint[name], array) and checkpoint[name].shape == np.shape(array)
        for name, array in wanted.items()
    )


@pytest.mark.parametrize("names", [fixed, variable], ids=["bytes", "text"])
def test_a_whole_model_gives_its_arrays_its_lists_and_its_configuration(file_of, names):
    checkpoint = read(file_of(layers_bytes(LAYERS, config=CONFIG, attributes=VERSIONS, names=names)))
    assert checkpoint.format == "keras-h5" and checkpoint.config == CONFIG and same(checkpoint, LAYERS)
    assert checkpoint.metadata == {
        "keras_version": "2.2.4", "backend": "tensorflow", "weight_names": LISTED, "skipped": [],
    }  # fmt: skip
    assert list(checkpoint.metadata["weight_names"]) == list(LAYERS)


def test_weights_alone_have_no_configuration(file_of):
    checkpoint = read(file_of(layers_bytes(LAYERS, attributes=VERSIONS)))
    assert checkpoint.format == "keras-h5" and checkpoint.config is None and same(checkpoint, LAYERS)
    assert checkpoint.metadata["weight_names"] == LISTED and checkpoint.metadata["keras_version"] == "2.2.4"


def test_keras_1_has_no_version_and_nine_arrays_for_a_gru(file_of):
    layers = {"gru_1": keras1_gru("gru_1"), "dense_1": {"dense_1_W": np.ones((2, 4), "f4"), "dense_1_b": np.ones(4)}}
    checkpoint = read(file_of(layers_bytes(layers, config=CONFIG)))
    assert same(checkpoint, layers)
    assert checkpoint.metadata["keras_version"] == checkpoint.metadata["backend"] == ""
    gates = [name.rpartition("gru_1_")[2] for name in checkpoint.metadata["weight_names"]["gru_1"]]
    assert gates == ["W_z", "U_z", "b_z", "W_r", "U_r", "b_r", "W_h", "U_h", "b_h"]


def test_the_list_of_an_old_sequential_stays_as_it_is(file_of):
    config = {"class_name": "Sequential", "config": [{"class_name": "GRU", "config": {"name": "gru_1", "units": 2}}]}
    assert read(file_of(layers_bytes(LAYERS, config=config))).config == config


def test_a_configuration_larger_than_a_message_of_hdf5(file_of):
    config = {"class_name": "Sequential", "config": {"layers": [{"name": f"layer {n}"} for n in range(20_000)]}}
    assert read(file_of(layers_bytes(LAYERS, config=config))).config == config


@pytest.mark.parametrize("names", [fixed, variable], ids=["bytes", "text"])
def test_long_lists_come_in_parts(file_of, names):
    layers = {f"dense_{n}": {f"dense_{n}/kernel:0": np.full(2, n, "f4")} for n in range(25)}
    layers["rnn"] = {f"rnn/cell_{n}/kernel:0": np.full(3, n, "f4") for n in range(15)}
    checkpoint = read(file_of(layers_bytes(layers, names=names, most=10)))
    assert same(checkpoint, layers) and list(checkpoint.metadata["weight_names"]) == list(layers)


def test_groups_of_hundreds_of_layers(file_of):
    layers = {f"dense_{n}": {f"dense_{n}/kernel:0": np.full(2, n, "f4")} for n in range(1000)}
    assert same(read(file_of(layers_bytes(layers, config=CONFIG))), layers)


def test_nested_models_and_wrappers_list_all_they_hold_in_one_group(file_of):
    both = [f"bidirectional_1/{way}_gru_1/{name}" for way in ("forward", "backward") for name in gru_arrays()]
    inner = [f"gru_2/gru_cell/{name}" for name in gru_arrays()] + ["bn/gamma:0", "bn/moving_mean:0"]
    layers = {
        group: {name: np.full(3, place, "f4") for place, name in enumerate(names)}
        for group, names in {"bidirectional_1": both, "model_1": inner}.items()
    }
    checkpoint = read(file_of(layers_bytes(layers, config=CONFIG)))
    assert same(checkpoint, layers)
    assert checkpoint.metadata["weight_names"]["model_1"] == [f"model_1/{name}" for name in inner]


def test_names_of_layers_may_have_slashes(file_of):
    layers = {"scope": {}, "scope/gru": {"scope/gru/kernel:0": np.ones(2, "f4")}}
    assert same(read(file_of(layers_bytes(layers, config=CONFIG))), layers)


def test_the_models_own_variables_come_last(file_of):
    def edit(file):
        own = file["model_weights"].create_group("top_level_model_weights")
        own.attrs["weight_names"] = fixed(["own:0"])
        own["own:0"] = np.ones(3, "f4")

    checkpoint = read(file_of(layers_bytes(LAYERS, config=CONFIG, edit=edit)))
    assert list(checkpoint)[-1] == "top_level_model_weights/own:0"
    assert checkpoint.metadata["weight_names"] == {
        **LISTED, "top_level_model_weights": ["top_level_model_weights/own:0"],
    }  # fmt: skip


def test_no_variables_of_the_model_itself_are_not_mentioned(file_of):
    def edit(file):
        file["model_weights"].create_group("top_level_model_weights").attrs["weight_names"] = fixed([])

    checkpoint = read(file_of(layers_bytes(LAYERS, config=CONFIG, edit=edit)))
    assert checkpoint.metadata["weight_names"] == LISTED and checkpoint.metadata["skipped"] == []


def test_what_no_list_names_is_skipped_and_never_opened(file_of):
    def edit(file):
        file["optimizer_weights/Adam/iterations:0"] = 7
        file["model_weights/gru_1/gru_1/left over"] = np.ones(3, "f4")
        file["model_weights/another/kernel:0"] = np.ones(3, "f4")
        file["model_weights/another/elsewhere"] = h5py.ExternalLink("other.h5", "/x")
        file["model_weights/linked"] = h5py.SoftLink("/nowhere")
        file["notes"] = "!!python/object/apply:os.system"
        file.create_dataset("model_weights/packed", data=np.zeros(1000), compression="gzip")

    checkpoint = read(file_of(layers_bytes(LAYERS, config=CONFIG, edit=edit)))
    assert same(checkpoint, LAYERS)
    assert sorted(checkpoint.metadata["skipped"]) == [
        "another", "gru_1/gru_1/left over", "linked", "notes", "optimizer_weights", "packed",
    ]  # fmt: skip


def test_arrays_that_are_not_floats_are_skipped_and_leave_the_lists(file_of):
    layers = {"normalization": {"mean:0": np.ones(3, "f4"), "count:0": np.int64(7), "text:0": "words"}}
    checkpoint = read(file_of(layers_bytes(layers, config=CONFIG)))
    assert checkpoint.metadata["weight_names"] == {"normalization": ["normalization/mean:0"]}
    assert checkpoint.metadata["skipped"] == ["normalization/count:0", "normalization/text:0"]


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_floats_of_every_size_and_byte_order(file_of, kind):
    values = np.array([[1.5, -0.25, 3.0], [6e-8, np.inf, -0.0]], kind)
    got = read(file_of(layers_bytes({"a": {"k": values, "s": values[0, 0]}})))
    assert got["a/k"].dtype == (np.float64 if kind[1:] == "f8" else np.float32) and got["a/k"].dtype.isnative
    assert got["a/k"].tobytes() == values.astype(got["a/k"].dtype).tobytes() and got["a/s"] == 1.5
    assert got["a/k"].flags.c_contiguous and not got["a/k"].flags.writeable


def test_bfloat16_is_widened(file_of):
    values = np.array([[1.5, -0.25, 3.0]], np.float32)
    got = read(file_of(layers_bytes({"a": {"k": (values.view("u4") >> 16).astype("<u2").view("V2")}})))["a/k"]
    assert got.dtype == np.float32 and np.array_equal(got, values)


def file_of_float(fields: tuple[int, ...], bias: int) -> bytes:
    """One array of a 16-bit float that NumPy has not: where its sign, exponent and mantissa are, and its bias."""

    def edit(file):
        kind = h5py.h5t.IEEE_F16LE.copy()
        kind.set_fields(*fields)
        kind.set_ebias(bias)
        space = h5py.h5s.create_simple((2,))
        dataset = h5py.h5d.create(file["a"].id, b"k", kind, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1.5, -3.0], "f4"))
        file["a"].attrs["weight_names"] = fixed(["k"])

    return layers_bytes({"a": {}}, edit=edit)


def test_floats_that_numpy_has_not(file_of):
    as_bfloat16 = read(file_of(file_of_float((15, 7, 8, 0, 7), 127)))["a/k"]
    assert as_bfloat16.dtype == np.float32 and as_bfloat16.tolist() == [1.5, -3.0]
    with pytest.raises(CheckpointError, match="is not supported"):
        read(file_of(file_of_float((15, 1, 14, 0, 1), (1 << 13) - 1)))


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}], ids=["classic", "newer"])
def test_data_inside_of_a_header_is_read(file_of, options):
    values = np.arange(6, dtype="f4").reshape(2, 3)

    def edit(file):
        kept = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        kept.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(values.shape)
        dataset = h5py.h5d.create(file["a"].id, b"k", h5py.h5t.IEEE_F32BE, space, kept)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
        file["a"].attrs["weight_names"] = fixed(["k"])

    assert np.array_equal(read(file_of(layers_bytes({"a": {}}, edit=edit, **options)))["a/k"], values)


def test_a_changed_bit_in_a_header_with_a_checksum_is_never_other_numbers(file_of):
    content = layers_bytes({"a": {"k": np.arange(6, dtype="f4").reshape(2, 3)}}, libver="latest")
    wanted = read(file_of(content))
    starts = [at for at in range(len(content)) if content.startswith((b"OHDR", b"\x89HDF"), at)]
    assert len(starts) > 2
    for start in starts:
        for at in range(start + 4, min(start + 100, len(content)), 3):
            changed = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
            with contextlib.suppress(CheckpointError, UnsupportedModelError):
                assert same(read(file_of(changed)), {"a": {"k": wanted["a/k"]}})


@pytest.mark.parametrize("block", [512, 1024, 2048])
def test_a_user_block_before_the_file(file_of, block):
    content = layers_bytes(LAYERS, config=CONFIG, userblock_size=block)
    content = b"#!/bin/sh\n".ljust(block, b"#") + content[block:]
    assert same(read(file_of(content)), LAYERS)


@pytest.mark.parametrize("name", ["model.h5", "weights.hdf5", "weights.net", "weights.json", "no suffix"])
def test_files_are_known_by_content(file_of, name):
    assert same(read(file_of(layers_bytes(LAYERS), name)), LAYERS)


NEWER = [{"libver": "latest"}, {"libver": "v108"}, {"track_order": True}, {"libver": "latest", "track_order": True}]


@pytest.mark.parametrize("options", NEWER)
@pytest.mark.parametrize("count", [2, 9, 46, 200])
def test_newer_layouts_of_hdf5(file_of, options, count):
    """Few members lie in a group's header, more in the leaf of a tree, and many below one or two levels of it."""
    layers = {f"dense_{n}": {f"k{m}": np.full(2, n + m, "f4") for m in range(n % 11)} for n in range(count)}

    def edit(file):
        for n in range(count):
            file["model_weights"].attrs[f"note{n}"] = "x" * n

    content = layers_bytes(layers, config=CONFIG, attributes=VERSIONS, names=variable, edit=edit, **options)
    checkpoint = read(file_of(content))
    assert same(checkpoint, layers) and list(checkpoint.metadata["weight_names"]) == list(layers)
    assert checkpoint.config == CONFIG and checkpoint.metadata["keras_version"] == "2.2.4"


def test_newer_layouts_of_groups_of_thousands(file_of):
    layers = {f"{n}".rjust(200, "_"): {} for n in range(3000)}
    checkpoint = read(file_of(layers_bytes(layers, config=CONFIG, libver="latest", most=100)))
    assert list(checkpoint.metadata["weight_names"]) == list(layers)


@pytest.mark.parametrize("count", [2, 100])
def test_names_that_are_not_ascii_make_a_group_of_the_newer_layout(file_of, count):
    layers = {f"Schlüssel 層 {n}": {"k": np.full(3, n, "f4")} for n in range(count)}
    for names in (fixed, variable):
        content = layers_bytes(layers, config=CONFIG, names=names)
        assert content[8] == 0 and same(read(file_of(content)), layers)  # superblock 0


def test_what_no_keras_writes_is_refused(file_of):
    with pytest.raises(CheckpointError, match="a driver or an extension of its own"):
        read(file_of(layers_bytes(LAYERS, fs_strategy="page", fs_persist=True)))


def test_listed_arrays_must_be_in_one_piece(file_of):
    def edit(file):
        del file["dense_1/dense_1/kernel:0"]
        file.create_dataset("dense_1/dense_1/kernel:0", data=np.ones((2, 4), "f4"), chunks=(1, 4))

    with pytest.raises(CheckpointError, match=r"dense_1/kernel:0'.*chunked.*save the model again"):
        read(file_of(layers_bytes(LAYERS, edit=edit)))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda file: file.pop("model_weights"), "not complete"),
        (lambda file: file["model_weights"].attrs.pop("layer_names"), "not complete"),
        (lambda file: file["model_weights"].pop("gru_1"), r"lists a layer 'gru_1' and has no group"),
        (lambda file: file["model_weights/gru_1"].attrs.pop("weight_names"), "weight_names is missing"),
        (
            lambda file: file["model_weights/gru_1/gru_1"].pop("bias:0"),
            r"lists an array 'gru_1/bias:0' and has no array",
        ),
    ],
)
def test_what_is_missing_is_named(file_of, edit, message):
    with pytest.raises(CheckpointError, match=message):
        read(file_of(layers_bytes(LAYERS, config=CONFIG, edit=edit)))


def test_hdf5_of_another_program_says_what_was_wanted(file_of):
    with pytest.raises(UnsupportedModelError, match=r"an HDF5 file without weights of Keras.*model_config"):
        read(file_of(variables_bytes({"signal": np.ones(3, "f4"), "group/more": np.ones(3)})))


def test_h5py_is_not_needed(file_of, monkeypatch):
    path = file_of(layers_bytes(LAYERS))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert read(path).keys()


VARIABLES = {
    "layers/embedding/vars/0": np.ones((9, 4), "f4"),
    "layers/gru/cell/vars/0": np.ones((4, 6), "f4"),
    "layers/gru/cell/vars/1": np.ones((2, 6), "f4"),
    "layers/gru/cell/vars/2": np.ones((2, 6), "f4"),
    "layers/sequential/layers/bidirectional/forward_layer/cell/vars/0": np.ones((2, 6), "f4"),
    "layers/time_distributed/layer/vars/0": np.ones((2, 6), "f4"),
}


def test_groups_of_variables_give_their_arrays_by_path(file_of):
    names = {"layers/gru/vars": "decoder", "layers/gru/cell/vars": "gru_cell", "vars": "functional_1"}
    beside = {"optimizer/vars/1": np.ones(3, "f4"), "layers/dropout/seed_generator/vars/0": np.zeros(2, "u4"),
              "layers/gru/notes": np.ones(2)}  # fmt: skip
    checkpoint = read(file_of(variables_bytes({**VARIABLES, **beside}, names)))
    assert checkpoint.format == "keras-weights" and checkpoint.config is None
    assert checkpoint.keys() == VARIABLES.keys()
    assert all(np.array_equal(checkpoint[name], array) for name, array in VARIABLES.items())
    assert checkpoint.metadata["names"] == {"": "functional_1", "layers/gru": "decoder", "layers/gru/cell": "gru_cell"}
    assert sorted(checkpoint.metadata["skipped"]) == [
        "layers/dropout/seed_generator/vars/0", "layers/gru/notes", "optimizer",
    ]  # fmt: skip


def test_a_subclassed_model_has_the_names_of_its_attributes(file_of):
    arrays = {
        "encoder/cell/vars/0": np.ones((4, 6), "f4"),
        "heads/dense_1/vars/0": np.ones(3, "f4"),
        "vars/0": np.ones(2),
    }
    checkpoint = read(file_of(variables_bytes(arrays)))
    assert checkpoint.format == "keras-weights" and checkpoint.keys() == arrays.keys()
    assert checkpoint.metadata == {"names": {}, "skipped": []}


@pytest.fixture
def sharded(tmp_path):
    """A function that writes shards and the map of them, and gives the map's path."""

    def write(shards, weight_map, **more):
        for name, content in shards.items():
            (tmp_path / name).write_bytes(content)
        path = tmp_path / "m.weights.json"
        path.write_text(json.dumps({"metadata": {"total_size": 7.0}, "weight_map": weight_map, **more}, indent=4))
        return path

    return write


def gru_shards():
    """Two files, which share the variables of one group."""
    parts = list(VARIABLES)[:2], list(VARIABLES)[2:4]
    shards = {f"m_0000{n}.weights.h5": {path: VARIABLES[path] for path in part} for n, part in enumerate(parts)}
    weight_map = {"/layers/embedding/vars": "m_00000.weights.h5", "/layers/gru/cell/vars": list(shards)}
    return {name: variables_bytes(arrays) for name, arrays in shards.items()}, weight_map


def test_weights_in_several_files(sharded):
    shards, weight_map = gru_shards()
    weight_map["/optimizer/vars"] = "never opened.h5"
    checkpoint = read(sharded(shards, weight_map))
    assert checkpoint.format == "keras-weights" and list(checkpoint) == list(VARIABLES)[:4]
    assert all(np.array_equal(array, VARIABLES[name]) for name, array in checkpoint.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shards, places: shards.pop("m_00001.weights.h5"), r"m_00001\.weights\.h5: there is no such file"),
        (lambda shards, places: shards.update({"m_00001.weights.h5": b"text"}), "not an HDF5 file"),
        (lambda shards, places: places.update({"/layers/more/vars": "m_00001.weights.h5"}), "'layers/more/vars', "),
        (lambda shards, places: places.pop("/layers/embedding/vars"), "which the map does not say"),
        (lambda shards, places: (shards.update({"again.h5": shards["m_00000.weights.h5"]}),
                                 places.update({group: [*np.atleast_1d(names), "again.h5"]
                                                for group, names in places.items()})), "in several files"),
        (lambda shards, places: places.clear(), "names no weights"),
    ],
)  # fmt: skip
def test_shards_that_disagree_with_their_map(sharded, change, message):
    shards, weight_map = gru_shards()
    path = sharded(shards, {})
    change(shards, weight_map)
    for name in ("m_00000.weights.h5", "m_00001.weights.h5"):
        (path.parent / name).unlink()
    with pytest.raises(CheckpointError, match=message):
        read(sharded(shards, weight_map))


def test_reading_needs_the_file_and_one_copy_of_its_arrays(file_of, read_with_peak):
    kernel = np.ones((1 << 11, 1 << 11), "f4")
    for kind in ("<f4", ">f4"):
        path = file_of(layers_bytes({"a": {"k": kernel.astype(kind)}, "b": {"k": kernel.astype(kind)}}))
        checkpoint, peak = read_with_peak(path)
        assert len(checkpoint) == 2 and peak <= 2.2 * path.stat().st_size


def test_the_real_model_of_rnnoise():
    path = beside("models/rnnoise/weights.hdf5")
    checkpoint = read(path)
    assert checkpoint.format == "keras-h5" and checkpoint.metadata["keras_version"] == "2.2.2"
    assert checkpoint.config["class_name"] == "Model" and checkpoint.metadata["skipped"] == ["optimizer_weights"]
    assert list(checkpoint.metadata["weight_names"]) == [
        "main_input", "input_dense", "vad_gru", "concatenate_1", "noise_gru", "concatenate_2", "denoise_gru",
        "denoise_output", "vad_output",
    ]  # fmt: skip
    with h5py.File(path) as file:
        for name, array in checkpoint.items():
            assert np.array_equal(array, file["model_weights"][name][()])
    assert checkpoint["denoise_gru/denoise_gru/kernel:0"].shape == (114, 288)


def test_variables_in_groups_that_windows_named_are_read_by_slashes(file_of):
    arrays = {name.replace("/", "\\").replace("\\vars\\", "/vars/"): each for name, each in VARIABLES.items()}
    checkpoint = read(file_of(variables_bytes(arrays, {"layers\\gru/vars": "decoder"})))
    assert checkpoint.keys() == VARIABLES.keys() and checkpoint.metadata["names"] == {"layers/gru": "decoder"}
