"""The zoo's modules as files of TorchScript, traced and scripted, give what PyTorch gives of the same files.

Compared at the example and at other sizes, with the saved file run by PyTorch: a trace has the sizes of its example in
it, and is right where it does what the trace does. What cannot be followed is refused with its reason, and counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils import _pytree as pytree  # noqa: E402 - only where torch is installed
from torch_zoo import ZOO  # noqa: E402
from torch_zoo_checks import agree, flat, plain  # noqa: E402

import fastgru  # noqa: E402
from fastgru.errors import FastGRUError  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")

TRIALS = 4
FAST = [entry.name for entry in ZOO.values() if entry.fast][:12]
# Shares of what PyTorch itself can trace and script; the others are refused, for reasons that the counts print.
WANTED = {"traced": 0.95, "scripted": 0.84}


def saved(entry, way, path) -> Any:
    """The file as PyTorch runs it; None where PyTorch cannot make it."""
    torch.manual_seed(3)
    module = entry.make().eval()
    try:
        if way == "scripted":
            made = torch.jit.script(module)
        else:
            made = torch.jit.trace(module, entry.example, strict=False, check_trace=False)
        torch.jit.save(made, path)
        return torch.jit.load(path)
    except Exception:  # whatever it says: then there is no file
        return None


def inputs_of(entry, trial) -> list[Any]:
    """The example, or tensors of other sizes: axes of one size in the example have one size in each trial."""
    tensors = pytree.tree_leaves(entry.example)
    if trial == 0:
        return tensors
    random = np.random.default_rng(trial)
    sizes: dict[tuple[int, int], int] = {}
    made = []
    for tensor in tensors:
        first = tensor.dim() > 1 or not tensor.is_floating_point()
        shape = [
            sizes.setdefault((axis, size), int(random.integers(1, 9))) if axis < (2 if first else 1) else size
            for axis, size in enumerate(tensor.shape)
        ]
        if tensor.is_floating_point():
            made.append(torch.tensor(random.normal(size=shape), dtype=tensor.dtype))
        elif tensor.dtype == torch.bool:
            made.append(torch.tensor(random.random(shape) < 0.7))
        else:
            made.append(torch.tensor(random.integers(int(tensor.min()), int(tensor.max()) + 1, shape)))
    return made


def computed(computes, entry, tensors) -> Any:
    """What PyTorch computes of tensors in the places of the example's; None where it refuses."""
    args = pytree.tree_unflatten(tensors, pytree.tree_structure(entry.example))
    try:
        with torch.no_grad():
            return computes(*args)
    except (RuntimeError, IndexError, ValueError, torch.jit.Error):
        return None


def compared(entry, computes, model) -> str:
    """Assert that every answer is right; ``right``, or how the example is refused."""
    for trial in range(TRIALS):
        tensors = inputs_of(entry, trial)
        wanted = computed(computes, entry, tensors)
        try:
            got = model(*(each.numpy() for each in tensors))
        except FastGRUError as error:
            if trial == 0 and wanted is not None:
                return f"its example is refused: {error}"
            continue
        if wanted is not None:
            assert pytree.tree_structure(plain(got)) == pytree.tree_structure(plain(wanted))
            for one, other in zip(flat(got), flat(wanted), strict=True):
                agree(one, other.numpy(), 2e-5)
    return "right"


def outcome(entry, way, path) -> str:
    computes = saved(entry, way, path)
    if computes is None or computed(computes, entry, inputs_of(entry, 0)) is None:
        return "not made by PyTorch"
    try:
        model = fastgru.load(path)
    except FastGRUError as error:
        text = str(error).replace(str(path), "")
        return "refused: " + text.rpartition("cannot be followed: ")[2].split("\n")[0]
    return compared(entry, computes, model)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("way", WANTED)
def test_a_module_as_a_file_is_right_at_every_size_or_refused(tmp_path, name, way):
    outcome(ZOO[name], way, tmp_path / "model.pt")


@pytest.mark.slow
@pytest.mark.parametrize("way", WANTED)
def test_most_of_the_zoo_is_right_and_nothing_is_wrong(tmp_path, way):
    found: dict[str, str] = {}
    wrong = []
    for entry in ZOO.values():
        try:
            found[entry.name] = outcome(entry, way, tmp_path / "model.pt")
        except AssertionError as error:
            wrong.append(f"{entry.name}: {error}")
    made = {name: result for name, result in found.items() if result != "not made by PyTorch"}
    right = sum(result == "right" for result in made.values())
    print(f"\n{way}: {right} of {len(made)} are right")
    for reason, count in Counter(result for result in made.values() if result != "right").most_common():
        print(f"  {count} {reason[:200]}")
    assert not wrong
    assert right >= WANTED[way] * len(made)
