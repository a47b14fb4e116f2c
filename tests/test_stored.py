"""Promises of ``precision="stored"``: the smallest that a file has and that keeps every GRU, one for a whole model."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy
from layer_examples import chain
from networks import network, numbers, rounded, same_bits

import fastgru
from fastgru import GRU, FastGRUError, Model, UnsupportedModelError
from fastgru.checkpoint.contents import Checkpoint
from fastgru.command.cli import main
from fastgru.engine.reduced import int8, widened
from fastgru.importers import spec_of
from fastgru.layers import Dense, GRULayer, GRUSpec, GRUWeights, TimeDistributed
from fastgru.weights.stored import precision_of

GOLDEN = Path(__file__).parent / "golden"
REDUCED = ["float16", "bfloat16", "int8"]


def stored(spec, *kinds: str, wanted: str = "stored") -> str:
    """What is taken of a file that has tensors of these types."""
    checkpoint = Checkpoint("file", "fastgru", {}, stored={str(place): kind for place, kind in enumerate(kinds)})
    return precision_of(checkpoint, spec, wanted)


def state(dtype: type = np.float32) -> dict[str, np.ndarray]:
    return {
        f"{kind}_{side}_l0": numbers(*((12, 3) if side == "ih" else (12, 4)) if kind == "weight" else (12,)).astype(
            dtype
        )
        for kind in ("weight", "bias")
        for side in ("ih", "hh")
    }


@pytest.mark.parametrize("precision", REDUCED)
def test_what_the_file_has_is_taken_where_it_loses_nothing(precision: str) -> None:
    kept, lossy = rounded(network(3, 5, 2, 2), precision), network(3, 5, 2, 2)
    assert stored(kept, precision) == precision
    assert stored(lossy, precision) == "float32"
    assert stored(kept) == "float32"  # it would fit, and the file has none of it
    assert stored(kept, "uint8", "int32") == "float32"


def test_the_smallest_goes_before_others() -> None:
    whole = GRUSpec(((GRUWeights(*(np.full(s, 0.5, np.float32) for s in ((6, 3), (6, 2), (6,), (6,)))),),))
    assert stored(whole, "bfloat16", "float16", "int8") == "int8"
    assert stored(whole, "bfloat16") == "bfloat16"
    assert stored(rounded(network(3, 5), "float16"), "float16", "int8") == "float16"
    assert stored(rounded(network(3, 5), "bfloat16"), "bfloat16", "int8") == "bfloat16"


def test_one_precision_keeps_every_gru_of_a_model() -> None:
    ints, halves, wide = rounded(network(4, 4), "int8"), rounded(network(4, 4), "float16"), network(4, 4)
    inside = TimeDistributed(chain(GRULayer(wide), shape=(None, 4)))
    for grus, wanted in [
        ([GRULayer(ints)], "int8"),
        ([GRULayer(ints), Dense(numbers(4, 4)), GRULayer(ints)], "int8"),
        ([GRULayer(ints), GRULayer(halves)], "float32"),  # float16 has no place for the steps of int8
        ([GRULayer(ints, (wide,))], "float32"),
        ([GRULayer(halves), GRULayer(halves, (halves,))], "float16"),
        ([Dense(numbers(4, 4))], "float32"),
    ]:
        assert stored(chain(*grus), "int8", "float16") == wanted
    nested = chain(TimeDistributed(chain(GRULayer(halves))), shape=(None, None, 4))
    assert stored(nested, "float16") == "float16"
    assert stored(chain(inside, shape=(None, None, 4)), "float16") == "float32"


def test_float64_where_every_matrix_of_a_gru_is() -> None:
    double, single = network(4, 4, dtype=np.float64), network(4, 4)
    assert stored(double) == stored(double, "int8") == "float64"
    assert stored(chain(GRULayer(double), Dense(numbers(2, 4)))) == "float64"
    assert stored(chain(GRULayer(double), GRULayer(single))) == "float32"
    assert stored(chain(Dense(numbers(2, 4, dtype=np.float64)))) == "float32"


def test_any_other_precision_is_what_it_is() -> None:
    for precision in ("float32", "float64", *REDUCED):
        assert stored(network(3, 5), "int8", wanted=precision) == precision


@pytest.mark.parametrize(
    ("name", "precision"),
    [("torch_dynamic_int8.pt", "int8"), ("torch_bfloat16.pt", "bfloat16"), ("torch_gru.pt", "float32")],
)
def test_files_that_torch_wrote(name: str, precision: str) -> None:
    gru, wide = fastgru.load(GOLDEN / name, precision="stored"), fastgru.load(GOLDEN / name)
    assert gru.precision == precision
    x = numbers(2, 6, gru.input_size)
    assert np.abs(gru(x)[0] - wide(x)[0]).max() < 0.05  # int8 may round what meets the weights
    for layer in gru.spec.layers:
        for matrix in (layer[0].w_ih, layer[0].w_hh):
            if precision != "float32":
                np.testing.assert_allclose(widened(matrix, precision, ""), matrix, rtol=2e-7)


@pytest.mark.parametrize("precision", REDUCED)
def test_a_file_is_loaded_once_more_as_it_is(precision: str, tmp_path: Path) -> None:
    GRU(network(3, 5)).save(tmp_path / "a", precision=precision)
    gru = fastgru.load(tmp_path / "a", precision="stored")
    assert gru.precision == precision
    fastgru.load(tmp_path / "a").save(tmp_path / "b", precision=precision)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_half_floats_of_npz_and_safetensors(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **state(np.float16))
    (tmp_path / "b").write_bytes(safetensors.numpy.save(state(np.float16)))
    np.savez(tmp_path / "c.npz", **state(np.float64))
    for name, precision in (("a.npz", "float16"), ("b", "float16"), ("c.npz", "float64")):
        gru = fastgru.load(tmp_path / name, precision="stored")
        assert gru.precision == precision
        assert same_bits(
            gru(numbers(2, 5, 3))[0], fastgru.load(tmp_path / name, precision=precision)(numbers(2, 5, 3))[0]
        )
    assert fastgru.load(tmp_path / "a.npz").precision == "float32"


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_floats_of_keras(kind: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(GOLDEN / "keras_sequential.keras") as old, zipfile.ZipFile(tmp_path / "model", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, narrowed_weights(content, kind) if name.endswith(".h5") else content)
    assert fastgru.load(tmp_path / "model", precision="stored").precision == kind
    assert fastgru.load(GOLDEN / "keras_sequential.keras", precision="stored").precision == "float32"


def narrowed_weights(content: bytes, kind: str) -> bytes:
    """An HDF5 file with all its floats in 16 bits, as Keras writes them."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        floats: list[str] = []
        file.visititems(lambda name, each: floats.append(name) if isinstance(each, h5py.Dataset) else None)
        for name in floats:
            values = np.asarray(file[name], np.float32)
            del file[name]
            file[name] = (
                values.astype("f2") if kind == "float16" else (values.view("u4") >> 16).astype("<u2").view("V2")
            )
    return buffer.getvalue()


def test_live_weights_of_half_floats() -> None:
    assert fastgru.from_torch(state(np.float16), precision="stored").precision == "float16"
    assert fastgru.from_torch(state(), precision="stored").precision == "float32"
    assert fastgru.from_torch(state(np.float64), precision="stored").precision == "float64"


def test_an_unknown_precision_is_refused_before_anything_is_read() -> None:
    for wrong in ("float8", "", None, 16, ["int8"], "Stored"):
        for call in (fastgru.load, fastgru.from_torch, fastgru.from_keras):
            with pytest.raises(UnsupportedModelError) as caught:
                call("no such file", precision=wrong)
            assert str(caught.value).endswith("wanted one of float32, float64, float16, bfloat16, int8, stored")


def test_only_what_reads_a_file_knows_what_it_stores() -> None:
    gru, model = network(3, 5), chain(GRULayer(network(4, 3)))
    for make in (lambda: GRU(gru, precision="stored"), lambda: Model(model, precision="stored"),
                 lambda: GRU(gru).astype("stored"), lambda: Model(model).astype("stored"),
                 lambda: GRU(gru).save("nowhere", precision="stored")):  # fmt: skip
        with pytest.raises(UnsupportedModelError, match=r"got 'stored', wanted one of float32, .*, int8$"):
            make()


def test_packed_kernels_are_not_for_what_is_stored_in_float64(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **state(np.float64))
    with pytest.raises(FastGRUError, match="leave backend out"):
        fastgru.load(tmp_path / "a.npz", precision="stored", backend="packed")


def test_a_zero_point_leaves_the_int8_grid() -> None:
    ints = np.random.default_rng(0).integers(-128, 128, (12, 4))
    ints[0, :2] = -128, 127
    for shift, wanted in ((0, "int8"), (40, "float32")):
        made = {name: array if array.ndim == 1 else (ints[:, : array.shape[1]] - shift).astype(np.float32) / 64
                for name, array in state().items()}  # fmt: skip
        checkpoint = Checkpoint("file", "pytorch-zip", made, stored=dict.fromkeys(made, "int8"))
        assert precision_of(checkpoint, spec_of(checkpoint), "stored") == wanted


def test_whole_numbers_of_a_file_are_those_of_the_engine() -> None:
    ints = np.random.default_rng(0).integers(-127, 128, (30, 20)).astype(np.int8)
    ints[:, 0] = np.where(np.arange(30) % 2, 127, -128)  # quantised by channel, each row as far as it can
    steps = np.random.default_rng(1).uniform(1e-4, 1e-2, (30, 1)).astype(np.float32)
    for each in (steps, steps[:1]):
        assert (int8(ints * each, "")[0] == ints).all()


def halved(path: Path) -> None:
    """Take half of every whole number of a saved file of int8: rows that do not reach 127 steps any more."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    data = bytearray(content[8 + length :])
    for entry in json.loads(content[8 : 8 + length]).values():
        if entry.get("dtype") == "I8":
            start, end = entry["data_offsets"]
            data[start:end] = (np.frombuffer(data[start:end], np.int8) // 2).tobytes()
    path.write_bytes(content[: 8 + length] + data)


def test_inspect_says_what_stored_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gru.safetensors"
    GRU(network(3, 20)).save(path, precision="int8")
    for change, precision, words in (
        (lambda path: None, "int8", 'read as float32, or as int8 with precision="stored"'),
        (halved, "float32", 'read as float32, also with precision="stored": none of these keeps all weights'),
    ):
        change(path)
        assert fastgru.load(path, precision="stored").precision == precision
        assert main(["inspect", str(path)]) == 0
        assert words in capsys.readouterr().out
        assert main(["inspect", str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["stored_precision"] == precision
    (tmp_path / "several").write_bytes(safetensors.numpy.save({"a.weight": numbers(2, 3), "b.weight": numbers(2, 2)}))
    assert main(["inspect", str(tmp_path / "several"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stored_precision"] is None
