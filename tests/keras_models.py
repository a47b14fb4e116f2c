"""Models of the real Keras 3 with weights away from their beginnings, and files of them."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")
pytest.importorskip("h5py")

import fastgru  # noqa: E402

FLOAT32 = 2e-6  # of a GRU beside a framework
WHOLE = 5e-6  # of the largest output of a whole model

SUFFIXES = ("keras", "h5")


def randomised(model, seed=3):
    """The model with uniform weights; variances and scales are positive."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        low, high = (0.4, 1.8) if weight.name in ("moving_variance", "gamma", "scale") else (-0.7, 0.7)
        weight.assign(generator.uniform(low, high, weight.shape).astype(np.float32))
    return model


def sequential(*chain, shape=(None, 5), seed=3):
    return randomised(keras.Sequential([keras.Input(shape), *chain]), seed)


def outputs(model, *inputs):
    """What Keras computes, every output."""
    result = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
    values = result.values() if isinstance(result, dict) else result if isinstance(result, (list, tuple)) else [result]
    return [keras.ops.convert_to_numpy(value) for value in values]


def loaded(model, path, **options):
    model.save(path)
    return fastgru.load(path, **options)


def agree(ours, theirs, tolerance=WHOLE):
    """Assert equal shapes, and differences within the tolerance of the largest output."""
    ours = list(ours) if isinstance(ours, tuple) else [ours]
    assert [each.shape for each in ours] == [each.shape for each in theirs]
    for got, wanted in zip(ours, theirs, strict=True):
        assert np.isfinite(wanted).all()
        assert np.abs(got - wanted).max() <= tolerance * max(1, np.abs(wanted).max())


def numbers(batch=3, steps=9, features=5, seed=1):
    return np.random.default_rng(seed).standard_normal((batch, steps, features)).astype(np.float32)
