"""PyTorch's own GRU modules computed here, inside a module that stays PyTorch's.

A module keeps its parameters, its hooks and its names; only its class is another, which computes forward here.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from ..errors import DTypeError, UnsupportedModelError
from ..gru import GRU
from ..options import Precision, check_precision
from ..threads import check_threads
from .operator import gru_operator
from .weights import array_of, packed, probes_of, version_of

__all__ = ["AcceleratedGRU", "AcceleratedGRUCell", "replaced", "restored"]


def replaced(module: Any, precision: Precision, n_threads: int | None) -> tuple[list[str], list[tuple[str, str]]]:
    """``accelerate``: the names of the modules that compute here now, and of those that do not, with why."""
    gru_operator()  # compiled code calls it, and cannot make it
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "accelerate: the module is TorchScript, whose GRUs are part of its code; accelerate the module it was "
            "scripted from, or use fastgru.from_torch"
        )
    if not isinstance(module, nn.Module):
        raise DTypeError(f"accelerate: got {type(module).__name__}, wanted a torch.nn.Module")
    check_precision(precision)
    if precision == "float64":
        raise UnsupportedModelError('accelerate: precision="float64" is not supported: PyTorch\'s tensors are float32')
    check_threads(n_threads)
    names, left = [], []
    for name, part in module.named_modules():
        reason = _reason_to_leave(part)
        if reason is not None:
            left.append((name, reason))
        elif isinstance(part, (nn.GRU, nn.GRUCell)):
            kind: Any = AcceleratedGRU if isinstance(part, nn.GRU) else AcceleratedGRUCell
            part.__class__ = kind
            part._fastgru = _Engine(precision, n_threads)
            names.append(name)
    return names, left


def restored(module: Any) -> list[str]:
    """``restore``: the names of the modules that PyTorch computes again."""
    if not isinstance(module, nn.Module):
        raise DTypeError(f"restore: got {type(module).__name__}, wanted a torch.nn.Module")
    names = []
    for name, part in module.named_modules():
        if isinstance(part, (AcceleratedGRU, AcceleratedGRUCell)) and type(part) not in _OWN:
            part._fastgru.restored = True  # of a class that was made of ours, by a parametrization for example
            names.append(name)
        elif isinstance(part, (AcceleratedGRU, AcceleratedGRUCell)):
            kind: Any = nn.GRU if isinstance(part, nn.GRU) else nn.GRUCell
            part.__class__ = kind
            del part.__dict__["_fastgru"]
            names.append(name)
    return names


def _reason_to_leave(part: nn.Module) -> str | None:
    """Why a recurrent module is not replaced; None where it is, or is none."""
    if type(part) in (nn.GRU, nn.GRUCell, AcceleratedGRU, AcceleratedGRUCell):
        weights = list(part.parameters(recurse=False))
        if any(weight.dtype != torch.float32 for weight in weights):
            return f"its weights are {weights[0].dtype}, wanted torch.float32"
        return None
    if isinstance(part, (nn.GRU, nn.GRUCell)):
        return f"it is of a class of its own, {type(part).__name__}, whose forward may differ"
    if isinstance(part, (nn.LSTM, nn.LSTMCell, nn.RNN, nn.RNNCell)):
        return f"it is an {type(part).__name__}, and fastgru computes GRUs"
    return None


class _Engine:
    """The packed form of a module's weights, made anew where they have changed."""

    def __init__(self, precision: Precision, n_threads: int | None) -> None:
        self._begin(precision, n_threads)

    def _begin(self, precision: Precision, n_threads: int | None) -> None:
        self.precision, self.n_threads = precision, n_threads
        self.warned = self.restored = False
        self._lock = threading.Lock()
        self._made: tuple[Any, GRU, list[tuple[Any, bytes]]] | None = None

    def gru(self, weights: list[torch.Tensor], layers: int, directions: int, bias: bool) -> GRU:
        key = tuple((weight.data_ptr(), version_of(weight)) for weight in weights)
        made = self._made
        if made is None or made[0] != key or any(view.tobytes() != was for view, was in made[2]):
            with self._lock:
                gru = packed(weights, layers, directions, bias, self.precision, self.n_threads)
                made = self._made = key, gru, probes_of(weights)
        return made[1]

    def __getstate__(self) -> dict[str, Any]:
        return {"precision": self.precision, "n_threads": self.n_threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._begin(state["precision"], state["n_threads"])


def _reason_for_pytorch(module: nn.Module, tensors: tuple[Any, ...]) -> str | None:
    """Why PyTorch must compute this call; None where fastgru does."""
    if module.training:
        return "it is in training mode; call module.eval()"
    gradients = torch.is_grad_enabled()
    for tensor in (*tensors, *module._parameters.values()):
        if tensor is None:
            continue
        if gradients and tensor.requires_grad:
            return "a gradient may be asked for; call it under torch.inference_mode()"
        if not tensor.is_cpu:
            return "it is on another device than the CPU"
        if tensor.dtype is not torch.float32:
            return "its numbers are not float32"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    return None


class _Computing(nn.Module):
    """What both accelerated classes share."""

    _fastgru: _Engine

    def _left_to_pytorch(self, *tensors: Any) -> bool:
        if torch.jit.is_tracing():
            raise UnsupportedModelError(
                "torch.jit.trace cannot see what fastgru computes; call fastgru.restore(module) before it is traced"
            )
        if self._fastgru.restored:
            return True
        reason = _reason_for_pytorch(self, tensors)
        if reason is not None and not self._fastgru.warned:
            self._fastgru.warned = True
            warnings.warn(f"PyTorch computes this GRU instead of fastgru: {reason}", UserWarning, stacklevel=4)
        return reason is not None

    def __prepare_scriptable__(self) -> Any:
        raise UnsupportedModelError(
            "torch.jit.script cannot take what fastgru computes; call fastgru.restore(module) before it is scripted"
        )


def _are_plain(*tensors: Any) -> bool:
    """Whether these are tensors of PyTorch's own class, or None: anything else is PyTorch's to compute, or refuses."""
    return all(tensor is None or type(tensor) in (torch.Tensor, nn.Parameter) for tensor in tensors)


def _weights_of(module: Any) -> list[torch.Tensor]:
    """A GRU's weights as they are now, whatever has taken the place of its parameters."""
    return _named(module, module._flat_weights_names)


def _named(module: Any, names: Iterable[str]) -> list[torch.Tensor]:
    own = module._parameters  # where a module's __getattr__ looks last
    return [getattr(module, name) if own.get(name) is None else own[name] for name in names]


class AcceleratedGRU(_Computing, nn.GRU):
    """An ``nn.GRU`` that computes here."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if torch.compiler.is_compiling():
            return self._compiled(input, hx)
        is_packed = isinstance(input, PackedSequence)
        data = input.data if is_packed else input
        if not _are_plain(data, hx) or self._left_to_pytorch(data, hx):
            return nn.GRU.forward(self, input, hx)
        directions = 2 if self.bidirectional else 1
        gru = self._fastgru.gru(_weights_of(self), self.num_layers, directions, self.bias)
        if is_packed:
            return self._packed(gru, input, hx)
        single = input.dim() == 2
        if input.dim() not in (2, 3) or (hx is not None and hx.dim() != input.dim()):
            return nn.GRU.forward(self, input, hx)  # whose error says what is wrong
        x = input.detach()
        rows = x[None] if single else x if self.batch_first else x.transpose(0, 1)
        states = None if hx is None else array_of(hx[:, None] if single else hx)
        y, h = gru(array_of(rows), states)
        output, state = torch.from_numpy(y), torch.from_numpy(h)
        if single:
            return output[0], state[:, 0]
        return (output if self.batch_first else output.transpose(0, 1).contiguous()), state  # laid out as PyTorch does

    def _packed(self, gru: GRU, input: Any, hx: Any) -> Any:
        """A packed batch, by its rows and their lengths; states and results in the caller's order."""
        padded, lengths = pad_packed_sequence(input, batch_first=True)
        states = None if hx is None else array_of(hx)
        y, h = gru(array_of(padded), states, lengths.numpy())
        output = torch.from_numpy(y)
        if input.sorted_indices is not None:
            output, lengths = output[input.sorted_indices], lengths[input.sorted_indices]
        data, sizes = torch._VF._pack_padded_sequence(output, lengths, True)
        return PackedSequence(data, sizes, input.sorted_indices, input.unsorted_indices), torch.from_numpy(h)

    def _compiled(self, input: Any, hx: Any) -> Any:
        """Within ``torch.compile`` and ``torch.export``: one operator, which has a rule for shapes."""
        if isinstance(input, PackedSequence) or self.training or input.device.type != "cpu":
            return nn.GRU.forward(self, input, hx)
        weights = _weights_of(self)
        if torch.is_grad_enabled() and (input.requires_grad or weights[0].requires_grad):
            return nn.GRU.forward(self, input, hx)
        single = input.dim() == 2
        x = input.unsqueeze(0 if self.batch_first else 1) if single else input
        rows = x.size(0 if self.batch_first else 1)
        count = self.num_layers * (2 if self.bidirectional else 1)
        if hx is None:
            state = x.new_zeros(count, rows, self.hidden_size)
        else:
            state = hx.unsqueeze(1) if single else hx
        y, h = torch.ops.fastgru.gru(
            x, state, weights, self.bias, self.num_layers, 0.0, False, self.bidirectional, self.batch_first
        )
        return (y.squeeze(0 if self.batch_first else 1), h.squeeze(1)) if single else (y, h)


class AcceleratedGRUCell(_Computing, nn.GRUCell):
    """An ``nn.GRUCell`` that computes here."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if torch.compiler.is_compiling() or not _are_plain(input, hx) or self._left_to_pytorch(input, hx):
            return nn.GRUCell.forward(self, input, hx)
        single = input.dim() == 1
        if input.dim() not in (1, 2) or (hx is not None and hx.dim() != input.dim()):
            return nn.GRUCell.forward(self, input, hx)
        weights = _named(self, _CELL_WEIGHTS if self.bias else _CELL_WEIGHTS[:2])
        gru = self._fastgru.gru(weights, 1, 1, self.bias)
        x = array_of(input)
        x = x[None, None] if single else x[:, None]
        states = None if hx is None else array_of(hx)
        states = states if states is None else states[None, None] if single else states[None]
        _, h = gru._run(x, states, None, sequences=False)
        made = torch.from_numpy(h[0])
        return made[0] if single else made


_CELL_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_OWN = (AcceleratedGRU, AcceleratedGRUCell)
