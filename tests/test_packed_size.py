"""What is said of memory: the sizes from shapes are those of what is packed, and reduced weights take their share."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_examples import chain
from networks import SMALL, network, rounded
from safetensors.numpy import save_file

import fastgru
from fastgru import GRU, Model, UnsupportedModelError
from fastgru.command.cli import main
from fastgru.command.packed_size import packed_bytes, packed_sizes
from fastgru.layers import Activation, Dense, GRULayer, GRUSpec, Input, Last, ModelSpec, Node, TimeDistributed
from fastgru.options import PRECISIONS, kernel_table

GRU_256 = network(64, 256)


def with_weight(spec: GRUSpec, value: float) -> GRUSpec:
    """The same stack with one other recurrent weight."""
    weights = spec.layers[0][0]
    w_hh = weights.w_hh.copy()
    w_hh[1, 0] = value
    return spec.replace(layers=((weights.replace(w_hh=w_hh), *spec.layers[0][1:]), *spec.layers[1:]))


def _as_type(weights: Any, dtype: type) -> Any:
    names = ("w_ih", "w_hh", "b_ih", "b_hh")
    return weights.replace(**{name: getattr(weights, name).astype(dtype) for name in names})


def packed(gru: GRU) -> int:
    """Bytes of what the engine has."""
    return gru._plan.nbytes


def saved(spec: GRUSpec, folder: Path) -> str:
    path = str(folder / "gru.safetensors")
    GRU(spec).save(path)
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sizes_from_shapes_are_those_of_what_is_packed(precision: str) -> None:
    for hidden, reset_after in product(SMALL, (True, False)):
        spec = network(5, hidden, reset_after=reset_after)
        assert packed_bytes(spec, precision) == packed(GRU(spec, precision=precision))
    odd = network(4, 9, activation=Activation("elu"), reset_after=False)
    for spec in (network(17, 33, 3, 2), network(4, 9, activation=Activation("elu")), odd, network(7, 20, bias=False)):
        assert packed_bytes(spec, precision) == packed(GRU(spec, precision=precision))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_that_are_bfloat16_take_what_they_take(precision: str, dtype: type) -> None:
    for reset_after in (True, False):
        mixed = network(70, 80, 2, reset_after=reset_after)
        exact = rounded(mixed, "bfloat16")
        for layers in (exact.layers, (exact.layers[0], mixed.layers[1]), mixed.layers):
            as_given = [[_as_type(each, dtype) for each in layer] for layer in layers]
            spec = exact.replace(layers=tuple(map(tuple, as_given)))
            assert packed_bytes(spec, precision) == packed(GRU(spec, precision=precision))


@pytest.mark.skipif(kernel_table().vector_length == 1, reason="these kernels pack nothing")
def test_of_a_packed_file_the_precision_is_said_and_not_how_it_is_kept(tmp_path: Path, capsys: Any) -> None:
    GRU(rounded(network(70, 80, 2), "bfloat16")).save(tmp_path / "packed", packed=True)
    main(["inspect", str(tmp_path / "packed"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["packed"]["precision"] == "float32" and found["packed"]["read_as_it_lies"]
    assert "as_bfloat16" not in json.dumps({key: each for key, each in found.items() if key != "metadata"})
    read = fastgru.read(tmp_path / "packed")
    assert set(read.stored.values()) <= {"float32"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_has_the_bytes_of_all_its_grus_once(precision: str) -> None:
    shared, other, inner = network(6, 6), network(6, 12, seed=1), network(3, 5)
    layer = GRULayer(shared)
    cells = GRULayer(network(12, 4), above=(network(4, 8),))
    nodes = [
        Node("once", layer, ("x",)),
        Node("again", layer, ("once",)),
        Node("other", GRULayer(other), ("again",)),
        Node("cells", cells, ("other",)),
        Node("out", Dense(np.ones((2, 8), np.float32)), ("cells",)),
    ]
    model = Model(ModelSpec((Input("x", (None, 6)),), tuple(nodes), ("out",)), precision=precision)
    wanted = sum(packed(GRU(spec, precision=precision)) for spec in (shared, other, cells.gru, *cells.above))
    assert model.nbytes > packed_bytes(model.spec, precision) == wanted

    step = chain(GRULayer(inner), Last(), shape=(None, 3))
    nested = Model(chain(TimeDistributed(step), GRULayer(network(5, 7)), shape=(None, 4, 3)), precision=precision)
    wanted = sum(packed(GRU(spec, precision=precision)) for spec in (inner, network(5, 7)))
    assert nested.nbytes > packed_bytes(nested.spec, precision) == wanted


def test_a_model_without_a_gru_has_no_packed_ones() -> None:
    spec = chain(Dense(np.ones((2, 3), np.float32)), shape=(None, 3))
    assert packed_bytes(spec, "int8") == 0 < Model(spec).nbytes


def test_an_unknown_precision_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UnsupportedModelError, match="float32, float64, float16, bfloat16, int8"):
        packed_bytes(GRU_256, "float8")


@pytest.mark.parametrize(
    ("value", "refused"),
    [(7e4, ["float16"]), (np.nan, ["int8"]), (np.inf, ["int8"]), (65519, []), (65520, ["float16"])],
)
def test_a_weight_that_cannot_be_reduced_is_named_as_packing_names_it(value: float, refused: list[str]) -> None:
    spec = with_weight(network(3, 4, 2, 2), value)
    sizes = packed_sizes([spec])
    assert [precision for precision, size in sizes.items() if isinstance(size, str)] == refused
    for precision in refused:
        with pytest.raises(UnsupportedModelError) as error:
            GRU(spec, precision=precision)
        assert sizes[precision] == str(error.value)
        assert "weight_hh_l0" in sizes[precision]


@pytest.mark.parametrize("value", [3.38e38, 3.396e38, 3.4e38, -3.4e38, 1e300, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sizes_are_promised_for_no_precision_that_is_refused(value: float, dtype: type) -> None:
    weight = value if dtype is np.float64 else float(np.clip(value, -3.4e38, 3.4e38))
    spec = with_weight(network(3, 4, dtype=dtype), weight)
    sizes = packed_sizes([spec])
    for precision in ("float16", "bfloat16", "int8"):
        got: int | str
        try:
            got = packed(GRU(spec, precision=precision))
        except UnsupportedModelError as error:
            got = str(error)
        assert sizes[precision] == got


@pytest.mark.parametrize("place", ["layer 'second': ", "layer 'cells, cell 1': "])
def test_such_a_weight_of_a_model_is_named_with_its_layer(place: str) -> None:
    """By what packs it and by what tells the sizes, the first of several in both."""
    large, sound = with_weight(network(4, 4), 7e4), network(4, 4)
    second = GRULayer(large if "second" in place else sound)
    cells = GRULayer(sound, above=(large,))
    nodes = [Node("first", GRULayer(sound), ("x",)), Node("second", second, ("first",))]
    nodes += [Node("cells", cells, ("second",)), Node("again", second, ("cells",))]
    model = Model(ModelSpec((Input("x", (None, 4)),), tuple(nodes), ("again",)))
    with pytest.raises(UnsupportedModelError) as error:
        model.astype("float16")
    assert str(error.value).startswith(f"{place}weight_hh_l0: got 1 weights beyond float16")
    assert packed_sizes([model.spec])["float16"] == str(error.value)


def test_reduced_weights_take_their_share_of_the_memory() -> None:
    whole = packed(GRU(GRU_256))
    table = kernel_table()  # what no kernel converts, or none fast enough, is widened when packed
    halves = table.weight_kind("float16", 256) == "float16" and table.half_bytes <= 8 * 768 * 256
    assert packed(GRU(GRU_256, precision="float16")) <= (0.52 if halves else 1) * whole
    assert packed(GRU(GRU_256, precision="bfloat16")) <= 0.52 * whole
    assert packed(GRU(GRU_256, precision="int8")) <= 0.30 * whole


def test_inspect_prints_the_bytes_of_each_precision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastgru.gru_plan.Plan", None)  # nothing is packed for it
    path = str(tmp_path / "gru.safetensors")
    tensors = {"gru.weight_ih": np.full((768, 64), 0.1, "f4"), "gru.weight_hh": np.full((768, 256), 0.1, "f4")}
    save_file(tensors, path)
    assert main(["inspect", path]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "GRU weights in memory" in line]
    assert "float32 989 kB" in line and "float64 1.98 MB" in line
    assert main(["inspect", path, "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)["packed_gru_weights"]
    assert sizes == {precision: packed_bytes(GRU_256, precision) for precision in PRECISIONS}


def test_inspect_says_which_precision_is_not_possible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(with_weight(network(3, 4), 1e6), tmp_path)
    assert main(["inspect", path]) == 0
    assert "float16 not possible: weight_hh_l0: got 1 weights beyond float16, as 1e+06" in capsys.readouterr().out
    assert main(["inspect", path, "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)["packed_gru_weights"]
    assert "weight_hh_l0" in sizes["float16"] and isinstance(sizes["int8"], int)


@pytest.mark.parametrize("tensors", [{"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2)}, {"fc.weight": (4, 2)}])
def test_a_file_without_a_gru_says_nothing_of_it(
    tensors: dict[str, tuple[int, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "other.safetensors")
    save_file({name: np.zeros(shape, "f4") for name, shape in tensors.items()}, path)
    assert main(["inspect", path]) == 0
    assert "packed" not in capsys.readouterr().out
    assert main(["inspect", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["packed_gru_weights"] == {}


def test_precision_and_bytes_of_a_loaded_model_agree(tmp_path: Path) -> None:
    path = saved(GRU_256, tmp_path)
    for precision in PRECISIONS:
        assert packed(fastgru.load(path, precision=precision)) == packed_bytes(GRU_256, precision)
