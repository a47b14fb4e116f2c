"""Attacks by whole pickled modules: cycles, shared and deep trees, dictionaries that are none, impossible options."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from bounds import ending, in_little_memory
from checkpoint_writers import (
    Call,
    Name,
    Storage,
    Tensor,
    ZipRecord,
    legacy_bytes,
    module,
    pickle_file,
    tensor,
    torch_bytes,
    torch_records,
    zip_bytes,
)

import fastgru
from fastgru.checkpoint.contents import Checkpoint
from fastgru.errors import CheckpointError, FastGRUError, UnsupportedModelError

SEQUENTIAL, LINEAR = "torch.nn.modules.container.Sequential", "torch.nn.modules.linear.Linear"
GRU = "torch.nn.modules.rnn.GRU"
ONES = np.ones((2, 3), "<f4")
WRITERS = [torch_bytes, legacy_bytes]


def linear(**options):
    return module(LINEAR, {"weight": tensor(ONES)}, **options)


def gru(**options):
    parameters = {"weight_ih_l0": tensor(np.ones((6, 3), "<f4")), "weight_hh_l0": tensor(np.ones((6, 2), "<f4"))}
    return module(GRU, parameters, **{"input_size": 3, "hidden_size": 2, "num_layers": 1, "bias": False, **options})


@pytest.fixture
def loaded(file_of):
    """A function that loads bytes: the model, or the FastGRUError it ended in. Others escape."""

    return lambda content: ending(fastgru.load, file_of(content))


# Opcodes of a module, with the memo: 1 is the class, and q after it holds the module itself.
START = b"ctorch.nn.modules.container\nSequential\n)\x81"
STATE = b"}(X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_buffers}X\x08\x00\x00\x00_modules"


def test_a_module_that_contains_itself(outcome, loaded):
    itself = pickle_file(b"\x80\x02" + START + b"q\x00" + STATE + b"}X\x01\x00\x00\x00ah\x00sub.")
    assert "nested deeper" in str(outcome(itself))
    both = b"}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00u"
    assert isinstance(outcome(pickle_file(b"\x80\x02" + START + b"q\x00" + STATE + both + b"ub.")), CheckpointError)
    assert isinstance(loaded(itself), CheckpointError)


def test_a_wrapper_that_wraps_itself(outcome):
    start = b"ctorch.nn.parallel.data_parallel\nDataParallel\n)\x81q\x00" + STATE
    assert isinstance(outcome(pickle_file(b"\x80\x02" + start + b"}X\x06\x00\x00\x00moduleh\x00sub.")), CheckpointError)
    compiled = b"ctorch._dynamo.eval_frame\nOptimizedModule\n"
    for inner in (b")", b"N\x85", b"K\x01\x85", b"ca\nb\n\x85"):
        assert isinstance(outcome(pickle_file(b"\x80\x02" + compiled + inner + b"R.")), CheckpointError)
    deep = b"\x80\x02" + compiled * 50_000 + b")" + b"R\x85" * 49_999 + b"R."
    assert isinstance(outcome(pickle_file(deep)), CheckpointError)


def test_modules_shared_2_to_the_60_ways(peak_of, outcome):
    node = linear()
    for _ in range(60):
        node = module(SEQUENTIAL, modules={"a": node, "b": node})
    assert isinstance(outcome(torch_bytes(node)), CheckpointError)
    assert isinstance(peak_of(legacy_bytes(node)), CheckpointError)


def test_a_module_shared_by_wide_modules_stays_within_time_and_memory(peak_of, outcome):
    empty = dict.fromkeys(f"p{index}" for index in range(2000))
    options = {f"option{index}": index for index in range(2000)}
    node = module("my.Net", empty, empty, {"w": linear()}, **options)
    for _ in range(3):
        node = module(SEQUENTIAL, modules={str(index): node for index in range(30)})
    content = torch_bytes(node)
    assert isinstance(outcome(content), CheckpointError)
    assert isinstance(peak_of(content), CheckpointError)


def test_thousands_of_hooks_with_one_long_class_name_stay_within_memory(peak_of):
    hooks = dict.fromkeys(range(100), Name("m" * 2000, "N" * 2000))
    children = {str(index): module("my.Net", _forward_hooks=hooks) for index in range(600)}
    got = peak_of(torch_bytes(module(SEQUENTIAL, modules={**children, "w": linear()})))
    assert len(got.config["children"]["0"]["hooks"]) == 40


def test_modules_nested_100000_deep(outcome):
    content = pickle_file(
        b"\x80\x02" + (START + STATE + b"}X\x01\x00\x00\x00a") * 20_000 + b"N" + b"sub" * 20_000 + b"."
    )
    assert isinstance(outcome(content), CheckpointError)
    # with the class and every word from the memo
    first = START[:-2] + b"q\x00" + b")\x81"
    words = b"X\x0b\x00\x00\x00_parametersq\x01}X\x08\x00\x00\x00_modulesq\x02"
    step = b"h\x00)\x81}(h\x01}h\x02"
    content = b"\x80\x02" + first + b"}(" + words + b"}X\x01\x00\x00\x00aq\x03" + (step + b"}h\x03") * 99_999
    assert isinstance(outcome(pickle_file(content + b"N" + b"sub" * 100_000 + b".")), CheckpointError)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("attribute", ["_modules", "_parameters", "_buffers"])
@pytest.mark.parametrize("value", [None, 3, "a", [1], (1,), {1: None}, {"": None}, {"a.b": None}, {("a",): None},
                                   Call(Name("collections", "deque"), ())])  # fmt: skip
def test_dictionaries_of_a_module_that_are_none(outcome, write, attribute, value):
    root = module(SEQUENTIAL, modules={"0": linear()}, **{attribute: value} if attribute != "_modules" else {})
    if attribute == "_modules":
        root.state["_modules"] = value
    got = outcome(write(root))
    assert isinstance(got, CheckpointError), got


@pytest.mark.parametrize("child", [3, "a", [1], {"a": 1}, tensor(ONES), Call(Name("os", "system"), ("true",))])
def test_children_that_are_no_modules(refused, child):
    assert "is no module" in refused(torch_bytes(module(SEQUENTIAL, modules={"0": linear(), "1": child})))


@pytest.mark.parametrize("args", [(), (3,), ("ab",), ((1, 2),), ([1, ("w",), None],), ([["w"]],), ({"w": 1},)])
def test_names_of_buffers_to_leave_out_that_are_no_names(outcome, args):
    names = Call(Name("builtins", "set"), args)
    got = outcome(torch_bytes(module("my.Net", {"w": tensor(ONES)}, _non_persistent_buffers_set=names)))
    assert list(got) == ["w"]


def test_a_parameter_and_a_module_of_one_name(refused):
    root = module(SEQUENTIAL, {"0": tensor(ONES)}, modules={"0": linear()})
    assert "twice" in refused(torch_bytes(root))


def test_names_that_collide_or_leave_the_tree(outcome):
    for names in (("a", "a.weight"), ("..", "a"), ("/", "\0")):
        root = module(SEQUENTIAL, modules=OrderedDict((name, linear()) for name in names))
        assert isinstance(outcome(torch_bytes(root)), (Checkpoint, CheckpointError))


ODD = [None, True, -1, 0, 1 << 40, 1 << 62, 1 << 200, 0.5, float("nan"), float("inf"), "x", "x" * 100_000, (), (1, 2),
       [1], {"a": 1}, (1,) * 1000, Name("os", "system"), tensor(ONES), -(1 << 63), ((((1,),),),)]  # fmt: skip


@pytest.mark.parametrize("option", ["num_layers", "input_size", "hidden_size", "bidirectional", "batch_first", "bias",
                                    "dropout", "proj_size", "mode"])  # fmt: skip
def test_options_of_a_gru_of_every_wrong_type(loaded, option):
    for value in ODD:
        got = loaded(torch_bytes(gru(**{option: value})))
        assert isinstance(got, (fastgru.GRU, FastGRUError))


def test_a_huge_number_of_layers_is_refused_at_once(loaded):
    for value in (2, 10**9, 1 << 62):
        assert f"its num_layers is {value}" in str(loaded(torch_bytes(gru(num_layers=value))))


CHAIN = {
    "torch.nn.modules.conv.Conv1d": (
        {"weight": tensor(np.ones((2, 3, 3), "<f4"))},
        ["stride", "padding", "dilation", "groups", "kernel_size", "padding_mode", "in_channels", "transposed"],
    ),
    LINEAR: ({"weight": tensor(ONES)}, ["in_features", "out_features"]),
    "torch.nn.modules.sparse.Embedding": ({"weight": tensor(ONES)}, ["max_norm", "norm_type", "num_embeddings"]),
    "torch.nn.modules.normalization.LayerNorm": ({"weight": tensor(ONES[0])}, ["normalized_shape", "eps"]),
    "torch.nn.modules.normalization.RMSNorm": ({"weight": tensor(ONES[0])}, ["normalized_shape", "eps"]),
    "torch.nn.modules.batchnorm.BatchNorm1d": (
        {"running_mean": tensor(ONES[0]), "running_var": tensor(ONES[0])},
        ["eps", "num_features"],
    ),
    "torch.nn.modules.activation.PReLU": ({"weight": tensor(ONES[0])}, ["num_parameters"]),
    "torch.nn.modules.activation.Softmax": ({}, ["dim"]),
    "torch.nn.modules.activation.Hardtanh": ({}, ["min_val", "max_val"]),
    "torch.nn.modules.activation.GELU": ({}, ["approximate"]),
    "torch.nn.modules.activation.RReLU": ({}, ["lower", "upper"]),
    "torch.nn.modules.activation.Softplus": ({}, ["beta", "threshold"]),
    "torch.nn.modules.activation.GLU": ({}, ["dim"]),
    "torch.nn.modules.flatten.Flatten": ({}, ["start_dim", "end_dim"]),
    "torch.nn.modules.pooling.MaxPool1d": ({}, ["kernel_size", "stride", "padding", "dilation", "ceil_mode"]),
    "torch.nn.modules.pooling.AdaptiveAvgPool1d": ({}, ["output_size"]),
}


@pytest.mark.parametrize("name", CHAIN)
def test_options_of_a_module_in_a_chain_of_every_wrong_type(loaded, name):
    parameters, options = CHAIN[name]
    for option in options:
        for value in ODD:
            children = {"0": module(name, parameters, **{"kernel_size": 2, option: value}), "1": linear()}
            got = loaded(torch_bytes(module(SEQUENTIAL, modules=children)))
            assert isinstance(got, (fastgru.Model, FastGRUError)), (option, value, got)


@pytest.mark.slow
def test_a_hundred_thousand_options_stay_within_memory(peak_of):
    words = b"".join(b"X\x03\x00\x00\x00o%02dq" % index + bytes([index + 10]) + b"0" for index in range(99))
    options = b"".join(b"h" + bytes([index + 10]) + b"N" for index in range(99))
    one = b"h\x01)\x81}(h\x02}h\x03}" + options + b"ub"
    start = b"ctorch.nn.modules.linear\nLinear\nq\x010X\x0b\x00\x00\x00_parametersq\x020X\x08\x00\x00\x00_modulesq\x030"
    children = b"".join(b"X\x05\x00\x00\x00%05d" % index + one for index in range(6_000))
    root = b"h\x01)\x81}(h\x02}h\x03}(" + children + b"uub."
    got = peak_of(pickle_file(b"\x80\x02" + start + words + root))
    assert isinstance(got, CheckpointError)


def test_thousands_of_modules_in_a_chain_end_soon(loaded, outcome):
    children = {str(index): linear() for index in range(3000)}
    content = torch_bytes(module(SEQUENTIAL, modules=children))
    assert isinstance(outcome(content), Checkpoint)
    assert isinstance(loaded(content), FastGRUError)


def test_code_in_the_options_and_hooks_is_inert(loaded, outcome, monkeypatch):
    ran = []
    monkeypatch.setattr("os.abort", lambda: ran.append(1))
    call = Call(Name("os", "abort"), ())
    root = module(SEQUENTIAL, modules={"0": linear(extra=call, in_features=call)}, _forward_hooks={0: call}, hook=call)
    got = outcome(torch_bytes(root))
    assert got.config["hooks"] == ["os.abort"] and not ran
    assert isinstance(loaded(torch_bytes(root)), UnsupportedModelError) and not ran


@pytest.mark.parametrize("name", ["GRU", "torch.nn.GRU", "torch.nn.modules.rnn.gru", "torch.nn.modules.rnn.GRU.GRU",
                                  "Torch.nn.modules.rnn.GRU", "torch.nn.modules.rnn\u200b.GRU"])  # fmt: skip
def test_a_foreign_class_called_like_torchs_runs_as_nothing(loaded, name):
    foreign = gru()
    package, _, short = name.rpartition(".")
    foreign.name = Name(package, short)
    root = module(SEQUENTIAL, modules={"0": linear(), "1": foreign})
    assert "is a class of its own" in str(loaded(torch_bytes(root))) or "not supported" in str(
        loaded(torch_bytes(root))
    )


def test_packed_weights_of_other_shapes_than_a_grus(loaded):
    quantised = Tensor(Storage(bytes(6), "QInt8Storage", 6), 0, (2, 3), (3, 1), "_rebuild_qtensor",
                       ((Name("torch", "per_tensor_affine"), 0.5, 0), False))  # fmt: skip
    packed = Call(Name("torch", "ScriptObject"), (), ((quantised, None),
                  "__torch__.torch.classes.quantized.LinearPackedParamsBase"))  # fmt: skip
    cell = Call(Name("torch", "ScriptObject"), (), (("quantized_dynamic", [], [], [], [packed, packed]),
                "__torch__.torch.classes.rnn.CellParamsBase"))  # fmt: skip
    for count in (1, 2, 3, 50):
        value = {f"rnn._all_weight_values.{index}.param": cell for index in range(count)}
        assert isinstance(loaded(torch_bytes(value)), FastGRUError)
    for index in ("00", "9999", "99999", "-1", "x"):
        assert isinstance(loaded(torch_bytes({f"rnn._all_weight_values.{index}.param": cell})), FastGRUError)


def test_folding_overlapping_views_stays_within_memory(file_of):
    content = np.ones((1 << 18) + 500, "<f4").tobytes()
    storage = Storage(content, "FloatStorage", (1 << 18) + 500)
    value = {}
    for index in range(250):
        value[f"l{index}.weight_orig"] = Tensor(storage, index, (512, 512), (512, 1))
        value[f"l{index}.weight_mask"] = Tensor(storage, 500 - index, (512, 512), (512, 1))
    data = torch_bytes(value)
    path = file_of(data)
    with in_little_memory(len(data)), pytest.raises(FastGRUError):
        fastgru.load(path)


@pytest.mark.parametrize("write", WRITERS)
def test_truncation_at_every_64_bytes(outcome, write):
    content = write(module(SEQUENTIAL, modules={"0": linear(), "1": gru()}))
    assert isinstance(outcome(content), Checkpoint)
    for length in range(0, len(content), 64):
        assert isinstance(outcome(content[:length]), FastGRUError), length


def test_mutations_of_the_pickle_of_a_whole_module(loaded):
    chance = np.random.default_rng(21)
    records = torch_records(module(SEQUENTIAL, modules={"0": linear(), "1": gru(batch_first=True)}))
    for _ in range(300):
        data = bytearray(records[0].content)
        for _ in range(chance.integers(1, 4)):
            at = int(chance.integers(len(data)))
            data[at] = int(chance.integers(256)) if chance.integers(2) else data[at] ^ (1 << int(chance.integers(8)))
        got = loaded(zip_bytes([ZipRecord(records[0].name, bytes(data)), *records[1:]]))
        assert isinstance(got, (fastgru.Model, fastgru.GRU, FastGRUError))


def test_names_and_options_that_would_flood_a_message(refused, loaded):
    long = "x" * 1500
    root = module(SEQUENTIAL, modules={long: module(f"{long}.{long}", {"w": tensor(ONES)})})
    for content in (torch_bytes(root), torch_bytes(module(SEQUENTIAL, modules={long: linear(in_features=long)}))):
        assert isinstance(loaded(content), FastGRUError) and len(str(loaded(content))) < 1500
    assert len(refused(torch_bytes(module(long, modules={long: 3})))) < 1500
