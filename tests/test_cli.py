"""What the command promises: exit codes, errors without a traceback, and output files that are whole or not there."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from layer_examples import EXAMPLES, chain
from networks import network, numbers, same_bits
from safetensors.numpy import save_file

import fastgru
from fastgru import terminal
from fastgru.checkpoint import Checkpoint
from fastgru.command import cli, conversion, input_files, run_file
from fastgru.command.argument_types import layer_chain
from fastgru.command.cli import main
from fastgru.evaluation.random_inputs import random_inputs
from fastgru.evaluation.rows import MAX_ROWS, rows_at_once
from fastgru.layers import (
    Activation,
    Concatenate,
    Dense,
    Embedding,
    GRULayer,
    Input,
    Last,
    Mean,
    ModelSpec,
    Node,
    Reshape,
    TimeDistributed,
    UpSampling1D,
)

DEMO = resources.files("fastgru.demo")
DIGITS = str(DEMO / "digits.pt")
CHAIN = "gru,Last(),fc"


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def images(tmp_path: Path) -> str:
    with np.load(DEMO / "digits.npz") as data:
        np.save(tmp_path / "images.npy", data["images"] / np.float32(16))
    return str(tmp_path / "images.npy")


@pytest.fixture
def gru_file(tmp_path: Path) -> str:
    random = np.random.default_rng(5)
    shapes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "gru.safetensors")
    return str(tmp_path / "gru.safetensors")


def hidden_files(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("fastgru: error: ")
    assert "Traceback" not in error
    return error


def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "find_spec", lambda name: None)


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(["--version"])
    assert exit_code.value.code == 0
    assert capsys.readouterr().out == f"fastgru {fastgru.__version__}\n"


def test_python_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "fastgru", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"fastgru {fastgru.__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["inspect"],
        ["run", "model.pt", "x.npy"],
        ["run", "model.pt", "x.npy", "-o", "y.npy", "--batch", "0"],
        ["run", "model.pt", "x.npy", "-o", "y.npy", "--threads", "two"],
        ["run", "model.pt", "x.npy", "-o", "y.npy", "--precision", "float8"],
        ["run", "model.pt", "x.npy", "-o", "y.npy", "--layers", "gru,Lost()"],
        ["convert", "model.pt"],
        ["convert", "model.pt", "out.safetensors", "--layers", "Last("],
        ["convert", "model.pt", "out.safetensors", "--precision", "half"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(arguments)
    assert exit_code.value.code == 2
    assert "usage: fastgru" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("verify M --precision float16 int8", "arguments: int8; --precision: separate several with a comma"),
        ("verify M --precision float16 M2", "unrecognized arguments: M2\n"),
        ("verify --data X M", "usage: fastgru verify MODEL [--data DATA"),
        ("bench M --precision float16 int8", "arguments: int8; --precision: this command takes one"),
        ("bench M --precision int8,float16", "--precision: 'int8,float16' are several, and this command takes one"),
        ("run M X -o Y --precision int8,float16", "'int8,float16' are several, and this command takes one"),
        ("convert M Y --precision float8", "invalid choice: 'float8'"),
    ],
)
def test_precisions_that_are_given_otherwise_say_how_to_give_them(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(arguments.split())
    assert exit_code.value.code == 2
    assert words in capsys.readouterr().err


def test_config_prints_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert "kernels" in capsys.readouterr().out
    assert main(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fastgru"] == fastgru.__version__


def test_inspect_says_what_is_there_and_how_to_load_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", DIGITS]) == 0
    out = capsys.readouterr().out
    for words in ("PyTorch", "14,858 in 2 layers", "8 -> 64", "reset after", 'layers=["gru", ..., "fc", ...]'):
        assert words in out


def test_inspect_json_is_the_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", DIGITS, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [layer["name"] for layer in found["layers"]] == ["gru", "fc"]
    assert found["parameters"] == 14858


def test_inspect_lists_what_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "more.safetensors"
    tensors = {"gru.weight_ih": np.zeros((6, 3), np.float32), "gru.weight_hh": np.zeros((6, 2), np.float32)}
    save_file({**tensors, **{f"stray{index}.thing": np.zeros(3, np.float32) for index in range(12)}}, path)
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "12 tensors that no layer uses" in out
    assert "and 4 more" in out


def test_inspect_counts_one_tensor_as_one_and_names_the_top_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "lstm.safetensors")
    save_file({"weight_ih_l0": np.zeros((8, 3), "f4"), "weight_hh_l0": np.zeros((8, 2), "f4")}, path)
    assert main(["inspect", path]) == 0
    out = capsys.readouterr().out
    assert "nothing: holds an LSTM and no GRU; fastgru runs only GRUs\n" in out
    assert "the top level of the file: LSTM is not supported" in out
    assert out.count(path) == 1
    save_file({"h0": np.zeros((8, 3), "f4")}, path)
    assert main(["inspect", path]) == 0
    assert "1 tensor that no layer uses" in capsys.readouterr().out


@pytest.mark.parametrize("model_class", ["Sequential", "OfItsOwn"])
def test_inspect_says_why_a_keras_file_is_refused_once(
    model_class: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = {"module": "keras.layers", "class_name": "LSTM", "config": {"name": "rnn"}, "registered_name": None}
    config = {"class_name": model_class, "config": {"layers": [layer]}}
    tensors = {"layers/lstm/cell/vars/0": np.zeros((4, 12), "f4")}
    given = Checkpoint("some.keras", "keras", tensors, config, {"keras_version": "3.15.1"})
    monkeypatch.setattr("fastgru.checkpoint.reading.read_for_model", lambda path, part=None: given)
    assert main(["inspect", "some.keras"]) == 0
    out = capsys.readouterr().out
    assert out.count("not supported" if model_class == "Sequential" else "name its layers") == 1
    assert out.count("some.keras") == 1
    assert "LSTM" in out and "rnn" in out


def test_what_inspect_suggests_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", DIGITS])
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  --layers ")]
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 8), np.float32))
    run = ["run", DIGITS, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]
    assert main([*run, *shlex.split(line)]) == 1  # and asks for what the file does not say
    assert "layers= has ... behind 'gru' and before 'fc'" in capsys.readouterr().err
    filled = line.replace("...", "fastgru.Last()", 1).replace(", ...", "")
    assert main([*run, *shlex.split(filled)]) == 0


def test_an_error_that_suggests_layers_gives_them_for_the_command_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", DIGITS, str(tmp_path / "digits.safetensors")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == """On the command line that is --layers '["gru", ..., "fc", ...]'"""


def test_inspect_explains_the_layer_it_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", DIGITS])
    out = capsys.readouterr().out
    for words in (
        "Replace each ... by",
        "fastgru.FinalState() the final states of both directions",
        "Activation('relu')",
        "fastgru verify with --layers, --data x.npy and --expected y.npy tells whether that gives",
    ):
        assert words in out


def test_a_name_in_a_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "escape.safetensors"
    name = "\x1b[31mgru\r."
    save_file({f"{name}weight_ih": np.zeros((6, 3), "f4"), f"{name}weight_hh": np.zeros((6, 2), "f4")}, path)
    main(["inspect", str(path)])
    main(["run", str(path), "none.npy", "-o", str(tmp_path / "y.npy"), "--layers", "other"])
    printed = capsys.readouterr()
    assert "gru" in printed.out
    assert not {"\x1b", "\r"} & set(printed.out + printed.err)


@pytest.mark.parametrize("command", [["inspect"], ["run"]])
@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", b"PK\x03\x04 nor a zip"])
def test_a_file_that_is_no_model_is_one_error(
    command: list[str], content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    more = ["x.npy", "-o", str(tmp_path / "y.npy")] if command == ["run"] else []
    assert main([*command, str(path), *more]) == 1
    assert str(path) in error_line(capsys)


def test_run_writes_what_the_model_gives(images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.npy"
    assert main(["run", DIGITS, images, "-o", str(out), "--layers", CHAIN]) == 0
    model = fastgru.load(DIGITS, layers=["gru", Last(), "fc"])
    np.testing.assert_array_equal(np.load(out), model(np.load(images)))
    printed = capsys.readouterr()
    assert "(540, 10) float32" in printed.out
    assert printed.err == ""  # no progress bar where standard error is not a terminal


def test_rows_at_a_time_change_no_bit(gru_file: str, tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    x, lengths = random.normal(size=(23, 9, 3)).astype(np.float32), random.integers(1, 10, 23)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "lengths.npy", lengths)
    wanted_y, wanted_h = fastgru.load(gru_file)(x, lengths=lengths)
    for rows in ("1", "5", "23", "1000"):
        paths = [str(tmp_path / name) for name in ("y.npy", "h.npy")]
        arguments = ["run", gru_file, str(tmp_path / "x.npy"), "-o", paths[0], "--state", paths[1]]
        assert main([*arguments, "--lengths", str(tmp_path / "lengths.npy"), "--batch", rows, "--threads", "1"]) == 0
        np.testing.assert_array_equal(np.load(paths[0]), wanted_y)
        np.testing.assert_array_equal(np.load(paths[1]), wanted_h)


@pytest.mark.parametrize("shape", [(7, 3), (0, 7, 3)])
def test_one_sequence_and_none_keep_their_shapes(shape: tuple[int, ...], gru_file: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(shape, np.float32))
    out, state = str(tmp_path / "y.npy"), str(tmp_path / "h.npy")
    assert main(["run", gru_file, str(tmp_path / "x.npy"), "-o", out, "--state", state]) == 0
    assert np.load(out).shape == (*shape[:-1], 4)
    assert np.load(state).shape == (1, *shape[:-2], 4)


def test_float64_is_written_as_float64(gru_file: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3, 3)))
    out = str(tmp_path / "y.npy")
    assert main(["run", gru_file, str(tmp_path / "x.npy"), "-o", out, "--precision", "float64"]) == 0
    assert np.load(out).dtype == np.float64


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("gru,Last(),fc", ["gru", "Last()", "fc"]),
        (" gru , Last( ) , fc ,", ["gru", "Last()", "fc"]),
        ('layers=["gru", fastgru.Last(), "fc"]', ["gru", "Last()", "fc"]),
        ("['a.b', \"c, d\", '']", ["a.b", "c, d", ""]),
        ("gru,Activation(relu)", ["gru", "Activation('relu')"]),
        ("gru,Activation('relu')", ["gru", "Activation('relu')"]),
        ("Activation(softmax, axis=(1, 2)),fc", ["Activation('softmax', axis=(1, 2))", "fc"]),
        ("FinalState(), Dropout( )", ["FinalState()", "Dropout()"]),
        ("MaxPooling1D(3, strides=2)", ["MaxPooling1D(size=3, strides=2, padding='valid')"]),
        ("fastgru.Reshape((-1, 4)),Mean(True)", ["Reshape(shape=(-1, 4))", "Mean(keepdims=True)"]),
        ("Named('a.b', padding=1),Named(c)", ["Named('a.b', padding=1)", "Named('c')"]),
        ("Last", ["Last"]),  # without brackets it is a module's name
    ],
)
def test_a_chain_is_read_as_it_is_written(text: str, wanted: list[str]) -> None:
    assert [item if isinstance(item, str) else repr(item) for item in layer_chain(text)] == wanted


def test_a_chain_s_activation_is_the_layer() -> None:
    assert layer_chain("Activation(relu)") == [Activation("relu")]


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "gru,,fc", "gru fc", "__import__('os')", "gru,Activation()", "Last(3)", "GRU()", '"a\\x"', "Lost()",
        "Mean(keepdims=3)", "Mean(keep=True)", "Mean(True, keepdims=True)", "Reshape(4)", "Reshape(__import__('os'))",
        "MaxPooling1D()", "MaxPooling1D(size=1, **x)", "Masking(x)", "Dense(weight)", "LayerNormalization(gamma)",
        "Named()", "Named(a, no_such_option=1)", "Activation(relu, relu, relu)", "Last(", "Named(lambda: 3)",
    ],
)  # fmt: skip
def test_a_chain_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(cli.argparse.ArgumentTypeError):
        layer_chain(text)


def test_wrong_arrays_leave_no_file_and_keep_the_old_one(
    gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "y.npy"
    out.write_bytes(b"what was there before")
    wrong = {
        "features": np.ones((2, 3, 5), np.float32),
        "rank": np.ones(3, np.float32),
        "complex": np.ones((2, 3, 3), complex),
        "scalar": np.float32(1),
        "steps": np.ones((2, 0, 3), np.float32),
    }
    for name, array in wrong.items():
        np.save(tmp_path / "x.npy", array)
        assert main(["run", gru_file, str(tmp_path / "x.npy"), "-o", str(out)]) == 1, name
        assert "x: got" in error_line(capsys)
    assert out.read_bytes() == b"what was there before"
    assert not hidden_files(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "(it is empty)"),
        (b"1,2\n3,4", "(it begins with '1,2\\n3,4')"),
        (b"\x80\x04N.", "(it begins with '\\x80\\x04N.')"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "EOF"),
        (b"PK\x03\x04", "zip"),
    ],
)
def test_an_input_that_is_no_array_is_one_error(
    content: bytes, reason: str, gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    assert main(["run", gru_file, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 1
    error = error_line(capsys)
    assert "not a .npy file of numbers" in error and reason in error
    assert "allow_pickle" not in error  # NumPy's own advice is to load it unsafely


@pytest.mark.parametrize("error", [MemoryError, TimeoutError, InterruptedError])
def test_reading_an_array_swallows_nothing_that_is_not_about_the_file(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise error

    np.save(tmp_path / "x.npy", np.ones(3))
    monkeypatch.setattr(np, "load", interrupted)
    with pytest.raises(error):
        input_files.read_array(str(tmp_path / "x.npy"))


@pytest.mark.filterwarnings("ignore")  # of the header: an invalid escape, a deprecated type
def test_a_damaged_npz_is_said_to_be_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones(3))
    sound, wrong = (tmp_path / "x.npz").read_bytes(), 0
    for place in range(len(sound)):
        for value in (0, 0x80, 0xFF):
            (tmp_path / "x.npz").write_bytes(sound[:place] + bytes([value]) + sound[place + 1 :])
            try:
                input_files.read_lengths(str(tmp_path / "x.npz"))
            except fastgru.CheckpointError as error:
                assert "x.npz: " in str(error)  # noqa: PT017 - many damages make no difference
                wrong += 1
    assert wrong > 100


def test_a_zip_that_is_no_npz_is_named(gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", gru_file, DIGITS, "-o", str(tmp_path / "y.npy")]) == 1
    assert "a zip with 'digits/data.pkl' in it, not an .npz of arrays" in error_line(capsys)


def test_python_objects_and_several_arrays_are_refused(
    gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "objects.npy", np.array([object()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "several.npz", a=np.ones(3))
    for name in ("objects.npy", "several.npz"):
        assert main(["run", gru_file, str(tmp_path / name), "-o", str(tmp_path / "y.npy")]) == 1
        assert "numpy.save" in error_line(capsys)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [([1, 2], "wanted (3,)"), ([1, 9, 2], "row 1 has length 9"), ([0.5, 1.0, 2.0], "wanted integers")],
)
def test_wrong_lengths_name_the_row(
    lengths: list[float], words: str, gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 4, 3), np.float32))
    np.save(tmp_path / "lengths.npy", np.array(lengths))
    arguments = ["run", gru_file, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy"), "--batch", "1"]
    assert main([*arguments, "--lengths", str(tmp_path / "lengths.npy")]) == 1
    assert words in error_line(capsys)


def test_final_states_of_a_model_are_refused(images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", DIGITS, images, "-o", str(tmp_path / "y.npy"), "--layers", CHAIN]
    assert main([*arguments, "--state", str(tmp_path / "h.npy")]) == 1
    assert "only a GRU alone" in error_line(capsys)
    assert not (tmp_path / "y.npy").exists()


def test_the_one_gru_that_layers_names_has_states(images: str, tmp_path: Path) -> None:
    with np.load(DEMO / "digits.npz") as data:
        x = data["images"] / np.float32(16)
    weights = {name: value for name, value in fastgru.read(DIGITS).items() if name.startswith("gru.")}
    save_file(weights, tmp_path / "gru.safetensors")
    y, h = tmp_path / "y.npy", tmp_path / "h.npy"
    command = ["run", str(tmp_path / "gru.safetensors"), images, "-o", str(y), "--layers", "gru", "--state", str(h)]
    assert main(command) == 0
    for path, wanted in zip((y, h), fastgru.load(tmp_path / "gru.safetensors")(x), strict=True):
        assert same_bits(np.load(path), wanted)


def test_an_output_never_goes_over_an_input(images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(images).read_bytes()
    assert main(["run", DIGITS, images, "-o", images, "--layers", CHAIN]) == 1
    assert "name another file" in error_line(capsys)
    same = str(tmp_path / "y.npy")
    assert main(["run", DIGITS, images, "-o", same, "--state", same, "--layers", CHAIN]) == 1
    assert Path(images).read_bytes() == before


@pytest.mark.parametrize("where", ["missing/y.npy", "folder"])
def test_an_output_that_cannot_be_a_file_is_one_error(
    where: str, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    assert main(["run", DIGITS, images, "-o", str(tmp_path / where), "--layers", CHAIN]) == 1
    assert str(tmp_path / where) in error_line(capsys)
    assert not hidden_files(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="Windows has no such file")
def test_a_pipe_is_no_output(images: str) -> None:
    command = [sys.executable, "-m", "fastgru", "run", DIGITS, images, "-o", "/dev/stdout", "--layers", CHAIN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "/dev/stdout: what is written must be a regular file" in done.stderr


def test_a_link_stays_a_link_and_its_file_is_replaced(images: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "y.npy", tmp_path / "y.npy"
    target.write_bytes(b"old")
    link.symlink_to(target)
    assert main(["run", DIGITS, images, "-o", str(link), "--layers", CHAIN]) == 0
    assert link.is_symlink()
    assert np.load(target).shape == (540, 10)


def test_ctrl_c_is_exit_code_130_and_leaves_no_file(
    images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def interrupted(self: fastgru.Model, x: np.ndarray, lengths: None = None) -> np.ndarray:
        calls.append(len(x))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.zeros((len(x), 10), np.float32)

    monkeypatch.setattr(fastgru.Model, "__call__", interrupted)
    out = tmp_path / "y.npy"
    assert main(["run", DIGITS, images, "-o", str(out), "--layers", CHAIN, "--batch", "100"]) == 130
    assert calls == [100, 100, 100]
    assert not out.exists()
    assert not hidden_files(tmp_path)


def test_a_full_disk_leaves_the_old_file(
    images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_file.os, "fsync", full)
    out = tmp_path / "y.npy"
    out.write_bytes(b"old")
    assert main(["run", DIGITS, images, "-o", str(out), "--layers", CHAIN]) == 1
    assert "No space left" in error_line(capsys)
    assert out.read_bytes() == b"old"
    assert not hidden_files(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="a closed pipe is another error on Windows")
def test_a_reader_that_has_gone_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "fastgru", "inspect", DIGITS]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("rich", [True, False])
def test_a_long_run_shows_progress_on_a_terminal(
    rich: bool, images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not rich:
        without_rich(monkeypatch)
    monkeypatch.setattr(sys, "stderr", Terminal())
    arguments = ["run", DIGITS, images, "-o", str(tmp_path / "y.npy"), "--layers", CHAIN, "--batch", "100"]
    assert main(arguments) == 0
    shown = sys.stderr.getvalue()
    assert "540" in shown
    assert ("#" in shown) != rich


def test_tables_keep_square_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    terminal.print_table(("layer", "size"), [("[bold]gru[/bold]", "3")], right=("size",))
    assert "[bold]gru[/bold]" in sys.stdout.getvalue()


def test_what_is_counted_is_singular_only_where_it_is_one() -> None:
    assert [terminal.counted(count, "row") for count in (0, 1, 2, 1000)] == ["0 rows", "1 row", "2 rows", "1,000 rows"]


def test_a_plain_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(("layer", "size"), [("gru", "12"), ("output", "3")], right=("size",))
    assert capsys.readouterr().out == "layer   size\n------  ----\ngru       12\noutput     3\n"


@pytest.mark.parametrize("terminal_like", [True, False])
@pytest.mark.parametrize("columns", [24, 40, 60, 80, 100])
def test_a_table_never_breaks_a_word(
    columns: int, terminal_like: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    headings = ("layer", "kind", "takes", "parameters")
    row = ("  global_pooling1d", "BatchNormalization", "embedding, gru_2[1]", "12")
    if terminal_like:
        monkeypatch.setattr(sys, "stdout", Terminal())
    terminal.print_table(headings, [row, ("x", "GRU", "", "1,000")], right=("parameters",))
    out = sys.stdout.getvalue() if terminal_like else capsys.readouterr().out
    words = out.replace("\u2500", "-").split()
    assert [word for word in words if word.strip("-")].count("BatchNormalization") == 1
    for word in " ".join((*row, "x GRU 1,000")).split():
        assert word in words
    assert columns < 40 or max(map(len, out.splitlines())) <= columns
    assert out.splitlines()[0].split() == (list(headings) if columns >= 80 else ["global_pooling1d"])


@pytest.mark.parametrize("columns", [60, 80])
def test_a_plain_table_keeps_within_the_columns(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    row = ("encoder.layers.0.recurrent", "GRU", "reset after, tanh, gates sigmoid, merge concat, " * 2, "1,234,567")
    terminal.print_table(("layer", "kind", "options", "parameters"), [row], right=("parameters",))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[2].endswith("1,234,567")
    assert sum(line.count("gates") for line in lines) == 2


def test_the_command_imports_only_what_it_needs() -> None:
    script = (
        "import sys; from fastgru.command.cli import main; main(['config']); "
        "print(sorted({'scipy', 'h5py', 'rich', 'torch', 'keras', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def save_model(path: Path, spec: ModelSpec) -> str:
    fastgru.Model(spec).save(path)
    return str(path)


@pytest.fixture
def translator(tmp_path: Path) -> str:
    """A file of a model with two inputs of steps of their own, one of them integers, and two outputs."""
    encoder = GRULayer(network(4, 6), return_sequences=False, return_state=True)
    spec = ModelSpec(
        (Input("source", (None, 4)), Input("target", (None,), True)),
        (
            Node("encoder", encoder, ("source",)),
            Node("words", Embedding(numbers(9, 3)), ("target",)),
            Node("decoder", GRULayer(network(3, 6)), ("words", ("encoder", 1))),
        ),
        ("decoder", ("encoder", 1)),
    )
    return save_model(tmp_path / "translator.safetensors", spec)


@pytest.mark.parametrize("name", ["torch_dynamic_int8.pt", "torch_bfloat16.pt", "torch_gru.pt"])
def test_inspect_says_in_which_precision_tensors_are_stored(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(Path(__file__).parent / "golden" / name)
    assert main(["inspect", path, "--json"]) == 0
    stored = json.loads(capsys.readouterr().out)["stored"]
    assert main(["inspect", path]) == 0
    shown = capsys.readouterr().out
    if name == "torch_dynamic_int8.pt":
        assert stored == {"int8": 2, "float32": 2}
        assert "stored as   int8 (2 tensors), float32 (2 tensors); read as float32" in shown
    elif name == "torch_bfloat16.pt":
        assert stored == {"bfloat16": 4} and "stored as   bfloat16 (4 tensors); read as float32" in shown
    else:
        assert stored == {"float32": 4} and "stored as" not in shown


def test_inspect_of_a_hostile_graph_prints_no_more_than_a_person_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = tuple(Node(f"layer_{index}", Concatenate(), ("x",) * 100) for index in range(1000))
    outputs = tuple(node.name for node in nodes)
    path = save_model(tmp_path / "vast.safetensors", ModelSpec((Input("x", (None, 1)),), nodes, outputs))
    capsys.readouterr()
    assert main(["inspect", path]) == 0
    out = capsys.readouterr().out
    assert "... and 900 more, which --json lists" in out and "and 992 more" in out
    assert len(out) < 40_000


def translator_inputs(folder: Path, rows: int = 7) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    random = np.random.default_rng(8)
    x = {"source": random.standard_normal((rows, 5, 4), np.float32), "target": random.integers(0, 9, (rows, 3))}
    for name, array in x.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder / "both.npz", **x)
    return x, {name: f"{name}={folder}/{name}.npy" for name in x}


@pytest.mark.parametrize("way", ["pairs", "pairs the other way round", "npz", "numbered npz"])
def test_several_inputs_and_outputs(
    way: str, translator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, pairs = translator_inputs(tmp_path)
    np.savez(tmp_path / "numbered.npz", *x.values())
    given = {
        "pairs": list(pairs.values()),
        "pairs the other way round": list(pairs.values())[::-1],
        "npz": [str(tmp_path / "both.npz")],
        "numbered npz": [str(tmp_path / "numbered.npz")],
    }[way]
    out = str(tmp_path / "y.npz")
    wanted = fastgru.load(translator)(x)
    for rows in ("2", "100"):
        assert main(["run", translator, *given, "-o", out, "--batch", rows]) == 0
        with np.load(out) as made:
            assert list(made) == ["decoder", "encoder_1"]
            for one, other in zip(made.values(), wanted, strict=True):
                assert same_bits(one, other)
    assert "decoder (7, 3, 6), encoder_1 (7, 6) float32" in capsys.readouterr().out
    assert not hidden_files(tmp_path)


def test_lengths_of_one_input_by_its_name(translator: str, tmp_path: Path) -> None:
    x, pairs = translator_inputs(tmp_path)
    lengths = np.array([5, 1, 2, 3, 4, 5, 1])
    np.savez(tmp_path / "lengths.npz", source=lengths)
    arguments = ["run", translator, *pairs.values(), "-o", str(tmp_path / "y.npz"), "--batch", "3"]
    assert main([*arguments, "--lengths", str(tmp_path / "lengths.npz")]) == 0
    with np.load(tmp_path / "y.npz") as made:
        assert same_bits(made["decoder"], fastgru.load(translator)(x, {"source": lengths})[0])


def test_one_row_of_several_inputs(translator: str, tmp_path: Path) -> None:
    x, pairs = translator_inputs(tmp_path)
    for name, array in x.items():
        np.save(tmp_path / f"{name}.npy", array[0])
    assert main(["run", translator, *pairs.values(), "-o", str(tmp_path / "y.npz")]) == 0
    with np.load(tmp_path / "y.npz") as made:
        assert [array.shape for array in made.values()] == [(3, 6), (6,)]


def test_wrong_inputs_are_named(translator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, pairs = translator_inputs(tmp_path)
    source, target = pairs["source"], pairs["target"]
    np.savez(tmp_path / "other.npz", source=x["source"], other=x["target"])
    np.save(tmp_path / "fewer.npy", x["target"][:3])
    for given, words in [
        ([str(tmp_path / "source.npy")], "source=FILE.npy target=FILE.npy, or as one .npz file"),
        ([source], "the model has the inputs source, target"),
        ([source, source], "the model has the inputs source, target"),
        ([source, target, target], "the model has the inputs source, target"),
        ([source, f"{tmp_path}/target.npy"], "the model has the inputs source, target"),
        ([source, "other=x.npy"], "the model has the inputs source, target"),
        (
            [str(tmp_path / "other.npz")],
            "holds the arrays source, other, wanted source, target; write it with numpy.savez(",
        ),
        ([source, "target=missing.npy"], "missing.npy: No such file"),
        ([source, f"target={tmp_path}/both.npz"], "holds several arrays"),
        ([source, f"target={tmp_path}/fewer.npy"], "different batch sizes"),
        ([source, f"target={tmp_path}/source.npy"], "x: 'target'"),
    ]:
        assert main(["run", translator, *given, "-o", str(tmp_path / "y.npz")]) == 1
        assert words in error_line(capsys)
    assert not (tmp_path / "y.npz").exists() and not hidden_files(tmp_path)


def test_several_outputs_need_an_npz(translator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, pairs = translator_inputs(tmp_path)
    assert main(["run", translator, *pairs.values(), "-o", str(tmp_path / "y.npy")]) == 1
    assert "the model has 2 outputs (decoder, encoder_1); name an .npz file" in error_line(capsys)


def test_one_output_in_an_npz_and_a_gru_s_input_by_name(gru_file: str, tmp_path: Path) -> None:
    x = np.ones((2, 3, 3), np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    assert main(["run", gru_file, str(tmp_path / "x.npz"), "-o", str(tmp_path / "y.npz")]) == 0
    np.save(tmp_path / "x.npy", x)
    assert main(["run", gru_file, f"x={tmp_path}/x.npy", "-o", str(tmp_path / "y.npy")]) == 0
    with np.load(tmp_path / "y.npz") as made:
        assert same_bits(made["y"], np.load(tmp_path / "y.npy"))


def test_a_file_whose_name_has_an_equals_sign_is_a_file(gru_file: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x=1.npy", np.ones((2, 3, 3), np.float32))
    assert main(["run", gru_file, str(tmp_path / "x=1.npy"), "-o", str(tmp_path / "y.npy")]) == 0


def test_an_output_never_goes_over_one_of_several_inputs(
    translator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, pairs = translator_inputs(tmp_path)
    assert main(["run", translator, *pairs.values(), "-o", str(tmp_path / "target.npy")]) == 1
    assert "name another file" in error_line(capsys)


def test_a_wide_model_runs_few_rows_at_once(tmp_path: Path) -> None:
    x = {"input": np.zeros((5000, 10, 4), np.float32)}
    narrow, wide = chain(Dense(numbers(4, 4))), chain(Dense(numbers(2**14, 4)), Mean())
    assert rows_at_once(fastgru.Model(narrow), x) == MAX_ROWS
    assert rows_at_once(fastgru.Model(wide), x) == 2**25 // (10 * 2**14)
    for steps, rows in ((2**10, 8), (2**11, 4), (2**13, 1)):  # of 16, 32 and 128 million numbers
        x = {"input": np.zeros((20, steps, 4), np.float32)}
        assert rows_at_once(fastgru.Model(wide), x) == rows


@pytest.mark.parametrize("nested", [False, True])
def test_grus_inside_models_inside_count_among_the_widest_as_any(nested: bool) -> None:
    """Every step of the outer sequence is a row of the inner one, and all of them run together."""
    inner = chain(GRULayer(network(4, 512), return_sequences=False), Dense(numbers(2, 512)), shape=(None, 4))
    model = chain(TimeDistributed(inner), shape=(None, None, 4))
    if nested:
        model = chain(TimeDistributed(model), shape=(None, None, None, 4))
    shape = (2, 15, 20, 4) if nested else (30, 20, 4)
    x = {"input": np.zeros((5000, *shape), np.float32)}
    assert rows_at_once(fastgru.Model(model), x) == 2**25 // (30 * 20 * 3 * 512)


def test_gru_layers_count_with_the_steps_that_reach_them_and_with_every_cell() -> None:
    x = {"input": np.zeros((5000, 10, 4), np.float32)}
    longer = chain(UpSampling1D(50), GRULayer(network(4, 256)), Last())
    assert rows_at_once(fastgru.Model(longer), x) == 2**25 // (500 * 3 * 256)
    cells = chain(GRULayer(network(4, 8), (network(8, 2048),), return_sequences=False))
    assert rows_at_once(fastgru.Model(cells), x) == 2**25 // (10 * 3 * 2048)


def test_convert_says_how_large_the_difference_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "digits.safetensors")
    assert main(["convert", DIGITS, out, "--layers", CHAIN]) == 0
    printed = capsys.readouterr()
    assert "Largest difference between the two, on 3 random rows of 24 steps: 0\n" in printed.out
    assert f"({os.path.getsize(out):,} bytes)" in printed.out and "8 -> 64" in printed.out
    assert printed.err == ""
    with np.load(DEMO / "digits.npz") as data:
        x = data["images"] / np.float32(16)
    assert same_bits(fastgru.load(out)(x), fastgru.load(DIGITS, layers=["gru", Last(), "fc"])(x))


@pytest.mark.filterwarnings("always:.*no layer uses")
def test_what_no_layer_uses_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "gru.safetensors")
    assert main(["convert", DIGITS, out, "--layers", "gru"]) == 1 and not os.path.exists(out)
    assert "fc" in capsys.readouterr().err
    assert main(["convert", DIGITS, out, "--layers", "gru", "--no-strict"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("fastgru: warning: ") and "no layer uses" in said and "cli.py" not in said
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 8), np.float32))
    run = ["run", DIGITS, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy"), "--layers", "gru", "--no-strict"]
    assert main(run) == 0 and np.load(tmp_path / "y.npy").shape[:2] == (2, 3)


def test_convert_as_json(translator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "again.safetensors")
    assert main(["convert", translator, out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["source"], found["target"], found["largest_difference"]) == (translator, out, 0)
    assert found["bytes_read"] == found["bytes_written"] == os.path.getsize(out)
    assert [layer["name"] for layer in found["layers"]] == ["encoder", "words", "decoder"]
    assert Path(out).read_bytes() == Path(translator).read_bytes()


def test_convert_does_not_write_over_a_file_unless_it_is_told_to(
    gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "there.safetensors"
    out.write_bytes(b"old")
    assert main(["convert", gru_file, str(out)]) == 1
    assert "is there already" in error_line(capsys)
    assert out.read_bytes() == b"old"
    assert main(["convert", gru_file, str(out), "--force"]) == 0
    assert isinstance(fastgru.load(out), fastgru.GRU)
    for wrong in (gru_file, str(tmp_path)):
        assert main(["convert", gru_file, wrong, "--force"]) == 1
        error_line(capsys)


def test_convert_writes_nothing_under_the_name_of_another_format(
    gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.onnx", "model.h5", "model"):
        assert main(["convert", gru_file, str(tmp_path / name)]) == 1
        assert "convert writes safetensors; name a file that ends in .safetensors" in error_line(capsys)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", [kind.__name__ for kind in EXAMPLES])
def test_convert_finds_inputs_for_every_layer(name: str, tmp_path: Path) -> None:
    for spec in EXAMPLES[getattr(fastgru.layers, name)]:
        path = save_model(tmp_path / "in", spec)
        found = conversion.convert(path, str(tmp_path / "out"))
        assert found["largest_difference"] == 0, found


def test_convert_says_what_kept_it_from_comparing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reshaped = ModelSpec(
        (Input("x", (None, 4)),),
        (Node("r", Reshape((-1, 1009)), ("x",)), Node("d", Dense(numbers(2, 1009)), ("r",))),
        ("d",),
    )
    path = save_model(tmp_path / "in.safetensors", reshaped)
    assert main(["convert", path, str(tmp_path / "out.safetensors")]) == 0
    assert "not compared: layer 'r'" in capsys.readouterr().out


def test_convert_does_not_try_an_input_without_bounds(tmp_path: Path) -> None:
    path = save_model(tmp_path / "in", chain(Mean(), shape=(2**31 - 1, 4)))
    found = conversion.convert(path, str(tmp_path / "out"))
    assert "too large to try" in found["not_compared"] and found["largest_difference"] is None


def test_a_difference_is_seen_and_is_exit_code_1(
    gru_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = fastgru.load(gru_file), fastgru.GRU(network(3, 4))
    x = random_inputs(one, 5)
    assert conversion.largest_difference(one, one, x) == 0
    assert conversion.largest_difference(one, other, x) > 0.01
    models = iter([one, other])
    monkeypatch.setattr(conversion, "load", lambda path, layers=None, strict=True, part=None: next(models))
    assert main(["convert", gru_file, str(tmp_path / "out.safetensors")]) == 1
    assert "Largest difference" in capsys.readouterr().out


def test_numbers_that_are_no_numbers_are_a_difference() -> None:
    nan = Dense(np.full((2, 4), np.nan, np.float32))
    models = [fastgru.Model(chain(layer)) for layer in (Dense(numbers(2, 4)), nan)]
    x = random_inputs(models[0], 5)
    assert conversion.largest_difference(models[1], models[1], x) == 0
    assert conversion.largest_difference(*models, x) > 1e300


def run_shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    python = f"{shlex.quote(sys.executable)} -m fastgru"
    return subprocess.run(
        command.replace("fastgru", python, 1),
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(os.name == "nt", reason="closing an output is written otherwise there")
def test_closed_outputs_are_no_error(images: str, tmp_path: Path) -> None:
    out = tmp_path / "y.npy"
    for command, code in [
        (f"fastgru inspect {DIGITS} >&-", 0),
        (f"fastgru inspect {DIGITS} --json >&- 2>&-", 0),
        ("fastgru inspect missing >&- 2>&-", 1),
        (f"fastgru run {DIGITS} {images} --layers '{CHAIN}' -o {out} >&- 2>&-", 0),
    ]:
        done = run_shell(command)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    assert np.load(out).shape == (540, 10)


# What an installer writes for the command that pyproject.toml names.
SCRIPT = """import sys
from fastgru_command import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.parametrize("way", ["module", "command"])
def test_a_kernel_level_that_cannot_be_had_is_one_line(way: str, tmp_path: Path) -> None:
    script = tmp_path / "fastgru"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *(["-m", "fastgru"] if way == "module" else [str(script)]), "config"],
        cwd=tmp_path.parent,
        env={**os.environ, "FASTGRU_ISA": "sse9", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "FASTGRU_ISA='sse9' is not a kernel level" in done.stderr


# A module that is Ctrl-C while it is imported, and what NumPy's C code makes of that now and then.
INTERRUPTED = """import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt as error:
    raise KeyboardInterrupt if {again} else ImportError("no module datetime") from error
"""


def interrupted(arguments: list[str], module: str, again: bool, folder: Path) -> subprocess.CompletedProcess[str]:
    """What becomes of a program for which ``module`` is interrupted."""
    (folder / f"{module}.py").write_text(INTERRUPTED.format(again=again))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", ["['fastgru']", "['-m'] + ['a'] * 50", "[None]", "[]"])
def test_the_package_is_imported_under_any_name_and_in_any_thread(arguments: str) -> None:
    program = (
        f"import sys, threading; sys.argv = {arguments}; done = []\n"
        "thread = threading.Thread(target=lambda: (__import__('fastgru'), done.append(1)))\n"
        "thread.start(); thread.join(); assert done"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.skipif(os.name == "nt", reason="there a signal sent to a process ends it")
@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("module", ["numpy", "argparse"])
@pytest.mark.parametrize("way", ["module", "command"])
def test_ctrl_c_while_the_command_is_imported_is_exit_code_130(
    way: str, module: str, again: bool, tmp_path: Path
) -> None:
    script = tmp_path / "fastgru"
    script.write_text(SCRIPT)
    done = interrupted(["-m", "fastgru", "config"] if way == "module" else [str(script)], module, again, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.skipif(os.name == "nt", reason="there a signal sent to a process ends it")
@pytest.mark.parametrize("way", ["program", "module"])
def test_ctrl_c_stays_an_exception_in_programs_that_import_the_package(way: str, tmp_path: Path) -> None:
    """Also in one whose package does so while Python looks for it, and that has the name as an argument."""
    (tmp_path / "own").mkdir()
    own = "try:\n    import fastgru\nexcept KeyboardInterrupt:\n    print('held')\n"
    (tmp_path / "own" / "__init__.py").write_text(own)
    (tmp_path / "own" / "__main__.py").write_text("")
    arguments = ["-m", "own", "fastgru", "-m"] if way == "module" else ["-c", own, "fastgru"]
    done = interrupted(arguments, "numpy", True, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "held\n", "")


@pytest.mark.skipif(os.name == "nt", reason="there a signal sent to a process ends it")
@pytest.mark.parametrize("name", ["fastgru", "fastgru.exe", "other"])
def test_a_users_own_program_of_any_name_keeps_its_signals(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()  # or the program itself would be what it imports
    script = tmp_path / "folder" / name
    script.write_text(
        "import os, signal\n"
        "before = {number: signal.getsignal(number) for number in signal.valid_signals()}\n"
        "import fastgru\n"
        "assert before == {number: signal.getsignal(number) for number in signal.valid_signals()}\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    print('held')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "held\n", "")


@pytest.mark.parametrize("text", ["abc", "0", "-1", "2.5", "9999"])
def test_config_refuses_a_number_of_threads_that_a_call_would_refuse(text: str) -> None:
    done = run_shell("fastgru config", FASTGRU_NUM_THREADS=text)
    wanted = f"fastgru: error: FASTGRU_NUM_THREADS={text!r}: wanted a whole number from 1 to 1024\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", wanted)


def test_config_shows_the_number_of_threads_of_the_environment() -> None:
    for text, wanted in (("3", 3), ("", None)):
        assert (
            json.loads(run_shell("fastgru config --json", FASTGRU_NUM_THREADS=text).stdout)["FASTGRU_NUM_THREADS"]
            == wanted
        )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_leaves_no_part_of_a_file(number: signal.Signals, gru_file: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((20_000, 400, 3), np.float32))
    out = tmp_path / "y.npy"
    out.write_bytes(b"old")
    command = [
        sys.executable,
        "-m",
        "fastgru",
        "run",
        gru_file,
        str(tmp_path / "x.npy"),
        "-o",
        str(out),
        "--batch",
        "1",
    ]
    before = signal.signal(number, signal.SIG_DFL)  # this process, and so its children, may ignore it, as by nohup
    try:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(number, before)
    with started as running:
        try:
            until = time.monotonic() + 30
            while not hidden_files(tmp_path) and time.monotonic() < until:
                time.sleep(0.01)
            assert hidden_files(tmp_path)
            running.send_signal(number)
            output, error = running.communicate(timeout=30)
        finally:
            running.kill()
    assert (running.returncode, output, error) == (128 + number, b"", b"")
    assert out.read_bytes() == b"old"
    assert not hidden_files(tmp_path)


def test_signals_are_left_as_they_were() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    results = []
    thread = threading.Thread(target=lambda: results.append(main(["inspect", DIGITS])))
    thread.start()
    thread.join()
    assert results == [main(["inspect", DIGITS])] == [0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
