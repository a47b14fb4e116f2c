"""PyTorch's GRU as one operator of this package, so that ``torch.export`` and ``torch.compile`` see it as a whole.

The exporter takes an ``nn.GRU`` apart step by step, which fixes the number of steps. Behind an operator of its own that
has a rule for shapes the steps stay open, and whatever the code computes from them is written down as it is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from .packed import packing

__all__ = ["for_export", "gru_operator"]

_lock = threading.RLock()


@cache
def gru_operator() -> Any:
    """``torch.ops.fastgru.gru``, with the operands of ``torch.gru``; it computes at inference, as ``fastgru.GRU``."""
    torch = sys.modules["torch"]

    def gru(
        input: Any, hx: Any, params: Any, has_biases: Any, num_layers: Any, dropout: Any, train: Any,
        bidirectional: Any, batch_first: Any,
    ) -> Any:  # fmt: skip
        from ...accelerated import run_operator

        made = None if train else run_operator(input, hx, params, has_biases, num_layers, bidirectional, batch_first)
        if made is None:
            y, h = torch._C._VariableFunctions.gru(
                input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
            )
            made = y.clone(), h.clone()
        return made

    def shapes(
        input: Any, hx: Any, params: Any, has_biases: Any, num_layers: Any, dropout: Any, train: Any,
        bidirectional: Any, batch_first: Any,
    ) -> Any:  # fmt: skip
        width = params[1].shape[1] * (2 if bidirectional else 1)
        return input.new_empty((input.shape[0], input.shape[1], width)), hx.new_empty(hx.shape)  # both contiguous

    schema = (
        "(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, "
        "bool bidirectional, bool batch_first) -> (Tensor, Tensor)"
    )
    operator = torch.library.custom_op("fastgru::gru", gru, mutates_args=(), schema=schema)
    operator.register_fake(shapes)
    return torch.ops.fastgru.gru


@contextmanager
def for_export() -> Iterator[None]:
    """Within it what the exporter would take apart for one size is called as a whole; one thread at a time."""
    torch: Any = sys.modules["torch"]
    operator = gru_operator()
    functions = torch._C._VariableFunctions

    def gru(*operands: Any) -> Any:
        if len(operands) != 9 or isinstance(operands[2], torch.Tensor):  # packed: (data, batch_sizes, hx, ...)
            return functions.gru(*operands)
        return operator(*operands)

    def max_pool1d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                   ceil_mode: Any = False) -> Any:  # fmt: skip
        """As one of two axes, whose rule for shapes leaves sizes open."""
        size, pad, apart = (
            each[0] if isinstance(each, (list, tuple)) else each for each in (kernel_size, padding, dilation)
        )
        step = stride[0] if isinstance(stride, (list, tuple)) and stride else stride or size
        row = input.unsqueeze(-2)
        return functions.max_pool2d(row, (1, size), (1, step), (0, pad), (1, apart), ceil_mode).squeeze(-2)

    with _lock, packing():
        original = torch.max_pool1d
        torch._VF.gru, torch.max_pool1d = gru, max_pool1d
        try:
            yield
        finally:
            del torch._VF.gru
            torch.max_pool1d = original
