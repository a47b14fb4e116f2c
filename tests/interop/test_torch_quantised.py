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


def quantised_gru(kind, **options):
    """A packed GRU of torch.ao, and its weights as torch holds them, by PyTorch's names."""
    config = {nn.GRU: per_channel_dynamic_qconfig} if kind == "by channel" else {nn.GRU}
    held = quantize_dynamic(nn.ModuleDict({"rnn": nn.GRU(33, 40, **options)}), config, dtype=torch.qint8)
    return held, held["rnn"].get_weight()


def check_whole_numbers(gru, weights, names):
    """The engine's int8 of every matrix is torch's, number by number, and the steps are torch's but for a rounding."""
    found = [matrix for _, matrix in gru.spec.named_matrices()]
    for matrix, name in zip(found, names, strict=True):
        ints, steps, *_ = matrix.form("int8", name)
        assert (ints == weights[name].int_repr().numpy()).all(), name
        by_channel = weights[name].qscheme() == torch.per_channel_affine
        scales = weights[name].q_per_channel_scales().numpy() if by_channel else weights[name].q_scale()
        np.testing.assert_allclose(steps, np.broadcast_to(scales, steps.shape), rtol=2e-7)


@pytest.mark.parametrize("kind", ["whole", "by channel"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("writer", ["state dict", "module", "legacy", "live"])
def test_a_stored_gru_keeps_torchs_whole_numbers(tmp_path, kind, options, writer):
    held, weights = quantised_gru(kind, **options)
    ends = [f"l{layer}{way}" for layer in range(options.get("num_layers", 1))
            for way in ("", "_reverse")[: 1 + options.get("bidirectional", False)]]  # fmt: skip
    names = [f"weight_{side}_{end}" for end in ends for side in ("ih", "hh")]
    value = held.state_dict() if writer == "state dict" else held
    if writer == "live":
        gru = fastgru.from_torch(value, layers="rnn", precision="stored")
    else:
        torch.save(value, tmp_path / "file", _use_new_zipfile_serialization=writer != "legacy")
        gru = fastgru.load(tmp_path / "file", layers="rnn", precision="stored")
    assert gru.precision == "int8"
    check_whole_numbers(gru, weights, names)


@pytest.mark.parametrize("writer", ["file", "live"])
def test_a_stored_cell_keeps_torchs_whole_numbers(tmp_path, writer):
    held = quantize_dynamic(nn.ModuleDict({"cell": nn.GRUCell(33, 40)}), {nn.GRUCell}, dtype=torch.qint8)
    packed = {"ih": held["cell"]._packed_weight_ih, "hh": held["cell"]._packed_weight_hh}
    weights = {side: each.__getstate__()[0][0] for side, each in packed.items()}
    torch.save(held, tmp_path / "file")
    if writer == "live":
        gru = fastgru.from_torch(held, precision="stored")
    else:
        gru = fastgru.load(tmp_path / "file", precision="stored")
    assert gru.precision == "int8"
    check_whole_numbers(gru, weights, ["ih", "hh"])


@pytest.mark.parametrize("writer", ["file", "live"])
def test_a_stored_model_keeps_torchs_whole_numbers(tmp_path, writer):
    quantised = quantize_dynamic(Net().eval(), {nn.GRU, nn.Linear}, dtype=torch.qint8)
    torch.save(quantised, tmp_path / "file")
    given = {"layers": ["rnn", "fc"], "precision": "stored"}
    model = fastgru.from_torch(quantised, **given) if writer == "live" else fastgru.load(tmp_path / "file", **given)
    assert model.precision == "int8"
    check_whole_numbers(model._runner.computes[0].stack, quantised.rnn.get_weight(), ["weight_ih_l0", "weight_hh_l0"])
    model.save(tmp_path / "small", precision="int8")
    again = fastgru.load(tmp_path / "small", precision="stored")
    assert again.precision == "int8" and again(STEPS).tobytes() == model(STEPS).tobytes()


def test_a_linear_layer_in_int8_does_not_make_a_gru_of_floats_int8(tmp_path):
    torch.save(quantize_dynamic(Net().eval(), {nn.Linear}, dtype=torch.qint8), tmp_path / "file")
    assert fastgru.read(tmp_path / "file").stored
    assert fastgru.load(tmp_path / "file", layers=["rnn", "fc"], precision="stored").precision == "float32"


@pytest.mark.parametrize(("dtype", "zero_point"), [(torch.quint8, 0), (torch.quint8, 128), (torch.qint8, 20)])
@pytest.mark.parametrize("writer", ["file", "live"])
def test_a_zero_point_or_uint8_falls_to_float32(tmp_path, dtype, zero_point, writer):
    state = nn.GRU(5, 7).state_dict()
    for name in ("weight_ih_l0", "weight_hh_l0"):
        state[name] = torch.quantize_per_tensor(state[name], 0.004, zero_point, dtype)
    torch.save(state, tmp_path / "file")
    wanted = "uint8" if dtype == torch.quint8 else "int8"
    assert set(fastgru.read(tmp_path / "file").stored.values()) == {wanted}
    if writer == "live":
        gru = fastgru.from_torch(state, precision="stored")
    else:
        gru = fastgru.load(tmp_path / "file", precision="stored")
    assert gru.precision == "float32"
    np.testing.assert_array_equal(gru.spec.layers[0][0].w_hh, state["weight_hh_l0"].dequantize().numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("writer", ["state dict", "module", "scripted", "live", "live dict", "live scripted"])
def test_floats_are_kept_as_they_are_stored(tmp_path, dtype, writer):
    gru = nn.GRU(5, 7).to(getattr(torch, dtype))
    value = gru.state_dict() if "dict" in writer else torch.jit.script(gru) if "scripted" in writer else gru
    if writer.startswith("live"):
        ours = fastgru.from_torch(value, precision="stored")
    else:
        (torch.jit.save if writer == "scripted" else torch.save)(value, tmp_path / "file")
        ours = fastgru.load(tmp_path / "file", precision="stored")
    assert ours.precision == dtype


def test_torch_writes_what_it_packs_in_float16_as_float32(tmp_path):
    held = quantize_dynamic(nn.ModuleDict({"rnn": nn.GRU(5, 7)}), {nn.GRU}, dtype=torch.float16)
    torch.save(held, tmp_path / "file")
    for gru in (fastgru.from_torch(held, precision="stored"), fastgru.load(tmp_path / "file", precision="stored")):
        assert gru.precision == "float32"
