"""What ``fastgru verify`` promises: true differences from float64 on any data, and an exit code to build on."""

from __future__ import annotations

import io
import json
import math
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_examples import chain
from networks import network, numbers

import fastgru
from fastgru import GRU, Model, ShapeError, UnsupportedModelError, terminal
from fastgru.command.cli import main
from fastgru.evaluation import verification
from fastgru.evaluation.random_inputs import SEED
from fastgru.evaluation.verification import ORDER, noise, parts, verify
from fastgru.layers import (
    Activation,
    Dense,
    Embedding,
    GRULayer,
    GRUSpec,
    Input,
    Last,
    MaxPooling1D,
    ModelSpec,
    Node,
    Reshape,
    sequential,
)

DEMO = resources.files("fastgru.demo")
DIGITS = [str(DEMO / "digits.pt"), "--layers", "gru,Last(),fc"]
SPEC = network(3, 8, 2, 2)
BRIEF = 1e-4  # seconds of timing; what is tested here is not the speed


@pytest.fixture(autouse=True)
def brief_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "SECONDS", BRIEF)


@pytest.fixture
def gru_file(tmp_path: Path) -> str:
    GRU(SPEC).save(tmp_path / "gru.safetensors")
    return str(tmp_path / "gru.safetensors")


def array_file(path: Path, array: Any) -> str:
    np.save(path, array)
    return str(path)


def figures(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main(["verify", *arguments, "--json"]) == code
    printed = capsys.readouterr()
    assert printed.err == ""
    return json.loads(printed.out, parse_constant=pytest.fail)  # no NaN, no Infinity


def by_precision(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["precision"]: each for each in found["precisions"]}


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("fastgru: error: ") and error.count("\n") == 1
    return error


def overflowing(spec: GRUSpec = SPEC) -> GRUSpec:
    """A stack with a weight that float16 has not."""
    weights = spec.layers[0][0]
    w_ih = weights.w_ih.copy()
    w_ih[0, 0] = 1e5
    return spec.replace(layers=((weights.replace(w_ih=w_ih), *spec.layers[0][1:]), *spec.layers[1:]))


def test_every_precision_is_compared_with_float64_over_outputs_and_states() -> None:
    gru, x, lengths = GRU(SPEC), numbers(5, 9, 3), np.array([9, 1, 4, 7, 2])
    found = verify(gru, {"x": x}, lengths, seconds=BRIEF)
    assert (found["inputs"], found["rows"], found["steps"], found["seed"]) == ("given", 5, 9, None)
    assert [each["precision"] for each in found["precisions"]] == list(ORDER)
    real = np.arange(9) < lengths[:, None]
    y, h = gru.astype("float64")(x, lengths=lengths)
    assert found["largest_output"] == max(np.abs(y).max(), np.abs(h).max())
    for each in found["precisions"]:
        other = gru.astype(each["precision"])
        got = [array.astype(np.float64) for array in other(x, lengths=lengths)]
        differences = np.concatenate([np.abs(got[0] - y)[real].ravel(), np.abs(got[1] - h).ravel()])
        assert each["largest_difference"] == differences.max(), each
        assert each["mean_difference"] == pytest.approx(differences.mean(), rel=1e-12)
        assert each["packed_bytes"] == other.nbytes
        assert [timing["rows"] for timing in each["timings"]] == [1, 5]
        assert all(timing["seconds"] > 0 and timing["calls"] >= 1 for timing in each["timings"])
    rows = by_precision(found)
    assert rows["float64"]["largest_difference"] == 0
    assert 0 < rows["float32"]["largest_difference"] < 1e-5 < rows["int8"]["largest_difference"]
    assert rows["float16"]["largest_difference"] < rows["bfloat16"]["largest_difference"]


def test_a_model_is_compared_where_its_rows_have_steps() -> None:
    """A step beyond a row's length is zero in every precision, and would make the mean look smaller."""
    model, x, lengths = Model(chain(GRULayer(network(4, 6)))), numbers(2, 50, 4), [50, 1]
    mean = by_precision(verify(model, {"input": x}, lengths, ["int8"], seconds=BRIEF))["int8"]["mean_difference"]
    differences = np.abs(model.astype("int8")(x, lengths) - model.astype("float64")(x, lengths))
    assert mean == pytest.approx(differences.sum() / (51 * 6))


def test_rows_run_in_batches_and_count_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Model(chain(GRULayer(network(4, 6)), Last(), Dense(numbers(3, 6)))), {"input": numbers(23, 5, 4)}
    at_once = verify(model, x, precisions=["float16"], seconds=BRIEF)
    advanced: list[int] = []
    monkeypatch.setattr(verification, "rows_at_once", lambda model, x: 10)
    cut = verify(model, x, precisions=["float16"], seconds=BRIEF, advance=advanced.append)
    (one,), (other,) = at_once["precisions"], cut["precisions"]
    assert one["largest_difference"] == pytest.approx(other["largest_difference"], rel=1e-6)
    assert one["mean_difference"] == pytest.approx(other["mean_difference"], rel=1e-6)
    assert [timing["rows"] for timing in other["timings"]] == [1, 10]
    assert sum(advanced) == parts(model, x, ["float16"]) == 3 * 2 + 1


def test_noise_is_the_same_in_every_run_and_fits_the_model() -> None:
    embedded = Model(
        ModelSpec(
            (Input("words", (None,), True), Input("x", (None, 2))),
            (
                Node("embedding", Embedding(numbers(5, 3)), ("words",)),
                Node("gru", GRULayer(network(3, 4)), ("embedding",)),
                Node("of_x", GRULayer(network(2, 4)), ("x",)),
            ),
            ("gru", "of_x"),
        )
    )
    one, other = (verify(embedded, precisions=["int8"], seconds=BRIEF) for _ in range(2))
    assert (one["inputs"], one["rows"], one["steps"], one["seed"]) == ("noise", 8, 100, SEED)
    assert one["precisions"][0]["largest_difference"] == other["precisions"][0]["largest_difference"] > 0
    divided = Model(chain(MaxPooling1D(600, 600), GRULayer(network(4, 3))))
    assert noise(divided)["input"].shape == (8, 840, 4)


def test_a_model_that_takes_no_noise_asks_for_data() -> None:
    model = Model(chain(Reshape((-1, 4 * 997)), Dense(numbers(2, 4 * 997))))
    with pytest.raises(fastgru.FastGRUError, match="give it data of its own with --data"):
        verify(model)


@pytest.mark.parametrize(
    ("layers", "classes"),
    [
        ([Last(), Dense(numbers(3, 6))], 3),
        ([Dense(numbers(3, 6), None, "softmax")], 3),
        ([Dense(numbers(3, 6)), Activation("softmax")], 3),
        ([Dense(numbers(1, 6))], None),
        ([Dense(numbers(3, 6), None, "relu")], None),
        ([Dense(numbers(3, 6)), Activation("relu")], None),
        ([Last()], None),
    ],
)
def test_the_same_class_is_counted_where_a_model_ends_in_scores(layers: list[Any], classes: int | None) -> None:
    model = Model(chain(GRULayer(network(4, 6)), *layers))
    found = verify(model, {"input": numbers(40, 7, 4)}, precisions=["float64", "int8"], seconds=BRIEF)
    assert found["classes"] == classes
    for each in found["precisions"]:
        share = None
        if classes:
            one, other = model.astype(each["precision"]), model.astype("float64")
            share = float((one(numbers(40, 7, 4)).argmax(-1) == other(numbers(40, 7, 4)).argmax(-1)).mean())
        assert each["same_class"] == share


def test_a_precision_that_cannot_be_had_is_a_row_that_says_so() -> None:
    gru = GRU(overflowing())
    found = verify(gru, precisions=["float16", "float32"], seconds=BRIEF)
    assert found["passed"]
    first, second = found["precisions"]
    assert "weight_ih_l0" in first["problem"] and second["problem"] is None
    assert first["largest_difference"] is first["packed_bytes"] is None and first["timings"] == []
    found = verify(gru, precisions=["float16", "float32"], tolerance=1.0, seconds=BRIEF)
    assert not found["passed"]
    assert [each["within"] for each in found["precisions"]] == [False, True]


def test_nan_and_infinity_in_place_of_a_number_are_beyond_every_tolerance() -> None:
    model = Model(chain(Dense(np.full((2, 4), 1e38, np.float32))))
    x = {"input": np.full((2, 3, 4), 50, np.float32)}  # 4 * 50 * 1e38 is a number in float64 alone
    found = by_precision(verify(model, x, tolerance=1e300, seconds=BRIEF))
    assert (found["float64"]["largest_difference"], found["float64"]["lost"]) == (0, 0)
    assert (found["float32"]["largest_difference"], found["float32"]["lost"]) == (None, 12)
    assert found["float64"]["within"] and not found["float32"]["within"]


def broken(bias: list[float]) -> Model:
    """A model whose bias is given, and whose scores are otherwise as they should be."""
    return Model(chain(GRULayer(network(4, 6)), Last(), Dense(numbers(2, 6), np.array(bias, np.float32))))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("given", [None, numbers(8, 5, 4)])
def test_outputs_that_are_no_numbers_in_float64_either_are_within_no_tolerance(given: Any, wrong: float) -> None:
    x = None if given is None else {"input": given}
    found = verify(broken([0, wrong]), x, precisions=["float64", "int8"], tolerance=1e300, seconds=BRIEF)
    assert (found["compared"], found["left_out"], found["broken"]) == (8, 0, 8)
    assert not found["passed"] and not any(each["within"] for each in found["precisions"])
    assert [each["same_class"] for each in found["precisions"]] == [None, None]  # no row has all its scores
    assert found["precisions"][0]["largest_difference"] == 0 < found["precisions"][1]["largest_difference"]
    assert verify(broken([0, wrong]), x, precisions=["int8"], seconds=BRIEF)["passed"]


def test_a_model_without_any_number_in_its_outputs_is_compared_in_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "broken.safetensors")
    broken([np.nan, np.nan]).save(path)
    found = figures(capsys, path, "--tolerance", "9", code=1)
    assert (found["compared"], found["broken"], found["largest_output"]) == (0, 16, None)
    assert {each["largest_difference"] for each in found["precisions"]} == {None}
    assert main(["verify", path]) == 0
    out = capsys.readouterr().out
    assert "none is a number" in out and "Within no tolerance: 16 of 16 outputs" in out


def test_the_bytes_are_said_to_be_those_of_all_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "model")
    Model(sequential([("words", Embedding(numbers(500, 5))), ("gru", GRULayer(network(5, 3)))])).save(path)
    assert main(["verify", path, "--precision", "float32"]) == 0
    heading = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("precision"))
    assert " weights " in heading and "GRU" not in heading


def test_what_nan_in_the_data_reaches_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Steps before it and other rows are compared; what is wrong in these all the same is not laid to the data."""
    x = numbers(4, 6, 3)
    x[1, 2, 0] = x[3, 4, 1] = np.nan
    GRU(SPEC).save(tmp_path / "gru.safetensors")
    path, data = str(tmp_path / "gru.safetensors"), array_file(tmp_path / "x.npy", x)
    found = figures(capsys, path, "--data", data, "--precision", "float32", "--tolerance", "1e-5")
    y, h = GRU(SPEC, precision="float64")(x)
    lost = int(np.isnan(y).sum() + np.isnan(h).sum())
    assert lost > 0 and found["compared"] == y.size + h.size - lost
    assert (found["left_out"], found["broken"], found["precisions"][0]["lost"]) == (lost, 0, 0)
    assert main(["verify", path, "--data", data, "--precision", "float32"]) == 0
    assert f"Left out: {lost} of {y.size + h.size} outputs" in capsys.readouterr().out
    both = verify(broken([0, np.nan]), {"input": np.pad(x, [(0, 0)] * 2 + [(0, 1)])}, tolerance=1e300, seconds=BRIEF)
    assert (both["compared"], both["left_out"], both["broken"]) == (2, 2, 4) and not both["passed"]


def test_data_that_leaves_no_output_finite_is_an_error(
    gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = array_file(tmp_path / "x.npy", np.full((2, 3, 3), np.nan))
    assert main(["verify", gru_file, "--data", data]) == 1
    assert "NaN or infinite numbers in it leave no output that is finite" in error_line(capsys)


@pytest.mark.parametrize("tolerance", [-1e-9, math.nan, math.inf])
def test_a_tolerance_is_a_number_of_at_least_0(tolerance: float) -> None:
    with pytest.raises(ShapeError, match="wanted a number of at least 0"):
        verify(GRU(SPEC), tolerance=tolerance)
    with pytest.raises(SystemExit) as exit_code:
        main(["verify", *DIGITS, f"--tolerance={tolerance}"])
    assert exit_code.value.code == 2


def test_an_unknown_precision_lists_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnsupportedModelError, match="bfloat16, int8"):
        verify(GRU(SPEC), precisions=["float8"])
    with pytest.raises(SystemExit) as exit_code:
        main(["verify", *DIGITS, "--precision", "int8,float8"])
    assert exit_code.value.code == 2
    assert "'float8': wanted some of float32,float64,float16,bfloat16,int8" in capsys.readouterr().err


def test_a_slow_model_is_called_twice_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(verification.time, "perf_counter", lambda: next(clock))
    (row,) = verify(GRU(SPEC), precisions=["float32"])["precisions"]
    assert [(each["calls"], each["seconds"]) for each in row["timings"]] == [(1, 1), (1, 1)]
    assert next(clock) == 8  # two readings each of a call that does not count and one that does, for both timings


def test_exit_codes_follow_the_tolerance(gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worst = by_precision(figures(capsys, gru_file))["int8"]["largest_difference"]
    assert figures(capsys, gru_file, "--tolerance", repr(worst))["passed"]
    found = figures(capsys, gru_file, "--tolerance", repr(worst * 0.999), code=1)
    assert [name for name, each in by_precision(found).items() if not each["within"]] == ["int8"]
    assert figures(capsys, gru_file, "--tolerance", "0", "--precision", "float64")["passed"]
    GRU(overflowing()).save(tmp_path / "large.safetensors")
    figures(capsys, str(tmp_path / "large.safetensors"), "--tolerance", "9", "--precision", "float16", code=1)


def test_a_precision_asked_for_that_is_not_possible_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a word about precisions it is a row that says so, as any figure is."""
    path = str(tmp_path / "large.safetensors")
    GRU(overflowing()).save(path)
    assert by_precision(figures(capsys, path))["float16"]["problem"]
    figures(capsys, path, "--precision", "float32,float16", code=1)
    figures(capsys, path, "--precision", "float32,int8")
    figures(capsys, path, "--tolerance", "9", code=1)


def test_precisions_are_given_together_or_one_by_one(gru_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(capsys, gru_file, "--precision", "int8,float32", "--precision", "float16", "--precision", "int8")
    assert list(by_precision(found)) == ["int8", "float32", "float16"]


def test_data_and_lengths_come_from_files(gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, lengths = numbers(4, 6, 3), np.array([6, 1, 3, 2])
    data = array_file(tmp_path / "x.npy", x)
    found = figures(capsys, gru_file, "--data", data, "--lengths", array_file(tmp_path / "lengths.npy", lengths))
    wanted = by_precision(verify(GRU(SPEC), {"x": x}, lengths, seconds=BRIEF))
    for name, each in by_precision(found).items():
        assert each["largest_difference"] == wanted[name]["largest_difference"]
        assert each["mean_difference"] == wanted[name]["mean_difference"]
    one = figures(capsys, gru_file, "--data", f"x={array_file(tmp_path / 'one.npy', x[0])}", "--threads", "1")
    assert (one["rows"], one["steps"]) == (1, 6)
    assert [timing["rows"] for timing in one["precisions"][0]["timings"]] == [1]


def test_a_model_of_several_inputs_takes_them_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = (Node("gru", GRULayer(network(3, 4)), ("a",)), Node("other", GRULayer(network(2, 4)), ("b",)))
    model = Model(ModelSpec((Input("a", (None, 3)), Input("b", (None, 2))), nodes, ("gru", "other")))
    model.save(tmp_path / "model.safetensors")
    a, b = numbers(2, 5, 3), numbers(2, 7, 2)
    given = [f"a={array_file(tmp_path / 'a.npy', a)}", f"b={array_file(tmp_path / 'b.npy', b)}"]
    path = str(tmp_path / "model.safetensors")
    found = figures(capsys, path, "--data", *given)
    assert (found["rows"], found["steps"]) == (2, 7)
    assert main(["verify", path, "--data", given[0]]) == 1
    assert "the model has the inputs a, b" in error_line(capsys)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 3, 5), "x: got shape (2, 3, 5), wanted (batch, steps, 3)"),
        ((3,), "x: got shape (3,)"),
        ((), "x: got shape ()"),
        ((0, 7, 3), "no rows; wanted at least one"),
        ((2, 0, 3), "no steps"),
    ],
)
@pytest.mark.parametrize("as_model", [False, True])
def test_data_that_does_not_fit_is_one_error(
    as_model: bool, shape: tuple[int, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "model.safetensors")
    (Model(chain(GRULayer(SPEC), shape=(None, 3))) if as_model else GRU(SPEC)).save(path)
    assert main(["verify", path, "--data", array_file(tmp_path / "x.npy", np.ones(shape, np.float32))]) == 1
    assert words in error_line(capsys)


def test_lengths_that_do_not_fit_are_one_error(
    gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, lengths = array_file(tmp_path / "x.npy", numbers(2, 4, 3)), array_file(tmp_path / "lengths.npy", [1, 5])
    assert main(["verify", gru_file, "--data", data, "--lengths", lengths]) == 1
    assert "row 1 has length 5" in error_line(capsys)
    assert main(["verify", gru_file, "--lengths", lengths]) == 1
    assert "--data" in error_line(capsys)


def test_files_that_are_missing_or_no_arrays_are_one_error(
    gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing.npy")
    for arguments in ([missing], [gru_file, "--data", missing]):
        assert main(["verify", *arguments]) == 1
        assert "missing.npy" in error_line(capsys)
    assert main(["verify", gru_file, "--data", gru_file]) == 1
    assert "not a .npy file of numbers" in error_line(capsys)
    assert main(["verify", DIGITS[0]]) == 1
    assert "layers" in capsys.readouterr().err


def test_the_table_fits_80_columns_and_says_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(DIGITS[0], tmp_path)
    monkeypatch.chdir(tmp_path)  # the path is printed whole, and that of an environment may be longer than a line
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["verify", "digits.pt", *DIGITS[1:], "--tolerance", "1e-4"]) == 1
    printed = capsys.readouterr()
    assert printed.err == ""  # no progress where standard error is not a terminal
    assert max(map(len, printed.out.splitlines())) <= 80
    for words in (*ORDER, "8 rows of 100 steps", "1 row ", "largest of 10 outputs", "tolerance of 0.0001: float16"):
        assert words in printed.out, words
    GRU(overflowing()).save(tmp_path / "large.safetensors")
    assert main(["verify", str(tmp_path / "large.safetensors"), "--precision", "float16"]) == 1
    out = capsys.readouterr().out
    assert "not possible" in out and "weight_ih_l0" in out


def test_progress_is_drawn_on_a_terminal(gru_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(terminal, "find_spec", lambda name: None)  # without rich
    assert main(["verify", gru_file, "--precision", "float32,int8"]) == 0
    assert "5 of 5 parts" in screen.getvalue()
