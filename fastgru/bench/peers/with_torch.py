"""PyTorch: ``nn.GRU`` for sequences, packed for ragged ones, and a ``GRUCell`` a layer for one step.

A ragged batch is packed and padded again within the call, as everyone must who has a batch of padded rows; PyTorch
computes without gradients. ``with_torch_int8`` does all this with modules that it has quantised. Of a whole model it
runs the program in the model's own file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..cases import ModelWork, Work
from .interface import Array, Prepared, PreparedModel, own_activations, per_direction
from .whole_torch import with_arguments

if TYPE_CHECKING:
    import torch

__all__ = ["prepare", "prepare_model", "refusal"]


def refusal(work: Work) -> str | None:
    if work.h0 is not None and work.spec.directions == 2:
        return "no single steps backwards"
    return own_activations(work) if work.spec.reset_after else "no reset before the product"


def prepare(work: Work, changed: Callable[[torch.nn.Module], torch.nn.Module] = lambda module: module) -> Prepared:
    """Build it of modules that ``changed`` gives for those of float32."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(work.threads)
    if work.h0 is not None:
        return _step(work, changed)
    spec, x = work.spec, torch.from_numpy(work.x)
    gru = torch.nn.GRU(
        spec.input_size, spec.hidden_size, spec.num_layers, batch_first=True, bidirectional=spec.directions == 2
    ).requires_grad_(False)
    gru.load_state_dict(_state_dict(work))
    module = changed(gru)
    if work.lengths is None:
        h0 = torch.zeros(spec.num_layers * spec.directions, len(x), spec.hidden_size)
        return Prepared(partial(module, x, h0), lambda: module(x, h0)[0].numpy())
    lengths, steps = torch.from_numpy(work.lengths), x.shape[1]

    def packed() -> tuple[torch.Tensor, torch.Tensor]:
        y, h = module(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(y, batch_first=True, total_length=steps)[0], h

    return Prepared(packed, lambda: packed()[0].numpy())


def prepare_model(work: ModelWork) -> PreparedModel:
    """The program as it stands; gradients are off for all that this process computes from here on."""
    import torch

    module, arguments, named = with_arguments(work)
    torch.set_num_threads(work.threads)
    torch.set_grad_enabled(False)
    call = partial(module, *arguments, **named)

    def outputs() -> list[Array]:
        leaves, _ = torch.utils._pytree.tree_flatten(call())
        return [leaf.numpy() for leaf in leaves if leaf is not None]

    return PreparedModel(call, outputs)


def _state_dict(work: Work) -> dict[str, torch.Tensor]:
    import torch

    named = {}
    for layer, direction, weights in per_direction(work.spec):
        end = f"_l{layer}{'_reverse' if direction else ''}"
        for name in ("w_ih", "w_hh", "b_ih", "b_hh"):  # w_ih is called weight_ih there, b_ih bias_ih
            whole = {"w": "weight", "b": "bias"}[name[0]] + name[1:] + end
            named[whole] = torch.tensor(getattr(weights, name), dtype=torch.float32)
    return named


def _step(work: Work, changed: Callable[[torch.nn.Module], torch.nn.Module]) -> Prepared:
    import torch

    assert work.h0 is not None
    x, states = torch.from_numpy(work.x[:, 0].copy()), list(torch.from_numpy(work.h0))
    named = _state_dict(work)
    cells = []
    for layer, state in enumerate(states):
        cell = torch.nn.GRUCell(x.shape[1] if layer == 0 else state.shape[1], state.shape[1]).requires_grad_(False)
        end = f"_l{layer}"
        cell.load_state_dict({name.removesuffix(end): named[name] for name in named if name.endswith(end)})
        cells.append(changed(cell))

    def step() -> list[torch.Tensor]:
        below, made = x, []
        for cell, state in zip(cells, states, strict=True):
            below = cell(below, state)
            made.append(below)
        return made

    def outputs() -> Array:
        return np.asarray(step()[-1])[:, None]

    return Prepared(partial(cells[0], x, states[0]) if len(cells) == 1 else step, outputs)
