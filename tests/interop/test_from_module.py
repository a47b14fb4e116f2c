"""``from_torch(module, example)``: any module as its code runs, right at every size, or refused with what works."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import fastgru  # noqa: E402
from fastgru import CheckpointError, DTypeError, FastGRUError, ShapeError, UnsupportedModelError  # noqa: E402
from fastgru.command.cli import main  # noqa: E402


class Pooled(nn.Module):
    """Computes with the number of steps, in three ways."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 8, batch_first=True, bidirectional=True)
        self.out = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y, h = self.gru(x)
        pooled = y[:, x.size(1) - 1] + y.sum(1) / x.size(1) + y[:, x.size(1) // 2 :].mean(1)
        return {"scores": self.out(pooled), "states": h}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.gru = nn.GRU(6, 8, batch_first=True, bidirectional=True)
        self.score = nn.Linear(16, 1)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(self.words(words))
        weights = torch.softmax(self.score(y).squeeze(-1), 1)
        return (weights.unsqueeze(-1) * y).sum(1)


class OnlyEven(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(x)
        return y if x.size(1) % 2 == 0 else y * 2


class BranchesByNumbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(x)
        return y * 2 if x.sum() > 0 else y


def pooled() -> tuple[nn.Module, fastgru.Model]:
    torch.manual_seed(0)
    module = Pooled().eval()
    return module, fastgru.from_torch(module, torch.randn(3, 6, 5))


@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (1, 7), (2, 2), (5, 13)])
def test_steps_and_batch_stay_open_though_the_code_computes_with_them(batch: int, steps: int) -> None:
    module, model = pooled()
    x = torch.randn(batch, steps, 5)
    with torch.no_grad():
        expected = module(x)
    made = model(x.numpy())
    assert list(made) == list(expected)
    for name, array in made.items():
        assert array.shape == tuple(expected[name].shape)
        np.testing.assert_allclose(array, expected[name].numpy(), atol=2e-6)


def test_each_row_with_a_length_gives_what_it_gives_alone() -> None:
    model = fastgru.from_torch(Attention().eval(), torch.randint(0, 20, (3, 6)))
    words, lengths = np.random.default_rng(0).integers(0, 20, (4, 7)), [7, 1, 4, 6]
    together = model(words, lengths=lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(model(words[row : row + 1, :length])[0], together[row])


def test_lengths_are_refused_where_the_code_computes_with_the_number_of_steps() -> None:
    _, model = pooled()
    with pytest.raises(UnsupportedModelError, match="rows of different lengths cannot be followed"):
        model(np.zeros((2, 4, 5), np.float32), lengths=[4, 2])


def test_sizes_for_which_the_code_does_something_else_are_refused() -> None:
    model = fastgru.from_torch(OnlyEven().eval(), torch.randn(2, 4, 5))
    assert model(np.zeros((1, 6, 5), np.float32)).shape == (1, 6, 8)
    with pytest.raises(ShapeError, match="the model holds only where"):
        model(np.zeros((1, 5, 5), np.float32))


def test_code_that_branches_by_numbers_is_refused_with_what_works() -> None:
    with pytest.raises(UnsupportedModelError, match=r"fastgru\.accelerate\(module\)"):
        fastgru.from_torch(BranchesByNumbers().eval(), torch.randn(2, 4, 5))


def test_a_module_that_cannot_be_followed_is_refused_without_the_output_of_torch(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UnsupportedModelError):
        fastgru.from_torch(BranchesByNumbers().eval(), torch.randn(2, 4, 5))
    assert capfd.readouterr() == ("", "")


def test_an_example_that_the_module_itself_refuses_is_named_as_the_reason() -> None:
    wanted = (
        r"^Pooled: the module itself does not run on the example: .*4.*; give an example that module\(example\) takes"
    )
    with pytest.raises(UnsupportedModelError, match=wanted):
        fastgru.from_torch(Pooled().eval(), torch.randn(2, 4, 4))


def test_a_module_in_training_mode_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"module\.eval\(\)"):
        fastgru.from_torch(Pooled(), torch.randn(2, 4, 5))


def test_an_example_of_something_else_than_a_module_is_refused() -> None:
    with pytest.raises(DTypeError, match=r"wanted a torch\.nn\.Module"):
        fastgru.from_torch({}, torch.randn(2, 4, 5))


def test_saved_loaded_and_pickled_it_gives_the_same_bits(tmp_path: Path) -> None:
    _, model = pooled()
    model.save(tmp_path / "model.safetensors")
    x = np.random.default_rng(0).normal(size=(3, 9, 5)).astype(np.float32)
    for other in (fastgru.load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        assert isinstance(other, fastgru.Model)
        for name, array in model(x).items():
            np.testing.assert_array_equal(array, other(x)[name])


def test_every_command_takes_a_saved_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, model = pooled()
    path, x = str(tmp_path / "model.safetensors"), np.random.default_rng(0).normal(size=(5, 4, 5)).astype(np.float32)
    model.save(path)
    assert main(["inspect", path]) == 0
    assert "Reduce" in capsys.readouterr().out
    np.save(tmp_path / "x.npy", x)
    assert main(["run", path, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npz"), "--batch", "2"]) == 0
    made, wanted = np.load(tmp_path / "y.npz"), model(x)
    assert set(made) == {"scores", "states"}
    for name in made:
        np.testing.assert_array_equal(made[name], wanted[name])
    np.savez(tmp_path / "expected.npz", **wanted)
    data = ["--data", str(tmp_path / "x.npy"), "--expected", str(tmp_path / "expected.npz")]
    assert main(["verify", path, *data, "--precision", "float32"]) == 0
    assert main(["convert", path, str(tmp_path / "half.safetensors"), "--precision", "float16"]) == 0
    assert "float16" in capsys.readouterr().out
    half = fastgru.load(tmp_path / "half.safetensors", precision="stored")
    assert half.precision == "float16"
    np.testing.assert_allclose(half(x)["scores"], wanted["scores"], atol=5e-3)
    assert main(["bench", path, "--steps", "4", "--seconds", "0.01", "--against", "torch", "--json"]) == 0


class StateApart(nn.Module):
    """The outputs of every step, and the states that torch gives beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 8, num_layers=2)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y, h = self.gru(x)
        return {"y": self.norm(y) + y, "h": h, "last": y[-1]}


def test_a_graph_streams_in_the_frameworks_axes() -> None:
    torch.manual_seed(0)
    module = StateApart().eval()
    x = torch.randn(9, 3, 5)
    model = fastgru.from_torch(module, x[:4])
    whole, stream, other = model(x.numpy()), model.stream(3), model.stream(3)
    for t in range(9):
        made = stream.step(x[t].numpy())
        so_far = model(x[: t + 1].numpy())
        np.testing.assert_array_equal(made["y"], whole["y"][t])
        np.testing.assert_array_equal(made["h"], so_far["h"])
        np.testing.assert_array_equal(made["last"], so_far["last"])
    parts = [other.run(x[:5].numpy()), other.run(x[5:].numpy())]
    np.testing.assert_array_equal(np.concatenate([part["y"] for part in parts]), whole["y"])
    np.testing.assert_array_equal(parts[-1]["h"], whole["h"])
    with pytest.raises(ShapeError, match=r"x: got shape \(2, 5\), wanted \(3, 5\)"):
        stream.step(x[0, :2].numpy())


class HalfTheSteps(nn.Module):
    """Divided by a number that the exporter leaves in the graph, with a guard on the steps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / float(x.size(1) // 2)


def test_lengths_for_which_the_code_does_something_else_are_refused() -> None:
    model = fastgru.from_torch(HalfTheSteps().eval(), torch.randn(2, 4, 3))
    x = np.ones((2, 4, 3), np.float32)
    np.testing.assert_array_equal(model(x), x / 2)
    with pytest.raises(FastGRUError, match=r"got a row of 2 steps|cannot be followed"):
        model(x, lengths=[4, 2])


def test_float64_is_exact_and_int8_is_near() -> None:
    module, model = pooled()
    x = torch.randn(2, 9, 5)
    with torch.no_grad():
        expected = module.double()(x.double())["scores"].numpy()
    np.testing.assert_allclose(model.astype("float64")(x.numpy())["scores"], expected, atol=1e-12)
    np.testing.assert_allclose(model.astype("int8")(x.numpy())["scores"], expected, atol=5e-2)


def test_an_exported_program_is_taken_for_the_sizes_it_was_exported_for() -> None:
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh()).eval()
    program = torch.export.export(module, (torch.randn(2, 5),))
    model = fastgru.from_torch(program)
    x = torch.randn(2, 5)
    np.testing.assert_allclose(model(x.numpy()), module(x).detach().numpy(), atol=1e-6)
    with pytest.raises(ShapeError):
        model(np.zeros((3, 5), np.float32))


class OfTheOtherInput(nn.Module):
    """Nothing in the code ties the rows of the two inputs together."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 2)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.gru(z.swapaxes(0, 1))[0].transpose(1, 0) * x.dim()


def test_lengths_never_pass_by_an_output() -> None:
    module, x, z = OfTheOtherInput().eval(), torch.randn(4, 7, 5), torch.randn(4, 7, 1)
    model = fastgru.from_torch(module, example=(torch.randn(3, 4, 5), torch.randn(3, 4, 1)))
    np.testing.assert_allclose(model(x.numpy(), z.numpy()), module(x, z).detach().numpy(), atol=2e-6)
    with pytest.raises(UnsupportedModelError, match="an output has no axis that is known to be the batch"):
        model(x.numpy(), z.numpy(), lengths=[7, 3, 1, 6])


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 8, batch_first=True)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.gru(left)[0] + self.gru(right)[0]


def test_inputs_that_do_not_fit_together_are_told_which_size_is_wrong() -> None:
    model = fastgru.from_torch(Pair().eval(), (torch.randn(2, 4, 5), torch.randn(2, 4, 5)))
    left = np.zeros((2, 4, 5), np.float32)
    with pytest.raises(ShapeError, match=r"right: got shape \(1, 4, 5\), .*, where batch is 2$"):
        model(left, left[:1])
    with pytest.raises(ShapeError, match=r"right: got shape \(2, 3, 5\), .*, where steps is 4$"):
        model(left, left[:, :3])


def test_a_wrong_number_of_inputs_is_told_what_is_wanted() -> None:
    model = fastgru.from_torch(Pair().eval(), (torch.randn(2, 4, 5), torch.randn(2, 4, 5)))
    left = np.zeros((2, 4, 5), np.float32)
    for given, named, got in [((), {}, "no inputs"), ((left,), {}, "1 input"), ((left,) * 3, {}, "3 inputs"),
                              ((left,), {"rigth": left}, "1 input and by name rigth")]:  # fmt: skip
        with pytest.raises(ShapeError, match=f"^got {got}, wanted 2: left, right$"):
            model(*given, **named)


def test_a_module_without_an_example_is_told_to_give_one_and_a_file_of_it_how_to_write_its_code(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"To follow its code give an example .*from_torch\(model\.eval\(\), x\)"
    ) as live:
        fastgru.from_torch(Pair().eval())
    assert "torch.jit" not in str(live.value)
    torch.save(Pair().eval(), tmp_path / "pair.pt")
    with pytest.raises(CheckpointError, match=r"use the live module, .* or load the file of torch\.export\.save"):
        fastgru.load(tmp_path / "pair.pt")


class Channels(nn.Module):
    """A convolution along the steps, for which the axes are turned, before a GRU."""

    def __init__(self, cut: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(6, 6, 3, padding=2 if cut else 1), nn.BatchNorm1d(6)
        self.gru, self.cut = nn.GRU(6, 8, batch_first=True), cut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x.transpose(1, 2)))
        return self.gru((y[:, :, :-2] if self.cut else y).transpose(1, 2).contiguous())[0]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("cut", [False, True])
def test_a_convolution_along_turned_axes_takes_one_step_and_is_streamed(cut: bool, batch: int) -> None:
    module = Channels(cut).eval()
    model = fastgru.from_torch(module, torch.randn(batch, 12, 6))
    for shape in [(1, 1, 6), (3, 1, 6), (2, 9, 6)]:
        x = torch.randn(*shape)
        np.testing.assert_allclose(model(x.numpy()), module(x).detach().numpy(), atol=2e-6)
    stream, x = model.stream(2), torch.randn(2, 9, 6)
    assert stream.delay == (0 if cut else 1)
    made = [stream.step(x[:, t].numpy()) for t in range(9)][stream.delay :]
    made = np.stack(made, 1)
    if not cut:
        made = np.concatenate([made, stream.finish()], 1)
    np.testing.assert_allclose(made, module(x).detach().numpy(), atol=2e-6)


class Halved(nn.Module):
    """Steps that a convolution and a pool halve, and a Linear behind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru = nn.Conv1d(6, 10, 3, stride=2, padding=1), nn.GRU(10, 8, batch_first=True)
        self.out = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.gru(torch.max_pool1d(self.conv(x), 2).transpose(1, 2))[0])


def test_steps_stay_open_that_the_code_halves_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    module = Halved().eval()
    model = fastgru.from_torch(module, torch.randn(2, 6, 48))
    assert capfd.readouterr() == ("", "")
    for shape in [(1, 6, 28), (3, 6, 7), (2, 6, 49)]:
        x = torch.randn(*shape)
        np.testing.assert_allclose(model(x.numpy()), module(x).detach().numpy(), atol=2e-6)


def test_a_stream_that_pads_by_what_lies_at_the_edge_is_refused_by_name() -> None:
    class Edge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(6, 6, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gru(nn.functional.pad(x.transpose(1, 2), (1, 1), "replicate").transpose(1, 2))[0]

    model = fastgru.from_torch(Edge().eval(), torch.randn(2, 12, 6))
    with pytest.raises(UnsupportedModelError, match=r"the model cannot be streamed: layer '.*pad.*' "):
        model.stream()


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("pads", [(3, -2), (2, -2), (-2, 3), (-1, -1)])
def test_a_row_that_has_fewer_steps_than_are_taken_away_is_refused_as_by_pytorch(pads: tuple[int, int]) -> None:
    class Moved(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.pad(x.transpose(1, 2), pads)

    model = fastgru.from_torch(torch.jit.trace(Moved(), torch.randn(2, 5, 6)))
    x = torch.randn(2, 5, 6)
    with pytest.raises(ShapeError, match=r"lengths: .*takes 2 places away"):
        model(x.numpy(), lengths=[1, 5])
    for steps in (3, 4, 5):
        made = model(x.numpy(), lengths=[steps, 5])
        wanted = Moved()(x[:1, :steps]).numpy()
        np.testing.assert_array_equal(made[:1, :, : wanted.shape[2]], wanted)
        assert not made[:1, :, wanted.shape[2] :].any()


class Changes(nn.Module):
    """What each step differs from the one before by: it looks ahead by one step and is padded in front."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 6, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(nn.functional.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0)))[0]


def test_a_pool_takes_what_looks_ahead_and_is_not_late() -> None:
    module = Changes().eval()
    model = fastgru.from_torch(module, torch.randn(3, 9, 6))
    pool, x = model.pool(4), torch.randn(3, 9, 6)
    wanted, ids = model(x.numpy()), pool.join(3)
    first = pool.run(ids[:1], [x[0, :4].numpy()])
    rows = pool.run(ids, [x[0, 4:].numpy(), x[1].numpy(), x[2].numpy()])
    np.testing.assert_array_equal(np.concatenate([first[0], rows[0]]), wanted[0])
    np.testing.assert_array_equal(np.stack(rows[1:]), wanted[1:])
