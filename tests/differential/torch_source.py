"""A case as the source of a module of PyTorch, and the module with its weights and inputs.

A case is text: ``modules`` has what stands behind each attribute of the module, ``body`` the statements of ``forward``.
What TorchScript and a person read is then the same, and a smaller case is one with a statement less.
"""

from __future__ import annotations

import itertools
import linecache
import os
import random
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = [
    "HEADER",
    "Arrays",
    "arrays_of",
    "built",
    "fill",
    "flat",
    "folder",
    "forget",
    "module_source",
    "of_chain",
    "rows_of",
    "tensors_of",
]

Arrays = dict[str, np.ndarray]

HEADER = """\
import math
from typing import Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
"""
_FILES = itertools.count()


def module_source(case: dict[str, Any]) -> str:
    """The class ``Net``, or for a chain the function that makes it."""
    if "chain" in case:
        if case["alone"] and len(case["chain"]) == 1:
            return f"def Net():\n    return {case['chain'][0]}\n"
        lines = "".join(f"        {text},\n" for text in case["chain"])
        return f"def Net():\n    return nn.Sequential(\n{lines}    )\n"
    made = [f"        self.{name} = {text}\n" for name, text in case["modules"].items()]
    body = [f"        {line}\n" for statement in case["body"] for line in statement.splitlines()]
    names = ", ".join(name for name, *_ in case["inputs"])
    return "".join([
        f"class Net({case.get('base', 'nn.Module')}):\n    def __init__(self):\n",
        f"        super().__init__({case.get('arguments', '')})\n", *made,
        f"\n    def forward(self, {names}):\n", *body, f"        return {case['result']}\n",
    ])  # fmt: skip


def built(case: dict[str, Any], source: str | None = None) -> nn.Module:
    """The module of the case in evaluation mode, with weights of its seed."""
    text = f"{HEADER}\n\n{source or module_source(case)}"
    file = f"<differential {next(_FILES)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # where TorchScript looks for the source
    holder = types.ModuleType("differential_net")
    sys.modules[holder.__name__] = holder  # where pickle looks for the class
    exec(compile(text, file, "exec"), holder.__dict__)
    try:
        torch.manual_seed(case["seed"])
        module = holder.Net().eval()
        fill(module)
    except Exception:
        linecache.cache.pop(file, None)
        raise
    return module


def forget() -> None:
    """Free the sources of modules that are done with."""
    for file in [file for file in linecache.cache if file.startswith("<differential ")]:
        del linecache.cache[file]


def folder() -> str | None:
    """Where files lie that are read once."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def fill(module: nn.Module) -> None:
    """Weights that are no module's first ones: norms that scale and move, statistics that are not 0 and 1."""
    with torch.no_grad():
        for weight in module.parameters():
            fan_in = weight[0].numel() if weight.dim() > 1 else 4
            weight.uniform_(-1, 1).mul_(1.2 / max(fan_in, 1) ** 0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.uniform_(-0.5, 0.5)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)


def arrays_of(case: dict[str, Any], batch: int, steps: int) -> Arrays:
    """The inputs by name, batch first, states as (count, batch, hidden)."""
    rng = np.random.default_rng([case["seed"], batch, steps])
    made: Arrays = {}
    for name, kind, *sizes in case["inputs"]:
        if kind == "ids":
            made[name] = rng.integers(0, sizes[0], (batch, steps))
            continue
        shape = {
            "sequence": (batch, steps, *sizes),
            "channels": (batch, *sizes, steps),
            "vector": (batch, *sizes),
            "states": (sizes[0], batch, sizes[-1]),
        }[kind]
        made[name] = (rng.standard_normal(shape) * 0.8).astype(np.float32)
    return made


def tensors_of(case: dict[str, Any], arrays: Arrays) -> list[torch.Tensor]:
    """The inputs as the module takes them."""
    return [
        torch.tensor(arrays[name].swapaxes(0, 1) if case["time_first"] and kind in ("sequence",
                                                                                    "ids") else arrays[name])
        for name, kind, *_ in case["inputs"]
    ]  # fmt: skip


def rows_of(case: dict[str, Any], arrays: Arrays, rows: Sequence[int], steps: int) -> Arrays:
    """The first steps of some rows."""
    cut: Arrays = {}
    for name, kind, *_ in case["inputs"]:
        cut[name] = arrays[name][:, rows] if kind == "states" else arrays[name][rows]
        if kind in ("sequence", "ids"):
            cut[name] = cut[name][:, :steps]
    return cut


def flat(value: Any, kind: type = torch.Tensor) -> list[Any]:
    """The tensors, or the arrays, that a module gives, in their order."""
    if isinstance(value, kind):
        return [value]
    items: Sequence[Any] = list(value.values()) if isinstance(value, dict) else value
    return [each for item in items for each in flat(item, kind)]


def of_chain(rng: random.Random, **parts: Any) -> dict[str, Any]:
    """A case of a network that takes one input, with sizes and checks."""
    sizes = [[rng.choice([1, 2, 5]), rng.choice([3, 7, 13])], [2, rng.choice([1, 2, 8])]]
    checks = [name for name in ("lengths", "stream", "saved", "threads", "float64") if rng.random() < 0.4]
    return {"time_first": False, "modules": {}, "body": [], "result": "", "seed": rng.randrange(1 << 30),
            "example": [2, 5], "sizes": sizes, "checks": checks, "decomposed": False, **parts}  # fmt: skip
