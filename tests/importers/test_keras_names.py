"""Lists whose order the config does not explain: the names of the tensors say whose each of them is."""

from __future__ import annotations

import numpy as np
import pytest
from keras_configs import array

from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError
from fastgru.importers import spec_of
from fastgru.layers import GRULayer

SLOTS = ("kernel", "recurrent_kernel", "bias")


def old(class_name, name, **config):
    return {"class_name": class_name, "config": {"name": name, **config}}


def gru(name="gru", **config):
    return old("GRU", name, units=4, reset_after=True, return_sequences=True, **config)


def listed(layer, names, version="2.12.0", shapes=None, steps=(6,)):
    """A model of one layer; every tensor is full of its place in ``names``."""
    root = layer["config"]["name"]
    shape_of = {"kernel": (4, 12), "recurrent_kernel": (4, 12), "bias": (2, 12)} | (shapes or {})
    tensors = {}
    for place, name in enumerate(names):
        slot = next(slot for slot in sorted(shape_of, key=len, reverse=True) if slot in name.rpartition("/")[2])
        tensors[f"{root}/{name}"] = np.full(shape_of[slot], place, np.float32)
    config = {"name": "model", "layers": [layer], "build_input_shape": [None, *steps, 4]}
    metadata = {"keras_version": version, "weight_names": {root: list(tensors)}}
    return Checkpoint("model.h5", "keras-h5", tensors, {"class_name": "Sequential", "config": config}, metadata)


def kernels(spec):
    """The place of the kernel of every direction and cell."""
    layers = [node.layer for node in spec.nodes if isinstance(node.layer, GRULayer)]
    grus = [each for layer in layers for each in (layer.gru, *layer.above)]
    return [int(way.w_ih.flat[0]) for each in grus for layer in each.layers for way in layer]


def of_ways(*ways, cell="gru_cell", path="bidirectional/{}_gru"):
    return [f"{path.format(way)}/{cell}/{slot}:0" for way in ways for slot in SLOTS]


BIDIRECTIONAL = old("Bidirectional", "bidirectional", layer=gru(), merge_mode="concat")


@pytest.mark.parametrize("version", ["2.2.4", "2.12.0", "3.3.3", "3.15.1"])
def test_directions_are_told_by_their_names_whatever_was_frozen(version):
    assert kernels(spec_of(listed(BIDIRECTIONAL, of_ways("forward", "backward"), version))) == [0, 3]
    assert kernels(spec_of(listed(BIDIRECTIONAL, of_ways("backward", "forward"), version))) == [3, 0]


def test_directions_of_keras_1_are_told_by_their_names():
    layer = old("GRU", "gru_1", output_dim=4, return_sequences=True, consume_less="cpu")
    names = [f"{way}_gru_1_{matrix}_{gate}" for way in ("backward", "forward") for gate in "zrh" for matrix in "WUb"]
    shapes = {f"{matrix}_{gate}": (4,) if matrix == "b" else (4, 4) for gate in "zrh" for matrix in "WUb"}
    given = listed(old("Bidirectional", "both", layer=layer), names, "", shapes)
    assert kernels(spec_of(given)) == [9 + 3, 3]  # the kernel of r comes first here


def test_directions_in_a_wrapper_and_in_a_model_are_told_by_their_names():
    within = old("TimeDistributed", "each", layer=BIDIRECTIONAL)
    spec = spec_of(listed(within, of_ways("backward", "forward", path="each/{}_gru"), steps=(3, 6)))
    assert kernels(spec.nodes[0].layer.model) == [3, 0]
    within = old("Sequential", "inner", layers=[BIDIRECTIONAL, old("Dropout", "dropout", rate=0.5)])
    spec = spec_of(listed(within, of_ways("backward", "forward")))
    assert kernels(spec.replace(nodes=spec.nodes[:1])) == [3, 0]


def test_cells_are_told_by_their_names():
    cells = old("StackedRNNCells", "cells", cells=[
        {"class_name": "GRUCell", "config": {"name": name, "units": 4, "reset_after": True}} for name in ("one", "two")
    ])  # fmt: skip
    layer = old("RNN", "rnn", cell=cells)
    both = old("Bidirectional", "both", layer=layer, merge_mode="concat")
    order = [("forward", "two"), ("backward", "one"), ("backward", "two"), ("forward", "one")]
    names = [f"both/{way}_rnn/cells/{cell}/{slot}:0" for way, cell in order for slot in SLOTS]
    assert kernels(spec_of(listed(both, names))) == [9, 0, 3, 6]


def test_variables_of_one_layer_are_told_by_their_names():
    """Keras 3 has a flag for every variable."""
    names = ["gru/gru_cell/recurrent_kernel", "gru/gru_cell/bias", "gru/gru_cell/kernel"]
    assert kernels(spec_of(listed(gru(), names, "3.6.0"))) == [2]


def test_names_that_say_nothing_leave_it_to_the_order():
    names = [f"variable_{place}_{slot}" for place in range(2) for slot in SLOTS]
    assert kernels(spec_of(listed(BIDIRECTIONAL, names))) == [0, 3]


@pytest.mark.parametrize(
    "names",
    [
        [*of_ways("backward"), *(f"odd/cell/{slot}:0" for slot in SLOTS)],
        ["odd/recurrent_kernel:0", "odd/kernel:0", "odd/bias:0", *(f"more/{slot}:0" for slot in SLOTS)],
    ],
)
def test_names_that_contradict_the_order_and_do_not_say_all_are_refused(names):
    with pytest.raises(CheckpointError, match="its tensors are not in the order of its layers, and their names, such"):
        spec_of(listed(BIDIRECTIONAL, names))


def test_layers_of_one_kind_in_a_model_are_told_by_their_names():
    layers = [gru("first"), gru("second"), gru("third")]
    names = [f"inner/{name}/cell/{slot}:0" for name in ("third", "first", "second") for slot in SLOTS]
    assert kernels(spec_of(listed(old("Sequential", "inner", layers=layers), names))) == [3, 6, 0]


def test_an_array_of_the_named_layer_must_fit_it():
    given = listed(BIDIRECTIONAL, of_ways("backward", "forward"))
    given.tensors["bidirectional/" + of_ways("forward")[0]] = array(5, 12)
    with pytest.raises(CheckpointError, match=r"takes 5 features|differs|wanted"):
        spec_of(given)
