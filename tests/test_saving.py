"""Promises of ``save``: what is loaded again computes the same bits, shares what was shared, and appears whole."""

from __future__ import annotations

import json
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_examples import EXAMPLES, FEATURES, chain, inputs_for
from networks import network, numbers, same_bits

import fastgru
from fastgru import GRU, FastGRUError, Model, UnsupportedModelError, outputs
from fastgru.layers import (
    Activation,
    Add,
    Concatenate,
    Dense,
    GRULayer,
    GRUSpec,
    Input,
    Layer,
    ModelSpec,
    Node,
    TimeDistributed,
)
from fastgru.saved import topology
from fastgru.saved.topology_kinds import layer_classes

ALL = [(kind.__name__, place) for kind, specs in EXAMPLES.items() for place in range(len(specs))]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "model.safetensors")


def results(model: Model | GRU, x: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    made = model(x[0] if len(x) == 1 else x)
    return made if isinstance(made, tuple) else (made,)


def saved(model: Model | GRU, path: str) -> Model | GRU:
    """The model as it comes back; what both compute is the same."""
    model.save(path)
    again = fastgru.load(path)
    assert again.spec == model.spec
    return again


def header_of(path: str) -> dict:
    content = Path(path).read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def description_of(path: str) -> dict:
    return json.loads(header_of(path)["__metadata__"]["fastgru.model"])


def concrete(kind: type[Layer]) -> set[type[Layer]]:
    """The package's layers of a kind, without those that are only there for others to derive from."""
    found = {below for each in kind.__subclasses__() for below in concrete(each)} or {kind}
    return {each for each in found if each.__module__.startswith("fastgru.")}


def test_every_layer_that_runs_can_be_saved_and_has_an_example() -> None:
    assert set(layer_classes().values()) == concrete(Layer) == set(EXAMPLES)
    assert all(kind.lower is not Layer.lower for kind in EXAMPLES)


@pytest.mark.parametrize(("name", "place"), ALL)
def test_every_layer_comes_back_with_the_same_bits(name: str, place: int, path: str) -> None:
    spec = EXAMPLES[layer_classes()[name]][place]
    model, x = Model(spec), inputs_for(spec)
    for one, other in zip(results(model, x), results(saved(model, path), x), strict=True):
        assert same_bits(one, other)


@pytest.mark.parametrize(
    "spec",
    [
        network(3, 5),
        network(3, 5, 2, 2, bias=False),
        network(3, 5, reset_after=False, activation="relu", recurrent_activation="hard_sigmoid_keras2"),
        network(3, 5, dtype=np.float64),
    ],
    ids=["plain", "deep", "reset before", "float64"],
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_gru_comes_back_with_the_same_bits(spec: GRUSpec, precision: str, path: str) -> None:
    gru = GRU(spec, precision=precision)
    gru.save(path)
    again = fastgru.load(path, precision=precision)
    assert isinstance(again, GRU) and again.spec == spec
    x = numbers(4, 9, 3)
    for one, other in zip(gru(x), again(x), strict=True):
        assert same_bits(one, other)


def test_precision_threads_and_backend_are_for_who_loads_it(path: str) -> None:
    GRU(network(3, 5), precision="float64", n_threads=1).save(path)
    again = fastgru.load(path)
    assert (again.precision, again.n_threads) == ("float32", None)


def test_activations_with_options_come_back(path: str) -> None:
    plain = {"name": "softmax", "options": {"axis": 1}}
    given = Activation("softmax", axis=1)
    data, _ = topology.to_data(chain(given, Dense(numbers(2, 4), None, given)))
    assert [layer.get("options") or layer["activation"] for layer in data["layers"].values()] == [{"axis": 1}, plain]
    options = Activation("made_up", a=True, b=None, c=0.1, d=(1, -2), e=float("-inf"), f=3)
    data, _ = topology.to_data(chain(options, Dense(numbers(2, 4))))
    spec = topology.from_data(json.loads(json.dumps(data, allow_nan=False)), lambda name: numbers(2, 4), "here")
    assert spec.nodes[0].layer == options
    assert [type(value) for _, value in spec.nodes[0].layer.options] == [bool, type(None), float, tuple, float, int]


def test_a_layer_of_several_nodes_is_stored_once_and_shared_again(path: str) -> None:
    shared = Dense(numbers(FEATURES, FEATURES))
    twin = Dense(shared.weight)  # equal, and not the same
    inner = ModelSpec((Input("step", (4,)),), (Node("a", shared, ("step",)), Node("b", shared, ("a",))), ("b",))
    spec = ModelSpec(
        (Input("x", (None, 4)),),
        (
            Node("first", shared, ("x",)),
            Node("second", shared, ("first",)),
            Node("third", twin, ("second",)),
            Node("each", TimeDistributed(inner), ("third",)),
        ),
        ("each",),
    )
    again = saved(Model(spec), path)
    first, second, third, each = (node.layer for node in again.spec.nodes)
    assert first is second is not third
    assert each.model.nodes[0].layer is each.model.nodes[1].layer
    assert sorted(fastgru.read(path)) == ["each/a.weight", "first.weight", "third.weight"]
    operations = [node.operation for node in again.graph.nodes[:3]]
    assert operations[0] is operations[1] is not operations[2]


def test_what_comes_back_is_pickled_and_saved_like_any_other(path: str) -> None:
    shared = Dense(numbers(4, 4))
    model = saved(Model(chain(shared, GRULayer(network(4, 3)), shape=(None, 4))), path)
    before = Path(path).read_bytes()
    again = pickle.loads(pickle.dumps(model))
    again.save(path)
    assert Path(path).read_bytes() == before
    x = numbers(2, 5, 4)
    assert same_bits(model(x), again(x))


def test_tensors_have_names_that_say_whose_they_are(path: str) -> None:
    stack = GRULayer(network(4, 3, 2, 2), return_state=True)
    cells = GRULayer(network(6, 2), (network(2, 2),))
    spec = ModelSpec(
        (Input("x", (None, 4)),), (Node("encoder/gru", stack, ("x",)), Node("b.c", cells, ("encoder/gru",))), ("b.c",)
    )
    Model(spec).save(path)
    names = list(fastgru.read(path))
    assert names[:5] == [
        f"encoder/gru.{each}" for each in ("w_ih_l0", "w_hh_l0", "b_ih_l0", "b_hh_l0", "w_ih_l0_reverse")
    ]
    assert names[-8:] == [
        *(f"b.c.{each}_l0" for each in ("w_ih", "w_hh", "b_ih", "b_hh")),
        *(f"b.c.above.0.{each}_l0" for each in ("w_ih", "w_hh", "b_ih", "b_hh")),
    ]


def test_names_that_would_be_the_same_are_told_apart(path: str) -> None:
    gru = GRULayer(network(4, 4), (network(4, 4),))
    spec = chain(gru, TimeDistributed(chain(Dense(numbers(4, 4)), shape=(4,))), Dense(numbers(4, 4)))
    names = ["a", "a.above.0", "a.above.0/layer 0"]
    nodes = [node.replace(name=name) for node, name in zip(spec.nodes, names, strict=True)]
    nodes = [node.replace(inputs=(("input", *names)[place],)) for place, node in enumerate(nodes)]
    again = saved(Model(spec.replace(nodes=tuple(nodes), outputs=(names[-1],))), path)
    assert len(fastgru.read(path)) == 8 + 2 and [node.name for node in again.spec.nodes] == names


@pytest.mark.parametrize("name", ["größe", "\ud800", 'a "quote"', "line\nbreak", "\x00", "__metadata__", "💧", " "])
def test_any_name_comes_back(name: str, path: str) -> None:
    spec = ModelSpec((Input("x", (None, 4)),), (Node(name, Dense(numbers(2, 4)), ("x",)),), (name,))
    assert saved(Model(spec), path).spec.outputs == (name,)


def test_the_file_is_safetensors_for_everybody(path: str) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file

    spec = chain(Dense(numbers(5, 4), numbers(5)), Dense(numbers(3, 5, dtype=np.float64)))
    Model(spec).save(path)
    tensors = load_file(path)
    assert same_bits(tensors["layer 0.weight"], numbers(5, 4))
    assert same_bits(tensors["layer 1.weight"], numbers(3, 5, dtype=np.float64))
    with safe_open(path, "np") as file:
        assert set(file.metadata()) == {"fastgru.format", "fastgru.version", "fastgru.model"}
    offsets = [entry["data_offsets"][0] for name, entry in header_of(path).items() if name != "__metadata__"]
    assert int.from_bytes(Path(path).read_bytes()[:8], "little") % 8 == 0 and offsets == sorted(offsets)


def test_arrays_in_any_order_of_bytes_are_written_as_they_count(path: str) -> None:
    weight = numbers(4, 5).T[:, ::-1]
    weight.flags.writeable = False  # taken over as it is
    again = saved(Model(chain(Dense(weight))), path)
    assert same_bits(np.ascontiguousarray(weight), again.spec.nodes[0].layer.weight)


def test_a_checkpoint_says_who_wrote_it_and_shows_its_layers(path: str) -> None:
    Model(chain(Dense(numbers(5, 4)))).save(path)
    checkpoint = fastgru.read(path)
    assert checkpoint.format == "fastgru"
    assert checkpoint.metadata["fastgru.version"] == fastgru.__version__
    assert checkpoint.config["layers"]["layer 0"]["type"] == "Dense"
    with pytest.raises(fastgru.CheckpointError, match="leave layers= out"):
        fastgru.load(path, layers=["layer 0"])


def test_a_file_without_fields_that_came_later_has_their_defaults(path: str) -> None:
    data, tensors = topology.to_data(chain(GRULayer(network(4, 3))))
    for name in ("above", "zero_masked", "merge"):
        del data["layers"]["layer 0"][name]
    assert topology.from_data(data, tensors.__getitem__, "here") == chain(GRULayer(network(4, 3)))


@given(st.data())
def test_random_graphs_come_back(data: st.DataObject) -> None:
    spec = data.draw(graphs())
    written, tensors = topology.to_data(spec)
    again = topology.from_data(json.loads(json.dumps(written)), tensors.__getitem__, "here")
    assert again == spec
    for one, other in ((a, b) for a in range(len(spec.nodes)) for b in range(a)):
        was, is_now = (
            [spec.nodes[place].layer for place in (one, other)],
            [again.nodes[p].layer for p in (one, other)],
        )
        assert (was[0] is was[1]) == (is_now[0] is is_now[1])


@st.composite
def graphs(draw: st.DrawFn) -> ModelSpec:
    """Sequences of four features throughout; layers and edges at random, some shared, some states for inputs."""
    layers = [
        Dense(numbers(4, 4), draw(st.sampled_from([None, numbers(4)])), draw(st.sampled_from(["tanh", "linear"]))),
        GRULayer(network(4, 4), return_state=draw(st.booleans()), go_backwards=draw(st.booleans())),
        GRULayer(network(4, 2, 1, 2), merge=draw(st.sampled_from(["concat"]))),
        Add(),
        TimeDistributed(chain(Dense(numbers(4, 4)), shape=(4,))),
    ]
    nodes = []
    sources: list[str | tuple[str, int]] = ["x", ("y", 0)]
    for place in range(draw(st.integers(1, 8))):
        layer = draw(st.sampled_from(layers))
        count = draw(st.integers(2, 3)) if isinstance(layer, Add) else 1
        name = draw(st.text(max_size=5)) + str(place)
        nodes.append(Node(name, layer, tuple(draw(st.sampled_from(sources)) for _ in range(count))))
        sources.append(draw(st.sampled_from([name, (name, 0)])))
    return ModelSpec((Input("x", (None, 4)), Input("y", (None, 4))), tuple(nodes), (sources[-1], sources[0]))


def test_a_file_in_its_place_is_replaced_and_nothing_is_left_beside_it(path: str) -> None:
    Path(path).write_bytes(b"old")
    GRU(network(3, 5)).save(Path(path))
    assert isinstance(fastgru.load(path), GRU)
    assert os.listdir(Path(path).parent) == ["model.safetensors"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_a_file_in_its_place_keeps_its_mode(mode: int, path: str) -> None:
    Path(path).write_bytes(b"old")
    os.chmod(path, mode)
    GRU(network(3, 5)).save(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == mode


def test_what_is_to_be_read_by_its_owner_alone_is_so_while_it_is_written(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    monkeypatch.setattr(outputs.os, "fsync", lambda file: modes.append(stat.S_IMODE(os.fstat(file).st_mode)))
    Path(path).write_bytes(b"old")
    os.chmod(path, 0o600)
    GRU(network(3, 5)).save(path)
    assert modes == [0o600]


def test_a_new_file_has_the_mode_of_any_new_file(path: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    GRU(network(3, 5)).save(path)
    assert os.stat(path).st_mode == os.stat(tmp_path / "plain").st_mode


def test_a_file_in_its_place_keeps_its_owner_and_its_access_lists(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root would replace it; who may not give files away is asked for below."""
    Path(path).write_bytes(b"old")
    given: list[tuple[int, int]] = []
    real = os.stat

    def owned_by_another(self: Path, **options: bool) -> os.stat_result:
        found = real(self, **options)
        if self.name.endswith(".part"):
            return found
        return os.stat_result((*found[:4], 1234, 4321, *found[6:10]))

    monkeypatch.setattr(Path, "stat", owned_by_another)
    monkeypatch.setattr(outputs.os, "chown", lambda path, user, group: given.append((user, group)), raising=False)
    GRU(network(3, 5)).save(path)
    assert given == [(1234, 4321)]
    assert isinstance(fastgru.load(path), GRU)

    def refuses(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(outputs.os, "chown", refuses, raising=False)
    before = os.stat(path).st_ino
    GRU(network(4, 5)).save(path)
    assert os.stat(path).st_ino == before  # written into: a file of its owner, as it was
    assert fastgru.load(path).input_size == 4
    assert os.listdir(Path(path).parent) == ["model.safetensors"]


def test_a_file_is_written_through_symbolic_links(path: str, tmp_path: Path) -> None:
    link, dangling, circle = tmp_path / "link", tmp_path / "dangling", tmp_path / "circle"
    Path(path).write_bytes(b"old")
    os.chmod(path, 0o600)
    link.symlink_to(path)
    dangling.symlink_to(tmp_path / "new")
    circle.symlink_to(circle)
    for name in (link, dangling):
        GRU(network(3, 5)).save(name)
        assert name.is_symlink() and isinstance(fastgru.load(name), GRU)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(FastGRUError, match="lead in a circle"):
        GRU(network(3, 5)).save(circle)
    assert circle.is_symlink()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
def test_whatever_goes_wrong_the_old_file_stays(
    error: BaseException, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        raise error

    Path(path).write_bytes(b"old")
    monkeypatch.setattr(outputs.os, "fsync", fails)
    monkeypatch.setitem(globals(), "__name__", "fastgru")  # as the system's own function, which raises in its caller
    expected = FastGRUError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        GRU(network(3, 5)).save(path)
    assert not isinstance(error, OSError) or f"{path}: cannot be written: No space left" in str(caught.value)
    assert Path(path).read_bytes() == b"old"
    assert os.listdir(Path(path).parent) == ["model.safetensors"]


def test_places_that_no_file_can_be_in_are_named(tmp_path: Path) -> None:
    gru = GRU(network(3, 5))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for place, words in [
        ("folder", "regular file"),
        ("missing/model.safetensors", "folder does not exist"),
        ("file/model.safetensors", "folder does not exist"),
        ("a" * 300, "cannot be written"),
        ("nul\0", "cannot be written"),
        ("", "got '' as a path, which cannot be written; wanted the name of a file"),
    ]:
        with pytest.raises(FastGRUError, match=words):
            gru.save(f"{tmp_path}/{place}" if place else place)
    with pytest.raises(FastGRUError, match="got int as a path"):
        gru.save(3)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_file_that_is_read_only_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(path).write_bytes(b"old")
    os.chmod(path, stat.S_IREAD)
    if os.access(path, os.W_OK):  # this is root, who may write everywhere: ask as for somebody else
        monkeypatch.setattr(outputs.os, "access", lambda path, mode: bool(os.stat(path).st_mode & stat.S_IWUSR))
    with pytest.raises(FastGRUError, match="Permission denied"):
        GRU(network(3, 5)).save(path)
    assert Path(path).read_bytes() == b"old"


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 255)
    GRU(network(3, 5)).save(path)
    assert isinstance(fastgru.load(path), GRU)


def test_a_model_that_could_not_be_read_again_is_not_written(path: str) -> None:
    spec = chain(Dense(numbers(4, 4)), shape=(4,))
    shape: tuple[int | None, ...] = (4,)
    for _ in range(5):
        shape = (1, *shape)
        spec = chain(TimeDistributed(spec), shape=shape)
    Model(spec).save(path)
    wide = ModelSpec(
        (Input("x", (4,)),),
        tuple(Node(f"{place}{'x' * 1000}", Concatenate(), ("x",)) for place in range(9000)),
        (f"0{'x' * 1000}",),
    )
    os.remove(path)
    with pytest.raises(UnsupportedModelError, match="cannot be saved: its header"):
        Model(wide).save(path)
    assert not os.path.exists(path)
