"""``map`` of graphs from PyTorch: any axes, any structure of outputs; rows that are mixed are refused."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from networks import numbers, same_bits  # noqa: E402

import fastgru  # noqa: E402
from fastgru import ShapeError, UnsupportedModelError  # noqa: E402
from fastgru.model import as_tuple  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")
nn = torch.nn
FEATURES, HIDDEN = 4, 9
LENGTHS = [5, 2, 30, 7, 7, 2, 19, 3, 30, 12]
SEQUENCES = [numbers(steps, FEATURES, seed=place) for place, steps in enumerate(LENGTHS)]


class Around(nn.Module):
    """A GRU, and a function of what it gives and of the module."""

    def __init__(self, function, batch_first=True, **options):
        super().__init__()
        self.gru = nn.GRU(FEATURES, HIDDEN, batch_first=batch_first, **options)
        self.conv = nn.Conv1d(HIDDEN, 3, 3, stride=2, padding=1)
        self.out = nn.Linear(HIDDEN, 2)
        self.function = function

    def forward(self, x):
        return self.function(self, *self.gru(x))


BATCH_FIRST = {
    "steps": lambda module, y, h: module.out(y),
    "tuple": lambda module, y, h: (y, h),
    "last": lambda module, y, h: module.out(h[-1]),
    "score": lambda module, y, h: module.out(h[-1])[:, 0],
    "dict": lambda module, y, h: {"states": [h], "steps": (y, module.out(y).argmax(-1))},
    "twice": lambda module, y, h: (y, y),
    "channels": lambda module, y, h: y.transpose(1, 2),
    "convolution": lambda module, y, h: module.conv(y.transpose(1, 2)),
    "mean": lambda module, y, h: y.mean(1),
    "softmax over steps": lambda module, y, h: (torch.softmax(module.out(y)[..., :1], 1) * y).sum(1),
    "attention": lambda module, y, h: torch.softmax(y @ y.mT, -1) @ y,
    "attention of the last": lambda module, y, h: torch.einsum(
        "bt,bth->bh", torch.softmax(torch.einsum("bh,bth->bt", h[-1], y), -1), y
    ),
    "without the last": lambda module, y, h: y[:, :-1],
}


def whole(sequence, axis=0):
    return np.expand_dims(sequence, axis)


@pytest.mark.parametrize("name", BATCH_FIRST)
def test_a_graph_gives_the_bits_of_each_sequence_alone(name):
    model = fastgru.from_torch(Around(BATCH_FIRST[name]).eval(), torch.randn(3, 6, FEATURES))
    states = {"tuple": [0, 1], "dict": [1, 0, 0]}.get(name)
    for got, x in zip(model.map(SEQUENCES), SEQUENCES, strict=True):
        alone = model(whole(x))
        assert type(got) is type(alone)
        for place, (one, other) in enumerate(zip(as_tuple(got), as_tuple(alone), strict=True)):
            assert same_bits(one, np.array(np.squeeze(other, states[place] if states else 0), order="C"))


def test_steps_before_the_batch():
    module = Around(lambda module, y, h: (module.out(y), h), batch_first=False).eval()
    model = fastgru.from_torch(module, torch.randn(6, 3, FEATURES))
    flat = np.concatenate(SEQUENCES)
    for results in (model.map(SEQUENCES), model.map(flat, lengths=LENGTHS)):
        for (y, h), x in zip(results, SEQUENCES, strict=True):
            alone = model(whole(x, 1))
            assert same_bits(y, np.ascontiguousarray(alone[0][:, 0]))
            assert same_bits(h, np.ascontiguousarray(alone[1][:, 0]))
    with pytest.raises(ShapeError, match=r"sequence 1: got shape \(3, 5\), wanted \(steps, 4\)"):
        list(model.map([SEQUENCES[0], np.zeros((3, 5))]))


def test_several_inputs_with_steps_of_their_own():
    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(11, FEATURES)
            self.read = nn.GRU(FEATURES, HIDDEN, batch_first=True)
            self.write = nn.GRU(FEATURES, HIDDEN, batch_first=True)

        def forward(self, source, target):
            return self.write(self.words(target), self.read(source)[1])[0]

    example = torch.randn(3, 6, FEATURES), torch.randint(0, 11, (3, 5))
    model = fastgru.from_torch(Translator().eval(), example)
    items = [(x, np.arange(len(x) + place) % 11) for place, x in enumerate(SEQUENCES)]
    for got, (source, target) in zip(model.map(items), items, strict=True):
        assert same_bits(got, np.ascontiguousarray(model(source[None], target[None])[0]))
    named = [dict(zip(model.inputs, item, strict=True)) for item in items]
    for one, other in zip(model.map(named), model.map(items), strict=True):
        assert same_bits(one, other)


@pytest.mark.parametrize(
    "function",
    [lambda module, y, h: y - y.mean(0, keepdim=True), lambda module, y, h: torch.softmax(y, 0)],
    ids=["mean", "softmax"],
)
def test_a_model_that_takes_rows_together_takes_whole_inputs_alone(function):
    model = fastgru.from_torch(Around(function).eval(), torch.randn(3, 6, FEATURES))
    assert not model.keeps_rows_apart
    with pytest.raises(ShapeError, match=r"sequence 0: got shape \(5, 4\), wanted .*none is known to be the batch"):
        list(model.map(SEQUENCES))
    items = [numbers(rows, steps, FEATURES) for rows, steps in ((3, 5), (2, 5), (3, 9), (3, 5))]
    for got, x in zip(model.map(items), items, strict=True):
        assert same_bits(got, model(x))


def test_a_model_whose_rows_are_lost_on_the_way_is_refused_at_once():
    module = Around(lambda module, y, h: y.reshape(y.shape[1], y.shape[0], HIDDEN)).eval()
    model = fastgru.from_torch(module, torch.randn(3, 6, FEATURES))
    with pytest.raises(UnsupportedModelError, match=r"map: layer 'reshape' .*it is not known which part"):
        model.map(SEQUENCES)


def test_rows_that_stand_behind_each_other_run_alone():
    """An output of (batch * steps, features) has no axis of the batch: each sequence gives its own rows of it."""
    module = Around(lambda module, y, h: module.out(y).reshape(-1, 2)).eval()
    model = fastgru.from_torch(module, torch.randn(3, 6, FEATURES))
    for got, x in zip(model.map(SEQUENCES), SEQUENCES, strict=True):
        assert got.shape == (len(x), 2) and same_bits(got, model(whole(x)))


def test_sizes_that_a_file_fixed_are_refused_by_the_sequence(tmp_path):
    example = torch.randn(1, 6, FEATURES)
    torch.export.save(torch.export.export(Around(BATCH_FIRST["steps"]).eval(), (example,)), tmp_path / "model.pt2")
    model = fastgru.load(tmp_path / "model.pt2", strict=False)
    items = [numbers(6, FEATURES, seed=seed) for seed in range(3)]
    for got, x in zip(model.map(items), items, strict=True):
        assert same_bits(got, np.ascontiguousarray(model(whole(x))[0]))
    with pytest.raises(ShapeError, match=r"sequence 3: .*5"):
        list(model.map([*items, SEQUENCES[0]]))
    torch.export.save(
        torch.export.export(Around(BATCH_FIRST["steps"]).eval(), (torch.randn(2, 6, FEATURES),)), tmp_path / "two.pt2"
    )
    with pytest.raises(ShapeError, match=r"sequence 0: .*batch of 1, wanted 2.*Dim.AUTO"):
        list(fastgru.load(tmp_path / "two.pt2", strict=False).map(items))


def test_no_steps_are_empty_or_an_error_that_says_so():
    per_step = fastgru.from_torch(Around(BATCH_FIRST["steps"]).eval(), torch.randn(3, 6, FEATURES))
    at_the_end = fastgru.from_torch(Around(BATCH_FIRST["last"]).eval(), torch.randn(3, 6, FEATURES))
    nothing = np.zeros((0, FEATURES), np.float32)
    assert [y.shape for y in per_step.map([SEQUENCES[0], nothing])] == [(5, 2), (0, 2)]
    with pytest.raises(ShapeError, match=r"sequence 1: got shape \(0, 4\), that is no steps"):
        list(at_the_end.map([SEQUENCES[0], nothing]))
