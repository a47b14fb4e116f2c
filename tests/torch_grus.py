"""GRUs of PyTorch's names as files of ``torch.save``, ``torch.jit`` and ``torch.export``, which these write."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from networks import numbers

from fastgru.layers import GRUSpec

__all__ = ["KINDS", "write"]

KINDS = ("torch", "scripted", "frozen", "traced", "exported")


def _module(spec: GRUSpec) -> Any:
    """The GRU in a module around it, which gives the sequence."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(
                spec.input_size, spec.hidden_size, spec.num_layers, batch_first=True, bidirectional=spec.directions == 2
            )

        def forward(self, x):  # a tensor, as TorchScript takes it without a type
            return self.gru(x)[0]

    state = {f"gru.{name}": torch.from_numpy(np.array(array)) for name, array in spec.state_dict().items()}
    net = Net().to(next(iter(state.values())).dtype).eval()
    net.load_state_dict(state)
    return net


def _example(spec: GRUSpec) -> Any:
    import torch

    return torch.from_numpy(numbers(3, 9, spec.input_size).astype(spec.layers[0][0].w_hh.dtype))


def write(kind: str, spec: GRUSpec, path: Path) -> None:
    """Write a file of one of the ``KINDS``."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, of its own ways
        if kind == "torch":
            torch.save(_module(spec).gru.state_dict(), path)
        elif kind == "exported":
            program = torch.export.export(_module(spec), (_example(spec),))
            torch.export.save(program, path.with_suffix(".pt2"))
            path.with_suffix(".pt2").rename(path)
        elif kind == "traced":
            torch.jit.trace(_module(spec), _example(spec)).save(path)
        else:
            script = torch.jit.script(_module(spec))
            (torch.jit.freeze(script) if kind == "frozen" else script).save(path)
