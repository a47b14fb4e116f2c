"""The ``layers=`` line that is suggested for torch's files: pasted as it is, it is right or an error, and never wrong.

And what is never taken for the layers that it looks like: modules with code of their own, and weights that fit several.
Outputs may differ by 5e-6 of the largest, the project's bound for a model.
"""

from __future__ import annotations

import re
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - only where torch is installed
from torch.nn import functional as F  # noqa: E402

import fastgru  # noqa: E402
from fastgru.command.chain_text import parse_chain  # noqa: E402
from fastgru.errors import CheckpointError, FastGRUError, UnsupportedModelError  # noqa: E402
from fastgru.importers import describe  # noqa: E402

pytestmark = pytest.mark.usefixtures("seeded_torch")
BOUND = 5e-6
BATCH, LENGTH, INPUTS, HIDDEN = 3, 9, 5, 6

numbers = np.random.default_rng(11)
STEPS = numbers.standard_normal((BATCH, LENGTH, INPUTS)).astype(np.float32)
IDS = numbers.integers(0, 12, (BATCH, LENGTH))


class Net(nn.Module):
    """Modules by name, and a forward that a function gives: what a person's own class is to a file."""

    def __init__(self, run, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.run = run.__name__

    def forward(self, x):
        return RUNS[self.run](self, x)


class Reversed(nn.Module):
    """A GRU over the steps from the last to the first."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(INPUTS, HIDDEN, batch_first=True)

    def forward(self, x):
        return self.gru(x.flip(1))[0].flip(1)


class TimeDistributed(nn.Module):
    """A module over every step by itself."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)


RUNS = {}


def run(function):
    RUNS[function.__name__] = function
    return function


def gru(inputs=INPUTS, hidden=HIDDEN, **options):
    return nn.GRU(inputs, hidden, batch_first=True, **options)


@run
def two_linears(m, x):
    return m.fc2(torch.relu(m.fc1(m.gru(x)[0][:, -1])))


@run
def two_linears_of_another_activation(m, x):
    return m.fc2(torch.tanh(m.fc1(m.gru(x)[0][:, -1])))


@run
def tagger(m, x):
    return m.fc1(m.gru(x)[0])


@run
def classifier(m, x):
    return m.fc1(m.gru(x)[0][:, -1])


@run
def state_classifier(m, x):
    return m.fc1(m.gru(x)[1][-1])


@run
def mean_classifier(m, x):
    return m.fc1(m.gru(x)[0].mean(1))


@run
def log_softmax(m, x):
    return F.log_softmax(m.fc1(m.gru(x)[0][:, -1]), -1)


@run
def both_states(m, x):
    h = m.gru(x)[1]
    return m.fc1(torch.cat((h[-2], h[-1]), 1))


@run
def both_last(m, x):
    return m.fc1(m.gru(x)[0][:, -1])


@run
def language_model(m, x):
    return m.fc1(m.gru(m.emb(x))[0])


@run
def relu_embedding(m, x):
    return m.fc1(m.gru(torch.relu(m.emb(x)))[0])


@run
def tied(m, x):
    return F.linear(m.gru(m.emb(x))[0], m.emb.weight)


@run
def sequence_classifier(m, x):
    return m.fc1(m.gru(m.emb(x))[0][:, -1])


@run
def encoder_decoder(m, x):
    y, h = m.encoder(x)
    return m.fc1(m.decoder(y[:, -1:].expand(-1, 4, -1), h)[0])


@run
def wrapped(m, x):
    return m.fc1(torch.cat((m.forwards(x)[0], m.backwards(x)), -1))


@run
def reversing(m, x):
    return m.fc1(m.backwards(x))


@run
def time_distributed(m, x):
    return m.time_distributed(m.gru(x)[0])


@run
def stacked(m, x):
    return m.fc1(torch.relu(m.gru2(torch.relu(m.gru1(x)[0]))[0]))


@run
def residual(m, x):
    y = m.gru1(x)[0]
    return m.fc1(y + m.gru2(y)[0])


@run
def convolved(m, x):
    return m.fc1(m.gru(torch.relu(m.conv(x.transpose(1, 2))).transpose(1, 2))[0])


@run
def normed_steps(m, x):
    return m.fc1(m.norm(m.gru(x)[0].transpose(1, 2)).transpose(1, 2))


@run
def normed(m, x):
    return m.fc1(m.norm(m.gru(x)[0]))


@run
def upsampled(m, x):
    return m.fc1(m.gru(m.up(x.transpose(1, 2)).transpose(1, 2))[0])


@run
def attention(m, x):
    y = m.gru(x)[0]
    return m.fc1((torch.softmax(m.score(y), 1) * y).sum(1))


@run
def skip(m, x):
    return m.fc1(m.gru(x)[0]) + x


@run
def pooled_before(m, x):
    return m.fc1(m.gru(F.avg_pool1d(x.transpose(1, 2), 2).transpose(1, 2))[0])


def linear(inputs=HIDDEN, outputs=4):
    return nn.Linear(inputs, outputs)


D, WIDE = INPUTS, 2 * HIDDEN  # short, for the table
NETS = {
    "two linears": lambda: Net(two_linears, gru=gru(), fc1=linear(6, 6), fc2=linear()),
    "two linears, tanh": lambda: Net(two_linears_of_another_activation, gru=gru(), fc1=linear(6, 6), fc2=linear()),
    "two linears, dropout": lambda: Net(two_linears, gru=gru(), fc1=linear(6, 6), drop=nn.Dropout(), fc2=linear()),
    "tagger": lambda: Net(tagger, gru=gru(), fc1=linear()),
    "classifier": lambda: Net(classifier, gru=gru(), fc1=linear()),
    "state classifier": lambda: Net(state_classifier, gru=gru(num_layers=2), fc1=linear()),
    "mean classifier": lambda: Net(mean_classifier, gru=gru(), fc1=linear()),
    "log softmax": lambda: Net(log_softmax, gru=gru(), fc1=linear()),
    "both states": lambda: Net(both_states, gru=gru(bidirectional=True), fc1=linear(WIDE)),
    "both last": lambda: Net(both_last, gru=gru(bidirectional=True), fc1=linear(WIDE)),
    "both tagged": lambda: Net(tagger, gru=gru(bidirectional=True), fc1=linear(WIDE)),
    "language model": lambda: Net(language_model, emb=nn.Embedding(12, D), gru=gru(), fc1=linear(6, 12)),
    "relu embedding": lambda: Net(relu_embedding, emb=nn.Embedding(12, D), gru=gru(), fc1=linear(6, 12)),
    "sequence classifier": lambda: Net(sequence_classifier, emb=nn.Embedding(12, D), gru=gru(), fc1=linear()),
    "tied": lambda: Net(tied, emb=nn.Embedding(12, 6), gru=gru(6)),
    "encoder and decoder": lambda: Net(encoder_decoder, encoder=gru(), decoder=gru(6), fc1=linear()),
    "wrapped": lambda: Net(wrapped, forwards=gru(), backwards=Reversed(), fc1=linear(WIDE)),
    "reversing": lambda: Net(reversing, backwards=Reversed(), fc1=linear()),
    "time distributed": lambda: Net(time_distributed, gru=gru(), time_distributed=TimeDistributed(linear())),
    "stacked": lambda: Net(stacked, gru1=gru(), gru2=gru(6), fc1=linear()),
    "residual": lambda: Net(residual, gru1=gru(), gru2=gru(6), fc1=linear()),
    "convolved": lambda: Net(convolved, conv=nn.Conv1d(D, 6, 3, padding=1), gru=gru(6), fc1=linear()),
    "depthwise": lambda: Net(convolved, conv=nn.Conv1d(D, D, 3, padding=1, groups=D), gru=gru(), fc1=linear()),
    "transposed": lambda: Net(upsampled, up=nn.ConvTranspose1d(D, D, 2, stride=2), gru=gru(), fc1=linear()),
    "transposed, wider": lambda: Net(upsampled, up=nn.ConvTranspose1d(D, 6, 2, stride=2), gru=gru(6), fc1=linear()),
    "group norm": lambda: Net(normed_steps, gru=gru(), norm=nn.GroupNorm(3, 6, eps=1e-2), fc1=linear()),
    "instance norm": lambda: Net(normed_steps, gru=gru(), norm=nn.InstanceNorm1d(6, affine=True), fc1=linear()),
    "layer norm": lambda: Net(normed, gru=gru(), norm=nn.LayerNorm(6, eps=1e-2), fc1=linear()),
    "rms norm": lambda: Net(normed, gru=gru(), norm=nn.RMSNorm(6), fc1=linear()),
    "batch norm without statistics": lambda: Net(
        normed_steps, gru=gru(), norm=nn.BatchNorm1d(6, track_running_stats=False), fc1=linear()
    ),
    "attention": lambda: Net(attention, gru=gru(), score=linear(6, 1), fc1=linear()),
    "skip": lambda: Net(skip, gru=gru(), fc1=linear(6, D)),
    "pooled before": lambda: Net(pooled_before, gru=gru(), fc1=linear()),
}
WRITERS = ["state dict", "safetensors", "module", "live"]


def made(name):
    """The net with weights that are not the ones it began with, and an input and its output."""
    net = NETS[name]().eval()
    for parameter in net.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.5)
    x = IDS if "emb" in dict(net.named_children()) else STEPS
    return net, x, net(torch.from_numpy(x)).numpy()


def opener(net, writer, path):
    """A function that loads the net as its options say."""
    if writer == "live":
        return lambda **options: fastgru.from_torch(net, **options)
    if writer == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(net.state_dict(), path / "net")
    else:
        state = net if writer == "module" else net.state_dict()
        if writer == "lightning":
            state = {"epoch": 3, "state_dict": {f"model.{name}": value for name, value in state.items()}}
        torch.save(state, path / "net")
    return lambda **options: fastgru.load(path / "net", **options)


def check_right_or_refused(load, x, wanted, **options):
    """Whether it is right; it may be an error, and must not be wrong."""
    try:
        got = load(**options)(x)
    except FastGRUError:
        return False
    got = got[0] if isinstance(got, tuple) else got
    assert got.shape == wanted.shape and np.abs(got - wanted).max() <= BOUND * max(1, np.abs(wanted).max()), options
    return True


def lines_of(load, path):
    """The suggested lines: of the error, and of inspect."""
    with pytest.raises(FastGRUError) as caught:
        load()
    lines = re.findall(r"^  (layers=\[.*\])$", str(caught.value), re.MULTILINE)
    if (path / "net").exists():
        suggested = describe(fastgru.read(path / "net"))["suggested_layers"]
        assert lines == ([] if suggested is None else [suggested])
    return lines


@pytest.mark.filterwarnings("ignore:.*no layer uses the tensors:UserWarning")
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", NETS)
def test_the_suggested_line_is_never_wrong_when_it_is_pasted(tmp_path, name, writer):
    net, x, wanted = made(name)
    load = opener(net, writer, tmp_path)
    lines = lines_of(load, tmp_path)
    if writer == "state dict":  # three have GRUs of different modules, an unsupported layer, no chain
        assert len(lines) == (name not in ("wrapped", "transposed, wider", "attention"))
    for line in lines:
        pasted = eval(line.removeprefix("layers="), {"fastgru": fastgru})
        for layers in (pasted, parse_chain(line)):
            for strict in (True, False):
                assert not check_right_or_refused(load, x, wanted, layers=layers, strict=strict)
            with pytest.raises(CheckpointError, match=r"the file does not say (what runs there|the padding)|say which"):
                load(layers=layers)


@pytest.mark.parametrize("name", ["wrapped", "reversing", "time distributed"])
def test_no_line_is_suggested_below_a_class_of_its_own(tmp_path, name):
    for writer in ("module", "live"):
        assert lines_of(opener(made(name)[0], writer, tmp_path), tmp_path) == []
    with pytest.raises(CheckpointError, match=r"of class '.*(Reversed|TimeDistributed)'"):
        fastgru.load(tmp_path / "net")
    if name == "wrapped":
        assert lines_of(opener(made(name)[0], "state dict", tmp_path), tmp_path) == []


FILLED = {
    "two linears": ["gru", fastgru.Last(), "fc1", fastgru.Activation("relu"), "fc2"],
    "classifier": ["gru", fastgru.Last(), "fc1"],
    "tagger": ["gru", "fc1"],
    "state classifier": ["gru", fastgru.Last(), "fc1"],
    "mean classifier": ["gru", fastgru.Mean(), "fc1"],
    "log softmax": ["gru", fastgru.Last(), "fc1", fastgru.Activation("log_softmax")],
    "both states": ["gru", fastgru.FinalState(), "fc1"],
    "both last": ["gru", fastgru.Last(), "fc1"],
    "relu embedding": ["emb", fastgru.Activation("relu"), "gru", "fc1"],
    "convolved": [fastgru.Named("conv", padding=1), fastgru.Activation("relu"), "gru", "fc1"],
    "depthwise": [fastgru.Named("conv", "Conv1d", padding=1, groups=INPUTS), fastgru.Activation("relu"), "gru", "fc1"],
    "group norm": ["gru", fastgru.Named("norm", "GroupNorm", groups=3, eps=1e-2), "fc1"],
    "instance norm": ["gru", fastgru.Named("norm", "InstanceNorm1d"), "fc1"],
    "layer norm": ["gru", fastgru.Named("norm", "LayerNorm", eps=1e-2), "fc1"],
    "rms norm": ["gru", fastgru.Named("norm", "RMSNorm"), "fc1"],
}


@pytest.mark.parametrize("writer", ["state dict", "module", "live"])
@pytest.mark.parametrize("name", FILLED)
def test_the_line_filled_in_gives_torchs_outputs(tmp_path, name, writer):
    net, x, wanted = made(name)
    load, layers = opener(net, writer, tmp_path), FILLED[name]
    assert check_right_or_refused(load, x, wanted, layers=layers)
    if writer != "state dict":  # which says the options and kinds of the modules by itself
        plain = [item.prefix if isinstance(item, fastgru.Named) else item for item in layers]
        assert check_right_or_refused(load, x, wanted, layers=plain)


@pytest.mark.parametrize("name", ["transposed", "transposed, wider", "batch norm without statistics"])
@pytest.mark.parametrize("writer", [*WRITERS, "lightning"])
def test_what_is_not_supported_is_refused_however_it_is_named(tmp_path, name, writer):
    net, x, wanted = made(name)
    load = opener(net, writer, tmp_path)
    odd = "norm" if "norm" in name else "up"
    start = "model." if writer == "lightning" else ""
    for kind in (None, "BatchNorm1d" if odd == "norm" else "ConvTranspose1d"):
        layers = [f"{start}gru", f"{start}fc1"]
        layers.insert(1 if odd == "norm" else 0, fastgru.Named(f"{start}{odd}", kind))
        assert not check_right_or_refused(load, x, wanted, layers=layers)


class Derived(nn.GRU):
    """What it computes is not what a GRU computes."""

    def forward(self, x):
        y, h = super().forward(x)
        return x + y, h


class DerivedCell(nn.GRUCell):
    """Neither is this."""

    def forward(self, x):
        return -super().forward(x)


class Around(nn.Module):
    """A module whose only weights are those of one GRU."""

    def __init__(self, run):
        super().__init__()
        self.gru, self.run = nn.GRU(INPUTS, INPUTS, batch_first=True), run

    def forward(self, x):
        return RUNS[self.run](self, x)


@run
def added(m, x):
    y, h = m.gru(x)
    return x + y, h


@run
def pooled(m, x):
    return m.gru(x[:, ::2])


class Chain(nn.Sequential):
    """A Sequential that does one thing more."""

    def forward(self, x):
        return super().forward(-x)


OWN = {
    "derived": (lambda: Derived(INPUTS, INPUTS, batch_first=True), fastgru.Named("", kind="GRU")),
    "derived cell": (lambda: DerivedCell(INPUTS, INPUTS), fastgru.Named("", kind="GRU")),
    "around": (lambda: Around("added"), "gru"),
    "pooled": (lambda: Around("pooled"), "gru"),
    "own sequential": (lambda: Chain(nn.GRU(INPUTS, INPUTS, batch_first=True)), "0"),
    "own in a sequential": (
        lambda: nn.Sequential(Derived(INPUTS, INPUTS, batch_first=True)),
        fastgru.Named("0", kind="GRU"),
    ),
    "own around a sequential": (lambda: nn.Sequential(Around("added")), "0.gru"),
}


@pytest.mark.parametrize("writer", ["module", "legacy", "live", "in a checkpoint", "wrapped"])
@pytest.mark.parametrize("name", OWN)
def test_only_pytorchs_own_classes_become_a_gru(tmp_path, name, writer):
    make, bare = OWN[name]
    module = make().eval()
    if writer == "live":
        load = opener(module, "live", tmp_path)
    else:
        others = {"in a checkpoint": {"epoch": 1, "model": module}, "wrapped": nn.DataParallel(module)}
        value = others.get(writer, module)
        torch.save(value, tmp_path / "net", _use_new_zipfile_serialization=writer != "legacy")
        load = lambda **options: fastgru.load(tmp_path / "net", **options)  # noqa: E731
    for strict in (True, False):
        with pytest.raises((CheckpointError, UnsupportedModelError), match="code") as caught:
            load(strict=strict)
    if not isinstance(caught.value, UnsupportedModelError):
        way = "fastgru.from_torch(model.eval(), x)" if writer == "live" else "torch.export.save"
        assert way in str(caught.value) and "layers=" in str(caught.value)
    gru_module = next(each for each in module.modules() if isinstance(each, (nn.GRU, nn.GRUCell)))
    ours = load(layers=bare)
    assert isinstance(ours, fastgru.GRU)
    weight = getattr(gru_module, "weight_hh" if isinstance(gru_module, nn.GRUCell) else "weight_hh_l0")
    np.testing.assert_array_equal(ours.spec.layers[0][0].w_hh, weight.numpy())


@pytest.mark.parametrize("name", ["derived", "around", "pooled", "own sequential"])
def test_state_dicts_of_them_still_give_the_gru(tmp_path, name):
    module = OWN[name][0]()
    torch.save(module.state_dict(), tmp_path / "net")
    assert isinstance(fastgru.load(tmp_path / "net"), fastgru.GRU)


def test_a_forward_of_its_own_on_a_gru_is_refused():
    module = nn.GRU(INPUTS, HIDDEN, batch_first=True)
    module.forward = types.MethodType(lambda own, x: nn.GRU.forward(own, -x), module)
    for each in (module, nn.Sequential(module)):
        with pytest.raises(UnsupportedModelError, match="is registered to run with it, which is code"):
            fastgru.from_torch(each)


def test_the_counter_of_an_averaged_models_state_dict_is_bookkeeping(tmp_path):
    module = nn.GRU(INPUTS, HIDDEN, batch_first=True)
    averaged = torch.optim.swa_utils.AveragedModel(module)
    averaged.update_parameters(module)
    torch.save({"state_dict": averaged.state_dict()}, tmp_path / "net")
    wanted = module(torch.from_numpy(STEPS))[0].numpy()
    for ours in (fastgru.load(tmp_path / "net"), fastgru.from_torch(averaged.state_dict())):
        assert np.abs(ours(STEPS)[0] - wanted).max() <= BOUND


@pytest.mark.filterwarnings("ignore:.*no layer uses the tensors:UserWarning")
def test_from_torch_has_strict_and_part():
    net, x, _ = made("classifier")
    wanted = net.gru(torch.from_numpy(x))[0].numpy()
    assert check_right_or_refused(opener(net, "live", None), x, wanted, layers="gru", strict=False)
    assert check_right_or_refused(opener(net, "live", None), x, wanted, part="gru")
    both = {"model": NETS["classifier"]().state_dict(), "ema": net.state_dict()}
    ours = fastgru.from_torch(both, part="ema", layers=["gru", fastgru.Last(), "fc1"])
    assert np.abs(ours(x) - made_output(net, x)).max() <= BOUND


def made_output(net, x):
    return net(torch.from_numpy(x)).numpy()


def test_norms_of_every_kind_give_torchs_outputs_on_steps_of_any_number():
    x = torch.from_numpy(STEPS).transpose(1, 2)
    wide = STEPS @ np.ones((INPUTS, INPUTS), np.float32) + STEPS
    for module, named in (
        (nn.GroupNorm(1, INPUTS), fastgru.Named("1", "GroupNorm", groups=1)),
        (nn.GroupNorm(INPUTS, INPUTS, eps=0.1), fastgru.Named("1", "GroupNorm", groups=INPUTS, eps=0.1)),
        (nn.InstanceNorm1d(INPUTS, affine=True, eps=0.1), fastgru.Named("1", "InstanceNorm1d", eps=0.1)),
    ):
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
        state = {"0.weight": torch.ones(INPUTS, INPUTS) + torch.eye(INPUTS), "0.bias": torch.zeros(INPUTS)}
        state |= {f"1.{name}": value for name, value in module.state_dict().items()}
        ours = fastgru.from_torch(state, layers=["0", named])
        for steps in (2, 5, LENGTH):
            wanted = module(torch.from_numpy(wide).transpose(1, 2)[..., :steps]).transpose(1, 2).numpy()
            assert np.abs(ours(STEPS[:, :steps]) - wanted).max() <= BOUND * max(1, np.abs(wanted).max())
    tracked = nn.InstanceNorm1d(INPUTS, affine=True, track_running_stats=True)
    tracked(x)
    state = {"0.weight": torch.eye(INPUTS), "0.bias": torch.zeros(INPUTS)}
    state |= {f"1.{name}": value for name, value in tracked.state_dict().items()}
    wanted = tracked.eval()(x).transpose(1, 2).numpy()
    assert np.abs(fastgru.from_torch(state, layers=["0", "1"])(STEPS) - wanted).max() <= BOUND * 3
