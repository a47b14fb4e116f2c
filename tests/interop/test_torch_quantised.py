"""Models that torch.ao.quantization.quantize_dynamic made compute as the same weights in float32 do.

Torch quantises what flows between layers as well; the reference is therefore a float module with torch's own
dequantised weights, and the outputs may differ by 2e-6.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - only where torch is installed
from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic  # noqa: E402

import fastgru  # noqa: E402

BOUND = 2e-6
STEPS = np.random.default_rng(3).standard_normal((3, 9, 5)).astype(np.float32)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _quantising(seeded_torch):
    if torch.backends.quantized.engine == "none":
        torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]


class Net(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True, **options)
        self.fc = nn.Linear(14 if options.get("bidirectional") else 7, 3)

    def forward(self, x):
        return self.fc(self.rnn(x)[0])


def dequantised(quantised, module):
    """``module`` with the weights that torch itself unpacks from a quantised one."""
    fields = quantised.rnn.get_weight()
    biases = quantised.rnn.get_bias()
    state = {f"rnn.{name}": value for name, value in {**fields, **biases}.items()}
    weight, bias = quantised.fc._weight_bias()
    state |= {"fc.weight": weight, "fc.bias": bias}
    module.load_state_dict({name: (v.dequantize() if v.is_quantized else v) for name, v in state.items()})
    return module.eval()


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"num_layers": 3}])
@pytest.mark.parametrize("writer", ["state dict", "whole", "legacy", "live"])
def test_a_quantised_model_has_its_dequantised_weights(tmp_path, dtype, options, writer):
    net = Net(**options).eval()
    quantised = quantize_dynamic(net, {nn.GRU, nn.Linear}, dtype=dtype)
    wanted = dequantised(quantised, Net(**options))(torch.from_numpy(STEPS)).numpy()
    value = quantised.state_dict() if writer == "state dict" else quantised
    if writer == "live":
        ours = fastgru.from_torch(value, layers=["rnn", "fc"])
    else:
        torch.save(value, tmp_path / "file", _use_new_zipfile_serialization=writer != "legacy")
        ours = fastgru.load(tmp_path / "file", layers=["rnn", "fc"])
    assert np.abs(ours(STEPS) - wanted).max() <= BOUND


@pytest.mark.parametrize("writer", ["state dict", "whole"])
def test_a_quantised_cell(tmp_path, writer):
    cell = nn.GRUCell(5, 7)
    held = quantize_dynamic(nn.ModuleDict({"cell": cell}), {nn.GRUCell}, dtype=torch.qint8)
    packed = held["cell"]
    for side in ("ih", "hh"):
        weight = (packed._packed_weight_ih if side == "ih" else packed._packed_weight_hh).__getstate__()[0][0]
        getattr(cell, f"weight_{side}").copy_(weight.dequantize())
    torch.save(held.state_dict() if writer == "state dict" else held, tmp_path / "file")
    y, _ = fastgru.load(tmp_path / "file")(STEPS)
    h = torch.zeros(3, 7)
    for t in range(9):
        h = cell(torch.from_numpy(STEPS[:, t]), h)
        assert np.abs(y[:, t] - h.numpy()).max() <= BOUND


def test_a_linear_layer_quantised_by_channel(tmp_path):
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    quantised = quantize_dynamic(net, {nn.Linear: per_channel_dynamic_qconfig}, dtype=torch.qint8)
    torch.save(quantised, tmp_path / "file")
    for place in (0, 2):
        weight, _ = quantised[place]._weight_bias()
        assert weight.qscheme() == torch.per_channel_affine
        net[place].weight.copy_(weight.dequantize())
    wanted = net(torch.from_numpy(STEPS)).numpy()
    assert np.abs(fastgru.load(tmp_path / "file")(STEPS) - wanted).max() <= BOUND


def test_tensors_quantised_by_channel_are_torchs_own_numbers(tmp_path):
    values = torch.randn(4, 6)
    for axis, size in ((0, 4), (1, 6)):
        scales, zero_points = torch.rand(size) / 50 + 0.001, torch.randint(-5, 5, (size,))
        quantised = torch.quantize_per_channel(values, scales, zero_points, axis, torch.qint8)
        torch.save({"w": quantised}, tmp_path / "file")
        got = fastgru.read(tmp_path / "file")["w"]
        np.testing.assert_allclose(got, quantised.dequantize().numpy(), rtol=1e-6)
