"""What torch.export.save writes of a model gives that model's outputs: every operation, its own axes and structure.

5e-6 relative to the largest output is the project's bound for whole models; 2e-6 for a GRU alone.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils import _pytree as pytree  # noqa: E402 - only where torch is installed
from torch_outputs import GRU, agree  # noqa: E402

import fastgru  # noqa: E402
from fastgru.errors import UnsupportedModelError  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")
nn, F = torch.nn, torch.nn.functional


def exported(path, module, *inputs, **options):
    """The model as fastgru loads it from what torch.export writes."""
    file = path / "model.pt2"
    program = torch.export.export(module.eval(), inputs, **options)
    torch.export.save(program, file)
    return fastgru.load(file)


class Made(nn.Module):
    """A module whose forward is a function of it."""

    def __init__(self, forward, **children):
        super().__init__()
        for name, child in children.items():
            if isinstance(child, torch.Tensor):
                self.register_buffer(name, child)
            else:
                setattr(self, name, child)
        self.made = forward

    def forward(self, *inputs):
        return self.made(self, *inputs)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_gru_alone_is_a_gru_with_its_states(tmp_path, layers, bidirectional, bias, batch_first):
    gru = nn.GRU(5, 4, layers, bias=bias, bidirectional=bidirectional, batch_first=batch_first)
    x, h = torch.randn(3, 7, 5), torch.randn(layers * (1 + bidirectional), 3, 4)
    there = x if batch_first else x.transpose(0, 1).contiguous()
    wanted = gru(there, h)
    for ours in (exported(tmp_path, gru, there), exported(tmp_path, gru, there, h)):
        assert isinstance(ours, fastgru.GRU)
        y, state = ours(x.numpy(), h.numpy())
        agree(y, wanted[0] if batch_first else wanted[0].transpose(0, 1), GRU)
        agree(state, wanted[1], GRU)


def tagger(self, ids):
    y, _ = self.gru(self.drop(self.embedding(ids)))
    return F.log_softmax(self.fc(torch.relu(self.norm(y))), -1)


def last_step(self, x):
    return self.fc(self.gru(x)[0][:, -1])


def final_states(self, x):
    _, h = self.gru(x)
    return self.fc(torch.cat((h[-2], h[-1]), dim=1))


def transposed_states(self, x):
    _, h = self.gru(x)
    return self.fc(h.transpose(0, 1).reshape(x.shape[0], -1))


def squeezed_state(self, x):
    _, h = self.gru(x)
    return self.fc(h.squeeze(0))


def both_ends(self, x):
    y, _ = self.gru(x)
    return torch.cat((y[:, -1, :4], y[:, 0, 4:]), -1)


def halves(self, x):
    y, _ = self.gru(x)
    forward, backward = y.chunk(2, -1)
    one, two = torch.split(y, 4, dim=2)
    return forward + backward, torch.tanh(one) * two - 0.5


def by_directions(self, x):
    y, _ = self.gru(x)
    return y.view(x.shape[0], x.shape[1], 2, 4)[:, :, 1]


def pooled(self, x):
    y, _ = self.gru(x)
    return torch.cat((y.mean(1), y.sum(1), y.amax(1), y.max(dim=1).values, y.sum(dim=1, keepdim=True)[:, 0]), 1)


def convolved(self, x):
    y = F.relu(self.bn(self.conv(x.transpose(1, 2)))).transpose(1, 2)
    return self.fc(self.gru(y)[0])


def channels_first(self, x):
    y = self.pool(torch.tanh(self.conv(x)))
    return self.gru(y.permute(0, 2, 1))[0].permute(0, 2, 1)


def pooled_channels(self, x):
    y = self.gru(x)[0].transpose(1, 2)
    return F.adaptive_avg_pool1d(y, 1).squeeze(-1), F.adaptive_max_pool1d(y, 1).flatten(1), F.avg_pool1d(y, 3)


def arithmetic(self, x):
    y, _ = self.gru((x - self.mean) / self.std * 0.5 + 1)
    return 1 - y, 2 * y, y / 3, -0.25 - y + x @ self.matrix, torch.sub(y, y * y, alpha=2), y * self.gain


def decoder(self, x):
    _, h = self.gru(x)
    y, h = self.other(x, h)
    return y, h[0]


def side_input(self, x, side):
    y, _ = self.gru(x, self.fc(side).unsqueeze(0))
    return y


def two_states(self, x, h):
    y, h = self.gru(x, h)
    return y, h


def flattened(self, x):
    return self.fc(torch.flatten(self.gru(x)[0], 1))


def every_activation(self, x):
    y, _ = self.gru(x)
    return tuple(function(3 * y) for function in self.functions)


CHILDREN = {
    "tagger": lambda: {
        "embedding": nn.Embedding(11, 6, padding_idx=0),
        "drop": nn.Dropout(0.5),
        "gru": nn.GRU(6, 4, 2, batch_first=True, bidirectional=True, dropout=0.1),
        "norm": nn.LayerNorm(8),
        "fc": nn.Linear(8, 3),
    },
    "last_step": lambda: {"gru": nn.GRU(6, 4, batch_first=True), "fc": nn.Linear(4, 2)},
    "final_states": lambda: {"gru": nn.GRU(6, 4, 2, batch_first=True, bidirectional=True), "fc": nn.Linear(8, 3)},
    "transposed_states": lambda: {"gru": nn.GRU(6, 4, 2, batch_first=True), "fc": nn.Linear(8, 3)},
    "squeezed_state": lambda: {"gru": nn.GRU(6, 4, batch_first=True), "fc": nn.Linear(4, 3)},
    "both_ends": lambda: {"gru": nn.GRU(6, 4, batch_first=True, bidirectional=True)},
    "halves": lambda: {"gru": nn.GRU(6, 4, batch_first=True, bidirectional=True)},
    "by_directions": lambda: {"gru": nn.GRU(6, 4, batch_first=True, bidirectional=True)},
    "pooled": lambda: {"gru": nn.GRU(6, 4, batch_first=True)},
    "convolved": lambda: {
        "conv": nn.Conv1d(6, 5, 3, padding=1),
        "bn": trained(nn.BatchNorm1d(5)),
        "gru": nn.GRU(5, 4, batch_first=True),
        "fc": nn.Linear(4, 2, bias=False),
    },
    "pooled_channels": lambda: {"gru": nn.GRU(6, 4, batch_first=True)},
    "arithmetic": lambda: {
        "gru": nn.GRU(6, 4, batch_first=True),
        "mean": torch.randn(6),
        "std": torch.rand(6) + 0.5,
        "matrix": torch.randn(6, 4),
        "gain": torch.rand(1),
    },
    "decoder": lambda: {"gru": nn.GRU(6, 4, batch_first=True), "other": nn.GRU(6, 4, batch_first=True)},
    "flattened": lambda: {"gru": nn.GRU(6, 4, batch_first=True), "fc": nn.Linear(28, 2)},
}


def trained(norm):
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.weight.normal_()
    norm.bias.normal_()
    return norm


def sequences(name):
    return torch.randint(0, 11, (3, 7)) if name == "tagger" else torch.randn(3, 7, 6)


@pytest.mark.parametrize("name", CHILDREN)
@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_whole_models(tmp_path, name, dynamic_batch):
    module = Made(globals()[name], **CHILDREN[name]()).eval()
    x = sequences(name)
    shapes = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamic_batch else {}
    wanted = module(x)
    module.forward = lambda x: module.made(module, x)  # one named input
    ours = exported(tmp_path, module, x, **shapes)
    batches = [x, x[:1], torch.cat((x, x))]
    if not dynamic_batch:  # the file has one batch; nothing in the graph knows it, but for the numbers of some
        with pytest.raises(fastgru.ShapeError, match="a batch of 1, wanted 3"):
            ours(x[:1].numpy())
        if name in ("arithmetic", "halves", "pooled_channels"):
            batches = [x]
        else:
            ours = ours.with_any_size()
    for batch in batches:
        got, wanted = ours(batch.numpy()), module(batch)
        for mine, theirs in zip(
            *((each,) if not isinstance(each, tuple) else each for each in (got, wanted)), strict=True
        ):
            agree(mine, theirs)


def test_steps_can_be_opened_where_the_graph_does_not_need_their_number(tmp_path):
    module = Made(tagger, **CHILDREN["tagger"]()).eval()
    ours = exported(tmp_path, module, sequences("tagger"))
    longer = torch.randint(0, 11, (2, 19))
    with pytest.raises(fastgru.ShapeError, match=r"the code of Made.*with_any_size"):
        ours(longer.numpy())
    agree(ours.with_any_size()(longer.numpy()), module(longer))


def test_the_steps_are_those_of_the_export_where_the_graph_needs_their_number(tmp_path):
    ours = exported(tmp_path, Made(flattened, **CHILDREN["flattened"]()), torch.randn(3, 7, 6))
    with pytest.raises(fastgru.ShapeError):
        ours(np.zeros((3, 8, 6), np.float32))


@pytest.mark.parametrize("output", ["steps", "last", "state"])
def test_models_that_take_the_steps_first(tmp_path, output):
    def forward(self, x):
        y, h = self.gru(self.norm(x))
        return self.fc({"steps": y, "last": y[-1], "state": h[-1]}[output])

    module = Made(forward, gru=nn.GRU(6, 4, 2), norm=nn.LayerNorm(6), fc=nn.Linear(4, 3))
    x = torch.randn(7, 3, 6)
    ours = exported(tmp_path, module, x)
    agree(ours(x.numpy()), module(x))
    x = torch.randn(9, 2, 6)
    agree(ours.with_any_size()(x.numpy()), module(x))


def test_a_model_that_transposes_for_a_gru_with_the_steps_first(tmp_path):
    def forward(self, x):
        return self.gru(x.transpose(0, 1))[0].transpose(0, 1)

    module, x = Made(forward, gru=nn.GRU(6, 4)), torch.randn(3, 7, 6)
    agree(exported(tmp_path, module, x)(x.numpy()), module(x))


def test_channels_before_the_steps(tmp_path):
    module = Made(
        channels_first,
        conv=nn.Conv1d(6, 5, 3, stride=2, dilation=2, padding=2),
        pool=nn.MaxPool1d(2),
        gru=nn.GRU(5, 4, batch_first=True),
    )
    x = torch.randn(3, 6, 21)
    ours = exported(tmp_path, module, x).with_any_size()
    for given in (x, torch.randn(2, 6, 33)):
        agree(ours(given.numpy()), module(given))


@pytest.mark.parametrize(
    "options", [{"padding": "same"}, {"groups": 2}, {"padding": 2, "bias": False}, {"padding": "valid"}]
)
def test_convolutions(tmp_path, options):
    module = Made(
        lambda self, x: self.gru(self.conv(x).mT)[0],
        conv=nn.Conv1d(6, 8, 4, **options),
        gru=nn.GRU(8, 4, batch_first=True),
    )
    x = torch.randn(3, 6, 21)
    agree(exported(tmp_path, module, x)(x.numpy()), module(x))


def test_initial_states_are_inputs(tmp_path):
    module = Made(side_input, gru=nn.GRU(6, 4, batch_first=True), fc=nn.Linear(2, 4))
    x, side = torch.randn(3, 7, 6), torch.randn(3, 2)
    agree(exported(tmp_path, module, x, side)([x.numpy(), side.numpy()]), module(x, side))


def test_states_of_several_layers_are_one_input_and_one_output(tmp_path):
    module = Made(
        lambda self, x, h: (self.fc(self.gru(x, h)[0]), self.gru(x, h)[1]),
        gru=nn.GRU(6, 4, 2, batch_first=True),
        fc=nn.Linear(4, 4),
    )
    x, h = torch.randn(3, 7, 6), torch.randn(2, 3, 4)
    got, wanted = exported(tmp_path, module, x, h)(x.numpy(), h.numpy()), module(x, h)
    assert isinstance(got, tuple) and len(got) == 2
    agree(got[0], wanted[0])
    agree(got[1], wanted[1])


def test_a_gru_cell_is_one_step(tmp_path):
    cell = nn.GRUCell(6, 4)
    x, h = torch.randn(3, 6), torch.randn(3, 4)
    agree(exported(tmp_path, cell, x, h)([x.numpy(), h.numpy()]), cell(x, h), GRU)


FUNCTIONS = [
    F.relu,
    torch.tanh,
    torch.sigmoid,
    F.gelu,
    lambda x: F.gelu(x, approximate="tanh"),
    F.elu,
    lambda x: F.elu(x, 0.3),
    F.leaky_relu,
    lambda x: F.leaky_relu(x, 0.3),
    F.silu,
    F.mish,
    F.selu,
    F.celu,
    F.softplus,
    lambda x: F.softplus(x, 2.0, 1.5),
    F.hardsigmoid,
    F.hardswish,
    F.hardtanh,
    F.relu6,
    F.logsigmoid,
    F.hardshrink,
    F.softshrink,
    F.glu,
    lambda x: F.softmax(x, -1),
    lambda x: F.log_softmax(x, 2),
    lambda x: F.softmax(x, 1),
    lambda x: torch.clamp(x, -0.5, 0.7),
    lambda x: F.threshold(x, 0.1, -3.0),
    lambda x: x.clamp(min=0),
    torch.exp,
    torch.abs,
    torch.neg,
]


def test_every_activation(tmp_path):
    module = Made(every_activation, gru=nn.GRU(6, 4, batch_first=True))
    module.functions = FUNCTIONS
    x = torch.randn(3, 7, 6)
    got, wanted = exported(tmp_path, module, x)(x.numpy()), module(x)
    for mine, theirs in zip(got, wanted, strict=True):
        agree(mine, theirs)


@pytest.mark.parametrize("affine", [True, False])
def test_a_normalisation_over_channels_and_steps(tmp_path, affine):
    norm = nn.LayerNorm((4, 7), elementwise_affine=affine)
    if affine:
        norm.weight.normal_()
        norm.bias.normal_()
    module = Made(
        lambda self, x: self.gru(self.norm(self.conv(x)).transpose(1, 2))[0],
        conv=nn.Conv1d(6, 4, 3), norm=norm, gru=nn.GRU(4, 4, batch_first=True),
    )  # fmt: skip
    x = torch.randn(3, 6, 9)
    agree(exported(tmp_path, module, x)(x.numpy()), module(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(6, 8), nn.PReLU(), nn.LayerNorm(8, elementwise_affine=False), nn.Linear(8, 3)),
        lambda: nn.Sequential(nn.RMSNorm(6), nn.PReLU(1), nn.Identity(), nn.AlphaDropout(0.2)),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)),
        lambda: nn.Sequential(nn.Unflatten(2, (2, 3)), nn.Flatten(2)),
    ],
)
def test_layers_without_a_gru(tmp_path, make):
    module, x = make(), torch.randn(3, 7, 6)
    agree(exported(tmp_path, module, x)(x.numpy()), module(x))


def test_batch_normalisation_and_slopes_by_channel(tmp_path):
    module = nn.Sequential(nn.Conv1d(6, 4, 3), trained(nn.BatchNorm1d(4)), nn.PReLU(4), nn.Flatten())
    x = torch.randn(3, 6, 9)
    agree(exported(tmp_path, module, x)(x.numpy()), module(x))


def test_a_decomposed_program_still_loads(tmp_path):
    module, x = (
        nn.Sequential(nn.Conv1d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 2), nn.Softmax(-1)),
        torch.randn(3, 6, 9),
    )
    torch.export.save(torch.export.export(module.eval(), (x,)).run_decompositions(), tmp_path / "model.pt2")
    agree(fastgru.load(tmp_path / "model.pt2")(x.numpy()), module(x))


def test_tied_and_strided_weights(tmp_path):
    module = Made(
        lambda self, x: self.fc(self.gru(self.embedding(x))[0]),
        embedding=nn.Embedding(9, 4),
        gru=nn.GRU(4, 4, batch_first=True),
        fc=nn.Linear(4, 9, bias=False),
    )
    module.fc.weight = module.embedding.weight
    ids = torch.randint(0, 9, (3, 7))
    agree(exported(tmp_path, module, ids)(ids.numpy()), module(ids))
    strided = Made(lambda self, x: x @ self.matrix, matrix=torch.randn(5, 6).t()[:, ::2])
    x = torch.randn(3, 7, 6)
    agree(exported(tmp_path, strided, x)(x.numpy()), strided(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_types(tmp_path, dtype):
    module = nn.Sequential(nn.Linear(6, 3)).to(dtype)
    x = torch.randn(3, 7, 6)
    got = exported(tmp_path, module, x.to(dtype))(x.numpy())
    agree(got, module.float()(x))


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: torch.cumsum(self.gru(x)[0], 1),
        lambda self, x: self.gru(x)[0].sum(0),
        lambda self, x: self.gru(x)[0][0],
        lambda self, x: torch.einsum("bti,bsi->bts", self.gru(x)[0], self.gru(x)[0]),
        lambda self, x: {"states": [self.gru(x)[1], None], "all": (self.gru(x)[0],)},
        lambda self, x: self.gru(x)[0].reshape(-1, 4) @ torch.ones(4, 2),
    ],
)
def test_operations_over_the_batch_and_any_structure(tmp_path, forward):
    module, x = Made(forward, gru=nn.GRU(6, 4, batch_first=True)).eval(), torch.randn(3, 7, 6)
    got, wanted = exported(tmp_path, module, x)(x.numpy()), module(x)
    assert pytree.tree_structure(got) == pytree.tree_structure(wanted)
    for mine, theirs in zip(pytree.tree_leaves(got), pytree.tree_leaves(wanted), strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            agree(mine, theirs)


class Shifted(nn.Module):
    """It writes in place: into a tensor of its own, through views, and without gradients."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 4, batch_first=True)

    def forward(self, x):
        made = torch.zeros(x.size(0), x.size(1), 4)
        with torch.no_grad():
            y, h = self.gru(x)
        made[:, 1:] = y[:, :-1]
        made[:, 0].copy_(h[0])
        turned = made.transpose(1, 2)
        turned[:, 1].mul_(2.0)
        turned[:, :, -1].clamp_(min=0).add_(1.0)
        first, second = made.unsqueeze(0).split(2, -1)
        first[0, :, 2] = second[0, :, 3]
        made.view(-1)[:5] = 7.0
        return made, turned, first.squeeze(0) + 1


def test_what_is_written_in_place_is_seen_under_every_name(tmp_path):
    module, x = Shifted().eval(), torch.randn(3, 7, 6)
    for mine, theirs in zip(exported(tmp_path, module, x)(x.numpy()), module(x), strict=True):
        agree(mine, theirs)


def after_a_reshape(self, x):
    y = self.gru(x)[0]
    flat = y.reshape(3, 28)
    y[:, 0] = 1.0
    return flat


def in_its_input(self, x):
    x[:, 0] = 0.0
    return self.gru(x)[0]


def test_what_is_written_into_an_input_is_seen_in_the_outputs_alone(tmp_path):
    module, x = Made(in_its_input, gru=nn.GRU(6, 4, batch_first=True)).eval(), torch.randn(3, 7, 6)
    given = x.numpy().copy()
    agree(exported(tmp_path, module, x.clone())(given), module(x.clone()))
    np.testing.assert_array_equal(given, x)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (after_a_reshape, "may have been changed in place"),
        (lambda self, x: self.total.add_(self.gru(x)[0].sum()), r"its own 'total'|buffer_mutation"),
    ],
)
def test_a_change_in_place_whose_meaning_is_not_certain_is_refused(tmp_path, forward, message):
    module = Made(forward, gru=nn.GRU(6, 4, batch_first=True), total=torch.zeros(()))
    with pytest.raises(UnsupportedModelError, match=message):
        exported(tmp_path, module, torch.randn(3, 7, 6))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, x: torch.linalg.inv(self.gru(x)[0][:, :4] + 1), r"linalg_inv.* the operation is not supported"),
        (lambda self, x: torch.fft.rfft(self.gru(x)[0]).real, r"fft_\w+.* the operation is not supported"),
        (lambda self, x: self.gru(x)[0] + torch.rand(4), r"rand .*the operation is not supported"),
        (lambda self, x: self.gru(x)[0].half().float(), "half precision"),
    ],
)
def test_what_is_not_supported_is_named_and_the_weights_are_still_read(tmp_path, forward, message):
    module = Made(forward, gru=nn.GRU(6, 4, batch_first=True))
    with pytest.raises(UnsupportedModelError, match=message):
        exported(tmp_path, module, torch.randn(3, 7, 6))
    assert "gru.weight_hh_l0" in fastgru.read(tmp_path / "model.pt2")


def test_a_model_in_training_mode_is_refused(tmp_path):
    module = nn.Sequential(nn.Conv1d(6, 4, 3), nn.BatchNorm1d(4)).train()
    torch.export.save(torch.export.export(module, (torch.randn(3, 6, 9),)), tmp_path / "model.pt2")
    with pytest.raises(UnsupportedModelError, match="eval"):
        fastgru.load(tmp_path / "model.pt2")


def test_dynamic_steps(tmp_path):
    module, x = nn.Sequential(nn.Linear(6, 4), nn.Tanh()), torch.randn(3, 7, 6)
    shapes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("steps")},)
    agree(exported(tmp_path, module, x, dynamic_shapes=shapes)(x.numpy()), module(x))
