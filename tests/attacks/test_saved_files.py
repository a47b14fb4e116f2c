"""Attacks by files that say fastgru wrote them: descriptions that lie, loop, multiply or name what is not there.

Each ends in a FastGRUError within 2 s, or in a model where the change does no harm.
"""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from altered import changed, paths, without
from bounds import ending, in_little_memory, soon
from layer_examples import EXAMPLES, chain
from mutations import mutated
from networks import network, numbers

import fastgru
from fastgru import CheckpointError, FastGRUError, UnsupportedModelError
from fastgru.checkpoint.int8_rows import SCALES
from fastgru.engine.reduced import int8
from fastgru.layers import Activation, Dense, GRULayer, TimeDistributed
from fastgru.saved.topology import to_data


def sound() -> tuple[dict, dict]:
    """A description with a bit of everything, and its tensors."""
    inner = chain(Dense(numbers(3, 3), numbers(3)), shape=(3,))
    layers = [
        Dense(numbers(4, 4), numbers(4), "tanh"),
        GRULayer(network(4, 3)),
        TimeDistributed(inner),
        Activation("relu"),
    ]
    data, tensors = to_data(chain(*layers))
    return json.loads(json.dumps(data)), tensors


def file_bytes(data: dict | str, tensors: dict, **metadata: str) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    header = {"__metadata__": {"fastgru.format": "1", "fastgru.version": "0.1.0", "fastgru.model": text, **metadata}}
    body = b""
    for name, array in tensors.items():
        kind = {"float32": "F32", "float64": "F64", "int32": "I32", "float16": "F16", "int8": "I8"}[array.dtype.name]
        offsets = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        body += array.tobytes()
    start = json.dumps(header).encode()
    return len(start).to_bytes(8, "little") + start + body


@pytest.fixture
def outcome(file_of):
    """A function that loads a file: what it is, or the FastGRUError it ended in. Others escape."""

    def run(data: dict | str, tensors: dict, **metadata: str) -> object:
        path = file_of(file_bytes(data, tensors, **metadata))
        with soon():
            got = ending(fastgru.load, path)
        assert isinstance(got, (fastgru.GRU, fastgru.Model)) or len(str(got)) < 2000
        return got

    return run


@pytest.fixture
def refused(outcome):
    """A function that asserts that a file is refused, and gives the error."""

    def run(data: dict | str, tensors: dict, **metadata: str) -> FastGRUError:
        got = outcome(data, tensors, **metadata)
        assert isinstance(got, FastGRUError), got
        return got

    return run


def test_the_file_that_is_changed_is_sound(outcome) -> None:
    assert isinstance(outcome(*sound()), fastgru.Model)


@pytest.mark.parametrize("new", [None, True, 7, -1, 0.5, 2**31, 10**19, "x", "", [], {}, [[]], {"a": 1}, ["x", 0, 1]])
def test_a_value_of_another_type_anywhere(new, outcome) -> None:
    data, tensors = sound()
    for path in paths(data):
        got = outcome(changed(data, path, new), tensors)
        assert isinstance(got, (FastGRUError, fastgru.Model)), (path, got)


def test_a_wrong_type_names_the_layer_and_the_field(refused) -> None:
    data, tensors = sound()
    for field, new in [("go_backwards", 1), ("return_state", None), ("merge", 3), ("above", {}), ("gru", "x")]:
        error = refused(changed(data, ("layers", "layer 1", field), new), tensors)
        assert f"layer 'layer 1': {field}: got" in str(error)


def test_anything_left_out(outcome) -> None:
    data, tensors = sound()
    for path in list(paths(data))[1:]:
        got = outcome(without(data, path), tensors)
        assert isinstance(got, (FastGRUError, fastgru.Model)), path
    assert isinstance(outcome(without(data, ("layers", "layer 1")), tensors), CheckpointError)
    assert "weight of Dense is missing" in str(outcome(without(data, ("layers", "layer 0", "weight")), tensors))


def test_unknown_layers_and_fields(refused) -> None:
    data, tensors = sound()
    for name in (
        "Lambda",
        "os.system",
        "Layer",
        "Record",
        "ModelSpec",
        "GRUSpec",
        "_Merge",
        "Input",
        "__class__",
        "validate",
    ):
        error = refused(changed(data, ("layers", "layer 3", "type"), name), tensors)
        assert type(error) is UnsupportedModelError and f"'{name}' is no layer" in str(error)
    for field in ("__class__", "_fields", "outputs", "color", "replace"):
        error = refused(changed(data, ("layers", "layer 0", field), "x"), tensors)
        assert type(error) is UnsupportedModelError and f"no '{field}' of Dense" in str(error)


def test_activations_that_are_not_known(refused) -> None:
    data, tensors = sound()
    for new in ("os.system", {"name": "exec"}, {"name": "relu", "options": {"x": 1}}, {"name": "relu", "code": "1"}):
        assert isinstance(
            refused(changed(data, ("layers", "layer 0", "activation"), new), tensors), UnsupportedModelError
        )
    for new in (
        {},
        {"options": {}},
        {"name": 3},
        {"name": "relu", "options": []},
        {"name": "relu", "options": {"x": {}}},
    ):
        assert type(refused(changed(data, ("layers", "layer 0", "activation"), new), tensors)) is CheckpointError


def test_nodes_in_a_wrong_order_and_in_a_cycle(refused) -> None:
    data, tensors = sound()
    nodes = data["model"]["nodes"]
    assert "no earlier layer makes" in str(refused(changed(data, ("model", "nodes"), nodes[::-1]), tensors))
    for edge in ("layer 0", "layer 3", "nowhere", "", ["input", 1], ["input", -1], ["layer 1", 2]):
        refused(changed(data, ("model", "nodes", 0, "inputs"), [edge]), tensors)
    refused(changed(data, ("model", "nodes", 0, "inputs"), []), tensors)
    refused(changed(data, ("model", "nodes", 1, "mask"), "layer 3"), tensors)
    refused(changed(data, ("model", "outputs"), ["layer 9"]), tensors)
    refused(changed(data, ("model", "nodes"), [*nodes, nodes[0]]), tensors)


def test_layers_inside_themselves(refused) -> None:
    data, tensors = sound()
    own = ("layers", "layer 2", "model", "nodes", 0, "layer")
    for key in ("layer 2", "layer 3", "nowhere"):
        assert "no layer that is described before it" in str(refused(changed(data, own, key), tensors))
    assert "stands in two models" in str(refused(changed(data, own, "layer 0"), tensors))


def test_layers_that_stand_nowhere(refused) -> None:
    data, tensors = sound()
    data["layers"]["stray"] = {"type": "Activation", "name": "relu", "options": {}}
    assert "'stray' is described and stands in no model" in str(refused(data, tensors))


def test_tensors_missing_shared_misshapen_and_left_over(refused) -> None:
    data, tensors = sound()
    names = list(tensors)
    for name in names:
        fewer = {each: array for each, array in tensors.items() if each != name}
        assert f"{name!r} is missing" in str(refused(data, fewer))
        for wrong in (tensors[name].reshape(-1, 1, 1), np.zeros((0, 4), np.float32), tensors[name].astype(np.int32)):
            refused(data, {**tensors, name: wrong})
    shared = changed(data, ("layers", "layer 0", "bias"), "layer 0.weight")
    assert "'layer 0.weight' is used twice" in str(refused(shared, tensors))
    assert "no layer uses the tensors 'stray'" in str(refused(data, {**tensors, "stray": np.zeros(3, np.float32)}))
    for path in (("layers", "layer 0", "weight"), ("layers", "layer 2", "model", "nodes", 0, "layer")):
        refused(changed(data, path, "__metadata__"), tensors)


def tied() -> tuple[dict, dict]:
    """One tensor for ten thousand layers, each of which would be packed by itself."""
    layers = {str(at): {"type": "Dense", "weight": "w", "bias": None, "activation": "linear"} for at in range(10_000)}
    nodes = [{"name": key, "layer": key, "inputs": ["x"]} for key in layers]
    data = {
        "model": {"inputs": [{"name": "x", "shape": [None, 500]}], "nodes": nodes, "outputs": ["0"]},
        "layers": layers,
    }
    return data, {"w": np.zeros((500, 500), np.float32)}


def housed() -> tuple[dict, dict]:
    """One layer in nine thousand models, each of which would pack it."""
    layers: dict = {"d": {"type": "Dense", "weight": "w", "bias": None, "activation": "linear"}}
    for at in range(9_000):
        inner = {"inputs": [{"name": "x", "shape": [500]}], "nodes": [{"name": "d", "layer": "d", "inputs": ["x"]}]}
        layers[str(at)] = {"type": "TimeDistributed", "model": {**inner, "outputs": ["d"]}}
    nodes = [{"name": key, "layer": key, "inputs": ["x"]} for key in layers if key != "d"]
    data = {
        "model": {"inputs": [{"name": "x", "shape": [None, 500]}], "nodes": nodes, "outputs": ["0"]},
        "layers": layers,
    }
    return data, {"w": np.zeros((500, 500), np.float32)}


def nested(depth: int, width: int) -> dict:
    """Models in models, each with so many nodes of the same layer, which is the next."""
    layers: dict = {"0": {"type": "Activation", "name": "relu", "options": {}}}
    for level in range(1, depth + 1):
        layers[str(level)] = {"type": "TimeDistributed", "model": nest(level - 1, width)}
    return {"model": nest(depth, width), "layers": layers}


def nest(level: int, width: int) -> dict:
    nodes = [{"name": f"n{at}", "layer": str(level), "inputs": [f"n{at - 1}" if at else "x"]} for at in range(width)]
    return {"inputs": [{"name": "x", "shape": [None, None, 4]}], "nodes": nodes, "outputs": [f"n{width - 1}"]}


def stacked() -> tuple[dict, dict]:
    """A GRU of three thousand layers in nine thousand nodes."""
    data, tensors = to_data(chain(GRULayer(network(1, 1, 3000)), shape=(None, 1)))
    node = data["model"]["nodes"][0]
    data["model"]["nodes"] = [
        {**node, "name": str(at), "inputs": [str(at - 1) if at else "input"]} for at in range(9_000)
    ]
    data["model"]["outputs"] = ["0"]
    return data, tensors


def many_nodes(count: int) -> str:
    nodes = ",".join(f'{{"name":"{at}","layer":"a","inputs":["x"]}}' for at in range(count))
    model = f'{{"inputs":[{{"name":"x","shape":[null,4]}}],"nodes":[{nodes}],"outputs":["0"]}}'
    return f'{{"model":{model},"layers":{{"a":{{"type":"Activation","name":"relu"}}}}}}'


VAST = {
    "one tensor for all layers": (tied, "is used twice"),
    "one layer in many models": (housed, "stands in two models"),
    "models that multiply": (lambda: (nested(4, 60), {}), "more than 100000"),
    "layers that multiply": (lambda: (nested(1, 9999), {}), "more than 100000"),
    "models that double": (lambda: (nested(14, 4), {}), "more than 100000"),
    "a chain of models": (lambda: (nested(5_000, 1), {}), "nested deeper than 16"),
    "a stack in every node": (stacked, "more than 100000"),
    "a few nodes too many": (lambda: (many_nodes(10_001), {}), "got 10001 of them"),
    "sixty thousand nodes": (lambda: (many_nodes(60_000), {}), "JSON values"),
    "a million nodes": (lambda: (many_nodes(1_000_000), {}), "header"),
}


@pytest.mark.parametrize("name", VAST)
def test_what_is_short_to_write_and_long_to_run(name: str, refused) -> None:
    make, words = VAST[name]
    assert words in str(refused(*make()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one layer in many models", "layers that multiply", "sixty thousand nodes"])
def test_it_takes_no_memory_either(name: str, file_of) -> None:
    content = file_bytes(*VAST[name][0]())
    path = file_of(content)
    with in_little_memory(len(content)), pytest.raises(FastGRUError):
        fastgru.load(path)


def test_json_that_is_deep_vast_double_or_not_finite(refused) -> None:
    data, tensors = sound()
    text = json.dumps(data)
    for wrong in (
        "[" * 300_000,
        '{"model":' * 100_000,
        text.replace('"bias"', '"weight"', 1),
        text.replace('"layer 1": {', '"layer 0": {', 1),
        text.replace('"go_backwards": false', '"go_backwards": NaN'),
        text.replace("false", "1e999", 1),
        text.replace("false", "9" * 30, 1),
        text[:-1],
        text + "}",
        "[]",
        "3",
        "null",
        "",
        "\ud800",
        "{}",
    ):
        assert type(refused(wrong, tensors)) is CheckpointError


def test_numbers_that_are_not_finite_as_words(outcome, refused) -> None:
    data, tensors = to_data(EXAMPLES_NORMALISED)
    for word in ("nan", "inf", "-inf"):
        refused(changed(data, ("layers", "layer 0", "epsilon"), word), tensors)
    for word in ("NaN", "Infinity", "1", "0x1", "1e-3"):
        assert "got" in str(refused(changed(data, ("layers", "layer 0", "epsilon"), word), tensors))
    for number in (-1, -1e-9, True, None):
        refused(changed(data, ("layers", "layer 0", "epsilon"), number), tensors)


EXAMPLES_NORMALISED = next(specs[0] for kind, specs in EXAMPLES.items() if kind.__name__ == "LayerNormalization")


@pytest.mark.parametrize(
    "shape", [[], [0, 4], [None, -4], [None, 2**31], [None, 4.0], [[4]], [None] * 7, [None, "4"], 4]
)
def test_shapes_of_inputs_that_cannot_be(shape, refused) -> None:
    data, tensors = sound()
    refused(changed(data, ("model", "inputs", 0, "shape"), shape), tensors)


def test_formats_that_are_newer_or_no_number(refused) -> None:
    data, tensors = sound()
    for number in ("5", "10", "999999999"):
        error = refused(data, tensors, **{"fastgru.format": number, "fastgru.version": "9.9"})
        assert (
            type(error) is UnsupportedModelError and "install a newer fastgru" in str(error) and "'9.9'" in str(error)
        )
    for number in ("", "-1", "one", "1.0", "1" * 50, "\u0661"):
        assert type(refused(data, tensors, **{"fastgru.format": number})) is CheckpointError


def test_a_file_of_weights_with_other_metadata_is_what_it_was(file_of) -> None:
    tensors = {"weight_ih": np.zeros((6, 3), np.float32), "weight_hh": np.zeros((6, 2), np.float32)}
    content = file_bytes("{}", tensors).replace(b"fastgru.format", b"something.else")
    assert fastgru.read(file_of(content)).format == "safetensors"
    assert isinstance(fastgru.load(file_of(content)), fastgru.GRU)


def test_what_a_newer_version_wrote_can_be_inspected(file_of, capsys) -> None:
    from fastgru.command.cli import main

    data, tensors = sound()
    data["layers"]["layer 0"]["type"] = "Later"
    assert main(["inspect", str(file_of(file_bytes(data, tensors)))]) == 0
    printed = capsys.readouterr().out
    assert "Later" in printed and "is no layer that this version of fastgru knows" in printed and "GRULayer" in printed


MATRIX = "layer 1.w_hh_l0"


def of_int8() -> tuple[dict, dict]:
    """The sound file with one matrix of a GRU in int8."""
    data, tensors = sound()
    numbers_of, steps = int8(tensors[MATRIX], MATRIX)
    return data, {**tensors, MATRIX: numbers_of, MATRIX + SCALES: steps}


def test_the_file_of_int8_that_is_changed_is_sound(outcome, file_of) -> None:
    for number in ("1", "2"):
        assert isinstance(outcome(*of_int8(), **{"fastgru.format": number}), fastgru.Model)
    assert fastgru.read(file_of(file_bytes(*of_int8()))).stored == {MATRIX: "int8"}


def test_steps_that_are_missing_or_do_not_fit_the_rows(refused) -> None:
    data, tensors = of_int8()
    steps = tensors[MATRIX + SCALES]
    without_steps = {name: array for name, array in tensors.items() if name != MATRIX + SCALES}
    error = refused(data, without_steps)
    assert type(error) is CheckpointError and f"no tensor of its name and {SCALES} has its scales" in str(error)
    for wrong in (
        steps[:-1], np.append(steps, steps[:1]), steps[:0], steps[:1], steps.reshape(-1, 1), steps.reshape(3, 3),
        steps[0].reshape(()), steps.astype(np.float64), steps.astype(np.float16), steps.astype(np.int32),
        np.ones(len(steps), np.int8),
    ):  # fmt: skip
        error = refused(data, {**tensors, MATRIX + SCALES: wrong})
        assert type(error) is CheckpointError and "'layer 1.w_hh_l0" in str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, -1e-45])
def test_steps_that_are_no_distances(value: float, refused) -> None:
    data, tensors = of_int8()
    steps = tensors[MATRIX + SCALES].copy()
    steps[4] = value
    error = refused(data, {**tensors, MATRIX + SCALES: steps})
    assert type(error) is CheckpointError and "the scale of row 4 is" in str(error) and MATRIX in str(error)


def test_steps_so_large_that_the_weights_are_not_finite(outcome, file_of) -> None:
    data, tensors = of_int8()
    tensors[MATRIX + SCALES] = np.full_like(tensors[MATRIX + SCALES], np.finfo(np.float32).max)
    assert isinstance(outcome(data, tensors), fastgru.Model)  # as a file of float32 may have them
    path = file_of(file_bytes(data, tensors))
    assert fastgru.load(path, precision="stored").precision == "float32"
    with pytest.raises(UnsupportedModelError, match="NaN or infinite"):
        fastgru.load(path, precision="int8")


def test_whole_numbers_where_no_matrix_is(refused) -> None:
    data, tensors = sound()
    for name in ("layer 0.bias", "layer 1.b_ih_l0"):
        ints = tensors[name].astype(np.int8)
        for beside in ({}, {name + SCALES: np.ones(len(ints), np.float32)}, {name + SCALES: np.ones((), np.float32)}):
            error = refused(data, {**tensors, name: ints, **beside})
            assert type(error) is CheckpointError and "1 axes of I8, wanted a matrix" in str(error)
    for shape in ((9, 3, 1), (), (0, 3), (9, 0), (3, 9)):
        rows = shape[0] if shape else 0
        ints, steps = np.zeros(shape, np.int8), np.ones(rows, np.float32)
        assert type(refused(data, {**tensors, MATRIX: ints, MATRIX + SCALES: steps})) is CheckpointError


def test_steps_of_steps_and_steps_of_nothing(refused) -> None:
    data, tensors = of_int8()
    more = {MATRIX + SCALES + SCALES: np.ones(9, np.float32)}
    assert type(refused(data, {**tensors, **more})) is CheckpointError
    whole = {MATRIX + SCALES: np.ones((9, 1), np.int8)}
    assert type(refused(data, {**tensors, **whole, **more})) is CheckpointError
    data, tensors = sound()
    error = refused(data, {**tensors, MATRIX + SCALES: np.ones(9, np.float32)})
    assert "no layer uses the tensors 'layer 1.w_hh_l0.steps'" in str(error)


def test_a_description_that_names_the_steps(refused) -> None:
    data, tensors = of_int8()
    for path in (("layers", "layer 0", "bias"), ("layers", "layer 1", "gru", "layers", 0, 0, "b_hh")):
        assert type(refused(changed(data, path, MATRIX + SCALES), tensors)) is CheckpointError


def test_empty_shapes_of_int8_that_numpy_cannot_hold(file_of) -> None:
    data, tensors = sound()
    for shape in ((0, 1 << 62), (1 << 62, 0), (1 << 33, 1 << 33), (-1, 3)):
        content = file_bytes(data, {**tensors, MATRIX: np.zeros((0, 3), np.int8), MATRIX + SCALES: np.zeros(0, "f4")})
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header[MATRIX]["shape"] = list(shape)
        start = json.dumps(header).encode()
        with pytest.raises(CheckpointError):
            fastgru.load(file_of(len(start).to_bytes(8, "little") + start + content[8 + length :]))


def test_int8_in_other_files_is_what_it_was(file_of) -> None:
    weights = {"weight_ih": np.zeros((6, 3), np.int8), "weight_ih.steps": np.ones(6, np.float32),
               "weight_hh": np.zeros((6, 2), np.float32)}  # fmt: skip
    path = file_of(file_bytes("{}", weights).replace(b"fastgru.format", b"something.else"))
    assert fastgru.read(path)["weight_ih"].dtype == np.int8 and fastgru.read(path).stored == {}
    with pytest.raises(FastGRUError):
        fastgru.load(path)


def test_a_file_of_int8_takes_the_memory_of_its_weights(file_of) -> None:
    ints = np.ones((2000, 4000), np.int8)
    path = file_of(file_bytes("{}", {"w": ints, "w.steps": np.ones(2000, np.float32)}))
    tracemalloc.start()
    try:
        assert fastgru.read(path)["w"].nbytes == 4 * ints.nbytes
        assert tracemalloc.get_traced_memory()[1] < 4 * ints.nbytes + (8 << 20)
    finally:
        tracemalloc.stop()


def test_damage_to_a_file_of_int8(file_of) -> None:
    chance, content = np.random.default_rng(15), file_bytes(*of_int8())
    damaged = [mutated(content, chance) for _ in range(300)] + [
        content[:length] for length in range(1, len(content), 64)
    ]
    for each in damaged:
        try:
            got: object = fastgru.load(file_of(each), precision="stored")
        except FastGRUError as error:
            got = error
        assert isinstance(got, (fastgru.GRU, fastgru.Model)) or len(str(got)) < 2000
