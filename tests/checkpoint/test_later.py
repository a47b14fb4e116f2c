"""Matrices that stay in their file until they are packed have the numbers that reading at once gives."""

from __future__ import annotations

import io
import json
import os
from functools import partial

import numpy as np
import pytest
from checkpoint_writers import legacy_bytes, tensor, torch_bytes
from keras_h5_writer import layers_bytes, variables_bytes
from keras_writer import hdf5_bytes, keras_bytes

import fastgru
from fastgru.checkpoint.reading import read, read_for_model
from fastgru.checkpoint.stored_matrix import StoredMatrix
from fastgru.errors import CheckpointError
from fastgru.importers import spec_of
from fastgru.weights.from_file import matrices_of
from fastgru.weights.matrices import Matrix

TYPES = ("<f4", ">f4", "<f8", ">f8", "<f2", ">f2")
chance = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def small_matrices_are_left_in_files(monkeypatch):
    monkeypatch.setattr("fastgru.checkpoint.stored_matrix.LEAST", 1)


def numbers(*shape, dtype="<f4"):
    return (chance.uniform(-3, 3, shape)).astype(dtype)


def bfloat16(*shape):
    """The upper halves of float32."""
    return (numbers(*shape).view("u4") >> 16).astype("u2")


def npz(arrays, save=np.savez):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def same_later(path, matrices):
    """Assert that these, and no others, are left in the file, and that all have the same bits."""
    now, later = read(path), read_for_model(path)
    assert list(now) == list(later) and now.stored == later.stored
    assert {name for name, each in later.tensors.items() if isinstance(each, StoredMatrix)} == set(matrices)
    for name, wanted in now.items():
        assert isinstance(wanted, np.ndarray)
        found = later[name].array() if name in matrices else later[name]
        assert found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()
        if name in matrices:
            pieces = list(later[name].pieces())
            assert [first for first, _ in pieces] == list(np.cumsum([0, *(len(rows) for _, rows in pieces)])[:-1])
            assert np.concatenate([rows for _, rows in pieces]).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(file_of, dtype, save):
    matrices = {
        "weight_ih_l0": numbers(6, 3, dtype=dtype),
        "enc_w_hh": np.asfortranarray(numbers(6, 2, dtype=dtype)),
        "a/weight_hh_l1_reverse": numbers(6, 2, dtype=dtype).T,
    }
    others = {
        "fc_w": numbers(4, 3, dtype=dtype),
        "b_ih": numbers(6, dtype=dtype),
        "x.w_ih": np.zeros((6, 0), dtype),
        "x.w_hh": np.arange(6).reshape(3, 2),
        "text": np.array(["a", "b"]),
    }
    same_later(file_of(npz(matrices | others, save)), matrices)


@pytest.mark.parametrize("write", [legacy_bytes, torch_bytes])
@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "bfloat16"])
def test_torch(file_of, kind, write):
    given = bfloat16 if kind == "bfloat16" else partial(numbers, dtype=kind)
    made = {"weight_ih_l0": given(6, 3), "weight_hh_l0": given(6, 2)}
    name = "BFloat16Storage" if kind == "bfloat16" else None
    value = {each: tensor(array, name) for each, array in made.items()}
    more = {"fc.weight": numbers(6, 6), "conv.weight": numbers(6, 2, 3)}
    value |= {each: tensor(array) for each, array in more.items()}
    value |= {"bias_ih_l0": tensor(numbers(6)), "norm.weight": tensor(numbers(6)), "table": tensor(numbers(6, 6))}
    same_later(file_of(write(value)), made | more)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["h5", "weights", "keras"])
def test_keras(file_of, dtype, kind):
    kernel, recurrent, bias = (numbers(*shape, dtype=dtype) for shape in ((5, 12), (4, 12), (2, 12)))
    dense, words = numbers(7, 3, dtype=dtype), numbers(40, 120, dtype=dtype)
    conv = numbers(5, 3, 4, dtype=dtype)
    if kind == "h5":
        lists = {"gru": {"a/kernel": kernel, "a/recurrent_kernel": recurrent, "a/bias": bias},
                 "dense": {"kernel": dense, "bias": numbers(3)}, "words": {"embeddings": words},
                 "conv": {"kernel": conv}}  # fmt: skip
        content, place = layers_bytes(lists), "gru/a/"
        wanted = [f"{place}{name}" for name in ("kernel", "recurrent_kernel", "bias")]
        wanted += ["dense/kernel", "words/embeddings", "conv/kernel"]
    else:
        place = "layers/gru/cell/vars/"
        arrays = {f"{place}0": kernel, f"{place}1": recurrent, f"{place}2": bias, "layers/dense/vars/0": dense}
        arrays |= {"layers/embedding/vars/0": words, "layers/conv1d/vars/0": conv}
        content = variables_bytes(arrays) if kind == "weights" else keras_bytes(hdf5_bytes(arrays))
        wanted = arrays
    same_later(file_of(content), wanted)


def test_keras_in_bfloat16_which_is_opaque_in_the_file(file_of):
    arrays = {
        f"layers/gru/cell/vars/{place}": bfloat16(*shape).view("V2")
        for place, shape in enumerate(((5, 12), (4, 12)))
    }
    same_later(file_of(variables_bytes(arrays)), arrays)


def test_keras_in_a_file_with_a_user_block(file_of):
    arrays = {f"layers/gru/cell/vars/{place}": numbers(*shape) for place, shape in enumerate(((5, 12), (4, 12)))}
    same_later(file_of(variables_bytes(arrays, userblock_size=512)), arrays)


def test_keras_in_several_files(tmp_path):
    groups = {f"layers/gru{end}/cell/vars": file for end, file in (("", "a.weights.h5"), ("_1", "b.weights.h5"))}
    for group, file in groups.items():
        arrays = {f"{group}/{place}": numbers(*shape) for place, shape in enumerate(((5, 12), (4, 12)))}
        (tmp_path / file).write_bytes(variables_bytes(arrays))
    path = tmp_path / "all.weights.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": {f"/{group}": file for group, file in groups.items()}}))
    same_later(path, [f"{group}/{place}" for group in groups for place in (0, 1)])


def test_a_long_matrix_is_given_some_rows_at_a_time(file_of):
    shapes = ((9001, 60), (20, 60), (70, 90, 80))
    arrays = {f"layers/gru/cell/vars/{place}": numbers(*shape) for place, shape in enumerate(shapes)}
    path = file_of(variables_bytes(arrays))
    same_later(path, arrays)
    for place in (0, 2):
        assert len(list(read_for_model(path)[f"layers/gru/cell/vars/{place}"].pieces())) > 3


def test_the_kernel_of_a_convolution_is_turned_round_as_an_array_is(file_of):
    layer = {"class_name": "Conv1D", "config": {"name": "conv", "filters": 6, "kernel_size": [3], "padding": "same"}}
    layer["config"]["batch_input_shape"] = [None, None, 5]
    arrays = {"conv/kernel:0": numbers(3, 5, 6), "conv/bias:0": numbers(6)}
    config = {"class_name": "Sequential", "config": {"name": "model", "layers": [layer]}}
    path = file_of(layers_bytes({"conv": arrays}, config=config, attributes={"keras_version": "2.3.1"}))
    ((_, wanted),), ((_, found),) = (matrices_of(spec_of(how(path))) for how in (read, read_for_model))
    assert isinstance(found, Matrix) and np.array_equal(found.array(), wanted)
    assert fastgru.load(path)(np.ones((2, 4, 5))).shape == (2, 4, 6)


@pytest.mark.parametrize(
    ("class_name", "options", "biases"),
    [
        ("GRU", {"reset_after": True}, (2, 12)),
        ("GRU", {"reset_after": False}, (12,)),
        ("GRU", {"use_bias": False, "reset_after": True}, None),
        ("CuDNNGRU", {}, (24,)),
    ],
)
def test_kernels_of_keras_are_turned_round_as_arrays_are(file_of, class_name, options, biases):
    layer = {"class_name": class_name, "config": {"name": "gru", "units": 4, "return_sequences": True, **options}}
    layer["config"]["batch_input_shape"] = [None, None, 5]
    arrays = {"gru/kernel:0": numbers(5, 12), "gru/recurrent_kernel:0": numbers(4, 12)}
    if biases is not None:
        arrays["gru/bias:0"] = numbers(*biases)
    config = {"class_name": "Sequential", "config": {"name": "model", "layers": [layer]}}
    path = file_of(layers_bytes({"gru": arrays}, config=config, attributes={"keras_version": "2.3.1"}))
    now, later = (matrices_of(spec_of(how(path))) for how in (read, read_for_model))
    for (name, wanted), (same_name, found) in zip(now, later, strict=True):
        assert name == same_name and isinstance(wanted, np.ndarray) and isinstance(found, Matrix)
        assert found.shape == wanted.shape and np.array_equal(found.array(), wanted)
    assert fastgru.load(path)(np.ones((2, 3, 5))).shape == (2, 3, 4)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0"])
def test_a_damaged_matrix_is_refused_when_the_model_is_loaded(file_of, save, name):
    arrays = {"weight_ih_l0": numbers(60, 30), "weight_hh_l0": numbers(60, 20)}
    content = bytearray(npz(arrays, save))
    content[content.index(f"{name}.npy".encode()) + 2000] ^= 4
    with pytest.raises(CheckpointError, match=f"{name}.npy"):
        fastgru.load(file_of(bytes(content)))


def test_a_matrix_of_a_file_that_was_changed_is_not_read(file_of):
    arrays = {"weight_ih_l0": numbers(6, 3), "weight_hh_l0": numbers(6, 2)}
    keras = {f"layers/gru/cell/vars/{place}": numbers(*shape) for place, shape in enumerate(((5, 12), (4, 12)))}
    legacy = legacy_bytes({name: tensor(array) for name, array in arrays.items()})
    for content in (npz(arrays), legacy, variables_bytes(keras), keras_bytes(hdf5_bytes(keras))):
        path = file_of(content)
        matrix = next(iter(read_for_model(path).tensors.values()))
        os.utime(path, ns=(1, 1))
        for ask in (matrix.array, lambda: list(matrix.pieces()), lambda: matrix.form("int8", "x")):  # noqa: B023
            with pytest.raises(CheckpointError, match="it was changed since"):
                ask()


@pytest.mark.parametrize("zipped", [False, True])
def test_other_arrays_are_in_memory_once(file_of, read_with_peak, zipped):
    arrays = {f"layers/embedding_{number}/vars/0": np.ones((20_000, 50), "f4") for number in range(5)}
    content = keras_bytes(hdf5_bytes(arrays)) if zipped else variables_bytes(arrays)
    checkpoint, peak = read_with_peak(file_of(content))
    assert len(checkpoint) == 5 and peak < len(content) + (3 << 20)
