"""How near to PyTorch's the outputs of its models must come, and the comparison."""

from __future__ import annotations

import numpy as np

GRU = 2e-6  # of a GRU alone
WHOLE = 5e-6  # of the largest output of a whole model


def agree(got, wanted, bound=WHOLE):
    """Assert the shape of a tensor, and differences within the bound."""
    wanted = wanted.numpy()
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= bound * max(1.0, np.abs(wanted).max())
