"""PyTorch's GRU as one operator of this package, so that ``torch.export`` and ``torch.compile`` see it as a whole.

The exporter takes an ``nn.GRU`` apart step by step, which fixes the number of steps. Behind an operator of its own that
has a rule for shapes the steps stay open, and whatever the code computes from them is written down as it is. The caller
has imported torch; nothing is imported of it here.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

__all__ = ["gru_operator"]


@cache
def gru_operator() -> Any:
    """``torch.ops.fastgru.gru``, with the operands of ``torch.gru``; it computes at inference, as ``fastgru.GRU``."""
    torch = sys.modules["torch"]

    def gru(
        input: Any, hx: Any, params: Any, has_biases: Any, num_layers: Any, dropout: Any, train: Any,
        bidirectional: Any, batch_first: Any,
    ) -> Any:  # fmt: skip
        from .weights import run_operator

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
