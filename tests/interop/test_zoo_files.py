"""Any module that PyTorch exports and saves gives its outputs when its ``.pt2`` file is loaded, or is refused.

Each with the sizes of its example as numbers, and with every size that the exporter leaves open; at these sizes, and at
others where the file allows them or ``with_any_size`` opens them.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils import _pytree as pytree  # noqa: E402 - only where torch is installed
from torch_zoo import ZOO  # noqa: E402
from torch_zoo_checks import agree, flat, plain  # noqa: E402

import fastgru  # noqa: E402
from fastgru.errors import FastGRUError, UnsupportedModelError  # noqa: E402
from fastgru.importers.torch.live import other_inputs  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")

WAYS = ("static", "open")
FAST = ("LastStep", "AttentionClassifier", "ActorCritic")
TRIALS = 5


def written(entry, module, way, path):
    """Whether PyTorch exports the module and writes it."""
    options = {}
    if way == "open":
        auto = torch.export.Dim.AUTO
        options["dynamic_shapes"] = pytree.tree_map(
            lambda each: dict.fromkeys(range(each.dim()), auto) if isinstance(each, torch.Tensor) else None,
            tuple(entry.example),
        )
    try:
        torch.export.save(torch.export.export(module, entry.example, **options), path)
    except Exception:  # of the exporter's own, of many kinds
        return False
    return True


def compare(got, wanted):
    """Assert structure, shapes and numbers."""
    assert pytree.tree_structure(plain(got)) == pytree.tree_structure(plain(wanted))
    for one, other in zip(flat(got), flat(wanted), strict=True):
        agree(np.asarray(one), other.numpy() if isinstance(other, torch.Tensor) else np.asarray(other))


def at_other_sizes(entry, module, model):
    """Compare at sizes that the model allows; how many these are."""
    tensors = [each.numpy() for each in pytree.tree_leaves(entry.example) if isinstance(each, torch.Tensor)]
    example = {source.name: array for source, array in zip(model.graph.inputs, tensors, strict=True)}
    shapes = [model.graph.tensors[source.value].shape for source in model.graph.inputs]
    names = sorted({name for shape in shapes for size in shape if not isinstance(size, int) for name in size.symbols()})
    compared = 0
    for trial in range(1, TRIALS + 1) if names else ():
        random = np.random.default_rng(trial)
        sizes = {name: int(random.integers(2, 12)) for name in names}
        try:
            inputs = other_inputs(model.graph, example, sizes, trial)
        except ValueError:  # a size below zero
            continue
        if entry.fit is not None:
            entry.fit(inputs)
        left = iter(inputs.values())
        args = pytree.tree_map(lambda each: torch.tensor(next(left)) if isinstance(each, torch.Tensor) else each,  # noqa: B023
                               entry.example)  # fmt: skip
        try:
            got = model(inputs)
        except FastGRUError:
            continue
        with torch.no_grad():
            compare(got, module(*args))
        compared += 1
    return compared


def outcome(entry, way, path):
    """What became of a module: a word, or the reason of a refusal."""
    torch.manual_seed(3)
    module = entry.make().eval()
    if not written(entry, module, way, path):
        return "PyTorch does not export or write it"
    try:
        model = fastgru.load(path)
    except UnsupportedModelError as error:
        return f"refused: {str(error).removeprefix(f'{path}: ')[:120]}"
    tensors = [each.numpy() for each in pytree.tree_leaves(entry.example) if isinstance(each, torch.Tensor)]
    with torch.no_grad():
        compare(model(*tensors), module(*entry.example))
    if isinstance(model, fastgru.GRU):
        return "right, a GRU"
    compared = at_other_sizes(entry, module, model)
    try:
        opened = at_other_sizes(entry, module, model.with_any_size())
    except UnsupportedModelError:
        opened = 0
    return "right, at other sizes too" if compared or opened else "right"


@pytest.mark.parametrize("way", WAYS)
def test_a_sample_of_files_is_right(tmp_path, way):
    for name in FAST:
        if name in ZOO:
            assert outcome(ZOO[name], way, tmp_path / f"{name}.pt2").startswith("right"), name


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_nearly_every_module_that_pytorch_writes_is_right_and_none_is_wrong(tmp_path, way, capsys):
    counts, names = Counter(), defaultdict(list)
    for name, entry in ZOO.items():
        found = outcome(entry, way, tmp_path / "model.pt2")
        counts[found] += 1
        names[found].append(name)
    with capsys.disabled():
        for found, count in counts.most_common():
            print(f"\n{way}: {count} {found} ({', '.join(names[found][:4])})", end="")
    right = sum(count for found, count in counts.items() if found.startswith("right"))
    written = right + sum(count for found, count in counts.items() if found.startswith("refused"))
    assert written >= 150
    assert right >= 0.95 * written
