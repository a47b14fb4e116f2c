"""``accelerate``: PyTorch's own GRUs computed here, in place; everything else of the module stays PyTorch's."""

from __future__ import annotations

import copy
import pickle

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

import fastgru  # noqa: E402
from fastgru import DTypeError, UnsupportedModelError  # noqa: E402

CLOSE = 2e-6


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= CLOSE)


def pair(**options: object) -> tuple[nn.GRU, nn.GRU]:
    torch.manual_seed(0)
    module = nn.GRU(5, 7, **options).eval()
    accelerated = copy.deepcopy(module)
    assert fastgru.accelerate(accelerated).replaced == ("",)
    return module, accelerated


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_sequences_states_and_packed_batches_are_pytorchs(batch_first: bool, bidirectional: bool, bias: bool) -> None:
    module, ours = pair(num_layers=2, batch_first=batch_first, bidirectional=bidirectional, bias=bias)
    x = torch.randn(4, 6, 5) if batch_first else torch.randn(6, 4, 5)
    first = torch.randn(4 if bidirectional else 2, 4, 7)
    packed = pack_padded_sequence(x, torch.tensor([3, 6, 1, 6]), batch_first, enforce_sorted=False)
    with torch.inference_mode():
        for given in (x, x[0] if batch_first else x[:, 0], packed):
            single = given is not packed and given.dim() == 2
            for state in (None, first[:, 0] if single else first):
                (y, h), (z, g) = module(given, state), ours(given, state)
                if given is packed:
                    for one, other in zip(y[1:], z[1:], strict=True):
                        assert one.equal(other)
                    y, z = y.data, z.data
                assert close(y, z)
                assert close(h, g)


def test_a_cell_is_pytorchs() -> None:
    module = nn.GRUCell(5, 7).eval()
    ours = copy.deepcopy(module)
    fastgru.accelerate(ours)
    with torch.no_grad():
        for x, h in ((torch.randn(3, 5), torch.randn(3, 7)), (torch.randn(5), None), (torch.randn(3, 5), None)):
            assert close(module(x, h), ours(x, h))


def test_weights_that_change_are_taken_over() -> None:
    module, ours = pair(batch_first=True)
    x = torch.randn(2, 4, 5)
    with torch.no_grad():
        ours(x)
        halved = {name: weight * 0.5 for name, weight in module.state_dict().items()}
        module.load_state_dict(halved)
        ours.load_state_dict(halved)
        assert close(module(x)[0], ours(x)[0])
        module.weight_hh_l0.mul_(3)
        ours.weight_hh_l0.data.mul_(3)
        assert close(module(x)[0], ours(x)[0])


def test_training_and_gradients_stay_pytorchs_with_one_warning() -> None:
    module, ours = pair(batch_first=True)
    x = torch.randn(2, 4, 5)
    with pytest.warns(UserWarning, match="a gradient may be asked for"):
        y, _ = ours(x)
    y.sum().backward()
    assert ours.weight_hh_l0.grad is not None
    assert torch.equal(ours(x)[0], module(x)[0])  # and no second warning, which would be an error


def test_state_dicts_copies_and_restore() -> None:
    module, ours = pair(batch_first=True)
    assert list(ours.state_dict()) == list(module.state_dict())
    x = torch.randn(2, 4, 5)
    with torch.no_grad():
        expected = ours(x)[0]
        for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            assert torch.equal(other(x)[0], expected)
    assert fastgru.restore(ours) == ("",)
    assert type(ours) is nn.GRU


def test_what_is_left_is_named_with_its_reason() -> None:
    class Own(nn.GRU):
        pass

    parts = {"lstm": nn.LSTM(3, 3), "own": Own(3, 3), "wide": nn.GRU(3, 3).double(), "gru": nn.GRU(3, 3)}
    module = nn.ModuleDict(parts)
    found = fastgru.accelerate(module)
    assert found.replaced == ("gru",)
    assert [name for name, _ in found.left] == ["lstm", "own", "wide"]


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_refused_by_name() -> None:
    _, ours = pair(batch_first=True)
    with pytest.raises(UnsupportedModelError, match=r"fastgru\.restore\(module\)"):
        torch.jit.script(ours)
    with pytest.raises(Exception, match=r"fastgru\.restore\(module\)"):
        torch.jit.trace(ours, (torch.randn(2, 4, 5),))
    with pytest.raises(UnsupportedModelError, match="TorchScript"):
        fastgru.accelerate(torch.jit.script(nn.GRU(3, 3)))
    with pytest.raises(DTypeError):
        fastgru.accelerate({})  # type: ignore[arg-type]


def test_it_is_one_operator_in_an_exported_program() -> None:
    _, ours = pair(batch_first=True)
    axes = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    with torch.no_grad():
        program = torch.export.export(ours, (torch.randn(2, 4, 5),), dynamic_shapes=[axes])
        assert any("fastgru.gru" in str(node.target) for node in program.graph.nodes)
        x = torch.randn(3, 9, 5)
        assert close(program.module()(x)[0], ours(x)[0])
