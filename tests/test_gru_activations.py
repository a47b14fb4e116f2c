"""Promise: a GRU of any activation is a GRU like others: calls, lengths, streams, copies, what it says and refuses."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from networks import batched_reference, largest_difference, network, numbers, same_bits

from fastgru import GRU, Activation, FastGRUError, ShapeError, StreamInUseError, UnsupportedModelError, gru_plan
from fastgru.activations import IN_GRU
from fastgru.engine.python_gates import PythonTable

KINDS = [("float32", "packed", 2e-6), ("float32", "blas", 2e-6), ("float64", "blas", 1e-13)]
ACTIVATIONS = [
    {"activation": "elu", "recurrent_activation": "softplus"},
    {"activation": "swish", "recurrent_activation": "softmax"},
    {"activation": "tanh", "recurrent_activation": "softsign"},
    {"activation": Activation("leaky_relu", negative_slope=0.05)},
    {"activation": Activation("relu", max_value=1.0), "recurrent_activation": "hard_silu", "reset_after": False},
    {"activation": Activation("threshold", threshold=0.1, default_value=0.0), "reset_after": False},
]

pytestmark = pytest.mark.parametrize(("precision", "backend", "bound"), KINDS)


@pytest.fixture(params=ACTIVATIONS, ids=lambda options: "-".join(map(str, options.values())))
def options(request) -> dict:
    return request.param


def made(precision, backend, directions=2, n_threads=None, **options) -> GRU:
    spec = network(3, 7, 2, directions, dtype=np.dtype(precision).type, **options)
    return GRU(spec, precision=precision, backend=backend, n_threads=n_threads)


def test_it_agrees_with_the_reference(precision, backend, bound, options):
    gru = made(precision, backend, **options)
    x, h0 = 0.5 * numbers(5, 6, 3, dtype=precision), 0.3 * numbers(4, 5, 7, dtype=precision)
    for lengths in (None, [6, 1, 4, 6, 2]):
        wanted = batched_reference(gru.spec, x, h0, lengths)
        assert largest_difference(gru(x, h0, lengths), wanted) <= bound
    y, h = gru(x[0], h0[:, 0])
    assert y.shape == (6, 14) and h.shape == (4, 7) and y.dtype == np.dtype(precision)
    y, h = gru(x[:0])
    assert y.shape == (0, 6, 14) and h.shape == (4, 0, 7)


def test_threads_change_nothing(precision, backend, bound, options):
    x = 0.5 * numbers(9, 6, 3)
    y, h = made(precision, backend, n_threads=1, **options)(x)
    assert largest_difference(made(precision, backend, n_threads=3, **options)(x), (y, h)) == 0


def test_a_stream_follows_the_sequence(precision, backend, bound, options):
    gru = made(precision, backend, directions=1, **options)
    x = 0.5 * numbers(3, 6, 3, dtype=precision)
    y, h = gru(x)
    stream = gru.stream(3)
    steps = np.stack([stream.step(x[:, t]) for t in range(6)], axis=1)
    assert largest_difference((steps, stream.state), (y, h)) <= (0 if backend == "packed" else bound)
    alone = gru.stream()
    out = np.zeros(7, precision)
    for t in range(6):
        assert alone.step(x[1, t], out) is out
        assert largest_difference([out], [y[1, t]]) <= (0 if backend == "packed" else bound)
    twin = pickle.loads(pickle.dumps(alone))
    assert same_bits(twin.step(x[0, 0]), alone.step(x[0, 0]))
    with pytest.raises(UnsupportedModelError, match=r"bidirectional.*whole sequence"):
        made(precision, backend, **options).stream()


def test_a_stream_that_is_in_use_says_so(precision, backend, bound, monkeypatch):
    """From within its own step, which is what another thread would meet."""
    caught = []

    def meddling(x):
        try:
            stream.step(np.zeros(3))
        except StreamInUseError as error:
            caught.append(error)
        return np.tanh(x)

    monkeypatch.setattr(gru_plan, "formula", lambda _: meddling)
    stream = made(precision, backend, directions=1, activation="elu", recurrent_activation="elu").stream()
    before = stream.state
    stream.step(np.zeros(3))
    assert len(caught) == 4 and "another thread" in str(caught[0])
    with pytest.raises(ShapeError):
        stream.step(np.zeros(4))
    assert not same_bits(stream.state, before)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda gru: pickle.loads(pickle.dumps(gru))])
def test_copies_compute_the_same(precision, backend, bound, options, again):
    gru = made(precision, backend, n_threads=2, **options)
    twin = again(gru)
    x = 0.5 * numbers(5, 6, 3)
    assert repr(twin) == repr(gru) and twin.n_threads == 2
    assert largest_difference(twin(x), gru(x)) == 0


def test_repr_names_the_activations(precision, backend, bound):
    text = repr(made(precision, backend, activation="elu", recurrent_activation=Activation("celu", alpha=0.5)))
    assert "activation='elu', recurrent_activation=Activation('celu', alpha=0.5)" in text
    assert "activation" not in repr(made(precision, backend))


def test_its_weights_are_not_pytorchs(precision, backend, bound, options):
    with pytest.raises(UnsupportedModelError, match="state_dict"):
        made(precision, backend, **options).state_dict()
    plain = made(precision, backend, activation=Activation("tanh"), recurrent_activation=Activation("sigmoid"))
    assert len(plain.state_dict()) == 16


def test_default_options_are_no_options(precision, backend, bound):
    """A record of the defaults, or another word, is the activation of the kernels."""
    x = numbers(4, 6, 3)
    wanted = made(precision, backend, activation="relu", recurrent_activation="hard_sigmoid")
    record = Activation("relu", negative_slope=0.0, max_value=None)
    same = made(precision, backend, activation=record, recurrent_activation="hardsigmoid")
    assert largest_difference(same(x), wanted(x)) == 0
    assert not isinstance(same._plan.kernels, PythonTable)
    assert isinstance(made(precision, backend, activation="elu")._plan.kernels, PythonTable)


def test_only_known_activations_make_a_gru(precision, backend, bound):
    for options in (
        {"activation": "glu"},
        {"recurrent_activation": Activation("softmax", axis=1)},
        {"activation": "swoosh"},
        {"activation": Activation("elu", beta=1.0)},
        {"activation": Activation("celu", alpha=0.0)},
        {"activation": "threshold"},
        {"activation": None},
    ):
        with pytest.raises(FastGRUError, match="activation"):
            made(precision, backend, **options)
    for name in IN_GRU:
        if name != "threshold":
            made(precision, backend, activation=name, recurrent_activation=name)
