"""Whole modules that the real torch saved or holds live give torch's outputs.

float32 outputs may differ by 2e-6 for a GRU and by 5e-6 of the largest output for a model, the project's bounds.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - only where torch is installed
from torch.nn.utils import parametrizations, prune  # noqa: E402

import fastgru  # noqa: E402
from fastgru.errors import CheckpointError, UnsupportedModelError  # noqa: E402

pytestmark = pytest.mark.usefixtures("seeded_torch")
GRU_BOUND, MODEL_BOUND = 2e-6, 5e-6
WRITERS = ["zip", "legacy", "live"]

numbers = np.random.default_rng(11)
IDS = numbers.integers(0, 30, (3, 9))
STEPS = numbers.standard_normal((3, 9, 5)).astype(np.float32)
CHANNELS = STEPS.transpose(0, 2, 1).copy()  # (batch, 5, 9)
ROWS = STEPS[:, 0].copy()


def opened(module, writer, path, **options):
    if writer == "live":
        return fastgru.from_torch(module, **options)
    torch.save(module, path / "module", _use_new_zipfile_serialization=writer == "zip")
    return fastgru.load(path / "module", **options)


def flat(outputs):
    """Torch's outputs as a list: a GRU's states one by one."""
    if isinstance(outputs, tuple):
        return [outputs[0].numpy(), *(state.numpy() for state in outputs[1])]
    return [outputs.numpy()]


def check(module, x, writer, path, bound=MODEL_BOUND):
    module = module.eval()
    wanted = flat(module(torch.from_numpy(x)))
    got = opened(module, writer, path)(x)
    got = list(got) if isinstance(got, tuple) else [got]
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape and np.abs(one - other).max() <= bound * max(1, np.abs(other).max())


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "batch_first": True}]
)
def test_a_whole_gru_is_a_gru(tmp_path, writer, options):
    gru = nn.GRU(5, 7, **options).eval()
    ours = opened(gru, writer, tmp_path)
    assert isinstance(ours, fastgru.GRU)
    first = torch.from_numpy(STEPS)
    y, h = gru(first if gru.batch_first else first.transpose(0, 1))
    y = y if gru.batch_first else y.transpose(0, 1)
    for got, wanted in zip(ours(STEPS), (y, h), strict=True):
        assert np.abs(got - wanted.numpy()).max() <= GRU_BOUND


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_whole_cell_is_a_gru(tmp_path, writer, bias):
    cell = nn.GRUCell(5, 7, bias=bias)
    y, _ = opened(cell, writer, tmp_path)(STEPS)
    h = torch.zeros(3, 7)
    for t in range(9):
        h = cell(torch.from_numpy(STEPS[:, t]), h)
        assert np.abs(y[:, t] - h.numpy()).max() <= GRU_BOUND


def normed(layer):
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    layer.weight.uniform_(0.5, 2)
    layer.bias.normal_()
    return layer


def sloped(layer):
    layer.weight.uniform_(-1, 1)
    return layer


CHAINS = {
    "tagger": (lambda: nn.Sequential(nn.Embedding(30, 6, padding_idx=0), nn.Dropout(0.3),
                                     nn.GRU(6, 5, 2, bidirectional=True, batch_first=True)), IDS),
    "dense": (lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Sequential(nn.LayerNorm(8, eps=1e-3), nn.Tanh()),
                                    nn.Linear(8, 3, bias=False), nn.LogSoftmax(dim=-1)), STEPS),
    "rows": (lambda: nn.Sequential(nn.Linear(5, 8), normed(nn.BatchNorm1d(8, eps=1e-2)), nn.Sigmoid(),
                                   nn.Linear(8, 3), nn.Softmax(dim=1)), ROWS),
    "convolutions": (lambda: nn.Sequential(nn.Conv1d(5, 8, 3, padding=1), normed(nn.BatchNorm1d(8)), nn.ReLU(),
                                           nn.Conv1d(8, 8, 3, stride=2, padding=2, dilation=2, groups=4), nn.PReLU(8),
                                           nn.MaxPool1d(2), nn.GRU(2, 4, batch_first=True), nn.Identity()), CHANNELS),
    "pooled": (lambda: nn.Sequential(nn.Conv1d(5, 8, 5, padding="same"), nn.AvgPool1d(3, 2), nn.AdaptiveMaxPool1d(1),
                                     nn.Flatten(), nn.Linear(8, 3)), CHANNELS),
    "averaged": (lambda: nn.Sequential(nn.Conv1d(5, 8, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(1), nn.PReLU()),
                 CHANNELS),
    "flattened": (lambda: nn.Sequential(nn.Embedding(30, 4, max_norm=1.0), nn.Flatten(), nn.Linear(36, 3)), IDS),
    "normalised": (lambda: nn.Sequential(nn.RMSNorm(5), nn.Linear(5, 4), nn.RMSNorm(4, eps=0.1),
                                         nn.LayerNorm((9, 4)), nn.LayerNorm(4, elementwise_affine=False)), STEPS),
    "channels first": (lambda: nn.Sequential(normed(nn.BatchNorm1d(9)), nn.PReLU(9), nn.GLU(dim=-1),
                                             nn.GRU(2, 3, batch_first=True)), STEPS[:, :, :4].copy()),
    "slopes of features": (lambda: nn.Sequential(nn.Linear(5, len(ROWS)), sloped(nn.PReLU(len(ROWS)))), ROWS),
    "one step": (lambda: nn.Sequential(nn.Linear(5, 4), nn.GRUCell(4, 3), nn.Linear(3, 2)), ROWS),
    "one step alone": (lambda: nn.Sequential(nn.GRUCell(5, 3)), ROWS),
    "over steps": (lambda: nn.Sequential(nn.Linear(5, 4), nn.GRU(4, 3, batch_first=True)), STEPS),
}  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", CHAINS)
def test_a_sequential_gives_torchs_outputs(tmp_path, name, writer):
    make, x = CHAINS[name]
    check(make(), x, writer, tmp_path)


ACTIVATIONS = [
    nn.CELU(0.5), nn.ELU(0.7), nn.GELU(), nn.GELU(approximate="tanh"), nn.Hardshrink(0.3), nn.Hardsigmoid(),
    nn.Hardswish(), nn.Hardtanh(-0.5, 2.0), nn.LeakyReLU(0.2), nn.LogSigmoid(), nn.Mish(), nn.ReLU(), nn.ReLU6(),
    nn.RReLU(), nn.SELU(), nn.SiLU(), nn.Sigmoid(), nn.Softplus(2.0, 3.0), nn.Softshrink(0.2), nn.Softsign(),
    nn.Tanh(), nn.Tanhshrink(),
    nn.Threshold(0.1, -2.0), nn.Softmax(dim=-1), nn.Softmin(dim=-1), nn.LogSoftmax(dim=-1), nn.GLU(),
    nn.PReLU(init=0.3), nn.Identity(), nn.Dropout(), nn.AlphaDropout(), nn.FeatureAlphaDropout(), nn.Dropout1d(),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_every_activation_module_gives_torchs_outputs(tmp_path, activation):
    check(nn.Sequential(nn.Linear(5, 6), activation), 3 * STEPS, "zip", tmp_path)


def test_a_gru_that_takes_the_steps_first_is_batch_first_here(tmp_path):
    module = nn.Sequential(nn.Embedding(30, 6), nn.GRU(6, 5)).eval()
    y, h = module(torch.from_numpy(IDS.T.copy()))
    ours = opened(module, "zip", tmp_path)(IDS)
    assert np.abs(ours[0] - y.transpose(0, 1).numpy()).max() <= GRU_BOUND
    assert np.abs(ours[1] - h[0].numpy()).max() <= GRU_BOUND


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 6, padding_idx=0)
        self.conv = nn.Conv1d(6, 8, 3, padding=1)
        self.norm = normed(nn.BatchNorm1d(8, eps=1e-2))
        self.act = nn.PReLU(8)
        self.rnn = nn.GRU(8, 5, 2, bidirectional=True, batch_first=True)
        self.last = nn.LayerNorm(10, eps=1e-3)
        self.fc = nn.Linear(10, 4)

    def forward(self, ids):
        x = self.act(self.norm(self.conv(self.words(ids).transpose(1, 2)))).transpose(1, 2)
        return self.fc(self.last(self.rnn(x)[0]))


@pytest.mark.parametrize("writer", [*WRITERS, "state dict"])
def test_a_class_of_its_own_loads_as_weights_with_the_options_of_its_modules(tmp_path, writer):
    tagger = Tagger().eval()
    layers: list = ["words", "conv", "norm", "act", "rnn", "last", "fc"]
    if writer == "state dict":
        layers[1:4] = [fastgru.Named("conv", padding=1), fastgru.Named("norm", eps=1e-2), fastgru.Named("act", "PReLU")]
        layers[5] = fastgru.Named("last", "LayerNorm", eps=1e-3)
    value = tagger.state_dict() if writer == "state dict" else tagger
    if writer == "state dict":
        torch.save(value, tmp_path / "tagger")
        ours = fastgru.load(tmp_path / "tagger", layers=layers)
    else:
        ours = opened(value, writer, tmp_path, layers=layers)
    wanted = tagger(torch.from_numpy(IDS)).numpy()
    assert np.abs(ours(IDS) - wanted).max() <= MODEL_BOUND * np.abs(wanted).max()
    if writer != "state dict":
        with pytest.raises(
            CheckpointError, match=r'"words", \.\.\., "conv", \.\.\., "norm", \.\.\., "act", \.\.\., "rnn"'
        ):
            opened(value, writer, tmp_path)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({"gru": nn.GRU(5, 7)})
        self.register_buffer("positions", torch.zeros(3), persistent=False)


@pytest.mark.parametrize("writer", WRITERS)
def test_the_gru_in_a_class_of_its_own_is_taken_by_its_name_only(tmp_path, writer):
    encoder = Encoder().eval()
    with pytest.raises(CheckpointError, match=r"(?s)Encoder', whose forward is code.*layers='inner\.gru'"):
        opened(encoder, writer, tmp_path)
    wanted = encoder.inner["gru"](torch.from_numpy(STEPS).transpose(0, 1))[0].transpose(0, 1).numpy()
    assert np.abs(opened(encoder, writer, tmp_path, layers="inner.gru")(STEPS)[0] - wanted).max() <= GRU_BOUND
    assert np.abs(opened(encoder, writer, tmp_path, part="inner.gru")(STEPS)[0] - wanted).max() <= GRU_BOUND


class GRU(nn.GRU):
    """Called as torch's own, and something else."""

    def forward(self, x):
        return super().forward(-x)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_class_called_like_torchs_is_not_torchs(tmp_path, writer):
    with pytest.raises(UnsupportedModelError, match=r"'1' \('.*GRU'\) is not supported; it is a class of its own"):
        opened(nn.Sequential(nn.Linear(5, 4), GRU(4, 3)), writer, tmp_path)


def hooked(kind):
    gru, fc = nn.GRU(5, 7, batch_first=True), nn.Linear(7, 3)
    for module, name in ((gru, "weight_hh_l0"), (gru, "weight_ih_l0"), (fc, "weight")):
        if kind == "weight_norm":
            nn.utils.weight_norm(module, name)
            getattr(module, f"{name}_g").mul_(1.5)
        elif kind == "spectral_norm":
            nn.utils.spectral_norm(module, name)
        else:
            prune.l1_unstructured(module, name, 0.5)
    module = nn.ModuleDict({"gru": gru, "fc": fc})
    for _ in range(3 * (kind == "spectral_norm")):
        module.train()
        gru(torch.from_numpy(STEPS))
        fc(torch.zeros(1, 7))
    return module.eval()


@pytest.mark.parametrize("writer", [*WRITERS, "state dict"])
@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "pruning"])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated:FutureWarning")
def test_weights_that_hooks_make_are_folded(tmp_path, kind, writer):
    module = hooked(kind)
    wanted = module["fc"](module["gru"](torch.from_numpy(STEPS))[0]).numpy()
    if writer == "state dict":
        torch.save(module.state_dict(), tmp_path / "file")
        ours = fastgru.load(tmp_path / "file", layers=["gru", "fc"])
    else:
        ours = opened(module, writer, tmp_path, layers=["gru", "fc"])
    assert np.abs(ours(STEPS) - wanted).max() <= GRU_BOUND


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("writer", ["live", "state dict"])
def test_weights_that_parametrizations_make_are_folded(tmp_path, kind, writer):
    make = getattr(parametrizations, kind)
    gru = make(make(nn.GRU(5, 7, batch_first=True), "weight_hh_l0"), "weight_ih_l0")
    chain = nn.Sequential(make(nn.Linear(5, 5)), nn.Tanh(), gru)
    chain.train()
    chain(torch.from_numpy(STEPS))
    wanted = flat(chain.eval()(torch.from_numpy(STEPS)))[0]
    if writer == "live":
        ours = fastgru.from_torch(chain)(STEPS)[0]
    else:
        torch.save(chain.state_dict(), tmp_path / "file")
        ours = fastgru.load(tmp_path / "file", layers=["0", fastgru.Activation("tanh"), "2"])(STEPS)
    assert np.abs(ours - wanted).max() <= GRU_BOUND


def test_an_orthogonal_parametrisation_is_refused_clearly(tmp_path):
    gru = parametrizations.orthogonal(nn.GRU(5, 7), "weight_hh_l0")
    torch.save({"state_dict": gru.state_dict()}, tmp_path / "file")
    for ours in (lambda: fastgru.from_torch(gru), lambda: fastgru.load(tmp_path / "file")):
        with pytest.raises(UnsupportedModelError, match="under an orthogonal parametrisation"):
            ours()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrapped_models_are_the_model(tmp_path):
    gru = nn.GRU(5, 7, batch_first=True)
    wanted = gru(torch.from_numpy(STEPS))[0].numpy()
    wrapped = [nn.DataParallel(gru), torch.optim.swa_utils.AveragedModel(gru), torch.compile(gru),
               nn.DataParallel(torch.compile(nn.Sequential(nn.DataParallel(gru))))]  # fmt: skip
    for module in wrapped:
        for writer in WRITERS:
            assert np.abs(opened(module, writer, tmp_path)(STEPS)[0] - wanted).max() <= GRU_BOUND


@pytest.mark.parametrize("kind", ["half", "bfloat16", "double"])
@pytest.mark.parametrize("writer", WRITERS)
def test_modules_of_every_precision(tmp_path, kind, writer):
    module = getattr(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.GRU(6, 4, batch_first=True)).eval(), kind)()
    ours = opened(module, writer, tmp_path)(STEPS)[0]
    assert np.abs(ours - flat(module.float()(torch.from_numpy(STEPS)))[0]).max() <= GRU_BOUND


def test_a_module_in_a_training_checkpoint(tmp_path):
    gru = nn.GRU(5, 7, batch_first=True)
    optimizer = torch.optim.Adam(gru.parameters()).state_dict()
    torch.save({"epoch": 3, "model": gru, "optimizer": optimizer}, tmp_path / "file")
    wanted = gru(torch.from_numpy(STEPS))[0].numpy()
    assert np.abs(fastgru.load(tmp_path / "file")(STEPS)[0] - wanted).max() <= GRU_BOUND


def test_lazy_modules_that_ran_once(tmp_path):
    module = nn.Sequential(nn.LazyConv1d(4, 3), nn.LazyBatchNorm1d(), nn.Flatten(), nn.LazyLinear(3))
    module(torch.from_numpy(CHANNELS))
    check(module, CHANNELS, "zip", tmp_path)


def test_every_whole_model_loads_where_torch_cannot_be_imported(tmp_path):
    import subprocess
    import sys

    torch.save(CHAINS["tagger"][0](), tmp_path / "whole")
    code = (
        "import sys; sys.modules.update(torch=None, keras=None, tensorflow=None)\n"
        f"import fastgru; print(fastgru.load({str(tmp_path / 'whole')!r}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Model" in ran.stdout and not ran.stderr, ran.stderr
