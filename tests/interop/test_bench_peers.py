"""Every engine of the bench computes what fastgru's float64 reference does, or says in a few words why it does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from networks import network

import fastgru
from fastgru import reference
from fastgru.bench.cases import Case, work_of
from fastgru.bench.peers import PEERS, adapter, installed, pip_line, version
from fastgru.cli import main
from fastgru.spec import GRUSpec

SHAPES = {
    "one step": Case("SingleStream", "", "", 1),
    "streams": Case("MultiStream", "", "", 1, 5),
    "sequence": Case("SingleStream", "", "", 12),
    "batch": Case("Offline", "", "", 12, 5),
    "ragged": Case("Ragged", "", "", 12, 7),
}
NETWORKS = {
    "plain": network(6, 9),
    "stack": network(6, 9, layers=3),
    "both directions": network(6, 9, layers=2, directions=2),
    "no biases": network(6, 9, bias=False),
    "reset before": network(6, 9, layers=2, reset_after=False),
    "float64": network(6, 9, dtype=np.float64),
}
STEPS_BACKWARDS = {(name, "both directions", shape) for name in PEERS for shape in ("one step", "streams")}
REFUSALS = {  # engine, network, shape: the others must be computed
    *(each for each in STEPS_BACKWARDS if each[0] in ("fastgru", "torch", "keras")),
    *(("torch", "reset before", shape) for shape in SHAPES),
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the frameworks' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def engine(name: str):
    """The adapter, where everything that it needs is installed."""
    if not installed(name):
        pytest.skip(f"not installed: {pip_line(name)}")
    return adapter(name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("name", PEERS)
def test_an_engine_gives_the_reference_s_outputs_again_and_again(name: str, kind: str, shape: str) -> None:
    peer, spec = engine(name), NETWORKS[kind]
    work = work_of(SHAPES[shape], spec, 1)
    assert (peer.refusal(work) is not None) == ((name, kind, shape) in REFUSALS)
    if (name, kind, shape) in REFUSALS:
        return
    wanted, _ = reference.gru(spec, work.x, work.h0, work.lengths)
    real = np.arange(work.x.shape[1]) < (work.x.shape[1] if work.lengths is None else work.lengths[:, None])
    prepared = peer.prepare(work)
    for _ in range(2):
        y = prepared.outputs()
        assert y.shape == wanted.shape
        assert np.abs(y - wanted)[np.broadcast_to(real, y.shape[:2])].max() < 1e-6
        prepared.call()


@pytest.mark.parametrize("name", [name for name in PEERS if name != "fastgru"])
def test_an_engine_refuses_activations_that_it_is_not_given(name: str) -> None:
    peer = engine(name)
    relu = GRUSpec(NETWORKS["plain"].layers, activation="relu")
    assert peer.refusal(work_of(SHAPES["batch"], relu, 1)) == "tanh and sigmoid only"


def test_the_command_compares_with_every_engine_that_is_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fastgru.GRU(network(6, 9)).save(tmp_path / "gru.safetensors")
    here = [name for name in PEERS if installed(name)]
    if here == ["fastgru"]:
        pytest.skip("no other engine is installed")
    command = [
        "bench",
        str(tmp_path / "gru.safetensors"),
        "--steps",
        "5",
        "--batch",
        "3",
        "--seconds",
        "0.01",
        "--json",
    ]
    assert main([*command, "--scenario", "single-stream,ragged,server"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"] == {name: version(name) for name in here}
    assert len(found["results"]) == 4 * len(here)
    for row in found["results"]:
        assert row["skipped"] is None and row["largest_difference"] < 1e-6, row
