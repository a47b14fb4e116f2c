"""Promise of ``precision``: an option of everything that makes a GRU, which stays, and is refused in clear words."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from layer_examples import chain
from networks import Array, batched_reference, largest_difference, network, numbers, rounded, same_bits, states_of

import fastgru
from fastgru import GRU, Model, UnsupportedModelError
from fastgru.activations import IN_GRU
from fastgru.engine.reduced import REDUCED
from fastgru.layers import Dense, GRULayer, GRUSpec, Last
from fastgru.options import PRECISIONS

SPEC = network(5, 19, 2, 2)
MODEL = chain(GRULayer(SPEC), shape=(None, 5))
COPIES = [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))]

reduced = pytest.mark.parametrize("precision", REDUCED)
resets = pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])


def both_same(one: tuple[Array, Array], other: tuple[Array, Array]) -> bool:
    return all(map(same_bits, one, other))


def with_weight(spec: GRUSpec, layer: int, direction: int, name: str, value: float) -> GRUSpec:
    """The same stack with another weight in one matrix."""
    layers = [list(directions) for directions in spec.layers]
    weights = layers[layer][direction]
    matrix = getattr(weights, name).copy()
    matrix[-1, -1] = value
    layers[layer][direction] = weights.replace(**{name: matrix})
    return spec.replace(layers=tuple(map(tuple, layers)))


@reduced
def test_everything_that_makes_a_gru_takes_it_and_gives_the_same(precision: str, tmp_path: Path) -> None:
    gru = GRU(network(5, 19, 2, 2), precision=precision)
    state = GRU(network(5, 19, 2, 2)).state_dict()
    x = numbers(3, 9, 5)
    GRU(SPEC).save(tmp_path / "gru.safetensors")
    others = {
        "astype": GRU(SPEC).astype(precision),
        "astype from another": fastgru.load(tmp_path / "gru.safetensors", precision="int8").astype(precision),
        "a copy": pickle.loads(pickle.dumps(gru)),
        "from_torch": fastgru.from_torch(state, precision=precision),
        "load": fastgru.load(tmp_path / "gru.safetensors", precision=precision),
        "load and astype": fastgru.load(tmp_path / "gru.safetensors").astype(precision),
    }
    for name, other in others.items():
        assert other.precision == precision, name
        assert both_same(other(x), gru(x)), name


@reduced
def test_a_model_has_the_precision_in_its_grus(precision: str) -> None:
    spec = network(4, 6)
    model = Model(chain(GRULayer(spec), Last(), Dense(numbers(3, 6)), shape=(None, 4)), precision=precision)
    x = numbers(2, 7, 4)
    _, h = GRU(spec, precision=precision)(x)
    bound = 5e-2 if precision == "bfloat16" else 1e-5  # where pairs are multiplied, the dense layer rounds too
    assert np.allclose(model(x), h[0] @ numbers(3, 6).T, rtol=0, atol=bound)
    assert same_bits(model.astype(precision)(x), model(x))
    with pytest.raises(UnsupportedModelError, match="layer 'layer 0': weight_ih_l0: it was given in float32"):
        model.astype("float32")
    assert f"precision='{precision}'" in repr(model)


@reduced
@pytest.mark.parametrize("again", COPIES)
@resets
def test_copies_keep_it(precision: str, again, reset_after: bool) -> None:
    gru = GRU(network(3, 17, 2, 2, reset_after=reset_after), precision=precision, n_threads=2)
    model = Model(chain(GRULayer(network(3, 5)), Last(), shape=(None, 3)), precision=precision)
    x = numbers(5, 7, 3)
    for made, twin in ((gru, again(gru)), (model, again(model))):
        assert twin.precision == precision and repr(twin) == repr(made)
    assert both_same(again(gru)(x), gru(x)) and same_bits(again(model)(x), model(x))


@reduced
def test_what_is_said_of_it(precision: str) -> None:
    gru = GRU(network(3, 5), precision=precision)
    assert repr(gru) == f"GRU(3, 5, precision='{precision}', parameters=150)"
    assert (gru.precision, gru.dtype) == (precision, np.float32)
    y, h = gru(numbers(4, 3, dtype=np.float64))
    assert y.dtype == h.dtype == np.float32


@reduced
def test_weights_that_were_rounded_and_are_in_no_file_are_said_to_be_gone(precision: str) -> None:
    gru = GRU(network(3, 5, dtype=np.float64), precision=precision)
    words = f"weight_ih_l0: it was given in float64 and is kept in {precision}"
    for ask in (gru.state_dict, lambda: gru.astype("float64"), lambda: gru.spec.layers[0][0].w_ih):
        with pytest.raises(UnsupportedModelError, match=words):
            ask()


@reduced
@resets
def test_double_weights_are_rounded_once(precision: str, reset_after: bool, tmp_path: Path) -> None:
    """Rounded to float32 first, what lies just beside the middle of two numbers comes to lie in it."""
    spec = network(3, 50, dtype=np.float64, reset_after=reset_after)
    weights = spec.layers[0][0]
    w_ih = weights.w_ih.copy()
    w_ih[0] = [1 + 2.0**-11 + 2.0**-40, -1 - 2.0**-11 - 2.0**-40, 1 + 3 * 2.0**-11 - 2.0**-40]
    spec = spec.replace(layers=((weights.replace(w_ih=w_ih),),))
    gru, x = GRU(spec, precision=precision, backend="packed"), numbers(2, 6, 3)
    once = GRU(rounded(spec, precision), precision=precision, backend="packed")
    assert both_same(gru(x), once(x))
    gru.save(tmp_path / "gru.safetensors", precision=precision)
    again = fastgru.load(tmp_path / "gru.safetensors", precision=precision, backend="packed")
    assert both_same(again(x), gru(x))
    if precision == "float16":
        assert rounded(spec, precision).layers[0][0].w_ih[0].tolist() == [1 + 2.0**-10, -1 - 2.0**-10, 1 + 2.0**-10]


@reduced
@resets
def test_blas_computes_with_the_rounded_weights(precision: str, reset_after: bool) -> None:
    spec = network(5, 19, 2, 2, reset_after=reset_after)
    gru = GRU(spec, precision=precision, backend="blas")
    x, h0 = numbers(4, 9, 5), numbers(states_of(spec), 4, 19)
    assert gru.backend == "blas"
    assert largest_difference(gru(x, h0), batched_reference(rounded(spec, precision), x, h0)) <= 1e-6
    assert both_same(gru(x, h0), GRU(rounded(spec, precision), backend="blas")(x, h0))


@reduced
@pytest.mark.parametrize("backend", ["packed", "blas"])
@pytest.mark.parametrize("activation", sorted({"elu", "softsign", "gelu"} & set(IN_GRU)))
def test_activations_of_no_kernel_compute_with_the_rounded_weights(
    precision: str, backend: str, activation: str
) -> None:
    spec = network(5, 19, 2, 2, activation=activation)
    gru, same = GRU(spec, precision=precision, backend=backend), GRU(rounded(spec, precision), backend=backend)
    x = 0.25 * numbers(4, 9, 5)
    assert gru.precision == precision and both_same(gru(x), same(x))
    assert largest_difference(gru(x), batched_reference(rounded(spec, precision), x)) <= 2e-6


@pytest.mark.parametrize("wrong", ["float8", "", "Float16", "fp16", "half", "INT8", 8, None, b"int8", ["int8"]])
def test_an_unknown_name_is_refused_with_those_that_there_are(wrong: object, tmp_path: Path) -> None:
    GRU(SPEC).save(tmp_path / "gru.safetensors")
    ways = (
        lambda: GRU(SPEC, precision=wrong),
        lambda: GRU(SPEC).astype(wrong),
        lambda: Model(MODEL, precision=wrong),
        lambda: Model(MODEL).astype(wrong),
        lambda: fastgru.from_torch(GRU(SPEC).state_dict(), precision=wrong),
        lambda: fastgru.load(tmp_path / "gru.safetensors", precision=wrong),
    )
    for way in ways:
        with pytest.raises(UnsupportedModelError) as error:
            way()
        assert f"precision: got {wrong!r}, wanted one of {', '.join(PRECISIONS)}" in str(error.value)


@pytest.mark.parametrize("backend", ["packed", "blas"])
@pytest.mark.parametrize("activation", ["tanh", "elu"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("layer", "direction", "suffix"), [(0, 0, "l0"), (1, 1, "l1_reverse"), (2, 0, "l2")])
def test_a_weight_without_the_precision_is_named(
    layer: int, direction: int, suffix: str, reset_after: bool, activation: str, backend: str
) -> None:
    spec = network(3, 5, 3, 2, reset_after=reset_after, activation=activation)
    for matrix, name in (("w_ih", f"weight_ih_{suffix}"), ("w_hh", f"weight_hh_{suffix}")):
        for precision, values in (("float16", (65520.0, -1e6)), ("int8", (np.inf, -np.inf, np.nan))):
            for value in values:
                wrong = with_weight(spec, layer, direction, matrix, value)
                with pytest.raises(UnsupportedModelError, match=f"^{name}: got "):
                    GRU(wrong, precision=precision, backend=backend)
                if precision == "float16":
                    GRU(wrong, precision="bfloat16", backend=backend)
                    GRU(wrong, precision="int8", backend=backend)


@reduced
def test_streams_and_lengths_are_those_of_the_sequence(precision: str) -> None:
    gru = GRU(network(5, 33, 2), precision=precision)
    x = numbers(4, 9, 5)
    y, h = gru(x, lengths=[9, 3, 1, 7])
    for row, length in enumerate([9, 3, 1, 7]):
        stream = gru.stream()
        steps = np.stack([stream.step(step) for step in x[row, :length]])
        assert largest_difference([steps], [y[row, :length]]) <= 1e-6
        assert not y[row, length:].any()
        assert largest_difference([np.asarray(stream.state).reshape(h[:, row].shape)], [h[:, row]]) <= 1e-6
