"""Promise of ``fastgru.GRU``: what it takes, gives and refuses, in which words, and how it is copied."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from networks import largest_difference, network, numbers, same_bits, states_of

import fastgru
from fastgru import GRU, DTypeError, FastGRUError, ShapeError, UnsupportedModelError
from fastgru.layers import GRUSpec, GRUWeights

KINDS = [("float32", "packed"), ("float32", "blas"), ("float64", "blas")]


@pytest.fixture(params=KINDS, ids="-".join)
def gru(request) -> GRU:
    """3 features, 5 units, two layers, both directions."""
    precision, backend = request.param
    return GRU(network(3, 5, 2, 2, dtype=np.dtype(precision).type), precision=precision, backend=backend)


def both_same(one, other) -> bool:
    return all(same_bits(*pair) for pair in zip(one, other, strict=True))


def test_shapes_and_dtypes(gru):
    y, h = gru(numbers(4, 6, 3))
    assert y.shape == (4, 6, 10) and h.shape == (4, 4, 5)
    assert y.dtype == h.dtype == np.dtype(gru.precision)
    assert y.flags.c_contiguous and y.flags.writeable and h.flags.writeable


def test_the_last_layers_states_are_the_ends_of_y(gru):
    y, h = gru(numbers(4, 6, 3))
    assert same_bits(y[:, -1, :5].copy(), h[2].copy()) and same_bits(y[:, 0, 5:].copy(), h[3].copy())


def test_one_sequence_comes_back_unbatched(gru):
    x, h0 = numbers(6, 3), numbers(4, 5)
    y, h = gru(x, h0)
    y_batch, h_batch = gru(x[None], h0[:, None])
    assert y.shape == (6, 10) and h.shape == (4, 5)
    assert same_bits(y, y_batch[0]) and same_bits(h, h_batch[:, 0])
    assert both_same(gru(x, h0[:, None]), (y, h))


def test_an_empty_batch_gives_empty_results(gru):
    y, h = gru(np.empty((0, 6, 3)))
    assert y.shape == (0, 6, 10) and h.shape == (4, 0, 5) and y.dtype == np.dtype(gru.precision)
    y, h = gru(np.empty((0, 6, 3)), np.empty((4, 0, 5)), [])
    assert y.shape == (0, 6, 10) and h.shape == (4, 0, 5)


def test_without_a_first_state_it_is_zero(gru):
    x = numbers(4, 6, 3)
    assert both_same(gru(x), gru(x, np.zeros((4, 4, 5))))


LAYOUTS = {
    "contiguous": lambda x: x,
    "fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=2)[::2, :, ::2],
    "time first": lambda x: np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
    "backwards": lambda x: np.ascontiguousarray(x[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "list": lambda x: x.tolist(),
    "list of arrays": list,
    "subclass": lambda x: x.view(np.recarray),
    "other float": lambda x: x.astype(np.float64 if x.dtype == np.float32 else np.longdouble),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_layout_of_the_same_numbers_gives_the_same(gru, layout):
    x, h0 = numbers(4, 6, 3, dtype=gru.precision), numbers(4, 4, 5, dtype=gru.precision)
    wanted = gru(x, h0)
    assert both_same(gru(layout(x), layout(h0)), wanted)


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint16, bool, np.longdouble]
)
def test_real_numbers_of_any_kind_are_taken(gru, dtype):
    x = np.random.default_rng(3).integers(0, 2, (4, 6, 3)).astype(dtype)
    assert both_same(gru(x), gru(x.astype(gru.precision)))


def test_inputs_are_only_read(gru):
    x, h0 = numbers(4, 6, 3, dtype=gru.precision), numbers(4, 4, 5, dtype=gru.precision)
    before = x.copy(), h0.copy()
    x.flags.writeable = h0.flags.writeable = False
    y, h = gru(x, h0)
    assert same_bits(x, before[0]) and same_bits(h0, before[1])
    assert not np.shares_memory(y, x) and not np.shares_memory(h, h0)


def test_later_changes_to_the_weights_given_change_nothing(gru):
    x = numbers(4, 6, 3)
    arrays = [a.copy() for layer in gru.spec.layers for w in layer for a in (w.w_ih, w.w_hh, w.b_ih, w.b_hh)]
    stack = [GRUWeights(*arrays[i : i + 4]) for i in range(0, 16, 4)]
    mine = GRU(GRUSpec(((stack[0], stack[1]), (stack[2], stack[3]))), precision=gru.precision, backend=gru.backend)
    wanted = mine(x)
    for array in arrays:
        array[...] = 7
    assert both_same(mine(x), wanted)
    assert both_same(pickle.loads(pickle.dumps(mine))(x), wanted)


WRONG = {  # name: (how it is called, the error, words of the message)
    "too few features": (lambda g: g(np.zeros((4, 6, 2))), ShapeError, ["x", "(4, 6, 2)", "(batch, steps, 3)"]),
    "one axis": (lambda g: g(np.zeros(3)), ShapeError, ["x", "(3,)", "(steps, 3)"]),
    "four axes": (lambda g: g(np.zeros((1, 4, 6, 3))), ShapeError, ["x", "(1, 4, 6, 3)", "wanted"]),
    "a number": (lambda g: g(1.0), ShapeError, ["x", "()", "wanted"]),
    "no steps": (lambda g: g(np.zeros((4, 0, 3))), ShapeError, ["x", "(4, 0, 3)", "at least one"]),
    "no steps of one": (lambda g: g(np.zeros((0, 3))), ShapeError, ["x", "(0, 3)", "at least one"]),
    "None": (lambda g: g(None), DTypeError, ["x", "object", "real numbers"]),
    "objects": (lambda g: g(np.zeros((4, 6, 3), object)), DTypeError, ["x", "object", "real numbers"]),
    "complex": (lambda g: g(np.zeros((4, 6, 3), complex)), DTypeError, ["x", "complex128", "real numbers"]),
    "text": (lambda g: g(np.zeros((4, 6, 3), str)), DTypeError, ["x", "<U1", "real numbers"]),
    "bytes": (lambda g: g(b"xyz"), DTypeError, ["x", "S3", "real numbers"]),
    "dates": (lambda g: g(np.zeros((4, 6, 3), "M8[s]")), DTypeError, ["x", "datetime64", "real numbers"]),
    "durations": (lambda g: g(np.zeros((4, 6, 3), "m8[s]")), DTypeError, ["x", "timedelta64", "real numbers"]),
    "records": (lambda g: g(np.zeros((4, 6, 3), [("a", "f4")])), DTypeError, ["x", "real numbers"]),
    "ragged": (lambda g: g([[[1.0] * 3], [[1.0] * 2]]), DTypeError, ["x", "array of numbers"]),
    "a dict": (lambda g: g({"x": 1}), DTypeError, ["x", "object", "real numbers"]),
    "h0 of another batch": (
        lambda g: g(np.zeros((4, 6, 3)), np.zeros((4, 3, 5))),
        ShapeError,
        ["h0", "(4, 3, 5)", "(4, 4, 5)"],
    ),
    "h0 of one layer": (lambda g: g(np.zeros((4, 6, 3)), np.zeros((4, 5))), ShapeError, ["h0", "(4, 5)", "(4, 4, 5)"]),
    "h0 for one": (lambda g: g(np.zeros((6, 3)), np.zeros((4, 4))), ShapeError, ["h0", "(4, 4)", "(4, 5)"]),
    "h0 of an empty batch": (lambda g: g(np.zeros((0, 6, 3)), np.zeros((4, 1, 5))), ShapeError, ["h0", "(4, 0, 5)"]),
    "h0 complex": (lambda g: g(np.zeros((4, 6, 3)), np.zeros((4, 4, 5), complex)), DTypeError, ["h0", "complex128"]),
    "h0 ragged": (lambda g: g(np.zeros((4, 6, 3)), [[1.0], [2.0, 3.0]]), DTypeError, ["h0", "array of numbers"]),
}
LENGTHS = {
    "zero": ([6, 6, 0, 6], ShapeError, ["row 2", "0", "1 to 6"]),
    "negative": ([6, -1, 6, 6], ShapeError, ["row 1", "-1", "1 to 6"]),
    "too long": ([6, 6, 6, 7], ShapeError, ["row 3", "7", "1 to 6"]),
    "too few": ([6, 6, 6], ShapeError, ["(3,)", "(4,)"]),
    "too many": ([6] * 5, ShapeError, ["(5,)", "(4,)"]),
    "one number": (6, ShapeError, ["()", "(4,)"]),
    "two axes": ([[6] * 4], ShapeError, ["(1, 4)", "(4,)"]),
    "floats": ([6.0] * 4, DTypeError, ["float64", "integers"]),
    "bools": ([True] * 4, DTypeError, ["bool", "integers"]),
    "text": (["6"] * 4, DTypeError, ["integers"]),
    "None inside": ([6, None, 6, 6], DTypeError, ["object", "integers"]),
    "ragged": ([[6], [6, 6]], DTypeError, ["integers"]),
    "huge": ([6, 6, 6, 2**62], ShapeError, ["row 3", str(2**62), "1 to 6"]),
    "huge unsigned": (np.array([6, 6, 6, 2**64 - 1], np.uint64), ShapeError, [str(2**64 - 1)]),
    "beyond any integer": ([6, 6, 6, 10**30], FastGRUError, ["lengths"]),
    "smallest": ([-(2**63)] * 4, ShapeError, ["row 0", "1 to 6"]),
    "for nobody": ([], ShapeError, ["(0,)", "(4,)"]),
}


def check_refusal(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, FastGRUError)
    if error is ShapeError:
        assert isinstance(caught.value, ValueError)
    if error is DTypeError:
        assert isinstance(caught.value, TypeError)
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in {caught.value}"


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_refused(gru, name):
    call, error, words = WRONG[name]
    check_refusal(lambda: call(gru), error, [*words, "got" if "ragged" not in name else ""])


@pytest.mark.parametrize("name", LENGTHS)
def test_wrong_lengths_are_refused(gru, name):
    lengths, error, words = LENGTHS[name]
    check_refusal(lambda: gru(np.zeros((4, 6, 3)), lengths=lengths), error, ["lengths", *words])


@pytest.mark.parametrize("lengths", [0, 7, -1, 1.0, True, "1", [1, 2], [[1], [2, 3]], None.__class__, 10**30])
def test_wrong_lengths_of_one_sequence_are_refused(gru, lengths):
    check_refusal(lambda: gru(np.zeros((6, 3)), lengths=lengths), FastGRUError, ["lengths"])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n_threads": 0}, ShapeError, ["n_threads", "got 0", "wanted 1"]),
        ({"n_threads": -1}, ShapeError, ["n_threads", "got -1", "wanted 1"]),
        ({"n_threads": 10**9}, ShapeError, ["n_threads", "got 1000000000", "wanted 1"]),
        ({"n_threads": True}, DTypeError, ["n_threads", "got True", "whole number"]),
        ({"n_threads": 1.5}, DTypeError, ["n_threads", "got 1.5", "whole number"]),
        ({"n_threads": "2"}, DTypeError, ["n_threads", "got '2'", "whole number"]),
        (
            {"precision": "float8"},
            UnsupportedModelError,
            ["precision", "'float8'", "float32", "float64", "float16", "bfloat16", "int8"],
        ),
        ({"precision": None}, UnsupportedModelError, ["precision", "None", "float32"]),
        ({"precision": ["float32"]}, UnsupportedModelError, ["precision", "float32"]),
        ({"backend": "cuda"}, UnsupportedModelError, ["backend", "'cuda'", "packed", "blas"]),
        ({"backend": 3}, UnsupportedModelError, ["backend", "3", "packed", "blas"]),
        (
            {"backend": "packed", "precision": "float64"},
            UnsupportedModelError,
            ["packed", "float64", "leave backend out"],
        ),
    ],
)
def test_a_wrong_option_is_refused(options, error, words):
    check_refusal(lambda: GRU(network(3, 5), **options), error, words)


def changed(**arrays) -> GRUSpec:
    good = network(3, 5).layers[0][0]
    given = {name: getattr(good, name) for name in ("w_ih", "w_hh", "b_ih", "b_hh")}
    return GRUSpec(((GRUWeights(**{**given, **arrays}),),))


@pytest.mark.parametrize(
    "spec",
    [
        None,
        {"weight_ih_l0": np.zeros((6, 3))},
        GRUSpec(()),
        GRUSpec(((),)),
        GRUSpec(((network(3, 5).layers[0][0],) * 3,)),
        GRUSpec((network(3, 5).layers[0], network(3, 5).layers[0])),
        changed(w_ih=np.zeros((15, 0), np.float32)),
        changed(w_ih=np.zeros(15, np.float32)),
        changed(w_hh=np.zeros(15, np.float32)),
        changed(w_hh=np.zeros((0, 0), np.float32)),
        changed(w_hh=np.zeros((15, 4), np.float32)),
        changed(b_ih=np.zeros(14, np.float32)),
        changed(b_hh=np.zeros((15, 1), np.float32)),
        changed(w_ih=np.zeros((15, 3), np.float16)),
        changed(w_ih=np.zeros((15, 3), complex)),
        changed(w_ih=[[0.0] * 3] * 15),
        changed(w_hh=None),
        network(3, 5, activation="glu"),
        network(3, 5, recurrent_activation="tanhh"),
        GRUSpec(network(3, 5).layers, reset_after=False),
    ],
)
def test_a_wrong_spec_is_refused(spec):
    with pytest.raises(FastGRUError):
        GRU(spec)


def test_properties_say_what_was_built():
    gru = GRU(network(3, 5, 2, 2, reset_after=False), n_threads=2)
    got = (gru.input_size, gru.hidden_size, gru.num_layers, gru.bidirectional, gru.reset_after, gru.n_threads)
    assert got == (3, 5, 2, True, False, 2)
    assert (gru.precision, GRU(network(3, 5), precision="float64").backend) == ("float32", "blas")
    with pytest.raises(AttributeError):
        gru.hidden_size = 6


def test_repr_names_what_is_not_usual():
    assert repr(GRU(network(3, 5))) == "GRU(3, 5, parameters=150)"
    text = repr(GRU(network(3, 5, 2, 2, reset_after=False, bias=False, activation="relu"), precision="float64"))
    parts = ("GRU(3, 5", "num_layers=2", "bidirectional=True", "reset_after=False", "bias=False", "'relu'", "'float64'")
    for part in parts:
        assert part in text
    parameters = sum(w.w_ih.size + w.w_hh.size for layer in network(3, 5, 2, 2).layers for w in layer)
    assert text.endswith(f"parameters={parameters:,})")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda gru: pickle.loads(pickle.dumps(gru))])
@pytest.mark.parametrize(("precision", "backend"), KINDS)
@pytest.mark.parametrize("reset_after", [True, False])
def test_copies_compute_the_same(again, precision, backend, reset_after):
    spec = network(3, 17, 2, 2, reset_after=reset_after, dtype=np.dtype(precision).type)
    gru = GRU(spec, precision=precision, backend=backend, n_threads=2)
    twin = again(gru)
    assert repr(twin) == repr(gru)
    assert (twin.precision, twin.backend, twin.n_threads) == (precision, backend, 2)
    x = numbers(5, 7, 3)
    assert largest_difference(twin(x), gru(x)) == 0


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_state_dict_goes_round(bias, dtype):
    gru = GRU(network(3, 5, 2, 2, bias=bias, dtype=dtype), precision=np.dtype(dtype).name)
    tensors = gru.state_dict()
    assert len(tensors) == (16 if bias else 8) and tensors["weight_ih_l1_reverse"].shape == (15, 10)
    twin = fastgru.from_torch(tensors, precision=gru.precision)
    x = numbers(2, 4, 3)
    assert both_same(twin(x), gru(x)) and repr(twin) == repr(gru)
    for array in tensors.values():
        array[...] = 9
    assert both_same(twin(x), gru(x)) and not any((array == 9).any() for array in gru.state_dict().values())


@pytest.mark.parametrize(
    "options", [{"reset_after": False}, {"activation": "relu"}, {"recurrent_activation": "hard_sigmoid"}]
)
def test_a_state_dict_that_would_lie_is_refused(options):
    with pytest.raises(UnsupportedModelError, match="state_dict"):
        GRU(network(3, 5, **options)).state_dict()


def test_states_are_ordered_as_in_pytorch():
    spec = network(3, 5, 3, 2)
    assert states_of(spec) == 6
    h0 = np.zeros((6, 1, 5), np.float32)
    h0[4] = 0.9  # layer 2, forward
    x = numbers(1, 4, 3)
    (y, h), (y_zero, h_zero) = GRU(spec, backend="packed")(x, h0), GRU(spec, backend="packed")(x)
    assert [bool((h[i] != h_zero[i]).any()) for i in range(6)] == [False] * 4 + [True, False]
    assert same_bits(y[..., 5:].copy(), y_zero[..., 5:].copy())
