"""What the command promises: exit codes, errors without a traceback, and output files that are whole or not there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastgru
from fastgru import cli, run_file, terminal
from fastgru.checkpoint import Checkpoint
from fastgru.cli import main
from fastgru.spec import Activation, Last

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
        ["run", "model.pt", "x.npy", "-o", "y.npy", "--precision", "float16"],
        ["run", "model.pt", "x.npy", "-o", "y.npy", "--layers", "gru,Lost()"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(arguments)
    assert exit_code.value.code == 2
    assert "usage: fastgru" in capsys.readouterr().err


def test_config_prints_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert "kernels" in capsys.readouterr().out
    assert main(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fastgru"] == fastgru.__version__


def test_inspect_says_what_is_there_and_how_to_load_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", DIGITS]) == 0
    out = capsys.readouterr().out
    for words in ("PyTorch", "14,858 in 2 layers", "8 -> 64", "reset after", 'layers=["gru", fastgru.Last(), "fc"]'):
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


@pytest.mark.parametrize("model_class", ["Sequential", "Functional"])
def test_inspect_says_why_a_keras_file_is_refused_once(
    model_class: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"class_name": model_class, "config": {"layers": [{"class_name": "LSTM", "config": {"name": "rnn"}}]}}
    given = Checkpoint("some.keras", "keras", {"layers/lstm/cell/vars/0": np.zeros((4, 12), "f4")}, config)
    monkeypatch.setattr("fastgru.checkpoint.read", lambda path: given)
    assert main(["inspect", "some.keras"]) == 0
    out = capsys.readouterr().out
    assert out.count("upported") == 2 - (model_class == "Functional")
    assert out.count("some.keras") == 1
    assert ("parameters" in out) == (model_class == "Sequential")


def test_inspect_explains_the_layer_it_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", DIGITS])
    assert "FinalState() the final states of both directions; leave it out for" in capsys.readouterr().out


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
        ("gru,Activation(relu)", ["gru", "Activation(name='relu')"]),
        ("gru,Activation('relu')", ["gru", "Activation(name='relu')"]),
        ("FinalState(),Mean(),Max(),Dropout()", ["FinalState()", "Mean()", "Max()", "Dropout()"]),
        ("Last", ["Last"]),  # without brackets it is a module's name
    ],
)
def test_a_chain_is_read_as_it_is_written(text: str, wanted: list[str]) -> None:
    assert [item if isinstance(item, str) else repr(item) for item in cli._layers(text)] == wanted


def test_a_chain_s_activation_is_the_layer() -> None:
    assert cli._layers("Activation(relu)") == [Activation("relu")]


@pytest.mark.parametrize(
    "text", ["", ",", "gru,,fc", "gru fc", "__import__('os')", "gru,Activation()", "Last(3)", "GRU()", '"a\\x"']
)
def test_a_chain_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(cli.argparse.ArgumentTypeError):
        cli._layers(text)


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


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_an_input_that_is_no_array_is_one_error(
    content: bytes, gru_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    assert main(["run", gru_file, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 1
    assert "not a .npy file of numbers" in error_line(capsys)


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
    assert "/dev/stdout: OUTPUT must be a regular file" in done.stderr


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


@pytest.mark.parametrize("rich", [True, False])
def test_tables_keep_square_brackets(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not rich:
        without_rich(monkeypatch)
    monkeypatch.setattr(sys, "stdout", Terminal())
    terminal.print_table(("layer", "size"), [("[bold]gru[/bold]", "3")], right=("size",))
    assert "[bold]gru[/bold]" in sys.stdout.getvalue()


def test_a_plain_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(("layer", "size"), [("gru", "12"), ("output", "3")], right=("size",))
    assert capsys.readouterr().out == "layer   size\n------  ----\ngru       12\noutput     3\n"


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
        "import sys; from fastgru.cli import main; main(['config']); "
        "print(sorted({'scipy', 'h5py', 'rich', 'torch', 'keras', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
