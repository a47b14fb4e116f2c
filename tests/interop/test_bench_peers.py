"""Every engine of the bench computes what fastgru's float64 reference does, or says in a few words why it does not."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import network, run_python

import fastgru
from fastgru import reference
from fastgru.bench.cases import Case, work_of
from fastgru.bench.measure import tolerance
from fastgru.bench.peers import IN_FLOAT32, PEERS, adapter, engine, installed, pip_line, version
from fastgru.command.cli import main
from fastgru.layers import GRUSpec

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
    *(each for each in STEPS_BACKWARDS if engine(each[0]) in ("fastgru", "torch", "keras")),
    *((name, "reset before", shape) for shape in SHAPES for name in ("torch", "torch-int8")),
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the frameworks' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def adapter_of(name: str):
    """The adapter, where everything that it needs is installed."""
    if not installed(name):
        pytest.skip(f"not installed: {pip_line(name)}")
    return adapter(name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("name", PEERS)
def test_an_engine_gives_the_reference_s_outputs_again_and_again(name: str, kind: str, shape: str) -> None:
    peer, spec = adapter_of(name), NETWORKS[kind]
    work = replace(work_of(SHAPES[shape], spec, 1), precision=PEERS[name].precision)
    most = 1e-6 if name in IN_FLOAT32 else tolerance(spec, name)
    assert (peer.refusal(work) is not None) == ((name, kind, shape) in REFUSALS)
    if (name, kind, shape) in REFUSALS:
        return
    wanted, _ = reference.gru(spec, work.x, work.h0, work.lengths)
    real = np.arange(work.x.shape[1]) < (work.x.shape[1] if work.lengths is None else work.lengths[:, None])
    prepared = peer.prepare(work)
    for _ in range(2):
        y = prepared.outputs()
        assert y.shape == wanted.shape
        assert np.abs(y - wanted)[np.broadcast_to(real, y.shape[:2])].max() < most
        prepared.call()


@pytest.mark.parametrize("name", [name for name in PEERS if engine(name) != "fastgru"])
def test_an_engine_refuses_activations_that_it_is_not_given(name: str) -> None:
    peer = adapter_of(name)
    relu = GRUSpec(NETWORKS["plain"].layers, activation="relu")
    assert peer.refusal(work_of(SHAPES["batch"], relu, 1)) == "tanh and sigmoid only"


def test_openvino_says_what_it_computes_in() -> None:
    chosen = {}
    for name in ("openvino", "openvino-default"):
        peer = adapter_of(name)
        work = replace(work_of(SHAPES["batch"], NETWORKS["plain"], 1), precision=PEERS[name].precision)
        chosen[name] = peer.prepare(work).precision
    assert chosen["openvino"] == "float32" and chosen["openvino-default"] in ("float32", "float16", "bfloat16")


def test_int8_joins_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter_of("torch-int8")
    fastgru.GRU(network(6, 9)).save(tmp_path / "gru.safetensors")
    command = ["bench", str(tmp_path / "gru.safetensors"), "--seconds", "0.01", "--json", "--precision", "int8"]
    assert main([*command, "--against", "torch,torch-int8", "--scenario", "single-stream,multi-stream"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    found = {(row["system"], row["precision"]) for row in rows}
    assert found == {("fastgru-int8", "int8"), ("torch", "float32"), ("torch-int8", "int8")}
    assert all(row["skipped"] is None for row in rows)
    assert all((row["largest_difference"] < 1e-6) == (row["system"] == "torch") for row in rows)


def test_the_command_compares_with_every_engine_that_is_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fastgru.GRU(network(6, 9)).save(tmp_path / "gru.safetensors")
    here = [name for name in IN_FLOAT32 if installed(name)]
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
        "--bound",
        "1000",
        "--json",
    ]
    assert main([*command, "--scenario", "single-stream,ragged,server"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"] == {name: version(name) for name in here}
    assert len(found["results"]) == 4 * len(here)
    for row in found["results"]:
        assert row["skipped"] is None and row["largest_difference"] < 1e-6, row


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OpenVINO sets a stack for signals on Linux")
def test_a_signal_after_a_thread_gave_up_an_openvino_model_is_handled() -> None:
    pytest.importorskip("openvino")
    done = run_python("""
import os, signal, threading
import numpy as np, openvino
from openvino import opset13
from fastgru.bench.peers.with_openvino import compiled_of
x = opset13.parameter([1, 4], np.float32, name="x")
made = [compiled_of(openvino.Model([opset13.relu(x)], [x], "m"), 1)]
thread = threading.Thread(target=made.clear)
thread.start()
thread.join()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
""")
    assert (done.returncode, done.stdout.split()) == (0, ["handled"]), done.stderr
