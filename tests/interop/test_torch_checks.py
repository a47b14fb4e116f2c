"""``check=(x, y)`` with what PyTorch really computes: the right layers pass, and others that fit the weights do not."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastgru  # noqa: E402
from fastgru.errors import CheckpointError  # noqa: E402

pytestmark = pytest.mark.usefixtures("seeded_torch")


class Classifier(torch.nn.Module):
    """Scores of both directions' final states, as most people write it."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(5, 7, bidirectional=True, batch_first=True)
        self.hidden, self.fc = torch.nn.Linear(14, 6), torch.nn.Linear(6, 3)

    def forward(self, x):
        _, h = self.gru(x)
        return self.fc(torch.relu(self.hidden(torch.cat([h[-2], h[-1]], 1))))


def test_a_classifier_on_final_states_is_told_from_what_its_weights_would_allow(tmp_path):
    module, path = Classifier().eval(), str(tmp_path / "classifier.pt")
    torch.save(module.state_dict(), path)
    x = torch.randn(4, 9, 5)
    y = module(x)
    right = ["gru", fastgru.FinalState(), "hidden", fastgru.Activation("relu"), "fc"]
    model = fastgru.load(path, layers=right, check=(x, y))
    assert np.abs(model(x) - y.numpy()).max() < 2e-6
    fastgru.from_torch(module, layers=right, check=(x.numpy(), y.numpy()))
    for wrong in (
        ["gru", fastgru.Last(), "hidden", fastgru.Activation("relu"), "fc"],
        ["gru", fastgru.FinalState(), "hidden", "fc"],
    ):
        with pytest.raises(CheckpointError, match="does not compute what check= expects"):
            fastgru.load(path, layers=wrong, check=(x, y))
    with torch.enable_grad():
        tracked = module(x)
    assert tracked.requires_grad
    fastgru.load(path, layers=right, check=(x, tracked))


@pytest.mark.parametrize("layers", [1, 2])
def test_a_gru_and_its_states_are_as_torch_gives_them(layers):
    gru = torch.nn.GRU(5, 7, layers, bidirectional=True, batch_first=True).eval()
    x = torch.randn(4, 9, 5)
    made = gru(x)
    fastgru.from_torch(gru, check=(x, made))
    fastgru.from_torch(gru, check=(x, made[0]), precision="int8")
