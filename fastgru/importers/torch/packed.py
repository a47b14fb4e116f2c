"""Packed sequences while a module is exported: rows stay padded, and their lengths go with them.

PyTorch's packing sorts the rows and lays their steps one behind the other, which no graph of open sizes can say. Within
``packing`` the data of a PackedSequence is the padded batch, (batch, steps, ...), and its ``batch_sizes`` are the
lengths, (steps, batch), the same for every step. What a module computes of each step is right so; what takes the data
of all rows together is found out when the graph is compared with the module.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["packing"]


class _Instead:
    """A namespace with some other members, for one thread."""

    def __init__(self, original: Any, **others: Any) -> None:
        self._original, self._others, self._thread = original, others, threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        if name in self._others and threading.get_ident() == self._thread:
            return self._others[name]
        return getattr(self._original, name)


@cache
def _operators() -> Any:
    """``torch.ops.fastgru.gru_packed`` and ``.longest``, which are written down by the exporter and never run."""
    torch = sys.modules["torch"]

    def refused(*operands: Any) -> Any:
        raise RuntimeError("this operator stands in exported programs only")

    def gru_shapes(
        input: Any, lengths: Any, hx: Any, params: Any, has_biases: Any, num_layers: Any, bidirectional: Any
    ) -> Any:
        width = params[1].shape[1] * (2 if bidirectional else 1)
        return input.new_empty((input.shape[0], input.shape[1], width)), hx.new_empty(hx.shape)

    gru = torch.library.custom_op(
        "fastgru::gru_packed", refused, mutates_args=(),
        schema="(Tensor input, Tensor lengths, Tensor hx, Tensor[] params, bool has_biases, int num_layers, "
        "bool bidirectional) -> (Tensor, Tensor)",
    )  # fmt: skip
    gru.register_fake(gru_shapes)
    longest = torch.library.custom_op(
        "fastgru::longest", refused, mutates_args=(), schema="(Tensor lengths, SymInt steps, bool reached) -> Tensor"
    )
    longest.register_fake(lambda lengths, steps, reached: lengths.new_empty(lengths.shape))
    return torch.ops.fastgru


@contextmanager
def packing() -> Iterator[None]:
    """Within it packed sequences are followed; by one thread at a time, which the caller sees to."""
    torch = sys.modules["torch"]
    rnn, operators = torch.nn.utils.rnn, _operators()
    before = {name: getattr(rnn, name) for name in ("_VF", "torch", "invert_permutation")}
    forward, thread = torch.nn.GRU.forward, threading.get_ident()

    def pack(input: Any, lengths: Any, batch_first: bool) -> Any:
        rows = input if batch_first else input.transpose(0, 1)
        torch._check(lengths.shape[0] == rows.shape[0])
        return rows, lengths.unsqueeze(0).expand(rows.shape[1], rows.shape[0])

    def pad(data: Any, sizes: Any, batch_first: bool, value: float, steps: Any) -> Any:
        torch._check(steps == data.shape[1])
        reached = sys._getframe(1).f_locals.get("total_length") is None  # as many steps as the longest row has
        lengths = operators.longest(sizes[0], data.shape[1], reached)
        real = torch.arange(data.shape[1])[None] < lengths[:, None]
        rows = torch.where(real.view(*real.shape, *(1,) * (data.dim() - 2)), data, value)
        return (rows if batch_first else rows.transpose(0, 1)), lengths

    def run(self: Any, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, rnn.PackedSequence) or threading.get_ident() != thread:
            return forward(self, input, hx)
        data, sizes = input.data, input.batch_sizes
        if hx is None:
            count = self.num_layers * (2 if self.bidirectional else 1)
            hx = data.new_zeros(count, data.shape[0], self.hidden_size)
        y, h = operators.gru_packed(
            data, sizes[0], hx, self._flat_weights, self.bias, self.num_layers, self.bidirectional
        )
        return rnn.PackedSequence(y, sizes, input.sorted_indices, input.unsorted_indices), h

    def in_order(lengths: Any, descending: bool) -> Any:
        return lengths, torch.arange(lengths.shape[0])

    def inverted(permutation: Any) -> Any:
        return permutation if threading.get_ident() == thread else before["invert_permutation"](permutation)

    rnn._VF = _Instead(rnn._VF, _pack_padded_sequence=pack, _pad_packed_sequence=pad)
    rnn.torch = _Instead(torch, sort=in_order)
    rnn.invert_permutation = inverted
    torch.nn.GRU.forward = run
    try:
        yield
    finally:
        torch.nn.GRU.forward = forward
        for name, each in before.items():
            setattr(rnn, name, each)
