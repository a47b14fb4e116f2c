"""Random chains of views and writes: every tensor is what PyTorch's is after them, or it is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastgru.errors import FastGRUError  # noqa: E402 - only where torch is installed
from fastgru.graph.builder import Builder  # noqa: E402
from fastgru.importers.calls import Context  # noqa: E402
from fastgru.importers.torch.kinds import KINDS_IN_FILES  # noqa: E402
from fastgru.importers.torch.memory_calls import MemoryCalls  # noqa: E402
from fastgru.importers.torch.symbolic import called  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")

LENGTH = 14
IN_PLACE = ("add_", "mul_", "copy_", "sub_")


def view(chance, x):
    """A view, or what may be one, of a tensor: its name in PyTorch, and its operands."""
    axis = chance.randrange(x.dim()) if x.dim() else 0
    size = x.shape[axis] if x.dim() else 0
    start, end = sorted((chance.randrange(size + 1), chance.randrange(size + 1))) if size else (0, 0)
    ways = [("unsqueeze", chance.randrange(x.dim() + 1)), ("detach",), ("clone",), ("contiguous",), ("alias",)]
    if x.dim() and size:
        ways += [("select", axis, chance.choice([0, size - 1, -1])), ("slice", axis, start, end, chance.choice([1, 2]))]
        ways += [("transpose", axis, chance.randrange(x.dim())), ("narrow", axis, start, end - start), ("flatten",)]
        ways += [("permute", chance.sample(range(x.dim()), x.dim())), ("squeeze",), ("movedim", axis, 0)]
        ways += [("reshape", [-1]), ("reshape", list(x.shape)), ("expand", [2, *x.shape])]
        ways += [("split", chance.randrange(1, 3), axis), ("chunk", 2, axis), ("unbind", axis)]
    return chance.choice(ways)


def theirs(name, x, *operands):
    if name in ("slice", "alias"):
        return getattr(torch.ops.aten, name)(x, *operands)
    return getattr(x, name)(*operands)


def run(seed):
    """How many tensors were compared; an AssertionError where one is wrong."""
    chance = random.Random(seed)
    context = Context(Builder("here"), KINDS_IN_FILES)
    calls = MemoryCalls(context, called)
    start = np.random.default_rng(seed).normal(size=(3, 4, 2))
    pairs = [(torch.tensor(start), calls.memory.tensor(context.builder.constant(start)))]
    for _ in range(LENGTH):
        wanted, ours = chance.choice(pairs)
        if chance.random() < 0.55:
            name, *operands = view(chance, wanted)
            given = [ours, *operands]
        else:
            name, operands = chance.choice(IN_PLACE), [chance.choice([2.0, chance.choice(pairs)])]
            if isinstance(operands[0], tuple):
                given, operands = [ours, operands[0][1]], [operands[0][0]]
            else:
                given = [ours, *operands]
            if name == "copy_" and not isinstance(operands[0], torch.Tensor):
                name = "fill_"
        context.name = name
        try:
            made = calls.called(name, given, {})
        except FastGRUError:
            continue  # nothing was written, and PyTorch does nothing either
        try:
            found = theirs(name, wanted, *operands)
        except RuntimeError:
            return 0  # PyTorch refuses, as where memory overlaps
        if not name.endswith("_"):
            several = zip(found, made, strict=True) if isinstance(made, list) else [(found, made)]
            pairs.extend(several)
    compared = 0
    for wanted, ours in pairs:
        try:
            value = calls.read(ours)
        except FastGRUError:
            continue
        np.testing.assert_allclose(np.asarray(value.array), wanted.numpy(), rtol=1e-12, err_msg=f"seed {seed}")
        compared += 1
    return compared


@pytest.mark.parametrize("first", [0, 600])
def test_every_tensor_is_what_pytorch_has_or_is_refused(first):
    assert sum(run(seed) for seed in range(first, first + 100)) > 300
