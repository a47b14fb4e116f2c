"""Matrices of GRUs in files of PyTorch's stay there until a model packs them; all else that takes one gets an array."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import same_bits

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoint"))
from archive_writers import (
    export_bytes,
    export_records,
    graph_config,
    gru_arrays,
    meta,
    module,
    operation,
    payload,
    script_bytes,
    traced_gru,
)
from checkpoint_writers import Storage, Tensor, tensor, torch_bytes, zip_bytes

import fastgru
from fastgru.checkpoint.reading import read_for_model
from fastgru.checkpoint.stored_matrix import StoredMatrix
from fastgru.errors import CheckpointError, UnsupportedModelError
from fastgru.weights.matrices import Matrix

GRU = "torch.nn.modules.rnn"
ARRAYS = gru_arrays(4, 4)
NAMED = {f"gru.{name}": array for name, array in ARRAYS.items()}
MATRICES = {"gru.weight_ih_l0", "gru.weight_hh_l0"}
BOTH = ("gru = self.gru", "y = (gru).forward(x, )", "w = gru.weight_hh_l0")
X = np.random.default_rng(3).standard_normal((3, 5, 4)).astype("f4")


def script(*lines: str, constants: Any = (), **tensors: Any) -> bytes:
    """A net with a traced ``gru``, whose weights are ``tensors``."""
    text = "class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n"
    text += "".join(f"    {line}\n" for line in lines)
    code = {"__torch__.py": text, f"__torch__/{GRU.replace('.', '/')}.py": traced_gru(GRU, 4, list(ARRAYS))}
    children = {"gru": module(f"{GRU}.GRU", **{**{name: tensor(array) for name, array in ARRAYS.items()}, **tensors})}
    return script_bytes(module("Net", **children), code, constants)


def nodes(*more: dict[str, Any], weights: tuple[str, ...] = tuple(ARRAYS)) -> list[dict[str, Any]]:
    options = {"has_biases": True, "num_layers": 1, "dropout": 0.0, "train": False, "bidirectional": False}
    params = [f"p_gru_{name}" for name in weights]
    zeros = operation("zeros.default", "h0", size=[1, 3, 4])
    gru = operation("gru.input", ["y", "h"], input="x", hx="h0", params=params, **options, batch_first=True)
    return [zeros, gru, *more]


def exported(*more: dict[str, Any], outputs: tuple[str, ...] = ("y",), payloads: Any = None) -> bytes:
    return export_bytes(NAMED, graph_config(list(NAMED), {"x": X}, nodes(*more), outputs), payloads)


FILES = {
    "script": script(*BOTH[:2], "return y"),
    "export": exported(),
    "state dict": torch_bytes({name: tensor(array) for name, array in NAMED.items()}),
}


@pytest.fixture(autouse=True)
def small_matrices_are_left_in_files(monkeypatch):
    monkeypatch.setattr("fastgru.checkpoint.stored_matrix.LEAST", 1)


@pytest.fixture
def file(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def write(content: bytes) -> Path:
        (tmp_path / "file").write_bytes(content)
        return tmp_path / "file"

    return write


@pytest.fixture
def reads(monkeypatch):
    """The shapes of the matrices that were read, in order."""
    shapes: list[tuple[int, ...]] = []
    form = StoredMatrix._form
    monkeypatch.setattr(StoredMatrix, "_form", lambda matrix: (shapes.append(matrix.shape), form(matrix))[1])
    return shapes


def later(path: Path) -> set[str]:
    return {name for name, each in read_for_model(path).tensors.items() if isinstance(each, Matrix)}


@pytest.mark.parametrize("kind", FILES)
def test_matrices_stay_in_the_file_until_a_model_packs_them(kind, file, reads):
    path = file(FILES[kind])
    assert later(path) == MATRICES and not reads
    assert all(type(each) is np.ndarray for each in fastgru.read(path).values())
    model = fastgru.load(path, precision="int8")
    assert reads == [(12, 4)] * 2
    wanted = fastgru.from_torch(ARRAYS, precision="int8")(X)[0]
    made = model(X)
    assert same_bits(made if kind != "state dict" else made[0], wanted)


def test_what_is_a_view_or_shared_is_read_at_once(file):
    w = ARRAYS["weight_hh_l0"]
    column_major = meta(w, strides=[{"as_int": 1}, {"as_int": 12}])
    payloads = {name: payload(at, array) for at, (name, array) in enumerate(NAMED.items())}
    changed = {**payloads, "gru.weight_hh_l0": payload(1, w, tensor_meta=column_major)}
    assert later(file(exported(payloads=changed))) == {"gru.weight_ih_l0"}
    changed = {**payloads, "gru.weight_hh_l0": payload(0, w)}  # the storage of the other
    assert later(file(exported(payloads=changed))) == set()
    checkpoint = read_for_model(file(exported(payloads=changed)))
    assert checkpoint["gru.weight_hh_l0"] is checkpoint["gru.weight_ih_l0"]
    storage = Storage(ARRAYS["weight_ih_l0"].tobytes() + w.tobytes(), "FloatStorage", 96)
    halves = {"weight_ih_l0": Tensor(storage, 0, (12, 4), (4, 1)), "weight_hh_l0": Tensor(storage, 48, (12, 4), (4, 1))}
    path = file(script(*BOTH[:2], "return y", **halves))
    assert later(path) == set()
    assert same_bits(fastgru.load(path)(X), fastgru.from_torch(ARRAYS)(X)[0])


USES = {  # of a matrix beside its GRU, and what they give
    "product": ("matmul(y, torch.t(w))", lambda y, w: y @ w.T),
    "linear": ("linear(y, w)", lambda y, w: y @ w.T),
    "sum": ("add(y, torch.sum(w))", lambda y, w: y + w.sum()),
    "itself": ("t(w)", lambda y, w: w.T),
    "part": ("mul(y, torch.select(w, 0, 2))", lambda y, w: y * w[2]),
    "changed copy": ("matmul(y, torch.t(torch.add_(torch.clone(w), 1)))", lambda y, w: y @ (w + 1).T),
}


@pytest.mark.parametrize("use", USES)
def test_what_else_takes_a_matrix_of_a_gru_gets_its_numbers(use, file, reads):
    text, wanted = USES[use]
    path = file(script(*BOTH, f"z = torch.{text}", "return y, z"))
    y, z = fastgru.load(path)(X)
    assert len(reads) <= 3  # each for the GRU, and one for the other use
    assert same_bits(y, fastgru.from_torch(ARRAYS)(X)[0])
    np.testing.assert_allclose(z, wanted(y, ARRAYS["weight_hh_l0"]), atol=1e-5)


def test_so_it_is_in_a_program(file, reads):
    more = (
        operation("permute.default", "turned", self="p_gru_weight_hh_l0", dims=[1, 0]),
        operation("matmul.default", "z", self="y", other="turned"),
    )
    y, z = fastgru.load(file(exported(*more, outputs=("y", "z"))))(X)
    assert len(reads) <= 3
    np.testing.assert_allclose(z, y @ ARRAYS["weight_hh_l0"].T, atol=1e-5)


def test_however_often_a_script_is_followed_a_matrix_is_read_once(file, reads):
    """Integers are what no way through it but a later one takes."""
    table = np.random.default_rng(1).standard_normal((7, 4)).astype("f4")
    lines = (
        "gru = self.gru", "w = gru.weight_hh_l0", "v = torch.matmul(w, torch.t(w))",
        "e = torch.embedding(CONSTANTS.c0, x, -1)", "y = (gru).forward(e, )", "return torch.linear(y, w), v",
    )  # fmt: skip
    path = file(script(*lines, constants=(tensor(table),)))
    z, v = fastgru.load(path)(np.zeros((3, 5), np.int64))
    assert len(reads) == 4  # each for its layer, and one for the other uses
    w = ARRAYS["weight_hh_l0"]
    np.testing.assert_allclose(v, w @ w.T, atol=1e-5)
    np.testing.assert_allclose(z, fastgru.from_torch(ARRAYS)(table[np.zeros((3, 5), int)])[0] @ w.T, atol=1e-5)


def test_a_gru_that_runs_twice_is_packed_once(file, reads):
    fastgru.load(file(script("gru = self.gru", "return (gru).forward((gru).forward(x, ), )")))
    assert reads == [(12, 4)] * 2


def test_a_matrix_that_the_code_changes_is_refused(file):
    with pytest.raises(UnsupportedModelError, match=r"changes its own 'gru\.weight_hh_l0'"):
        fastgru.load(file(script(*BOTH[::2], "v = torch.add_(w, 1)", "return (gru).forward(x, )")))


@pytest.mark.parametrize("kind", FILES)
def test_a_matrix_whose_bytes_are_damaged_is_refused(kind, file):
    content, own = bytearray(FILES[kind]), ARRAYS["weight_hh_l0"].tobytes()
    content[content.index(own) + 7] ^= 1
    with pytest.raises(CheckpointError, match="CRC-32 does not fit"):
        fastgru.load(file(bytes(content)))


def test_a_matrix_that_was_packed_again_is_refused(file):
    records = export_records(NAMED, graph_config(list(NAMED), {"x": X}, nodes(), ["y"]))
    records[1].method = 8
    with pytest.raises(CheckpointError, match="compression method 8, wanted a stored record"):
        read_for_model(file(zip_bytes(records)))


def test_a_script_that_was_followed_in_vain_first_holds_nothing(file):
    """Its input is integers, which the first attempt does not know; the error's frames must not stay in a cycle."""
    path = file(script(BOTH[0], BOTH[2], "e = torch.embedding(w, x)", "y = (gru).forward(e, )", "return y"))
    gc.collect()
    gc.disable()
    try:
        model = fastgru.load(path)
        assert model(np.ones((3, 5), int)).shape == (3, 5, 4)
        kept = weakref.ref(model.graph.nodes[-1].operation.gru.layers[0][0].matrices[1]._now)
        del model
        assert kept() is None
    finally:
        gc.enable()
