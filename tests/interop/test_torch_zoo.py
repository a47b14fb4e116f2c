"""Any module that a person writes around a GRU gives PyTorch's outputs as one graph, and accelerated in place.

Each at its own sizes and at others, with rows of different lengths, written and read again, and in float64.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_zoo import ZOO  # noqa: E402 - only where torch is installed
from torch_zoo_checks import ACCELERATED, Zoo, agree, flat  # noqa: E402

import fastgru  # noqa: E402
from fastgru.acceleration import accelerate, restore  # noqa: E402
from fastgru.errors import UnsupportedModelError  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")

GRAPHS = [entry for entry in ZOO.values() if not entry.refused]
FAST = [entry for entry in GRAPHS if entry.fast][:20]
SLOW = [pytest.param(entry, marks=pytest.mark.slow) for entry in GRAPHS if entry not in FAST]
RECURRENT = [
    entry for entry in ZOO.values()
    if any(isinstance(part, (torch.nn.GRU, torch.nn.GRUCell)) for part in entry.make().modules())
]  # fmt: skip


def test_the_zoo_is_as_large_as_it_says():
    assert len(GRAPHS) >= 150
    assert len(RECURRENT) >= 60


@pytest.mark.parametrize("entry", [*FAST, *SLOW], ids=lambda entry: entry.name)
def test_a_module_is_right_at_every_size_and_length_saved_and_in_float64(entry):
    zoo = Zoo(entry)
    assert zoo.check_sizes(), "no other size than the example's"
    zoo.check_saved()
    zoo.check_wide()
    taken = zoo.check_lengths()
    assert entry.lengths is None or taken == entry.lengths


@pytest.mark.parametrize("entry", [entry for entry in ZOO.values() if entry.refused], ids=lambda entry: entry.name)
def test_what_cannot_be_a_graph_is_refused_with_a_way_out(entry):
    with pytest.raises(UnsupportedModelError, match=entry.refused) as error:
        fastgru.from_torch(entry.make().eval(), entry.example)
    assert "fastgru.accelerate" in str(error.value)


@pytest.mark.parametrize("entry", RECURRENT, ids=lambda entry: entry.name)
def test_an_accelerated_module_gives_what_pytorch_gives(entry):
    torch.manual_seed(3)
    module = entry.make().eval()
    wanted = flat(module(*entry.example))
    computing = copy.deepcopy(module)
    assert accelerate(computing).replaced
    for one, other in zip(flat(computing(*entry.example)), wanted, strict=True):
        agree(one.numpy(), other.numpy(), ACCELERATED)
    restore(computing)
    assert all(type(part) is type(own) for part, own in zip(computing.modules(), module.modules(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LastStep", "AttentionClassifier", "LuongDot", "Masking", "ActorCritic"])
def test_an_accelerated_module_compiles(name):
    entry = ZOO[name]
    module = entry.make().eval()
    wanted = flat(module(*entry.example))
    accelerate(module)
    with torch._dynamo.config.patch(allow_rnn=True):  # without, torch.compile leaves every class of GRU out
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
        for one, other in zip(flat(compiled(*entry.example)), wanted, strict=True):
            agree(one.detach().numpy(), other.detach().numpy(), ACCELERATED)


def test_a_batch_of_one_and_a_longer_one_need_no_other_graph():
    zoo = Zoo(ZOO["LuongDot"])
    for trial in (1, 2, 3):
        inputs = zoo.inputs(trial)
        for one, other in zip(flat(zoo.model(inputs)), flat(zoo.torch(inputs)), strict=True):
            agree(one, other.numpy())
    assert np.shape(flat(zoo.model(zoo.inputs(1)))[0])[0] == 1
