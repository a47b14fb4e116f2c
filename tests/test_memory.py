"""Promises of memory: a model has its weights once, loading takes little more, and what was rounded is found again."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gru_files import KERAS_LAYERS, WRITERS, state_bytes
from layer_examples import chain
from networks import network, numbers, rounded, same_bits
from torch_grus import KINDS as OF_TORCH
from torch_grus import write as write_of_torch

import fastgru
from fastgru import GRU, CheckpointError, FastGRUError, Model, UnsupportedModelError
from fastgru.engine.pack import last_vectors, pack_columns, unpack_columns
from fastgru.engine.packed import PRECISIONS, Layout, PackedMatrix
from fastgru.engine.reduced import reduce
from fastgru.graph.saved import from_data, to_data
from fastgru.gru_plan import packed_precision
from fastgru.layers import (
    Activation,
    Dense,
    Embedding,
    GRULayer,
    GRUSpec,
    Input,
    Last,
    ModelSpec,
    Node,
    TimeDistributed,
    sequential,
)
from fastgru.options import kernel_table
from fastgru.weights.checksum import checksum_of

LOADED = """
import json, sys
import fastgru, fastgru.checkpoint.reading, fastgru.importers.resolve, fastgru.importers.whole.native, fastgru.model
import fastgru.importers.weights.model, fastgru.importers.weights.npz, fastgru.importers.keras.model
import fastgru.checkpoint.keras.h5, fastgru.checkpoint.keras.archive, fastgru.checkpoint.torch.legacy
import fastgru.checkpoint.torch.archive, fastgru.checkpoint.npz, fastgru.checkpoint.safetensors
import fastgru.importers.torch.program_file, fastgru.importers.torch.script

def memory(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))

before = memory("VmRSS")
model = fastgru.load(sys.argv[1], precision=sys.argv[2], layers=json.loads(sys.argv[3]))
print(json.dumps([memory("VmRSS") - before, memory("VmHWM") - before, model.nbytes]))
"""
STREAMED = [name for name in WRITERS if name != "deflated keras"]  # which is inflated whole
HIDDEN = 640  # three layers of 29.5 MB in float32
REDUCED = ("float16", "bfloat16", "int8")
MB, MIB = 10**6, 1 << 20
has_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc says what memory a process has")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same GRU of 29.5 MB as every kind of file; where PyTorch is there, also as those that it writes."""
    folder = tmp_path_factory.mktemp("memory")
    gru = GRU(network(HIDDEN, HIDDEN, 3))
    for name in STREAMED:
        (folder / name).write_bytes(WRITERS[name](gru.spec))
    for name in OF_TORCH if find_spec("torch") else ():
        write_of_torch(name, gru.spec, folder / name)
    gru.save(folder / "own")
    one = network(1376, 1024)  # two matrices of 16.9 and 12.6 MB
    GRU(one).save(folder / "one layer")
    GRU(rounded(one, "bfloat16")).save(folder / "bfloat16 numbers")
    gru.save(folder / "int8", precision="int8")
    Model(model_of(gru.spec, Dense(numbers(4, HIDDEN)))).save(folder / "model")
    whole = Model(model_of(gru.spec, Dense(numbers(9000, HIDDEN))))  # 23 MB beside the GRU's
    whole.save(folder / "whole")
    state = {f"gru.{name}": array for name, array in gru.state_dict().items()}
    (folder / "whole given").write_bytes(state_bytes(state | {"fc.weight": whole.spec.nodes[-1].layer.weight}))
    return folder


@has_proc
@pytest.mark.parametrize(
    ("name", "precision", "most"),
    [
        *((name, *most) for name in STREAMED for most in (("float32", 34), ("bfloat16", 19), ("int8", 12))),
        ("own", "int8", 12),
        ("one layer", "float32", 34),
        ("bfloat16 numbers", "float32", 34),
        ("int8", "stored", 12),
        ("int8", "float32", 34),
        *((name, "float32", 57) for name in ("whole", "whole given")),
        *((name, "int8", 35) for name in ("whole", "whole given")),
        ("model", "float32", 34),
        ("model", "bfloat16", 19),
        *((name, precision, most) for name in OF_TORCH for precision, most in (("float32", 34), ("int8", 12))),
    ],
)
def test_a_loaded_model_takes_its_weights_once_and_loading_little_more(
    name: str, precision: str, most: int, folder: Path
) -> None:
    if name in OF_TORCH:
        pytest.importorskip("torch")
    layers = json.dumps({"keras weights": KERAS_LAYERS, "whole given": ["gru", "fc"]}.get(name))
    command = [sys.executable, "-c", LOADED, str(folder / name), precision, layers]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    resident, peak, nbytes = json.loads(run.stdout)
    assert resident <= most * MB
    read = 29.5 * MB if name == "bfloat16 numbers" else nbytes  # as float32, to see that half of it is enough
    assert peak <= 1.3 * read + 16 * MIB
    assert resident <= nbytes + 4 * MIB  # nbytes says what it takes


def model_of(spec: GRUSpec, *more: Any) -> ModelSpec:
    return chain(GRULayer(spec), Last(), *more, shape=(None, spec.input_size))


def graph_model(spec: GRUSpec) -> Model:
    """A model of a graph of operations, which has no layers."""
    data, tensors = to_data(Model(model_of(spec))._graph)
    return Model(from_data(data, tensors.__getitem__, "here"))


MAKERS = {
    "gru": lambda **options: GRU(network(100, 200, 2, 2), **options),
    "reset before": lambda **options: GRU(network(100, 200, 2, reset_after=False), **options),
    "of no kernel": lambda **options: GRU(network(100, 200, 2, activation="elu"), **options),
    "model": lambda **options: Model(model_of(network(100, 200), Dense(numbers(3, 200))), **options),
    "cells": lambda **options: Model(
        chain(GRULayer(network(100, 200), (network(200, 150),)), shape=(None, 100)), **options
    ),
    "inside": lambda **options: Model(
        chain(TimeDistributed(model_of(network(100, 200))), shape=(None, 5, 100)), **options
    ),
    "graph": lambda precision="float32": graph_model(network(100, 200, 2)).astype(precision),
}


@pytest.mark.parametrize("precision", ["float32", "float64", *REDUCED])
@pytest.mark.parametrize("name", MAKERS)
def test_nothing_but_what_nbytes_counts_stays_in_memory(name: str, precision: Any) -> None:
    MAKERS[name](precision=precision)  # imports what it needs
    tracemalloc.start()
    try:
        model = MAKERS[name](precision=precision)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held <= model.nbytes + (200 << 10)
    if name == "gru":
        kept = precision if precision == "float64" else kernel_table().weight_kind(precision, 400)
        kept = packed_precision(model.spec, kept, kernel_table()) if kept == "float16" else kept
        assert model.nbytes <= {"float32": 1.1, "float64": 2.1, "int8": 0.4}.get(kept, 0.7) * 4 * 1_140_000


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(
    "layout", [Layout(16, 0, 1), Layout(8, 128, 1), Layout(4, 0, 1), Layout(16, 0, 16), Layout(1, 0, 1)]
)
def test_packed_matrices_are_unpacked_to_what_they_were(precision: str, reset_after: bool, layout: Layout) -> None:
    for hidden, inputs in ((1, 1), (2, 3), (16, 5), (17, 64), (33, 9), (50, 6), (90, 7)):
        numbers_, steps = reduce(numbers(3 * hidden, inputs), precision, "")
        gates = (3,) if reset_after else (2, 1)
        last = last_vectors(hidden, layout.vector_length) if reset_after else 0
        packed = PackedMatrix.of(numbers_, steps, precision, gates, layout, last)
        packed.check(layout, precision, (3 * hidden, inputs), gates, last)
        again, steps_again = packed.form()
        assert same_bits(again, numbers_) and again.dtype == numbers_.dtype
        assert (steps is None) == (steps_again is None)
        assert steps is None or steps_again is None or same_bits(steps_again, steps)
    assert set(PRECISIONS) == {"float32", *REDUCED}


@pytest.mark.parametrize("outputs", [1, 4, 15, 47, 48, 49, 100])
def test_packed_columns_are_unpacked_to_what_they_were(outputs: int) -> None:
    for length in (1, 4, 8, 16):
        weight = numbers(outputs, 7)
        assert same_bits(unpack_columns(pack_columns(weight, length), outputs, 7, length), weight)


@pytest.fixture(scope="module")
def files_of_torch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """A function from a kind of file to its bytes, which PyTorch writes once."""
    folder = tmp_path_factory.mktemp("torch")

    def content(kind: str) -> bytes:
        if not (folder / kind).exists():
            write_of_torch(kind, network(5, 19, 2, 2), folder / kind)
        return (folder / kind).read_bytes()

    return content


FILES = [*(name for name in WRITERS if name != "keras weights"), "own", "graph", "in float64", *OF_TORCH]


@pytest.fixture(params=FILES)
def path(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    files_of_torch: Callable[[str], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A GRU or a model in a file of one of these kinds, of which also small matrices are read when they are packed."""
    monkeypatch.setattr("fastgru.checkpoint.stored_matrix.LEAST", 1)
    path = tmp_path / "file"
    spec = network(5, 19, 2, 2, dtype=np.float64 if request.param == "in float64" else np.float32)
    if request.param in WRITERS:
        path.write_bytes(WRITERS[request.param](spec))
    elif request.param in OF_TORCH:
        pytest.importorskip("torch")
        path.write_bytes(files_of_torch(request.param))
    elif request.param == "graph":
        graph_model(spec).save(path)
    else:
        GRU(spec, precision="float64").save(path)
    return path


def results(model: GRU | Model) -> list[np.ndarray]:
    made = model(numbers(3, 9, 5))
    return [*made] if isinstance(made, tuple) else [made]


def same(one: GRU | Model, other: GRU | Model) -> bool:
    return all(map(same_bits, results(one), results(other)))


def copies(model: Any) -> Iterator[Any]:
    yield model
    yield copy.copy(model)
    yield copy.deepcopy(model)
    yield pickle.loads(pickle.dumps(model))
    yield model.astype(model.precision)


@pytest.mark.parametrize("precision", REDUCED)
def test_a_loaded_model_goes_back_to_what_its_file_has(precision: Any, path: Path, tmp_path: Path) -> None:
    whole = fastgru.load(path)
    double = fastgru.load(path, precision="float64")
    whole.save(tmp_path / "wanted")
    for model in copies(fastgru.load(path, precision=precision)):
        assert same(model, fastgru.load(path, precision=precision))
        assert same(model.astype("float32"), whole) and same(model.astype("float64"), double)
        for other in REDUCED:
            assert same(model.astype(other), whole.astype(other))
        model.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "wanted").read_bytes()
        if isinstance(model, GRU):
            assert all(map(same_bits, model.state_dict().values(), whole.state_dict().values()))
            assert model.spec == whole.spec and same_bits(model.spec.layers[1][1].w_hh, whole.spec.layers[1][1].w_hh)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_what_was_not_rounded_needs_no_file(precision: Any, path: Path, tmp_path: Path) -> None:
    model, exact = fastgru.load(path, precision=precision), fastgru.load(path, precision="float64")
    if precision == "float32" and any(array.dtype == np.float64 for array in fastgru.read(path).values()):
        pytest.skip("float64 is rounded to float32")
    path.unlink()
    for each in copies(model):
        assert same(each.astype("int8"), exact.astype("int8")) and same(each.astype("float64"), exact)
        each.save(tmp_path / "again")
        assert same(fastgru.load(tmp_path / "again", precision="float64"), exact)


@pytest.mark.parametrize("precision", REDUCED)
def test_a_file_that_is_gone_or_was_changed_is_said_to_be(precision: Any, path: Path, tmp_path: Path) -> None:
    model = fastgru.load(path, precision=precision)
    before = results(model)
    spec = network(5, 19, 2, 2, seed=5)
    for words, change in (
        ("was changed", lambda: GRU(spec).save(path)),
        ("was changed", lambda: GRU(network(5, 19, 1, 2)).save(path)),  # with fewer matrices
        (r"are read again: .*file: .*; put the file back", lambda: path.write_bytes(path.read_bytes()[:-9])),
        ("there is no such file", path.unlink),
    ):
        change()
        for each in copies(model):
            for ask in (lambda: each.astype("float32"), lambda: each.save(tmp_path / "again")):  # noqa: B023
                with pytest.raises(CheckpointError, match=words):
                    ask()
            assert all(map(same_bits, results(each), before))
    assert not (tmp_path / "again").exists()
    model.save(tmp_path / "kept", precision=precision)
    assert same(fastgru.load(tmp_path / "kept", precision="stored"), model)


def test_the_same_weights_in_another_file_are_those_that_were_rounded(path: Path, tmp_path: Path) -> None:
    whole = fastgru.load(path)
    for change in (
        path.touch,
        lambda: path.write_bytes(path.read_bytes()),
        lambda: (path.write_bytes(b"other"), shutil.copy2(tmp_path / "kept", path)),
        lambda: os.replace(shutil.copy(tmp_path / "kept", tmp_path / "moved"), path),
    ):
        shutil.copy(path, tmp_path / "kept")
        for model in copies(fastgru.load(path, precision="bfloat16")):
            change()
            assert same(model.astype("float32"), whole)


@pytest.mark.parametrize("precision", REDUCED)
def test_other_weights_that_are_rounded_to_the_same_are_not_taken_for_those_of_the_model(
    precision: Any, tmp_path: Path
) -> None:
    """In the place of the file, with its size and its time."""
    path, spec = tmp_path / "file", network(5, 90)
    GRU(spec).save(path)
    model, was = fastgru.load(path, precision=precision), path.stat()
    content = bytearray(path.read_bytes())
    weights = fastgru.read(path)["w_hh_l0"]
    place = content.index(weights.tobytes()) + 4 * 5_000
    content[place] ^= 1  # the last bit of one of them
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (was.st_ino, was.st_size, was.st_mtime_ns) == (path.stat().st_ino, len(content), path.stat().st_mtime_ns)
    assert same(fastgru.load(path, precision=precision), model)
    for each in copies(model):
        with pytest.raises(CheckpointError, match=r"file: it was changed .*: weight_hh_l0 has other weights now"):
            each.astype("float32")


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 64), (128, 128), (333, 77)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_bit_of_a_matrix_changes_its_checksum(shape: tuple[int, int], dtype: Any) -> None:
    matrix = numbers(*shape, dtype=dtype)
    before = checksum_of(matrix)
    assert checksum_of(np.asfortranarray(matrix)) == before == checksum_of(matrix.copy())
    content = matrix.reshape(-1).view(np.uint8)
    for place in {*range(0, content.size, 997), content.size - 1}:
        content[place] ^= 1 << place % 8
        assert checksum_of(matrix) != before
        content[place] ^= 1 << place % 8


@pytest.mark.parametrize("precision", REDUCED)
def test_a_model_is_not_saved_over_the_only_file_that_has_its_weights(
    precision: Any, path: Path, tmp_path: Path
) -> None:
    whole, content = fastgru.load(path), path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    for model in copies(fastgru.load(path, precision=precision)):
        for name in (path, tmp_path / "link"):
            for options in ({"precision": precision}, {"precision": "int8"}, {"precision": "bfloat16", "packed": True}):
                with pytest.raises(FastGRUError, match=r"alone has .*_l0 .*under another name .* without a precision"):
                    model.save(name, **options)
        assert path.read_bytes() == content
        model.save(tmp_path / "other", precision=precision)
    model.save(path)  # which keeps them
    assert same(fastgru.load(path), whole)
    (tmp_path / "other").replace(path)
    assert same(fastgru.load(path, precision="stored"), model)


@pytest.mark.parametrize("part", [None, "ema"])
def test_a_model_of_named_layers_finds_its_weights_where_it_was_saved_over_their_file(
    part: str | None, tmp_path: Path
) -> None:
    state = {f"gru.{name}": array for name, array in network(5, 128).state_dict().items()}
    state["fc.weight"] = numbers(130, 128)
    path, layers = tmp_path / "file", ["gru", "fc"]
    path.write_bytes(state_bytes(state, part))
    wide, model = (fastgru.load(path, part=part, layers=layers, precision=kind) for kind in ("float32", "int8"))
    model.save(path)
    for each in copies(model):
        assert same(each.astype("float32"), wide)
        each.save(path)
    path.write_bytes(b"another")
    with pytest.raises(CheckpointError, match="put the file back"):
        model.astype("float32")


def test_a_model_that_lost_nothing_is_saved_over_its_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    GRU(network(5, 19, dtype=np.float64)).save(path)
    with pytest.raises(FastGRUError, match="in float32 they would be lost"):
        fastgru.load(path).save(path, precision="float32")
    fastgru.load(path).save(path)
    assert fastgru.read(path)["w_hh_l0"].dtype == np.float64
    fastgru.load(path, precision="float64").save(path, precision="int8")
    model = fastgru.load(path, precision="stored")
    model.save(path, precision="int8")
    assert model.precision == "int8" and same(fastgru.load(path, precision="stored"), model)
    GRU(network(5, 19)).save(path, precision="bfloat16")
    fastgru.load(path, precision="int8").save(path, precision="bfloat16")  # has all that the file had


@pytest.mark.parametrize("precision", REDUCED)
def test_a_file_that_has_the_rounded_weights_is_not_needed_again(precision: Any, tmp_path: Path) -> None:
    GRU(network(5, 19, 2, reset_after=False)).save(tmp_path / "file", precision=precision)
    gru, wide = fastgru.load(tmp_path / "file", precision="stored"), fastgru.load(tmp_path / "file")
    (tmp_path / "file").unlink()
    for each in copies(gru):
        assert same(each.astype("float32"), wide)
        assert same_bits(each.spec.layers[1][0].w_hh, wide.spec.layers[1][0].w_hh)


def test_rounded_weights_of_live_objects_are_gone_and_that_is_said() -> None:
    spec = network(3, 5)
    for model in (GRU(spec, precision="int8"), Model(model_of(spec), precision="int8")):
        for each in copies(model):
            with pytest.raises(
                UnsupportedModelError, match="weight_ih_l0: it was given in float32 and is kept in int8"
            ):
                each.astype("float32")


def test_float64_is_kept_beside_float32_that_nobody_asked_for(tmp_path: Path) -> None:
    spec = network(30, 50, dtype=np.float64)
    gru = GRU(spec)
    assert gru.nbytes > GRU(network(30, 50)).nbytes + 8 * 3 * 50 * (30 + 50)
    for each in copies(gru):
        assert same_bits(each.astype("float64")(numbers(4, 30))[0], GRU(spec, precision="float64")(numbers(4, 30))[0])
        assert each.spec == spec
    exact = GRU(network(30, 50)).astype("float64")
    assert exact.nbytes < 2.1 * 4 * 3 * 50 * (30 + 50)  # float32 that is computed with in float64


def test_rows_of_a_table_count_when_they_were_multiplied() -> None:
    layers = [("words", Embedding(numbers(1000, 32))), ("gru", GRULayer(network(32, 64)))]
    model = Model(sequential(layers))
    before = model.nbytes
    for _ in range(3):
        model(np.zeros((1, 8), np.int64))
    assert before + 4 * 3 * 64 <= model.nbytes <= before + 2 * 4 * 3 * 64


def test_a_gru_whose_output_nobody_uses_is_in_memory_when_its_file_is_gone(tmp_path: Path) -> None:
    """Nothing packs it; saving and looking at it must not depend on the file that it was loaded from."""
    nodes = (Node("unused", GRULayer(network(5, 19)), ("x",)), Node("y", Activation("relu"), ("x",)))
    spec = ModelSpec((Input("x", (None, 5)),), nodes, ("y",))
    Model(spec).save(tmp_path / "model")
    model = fastgru.load(tmp_path / "model")
    (tmp_path / "model").unlink()
    model.save(tmp_path / "again")
    assert fastgru.load(tmp_path / "again").spec == model.spec == spec
