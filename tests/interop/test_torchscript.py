"""What torch.jit.save writes gives the outputs of the model: scripted, traced and frozen, or its weights by layers=.

5e-6 relative to the largest output is the project's bound for whole models; 2e-6 for a GRU alone.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_outputs import GRU, agree  # noqa: E402 - only where torch is installed

import fastgru  # noqa: E402
from fastgru.errors import CheckpointError, ShapeError, UnsupportedModelError  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")
nn, F = torch.nn, torch.nn.functional
WAYS = ["scripted", "traced", "frozen", "frozen trace"]


def saved(path, module, way, *inputs):
    """A file of the module as TorchScript."""
    module = module.eval()
    made = torch.jit.script(module) if way in ("scripted", "frozen") else torch.jit.trace(module, inputs)
    if way.startswith("frozen"):
        made = torch.jit.freeze(made)
    torch.jit.save(made, path / "file")
    return path / "file"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_gru_alone(tmp_path, way, layers, bidirectional, bias, batch_first):
    gru = nn.GRU(5, 4, layers, bias=bias, bidirectional=bidirectional, batch_first=batch_first)
    x, h = torch.randn(3, 7, 5), torch.randn(layers * (1 + bidirectional), 3, 4)
    there = x if batch_first else x.transpose(0, 1).contiguous()
    wanted = gru(there, h)
    ours = fastgru.load(saved(tmp_path, gru, way, there, h))
    assert isinstance(ours, fastgru.GRU)
    y, state = ours(x.numpy(), h.numpy())
    agree(y, wanted[0] if batch_first else wanted[0].transpose(0, 1), GRU)
    agree(state, wanted[1], GRU)


@pytest.mark.parametrize("way", ["scripted", "traced"])
def test_a_gru_cell_is_a_gru(tmp_path, way):
    cell = nn.GRUCell(5, 4)
    x, h = torch.randn(3, 5), torch.randn(3, 4)
    ours = fastgru.load(saved(tmp_path, cell, way, x, h))
    agree(ours(x[:, None].numpy(), h[None].numpy())[0][:, 0], cell(x, h), GRU)


class Tagger(nn.Module):
    def __init__(self, batch_first: bool = True, layers: int = 2, bidirectional: bool = True, bias: bool = True):
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=0)
        self.drop = nn.Dropout(0.5)
        self.gru = nn.GRU(6, 4, layers, bias, batch_first, 0.1, bidirectional)
        self.norm = nn.LayerNorm(4 * (1 + bidirectional))
        self.fc = nn.Linear(4 * (1 + bidirectional), 3)

    def forward(self, ids):
        y, _ = self.gru(self.drop(self.embedding(ids)))
        return F.log_softmax(self.fc(torch.relu(self.norm(y))), -1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_tagger(tmp_path, way, layers, bidirectional, bias, batch_first):
    module = Tagger(batch_first, layers, bidirectional, bias)
    ids = torch.randint(0, 11, (7, 3))
    ours = fastgru.load(saved(tmp_path, module, way, ids))
    for given in (ids, torch.randint(0, 11, (9, 2))):
        agree(ours(given.numpy()), module(given))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(6, 5, 3, padding=1)
        self.bn = nn.BatchNorm1d(5)
        self.gru = nn.GRU(5, 4, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(8, 3)
        self.bn.running_mean.normal_()
        self.bn.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = F.leaky_relu(self.bn(self.conv(x.transpose(1, 2))), 0.2).permute(0, 2, 1)
        y, h = self.gru(x)
        return self.fc(torch.cat([h[-2], h[-1]], dim=1)), y[:, -1] * 0.5 + y.mean(1)


@pytest.mark.parametrize("way", WAYS)
def test_a_classifier_with_two_outputs(tmp_path, way):
    module, x = Classifier(), torch.randn(3, 7, 6)
    got, wanted = fastgru.load(saved(tmp_path, module, way, x))(x.numpy()), module(x)
    for mine, theirs in zip(got, wanted, strict=True):
        agree(mine, theirs)


class States(nn.Module):
    """Two inputs, the second of which are states."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 4, 2, batch_first=True)
        self.other = nn.GRU(4, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, x, h):
        y, h = self.gru(x, h)
        z, _ = self.other(y, h[1:])
        return self.fc(z), h


@pytest.mark.parametrize("way", WAYS)
def test_states_as_inputs_and_outputs(tmp_path, way):
    module, x, h = States(), torch.randn(3, 7, 6), torch.randn(2, 3, 4)
    got = fastgru.load(saved(tmp_path, module, way, x, h))([x.numpy(), h.numpy()])
    for mine, theirs in zip(got, module(x, h), strict=True):
        agree(mine, theirs)


@pytest.mark.parametrize("way", ["scripted", "traced"])
def test_a_sequential_of_known_modules(tmp_path, way):
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.GELU(), nn.Softmax(-1))
    x = torch.randn(3, 7, 6)
    agree(fastgru.load(saved(tmp_path, module, way, x))(x.numpy()), module(x))


class Cells(nn.Module):
    """A GRUCell in a loop of its own."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(6, 4)

    def forward(self, x):
        h = torch.zeros(x.shape[0], 4)
        for step in range(x.shape[1]):
            h = self.cell(x[:, step], h)
        return h


def test_code_with_a_loop_leaves_the_weights_to_who_names_them(tmp_path):
    module, x = Cells(), torch.randn(3, 7, 6)
    path = saved(tmp_path, module, "scripted", x)
    for strict in (True, False):
        with pytest.raises(UnsupportedModelError, match="layers='cell'"):
            fastgru.load(path, strict=strict)
    ours = fastgru.load(path, layers="cell")
    assert isinstance(ours, fastgru.GRU)
    agree(ours(x.numpy())[1][0], module(x))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.gru = nn.GRU(6, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, ids):
        return torch.erfinv(torch.tanh(self.fc(self.gru(self.embedding(ids))[0])))


@pytest.mark.parametrize("way", WAYS)
def test_code_that_cannot_be_followed_loads_by_layers_and_says_why(tmp_path, way):
    module, ids = Odd(), torch.randint(0, 11, (3, 7))
    path = saved(tmp_path, module, way, ids)
    with pytest.raises(CheckpointError, match=r"(?s)layers=\[.*cannot be followed.*erfinv"):
        fastgru.load(path)
    linear = "linear" if way.startswith("frozen") else "fc"
    ours = fastgru.load(path, layers=["embedding", "gru", linear])
    agree(np.tanh(ours(ids.numpy())), torch.erf(module(ids)))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.again = self.gru
        self.lines = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 2)])

    def forward(self, x):
        y = self.again(self.gru(x)[0])[0]
        for line in self.lines:
            y = line(y)
        return y


@pytest.mark.parametrize("way", ["scripted", "traced"])
def test_shared_modules_and_lists_of_modules(tmp_path, way):
    module, x = Shared(), torch.randn(3, 7, 4)
    agree(fastgru.load(saved(tmp_path, module, way, x))(x.numpy()), module(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_types(tmp_path, dtype):
    gru = nn.GRU(5, 4, batch_first=True).to(dtype)
    torch.jit.save(torch.jit.script(gru.eval()), tmp_path / "file")
    x = torch.randn(3, 7, 5)
    agree(fastgru.load(tmp_path / "file")(x.numpy())[0], gru.float()(x)[0], GRU)


@pytest.mark.parametrize("way", WAYS)
def test_the_checkpoint_has_the_options_of_each_gru(tmp_path, way):
    module, ids = Tagger(), torch.randint(0, 11, (7, 3))
    checkpoint = fastgru.read(saved(tmp_path, module, way, ids))
    assert checkpoint.format == "torchscript"
    assert "gru.weight_hh_l1_reverse" in checkpoint
    np.testing.assert_array_equal(checkpoint["gru.weight_ih_l0"], module.gru.weight_ih_l0.numpy())
    if not way.startswith("frozen"):
        found = checkpoint.config["modules"]["gru"]
        assert found["class"] == "torch.nn.modules.rnn.GRU"
        wanted = {"num_layers": 2, "bias": True, "bidirectional": True, "batch_first": True}
        assert wanted.items() <= found["options"].items()


class InPlace(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.fc, self.way = nn.Linear(5, 6), way

    def forward(self, x):
        y = self.fc(x)
        if self.way == "itself":
            y.tanh_()
        elif self.way == "a part":
            y[:, :, :3].mul_(2.0)
        elif self.way == "transposed":
            y.transpose(1, 2).sigmoid_()
        else:
            z = torch.relu_(y)
            return y + z
        return y


@pytest.mark.parametrize("way", ["itself", "a part", "transposed", "beside"])
@pytest.mark.parametrize("how", ["script", "trace", "export"])
def test_what_is_changed_in_place_is_right(tmp_path, way, how):
    """An alias of a changed value would give other numbers without a word."""
    module, x = InPlace(way).eval(), torch.randn(2, 7, 5)
    path = tmp_path / "model.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "export":
            torch.export.save(torch.export.export(module, (x,)), path)
        else:
            (torch.jit.script(module) if how == "script" else torch.jit.trace(module, x)).save(path)
    np.testing.assert_allclose(fastgru.load(path)(x.numpy()), module(x).detach().numpy(), atol=2e-6)


class MovedInPlace(nn.Module):
    """Axes change in place, and the value is used again by its name; zeros and states are changed too."""

    __constants__ = ("way",)

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.gru = nn.GRU(5, 4, batch_first=way != "transposed")

    def forward(self, x):
        y, h = self.gru(x)
        if self.way == "transposed":
            h.transpose_(1, 2)
        elif self.way == "unsqueezed":
            y.unsqueeze_(1)
            return torch.tanh(y)
        elif self.way == "squeezed":
            h.squeeze_(0)
        elif self.way == "in a list":
            h.mul_(2.0)
            return torch.cat([h, h], 0)
        elif self.way == "zeros":
            z = torch.zeros_like(y)
            z.add_(y)
            return y + z
        else:
            y = y.transpose_(1, 2)
            return torch.tanh(y)
        return h


@pytest.mark.parametrize("way", ["transposed", "unsqueezed", "squeezed", "in a list", "zeros", "rebound"])
@pytest.mark.parametrize("how", ["script", "trace", "export"])
def test_axes_that_are_changed_in_place_are_right(tmp_path, way, how):
    module, x = MovedInPlace(way).eval(), torch.randn(2, 7, 5)
    path = tmp_path / "model.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "export":
            torch.export.save(torch.export.export(module, (x,)), path)
        else:
            (torch.jit.script(module) if how == "script" else torch.jit.trace(module, x)).save(path)
    agree(fastgru.load(path)(x.numpy()), module(x).detach(), 2e-6)


class ZeroState(nn.Module):
    __constants__ = ("way",)

    def __init__(self, way):
        super().__init__()
        self.way, self.gru = way, nn.GRU(5, 4, batch_first=True)

    def forward(self, x):
        if self.way == "fixed":
            h = torch.zeros(1, 3, 4)
        elif self.way == "expanded":
            h = torch.zeros(1, 1, 4).expand(-1, x.size(0), -1).contiguous()
        else:
            h = torch.zeros(1, x.size(0), 4)
        return torch.relu(self.gru(x, h)[0])


@pytest.mark.parametrize("way", ["fixed", "expanded", "of the batch"])
@pytest.mark.parametrize("how", ["script", "trace", "export"])
def test_a_state_of_zeros_for_a_number_of_rows_takes_that_batch_alone(tmp_path, way, how):
    module, path = ZeroState(way).eval(), tmp_path / "model.pt2"
    x = torch.randn(3, 7, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "export":
            torch.export.save(torch.export.export(module, (x,)), path)
        else:
            (torch.jit.script(module) if how == "script" else torch.jit.trace(module, x)).save(path)
    model = fastgru.load(path)
    np.testing.assert_allclose(model(x.numpy()), module(x).detach().numpy(), atol=2e-6)
    other = torch.randn(2, 7, 5)
    if way == "fixed":
        with pytest.raises(RuntimeError):
            module(other)
    if way == "fixed" or how == "export":
        with pytest.raises(ShapeError, match=r"batch of 2, wanted 3|got shape \(2, 7, 5\), wanted \(3, steps, 5\)"):
            model(other.numpy())
    else:
        np.testing.assert_allclose(model(other.numpy()), module(other).detach().numpy(), atol=2e-6)


class CellWithoutState(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.way, self.cell = way, nn.GRUCell(5, 4)

    def forward(self, x):
        return self.cell(x, torch.zeros(x.size(0), 4)) if self.way == "zeros" else self.cell(x)


@pytest.mark.parametrize("way", ["zeros", "none"])
def test_a_cell_that_begins_with_zeros_is_followed(tmp_path, way):
    module, x = CellWithoutState(way).eval(), torch.randn(3, 5)
    path = tmp_path / "model.pt2"
    batch = ({0: torch.export.Dim.AUTO},)
    torch.export.save(torch.export.export(module, (x,), dynamic_shapes=batch), path)
    for rows in (3, 2):
        x = torch.randn(rows, 5)
        np.testing.assert_allclose(fastgru.load(path)(x.numpy()), module(x).detach().numpy(), atol=2e-6)


@pytest.mark.parametrize("way", ["script", "trace"])
@pytest.mark.parametrize("make", [Tagger, lambda: nn.GRU(5, 4, 2, batch_first=True)])
def test_a_live_module_that_is_code_is_what_its_file_is(tmp_path, way, make):
    module = make().eval()
    x = torch.randint(0, 11, (3, 7)) if isinstance(module, Tagger) else torch.randn(3, 7, 5)
    live = torch.jit.script(module) if way == "script" else torch.jit.trace(module, (x,))
    torch.jit.save(live, tmp_path / "model.pt")
    ours, wanted = fastgru.from_torch(live), fastgru.load(tmp_path / "model.pt")
    assert type(ours) is type(wanted)
    for one, other in zip(*(torch.utils._pytree.tree_leaves(each(x.numpy())) for each in (ours, wanted)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_live_code_that_cannot_be_followed_is_named_by_its_class():
    with pytest.raises(UnsupportedModelError, match=r"^RecursiveScriptModule: .*erfinv"):
        fastgru.from_torch(torch.jit.script(Summed()))


class Summed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 4, batch_first=True)

    def forward(self, x):
        return torch.erfinv(self.gru(x)[0])


def test_code_that_cannot_be_followed_is_no_gru(tmp_path):
    path = tmp_path / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Summed().eval()).save(path)
    for strict in (True, False):
        with pytest.raises(UnsupportedModelError, match="erfinv"):
            fastgru.load(path, strict=strict)
    assert fastgru.load(path, layers="gru").hidden_size == 4
