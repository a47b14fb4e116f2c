"""Weights from real PyTorch, as files and as live modules, give the outputs that PyTorch gives.

float32 outputs may differ by 2e-6, the project's bound for a GRU beside its framework; float64 by 1e-12, where only
the order of sums differs.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

import fastgru  # noqa: E402
from fastgru.errors import CheckpointError, DTypeError, UnsupportedModelError  # noqa: E402

pytestmark = pytest.mark.usefixtures("seeded_torch")
FLOAT32 = 2e-6
FLOAT64 = 1e-12


def outputs(gru, x, h0=None):
    """Outputs and final states of a torch GRU, batch first."""
    y, h = gru(torch.from_numpy(x), None if h0 is None else torch.from_numpy(h0))
    return y.numpy(), h.numpy()


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("writer", ["zip", "safetensors", "live", "state dict"])
def test_a_gru_gives_torchs_outputs_and_states(tmp_path, layers, bidirectional, bias, writer):
    gru = torch.nn.GRU(5, 7, layers, bias=bias, bidirectional=bidirectional, batch_first=True).eval()
    path = tmp_path / "gru"
    if writer == "zip":
        torch.save(gru.state_dict(), path)
    elif writer == "safetensors":
        safetensors_torch.save_file(gru.state_dict(), path)
    ours = {
        "zip": lambda: fastgru.load(path),
        "safetensors": lambda: fastgru.load(path),
        "live": lambda: fastgru.from_torch(gru),
        "state dict": lambda: fastgru.from_torch(gru.state_dict()),
    }[writer]()
    generator = np.random.default_rng(1)
    x = generator.standard_normal((3, 20, 5)).astype(np.float32)
    h0 = generator.standard_normal((layers * (1 + bidirectional), 3, 7)).astype(np.float32)
    for got, wanted in zip(ours(x, h0), outputs(gru, x, h0), strict=True):
        assert np.abs(got - wanted).max() <= FLOAT32


def test_a_float64_gru_agrees_to_float64(tmp_path):
    gru = torch.nn.GRU(5, 7, 2, bidirectional=True, batch_first=True).double().eval()
    torch.save(gru.state_dict(), tmp_path / "gru")
    x = np.random.default_rng(2).standard_normal((3, 20, 5))
    for ours in (fastgru.load(tmp_path / "gru", precision="float64"), fastgru.from_torch(gru, precision="float64")):
        for got, wanted in zip(ours(x), outputs(gru, x), strict=True):
            assert np.abs(got - wanted).max() <= FLOAT64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_widened_exactly(tmp_path, dtype):
    gru = torch.nn.GRU(5, 7, batch_first=True).to(dtype)
    torch.save(gru.state_dict(), tmp_path / "gru")
    live, loaded = fastgru.from_torch(gru), fastgru.load(tmp_path / "gru")
    x = np.random.default_rng(3).standard_normal((2, 9, 5)).astype(np.float32)
    wanted, _ = outputs(gru.float(), x)
    for ours in (live, loaded):
        assert np.abs(ours(x)[0] - wanted).max() <= FLOAT32


@pytest.mark.parametrize("bias", [False, True])
def test_a_cell_gives_torchs_steps(bias):
    cell = torch.nn.GRUCell(5, 7, bias=bias)
    x = np.random.default_rng(4).standard_normal((2, 12, 5)).astype(np.float32)
    y, _ = fastgru.from_torch(cell)(x)
    h = torch.zeros(2, 7)
    for t in range(12):
        h = cell(torch.from_numpy(x[:, t]), h)
        assert np.abs(y[:, t] - h.numpy()).max() <= FLOAT32


class Tagger(torch.nn.Module):
    """Words, two GRU layers of both directions, the last step, a class."""

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(30, 6)
        self.rnn = torch.nn.GRU(6, 5, 2, bidirectional=True, batch_first=True, dropout=0.3)
        self.drop = torch.nn.Dropout(0.5)
        self.fc = torch.nn.Linear(10, 4)

    def forward(self, ids, final=False):
        y, h = self.rnn(self.words(ids))
        y = torch.cat((h[-2], h[-1]), -1) if final else y[:, -1]
        return torch.softmax(self.fc(self.drop(y)), -1)


@pytest.mark.parametrize("writer", ["zip", "safetensors", "live"])
@pytest.mark.parametrize("final", [False, True])
def test_a_module_with_named_layers_gives_torchs_outputs(tmp_path, writer, final):
    tagger = Tagger().eval()
    reduction = fastgru.FinalState() if final else fastgru.Last()
    layers = ["words", "rnn", reduction, "fc", fastgru.Activation("softmax")]
    path = tmp_path / "tagger"
    if writer == "zip":
        torch.save({"state_dict": tagger.state_dict(), "epoch": 3}, path)
    elif writer == "safetensors":
        safetensors_torch.save_file(tagger.state_dict(), path)
    ours = fastgru.from_torch(tagger, layers=layers) if writer == "live" else fastgru.load(path, layers=layers)
    ids = np.random.default_rng(5).integers(0, 30, (4, 11))
    wanted = tagger(torch.from_numpy(ids), final=final).numpy()
    assert np.abs(ours(ids) - wanted).max() <= FLOAT32


@pytest.mark.parametrize("writer", ["zip", "safetensors"])
def test_a_module_without_named_layers_is_an_error_whose_suggestion_works(tmp_path, writer):
    tagger, path = Tagger().eval(), tmp_path / "tagger"
    if writer == "zip":
        torch.save(tagger.state_dict(), path)
    else:
        safetensors_torch.save_file(tagger.state_dict(), path)
    with pytest.raises(CheckpointError, match=r'layers=\["words", \.\.\., "rnn", \.\.\., "fc", \.\.\.\]'):
        fastgru.load(path)
    with pytest.raises(CheckpointError, match="behind 'words' and before 'rnn', because the file does not say"):
        fastgru.load(path, layers=["words", ..., "rnn", ..., "fc", ...])
    ids = np.zeros((1, 3), int)
    model = fastgru.load(path, layers=["words", "rnn", fastgru.FinalState(), "fc"])
    assert model(ids).shape == (1, 4)


def test_the_state_dict_of_a_sequential_is_an_error_that_shows_its_layers():
    module = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.GRU(6, 7, batch_first=True))
    with pytest.raises(CheckpointError, match=r'layers=\["0", \.\.\., "2", \.\.\.\]') as caught:
        fastgru.from_torch(module.state_dict())
    assert "fastgru.Activation('relu')" in str(caught.value)
    x = np.random.default_rng(6).standard_normal((2, 8, 5)).astype(np.float32)
    ours = fastgru.from_torch(module, layers=["0", fastgru.Activation("tanh"), "2"])
    assert np.abs(ours(x) - module(torch.from_numpy(x))[0].numpy()).max() <= FLOAT32


@pytest.mark.parametrize("spelling", ["hooks", "parametrizations"])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_normalised_weights_are_folded(tmp_path, spelling):
    gru = torch.nn.GRU(5, 7, batch_first=True)
    normalise = torch.nn.utils.weight_norm
    if spelling == "parametrizations":
        normalise = torch.nn.utils.parametrizations.weight_norm
    module = torch.nn.ModuleDict({"gru": gru, "fc": normalise(torch.nn.Linear(7, 3))})
    for name in ("weight_hh_l0", "weight_ih_l0"):
        normalise(gru, name)
    state = module.state_dict()
    for name, tensor in state.items():
        if name.endswith(("_g", "original0")):
            tensor.mul_(1.5)
    torch.save(state, tmp_path / "normalised")
    x = np.random.default_rng(8).standard_normal((2, 8, 5)).astype(np.float32)
    wanted = module["fc"](gru(torch.from_numpy(x))[0]).numpy()
    for ours in (
        fastgru.load(tmp_path / "normalised", layers=["gru", "fc"]),
        fastgru.from_torch(module, layers=["gru", "fc"]),
    ):
        assert np.abs(ours(x) - wanted).max() <= FLOAT32


def test_an_orthogonal_parametrisation_is_refused_by_name():
    gru = torch.nn.utils.parametrizations.orthogonal(torch.nn.GRU(5, 7), "weight_hh_l0")
    with pytest.raises((UnsupportedModelError, CheckpointError), match="parametri"):
        fastgru.from_torch(gru)


@pytest.mark.parametrize(
    ("module", "family"),
    [(torch.nn.LSTM(5, 7), "LSTM"), (torch.nn.LSTM(5, 7, proj_size=3), "LSTM"), (torch.nn.RNN(5, 7), "RNN")],
)
def test_other_recurrent_modules_are_refused_by_name(module, family):
    with pytest.raises(UnsupportedModelError, match=f"holds an {family} and no GRU"):
        fastgru.from_torch(module)


def test_training_on_does_not_change_a_model_made_before():
    gru = torch.nn.GRU(5, 7, batch_first=True)
    x = np.ones((1, 3, 5), np.float32)
    ours = fastgru.from_torch(gru)
    before = ours(x)[0]
    weights = gru.weight_ih_l0.numpy().copy()
    gru.weight_ih_l0.add_(1)
    np.testing.assert_array_equal(ours(x)[0], before)
    np.testing.assert_array_equal(ours.spec.layers[0][0].w_ih, weights)


def test_a_module_without_values_is_an_error():
    with pytest.raises(DTypeError, match="'weight_ih_l0' is"):
        fastgru.from_torch(torch.nn.GRU(5, 7, device="meta"))


def test_a_state_dict_loads_where_torch_cannot_be_imported(tmp_path):
    torch.save(torch.nn.GRU(5, 7).state_dict(), tmp_path / "gru")
    code = (
        "import sys; sys.modules.update(torch=None, keras=None, tensorflow=None)\n"
        f"import fastgru; print(fastgru.load({str(tmp_path / 'gru')!r}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("GRU(5, 7"), ran.stderr
