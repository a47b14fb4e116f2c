"""``load(..., check=(x, y))`` and ``fastgru verify --expected``: what computes something else is never silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_examples import chain
from networks import network, numbers

import fastgru
from fastgru import GRU, CheckpointError, DTypeError, Model, ShapeError
from fastgru.command.cli import main
from fastgru.evaluation import checking, verification
from fastgru.evaluation.checking import compare
from fastgru.layers import Activation, Dense, Embedding, FinalState, GRULayer, Input, Last, ModelSpec, Node, sequential
from fastgru.options import kernel_table

TWO = ModelSpec(
    (Input("a", (None, 3)), Input("b", (None, 2))),
    (Node("gru", GRULayer(network(3, 4)), ("a",)), Node("other", GRULayer(network(2, 4)), ("b",))),
    ("gru", "other"),
)


@pytest.fixture(autouse=True)
def brief_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "SECONDS", 1e-4)


def classifier() -> dict[str, np.ndarray]:
    """The weights of a bidirectional GRU and two Linears, as a state dict has them."""
    gru = GRU(network(3, 4, 1, 2)).state_dict()
    linear = {"one.weight": numbers(6, 8), "one.bias": numbers(6), "two.weight": numbers(5, 6), "two.bias": numbers(5)}
    return {**{f"gru.{name}": array for name, array in gru.items()}, **linear}


RIGHT = ["gru", FinalState(), "one", Activation("relu"), "two"]


@pytest.fixture
def weights(tmp_path: Path) -> str:
    np.savez(tmp_path / "classifier.npz", **classifier())
    return str(tmp_path / "classifier.npz")


def array_file(path: Path, array: Any) -> str:
    np.save(path, array)
    return str(path)


def test_the_right_chain_is_loaded_and_every_wrong_one_is_refused(weights: str) -> None:
    x = numbers(6, 9, 3)
    y = fastgru.load(weights, layers=RIGHT, precision="float64")(x)
    model = fastgru.load(weights, layers=RIGHT, check=(x, y))
    assert np.abs(model(x) - y).max() < 1e-5
    wrong = [
        ["gru", Last(), "one", Activation("relu"), "two"],  # h[-1], h[-2] taken for the last step's output
        ["gru", FinalState(), "one", "two"],
        ["gru", FinalState(), "one", Activation("tanh"), "two"],
        ["gru", FinalState(), "one", Activation("relu"), "two", Activation("softmax")],
    ]
    for layers in wrong:
        with pytest.raises(CheckpointError, match=r"does not compute what check= expects: \w+\[\d, \d\] is ") as error:
            fastgru.load(weights, layers=layers, check=(x, y))
        assert all(word in str(error.value) for word in (weights, "FinalState()", "Activation('relu')", "eval mode"))


def test_a_check_is_taken_by_from_torch_too() -> None:
    x = numbers(2, 5, 3)
    y = fastgru.from_torch(classifier(), layers=RIGHT)(x)
    fastgru.from_torch(classifier(), layers=RIGHT, check=(x, y))
    with pytest.raises(CheckpointError, match="does not compute what check= expects"):
        fastgru.from_torch(classifier(), layers=RIGHT, check=(x, -y))


def test_the_message_names_the_number_that_is_furthest_off(weights: str) -> None:
    x = numbers(40, 9, 3)
    y = fastgru.load(weights, layers=RIGHT)(x)
    wanted = y.copy()
    wanted[7, 2] += 1
    wanted[31, 4] -= 0.5
    with pytest.raises(CheckpointError) as error:
        fastgru.load(weights, layers=RIGHT, check=(x, wanted))
    assert f"two[7, 2] is {y[7, 2]:.6g}, expected {wanted[7, 2]:.6g}, and only" in str(error.value)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_how_far_apart_is_too_far_follows_from_the_size_of_the_outputs(size: float) -> None:
    model, x = Model(chain(Dense(numbers(5, 4) * np.float32(size)))), {"input": numbers(3, 7, 4)}
    y = model(x["input"])
    largest = np.abs(y).max()
    for factor, within in ((0.9e-4, True), (1.1e-4, False)):
        moved = y.astype(np.float64)
        moved[1, 2, 3] += factor * largest * np.sign(-moved[1, 2, 3] or 1)
        (found,) = compare(model, x, {"layer 0": moved})
        assert found["within"] is within and found["at"] == [1, 2, 3]
        assert found["tolerance"] == pytest.approx(1e-4 * largest, rel=1e-3)
        (found,) = compare(model, x, {"layer 0": moved}, tolerance=size)
        assert found["within"] and found["tolerance"] == size


def test_nan_and_infinity_are_right_where_they_are_expected_and_nowhere_else() -> None:
    model = Model(chain(Dense(np.eye(2, dtype=np.float32)), shape=(None, 2)))
    x = np.array([[[np.nan, 1.0], [np.inf, 2.0], [-np.inf, 3.0]]], np.float32)
    y = model(np.nan_to_num(x, nan=0, posinf=0, neginf=0))
    got = model(x)
    (found,) = compare(model, {"input": x}, {"layer 0": got})
    assert found["within"] and found["largest_difference"] == 0
    for wanted in (y, np.where(np.isnan(got), 1, got), np.full_like(got, np.inf)):
        (found,) = compare(model, {"input": x}, {"layer 0": wanted}, tolerance=1e300)
        assert not found["within"] and found["largest_difference"] is None
        json.dumps(found, allow_nan=False)


def test_outputs_that_are_all_zero_are_expected_so() -> None:
    model = Model(chain(Dense(np.zeros((2, 4), np.float32))))
    assert compare(model, {"input": numbers(1, 2, 4)}, {"layer 0": np.zeros((1, 2, 2))})[0]["within"]
    assert not compare(model, {"input": numbers(1, 2, 4)}, {"layer 0": np.full((1, 2, 2), 1e-3)})[0]["within"]


def test_rows_in_batches_are_compared_like_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gru, x = GRU(network(3, 4, 2, 2)), {"x": numbers(23, 5, 3)}
    y, h = gru(x["x"])
    wanted = {"y": y.copy(), "h": h.copy()}
    wanted["y"][21, 4, 1] += 1
    wanted["h"][3, 19, 2] -= 1
    once = compare(gru, x, wanted)
    monkeypatch.setattr(checking, "rows_at_once", lambda model, x: 10)
    assert compare(gru, x, wanted) == once
    assert [(each["name"], each["at"]) for each in once] == [("y", [21, 4, 1]), ("h", [3, 19, 2])]


def test_a_gru_is_compared_by_its_outputs_alone_or_with_its_states(tmp_path: Path) -> None:
    path, x = str(tmp_path / "gru.safetensors"), numbers(4, 6, 3)
    gru = GRU(network(3, 5, 2))
    gru.save(path)
    y, h = gru(x)
    for given in (y, (y, h), [y, h], {"h": h}, {"y": y}, y.tolist()):
        assert isinstance(fastgru.load(path, check=(x, given)), GRU)
    fastgru.load(path, check=(x[0], gru(x[0])))  # without a batch axis
    for given in ((y, -h), {"h": h + 1}, (-y, h)):
        with pytest.raises(CheckpointError, match="layers are those that the file describes"):
            fastgru.load(path, check=(x, given))


def test_a_model_of_several_inputs_and_outputs_takes_them_in_order_or_by_name(tmp_path: Path) -> None:
    path = str(tmp_path / "two.safetensors")
    model = Model(TWO)
    model.save(path)
    a, b = numbers(2, 5, 3), numbers(2, 7, 2)
    one, other = model([a, b])
    for x in ([a, b], {"b": b, "a": a}):
        for y in ((one, other), [one, other], {"other": other, "gru": one}, {"other": other}):
            fastgru.load(path, check=(x, y))
    with pytest.raises(CheckpointError, match=r"expects: other\["):
        fastgru.load(path, check=([a, b], (one, other * 2)))
    for y, words in [
        (one, "y: got one array, wanted a list of those of gru, other"),
        ([one], "y: got 1 arrays, wanted 2"),
        ({"gru": one, "third": one}, "y: got outputs third, wanted some of gru, other"),
        ({}, "y: got outputs of no name"),
    ]:
        with pytest.raises(ShapeError, match=words):
            fastgru.load(path, check=([a, b], y))


def test_weights_with_fewer_bits_are_checked_as_float32(weights: str) -> None:
    x = numbers(6, 9, 3)
    y = fastgru.load(weights, layers=RIGHT)(x)
    assert np.abs(fastgru.load(weights, layers=RIGHT, precision="int8")(x) - y).max() > 1e-4 * np.abs(y).max()
    model = fastgru.load(weights, layers=RIGHT, precision="int8", check=(x, y))
    assert model.precision == "int8"
    assert fastgru.load(weights, layers=RIGHT, precision="float64", check=(x, y)).precision == "float64"


def test_integers_for_an_embedding_are_inputs_like_others(tmp_path: Path) -> None:
    layers = [("words", Embedding(numbers(7, 3))), ("gru", GRULayer(network(3, 4))), ("last", Last())]
    spec = sequential(layers)
    model, path = Model(spec), str(tmp_path / "words.safetensors")
    model.save(path)
    words = np.array([[1, 2, 6], [0, 3, 3]])
    fastgru.load(path, check=(words, model(words)))


@pytest.mark.parametrize(
    ("check", "error", "words"),
    [
        (5, DTypeError, "check: got int, wanted a pair"),
        ((1, 2, 3), DTypeError, "check: got 3 values, wanted a pair"),
        (("a", np.zeros((1, 5))), DTypeError, "check: x"),
        ((np.zeros((1, 2, 3)), "a"), DTypeError, "check: y"),
        ((np.zeros((1, 2, 4)), np.zeros((1, 5))), ShapeError, r"check: x: got shape \(1, 2, 4\)"),
        ((np.zeros((0, 2, 3)), np.zeros((0, 5))), ShapeError, "check: x: got no rows"),
        ((np.zeros((2, 2, 3)), np.zeros((2, 2, 5))), ShapeError, r"expected has shape \(2, 2, 5\), the model gives"),
        ((np.zeros((2, 2, 3)), np.zeros((3, 5))), ShapeError, r"expected has shape \(3, 5\), the model gives \(2, 5\)"),
    ],
)
def test_a_check_that_does_not_fit_says_why(check: Any, error: type, words: str, weights: str) -> None:
    with pytest.raises(error, match=words):
        fastgru.load(weights, layers=RIGHT, check=check)


def verified(weights: str, *more: str, chain_of: str = "gru,FinalState(),one,Activation(relu),two") -> int:
    return main(["verify", weights, "--layers", chain_of, *more])


def test_verify_tells_a_model_from_what_the_framework_computed(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = numbers(6, 9, 3)
    y = fastgru.load(weights, layers=RIGHT)(x)
    given = ["--data", array_file(tmp_path / "x.npy", x), "--expected", array_file(tmp_path / "y.npy", y)]
    assert verified(weights, *given) == 0
    out = capsys.readouterr().out
    assert "As expected: two" in out and "float32" in out and "int8" not in out
    assert verified(weights, *given, chain_of="gru,Last(),one,Activation(relu),two") == 1
    out = capsys.readouterr().out
    assert "Not as expected: two[" in out and "FinalState() in place of Last()" in out
    assert verified(weights, *given, "--json", "--precision", "int8,float32") == 0
    found = json.loads(capsys.readouterr().out)
    (each,) = found["expected"]
    assert each["within"] and found["passed"] and each["name"] == "two"
    assert [row["precision"] for row in found["precisions"]] == ["int8", "float32"]
    assert verified(weights, *given, "--tolerance", "9", chain_of="gru,Last(),one,two") == 0
    assert verified(weights, *given, "--tolerance", "1e-12") == 1


def test_verify_compares_within_lengths_and_outputs_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, x, lengths = str(tmp_path / "gru.safetensors"), numbers(4, 6, 3), np.array([6, 1, 3, 2])
    gru = GRU(network(3, 5, 1, 2))
    gru.save(path)
    y, h = gru(x, lengths=lengths)
    y[np.arange(6) >= lengths[:, None]] = 9  # a framework may leave anything there
    arguments = ["verify", path, "--data", array_file(tmp_path / "x.npy", x)]
    arguments += ["--lengths", array_file(tmp_path / "lengths.npy", lengths)]
    files = [array_file(tmp_path / "y.npy", y), f"h={array_file(tmp_path / 'h.npy', h)}"]
    assert main([*arguments, "--expected", files[0]]) == 0
    assert main([*arguments, "--expected", f"y={files[0]}", files[1]]) == 0
    np.savez(tmp_path / "both.npz", y=y, h=h + 1)
    assert main([*arguments, "--expected", str(tmp_path / "both.npz")]) == 1
    out = capsys.readouterr().out
    assert "As expected: y" in out and "Not as expected: h[" in out


def test_verify_says_how_to_give_what_is_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "two.safetensors")
    Model(TWO).save(path)
    data = [f"a={array_file(tmp_path / 'a.npy', numbers(2, 5, 3))}"]
    data += [f"b={array_file(tmp_path / 'b.npy', numbers(2, 7, 2))}"]
    wrong = array_file(tmp_path / "y.npy", numbers(2, 5, 4))
    assert main(["verify", path, "--expected", wrong]) == 1
    assert "--expected: belongs to the rows of --data" in capsys.readouterr().err
    assert main(["verify", path, "--data", *data, "--expected", wrong]) == 1
    assert "the model has the outputs gru, other; give them as gru=FILE.npy other=FILE.npy" in capsys.readouterr().err
    assert main(["verify", path, "--data", *data, "--expected", f"gru={wrong}", f"gru={wrong}"]) == 1
    assert "the model has the outputs" in capsys.readouterr().err
    assert main(["verify", path, "--data", *data, "--expected", str(tmp_path / "missing.npy")]) == 1
    assert "missing.npy" in capsys.readouterr().err


@pytest.mark.parametrize(("precision", "packed"), [("int8", False), ("bfloat16", False), ("int8", True)])
def test_a_file_of_rounded_weights_is_not_said_to_have_unrounded_ones(
    precision: Any, packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is off by that rounding is not blamed on the inputs alone, and passes by a tolerance."""
    if packed and kernel_table().vector_length == 1:
        pytest.skip("these kernels pack nothing")
    gru, x, path = GRU(network(3, 8)), numbers(4, 7, 3), str(tmp_path / "gru")
    gru.save(path, precision=precision, packed=packed)
    arguments = ["verify", path, "--data", array_file(tmp_path / "x.npy", x)]
    arguments += ["--expected", "y=" + array_file(tmp_path / "y.npy", gru(x)[0])]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert f"stored in {precision}; what that cost is in no difference from float64" in out
    assert "Not as expected: y[" in out and f"The file has weights in {precision}, and these are computed with" in out
    with pytest.raises(CheckpointError, match=f"The file has weights in {precision}, and these are computed with"):
        fastgru.load(path, check=(x, gru(x)[0]))
    assert main([*arguments, "--tolerance", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "off with the weights as they are stored" in out and "unrounded" not in out
    assert main([*arguments, "--tolerance", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stored"] == [precision]
    gru.save(path)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "off with unrounded weights" in out and "stored" not in out
