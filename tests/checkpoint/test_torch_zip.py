"""PyTorch zip files come out as the arrays that went in: types, views, nesting, wrappers, company."""

from __future__ import annotations

import warnings
from collections import OrderedDict

import numpy as np
import pytest
from checkpoint_writers import Call, Name, Storage, Tensor, tensor, torch_bytes, torch_records, zip_bytes

import fastgru
from fastgru.checkpoint import read
from fastgru.errors import CheckpointError
from fastgru.importers import describe

numbers = np.random.default_rng(0)
ODD = np.array([0.0, -0.0, 1.5, -2.25, np.inf, -np.inf, np.nan, 65504.0, 6e-8], np.float32)


def gru_arrays() -> dict[str, np.ndarray]:
    shapes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    return {name: numbers.standard_normal(shape).astype("f4") for name, shape in shapes.items()}


def tensors_of(arrays: dict[str, np.ndarray]) -> OrderedDict[str, Tensor]:
    return OrderedDict((name, tensor(array)) for name, array in arrays.items())


def check(checkpoint, arrays: dict[str, np.ndarray]) -> None:
    assert list(checkpoint) == list(arrays)
    for name, wanted in arrays.items():
        got = checkpoint[name]
        assert got.dtype == wanted.dtype and got.shape == wanted.shape and got.flags.c_contiguous, name
        assert got.tobytes() == np.ascontiguousarray(wanted).tobytes(), name


def test_a_state_dict_is_read_bit_for_bit_in_the_file_s_order(file_of):
    arrays = gru_arrays()
    checkpoint = read(file_of(torch_bytes(tensors_of(arrays))))
    check(checkpoint, arrays)
    assert checkpoint.format == "pytorch-zip" and checkpoint.config is None and checkpoint.metadata["skipped"] == []


def test_a_path_may_be_text_and_the_suffix_says_nothing(file_of):
    path = file_of(torch_bytes(tensors_of(gru_arrays())), "model.keras")
    assert len(read(str(path))) == len(read(path)) == 4


@pytest.mark.parametrize("kind", ["f4", "f8", "i8", "i4", "i2", "i1", "u1", "b1", "c8"])
def test_every_plain_type_keeps_its_type(file_of, kind):
    array = (numbers.standard_normal((3, 5)) * 50).astype("<" + kind)
    check(read(file_of(torch_bytes({"x": tensor(array)}))), {"x": array})


def test_half_is_widened_to_float32(file_of):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half = ODD.astype("<f2")
    check(read(file_of(torch_bytes({"x": tensor(half)}))), {"x": half.astype("f4")})


def test_bfloat16_is_widened_to_float32(file_of):
    upper = (ODD.view("u4") >> 16).astype("<u2")
    value = Tensor(Storage(upper.tobytes(), "BFloat16Storage", 9), 0, (3, 3), (3, 1))
    check(read(file_of(torch_bytes({"x": value}))), {"x": (upper.astype("u4") << 16).view("f4").reshape(3, 3)})


def test_big_endian_files_are_turned_round(file_of):
    array = numbers.standard_normal((4, 3)).astype(">f4")
    value = Tensor(Storage(array.tobytes(), "FloatStorage", 12), 0, (4, 3), (3, 1))
    check(read(file_of(torch_bytes({"x": value}, byteorder="big"))), {"x": array.astype("f4")})


def test_without_a_byteorder_record_a_file_is_little_endian(file_of):
    arrays = gru_arrays()
    check(read(file_of(torch_bytes(tensors_of(arrays), byteorder=None))), arrays)


def test_views_transposes_and_expanded_tensors_share_a_storage(file_of):
    flat = np.arange(24, dtype="<f4")
    storage = Storage(flat.tobytes(), "FloatStorage", 24)
    views = {
        "flat": Tensor(storage, 0, (24,), (1,)),
        "view": Tensor(storage, 4, (2, 3), (3, 1)),
        "transposed": Tensor(storage, 0, (6, 4), (1, 6)),
        "every other": Tensor(storage, 1, (3, 2), (8, 2)),
        "expanded": Tensor(storage, 5, (3, 2), (0, 1)),
        "odd stride of a single row": Tensor(storage, 0, (1, 4), (1 << 60, 1)),
        "scalar": Tensor(storage, 7, (), ()),
        "empty": Tensor(storage, 24, (0, 3), (3, 1)),
    }
    wanted = {
        "flat": flat, "view": flat[4:10].reshape(2, 3), "transposed": flat.reshape(4, 6).T,
        "every other": flat[1:].reshape(-1)[[[0, 2], [8, 10], [16, 18]]], "expanded": np.tile(flat[5:7], (3, 1)),
        "odd stride of a single row": flat[:4].reshape(1, 4), "scalar": flat[7], "empty": flat[:0].reshape(0, 3),
    }  # fmt: skip
    check(read(file_of(torch_bytes(views))), {name: np.asarray(array) for name, array in wanted.items()})


def test_tied_tensors_come_out_as_one_array(file_of):
    half = tensor(np.ones((4, 4), "<f2"))
    again = Tensor(half.storage, 0, (4, 4), (4, 1))
    checkpoint = read(file_of(torch_bytes({"embedding": half, "output": again})))
    assert checkpoint["embedding"] is checkpoint["output"]


def test_contiguous_tensors_are_views_of_the_bytes_read(file_of):
    checkpoint = read(file_of(torch_bytes({"x": tensor(np.ones(5, "<f4"))})))
    assert not checkpoint["x"].flags.owndata and not checkpoint["x"].flags.writeable


def test_untyped_storages_take_the_type_of_the_call(file_of):
    array = np.arange(6, dtype="<u2")
    more = (False, OrderedDict(), Name("torch", "uint16"))
    value = Tensor(Storage(array.tobytes(), "UntypedStorage", 12), 2, (2, 2), (2, 1), "_rebuild_tensor_v3", more)
    check(read(file_of(torch_bytes({"x": value}))), {"x": array[2:].reshape(2, 2)})


def test_parameters_are_their_data_with_and_without_a_state(file_of):
    array = np.ones((2, 2), "<f4")
    utilities = "torch._utils"
    value = {
        "a": Call(Name(utilities, "_rebuild_parameter"), (tensor(array), True, OrderedDict())),
        "b": Call(Name(utilities, "_rebuild_parameter_with_state"), (tensor(array), True, OrderedDict(), {"note": 1})),
        "c": Call(
            Name("torch._tensor", "_rebuild_from_type_v2"),
            (Name(utilities, "_rebuild_tensor_v2"), Name("torch", "Tensor"),
             (tensor(array).storage, 0, (2, 2), (2, 1), False, OrderedDict()), {"note": 1}),
        ),
    }  # fmt: skip
    check(read(file_of(torch_bytes(value))), dict.fromkeys("abc", array))


def test_tensors_quantised_as_a_whole_are_dequantised(file_of):
    raw = np.array([-128, 0, 5, 127], "i1")
    scheme = (Name("torch", "per_tensor_affine"), 0.25, 3)
    value = Tensor(Storage(raw.tobytes(), "QInt8Storage", 4), 0, (4,), (1,), "_rebuild_qtensor", (scheme, False))
    check(read(file_of(torch_bytes({"x": value}))), {"x": (raw.astype("f4") - 3) * np.float32(0.25)})


@pytest.mark.parametrize(
    "key", ["state_dict", "model_state_dict", "model", "net", "module", "generator", "ema", "weights"]
)
def test_a_training_checkpoint_gives_its_weights_and_names_the_rest(file_of, key):
    arrays = gru_arrays()
    value = {
        "epoch": 3,
        "best_loss": tensor(np.float32(0.25)),
        key: tensors_of(arrays),
        "optimizer": {"state": {0: {"exp_avg": tensor(np.ones(3, "<f4"))}}, "param_groups": [{"lr": 0.1}]},
        "args": Call(Name("argparse", "Namespace"), (), {"lr": 0.1}),
        "own": Call(Name("some.package", "Thing"), (1, "a"), {"x": (1, 2)}),
    }
    checkpoint = read(file_of(torch_bytes(value)))
    check(checkpoint, arrays)
    assert checkpoint.metadata["container"] == key
    assert checkpoint.metadata["skipped"] == ["epoch", "best_loss", "optimizer", "args", "own"]


def test_containers_within_containers_are_entered(file_of):
    arrays = gru_arrays()
    checkpoint = read(file_of(torch_bytes({"model": {"state_dict": tensors_of(arrays), "step": 1}, "epoch": 1})))
    check(checkpoint, arrays)
    assert checkpoint.metadata["container"] == "model.state_dict"
    assert sorted(checkpoint.metadata["skipped"]) == ["epoch", "model.step"]


def test_nested_dictionaries_are_joined_by_dots_and_other_objects_listed(file_of):
    arrays = gru_arrays()
    value = {"encoder": tensors_of(arrays), "extra": {"_extra_state": None}, 5: tensor(np.ones(1, "<f4"))}
    checkpoint = read(file_of(torch_bytes(value)))
    wanted = {f"encoder.{name}": array for name, array in arrays.items()}
    check(checkpoint, {**wanted, "5": np.ones(1, "f4")})
    assert checkpoint.metadata["skipped"] == ["extra._extra_state"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.module."])
def test_prefixes_of_wrappers_are_stripped_however_often(file_of, prefix):
    arrays = gru_arrays()
    value = OrderedDict((prefix + name, tensor(array)) for name, array in arrays.items())
    check(read(file_of(torch_bytes(value))), arrays)


def test_a_compiled_part_of_a_model_loses_its_mark(file_of):
    value = {"gru._orig_mod.w": tensor(np.ones(2, "<f4")), "fc.w": tensor(np.ones(3, "<f4"))}
    assert list(read(file_of(torch_bytes(value)))) == ["gru.w", "fc.w"]


def test_a_module_attribute_called_module_keeps_its_name(file_of):
    value = {"module.w": tensor(np.ones(2, "<f4")), "fc.w": tensor(np.ones(3, "<f4"))}
    assert list(read(file_of(torch_bytes(value)))) == ["module.w", "fc.w"]


def test_an_averaged_model_loses_its_prefix_beside_its_counter(file_of):
    value = {"n_averaged": tensor(np.int64(3)), "module.w": tensor(np.ones(2, "<f4"))}
    assert list(read(file_of(torch_bytes(value)))) == ["n_averaged", "w"]


def test_two_state_dicts_are_read_under_their_names_and_one_is_loaded_by_its_own(file_of):
    arrays, others = gru_arrays(), {name: -array for name, array in gru_arrays().items()}
    value = {"model": tensors_of(arrays), "ema": {"gru": tensors_of(others)}, "optimizer": {"x": tensor(ODD)}}
    path = file_of(torch_bytes({"checkpoint": 1, "net": value}))
    checkpoint = read(path)
    wanted = {f"model.{name}": array for name, array in arrays.items()}
    check(checkpoint, wanted | {f"ema.gru.{name}": array for name, array in others.items()})
    assert checkpoint.metadata["skipped"] == ["checkpoint", "net.optimizer"]
    assert checkpoint.metadata["several"] == ["model", "ema"] and checkpoint.metadata["container"] == "net"
    with pytest.raises(CheckpointError, match=r"may be at 'model', 'ema'; .*layers=.*strict=False"):
        fastgru.load(path)
    with pytest.warns(UserWarning, match=r"no layer uses the tensors 'model\."):
        gru = fastgru.load(path, layers="ema.gru", strict=False)
    assert np.array_equal(gru.spec.layers[0][0].w_hh, others["weight_hh_l0"])
    found = describe(checkpoint)
    assert found["suggested_layers"] is None and [part["name"] for part in found["layers"]] == ["model", "ema.gru"]


def test_parameters_at_the_top_beside_a_container_are_read_with_it(file_of):
    for name in ("fc.weight", "weight_ih_l0"):
        path = file_of(torch_bytes({name: tensor(np.ones(2, "<f4")), "model": tensors_of(gru_arrays())}))
        assert list(read(path)) == [name, *(f"model.{each}" for each in gru_arrays())]
        with pytest.raises(CheckpointError, match="'the top level', 'model'"):
            fastgru.load(path)


def test_other_tensors_at_the_top_beside_a_container_are_skipped_by_name(file_of):
    value = {"rng_state": tensor(np.ones(5, "u1")), "class_weights": tensor(np.ones(2, "<f4"))}
    checkpoint = read(file_of(torch_bytes({**value, "model": tensors_of(gru_arrays())})))
    assert list(checkpoint) == list(gru_arrays()) and checkpoint.metadata["skipped"] == list(value)


def test_a_parameter_that_is_no_plain_tensor_is_an_error(file_of):
    for name in ("bias_ih_l0", "fc.bias"):
        with pytest.raises(CheckpointError, match=f"'{name}' is called as a parameter is, but is not a plain tensor"):
            read(file_of(torch_bytes({**tensors_of(gru_arrays()), name: 7})))


def test_the_same_name_with_and_without_a_prefix_is_an_error(file_of):
    value = {"a._orig_mod.w": tensor(np.ones(2, "<f4")), "a.w": tensor(np.ones(2, "<f4"))}
    with pytest.raises(CheckpointError, match="twice"):
        read(file_of(torch_bytes(value)))


def test_joined_names_that_collide_are_an_error(file_of):
    value = {"a.b": tensor(np.ones(2, "<f4")), "a": {"b": tensor(np.ones(2, "<f4"))}}
    with pytest.raises(CheckpointError, match=r"called 'a\.b'"):
        read(file_of(torch_bytes(value)))


def test_a_whole_pickled_module_gives_its_tensors(file_of):
    arrays = gru_arrays()
    module = Call(Name("my.models", "Net"), (), {"_parameters": tensors_of(arrays), "_modules": OrderedDict()})
    for value in (module, {"epoch": 1, "model": module}):
        checkpoint = read(file_of(torch_bytes(value)))
        check(checkpoint, arrays)
        assert checkpoint.metadata["whole_module"] == "my.models.Net"


@pytest.mark.parametrize("value", [tensor(np.ones(3, "<f4")), [1, 2], 7, {}, {"epoch": 1}, None, "text"])
def test_anything_but_a_state_dict_is_an_error_that_says_what_was_got(file_of, value):
    with pytest.raises(CheckpointError, match=r"wanted a state dict"):
        read(file_of(torch_bytes(value)))


def test_types_without_a_numpy_twin_are_refused_by_tensor_name(file_of):
    more = (False, OrderedDict(), Name("torch", "float8_e4m3fn"))
    value = Tensor(Storage(b"1234", "UntypedStorage", 4), 0, (4,), (1,), "_rebuild_tensor_v3", more)
    with pytest.raises(CheckpointError, match=r"'w'.*float8_e4m3fn"):
        read(file_of(torch_bytes({"w": value})))


def test_a_damaged_tensor_of_the_optimizer_does_not_spoil_the_weights(file_of):
    arrays = gru_arrays()
    wrong = Tensor(Storage(b"1234", "FloatStorage", 1), 5, (9, 9), (1, 1))
    check(read(file_of(torch_bytes({"model": tensors_of(arrays), "optimizer": {"state": wrong}}))), arrays)


def test_a_root_folder_may_have_any_name(file_of):
    arrays = gru_arrays()
    check(read(file_of(zip_bytes(torch_records(tensors_of(arrays), root="epoch=3 ü")))), arrays)


def test_16_bit_floats_are_widened_one_storage_at_a_time(file_of, read_with_peak):
    size, count = 1 << 20, 16
    values = {f"w{index}": tensor(np.zeros(size // 2, "<f2")) for index in range(count)}
    path = file_of(torch_bytes(values))
    checkpoint, peak = read_with_peak(path)
    assert {array.dtype.name for array in checkpoint.values()} == {"float32"}
    assert peak < 2.3 * size * count  # twice the file is what float32 takes
