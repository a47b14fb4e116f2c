"""Promises of ``save(packed=True)``: a file that all processes compute from, and that is refused when it is damaged."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bounds import ending, in_little_memory
from layer_examples import chain
from networks import network, numbers, same_bits
from safetensors import safe_open
from test_memory import copies, graph_model, has_proc, model_of, same

import fastgru
from fastgru import GRU, CheckpointError, FastGRUError, Model, UnsupportedModelError
from fastgru.checkpoint.packed_file import plain_matrix
from fastgru.command.cli import main
from fastgru.engine import dispatch
from fastgru.engine.pack import last_vectors
from fastgru.engine.packed import AS_BFLOAT16, PackedMatrix
from fastgru.errors import PackedAgainWarning
from fastgru.gru_plan import packed_precision
from fastgru.layers import Dense
from fastgru.options import kernel_table
from fastgru.saved import saving

PRECISIONS = ["float32", "float16", "bfloat16", "int8"]
KERNELS = pytest.mark.skipif(kernel_table().vector_length == 1, reason="these kernels pack nothing")
pytestmark = KERNELS
X = numbers(3, 9, 5)

MAKERS: dict[str, Callable[..., Any]] = {
    "gru": lambda **options: GRU(network(5, 19, 2, 2), **options),
    "reset before": lambda **options: GRU(network(5, 33, reset_after=False, bias=False), **options),
    "model": lambda **options: Model(model_of(network(5, 7), Dense(numbers(3, 7, dtype=np.float64))), **options),
    "graph": lambda precision="float32": graph_model(network(5, 17, 2)).astype(precision),
}


def can_pack(precision: str) -> bool:
    return kernel_table().weight_kind(packed_precision(network(5, 19), precision, kernel_table()), 8) == precision


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Any:
    if not can_pack(request.param):
        pytest.skip("these kernels keep so few units of it in float32")
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A packed GRU of two layers in int8, whose units are no whole vectors."""
    GRU(network(5, 19, 2), precision="int8").save(tmp_path / "packed", packed=True)
    return tmp_path / "packed"


def stacks_of(model: Any) -> list[Any]:
    """The plans of a model."""
    if isinstance(model, GRU):
        return [model._plan]
    return [each._plan for each in model._runner.setup.made() if isinstance(each, GRU)]


@pytest.mark.parametrize("name", MAKERS)
def test_it_is_loaded_as_the_model_that_was_saved_and_computes_from_the_file(
    name: str, precision: Any, tmp_path: Path
) -> None:
    model = MAKERS[name](precision=precision)
    model.save(tmp_path / "packed", packed=True)
    again = fastgru.load(tmp_path / "packed", precision="stored")
    assert again.precision == precision and repr(again) == repr(model)
    for plan in stacks_of(again):
        for matrix in (matrix for pair in plan.packed for matrix in pair):
            assert all(not array.flags.writeable and not array.flags.owndata for array in matrix.arrays)
    MAKERS[name]().save(tmp_path / "other", packed=True, precision=precision)
    assert (tmp_path / "other").read_bytes() == (tmp_path / "packed").read_bytes()
    model.save(tmp_path / "plain", precision=precision)
    plain = fastgru.load(tmp_path / "plain", precision="stored")
    for each in copies(again):
        assert same(each, model)
        for other in ("float32", "float64", *PRECISIONS):
            assert same(each.astype(other), plain.astype(other))
    assert same(fastgru.load(tmp_path / "packed"), fastgru.load(tmp_path / "plain"))
    again.save(tmp_path / "again", packed=True)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "packed").read_bytes()


def test_halves_of_a_layer_that_is_large_enough_for_them_lie_in_the_file(tmp_path: Path) -> None:
    """Smaller ones are float32 where the kernels are faster so, and the tests above leave float16 out there."""
    model = GRU(network(5, 900), precision="float16")
    if kernel_table().weight_kind("float16", 900) != "float16":
        with pytest.raises(UnsupportedModelError, match="packed=True"):
            model.save(tmp_path / "packed", packed=True)
        return
    model.save(tmp_path / "packed", packed=True)
    again = fastgru.load(tmp_path / "packed", precision="stored")
    assert again.precision == "float16" and same(again, model)
    assert [matrix.kind for pair in again._plan.packed for matrix in pair] == ["float16"] * 2


def test_its_arrays_can_be_read_and_it_is_a_safetensors_file(precision: Any, tmp_path: Path) -> None:
    model = MAKERS["model"](precision=precision)
    model.save(tmp_path / "packed", packed=True)
    model.save(tmp_path / "plain", precision=precision)
    packed, plain = fastgru.read(tmp_path / "packed"), fastgru.read(tmp_path / "plain")
    assert packed.keys() == plain.keys() and packed.stored == {
        name: kind for name, kind in plain.stored.items() if "w_" in name or "weight_" in name
    }
    for name, array in packed.items():
        assert array.shape == plain[name].shape
        assert np.array_equal(array, plain[name]) or array.dtype == np.float64
    with safe_open(tmp_path / "packed", "np") as file:
        assert set(file.keys()) == set(packed) and file.metadata()["fastgru.format"] == "4"


def test_a_matrix_that_does_not_begin_at_a_whole_number_is_no_part_of_the_file() -> None:
    content = np.arange(20, dtype=np.uint8)
    assert plain_matrix(content, 2, (2, 1)) is None
    found = plain_matrix(content, 4, (2, 2))
    assert found is not None and same_bits(found, content[4:].view(np.float32).reshape(2, 2))


def test_the_commands_take_it(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path)]) == 0
    matrices = [each for pair in fastgru.load(path, precision="stored")._plan.packed for each in pair]
    size = sum(array.nbytes for each in matrices for array in each.arrays)
    shown = f"packed      {size / 1000:.3g} kB of int8 for the kernels '{kernel_table().name}'; those here read it as"
    assert shown in capsys.readouterr().out
    assert main(["convert", str(path), str(tmp_path / "converted.safetensors"), "--precision", "int8"]) == 0
    one, other = (fastgru.load(each, precision="stored") for each in (path, tmp_path / "converted.safetensors"))
    assert same(one, other)
    assert main(["verify", str(path), "--precision", "int8"]) == 0


def test_a_changed_byte_is_refused_wherever_it_is(path: Path) -> None:
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    places = {*range(0, header, 3), *range(header, len(content), 61), len(content) - 1}
    for place in sorted(places):
        damaged = bytearray(content)
        damaged[place] ^= 0x21
        path.write_bytes(damaged)
        with pytest.raises(FastGRUError):
            fastgru.load(path, precision="stored")


@pytest.mark.slow
def test_each_bit_of_each_byte_is_looked_at(path: Path) -> None:
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(FastGRUError):
            fastgru.load(path, precision="stored")


def test_a_file_that_was_cut_or_made_longer_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for changed in (content[:-1], content[:-64], content[: len(content) // 2], content + b"\0", content + bytes(64)):
        path.write_bytes(changed)
        with pytest.raises(CheckpointError):
            fastgru.load(path, precision="stored")


def resigned(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with another description of how it is packed, and the checksum that it then has."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    packed = json.loads(header["__metadata__"]["fastgru.packed"])
    change(packed)
    header["__metadata__"]["fastgru.packed"] = json.dumps(packed, separators=(",", ":"))
    header["__metadata__"]["fastgru.crc32"] = "0" * 8
    start = json.dumps(header, separators=(",", ":")).encode()
    start += b" " * (-(8 + len(start)) % 64)
    made = bytearray(len(start).to_bytes(8, "little") + start + content[8 + length :])
    place = made.index(b'"fastgru.crc32":"') + len('"fastgru.crc32":"')
    made[place : place + 8] = f"{zlib.crc32(made):08x}".encode()
    return bytes(made)


def each_matrix(packed: dict[str, Any], change: Callable[[list[Any]], Any]) -> None:
    packed["matrices"] = {name: change(row) for name, row in packed["matrices"].items()}


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no matrices": lambda packed: packed.update(matrices={}),
    "matrices of a list": lambda packed: packed.update(matrices=[]),
    "a matrix that is not there": lambda packed: packed["matrices"].update(more=[57, 5, 3]),
    "a matrix that is left out": lambda packed: packed["matrices"].popitem(),
    "more rows": lambda packed: each_matrix(packed, lambda row: [row[0] + 3 * 48, *row[1:]]),
    "fewer rows": lambda packed: each_matrix(packed, lambda row: [row[0] - 30, *row[1:]]),
    "rows within the padding": lambda packed: each_matrix(packed, lambda row: [row[0] + 3, *row[1:]]),
    "more inputs": lambda packed: each_matrix(packed, lambda row: [row[0], row[1] + 100, *row[2:]]),
    "inputs within a word": lambda packed: each_matrix(packed, lambda row: [row[0], row[1] + 1, *row[2:]]),
    "a size below zero": lambda packed: each_matrix(packed, lambda row: [-row[0], -row[1], *row[2:]]),
    "no rows": lambda packed: each_matrix(packed, lambda row: [0, *row[1:]]),
    "huge sizes": lambda packed: each_matrix(packed, lambda row: [3 << 60, 1 << 60, *row[2:]]),
    "a truth for a size": lambda packed: each_matrix(packed, lambda row: [True, *row[1:]]),
    "text for a size": lambda packed: each_matrix(packed, lambda row: ["57", *row[1:]]),
    "gates of nothing": lambda packed: each_matrix(packed, lambda row: [*row[:2], 1, 2]),
    "other vectors at the end": lambda packed: each_matrix(packed, lambda row: [*row[:2], 9 - row[2], *row[3:]]),
    "no gates": lambda packed: each_matrix(packed, lambda row: row[:2]),
    "a row that is none": lambda packed: each_matrix(packed, lambda row: {}),
    "another kind": lambda packed: packed.update(kind="float32"),
    "another small kind": lambda packed: packed.update(kind="bfloat16"),
    "an unknown kind": lambda packed: packed.update(kind="int4"),
    "a kind that is no text": lambda packed: packed.update(kind=["int8"]),
    "kinds that are none": lambda packed: packed.update(kinds=3),
    "kinds of another precision": lambda packed: packed.update(kinds=dict.fromkeys(packed["matrices"], AS_BFLOAT16)),
    "an unknown kind of one": lambda packed: packed.update(kind="float32", kinds={"a": "int4"}),
    "a kind of one that is no text": lambda packed: packed.update(kind="float32", kinds={"a": {}}),
    "short kinds": lambda packed: packed.update(kind="float32", kinds=dict.fromkeys(packed["matrices"], AS_BFLOAT16)),
    "longer vectors": lambda packed: packed["layout"].update(vector_length=64),
    "vectors of nothing": lambda packed: packed["layout"].update(vector_length=0),
    "huge vectors": lambda packed: packed["layout"].update(vector_length=1 << 70),
    "huge tiles": lambda packed: packed["layout"].update(tile_words=1 << 70),
    "a zero far away": lambda packed: packed["layout"].update(input_zero=1 << 40),
    "a layout without tiles": lambda packed: packed["layout"].pop("tile_words"),
    "no layout": lambda packed: packed.update(layout=None),
    "no level": lambda packed: packed.pop("level"),
    "no number": lambda packed: packed.pop("number"),
    "a number that is none": lambda packed: packed.update(number="1"),
    "another number": lambda packed: packed.update(number=0),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_with_a_right_checksum_ends_in_an_error(lie: str, path: Path) -> None:
    path.write_bytes(resigned(path.read_bytes(), LIES[lie]))
    with in_little_memory(), pytest.raises((CheckpointError, UnsupportedModelError)):
        fastgru.load(path, precision="stored")


def test_gates_that_fit_as_well_give_other_numbers_and_no_harm(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgru.load_warnings._warned_of_packing", True)
    GRU(network(5, 16, 2), precision="int8").save(path, packed=True)
    path.write_bytes(resigned(path.read_bytes(), lambda packed: each_matrix(packed, lambda row: [*row[:2], 0, 2, 1])))
    assert fastgru.load(path, precision="stored")(X)[0].shape == (3, 9, 16)


@pytest.mark.parametrize("lie", [lambda packed: packed.update(level="x" * 100), lambda packed: packed.update(more=1)])
def test_what_changes_nothing_is_no_lie(lie: Any, path: Path) -> None:
    other = path.with_name("other")  # what is mapped must not be written into
    other.write_bytes(resigned(path.read_bytes(), lie))
    assert same(fastgru.load(other, precision="stored"), fastgru.load(path, precision="stored"))


def test_an_order_of_later_versions_is_refused_with_what_to_do(path: Path) -> None:
    path.write_bytes(resigned(path.read_bytes(), lambda packed: packed.update(number=3)))
    with pytest.raises(UnsupportedModelError, match="install a newer fastgru"):
        fastgru.load(path, precision="stored")


@pytest.mark.parametrize("values", [np.float32(np.nan), np.float32(np.inf), np.uint32(0xFFFFFFFF).view(np.float32)])
def test_any_numbers_in_it_give_a_result(values: Any, path: Path) -> None:
    content = path.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    path.write_bytes(
        resigned(content[:length] + np.full((len(content) - length) // 4, values).tobytes(), lambda _: None)
    )
    made = ending(fastgru.load, path)
    for model in (fastgru.load(path, precision="stored"), made):
        assert model(X)[0].shape == (3, 9, 19)


@pytest.mark.parametrize("make", [
    lambda: GRU(network(3, 5), precision="float64"),
    lambda: GRU(network(3, 5), backend="blas"),
    lambda: GRU(network(3, 5, activation="elu")),
    lambda: Model(chain(Dense(np.ones((2, 4), np.float32)))),
])  # fmt: skip
def test_what_these_kernels_do_not_pack_is_said(make: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"packed=True: .* packed in float(32|64) by the kernels"):
        make().save(tmp_path / "packed", packed=True)
    assert not (tmp_path / "packed").exists()


def test_a_file_that_is_replaced_stays_with_those_who_use_it(path: Path) -> None:
    model = fastgru.load(path, precision="stored")
    before = model(X)[0]
    GRU(network(5, 40, seed=3), precision="int8").save(path, packed=True)
    path.unlink()
    assert same_bits(model(X)[0], before)
    assert same(pickle.loads(pickle.dumps(model)), model)


OTHER = """
import sys, warnings
import numpy as np, fastgru
from fastgru.options import kernel_table
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    models = [fastgru.load(path, precision="stored") for path in (sys.argv[1], sys.argv[1], sys.argv[2])]
x = np.load(sys.argv[3])
results = [model(x)[0] for model in models]
same = all((each == results[2]).all() for each in results)
table = kernel_table()
print(table.name, same, len(caught), [each.category.__name__ for each in caught], *table.layout)
"""


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("level", [level for level in dispatch.available() if level != "amx"])
def test_other_kernels_pack_it_again_and_say_so_once(level: str, precision: Any, tmp_path: Path) -> None:
    gru = GRU(network(5, 19, 2, 2), precision=precision)
    gru.save(tmp_path / "packed", packed=True)
    gru.save(tmp_path / "plain", precision=precision)
    np.save(tmp_path / "x.npy", X)
    arguments = [str(tmp_path / name) for name in ("packed", "plain", "x.npy")]
    environment = {**os.environ, "FASTGRU_ISA": level}
    run = subprocess.run(
        [sys.executable, "-c", OTHER, *arguments], env=environment, check=True, capture_output=True, text=True
    )
    name, agrees, count, category, *layout = run.stdout.split()
    assert (name, agrees) == (level, "True")
    if layout == [str(each) for each in kernel_table().layout]:
        assert count == "0"
    else:
        assert (count, category) == ("1", "['PackedAgainWarning']")


def as_other_kernels_pack(path: Path, monkeypatch: pytest.MonkeyPatch) -> GRU:
    """A file of kernels of the same layout that join the last blocks of units if those here do not, or the reverse."""
    table = kernel_table()
    gru = GRU(network(5, table.vector_length + 1), precision="int8")
    own = table.last_vectors(gru.hidden_size)
    last = 0 if own else last_vectors(gru.hidden_size, table.vector_length)
    assert last != own
    packed = saving._packed

    def otherwise(*arguments: Any) -> dict[str, PackedMatrix]:
        return {
            name: PackedMatrix.of(*each.form(), each.kind, each.gates, each.layout, last)
            for name, each in packed(*arguments).items()
        }

    with monkeypatch.context() as patch:
        patch.setattr(saving, "_packed", otherwise)
        gru.save(path, packed=True)
    path.write_bytes(resigned(path.read_bytes(), lambda packed: packed.update(level="others")))
    return gru


def test_kernels_of_the_same_layout_that_join_other_blocks_say_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "packed"
    gru = as_other_kernels_pack(path, monkeypatch)
    monkeypatch.setattr("fastgru.load_warnings._warned_of_packing", False)
    with pytest.warns(PackedAgainWarning, match="packed for kernels as those of 'others', and those here"):
        model = fastgru.load(path, precision="stored")
    assert same(model, gru) and same(fastgru.load(path, precision="stored"), gru)  # said once
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"for the kernels 'others'; those here, '{kernel_table().name}', pack it again" in shown
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["packed"]
    assert (found["precision"], found["kernels"], found["read_as_it_lies"]) == ("int8", "others", False)


def computed(path: str) -> np.ndarray:
    return fastgru.load(path, precision="stored")(X)[0]


def test_workers_that_are_spawned_compute_the_same(path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(computed, [str(path)] * 4)
    wanted = fastgru.load(path, precision="stored")(X)[0]
    assert all(same_bits(result, wanted) for result in results)


WORKER = """
import sys
import numpy as np
import fastgru, fastgru.checkpoint.reading, fastgru.importers.resolve, fastgru.importers.whole.native
import fastgru.checkpoint.packed_file

def shared():
    with open("/proc/self/smaps_rollup") as parts:
        return sum(int(line.split()[1]) for line in parts if line.startswith("Pss:")) * 1024

def turn(said):
    print(said, flush=True)
    sys.stdin.readline()

turn("here")
turn(shared())
model = fastgru.load(sys.argv[1])
model(np.zeros((1, 2, model.input_size), np.float32))
turn("loaded")
turn(shared())
"""


@has_proc
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="nothing says how much memory is shared")
def test_eight_workers_have_one_copy(tmp_path: Path) -> None:
    """29.5 MB of weights, which in a process each would be 240 MB."""
    GRU(network(640, 640, 3)).save(tmp_path / "packed", packed=True)
    command = [sys.executable, "-c", WORKER, str(tmp_path / "packed")]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]

    def turn() -> list[str]:
        said = [worker.stdout.readline() for worker in workers]  # type: ignore[union-attr]
        for worker in workers:
            worker.stdin.write("\n")  # type: ignore[union-attr]
            worker.stdin.flush()  # type: ignore[union-attr]
        return said

    try:
        turn()
        before = sum(map(int, turn()))
        turn()
        after = sum(map(int, turn()))
    finally:
        for worker in workers:
            worker.communicate(timeout=60)
    assert after - before <= 45 * 10**6
