"""Files of torch 1.5 and older come out as the arrays that went in: five pickles, then the storages in any order."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from checkpoint_writers import (
    Call,
    LegacyPickle,
    Name,
    Raw,
    Storage,
    Tensor,
    TorchPickle,
    legacy_bytes,
    legacy_parts,
    tensor,
    torch_bytes,
)

from fastgru.checkpoint import read
from fastgru.errors import CheckpointError, UnsupportedModelError

numbers = np.random.default_rng(0)


def arrays() -> dict[str, np.ndarray]:
    shapes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    return {name: numbers.standard_normal(shape).astype("f4") for name, shape in shapes.items()}


def check(checkpoint, wanted: dict[str, np.ndarray]) -> None:
    assert checkpoint.format == "pytorch-legacy" and list(checkpoint) == list(wanted)
    for name, array in wanted.items():
        got = checkpoint[name]
        assert got.dtype == array.dtype and got.shape == array.shape and not got.flags.writeable, name
        assert got.tobytes() == np.ascontiguousarray(array).tobytes(), name


def test_a_state_dict_is_read_bit_for_bit(file_of):
    wanted = arrays()
    check(read(file_of(legacy_bytes({name: tensor(array) for name, array in wanted.items()}))), wanted)


@pytest.mark.parametrize("turned", [False, True])
def test_storages_lie_in_the_order_of_their_list(file_of, turned):
    wanted = arrays()
    keys = [str(1000 - index) for index in range(4)]
    value = {name: tensor(array) for name, array in wanted.items()}
    check(read(file_of(legacy_bytes(value, keys=keys[::-1] if turned else keys))), wanted)


@pytest.mark.parametrize("kind", ["f8", "f2", "i8", "i4", "i2", "i1", "u1", "b1"])
def test_every_type_and_a_scalar(file_of, kind):
    array = (numbers.standard_normal((3, 5)) * 50).astype("<" + kind)
    wanted = array.astype("f4") if kind == "f2" else array
    value = {"x": tensor(array), "scalar": tensor(array[1, 1])}
    check(read(file_of(legacy_bytes(value))), {"x": wanted, "scalar": np.asarray(wanted[1, 1])})


def test_parts_of_a_storage_are_views_of_its_bytes(file_of):
    flat = np.arange(24, dtype="<f4")
    whole = Storage(flat.tobytes(), "FloatStorage", 24, "7")
    first = Storage(flat.tobytes(), "FloatStorage", 24, "7", ("8", 0, 10))
    second = Storage(flat.tobytes(), "FloatStorage", 24, "7", ("9", 6, 12))
    value = {
        "whole": Tensor(whole, 0, (24,), (1,)),
        "first": Tensor(first, 4, (2, 3), (3, 1)),
        "second": Tensor(second, 0, (4, 3), (1, 4)),
        "again": Tensor(second, 11, (1,), (1,)),
    }
    checkpoint = read(file_of(legacy_bytes(value)))
    check(checkpoint, {"whole": flat, "first": flat[4:10].reshape(2, 3), "second": flat[6:18].reshape(3, 4).T,
                       "again": flat[17:18]})  # fmt: skip
    assert np.shares_memory(checkpoint["whole"], checkpoint["first"])


def test_a_training_checkpoint_gives_its_weights_and_names_the_rest(file_of):
    wanted = arrays()
    value = {
        "epoch": 3,
        "state_dict": {f"module.{name}": tensor(array) for name, array in wanted.items()},
        "optimizer": {"state": {0: {"exp_avg": tensor(np.ones(3, "<f4"))}}},
        "args": Call(Name("argparse", "Namespace"), (), {"lr": 0.1}),
    }
    checkpoint = read(file_of(legacy_bytes(value)))
    check(checkpoint, wanted)
    assert checkpoint.metadata == {"container": "state_dict", "skipped": ["epoch", "optimizer", "args"]}


def test_tensors_of_torch_0_2_are_variables_and_parameters_around_a_tensor(file_of):
    array = np.ones((2, 2), "<f4")
    plain = Tensor(tensor(array).storage, 0, (2, 2), (2, 1), "_rebuild_tensor", ())
    value = {
        "a": Call(Name("torch.nn.parameter", "Parameter"), (plain,), (True, False, {})),
        "b": Call(Name("torch.autograd.variable", "Variable"), (plain,), (False, False, {})),
        "c": plain,
    }
    check(read(file_of(legacy_bytes(value))), dict.fromkeys("abc", array))


def test_a_class_with_its_source_code_is_its_name(file_of):
    named = Raw(b"(X\x06\x00\x00\x00modulecmy.models\nNet\nX\x06\x00\x00\x00net.pyX\x05\x00\x00\x00class" + b"tQ")
    state = {"_parameters": {"w": tensor(np.ones(3, "<f4"))}, "_buffers": {}, "_modules": {}}
    pickler = LegacyPickle()
    pickler.save(named)
    pickler.out += b")\x81"
    pickler.save(state)
    body = bytes(pickler.out) + b"b."
    parts = legacy_parts(state)
    parts[3] = body
    checkpoint = read(file_of(b"".join(parts)))
    check(checkpoint, {"w": np.ones(3, "f4")})
    assert checkpoint.metadata["whole_module"] == "my.models.Net"


def test_pickle_protocols_1_and_4_begin_otherwise(file_of):
    wanted = arrays()
    parts = legacy_parts({name: tensor(array) for name, array in wanted.items()})
    magic = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
    for start in (b"L119547037146038801333356L\n.", b"\x80\x04\x95\x0d" + bytes(7) + magic, b"\x80\x03" + magic):
        check(read(file_of(b"".join([start, *parts[1:]]))), wanted)


def test_both_formats_of_one_object_come_out_alike(file_of):
    value = {name: tensor(array) for name, array in arrays().items()}
    old, new = read(file_of(legacy_bytes(value))), read(file_of(torch_bytes(value)))
    assert [array.tobytes() for array in old.values()] == [array.tobytes() for array in new.values()]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [(0, 5, "no kind of file"), (1, 1000, "magic number, protocol and system"), (2, 7, "protocol and system"),
     (4, {"a": 1}, "list of its storages"), (4, [1], "list of its storages")],
)  # fmt: skip
def test_each_of_the_five_pickles_is_checked(file_of, place, value, said):
    parts = legacy_parts({"w": tensor(np.ones(3, "<f4"))})
    parts[place] = TorchPickle().dump(value)
    if place == 0:
        with pytest.raises((CheckpointError, UnsupportedModelError)):
            read(file_of(b"".join(parts)))
    else:
        with pytest.raises(CheckpointError, match=said):
            read(file_of(b"".join(parts)))


def test_several_objects_in_one_file_are_refused_with_the_way_out(file_of):
    content = legacy_bytes({"w": tensor(np.ones(3, "<f4"))})
    with pytest.raises(CheckpointError, match=r"bytes follow its last storage.*save what you need on its own"):
        read(file_of(content + content))


@pytest.mark.parametrize("name", ["sys_info", "pickle", "tensors", "storages"])
def test_the_tar_container_of_the_first_versions_is_named(file_of, name):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UnsupportedModelError, match=r"tar container of PyTorch's first versions.*state_dict"):
        read(file_of(buffer.getvalue()))
