"""The unpickler gives what pickle would give for plain data, and stubs for all else."""

from __future__ import annotations

import argparse
import collections
import datetime
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.checkpoint.pickle.inert import Key, Ordered, Stub
from fastgru.checkpoint.pickle.reading import unpickle
from fastgru.checkpoint.pickle.values import STANDARD
from fastgru.errors import CheckpointError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(0, 1 << 50), inner)
    ),
    max_leaves=20,
)


def load(data: bytes, persistent=lambda fields: fields):
    value, end = unpickle(data, STANDARD, persistent, budget=1 << 24, where="here")
    assert end == len(data)
    return value


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(value=plain)
def test_plain_data_comes_back_equal(protocol, value):
    got = load(pickle.dumps(value, protocol))
    assert got == value and repr(got) == repr(value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_kinds_of_value_beside_weights_come_back(protocol):
    long_list = list(range(3000))
    value = {"a": collections.OrderedDict(x=1), "b": bytearray(b"abc"), "c": 1 + 2j, "long": long_list, "n": -(1 << 90)}
    got = load(pickle.dumps(value, protocol))
    assert got == value and type(got["a"]) is Ordered


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("scalar", [np.float64(0.1), np.float32(1.5), np.int64(-3), np.bool_(True), np.uint8(200)])
def test_numpy_scalars_become_numbers(protocol, scalar):
    got = load(pickle.dumps(scalar, protocol))
    assert got == scalar.item() and type(got) is type(scalar.item())


def test_numpy_scalars_of_older_numpy_become_numbers():
    data = pickle.dumps(np.float64(0.1), 2).replace(b"numpy._core", b"numpy.core")
    assert load(data) == 0.1


@pytest.mark.parametrize("protocol", [1, 2, 4])
def test_other_objects_become_stubs_that_keep_what_they_held(protocol):
    got = load(pickle.dumps(argparse.Namespace(lr=0.1, name="x"), protocol))
    assert isinstance(got, Stub)
    assert (got.module, got.name, got.state) == ("argparse", "Namespace", {"lr": 0.1, "name": "x"})


def test_calls_become_stubs_that_keep_their_arguments():
    got = load(pickle.dumps({"f": Fraction(1, 3), "d": datetime.timedelta(days=2)}, 2))
    assert got["f"].args == ("1/3",) or got["f"].args == (1, 3)
    assert (got["d"].module, got["d"].name, got["d"].args) == ("datetime", "timedelta", (2, 0, 0))


def test_containers_of_foreign_classes_keep_their_contents():
    got = load(pickle.dumps([collections.defaultdict(list, a=1), collections.deque([1, 2]), {3}, frozenset({4})], 4))
    assert got[0].entries == {"a": 1} and got[1].items == [1, 2] and got[2].items == [3] and got[3].items == [4]


def test_shared_and_cyclic_values_stay_shared():
    value: list[object] = [[1]]
    value += [value[0], value]
    got = load(pickle.dumps(value, 4))
    assert got[0] is got[1] and got[2] is got


def test_keys_that_are_not_text_or_small_numbers_are_wrapped():
    got = load(pickle.dumps({(1, 2): "a", 1 << 80: "b", 0.5: "c", 7: "d", None: "e"}, 4))
    wrapped = [key.value for key in got if isinstance(key, Key)]
    assert wrapped == [(1, 2), 1 << 80, 0.5] and got[7] == "d" and got[None] == "e"


def test_persistent_ids_are_handed_to_the_reader():
    assert load(b"\x80\x02K\x05Q.", lambda fields: fields + 1) == 6


@pytest.mark.parametrize(
    ("opcodes", "says"),
    [
        (b"", "cut off"), (b"\x80\x06N.", "protocol 6"), (b"N", "cut off"), (b".", "a value is wanted"),
        (b"NN.", "leaves values over"), (b"(N.", "leaves values over"), (b"t.", "a mark is wanted"),
        (b"h\x01.", "never put"), (b"N2a.", "appends to a NoneType"), (b"K\x01NNs.", "sets an item of a int"),
        (b"}(Nu.", "no value"), (b"K\x01)R.", "calls a int"), (b"cos\nsystem\nNR.", "wanted a tuple"),
        (b"]Nb.", "state to a list"), (b"}Nb.", "state to a dict"), (b"X\x02\x00\x00\x00\xff\xfe.", "UTF-8"),
        (b"NNN\x93.", "not text"), (b"Ixyz\n.", "not a number"), (b"g-1\n.", "memo number"), (b"cos\nsystem", "no end"),
    ],
)  # fmt: skip
def test_damaged_pickles_are_errors_that_say_what_is_wrong(opcodes, says):
    with pytest.raises(CheckpointError, match=says):
        load(opcodes)


@pytest.mark.parametrize("opcode", [b"i", b"o", b"\x82", b"\x83", b"\x84", b"P", b"S", b"V", b"\x97", b"\x98", b"\xff"])
def test_opcodes_outside_the_list_are_refused(opcode):
    with pytest.raises(CheckpointError, match="is refused"):
        load(b"(N" + opcode + b"os\nsystem\n.")
