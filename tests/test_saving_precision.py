"""Promises of ``save(precision=...)``: a smaller file that computes, in this precision, what the model does in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from layer_examples import EXAMPLES, chain, inputs_for
from networks import network, numbers, same_bits
from safetensors import safe_open

import fastgru
from fastgru import GRU, Model, UnsupportedModelError
from fastgru.engine.reduced import int8, widened
from fastgru.layers import (
    BatchNormalization,
    Dense,
    Embedding,
    GRULayer,
    GRUSpec,
    Last,
    LayerNormalization,
    TimeDistributed,
    sequential,
)

PRECISIONS = ["float32", "float64", "float16", "bfloat16", "int8"]
REDUCED = PRECISIONS[2:]
ALL = [(kind, place) for kind, specs in EXAMPLES.items() for place in range(len(specs))]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "model.safetensors")


def header_of(path: str) -> dict:
    content = Path(path).read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def kinds_of(path: str) -> dict[str, str]:
    return {name: entry["dtype"] for name, entry in header_of(path).items() if name != "__metadata__"}


def deep() -> Model:
    """GRUs and what computes in float64, some of the weights of float64."""
    return Model(
        chain(
            Dense(numbers(5, 4), numbers(5), "tanh"),
            GRULayer(network(5, 5, 2, 2, dtype=np.float64), merge="sum"),
            BatchNormalization(*(np.abs(numbers(5, seed=seed, dtype=np.float64)) for seed in range(4))),
            GRULayer(network(5, 5, reset_after=False, activation="softsign"), (network(5, 3),)),
            LayerNormalization(numbers(3, dtype=np.float64)),
            Dense(numbers(5, 3, dtype=np.float64), numbers(5, dtype=np.float64)),
        )
    )


def results(model: Model | GRU, x: object) -> tuple[np.ndarray, ...]:
    made = model(x)
    return made if isinstance(made, tuple) else (made,)


def same(one: Model | GRU, other: Model | GRU, x: object) -> bool:
    return all(map(same_bits, results(one, x), results(other, x)))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "spec",
    [
        network(3, 5),
        network(7, 16, 2, 2, bias=False),
        network(3, 5, reset_after=False, activation="relu"),
        network(3, 5, activation="softsign"),
        network(3, 5, dtype=np.float64),
    ],
    ids=["plain", "deep", "reset before", "of no kernel", "float64"],
)
def test_a_gru_computes_the_same_bits_in_the_precision_it_was_written_in(
    precision: str, spec: GRUSpec, path: str
) -> None:
    gru, x = GRU(spec), numbers(3, 9, spec.input_size)
    gru.save(path, precision=precision)
    for wanted in (precision, "stored"):
        again = fastgru.load(path, precision=wanted)
        assert again.precision == precision
        assert same(again, gru.astype(precision), x)
    for other in PRECISIONS:
        assert fastgru.load(path, precision=other).precision == other


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_computes_the_same_bits_in_the_precision_it_was_written_in(precision: str, path: str) -> None:
    model, x = deep(), numbers(3, 9, 4)
    model.save(path, precision=precision)
    again = fastgru.load(path, precision="stored")
    assert again.precision == precision
    assert same(again, model.astype(precision), x)
    assert same(fastgru.load(path, precision=precision), again, x)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
@pytest.mark.parametrize(("kind", "place"), ALL, ids=[f"{kind.__name__} {place}" for kind, place in ALL])
def test_every_layer_can_be_written_in_every_precision(kind: type, place: int, precision: str, path: str) -> None:
    spec = EXAMPLES[kind][place]
    Model(spec).save(path, precision=precision)
    x = inputs_for(spec)
    given = x[0] if len(x) == 1 else x
    assert same(fastgru.load(path, precision=precision), Model(spec, precision=precision), given)


def test_matrices_of_grus_are_small_and_biases_are_not(path: str) -> None:
    spec = chain(Dense(numbers(4, 4), numbers(4)), GRULayer(network(4, 3), (network(3, 3),)))
    for precision, kind in (("float16", "F16"), ("bfloat16", "BF16"), ("int8", "I8"), ("float64", "F64")):
        Model(spec).save(path, precision=precision)
        kinds = kinds_of(path)
        matrices = {name for name in kinds if ".w_" in name and not name.endswith(".steps")}
        assert len(matrices) == 4 and {kinds[name] for name in matrices} == {kind}
        assert {kinds[name] for name in kinds.keys() - matrices} == {"F32"}
        assert {name.removesuffix(".steps") for name in kinds if name.endswith(".steps")} == (
            matrices if precision == "int8" else set()
        )


def test_other_layers_are_small_where_they_lose_nothing(path: str) -> None:
    half, wide = numbers(9, 4).astype(np.float16).astype(np.float32), numbers(2, 3, dtype=np.float64)
    layers = Embedding(half), GRULayer(network(4, 3)), Dense(wide, numbers(2, dtype=np.float64))
    spec = sequential((f"layer {place}", layer) for place, layer in enumerate(layers))
    wanted = {"float16": "F16", "bfloat16": "F32", "int8": "F32", "float32": "F32", "float64": "F32"}
    for precision, kind in wanted.items():
        Model(spec).save(path, precision=precision)
        kinds = kinds_of(path)
        assert kinds["layer 0.weight"] == kind
        assert kinds["layer 2.weight"] == kinds["layer 2.bias"] == ("F64" if precision == "float64" else "F32")


def test_what_normalisations_compute_with_in_float64_stays(path: str) -> None:
    deep().save(path, precision="float16")
    kinds = kinds_of(path)
    kept = [kinds[f"layer {place}.{name}"] for place, name in ((2, "mean"), (2, "variance"), (2, "beta"), (4, "gamma"))]
    assert kept == ["F64"] * 4


def test_the_checkpoint_says_what_is_stored_and_holds_what_it_stands_for(path: str) -> None:
    gru = GRU(network(3, 5))
    weights = gru.spec.layers[0][0]
    for precision in REDUCED:
        gru.save(path, precision=precision)
        checkpoint = fastgru.read(path)
        assert list(checkpoint.stored.items()) == [("w_ih_l0", precision), ("w_hh_l0", precision)]
        assert sorted(checkpoint) == ["b_hh_l0", "b_ih_l0", "w_hh_l0", "w_ih_l0"]
        assert same_bits(checkpoint["w_hh_l0"], widened(weights.w_hh, precision, ""))
        assert not checkpoint["w_hh_l0"].flags.writeable


def test_the_files_are_as_small_as_their_numbers(path: str) -> None:
    gru = GRU(network(64, 128))
    sizes = {}
    for precision in (None, *PRECISIONS):
        gru.save(path, precision=precision)
        sizes[precision] = sum(
            entry["data_offsets"][1] - entry["data_offsets"][0]
            for name, entry in header_of(path).items()
            if name != "__metadata__"
        )
        assert os.path.getsize(path) < sizes[precision] + 2000
    numbers_of, biases = 3 * 128 * (64 + 128), 2 * 3 * 128 * 4
    assert sizes[None] == sizes["float32"] == 4 * numbers_of + biases
    assert sizes["float16"] == sizes["bfloat16"] == 2 * numbers_of + biases
    assert sizes["int8"] == numbers_of + 2 * 3 * 128 * 4 + biases
    assert sizes["float64"] == 8 * numbers_of + biases


def test_anybody_can_read_the_whole_numbers_and_their_steps(path: str) -> None:
    gru = GRU(network(3, 5))
    gru.save(path, precision="int8")
    ints, steps = int8(gru.spec.layers[0][0].w_ih, "")
    with safe_open(path, "np") as file:
        assert same_bits(file.get_tensor("w_ih_l0"), ints) and same_bits(file.get_tensor("w_ih_l0.steps"), steps)
    starts = [entry["data_offsets"][0] % 4 for name, entry in header_of(path).items() if name.startswith("b_")]
    assert starts == [0, 0]


def test_a_version_that_knows_no_int8_says_so_and_reads_the_rest(path: str) -> None:
    gru = GRU(network(3, 5))
    for precision in (None, *PRECISIONS):
        gru.save(path, precision=precision)
        assert header_of(path)["__metadata__"]["fastgru.format"] == ("2" if precision == "int8" else "1")


def test_a_weight_beyond_the_precision_is_named_and_nothing_is_written(path: str) -> None:
    spec = network(4, 3, dtype=np.float64)
    weights = spec.layers[0][0]
    for value, precisions in ((1e5, ["float16"]), (1e39, ["float16", "int8", "float32"]), (np.inf, ["int8"])):
        matrix = weights.w_hh.copy()
        matrix[2, 1] = value
        wrong = spec.replace(layers=((weights.replace(w_hh=matrix),),))
        for precision in precisions:
            for model, name in ((Model(chain(GRULayer(wrong)), precision="float64"), r"layer 0\.w_hh_l0"),
                                (GRU(wrong, precision="float64"), "w_hh_l0")):  # fmt: skip
                with pytest.raises(UnsupportedModelError, match=f"^{name}: got "):
                    model.save(path, precision=precision)
    assert not os.path.exists(path)


def test_names_that_are_no_precision(path: str) -> None:
    for wrong in ("half", "stored", 16, ["int8"]):
        with pytest.raises(UnsupportedModelError, match=r"^precision: got .*, wanted one of float32, .*, int8$"):
            GRU(network(3, 5)).save(path, precision=wrong)
    assert not os.path.exists(path)


def test_a_layer_may_be_called_what_it_likes(path: str) -> None:
    for name in ("w_ih_l0", "gru", "a.steps", "GRULayer", "a.w_ih_l0.steps", "above"):
        spec = chain(GRULayer(network(4, 4)), GRULayer(network(4, 4)))
        first = spec.nodes[0].replace(name="a")
        second = spec.nodes[1].replace(name=name, inputs=("a",))
        model = Model(spec.replace(nodes=(first, second), outputs=(name,)))
        model.save(path, precision="int8")
        assert same(fastgru.load(path, precision="stored"), model.astype("int8"), numbers(2, 3, 4))


def test_a_large_matrix_of_int8_is_read_in_pieces(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastgru.checkpoint import int8_rows

    gru = GRU(network(7, 16))
    gru.save(path, precision="int8")
    whole = fastgru.read(path)["w_hh_l0"]
    monkeypatch.setattr(int8_rows, "AT_ONCE", 100)
    assert same_bits(fastgru.read(path)["w_hh_l0"], whole)


def test_models_inside_models_are_reached(path: str) -> None:
    inner = chain(GRULayer(network(4, 3)), Last())
    model = Model(chain(TimeDistributed(inner), GRULayer(network(3, 2)), shape=(None, None, 4)))
    model.save(path, precision="int8")
    assert sorted(kinds_of(path).values()).count("I8") == 4
    again = fastgru.load(path, precision="stored")
    assert again.precision == "int8" and same(again, model.astype("int8"), numbers(2, 5, 6, 4))
