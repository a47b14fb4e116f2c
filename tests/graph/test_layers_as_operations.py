"""Every layer of a description as operations of a graph: what the graph gives is what the layers give, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from random_graphs import random_graph, random_inputs

from fastgru import FastGRUError
from fastgru.graph_model import GraphModel
from fastgru.lowered import graph_of
from fastgru.model import Model, as_tuple


@pytest.mark.parametrize("first", range(0, 400, 50))
def test_random_models_of_layers_give_the_same_bits_as_graphs(first: int) -> None:
    compared = 0
    for seed in range(first, first + 50):
        spec = random_graph(seed)
        if spec is None:
            continue
        model = Model(spec, n_threads=1)
        try:
            graph = GraphModel(graph_of(spec), n_threads=1)
        except FastGRUError:
            continue  # sizes that contradict each other in every call, which a model of layers finds out when it runs
        inputs = random_inputs(spec, np.random.default_rng(seed), 3)
        try:
            expected = as_tuple(model(inputs if len(inputs) > 1 else inputs[0]))
            made = as_tuple(graph(*inputs))
        except FastGRUError:
            continue
        compared += 1
        for one, other in zip(made, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert compared > 20
