"""Normalised weights fold to the matrix that the layer computes with, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.importers.weights.folded import fold


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


def test_a_pruned_weight_is_what_its_mask_leaves():
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    mask = np.array([[1, 0, 1], [0, 1, 1]], np.float32)
    for kind in (np.float32, np.bool_):
        folded, sources = fold({"fc.weight_orig": weight, "fc.bias": weight[0], "fc.weight_mask": mask.astype(kind)})
        assert list(folded) == ["fc.weight", "fc.bias"]
        assert sources == {"fc.weight": ("fc.weight_orig", "fc.weight_mask")}
        np.testing.assert_array_equal(folded["fc.weight"], weight * mask)


@pytest.mark.parametrize(
    "names",
    [
        ("rnn.weight_hh_l0_orig", "rnn.weight_hh_l0_u", "rnn.weight_hh_l0_v"),
        ("rnn.parametrizations.weight_hh_l0.original", "rnn.parametrizations.weight_hh_l0.0._u",
         "rnn.parametrizations.weight_hh_l0.0._v"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 3)])
def test_both_spellings_of_spectral_norm_divide_by_the_largest_singular_value(names, shape):
    weight = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    left, values, right = np.linalg.svd(weight.reshape(6, -1).astype(float), full_matrices=False)
    parts = (weight, left[:, 0].astype(np.float32), right[0].astype(np.float32))
    folded, sources = fold(dict(zip(names, parts, strict=True)))
    assert sources == {"rnn.weight_hh_l0": names}
    assert folded["rnn.weight_hh_l0"].dtype == np.float32
    np.testing.assert_allclose(folded["rnn.weight_hh_l0"], weight / values[0], rtol=3e-7)


def test_a_part_may_be_made_of_parts(halves):
    length, direction = halves
    mask = (direction > 0).astype(np.float32)
    folded, sources = fold({"weight_g": length, "weight_v_orig": direction, "weight_v_mask": mask})
    assert sources == {"weight": ("weight_g", "weight_v_orig", "weight_v_mask")}
    np.testing.assert_array_equal(
        folded["weight"], fold({"weight_g": length, "weight_v": direction * mask})[0]["weight"]
    )


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight_orig": np.ones((6, 4)), "weight_mask": np.ones((4, 6))},
        {"weight_orig": np.ones((6, 4), int), "weight_mask": np.ones((6, 4))},
        {"weight_orig": np.ones((6, 4)), "weight_u": np.ones(6)},
        {"weight_orig": np.ones((6, 4)), "weight_u": np.ones(4), "weight_v": np.ones(6)},
        {"parametrizations.weight.original": np.ones((6, 4)), "parametrizations.weight.0.base": np.ones((6, 6))},
        {"weight": np.ones((6, 4)), "weight_orig": np.ones((6, 4)), "weight_mask": np.ones((6, 4))},
    ],
)
def test_parts_that_do_not_fit_are_left_as_they_were(tensors):
    assert fold(tensors) == (tensors, {})


def test_tied_parts_are_folded_once_and_stay_tied(halves):
    length, direction = halves
    names = [f"layers.{index}.weight" for index in range(50)]
    folded, _ = fold({f"{name}_{end}": part for name in names for end, part in (("g", length), ("v", direction))})
    assert list(folded) == names and len({id(weight) for weight in folded.values()}) == 1


def test_folding_takes_no_more_memory_than_the_parts_did():
    buffer = np.ones(100_050, np.float32)
    tensors = {}
    for index in range(50):  # overlapping views, as a hostile file may have them
        tensors[f"l{index}.weight_orig"] = buffer[index : index + 100_000].reshape(1000, 100)
        tensors[f"l{index}.weight_mask"] = buffer[50 - index : 100_050 - index].reshape(1000, 100)
    folded, _ = fold(tensors)
    own = {id(weight): weight.nbytes for weight in folded.values() if not np.shares_memory(weight, buffer)}
    assert 0 < sum(own.values()) <= buffer.nbytes
