"""Promise of a GRU and a Model: they compute with the weights that they were given, whatever becomes of the arrays."""

from __future__ import annotations

import numpy as np
import pytest
from layer_examples import chain
from networks import network, numbers, same_bits

import fastgru
from fastgru import GRU, Model
from fastgru.layers import Dense, Embedding, GRULayer, GRUSpec, GRUWeights, Last, sequential


def view(array):
    made = array[:]
    made.flags.writeable = False
    return made


def broadcast(array):
    return np.broadcast_to(array, array.shape)


def closed_after_a_view(array):
    """The base itself, read-only now; the test writes to a view that was taken before."""
    base, base.flags.writeable = array.base if array.base is not None else array, False
    return base


def of_memory(array):
    return np.asarray(memoryview(array).toreadonly())


@pytest.mark.parametrize("read_only", [view, broadcast, closed_after_a_view, of_memory])
@pytest.mark.parametrize("options", [{}, {"backend": "blas"}, {"precision": "float64"}])
def test_weights_that_only_look_read_only_are_copied(read_only, options):
    spec = network(3, 5, activation="tanh", dtype=np.dtype(options.get("precision", "float32")).type)
    written, given = [], []
    for array in spec.layers[0][0].fields().values():
        mine = array.copy()
        written.append(mine[:])  # can be written to, however ``mine`` is closed
        given.append(read_only(mine))
        assert not given[-1].flags.writeable
    gru = GRU(GRUSpec(((GRUWeights(*given),),)), **options)
    x = numbers(2, 4, 3)
    before, saved = gru(x)[0], gru.state_dict()
    for array in written:
        array[...] = 9
    assert same_bits(gru(x)[0], before) and same_bits(gru.astype("float64")(x)[0], GRU(spec, precision="float64")(x)[0])
    assert all(map(same_bits, gru.state_dict().values(), saved.values()))


def test_layers_around_a_gru_keep_their_weights_too():
    table, weight = numbers(7, 3), numbers(2, 5)
    layers = [("e", Embedding(view(table))), ("g", GRULayer(network(3, 5))), ("l", Last()), ("d", Dense(view(weight)))]
    model = Model(sequential(layers))
    before = model([[1, 2, 3]])
    table[...] = weight[...] = 9
    assert same_bits(model([[1, 2, 3]]), before)


def test_what_was_read_or_copied_once_is_not_copied_again(tmp_path):
    gru = GRU(network(3, 5))
    gru.save(tmp_path / "gru.safetensors")
    checkpoint = fastgru.read(tmp_path / "gru.safetensors")
    weights = GRUWeights(*(checkpoint[f"{name}_l0"] for name in ("w_ih", "w_hh", "b_ih", "b_hh")))
    blas = GRU(GRUSpec(((weights,),)), backend="blas")
    assert np.shares_memory(blas.spec.layers[0][0].w_hh, weights.w_hh)
    constant = np.frombuffer(np.ones(8, np.float32).tobytes(), np.float32).reshape(2, 4)
    model = Model(chain(Dense(constant)), backend="blas")
    assert np.shares_memory(model.spec.nodes[0].layer.weight, constant)
