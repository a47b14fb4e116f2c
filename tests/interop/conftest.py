"""What tests beside PyTorch ask for by ``pytest.mark.usefixtures``: one seed, no gradients, none of its warnings."""

from __future__ import annotations

import warnings

import pytest


@pytest.fixture
def seeded_torch():
    """Random numbers from a fixed seed, and no gradients."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    with torch.no_grad():
        yield


@pytest.fixture
def quiet_torch(seeded_torch):
    """The same, without the warnings that exporting and tracing give."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
