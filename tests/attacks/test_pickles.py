"""Attacks by pickle: code, depth, shared references, lengths and bombs. Nothing in a file is imported or called."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import pickle
import struct
import sys

import numpy as np
import pytest
from checkpoint_writers import TENSOR, beside_weights, pickle_file, tensor, torch_bytes

from fastgru.checkpoint.contents import Checkpoint
from fastgru.checkpoint.pickle import inert, machine, reading, values
from fastgru.checkpoint.pickle import opcodes as opcode_table
from fastgru.checkpoint.torch import archive, contents, legacy, modules, packed, state_dict, tensors
from fastgru.errors import CheckpointError

KEY_W, KEY_X = b"X\x01\x00\x00\x00w", b"X\x01\x00\x00\x00x"


class Exploit:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def opcodes_of(value, protocol: int) -> bytes:
    return pickle.dumps(value, protocol)[2:-1]


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "was run"


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("function", ["eval", "exec", "open", "__import__", "getattr"])
def test_code_in_pickle_reduce_is_inert(outcome, marker, function, protocol):
    args = (str(marker), "w") if function == "open" else (f"open({str(marker)!r}, 'w')",)
    got = outcome(beside_weights(opcodes_of(Exploit(vars(builtins)[function], *args), protocol)))
    assert isinstance(got, Checkpoint) and got.metadata["skipped"] == ["x"] and list(got) == ["w"]
    assert not marker.exists()


def test_code_through_os_system_is_inert(outcome, marker, monkeypatch):
    monkeypatch.setattr("os.system", lambda command: marker.touch())
    for module in (b"os", b"posix", b"nt"):
        got = outcome(beside_weights(b"c" + module + b"\nsystem\n(X\x04\x00\x00\x00truetR"))
        assert list(got) == ["w"]
    assert not marker.exists()


def test_modules_named_in_a_pickle_are_never_imported(outcome, tmp_path, monkeypatch):
    (tmp_path / "fastgru_trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    for opcodes in (b"cfastgru_trap\nThing\n", b"cfastgru_trap\nThing\n)R", b"cfastgru_trap\nThing\n)\x81}b"):
        assert list(outcome(beside_weights(opcodes))) == ["w"]
    assert "fastgru_trap" not in sys.modules


@pytest.mark.parametrize("opcodes", [b"(ios\nsystem\n", b"(cos\nsystem\no", b"\x82\x01", b"\x83\x01\x00",
                                     b"\x84\x01\x00\x00\x00", b"Pkey\n", b"\x97", b"S'a'\n"])  # fmt: skip
def test_opcodes_that_weights_do_not_need_are_refused(refused, opcodes):
    assert "is refused" in refused(beside_weights(opcodes))


def test_getattr_chains_and_calls_of_results_stay_stubs(outcome):
    chain = b"cbuiltins\ngetattr\ncos\nsystem\nX\x04\x00\x00\x00call\x86R(X\x04\x00\x00\x00truetR)R"
    assert list(outcome(beside_weights(chain))) == ["w"]


def test_a_tensor_builder_by_name_gets_no_foreign_arguments(outcome):
    for args in (b")", b"(NNNNt", b"(K\x01K\x02K\x03K\x04t", b"(KKKKt"):
        got = outcome(beside_weights(b"ctorch._utils\n_rebuild_tensor_v2\n" + args + b"R"))
        assert isinstance(got, (Checkpoint, CheckpointError))


def test_the_source_of_the_unpickler_has_no_means_to_run_anything():
    forbidden = {"eval", "exec", "compile", "__import__", "getattr", "setattr", "import_module", "find_class"}
    readers = (archive, contents, legacy, modules, packed, state_dict, tensors)
    for module in (inert, machine, opcode_table, reading, values, *readers):
        tree = ast.parse(inspect.getsource(module))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not names & forbidden and not imported & {"pickle", "importlib", "os", "subprocess"}


def test_build_on_a_number_a_list_or_a_dict_is_refused(refused):
    for target in (b"K\x01", b"]", b"}", b")", b"X\x01\x00\x00\x00a"):
        assert "state" in refused(beside_weights(target + b"}b"))


def test_setitem_on_a_number_is_refused(refused):
    assert "sets an item of a int" in refused(beside_weights(b"K\x01K\x02K\x03s"))


def test_setitem_on_a_list_or_a_tensor_is_refused(refused):
    for target in (b"]", TENSOR):
        assert "sets an item" in refused(beside_weights(target + b"K\x00K\x03s"))


def test_append_to_a_dict_or_a_text_is_refused(refused):
    for target in (b"}", KEY_X, TENSOR):
        assert "appends to" in refused(beside_weights(target + b"K\x01a"))


@pytest.mark.parametrize(("one", "many"), [(b"]", b"a"), (b"}X\x01\x00\x00\x00a", b"s"), (b"", b"\x85"),
                                           (b"ca\nb\n", b"\x85R"), (b"ca\nb\n)R", b"b")])  # fmt: skip
def test_nesting_300000_deep_is_read_or_refused(outcome, one, many):
    if many == b"b":
        opcodes = one * 20_000 + b"N" + many * 20_000
    else:
        opcodes = one * 300_000 + b"N" + many * 300_000
    got = outcome(beside_weights(opcodes))
    assert isinstance(got, (Checkpoint, CheckpointError))
    del got


def test_300000_marks_are_refused(refused):
    assert "nested deeper" in refused(pickle_file(b"\x80\x02" + b"(" * 300_000 + b"t" * 300_000 + b"."))


def test_state_dicts_nested_60000_deep_are_refused(refused):
    opcodes = b"\x80\x02" + (b"}" + KEY_X) * 60_000 + TENSOR + b"s" * 60_000 + b"."
    assert "nested deeper" in refused(pickle_file(opcodes))


def test_containers_nested_60000_deep_are_refused(refused):
    opcodes = b"\x80\x02" + b"}X\x05\x00\x00\x00model" * 60_000 + TENSOR + b"s" * 60_000 + b"."
    assert "nested deeper" in refused(pickle_file(opcodes))


def doubling(levels: int, pair: bytes) -> bytes:
    """Level n holds level n - 1 twice, by the memo: 2 ** levels references."""
    out = b"}" if pair == b"dict" else b"N\x85"
    for level in range(levels):
        out += b"r" + struct.pack("<I", level)
        get = b"j" + struct.pack("<I", level)
        if pair == b"dict":
            out += b"0}(X\x01\x00\x00\x00a" + get + b"X\x01\x00\x00\x00b" + get + b"u"
        else:
            out += get + b"\x86"
    return out


@pytest.mark.parametrize("pair", [b"tuple", b"dict"])
def test_shared_references_2_to_the_60_are_walked_once(outcome, pair):
    got = outcome(beside_weights(doubling(60, pair)))
    assert isinstance(got, Checkpoint) and list(got) == ["w"]


def test_shared_dictionaries_2_to_the_60_with_a_tensor_at_the_bottom_end_soon(outcome):
    opcodes = doubling(60, b"dict").replace(b"}", b"}" + KEY_W + TENSOR + b"s", 1)
    assert isinstance(outcome(beside_weights(opcodes)), (Checkpoint, CheckpointError))


def test_keys_of_2_to_the_60_shared_tuples_are_never_hashed(outcome):
    assert list(outcome(beside_weights(b"}" + doubling(60, b"tuple") + b"Ns"))) == ["w"]


def test_keys_nested_300000_deep_are_never_hashed(outcome):
    assert list(outcome(beside_weights(b"}" + b"N" + b"\x85" * 300_000 + b"Ns"))) == ["w"]


def test_numbers_made_to_collide_as_keys_cost_no_more_than_others(outcome):
    modulus = (1 << 61) - 1
    keys = b"".join(b"\x8a\x0d" + (index * modulus).to_bytes(13, "little") + b"N" for index in range(1, 30_000))
    assert list(outcome(beside_weights(b"}(" + keys + b"u"))) == ["w"]


def test_a_dictionary_and_a_list_that_contain_themselves_end(outcome):
    for opcodes in (b"}q\x00X\x01\x00\x00\x00ah\x00s", b"]q\x00h\x00a"):
        assert list(outcome(beside_weights(opcodes))) == ["w"]
    root = b"\x80\x02}q\x00(" + KEY_W + TENSOR + KEY_X + b"h\x00u."
    assert list(outcome(pickle_file(root))) == ["w"]
    model = b"\x80\x02}q\x00(" + KEY_W + TENSOR[:0] + b"NX\x05\x00\x00\x00modelh\x00u."
    assert isinstance(outcome(pickle_file(model)), CheckpointError)


@pytest.mark.parametrize(
    "opcode",
    [b"X\xff\xff\xff\xff", b"B\xff\xff\xff\xff", b"T\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\xff",
     b"\x8d" + b"\xff" * 8, b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x96" + b"\xff" * 8, b"\x95" + b"\xff" * 8,
     b"\x8c\xff", b"C\xff"],
)  # fmt: skip
def test_huge_lengths_are_checked_before_anything_is_allocated(peak_of, opcode):
    assert isinstance(peak_of(pickle_file(b"\x80\x04" + opcode + b".")), CheckpointError)


def test_memo_numbers_far_beyond_use_are_refused(peak_of):
    assert "far beyond" in str(peak_of(pickle_file(b"\x80\x02Nr\xff\xff\xff\xff.")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("opcodes", "count"),
    [(b"}", 500_000), (b"\x8f", 150_000), (b"}K\x01K\x01s", 120_000)],
)
def test_hundreds_of_thousands_of_small_values_stay_within_memory(peak_of, opcodes, count):
    got = peak_of(pickle_file(b"\x80\x02(" + opcodes * count + b"t."))
    assert isinstance(got, CheckpointError) and "more memory" in str(got)


def test_a_long_text_encoded_again_and_again_stays_within_memory(peak_of):
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    assert isinstance(peak_of(pickle_file(b"\x80\x02(" + text + b"q\x00" + again * 2000 + b"t.")), CheckpointError)


def test_a_wide_character_does_not_multiply_memory_unseen(peak_of):
    text = ("a" * (24 << 20) + "\U0001f600").encode()
    got = peak_of(pickle_file(b"\x80\x02X" + struct.pack("<I", len(text)) + text + b"."))
    assert isinstance(got, CheckpointError)


def test_a_long_key_before_many_names_stays_within_memory(peak_of):
    long_key = b"X" + struct.pack("<I", 4000) + b"k" * 4000
    names = b"".join(b"M" + struct.pack("<H", index) + b"h\x00" for index in range(60_000))
    opcodes = b"\x80\x02}" + long_key + b"}(" + names + b"us."
    opcodes = opcodes.replace(b"}(" + names, TENSOR + b"q\x000}(" + names)
    assert isinstance(peak_of(pickle_file(opcodes)), CheckpointError)


@pytest.mark.parametrize("call", [b"ccollections\nOrderedDict\n", b"ctorch\nSize\n", b"c_codecs\nencode\n"])
def test_a_long_argument_is_not_looked_through_again_and_again(outcome, call):
    long_list = b"](" + b"X\x01\x00\x00\x00aN\x86q\x00" + b"h\x00" * 50_000 + b"Neq\x010"
    if b"encode" in call:
        long_list = b"X" + struct.pack("<I", 1_000_001) + b"a" * 999_999 + "\u0142".encode() + b"q\x010"
    arguments = b"h\x01X\x06\x00\x00\x00latin1\x86" if b"encode" in call else b"h\x01\x85"
    calls = (call + arguments + b"R0") * 30_000
    assert isinstance(outcome(pickle_file(b"\x80\x02" + long_list + calls + b"N.")), CheckpointError)


def test_five_million_opcodes_are_refused(refused):
    assert "opcodes" in refused(pickle_file(b"\x80\x02" + b"N0" * 2_500_000 + b"N."))


def test_integers_too_long_to_print_do_no_harm(outcome):
    number = b"\x8b" + struct.pack("<I", 1000) + b"\x7f" * 1000
    for opcodes in (number, b"}" + number + b"Ns", b"ctorch\nSize\n(" + number + b"t\x85R"):
        assert list(outcome(beside_weights(opcodes))) == ["w"]
    assert "refused" in str(outcome(beside_weights(b"\x8b" + struct.pack("<I", 5000) + b"\x7f" * 5000)))


def test_persistent_ids_of_any_shape_are_errors(refused):
    start, kind = b"(X\x07\x00\x00\x00storage", b"ctorch\nFloatStorage\n"
    key = b"X\x01\x00\x00\x000"
    for fields in (b"N", b")", b"K\x01", start + b"NNNNt", start + kind + b"K\x01NK\x04t",
                   start + kind + key + b"NJ\xff\xff\xff\xfft",
                   start + b"cos\nsystem\n" + key + b"NK\x04t"):  # fmt: skip
        refused(beside_weights(fields + b"Q"))


def test_numpy_scalars_of_odd_types_stay_stubs(outcome):
    for code in (b"O8", b"V8", b"U1", b"f8", b"i9", b"<f8", b"M8"):
        dtype = b"cnumpy\ndtype\nX" + struct.pack("<I", len(code)) + code + b"\x85R"
        raw = b"C\x08" + np.float64(1).tobytes()
        assert list(outcome(beside_weights(b"cnumpy.core.multiarray\nscalar\n" + dtype + raw + b"\x86R"))) == ["w"]


def test_names_with_control_characters_and_surrogates_are_shown_escaped(refused):
    name = b"X\x09\x00\x00\x00\x1b[2J\n\xed\xb0\x80w"
    broken = TENSOR.replace(b"K\x04\x85", b"K\x63\x85")
    message = refused(pickle_file(b"\x80\x02}" + name + broken + b"s."))
    assert message.isascii() and message.isprintable()


def test_a_dictionary_shared_under_thousands_of_keys_beside_the_weights_is_refused(refused):
    large = {f"k{index}": index for index in range(20_000)}
    value = {"model": {"weight": tensor(np.ones((2, 2), "<f4"))}} | {f"a{index}": large for index in range(2_000)}
    assert "beside its weights it has too many dictionaries" in refused(torch_bytes(value))
