"""Normalised weights fold to the matrix that the layer computes with, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.importers.folded import fold


@pytest.fixture
def halves():
    generator = np.random.default_rng(1)
    return generator.standard_normal((6, 1)).astype(np.float32), generator.standard_normal((6, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("length_name", "direction_name"),
    [
        ("rnn.weight_hh_l0_g", "rnn.weight_hh_l0_v"),
        ("rnn.parametrizations.weight_hh_l0.original0", "rnn.parametrizations.weight_hh_l0.original1"),
    ],
)
def test_both_spellings_of_weight_norm_give_length_times_unit_rows(halves, length_name, direction_name):
    length, direction = halves
    folded, sources = fold({"rnn.bias": length, length_name: length, direction_name: direction})
    assert list(folded) == ["rnn.bias", "rnn.weight_hh_l0"]
    assert sources == {"rnn.weight_hh_l0": (length_name, direction_name)}
    weight = folded["rnn.weight_hh_l0"]
    assert weight.dtype == np.float32
    wanted = [
        g * row / np.linalg.norm(row)
        for g, row in zip(length[:, 0].astype(float), direction.astype(float), strict=True)
    ]
    np.testing.assert_allclose(weight, wanted, rtol=2**-23)


def test_names_without_a_prefix_fold_as_well(halves):
    length, direction = halves
    assert list(fold({"weight_g": length, "weight_v": direction})[0]) == ["weight"]
    names = ("parametrizations.weight.original0", "parametrizations.weight.original1")
    assert list(fold(dict(zip(names, halves, strict=True)))[0]) == ["weight"]


def test_one_length_for_the_whole_matrix_and_one_per_column_are_understood(halves):
    _, direction = halves
    whole, _ = fold({"weight_g": np.float32(2).reshape(()), "weight_v": direction})
    assert np.linalg.norm(whole["weight"]) == pytest.approx(2, rel=1e-6)
    columns, _ = fold({"weight_g": np.ones((1, 4), np.float32), "weight_v": direction})
    np.testing.assert_allclose(np.linalg.norm(columns["weight"], axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight_g": np.ones((6, 1))},
        {"weight_g": np.ones((6, 4)), "weight_v": np.ones((6, 4))},
        {"weight_g": np.ones((5, 1)), "weight_v": np.ones((6, 4))},
        {"weight_g": np.ones((6, 1), int), "weight_v": np.ones((6, 4))},
        {"weight": np.ones((6, 4)), "weight_g": np.ones((6, 1)), "weight_v": np.ones((6, 4))},
        {"w_g": np.ones((6, 1)), "w_v": np.ones((6, 4))},
        {"parametrizations.weight.original": np.ones((6, 4))},
        {"original0": np.ones((6, 1)), "original1": np.ones((6, 4))},
    ],
)
def test_what_is_not_a_normalised_weight_is_left_as_it_was(tensors):
    folded, sources = fold(tensors)
    assert folded == tensors
    assert sources == {}


def test_a_zero_row_gives_nan_as_in_pytorch(halves):
    length, direction = halves
    direction[2] = 0
    weight = fold({"weight_g": length, "weight_v": direction})[0]["weight"]
    assert np.isnan(weight[2]).all()
    assert np.isfinite(np.delete(weight, 2, axis=0)).all()
