"""State dicts of PyTorch, and the comparison of what was read with what was written."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")


def stacked_gru():
    torch.manual_seed(0)
    return torch.nn.GRU(5, 7, num_layers=2, bidirectional=True)


def check(checkpoint, state) -> None:
    """Assert the same names in their order, and the same bits, 16-bit floats widened."""
    assert list(checkpoint) == list(state)
    for name, wanted in state.items():
        wanted = wanted.detach()
        wanted = (wanted.float() if wanted.dtype in (torch.float16, torch.bfloat16) else wanted).contiguous().numpy()
        got = checkpoint[name]
        assert got.dtype == wanted.dtype and got.shape == wanted.shape and got.flags.c_contiguous, name
        assert got.tobytes() == wanted.tobytes(), name
