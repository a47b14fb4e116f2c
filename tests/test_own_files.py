"""Promises of a file that fastgru wrote: it may replace what a model was loaded from, and its tables lie ready."""

from __future__ import annotations

import shutil
import tracemalloc
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import network, numbers, same_bits
from test_memory import copies, same

import fastgru
from fastgru import GRU, Model
from fastgru.layers import Embedding, GRULayer, Last, sequential
from fastgru.options import kernel_table


@pytest.mark.parametrize("layers", [["gru", Last(), "fc"], "gru"])
def test_a_model_that_was_saved_in_the_place_of_its_weights_finds_them_there(layers: Any, tmp_path: Path) -> None:
    """The file then describes its layers, which had to be named when it was loaded."""
    path, alone = tmp_path / "weights.npz", layers == "gru"
    tensors = {f"gru.{name}": array for name, array in GRU(network(5, 190, 2, 2)).state_dict().items()}
    np.savez(path, **tensors, **{"fc.weight": numbers(3, 380), "fc.bias": numbers(3)})
    shutil.copy(path, tmp_path / "copied")
    with pytest.warns(UserWarning, match="fc") if alone else nullcontext():
        whole = fastgru.load(path, layers=layers, strict=not alone)
    with pytest.warns(UserWarning, match="fc") if alone else nullcontext():
        model = fastgru.load(tmp_path / "copied", layers=layers, strict=not alone, precision="int8")
    model.save(tmp_path / "copied")
    for each in copies(model):
        assert same(each.astype("float32"), whole)


@pytest.mark.parametrize("packed", [False, True])
def test_loading_a_file_of_its_own_makes_no_second_copy_of_a_table(packed: bool, tmp_path: Path) -> None:
    """Of a packed one none at all: it is used where it lies, by all processes that map the file."""
    if packed and kernel_table().vector_length == 1:
        pytest.skip("these kernels pack nothing")
    table, words = numbers(100_000, 64), np.arange(30).reshape(3, 10)
    made = Model(sequential([("words", Embedding(table)), ("gru", GRULayer(network(64, 64)))]))
    made.save(tmp_path / "file", packed=packed)
    fastgru.load(tmp_path / "file")  # imports
    tracemalloc.start()
    model = fastgru.load(tmp_path / "file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (0.1 if packed else 1.1) * table.nbytes
    assert model.nbytes >= table.nbytes  # mapped or not
    weight = model.spec.nodes[0].layer.weight
    assert same_bits(weight, table) and not weight.flags.writeable
    (tmp_path / "file").unlink()
    for each in copies(model):
        assert same_bits(each(words), made(words))
    assert same_bits(model.astype("float64")(words), made.astype("float64")(words))
