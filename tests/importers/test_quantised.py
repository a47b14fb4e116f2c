"""Packed weights get the names of the float modules, and what cannot be told is left to the person who asks."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, UnsupportedModelError
from fastgru.importers import spec_of
from fastgru.importers.weights.named import Named
from fastgru.importers.weights.quantised import unclear, unpack


def array(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def cells(prefix, *inputs, hidden=3):
    tensors = {}
    for index, size in enumerate(inputs):
        start = f"{prefix}_all_weight_values.{index}.param."
        tensors |= {start + "weight_ih": array(3 * hidden, size), start + "bias_ih": array(3 * hidden),
                    start + "weight_hh": array(3 * hidden, hidden), start + "bias_hh": array(3 * hidden)}  # fmt: skip
    return tensors


@pytest.mark.parametrize(
    ("inputs", "ends"),
    [
        ((5,), ["_l0"]),
        ((5, 3), ["_l0", "_l1"]),
        ((5, 5), ["_l0", "_l0_reverse"]),
        ((3, 3, 3), ["_l0", "_l1", "_l2"]),
        ((3, 3, 6, 6), ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]),
        ((3, 3, 3, 3), ["_l0", "_l1", "_l2", "_l3"]),
    ],
)
def test_layers_and_directions_follow_from_the_sizes(inputs, ends):
    tensors = cells("rnn.", *inputs)
    plain, sources = unpack(tensors, {})
    leaves = ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
    assert list(plain) == [f"rnn.{leaf}{end}" for end in ends for leaf in leaves]
    assert [name for (name,) in sources.values()] == list(tensors) and not unclear(plain)


def test_two_cells_that_fit_both_ways_are_told_apart_by_an_option_only():
    tensors = cells("rnn.", 3, 3)
    assert unpack(tensors, {})[0] == tensors and unclear(tensors) == ["rnn"]
    assert "rnn.weight_hh_l1" in unpack(tensors, {"rnn": {"bidirectional": False}})[0]
    assert "rnn.weight_hh_l0_reverse" in unpack(tensors, {"rnn": {"bidirectional": True}})[0]
    checkpoint = Checkpoint("q.pt", "pytorch-zip", tensors)
    with pytest.raises(CheckpointError, match=r"two layers and as two directions.*Named\('rnn', bidirectional=True\)"):
        spec_of(checkpoint)
    for both in (False, True):
        spec = spec_of(checkpoint, [Named("rnn", bidirectional=both)])
        assert spec.nodes[0].layer.gru.directions == 1 + both


def test_a_cell_and_a_linear_layer_of_every_version():
    tensors = {
        "cell._packed_weight_ih.weight": array(9, 4), "cell._packed_weight_ih.bias": array(9),
        "cell._packed_weight_hh.weight": array(9, 3), "cell._packed_weight_hh.bias": array(9),
        "fc._packed_params._packed_params.weight": array(2, 3), "fc._packed_params._packed_params.bias": array(2),
        "fc.scale": np.ones((), np.float32), "fc.zero_point": np.zeros((), np.int64),
        "old._packed_params.weight": array(2, 2),
    }  # fmt: skip
    plain, sources = unpack(tensors, {})
    assert list(plain) == ["cell.weight_ih", "cell.bias_ih", "cell.weight_hh", "cell.bias_hh", "fc.weight", "fc.bias",
                           "old.weight"]  # fmt: skip
    assert sources["fc.weight"] == ("fc._packed_params._packed_params.weight", "fc.scale", "fc.zero_point")


def test_a_layer_whose_outputs_are_quantised_too_is_refused():
    tensors = cells("", 5) | {"fc._packed_params._packed_params.weight": array(2, 3)}
    scale = {"fc.scale": np.full((), 0.1, np.float32), "fc.zero_point": np.full((), 64)}
    assert len(spec_of(Checkpoint("q.pt", "pytorch-zip", tensors), ["", "fc"]).nodes) == 2
    with pytest.raises(UnsupportedModelError, match=r"'fc'.*\(tensors 'fc\.weight', 'fc\.scale', 'fc\.zero_point'\)"):
        spec_of(Checkpoint("q.pt", "pytorch-zip", tensors | scale), ["", "fc"])


def test_names_that_are_taken_and_cells_with_gaps_are_left_as_they_were():
    tensors = cells("rnn.", 5) | {"rnn.weight_ih_l0": array(9, 5)}
    assert "rnn._all_weight_values.0.param.weight_ih" in unpack(tensors, {})[0]
    gap = {name.replace("values.1", "values.3"): tensor for name, tensor in cells("rnn.", 5, 3).items()}
    assert unpack(gap, {})[0] == gap
