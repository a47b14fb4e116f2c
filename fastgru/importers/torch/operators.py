"""What the exporter would take apart for one size is called as a whole while ``torch.export`` runs: GRUs and max-pools.

Behind an operator that has a rule for shapes sizes stay open, and what the code computes from them is written down.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...acceleration.operator import gru_operator
from .packed import packing

__all__ = ["for_export"]

_lock = threading.RLock()


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
